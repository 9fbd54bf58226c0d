"""Starts the processes of a training that has a `launcher`, and is to the caller what the training itself would be.

The parent has audited the rows and holds the lock; the processes get a job as one JSON file, and tell it in lines of
another what happens. They end with the parent, however it ends: each waits for the end of a pipe that only the parent
holds open.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from harness.errors import ModelError, TrainingError, UserError
from harness.records import Progress
from harness.suite.grammar import Launcher, TrainSpec, TransformersModel
from harness.training.audit import TokenPair, TokenRow
from harness.training.loop import Ledger, Notice
from harness.training.planning import device_of_machine

EVENTS = "events.jsonl"
OUTPUT = "output.txt"
ERRORS: Mapping[str, type[UserError | TrainingError | ModelError]] = {
    kind.__name__: kind for kind in (UserError, TrainingError, ModelError)
}
LOST = re.compile(r"exitcode\s*:\s*-(\d+)")
SECONDS = 0.1
"""Between two looks at what the processes say."""


def refuse_unlaunchable(launcher: Launcher) -> None:
    """Raise UserError where this machine cannot run the processes asked for."""
    if launcher.strategy != "ddp" and device_of_machine() == "cpu":
        raise UserError(
            f"'launcher.strategy' must be ddp on a machine without a GPU (got {launcher.strategy!r}). Leave it out."
        )
    if launcher.strategy == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            "'launcher.strategy' deepspeed must have the package deepspeed (not installed). Install it with: "
            "pip install deepspeed. Or use strategy: fsdp."
        )
    cards = torch.cuda.device_count()
    if launcher.config is None and 0 < cards < launcher.processes:
        raise UserError(
            f"'launcher.processes' must be at most the GPUs of this machine (got {launcher.processes}; it has {cards}). "
            "For several machines name a 'config' that `accelerate config` wrote."
        )


def fit_in_processes(
    spec: TrainSpec,
    *,
    seed: int,
    folder: Path,
    base: TransformersModel,
    template: Path | None,
    config: Path | None,
    events: Path | None,
    rows: Sequence[TokenRow] | Sequence[TokenPair],
    partial: Path,
    batching: str | None = None,
    progress: Progress,
    notice: Notice,
) -> tuple[Ledger, dict[str, Any]]:
    """What `sft.fit_supervised` or `preference.fit_preferences` does, in the processes of the recipe's launcher.

    Args:
        spec: a recipe with a launcher; `seed`, `folder`, `base`, `rows`, `partial`, `batching`, `progress`
            and `notice` as for `fit_supervised`.
        seed: see `spec`.
        folder: see `spec`.
        base: see `spec`.
        template: a file with another chat template for the tokenizer.
        config: the launcher's configuration file.
        events: where TensorBoard's event files go; None for nowhere.
        rows: see `spec`.
        partial: see `spec`.
        batching: see `spec`.
        progress: see `spec`.
        notice: see `spec`.

    Raises:
        TrainingError: a process stopped, with the reason it gave, or was lost.
        UserError: what a process refused; ModelError likewise.
    """
    assert spec.launcher is not None
    room = partial / "launch"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    job = {
        "spec": spec.model_dump(mode="json"),
        "seed": seed,
        "folder": str(folder),
        "base": base.model_dump(mode="json"),
        "template": str(template) if template else None,
        "events": str(events) if events else None,
        "rows": [asdict(row) for row in rows],
        "partial": str(partial),
        "batching": batching,
    }
    (room / "job.json").write_text(json.dumps(job), encoding="utf-8")
    with (room / OUTPUT).open("wb") as output, _started(_command(spec.launcher, config, room), output) as process:
        for event in _events(room / EVENTS, process):
            match event:
                case {"progress": steps}:
                    progress(steps)
                case {"notice": line}:
                    notice(line)
                case {"error": kind, "message": message}:
                    raise ERRORS[kind](message)
                case {"ledger": ledger, "record": record}:
                    shutil.rmtree(room)
                    return Ledger(**ledger), record
    raise TrainingError(_lost(room / OUTPUT, process.returncode))


def _command(launcher: Launcher, config: Path | None, room: Path) -> list[str]:
    """`accelerate launch` where there are GPUs; on CPUs what it would call if it knew several processes there."""
    worker = ["harness.training.worker", str(room)]
    if device_of_machine() == "cpu":
        run = ["torch.distributed.run", "--standalone", f"--nproc-per-node={launcher.processes}"]
        return [sys.executable, "-m", *run, "--module", *worker]
    strategy = {
        "ddp": ["--multi_gpu"] if launcher.processes > 1 else [],
        "fsdp": ["--use_fsdp", "--fsdp_state_dict_type=FULL_STATE_DICT"],
        "deepspeed": ["--use_deepspeed"],
    }[launcher.strategy]
    file = [f"--config_file={config}"] if config else []
    options = [*file, *strategy, f"--num_processes={launcher.processes}", "--mixed_precision=no"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, "--module", *worker]


@contextlib.contextmanager
def _started(command: Sequence[str], output: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The running command, in a process group of its own that does not outlive the block."""
    paths = [path for path in (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")) if path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # held open, never written to: its end tells the processes that this one is gone
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _events(path: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """What the processes say, as they say it, until they have ended and everything is read."""
    read = 0
    while True:
        ended = process.poll() is not None
        if path.exists():
            with path.open("rb") as file:
                file.seek(read)
                whole = file.read()
            whole = whole[: whole.rfind(b"\n") + 1]
            read += len(whole)
            yield from map(json.loads, whole.splitlines())
        if ended:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)


def _lost(output: Path, status: int | None) -> str:
    """One line on processes that ended without a word."""
    others, _, cause = output.read_text(encoding="utf-8", errors="replace").rpartition("Root Cause")
    # Of torch's summary, which names a process that lost its neighbour as the cause where both ended between two looks.
    signals = LOST.findall(cause) + LOST.findall(others.rpartition("Failures:")[2])
    how = f"was ended by signal {signals[0]}" if signals else f"ended with status {status}"
    hint = ", as the system does where memory runs out" if signals and signals[0] == "9" else ""
    return f"a process of the training {how}{hint}. Its output is in {output}; run again to go on from the last checkpoint."


class Teller:
    """Appends events to the file that the parent reads; one line is one write, so that processes do not mix."""

    def __init__(self, room: Path, *, speaks: Callable[[], bool]) -> None:
        self.path = room / EVENTS
        self.speaks = speaks

    def progress(self, steps: int) -> None:
        """Steps that are done."""
        if self.speaks():
            self.tell({"progress": steps})

    def notice(self, line: str) -> None:
        """A line for the user."""
        if self.speaks():
            self.tell({"notice": line})

    def tell(self, event: Mapping[str, Any]) -> None:
        """Any event, whoever tells it."""
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")
