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
from harness.records import GenerationSettings, Judgement, Message, Preference, Prompt, Sample, fingerprint
from harness.suite.grammar import EVALUATION, OBJECTIVE_OPTIONS, TrainSpec
from harness.training.selection import Validation, selection_of

TRAINER_VERSION = 3
"""Raised when a change of this package changes the tensors that a recipe gives."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers")
UNKEYED = (
    "base", "split", "teacher", "keep", "keep_share", "allow", "seed", "save_steps", "logging_steps", "tensorboard",
    "launcher", "evaluate_every", "preferences", "reward", *EVALUATION,
)  # fmt: skip
"""Fields of TrainSpec that name things, choose the rows or let them pass, pace the bookkeeping or only look; base, rows, seed,
judges and what selects a checkpoint enter the key by their content, and of the launcher what changes
tensors."""
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dpo": {"beta": 0.1, "loss_type": "sigmoid"},
    "grpo": {"beta": 0.0, "loss_type": "dapo"},
    "rloo": {"beta": 0.05},
}
"""What an objective's options are where the suite leaves them out: TRL's own values."""


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
        return [_turns(self.messages), self.answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceRow:
    """What is trained of one preference: the turns before both answers, the better one and the worse one."""

    row: int
    """1-based row number in the file of preferences."""
    messages: tuple[Message, ...]
    chosen: str
    rejected: str

    @property
    def content(self) -> list[Any]:
        """What decides the tensors, as plain JSON."""
        return [_turns(self.messages), self.chosen, self.rejected]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """What answers are drawn to: the turns of one sample, and the sample by which judges score them."""

    row: int
    """1-based row number in the data file."""
    messages: tuple[Message, ...]
    sample: Sample

    @property
    def content(self) -> list[Any]:
        """What decides the tensors, as plain JSON: judges may look at input, references and contexts."""
        return [_turns(self.messages), self.sample.input, list(self.sample.references), list(self.sample.contexts)]


Row = TrainingRow | PreferenceRow | PromptRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """The judges that reward a policy; this package knows no judge, so whoever does hands them over."""

    fingerprints: Mapping[str, str]
    """Of each judge, by its name."""
    judge: Callable[[Sequence[Sample], Sequence[str]], Mapping[str, Sequence[Judgement]]]
    """What each judge says of the answers, one to a sample, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What a training will take, known before a weight is loaded."""

    rows: int
    steps: int
    tokens: int | None
    """Tokens fed over all steps, prompts included, at most where answers are drawn; None where the rows have not been
    tokenised."""
    trainable_parameters: int
    total_parameters: int
    """Base and adapter together."""


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


def preference_rows(preferences: Sequence[Preference], prompt: Callable[[Sample], Prompt]) -> list[PreferenceRow]:
    """One row a preference, in order."""
    return [
        PreferenceRow(row=p.sample.row, messages=prompt(p.sample).messages, chosen=p.chosen, rejected=p.rejected)
        for p in preferences
    ]


def prompt_rows(samples: Sequence[Sample], prompt: Callable[[Sample], Prompt]) -> list[PromptRow]:
    """One row a sample, in order."""
    return [PromptRow(row=sample.row, messages=prompt(sample).messages, sample=sample) for sample in samples]


def rows_of(
    spec: TrainSpec,
    samples: Sequence[Sample],
    prompt: Callable[[Sample], Prompt],
    preferences: Sequence[Preference] = (),
) -> Sequence[Row]:
    """What a recipe trains: questions with their answers, raw text as it stands, pairs of answers, or prompts alone.

    A reward model is shown what judges know: the input as it stands in the data, without the suite's prompt.

    Raises:
        UserError: a sample has no reference where one is trained, or is a conversation where raw text is.
    """
    match spec.objective:
        case "supervised" | "language_modelling":
            return reference_rows(spec, samples, prompt)
        case "dpo":
            return preference_rows(preferences, prompt)
        case "reward":
            return preference_rows(preferences, bare_prompt)
        case "grpo" | "rloo":
            return prompt_rows(samples, prompt)


def reference_rows(spec: TrainSpec, samples: Sequence[Sample], prompt: Callable[[Sample], Prompt]) -> list[TrainingRow]:
    """One row a sample, in order: a question with its answer, or raw text. Raises UserError as `rows_of` does."""
    if spec.objective != "language_modelling":
        return training_rows(samples, prompt)
    talks = [sample.row for sample in samples if sample.messages]
    if talks:
        raise UserError(
            f"objective 'language_modelling' must have raw text (got conversations in {name_rows(talks)}). "
            "Give the split a file with fields: {input: COLUMN}."
        )
    return [TrainingRow(row=sample.row, messages=(), answer=sample.input) for sample in samples]


def bare_prompt(sample: Sample) -> Prompt:
    """A sample's input (of a conversation, its last turn), and nothing else."""
    return Prompt(sample_id=sample.id, messages=(Message(role="user", content=sample.input),))


