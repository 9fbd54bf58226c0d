"""Where a difference comes from: every slice compared with the baseline, what it does to the whole, and which one drove it.

A slice of n of N compared samples whose difference is d moves the whole by (n / N) d: its contribution. Contributions of the
values of one column add up to the difference of all samples. A slice is more than a part of the whole where its difference is
also another than that of the remaining samples: then it *drives* the whole.

Slices are many, and some look different by chance. Two families of tests are made of all that one call compares, each held at
a false discovery rate of 1 - confidence (Benjamini and Hochberg 1995): whether a slice's difference is zero, and whether it is
that of the rest. Where nothing differs anywhere, the chance that any slice is marked is at most that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.aggregates import pointwise
from harness.deciding.comparison import checked_column, compare, sign
from harness.deciding.scores import Column, Scores, SplitScores
from harness.records import Comparison, Metric

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Marks = NDArray[np.bool_]

MOST_VALUES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDifference:
    """A candidate against the baseline on the samples of one slice, and what these do to the difference of all."""

    column: str
    value: str | None
    """None for all other samples: those without a value, or with one that is too rare to be told apart."""
    comparison: Comparison
    """On the samples of the slice."""
    share: float
    """Of the compared samples."""
    contribution: float | None
    """Share times difference: the whole difference, had the candidate changed in this slice only. Of a figure that is no mean,
    the slice's share in its first-order change. None without scores."""
    low: float | None
    """Ends of the contribution's interval, the share taken as it is; None where the slice is too small for one."""
    high: float | None
    stands: bool
    """Its difference from zero is no chance hit among all slices that were compared."""
    drives: bool
    """It stands, and differs from the remaining samples in the same direction; that is no chance hit either."""


def slice_differences(
    scores: Scores,
    metrics: Sequence[Metric],
    candidates: Sequence[str],
    baseline: str,
    splits: Sequence[str],
    confidence: float = 0.95,
    *,
    most: int = MOST_VALUES,
) -> list[SliceDifference]:
    """Every slice of every column, by split, column and value, largest first; all of them are one family of tests.

    Args:
        scores: Of candidates and baseline.
        metrics: Which to compare; those not judged on a split are left out there.
        candidates: Who is compared; the baseline itself is left out.
        baseline: With whom.
        splits: On which splits.
        confidence: Of each two-sided interval; 1 - confidence is the false discovery rate.
        most: So many values of a column are told apart, the most frequent ones.
    """
    asked = [
        _Asked(scores, metric, candidate, baseline, split, column, value, mask, confidence)
        for split in splits
        for column, values in scores.splits[split].slices.items()
        for value, mask in _parts(values, most)
        for metric in metrics
        if metric.name in scores.splits[split].metrics
        for candidate in candidates
        if candidate != baseline
    ]
    found = [one.difference() for one in asked]
    alpha = 1 - confidence
    tested = [place for place, one in enumerate(found) if one.comparison.low is not None]
    stands = stats.benjamini_hochberg([asked[place].differs_at for place in tested], alpha)
    apart = stats.benjamini_hochberg([asked[place].is_apart_at for place in tested], alpha)
    for place, standing, differing in zip(tested, stands, apart, strict=True):
        drives = standing and differing and asked[place].goes_beyond_the_rest
        found[place] = replace(found[place], stands=standing, drives=drives)
    return found


def drivers(differences: Sequence[SliceDifference], metric: Metric) -> list[SliceDifference]:
    """Slices that drive a difference, what makes it worse before what makes it better, the largest contribution first."""
    found = [one for one in differences if one.drives and one.comparison.metric == metric.name]
    return sorted(found, key=lambda one: (not _is_loss(one, metric), -abs(one.contribution or 0.0)))


def _is_loss(one: SliceDifference, metric: Metric) -> bool:
    return (one.contribution or 0.0) * sign(metric) < 0


