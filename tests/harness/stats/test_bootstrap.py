"""The BCa bootstrap: a published interval, scipy's, and that nothing depends on order."""

import numpy as np
import pytest
import scipy.stats

from harness import stats

LAW_SCHOOL = np.array(
    [(576, 3.39), (635, 3.30), (558, 2.81), (578, 3.03), (666, 3.44), (580, 3.07), (555, 3.00), (661, 3.43),
     (651, 3.36), (605, 3.13), (653, 3.12), (575, 2.74), (545, 2.76), (572, 2.88), (594, 2.96)]
)  # fmt: skip
"""LSAT and GPA of 15 law schools (Efron and Tibshirani 1993, table 3.1)."""


def correlation(counts):
    """Of the schools, each counted so many times: shape [B, 15] to [B]."""
    weights = counts / counts.sum(axis=1, keepdims=True)
    x, y = LAW_SCHOOL.T
    dx, dy = x - weights @ x[:, None], y - weights @ y[:, None]
    return (weights * dx * dy).sum(1) / np.sqrt((weights * dx**2).sum(1) * (weights * dy**2).sum(1))


def test_the_law_schools():
    """Correlation 0.7764; BCa at 0.90 about 0.43 to 0.92 (Efron and Tibshirani 1993, chapter 14)."""
    value = float(correlation(np.ones((1, 15)))[0])
    found = stats.bca(value, correlation(stats.resampled(15, 20_000, 0)), correlation(stats.left_out(15)), 0.9)
    assert value == pytest.approx(0.7764, abs=5e-5)
    assert found == pytest.approx((0.43, 0.92), abs=0.015)


def test_the_interval_is_scipys():
    """The same data by `scipy.stats.bootstrap`, up to the noise of two times 20,000 resamples."""

    def statistic(x, y, axis):
        return scipy.stats.pearsonr(x, y, axis=axis).statistic

    theirs = scipy.stats.bootstrap(
        tuple(LAW_SCHOOL.T), statistic, paired=True, method="BCa", confidence_level=0.9, n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    value = float(correlation(np.ones((1, 15)))[0])
    ours = stats.bca(value, correlation(stats.resampled(15, 20_000, 0)), correlation(stats.left_out(15)), 0.9)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_every_cluster_is_left_out_once():
    """One by one up to 200 clusters, beyond that in 200 groups, each cluster in one of them."""
    assert (stats.left_out(7) == 1 - np.eye(7)).all()
    many = stats.left_out(450)
    assert many.shape == (200, 450)
    assert ((many == 0).sum(axis=0) == 1).all()


def test_resamples_hold_as_many_clusters_as_there_are():
    """And a seed decides them."""
    drawn = stats.resampled(12, 300, 5)
    assert (drawn.sum(axis=1) == 12).all()
    assert (drawn == stats.resampled(12, 300, 5)).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(12), abs=0.25)
