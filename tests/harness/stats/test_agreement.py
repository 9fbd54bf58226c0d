"""Krippendorff's alpha against the values of its author's worked examples, and against its definition pair by pair."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.stats.agreement import krippendorff_alpha

N = np.nan
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
        [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
    ]
)
"""Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C: 4 observers, 12 units, missing data."""
TWO_OBSERVERS = np.array(
    [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]],
    dtype=float,
)
"""The same, section A: two observers, binary data, nothing missing."""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_four_observers_with_missing_data(level, alpha):
    """The published values, to their three decimals; the unit with one rating is no unit, and 40 ratings pair."""
    found = krippendorff_alpha(FOUR_OBSERVERS, level)
    assert found.value == pytest.approx(alpha, abs=5e-4)
    assert (found.units, found.ratings) == (11, 40)
    assert found.low < found.value < found.high <= 1


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_two_observers_with_binary_data(level):
    """The published 0.095; with two values all levels are the same."""
    assert krippendorff_alpha(TWO_OBSERVERS, level).value == pytest.approx(0.095, abs=5e-4)


def test_the_ends_of_the_scale():
    """Full agreement is 1; two raters who always differ are below chance."""
    same = np.array([[1, 2, 3, 1, 2.0]] * 3)
    assert krippendorff_alpha(same, "nominal").value == 1.0
    opposed = np.array([[1, 2, 1, 2.0], [2, 1, 2, 1.0]])
    assert krippendorff_alpha(opposed, "nominal").value == pytest.approx(1 - 7 / 4)


def test_what_defines_no_alpha_is_none_with_the_reason():
    """No pair of ratings, or nothing that could disagree: not 0, and not 1."""
    apart = krippendorff_alpha(np.array([[1, N], [N, 2.0]]), "nominal")
    assert (apart.value, apart.units, apart.reason) == (None, 0, "no item has two ratings")
    equal = krippendorff_alpha(np.full((2, 20), 4.0), "interval")
    assert (equal.value, equal.low, equal.reason) == (None, None, "all ratings are equal")


def by_pairs(ratings, level):
    """Alpha by its definition: every pair within units against every pair of all pairable ratings."""
    units = [column[~np.isnan(column)] for column in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    everything = np.concatenate(units) if units else np.array([])
    if not units or len(set(everything)) == 1:
        return None

    def gap(c, k):
        if level == "ordinal":
            low, high = min(c, k), max(c, k)
            between = sum(1 for v in everything if low <= v <= high)
            return (between - (np.sum(everything == c) + np.sum(everything == k)) / 2) ** 2
        return float(c != k) if level == "nominal" else (c - k) ** 2

    observed = sum(gap(a, b) / (len(u) - 1) for u in units for a, b in itertools.permutations(u, 2)) / len(everything)
    pairs = list(itertools.permutations(everything, 2))
    return 1 - observed / (sum(gap(a, b) for a, b in pairs) / len(pairs))


@settings(max_examples=150, deadline=None)
@given(
    arrays(float, st.tuples(st.integers(2, 4), st.integers(1, 7)), elements=st.sampled_from([1.0, 2.0, 3.0, 5.0, N])),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_equals_the_definition(ratings, level):
    """Whatever is rated, and whatever is missing."""
    expected, found = by_pairs(ratings, level), krippendorff_alpha(ratings, level).value
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


def noisy(rng, units, clusters=None):
    """Two raters who see the truth (one value a cluster) with noise."""
    truth = rng.integers(0, 2, units if clusters is None else clusters)
    truth = truth if clusters is None else np.repeat(truth, units // clusters)
    flips = rng.random((2, units)) < 0.15
    return np.where(flips, 1 - truth, truth).astype(float)


def test_the_interval_covers_about_as_often_as_it_says():
    """Two raters who err independently in 15 of 100 items: alpha is (1 - 2 * 0.15)^2 = 0.49 in the long run."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        found = krippendorff_alpha(noisy(rng, 120), "nominal", resamples=300)
        hits += found.low <= 0.49 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_clusters_widen_the_interval():
    """Ten units that are copies of each other carry no more than one."""
    ratings = np.repeat(noisy(np.random.default_rng(3), 30), 10, axis=1)
    clusters = np.repeat(np.arange(30), 10)
    alone = krippendorff_alpha(ratings, "nominal")
    together = krippendorff_alpha(ratings, "nominal", clusters=clusters)
    assert together.value == alone.value
    assert together.high - together.low > 2.5 * (alone.high - alone.low)


def test_too_few_items_carry_no_interval():
    """The house's rule: none below 10 items or 5 clusters."""
    ratings = noisy(np.random.default_rng(1), 40)
    assert krippendorff_alpha(ratings[:, :9], "nominal").low is None
    assert krippendorff_alpha(ratings, "nominal", clusters=np.arange(40) % 4).low is None
    assert krippendorff_alpha(ratings, "nominal", clusters=np.arange(40) % 5).low is not None


def test_neither_order_nor_the_names_of_clusters_matter():
    """Units in any order, clusters under any codes: the same alpha and interval."""
    rng = np.random.default_rng(7)
    ratings, clusters = noisy(rng, 60), np.arange(60) // 3
    order, names = rng.permutation(60), rng.permutation(20)
    found = krippendorff_alpha(ratings, "nominal", clusters=clusters)
    again = krippendorff_alpha(ratings[:, order], "nominal", clusters=names[clusters[order]])
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
