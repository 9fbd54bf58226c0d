"""The one MiniLM encoder: embeddings, and judge adapters (what training changed, and a head) on the same base weights.

The base is loaded once, in float32. An attached adapter is kept as merged copies of the weights it changes, 42 MB each,
and a forward pass is given one set: no adapter is left switched on, so none can leak from one judge into the next. The
pass costs 1.03 times the plain encoder's; peft's unmerged layers cost 1.34 times as much, after an import of a second
or more. Equal inputs are computed once; batches hold texts of about equal length up to a budget of tokens.

Embeddings follow the published recipe of sentence-transformers/all-MiniLM-L6-v2: at most 256 tokens, the mean of the
last hidden states, length 1. Nothing here knows what a judge does with the numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.func import functional_call
from transformers import BertConfig, BertModel

from harness.errors import ModelError, UserError
from harness.models.deltas import unpack_deltas
from harness.models.judge_files import (
    ADAPTER_FILE,
    DELTA_FILE,
    HEAD_FILE,
    MAX_TOKENS,
    JudgeFiles,
    embedder_key,
    embedding_tokens,
    read_judge_files,
)

__all__ = [
    "AdapterPairClassifier",
    "AdapterTextClassifier",
    "Head",
    "MiniLM",
    "TokenizedText",
    "build_head",
    "changed_weights",
    "load_bert",
    "load_tokenizer",
    "pool",
    "stack",
    "token_batches",
    "tokenize",
]

BATCH_TOKENS = 1024
"""Padded tokens of an inference batch. On one core: 3,200 tokens/s at 1,024, 2,700 at 4,096, 1,900 at 8,192."""
EMBEDDING_CACHE = 50_000
"""Texts whose embeddings are kept: 1.5 KB each, 77 MB when full."""

Input = tuple[str, str] | str


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """Token ids of a text or a pair with its special tokens; `types` is 1 on the second text and its separator."""

    ids: list[int]
    types: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class Head(nn.Module):
    """Logits from pooled features: layer norm, a linear layer, GELU, a linear layer."""

    def __init__(self, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits [batch, outputs] of features [batch, features]."""
        logits: Tensor = self.layers(features)
        return logits


def build_head(*, size: int, pair: bool, hidden: int, outputs: int) -> Head:
    """A head for the features that `pool` makes of hidden states of `size` dimensions."""
    return Head(size * (5 if pair else 2), hidden, outputs)


def pool(states: Tensor, mask: Tensor, types: Tensor, *, pair: bool) -> Tensor:
    """Features of hidden states [batch, tokens, size]: [CLS] and the mean.

    For a pair: [CLS], the mean of either text, their absolute difference and their product (InferSent, Conneau et al.
    2017), which starts from what the encoder was trained for: comparing mean-pooled sentences.
    """
    first = states[:, 0]
    if not pair:
        return torch.cat([first, _mean(states, mask)], dim=-1)
    left, right = _mean(states, mask * (1 - types)), _mean(states, types)
    return torch.cat([first, left, right, (left - right).abs(), left * right], dim=-1)


def _mean(states: Tensor, weights: Tensor) -> Tensor:
    wide = weights.unsqueeze(-1).to(states.dtype)
    mean: Tensor = (states * wide).sum(1) / wide.sum(1)
    return mean


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's fast tokenizer without truncation or padding. Raises ModelError when it cannot be read."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"the tokenizer {folder / 'tokenizer.json'} cannot be read ({error}).") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenize(tokenizer: Tokenizer, inputs: Sequence[Input]) -> list[TokenizedText]:
    """Token ids with special tokens, of texts or of pairs."""
    return [TokenizedText(encoding.ids, encoding.type_ids) for encoding in tokenizer.encode_batch(list(inputs))]


