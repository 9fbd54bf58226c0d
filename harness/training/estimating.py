"""Reckons what a training will take on this machine, before a weight is read.

Parameters are counted on the meta device, memory and arithmetic by a simulated step over the widest batch
(`simulation`), tokens by the audit. Time is arithmetic over pace: EFFICIENCY times the rate at which this machine
multiplies matrices of the model's size, measured in a fifth of a second. Drawing answers has a pace of its own: a step of it
multiplies the same matrices by as many rows as answers are drawn together.

    pairs       both answers of each pair, padded to the longest, and the same again without gradients where a reference is
                asked; logits are made tile by tile, and only along answers
    policies    answers drawn (keys and values of all of a step's answers are held), then learnt from, each taken to be as
                long as it may be: an upper bound. What judges take is not known
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from harness.errors import ModelError, UserError
from harness.suite.grammar import REFERRING, TrainSpec, TransformersModel
from harness.training.attention import is_packable
from harness.training.audit import IGNORED, AnyAudit, TokenPair, TokenRow
from harness.training.forecast import Forecast
from harness.training.memory import Memory, available_memory, count_memory
from harness.training.planning import (
    DTYPES,
    device_of_machine,
    meta_model,
    plan_training,
    quantization_of,
    resolve_compute_dtype,
)
from harness.training.recipe import DEFAULTS, gibibytes
from harness.training.simulation import SimulatedStep, simulate_step

EFFICIENCY = 0.5
"""Share of the rate of matrix products that a training reaches. On one CPU core 0.55 with 6 million parameters and 0.7 with
97 million (24 and 31 of 44 GFLOP/s, rows of a hundred tokens and more); less where rows are few and short."""
PROBE_SECONDS = 0.2
PROBE_ROWS = 1024
TILE = (4096, 32768)
"""Tokens and words of a tile of logits, as TRL makes them."""
COPIES = 8
"""Tiles that its gradient holds at once where there is no Triton, as on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The widest batch that shuffling can make."""

    rows: int
    length: int
    """Tokens of each row."""
    trained: int | None
    """Tokens of a row whose logits are taken; None for all of them."""
    packed: bool
    headless: bool


def forecast_training(
    spec: TrainSpec,
    *,
    base: TransformersModel,
    folder: Path,
    rows: Sequence[Any] | int,
    audit: AnyAudit | None,
    max_new_tokens: int = 0,
) -> Forecast:
    """What a training will take, on a machine of which nothing is known yet: `forecast.as_of_now` looks at that.

    Args:
        spec: a recipe without sweeps.
        base: the model that is trained.
        folder: where its config.json is; no weight is read.
        rows: as the audit left them, or how many there are where they could not be tokenised.
        audit: of those rows.
        max_new_tokens: of an answer, where answers are drawn.

    Raises:
        UserError: method, target modules or compute dtype fit neither the architecture nor the machine.
        ModelError: the folder has no configuration that transformers knows.
    """
    config = read_config(folder)
    dtype = DTYPES[resolve_compute_dtype(spec.compute_dtype)]
    device, quantized = device_of_machine(), quantization_of(spec, base) == "nf4"
    model = meta_model(config, spec)
    plan = plan_training(
        spec,
        folder=folder,
        rows=rows if isinstance(rows, int) else len(rows),
        tokens=audit.tokens if audit is not None else None,
    )
    batch = _widest_batch(rows, spec, config, cpu=device == "cpu", max_new_tokens=max_new_tokens)
    step = simulate_step(
        lambda shape: meta_model(shape, spec),
        config,
        rows=batch.rows,
        length=batch.length,
        trained=batch.trained,
        dtype=dtype,
        packed=batch.packed,
        headless=batch.headless,
        trained_layers=spec.last_layers if spec.method == "last_layers" else 0,
        checkpointing=device != "cpu",
    )
    tokens = plan.tokens or plan.rows * batch.length * spec.epochs
    learning, drawing = _arithmetic(spec, config, step, batch, tokens, audit, cpu=device == "cpu")
    answers = spec.batch_size * spec.gradient_accumulation if spec.rewards else 0
    drawn = _drawn_bytes(config, answers, batch.length, dtype) if answers else 0
    tiles = 0 if not batch.headless or spec.objective == "reward" else _tile_bytes(config, batch, dtype, device)
    rate = _matrix_rate(config, dtype, device)
    seconds = learning / (rate * EFFICIENCY)
    pace = (
        f"the arithmetic of a simulated step, at {EFFICIENCY:.0%} of the {rate / 1e9:,.3g} GFLOP/s that products of "
        "the model's matrices reach here"
    )
    if answers:
        slow = _matrix_rate(config, dtype, device, rows=answers)
        seconds += drawing / (slow * EFFICIENCY)
        pace += f", {slow / 1e9:,.3g} while {answers:,} answers are drawn; without what the reward's judges take"

    def held(four_bit: bool) -> Memory:
        return count_memory(
            model,
            activations=max(step.activations + tiles, drawn),
            dtype=dtype,
            quantized=four_bit,
            reference=_has_copy(spec),
        )

    memory = held(quantized)
    return Forecast(
        plan=plan,
        memory=memory,
        available=None,
        device=device,
        quantized=quantized,
        threads=torch.get_num_threads(),
        flops=learning + drawing,
        seconds=seconds,
        pace=pace,
        packed=batch.packed,
        smaller=tuple(_smaller(spec, memory, held(True), drawn)),
    )


def _has_copy(spec: TrainSpec) -> bool:
    """Whether the reference is a second model: where there is an adapter, it is the base with the adapter off."""
    return spec.objective == "dpo" and spec.method != "lora"


def _arithmetic(
    spec: TrainSpec,
    config: PreTrainedConfig,
    step: SimulatedStep,
    batch: _Batch,
    tokens: float,
    audit: AnyAudit | None,
    cpu: bool,
) -> tuple[float, float]:
    """Operations of learning and of drawing, in the whole training of `tokens` tokens."""
    each, forward = (flops / (batch.rows * batch.length) for flops in (step.flops, step.forward))
    if spec.objective not in REFERRING:
        return each * tokens, 0.0
    trained = tokens * audit.trained_tokens / audit.tokens if audit is not None else tokens
    fed = tokens / (1 - audit.padding_share) if audit is not None else tokens
    head = 2.0 * int(config.get_text_config().vocab_size) * _width(config)
    if spec.objective == "reward":
        return each * fed, 0.0
    beta = spec.beta if spec.beta is not None else DEFAULTS[spec.objective]["beta"]
    passes = 1 if spec.objective == "dpo" else (spec.objective == "rloo") + (beta > 0)  # without gradients
    scored = fed if cpu else trained  # without Triton, TRL makes the logits of prompts and padding too
    learning = (each + passes * forward) * fed + (3 + passes) * head * scored
    return learning, forward * tokens + head * trained if spec.rewards else 0.0


def _tile_bytes(config: PreTrainedConfig, batch: _Batch, dtype: torch.dtype, device: str) -> int:
    """What is held while the gradient of a tile of logits is made, at the widest moment of the backward pass."""
    tokens, words = min(batch.rows * batch.length, TILE[0]), min(int(config.get_text_config().vocab_size), TILE[1])
    return tokens * (words * COPIES * 4 if device == "cpu" else TILE[1] * dtype.itemsize)


def _drawn_bytes(config: PreTrainedConfig, answers: int, length: int, dtype: torch.dtype) -> int:
    """What is held while answers are drawn: keys and values, and the logits with three copies that drawing makes."""
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    size = int(getattr(text, "head_dim", None) or _width(config) // heads)
    layers, kept = int(text.num_hidden_layers), int(getattr(text, "num_key_value_heads", None) or heads)
    return answers * (length * layers * 2 * kept * size * dtype.itemsize + 4 * int(text.vocab_size) * 4)


def refuse_hopeless(spec: TrainSpec, *, base: TransformersModel, folder: Path) -> None:
    """Raise UserError where weights, gradients and optimiser alone are more than the memory that is free."""
    if "memory" in spec.allow:
        return
    dtype = DTYPES[resolve_compute_dtype(spec.compute_dtype)]
    quantized = quantization_of(spec, base) == "nf4"
    memory = count_memory(
        meta_model(read_config(folder), spec), activations=0, dtype=dtype, quantized=quantized,
        reference=_has_copy(spec),
    )  # fmt: skip
    free = available_memory(device_of_machine())
    if free is not None and memory.total > free:
        raise UserError(
            f"'memory' must hold the training: weights, gradients and optimiser alone are {gibibytes(memory.total)}, and "
            f"{gibibytes(free)} are free. `muster check` says what would fit; allow: [memory] tries it all the same."
        )


def _smaller(spec: TrainSpec, memory: Memory, quantized: Memory, drawn: int) -> Iterator[tuple[str, int]]:
    """Changes of the recipe that need less memory, with what is needed then; the result stays the same, or nearly so.

    `drawn` bytes are held while answers are drawn, however many of them are learnt from at once.
    """
    batches = [size for size in (spec.batch_size // 2, spec.batch_size // 4, 1) if 0 < size < spec.batch_size]

    def batched(size: int, memory: Memory) -> tuple[str, int]:
        accumulated = math.ceil(spec.batch_size * spec.gradient_accumulation / size)
        rest = memory.total - memory.activations
        return (
            f"batch_size: {size} and gradient_accumulation: {accumulated}",
            rest + max(math.ceil(memory.activations * size / spec.batch_size), drawn),
        )

    sizes = list(dict.fromkeys(batches))
    yield from (batched(size, memory) for size in sizes)
    if spec.method == "lora" and spec.objective != "reward" and quantized.weights < memory.weights:
        yield "quantization: nf4", quantized.total
        for size in sizes:
            what, needed = batched(size, quantized)
            yield f"quantization: nf4, {what}", needed


def read_config(folder: Path) -> PreTrainedConfig:
    """A model's configuration. Raises ModelError where there is none that transformers knows."""
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers raises for the many ways in which a configuration can be wrong
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"model '{folder.name}' has no configuration that can be read ({reason}).") from None


