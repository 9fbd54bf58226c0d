"""`muster runs`: the runs in the store, the newest first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def runs(
    suite: Annotated[str | None, typer.Option(help="Only the runs of this suite.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """List the runs in the store, the newest first, with their verdicts."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.deciding.surfaces.text import printable
    from harness.store import Home, Store

    console = Console(highlight=False, markup=False, emoji=False)
    with Store.open(Home(home), read_only=True) as store:
        found = [run for run in store.runs() if suite is None or run.suite == suite]
        verdicts = {run.id: store.verdicts(run.id) for run in found}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("run", "suite", "started (UTC)", "status"):
        table.add_column(name, overflow="fold", no_wrap=name == "run")  # an id in two pieces cannot be copied
    table.add_column("seconds", justify="right")
    for name in ("candidates", "verdicts"):
        table.add_column(name, overflow="fold")
    for run in found:
        outcomes = ", ".join(f"{verdict.candidate} {verdict.outcome}" for verdict in verdicts[run.id])
        suite_version, started = f"{run.suite} v{run.suite_version}", run.started[:19].replace("T", " ")
        cells = (
            run.id,
            suite_version,
            started,
            run.status,
            f"{run.seconds:,.0f}",
            ", ".join(run.candidates),
            outcomes or "–",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if found:
        console.print(table)
    else:
        console.print("no runs" if suite is None else f"no runs of {suite}", markup=False)
