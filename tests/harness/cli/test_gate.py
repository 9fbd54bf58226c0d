"""`muster gate` and `muster compare` on a stored run, from the command line to the files."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.compare import compare
from harness.cli.gate import aa, gate, write_surfaces
from harness.cli.groups import SurfaceCommand
from harness.errors import NothingEvaluatedError, UserError
from harness.records import Failure, Judgement, Metric, Run, Sample
from harness.store import Home, Store

SUITE = """
suite: tiny
data: {path: rows.jsonl, fields: {input: question, reference: answer}}
splits: {test: {share: 1}}
candidates:
  base: {model: {kind: answers, path: base.jsonl}}
  good: {model: {kind: answers, path: good.jsonl}}
  bad: {model: {kind: answers, path: bad.jsonl}}
judges: {exact_match: {}}
gate:
  baseline: base
  rules: [{metric: exact_match, no_worse_by: 0.1}, {coverage: 0.98}]
"""


@pytest.fixture
def home(tmp_path):
    """A folder with a suite and a store of two runs: in the second, `bad` is worse and `good` equal."""
    (tmp_path / "suite.yaml").write_text(SUITE)
    for name in ("rows", "base", "good", "bad"):
        (tmp_path / f"{name}.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    store_run(tmp_path, "r1", "2026-01-01T00:00:00Z", {"base": 60, "good": 30, "bad": 60})
    store_run(tmp_path, "r2", "2026-01-02T00:00:00Z", {"base": 60, "good": 60, "bad": 20})
    return tmp_path


def store_run(folder, run_id, started, right, judge="j1", unscored=0, modes=None):
    """Writes a run of 100 samples in which each candidate has so many answers right, and the last ones unscored."""
    run = Run(
        id=run_id, key=run_id, suite="tiny", suite_version=1, suite_sha="s", data_sha="d", status="complete",
        started=started, finished=started, seconds=1.0, candidates={name: name for name in right},
        metrics=(Metric(name="exact_match"),), judges={"exact_match": judge},
    )  # fmt: skip
    samples = [Sample(id=f"s{i:03d}", split="test", input="q") for i in range(100)]
    failure = Failure(kind="no_answer", message="none")
    judgements = [
        Judgement(id=s.id, metric="exact_match", candidate=name, key=f"{run_id}{name}{i}",
                  evidence={"mode": modes[name]} if modes else {},
                  score=None if i >= 100 - unscored else float(i < count),
                  error=failure if i >= 100 - unscored else None)
        for name, count in right.items() for i, s in enumerate(samples)
    ]  # fmt: skip
    with Store.open(Home(folder / "home")) as store:
        store.write_run(run, samples=samples, answers=[], judgements=judgements, trainings=[])


def typed(verb, *arguments):
    """Runs a verb as the command line does."""
    app = typer.Typer()
    app.command(cls=SurfaceCommand)(verb)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


def test_the_exit_status_and_every_file_tell_the_same(home):
    """One candidate fails, one is equal: exit 1, and the JSON, JUnit and Markdown files say so too."""
    files = {kind: home / "out" / f"verdict.{kind}" for kind in ("json", "junit", "summary")}
    options = [part for kind, file in files.items() for part in (f"--{kind}", file)]
    done = typed(gate, home / "suite.yaml", "--home", home / "home", *options)
    assert done.exit_code == 1
    read = json.loads(files["json"].read_text())
    assert (read["outcome"], read["exit_status"]) == ("fail", 1)
    assert [(v["candidate"], v["outcome"], v["run"]) for v in read["verdicts"]] == [
        ("good", "pass", "r2"), ("bad", "fail", "r2"),
    ]  # fmt: skip
    assert ElementTree.parse(files["junit"]).getroot().attrib["failures"] == "1"
    assert files["summary"].read_text().startswith("## muster: FAIL (exit status 1)")
    assert "FAIL (exit status 1)  bad against base" in done.output
    assert "PASS (exit status 0)  good against base" in done.output


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--candidate", "good"], 0), (["--candidate", "bad"], 1), (["--run", "r1", "--candidate", "good"], 1),
     (["--run", "r1", "--candidate", "bad"], 0), (["--candidate", "good", "--baseline", "r1:base"], 0),
     (["--candidate", "bad", "--baseline", "r1"], 1)],
)  # fmt: skip
def test_run_candidate_and_baseline_can_be_chosen(home, arguments, status):
    """An older run is another verdict; the baseline may stand in another run, named or of the candidate's name."""
    assert typed(gate, home / "suite.yaml", "--home", home / "home", *arguments).exit_code == status


