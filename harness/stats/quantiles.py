"""Intervals for a quantile, without any assumption about the distribution: their ends are order statistics."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from harness.stats.intervals import MIN_CLUSTERS, MIN_ITEMS, Codes, Floats, Interval, clustered_mean


def quantile_interval(values: Floats, quantile: float, confidence: float, *, clusters: Codes | None = None) -> Interval:
    """The interval for a quantile; each end errs with chance (1 - confidence)/2 at most, whatever the distribution.

    The k-th smallest of n independent values lies above the quantile q with chance P(Binomial(n, q) < k), and below it with
    chance P(Binomial(n, q) >= k) (David and Nagaraja 2003, section 7.1). Where not even the largest value is an upper bound,
    `high` is infinite: for the 0.95 quantile at one-sided 0.95, below n = 59. With clusters n is first divided by the design
    effect of the share of values above the quantile (Woodruff 1952), which is taken to be 1 at least.

    Args:
        values: Shape [n]; may hold inf.
        quantile: In (0, 1).
        confidence: Of the two-sided interval.
        clusters: Integer codes, shape [n]; None for independent values.

    `estimate` is the smallest value with at least the share q of all values at or below it. `spread` is that of the share of
    values above the quantile. `low` and `high` are None below 10 items or 5 clusters.
    """
    ordered, n = np.sort(values), len(values)
    estimate = float(ordered[max(0, math.ceil(quantile * n - 1e-9) - 1)])
    groups = None if clusters is None else len(np.unique(clusters))
    spread = math.sqrt(quantile * (1 - quantile))
    if n < MIN_ITEMS or (groups is not None and groups < MIN_CLUSTERS):
        reason = f"none below {MIN_ITEMS} items" if n < MIN_ITEMS else f"none below {MIN_CLUSTERS} clusters"
        return Interval(
            estimate=estimate, low=None, high=None, n=n, clusters=groups, method=reason, spread=spread
        )  # fmt: skip
    effect = 1.0 if clusters is None else _design_effect(values > estimate, clusters)
    worth = max(1, math.floor(n / effect))
    alpha = (1 - confidence) / 2
    below = special.bdtr(np.arange(worth), worth, quantile)  # P(Binomial < k), for k = 1 to worth
    lower = math.floor(int(np.sum(below <= alpha)) * n / worth)
    enough = np.flatnonzero(below >= 1 - alpha)
    upper = math.ceil((int(enough[0]) + 1) * n / worth) if len(enough) else n + 1
    return Interval(
        estimate=estimate,
        low=float(ordered[lower - 1]) if lower > 0 else -math.inf,
        high=float(ordered[upper - 1]) if upper <= n else math.inf,
        n=n,
        clusters=groups,
        method="order statistics" if clusters is None else "clustered order statistics",
        spread=spread * math.sqrt(effect),
    )


def _design_effect(above: np.ndarray, clusters: Codes) -> float:
    """How many times the variance of a share grows by the clustering; 1 at least, and where the share is 0 or 1."""
    share = float(above.mean())
    if share in (0.0, 1.0):
        return 1.0
    clustered = clustered_mean(above.astype(np.float64), clusters, 0.9)
    return max(1.0, clustered.spread**2 / (share * (1 - share)))
