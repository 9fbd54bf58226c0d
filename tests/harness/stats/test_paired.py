"""Paired differences: published values, brute-force oracles, and coverage by simulation."""

from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import ndtr
from scipy.stats import multinomial

from harness import stats

SLEEP = (
    np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]),
    np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]),
)


def test_students_sleep_data():
    """Student 1908: t = -4.0621, 95 % interval -2.4599 to -0.7001."""
    found = stats.paired_difference(*SLEEP, 0.95, low=-10, high=10)
    assert found.estimate / (found.spread / np.sqrt(10)) == pytest.approx(-4.0621, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((-2.4599, -0.7001), abs=5e-5)


def test_tango_gives_the_published_interval():
    """Agresti's approval data: 86 gained and 150 lost of 1,600."""
    assert stats.tango(86, 150, 1600, 0.95) == pytest.approx((-0.0590, -0.0214), abs=5e-5)


def test_tangos_interval_holds_zero_where_mcnemar_does_not_reject():
    """The interval is the test of McNemar turned round: Agresti's data, chi-square 17.356 (p = 3.1e-5), is on its edge there."""
    chi_square = (86 - 150) ** 2 / (86 + 150)
    assert chi_square == pytest.approx(17.356, abs=5e-4)
    p = 2 * ndtr(-np.sqrt(chi_square))
    assert stats.tango(86, 150, 1600, 1 - 1.01 * p)[1] < 0 < stats.tango(86, 150, 1600, 1 - 0.99 * p)[1]


@pytest.mark.parametrize(("gained", "lost", "n"), [(12, 3, 60), (0, 4, 25), (30, 29, 100)])
def test_tango_inverts_the_score_test(gained, lost, n):
    """At each end the score statistic, the nuisance parameter fitted numerically, is the normal quantile."""
    for end in stats.tango(gained, lost, n, 0.95):

        def minus_likelihood(q, end=end):
            return -(gained * np.log(q + end) + lost * np.log(q) + (n - gained - lost) * np.log(1 - 2 * q - end))

        low, high = max(0.0, -end), (1 - end) / 2
        q = minimize_scalar(minus_likelihood, bounds=(low + 1e-12, high - 1e-12), method="bounded").x
        score = (gained - lost - n * end) / np.sqrt(n * (2 * q + end - end**2))
        assert abs(score) == pytest.approx(1.95996, abs=2e-3)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.3, 1.0])), min_size=10, max_size=50)
)
def test_swapping_the_candidates_turns_the_sign(pairs):
    """The interval for B - A is that for A - B, mirrored; whatever the method."""
    a, b = np.array(pairs).T
    there, back = (stats.paired_difference(*p, 0.9, low=0, high=1) for p in ((a, b), (b, a)))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.high - there.low > 1e-3


@pytest.mark.parametrize("clusters", [None, np.arange(100) % 20])
@pytest.mark.parametrize("width", [1, 4])
def test_equal_candidates_are_bounded_by_the_discordance_not_seen(clusters, width):
    """All differences zero: the exact zero-event bound times the metric's range, both sides; never a width of zero."""
    values = np.random.default_rng(0).random(100) * width
    found = stats.paired_difference(values, values, 0.9, low=0, high=width, clusters=clusters)
    bound = width * stats.zero_event_bound(100 if clusters is None else 20, 0.95)
    assert (found.low, found.high) == pytest.approx((-bound, bound))


def test_three_ties_are_no_pass():
    """The naive interval of three equal pairs is [0, 0]; here there is none."""
    found = stats.paired_difference(np.ones(3), np.ones(3), 0.9, low=0, high=1)
    assert (found.low, found.high) == (None, None)


def test_clusters_that_cancel_out_do_not_make_certainty():
    """+1 and -1 in every cluster leave a clustered standard error of zero, and an interval all the same."""
    a, b = np.tile([1.0, 0.0], 30), np.tile([0.0, 1.0], 30)
    found = stats.paired_difference(a, b, 0.9, low=0, high=1, clusters=np.repeat(np.arange(30), 2))
    assert found.high - found.low > 0.1


@cache
def _interval(gained, lost, n):
    a, b = np.zeros(n), np.zeros(n)
    a[:gained], b[gained : gained + lost] = 1, 1
    found = stats.paired_difference(a, b, 0.95, low=0, high=1)
    return found.low, found.high


@pytest.mark.parametrize(("n", "discordance", "difference"), [(50, 0.025, 0.0), (100, 0.025, 0.025), (300, 0.1, 0.05)])
def test_binary_differences_are_covered_near_the_ceiling(n, discordance, difference):
    """Where the paired t interval covers 0.72, the interval used for 0/1 scores covers its nominal 0.95."""
    chances = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    draws = np.random.default_rng(5).multinomial(n, chances, size=4000)
    covered = [low <= difference <= high for low, high in (_interval(int(g), int(lost), n) for g, lost, _ in draws)]
    assert np.mean(covered) >= 0.94


def test_the_t_interval_of_paired_shares_fails_near_the_ceiling():
    """50 pairs of which 2.5 % differ: t on the differences covers 0.717, Tango 0.997 (exactly, over all outcomes)."""
    n, p = 50, 0.0125
    by_t = by_tango = 0.0
    for gained in range(12):
        for lost in range(12):
            chance = multinomial.pmf([gained, lost, n - gained - lost], n, [p, p, 1 - 2 * p])
            mean = (gained - lost) / n
            half = 2.0096 * np.sqrt((gained + lost - n * mean**2) / (n - 1) / n)
            by_t += chance * (abs(mean) <= half and gained + lost > 0)
            low, high = stats.tango(gained, lost, n, 0.95)
            by_tango += chance * (low <= 0 <= high)
    assert by_t == pytest.approx(0.717, abs=0.01)
    assert by_tango == pytest.approx(0.997, abs=0.005)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(1, 12))
def test_fisher_is_the_sum_over_tables(a, b, extra_a, extra_b):
    """Against all tables with the same margins, counted with exact integers."""
    n, m = a + extra_a, b + extra_b
    ways = {k: comb(n, k) * comb(m, a + b - k) for k in range(max(0, a + b - m), min(a + b, n) + 1)}
    expected = sum(w for w in ways.values() if w <= ways[a]) / sum(ways.values())
    assert stats.fisher_exact(a, n, b, m) == pytest.approx(expected)


def test_fishers_tea():
    """Three of four cups against one of four: p = 0.4857."""
    assert stats.fisher_exact(3, 4, 1, 4) == pytest.approx(0.4857, abs=5e-5)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.3, 1.0])), min_size=10, max_size=50),
    st.booleans(), st.randoms(use_true_random=False),
)  # fmt: skip
def test_neither_order_nor_the_names_of_clusters_matter(pairs, clustered, random):
    """Pairs in any order, clusters under any codes: the same interval, within what a difference can be."""
    a, b = np.array(pairs).T
    clusters = np.arange(len(a)) % 5 if clustered else None
    order = np.array(random.sample(range(len(a)), len(a)))
    names = np.array(random.sample(range(100), 5))
    found = stats.paired_difference(a, b, 0.9, low=0, high=1, clusters=clusters)
    again = stats.paired_difference(
        a[order], b[order], 0.9, low=0, high=1, clusters=None if clusters is None else names[clusters[order]]
    )
    assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)
    assert -1 <= found.low < found.high <= 1
