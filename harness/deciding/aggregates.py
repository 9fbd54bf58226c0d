"""Figures of many scores: means, and metrics that are no means but smooth functions of sums over the samples.

perplexity is exp(L / T), with L = -sum of log-likelihoods and T = sum of tokens. macro_f1 is the mean over labels of 2 TP / D,
where D counts a label as target and as prediction; labels without any mention are left out.

The interval of such a figure is the BCa bootstrap's over clusters. Beyond `MANY` clusters, where both are the same, it comes
from making the figure a mean of one value a sample: the figure itself plus n times the sample's share in its first-order change
(its influence; the infinitesimal jackknife, Efron 1982, section 6.3). The values' mean is the figure exactly, so all that takes
a mean apart, such as slices, ranks and sample sizes, takes these figures apart too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.scores import Column
from harness.errors import StoreError
from harness.records import Metric

Floats = NDArray[np.float64]

MANY = 1000
"""Clusters (samples, where there are none) beyond which the bootstrap would only repeat the linearised interval."""
RESAMPLES = 1000
RARE = 5
"""Resamples beyond an end, below which its place is not known: for such a confidence the interval is linearised too."""


def pointwise(metric: Metric, column: Column, used: NDArray[np.bool_]) -> Floats:
    """One value a used sample, whose mean is the metric's figure for these samples.

    Args:
        metric: Says how scores are aggregated.
        column: The candidate's scores, with their evidence where the metric is no mean.
        used: Shape [samples]: which count; all of them scored.

    Raises:
        StoreError: If the evidence lacks what the figure is made of.
    """
    if metric.aggregate == "mean" or not used.any():
        return column.values[used]
    terms = _terms(metric, column, used)
    total = terms.sum(axis=0)
    values: Floats = _figure(metric, total) + len(terms) * (terms @ _gradient(metric, total))
    return values


def interval(
    metric: Metric,
    ours: Column,
    theirs: Column | None,
    used: NDArray[np.bool_],
    confidence: float,
    *,
    clusters: NDArray[np.int64] | None,
    exact: bool = False,
) -> stats.Interval:
    """The two-sided interval of a candidate's figure, or of the difference ours - theirs, on some samples.

    Args:
        metric: The metric.
        ours: Its scores of the candidate.
        theirs: Its scores of another on the same samples; None for the figure alone.
        used: Shape [samples]: which count; at least one, and all of them scored by both.
        confidence: Of the two-sided interval.
        clusters: Integer codes, shape [samples].
        exact: As in `stats.bounded_mean`.

    Raises:
        StoreError: If the evidence lacks what the figure is made of.
    """
    codes = None if clusters is None else clusters[used]
    values = pointwise(metric, ours, used)
    against = None if theirs is None else pointwise(metric, theirs, used)
    low, high = metric.low, metric.high
    if metric.aggregate == "mean":
        if against is None:
            return stats.bounded_mean(values, confidence, low=low, high=high, clusters=codes, exact=exact)
        return stats.paired_difference(values, against, confidence, low=low, high=high, clusters=codes)
    if against is not None:
        values, low, high = values - against, low - high, high - low
    smooth = stats.smooth_mean(values, confidence, low=low, high=high, clusters=codes)
    units = np.arange(len(values)) if codes is None else np.unique(codes, return_inverse=True)[1]
    if smooth.low is None or units.max() >= MANY or (1 - confidence) / 2 * RESAMPLES < RARE:
        return smooth
    return _bootstrapped(metric, smooth, [column for column in (ours, theirs) if column], used, units, confidence)


def _bootstrapped(
    metric: Metric,
    smooth: stats.Interval,
    columns: Sequence[Column],
    used: NDArray[np.bool_],
    units: NDArray[np.int64],
    confidence: float,
) -> stats.Interval:
    """`smooth` with the ends of the BCa bootstrap over units; none where hardly any resample differs."""
    groups = int(units.max()) + 1
    parts = []
    for column in columns:
        terms = _terms(metric, column, used)
        sums = np.zeros((groups, terms.shape[1]))
        np.add.at(sums, units, terms)
        parts.append(sums)
    order = stats.content_order(np.hstack(parts))
    value, draws, without = (
        np.sum([side * _figure(metric, rows @ sums[order]) for sums, side in zip(parts, (1, -1), strict=False)], axis=0)
        for rows in (np.ones((1, groups)), stats.resampled(groups, RESAMPLES, 0), stats.left_out(groups))
    )
    draws, without = draws[np.isfinite(draws)], without[np.isfinite(without)]
    if 2 * len(draws) < RESAMPLES or np.ptp(draws) < 1e-12:
        return replace(smooth, low=None, high=None, method="none where resamples do not differ")
    low, high = stats.bca(float(value[0]), draws, without, confidence)
    method = "BCa bootstrap" if smooth.clusters is None else "clustered BCa bootstrap"
    return replace(smooth, low=min(low, smooth.estimate), high=max(high, smooth.estimate), method=method)


def _terms(metric: Metric, column: Column, used: NDArray[np.bool_]) -> Floats:
    """What each used sample adds to the sums that the figure is made of, shape [n, sums].

    perplexity: minus log-likelihood, tokens. macro_f1: mentions of each label, then hits of each; a prediction of None is a
    miss of its target and no mention of any label.
    """
    held = column.evidence or (None,) * len(used)
    evidence = [held[i] or {} for i in np.flatnonzero(used)]
    if metric.aggregate == "perplexity":
        logs, tokens = _field(metric, evidence, "log_likelihood"), _field(metric, evidence, "tokens")
        return np.column_stack([-np.array(logs, dtype=np.float64), np.array(tokens, dtype=np.float64)])
    targets, predicted = _field(metric, evidence, "target"), _field(metric, evidence, "predicted")
    labels = sorted({*targets, *(label for label in predicted if label is not None)})
    places = {label: place for place, label in enumerate(labels)}
    terms = np.zeros((len(targets), 2 * len(labels)))
    for row, (target, said) in enumerate(zip(targets, predicted, strict=True)):
        terms[row, places[target]] += 1
        if said is not None:
            terms[row, places[said]] += 1
            terms[row, len(labels) + places[said]] = float(said == target)
    return terms


def _figure(metric: Metric, sums: Floats) -> Floats:
    """The figure of sums of terms, shape [..., sums] to [...]; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric.aggregate == "perplexity":
            return np.asarray(np.exp(sums[..., 0] / sums[..., 1]))
        mentions, hits = np.split(sums, 2, axis=-1)
        scores = np.where(mentions > 0, 2 * hits / mentions, 0.0)
        return np.asarray(scores.sum(axis=-1) / (mentions > 0).sum(axis=-1))


def _gradient(metric: Metric, total: Floats) -> Floats:
    """How the figure changes with each of its sums, shape [sums], where every label is mentioned."""
    if metric.aggregate == "perplexity":
        surprise, tokens = total
        return np.asarray(_figure(metric, total) / tokens * np.array([1.0, -surprise / tokens]))
    mentions, hits = np.split(total, 2)
    return np.concatenate([-2 * hits / mentions**2, 2 / mentions]) / len(mentions)


def _field(metric: Metric, evidence: Sequence[Any], name: str) -> list[Any]:
    try:
        return [entry[name] for entry in evidence]
    except KeyError:
        raise StoreError(
            f"a score of {metric.name!r} must have {name!r} in its evidence (got none). Judge it anew: muster run --fresh"
        ) from None
