"""`muster export RUN --to DIR`: everything of a run as Parquet files under plain names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")],
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Write runs, samples, answers, judgements, trainings and verdicts of a run as Parquet files."""
    from rich.console import Console

    from harness.store import Home, Store
    from harness.store.bundle import export_tables

    with Store.open(Home(home), read_only=True) as store:
        found = store.run(run)
        tables = store.tables(found.id)
    files = export_tables(to, tables)
    console = Console(highlight=False, markup=False, emoji=False)
    for name, path in files.items():
        console.print(f"{tables[name].num_rows:>9,} {name:<11} {path}", markup=False, soft_wrap=True)
