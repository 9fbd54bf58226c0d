"""The journal of a run in progress: JSON lines that survive `kill -9` at any moment.

A batch is one write, flushed to the operating system; a line counts once its newline is there. Whatever was torn off by
a kill is dropped when read, and cut off before the next line is written. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import StoreError


class Spool:
    """Rows appended to one file. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_whole = False

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds rows at the end. What JSON cannot hold (NaN too) raises ValueError or TypeError; nothing is written."""
        data = "".join(json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n" for row in rows).encode("ascii")
        if not data:
            return
        self._cut_torn_line()
        with self.path.open("ab") as file:
            file.write(data)

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows, in order; none where there is no file. Raises StoreError for a line that no kill explains."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn, or empty
        return [self._row(number, line) for number, line in enumerate(lines, start=1)]

    def remove(self) -> None:
        """Deletes the file, if there is one."""
        self.path.unlink(missing_ok=True)

    def _row(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise StoreError(f"{self.path}:{number}: is damaged. Delete the file: what it holds will be done again.")
        return row

    def _cut_torn_line(self) -> None:
        """Once a spool: cuts off what follows the last newline, so that the next row starts a line of its own."""
        if not self._is_whole and self.path.exists():
            data = self.path.read_bytes()
            if not data.endswith(b"\n"):
                with self.path.open("r+b") as file:
                    file.truncate(data.rfind(b"\n") + 1)
        self._is_whole = True
