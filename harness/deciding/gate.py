"""From scores to a verdict: each rule of a gate becomes a finding, and the worst finding becomes the exit status.

A rule compares a one-sided bound, not a point estimate, with its limit, so that each outcome is a claim with a known
error rate, and not being able to tell is an outcome of its own:

    rule          passes when                fails when                              otherwise
    at_least x    L >= x                     U < x                                   inconclusive
    at_most x     U <= x                     L > x                                   inconclusive
    better_by x   L > x                      U < x                                   inconclusive
    no_worse_by x L > -x                     U < 0 and L <= -x                       inconclusive
    latency x     U <= x                     L > x                                   inconclusive
    cost x        U <= x                     L > x                                   inconclusive
    coverage x    scored / all >= x          scored / all < x                        (a plain count)
    must_pass     no sample of the list      a sample of the list fails              (a plain count)

L and U are bounds at the gate's confidence: of the mean, of the paired difference, oriented so that up is better, or of a
quantile of the answers' seconds.
A rule with `each` is as many rules as its column has values, one a slice: it passes when all of them do.
A gate passes when all its rules pass, which needs no correction (each rule could block: an intersection-union test).
It fails when any rule fails, and for that the chance of a false alarm is shared among the rules, slices counted one by one,
by Holm's step-down, so a candidate that is fine on every rule fails with a chance of at most 1 - confidence, however many
rules and slices there are. Plain counts have no chance of a false alarm and share none.
Several candidates are several gates: nothing is shared among them.

A pass is refused where more than 1 % of the samples are unscored (or they are unevenly spread between candidate and
baseline) and the rule would not pass with them at their worst: that is `inconclusive`, or `incomplete` if the run is,
since then another run may score them. So it is with coverage: below its limit the rule fails, unless the run is
incomplete. A rule without a single score is `incomplete`. A rule whose scores a judge made in different modes
(G-Eval's `topk` and `sampled`) is `inconclusive`: they are different measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

from harness import stats
from harness.deciding.counts import coverage, left_out, must_pass
from harness.deciding.efforts import METRICS, effort_of
from harness.deciding.evidence import Condition, Question, build_question
from harness.deciding.rules import QUANTILE, LeftOut, Part, metric_of, parts_of, rule_text, split_of
from harness.deciding.scores import Scores
from harness.deciding.wording import modes_sentence, sentence
from harness.errors import IncompleteError, NothingEvaluatedError, UserError
from harness.records import Finding, Metric, Outcome, Run, Verdict
from harness.suite.grammar import OF_ANSWERS, Gate

EXIT_STATUS: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "incomplete": 4}
SEVERITY: tuple[Outcome, ...] = ("fail", "incomplete", "inconclusive", "pass")
"""Worst first: of several findings, or several verdicts, the worst counts."""


def decide_all(
    gate: Gate,
    *,
    run: Run,
    scores: Scores,
    candidates: Sequence[str] | None = None,
    baseline: str | None = None,
    default_split: str | None = None,
    inconclusive: Literal["block", "warn"] = "block",
) -> list[Verdict]:
    """A verdict for each candidate; left out, for all of the run but the baseline, in the order of the suite.

    Args:
        gate: The rules.
        run: The run the scores are from.
        scores: Its scores.
        candidates: Which to decide about; the baseline is skipped.
        baseline: Replaces the gate's own baseline.
        default_split: The split of rules that name none; left out, the only evaluated one, or `test`.
        inconclusive: Whether an inconclusive verdict blocks (exit status 3) or warns (0).

    Raises:
        NothingEvaluatedError: If no candidate is left, or none of them has a single score though the run is complete.
        UserError: If a rule, a candidate or the baseline does not fit the run.
    """
    against = baseline or gate.baseline
    for name in candidates or ():
        if name not in run.candidates:
            raise UserError(
                f"'candidate' must be one of the run's ({', '.join(run.candidates)}) (got {name!r}). Run it first."
            )
    gated = [name for name in (run.candidates if candidates is None else candidates) if name != against]
    if not gated and candidates:
        raise UserError(
            f"'candidate' must differ from the baseline (got {against!r}). Name another, or another baseline."
        )
    if not gated:
        raise NothingEvaluatedError(f"no candidate to decide about: the run holds only the baseline {against!r}.")
    scored = any(here.column(c, m).scored.any() for here in scores.splits.values() for c in gated for m in here.metrics)
    if not scored and run.status == "complete":  # of an unfinished run, another try may bring scores: each rule says so
        raise NothingEvaluatedError(f"nothing to decide on: no answer of {', '.join(gated)} has a score.")
    parts = split_up(gate, scores, default_split)
    return [
        decide(
            gate, run=run, scores=scores, candidate=name, baseline=against, default_split=default_split,
            inconclusive=inconclusive, parts=parts,
        )
        for name in gated
    ]  # fmt: skip


def decide(
    gate: Gate,
    *,
    run: Run,
    scores: Scores,
    candidate: str,
    baseline: str | None = None,
    default_split: str | None = None,
    inconclusive: Literal["block", "warn"] = "block",
    parts: Sequence[Part | LeftOut] | None = None,
) -> Verdict:
    """The verdict on one candidate; arguments and errors as in `decide_all`. `parts` is what `split_up` gives, if known."""
    against = baseline or gate.baseline
    metrics = {metric.name: metric for metric in run.metrics}
    complete = run.status == "complete"
    parts = split_up(gate, scores, default_split) if parts is None else parts
    questions = {
        number: _question(part, gate, metrics, candidate, against)
        for number, part in enumerate(parts)
        if isinstance(part, Part) and part.rule.coverage is None and part.rule.must_pass is None
    }
    mixed = {
        number: modes
        for number, question in questions.items()
        if (modes := scores.mixed_modes(question.metric.name, (candidate, question.baseline)))
    }
    asked = {number: question for number, question in questions.items() if number not in mixed}
    failed = dict(zip(asked, stats.holm([q.fails_at for q in asked.values()], 1 - gate.confidence), strict=True))
    findings = []
    for number, part in enumerate(parts):
        if isinstance(part, LeftOut):
            findings.append(left_out(part))
        elif number in mixed:
            findings.append(_refusal(questions[number], mixed[number]))
        elif number in asked:
            findings.append(_finding(asked[number], failed=failed[number], rules=len(asked), complete=complete))
        elif part.rule.must_pass is not None:
            metric = metric_of(part.rule, metrics, part.split, part.scores)
            findings.append(must_pass(part, metric, candidate, scores, complete=complete))
        else:
            names = _covered(part, gate, metrics)
            findings.append(coverage(part, names, candidate, complete=complete))
    if not complete and all(finding.outcome != "incomplete" for finding in findings):
        findings += _gap(scores, candidate, against if any(rule.is_paired for rule in gate.rules) else None)
    outcome = worst_outcome([finding.outcome for finding in findings])
    return Verdict(
        outcome=outcome,
        exit_status=0 if outcome == "inconclusive" and inconclusive == "warn" else EXIT_STATUS[outcome],
        suite=run.suite,
        suite_sha=run.suite_sha,
        run=run.id,
        candidate=candidate,
        baseline=against,
        confidence=gate.confidence,
        findings=tuple(findings),
    )


def split_up(gate: Gate, scores: Scores, default_split: str | None = None) -> list[Part | LeftOut]:
    """The samples that each rule is decided on, in the order of the rules: the same for every candidate."""
    found: list[Part | LeftOut] = []
    for rule in gate.rules:
        found += parts_of(rule, *split_of(rule, scores, default_split))
    return found


def _gap(scores: Scores, candidate: str, baseline: str | None) -> list[Finding]:
    """For an unfinished run: that scores are missing which another run may bring, of the candidate or its baseline."""
    for split, here in scores.splits.items():
        for name in (candidate, baseline):
            columns = [here.column(name, metric).scored for metric in here.metrics] if name is not None else []
            missing = sum(not all(row) for row in zip(*columns, strict=True))
            if missing:
                n = len(here.ids)
                return [
                    Finding(
                        rule="complete", metric=None, split=split, outcome="incomplete", estimate=(n - missing) / n,
                        low=None, high=None, threshold=1.0, n=n - missing, n_unscored=missing, n_needed=None,
                        message=f"{name} on {split} lacks scores of {missing} of {n} samples: the run is unfinished; "
                        "run it again.",
                    )
                ]  # fmt: skip
    return []


def worst_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The worst of some outcomes; fail is worse than incomplete, that than inconclusive."""
    return min(outcomes, key=SEVERITY.index)


