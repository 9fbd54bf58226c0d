"""Sample sizes: published figures, and that the promised power is what a simulation shows."""

import numpy as np
import pytest

from harness import stats


@pytest.mark.parametrize(
    ("discordance", "margin", "n"),
    [(0.1, 0.01, 6183), (0.2, 0.01, 12366), (0.1, 0.02, 1546), (0.2, 0.02, 3092),
     (0.1, 0.03, 687), (0.2, 0.03, 1374), (0.1, 0.05, 248), (0.2, 0.05, 495)],
)  # fmt: skip
def test_samples_for_a_margin(discordance, margin, n):
    """Equal candidates, one-sided 5 %, 80 % power."""
    assert stats.samples_needed(margin, stats.binary_spread(discordance), 0.95) == n


def test_millers_thousand_questions():
    """Miller 2024: variance 1/9, 3 points, two-sided 5 %: 969 questions."""
    assert stats.samples_needed(0.03, 1 / 3, 0.975) == 969


@pytest.mark.parametrize(("discordance", "effect"), [(0.1, 0.040), (0.2, 0.056)])
def test_detectable_effect_of_500(discordance, effect):
    """Two-sided 5 %, 80 % power, 500 samples: 4.0 and 5.6 points."""
    assert stats.detectable_effect(500, stats.binary_spread(discordance), 0.975) == pytest.approx(effect, abs=5e-4)


@pytest.mark.parametrize(("limit", "n"), [(0.05, 59), (0.01, 299), (1.0, 1)])
def test_samples_without_events_invert_the_bound(limit, n):
    """The smallest n whose zero-event bound is below the limit."""
    assert stats.samples_without_events(limit, 0.95) == n
    if limit < 1:
        assert stats.zero_event_bound(n, 0.95) <= limit < stats.zero_event_bound(n - 1, 0.95)


def test_some_questions_no_number_answers():
    """A distance of zero, and a rate of at most zero, need infinitely many samples."""
    assert stats.samples_needed(0.0, 0.3, 0.95) is None
    assert stats.samples_without_events(0.0, 0.95) is None


def test_the_promised_power_is_there():
    """With the n for a margin, equal candidates are shown not to be worse in 80 % of simulated evaluations."""
    rng = np.random.default_rng(11)
    n = stats.samples_needed(0.05, 0.2, 0.95)
    shown = []
    for _ in range(2000):
        found = stats.paired_difference(rng.normal(0.5, 0.2, n), np.full(n, 0.5), 0.9, low=-5, high=5)
        shown.append(found.low > -0.05)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.035)
