"""Agreement between raters: Krippendorff's alpha with missing ratings, and its bootstrap interval.

alpha = 1 - D_o / D_e: observed disagreement over what chance pairing of all ratings gives (Krippendorff 2011, "Computing
Krippendorff's alpha-reliability"). 1 is full agreement, 0 what chance gives, below 0 is systematic disagreement. A unit
with m ratings adds each ordered pair of them to the coincidences with weight 1 / (m - 1); units with one rating say nothing.
Squared differences of two values c and k: nominal 1 where c differs from k; interval (c - k)^2; ordinal
(n_c / 2 + what lies between + n_k / 2)^2, with n_v the pairable ratings of value v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import bca, content_order, left_out, resampled
from harness.stats.intervals import MIN_CLUSTERS, MIN_ITEMS, Codes, Floats

Level = Literal["nominal", "ordinal", "interval"]
"""What the ratings are: names, ranks, or numbers with equal steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alpha:
    """Krippendorff's alpha. None where no unit has two ratings or all ratings are equal; then `reason` says so."""

    value: float | None
    low: float | None
    high: float | None
    units: int
    """Units with at least two ratings."""
    ratings: int
    """Ratings of those units."""
    reason: str = ""


def krippendorff_alpha(
    ratings: Floats,
    level: Level,
    *,
    clusters: Codes | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Alpha:
    """Alpha of several raters with a two-sided BCa interval from resampling clusters of units.

    Args:
        ratings: Shape [raters, units], NaN where a rater left the unit out.
        level: How far apart two values are.
        clusters: An integer code per unit, shape [units]; None resamples units.
        confidence: Of the two-sided interval.
        resamples: Bootstrap samples. Those in which all ratings are equal define no alpha and are left out.
        seed: Of the resampling.

    The interval is left out below 10 units or 5 clusters, and where fewer than half of the resamples define alpha.
    """
    paired = np.sum(~np.isnan(ratings), axis=0) >= 2
    kept = ratings[:, paired]
    units = kept.shape[1]
    count = int(np.sum(~np.isnan(kept)))
    if units == 0:
        return Alpha(value=None, low=None, high=None, units=0, ratings=0, reason="no item has two ratings")
    values = np.unique(kept[~np.isnan(kept)])
    coincidences = np.stack([_coincidences(kept[:, unit], values) for unit in range(units)])
    alpha = float(_alphas(coincidences.sum(axis=0)[None], values, level)[0])
    if np.isnan(alpha):
        return Alpha(value=None, low=None, high=None, units=units, ratings=count, reason="all ratings are equal")
    codes = np.arange(units) if clusters is None else np.unique(clusters[paired], return_inverse=True)[1]
    groups = int(codes.max()) + 1
    if units < MIN_ITEMS or groups < MIN_CLUSTERS:
        return Alpha(
            value=alpha, low=None, high=None, units=units, ratings=count, reason="too few items for an interval"
        )
    sums = np.zeros((groups, len(values) ** 2))
    np.add.at(sums, codes, coincidences.reshape(units, -1))
    sums = sums[content_order(sums)]
    draws, without = (
        _alphas((counts @ sums).reshape(-1, len(values), len(values)), values, level)
        for counts in (resampled(groups, resamples, seed), left_out(groups))
    )
    draws = draws[~np.isnan(draws)]
    if 2 * len(draws) < resamples or np.ptp(draws) == 0:
        return Alpha(value=alpha, low=None, high=None, units=units, ratings=count, reason="too equal for an interval")
    low, high = bca(alpha, draws, without[~np.isnan(without)], confidence)
    return Alpha(value=alpha, low=low, high=high, units=units, ratings=count)


def _coincidences(unit: Floats, values: Floats) -> Floats:
    """Ordered pairs of one unit's ratings by their values, shape [values, values], each weighted by 1 / (m - 1)."""
    counts = np.sum(unit[:, None] == values[None, :], axis=0).astype(np.float64)
    pairs: Floats = (np.outer(counts, counts) - np.diag(counts)) / (counts.sum() - 1)
    return pairs


def _alphas(coincidences: NDArray[np.float64], values: Floats, level: Level) -> Floats:
    """Alpha of each coincidence matrix, shape [n, values, values] to [n]; NaN where nothing could disagree."""
    totals = coincidences.sum(axis=2)
    distances = _distances(totals, values, level)
    n = totals.sum(axis=1)
    observed = np.sum(coincidences * distances, axis=(1, 2))
    expected = np.sum(totals[:, :, None] * totals[:, None, :] * distances, axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        alphas: Floats = np.where(expected > 0, 1 - (n - 1) * observed / expected, np.nan)
    return alphas


def _distances(totals: Floats, values: Floats, level: Level) -> NDArray[np.float64]:
    """Squared differences between values, shape [n, values, values] (the same for each n unless ordinal)."""
    if level == "ordinal":
        middles = np.cumsum(totals, axis=1) - totals / 2
        return np.asarray((middles[:, :, None] - middles[:, None, :]) ** 2)
    gap = values[:, None] - values[None, :]
    return np.asarray(gap**2 if level == "interval" else gap != 0, dtype=np.float64)[None]