def worst_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict that decides for all: the first with the worst outcome."""
    return min(verdicts, key=lambda verdict: SEVERITY.index(verdict.outcome))


def worst_exit_status(verdicts: Sequence[Verdict]) -> int:
    """The exit status of a command that came to these verdicts; 5 where there are none."""
    return worst_verdict(verdicts).exit_status if verdicts else NothingEvaluatedError.exit_status


def run_exit_status(run: Run, verdicts: Sequence[Verdict]) -> int:
    """What `muster run` exits with, and the report shows: the worst verdict's; 4 for an incomplete run that does not fail."""
    status = worst_exit_status(verdicts) if verdicts else 0
    return IncompleteError.exit_status if run.status != "complete" and status != EXIT_STATUS["fail"] else status


def _covered(part: Part, gate: Gate, metrics: Mapping[str, Metric]) -> list[str]:
    """The metrics that a coverage rule counts: its own, else those that the gate's other rules are about."""
    if part.rule.metric is not None:
        return [metric_of(part.rule, metrics, part.split, part.scores).name]
    gated = {rule.metric for rule in gate.rules if rule.coverage is None}
    return [name for name in part.scores.metrics if name in gated] or list(part.scores.metrics)


def _question(part: Part, gate: Gate, metrics: Mapping[str, Metric], candidate: str, baseline: str | None) -> Question:
    rule, here = part.rule, part.scores
    effort = effort_of(rule, metrics)
    metric = METRICS[effort] if effort is not None else metric_of(rule, metrics, part.split, here)
    columns = here.efforts if effort is not None else here.columns
    if rule.is_paired and not any(name == baseline for name, _ in columns):
        known = ", ".join(dict.fromkeys(name for name, _ in columns)) or "none"
        what = effort or "scores"
        raise UserError(
            f"'baseline' must be a candidate with {what} (got {baseline!r}; there is {known}). Run it first."
        )
    condition = cast("Condition", "at_most" if rule.condition in OF_ANSWERS else rule.condition)
    return build_question(
        here,
        rule=rule_text(rule),
        condition=condition,
        amount=getattr(rule, rule.condition),
        metric=metric,
        split=part.split,
        candidate=candidate,
        baseline=baseline if rule.is_paired else None,
        confidence=gate.confidence,
        slice=part.slice,
        quantile=(rule.quantile or QUANTILE) if rule.latency is not None else None,
        unit="s" if effort == "latency" else "",
    )


