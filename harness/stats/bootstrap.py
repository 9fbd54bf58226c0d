"""The bootstrap over clusters, for figures that are no means: bias-corrected and accelerated intervals (Efron 1987).

A resample is a row of weights: how often each cluster is in it. So a figure that works on weighted rows has all of its
resamples computed at once, and what depends on the data alone is computed once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.stats.intervals import Floats

JACKKNIFE_GROUPS = 200
"""Clusters are left out one by one up to so many, beyond that in so many groups."""


def resampled(groups: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each of `groups` clusters is in each resample, shape [resamples, groups]."""
    drawn: NDArray[np.int64] = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), resamples)
    return drawn


def left_out(groups: int) -> NDArray[np.int64]:
    """As `resampled`, with each cluster left out in turn (or each of 200 groups of them): the jackknife of `bca`."""
    parts = np.arange(groups) % min(groups, JACKKNIFE_GROUPS)
    kept: NDArray[np.int64] = (parts[None, :] != np.unique(parts)[:, None]).astype(np.int64)
    return kept


def content_order(rows: Floats) -> NDArray[np.int64]:
    """An order of units that depends on what they hold alone, shape [units]: resampled so, no figure depends on row or name."""
    order: NDArray[np.int64] = np.lexsort(rows.T)
    return order


def bca(value: float, draws: Floats, without: Floats, confidence: float) -> tuple[float, float]:
    """Ends of the bias-corrected and accelerated interval (Efron 1987, section 4).

    The correlation of 15 law schools, 0.776, has about 0.43 to 0.92 at 0.90 (Efron and Tibshirani 1993, chapter 14).

    Args:
        value: The figure of all clusters.
        draws: The figure of each resample, shape [B], finite, not all equal.
        without: The figure with each cluster left out, shape [G], finite.
        confidence: Of the two-sided interval.
    """
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    bias = float(special.ndtri(np.clip(below, 1 / (2 * len(draws)), 1 - 1 / (2 * len(draws)))))
    apart = without.mean() - without if len(without) else np.zeros(1)
    spread = float(np.sum(apart**2)) ** 1.5
    acceleration = float(np.sum(apart**3)) / (6 * spread) if spread > 0 else 0.0
    z = special.ndtri(np.array([(1 - confidence) / 2, (1 + confidence) / 2]))
    low, high = np.quantile(draws, special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))))
    return float(low), float(high)
