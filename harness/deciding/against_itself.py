"""The baseline gated against itself: how often a gate's own rules fail a model that is exactly as good.

Pairs of equally good models are made out of stored scores, sample by sample. Where the baseline was scored more than once (in
other runs with the same content and judges, or by repeated judgements), both sides are two of these scores, drawn at random:
true noise of the same model. Else the scores of the baseline and of another candidate are swapped with chance 1/2: then neither
side is better, though they differ on as many samples as the two do, which is at least as noisy as the same model would be.
Samples are drawn anew (clusters as a whole) each time, so that no simulated run has the very samples of another.

Rules on one side alone are put to the baseline's own scores. Rules that it does not meet itself are left out, for failing those
is no false alarm; so are plain counts, and rules on seconds and money, which are not the model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.aggregates import pointwise
from harness.deciding.gate import decide
from harness.deciding.lock import rules_sha
from harness.deciding.rules import Part, parts_of, rule_text, split_of
from harness.deciding.scores import Column, Scores, SplitScores
from harness.errors import NothingEvaluatedError, UserError
from harness.records import Certificate, Run
from harness.suite.grammar import OF_SCORES, Gate, Rule

if TYPE_CHECKING:
    from harness.store import Store

CONFIDENCE = 0.95
"""Of the interval of the rate, two-sided."""
SELF = "the same"
"""What the simulated candidate is called."""
ALONE = " alone"
"""Ends the name of a metric as rules on one side alone see it: the baseline's own scores, swapped with nobody's."""
Rows = NDArray[np.int64]
Draws = Mapping[tuple[str, str], Sequence[Column]]
"""By split and metric: further scores of the baseline, aligned with the run's own samples."""


def other_draws(store: Store, run: Run, scores: Scores, baseline: str) -> dict[tuple[str, str], list[Column]]:
    """Further scores of the baseline: of other runs in which it and the judge are the same, and of repeated judgements.

    Only of metrics that are means, and only where at least half of the samples have one.
    """
    means = {metric.name for metric in run.metrics if metric.aggregate == "mean"}
    found: dict[tuple[str, str], list[Column]] = {}
    for other in store.runs():
        same = other.id != run.id and other.suite == run.suite
        name = next((n for n, key in other.candidates.items() if key == run.candidates.get(baseline)), None)
        if not same or name is None:
            continue
        rows = {(r[1], r[2], r[5]): r[6] for r in store.scores(other.id) if r[0] == name}
        for split, here in scores.splits.items():
            for metric in here.metrics:
                if metric in means and other.judges.get(metric) == run.judges.get(metric):
                    column = _aligned([rows.get((split, sample, metric)) for sample in here.ids])
                    if column.scored.any() and _differs(column, here.column(baseline, metric)):
                        found.setdefault((split, metric), []).append(column)
    repeated: dict[tuple[str, int], dict[str, float | None]] = {}
    for one in store.repeats(run.id):
        if one.candidate == baseline and one.metric in means:
            repeated.setdefault((one.metric, one.number), {})[one.sample_id] = one.score
    for (metric, _), by_sample in repeated.items():
        for split, here in scores.splits.items():
            column = _aligned([by_sample.get(sample) for sample in here.ids])
            if column.scored.any():
                found.setdefault((split, metric), []).append(column)
    return {
        key: columns
        for key, columns in found.items()
        if np.mean(np.logical_or.reduce([column.scored for column in columns])) >= 0.5
    }


