"""What a training will take, and whether this machine and this base allow it, before a weight is read.

Parameters are counted on the meta device. What the grammar cannot know (the architecture, the GPU, installed
libraries) is refused here, with one line that says what to change.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
)

from harness.errors import UserError
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.adaptation import attach_lora, choose_weights, lora_config
from harness.training.audit import TokenRow
from harness.training.loop import quiet
from harness.training.recipe import TrainingPlan, name_rows, needs_bitsandbytes, prompts_of_step, steps_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def plan_training(spec: TrainSpec, *, folder: Path, rows: int, tokens: int | None = None) -> TrainingPlan:
    """What a training of `rows` rows will take, computed on the meta device: no weight is read.

    Args:
        spec: a recipe without sweeps.
        folder: the base model's folder, of which only config.json is read.
        rows: rows that are trained.
        tokens: tokens of one epoch, where they have been counted.

    Raises:
        UserError: the method or its target modules do not fit this architecture.
    """
    trainable, total = count_parameters(AutoConfig.from_pretrained(folder, local_files_only=True), spec)
    steps = steps_of(spec, rows)
    taken = prompts_of_step(spec) if spec.rewards else spec.batch_size * spec.gradient_accumulation
    epochs = steps * taken / rows if spec.max_steps or spec.rewards else spec.epochs
    return TrainingPlan(
        rows=rows,
        steps=steps,
        tokens=None if tokens is None else round(tokens * epochs),
        trainable_parameters=trainable,
        total_parameters=total,
    )


def count_parameters(config: PreTrainedConfig, spec: TrainSpec) -> tuple[int, int]:
    """Trainable parameters, and all of base and adapter together.

    Raises:
        UserError: the method or its target modules do not fit this architecture.
    """
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in meta_model(config, spec).parameters()]
    return sum(count for count, trained in counts if trained), sum(count for count, _ in counts)


def meta_model(config: PreTrainedConfig, spec: TrainSpec) -> Any:
    """The model as it is trained, shapes without weights; what is trained has `requires_grad`.

    Raises:
        UserError: the method or its target modules do not fit this architecture.
    """
    with quiet(), torch.device("meta"):
        if spec.objective == "reward":
            config.num_labels = 1
            scorer = AutoModelForSequenceClassification.from_config(config)
            return attach_lora(scorer, lora_config(spec, scorer)) if spec.method == "lora" else scorer
        model = auto_class(config).from_config(config)
        if spec.method == "lora":
            plain = spec.model_copy(update={"init": "default"})  # others look at weights, and there are none
            return attach_lora(model, lora_config(plain, model))
        choose_weights(model, spec)
    return model


def auto_class(config: PreTrainedConfig) -> Any:
    """The class of transformers that a language model of this configuration is loaded with."""
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def resolve_compute_dtype(asked: str) -> str:
    """The dtype training computes in: `auto` is float32 on a CPU, bfloat16 on a GPU that has it.

    Raises:
        UserError: half precision is asked for without a GPU.
    """
    if torch.cuda.is_available():
        if asked == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError("'compute_dtype' must be one this GPU has (got 'bfloat16'). Use float16, float32 or auto.")
        if asked != "auto":
            return asked
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if asked not in ("auto", "float32"):
        raise UserError(
            f"'compute_dtype' must be float32 or auto on a machine without a GPU (got {asked!r}). "
            "Half precision on a CPU is many times slower; leave the option out."
        )
    return "float32"


def refuse_unusable(spec: TrainSpec, base: TransformersModel) -> None:
    """Raise UserError for what neither the grammar nor the machine's libraries allow."""
    if base.adapter is not None:
        raise UserError(f"'train.base' must be a model without an adapter (got {base.adapter!r} on {spec.base!r}).")
    if base.quantization is not None and spec.method != "lora":
        raise UserError(
            f"'train.base' must be held in full precision for method {spec.method!r} (got {base.quantization!r} from "
            f"{spec.base!r}). Use method: lora, or a base without 'quantization'."
        )
    if quantization_of(spec, base) == "int8":
        raise UserError(
            f"'quantization' must be nf4 for a training (got 'int8' from {spec.base!r}). Set train.quantization: nf4."
        )
    if spec.objective == "reward" and quantization_of(spec, base) is not None:
        raise UserError(
            "'quantization' must be left out for a reward model (got 'nf4'): its scoring head is trained on a base in full "
            "precision. Name a base without 'quantization'."
        )
    if (needs_bitsandbytes(spec) or quantization_of(spec, base)) and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "'quantization' and paged optimisers must have bitsandbytes (not installed). "
            "Install it with: pip install 'muster-harness[gpu]'."
        )


def quantization_of(spec: TrainSpec, base: TransformersModel) -> str | None:
    """How the frozen weights are held: as the recipe says, else as the base is loaded elsewhere."""
    return spec.quantization or base.quantization


def window_of(folder: Path) -> int | None:
    """Positions the base was made for, where its configuration says so."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def refuse_unknown_tokens(rows: Sequence[TokenRow], folder: Path) -> None:
    """Raise UserError for rows with tokens that the base has no embedding for, as where a tokenizer has grown without it."""
    size = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config().vocab_size
    beyond = [row.row for row in rows if max(*row.input_ids, *row.labels) >= size]
    if beyond:
        raise UserError(
            f"training data: {name_rows(beyond)}: the base has {size:,} embeddings, and its tokenizer gives tokens beyond "
            "them. Use the tokenizer that belongs to the base, or a base whose embeddings were resized."
        )


def device_of_machine() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
