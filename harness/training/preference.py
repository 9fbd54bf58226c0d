"""Learning from pairs of answers: DPO makes a candidate that prefers, a reward model makes a judge.

*dpo* (Rafailov et al. 2023) through TRL's DPOTrainer: the policy raises the likelihood of the preferred answer against the
other, measured from the base itself, which is the reference: the adapter is switched off for it, and where every weight is
trained a frozen copy is held. *reward* through TRL's RewardTrainer: a head of one number on the base, and a LoRA below it or
every weight, such that the preferred answer's number is the larger one (Bradley and Terry 1952); rewards are held near a mean
of zero (Eisenstein et al. 2023, eq. 2), so that sigmoid(reward) is the chance to be preferred to an average answer.

Guarantees: the ids are the audit's, none added and none cut; the same key gives the same tensors, killed and resumed or
not; a record says how margin and accuracy went beside the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, set_seed
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from harness.errors import ModelError
from harness.records import Progress
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import processes
from harness.training.adaptation import choose_weights, dtypes_of, lora_config
from harness.training.audit import TokenPair
from harness.training.checkpoints import newest_checkpoint
from harness.training.loop import Ledger, Listen, Notice, Watched, free, quiet, shared_arguments
from harness.training.planning import DTYPES, device_of_machine, quantization_of, resolve_compute_dtype
from harness.training.recipe import recipe_of
from harness.training.selection import Validation
from harness.training.sft import load_base
from harness.training.validating import train

CENTRE = 0.01
"""How strongly rewards are held near a mean of zero; the value that TRL recommends."""


def fit_preferences(
    spec: TrainSpec,
    *,
    seed: int,
    folder: Path,
    base: TransformersModel,
    tokenizer: Any,
    rows: Sequence[TokenPair],
    partial: Path,
    progress: Progress,
    notice: Notice,
    validation: Validation | None = None,
    listen: Listen | None = None,
) -> tuple[Ledger, dict[str, Any]]:
    """Run a training of pairs to its end and leave what it made in `partial/trained`; what it counted, and what really ran.

    With `validation` its checkpoints are evaluated, and the best is left where the recipe selects.
    """
    environment = {"device": device_of_machine(), "compute_dtype": resolve_compute_dtype(spec.compute_dtype)}
    processes.join(environment["device"])
    checkpoints = partial / "checkpoints"
    resume = processes.agreed_checkpoint(
        checkpoints, lambda: newest_checkpoint(checkpoints, environment=environment, notice=notice)
    )
    ledger = Ledger.load(resume) if resume else Ledger()
    options = shared_arguments(spec, seed=seed, output=checkpoints, **environment)
    with quiet():
        if spec.objective == "dpo":
            own: dict[str, Any] = {"quantization": quantization_of(spec, base), "batching": "padded", **environment}
            model, _ = load_base(folder, **own)
            reference = None  # the adapter switched off is
            if spec.method != "lora":
                choose_weights(model, spec)
                reference, _ = load_base(folder, **own)
            trainer = _dpo(spec, model, reference, tokenizer, rows, ledger=ledger, seed=seed, options=options)
        else:
            model = _load_scorer(folder, seed=options["seed"], compute_dtype=environment["compute_dtype"])
            trainer = _reward(spec, model, tokenizer, rows, ledger=ledger, options=options)
    evaluated = train(
        trainer, spec, validation=validation, trained_rows=len(rows), tokenizer=tokenizer, folder=folder,
        base_name=base.path, partial=partial, resume=resume, environment=environment, progress=progress, notice=notice,
        listen=listen,
    )  # fmt: skip
    ran = {
        **environment,
        "trainer": type(trainer).__bases__[-1].__name__,
        "trained": dtypes_of(trainer.model, trained=True),
        "frozen": dtypes_of(trainer.model, trained=False),
        "autocast": bool(trainer.args.bf16 or trainer.args.fp16),
        "quantization": quantization_of(spec, base),
        "batching": "padded",
        "activation_checkpointing": bool(trainer.args.activation_checkpointing),
        "threads": torch.get_num_threads(),
        "processes": processes.world(),
    }
    del model
    free(trainer)
    return ledger, {"ran": ran, **evaluated}


class Paired(Watched):
    """What both trainers of pairs have: the audit's rows as they are, the loss of a step, and what TRL measures of it."""

    FIGURES: ClassVar[Mapping[str, str]]
    """TRL's names of what is logged, and ours."""
    _metrics: Any

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over the pairs of a batch."""
        tokens = int(inputs["attention_mask"].sum())
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        self.record_loss(loss.item() / self.current_gradient_accumulation_steps, tokens)  # type: ignore[attr-defined]
        return loss

    def take_figures(self) -> dict[str, float]:
        """The step's means of FIGURES."""
        measured = self._metrics["train"]
        means = {ours: math.fsum(measured[name]) / len(measured[name]) for name, ours in self.FIGURES.items()}
        measured.clear()
        return means


