"""What training the whole encoder changed, small enough for a repository: 8 bits a weight.

A matrix's change D is kept as int8 codes with one float32 scale a row: D[i, j] is about codes[i, j] * scale[i], where
scale[i] is the row's largest |D[i, j]| / 127, so no entry is off by more than half a scale. Vectors (biases, layer
norms) are kept in float16. Unchanged parameters, such as frozen embeddings, are not kept at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["pack_deltas", "unpack_deltas"]

CODES, SCALE, PLAIN = ".codes", ".scale", ".delta"
LEVELS = 127


def pack_deltas(base: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors to save: for each parameter of `trained` that differs from `base`, its change."""
    packed: dict[str, Tensor] = {}
    for name, tensor in trained.items():
        change = (tensor.detach().float() - base[name].detach().float()).cpu()
        if not change.any():
            continue
        if change.dim() < 2:
            packed[name + PLAIN] = change.half()
            continue
        scale = change.abs().amax(dim=1, keepdim=True) / LEVELS
        codes = (change / scale.clamp(min=torch.finfo(torch.float32).tiny)).round()
        packed[name + CODES], packed[name + SCALE] = codes.to(torch.int8), scale
    return packed


def unpack_deltas(base: Mapping[str, Tensor], packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The changed parameters, base plus change, in float32.

    Raises KeyError for a parameter that the base lacks or a matrix without scale, ValueError for a foreign tensor.
    """
    changed: dict[str, Tensor] = {}
    for key, tensor in packed.items():
        if key.endswith(CODES):
            name = key.removesuffix(CODES)
            change = tensor.float() * packed[name + SCALE]
        elif key.endswith(PLAIN):
            name, change = key.removesuffix(PLAIN), tensor.float()
        elif key.endswith(SCALE):
            continue
        else:
            raise ValueError(f"it holds a tensor that is no change of a weight ({key})")
        changed[name] = base[name].detach() + change
    return changed
