"""Intervals of one mean: published values, coverage by simulation, and what must hold for any scores."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom

from harness import stats

SCORES = hnp.arrays(np.float64, st.integers(10, 60), elements=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.9, 1.0]))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(15, 148, 0.0624, 0.1605), (81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)]
)
def test_wilson_gives_the_published_limits(successes, n, low, high):
    """Newcombe 1998, table I, method 3."""
    assert stats.wilson(successes, n, 0.95) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(15, 148, 0.0578, 0.1617), (81, 263, 0.2527, 0.3676), (0, 20, 0.0, 0.1684)]
)
def test_clopper_pearson_gives_the_published_limits(successes, n, low, high):
    """Newcombe 1998, table I, method 5."""
    assert stats.clopper_pearson(successes, n, 0.95) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("n", "bound"), [(100, 0.0295), (3, 0.6316), (59, 0.0495)])
def test_no_events_leave_room_for_some(n, bound):
    """The exact form of the rule of three; three ties say nothing against 63 % discordance."""
    assert stats.zero_event_bound(n, 0.95) == pytest.approx(bound, abs=5e-5)
    assert stats.clopper_pearson(0, n, stats.two_sided(0.95))[1] == pytest.approx(stats.zero_event_bound(n, 0.95))


def test_clusters_of_one_are_independent_items():
    """With one item a cluster, the clustered interval is Student's."""
    values = np.random.default_rng(1).random(40)
    plain, clustered = stats.mean(values, 0.95), stats.clustered_mean(values, np.arange(40)[::-1], 0.95)
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high))


def test_clustered_error_is_the_double_sum():
    """Against the formula written as sums over pairs within a cluster (Miller 2024)."""
    rng = np.random.default_rng(2)
    values, clusters = rng.random(30), rng.integers(0, 7, 30)
    off = values - values.mean()
    pairs = sum(off[i] * off[j] for i in range(30) for j in range(30) if clusters[i] == clusters[j])
    error = np.sqrt(pairs) / 30 * np.sqrt(7 / 6)
    assert stats.clustered_mean(values, clusters, 0.95).spread == pytest.approx(error * np.sqrt(30))


def test_clustering_keeps_the_error_rate_that_ignoring_it_breaks():
    """60 clusters of 5, intraclass correlation 0.5: nominal 5 %, naive about 26 %; standard errors differ by 1.73."""
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(60), 5)
    naive, clustered, ratio = [], [], []
    for _ in range(1500):
        values = np.repeat(rng.standard_normal(60), 5) + rng.standard_normal(300)
        plain, robust = stats.mean(values, 0.95), stats.clustered_mean(values, codes, 0.95)
        naive.append(not plain.low <= 0 <= plain.high)
        clustered.append(not robust.low <= 0 <= robust.high)
        ratio.append(robust.spread / plain.spread)
    assert np.mean(naive) == pytest.approx(0.256, abs=0.04)
    assert np.mean(clustered) == pytest.approx(0.05, abs=0.02)
    assert np.mean(ratio) == pytest.approx(1.73, abs=0.03)


@pytest.mark.parametrize("groups", [5, 10])
def test_few_clusters_keep_the_error_rate(groups):
    """The factor G/(G-1) and t(G-1) hold 5 % down to five clusters."""
    rng = np.random.default_rng(groups)
    codes = np.repeat(np.arange(groups), 6)
    missed = []
    for _ in range(1500):
        values = np.repeat(rng.standard_normal(groups), 6) + rng.standard_normal(6 * groups)
        found = stats.clustered_mean(values, codes, 0.95)
        missed.append(not found.low <= 0 <= found.high)
    assert np.mean(missed) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(("n", "share", "wald", "wilson"), [(100, 0.99, 0.633, 0.921), (30, 0.9, 0.809, 0.974)])
def test_coverage_of_a_share_near_one(n, share, wald, wilson):
    """Exactly, by summing over all counts: where the textbook interval (Wald) fails, the one used here holds."""
    k = np.arange(n + 1)
    chances = binom.pmf(k, n, share)
    half = 1.959964 * np.sqrt(k / n * (1 - k / n) / n)
    assert chances[abs(k / n - share) <= half].sum() == pytest.approx(wald, abs=5e-3)
    ends = np.array([stats.wilson(int(i), n, 0.95) for i in k])
    assert chances[(ends[:, 0] <= share) & (share <= ends[:, 1])].sum() == pytest.approx(wilson, abs=5e-3)
    used = [stats.bounded_mean(np.arange(n) < i, 0.95, low=0, high=1) for i in k.tolist()]
    covered = np.array([found.low <= share <= found.high for found in used])
    assert chances[covered].sum() >= 0.92


def test_a_mean_of_skewed_differences_takes_t_and_not_the_bootstrap():
    """30 lognormal differences, 3,000 trials at 0.95: t covers more often than BCa, and both less than they say at this size."""
    rng = np.random.default_rng(14)
    values = rng.gamma(1.0, 1.0, (1500, 30)) - 1.0
    half = 2.0452 * values.std(axis=1, ddof=1) / np.sqrt(30)
    by_t = np.mean(abs(values.mean(axis=1)) <= half)
    draws = stats.resampled(30, 1000, 0) / 30
    without = stats.left_out(30) / 29
    ends = [stats.bca(float(v.mean()), draws @ v, without @ v, 0.95) for v in values[:800]]
    by_bca = np.mean([low <= 0 <= high for low, high in ends])
    assert by_t == pytest.approx(0.92, abs=0.03)
    assert by_bca == pytest.approx(0.92, abs=0.04)
    assert stats.bounded_mean(values[0], 0.95, low=-9, high=9).method == "t"


