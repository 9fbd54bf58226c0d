"""What a report shows of trainings: curves of their logs, charts of sweeps, and the rows that worst answers may come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.records import Answer, Metric, Sample, Training
from reports import charts
from reports.views import Board, ReportSample, Sweep, SweepChart, SweepLine, WorstAnswer, WorstAnswers

SHOWN = 5
"""Worst samples shown a trained candidate."""
_SWEPT = re.compile(r"(?P<name>[^\[]+)\[(?P<label>[a-z_]+=.*)\]\Z")


def series(training: Training, name: str) -> list[charts.Point]:
    """A figure of a training's log as (step, value), where it was logged."""
    return [(entry["step"], entry[name]) for entry in training.log if "step" in entry and name in entry]


def judged_series(training: Training) -> dict[str, list[charts.Point]]:
    """By judge, what its evaluations on the way gave."""
    names = dict.fromkeys(name for entry in training.log for name in entry if name.startswith("validation_"))
    return {n.removeprefix("validation_"): series(training, n) for n in names if n != "validation_loss"}


PLAIN = ("step", "epoch", "tokens", "loss", "learning_rate", "grad_norm")
"""What every training logs."""


def objective_series(training: Training) -> dict[str, list[charts.Point]]:
    """By name, the figures that only its objective has, such as reward or margin, where they were not always the same."""
    names = dict.fromkeys(name for entry in training.log for name in entry)
    found = {n: series(training, n) for n in names if n not in PLAIN and not n.startswith("validation_")}
    return {name: points for name, points in found.items() if len({value for _, value in points}) > 1}


def kept_step(training: Training) -> float | None:
    """The step whose checkpoint was selected; None where the last was kept."""
    selection = training.record.get("selection")
    return selection["step"] if isinstance(selection, Mapping) else None


def steps_domain(training: Training) -> charts.Point:
    """The steps of a training's log, for all of its charts."""
    steps = [entry["step"] for entry in training.log if "step" in entry]
    return min(steps), max(steps)


def sweeps(boards: Sequence[Board], baseline: str | None) -> tuple[Sweep, ...]:
    """One for each option that differs among the candidates of a sweep, on each split."""
    found = []
    for board in boards:
        groups: dict[str, dict[str, dict[str, str]]] = {}
        for row in board.rows:
            match = _SWEPT.match(row.candidate)
            if match:
                options = dict(part.split("=", 1) for part in match["label"].split(",") if "=" in part)
                groups.setdefault(match["name"], {})[row.candidate] = options
        for name, members in groups.items():
            for option in next(iter(members.values())):
                values = _ordered([options.get(option, "") for options in members.values()])
                if len(values) > 1:
                    made = _charts(board, members, option, values, baseline)
                    found.append(Sweep(name=name, option=option, values=values, split=board.split, charts=made))
    return tuple(found)


def _ordered(values: Sequence[str]) -> tuple[str, ...]:
    distinct = list(dict.fromkeys(values))
    try:
        return tuple(sorted(distinct, key=float))
    except ValueError:
        return tuple(sorted(distinct))


def _charts(
    board: Board, members: Mapping[str, Mapping[str, str]], option: str, values: Sequence[str], baseline: str | None
) -> tuple[SweepChart, ...]:
    cells = {row.candidate: {cell.metric.name: cell for cell in row.cells} for row in board.rows}
    lines: dict[str, dict[str, str]] = {}
    for candidate, options in members.items():
        rest = ", ".join(f"{name}={value}" for name, value in options.items() if name != option)
        lines.setdefault(rest, {})[options.get(option, "")] = candidate
    return tuple(
        SweepChart(
            metric=cell.metric,
            lines=tuple(
                SweepLine(
                    label=label,
                    candidates=tuple(of.get(value) for value in values),
                    estimates=tuple(
                        cells[of[value]][cell.metric.name].estimate if value in of else None for value in values
                    ),
                )
                for label, of in sorted(lines.items())
            ),
            baseline=cells[baseline][cell.metric.name].estimate.mean if baseline in cells else None,
        )
        for cell in board.rows[0].cells
    )


def worst_answers(
    trainings: Sequence[Training], samples: Sequence[ReportSample], metric: Metric
) -> tuple[WorstAnswers, ...]:
    """For each training that knows the rows nearest to its worst samples, those that are worst by one metric."""
    found = []
    for training in trainings:
        nearest = training.record.get("nearest")
        if not isinstance(nearest, Mapping):
            continue
        known = [view for view in samples if nearest.get(view.sample.id)]
        scored: list[tuple[float, Sample, Answer | None]] = []
        for view in known:
            judgement = view.judgements.get((training.candidate, metric.name))
            if judgement is not None and judgement.score is not None:
                scored.append((judgement.score, view.sample, view.answers.get(training.candidate)))
        scored.sort(key=lambda one: one[0] if metric.direction == "higher" else -one[0])
        made = tuple(
            WorstAnswer(sample=sample, answer=answer, score=score, nearest=tuple(nearest[sample.id]))
            for score, sample, answer in scored[:SHOWN]
        )
        if made:
            found.append(WorstAnswers(candidate=training.candidate, metric=metric, answers=made))
    return tuple(found)


def sweep_domain(chart: SweepChart) -> charts.Point:
    """The axis of a chart of a sweep: all of its intervals, and the baseline."""
    return charts.padded(
        (
            value
            for line in chart.lines
            for estimate in line.estimates
            if estimate is not None
            for value in (estimate.mean, estimate.low, estimate.high)
            if value is not None
        ),
        include=() if chart.baseline is None else (chart.baseline,),
    )


def sweep_points(line: SweepLine) -> list[tuple[float, float | None, float | None] | None]:
    """A line's means and intervals as the chart takes them."""
    return [None if e is None or e.mean is None else (e.mean, e.low, e.high) for e in line.estimates]
