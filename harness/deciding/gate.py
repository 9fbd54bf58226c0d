"""From scores to a verdict: each rule of a gate becomes a finding, and the worst finding becomes the exit status.

A rule compares a one-sided bound, not a point estimate, with its limit, so that each outcome is a claim with a known
error rate, and not being able to tell is an outcome of its own:

    rule          passes when                fails when                              otherwise
    at_least x    L >= x                     U < x                                   inconclusive
    at_most x     U <= x                     L > x                                   inconclusive
    better_by x   L > x                      U < x                                   inconclusive
    no_worse_by x L > -x                     U < 0 and L <= -x                       inconclusive
    coverage x    scored / all >= x          scored / all < x                        (a plain count)

L and U are bounds at the gate's confidence: of the mean, or of the paired difference, oriented so that up is better.
A gate passes when all its rules pass, which needs no correction (each rule could block: an intersection-union test).
It fails when any rule fails, and for that the chance of a false alarm is shared among the rules by Holm's step-down,
so a candidate that is fine on every rule fails with a chance of at most 1 - confidence, however many rules there are.
Several candidates are several gates: nothing is shared among them.

A pass is refused where more than 1 % of the samples are unscored (or they are unevenly spread between candidate and
baseline) and the rule would not pass with them at their worst: that is `inconclusive`, or `incomplete` if the run is,
since then another run may score them. So it is with coverage: below its limit the rule fails, unless the run is
incomplete. A rule without a single score is `incomplete`. A rule whose scores a judge made in different modes
(G-Eval's `topk` and `sampled`) is `inconclusive`: they are different measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness import stats
from harness.deciding.evidence import Condition, Question, build_question
from harness.deciding.scores import Scores, SplitScores
from harness.deciding.wording import coverage_sentence, modes_sentence, sentence
from harness.errors import IncompleteError, NothingEvaluatedError, UserError
from harness.records import Finding, Metric, Outcome, Run, Verdict
from harness.suite.grammar import Gate, Rule

EXIT_STATUS: dict[Outcome, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "incomplete": 4}
SEVERITY: tuple[Outcome, ...] = ("fail", "incomplete", "inconclusive", "pass")
"""Worst first: of several findings, or several verdicts, the worst counts."""
CONDITIONS: tuple[Condition, ...] = ("at_least", "at_most", "better_by", "no_worse_by")


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
        NothingEvaluatedError: If no candidate is left, or none of them has a single score.
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
    if not any(here.column(c, m).scored.any() for here in scores.splits.values() for c in gated for m in here.metrics):
        raise NothingEvaluatedError(f"nothing to decide on: no answer of {', '.join(gated)} has a score.")
    return [
        decide(
            gate, run=run, scores=scores, candidate=name, baseline=against, default_split=default_split,
            inconclusive=inconclusive,
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
) -> Verdict:
    """The verdict on one candidate; arguments and errors as in `decide_all`."""
    against = baseline or gate.baseline
    metrics = {metric.name: metric for metric in run.metrics}
    questions: dict[int, Question] = {}
    for number, rule in enumerate(gate.rules):
        if rule.coverage is None:
            split, here = _split_of(rule, scores, default_split)
            questions[number] = _question(rule, gate, metrics, split, here, candidate, against, scores)
    mixed = {
        number: modes
        for number, question in questions.items()
        if (modes := scores.mixed_modes(question.metric.name, (candidate, question.baseline)))
    }
    asked = {number: question for number, question in questions.items() if number not in mixed}
    alpha = 1 - gate.confidence
    failed = dict(zip(asked, stats.holm([q.fails_at for q in asked.values()], alpha), strict=True))
    complete = run.status == "complete"
    findings = []
    for number, rule in enumerate(gate.rules):
        if number in mixed:
            findings.append(_refusal(questions[number], mixed[number]))
        elif number in asked:
            findings.append(_finding(asked[number], failed=failed[number], rules=len(asked), complete=complete))
        else:
            split, here = _split_of(rule, scores, default_split)
            findings.append(_coverage(rule, gate, metrics, split, here, candidate, complete=complete))
    if not complete and all(finding.outcome != "incomplete" for finding in findings):
        compares = any(rule.better_by is not None or rule.no_worse_by is not None for rule in gate.rules)
        findings += _gap(scores, candidate, against if compares else None)
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


def rule_text(rule: Rule) -> str:
    """The rule as a person wrote it, such as `correctness better_by 0.05`."""
    name = "coverage" if rule.coverage is not None else _condition(rule)[0]
    amount = rule.coverage if rule.coverage is not None else _condition(rule)[1]
    return f"{rule.metric} {name} {amount:g}" if rule.metric else f"{name} {amount:g}"


def _condition(rule: Rule) -> tuple[Condition, float]:
    return next((name, getattr(rule, name)) for name in CONDITIONS if getattr(rule, name) is not None)


def _split_of(rule: Rule, scores: Scores, default: str | None) -> tuple[str, SplitScores]:
    known = ", ".join(scores.splits) or "none"
    split = rule.split or default
    if split is None and len(scores.splits) == 1:
        split = next(iter(scores.splits))
    if split is None and "test" in scores.splits:
        split = "test"
    if split is None:
        raise UserError(f"gate rule '{rule_text(rule)}' must name its split (evaluated: {known}). Add 'split: NAME'.")
    if split not in scores.splits:
        raise UserError(
            f"the split of gate rule '{rule_text(rule)}' must be one that was evaluated (got {split!r}; there is "
            f"{known}). Run it first."
        )
    return split, scores.splits[split]


def _metric(rule: Rule, name: str, metrics: dict[str, Metric], split: str, here: SplitScores) -> Metric:
    if name in metrics and name in here.metrics:
        return metrics[name]
    known = ", ".join(here.metrics) or "none"
    raise UserError(
        f"the metric of gate rule '{rule_text(rule)}' must be one judged on {split!r} (got {name!r}; there is "
        f"{known}). Run the suite again to judge it."
    )


def _question(
    rule: Rule,
    gate: Gate,
    metrics: dict[str, Metric],
    split: str,
    here: SplitScores,
    candidate: str,
    baseline: str | None,
    scores: Scores,
) -> Question:
    condition, amount = _condition(rule)
    is_paired = condition in ("better_by", "no_worse_by")
    if is_paired and baseline not in scores.candidates:
        known = ", ".join(scores.candidates)
        raise UserError(
            f"'baseline' must be a candidate with scores (got {baseline!r}; there is {known}). Run it first."
        )
    return build_question(
        here,
        rule=rule_text(rule),
        condition=condition,
        amount=amount,
        metric=_metric(rule, rule.metric or "", metrics, split, here),
        split=split,
        candidate=candidate,
        baseline=baseline if is_paired else None,
        confidence=gate.confidence,
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
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        threshold=question.threshold,
        n=question.n,
        n_unscored=question.unscored,
        n_needed=needed,
        message=sentence(question, outcome, needed=needed, rules=rules),
    )


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
        message=modes_sentence(question, modes),
    )


def _coverage(
    rule: Rule,
    gate: Gate,
    metrics: dict[str, Metric],
    split: str,
    here: SplitScores,
    candidate: str,
    *,
    complete: bool,
) -> Finding:
    wanted = rule.coverage or 0.0
    if rule.metric is not None:
        names = [_metric(rule, rule.metric, metrics, split, here).name]
    else:
        gated = {other.metric for other in gate.rules if other.coverage is None}
        names = [name for name in here.metrics if name in gated] or list(here.metrics)
    counts = {name: int(here.column(candidate, name).scored.sum()) for name in names}
    least = min(names, key=counts.__getitem__)
    total = len(here.ids)
    outcome: Outcome = "pass" if counts[least] >= wanted * total - 1e-9 else "fail" if complete else "incomplete"
    return Finding(
        rule=rule_text(rule),
        metric=rule.metric,
        split=split,
        outcome=outcome,
        estimate=counts[least] / total,
        low=None,
        high=None,
        threshold=wanted,
        n=counts[least],
        n_unscored=total - counts[least],
        n_needed=None,
        message=coverage_sentence(
            metric=least, split=split, candidate=candidate, scored=counts[least], total=total, wanted=wanted,
            outcome=outcome,
        ),
    )  # fmt: skip
