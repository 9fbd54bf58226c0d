"""A rule of a gate put to the scores: what was measured, its one-sided bounds, what the unscored could change.

Everything here is oriented so that up is good: for a rule that wants a low mean, estimates, bounds and limits are
negated, and a rule passes when the lower bound clears its limit. `Question.outward` turns a number back to the
metric's own sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.aggregates import interval as interval_of
from harness.deciding.comparison import checked_column, sign
from harness.deciding.scores import Column, SplitScores
from harness.records import Metric

Condition = Literal["at_least", "at_most", "better_by", "no_worse_by"]

MAX_UNSCORED = 0.01
"""A larger share of unscored samples must not be able to overturn a pass."""
UNBALANCED = 0.05
"""Fisher's p below which candidate and baseline are said to lack scores at different rates."""
MOST = 10_000_000
"""More samples than this are not named as needed: nobody has them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One rule, one candidate, one split. Arrays have shape [samples of the split]."""

    rule: str
    condition: Condition
    amount: float
    """The number in the rule, as written."""
    metric: Metric
    split: str
    candidate: str
    baseline: str | None
    ours: Column
    theirs: Column | None
    """None where the rule looks at the candidate alone."""
    clusters: NDArray[np.int64] | None
    confidence: float
    slice: str = ""
    """Which samples of the split, such as `specialty=cardio`; empty for all of them."""
    quantile: float | None = None
    """For a limit on latency: the share of the answers that must keep it. Then the estimate is that quantile."""
    unit: str = ""
    """Of the numbers: `s` for seconds."""

    @property
    def is_paired(self) -> bool:
        """Whether the rule compares with the baseline."""
        return self.theirs is not None

    @property
    def up(self) -> int:
        """1 where the rule wants the metric's number high, -1 where it wants it low."""
        if self.is_paired:
            return sign(self.metric)
        return 1 if self.condition == "at_least" else -1

    @property
    def limit(self) -> float:
        """What the lower bound must clear, oriented."""
        match self.condition:
            case "no_worse_by":
                return -self.amount
            case "at_most":
                return -self.amount
            case _:
                return self.amount

    @property
    def fail_limit(self) -> float:
        """What the upper bound must stay below for a failure, oriented: any loss at all for `no_worse_by`."""
        return 0.0 if self.condition == "no_worse_by" else self.limit

    @property
    def threshold(self) -> float:
        """The limit in the metric's own sign."""
        return self.outward(self.limit)

    def outward(self, value: float) -> float:
        """An oriented number in the metric's own sign, and back."""
        return value * self.up + 0.0  # + 0.0 makes -0.0 zero

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """Samples with every score the rule needs."""
        return self.ours.scored if self.theirs is None else self.ours.scored & self.theirs.scored

    @property
    def n(self) -> int:
        """Samples used."""
        return int(self.used.sum())

    @property
    def unscored(self) -> int:
        """Samples left out for want of a score."""
        return len(self.used) - self.n

    @cached_property
    def interval(self) -> stats.Interval:
        """In the metric's own sign, with one-sided bounds at the gate's confidence; needs `n` > 0."""
        return self._interval(self.confidence)

    @property
    def estimate(self) -> float:
        """Oriented."""
        return self.outward(self.interval.estimate)

    @cached_property
    def bounds(self) -> tuple[float, float] | None:
        """Oriented one-sided bounds (low, high) at the gate's confidence."""
        return self._oriented(self.interval)

    def clears(self, low: float) -> bool:
        """Whether a lower bound is enough for a pass."""
        return low >= self.limit if self.condition in ("at_least", "at_most") else low > self.limit

    def passes(self) -> bool:
        """Whether the lower bound clears the limit, the unscored left aside."""
        return self.bounds is not None and self.clears(self.bounds[0])

    def fails_at(self, level: float) -> bool:
        """Whether the candidate is on the wrong side at this one-sided error rate, and was not shown harmless."""
        if self.n == 0 or self.bounds is None or self.passes():
            return False
        bounds = self._oriented(self._interval(1 - level))
        return bounds is not None and bounds[1] < self.fail_limit

    def extreme(self, *, best: bool) -> stats.Interval:
        """The interval had every unscored sample the best, or the worst, score for the candidate.

        For a metric that is no mean, what one sample can do is not known, and on a scale without end there is no worst: then
        the end of what the figure could be at all, without an interval.
        """
        good, bad = (self.metric.high, self.metric.low) if self.up > 0 else (self.metric.low, self.metric.high)
        own, other = (good, bad) if best else (bad, good)
        if self.metric.aggregate != "mean" or (
            self.quantile is None and not np.isfinite([own, other][: 1 + self.is_paired]).all()
        ):
            end = self.outward(self._range[1] if best else self._range[0])
            return replace(self.interval, estimate=end, low=None, high=None)
        every = np.ones(len(self.used), dtype=bool)
        ours = _filled(self.ours, own)
        theirs = None if self.theirs is None else _filled(self.theirs, other)
        return self._measure(ours, theirs, every, self.confidence)

    def unscored_could_overturn(self) -> bool:
        """Whether a pass rests on the unscored being harmless, and that cannot be taken for granted.

        It can be where they are at most 1 % of the samples and no more frequent for one candidate than the other.
        """
        if self.unscored == 0:
            return False
        if self.unscored <= MAX_UNSCORED * len(self.used) and not self._is_unbalanced():
            return False
        bounds = self._oriented(self.extreme(best=False))
        return bounds is None or not self.clears(bounds[0])

    def _is_unbalanced(self) -> bool:
        if self.theirs is None:
            return False
        n = len(self.used)
        ours, theirs = int((~self.ours.scored).sum()), int((~self.theirs.scored).sum())
        return stats.fisher_exact(ours, n, theirs, n) < UNBALANCED

    @property
    def is_too_small(self) -> bool:
        """Whether there are too few samples, or clusters, for any interval."""
        groups = self.interval.clusters
        return self.n < stats.MIN_ITEMS or (groups is not None and groups < stats.MIN_CLUSTERS)

    def samples_needed(self, rules: int) -> int | None:
        """Samples from which this estimate, were it the truth, would decide the rule either way with a chance of 80 %.

        Args:
            rules: How many rules share the error rate of a failure (Holm).
        """
        interval = self.interval
        if interval.low is None and not self.is_too_small:
            return None
        if self.quantile is not None and interval.low is not None:
            return self._enough_for_quantile(self.quantile, rules)
        if interval.low is None:
            groups = interval.clusters
            clusters = 0 if groups is None else -(-stats.MIN_CLUSTERS * self.n // groups)
            return max(stats.MIN_ITEMS, clusters)
        strict = 1 - (1 - self.confidence) / rules
        ways = []
        if self.estimate > self.limit:
            ways.append(self._enough(self.estimate - self.limit, self.estimate - self._range[0], self.confidence))
        if self.estimate < self.fail_limit:
            ways.append(self._enough(self.fail_limit - self.estimate, self._range[1] - self.estimate, strict))
        found = min((n for n in ways if n is not None), default=None)
        return None if found is None or found > MOST else max(found, self.n + 1)

    def _enough_for_quantile(self, quantile: float, rules: int) -> int | None:
        """For a limit on a quantile: samples that tell the share of the answers beyond the limit from 1 - quantile."""
        share, spread = float(np.mean(self.ours.values[self.used] > self.amount)), self.interval.spread
        strict = self.confidence if share < 1 - quantile else 1 - (1 - self.confidence) / rules
        found = stats.samples_needed(abs(share - (1 - quantile)), spread, strict)
        if share == 0:
            found = stats.samples_without_events(1 - quantile, self.confidence)
        return None if found is None or found > MOST else max(found, self.n + 1)

    def _enough(self, distance: float, room: float, confidence: float) -> int | None:
        """By the normal approximation; also by the zero-event bound, where nearly all values are equal."""
        normal = stats.samples_needed(distance, self.interval.spread, confidence)
        if normal is None or not (self.interval.spread == 0 or self.interval.method.endswith("exact bounds")):
            return normal
        items = 1 if self.interval.clusters is None else self.interval.n / self.interval.clusters
        trials = stats.samples_without_events(distance / room, confidence)
        return None if trials is None else max(normal, int(np.ceil(trials * items)))

    @property
    def _range(self) -> tuple[float, float]:
        """The ends of what the estimate could be, oriented."""
        if self.is_paired:
            width = self.metric.high - self.metric.low
            return -width, width
        low, high = sorted((self.outward(self.metric.low), self.outward(self.metric.high)))
        return low, high

    def _interval(self, confidence: float) -> stats.Interval:
        return self._measure(self.ours, self.theirs, self.used, confidence)

    def _measure(
        self, ours: Column, theirs: Column | None, used: NDArray[np.bool_], confidence: float
    ) -> stats.Interval:
        level = stats.two_sided(confidence)
        if self.quantile is not None:
            codes = None if self.clusters is None else self.clusters[used]
            return stats.quantile_interval(ours.values[used], self.quantile, level, clusters=codes)
        return interval_of(self.metric, ours, theirs, used, level, clusters=self.clusters, exact=True)

    def _oriented(self, interval: stats.Interval) -> tuple[float, float] | None:
        if interval.low is None or interval.high is None:
            return None
        ends = (self.outward(interval.low), self.outward(interval.high))
        return min(ends), max(ends)


def _filled(column: Column, value: float) -> Column:
    """The scores with a value for each that is missing."""
    values = np.where(column.scored, column.values, value)
    return Column(values=values, scored=np.ones(len(values), dtype=bool))


def build_question(
    here: SplitScores,
    *,
    rule: str,
    condition: Condition,
    amount: float,
    metric: Metric,
    split: str,
    candidate: str,
    baseline: str | None,
    confidence: float,
    slice: str = "",
    quantile: float | None = None,
    unit: str = "",
) -> Question:
    """Looks up what a rule needs; `baseline` is None where the rule looks at the candidate alone."""
    ours = checked_column(here, metric, candidate)
    theirs = None if baseline is None else checked_column(here, metric, baseline)
    return Question(
        rule=rule,
        condition=condition,
        amount=amount,
        metric=metric,
        split=split,
        candidate=candidate,
        baseline=baseline,
        ours=ours,
        theirs=theirs,
        clusters=here.clusters,
        confidence=confidence,
        slice=slice,
        quantile=quantile,
        unit=unit,
    )
