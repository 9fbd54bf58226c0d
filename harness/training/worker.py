"""One of the processes that `launch` starts: `python -m harness.training.worker FOLDER`, with a job in the folder."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harness.errors import ModelError, TrainingError, UserError
from harness.models.local import LocalModel
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import processes
from harness.training.audit import TokenPair, TokenRow
from harness.training.events import EventLog
from harness.training.launch import Teller
from harness.training.loop import Ledger, Listens, stopped_by_machine
from harness.training.preference import fit_preferences
from harness.training.sft import fit_supervised


def main(room: Path) -> int:
    """Do this process's part of the job; the exit status. Whatever stops it is told first."""
    teller = Teller(room, speaks=processes.writes)
    try:
        job = json.loads((room / "job.json").read_text(encoding="utf-8"))
        spec = TrainSpec.model_validate(job["spec"])
        with stopped_by_machine(spec):
            ledger, ran = _fit(job, spec, teller)
    except (UserError, TrainingError, ModelError) as error:
        kind = next(kind for kind in (UserError, TrainingError, ModelError) if isinstance(error, kind))
        teller.tell({"error": kind.__name__, "message": str(error)})
        return 1
    if processes.writes():
        teller.tell({"ledger": asdict(ledger), "record": ran})
    return 0


def _fit(job: dict[str, Any], spec: TrainSpec, teller: Teller) -> tuple[Ledger, dict[str, Any]]:
    def listen(log: Sequence[Mapping[str, float]]) -> Listens | None:
        return EventLog(Path(job["events"]), log) if job["events"] and processes.rank() == 0 else None

    base, folder = TransformersModel.model_validate(job["base"]), Path(job["folder"])
    template = Path(job["template"]) if job["template"] else None
    given: dict[str, Any] = {
        "seed": job["seed"],
        "folder": folder,
        "base": base,
        "tokenizer": LocalModel(folder, name=base.path, chat_template=template).tokenizer,
        "partial": Path(job["partial"]),
        "progress": teller.progress,
        "notice": teller.notice,
        "listen": listen,
    }
    rows: list[dict[str, Any]] = [
        {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()} for row in job["rows"]
    ]
    if spec.objective == "dpo":
        return fit_preferences(spec, rows=[TokenPair(**row) for row in rows], **given)
    return fit_supervised(spec, rows=[TokenRow(**row) for row in rows], batching=job["batching"], **given)


def end_with_parent(pipe: int) -> None:
    """End this process as soon as the one that holds the other end of the pipe is gone."""

    def wait() -> None:
        os.read(pipe, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_parent(sys.stdin.fileno())
    try:
        status = main(Path(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        status = 1
    if torch.distributed.is_initialized() and not status:
        torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # at once: the others may wait for this one for ever
