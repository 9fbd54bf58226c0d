"""Strengths from games between pairs: the Bradley-Terry model, with intervals that know which games belong together.

P(i is preferred to j) = 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952). A tie is half a win for each side, so that with two
players the strength says the same as their mean score; a model with a parameter for ties (Davidson 1970) would drop
them, though an inconsistent judge makes many. The likelihood is penalised by Jeffreys' prior (Firth 1993), which keeps
strengths finite for a player that has won or lost every game: it acts like games of half a win for each side, one for
each strength that is estimated, spread over the pairs by leverage. Two players get log((wins + 1/2) / (losses + 1/2)).

Intervals come from the sandwich estimator over independent units (Liang and Zeger 1986): all games about one sample, or
one cluster of samples, are one unit. The penalty's games count in it, so no interval has a width of zero.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.stats.intervals import MIN_CLUSTERS, MIN_ITEMS, Codes, Floats, t_quantile
from harness.stats.multiplicity import holm

STEPS = 500
TOLERANCE = 1e-9
"""Natural log-odds that the last step may have moved a strength."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """One player's strength in natural log-odds against the reference, whose own is 0 without an interval."""

    estimate: float
    low: float | None
    """Ends of the two-sided interval; None for the reference, and where there are too few units for one."""
    high: float | None
    ranks: tuple[int, int]
    """Best and worst rank that the data allow, among the players with a strength."""


def bradley_terry(
    first: Codes,
    second: Codes,
    points: Floats,
    units: Codes,
    *,
    players: int,
    reference: int,
    confidence: float = 0.95,
    clustered: bool = False,
    jeffreys: float = 0.5,
) -> list[Strength | None]:
    """A strength a player; None for those whom no chain of games connects with the reference.

    Args:
        first: A player's number, shape [games].
        second: The other player's number, shape [games], never equal to `first`.
        points: What the first player got of each game, shape [games]: 1 won, 0 lost, 0.5 tied.
        units: A code per game, shape [games]: games with equal codes may depend on each other.
        players: How many players there are.
        reference: The player whose strength is 0.
        confidence: Of the two-sided intervals; also that all true ranks lie within the rank sets.
        clustered: Whether units are clusters of samples, of which five suffice for an interval; else ten units do.
        jeffreys: The power of Jeffreys' prior. 0 is maximum likelihood, which exists only where no group of players
            has won all its games against the others (Ford 1957).

    Raises:
        ValueError: Where `jeffreys` is 0 and there is no maximum.
    """
    met = np.zeros((players, players), dtype=bool)
    met[first, second] = met[second, first] = True
    here = _reached(met, reference)
    numbers = np.cumsum(here) - 1
    played = here[first] & here[second]
    found: list[Strength | None] = [None] * players
    if here.sum() < 2:
        found[reference] = Strength(estimate=0.0, low=None, high=None, ranks=(1, 1))
        return found
    one, two, got = numbers[first[played]], numbers[second[played]], points[played]
    base = int(numbers[reference])
    values, pseudo = _fit(one, two, got, int(here.sum()), base, jeffreys)
    covariance, count = _sandwich(one, two, got, units[played], values, pseudo, base)
    if count < (MIN_CLUSTERS if clustered else MIN_ITEMS):
        covariance = np.full_like(covariance, np.inf)
    quantile = t_quantile(0.5 + confidence / 2, count - 1) if count > 1 else np.inf
    ranks = _rank_sets(values, covariance, count - 1, 1 - confidence)
    for player in np.flatnonzero(here):
        at = numbers[player]
        half = quantile * np.sqrt(covariance[at, at])
        bounded = player != reference and np.isfinite(half)
        found[player] = Strength(
            estimate=float(values[at]),
            low=float(values[at] - half) if bounded else None,
            high=float(values[at] + half) if bounded else None,
            ranks=ranks[at],
        )
    return found


