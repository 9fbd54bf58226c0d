"""A sequence classification checkpoint of transformers, loaded: probabilities in batches of similar length.

Code from a checkpoint is never run (`trust_remote_code` off), weights are read from safetensors only, and a checkpoint
whose weights lack something, such as the head, is refused: transformers would fill it in at random. Which label is
which, and how long a text may be, is read from the files by `harness.models.classifiers`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.errors import ModelError
from harness.models.encoder import token_batches

__all__ = ["CheckpointClassifier"]

BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Padded tokens of a batch. A CPU is fastest where a batch's activations stay in its cache."""
ROUNDING = 1e-5
"""How far logits may be off that were computed with matrices of another shape."""

_ATTENDED = re.compile(r"\.layer\.(\d+)\.attention\.output$")
"""What follows the attention of a layer, in transformers' BERT and its kin."""


class CheckpointClassifier:
    """The classifier in `folder`, in float32, on a GPU where there is one. `name` is for messages.

    `independent` labels get a sigmoid each, others share a softmax. Raises ModelError when it cannot be loaded.
    """

    def __init__(self, folder: Path, name: str, *, max_tokens: int, independent: bool) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            raise ModelError(f"model '{name}' cannot be loaded ({' '.join(str(error).split())[:300]}).") from error
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise ModelError(
                f"model '{name}' must hold all its weights ({len(missing)} missing, such as {missing[0]})."
                " Take a checkpoint that was trained as a classifier."
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.eval().to(self._device)
        self._max_tokens = max_tokens
        self._independent = independent
        self._spare_the_last_layer()

    def probabilities(self, inputs: Sequence[Any]) -> list[tuple[float, ...]]:
        """Shape [inputs][labels], of texts or of pairs; equal ones are computed once.

        Raises ValueError for an input longer than `max_tokens`.
        """
        unique = list(dict.fromkeys(inputs))
        if not unique:
            return []
        encoded = self._encode(unique)
        rows: dict[Any, tuple[float, ...]] = {}
        for batch in token_batches([len(item["input_ids"]) for item in encoded], BATCH_TOKENS[self._device]):
            padded = self._tokenizer.pad([encoded[index] for index in batch], padding=True, return_tensors="pt")
            with torch.inference_mode():
                logits = self._model(**padded.to(self._device)).logits.float().cpu()
            table = logits.sigmoid() if self._independent else logits.softmax(-1)
            rows |= {unique[index]: tuple(row) for index, row in zip(batch, table.tolist(), strict=True)}
        return [rows[text] for text in inputs]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
        if not texts:
            return []
        encoded = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [len(ids) for ids in encoded]

    def _encode(self, inputs: list[Any]) -> list[dict[str, list[int]]]:
        """Token ids and their companions of each input, all tokenised at once."""
        if isinstance(inputs[0], tuple):
            columns = self._tokenizer([pair[0] for pair in inputs], [pair[1] for pair in inputs], verbose=False)
        else:
            columns = self._tokenizer(inputs, verbose=False)
        for text, ids in zip(inputs, columns["input_ids"], strict=True):
            if len(ids) > self._max_tokens:
                raise ValueError(
                    f"a text must be at most {self._max_tokens} tokens with its special tokens"
                    f" (got {len(ids)}: {(text[1] if isinstance(text, tuple) else text)[:60]!r}). Cut it into windows."
                )
        return [{name: columns[name][index] for name in columns} for index in range(len(inputs))]

    def _spare_the_last_layer(self) -> None:
        """Where the head reads the first token alone, the last layer makes nothing of the others after its attention.

        Of a model with 6 layers that is an eighth of the work. Whether the head does, two texts tell: where their logits
        change by more than rounding does, everything stays as it was.
        """
        modules: list[tuple[str, nn.Module]] = list(self._model.named_modules())
        layers = {int(found[1]): module for name, module in modules if (found := _ATTENDED.search(name))}
        if not layers:
            return
        probe = self._tokenizer(["a", "one and another, and more"], padding=True, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            expected = self._model(**probe).logits
            hook = layers[max(layers)].register_forward_pre_hook(lambda _, given: tuple(part[:, :1] for part in given))
            try:
                same = torch.allclose(self._model(**probe).logits, expected, rtol=0, atol=ROUNDING)
            except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):  # built otherwise
                same = False
        if not same:
            hook.remove()
