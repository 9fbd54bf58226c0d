"""One verdict, many surfaces: they agree, and no text can break out of any of them."""

import io
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.deciding import gate
from harness.deciding.comparison import leaderboard
from harness.deciding.scores import Scores
from harness.deciding.surfaces import (
    leaderboard_tables,
    to_dict,
    to_json,
    to_junit,
    to_markdown,
    to_terminal,
    trust_note,
)
from harness.records import Calibration, Figure, Finding, Verdict

HOSTILE = [
    "<script>alert(1)</script>", "a|b", "`x`", "@octocat", "]]>", "\x1b[31mred\x1b[0m", "\x00\x08", "\ud800", "&amp;",
    "line\nbreak", "[link](http://evil.example)", "www.evil.example", "\u202egnp.exe", "'\"", "[bold]rich[/bold]",
    "--> <!--",
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.just("lora"))
NUMBERS = st.one_of(st.none(), st.floats(-1, 1))


@st.composite
def verdicts(draw):
    """Verdicts as the gate makes them: the outcome is the worst finding's, the exit status the outcome's."""
    findings = tuple(
        Finding(
            rule=draw(TEXTS), metric=draw(TEXTS), split=draw(TEXTS), outcome=draw(st.sampled_from(gate.SEVERITY)),
            estimate=draw(NUMBERS), low=draw(NUMBERS), high=draw(NUMBERS), threshold=draw(st.floats(-1, 1)),
            n=draw(st.integers(0, 99)), n_unscored=draw(st.integers(0, 99)),
            n_needed=draw(st.none() | st.integers(1, 999)),
            message=draw(TEXTS), slice=draw(st.none() | TEXTS), unit=draw(st.sampled_from([None, "s"])),
        )
        for _ in range(draw(st.integers(1, 4)))
    )  # fmt: skip
    outcome = gate.worst_outcome([finding.outcome for finding in findings])
    mode = draw(st.sampled_from(["block", "warn"]))
    status = 0 if (outcome, mode) == ("inconclusive", "warn") else gate.EXIT_STATUS[outcome]
    return Verdict(
        outcome=outcome, exit_status=status, suite=draw(TEXTS), suite_sha="5" * 64, run="run1", candidate=draw(TEXTS),
        baseline=draw(st.none() | TEXTS), confidence=0.95, findings=findings,
    )  # fmt: skip