@given(SCORES, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_neither_order_nor_the_names_of_clusters_matter(values, clustered, exact, random):
    """Items in any order, clusters under any codes: the same interval."""
    clusters = np.arange(len(values)) % 6 if clustered else None
    order = np.array(random.sample(range(len(values)), len(values)))
    names = np.array(random.sample(range(100), 6))
    found = stats.bounded_mean(values, 0.9, low=0, high=1, clusters=clusters, exact=exact)
    again = stats.bounded_mean(
        values[order], 0.9, low=0, high=1, clusters=None if clusters is None else names[clusters[order]], exact=exact
    )
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)
    assert again.method == found.method


@given(SCORES, st.integers(1, 9), st.booleans())
def test_two_groups_against_each_other(values, share, clustered):
    """The contrast is the difference of the means, its interval holds it, and turns over when the sides do; none below ten
    items or five clusters a side.
    """
    inside = np.arange(len(values)) % 10 < share
    clusters = np.arange(len(values)) // 3 if clustered else None
    found = stats.group_contrast(values, inside, 0.9, clusters=clusters)
    back = stats.group_contrast(values, ~inside, 0.9, clusters=clusters)
    assert found.estimate == pytest.approx(values[inside].mean() - values[~inside].mean())
    if min(inside.sum(), (~inside).sum()) < 10:
        assert found.low is None
    elif found.low is not None:
        assert found.low < found.estimate < found.high
        assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_the_contrast_of_two_groups_keeps_its_error_rate():
    """30 items against 270, unequal spread, 1,500 trials: a false difference in 5 %; in clusters that span both sides too."""
    rng = np.random.default_rng(15)
    inside = np.arange(300) % 10 == 0
    codes = np.arange(300) // 10
    for clusters in (None, codes):
        missed = 0
        for _ in range(800):
            values = rng.standard_normal(300) * np.where(inside, 2.0, 1.0)
            if clusters is not None:
                values = values + 2 * rng.standard_normal(30)[codes]
            found = stats.group_contrast(values, inside, 0.95, clusters=clusters)
            missed += not found.low <= 0 <= found.high
        assert missed / 800 == pytest.approx(0.05, abs=0.02)


@given(SCORES, st.booleans(), st.booleans())
def test_an_interval_holds_its_estimate_and_is_never_empty(values, clustered, exact):
    """For any scores: within the range, around the estimate, wider than zero, and wider at more confidence."""
    clusters = np.arange(len(values)) % 6 if clustered else None
    found = stats.bounded_mean(values, 0.9, low=0, high=1, clusters=clusters, exact=exact)
    wider = stats.bounded_mean(values, 0.98, low=0, high=1, clusters=clusters, exact=exact)
    assert 0 <= found.low <= found.estimate + 1e-12
    assert found.estimate - 1e-12 <= found.high <= 1
    assert found.high - found.low > 1e-3
    assert wider.low <= found.low + 1e-12
    assert wider.high >= found.high - 1e-12


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("clusters", [None, np.arange(60) % 12])
def test_equal_scores_have_the_zero_event_bound(value, clusters):
    """When all scores are equal, the unseen may still differ: by the exact bound, with a cluster as one trial."""
    found = stats.bounded_mean(np.full(60, value), 0.9, low=0, high=1, clusters=clusters, exact=True)
    unseen = stats.zero_event_bound(60 if clusters is None else 12, 0.95)
    assert found.high == pytest.approx(value + (1 - value) * unseen)
    assert found.low == pytest.approx(value - value * unseen)


def test_nearly_equal_scores_keep_the_error_rate():
    """A rare large score, seen in few samples or none, lies above the upper bound in at most 5 % of samples."""
    rng = np.random.default_rng(4)
    for rate in (0.01, 0.03):
        missed = []
        for _ in range(800):
            values = np.where(rng.random(100) < rate, 0.9, 0.05)
            found = stats.bounded_mean(values, 0.9, low=0, high=1)
            missed.append(found.high < 0.05 + 0.85 * rate)
        assert np.mean(missed) <= 0.07


@pytest.mark.parametrize(("n", "groups"), [(9, None), (1, None), (40, 4)])
def test_small_samples_have_no_interval(n, groups):
    """Below 10 items or 5 clusters there is an estimate and no interval."""
    clusters = None if groups is None else np.arange(n) % groups
    found = stats.bounded_mean(np.linspace(0, 1, n), 0.95, low=0, high=1, clusters=clusters)
    assert found.low is None
    assert found.high is None
    assert found.estimate == pytest.approx(np.linspace(0, 1, n).mean())


def test_nothing_has_no_mean():
    """No score is an error for the caller, not a mean of zero."""
    with pytest.raises(ValueError, match="at least one score"):
        stats.bounded_mean(np.array([]), 0.95, low=0, high=1)


@pytest.mark.parametrize("confidence", [0.5, 1.0, 95])
def test_one_sided_confidence_is_a_chance_above_a_half(confidence):
    """0.95 one-sided is the 0.90 interval; what cannot be such a chance is refused."""
    assert stats.two_sided(0.95) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="between"):
        stats.two_sided(confidence)


def test_importing_stats_leaves_scipy_stats_alone():
    """`scipy.stats` costs half a second of every command."""
    code = "import harness.stats, sys; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