class PreferenceTrainer(Paired, DPOTrainer):  # type: ignore[misc]  # trl is not typed
    """DPOTrainer on pairs that the audit has tokenised."""

    FIGURES: ClassVar[Mapping[str, str]] = {
        "rewards/accuracies": "accuracy",
        "rewards/margins": "margin",
        "logps/chosen": "chosen_log_likelihood",
        "logps/rejected": "rejected_log_likelihood",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loss_is_scaled_for_ga = True  # it is divided by the step's pairs already, not by its batches
        self._sums: dict[str, float] = {}
        self._pairs = 0
        self._empty: float | None = None

    def _get_num_items_in_batch(self, batch_samples: Sequence[Mapping[str, torch.Tensor]], device: Any) -> int:
        """Pairs of a step, of all processes."""
        return sum(processes.everywhere(sum(_filled(batch) for batch in batch_samples)))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over the pairs of the whole step. Of several processes it is as many times as large: DDP takes the mean.

        Pairs that fill up what several processes take have no answers: they move no weight, and are taken out of all figures.
        """
        own, held, world = _filled(inputs), len(inputs["input_ids"]) // 2, processes.world()
        together = sum(processes.everywhere(own))
        if together < held * world and self._empty is None:
            self._empty = self._loss_of_an_empty_pair(model, inputs)
        tokens = int(inputs["attention_mask"][inputs["completion_mask"].any(dim=1)].sum())
        loss = DPOTrainer.compute_loss(self, model, inputs)
        measured = self._metrics["train"]
        for name in self.FIGURES:
            self._sums[name] = self._sums.get(name, 0.0) + measured[name][-1] * held * world
        self._pairs += together
        filling = (held - own) * (self._empty or 0.0)
        self.record_loss((loss.item() * held - filling) / num_items_in_batch, tokens)
        return loss * (held * world / num_items_in_batch)

    def _loss_of_an_empty_pair(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> float:
        half = len(inputs["input_ids"]) // 2
        pair = {name: inputs[name][[0, half]][:, :2] for name in ("input_ids", "attention_mask", "completion_mask")}
        pair["completion_mask"] = torch.zeros_like(pair["completion_mask"])
        with torch.no_grad():
            return float(DPOTrainer.compute_loss(self, model, pair))

    def take_figures(self) -> dict[str, float]:
        """The means of FIGURES over the step's pairs."""
        means = {ours: self._sums[name] / self._pairs for name, ours in self.FIGURES.items()}
        self._sums, self._pairs = {}, 0
        self._metrics["train"].clear()
        return means


class ScoringTrainer(Paired, RewardTrainer):  # type: ignore[misc]  # trl is not typed
    """RewardTrainer on pairs that the audit has tokenised."""

    FIGURES: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy", "margin": "margin", "mean_reward": "mean_reward"}


def _filled(batch: Mapping[str, torch.Tensor]) -> int:
    """Pairs of a batch that have answers."""
    return int(batch["completion_mask"].any(dim=1).sum()) // 2


def _dpo(
    spec: TrainSpec,
    model: Any,
    reference: Any,
    tokenizer: Any,
    rows: Sequence[TokenPair],
    *,
    ledger: Ledger,
    seed: int,
    options: Any,
) -> PreferenceTrainer:
    recipe = recipe_of(spec, seed)
    first = (rows[0].prompt_ids + rows[0].chosen_ids)[:2]
    filling = [TokenPair(row=0, prompt_ids=first, chosen_ids=(), rejected_ids=())] if processes.world() > 1 else []
    arguments = DPOConfig(**options, beta=recipe["beta"], loss_type=[recipe["loss_type"]], max_length=None)
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return PreferenceTrainer(
        ledger=ledger,
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {
                name: [getattr(row, name) for row in [*rows, *filling]]
                for name in ("prompt_ids", "chosen_ids", "rejected_ids")
            }
        ),
        processing_class=tokenizer,
        peft_config=lora_config(spec, model) if spec.method == "lora" else None,
    )


def _reward(
    spec: TrainSpec, model: Any, tokenizer: Any, rows: Sequence[TokenPair], *, ledger: Ledger, options: Any
) -> ScoringTrainer:
    arguments = RewardConfig(
        **options, max_length=None, disable_dropout=not spec.dropout, center_rewards_coefficient=CENTRE
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return ScoringTrainer(
        ledger=ledger,
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {
                "chosen_ids": [row.prompt_ids + row.chosen_ids for row in rows],
                "rejected_ids": [row.prompt_ids + row.rejected_ids for row in rows],
            }
        ),
        processing_class=tokenizer,
        peft_config=lora_config(spec, model) if spec.method == "lora" else None,
    )


def _load_scorer(folder: Path, *, seed: int, compute_dtype: str) -> Any:
    """The base with a head of one number, whose first weights the seed draws."""
    set_seed(seed)
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=DTYPES[compute_dtype], use_safetensors=True, local_files_only=True
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a checkpoint can be wrong in as many ways as there are architectures
        raise ModelError(f"model '{folder.name}' cannot be loaded ({str(error).strip().splitlines()[0]}).") from None