def shown(renderable, width=200):
    """What a terminal of this width would show, without colour."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


@given(st.lists(verdicts(), min_size=1, max_size=3))
def test_all_surfaces_tell_the_same(found):
    """Exit status, JSON, JUnit, Markdown and terminal name the same outcomes and the same exit status."""
    status, worst = gate.worst_exit_status(found), gate.worst_verdict(found)
    counts = {outcome: sum(f.outcome == outcome for v in found for f in v.findings) for outcome in gate.SEVERITY}

    read = json.loads(to_json(found))
    assert (read["outcome"], read["exit_status"]) == (worst.outcome, status)
    each = read["verdicts"] if len(found) > 1 else [read]
    assert [v["exit_status"] for v in each] == [v.exit_status for v in found]

    root = ElementTree.fromstring(to_junit(found))
    skipped = sum(f.outcome == "inconclusive" for v in found for f in v.findings if v.exit_status == 0)
    failures = [node.attrib["type"] for node in root.iter("failure")]
    assert failures.count("fail") == counts["fail"]
    assert failures.count("inconclusive") == counts["inconclusive"] - skipped
    assert len(list(root.iter("error"))) == counts["incomplete"] == int(root.attrib["errors"])
    assert len(list(root.iter("skipped"))) == skipped == int(root.attrib["skipped"])
    assert len(list(root.iter("testcase"))) == sum(counts.values()) == int(root.attrib["tests"])

    heading = f"{worst.outcome.upper()} (exit status {status}"
    markdown = to_markdown(found)
    assert markdown.startswith(f"## muster: {heading}")
    assert len(re.findall(r"^\| (?:PASS|FAIL|INCONCLUSIVE|INCOMPLETE) \|", markdown, re.M)) == sum(counts.values())

    lines = shown(to_terminal(found)).splitlines()
    assert any(line.startswith(heading) for line in lines)
    assert len([line for line in lines if re.match("(PASS|FAIL|INCONCLUSIVE|INCOMPLETE) [(]exit", line)]) >= len(found)

    if worst.outcome == "inconclusive" and status == 0:
        assert "a warning" in markdown
        assert "a warning" in shown(to_terminal(found))
        assert "a warning" in to_junit(found)


@given(st.lists(verdicts(), min_size=1, max_size=3))
def test_no_text_breaks_out(found):
    """Any name or message leaves the JUnit tree, the Markdown tables and the terminal as they are."""
    root = ElementTree.fromstring(to_junit(found).encode())
    known = {
        "testsuites",
        "testsuite",
        "testcase",
        "properties",
        "property",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    assert {node.tag for node in root.iter()} <= known
    for suite in root.iter("testsuite"):
        names = [case.attrib["name"] for case in suite.iter("testcase")]
        assert len(set(names)) == len(names)
    markdown = to_markdown(found)
    markdown.encode("utf-8")
    assert "<" not in markdown
    assert "@octocat" not in markdown
    assert "http://" not in markdown
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 9
    text = shown(to_terminal(found), width=300)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_the_json_is_the_contracts(make_run, make_scores):
    """Exactly the promised keys are there, for one candidate and for several."""
    declared = gate.Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", "better_by": 0.05}]})
    scores = make_scores({"base": [0.2] * 30, "lora": [0.9] * 30, "worse": [0.1] * 30})
    found = gate.decide_all(declared, run=make_run(("base", "lora", "worse")), scores=scores)
    one = to_dict(found[:1])
    assert set(one) >= {"outcome", "exit_status", "suite", "run", "candidate", "baseline", "confidence", "findings"}
    assert set(one["findings"][0]) == {
        "rule", "metric", "split", "outcome", "estimate", "low", "high", "threshold", "n", "n_unscored", "n_needed",
        "message", "slice", "unit",
    }  # fmt: skip
    several = to_dict(found)
    assert (several["outcome"], several["exit_status"]) == ("fail", 1)
    assert several["verdicts"][0] == one
    with pytest.raises(ValueError, match="at least one"):
        to_dict([])


def test_a_summary_stays_below_its_limit_and_says_what_it_left_out(make_run, make_scores):
    """GitHub drops a whole summary above 1 MiB."""
    names = [f"c{i}" for i in range(40)]
    declared = gate.Gate.model_validate({"rules": [{"metric": "correctness", "at_least": 0.5}]})
    found = gate.decide_all(declared, run=make_run(names), scores=make_scores(dict.fromkeys(names, [1] * 20)))
    text = to_markdown(found, limit=5000)
    assert len(text.encode()) <= 5000
    left_out = int(re.search(r"(\d+) of 40 verdicts did not fit", text)[1])
    assert text.count("### ") == 40 - left_out


def test_the_terminal_fits_eighty_columns_and_needs_no_colour(make_run, make_scores):
    """The rule, its outcome in words, the numbers, and the sentence of what did not pass."""
    declared = gate.Gate.model_validate({"baseline": "base", "rules": [
        {"metric": "correctness", "better_by": 0.05}, {"metric": "correctness", "at_least": 0.1}, {"coverage": 0.98},
    ]})  # fmt: skip
    scores = make_scores({"base": [0.5, 0.4] * 15, "lora": [0.5, 0.41] * 15})
    text = shown(to_terminal(gate.decide_all(declared, run=make_run(), scores=scores)), width=80)
    assert text.startswith("FAIL (exit status 1)  lora against base\n")
    assert re.search(r"FAIL +correctness better_by 0.05 +0.0050 +0.0034 to 0.0066 +30 +0 *$", text, re.M)
    assert "it is not better by more than 0.05." in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_leaderboard_shows_each_mean_with_n_and_unscored(make_run, make_rows):
    """± the longer side of the interval; where counts differ among metrics, they stand in each cell."""
    rows = make_rows({"base": [0, 1] * 20, "lora": [1] * 30 + [None] * 10})
    rows += make_rows({"base": [0.1] * 40, "lora": [0.2] * 40}, metric="toxicity")
    scores = Scores.from_rows(rows)
    text = shown(leaderboard_tables(leaderboard(scores, make_run().metrics), make_run().metrics))
    assert "correctness ↑" in text
    assert "toxicity ↓" in text
    assert "grade" not in text
    base, lora = (
        next(line for line in text.splitlines() if line.strip().startswith(name)) for name in ("base", "lora")
    )
    assert base.split()[1:3] == ["0.500", "±0.148"]
    assert lora.split()[1:3] == ["1.000", "±0.116"]
    for counts in ("n 40, 0 unscored", "n 30, 10 unscored"):
        assert counts in text


def card(name, labels, value, seen=""):
    """A calibration card of one figure."""
    return Calibration(
        judge="j", fingerprint="f", labels=labels, labels_sha=labels, task="binary", n=600, unscored=0, clusters=None,
        figures=(Figure(name=name, value=value, low=value - 0.02, high=value + 0.02),), made="", seen=seen,
    )  # fmt: skip


def test_the_note_says_how_far_each_judge_is_trusted():
    """One card in full, several as a range by figure, rows of the training left out where there are others, none as none."""
    note = shown(
        trust_note(
            {
                "one": [card("auroc", "nq", 0.871)],
                "two": [card("auroc", "a", 0.7), card("auroc", "b", 0.9), card("spearman", "c", 0.5),
                        card("auroc", "d", 0.99, "seen")],
                "seen": [card("auroc", "d", 0.99, "seen")],
                "rouge": [], "\x1b[31m": [],
            }
        ),
        width=400,
    )  # fmt: skip
    assert note.split(" · ") == [
        "judges against people: one AUROC 0.871 (0.851 to 0.891) on nq, n 600",
        "two AUROC 0.700 to 0.900 on 2 sets, Spearman 0.500 on 1 set",
        "seen AUROC 0.990 (0.970 to 1.010) on d, n 600",
        "not calibrated: rouge, [31m\n",
    ]
