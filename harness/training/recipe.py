"""What decides a training: the rows, the recipe, and the key that both share with base weights and library versions.

Guarantees: two trainings with equal keys give equal adapter tensors on one machine; whatever cannot change a tensor
(where checkpoints are saved, how often is logged, what candidates are called) is left out of the key. Knows neither
torch nor files: `muster check` may import it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from harness.errors import UserError
from harness.records import Message, Prompt, Sample, fingerprint
from harness.suite.grammar import EVALUATION, TrainSpec
from harness.training.selection import Validation, selection_of

TRAINER_VERSION = 2
"""Raised when a change of this package changes the tensors that a recipe gives."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers")
UNKEYED = (
    "base", "split", "teacher", "keep", "keep_share", "allow", "seed", "save_steps", "logging_steps", "tensorboard",
    "evaluate_every", *EVALUATION,
)  # fmt: skip
"""Fields of TrainSpec that name things, choose the rows or let them pass, pace the bookkeeping or only look; base, rows, seed
and what selects a checkpoint enter the key by their content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """What is trained of one sample: the turns the model sees, and the answer it shall give.

    Of a conversation the assistant's turns among `messages` are trained too. A document of raw text answers nothing:
    `messages` is empty.
    """

    row: int
    """1-based row number in the data file."""
    messages: tuple[Message, ...]
    answer: str

    @property
    def content(self) -> list[Any]:
        """What decides the tensors, as plain JSON."""
        return [[[turn.role, turn.content] for turn in self.messages], self.answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What a training will take, known before a weight is loaded."""

    rows: int
    steps: int
    tokens: int | None
    """Tokens fed over all steps, prompts included; None where the rows have not been tokenised."""
    trainable_parameters: int
    total_parameters: int
    """Base and adapter together."""


def rows_of(spec: TrainSpec, samples: Sequence[Sample], prompt: Callable[[Sample], Prompt]) -> list[TrainingRow]:
    """What a recipe trains of its split: questions with their answers, or, of raw text, each input as it stands.

    Raises:
        UserError: a sample has no reference where one is trained, or is a conversation where raw text is.
    """
    if spec.objective == "language_modelling":
        talks = [sample.row for sample in samples if sample.messages]
        if talks:
            raise UserError(
                f"objective 'language_modelling' must have raw text (got conversations in {name_rows(talks)}). "
                "Give the split a file with fields: {input: COLUMN}."
            )
        return [TrainingRow(row=sample.row, messages=(), answer=sample.input) for sample in samples]
    return training_rows(samples, prompt)


def training_rows(samples: Sequence[Sample], prompt: Callable[[Sample], Prompt]) -> list[TrainingRow]:
    """One row a sample, in order; of several references, the first is trained.

    Raises:
        UserError: a sample has no reference, so there is nothing to train; every such row is named.
    """
    bare = [sample.row for sample in samples if not sample.references]
    if bare:
        raise UserError(
            f"'data.fields.reference' must give every training row an answer (got none in {name_rows(bare)}). "
            "Fill the column or take the rows out of the training split."
        )
    return [
        TrainingRow(row=sample.row, messages=prompt(sample).messages, answer=sample.references[0]) for sample in samples
    ]


def training_key(
    spec: TrainSpec,
    *,
    base_fingerprint: str,
    rows: Sequence[TrainingRow],
    seed: int,
    validation: Validation | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """The content key of a training: 64 hex digits, also the name of its adapter folder.

    Args:
        spec: a recipe without sweeps (`expand_sweeps` has made one candidate of each).
        base_fingerprint: hash of the base model's weights, tokenizer and template (`harness.models.identity`).
        rows: what is trained, in order. Row numbers do not count.
        seed: used unless the recipe has its own.
        validation: what checkpoints are evaluated with; it counts where one of them is selected.
        versions: library versions; left out, those installed.
    """
    selection = selection_of(spec, validation)
    return fingerprint(
        {
            "trainer": TRAINER_VERSION,
            "recipe": recipe_of(spec, seed),
            "base": base_fingerprint,
            "rows": [row.content for row in rows],
            **({"selection": selection} if selection is not None else {}),
            "versions": {name: v.split("+")[0] for name, v in (versions or library_versions(spec)).items()},
        }
    )


def recipe_of(spec: TrainSpec, seed: int) -> dict[str, Any]:
    """The options that decide the tensors, as plain JSON, with the seed that is used."""
    recipe = spec.model_dump(mode="json", exclude=set(UNKEYED))
    if spec.lists:
        raise ValueError(f"'{next(iter(spec.lists))}' must be one value (got a list). Expand the sweep first.")
    return {**recipe, "seed": spec.seed if spec.seed is not None else seed}


def library_versions(spec: TrainSpec) -> dict[str, str]:
    """Installed version of each library a training runs through; bitsandbytes only where the recipe needs it."""
    names = (*LIBRARIES, "bitsandbytes") if needs_bitsandbytes(spec) else LIBRARIES
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def needs_bitsandbytes(spec: TrainSpec) -> bool:
    """Whether quantisation or a paged optimiser is asked for."""
    return spec.quantization is not None or spec.optimizer.startswith("paged_")


def training_steps(
    rows: int, *, batch_size: int, gradient_accumulation: int = 1, epochs: float = 1.0, max_steps: int | None = None
) -> int:
    """Optimiser steps that `rows` rows give: the last batch of an epoch and its last accumulation may be short."""
    if max_steps is not None:
        return max_steps
    batches = math.ceil(rows / batch_size)
    return math.ceil(epochs * max(math.ceil(batches / gradient_accumulation), 1)) if rows else 0


def name_rows(rows: Sequence[int], limit: int = 12) -> str:
    """`row 7`, `rows 7, 9 and 12`, or the first `limit` and how many more."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    if len(rows) > limit:
        return f"rows {', '.join(map(str, rows[:limit]))} and {len(rows) - limit:,} more"
    return f"rows {', '.join(map(str, rows[:-1]))} and {rows[-1]}"


def gibibytes(size: int) -> str:
    """A size in memory: `57.3 GiB`, `22 MiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.{0 if size >= 2**23 else 1}f} MiB"
