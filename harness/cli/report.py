"""`muster report`: one HTML file on a stored run; `muster report verify`: such a file against the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SHOWN = 20
"""Mismatches that are printed one by one."""


def report(
    run: Annotated[
        list[str] | None, typer.Option(help="A run, or a unique beginning of one; further ones give its history.")
    ] = None,
    samples: Annotated[
        str, typer.Option(help="Which samples the file holds: flipped, failing, all, or how many.")
    ] = "all",
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="A blessed baseline's file, whose runs are marked in the history; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("muster-report.html"),
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Write a report on the latest run, or on the first one named: one HTML file that opens without a network."""
    from harness.deciding.baseline import read_baseline
    from harness.store import Home, Store
    from reports.render import write_report

    known = [read_baseline(Path(file)) for file in baseline or []]
    blessed = {(act.run, act.candidate): one.name for one in known for act in reversed(one.blessings)}
    with Store.open(Home(home), read_only=True) as store:
        path = write_report(store, run or ["latest"], out, samples=samples, blessed=blessed)
    size = path.stat().st_size / 1e6
    typer.echo(f"{path} ({size:.1f} MB): open it in a browser")


def verify(
    file: Annotated[Path, typer.Argument(help="A report that muster wrote.")],
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> int:
    """Recompute every number of a report from the store: exit status 0 where all agree, 1 where any does not."""
    from harness.store import Home, Store
    from reports.verify import verify_report

    with Store.open(Home(home), read_only=True) as store:
        found = verify_report(store, file)
    for mismatch in found.mismatches[:SHOWN]:
        typer.echo(str(mismatch))
    if len(found.mismatches) > SHOWN:
        typer.echo(f"and {len(found.mismatches) - SHOWN:,} more")
    if found.undecided:
        typer.echo(f"note: held against the stored verdict alone, not decided again: {', '.join(found.undecided)}")
    runs = f"run{'' if len(found.runs) == 1 else 's'} {', '.join(found.runs)}"
    if found.mismatches and found.rated:
        again = "muster report" + "".join(f" --run {run}" for run in found.runs)
        typer.echo(f"note: people have rated answers; if they did so after the page was made, make it again: {again}")
    if found.mismatches:
        count = len(found.mismatches)
        typer.echo(
            f"{file}: {count:,} place{'' if count == 1 else 's'} disagree{'s' if count == 1 else ''} with {runs}"
        )
        return 1
    typer.echo(f"{file}: all {found.numbers:,} numbers agree with {runs}")
    return 0
