"""Attention for rows laid end to end: each row attends to itself alone, with no padding and no masked pairs.

A batch of rows is flattened into one sequence with restarting `position_ids` (TRL's padding-free collator). Every
layer but attention treats tokens one by one, so it sees real tokens only; attention is taken row by row here. It is
the same arithmetic as each row alone, which tests hold against unpadded rows. Only plain causal attention is packed:
what a model with sliding windows, chunks or soft caps needs besides is refused, never ignored.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

PACKED = "muster_packed"
"""Name under which transformers knows this attention (`attn_implementation`)."""

PACKABLE = ("llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3", "phi3")
"""Architectures whose attention is sdpa's and nothing more; others are padded, which is slower and never wrong."""


UNPACKABLE_OPTIONS = ("sliding_window", "softcap", "s_aux", "position_bias")


def is_packable(config: PreTrainedConfig) -> bool:
    """Whether every layer of this model is plain causal attention of a kind that tests cover."""
    text = config.get_text_config()
    layers = getattr(text, "layer_types", None) or ["full_attention"]
    windowed = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    return text.model_type in PACKABLE and not windowed and set(layers) == {"full_attention"}


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row of one flattened sequence.

    Args:
        module: the attention layer.
        query: [1, heads, tokens, head size]; `key` and `value` likewise with their own heads.
        key: see `query`.
        value: see `query`.
        attention_mask: must be None; a mask would mean padding.
        cu_seq_lens_q: [rows + 1] int, where each row begins, and the end.
        options: what transformers hands every attention, such as `scaling` and `dropout`.

    Returns:
        [1, tokens, heads, head size], and None for the weights.
    """
    if attention_mask is not None or cu_seq_lens_q is None or query.shape[0] != 1:
        raise ValueError("packed attention takes one flattened sequence with cu_seq_lens_q and no mask")
    refused = [name for name in UNPACKABLE_OPTIONS if options.get(name) is not None]
    if refused:
        raise ValueError(f"packed attention knows no {refused[0]}")
    bounds = cu_seq_lens_q.tolist()
    rows = [
        sdpa_attention_forward(
            module,
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            None,
            is_causal=True,
            **options,
        )[0]
        for start, end in pairwise(bounds)
    ]
    return torch.cat(rows, dim=1), None


AttentionInterface.register(PACKED, packed_attention)