def against_itself(
    gate: Gate,
    *,
    run: Run,
    scores: Scores,
    baseline: str,
    draws: Draws,
    repeats: int,
    seed: int,
    default_split: str | None = None,
) -> Certificate:
    """Lets the gate decide about `repeats` simulated runs of a model that is as good as the baseline.

    Args:
        gate: The rules.
        run: The run whose scores are used.
        scores: Its scores.
        baseline: Whose equal is decided about.
        draws: Further scores of the baseline, by split and metric.
        repeats: Simulated runs.
        seed: Of the simulation.
        default_split: The split of rules that name none.

    Raises:
        UserError: If the baseline has no scores in the run.
        NothingEvaluatedError: If no rule is left that could fail by chance.
    """
    if baseline not in scores.candidates:
        raise UserError(f"'baseline' must be a candidate of run {run.id} with scores (got {baseline!r}).")
    kept: list[Rule] = []
    left_out: list[str] = []
    for rule in gate.rules:
        split, here = split_of(rule, scores, default_split)
        rule = rule.model_copy(update={"split": split})
        if _can_fail_by_chance(rule, run, gate, here, baseline):
            alone = {"metric": f"{rule.metric}{ALONE}"} if not rule.is_paired else {}
            kept.append(rule.model_copy(update=alone))
        else:
            left_out.append(rule_text(rule))
    if not kept:
        raise NothingEvaluatedError(
            "no rule of the gate can fail by chance: the baseline fails them, or they are counts."
        )
    used = {split: scores.splits[split] for split in dict.fromkeys(rule.split or "" for rule in kept)}
    partners = [name for name in scores.candidates if name != baseline and name in run.candidates]
    declared = gate.model_copy(update={"baseline": baseline, "rules": kept})
    simulated = replace(
        run, status="complete", candidates={baseline: "", SELF: ""},
        metrics=(*run.metrics, *(replace(metric, name=f"{metric.name}{ALONE}") for metric in run.metrics)),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(repeats):
        partner = partners[int(rng.integers(len(partners)))] if partners else None
        splits = {split: _drawn(here, split, baseline, partner, draws, rng) for split, here in used.items()}
        found = Scores(candidates=(baseline, SELF), splits=splits)
        outcomes.append(decide(declared, run=simulated, scores=found, candidate=SELF).outcome)
    fails = outcomes.count("fail")
    low, high = stats.wilson(fails, repeats, CONFIDENCE)
    return Certificate(
        run=run.id, baseline=baseline, rules_sha=rules_sha(gate), repeats=repeats, fails=fails,
        passes=outcomes.count("pass"), low=low, high=high, allowed=1 - gate.confidence,
        made_of=_made_of(used, draws, baseline, partners), left_out=tuple(left_out),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def certificate_sentence(certificate: Certificate) -> str:
    """What the simulation found, and what it rests on."""
    found = (
        f"A model exactly as good as {certificate.baseline} fails these rules in {certificate.fails} of "
        f"{certificate.repeats} simulated runs: {100 * certificate.rate:.1f} % ({100 * certificate.low:.1f} to "
        f"{100 * certificate.high:.1f} %; stated is {100 * certificate.allowed:g} % at most), and passes in "
        f"{100 * certificate.passes / certificate.repeats:.0f} %. {certificate.made_of}"
    )
    if certificate.left_out:
        found += (
            f" Left out, for they cannot fail by chance or the baseline fails them: {', '.join(certificate.left_out)}."
        )
    return found


def _can_fail_by_chance(rule: Rule, run: Run, gate: Gate, here: SplitScores, baseline: str) -> bool:
    """Whether the rule is on scores, and is right to pass a model like the baseline, in every slice it decides about."""
    judged = {metric.name: metric for metric in run.metrics}
    if rule.condition not in OF_SCORES or rule.must_pass is not None or rule.metric not in judged:
        return False
    if rule.is_paired:
        return rule.no_worse_by is not None  # to be no better is what such a model is: better_by fails it rightly
    for part in parts_of(rule, rule.split or "", here):
        if isinstance(part, Part):
            column = part.scores.column(baseline, rule.metric)
            if not column.scored.any():
                return False
            mean = float(pointwise(judged[rule.metric], column, column.scored).mean())
            if not (mean >= rule.at_least if rule.at_least is not None else mean <= (rule.at_most or 0.0)):
                return False
    return True


def _drawn(
    here: SplitScores, split: str, baseline: str, partner: str | None, draws: Draws, rng: np.random.Generator
) -> SplitScores:
    """One simulated split: samples, or clusters, drawn anew, and two equally good sides of each."""
    codes = np.arange(len(here.ids)) if here.clusters is None else here.clusters
    units, places = np.unique(codes, return_inverse=True)
    order = np.argsort(places, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(places))[:-1])
    chosen = rng.integers(len(units), size=len(units))
    rows = np.concatenate([members[unit] for unit in chosen])
    fresh = np.repeat(np.arange(len(units)), [len(members[unit]) for unit in chosen])
    swapped = (rng.random(len(units)) < 0.5)[fresh]
    columns: dict[tuple[str, str], Column] = {}
    for metric in here.metrics:
        own = here.column(baseline, metric)
        more = draws.get((split, metric), ())
        if more:
            ours, theirs = _two_of([own, *more], rows, rng)
        else:
            other = own if partner is None else here.column(partner, metric)
            ours, theirs = _mixed(other, own, rows, swapped), _mixed(own, other, rows, swapped)
        columns[SELF, metric], columns[baseline, metric] = ours, theirs
        columns[SELF, f"{metric}{ALONE}"] = _taken(own, rows)
    return SplitScores(
        ids=tuple(map(str, range(len(rows)))),
        clusters=None if here.clusters is None else fresh,
        slices={name: tuple(values[i] for i in rows) for name, values in here.slices.items()},
        columns=columns,
    )


def _taken(column: Column, rows: Rows) -> Column:
    evidence = None if column.evidence is None else tuple(column.evidence[i] for i in rows)
    return Column(values=column.values[rows], scored=column.scored[rows], evidence=evidence)


def _mixed(first: Column, second: Column, rows: Rows, swapped: NDArray[np.bool_]) -> Column:
    """The first column's scores, the second's where they are swapped."""
    one, two = _taken(first, rows), _taken(second, rows)
    evidence = None
    if one.evidence is not None and two.evidence is not None:
        evidence = tuple(b if swap else a for a, b, swap in zip(one.evidence, two.evidence, swapped, strict=True))
    return Column(
        values=np.where(swapped, two.values, one.values),
        scored=np.where(swapped, two.scored, one.scored),
        evidence=evidence,
    )


def _two_of(columns: Sequence[Column], rows: Rows, rng: np.random.Generator) -> tuple[Column, Column]:
    """Two different ones of the scores that each sample has, at random; the same twice where it has but one."""
    scored = np.stack([column.scored[rows] for column in columns])
    keys = np.where(scored, rng.random(scored.shape), 2.0)
    order = np.argsort(keys, axis=0)
    first = order[0]
    second = np.where(scored.sum(axis=0) > 1, order[1], first)
    values = np.stack([column.values[rows] for column in columns])
    at = np.arange(len(rows))
    return (
        Column(values=values[first, at], scored=scored[first, at]),
        Column(values=values[second, at], scored=scored[second, at]),
    )


def _made_of(used: Mapping[str, SplitScores], draws: Draws, baseline: str, partners: Sequence[str]) -> str:
    again = sorted({metric for (split, metric) in draws if split in used})
    rest = sorted({metric for here in used.values() for metric in here.metrics if metric not in again})
    parts = []
    if again:
        parts.append(f"both sides of {', '.join(again)} are stored scores of {baseline} itself")
    if rest and partners:
        parts.append(
            f"{', '.join(rest)}: {baseline}'s scores swapped at random with those of {', '.join(partners)}, which differ from "
            "it at least as much as a second run of it would"
        )
    elif rest:
        parts.append(f"{', '.join(rest)}: {baseline}'s own scores on both sides, for the run holds nothing else")
    return f"Assumed: {'; '.join(parts)}."


def _aligned(values: Sequence[float | None]) -> Column:
    return Column(
        values=np.array([0.0 if value is None else value for value in values]),
        scored=np.array([value is not None for value in values], dtype=bool),
    )


def _differs(one: Column, two: Column) -> bool:
    both = one.scored & two.scored
    return bool(np.any(one.values[both] != two.values[both]))
