"""`muster env`: what this machine runs with; the first thing to paste into a bug report."""

from __future__ import annotations


def env() -> None:
    """Show versions, device and where the embedded models come from."""
    from rich.console import Console
    from rich.table import Table

    from harness.running.environment import describe_environment

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in describe_environment().items():
        table.add_row(name, str(value))
    Console(markup=False, emoji=False).print(table)
