"""Reliability diagrams: scores read as probabilities, in bins, beside what was true of each bin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.intervals import bounded_mean

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """One bin: a score that can be read as a probability has `share` near `score`."""

    score: float
    """Mean score."""
    share: float
    """Mean truth."""
    low: float | None
    """Ends of the two-sided interval of `share`; None below ten items."""
    high: float | None
    n: int


def reliability_bins(scores: Floats, truth: Floats, *, confidence: float, bins: int = 10) -> list[ReliabilityBin]:
    """Bins of equal width over [0, 1], lowest first; empty ones are left out (Guo et al. 2017, section 2).

    Args:
        scores: Shape [n], within [0, 1].
        truth: Shape [n], within [0, 1]: 0 and 1, or grades laid on that scale.
        confidence: Of the two-sided intervals.
        bins: How many.
    """
    codes = np.minimum((scores * bins).astype(int), bins - 1)
    found = []
    for code in np.unique(codes):
        within = codes == code
        interval = bounded_mean(truth[within], confidence, low=0.0, high=1.0)
        found.append(
            ReliabilityBin(
                score=float(scores[within].mean()), share=interval.estimate, low=interval.low, high=interval.high,
                n=int(within.sum()),
            )
        )  # fmt: skip
    return found
