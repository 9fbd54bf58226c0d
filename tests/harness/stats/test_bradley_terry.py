"""Bradley-Terry strengths: closed forms, a published example, recovery, coverage, and graphs that hold no answer."""

import numpy as np
import pytest
from scipy.special import expit

from harness.stats import bradley_terry

BASEBALL = {
    "Milwaukee": (0, 7, 9, 7, 7, 9, 11),
    "Detroit": (6, 0, 7, 5, 11, 9, 9),
    "Toronto": (4, 6, 0, 7, 7, 8, 12),
    "New York": (6, 8, 6, 0, 6, 7, 10),
    "Boston": (6, 2, 6, 7, 0, 7, 12),
    "Cleveland": (4, 4, 5, 6, 6, 0, 6),
    "Baltimore": (2, 4, 1, 3, 1, 7, 0),
}
"""American League East, 1987: games that the team of the row won against those of the columns (Agresti 2002, table 10.10)."""


def games_of(wins):
    """A matrix of wins as games: first player, second player, points of the first."""
    rows = [
        (i, j, point)
        for i in range(len(wins))
        for j in range(i + 1, len(wins))
        for point, count in ((1.0, wins[i][j]), (0.0, wins[j][i]))
        for _ in range(count)
    ]
    first, second, points = zip(*rows, strict=True)
    return np.array(first), np.array(second), np.array(points)


def fitted(first, second, points, units=None, **options):
    """The strengths where every game is a unit of its own."""
    first, second, points = np.array(first), np.array(second), np.array(points, dtype=float)
    units = np.arange(len(points)) if units is None else units
    return bradley_terry(first, second, points, units, **{"reference": 0, **options})


def played(rng, strengths, samples, *, ties=0.0, spread=0.0):
    """Every pair's game on each sample; `spread` is how far a sample moves each player's strength in all of its games."""
    pairs = [(i, j) for i in range(len(strengths)) for j in range(i + 1, len(strengths))]
    first, second = (np.tile([pair[side] for pair in pairs], samples) for side in (0, 1))
    units = np.repeat(np.arange(samples), len(pairs))
    moved = np.array(strengths) + rng.normal(0, spread, (samples, len(strengths)))
    won = rng.random(len(units)) < expit(moved[units, first] - moved[units, second])
    points = np.where(rng.random(len(units)) < ties, 0.5, won)
    return first, second, points, units


def test_the_published_strengths_of_the_baseball_teams():
    """Maximum likelihood with Baltimore at 0 gives the estimates that Agresti (2002) and Turner and Firth (2012) print."""
    published = [1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0]
    found = fitted(*games_of(list(BASEBALL.values())), players=7, reference=6, jeffreys=0)
    assert [team.estimate for team in found] == pytest.approx(published, abs=1e-4)


def test_the_standard_errors_of_the_baseball_teams():
    """The sandwich is near the published model-based errors (Turner and Firth 2012), as it should be where the model fits."""
    published = [0.3433, 0.3396, 0.3367, 0.3359, 0.3339, 0.3319]
    found = fitted(*games_of(list(BASEBALL.values())), players=7, reference=6, jeffreys=0)
    errors = [(team.high - team.estimate) / 1.9693 for team in found[:6]]  # t(272) at 0.975
    assert errors == pytest.approx(published, rel=0.07)


@pytest.mark.parametrize(("wins", "ties", "losses"), [(12, 3, 5), (20, 0, 0), (0, 0, 20), (0, 20, 0), (1, 0, 1)])
def test_two_players_have_a_closed_form(wins, ties, losses):
    """The strength is log((w + t/2 + 1/2) / (l + t/2 + 1/2)), finite for a player that always won."""
    points = [1.0] * wins + [0.5] * ties + [0.0] * losses
    found = fitted([1] * len(points), [0] * len(points), points, players=2)
    closed = np.log((wins + ties / 2 + 0.5) / (losses + ties / 2 + 0.5))
    assert found[1].estimate == pytest.approx(closed, abs=1e-6)
    assert found[0].estimate == 0


def test_two_players_strength_is_their_mean_score():
    """Ties as half wins: the chance that the strength stands for is the mean of the points, but for the penalty's game."""
    points = [1.0] * 30 + [0.5] * 50 + [0.0] * 20
    found = fitted([1] * 100, [0] * 100, points, players=2, jeffreys=0)
    assert expit(found[1].estimate) == pytest.approx(0.55, abs=1e-9)


def test_which_side_is_named_first_does_not_matter():
    """Turning every other game around, with its points, changes nothing."""
    rng = np.random.default_rng(3)
    first, second, points, units = played(rng, [0, 0.5, 1.0], 40, ties=0.2)
    turned = np.arange(len(points)) % 2 == 0
    other = fitted(
        np.where(turned, second, first), np.where(turned, first, second), np.where(turned, 1 - points, points), units,
        players=3,
    )  # fmt: skip
    for one, two in zip(fitted(first, second, points, units, players=3), other, strict=True):
        assert one.estimate == pytest.approx(two.estimate, abs=1e-7)
        assert one.ranks == two.ranks


def test_another_reference_shifts_all_strengths_alike():
    """Strengths are differences: those against player 2 are those against player 0, less player 2's."""
    games = played(np.random.default_rng(4), [0, 0.5, 1.0, -1.0], 50)
    by_first, by_third = (fitted(*games, players=4, reference=r) for r in (0, 2))
    shift = by_first[2].estimate
    assert [s.estimate - shift for s in by_first] == pytest.approx([s.estimate for s in by_third], abs=1e-6)
    assert by_third[0].low == pytest.approx(-by_first[2].high, abs=1e-6)


