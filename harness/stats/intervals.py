"""Intervals for one mean: Student's t, cluster-robust t, Wilson, Clopper-Pearson, exact bounds for (nearly) no events.

Scores are bounded, often tied, and sometimes all equal. The t interval has a width of zero when every score is equal
and is far too narrow when nearly all are, so `bounded_mean` falls back on exact bounds there. It does not correct for
skewness: with few, large, rare values above five in number the t interval is somewhat too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MIN_ITEMS = 10
"""Fewer items than this carry no interval."""
MIN_CLUSTERS = 5
"""Fewer clusters than this carry no interval."""
FEW_EVENTS = 5
"""With fewer values than this off the common one, exact bounds replace the t interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its two-sided interval. `low` and `high` are None where the sample cannot carry one."""

    estimate: float
    low: float | None
    high: float | None
    n: int
    clusters: int | None
    method: str
    spread: float
    """Standard deviation of one item that gives the standard error when divided by sqrt(n): clustering is in it."""


def two_sided(confidence: float) -> float:
    """The confidence of the two-sided interval whose ends are one-sided bounds at `confidence` (0.95 gives 0.90)."""
    if not 0.5 < confidence < 1:
        raise ValueError(f"'confidence' must be between 0.5 and 1 (got {confidence}). Use 0.95.")
    return 2 * confidence - 1


def is_binary(values: Floats) -> bool:
    """Whether every value is exactly 0 or 1."""
    return bool(np.all((values == 0.0) | (values == 1.0)))


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t."""
    return float(special.stdtrit(degrees, probability))


def z_quantile(probability: float) -> float:
    """Quantile of the standard normal."""
    return float(special.ndtri(probability))


def zero_event_bound(n: int, confidence: float) -> float:
    """One-sided upper bound on the rate of an event seen in none of n trials: 1 - (1 - confidence)^(1/n).

    The exact form of the rule of three (Hanley and Lippman-Hand 1983): n = 100 at 0.95 gives 0.0295.
    """
    return float(-np.expm1(np.log1p(-confidence) / n))


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Newcombe 1998, method 3): 15 of 148 at 0.95 gives 0.0624 to 0.1605."""
    z2 = z_quantile(0.5 + confidence / 2) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (successes * (n - successes) / n + z2 / 4)) / (n + z2)
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return low, high


def clopper_pearson(successes: float, n: int, confidence: float) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson 1934): each end errs with chance (1 - confidence)/2 at most.

    `successes` may be a fraction: the mean of n clusters' shares, times n.
    """
    alpha = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, alpha))
    high = 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - alpha))
    return low, high


def mean(values: Floats, confidence: float) -> Interval:
    """Student's t interval for a mean of independent items, mean +- t(n-1) sd/sqrt(n). `values`: shape [n], n >= 2."""
    n = len(values)
    spread = float(np.std(values, ddof=1))
    half = t_quantile(0.5 + confidence / 2, n - 1) * spread / np.sqrt(n)
    centre = float(np.mean(values))
    return Interval(
        estimate=centre, low=centre - half, high=centre + half, n=n, clusters=None, method="t", spread=spread
    )


def clustered_mean(values: Floats, clusters: Codes, confidence: float) -> Interval:
    """The t interval for a mean of items that come in clusters, with the factor G/(G-1) and t(G-1).

    The standard error is the root of the summed squares of each cluster's summed deviations, divided by n (Miller 2024,
    "Adding error bars to evals", section 2.2, with the small-sample factor of Cameron and Miller 2015, section VI).

    Args:
        values: Scores, shape [n].
        clusters: Any integer code per item, shape [n], with at least two distinct codes.
        confidence: Of the two-sided interval.
    """
    n = len(values)
    _, codes = np.unique(clusters, return_inverse=True)
    groups = int(codes.max()) + 1
    centre = float(np.mean(values))
    sums = np.bincount(codes, weights=values - centre, minlength=groups)
    error = float(np.sqrt(np.sum(sums**2) * groups / (groups - 1)) / n)
    half = t_quantile(0.5 + confidence / 2, groups - 1) * error
    return Interval(
        estimate=centre,
        low=centre - half,
        high=centre + half,
        n=n,
        clusters=groups,
        method="clustered t",
        spread=error * float(np.sqrt(n)),
    )