def load_bert(folder: Path, *, dropout: float = 0.0) -> BertModel:
    """The encoder in float32 without its pooler, from safetensors only. Raises ModelError when it cannot be read."""
    try:
        config = BertConfig.from_json_file(str(folder / "config.json"))
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"the encoder in {folder} cannot be read ({error}).") from error
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    with torch.random.fork_rng(devices=[]):  # the random weights made here are replaced at once
        bert = BertModel(config, add_pooling_layer=False)
    unused = [name for name in tensors if name.startswith("pooler.") or name.endswith("position_ids")]
    weights = {name: tensor.float() for name, tensor in tensors.items() if name not in unused}
    try:
        bert.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{folder / 'model.safetensors'} does not hold a BERT encoder ({error}).") from error
    return bert.eval()


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in order of length, cut so that rows times longest row stays within `budget` tokens (or is one row)."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and lengths[index] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def stack(texts: Sequence[TokenizedText]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and token types of texts, padded on the right: three tensors [texts, longest]."""
    longest = max(len(text) for text in texts)
    rows = np.zeros((3, len(texts), longest), dtype=np.int64)
    for row, text in enumerate(texts):
        rows[0, row, : len(text)] = text.ids
        rows[1, row, : len(text)] = 1
        rows[2, row, : len(text)] = text.types
    ids, mask, types = torch.from_numpy(rows)
    return ids, mask, types


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adapter:
    """An adapter in memory: the base weights it changes, merged, and its head."""

    files: JudgeFiles
    weights: dict[str, Tensor]
    head: Head


def changed_weights(base: Mapping[str, Tensor], files: JudgeFiles) -> dict[str, Tensor]:
    """The encoder's parameters that an adapter changes, merged: base plus scale times B·A (Hu et al. 2021, section 4.1),
    or base plus the kept change where the whole encoder was trained.

    Raises OSError, SafetensorError, KeyError or ValueError when the file is damaged or does not fit the base.
    """
    if files.method == "full":
        return unpack_deltas(base, load_file(files.folder / DELTA_FILE))
    tensors = {name: tensor.float() for name, tensor in load_file(files.folder / ADAPTER_FILE).items()}
    prefix, end = "base_model.model.", ".lora_A.weight"
    names = [name.removeprefix(prefix).removesuffix(end) for name in tensors if name.endswith(end)]
    if len(tensors) != 2 * len(names):
        raise ValueError("it holds tensors that are not LoRA pairs")
    return {
        f"{name}.weight": base[f"{name}.weight"].detach()
        + files.scale * tensors[f"{prefix}{name}.lora_B.weight"] @ tensors[f"{prefix}{name}{end}"]
        for name in names
    }


