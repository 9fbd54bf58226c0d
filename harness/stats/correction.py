"""What people would have said on average, from a judge's scores of all samples and people's labels of some.

A judge that errs shifts every mean it gives, and no interval of its own scores knows. Three estimates repair that:

People alone: the labels' own mean, with the interval of any mean.
PPI++ (Angelopoulos, Duchi and Zrnic 2023, section 6): mean(Y) + w (mean of all other scores - mean(f)), with Y the labels, f
the scores of the labelled, and w the weight that makes the variance smallest, from 0 (people alone) to 1. Whatever the judge
is worth, the estimate is right; the better the judge, the narrower the interval.
Rogan-Gladen (1978): of a yes or no whose sensitivity and specificity were measured on other data: the share of yes that gives
the observed share, with the interval of Lang and Reiczigel (2014, "Confidence limits for prevalence of disease adjusted for
estimated sensitivity and specificity").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.stats.intervals import (
    MIN_CLUSTERS,
    MIN_ITEMS,
    Codes,
    Floats,
    Interval,
    clustered_mean,
    t_quantile,
    z_quantile,
)

MIN_MINORITY = 15
"""Labels that must differ from the commonest one before PPI++ is trusted: below, its interval covers too rarely."""


def corrected_mean(
    people: Interval,
    labels: Floats,
    scores: Floats,
    confidence: float,
    *,
    low: float,
    high: float,
    clusters: Codes | None = None,
) -> Interval:
    """The mean label of all samples: by PPI++ where that is safe and narrower than what people alone say.

    PPI++ asks for at least 15 labels other than the commonest one (of a yes or no: 15 of each), for scores beside the labels
    and for scores of other samples. Labels without a score count for people alone.

    Args:
        people: The interval of the labels alone.
        labels: Shape [n], within [low, high], NaN where nobody labelled the sample; at least one label.
        scores: The judge's, shape [n], NaN where there is none.
        confidence: Of the two-sided interval.
        low: Lower end of the labels' range.
        high: Upper end.
        clusters: Integer codes, shape [n]; None for independent samples.
    """
    people = replace(people, method=f"people alone, {people.method}")
    if (
        _minority(labels[~np.isnan(labels) & ~np.isnan(scores)]) < MIN_MINORITY
        or people.low is None
        or people.high is None
    ):
        return people
    powered = prediction_powered(labels, scores, confidence, clusters=clusters)
    if powered is None or powered.low is None or powered.high is None:
        return people
    powered = replace(powered, low=max(low, powered.low), high=min(high, powered.high))
    return powered if _width(powered) < _width(people) else people


def prediction_powered(
    labels: Floats, scores: Floats, confidence: float, *, clusters: Codes | None = None
) -> Interval | None:
    """PPI++ for a mean, without a guard; arguments as for `corrected_mean`. None where the scores tell nothing.

    The variance is the sum of squares of each unit's summed influences (units are clusters, or samples), with the factor
    G/(G - 1) and t(G - 1) of the G units that have labels.
    """
    pairs = ~np.isnan(labels) & ~np.isnan(scores)
    others = np.isnan(labels) & ~np.isnan(scores)
    n, rest = int(pairs.sum()), int(others.sum())
    if n < MIN_ITEMS or rest == 0:
        return None
    said, judged, unseen = labels[pairs], scores[pairs], scores[others]
    variance = float(np.var(np.concatenate([judged, unseen])))
    if variance == 0:
        return None
    covariance = float(np.mean((said - said.mean()) * (judged - judged.mean())))
    weight = float(np.clip(covariance / ((1 + n / rest) * variance), 0.0, 1.0))
    left = said - weight * judged
    influences = np.zeros(len(labels))
    influences[pairs] = (left - left.mean()) / n
    influences[others] = weight * (unseen - unseen.mean()) / rest
    units = np.arange(len(labels)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    groups = len(np.unique(units[pairs]))
    if groups < MIN_CLUSTERS:
        return None
    error = float(np.sqrt(np.sum(np.bincount(units, weights=influences) ** 2) * groups / (groups - 1)))
    centre = float(left.mean() + weight * unseen.mean())
    half = t_quantile(0.5 + confidence / 2, groups - 1) * error
    return Interval(
        estimate=centre, low=centre - half, high=centre + half, n=n, clusters=None if clusters is None else groups,
        method=f"PPI++, judge's weight {weight:.2f}", spread=error * float(np.sqrt(n)),
    )  # fmt: skip


def effective_size(marks: Floats, clusters: Codes | None) -> float:
    """How many independent trials know the share of 1 among 0/1 marks as well: n over the design effect, at most n.

    Where all marks are equal, a cluster is one trial.
    """
    n, share = len(marks), float(np.mean(marks))
    if clusters is None:
        return float(n)
    groups = len(np.unique(clusters))
    if groups < 2 or share in (0.0, 1.0):
        return float(groups)
    error = clustered_mean(marks, clusters, 0.95).spread / np.sqrt(n)
    return float(min(n, share * (1 - share) / error**2)) if error > 0 else float(groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A judge's yes and no against people's: how often it found their yes (`hits`), and their no (`rejections`)."""

    hits: float
    positives: float
    """People's yes."""
    rejections: float
    negatives: float
    """People's no."""


