"""Rules that were locked, or declared before a run: what was edited since is named, on every surface."""

import json

import pytest

from harness.deciding import gate, lock
from harness.deciding.surfaces import to_dict, to_junit, to_markdown
from harness.errors import UserError
from harness.suite import load_suite
from harness.suite.grammar import Gate

SUITE = """
suite: tiny
data: {path: rows.jsonl, fields: {input: q, reference: a}}
splits: {test: {share: 1}}
candidates: {base: {model: {kind: answers, path: rows.jsonl}}, lora: {model: {kind: answers, path: rows.jsonl}}}
judges: {correctness: {kind: token_f1}, toxicity: {}}
gate:
  baseline: base
  rules: [{metric: correctness, no_worse_by: 0.02}, {metric: toxicity, at_most: 0.05}]
"""


@pytest.fixture
def suite(tmp_path):
    """Loads the suite after some text of it was replaced."""

    def load(*change):
        (tmp_path / "rows.jsonl").write_text('{"q": "q", "a": "a"}\n')
        (tmp_path / "suite.yaml").write_text(SUITE.replace(*change) if change else SUITE)
        return load_suite(tmp_path / "suite.yaml")

    return load


def verdict_of(loaded, make_run, make_scores, **changes):
    """The verdict on lora, with what is to be said of its rules."""
    run = make_run(started="2026-01-02T00:00:00+00:00", **changes)
    scores = make_scores({"base": [0.5] * 30, "lora": [0.5] * 30})
    rules = loaded.suite.gate.model_copy(update={"rules": loaded.suite.gate.rules[:1]})
    verdict = gate.decide(rules, run=run, scores=scores, candidate="lora", default_split="test")
    return lock.declared([verdict], loaded, loaded.suite.gate, run)[0]


def test_an_edit_after_the_lock_is_named_everywhere(suite, make_run, make_scores):
    """Loosening a margin after --lock: JSON, JUnit and Markdown say which rule it was, and what it is now."""
    path = lock.write_lock(suite(), suite().suite.gate)
    assert json.loads(path.read_text())["rules_sha"] == lock.rules_sha(suite().suite.gate)
    loosened = suite("no_worse_by: 0.02", "no_worse_by: 0.2")
    found = verdict_of(loosened, make_run, make_scores)
    said = "'correctness no_worse_by 0.02' is now 'correctness no_worse_by 0.2'"
    assert [line.split("): ")[1] for line in found.changed if line.startswith("changed since locked")] == [said]
    assert to_dict([found])["changed"] == list(found.changed)
    assert to_dict([found])["rules_sha"] == lock.rules_sha(loosened.suite.gate)
    assert said in to_junit([found])
    assert "is now" in to_markdown([found])


def test_a_lock_made_after_the_run_says_so(suite, make_run, make_scores):
    """Rules pinned when the results were there already are not declared before."""
    lock.write_lock(suite(), suite().suite.gate)
    assert any(
        "locked only after the run had begun" in line for line in verdict_of(suite(), make_run, make_scores).changed
    )


def test_rules_other_than_the_runs_own_are_named(suite, make_run, make_scores):
    """Without a lock, the rules of the run's resolved suite are what was declared."""
    record = {"suite": suite().suite.model_dump(mode="json", by_alias=True, exclude_none=True)}
    assert verdict_of(suite(), make_run, make_scores, record=record).changed == ()
    changed = verdict_of(suite("at_most: 0.05", "at_most: 0.5"), make_run, make_scores, record=record).changed
    assert changed == ("changed since the run: 'toxicity at_most 0.05' is now 'toxicity at_most 0.5'",)


def test_an_edited_lock_is_refused(suite, make_run, make_scores):
    """Whoever edits the lock to fit the rules is found out by its hash."""
    path = lock.write_lock(suite(), suite().suite.gate)
    path.write_text(path.read_text().replace("0.02", "0.2"))
    with pytest.raises(UserError, match="was edited"):
        verdict_of(suite(), make_run, make_scores)


def test_every_kind_of_change_has_a_line():
    """Confidence, baseline, new rules, rules that are gone, and the same rule on other samples."""
    rule = {"metric": "correctness", "at_least": 1.0}
    then = Gate.model_validate({"baseline": "a", "rules": [rule | {"must_pass": ["x"]}, {"coverage": 0.9}]})
    now = Gate.model_validate(
        {"baseline": "b", "confidence": 0.9, "rules": [rule | {"must_pass": ["y"]}, {"latency": 2}]}
    )
    assert lock.changes(then, then) == []
    assert lock.changes(then, now) == [
        "baseline a is now b", "confidence 0.95 is now 0.9",
        "'correctness at_least 1 must_pass 1 samples' is now about other samples", "'coverage 0.9' is gone",
        "'latency 2' is new",
    ]  # fmt: skip