def test_inconclusive_blocks_or_warns(home):
    """Half of the answers lacking: coverage aside, nothing can be shown; `warn` keeps the word and drops the status."""
    store_run(home, "r3", "2026-01-03T00:00:00Z", {"base": 60, "good": 60}, unscored=20)
    suite = home / "suite.yaml"
    suite.write_text(SUITE.replace(", {coverage: 0.98}", ""))
    blocked, warned = (
        typed(gate, suite, "--home", home / "home", "--inconclusive", mode, "--json", home / f"{mode}.json")
        for mode in ("block", "warn")
    )
    assert (blocked.exit_code, warned.exit_code) == (3, 0)
    assert "INCONCLUSIVE (exit status 0, a warning)" in warned.output
    read = json.loads((home / "warn.json").read_text())
    assert (read["outcome"], read["exit_status"]) == ("inconclusive", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--run", "r9"], "r9"), (["--candidate", "lora"], "'candidate' must be one of the run's"),
     (["--candidate", "good", "--baseline", "r1:nobody"], "nobody")],
)  # fmt: skip
def test_wrong_names_are_user_errors(home, arguments, message):
    """One line with the value: exit status 2."""
    done = typed(gate, home / "suite.yaml", "--home", home / "home", *arguments)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_baseline_of_another_judge_is_refused(home):
    """Scores of different judges are no pair."""
    store_run(home, "r0", "2025-01-01T00:00:00Z", {"base": 50}, judge="j0")
    done = typed(gate, home / "suite.yaml", "--home", home / "home", "--baseline", "r0:base", "--candidate", "good")
    assert isinstance(done.exception, UserError)
    assert "exact_match" in str(done.exception)


def test_a_file_without_a_verdict_is_not_written(tmp_path):
    """What an earlier gate left must not be taken for this one's."""
    with pytest.raises(NothingEvaluatedError, match="no verdict"):
        write_surfaces([], json=tmp_path / "verdict.json", junit=None, summary=None)
    write_surfaces([], json=None, junit=None, summary=None)


def test_compare_shows_difference_and_flips(home):
    """Two candidates of the latest run: difference, interval, counts, and the samples that flipped."""
    done = typed(compare, "bad", "base", "--home", home / "home", "--flips", 3)
    assert done.exit_code == 0
    assert "bad against base on test" in done.output
    for text in ("-0.400", "0/60/40", "n 100, 0 unscored", "worse", "s020", "s022"):
        assert text in done.output
    assert "s023" not in done.output


def test_compare_pairs_two_runs_by_candidate(home):
    """Two runs: every candidate they share, each against itself."""
    done = typed(compare, "r2", "r1", "--home", home / "home", "--flips", 0)
    assert done.exit_code == 0
    for text in ("r2:base against r1:base", "r2:good against r1:good", "+0.300", "-0.400", "not told apart"):
        assert text in done.output


@pytest.mark.parametrize(
    "arguments", [["base", "lora"], ["base", "good", "--metric", "bleu"], ["base", "good", "--confidence", "95"]]
)
def test_compare_names_what_it_does_not_know(home, arguments):
    """Unknown candidates, metrics and confidences are user errors."""
    assert isinstance(typed(compare, *arguments, "--home", home / "home").exception, UserError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "good"], r"must be two candidates \(got r2:good twice\)"),
        (["r1", "r1"], r"must be two runs \(got r1 twice\)"),
        (
            ["god", "base"],
            r"one of run r2's \(base, good, bad\), RUN:CANDIDATE or a run \(got 'god'\) \(did you mean 'good'\?\)",
        ),
        (["base", "r9"], r"one of run r2's .*\(got 'r9'\)"),
        (["r9", "r8"], r"one of run r2's .*\(got 'r9'\)"),
    ],
)
def test_compare_needs_two_things_that_it_knows(home, arguments, message):
    """A side with itself is refused as that, and a misspelt candidate is not taken for a run."""
    with pytest.raises(UserError, match=message):
        raise typed(compare, *arguments, "--home", home / "home").exception


