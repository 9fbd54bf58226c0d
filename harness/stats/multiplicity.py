"""Several comparisons at once: Holm's step-down for gates, Benjamini-Hochberg for exploring, rank sets for leaderboards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.stats.bootstrap import content_order
from harness.stats.intervals import MIN_CLUSTERS, MIN_ITEMS, Codes, Floats

CHUNK = 100
"""Bootstrap draws made at a time: bounds the memory at CHUNK x n numbers."""


def holm(rejects_at: Sequence[Callable[[float], bool]], alpha: float) -> list[bool]:
    """Which tests reject while the chance of any false rejection stays at alpha (Holm 1979).

    Each test is a function that says whether it rejects at a level; that serves p-values (`lambda a: p <= a`) and
    intervals without a p-value alike, so long as what rejects at one level also rejects at every larger one.

    Args:
        rejects_at: The tests.
        alpha: Familywise error rate, in (0, 1).
    """
    rejected = [False] * len(rejects_at)
    while not all(rejected):
        level = alpha / rejected.count(False)
        step = [done or test(level) for done, test in zip(rejected, rejects_at, strict=True)]
        if step == rejected:
            break
        rejected = step
    return rejected


def benjamini_hochberg(rejects_at: Sequence[Callable[[float], bool]], alpha: float) -> list[bool]:
    """Which tests reject while the expected share of false ones among them stays at alpha (Benjamini and Hochberg 1995).

    For tests that are independent or positively dependent (Benjamini and Yekutieli 2001). Where no effect is real, the chance
    of any rejection is at most alpha. Tests as in `holm`. The k smallest p-values reject for the largest k for which k of
    them are at most k alpha / m: found from above, since with k tests left at that level no more than k can be right.

    Args:
        rejects_at: The tests.
        alpha: False discovery rate, in (0, 1).
    """
    rejected = [True] * len(rejects_at)
    left = len(rejects_at)
    while left:
        level = alpha * left / len(rejects_at)
        rejected = [kept and test(level) for kept, test in zip(rejected, rejects_at, strict=True)]
        if sum(rejected) == left:
            break
        left = sum(rejected)
    return rejected


def rank_sets(
    scores: Floats,
    rng: np.random.Generator,
    *,
    clusters: Codes | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
) -> list[tuple[int, int]]:
    """The ranks each row may have, best first: 1 + how many are certainly better, to k - how many are certainly worse.

    All pairs are compared by simultaneous intervals: the critical value is the quantile of the largest |t| over pairs
    under a multiplier bootstrap (Chernozhukov, Chetverikov and Kato 2013; the rank sets of Mogstad, Romano, Shaikh
    and Wilhelm 2024). Below 10 items or 5 clusters every rank is possible. A pair whose difference never varies is
    never certain.

    Args:
        scores: Shape [k, n], oriented so that higher is better; the columns are shared samples.
        rng: A seeded generator.
        clusters: Integer codes, shape [n]; None for independent samples.
        confidence: Chance that every true rank lies in its set.
        draws: Bootstrap draws.
    """
    k, n = scores.shape
    first, second = np.triu_indices(k, 1)
    units, factor = _unit_sums(scores - scores.mean(axis=1, keepdims=True), clusters)
    if k < 2 or n < MIN_ITEMS or (clusters is not None and units.shape[1] < MIN_CLUSTERS):
        return [(1, k)] * k
    units = units[:, content_order(units.T)]
    differences = scores.mean(axis=1)[first] - scores.mean(axis=1)[second]
    errors = np.sqrt(np.sum((units[first] - units[second]) ** 2, axis=1) * factor) / n
    varies = errors > 1e-12
    if not varies.any():
        return [(1, k)] * k
    largest = np.empty(draws)
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        moved = rng.standard_normal((size, units.shape[1])) @ units.T * (np.sqrt(factor) / n)
        t = np.abs(moved[:, first] - moved[:, second])[:, varies] / errors[varies]
        largest[start : start + size] = t.max(axis=1)
    certain = varies & (np.abs(differences) > np.quantile(largest, confidence) * errors)
    better, worse = np.zeros(k, dtype=int), np.zeros(k, dtype=int)
    for a, b, difference in zip(first[certain], second[certain], differences[certain], strict=True):
        winner, loser = (a, b) if difference > 0 else (b, a)
        better[loser] += 1
        worse[winner] += 1
    return [(1 + int(above), k - int(below)) for above, below in zip(better, worse, strict=True)]


def _unit_sums(deviations: Floats, clusters: Codes | None) -> tuple[Floats, float]:
    """Deviations summed within each independent unit, shape [k, units], and the factor units/(units - 1)."""
    if clusters is None:
        return deviations, deviations.shape[1] / max(deviations.shape[1] - 1, 1)
    _, codes = np.unique(clusters, return_inverse=True)
    units = int(codes.max()) + 1
    sums: Floats = np.stack([np.bincount(codes, weights=row, minlength=units) for row in deviations])
    return sums, units / max(units - 1, 1)