def test_known_strengths_are_recovered():
    """With 5,000 samples each strength is within 0.1 of the one that made the games."""
    true = [0.0, 0.7, 1.5, -1.0]
    found = fitted(*played(np.random.default_rng(5), true, 5000), players=4)
    assert [strength.estimate for strength in found] == pytest.approx(true, abs=0.1)
    assert [strength.ranks for strength in found] == [(3, 3), (2, 2), (1, 1), (4, 4)]


@pytest.mark.parametrize(
    ("samples", "ties", "spread"), [(60, 0.0, 0.0), (60, 0.3, 0.0), (60, 0.0, 1.5), (25, 0.0, 0.0)]
)
def test_intervals_cover(samples, ties, spread):
    """The 95 % interval holds the truth in 92 to 98.5 % of 300 repetitions, with ties and with games that hang together."""
    rng = np.random.default_rng(6)
    true = [0.0, 0.5, 1.0, -0.8]
    truth = [s.estimate for s in fitted(*played(rng, true, 20000, ties=ties, spread=spread), players=4)]
    hits, ranks = [], []
    order = np.argsort(np.argsort(-np.array(truth))) + 1
    for _ in range(300):
        found = fitted(*played(rng, true, samples, ties=ties, spread=spread), players=4)
        hits += [s.low <= t <= s.high for s, t in zip(found[1:], truth[1:], strict=True)]
        ranks.append(all(s.ranks[0] <= place <= s.ranks[1] for s, place in zip(found, order, strict=True)))
    assert 0.92 <= np.mean(hits) <= 0.985
    assert np.mean(ranks) >= 0.95


def test_games_of_one_sample_are_one_unit():
    """The same games told ten times over, as one unit each, are no better known; as units of their own they seem to be."""
    first, second, points, units = played(np.random.default_rng(7), [0, 0.6], 50)
    copied = [np.repeat(values, 10) for values in (first, second, points, units)]
    once = fitted(first, second, points, units, players=2)[1]
    together = fitted(*copied, players=2)[1]
    apart = fitted(*copied[:3], players=2)[1]
    assert together.high - together.low == pytest.approx(once.high - once.low, rel=0.1)
    assert apart.high - apart.low == pytest.approx((once.high - once.low) / np.sqrt(10), rel=0.1)


def test_a_player_that_always_won_has_a_wide_interval():
    """Perfect separation: finite strength, and an interval whose lower end is above 0 but far from the estimate."""
    found = fitted([1] * 40, [0] * 40, [1.0] * 40, players=2)[1]
    assert 0 < found.low < found.estimate - 2
    with pytest.raises(ValueError, match="won all their games"):
        fitted([1] * 40, [0] * 40, [1.0] * 40, players=2, jeffreys=0)


def test_a_strict_order_is_finite():
    """Eight players, each of whom won all games against those below: finite strengths in that order, equally spaced ends."""
    pairs = [(i, j) for i in range(8) for j in range(i) for _ in range(100)]
    first, second = zip(*pairs, strict=True)
    found = fitted(first, second, [1.0] * len(pairs), players=8)
    strengths = [s.estimate for s in found]
    assert strengths == sorted(strengths)
    assert np.diff(strengths) == pytest.approx(np.diff(strengths)[::-1], abs=1e-6)
    assert all(s.low > 0 for s in found[1:])


def test_ties_alone_are_a_strength_of_zero_with_an_interval():
    """A judge that never decides says nothing of either, but not with certainty."""
    found = fitted([1] * 40, [0] * 40, [0.5] * 40, players=2)[1]
    assert found.estimate == pytest.approx(0, abs=1e-9)
    assert found.low < 0 < found.high
    assert found.ranks == (1, 2)


def test_players_without_a_chain_of_games_have_no_strength():
    """2 and 3 played each other only: nothing is known of them against the reference. 1 is as if they were not there."""
    first, second = [1] * 20 + [2] * 20, [0] * 20 + [3] * 20
    points = [1.0] * 13 + [0.0] * 7 + [1.0] * 20
    found = fitted(first, second, points, players=5)
    assert found[2:] == [None, None, None]
    assert found[1] == fitted(first[:20], second[:20], points[:20], players=2)[1]
    assert found[1].ranks == (1, 2)


def test_a_chain_is_enough():
    """1 never met the reference, but 2 met both: log-odds add up along the chain (three players, two pairs)."""
    first, second = [1] * 400 + [2] * 400, [2] * 400 + [0] * 400
    points = [1.0] * 300 + [0.0] * 100 + [1.0] * 240 + [0.0] * 160
    found = fitted(first, second, points, players=3, jeffreys=0)
    assert found[1].estimate == pytest.approx(np.log(3) + np.log(1.5), abs=1e-6)


def test_few_units_have_no_interval():
    """Below ten samples, or five clusters, there is a strength and every rank is possible."""
    points = [1.0] * 36
    few = np.repeat(np.arange(9), 4)
    found = fitted([1] * 36, [0] * 36, points, few, players=2)[1]
    assert (found.low, found.high, found.ranks) == (None, None, (1, 2))
    assert fitted([1] * 36, [0] * 36, points, few, players=2, clustered=True)[1].low is not None


def test_nobody_played():
    """Without games the reference stands alone."""
    found = fitted(np.zeros(0, int), np.zeros(0, int), [], players=2)
    assert found[0].estimate == 0
    assert found[1] is None
