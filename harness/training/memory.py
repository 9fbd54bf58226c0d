"""How much memory a training takes at its peak, and how much this machine has left.

    weights        frozen ones in the compute dtype, or 4.127 bits each where quantised: NF4 with a scale of 8 bits for 64
                   weights and one of 32 bits for 256 of those scales (QLoRA, Dettmers et al. 2023, section 3)
    trained        float32, 4 bytes each: a LoRA's adapter, or the weights themselves
    gradients      float32, 4 bytes for each trained weight
    optimiser      AdamW's two moments in float32, 8 bytes for each trained weight
    activations    what autograd holds at the widest moment of the widest batch (`simulation`), one dequantised layer
                   included where weights are quantised

The estimate leaves out what the process holds before (interpreter and libraries, a GPU's context) and what the allocator
wastes. A test holds it against all that torch allocates in a real training on the CPU, within a factor of 1.25; on a
GPU it has not been measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes of a weight in NF4 with double quantisation."""
FLOAT = 4
MOMENTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of a training at its peak, by what they are for."""

    weights: int
    """Frozen weights."""
    trained: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return self.weights + self.trained + self.gradients + self.optimizer + self.activations


def count_memory(
    model: Any, *, activations: int, dtype: torch.dtype, quantized: bool, reference: bool = False
) -> Memory:
    """The parts of a training's memory.

    Args:
        model: on the meta device, with `requires_grad` where it is trained.
        activations: bytes of the widest batch (`simulate_step`).
        dtype: of the frozen weights that are not quantised.
        quantized: whether the frozen linear layers are held in NF4; the output layer and embeddings never are.
        reference: whether a frozen copy of the whole model is held beside the one that is trained.
    """
    parameters = {id(p): p for p in model.parameters()}
    trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    frozen = {key: p.numel() for key, p in parameters.items() if not p.requires_grad}
    linear = _linear_weights(model) & frozen.keys() if quantized else set()
    packed = sum(frozen[key] for key in linear)
    largest = max((frozen[key] for key in linear), default=0)
    copied = sum(p.numel() for p in parameters.values()) if reference else 0
    return Memory(
        weights=round(packed * NF4_BYTES + (sum(frozen.values()) - packed + copied) * dtype.itemsize),
        trained=trained * FLOAT,
        gradients=trained * FLOAT,
        optimizer=trained * FLOAT * MOMENTS,
        activations=activations + largest * dtype.itemsize,
    )


def _linear_weights(model: Any) -> set[int]:
    """The weights of linear layers, the output layer's left out, by identity."""
    import torch

    head = getattr(model, "get_output_embeddings", lambda: None)()
    linear = (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return {id(module.weight) for module in linear}


def available_memory(device: str, *, root: Path = Path("/")) -> int | None:
    """Bytes that a new training can take: of the GPU, or of this machine within the limits of its control groups.

    `root` is where /proc and /sys are looked for. None where the system does not say.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info()[0])
    left = [_left_of_machine(root), *_left_of_groups(root)]
    return min((size for size in left if size is not None), default=None)


def _left_of_machine(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _left_of_groups(root: Path) -> list[int | None]:
    """What each control group above this process leaves, of version 2 and version 1; files in the cache count as free."""
    left: list[int | None] = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup" if not controllers else "sys/fs/cgroup/memory")
        limit, used = (
            ("memory.max", "memory.current") if not controllers else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        cached = "inactive_file" if not controllers else "total_inactive_file"
        folder = mount / path.strip("/")
        for group in [folder, *folder.parents]:
            if group != mount and mount not in group.parents:
                break
            left.append(_left_of_group(group, limit, used, cached))
    return left


def _left_of_group(group: Path, limit: str, used: str, cached: str) -> int | None:
    most, now = _number(group / limit), _number(group / used)
    if most is None or now is None:  # no such group here, or `max`: no limit
        return None
    files = [line.split() for line in _lines(group / "memory.stat")]
    free = next((int(words[1]) for words in files if words[0] == cached), 0)
    return max(most - now + free, 0)


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