class MiniLM:
    """The encoder with its adapters; an Embedder. Build one a process with `MiniLM(folder)`.

    Raises ModelError when the folder cannot be read or a file in it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = load_tokenizer(folder)
        self._bert = load_bert(folder)
        self._base_weights = dict(self._bert.named_parameters())
        self._adapters: dict[Path, _Adapter] = {}
        self._embeddings: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._embedding_tokens = embedding_tokens(folder)
        self.key = embedder_key(folder)

    @property
    def size(self) -> int:
        """Dimensions of an embedding."""
        return int(self._bert.config.hidden_size)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape [texts, size]; each different text is computed once and remembered.

        A text longer than the recipe reads is embedded by its beginning, as published.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self._embeddings]
        found = {text: self._embeddings[text] for text in dict.fromkeys(texts) if text in self._embeddings}
        tokens = [_cut(text, self._embedding_tokens) for text in tokenize(self._tokenizer, missing)]
        for text, row in zip(missing, self._run(tokens, self._embedding), strict=True):
            found[text] = self._embeddings[text] = row.numpy()
        while len(self._embeddings) > EMBEDDING_CACHE:
            self._embeddings.popitem(last=False)
        if not texts:
            return np.zeros((0, self.size), dtype=np.float32)
        return np.stack([found[text] for text in texts])

    def pair_classifier(self, folder: Path) -> AdapterPairClassifier:
        """The adapter for two texts (nli, or classification of pairs) of a folder, attached to this encoder (once).

        Raises ModelError when it cannot be read, UserError when it reads one text.
        """
        adapter = self._attach(folder)
        if not adapter.files.pair:
            raise UserError(
                f"{folder.name} must be a judge adapter for two texts (got kind '{adapter.files.kind}' for one)."
                " Train one: muster train-judge --kind nli."
            )
        return AdapterPairClassifier(self, adapter)

    def text_classifier(self, folder: Path) -> AdapterTextClassifier:
        """The classification or score adapter of a folder, attached to this encoder (once).

        Raises ModelError when it cannot be read, UserError when it reads two texts.
        """
        adapter = self._attach(folder)
        if adapter.files.pair:
            raise UserError(
                f"{folder.name} must be a judge adapter for one text (got kind '{adapter.files.kind}' for two)."
                " Train one: muster train-judge --kind classification."
            )
        return AdapterTextClassifier(self, adapter)

    def probabilities(self, inputs: Sequence[Input], adapter: _Adapter) -> list[tuple[float, ...]]:
        """Shape [inputs][labels]. Raises ValueError for an input longer than 512 tokens, special tokens included."""
        unique = list(dict.fromkeys(inputs))
        tokens = tokenize(self._tokenizer, unique)
        for text, counted in zip(unique, tokens, strict=True):
            if len(counted) > MAX_TOKENS:
                start = (text if isinstance(text, str) else text[1])[:60]
                raise ValueError(
                    f"a text must be at most {MAX_TOKENS} tokens with its special tokens"
                    f" (got {len(counted)}: {start!r}). Cut it into windows."
                )

        def classify(ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
            states = functional_call(self._bert, adapter.weights, kwargs=_arguments(ids, mask, types)).last_hidden_state
            logits: Tensor = adapter.head(pool(states, mask, types, pair=adapter.files.pair))
            return logits.sigmoid() if adapter.files.kind == "score" else logits.softmax(-1)

        rows = self._run(tokens, classify)
        found = {text: tuple(row.tolist()) for text, row in zip(unique, rows, strict=True)}
        return [found[text] for text in inputs]

    def _run(
        self, tokens: Sequence[TokenizedText], forward: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> list[Tensor]:
        """`forward` of every text, in order, computed in batches of similar length."""
        rows: list[Tensor] = [torch.empty(0)] * len(tokens)
        with torch.inference_mode():
            for batch in token_batches([len(text) for text in tokens], BATCH_TOKENS):
                output = forward(*stack([tokens[index] for index in batch]))
                for index, row in zip(batch, output, strict=True):
                    rows[index] = row.clone()
        return rows

    def _embedding(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        states = self._bert(**_arguments(ids, mask, types)).last_hidden_state
        return nn.functional.normalize(_mean(states, mask), dim=-1)

    def _attach(self, folder: Path) -> _Adapter:
        if folder not in self._adapters:
            try:
                self._adapters[folder] = self._read_adapter(folder)
            except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
                raise ModelError(f"the judge adapter in {folder} cannot be read ({error}).") from error
        return self._adapters[folder]

    def _read_adapter(self, folder: Path) -> _Adapter:
        files = read_judge_files(folder, encoder=self._folder)
        with torch.random.fork_rng(devices=[]):  # the random weights made here are replaced at once
            head = build_head(size=self.size, pair=files.pair, hidden=files.hidden, outputs=len(files.labels))
        head.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / HEAD_FILE).items()})
        return _Adapter(files=files, weights=changed_weights(self._base_weights, files), head=head.eval())


class AdapterPairClassifier:
    """An adapter for two texts on the shared encoder; a PairClassifier."""

    def __init__(self, encoder: MiniLM, adapter: _Adapter) -> None:
        self._encoder = encoder
        self._adapter = adapter
        self.key = adapter.files.key
        self.labels = adapter.files.labels
        self.max_tokens = MAX_TOKENS

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Shape [pairs][labels], rows summing to 1. Raises ValueError for a pair longer than `max_tokens`."""
        return self._encoder.probabilities(pairs, self._adapter)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
        return self._encoder.count_tokens(texts)


class AdapterTextClassifier:
    """A classification or score adapter on the shared encoder; a TextClassifier.

    A score adapter has the one label `score`, and its rows hold the expected score, from 0 to 1.
    """

    def __init__(self, encoder: MiniLM, adapter: _Adapter) -> None:
        self._encoder = encoder
        self._adapter = adapter
        self.key = adapter.files.key
        self.labels = adapter.files.labels
        self.independent = adapter.files.kind == "score"
        self.max_tokens = MAX_TOKENS

    def probabilities(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Shape [texts][labels]. Raises ValueError for a text longer than `max_tokens`."""
        return self._encoder.probabilities(texts, self._adapter)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
        return self._encoder.count_tokens(texts)


def _arguments(ids: Tensor, mask: Tensor, types: Tensor) -> dict[str, Any]:
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _cut(text: TokenizedText, limit: int) -> TokenizedText:
    """The beginning and the closing separator, as the tokenizer's own truncation leaves them."""
    if len(text) <= limit:
        return text
    return TokenizedText(text.ids[: limit - 1] + text.ids[-1:], text.types[:limit])
