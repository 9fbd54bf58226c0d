"""`muster store doctor|rebuild`: what is wrong with the result store, and making it anew from the run bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    drop_wal: Annotated[
        bool, typer.Option("--drop-wal", help="Take a damaged write-ahead log away, after a backup of both files.")
    ] = False,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Look the store and its bundles over. Changes nothing without --drop-wal.

    Exit status: 0 nothing has to be mended, 2 something has, 4 another process holds the store.
    """
    from rich.console import Console

    from harness.store import Home, drop_log
    from harness.store import doctor as examine

    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if drop_wal:
        backup = drop_log(Home(home))
        if backup is None:
            console.print(f"{Home(home).store}: its write-ahead log is not damaged; nothing was dropped")
        else:
            console.print(
                f"{Home(home).store}: is as it was at its last checkpoint; {backup} and its .wal are the backup"
            )
    ailments = examine(Home(home))
    for ailment in ailments:
        console.print(f"{ailment.severity} {ailment.kind}: {ailment.message}")
    if not ailments:
        console.print(f"{Home(home).store}: all is well")
    if any(ailment.severity == "error" for ailment in ailments):
        raise typer.Exit(2)
    if any(ailment.kind == "store_locked" for ailment in ailments):
        raise typer.Exit(4)


def rebuild(
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Make the store anew from the run bundles; runs that only the store has get a bundle first."""
    from rich.console import Console

    from harness.store import Home
    from harness.store import rebuild as make_anew

    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    made = make_anew(Home(home))
    word = "bundle" if len(made.runs) == 1 else "bundles"
    console.print(f"{Home(home).store}: made anew from {len(made.runs)} run {word}")
    for run_id in made.bundled:
        console.print(f"  {run_id}: had no bundle; written from the old store")
    if made.kept is not None:
        console.print(f"  the old store could not be read; it lies in {made.kept}")
