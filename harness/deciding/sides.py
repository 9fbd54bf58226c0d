"""Finding the two sides of a comparison in the store: candidates of one run, or of two.

Two runs can be compared where the same judge scored both; samples are paired by id. What was judged by different
judges is named, and left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.deciding.scores import ScoreRow, Scores
from harness.errors import UserError
from harness.records import Metric, Run

if TYPE_CHECKING:
    from harness.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One candidate of one run."""

    run: Run
    candidate: str

    @property
    def label(self) -> str:
        """`RUN:CANDIDATE`, which also finds it again."""
        return f"{self.run.id}:{self.candidate}"


def latest_run(store: Store, suite: str, wanted: str = "latest") -> Run:
    """The newest run of a suite, or the run asked for, which must be one of that suite.

    Raises:
        UserError: If there is no such run.
    """
    if wanted == "latest":
        found = next((run for run in store.runs() if run.suite == suite), None)
        if found is None:
            raise UserError(
                f"'run' must be in the store (got 'latest'; it holds no run of {suite!r}). Run the suite first."
            )
        return found
    run = store.run(wanted)
    if run.suite != suite:
        raise UserError(f"'run' must be one of suite {suite!r} (got {run.id!r} of {run.suite!r}). See 'muster runs'.")
    return run


def find_side(store: Store, name: str, run: Run, like: str | None = None) -> Side:
    """What a name stands for: a candidate of `run`, `RUN:CANDIDATE`, or a RUN's candidate of the name `like`.

    Raises:
        UserError: If it is none of them.
    """
    if name in run.candidates:
        return Side(run=run, candidate=name)
    run_name, colon, candidate = name.partition(":")
    if not colon and like is None:
        raise _unknown(name, run)
    other = store.run(run_name) if colon else find_run(store, name, run)
    wanted = candidate if colon else like or ""
    if wanted not in other.candidates:
        known = ", ".join(other.candidates)
        raise UserError(f"'candidate' must be one of run {other.id}'s ({known}) (got {wanted!r}). See 'muster runs'.")
    return Side(run=other, candidate=wanted)


def find_run(store: Store, name: str, run: Run) -> Run:
    """The run of an id, or of a beginning that only one has.

    Raises:
        UserError: If there is none; then the candidates of `run` are named, which the user may have meant.
    """
    if name != "latest" and not any(known.id.startswith(name) for known in store.runs()):
        raise _unknown(name, run)
    return store.run(name)


def _unknown(name: str, run: Run) -> UserError:
    close = difflib.get_close_matches(name, run.candidates, 1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    known = ", ".join(run.candidates)
    return UserError(
        f"'candidate' must be one of run {run.id}'s ({known}), RUN:CANDIDATE or a run (got {name!r}){hint}. "
        "See 'muster runs'."
    )


def score_rows(store: Store, side: Side, name: str) -> list[ScoreRow]:
    """The side's scores, its candidate called `name`."""
    return [(name, *row[1:]) for row in store.scores(side.run.id) if row[0] == side.candidate]


def score_modes(store: Store, side: Side, name: str) -> dict[tuple[str, str], dict[str, int]]:
    """The modes of the side's scores, its candidate called `name`."""
    found = store.modes(side.run.id)
    return {(name, metric): modes for (candidate, metric), modes in found.items() if candidate == side.candidate}


def scores_of_both(store: Store, first: Side, second: Side) -> tuple[Scores, str, str]:
    """The scores of two sides, and what they go by: candidates of one run by their names, others by their labels."""
    names = (first.candidate, second.candidate)
    if first.run.id != second.run.id:
        names = (first.label, second.label)
    rows = score_rows(store, first, names[0]) + score_rows(store, second, names[1])
    modes = {**score_modes(store, first, names[0]), **score_modes(store, second, names[1])}
    return Scores.from_rows(rows, modes), *names


def shared_metrics(first: Run, second: Run) -> tuple[list[Metric], list[str]]:
    """Metrics that the same judge scored in both runs, and the names of those that changed or are in one only."""
    shared = [m for m in first.metrics if m in second.metrics and first.judges.get(m.name) == second.judges.get(m.name)]
    names = dict.fromkeys(m.name for m in (*first.metrics, *second.metrics))
    return shared, [name for name in names if name not in {m.name for m in shared}]


def wanted_metrics(first: Run, second: Run, wanted: Sequence[str] = ()) -> list[Metric]:
    """Of the metrics that the same judge scored in both runs, those asked for; left out, all.

    Raises:
        UserError: If one that is asked for is none of them, or there is none.
    """
    shared, _ = shared_metrics(first, second)
    missing = [name for name in wanted if name not in {metric.name for metric in shared}]
    if missing or not shared:
        known, got = (", ".join(names) or "none" for names in ([metric.name for metric in shared], missing))
        raise UserError(
            f"'--metric' must be one that the same judge scored on both sides ({known}) (got {got}). Leave it out."
        )
    return [metric for metric in shared if not wanted or metric.name in wanted]
