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
from harness.training.adaptation import choose_weights, dtypes_of, lora_config, save_trained
from harness.training.audit import TokenPair
from harness.training.checkpoints import newest_checkpoint
from harness.training.loop import Ledger, Listen, Notice, Watched, free, quiet, run_trainer, shared_arguments
from harness.training.planning import DTYPES, device_of_machine, quantization_of, resolve_compute_dtype
from harness.training.recipe import recipe_of
from harness.training.selection import Validation
from harness.training.sft import load_base
from harness.training.validating import watch

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
    resume = newest_checkpoint(partial / "checkpoints", environment=environment, notice=notice)
    ledger = Ledger.load(resume) if resume else Ledger()
    options = shared_arguments(spec, seed=seed, output=partial / "checkpoints", **environment)
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
    validator = None
    if validation is not None:
        validator = watch(
            trainer, spec, validation, trained_rows=len(rows), tokenizer=tokenizer, folder=folder, base_name=base.path,
            partial=partial, resume=resume, notice=notice,
        )  # fmt: skip
    run_trainer(
        trainer, spec, resume=resume, environment=environment, progress=progress, notice=notice, listen=listen
    )  # fmt: skip
    evaluated = validator.record(int(ledger.log[-1]["step"])) if validator is not None else {}
    with quiet():
        if validator is not None:
            validator.leave(partial / "trained")
        else:
            save_trained(trainer.model, partial, spec, base_name=base.path, base_folder=folder)
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


class ScoringTrainer(Paired, RewardTrainer):  # type: ignore[misc]  # trl is not typed
    """RewardTrainer on pairs that the audit has tokenised."""

    FIGURES: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy", "margin": "margin", "mean_reward": "mean_reward"}


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
    arguments = DPOConfig(**options, beta=recipe["beta"], loss_type=[recipe["loss_type"]], max_length=None)
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return PreferenceTrainer(
        ledger=ledger,
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=Dataset.from_dict(
            {name: [getattr(row, name) for row in rows] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
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
