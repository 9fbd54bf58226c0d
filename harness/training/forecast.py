"""What a training will take on this machine, before a weight is read: parameters, steps, tokens, memory and time.

Parameters are counted on the meta device, memory and arithmetic by a simulated step over the widest batch
(`simulation`), tokens by the audit. Time is arithmetic over pace: as fast as the last training of this base with this
method on this device where one is in the adapters' folder, else EFFICIENCY times the rate at which this machine
multiplies matrices of the model's size, measured in a fifth of a second.
"""

from __future__ import annotations

import json
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
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.attention import is_packable
from harness.training.audit import IGNORED, Audit, TokenRow
from harness.training.memory import Memory, available_memory, count_memory
from harness.training.planning import (
    DTYPES,
    device_of_machine,
    meta_model,
    plan_training,
    quantization_of,
    resolve_compute_dtype,
)
from harness.training.recipe import TrainingPlan, gibibytes
from harness.training.simulation import simulate_step

EFFICIENCY = 0.5
"""Share of the rate of matrix products that a training reaches. On one CPU core 0.55 with 6 million parameters and 0.7 with
97 million (24 and 31 of 44 GFLOP/s, rows of a hundred tokens and more); less where rows are few and short."""
PROBE_SECONDS = 0.2
PROBE_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a training will take."""

    plan: TrainingPlan
    memory: Memory
    available: int | None
    """Bytes free on the device now; None where the system does not say."""
    device: str
    flops: float
    """Floating-point operations of the whole training."""
    seconds: float
    pace: str
    """Where the estimate of the time comes from."""
    packed: bool
    """Whether rows are laid end to end, so that no padding is computed."""
    smaller: tuple[tuple[str, int], ...]
    """What could be set to need less memory, the least change first, and the bytes that would be needed then."""

    @property
    def fits(self) -> bool:
        """Whether the memory that is free will do; where it is unknown, it is not doubted."""
        return self.available is None or self.memory.total <= self.available


def forecast_training(
    spec: TrainSpec,
    *,
    base: TransformersModel,
    folder: Path,
    base_fingerprint: str | None,
    adapters: Path,
    rows: Sequence[TokenRow] | int,
    audit: Audit | None,
) -> Forecast:
    """What a training will take.

    Args:
        spec: a recipe without sweeps.
        base: the model that is trained.
        folder: where its config.json is; no weight is read.
        base_fingerprint: of the base, to find earlier trainings by; None where its weights are not there.
        adapters: the folder of finished trainings.
        rows: as the audit left them, or how many there are where they could not be tokenised.
        audit: of those rows.

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
    count, length, trained = _widest_batch(rows, spec, packed=is_packable(config), cpu=device == "cpu")
    step = simulate_step(
        lambda shape: meta_model(shape, spec),
        config,
        rows=count,
        length=length,
        trained=trained,
        dtype=dtype,
        packed=is_packable(config),
        trained_layers=spec.last_layers if spec.method == "last_layers" else 0,
        checkpointing=device != "cpu",
    )
    tokens = plan.tokens if plan.tokens is not None else plan.rows * length * spec.epochs
    flops = step.flops / (count * length) * tokens
    earlier = _last_pace(adapters, spec, base_fingerprint, device, quantized)
    if earlier is not None:
        seconds, pace = tokens / earlier, f"as fast as the last training of this base: {earlier:,.0f} tokens/s"
    else:
        rate = _matrix_rate(config, dtype, device)
        seconds = flops / (rate * EFFICIENCY)
        pace = (
            f"the arithmetic of a simulated step, at {EFFICIENCY:.0%} of the {rate / 1e9:,.3g} GFLOP/s that products of "
            "the model's matrices reach here"
        )
    memory = count_memory(model, activations=step.activations, dtype=dtype, quantized=quantized)
    return Forecast(
        plan=plan,
        memory=memory,
        available=available_memory(device),
        device=device,
        flops=flops,
        seconds=seconds,
        pace=pace,
        packed=is_packable(config),
        smaller=tuple(
            _smaller(spec, memory, count_memory(model, activations=step.activations, dtype=dtype, quantized=True))
        ),
    )


def refuse_hopeless(spec: TrainSpec, *, base: TransformersModel, folder: Path) -> None:
    """Raise UserError where weights, gradients and optimiser alone are more than the memory that is free."""
    if "memory" in spec.allow:
        return
    dtype = DTYPES[resolve_compute_dtype(spec.compute_dtype)]
    quantized = quantization_of(spec, base) == "nf4"
    memory = count_memory(meta_model(read_config(folder), spec), activations=0, dtype=dtype, quantized=quantized)
    free = available_memory(device_of_machine())
    if free is not None and memory.total > free:
        raise UserError(
            f"'memory' must hold the training: weights, gradients and optimiser alone are {gibibytes(memory.total)}, and "
            f"{gibibytes(free)} are free. `muster check` says what would fit; allow: [memory] tries it all the same."
        )


