"""Statistics for evaluation results: intervals, paired differences, many comparisons at once, sample sizes.

Pure functions of numpy arrays; nothing here knows a store, a suite or a model. Two guarantees run through all of it: no
interval is given where the sample is too small to carry one (fewer than 10 items or 5 clusters), and no interval has a
width of zero. `confidence` is always that of a two-sided interval; a one-sided bound at confidence c is one end of the
two-sided interval at `two_sided(c)`. Only `scipy.special` is used: `scipy.stats` takes half a second to import.
"""

from __future__ import annotations

from harness.stats.agreement import Alpha, krippendorff_alpha
from harness.stats.bootstrap import bca, left_out, resampled
from harness.stats.bradley_terry import Strength, bradley_terry
from harness.stats.intervals import (
    MIN_CLUSTERS,
    MIN_ITEMS,
    Interval,
    bounded_mean,
    clopper_pearson,
    clustered_mean,
    is_binary,
    mean,
    smooth_mean,
    two_sided,
    wilson,
    zero_event_bound,
)
from harness.stats.multiplicity import holm, rank_sets
from harness.stats.paired import fisher_exact, paired_difference, tango
from harness.stats.power import binary_spread, detectable_effect, samples_needed, samples_without_events
from harness.stats.quantiles import quantile_interval
from harness.stats.reliability import ReliabilityBin, reliability_bins

__all__ = [
    "MIN_CLUSTERS",
    "MIN_ITEMS",
    "Alpha",
    "Interval",
    "ReliabilityBin",
    "Strength",
    "bca",
    "binary_spread",
    "bounded_mean",
    "bradley_terry",
    "clopper_pearson",
    "clustered_mean",
    "detectable_effect",
    "fisher_exact",
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
    "samples_needed",
    "samples_without_events",
    "smooth_mean",
    "tango",
    "two_sided",
    "wilson",
    "zero_event_bound",
]
