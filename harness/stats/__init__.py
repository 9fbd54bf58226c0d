"""Statistics for evaluation results: intervals, paired differences, many comparisons at once, sample sizes.

Pure functions of numpy arrays; nothing here knows a store, a suite or a model. Two guarantees run through all of it: no
interval is given where the sample is too small to carry one (fewer than 10 items or 5 clusters), and no interval has a
width of zero. `confidence` is always that of a two-sided interval; a one-sided bound at confidence c is one end of the
two-sided interval at `two_sided(c)`. Only `scipy.special` is used: `scipy.stats` takes half a second to import.
"""

from __future__ import annotations

from harness.stats.agreement import Alpha, krippendorff_alpha
from harness.stats.bootstrap import bca, content_order, left_out, resampled
from harness.stats.bradley_terry import Strength, bradley_terry
from harness.stats.correction import Confusion, corrected_mean, effective_size, rogan_gladen
from harness.stats.intervals import (
    MIN_CLUSTERS,
    MIN_ITEMS,
    Interval,
    bounded_mean,
    clopper_pearson,
    clustered_mean,
    group_contrast,
    is_binary,
    mean,
    smooth_mean,
    two_sided,
    wilson,
    zero_event_bound,
)
from harness.stats.multiplicity import benjamini_hochberg, holm, rank_sets
from harness.stats.paired import fisher_exact, paired_difference, tango
from harness.stats.power import binary_spread, detectable_effect, samples_needed, samples_without_events
from harness.stats.quantiles import quantile_interval
from harness.stats.reliability import ReliabilityBin, reliability_bins

__all__ = [
    "MIN_CLUSTERS",
    "MIN_ITEMS",
    "Alpha",
    "Confusion",
    "Interval",
    "ReliabilityBin",
    "Strength",
    "bca",
    "benjamini_hochberg",
    "binary_spread",
    "bounded_mean",
    "bradley_terry",
    "clopper_pearson",
    "clustered_mean",
    "content_order",
    "corrected_mean",
    "detectable_effect",
    "effective_size",
    "fisher_exact",
    "group_contrast",
    "holm",
    "is_binary",
    "krippendorff_alpha",
    "left_out",
    "mean",
    "paired_difference",
    "quantile_interval",
    "rank_sets",
    "reliability_bins",
    "resampled",
    "rogan_gladen",
    "samples_needed",
    "samples_without_events",
    "smooth_mean",
    "tango",
    "two_sided",
    "wilson",
    "zero_event_bound",
]
