"""Finds the classifiers and embedders that judges use: embedded ones, local folders, and checkpoints from the Hub.

What a judge needs to know at once (key, labels, longest input) is read from the files; the model is loaded when the
first text is asked for, so a run that finds all its judgements in the store imports no torch. Labels are always read
from the checkpoint's own id2label, never from their position, and a checkpoint that does not name them is refused.
What a judge makes of the probabilities is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from harness.errors import UserError
from harness.models.embedded import is_embedded, resolve, verify_manifest
from harness.models.identity import MODEL_FILES, base_fingerprint, find_folder
from harness.models.judge_files import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    DELTA_FILE,
    HEAD_FILE,
    JUDGE_FILE,
    MAX_TOKENS,
    embedder_key,
    read_json,
    read_judge_files,
)
from harness.records import Embedder, PairClassifier, TextClassifier, fingerprint

if TYPE_CHECKING:
    from harness.models.encoder import MiniLM

__all__ = ["load_embedder", "load_pair_classifier", "load_text_classifier", "shared_encoder"]

ENCODER = "embedded:minilm"
FETCHED = (*MODEL_FILES, ADAPTER_CONFIG, ADAPTER_FILE, DELTA_FILE, HEAD_FILE, JUDGE_FILE, "*.md")
"""Files of a classifier, or of a judge adapter, to take from the Hub."""
DEFAULT_MAX_TOKENS = 512
NLI_NAMES = {
    "entailment": ("entailment", "entailed", "entails", "entail"),
    "neutral": ("neutral",),
    "contradiction": ("contradiction", "contradicted", "contradicts", "contradictory"),
    "not_entailment": ("not_entailment", "not_entailed", "non_entailment", "no_entailment"),
}
"""What checkpoints call the four labels, in lower case, with underscores for spaces and hyphens."""
OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet", "ibert"})
"""Architectures that count positions from behind the padding index: two of theirs hold no token."""


class _Model(Protocol):
    def probabilities(self, inputs: Sequence[Any]) -> list[tuple[float, ...]]: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


Input = TypeVar("Input")


class LazyClassifier(Generic[Input]):
    """A PairClassifier or TextClassifier whose model is opened when the first text is asked for."""

    def __init__(
        self,
        *,
        key: str,
        labels: tuple[str, ...],
        max_tokens: int,
        open_model: Callable[[], _Model],
        independent: bool = False,
    ) -> None:
        self.key = key
        self.labels = labels
        self.independent = independent
        self.max_tokens = max_tokens
        self._open_model = open_model

    @cached_property
    def _model(self) -> _Model:
        return self._open_model()

    def probabilities(self, inputs: Sequence[Input]) -> list[tuple[float, ...]]:
        """Shape [inputs][labels]. Raises ValueError for an input longer than `max_tokens`, special tokens included."""
        return self._model.probabilities(inputs)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens left out."""
        return self._model.count_tokens(texts)


class LazyEmbedder:
    """An Embedder whose encoder is opened when the first text is asked for."""

    def __init__(self, *, key: str, open_encoder: Callable[[], MiniLM]) -> None:
        self.key = key
        self._open_encoder = open_encoder

    @cached_property
    def _encoder(self) -> MiniLM:
        return self._open_encoder()

    def embed(self, texts: Sequence[str]) -> Any:
        """Unit vectors, float32 [texts, dimensions]."""
        return self._encoder.embed(texts)


@cache
def shared_encoder() -> MiniLM:
    """The process's one `embedded:minilm`, on which every judge adapter is switched."""
    from harness.models.encoder import MiniLM

    return MiniLM(resolve(ENCODER))


def load_pair_classifier(name: str, root: Path, *, nli: bool = True, anywhere: bool = False) -> PairClassifier:
    """A model of two texts: `embedded:nli`, a folder below `root` (a checkpoint, or of `muster train-judge`), or a Hub name.

    With `anywhere` the folder may lie outside `root`.

    With `nli` the labels are in muster's words for entailment; without, they are the model's own, and any classifier of
    pairs will do (a reranker with one logit has one label, whose probability is its sigmoid).

    Raises ModelError when it cannot be found or is damaged, UserError when it is no such model or hides its labels.
    """
    folder = _find(name, root, anywhere=anywhere)
    if not (folder / JUDGE_FILE).is_file():
        return _checkpoint(folder, name, nli=nli)
    files = read_judge_files(folder, encoder=resolve(ENCODER))
    if nli and files.kind != "nli":
        raise UserError(f"model '{name}' must be a judge adapter of kind nli (got {files.kind}). Name another one.")
    if not files.pair:
        raise UserError(
            f"model '{name}' must be a judge adapter for two texts (got one for one text). Name another one."
        )
    return LazyClassifier[tuple[str, str]](
        key=files.key,
        labels=files.labels,
        max_tokens=MAX_TOKENS,
        open_model=lambda: shared_encoder().pair_classifier(folder),
    )