def _finding(question: Question, *, failed: bool, rules: int, complete: bool) -> Finding:
    outcome: Outcome
    if question.n == 0:
        outcome = "incomplete"
    elif failed:
        outcome = "fail"
    elif not question.passes():
        outcome = "inconclusive"
    elif question.unscored_could_overturn():
        outcome = "inconclusive" if complete else "incomplete"
    else:
        outcome = "pass"
    interval = question.interval if question.n else None
    needed = question.samples_needed(rules) if outcome == "inconclusive" and not question.passes() else None
    return Finding(
        rule=question.rule,
        metric=question.metric.name,
        split=question.split,
        outcome=outcome,
        estimate=interval.estimate if interval else None,
        low=_end(interval.low) if interval else None,
        high=_end(interval.high) if interval else None,
        threshold=question.threshold,
        n=question.n,
        n_unscored=question.unscored,
        n_needed=needed,
        message=sentence(question, outcome, needed=needed, rules=rules),
        slice=question.slice or None,
        unit=question.unit or None,
    )


def _end(bound: float | None) -> float | None:
    """A bound as a finding holds it: one without end is none."""
    return bound if bound is not None and math.isfinite(bound) else None


def _refusal(question: Question, modes: str) -> Finding:
    """For scores that the judge made in different modes: nothing can be shown by them, and more samples are no help."""
    return Finding(
        rule=question.rule,
        metric=question.metric.name,
        split=question.split,
        outcome="inconclusive",
        estimate=None,
        low=None,
        high=None,
        threshold=question.threshold,
        n=0,
        n_unscored=question.unscored,
        n_needed=None,
        message=modes_sentence(question.metric.name, question.split, modes),
        slice=question.slice or None,
    )