def group_contrast(
    values: Floats, inside: NDArray[np.bool_], confidence: float, *, clusters: Codes | None = None
) -> Interval | None:
    """The t interval for the mean of some items less that of the others, where clusters may have items on both sides.

    The variance is the sum of squares of each unit's summed influences, with G/(G - 1) and t(G - 1) of the side that has
    fewer units. None where a side is empty; no ends below 10 items or 5 clusters on either side, or where nothing varies.

    Args:
        values: Shape [n], finite.
        inside: Shape [n]: which items are on the first side.
        confidence: Of the two-sided interval.
        clusters: Integer codes, shape [n]; None for independent items.
    """
    n, first = len(values), int(inside.sum())
    if first in (0, n):
        return None
    means = np.where(inside, values[inside].mean(), values[~inside].mean())
    influences = (values - means) * np.where(inside, 1 / first, -1 / (n - first))
    units = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    groups = min(len(np.unique(units[inside])), len(np.unique(units[~inside])))
    estimate = float(values[inside].mean() - values[~inside].mean())
    squares = float(np.sum(np.bincount(units, weights=influences) ** 2))
    least = MIN_ITEMS if clusters is None else MIN_CLUSTERS
    found = Interval(
        estimate=estimate, low=None, high=None, n=n, clusters=None if clusters is None else groups,
        method="contrast of two groups", spread=float(np.sqrt(squares * n)),
    )  # fmt: skip
    if groups < least or min(first, n - first) < MIN_ITEMS or squares == 0:
        return found
    half = t_quantile(0.5 + confidence / 2, groups - 1) * float(np.sqrt(squares * groups / (groups - 1)))
    return replace(found, low=estimate - half, high=estimate + half)


def few_events(values: Floats, confidence: float, *, low: float, high: float) -> tuple[float, float]:
    """Exact bounds for the mean of independent values within [low, high] of which nearly all are equal.

    With a the common value, E[x] <= a + (high - a) P(x > a), and P(x > a) has its Clopper-Pearson bound; likewise
    below. Where no value is off the common one, this is the zero-event bound times the distance to the end of the
    range; where the range has no end, neither has the bound.
    """
    common = float(np.median(values))
    slack = _slack(values, low, high)
    up = clopper_pearson(int(np.sum(values > common + slack)), len(values), confidence)[1]
    down = clopper_pearson(int(np.sum(values < common - slack)), len(values), confidence)[1]
    return common - (common - low) * down, common + (high - common) * up


def bounded_mean(
    values: Floats,
    confidence: float,
    *,
    low: float,
    high: float,
    clusters: Codes | None = None,
    exact: bool = False,
) -> Interval:
    """The interval for the mean of scores within [low, high], by the method that fits them.

    Independent 0/1 scores: Wilson, widened to the exact bound at 0 or n events; Clopper-Pearson when `exact`. Others:
    t, or clustered t; where fewer than five values differ from the common one, exact bounds (`few_events`). No
    interval below 10 items or 5 clusters.

    Args:
        values: Scores, shape [n], finite, within [low, high].
        confidence: Of the two-sided interval.
        low: Lower end of the metric's range.
        high: Upper end of the metric's range.
        clusters: Integer codes, shape [n]; None for independent items.
        exact: Guarantee the error rate of each end for 0/1 scores, at the price of a wider interval.

    Raises:
        ValueError: If `values` is empty.
    """
    n = len(values)
    if n == 0:
        raise ValueError("'values' must hold at least one score (got none). Leave the estimate out instead.")
    found = _too_small(values, clusters)
    if found is not None:
        return found
    if clusters is None and low == 0 and high == 1 and is_binary(values):
        return _proportion(values, confidence, exact=exact)
    usual = mean(values, confidence) if clusters is None else clustered_mean(values, clusters, confidence)
    # A cluster is one trial: exact for clusters of one size, and otherwise close, since nearly all values are equal.
    trials = values if clusters is None else _cluster_means(values, clusters)
    if _is_nearly_constant(trials, slack=_slack(trials, low, high)):
        lower, upper = few_events(trials, confidence, low=low, high=high)
        return replace(usual, low=lower, high=upper, method=_clustered("exact bounds", clusters))
    assert usual.low is not None
    assert usual.high is not None
    return replace(usual, low=max(usual.low, low), high=min(usual.high, high))