def _parts(values: Sequence[str | None], most: int) -> Iterator[tuple[str | None, Marks]]:
    """The most frequent values of a column and the samples that have them, largest first; at last all other samples."""
    sizes = Counter(value for value in values if value is not None)
    shown = sorted(sizes, key=lambda value: (-sizes[value], value))[:most]
    places = {value: place for place, value in enumerate(shown)}
    codes = np.array([-1 if value is None else places.get(value, -1) for value in values])
    for value, place in places.items():
        yield value, codes == place
    if (codes == -1).any():
        yield None, codes == -1


@dataclass(frozen=True, eq=False)
class _Asked:
    """One slice of one comparison."""

    scores: Scores
    metric: Metric
    candidate: str
    baseline: str
    split: str
    column: str
    value: str | None
    within: Marks
    confidence: float

    @property
    def here(self) -> SplitScores:
        return self.scores.splits[self.split]

    @cached_property
    def sides(self) -> tuple[Column, Column, Marks]:
        """Both columns, and the samples that both have a score of (none where their modes differ)."""
        ours, theirs = (checked_column(self.here, self.metric, name) for name in (self.candidate, self.baseline))
        both = ours.scored & theirs.scored
        if self.scores.mixed_modes(self.metric.name, (self.candidate, self.baseline)):
            both = np.zeros_like(both)
        return ours, theirs, both

    @cached_property
    def first(self) -> Comparison:
        return self.compared(self.confidence)

    def compared(self, confidence: float) -> Comparison:
        return compare(
            self.scores, self.metric, self.candidate, self.baseline, self.split, confidence, within=self.within
        )

    @cached_property
    def changes(self) -> tuple[Floats, Floats, Marks, Codes | None]:
        """Over the compared samples: candidate's and baseline's values, whether they are of the slice, their clusters."""
        ours, theirs, both = self.sides
        clusters = None if self.here.clusters is None else self.here.clusters[both]
        return pointwise(self.metric, ours, both), pointwise(self.metric, theirs, both), self.within[both], clusters

    def difference(self) -> SliceDifference:
        found = self.first
        contribution, low, high = self.contribution() if found.n else (None, None, None)
        return SliceDifference(
            column=self.column,
            value=self.value,
            comparison=found,
            share=float(self.changes[2].mean()) if found.n else 0.0,
            contribution=contribution,
            low=low,
            high=high,
            stands=False,
            drives=False,
        )

    def contribution(self) -> tuple[float | None, float | None, float | None]:
        """Estimate and ends: the slice's share times its difference, or times its mean influence."""
        ours, theirs, inside, clusters = self.changes
        share, found = float(inside.mean()), self.first
        if self.metric.aggregate == "mean":
            parts = (found.difference, found.low, found.high)
        else:
            codes = None if clusters is None else clusters[inside]
            moved = stats.smooth_mean(
                (ours - theirs)[inside], self.confidence, low=-np.inf, high=np.inf, clusters=codes
            )
            parts = (moved.estimate, moved.low, moved.high)
        estimate, low, high = (None if part is None else share * part for part in parts)
        return estimate, low, high

    def differs_at(self, level: float) -> bool:
        """An interval that holds zero holds it at every stricter level too."""
        return _excludes_zero(self.first) and (level >= 1 - self.confidence or _excludes_zero(self.compared(1 - level)))

    def contrast(self, confidence: float) -> stats.Interval | None:
        ours, theirs, inside, clusters = self.changes
        return stats.group_contrast(ours - theirs, inside, confidence, clusters=clusters)

    def is_apart_at(self, level: float) -> bool:
        found = self.contrast(1 - level)
        return found is not None and _excludes_zero(found)

    @property
    def goes_beyond_the_rest(self) -> bool:
        """Whether the slice differs from the rest in the direction in which it differs from zero."""
        found, apart = self.first.difference, self.contrast(self.confidence)
        return found is not None and apart is not None and found * apart.estimate > 0


def _excludes_zero(found: Comparison | stats.Interval) -> bool:
    return found.low is not None and found.high is not None and not found.low <= 0 <= found.high