def training_key(
    spec: TrainSpec,
    *,
    base_fingerprint: str,
    rows: Sequence[Row],
    seed: int,
    validation: Validation | None = None,
    reward: Reward | None = None,
    generation: GenerationSettings | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """The content key of a training: 64 hex digits, also the name of its adapter folder.

    Args:
        spec: a recipe without sweeps (`expand_sweeps` has made one candidate of each).
        base_fingerprint: hash of the base model's weights, tokenizer and template (`harness.models.identity`).
        rows: what is trained, in order. Row numbers do not count.
        seed: used unless the recipe has its own.
        validation: what checkpoints are evaluated with; it counts where one of them is selected.
        reward: the judges that the recipe's `reward` names.
        generation: how long drawn answers may be, their top_p, and where they stop.
        versions: library versions; left out, those installed.
    """
    decided: dict[str, Any] = {
        "trainer": TRAINER_VERSION,
        "recipe": recipe_of(spec, seed),
        "base": base_fingerprint,
        "rows": [row.content for row in rows],
        "versions": {name: v.split("+")[0] for name, v in (versions or library_versions(spec)).items()},
    }
    selection = selection_of(spec, validation)
    if selection is not None:
        decided["selection"] = selection
    if reward is not None:
        decided["reward"] = sorted([reward.fingerprints[name], weight] for name, weight in spec.rewards.items())
    if generation is not None:
        decided["generation"] = [generation.max_new_tokens, generation.top_p, list(generation.stop)]
    return fingerprint(decided)


def recipe_of(spec: TrainSpec, seed: int) -> dict[str, Any]:
    """The options that decide the tensors, as plain JSON, with the seed that is used."""
    recipe = spec.model_dump(mode="json", exclude=set(UNKEYED))
    if spec.lists:
        raise ValueError(f"'{next(iter(spec.lists))}' must be one value (got a list). Expand the sweep first.")
    foreign = [option for option, objectives in OBJECTIVE_OPTIONS.items() if spec.objective not in objectives]
    recipe = {option: value for option, value in recipe.items() if option not in foreign}
    recipe |= {option: value for option, value in DEFAULTS.get(spec.objective, {}).items() if recipe[option] is None}
    if (
        spec.launcher is not None
    ):  # sums in another order, dropout drawn by each process: equal but for rounding and luck
        recipe |= {"processes": spec.launcher.processes, "strategy": spec.launcher.strategy}
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


def steps_of(spec: TrainSpec, rows: int) -> int:
    """Optimiser steps of a recipe over `rows` rows.

    Where answers are drawn, a step takes batch_size times gradient_accumulation of them, `num_generations` to a prompt, and
    an epoch whole steps only: the shuffled prompts that are left over wait for another epoch.
    """
    if spec.objective not in ("grpo", "rloo"):
        return training_steps(
            rows, batch_size=spec.batch_size, gradient_accumulation=spec.gradient_accumulation, epochs=spec.epochs,
            max_steps=spec.max_steps,
        )  # fmt: skip
    if spec.max_steps is not None:
        return spec.max_steps
    return math.ceil(spec.epochs * (rows // prompts_of_step(spec)))


def prompts_of_step(spec: TrainSpec) -> int:
    """Prompts to which a step draws answers."""
    return spec.batch_size * spec.gradient_accumulation // spec.num_generations


def _turns(messages: Sequence[Message]) -> list[list[str]]:
    return [[message.role, message.content] for message in messages]


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
