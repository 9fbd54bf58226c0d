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
    "HEAD_FILE",
    "JUDGE_FILE",
    "MAX_TOKENS",
    "JudgeFiles",
    "JudgeKind",
    "embedder_key",
    "embedding_tokens",
    "encoder_key",
    "read_json",
    "read_judge_files",
]

JudgeKind = Literal["nli", "classification", "score"]
KINDS = ("nli", "classification", "score")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
HEAD_FILE = "head.safetensors"
JUDGE_FILE = "judge.json"
MAX_TOKENS = 512
"""Positions of the encoder, special tokens included."""
EMBEDDING_TOKENS = 256
"""`max_seq_length` of the published recipe, where a folder does not state its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFiles:
    """A judge adapter as its files describe it: `scale` multiplies the LoRA product, `hidden` is the head's width."""

    folder: Path
    key: str
    kind: JudgeKind
    labels: tuple[str, ...]
    hidden: int
    scale: float


def read_judge_files(folder: Path, *, encoder: Path) -> JudgeFiles:
    """The description of the adapter in `folder`, for use on the encoder in `encoder`.

    Raises ModelError when a file is missing or unreadable, or when the adapter was trained on another encoder.
    """
    judge, lora = read_json(folder / JUDGE_FILE), read_json(folder / ADAPTER_CONFIG)
    base = encoder_key(encoder)
    if judge.get("encoder") != base:
        raise ModelError(f"the judge adapter in {folder} was trained on another encoder. Train it again on this one.")
    try:
        labels = tuple(str(label) for label in judge["labels"])
        hidden, scale = int(judge["hidden"]), float(lora["lora_alpha"]) / float(lora["r"])
        kind = judge["kind"]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"the judge adapter in {folder} is not complete ({type(error).__name__}: {error}).") from error
    if kind not in KINDS:
        raise ModelError(f"{folder / JUDGE_FILE}: 'kind' must be one of {', '.join(KINDS)} (got {kind!r}).")
    parts = (JUDGE_FILE, ADAPTER_CONFIG, ADAPTER_FILE, HEAD_FILE)
    return JudgeFiles(
        folder=folder,
        key=fingerprint([base, *(file_sha256(folder / name) for name in parts)]),
        kind=cast(JudgeKind, kind),
        labels=labels,
        hidden=hidden,
        scale=scale,
    )


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