def _widest_batch(
    rows: Sequence[Any] | int, spec: TrainSpec, config: PreTrainedConfig, *, cpu: bool, max_new_tokens: int
) -> _Batch:
    """Rows that were not tokenised count as max_length long."""
    if spec.objective in REFERRING:
        count = (
            min(spec.batch_size, rows if isinstance(rows, int) else len(rows)) if not spec.rewards else spec.batch_size
        )
        length = spec.max_length if isinstance(rows, int) else max(_length(row, max_new_tokens) for row in rows)
        return _Batch(rows=count * (1 if spec.rewards else 2), length=length, trained=None, packed=False, headless=True)
    packed = is_packable(config)
    if isinstance(rows, int):
        count = min(spec.batch_size, max(rows, 1))
        return _Batch(rows=count, length=spec.max_length, trained=None, packed=packed, headless=False)
    widest: list[TokenRow] = sorted(rows, key=lambda row: len(row.input_ids), reverse=True)[: spec.batch_size]
    length, trained = len(widest[0].input_ids), None
    if packed:
        length = math.ceil(sum(len(row.input_ids) for row in widest) / len(widest))
        if cpu:
            answers = sorted((sum(label != IGNORED for label in row.labels) for row in rows), reverse=True)
            trained = min(math.ceil(sum(answers[: spec.batch_size]) / len(widest)), length)
    return _Batch(rows=len(widest), length=length, trained=trained, packed=packed, headless=False)


