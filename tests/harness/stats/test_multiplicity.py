"""Holm and rank sets: published counts, a brute-force oracle, joint coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import false_discovery_control

from harness import stats

BENJAMINI_HOCHBERG = (
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
)  # fmt: skip


def rejections(p_values, alpha):
    """Which p-values Holm rejects."""
    return stats.holm([lambda level, p=p: p <= level for p in p_values], alpha)


def test_holm_rejects_three_of_the_fifteen():
    """The p-values of Benjamini and Hochberg 1995, section 3.2: Holm rejects the three smallest."""
    assert rejections(BENJAMINI_HOCHBERG, 0.05) == [True] * 3 + [False] * 12


def test_benjamini_hochberg_rejects_four_of_the_fifteen():
    """Where Holm and Bonferroni reject three (Benjamini and Hochberg 1995, section 3.2)."""
    tests = [lambda level, p=p: p <= level for p in BENJAMINI_HOCHBERG]
    assert stats.benjamini_hochberg(tests, 0.05) == [True] * 4 + [False] * 11
    assert [p <= 0.05 / 15 for p in BENJAMINI_HOCHBERG].count(True) == 3


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.02, 0.03, 0.05]), max_size=12))
def test_benjamini_hochberg_is_scipys(p_values):
    """Those whose adjusted p-value is at most alpha."""
    found = stats.benjamini_hochberg([lambda level, p=p: p <= level for p in p_values], 0.05)
    k = max((k for k in range(1, len(p_values) + 1) if sorted(p_values)[k - 1] <= 0.05 * k / len(p_values)), default=0)
    assert sum(found) == k
    assert sorted(p for p, rejected in zip(p_values, found, strict=True) if rejected) == sorted(p_values)[:k]
    if p_values:
        adjusted = false_discovery_control(p_values)
        assert all(a <= 0.05 + 1e-12 for a, rejected in zip(adjusted, found, strict=True) if rejected)


def test_false_alarms_among_ten_metrics():
    """Ten metrics without a difference, 2,000 suites: any alarm in 40 % without correction, in at most 6.5 % with Holm or BH;
    correlated by 0.5, in 27 % and again at most 6.5 %.
    """
    rng = np.random.default_rng(12)
    for correlation, uncorrected in ((0.0, 0.402), (0.5, 0.27)):
        shared, own = rng.standard_normal((2000, 1)), rng.standard_normal((2000, 10))
        p = 2 * ndtr(-abs(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own))
        assert np.mean((p <= 0.05).any(axis=1)) == pytest.approx(uncorrected, abs=0.04)
        for method in (stats.holm, stats.benjamini_hochberg):
            alarms = [any(method([lambda level, p=p: p <= level for p in row], 0.05)) for row in p]
            assert np.mean(alarms) <= 0.065


@given(st.lists(st.sampled_from([0.0, 0.005, 0.01, 0.0125, 0.02, 0.03, 0.05, 0.2]), max_size=8))
def test_holm_is_the_step_down_over_sorted_p_values(p_values):
    """Against the textbook: reject p(1), p(2), ... until one exceeds alpha / (m - rank + 1)."""
    expected, m = set(), len(p_values)
    for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        if p_values[index] > 0.05 / (m - rank):
            break
        expected.add(index)
    assert {i for i, rejected in enumerate(rejections(p_values, 0.05)) if rejected} == expected


def test_equal_candidates_share_every_rank():
    """Six equal candidates: in at least 93 % of the boards each may hold any rank (uncorrected: 63 %)."""
    rng = np.random.default_rng(6)
    whole = 0
    for _ in range(300):
        scores = rng.standard_normal((1, 200)) + rng.standard_normal((6, 200))
        whole += all(ranks == (1, 6) for ranks in stats.rank_sets(scores, rng, draws=400))
    assert whole / 300 >= 0.91


def test_clear_differences_give_single_ranks():
    """Far apart, each rank set is the one rank; the order is that of the means, best first."""
    rng = np.random.default_rng(7)
    scores = rng.standard_normal((3, 400)) * 0.1 + np.array([[0.1], [0.9], [0.5]])
    assert stats.rank_sets(scores, rng) == [(3, 3), (1, 1), (2, 2)]


def test_a_seed_decides_the_rank_sets():
    """The same generator state gives the same sets."""
    scores = np.random.default_rng(8).random((4, 50))
    first, second = (stats.rank_sets(scores, np.random.default_rng(9)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("scores", "clusters"), [
    (np.random.default_rng(0).random((3, 9)), None),
    (np.eye(2)[:, [0] * 40], np.arange(40) % 4),
    (np.zeros((3, 40)), None),
])  # fmt: skip
def test_too_little_to_rank_by_leaves_all_ranks_open(scores, clusters):
    """Few items, few clusters, or no variation: every rank is possible."""
    k = len(scores)
    assert stats.rank_sets(scores, np.random.default_rng(1), clusters=clusters) == [(1, k)] * k


def test_clustered_rank_sets_keep_their_coverage():
    """40 clusters of 5 that move together: with clusters 95 % hold, without far fewer."""
    rng = np.random.default_rng(10)
    codes = np.repeat(np.arange(40), 5)
    with_clusters = without = 0
    for _ in range(200):
        scores = np.repeat(rng.standard_normal((4, 40)), 5, axis=1) + 0.3 * rng.standard_normal((4, 200))
        with_clusters += all(r == (1, 4) for r in stats.rank_sets(scores, rng, clusters=codes, draws=300))
        without += all(r == (1, 4) for r in stats.rank_sets(scores, rng, draws=300))
    assert with_clusters / 200 >= 0.9
    assert without / 200 <= 0.6


@pytest.mark.parametrize("clusters", [None, np.arange(120) // 4])
def test_neither_order_nor_the_names_of_clusters_matter(clusters):
    """Samples in any order, clusters under any codes: the same rank sets, also where a pair is just told apart."""
    rng = np.random.default_rng(13)
    for _ in range(20):
        scores = rng.standard_normal((4, 120)) + np.array([[0.0], [0.25], [0.3], [0.6]])
        order, names = rng.permutation(120), rng.permutation(30)
        shuffled = None if clusters is None else names[clusters[order]]
        found = stats.rank_sets(scores, np.random.default_rng(0), clusters=clusters)
        assert stats.rank_sets(scores[:, order], np.random.default_rng(0), clusters=shuffled) == found
