"""The main job as a user runs it: a process, a folder, files that come out."""

import functools
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import dying
from tests.end_to_end.conftest import Project


@pytest.fixture(scope="module")
def finished(template, tmp_path_factory):
    """A project whose main job is done, by an interpreter that had imported nothing, and what that printed."""
    done = Project(Path(shutil.copytree(template, tmp_path_factory.mktemp("finished") / "project")))
    files = ("--report", "report.html", "--json", "verdict.json", "--junit", "junit.xml", "--summary", "summary.md")
    process = subprocess.run(
        [sys.executable, "-m", "harness", "run", "suite.yaml", *files], cwd=done.root, env=done.environment(),
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    return done, process.stdout + process.stderr


@pytest.fixture
def done(finished, tmp_path):
    """A project of its own in which the main job is done."""
    return Project(Path(shutil.copytree(finished[0].root, tmp_path / "done")))


def test_train_answer_judge_store_gate_and_report(finished):
    """One command makes adapter, store, bundle, report and verdict; what is printed is what is stored."""
    project, printed = finished
    run, answers, judgements = project.rows_of()
    assert run.status == "complete"
    per_candidate = {name: sum(a[0] == name for a in answers) for name in run.candidates}
    assert len(set(per_candidate.values())) == 1
    assert len(judgements) == 2 * len(answers)
    verdict = json.loads((project.root / "verdict.json").read_text())
    assert verdict["run"] == run.id if "run" in verdict else {v["run"] for v in verdict["verdicts"]} == {run.id}
    for name in ("report.html", "junit.xml", "summary.md"):
        assert (project.root / name).stat().st_size > 200
    assert run.id in printed
    assert not list((project.root / ".muster" / "runs").rglob("spool"))


def test_store_report_and_terminal_agree_to_the_last_digit(finished):
    """Each mean of the store stands in the report in full, and on the terminal rounded by the same function."""
    from harness.deciding.wording import number
    from harness.store import Home, Store

    project, printed = finished
    page = (project.root / "report.html").read_text(encoding="utf-8")
    with Store.open(Home(project.root / ".muster")) as store:
        rows = store.leaderboard(store.runs()[0].id)
    assert len(rows) == 3 * 2
    for _, _, candidate, n, unscored, mean in rows:
        shown = [float(m) for m in re.findall(r'data-mean="([^"]+)"', page)]
        assert any(abs(value - mean) < 1e-12 for value in shown)
        line = next(line for line in printed.splitlines() if line.startswith(candidate + " ") and "±" in line)
        assert number(mean) in line
        assert line.split()[-2:] == [str(n), str(unscored)]


STAGES = r"(?m)^  \w+ (trains|answers|judges) +\d+  in "
"""What a stage that computed something leaves on the terminal."""


def test_the_second_run_computes_nothing(done, finished):
    """An unchanged plan is the same run: everything comes from the store, and no stage does anything."""
    assert len(re.findall(STAGES, finished[1])) == 1 + 3 + 2
    before = done.rows_of()
    printed = done.muster("run", "suite.yaml")
    assert re.findall(STAGES, printed) == []
    assert done.rows_of() == before
    assert "up to date" in printed
    text = (done.root / "suite.yaml").read_text(encoding="utf-8")
    done.write(
        "suite.yaml", text.replace("{metric: token_f1, no_worse_by: 0.3}", "{metric: relevancy, no_worse_by: 0.3}")
    )
    assert "in an earlier run" in done.muster("check", "suite.yaml")  # power is told by the spread that was measured


def test_a_new_judge_only_judges(done):
    """Adding a judge asks no candidate again: the answers' keys and texts stay."""
    _, answers, judgements = done.rows_of()
    text = (done.root / "suite.yaml").read_text()
    done.write("suite.yaml", text.replace("judges:\n", "judges:\n  exact: {kind: exact_match}\n"))
    printed = done.muster("run", "suite.yaml")
    _, new_answers, new_judgements = done.rows_of()
    assert new_answers == answers
    assert {j for j in new_judgements if j[2] != "exact"} == set(judgements)
    assert re.search(r"lora answers +\d+ cached", printed)


def test_other_weights_at_the_same_path_are_another_candidate(done):
    """Retraining into the same folder never serves a stale answer: the key holds the tensors."""
    from safetensors.torch import load_file, save_file

    adapter = next(p for p in (done.root / ".muster" / "adapters").iterdir() if p.is_dir())
    shutil.copytree(adapter, done.root / "mine")
    suite = (done.root / "suite.yaml").read_text()
    start, end = suite.index("  lora:"), suite.index("judges:")
    done.write(
        "suite.yaml", suite[:start] + "  mine: {model: {kind: transformers, path: base, adapter: mine}}\n" + suite[end:]
    )
    (done.root / "mine" / "manifest.json").unlink()
    done.muster("run", "suite.yaml")
    first, *_ = done.rows_of()
    tensors = load_file(done.root / "mine" / "adapter_model.safetensors")
    save_file({k: v * -3 for k, v in tensors.items()}, done.root / "mine" / "adapter_model.safetensors")
    printed = done.muster("run", "suite.yaml")
    second, *_ = done.rows_of()
    assert first.candidates["mine"] != second.candidates["mine"]
    assert not re.search(r"mine answers +\d+ cached", printed)


@pytest.mark.parametrize(
    "death",
    [
        functools.partial(dying.in_training, 7),
        functools.partial(dying.in_journal, "answers-", 2),
        functools.partial(dying.in_journal, "judgements-", 1),
    ],
    ids=["lora trains", "few_shot answers", "relevancy judges"],
)
def test_kill_9_and_again_gives_the_uninterrupted_rows(project, finished, death):
    """Killed in training, in answering or in judging, the next run ends with the same rows."""
    process = project.start("run", "suite.yaml", "--home", "killed", before=death)
    printed = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, printed
    project.muster("run", "suite.yaml", "--home", "killed")
    _, answers, judgements = project.rows_of("killed")
    _, expected_answers, expected_judgements = finished[0].rows_of()
    assert answers == expected_answers
    assert [row[:4] for row in judgements] == [row[:4] for row in expected_judgements]
    scores, expected = [row[4] for row in judgements], [row[4] for row in expected_judgements]
    assert scores == pytest.approx(
        expected, abs=1e-6
    )  # an encoder's batches may be composed otherwise: float32 rounding


def test_an_unreachable_endpoint_leaves_everything_else(project):
    """The candidate behind it has no scores and says why; the others are complete; status 4."""
    text = (project.root / "suite.yaml").read_text()
    endpoint = "  api: {model: {kind: openai, name: m, base_url: 'http://127.0.0.1:9/v1', max_retries: 0}}\n"
    project.write("suite.yaml", text.replace("judges:\n", endpoint + "judges:\n"))
    printed = project.muster("run", "suite.yaml", status=4)
    run, answers, judgements = project.rows_of()
    assert run.status == "incomplete"
    assert all((text is None) == (name == "api") for name, _, _, text in answers)
    assert all((score is None) == (name == "api") for name, *_, score in judgements)
    assert "127.0.0.1:9" in printed


def test_a_missing_adapter_leaves_everything_else(project):
    """A candidate that cannot be loaded is named; the others are complete; status 4. A path to a folder that is not there
    is a mistake of the suite: its line and column, status 2.
    """
    text = (project.root / "suite.yaml").read_text()

    def with_adapter(name):
        line = f"  gone: {{model: {{kind: transformers, path: base, adapter: {name}}}}}\n"
        project.write("suite.yaml", text.replace("judges:\n", line + "judges:\n"))

    with_adapter("no/such/adapter")
    assert re.search(r"suite.yaml:\d+:\d+: .*no/such/adapter", project.muster("run", "suite.yaml", status=2))
    with_adapter("nowhere")
    printed = project.muster("run", "suite.yaml", status=4)
    _, answers, _ = project.rows_of()
    assert {name for name, _, _, text in answers if text is None} == {"gone"}
    assert "nowhere" in printed


def test_an_answer_file_that_misses_samples(project):
    """Recorded answers match by input; the missing ones are counted and unscored, never zero; status 4."""
    made = [json.loads(line) for line in (project.root / "rows.jsonl").read_text().splitlines()]
    lines = [json.dumps({"input": row["question"], "answer": row["answer"]}) for row in made[:100]]
    project.write("answers.jsonl", "\n".join(lines) + "\n")
    text = (project.root / "suite.yaml").read_text()
    recorded = "  recorded: {model: {kind: answers, path: answers.jsonl}}\n"
    project.write("suite.yaml", text.replace("judges:\n", recorded + "judges:\n"))
    printed = project.muster("run", "suite.yaml", status=4)
    _, answers, judgements = project.rows_of()
    missing = {sample for name, sample, _, text in answers if name == "recorded" and text is None}
    assert missing
    scored = [j for j in judgements if j[0] == "recorded" and j[2] == "token_f1" and j[4] is not None]
    assert {j[4] for j in scored} == {1.0}
    assert str(len(missing)) in printed


def test_test_rows_in_the_training_split_stop_the_training(project):
    """A leaked row is named by number before anything is trained; status 2."""
    made = (project.root / "rows.jsonl").read_text().splitlines()
    project.write("test.jsonl", "\n".join(made[:30]) + "\n")
    text = (project.root / "suite.yaml").read_text()
    project.write("suite.yaml", text.replace("test: {share: 0.4}", "test: {path: test.jsonl}"))
    printed = project.muster("run", "suite.yaml", status=2)
    assert re.search(r"row \d+", printed)
    assert not (project.root / ".muster" / "adapters").exists() or not any(
        (project.root / ".muster" / "adapters").iterdir()
    )
