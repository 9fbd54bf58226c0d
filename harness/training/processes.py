"""One training in several processes: what each of them must agree on, and how the rows of a step are divided.

Everything here is the plain thing where one process trains. A step's rows and their order are those of one process: each
step's rows are dealt out batch by batch, and an epoch that does not come out even is filled with rows that train nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from harness.suite.grammar import TrainSpec
from harness.training.checkpoints import step_of

T = TypeVar("T")


def join(device: str) -> None:
    """Meet the other processes, where a launcher started this one as one of several."""
    if "RANK" in os.environ:
        PartialState(cpu=device == "cpu")


def world() -> int:
    """Processes that train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def local_rank() -> int:
    """Which of those on this machine, from 0: the GPU that is this process's own."""
    return int(os.environ.get("LOCAL_RANK", 0)) if world() > 1 else 0


def writes() -> bool:
    """Whether this process writes files: the first on its machine, for every machine has a home of its own."""
    return local_rank() == 0


def everywhere(value: T) -> list[T]:
    """The value of every process, in the order of their ranks."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    torch.distributed.all_gather_object(values, value)
    return values


def meet() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        torch.distributed.barrier()


def agreed_checkpoint(checkpoints: Path, newest: Callable[[], Path | None]) -> Path | None:
    """The newest checkpoint that every machine has; what is newer on this one is removed.

    Args:
        checkpoints: their folder on this machine.
        newest: finds the newest complete one in it.
    """
    if world() == 1:
        return newest()
    found = newest() if writes() else None
    mine = (step_of(found) if found is not None else 0) if writes() else None
    step = min(step for step in everywhere(mine) if step is not None)
    if writes():
        for folder in checkpoints.glob("checkpoint-*"):
            if step_of(folder) > step:
                shutil.rmtree(folder)
    meet()
    return checkpoints / f"checkpoint-{step}" if step else None


def share(spec: TrainSpec) -> tuple[int, int]:
    """Rows in a forward pass of one process, and its passes in a step: together, those of the recipe."""
    processes = spec.launcher.processes if spec.launcher is not None else 1
    if spec.gradient_accumulation % processes == 0:
        return spec.batch_size, spec.gradient_accumulation // processes
    return spec.batch_size // processes, spec.gradient_accumulation


class EvenSampler(Sampler[int]):
    """The order in which one process would take the rows, filled up at the end of an epoch so that all get as many.

    Args:
        rows: rows that are trained; the filling has their number as its index.
        multiple: rows that all processes take together.
        seed: of the first epoch; later ones add their number.
        epoch: tells the epoch that begins.
    """

    def __init__(self, rows: int, *, multiple: int, seed: int, epoch: Callable[[], int]) -> None:
        self.rows = rows
        self.filling = -rows % multiple
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows + self.filling

    def __iter__(self) -> Iterator[int]:
        order = SeedableRandomSampler(range(self.rows), data_seed=self.seed)
        order.set_epoch(self.epoch())
        yield from order
        yield from [self.rows] * self.filling
