"""`muster report`: one HTML file on a stored run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        list[str] | None, typer.Option(help="A run, or a unique beginning of one; further ones give its history.")
    ] = None,
    samples: Annotated[
        str, typer.Option(help="Which samples the file holds: flipped, failing, all, or how many.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("muster-report.html"),
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Write a report on the latest run, or on the first one named: one HTML file that opens without a network."""
    from harness.store import Home, Store
    from reports.render import write_report

    with Store.open(Home(home), read_only=True) as store:
        path = write_report(store, run or ["latest"], out, samples=samples)
    size = path.stat().st_size / 1e6
    typer.echo(f"{path} ({size:.1f} MB): open it in a browser")
