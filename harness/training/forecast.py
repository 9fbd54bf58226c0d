"""What a training will take on this machine: parameters, steps, tokens, memory and time, as `estimating` has reckoned them.

Of a forecast, the memory that is free and the pace of earlier trainings are of the moment (`as_of_now`); all else follows
from recipe, base, rows and machine, so that a forecast can be kept. Knows nothing of torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.suite.grammar import TrainSpec
from harness.training.memory import Memory, available_memory
from harness.training.recipe import TrainingPlan, gibibytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a training will take."""

    plan: TrainingPlan
    memory: Memory
    available: int | None
    """Bytes free on the device now; None where the system does not say."""
    device: str
    quantized: bool
    threads: int
    """Of torch, on a CPU."""
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

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Forecast:
        """Of the plain JSON that `dataclasses.asdict` gives. Raises TypeError or KeyError where it is none."""
        return cls(
            **{
                **content,
                "plan": TrainingPlan(**content["plan"]),
                "memory": Memory(**content["memory"]),
                "smaller": tuple((what, size) for what, size in content["smaller"]),
            }
        )


def as_of_now(forecast: Forecast, spec: TrainSpec, *, adapters: Path, base_fingerprint: str | None) -> Forecast:
    """The forecast with the memory that is free now, and the pace of the last training like this one where there is one.

    Args:
        forecast: of the recipe.
        spec: the recipe.
        adapters: the folder of finished trainings.
        base_fingerprint: of the base, to find earlier trainings by; None where its weights are not there.
    """
    present = replace(forecast, available=available_memory(forecast.device))
    earlier = _last_pace(adapters, spec, base_fingerprint, forecast)
    if earlier is None or forecast.plan.tokens is None:
        return present
    pace = f"as fast as the last training of this base: {earlier:,.0f} tokens/s"
    return replace(present, seconds=forecast.plan.tokens / earlier, pace=pace)


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


def _last_pace(adapters: Path, spec: TrainSpec, base_fingerprint: str | None, forecast: Forecast) -> float | None:
    """Tokens a second of the newest finished training like this one."""
    manifests = sorted(adapters.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in manifests:
        try:
            training: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["training"]
            record = training["record"]
            like = (
                training["base_fingerprint"] == base_fingerprint
                and all(record["recipe"][name] == getattr(spec, name) for name in ("method", "objective"))
                and record["ran"]["device"] == forecast.device
                and (record["ran"]["quantization"] == "nf4") == forecast.quantized
                and record["ran"]["threads"] == forecast.threads
            )
            if like and training["seconds"] > 0:
                return float(training["tokens"] / training["seconds"])
        except (OSError, ValueError, KeyError, TypeError):  # not a training, or one of another version
            continue
    return None
