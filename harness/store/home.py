"""Where muster keeps its state: one folder with the store, a bundle a run, and the adapters. Made when first written
to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError


@dataclass(frozen=True, slots=True)
class Home:
    """The folder behind `--home`. Asking for a subfolder makes it; asking for the store's path makes nothing."""

    path: Path

    @property
    def store(self) -> Path:
        """The DuckDB file."""
        return self.path / "store.duckdb"

    @property
    def runs(self) -> Path:
        """The folder with one bundle a run."""
        return self._made("runs")

    @property
    def adapters(self) -> Path:
        """The folder with one adapter a training."""
        return self._made("adapters")

    @property
    def lessons(self) -> Path:
        """The folder with what teachers answered to training rows, and what judges said of it."""
        return self._made("lessons")

    @property
    def forecasts(self) -> Path:
        """The folder with what was found of trainings before they began."""
        return self._made("forecasts")

    @property
    def calibrations(self) -> Path:
        """The folder with one calibration card a file."""
        return self._made("calibrations")

    @property
    def reviews(self) -> Path:
        """The folder with the keys of blind sheets."""
        return self._made("reviews")

    def run_dir(self, run_id: str) -> Path:
        """The folder of one run. Raises UserError for an id that is no plain folder name."""
        if run_id in ("", ".", "..") or any(mark in run_id for mark in "/\\\0:"):
            raise UserError(f"'run' must be a plain name, without / \\ and : (got {run_id!r}).")
        return self._made("runs", run_id)

    def keeps(self, path: Path) -> bool:
        """Whether a path, absolute, is the store or lies in one of the folders above, whose files nothing else may write."""
        within = ("runs", "adapters", "lessons", "forecasts", "calibrations", "reviews")
        root = self.path.resolve()
        is_store = path.parent == root and path.name.startswith(self.store.name)
        return is_store or any(path.is_relative_to(root / name) for name in within)

    def make(self) -> None:
        """Makes the folder, with a .gitignore that keeps it out of version control. Raises UserError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"'--home' must be a folder that can be written to (got {self.path}: {reason}).") from None

    def _made(self, *parts: str) -> Path:
        self.make()
        folder = self.path.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
