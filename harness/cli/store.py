"""`muster store doctor|rebuild`: what is wrong with the result store, and making it anew from the run bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Look the store and its bundles over. Changes nothing; status 2 where something has to be mended."""
    from rich.console import Console

    from harness.store import Home
    from harness.store import doctor as examine

    console = Console(highlight=False)
    ailments = examine(Home(home))
    for ailment in ailments:
        console.print(
            f"{ailment.severity} {ailment.kind}: {ailment.subject}: {ailment.message}", markup=False, soft_wrap=True
        )
        if ailment.remedy:
            console.print(f"  {ailment.remedy}", markup=False, soft_wrap=True)
    if not ailments:
        console.print(f"{Home(home).store}: all is well", markup=False, soft_wrap=True)
    if any(ailment.severity == "error" for ailment in ailments):
        raise typer.Exit(2)


def rebuild(
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Make the store anew from the run bundles; runs that only the store has get a bundle first."""
    from rich.console import Console

    from harness.store import Home
    from harness.store import rebuild as make_anew

    console = Console(highlight=False)
    made = make_anew(Home(home))
    word = "bundle" if len(made.runs) == 1 else "bundles"
    console.print(f"{Home(home).store}: made anew from {len(made.runs)} run {word}", markup=False, soft_wrap=True)
    for run_id in made.bundled:
        console.print(f"  {run_id}: had no bundle; written from the old store", markup=False, soft_wrap=True)
    if made.kept is not None:
        console.print(f"  the old store could not be read; it lies in {made.kept}", markup=False, soft_wrap=True)
