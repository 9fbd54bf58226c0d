"""`muster compare A B`: paired differences of two candidates, and the samples that changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.deciding.sides import Side
    from harness.records import Run
    from harness.store import Store

PAGE_CONFIDENCE = 0.95
"""Of all intervals of a page."""


def compare(
    a: Annotated[str, typer.Argument(help="A candidate of the latest run, RUN:CANDIDATE, or a run.")],
    b: Annotated[str, typer.Argument(help="What it is compared with: the same choices.")],
    run: Annotated[str, typer.Option(help="The run whose candidates are meant.")] = "latest",
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric; repeatable.")] = None,
    flips: Annotated[int, typer.Option(min=0, help="Show so many changed samples of each metric.")] = 5,
    slices: Annotated[int, typer.Option(min=0, help="Show so many slices of each metric, by what they do to it.")] = 5,
    confidence: Annotated[float, typer.Option(help="Of the two-sided intervals.")] = 0.95,
    html: Annotated[
        Path | None, typer.Option(help="Write the comparison as a page too, with both answers of what changed.")
    ] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Compare two candidates sample by sample: differences with intervals, and the samples that changed most."""
    from rich.console import Console

    from harness.errors import UserError
    from harness.store import Home, Store

    if not 0.5 < confidence < 1:
        raise UserError(f"'--confidence' must be between 0.5 and 1 (got {confidence}). Use 0.95.")
    if html is not None and confidence != PAGE_CONFIDENCE:
        raise UserError(f"'--confidence' must be {PAGE_CONFIDENCE} beside '--html' (got {confidence}). Leave one out.")
    console = Console(markup=False, emoji=False)
    with Store.open(Home(home), read_only=True) as store:
        found = pairs(store, a, b, store.run(run))
        if html is not None and len(found) > 1:
            names = ", ".join(first.candidate for first, _ in found)
            raise UserError(f"'--html' is about two candidates (the runs share {names}). Name RUN:CANDIDATE twice.")
        for first, second in found:
            show_pair(
                store, first, second, metric or [], flips=flips, slices=slices, confidence=confidence, console=console
            )
        if html is not None:
            from reports.comparing import write_comparison

            path = write_comparison(store, *found[0], html, metrics=metric or [])
            typer.echo(f"{path}: open it in a browser")


def pairs(store: Store, a: str, b: str, run: Run) -> list[tuple[Side, Side]]:
    """What to compare: two candidates, or every candidate that two runs share.

    Raises:
        UserError: If a name stands for nothing, both for the same, or two runs share no candidate.
    """
    from harness.deciding.sides import Side, find_run, find_side
    from harness.errors import UserError

    if is_candidate(a, run) or is_candidate(b, run):
        known = find_side(store, a if is_candidate(a, run) else b, run)
        first, second = (find_side(store, name, run, like=known.candidate) for name in (a, b))
        if first == second:
            raise UserError(f"'A' and 'B' must be two candidates (got {first.label} twice). Name another.")
        return [(first, second)]
    ours, theirs = find_run(store, a, run), find_run(store, b, run)
    if ours.id == theirs.id:
        raise UserError(f"'A' and 'B' must be two runs (got {ours.id} twice). Name two, or two candidates of it.")
    shared = [name for name in ours.candidates if name in theirs.candidates]
    if not shared:
        raise UserError(f"runs {ours.id} and {theirs.id} must share a candidate (got none). Name RUN:CANDIDATE twice.")
    return [(Side(run=ours, candidate=name), Side(run=theirs, candidate=name)) for name in shared]


def is_candidate(name: str, run: Run) -> bool:
    """Whether the name is a candidate, rather than a whole run."""
    return name in run.candidates or ":" in name


def show_pair(
    store: Store,
    first: Side,
    second: Side,
    wanted: list[str],
    *,
    flips: int,
    slices: int,
    confidence: float,
    console: Console,
) -> None:
    """Prints one comparison.

    Raises:
        UserError: If a wanted metric was not judged by the same judge on both sides, or no metric was.
    """
    from harness.deciding import comparison
    from harness.deciding.preferences import run_preferences
    from harness.deciding.sides import scores_of_both, shared_metrics, wanted_metrics
    from harness.deciding.slices import slice_differences
    from harness.deciding.surfaces import comparison_table, duel_sentence, flip_table, slice_table
    from harness.deciding.wording import multiplicity_sentence

    metrics, changed = wanted_metrics(first.run, second.run, wanted), shared_metrics(first.run, second.run)[1]
    scores, candidate, baseline = scores_of_both(store, first, second)
    preferred = run_preferences(store, first.run) if first.run.id == second.run.id else []
    for split, here in scores.splits.items():
        judged = [metric for metric in metrics if metric.name in here.metrics]
        found = [comparison.compare(scores, m, candidate, baseline, split, confidence) for m in judged]
        console.print(comparison_table(found, judged))
        for one in preferred:
            duel = one.duels.get((first.candidate, second.candidate))
            if duel is not None and one.split == split and one.metric in {metric.name for metric in judged}:
                sentence = duel_sentence(duel, first.candidate, second.candidate)
                console.print(f"{one.metric}: {sentence}", markup=False, highlight=False)
        parts = slice_differences(scores, judged, [candidate], baseline, [split], confidence) if slices else []
        for metric, whole in zip(judged, found, strict=True):
            if any(one.comparison.metric == metric.name and one.contribution is not None for one in parts):
                console.print(slice_table(parts, whole, metric, slices))
        if parts:
            console.print(multiplicity_sentence(parts, confidence), style="dim", highlight=False)
        for metric in judged if flips else []:
            changes = comparison.flips(scores, metric, candidate, baseline, split, limit=flips)
            if changes:
                console.print(flip_table(changes, metric))
    for metric in metrics:
        if mixed := scores.mixed_modes(metric.name, (candidate, baseline)):
            console.print(f"not compared, for the modes differ: {metric.name} ({mixed})", style="yellow", markup=False)
    if changed:
        console.print(f"not compared, for the judges differ: {', '.join(changed)}", style="yellow", markup=False)
    if first.run.data_sha != second.run.data_sha:
        console.print("note: the runs read different data; samples are paired by id", style="yellow")
