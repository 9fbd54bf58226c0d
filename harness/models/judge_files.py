"""What the files of the encoder and of a judge adapter say, without loading a model. No torch here.

A key changes whenever a number could: weights, tokenizer, head, settings or the embedding recipe. Cards and manifests
are no part of it. So a run in which every judgement is known already hashes files and loads nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from harness.errors import ModelError, UserError
from harness.models.identity import file_sha256
from harness.records import fingerprint

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_FILE",
    "DELTA_FILE",
    "HEAD_FILE",
    "JUDGE_FILE",
    "MAX_TOKENS",
    "JudgeFiles",
    "JudgeKind",
    "JudgeMethod",
    "embedder_key",
    "embedding_tokens",
    "encoder_key",
    "read_json",
    "read_judge_files",
    "weight_files",
]

JudgeKind = Literal["nli", "classification", "score"]
JudgeMethod = Literal["lora", "full"]
KINDS = ("nli", "classification", "score")
METHODS = ("lora", "full")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
DELTA_FILE = "delta.safetensors"
"""What whole-encoder training changed, in 8 bits a weight; see `harness.models.deltas`."""
HEAD_FILE = "head.safetensors"
JUDGE_FILE = "judge.json"
MAX_TOKENS = 512
"""Positions of the encoder, special tokens included."""
EMBEDDING_TOKENS = 256
"""`max_seq_length` of the published recipe, where a folder does not state its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFiles:
    """A judge adapter as its files describe it: `hidden` is the head's width, `scale` multiplies the LoRA product."""

    folder: Path
    key: str
    kind: JudgeKind
    labels: tuple[str, ...]
    hidden: int
    method: JudgeMethod
    pair: bool
    """Whether it reads two texts: always for nli, for classification where its rows had two."""
    scale: float
    """1 where the whole encoder was trained."""


def read_judge_files(folder: Path, *, encoder: Path) -> JudgeFiles:
    """The description of the adapter in `folder`, for use on the encoder in `encoder`.

    Raises ModelError when a file is missing or unreadable, or when the adapter was trained on another encoder.
    """
    judge = read_json(folder / JUDGE_FILE)
    base = encoder_key(encoder)
    if judge.get("encoder") != base:
        raise ModelError(f"the judge adapter in {folder} was trained on another encoder. Train it again on this one.")
    kind, method = judge.get("kind"), judge.get("method", "lora")
    for name, value, known in (("kind", kind, KINDS), ("method", method, METHODS)):
        if value not in known:
            raise ModelError(f"{folder / JUDGE_FILE}: '{name}' must be one of {', '.join(known)} (got {value!r}).")
    try:
        labels = tuple(str(label) for label in judge["labels"])
        hidden = int(judge["hidden"])
        lora = read_json(folder / ADAPTER_CONFIG) if method == "lora" else {"lora_alpha": 1, "r": 1}
        scale = float(lora["lora_alpha"]) / float(lora["r"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"the judge adapter in {folder} is not complete ({type(error).__name__}: {error}).") from error
    return JudgeFiles(
        folder=folder,
        key=fingerprint([base, *(file_sha256(folder / name) for name in weight_files(method))]),
        kind=cast(JudgeKind, kind),
        labels=labels,
        hidden=hidden,
        method=cast(JudgeMethod, method),
        pair=kind == "nli" or bool(judge.get("pair", False)),
        scale=scale,
    )


def weight_files(method: str) -> tuple[str, ...]:
    """The files that decide an adapter's numbers: they are hashed into its key, and the card is not."""
    changed = (ADAPTER_CONFIG, ADAPTER_FILE) if method == "lora" else (DELTA_FILE,)
    return (JUDGE_FILE, *changed, HEAD_FILE)


def encoder_key(folder: Path) -> str:
    """The content of the encoder's weights and tokenizer: an adapter fits the encoder it was trained on, no other."""
    return fingerprint([file_sha256(folder / "model.safetensors"), file_sha256(folder / "tokenizer.json")])


def embedder_key(folder: Path) -> str:
    """The content of weights and tokenizer, and the embedding recipe."""
    return fingerprint(["minilm", encoder_key(folder), "mean", "unit", embedding_tokens(folder)])


def embedding_tokens(folder: Path) -> int:
    """Tokens the embedding recipe reads. Raises UserError for a recipe that pools otherwise than by the mean."""
    pooling, recipe = folder / "1_Pooling/config.json", folder / "sentence_bert_config.json"
    if pooling.is_file() and not read_json(pooling).get("pooling_mode_mean_tokens", True):
        raise UserError(f"{folder.name} must be an encoder with mean pooling (1_Pooling/config.json says otherwise).")
    return int(read_json(recipe).get("max_seq_length", EMBEDDING_TOKENS)) if recipe.is_file() else EMBEDDING_TOKENS


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError when there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}).") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object (got {type(value).__name__}).")
    return value
