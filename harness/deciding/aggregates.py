"""Figures of many scores: means, and metrics that are no means but smooth functions of sums over the samples.

Such a figure is made a mean of one value a sample: the figure itself plus n times the sample's share in its first-order change
(its influence; the infinitesimal jackknife, Efron 1982, section 6.3). The values' mean is the figure exactly, and their spread
gives its standard error, paired differences and clusters included, so all that compares means compares these figures too.

perplexity: P = exp(L / T), L = -sum of log-likelihoods, T = sum of tokens; sample i has P + n P (l_i - log(P) t_i) / T.
macro_f1: F = mean over labels of F_c, F_c = 2 TP_c / D_c, where D_c counts c as target and as prediction; sample i has
F + n times the mean over labels of (2 tp_ic - F_c d_ic) / D_c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.scores import Column
from harness.errors import StoreError
from harness.records import Metric

Floats = NDArray[np.float64]


def pointwise(metric: Metric, column: Column, used: NDArray[np.bool_]) -> Floats:
    """One value a used sample, whose mean is the metric's figure for these samples.

    Args:
        metric: Says how scores are aggregated.
        column: The candidate's scores, with their evidence where the metric is no mean.
        used: Shape [samples]: which count; at least one, and all of them scored.

    Raises:
        StoreError: If the evidence lacks what the figure is made of.
    """
    if metric.aggregate == "mean" or not used.any():
        return column.values[used]
    held = column.evidence or (None,) * len(used)
    evidence = [held[i] or {} for i in np.flatnonzero(used)]
    match metric.aggregate:
        case "perplexity":
            return _perplexity(_field(metric, evidence, "log_likelihood"), _field(metric, evidence, "tokens"))
        case "macro_f1":
            return _macro_f1(_field(metric, evidence, "target"), _field(metric, evidence, "predicted"))


def interval(
    metric: Metric,
    ours: Floats,
    theirs: Floats | None,
    confidence: float,
    *,
    clusters: NDArray[np.int64] | None,
    exact: bool = False,
) -> stats.Interval:
    """The two-sided interval of a figure, or of the difference ours - theirs, from values of `pointwise`.

    Args:
        metric: The metric, for its range.
        ours: Shape [n].
        theirs: Shape [n], of the same samples; None for the figure alone.
        confidence: Of the two-sided interval.
        clusters: Integer codes, shape [n].
        exact: As in `stats.bounded_mean`.
    """
    low, high = metric.low, metric.high
    if metric.aggregate != "mean":
        if theirs is None:
            return stats.smooth_mean(ours, confidence, low=low, high=high, clusters=clusters)
        return stats.smooth_mean(ours - theirs, confidence, low=low - high, high=high - low, clusters=clusters)
    if theirs is None:
        return stats.bounded_mean(ours, confidence, low=low, high=high, clusters=clusters, exact=exact)
    return stats.paired_difference(ours, theirs, confidence, low=low, high=high, clusters=clusters)


def _perplexity(logs: Sequence[float], tokens: Sequence[int]) -> Floats:
    surprise, counts = -np.array(logs, dtype=np.float64), np.array(tokens, dtype=np.float64)
    rate = surprise.sum() / counts.sum()
    figure = np.exp(rate)
    values: Floats = figure + len(counts) * figure * (surprise - rate * counts) / counts.sum()
    return values


def _macro_f1(targets: Sequence[str], predicted: Sequence[str | None]) -> Floats:
    """A prediction of None is a miss of its target and no mention of any label."""
    labels = sorted({*targets, *(label for label in predicted if label is not None)})
    places = {label: place for place, label in enumerate(labels)}
    mentions = np.zeros((len(targets), len(labels)))
    hits = np.zeros_like(mentions)
    for row, (target, said) in enumerate(zip(targets, predicted, strict=True)):
        mentions[row, places[target]] += 1
        if said is not None:
            mentions[row, places[said]] += 1
            hits[row, places[said]] = float(said == target)
    counts = mentions.sum(axis=0)
    by_label = 2 * hits.sum(axis=0) / counts
    values: Floats = by_label.mean() + len(targets) * ((2 * hits - by_label * mentions) / counts).mean(axis=1)
    return values


def _field(metric: Metric, evidence: Sequence[Any], name: str) -> list[Any]:
    try:
        return [entry[name] for entry in evidence]
    except KeyError:
        raise StoreError(
            f"a score of {metric.name!r} must have {name!r} in its evidence (got none). Judge it anew: muster run --fresh"
        ) from None
