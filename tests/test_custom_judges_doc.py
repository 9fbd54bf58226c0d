"""docs/custom_judges.md is true: its files are written, its commands run, and they print what they should."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from harness.store import Home, Store
from tests.processes import Command

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "custom_judges.md").read_text(encoding="utf-8")
SHORT, LONG = "We open at nine.", "Well, that depends on very many things which I could go on about for hours."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page's files, and data to judge."""
    root = tmp_path_factory.mktemp("desk")
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL):
        (root / name).write_text(text)
    questions = [{"question": f"When does library {n} open?", "answer": f"At {n}."} for n in range(12)]
    rows = {
        "questions": questions,
        "old": [{"input": row["question"], "answer": LONG} for row in questions],
        "new": [{"input": row["question"], "answer": SHORT} for row in questions],
        "answers": [{"id": 1, "answer": SHORT}, {"id": 2, "answer": ""}, {"id": 3, "answer": "NO! no!"}],
    }
    for name, lines in rows.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def muster(folder, command):
    """The exit status and what was printed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "CI": "1", "COLUMNS": "200"}
    done = Command(shlex.split(command)[1:], cwd=folder, env=environment)
    printed = "".join(done.communicate(timeout=300))
    return done.returncode, printed


def commands():
    """Every command of the page, as it stands there."""
    return re.findall(r"(?:^    |`)(muster (?:run|score) [^`\n]+)", PAGE, re.MULTILINE)


def test_the_page_shows_all_ways():
    """A run, a score by suite, a score by factory, and one of an object."""
    assert len(commands()) == 4


def test_a_suite_with_custom_judges_runs_and_gates(folder):
    """Refused with the place unless agreed to; then both judges score, and a second run judges nothing."""
    run = commands()[0]
    status, said = muster(folder, run.removesuffix(" --trust-code"))
    assert (status, "suite.yaml:8:3: judges.brevity: " in said, "--trust-code" in said) == (2, True, True), said
    status, said = muster(folder, run)
    assert status == 0, said
    with Store.open(Home(folder / ".muster")) as store:
        stored = store.runs()[0]
        scores = {(j.candidate, j.metric): j.score for j in store.judgements(stored.id)}
    assert scores["new", "brevity"] == 1.0
    assert scores["old", "brevity"] == pytest.approx(8 / 15)
    assert scores["new", "on_topic"] > scores["old", "on_topic"]
    status, said = muster(folder, run)
    assert (status, "judges  " in said) == (0, False), said


def test_scores_of_the_page(folder):
    """By suite and by factory the same; an empty answer is the page's own typed null."""
    for command in commands()[1:3]:
        status, said = muster(folder, command)
        assert status == 0, said
        lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
        assert [line["score"] for line in lines] == [1.0, None, 1.0]
        assert [line["label"] for line in lines] == ["short", None, "short"]
        assert lines[1]["error"]["kind"] == "no_answer"
    status, said = muster(folder, commands()[3])
    assert status == 0, said
    lines = [json.loads(line) for line in (folder / "shouting.jsonl").read_text().splitlines()]
    assert [line["score"] for line in lines] == [pytest.approx(1 / 12), 0.0, 0.5]