def load_text_classifier(name: str, root: Path, *, anywhere: bool = False) -> TextClassifier:
    """A text classifier: `embedded:toxicity`, a folder below `root`, or a Hub name; see `load_pair_classifier`."""
    folder = _find(name, root, anywhere=anywhere)
    if not (folder / JUDGE_FILE).is_file():
        return _checkpoint(folder, name, nli=False)
    files = read_judge_files(folder, encoder=resolve(ENCODER))
    if files.pair:
        raise UserError(
            f"model '{name}' must be a judge adapter for one text (got kind {files.kind} for two). Name another one."
        )
    return LazyClassifier[str](
        key=files.key,
        labels=files.labels,
        max_tokens=MAX_TOKENS,
        open_model=lambda: shared_encoder().text_classifier(folder),
        independent=files.kind == "score",
    )


def load_embedder(name: str, root: Path, *, anywhere: bool = False) -> Embedder:
    """`embedded:minilm` (also by its Hub name), or another BERT encoder with mean pooling, in a folder or on the Hub.

    Raises ModelError when it cannot be found or is damaged, UserError when its recipe is another one.
    """
    if is_embedded(name):
        if resolve(name) != resolve(ENCODER):
            raise UserError(f"model '{name}' must be an encoder for embeddings. Take '{ENCODER}'.")
        return LazyEmbedder(key=embedder_key(resolve(ENCODER)), open_encoder=shared_encoder)
    folder = find_folder(
        name, root=root, what="model", files=(*MODEL_FILES, "*.json", "1_Pooling/*"), anywhere=anywhere
    )
    config = read_json(folder / "config.json")
    if config.get("model_type") != "bert":
        raise UserError(f"model '{name}' must be a BERT encoder (got {config.get('model_type')}). Take '{ENCODER}'.")

    def open_encoder() -> MiniLM:
        from harness.models.encoder import MiniLM

        return MiniLM(folder)

    return LazyEmbedder(key=embedder_key(folder), open_encoder=open_encoder)


def _find(name: str, root: Path, *, anywhere: bool) -> Path:
    folder = find_folder(name, root=root, what="model", files=(*FETCHED, "manifest.json"), anywhere=anywhere)
    if (folder / JUDGE_FILE).is_file():
        verify_manifest(folder, "Run muster train-judge again, or take the folder from its source again.")
    return folder


def _checkpoint(folder: Path, name: str, *, nli: bool) -> LazyClassifier[Any]:
    config = read_json(folder / "config.json")
    _require_classifier(config, name)
    names = _id2label(config, name)
    independent = config.get("problem_type") == "multi_label_classification" or len(names) == 1
    labels = _nli_labels(names, name) if nli else names
    max_tokens = _max_tokens(config, folder)

    def open_model() -> _Model:
        from harness.models.checkpoint_classifier import CheckpointClassifier

        return CheckpointClassifier(folder, name, max_tokens=max_tokens, independent=independent and not nli)

    key = fingerprint(["checkpoint", base_fingerprint(folder), labels, independent])
    return LazyClassifier(
        key=key, labels=labels, max_tokens=max_tokens, open_model=open_model, independent=independent and not nli
    )


def _require_classifier(config: dict[str, Any], name: str) -> None:
    """Refuses a checkpoint that was not saved as a classifier."""
    architectures = config.get("architectures") or []
    if not any("ForSequenceClassification" in str(architecture) for architecture in architectures):
        raise UserError(
            f"model '{name}' must be a sequence classification checkpoint"
            f" (its config.json says {', '.join(map(str, architectures)) or 'nothing'})."
            " Take one that was trained as a classifier."
        )


def _id2label(config: dict[str, Any], name: str) -> tuple[str, ...]:
    """The labels in the order of the logits. Raises UserError when the checkpoint does not name them."""
    try:
        by_index = {int(index): str(label) for index, label in config["id2label"].items()}
        names = tuple(by_index[index] for index in range(len(by_index)))
    except (KeyError, AttributeError, ValueError):
        names = ()
    if not names or any(re.fullmatch(r"(?i)label_?\d+", label) for label in names):
        raise UserError(
            f"model '{name}' must name its labels in 'id2label' of its config.json (got {', '.join(names) or 'none'})."
            " Write there what each label means."
        )
    return names


def _nli_labels(names: Sequence[str], name: str) -> tuple[str, ...]:
    """The checkpoint's labels in muster's words. Raises UserError when they are not those of an NLI model."""
    words = {alias: label for label, aliases in NLI_NAMES.items() for alias in aliases}
    labels = tuple(words.get(re.sub(r"[\s_-]+", "_", label.strip().lower()), "") for label in names)
    if set(labels) not in ({"entailment", "neutral", "contradiction"}, {"entailment", "not_entailment"}):
        raise UserError(
            f"model '{name}' must have the labels entailment, neutral and contradiction, or entailment and"
            f" not_entailment (its id2label says {', '.join(names)}). Take an NLI checkpoint, or correct config.json."
        )
    return labels


def _max_tokens(config: dict[str, Any], folder: Path) -> int:
    """The fewer of the model's positions and the tokenizer's own limit."""
    positions = int(config.get("max_position_embeddings") or DEFAULT_MAX_TOKENS)
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= 2
    path = folder / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    return min(positions, int(limit)) if isinstance(limit, int | float) and limit > 0 else positions
