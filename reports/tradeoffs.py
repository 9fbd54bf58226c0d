"""What quality costs, and who wins against whom: two looks at a leaderboard, from numbers it already holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

from harness.deciding.comparison import checked_column, sign
from harness.deciding.scores import Scores
from harness.records import Metric
from reports.views import BoardRow, Cell, TradeOff, TradePoint, Wins, WinTable

PER = 1000
"""Answers that a cost is told for."""


def trade_off(rows: Sequence[BoardRow], metric: Metric) -> TradeOff | None:
    """Quality against what an answer takes: its cost where all have a price, else its seconds, else its tokens.

    None with fewer than two candidates of which both are known.
    """
    ways: tuple[tuple[str, Callable[[BoardRow], float | None]], ...] = (
        (f"cost of {PER:,} answers", lambda row: None if row.effort.cost is None else PER * row.effort.cost),
        ("median seconds an answer", lambda row: row.effort.seconds),
        ("mean tokens an answer", lambda row: row.effort.completion_tokens),
    )
    scored = [row for row in rows if _cell(row, metric).estimate.mean is not None]
    for way, takes in ways:
        known = [(row, amount) for row in scored if (amount := takes(row)) is not None]
        if len(known) == len(scored) > 1:
            points = tuple(
                TradePoint(candidate=row.candidate, amount=amount, estimate=_cell(row, metric).estimate)
                for row, amount in known
            )
            return TradeOff(metric=metric, way=way, points=points, front=pareto_front(points, metric))
    return None


def pareto_front(points: Sequence[TradePoint], metric: Metric) -> tuple[str, ...]:
    """Candidates that no other beats in one of quality and amount without being worse in the other; the cheapest first."""

    def gain(point: TradePoint) -> float:
        return sign(metric) * (point.estimate.mean or 0.0)

    def beaten(one: TradePoint, other: TradePoint) -> bool:
        no_worse = other.amount <= one.amount and gain(other) >= gain(one)
        return no_worse and (other.amount < one.amount or gain(other) > gain(one))

    best = [one for one in points if not any(beaten(one, other) for other in points)]
    return tuple(point.candidate for point in sorted(best, key=lambda point: point.amount))


def win_table(scores: Scores, metric: Metric, split: str, candidates: Sequence[str]) -> WinTable | None:
    """Each candidate against each other on the samples that both have a score of; None with fewer than two.

    A pair whose scores were made in different modes, or that shares no sample, is left out.
    """
    here = scores.splits[split]
    if len(candidates) < 2:
        return None
    columns = {name: checked_column(here, metric, name) for name in candidates}
    duels = {}
    for name, other in permutations(candidates, 2):
        both = columns[name].scored & columns[other].scored
        if not both.any() or scores.mixed_modes(metric.name, (name, other)):
            continue
        gain = sign(metric) * (columns[name].values[both] - columns[other].values[both])
        duels[name, other] = Wins(wins=int((gain > 0).sum()), ties=int((gain == 0).sum()), losses=int((gain < 0).sum()))
    return WinTable(metric=metric, split=split, candidates=tuple(candidates), duels=duels)


def _cell(row: BoardRow, metric: Metric) -> Cell:
    return next(cell for cell in row.cells if cell.metric.name == metric.name)