def _reached(steps: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Where one gets from `start` by steps from row to column, itself included."""
    found = np.zeros(len(steps), dtype=bool)
    found[start] = True
    while (grown := found | steps[found].any(axis=0)).sum() > found.sum():
        found = grown
    return found


def _fit(
    first: Codes, second: Codes, points: Floats, players: int, reference: int, jeffreys: float
) -> tuple[Floats, Floats]:
    """Strengths, and the penalty's games: shape [players, players], how many are half won by each side of a pair."""
    won = np.zeros((players, players))
    np.add.at(won, (first, second), points)
    np.add.at(won, (second, first), 1 - points)
    if not jeffreys and not (_reached(won > 0, reference) & _reached(won.T > 0, reference)).all():
        raise ValueError("the likelihood has no maximum: some players won all their games against the others")
    games = won + won.T
    values = np.zeros(players)
    for _ in range(STEPS):
        chance = special.expit(values[:, None] - values)
        spread = chance * (1 - chance)
        inverse = _inverse_information(games * spread, reference)
        variances = np.diag(inverse)
        pseudo = 2 * jeffreys * games * spread * (variances[:, None] + variances - 2 * inverse)
        gradient = (won - games * chance + pseudo * (0.5 - chance)).sum(axis=1)
        step = _inverse_information((games + pseudo) * spread, reference) @ gradient
        if np.abs(step).max() < TOLERANCE:
            return values, pseudo
        values = values + step / max(1.0, np.abs(step).max())  # at most one unit at a time: far steps overshoot
    raise ValueError(f"strengths did not settle in {STEPS} steps")


def _inverse_information(weights: Floats, reference: int) -> Floats:
    """The inverse of the Laplacian of pair weights without the reference, whose row and column are 0."""
    laplacian = np.diag(weights.sum(axis=1)) - weights
    others = np.delete(np.arange(len(weights)), reference)
    inverse = np.zeros_like(weights)
    inverse[np.ix_(others, others)] = np.linalg.inv(laplacian[np.ix_(others, others)])
    return inverse


def _sandwich(
    first: Codes, second: Codes, points: Floats, units: Codes, values: Floats, pseudo: Floats, reference: int
) -> tuple[Floats, int]:
    """The covariance of the strengths, and the number of independent units.

    The penalty's games stand in both layers: half won and half lost, each a unit of its own.
    """
    _, codes = np.unique(units, return_inverse=True)
    count, players = int(codes.max()) + 1, len(values)
    residuals = points - special.expit(values[first] - values[second])
    sums = np.zeros((count, players))
    np.add.at(sums, (codes, first), residuals)
    np.add.at(sums, (codes, second), -residuals)
    chance = special.expit(values[:, None] - values)
    squares = pseudo / 2 * ((1 - chance) ** 2 + chance**2)
    filling = sums.T @ sums * count / max(count - 1, 1) + np.diag(squares.sum(axis=1)) - squares
    games = np.zeros((players, players))
    np.add.at(games, (first, second), 1.0)
    bread = _inverse_information((games + games.T + pseudo) * chance * (1 - chance), reference)
    covariance: Floats = bread @ filling @ bread
    return covariance, count


def _rank_sets(values: Floats, covariance: Floats, degrees: int, alpha: float) -> list[tuple[int, int]]:
    """1 + how many are certainly better, to k - how many are certainly worse; pairs are tested together, after Holm."""
    k = len(values)
    first, second = np.triu_indices(k, 1)
    variances = np.diag(covariance)
    if not np.isfinite(variances).all():
        return [(1, k)] * k
    errors = np.sqrt(variances[first] + variances[second] - 2 * covariance[first, second])
    tails = 2 * special.stdtr(degrees, -np.abs(values[first] - values[second]) / errors)
    certain = holm([partial(operator.le, p) for p in tails.tolist()], alpha)
    better, worse = np.zeros(k, dtype=int), np.zeros(k, dtype=int)
    for a, b, sure in zip(first, second, certain, strict=True):
        if sure:
            winner, loser = (a, b) if values[a] > values[b] else (b, a)
            better[loser] += 1
            worse[winner] += 1
    return [(1 + int(above), k - int(below)) for above, below in zip(better, worse, strict=True)]