def test_gating_loads_no_model_stack(home):
    """No torch, transformers, peft, trl, datasets or openai in a whole `muster gate`."""
    code = f"""
import sys
from pathlib import Path
import typer
from harness.cli.gate import gate
try:
    gate({str(home / "suite.yaml")!r}, candidate=["good"], home=Path({str(home / "home")!r}))
except typer.Exit as done:
    assert done.exit_code == 0
heavy = {{"torch", "transformers", "peft", "trl", "datasets", "openai", "sklearn"}} & set(sys.modules)
sys.exit(" ".join(sorted(heavy)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_scores_of_different_modes_are_neither_gated_nor_compared(home):
    """The base was scored by logprobs, the candidate by draws: exit 3 with the way out, and no difference is shown."""
    modes = {"base": "topk", "good": "sampled"}
    store_run(home, "r4", "2026-01-04T00:00:00Z", {"base": 10, "good": 90}, modes=modes)
    done = typed(gate, home / "suite.yaml", "--home", home / "home")
    assert done.exit_code == 3
    assert "different modes" in " ".join(done.output.split())
    done = typed(compare, "good", "base", "--home", home / "home")
    assert "not compared, for the modes differ: exact_match (good sampled (100), base topk (100))" in " ".join(
        done.output.split()
    )


@pytest.mark.parametrize(("flag", "start"), [("--json", "{"), ("--junit", "<?xml"), ("--summary", "## muster: FAIL")])
def test_a_bare_flag_sends_its_surface_alone_to_standard_output(home, flag, start):
    """What a pipe reads is the surface and nothing else; people read the rest on standard error."""
    where = [home / "suite.yaml", "--home", home / "home"]
    told, filed = typed(gate, *where, flag), typed(gate, *where, flag, home / "file")
    assert (told.exit_code, filed.exit_code) == (1, 1)
    assert told.stdout == (home / "file").read_text()
    assert told.stdout.startswith(start)
    assert "FAIL (exit status 1)  bad against base" in told.stderr
    before = typed(gate, flag, *where)  # the suite is no FILE
    assert (before.exit_code, before.stdout) == (1, told.stdout)
    assert (home / "suite.yaml").read_text() == SUITE


def test_surfaces_never_overwrite_the_suite_nor_each_other(home):
    """The suite named as the FILE, and two surfaces on one standard output, are refused before anything is decided."""
    where = [home / "suite.yaml", "--home", home / "home"]
    for wrong in (["--json", home / "suite.yaml"], ["--json", home / "rows.jsonl"], ["--json", "--junit", "-"]):
        done = typed(gate, *where, *wrong)
        assert isinstance(done.exception, UserError)
        assert done.stdout == ""
    assert (home / "suite.yaml").read_text() == SUITE


def test_the_rules_are_locked_before_a_run_and_a_later_edit_shows(home):
    """`--lock` writes beside the suite and decides nothing; an edit afterwards is told by the next gate, which decides."""
    suite, where = home / "suite.yaml", ["--home", home / "home", "--candidate", "good"]
    done = typed(gate, suite, "--lock", "--home", home / "nowhere")
    assert (done.exit_code, (home / "suite.lock.json").is_file()) == (0, True)
    assert "changed since locked" not in typed(gate, suite, *where).output
    suite.write_text(SUITE.replace("no_worse_by: 0.1", "no_worse_by: 0.3"))
    done = typed(gate, suite, *where)
    assert done.exit_code == 0
    told = " ".join(done.output.split())
    assert "'exact_match no_worse_by 0.1' is now 'exact_match no_worse_by 0.3'" in told


def test_the_baseline_against_itself_is_certified_and_kept(home):
    """`muster gate aa`: the rate with its interval, exit 0, and the store knows it afterwards."""
    done = typed(aa, home / "suite.yaml", "--home", home / "home", "--repeats", "40")
    assert done.exit_code == 0
    assert "A model exactly as good as base fails these rules in" in " ".join(done.output.split())
    with Store.open(Home(home / "home"), read_only=True) as store:
        kept = store.certificate("r2")
        assert store.certificate("r1") is None
    assert (kept.repeats, kept.baseline, kept.left_out) == (40, "base", ("coverage 0.98",))


def test_a_sample_that_must_pass_is_one_of_the_run(home):
    """An id that no sample has is told at its line before anything is decided; one that fails, fails the gate by name."""
    rules = "[{metric: exact_match, at_least: 1, must_pass: [s000, s025]}]"
    suite = home / "suite.yaml"
    suite.write_text(SUITE.replace("[{metric: exact_match, no_worse_by: 0.1}, {coverage: 0.98}]", rules))
    done = typed(gate, suite, "--home", home / "home", "--json")
    read = json.loads(done.stdout)
    assert [verdict["outcome"] for verdict in read["verdicts"]] == ["pass", "fail"]
    assert "bad fails 1 of the 2 samples" in read["verdicts"][1]["findings"][0]["message"]
    suite.write_text(suite.read_text().replace("s025", "s0250"))
    done = typed(gate, suite, "--home", home / "home")
    assert "suite.yaml:12:64: gate.rules[0].must_pass[1]: must name samples of 'test' (got 's0250')" in str(
        done.exception
    )
    assert "did you mean 's0" in str(done.exception)
