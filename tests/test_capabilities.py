"""docs/capabilities.md: sixteen capabilities, each with its commands, and each command does what the page says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.test_bad_inputs import Place

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "capabilities.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## (\d+)\. [^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    muster (.*) → (\d+)$", PAGE, re.MULTILINE)
TESTS = re.findall(r"tests/[\w/]+\.py", PAGE)
SUITE = """\
suite: capable
data:
  path: rows.jsonl
  fields: {input: question, reference: answer, slices: [kind]}
splits: {test: {share: 1.0}}
candidates:
  base: {model: {kind: answers, path: base.jsonl}}
  better: {model: {kind: answers, path: better.jsonl}}
  worse: {model: {kind: answers, path: worse.jsonl}}
  twin: {model: {kind: answers, path: twin.jsonl}}
  unsure: {model: {kind: answers, path: unsure.jsonl}}
  uneven: {model: {kind: answers, path: uneven.jsonl}}
judges: {exact_match: {}}
gate:
  baseline: base
  rules:
    - {metric: exact_match, no_worse_by: 0.05}
"""
GAPS = """\
extends: suite.yaml
suite: gaps
candidates:
  gaps: {model: {kind: answers, path: gaps.jsonl}}
"""
SLICES = """\
extends: suite.yaml
gate:
  baseline: base
  rules:
    - {metric: exact_match, no_worse_by: 0.15}
    - {metric: exact_match, no_worse_by: 0.3, each: kind}
"""
COUNT = 240
KINDS = ("cough", "fever", "rash", "fall", "sleep", "diet", "pain", "other")


def is_right(candidate: str, number: int) -> bool | None:
    """Whether a candidate's answer to a row is right; None where it has none. The base has 7 of 10 right."""
    base = number % 10 < 7
    match candidate:
        case "better":
            return base or number % 10 < 9
        case "worse":
            return base and number % 10 < 4
        case "unsure":  # as many gained as lost
            return base ^ (number % 10 in (0, 1, 7, 8))
        case "gaps":  # three of a hundred rows have no answer: all others are as the base's
            return None if number % 33 == 7 else base
        case "uneven":
            return base and KINDS[number % len(KINDS)] != "rash"
        case _:
            return base


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a suite of recorded answers of known quality."""
    found = Place(tmp_path_factory.mktemp("capable"))
    found.write("suite.yaml", SUITE)
    found.write("slices.yaml", SLICES)
    found.write("gaps.yaml", GAPS)
    rows = [
        {"question": f"what is number {n}?", "answer": f"it is {n}", "kind": KINDS[n % len(KINDS)]}
        for n in range(COUNT)
    ]
    found.rows("rows.jsonl", rows)
    for candidate in re.findall(r"path: (\w+)\.jsonl\}\}", SUITE + GAPS):
        answers = [(row, is_right(candidate, n)) for n, row in enumerate(rows)]
        found.rows(
            f"{candidate}.jsonl",
            [
                {"input": r["question"], "answer": r["answer"] if right else "no"}
                for r, right in answers
                if right is not None
            ],
        )
    rated = [
        {"reference": "yes", "answer": f"yes{' ' * (n % 2)}{n % 3 or ''}", "label": int(n % 3 == 0)} for n in range(30)
    ]
    found.rows("rated.jsonl", rated)
    return found


@pytest.mark.parametrize(("command", "status"), COMMANDS)
def test_the_command_does_what_the_page_says(place, command, status):
    """The exit status behind the arrow, in the page's order; what a store holds is deleted before it is made anew."""
    if command == "store rebuild":
        (place.root / ".muster" / "store.duckdb").unlink()
    returned, lines = place.muster(*shlex.split(command))
    assert returned == int(status), (lines, place.out)


def test_the_page_has_sixteen_capabilities_each_with_a_command():
    """None is only told."""
    assert [number for number, _ in SECTIONS] == [str(number) for number in range(1, 17)]
    assert all(re.search(r"^    (muster|pytest) ", text, re.MULTILINE) for _, text in SECTIONS)


def test_the_named_tests_exist():
    """They run with all others."""
    assert TESTS
    assert [name for name in TESTS if not (REPOSITORY / name).is_file()] == []


def test_the_files_say_the_same(place):
    """What the commands left: verdict and JUnit of one gate agree; where answers lacked, no pass stands."""
    verdict = json.loads((place.root / "verdict.json").read_text())
    assert verdict["exit_status"] == 1
    outcomes = {one["candidate"]: one["outcome"] for one in verdict["verdicts"]}
    assert (outcomes["better"], outcomes["worse"], outcomes["unsure"]) == ("pass", "fail", "inconclusive")
    gaps = json.loads((place.root / "gaps.json").read_text())
    assert gaps["outcome"] == "incomplete"
    assert gaps["findings"][0]["n_unscored"] == 8
    assert json.loads((place.root / "slices.lock.json").read_text())["gate"]
    assert (place.root / "junit.xml").read_text().count("<failure") >= 2
