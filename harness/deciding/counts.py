"""Findings that are plain counts, without any chance in them: coverage, samples that must pass, slices left out."""

from __future__ import annotations

from collections.abc import Sequence

from harness.deciding.comparison import checked_column
from harness.deciding.rules import LeftOut, Part, rule_text
from harness.deciding.scores import Scores
from harness.deciding.wording import coverage_sentence, left_out_sentence, modes_sentence, must_pass_sentence
from harness.records import Finding, Metric, Outcome

LEFT_OUT = "left out"
"""The slice of a finding about samples that a rule with `each` does not decide about."""


def coverage(part: Part, names: Sequence[str], candidate: str, *, complete: bool) -> Finding:
    """Whether enough answers have a score, by the least covered of some metrics."""
    wanted = part.rule.coverage or 0.0
    counts = {name: int(part.scores.column(candidate, name).scored.sum()) for name in names}
    least = min(names, key=counts.__getitem__)
    total = len(part.scores.ids)
    outcome: Outcome = "pass" if counts[least] >= wanted * total - 1e-9 else "fail" if complete else "incomplete"
    return Finding(
        rule=rule_text(part.rule),
        metric=part.rule.metric,
        split=part.split,
        outcome=outcome,
        estimate=counts[least] / total if total else None,
        low=None,
        high=None,
        threshold=wanted,
        n=counts[least],
        n_unscored=total - counts[least],
        n_needed=None,
        message=coverage_sentence(
            metric=least, split=part.split, slice=part.slice, candidate=candidate, scored=counts[least], total=total,
            wanted=wanted, outcome=outcome,
        ),
        slice=part.slice or None,
    )  # fmt: skip


def must_pass(part: Part, metric: Metric, candidate: str, scores: Scores, *, complete: bool) -> Finding:
    """Whether every sample of a rule's list has a score within its limit: one that has not is a failure by itself.

    Without a failure, a listed sample that has no score leaves it open; one that the run did not evaluate leaves it
    incomplete.
    """
    rule = part.rule
    listed = rule.must_pass if isinstance(rule.must_pass, list) else []
    column = checked_column(part.scores, metric, candidate)
    places = {sample: place for place, sample in enumerate(part.scores.ids)}
    here = [one for one in listed if one in places]
    scored = {one: float(column.values[places[one]]) for one in here if column.scored[places[one]]}
    low = rule.at_least if rule.at_least is not None else -float("inf")
    high = rule.at_most if rule.at_most is not None else float("inf")
    bad = {one: score for one, score in scored.items() if not low <= score <= high}
    unscored = [one for one in here if one not in scored]
    absent = [one for one in listed if one not in places]
    mixed = scores.mixed_modes(metric.name, (candidate,))
    outcome: Outcome = "pass"
    if mixed:
        outcome = "inconclusive"
    elif bad:
        outcome = "fail"
    elif absent or (unscored and not complete) or not scored:
        outcome = "incomplete"
    elif unscored:
        outcome = "inconclusive"
    return Finding(
        rule=rule_text(rule),
        metric=metric.name,
        split=part.split,
        outcome=outcome,
        estimate=(len(scored) - len(bad)) / len(scored) if scored and not mixed else None,
        low=None,
        high=None,
        threshold=1.0,
        n=len(scored),
        n_unscored=len(listed) - len(scored),
        n_needed=None,
        message=modes_sentence(metric.name, part.split, mixed)
        if mixed
        else must_pass_sentence(
            rule, metric=metric.name, split=part.split, candidate=candidate, bad=bad, unscored=unscored, absent=absent
        ),
    )


def left_out(part: LeftOut) -> Finding:
    """What a rule with `each` says nothing about; that was declared, so it passes, and is told."""
    rest = sum(part.slices.values()) + part.missing
    return Finding(
        rule=rule_text(part.rule),
        metric=part.rule.metric,
        split=part.split,
        outcome="pass" if part.kept else "inconclusive",
        estimate=part.kept / (part.kept + rest) if part.kept + rest else None,
        low=None,
        high=None,
        threshold=0.0,
        n=part.kept,
        n_unscored=0,
        n_needed=None,
        message=left_out_sentence(part),
        slice=LEFT_OUT,
    )
