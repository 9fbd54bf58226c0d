"""Who scores what, and who beats whom: leaderboard, paired comparison, flips, rank sets.

Every mean comes with the number of samples scored and unscored. Candidates are compared on the samples both have a
score of, clustered where the suite names a cluster. Intervals of single cells are not adjusted for there being many
of them: rank sets are for claims about order, `slices` for those about parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.aggregates import interval as interval_of
from harness.deciding.aggregates import pointwise
from harness.deciding.scores import Column, Scores, SplitScores
from harness.errors import StoreError, UserError
from harness.records import HUMAN, Comparison, Estimate, Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """One candidate on one split: an estimate per metric, in the order of the metrics."""

    candidate: str
    split: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A sample on which two candidates differ. `change` is candidate minus baseline, in the metric's own sign."""

    sample_id: str
    candidate_score: float
    baseline_score: float
    change: float
    improved: bool


def leaderboard(
    scores: Scores,
    metrics: Sequence[Metric],
    candidates: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> list[LeaderboardRow]:
    """A row for each split and candidate, in the order given (or the scores'), without metrics not judged there."""
    found = []
    for split in scores.splits if splits is None else splits:
        here = _split(scores, split)
        for candidate in scores.candidates if candidates is None else candidates:
            estimates = {
                metric.name: refused(
                    estimate(here, metric, candidate, confidence=confidence),
                    scores.mixed_modes(metric.name, (candidate,)),
                )
                for metric in metrics
                if metric.name in here.metrics
            }
            found.append(LeaderboardRow(candidate=candidate, split=split, estimates=estimates))
    return found


def refused(found: Estimate, modes: str | None) -> Estimate:
    """The estimate without its mean where the scores were made in several modes: they are different measures."""
    if modes is None:
        return found
    return replace(found, mean=None, low=None, high=None, lowest=None, highest=None, method=f"different modes: {modes}")


def estimate(
    here: SplitScores,
    metric: Metric,
    candidate: str,
    *,
    confidence: float,
    within: NDArray[np.bool_] | None = None,
) -> Estimate:
    """The candidate's figure on a split, with its two-sided interval; `within` (shape [samples]) picks some samples."""
    column = checked_column(here, metric, candidate)
    wanted = np.ones(len(here.ids), dtype=bool) if within is None else within
    used = wanted & column.scored
    n, unscored = int(used.sum()), int((wanted & ~column.scored).sum())
    if n == 0:
        return Estimate(
            n=0, unscored=unscored, mean=None, low=None, high=None, confidence=confidence, method="nothing scored"
        )
    interval = interval_of(metric, column, None, used, confidence, clusters=here.clusters)
    lowest, highest = (_filled_up(metric, interval.estimate, n, unscored, end) for end in (metric.low, metric.high))
    return Estimate(
        n=n, unscored=unscored, mean=interval.estimate, low=interval.low, high=interval.high,
        confidence=confidence, method=interval.method, lowest=lowest, highest=highest,
    )  # fmt: skip


def _filled_up(metric: Metric, mean: float, n: int, unscored: int, end: float) -> float | None:
    """The mean, had every unscored sample this end of the scale for a score; None where that says nothing."""
    if unscored == 0 or metric.aggregate != "mean" or not math.isfinite(end) or metric.name.startswith(HUMAN):
        return None
    return (n * mean + unscored * end) / (n + unscored)


def compare(
    scores: Scores,
    metric: Metric,
    candidate: str,
    baseline: str,
    split: str,
    confidence: float = 0.95,
    *,
    within: NDArray[np.bool_] | None = None,
) -> Comparison:
    """Candidate minus baseline, paired by sample, with a two-sided interval; `within` (shape [samples]) picks some samples.

    `unscored` counts the samples on which either has no score. Both means are over the shared samples. Scores made in
    different modes share none: then all is None, and `method` names the modes.

    Raises:
        UserError: If the split holds no scores.
    """
    here = _split(scores, split)
    ours, theirs = checked_column(here, metric, candidate), checked_column(here, metric, baseline)
    wanted = np.ones(len(here.ids), dtype=bool) if within is None else within
    both = wanted & ours.scored & theirs.scored
    mixed = scores.mixed_modes(metric.name, (candidate, baseline))
    if mixed:
        both = np.zeros_like(both)
    n = int(both.sum())
    a, b = pointwise(metric, ours, both), pointwise(metric, theirs, both)
    interval = interval_of(metric, ours, theirs, both, confidence, clusters=here.clusters) if n else None
    gain = (ours.values[both] - theirs.values[both]) * sign(metric)
    return Comparison(
        metric=metric.name,
        split=split,
        candidate=candidate,
        baseline=baseline,
        n=n,
        unscored=int(wanted.sum()) - n,
        candidate_mean=float(a.mean()) if n else None,
        baseline_mean=float(b.mean()) if n else None,
        difference=interval.estimate if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        confidence=confidence,
        method=interval.method if interval else f"different modes: {mixed}" if mixed else "no shared sample",
        wins=int((gain > 0).sum()),
        ties=int((gain == 0).sum()),
        losses=int((gain < 0).sum()),
    )


def flips(
    scores: Scores, metric: Metric, candidate: str, baseline: str, split: str, limit: int | None = None
) -> list[Flip]:
    """Shared samples whose score changed, largest change first; of equal changes, losses first, then by sample id.

    None where the scores were made in different modes.
    """
    here = _split(scores, split)
    if scores.mixed_modes(metric.name, (candidate, baseline)):
        return []
    ours, theirs = checked_column(here, metric, candidate), checked_column(here, metric, baseline)
    change = ours.values - theirs.values
    rows = np.flatnonzero(ours.scored & theirs.scored & (change != 0))
    found = [
        Flip(
            sample_id=here.ids[i],
            candidate_score=float(ours.values[i]),
            baseline_score=float(theirs.values[i]),
            change=float(change[i]),
            improved=bool(change[i] * sign(metric) > 0),
        )
        for i in rows
    ]
    found.sort(key=lambda flip: (-round(abs(flip.change), 9), flip.improved, flip.sample_id))
    return found[:limit]


def rank_sets(
    scores: Scores,
    metric: Metric,
    split: str,
    rng: np.random.Generator,
    candidates: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> dict[str, tuple[int, int]]:
    """Each candidate's possible ranks (best, worst) on the samples that all of them have a score of.

    Scores made in different modes rank nobody.
    """
    here = _split(scores, split)
    names = list(scores.candidates if candidates is None else candidates)
    columns = [checked_column(here, metric, name) for name in names]
    shared = np.logical_and.reduce([column.scored for column in columns])
    if not shared.any() or scores.mixed_modes(metric.name, names):
        return dict.fromkeys(names, (1, len(names)))
    values = np.stack([pointwise(metric, column, shared) * sign(metric) for column in columns])
    clusters = None if here.clusters is None else here.clusters[shared]
    return dict(zip(names, stats.rank_sets(values, rng, clusters=clusters, confidence=confidence), strict=True))


def sign(metric: Metric) -> int:
    """1 where higher is better, -1 where lower is."""
    return 1 if metric.direction == "higher" else -1


def checked_column(here: SplitScores, metric: Metric, candidate: str) -> Column:
    """The candidate's scores of the metric.

    Raises:
        StoreError: If a score lies outside the metric's range, on which all bounds rest.
    """
    column = here.column(candidate, metric.name)
    values = column.values[column.scored]
    if len(values) and (values.min() < metric.low - 1e-9 or values.max() > metric.high + 1e-9):
        worst = float(values.min() if values.min() < metric.low - 1e-9 else values.max())
        raise StoreError(
            f"a score of {metric.name!r} must lie within {metric.low:g} to {metric.high:g} (got {worst:g} of "
            f"{candidate!r}). Run again with a judge that keeps to its range."
        )
    return column


def _split(scores: Scores, split: str) -> SplitScores:
    if split not in scores.splits:
        known = ", ".join(scores.splits) or "none"
        raise UserError(f"'split' must be one that was evaluated (got {split!r}; there is {known}). Run it first.")
    return scores.splits[split]