def smooth_mean(
    values: Floats, confidence: float, *, low: float, high: float, clusters: Codes | None = None
) -> Interval:
    """The interval for a smooth figure made a mean of one value a sample by its influences (the infinitesimal jackknife).

    (Clustered) t, cut at the ends of the figure's range. The values themselves know no range, so there are no exact bounds
    to fall back on: no interval below 10 items or 5 clusters, nor where fewer than five values differ from the common one.

    Args:
        values: Shape [n], finite.
        confidence: Of the two-sided interval.
        low: Lower end of the figure's range; may be -inf.
        high: Upper end; may be inf.
        clusters: Integer codes, shape [n]; None for independent items.
    """
    found = _too_small(values, clusters)
    if found is not None:
        return found
    usual = mean(values, confidence) if clusters is None else clustered_mean(values, clusters, confidence)
    trials = values if clusters is None else _cluster_means(values, clusters)
    if _is_nearly_constant(trials, slack=1e-12 * max(1.0, float(np.abs(trials).max()))):
        return replace(usual, low=None, high=None, method=f"none where fewer than {FEW_EVENTS} differ")
    assert usual.low is not None
    assert usual.high is not None
    return replace(
        usual, low=max(usual.low, low), high=min(usual.high, high), method=_clustered("linearised t", clusters)
    )


def _proportion(values: Floats, confidence: float, *, exact: bool) -> Interval:
    n, successes = len(values), int(values.sum())
    share = successes / n
    spread = float(np.sqrt(share * (1 - share) * n / (n - 1)))
    lower, upper = clopper_pearson(successes, n, confidence)
    method = "Clopper-Pearson"
    if not exact and 0 < successes < n:
        lower, upper = wilson(successes, n, confidence)
        method = "Wilson"
    return Interval(estimate=share, low=lower, high=upper, n=n, clusters=None, method=method, spread=spread)


def _too_small(values: Floats, clusters: Codes | None) -> Interval | None:
    """The interval without ends, where there are too few items or clusters for one."""
    n = len(values)
    groups = None if clusters is None else len(np.unique(clusters))
    if n >= MIN_ITEMS and (groups is None or groups >= MIN_CLUSTERS):
        return None
    reason = f"none below {MIN_ITEMS} items" if n < MIN_ITEMS else f"none below {MIN_CLUSTERS} clusters"
    spread = float(np.std(values, ddof=1)) if n > 1 else 0.0
    return Interval(
        estimate=float(np.mean(values)), low=None, high=None, n=n, clusters=groups, method=reason, spread=spread
    )


def _slack(values: Floats, low: float, high: float) -> float:
    """How far apart two values may be and still count as equal: a trifle of the range, or of the values if it has no end."""
    width = high - low
    return 1e-12 * (width if np.isfinite(width) else max(1.0, float(np.abs(values).max())))


def _cluster_means(values: Floats, clusters: Codes) -> Floats:
    _, codes = np.unique(clusters, return_inverse=True)
    means: Floats = np.bincount(codes, weights=values) / np.bincount(codes)
    return means


def _is_nearly_constant(values: Floats, *, slack: float) -> bool:
    """Whether fewer than five values are off the common one, and most are on it."""
    off = int(np.sum(np.abs(values - np.median(values)) > slack))
    return off < FEW_EVENTS and 2 * off < len(values)


def _clustered(method: str, clusters: Codes | None) -> str:
    return method if clusters is None else f"clustered {method}"