def rogan_gladen(yes: float, n: float, confusion: Confusion, confidence: float) -> tuple[Interval, bool] | None:
    """The share of people's yes behind a judge's share of yes, and whether the raw estimate had to be cut to 0 or 1.

    Observed 0.25 with sensitivity 0.9 and specificity 0.85 is 0.1333; observed 0.10 is -0.067, cut to 0. Where even the whole
    interval lies beyond 0 or 1 there is none: then sensitivity or specificity are others here. None where the judge is no
    better than chance (sensitivity + specificity at most 1), or people said yes or no fewer than 10 times.

    Args:
        yes: How often the judge said yes; like all counts, a clustered one is divided by its design effect.
        n: Of how many.
        confusion: The judge's yes and no on labelled data from elsewhere.
        confidence: Of the two-sided interval.
    """
    if min(confusion.positives, confusion.negatives, n) < MIN_ITEMS:
        return None
    sensitivity = confusion.hits / confusion.positives
    specificity = confusion.rejections / confusion.negatives
    if sensitivity + specificity <= 1:
        return None
    raw = (yes / n + specificity - 1) / (sensitivity + specificity - 1)
    z = z_quantile(0.5 + confidence / 2)
    # Lang and Reiczigel: add z^2/2 to either side of the sample, one to either side of both labelled groups.
    trials, positives, negatives = n + z**2, confusion.positives + 2, confusion.negatives + 2
    share = (yes + z**2 / 2) / trials
    sensitivity, specificity = (confusion.hits + 1) / positives, (confusion.rejections + 1) / negatives
    informed = sensitivity + specificity - 1
    centre = (share + specificity - 1) / informed
    caught = sensitivity * (1 - sensitivity) / positives
    spared = specificity * (1 - specificity) / negatives
    error = np.sqrt(share * (1 - share) / trials + centre**2 * caught + (1 - centre) ** 2 * spared) / informed
    shift = 2 * z**2 * (centre * caught - (1 - centre) * spared)
    ends = [centre + shift + side * z * error for side in (-1, 1)]
    estimate = float(np.clip(raw, 0.0, 1.0))
    interval = Interval(
        estimate=estimate, low=None, high=None, n=round(n), clusters=None, method="Rogan-Gladen, Lang-Reiczigel",
        spread=float(error * np.sqrt(n)),
    )  # fmt: skip
    if ends[1] > 0 and ends[0] < 1:
        interval = replace(interval, low=max(0.0, min(ends[0], estimate)), high=min(1.0, max(ends[1], estimate)))
    return interval, raw != estimate


def _minority(labels: Floats) -> int:
    """How many labels differ from the commonest one."""
    _, counts = np.unique(labels, return_counts=True)
    return int(len(labels) - counts.max()) if len(labels) else 0


def _width(interval: Interval) -> float:
    return (interval.high or 0.0) - (interval.low or 0.0)
