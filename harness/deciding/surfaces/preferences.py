"""Preferences on a terminal: strengths with intervals, duels, and how often the judge followed the position."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.deciding.preferences import Duel, Preferences
from harness.deciding.surfaces.text import plain
from harness.deciding.wording import number


def preference_tables(found: Sequence[Preferences]) -> RenderableType:
    """For each pairwise judge and split the candidates, strongest first, and the judge's position bias."""
    return Group(*(part for one in found for part in _preference(one)))


def duel_sentence(duel: Duel, candidate: str, opponent: str) -> str:
    """Who was preferred how often, in one sentence."""
    ties = f"{duel.ties + duel.inconsistent} ties"
    if duel.inconsistent:
        ties += f" ({duel.inconsistent} of them inconsistent)"
    return (
        f"{plain(candidate)} is preferred to {plain(opponent)} in {duel.wins} of {duel.games} pairs, {plain(opponent)} in "
        f"{duel.losses}, {ties}: {number(duel.share)} of the points"
    )


def bias_sentence(one: Preferences) -> str:
    """How often the verdict followed the position, with its interval."""
    if one.bias is None:
        return "The judge was asked about no pair: all answers are identical."
    interval = ""
    if one.bias.low is not None and one.bias.high is not None:
        interval = f" ({percent(one.bias.low)} to {percent(one.bias.high)})"
    return (
        f"Position bias: the verdict followed the place in {percent(one.bias.estimate)}{interval} of {one.asked:,} pairs, "
        f"{one.followed_first:,} times the first answer, {one.followed_second:,} times the second; these count as ties."
    )


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def elo_text(value: float | None) -> str:
    """Elo points with their sign; a dash where there are none."""
    if value is None:
        return "-"
    return f"{value:+.0f}" if round(value) else "0"


def rank_text(ranks: tuple[int, int] | None) -> str:
    """`2`, or `1 to 3` where the data cannot tell; a dash where there is no rank."""
    if ranks is None:
        return "-"
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}"


def _preference(one: Preferences) -> list[RenderableType]:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
        title=Text(f"{plain(one.metric)} on {plain(one.split)}: who is preferred", "bold"),
    )  # fmt: skip
    table.add_column("candidate", overflow="fold")
    for name in ("Elo points", "rank", "won/tied/lost", f"points against {plain(one.reference)}"):
        table.add_column(name, justify="right", overflow="fold")
    for standing in one.standings:
        elo = Text(elo_text(standing.elo))
        if standing.elo is not None and standing.low is not None and standing.high is not None:
            elo.append(f" ({elo_text(standing.low)} to {elo_text(standing.high)})", "dim")
        total, direct = standing.total, one.duels.get((standing.candidate, one.reference))
        table.add_row(
            Text(plain(standing.candidate)),
            elo,
            rank_text(standing.ranks),
            "-" if total is None else f"{total.wins}/{total.ties + total.inconsistent}/{total.losses}",
            "-" if direct is None else number(direct.share),
        )
    note = (
        f"Bradley-Terry strengths with {100 * one.confidence:g} % intervals; {plain(one.reference)} is 0, and 400 points are "
        "odds of 10 to 1. " + bias_sentence(one)
    )
    return [table, Text(note, "dim")]
