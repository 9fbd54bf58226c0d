"""The log of a training as TensorBoard event files: one rising series in one folder, however often it was taken up again.

What is written is the ledger's log and nothing else, so an attempt that goes on from a checkpoint begins the folder anew
with what the checkpoint holds: no step stands twice.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UserError


def require_tensorboard() -> None:
    """Raise UserError where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "'tensorboard' must be installed to write event files (it is not). "
            "Install it with: pip install 'muster-harness[tensorboard]', or leave the option out."
        )


def events_folder(home: Path, candidate: str, key: str) -> Path:
    """Where the event files of a training lie: a folder of its own, so that trainings stand side by side."""
    name = re.sub(r"[^\w.,=\[\]-]", "_", candidate)
    return home / "tensorboard" / f"{name}-{key[:12]}"


class EventLog:
    """Event files in a folder, begun with what is known and added to while the training goes on."""

    def __init__(self, folder: Path, known: Sequence[Mapping[str, float]] = ()) -> None:
        """Empties the folder and writes the known entries."""
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder), flush_secs=10)
        for entry in known:
            self.add(entry)

    def add(self, entry: Mapping[str, float]) -> None:
        """Write an entry of the log: each figure at its step, by what it is of."""
        step = int(entry["step"])
        for name, value in entry.items():
            if name != "step":
                part, _, figure = name.partition("_")
                tag = f"{part}/{figure}" if part in ("validation", "unscored") else f"train/{name}"
                self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and let go of the files."""
        self._writer.close()
