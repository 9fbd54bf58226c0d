"""What all stages of a run share: how progress is shown, and how a model that breaks down is survived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from harness.errors import ModelError
from harness.records import Failure, Progress

T = TypeVar("T")


class Stages(Protocol):
    """Where progress is shown: one bar or line a stage."""

    def stage(self, name: str, total: int, *, done: int = 0) -> AbstractContextManager[Progress]:
        """Opens a stage of `total` items of which `done` are there already."""
        ...


def completed(
    batches: Iterator[list[tuple[int, T]]], count: int, failed: Callable[[Failure], T]
) -> Iterator[list[tuple[int, T]]]:
    """The batches of a model; where it breaks down, each of the `count` items still open gets the reason."""
    missing = set(range(count))
    try:
        for batch in batches:
            missing.difference_update(index for index, _ in batch)
            yield batch
    except ModelError as error:
        failure = Failure(kind="model_failed", message=str(error))
        yield [(index, failed(failure)) for index in sorted(missing)]
