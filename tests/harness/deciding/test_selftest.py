"""The gate's own operating characteristics: it holds what it states, and a gate that did not would be found out."""

import numpy as np
import pytest

from harness.deciding import selftest as trial


@pytest.fixture(scope="module")
def found():
    """The characteristics by name, of 250 simulated runs each."""
    return {one.name: one for one in trial.selftest(250, seed=7)}


def test_the_gate_holds_what_it_states(found):
    """An identical model never fails; an equal one at most 5 % of the time, nor does one at the margin pass more often."""
    assert [name for name, one in found.items() if not one.holds] == []
    assert found["identical answers, n 200: fails"].count == 0
    for name in ("0/1 scores, equal, n 500: fails", "0/1 scores, worse by the margin, n 1000: passes"):
        assert found[name].rate == pytest.approx(0.05, abs=0.04)


def test_a_five_point_drop_at_n_400_is_caught(found):
    """Of runs that are worse by 5 points, four in five fail and next to none passes."""
    assert found["0/1 scores, worse by 5 points, n 400: fails"].rate > 0.75
    assert found["0/1 scores, worse by 5 points, n 400: passes"].rate < 0.02


def test_the_powers_are_those_of_the_reference(found):
    """Margin 0.03, discordance 0.15: 0.538 of equal candidates pass at n = 500 by 20,000 simulations, 0.787 at 1,000."""
    assert found["0/1 scores, equal, n 1000: passes"].rate == pytest.approx(0.787, abs=0.07)


def test_a_gate_that_compares_points_would_not_hold(monkeypatch):
    """The usual rule, "not worse by the estimate", passes half of those at the margin: the test says so."""
    monkeypatch.setattr(
        trial, "_decided", lambda ours, theirs: "pass" if ours.mean() - theirs.mean() >= -trial.MARGIN else "fail"
    )
    trial._decided_binary.cache_clear()
    try:
        wrong = {one.name: one for one in trial.selftest(60, seed=1)}
    finally:
        trial._decided_binary.cache_clear()
    one = wrong["0/1 scores, worse by the margin, n 500: passes"]
    assert not one.holds
    assert one.rate == pytest.approx(0.52, abs=0.2)
    assert np.mean([each.holds for each in wrong.values()]) < 0.9
