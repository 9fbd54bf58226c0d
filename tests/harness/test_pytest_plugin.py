"""The pytest plugin: a gate is a test, its sentences are the failure, and nobody else pays for it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.cli.gate import decide_stored, gated_suite
from harness.records import Judgement, Metric, Run, Sample
from harness.store import Home, Store

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[2]
SUITE = """
suite: tiny
data: {path: rows.jsonl, fields: {input: question, reference: answer}}
splits: {test: {share: 1}}
candidates:
  base: {model: {kind: answers, path: rows.jsonl}}
  equal: {model: {kind: answers, path: rows.jsonl}}
  worse: {model: {kind: answers, path: rows.jsonl}}
  unsure: {model: {kind: answers, path: rows.jsonl}}
judges: {exact_match: {}}
gate:
  baseline: base
  rules: [{metric: exact_match, no_worse_by: 0.1}]
"""
RIGHT = {"base": range(60), "equal": range(60), "worse": range(20), "unsure": range(30, 90)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with a suite and a run, which was gated once: what pytester's modules forget, numpy cannot load twice."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    run = Run(
        id="r1", key="r1", suite="tiny", suite_version=1, suite_sha="s", data_sha="d", status="complete",
        started="2026-01-01T00:00:00Z", finished=None, seconds=1.0, candidates={n: n for n in RIGHT},
        metrics=(Metric(name="exact_match"),), judges={"exact_match": "j"},
    )  # fmt: skip
    samples = [Sample(id=f"s{i:03d}", split="test", input="q") for i in range(100)]
    judgements = [
        Judgement(id=s.id, metric="exact_match", candidate=name, key=f"{name}{i}", score=float(i in right))
        for name, right in RIGHT.items() for i, s in enumerate(samples)
    ]  # fmt: skip
    with Store.open(Home(folder / ".muster")) as store:
        store.write_run(run, samples=samples, answers=[], judgements=judgements, trainings=[])
    decide_stored(*gated_suite(str(folder / "suite.yaml")), home=folder / ".muster")
    return folder


@pytest.fixture
def project(stored, pytester, monkeypatch):
    """A project of that folder; plugins of the environment stay out of it, but for this one."""
    shutil.copytree(stored, pytester.path, dirs_exist_ok=True)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def outcomes(project, text, *options):
    """Runs the test file in this process, with the plugin."""
    project.makepyfile(text)
    return project.runpytest_inprocess("-p", "harness.pytest_plugin", "-W", "always", "-rs", *options)


GATES = """
    import pytest

    def test_equal(muster):
        (verdict,) = muster.assert_gate("suite.yaml", candidate="equal")
        assert verdict.outcome == "pass"

    def test_worse(muster):
        muster.assert_gate("suite.yaml", candidate=["equal", "worse"], run="r1", home=".muster")

    @pytest.mark.muster_gate("suite.yaml", candidate="worse", baseline="equal")
    def test_marked():
        raise SystemExit("the gate is decided before the test")

    @pytest.mark.muster_gate("suite.yaml", candidate="equal")
    @pytest.mark.muster_gate("suite.yaml", candidate="base", baseline="equal")
    def test_marked_twice():
        pass

    def test_wrong(muster):
        muster.assert_gate("suite.yaml", candidate="nobody")
"""


def test_the_message_is_the_findings_sentences(project):
    """Passed where the gate passes; else the outcome and the sentence of each rule, without a traceback of muster's."""
    result = outcomes(project, GATES, "--strict-markers")
    result.assert_outcomes(passed=2, failed=3)
    text = result.stdout.str()
    sentence = "FAIL  worse's exact_match on test differs from {}'s by -0.400"
    assert text.count("FAIL (exit status 1)  worse against base, suite tiny, run r1") == 1
    assert "PASS (exit status 0)  equal against base, suite tiny, run r1" in text
    for baseline in ("base", "equal"):
        assert sentence.format(baseline) in text
    assert "muster: 'candidate' must be one of the run's (base, equal, worse, unsure) (got 'nobody')" in text
    assert "decide_stored" not in text


@pytest.mark.parametrize(
    ("options", "call", "wanted"),
    [([], "", {"failed": 1}), (["--muster-inconclusive=skip"], "", {"skipped": 1}),
     (["--muster-inconclusive=warn"], "", {"passed": 1, "warnings": 1}),
     (["--muster-inconclusive=skip"], ', inconclusive="fail"', {"failed": 1})],
)  # fmt: skip
def test_a_gate_that_cannot_tell_fails_skips_or_warns(project, options, call, wanted):
    """By the option, which the call overrides; the sentence with the samples needed is shown each time."""
    call = f'muster.assert_gate("suite.yaml", candidate="unsure"{call})'
    result = outcomes(project, f"def test_it(muster):\n    {call}", *options)
    result.assert_outcomes(**wanted)
    text = " ".join(result.stdout.str().split())
    assert "INCONCLUSIVE unsure's exact_match on test differs from base's by 0.000" in text
    assert "samples would be" in text


def test_nobody_else_pays(tmp_path):
    """Loaded into a project without gates it imports pytest and itself: no numpy, pydantic, duckdb, typer or rich."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n\ndef test_it():\n"
        "    heavy = {'numpy', 'scipy', 'duckdb', 'pydantic', 'typer', 'rich', 'torch', 'yaml'} & set(sys.modules)\n"
        "    ours = {name for name in sys.modules if name.startswith('harness')}\n"
        "    assert (heavy, ours) == (set(), {'harness', 'harness.pytest_plugin'})\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": "", "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_pytest_finds_the_plugin_by_its_entry_point():
    """As installed packages declare it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"muster": "harness.pytest_plugin"}
