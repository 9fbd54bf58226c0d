"""Which checkpoint is kept, and when to stop: decided by the figures of evaluations alone.

Two checkpoints are compared on what both have a score for, so an answer that one of them could not be judged by decides
nothing; a checkpoint without scores is never better. Knows neither torch nor files nor judges: a training is handed a
`Validation`, whose `examine` whoever knows judges has made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.records import Direction, Generator, Metric
from harness.suite.grammar import LOSS, TrainSpec

if TYPE_CHECKING:
    from harness.training.recipe import TrainingRow

Scores = Mapping[str, float]
"""What a checkpoint got, by sample id; of the loss a single figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the checkpoints of a training are evaluated with."""

    rows: tuple[TrainingRow, ...]
    """Of the validation split, for the loss; none where the objective has no loss on them."""
    questions: str
    """Hash of what is asked and how, and of what judges may look at: prompts, decoding, inputs, references, contexts."""
    samples: int
    """How many samples are answered and judged."""
    metrics: Mapping[str, Metric]
    """The judges' scales, by name; empty where only the loss is taken."""
    fingerprints: Mapping[str, str]
    """Of each judge."""
    examine: Callable[[Generator], Mapping[str, Scores]]
    """Lets a model answer and tells each judge's scores; answers without a score are left out."""

    def direction(self, name: str) -> Direction:
        """Which end of a judge's scale, or of the loss, is good."""
        return "lower" if name == LOSS else self.metrics[name].direction


def selection_of(spec: TrainSpec, validation: Validation | None) -> dict[str, Any] | None:
    """What of an evaluation decides the tensors, as plain JSON for the key; None where the last checkpoint is kept.

    Raises ValueError for a recipe that selects without something to validate it with.
    """
    if spec.selects_by is None:
        return None
    if validation is None:
        raise ValueError("a training that selects its checkpoint needs a validation")
    stopping = spec.early_stopping
    deciding = {spec.selects_by, spec.stops_by} - {None}
    judges = {name: validation.fingerprints[name] for name in deciding if name != LOSS and name is not None}
    return {
        "every": spec.evaluate_every,
        "select": spec.selects_by,
        "stop": [spec.stops_by, stopping.patience, stopping.min_delta] if stopping is not None else None,
        "judges": judges,
        "questions": validation.questions if judges else None,
        "loss": [row.content for row in validation.rows] if LOSS in deciding else None,
    }


@dataclass(kw_only=True)
class Best:
    """The best checkpoint so far by one metric, and for how many evaluations nothing was better."""

    metric: str
    direction: Direction
    min_delta: float = 0.0
    step: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    waited: int = 0
    """Evaluations since `step`."""

    def offer(self, step: int, scores: Scores) -> bool:
        """Take a checkpoint where it is better by more than `min_delta`; whether it was taken."""
        if scores and (not self.scores or self._gain(scores) > self.min_delta):
            self.step, self.scores, self.waited = step, dict(scores), 0
            return True
        self.waited += 1
        return False

    def _gain(self, scores: Scores) -> float:
        common = [name for name in scores if name in self.scores]
        if not common:
            return -math.inf
        change = math.fsum(scores[name] - self.scores[name] for name in common) / len(common)
        return change if self.direction == "higher" else -change

    @property
    def mean(self) -> float | None:
        """The mean of what the best checkpoint got; None where there is none."""
        return mean(self.scores)


def mean(scores: Scores) -> float | None:
    """The mean score; None where there is none."""
    return math.fsum(scores.values()) / len(scores) if scores else None
