"""A reward model, loaded: one number for an answer to an input, in batches of similar length.

A base with a head of one number, and on it a LoRA that holds the head too; or a checkpoint that has both in one. Input and
answer become tokens as they did in training, end-of-sequence token included; nothing is cut. Weights come from safetensors
only, and a head that is not there is refused: transformers would fill it in at random.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from harness.errors import ModelError
from harness.models import decoding, identity, rendering
from harness.records import Failure, Message

MAX_ROWS = 32
MAX_TOKENS = 8_192
"""Longest row times rows of a batch."""


class LocalRewardModel:
    """The reward model of a folder, or of a base's folder and an adapter; on a GPU where there is one. Loads at once.

    Raises ModelError where it cannot be loaded, or is no reward model.
    """

    def __init__(
        self, folder: Path, *, name: str, key: str, adapter: Path | None, chat_template: Path | None, dtype: torch.dtype
    ) -> None:
        self.key = key
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        if adapter is not None and identity.adapter_config(adapter).get("task_type") != "SEQ_CLS":
            raise ModelError(
                f"adapter '{adapter.name}' must be of a reward model (objective: reward); it answers instead."
            )
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            self._model = _load(folder, name, adapter, dtype).eval().requires_grad_(False).to(self._device)
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise ModelError(f"model '{name}' cannot be loaded ({' '.join(str(error).split())[:300]}).") from None
        if chat_template is not None:
            self._tokenizer.chat_template = chat_template.read_text(encoding="utf-8")
        pad = self._tokenizer.pad_token_id
        self._pad = self._tokenizer.eos_token_id if pad is None else pad
        config = self._model.config.get_text_config()
        config.pad_token_id = self._pad  # by which transformers finds a row's last token, in training as here
        self._window = int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def rewards(self, answered: Sequence[tuple[str, str]]) -> list[float | Failure]:
        """One number for each pair of input and answer, or why there is none. Equal pairs are computed once."""
        unique = list(dict.fromkeys(answered))
        rows = [self._ids(input, answer) for input, answer in unique]
        found: dict[tuple[str, str], float | Failure] = {
            pair: Failure(
                kind="too_long",
                message=f"input and answer have {len(ids):,} tokens, the model's window {self._window:,}",
            )
            for pair, ids in zip(unique, rows, strict=True)
            if len(ids) > self._window
        }
        fit = [(pair, ids) for pair, ids in zip(unique, rows, strict=True) if pair not in found]
        for places in decoding.batches([len(ids) for _, ids in fit], max_rows=MAX_ROWS, max_tokens=MAX_TOKENS):
            values = self._forward([fit[place][1] for place in places])
            for place, value in zip(places, values, strict=True):
                failure = Failure(kind="not_finite", message="the model's reward is not finite; try dtype: float32")
                found[fit[place][0]] = value if math.isfinite(value) else failure
        return [found[pair] for pair in answered]

    def _ids(self, input: str, answer: str) -> list[int]:
        prompt, ids = rendering.training_tokens(self._tokenizer, (Message(role="user", content=input),), answer)
        return [*prompt, *ids]

    def _forward(self, rows: Sequence[list[int]]) -> list[float]:
        width = max(map(len, rows))
        ids = torch.tensor([row + [self._pad] * (width - len(row)) for row in rows], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._device)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return [float(value) for value in logits[:, 0].float().cpu()]


def _load(folder: Path, name: str, adapter: Path | None, dtype: torch.dtype) -> Any:
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a base has no head, which the adapter brings
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=dtype, trust_remote_code=False, local_files_only=True, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip
    finally:
        logging.set_verbosity(verbosity)
    if adapter is None:
        if info["missing_keys"] or info.get("mismatched_keys"):
            raise ModelError(
                f"model '{name}' must be a reward model: a sequence classifier with one label, or a base with an "
                "'adapter' of objective: reward (its head is missing)."
            )
        return model
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        warnings.filterwarnings("error", message=".*unexpected adapter keys.*")
        warnings.filterwarnings("ignore", category=FutureWarning)
        return PeftModel.from_pretrained(model, adapter, is_trainable=False)
