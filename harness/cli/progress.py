"""Progress for people: bars with rate and remaining time on a terminal, plain lines elsewhere (CI, a pipe, NO_COLOR)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from harness.records import Progress

PLAIN_SECONDS = 20.0
"""A plain log gets a line at most this often."""


def is_plain(console: Console) -> bool:
    """Whether bars would only clutter: no terminal, `CI` set, or `NO_COLOR` set."""
    return not console.is_terminal or bool(os.environ.get("CI")) or "NO_COLOR" in os.environ


class ProgressStages:
    """One bar or line a stage. `quiet` shows neither, for machine-readable output."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet

    @contextmanager
    def stage(self, name: str, total: int, *, done: int = 0) -> Iterator[Progress]:
        """Opens a stage of `total` items of which `done` are there already; yields the function that counts further ones."""
        if self._quiet:
            yield lambda count: None
        elif done >= total:
            yield lambda count: None
            self._console.print(f"  {name:<28} {total:>6} cached", style="dim", highlight=False)
        elif is_plain(self._console):
            with self._lines(name, total, done) as advance:
                yield advance
        else:
            with self._bar(name, total, done) as advance:
                yield advance

    @contextmanager
    def _lines(self, name: str, total: int, done: int) -> Iterator[Progress]:
        start = last = time.monotonic()
        count = done

        def advance(step: int) -> None:
            nonlocal count, last
            count += step
            now = time.monotonic()
            if now - last >= PLAIN_SECONDS and count < total:
                last = now
                left = (now - start) / max(count - done, 1) * (total - count)
                self._console.print(f"  {name:<28} {count:>6}/{total}  {clock(left)} left", highlight=False)

        yield advance
        seconds = time.monotonic() - start
        self._console.print(f"  {name:<28} {count:>6}  {_summary(count - done, seconds)}", highlight=False)

    @contextmanager
    def _bar(self, name: str, total: int, done: int) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("  {task.description:<28}", markup=False), BarColumn(bar_width=28), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True),
        )  # fmt: skip
        start = time.monotonic()
        count = done
        with Bars(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(name, total=total, completed=done, rate="")

            def advance(step: int) -> None:
                nonlocal count
                count += step
                rate = (count - done) / max(time.monotonic() - start, 1e-9)
                bars.update(task, advance=step, rate=f"{rate:.1f}/s")

            yield advance
        seconds = time.monotonic() - start
        self._console.print(f"  {name:<28} {count:>6}  {_summary(count - done, seconds)}", highlight=False)


def _summary(count: int, seconds: float) -> str:
    return f"in {clock(seconds)}, {count / max(seconds, 1e-9):.1f}/s"


def clock(seconds: float) -> str:
    """A span of time as people say it: `1.2 s`, `45 s`, `3:05 min`, `2:10 h`."""
    if seconds >= 6000:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours}:{minutes:02d} h"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