def _length(row: Any, max_new_tokens: int) -> int:
    """Tokens of a pair with its longer answer, or of a prompt with the longest answer that may be drawn."""
    return row.length if isinstance(row, TokenPair) else len(row[1]) + max_new_tokens


def _width(config: PreTrainedConfig) -> int:
    """Numbers of a hidden state."""
    text = config.get_text_config()
    return int(getattr(text, "hidden_size", 0) or getattr(text, "d_model", 0) or 1024)


def _matrix_rate(config: PreTrainedConfig, dtype: torch.dtype, device: str, rows: int = PROBE_ROWS) -> float:
    """Floating-point operations a second of a product of the size of this model's layers, by `rows` hidden states."""
    text, size = config.get_text_config(), _width(config)
    inner = int(getattr(text, "intermediate_size", 0) or getattr(text, "d_ff", 0) or 4 * size)
    return _measure_rate(size, inner, dtype, device, rows)


@lru_cache(maxsize=16)
def _measure_rate(size: int, inner: int, dtype: torch.dtype, device: str, rows: int) -> float:
    """Of [rows, size] times [size, inner]; measured once a process."""
    left = torch.ones((rows, size), dtype=dtype, device=device)
    right = torch.ones((size, inner), dtype=dtype, device=device)
    left @ right  # the first one pays for starting up
    products, began, passed = 0, time.perf_counter(), 0.0
    while passed < PROBE_SECONDS:
        left @ right
        if device != "cpu":
            torch.cuda.synchronize()
        products += 1
        passed = time.perf_counter() - began
    return products * 2 * rows * size * inner / passed
