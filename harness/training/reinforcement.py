"""Learning from answers of one's own: GRPO and RLOO, with judges as the reward.

Each step draws `num_generations` answers to a few prompts of the training split, lets the judges score them, and makes
the answers that score above the others to the same prompt likelier. *grpo* (Shao et al. 2024) divides a group's
differences by their spread, *rloo* (Ahmadian et al. 2024) compares each answer with the mean of the others. Both through
TRL's trainers; neither has a value network, as PPO had.

Guarantees: prompts are fed as inference feeds them, and judges see the text that inference would give. An answer that any
of the judges could not score has no reward: it is left out of its group's comparison and counted, never taken for a 0;
a step in which none could be scored ends the training. The same key gives the same tensors, killed and resumed or not, as
far as the judges say the same of the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import gather
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import RepeatSampler

from harness.errors import TrainingError
from harness.models import rendering
from harness.records import GenerationSettings, Judgement, Progress
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.adaptation import dtypes_of, lora_config
from harness.training.checkpoints import newest_checkpoint
from harness.training.loop import Ledger, Listen, Notice, Watched, free, quiet, shared_arguments
from harness.training.planning import device_of_machine, quantization_of, resolve_compute_dtype
from harness.training.recipe import PromptRow, Reward, recipe_of
from harness.training.selection import Validation
from harness.training.sft import load_base
from harness.training.validating import train


def fit_policy(
    spec: TrainSpec,
    *,
    seed: int,
    folder: Path,
    base: TransformersModel,
    tokenizer: Any,
    rows: Sequence[tuple[PromptRow, list[int]]],
    reward: Reward,
    generation: GenerationSettings,
    partial: Path,
    progress: Progress,
    notice: Notice,
    validation: Validation | None = None,
    listen: Listen | None = None,
) -> tuple[Ledger, dict[str, Any]]:
    """Run the training to its end and leave the adapter in `partial/trained`; what it counted, and what really ran.

    With `validation` its checkpoints are evaluated, and the best is left where the recipe selects.
    """
    environment = {"device": device_of_machine(), "compute_dtype": resolve_compute_dtype(spec.compute_dtype)}
    resume = newest_checkpoint(partial / "checkpoints", environment=environment, notice=notice)
    ledger = Ledger.load(resume) if resume else Ledger()
    model, _ = load_base(folder, quantization=quantization_of(spec, base), batching="padded", **environment)
    options = shared_arguments(spec, seed=seed, output=partial / "checkpoints", **environment)
    options |= {
        "num_generations": spec.num_generations,
        "max_completion_length": generation.max_new_tokens,
        "temperature": spec.temperature,
        "top_p": generation.top_p,
    }
    recipe = recipe_of(spec, seed)
    trainer_class: Any
    if spec.objective == "grpo":
        trainer_class = GroupTrainer
        arguments = GRPOConfig(**options, beta=recipe["beta"], loss_type=recipe["loss_type"])
    else:
        trainer_class = LeaveOneOutTrainer
        arguments = RLOOConfig(**options, beta=recipe["beta"])
    arguments._n_gpu = min(arguments.n_gpu, 1)
    with quiet():
        trainer = trainer_class(
            ledger=ledger,
            rows=rows,
            reward=reward,
            weights=spec.rewards,
            stop=generation.stop,
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": [str(index) for index in range(len(rows))]}),
            processing_class=tokenizer,
            peft_config=lora_config(spec, model),
        )
    evaluated = train(
        trainer, spec, validation=validation, trained_rows=len(rows), tokenizer=tokenizer, folder=folder,
        base_name=base.path, partial=partial, resume=resume, environment=environment, progress=progress, notice=notice,
        listen=listen,
    )  # fmt: skip
    ran = {
        **environment,
        "trainer": trainer_class.__bases__[-1].__name__,
        "trained": dtypes_of(trainer.model, trained=True),
        "frozen": dtypes_of(trainer.model, trained=False),
        "autocast": bool(arguments.bf16 or arguments.fp16),
        "quantization": quantization_of(spec, base),
        "batching": "padded",
        "activation_checkpointing": bool(arguments.activation_checkpointing),
        "threads": torch.get_num_threads(),
        "answers": ledger.counts.get("answers", 0),
        "unscored_answers": ledger.counts.get("unscored", 0),
    }
    del model
    free(trainer)
    return ledger, {"ran": ran, **evaluated}


class Rewarded(Watched):
    """What both trainers have: prompts as the audit tokenised them, the judges' word as the reward, and an honest count."""

    FIGURES: ClassVar[Mapping[str, str]] = {
        "reward": "reward",
        "reward_std": "reward_spread",
        "kl": "kl",
        "entropy": "entropy",
        "completions/mean_length": "answer_tokens",
        "completions/clipped_ratio": "cut_share",
        "unscored": "unscored",
    }
    """TRL's names of what is logged, and ours; beside them, each judge's own mean by its name."""
    _metrics: Any
    accelerator: Any
    train_dataset: Dataset
    num_generations: int
    num_iterations: int

    def __init__(
        self,
        *,
        rows: Sequence[tuple[PromptRow, list[int]]],
        reward: Reward,
        weights: Mapping[str, float],
        stop: Sequence[str],
        processing_class: Any,
        **options: Any,
    ) -> None:
        self._rows = rows
        self._reward = reward
        self._weights = weights
        self._stop_texts = stop
        self._text_of = processing_class
        super().__init__(reward_funcs=_unused, processing_class=processing_class, **options)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> EpochSampler:
        return EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            seed=self.args.seed,
        )

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self._rows[int(prompt)][1]) for prompt in prompts], None, {}

    def _calculate_rewards(
        self, inputs: Any, prompts: list[str], completions: Any, completion_ids: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Shape [answers, 1]: the weighted sum of the judges' scores, NaN where any of them has none."""
        samples = [self._rows[int(prompt)][0].sample for prompt in prompts]
        texts = [rendering.decode(self._text_of, ids, stop=self._stop_texts) for ids in completion_ids]
        said = self._reward.judge(samples, texts)
        rewards = [
            math.fsum(weight * scores[name] for name, weight in self._weights.items())
            if len(scores) == len(said)
            else None
            for scores in _scores(said, len(texts))
        ]
        unscored = rewards.count(None)
        if unscored == len(rewards):
            failure = next(j.error for judgements in said.values() for j in judgements if j.error is not None)
            raise TrainingError(
                f"the reward scored none of the {len(rewards)} answers of step {self.state.global_step + 1} "
                f"({failure.kind}: {failure.message}). Look at the judges of 'reward', then run again."
            )
        measured = self._metrics["train"]
        measured["unscored"].append(float(unscored))
        for name, judgements in said.items():
            scored = [judgement.score for judgement in judgements if judgement.score is not None]
            if scored:
                measured[f"judge {name}"].append(math.fsum(scored) / len(scored))
        self.ledger.counts["answers"] = self.ledger.counts.get("answers", 0) + len(rewards)
        self.ledger.counts["unscored"] = self.ledger.counts.get("unscored", 0) + unscored
        column = [[math.nan if reward is None else reward] for reward in rewards]
        gathered: torch.Tensor = gather(torch.tensor(column, dtype=torch.float32, device=self.accelerator.device))
        return gathered

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The policy's loss on a batch of scored answers."""
        tokens = int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        parts = 1 if self.loss_is_scaled_for_ga else self.current_gradient_accumulation_steps  # type: ignore[attr-defined]
        self.record_loss(loss.item() / parts, tokens)
        return loss

    def take_figures(self) -> dict[str, float]:
        """The step's means of FIGURES and of each judge."""
        measured = self._metrics["train"]
        names = {**self.FIGURES, **{f"judge {name}": f"reward {name}" for name in self._weights}}
        means = {
            ours: math.fsum(measured[name]) / len(measured[name]) for name, ours in names.items() if measured.get(name)
        }
        measured.clear()
        return {name: value for name, value in means.items() if math.isfinite(value)}


class EpochSampler(RepeatSampler):  # type: ignore[misc]  # trl is not typed
    """Each prompt as often as answers are drawn to it, in an order that follows from seed and epoch.

    TRL's own sampler goes on with its generator from epoch to epoch: taken up in the second, it begins with the first's order.
    """

    def set_epoch(self, epoch: int) -> None:
        """Shuffle the next pass as that of `epoch`, from 0."""
        self.generator.manual_seed(self.seed + epoch)


class GroupTrainer(Rewarded, GRPOTrainer):  # type: ignore[misc]  # trl is not typed
    """GRPOTrainer rewarded by judges."""


class LeaveOneOutTrainer(Rewarded, RLOOTrainer):  # type: ignore[misc]  # trl is not typed
    """RLOOTrainer rewarded by judges."""


def _scores(said: Mapping[str, Sequence[Judgement]], answers: int) -> list[dict[str, float]]:
    """By answer, the score of each judge that has one."""
    found: list[dict[str, float]] = [{} for _ in range(answers)]
    for name, judgements in said.items():
        for scores, judgement in zip(found, judgements, strict=True):
            if judgement.score is not None:
                scores[name] = judgement.score
    return found


def _unused(**_: Any) -> list[float]:
    """TRL wants a function; `_calculate_rewards` above asks the judges."""
    raise AssertionError("the judges are asked elsewhere")