def refusal(forecast: Forecast, spec: TrainSpec) -> str:
    """Why a training that does not fit is refused, and the least change with which it would."""
    memory, free = forecast.memory, forecast.available or 0
    parts = {
        "weights": memory.weights + memory.trained,
        "gradients and optimiser": memory.gradients + memory.optimizer,
        "activations": memory.activations,
    }
    listed = ", ".join(f"{name} {gibibytes(size)}" for name, size in parts.items())
    fitting = next(((what, size) for what, size in forecast.smaller if size <= free), None)
    if fitting is not None:
        way_out = f"Set {fitting[0]} (about {gibibytes(fitting[1])})"
    else:
        way_out = "Take a smaller base, a smaller max_length with truncation: drop, or a larger machine"
    return (
        f"'batch_size' must let the training fit into memory: about {gibibytes(memory.total)} are needed "
        f"({listed}), {gibibytes(free)} are free. {way_out}; or allow: [memory] to try it all the same"
    )


def _smaller(spec: TrainSpec, memory: Memory, quantized: Memory) -> Iterator[tuple[str, int]]:
    """Changes of the recipe that need less memory, with what is needed then; the result stays the same, or nearly so."""
    batches = [size for size in (spec.batch_size // 2, spec.batch_size // 4, 1) if 0 < size < spec.batch_size]

    def batched(size: int, memory: Memory) -> tuple[str, int]:
        accumulated = math.ceil(spec.batch_size * spec.gradient_accumulation / size)
        rest = memory.total - memory.activations
        return (
            f"batch_size: {size} and gradient_accumulation: {accumulated}",
            rest + math.ceil(memory.activations * size / spec.batch_size),
        )

    sizes = list(dict.fromkeys(batches))
    yield from (batched(size, memory) for size in sizes)
    if spec.method == "lora" and quantized.weights < memory.weights:
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
    rows: Sequence[TokenRow] | int, spec: TrainSpec, *, packed: bool, cpu: bool
) -> tuple[int, int, int | None]:
    """Rows, tokens a row, and trained tokens a row of the widest batch that shuffling can make.

    Trained tokens are None where logits are taken of all. Rows that were not tokenised count as max_length long.
    """
    if isinstance(rows, int):
        return min(spec.batch_size, max(rows, 1)), spec.max_length, None
    widest = sorted(rows, key=lambda row: len(row.input_ids), reverse=True)[: spec.batch_size]
    if not packed:
        return len(widest), len(widest[0].input_ids), None
    length = math.ceil(sum(len(row.input_ids) for row in widest) / len(widest))
    if not cpu:
        return len(widest), length, None
    answers = sorted((sum(label != IGNORED for label in row.labels) for row in rows), reverse=True)[: spec.batch_size]
    return len(widest), length, min(math.ceil(sum(answers) / len(widest)), length)


def _last_pace(
    adapters: Path, spec: TrainSpec, base_fingerprint: str | None, device: str, quantized: bool
) -> float | None:
    """Tokens a second of the newest finished training like this one."""
    manifests = sorted(adapters.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in manifests:
        try:
            training: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["training"]
            record = training["record"]
            like = (
                training["base_fingerprint"] == base_fingerprint
                and record["recipe"]["method"] == spec.method
                and record["ran"]["device"] == device
                and (record["ran"]["quantization"] == "nf4") == quantized
                and record["ran"]["threads"] == torch.get_num_threads()
            )
            if like and training["seconds"] > 0:
                return float(training["tokens"] / training["seconds"])
        except (OSError, ValueError, KeyError, TypeError):  # not a training, or one of another version
            continue
    return None


def _matrix_rate(config: PreTrainedConfig, dtype: torch.dtype, device: str) -> float:
    """Floating-point operations a second of a product of the size of this model's layers."""
    text = config.get_text_config()
    size = int(getattr(text, "hidden_size", 0) or getattr(text, "d_model", 0) or 1024)
    inner = int(getattr(text, "intermediate_size", 0) or getattr(text, "d_ff", 0) or 4 * size)
    return _measure_rate(size, inner, dtype, device)


@lru_cache(maxsize=16)
def _measure_rate(size: int, inner: int, dtype: torch.dtype, device: str) -> float:
    """Of [PROBE_ROWS, size] times [size, inner]; measured once a process."""
    left = torch.ones((PROBE_ROWS, size), dtype=dtype, device=device)
    right = torch.ones((size, inner), dtype=dtype, device=device)
    left @ right  # the first one pays for starting up
    products, began, passed = 0, time.perf_counter(), 0.0
    while passed < PROBE_SECONDS:
        left @ right
        if device != "cpu":
            torch.cuda.synchronize()
        products += 1
        passed = time.perf_counter() - began
    return products * 2 * PROBE_ROWS * size * inner / passed
