"""Trains a judge adapter: a LoRA on the MiniLM encoder, or the whole encoder, with a small head, from labelled rows.

Three kinds: `nli` (two texts; entailment, neutral, contradiction, or the binary not_entailment), `classification` (one
text, or two in every row; any labels) and `score` (one text, a number from 0 to 1). The folder written holds the LoRA
in peft's format (or the encoder's change in 8 bits a weight, `harness.models.deltas`), the head, `judge.json`, a
CARD.md with what was measured on held-out rows through the saved files, and last of all `manifest.json` with the
SHA-256 of each file: a folder whose manifest does not hold is an unfinished one. The same rows, settings, seed, thread
count and library versions give the same weights, byte for byte.

It does not know where rows come from, nor which judge will use the adapter.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel

from harness.errors import TrainingError, UserError
from harness.models.deltas import pack_deltas
from harness.models.embedded import resolve
from harness.models.encoder import (
    Head,
    MiniLM,
    TokenizedText,
    build_head,
    changed_weights,
    load_bert,
    load_tokenizer,
    pool,
    stack,
    token_batches,
    tokenize,
)
from harness.models.judge_files import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    DELTA_FILE,
    HEAD_FILE,
    JUDGE_FILE,
    MAX_TOKENS,
    JudgeKind,
    JudgeMethod,
    encoder_key,
    read_judge_files,
    weight_files,
)
from harness.records import Progress

__all__ = ["JudgeRow", "JudgeTraining", "remeasure", "train_judge_adapter"]

logger = logging.getLogger(__name__)

NLI_LABELS = ("entailment", "neutral", "contradiction")
NOT_ENTAILMENT = "not_entailment"
BUCKET_ROWS = 4_000
"""Rows sorted by length together: padding stays under 2 % and batches still differ in content from epoch to epoch."""
WARMUP_SHARE = 0.1
GRADIENT_NORM = 1.0
LOG_EVERY = 50
TRAINED = {"lora": "a LoRA on every linear layer", "full": "every weight but the embeddings"}
SAVED = {"lora": "as float16", "full": "as changes of the base, int8 with a scale a row"}
MEASURED = "## Measured on held-out rows, from these files"
UNFINISHED = "This training has not ended; nothing is measured yet.\n"
WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRow:
    """One labelled row. For nli `text` is the premise, `second` the hypothesis; a score's label is a number 0 to 1.

    Rows for classification have either all a `second` text, or none.
    """

    text: str
    label: str | float
    second: str | None = None
    source: str = "data"
    place: str = ""
    """`file:line`, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTraining:
    """What a finished training did and measured. `metrics` maps each held-out set to its measures."""

    kind: JudgeKind
    labels: tuple[str, ...]
    rows: int
    skipped: int
    """Rows longer than `max_tokens`, left out."""
    steps: int
    tokens: int
    seconds: float
    loss: float
    """Mean training loss of the last tenth of the steps."""
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    text: TokenizedText
    target: float
    """A label's index, -1 for not_entailment, or the score itself."""


def train_judge_adapter(
    *,
    kind: JudgeKind,
    encoder: Path,
    rows: Sequence[JudgeRow],
    heldout: Mapping[str, Sequence[JudgeRow]],
    out: Path,
    labels: Sequence[str] = (),
    method: JudgeMethod = "lora",
    start: Path | None = None,
    rank: int = 32,
    alpha: int = 64,
    dropout: float = 0.0,
    hidden: int = 128,
    learning_rate: float = 2e-4,
    head_learning_rate: float = 1e-3,
    epochs: float = 1.0,
    batch_tokens: int = 1400,
    max_tokens: int = 192,
    seed: int = 1234,
    save_every: int = 300,
    title: str = "A judge adapter",
    notes: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> JudgeTraining:
    """Trains on `rows`, measures on `heldout`, and writes the adapter to `out`. `progress` counts rows.

    `labels` fixes the labels' order for classification (default: sorted). `notes` (data, licences, what it is bad at)
    and `command` go into the card. The schedule is one cycle to `learning_rate`; 8e-4 was seen to collapse to chance.
    Every `save_every` steps the folder is written too, complete but for the measures.

    `method` full trains every weight but the embeddings (`learning_rate` is then best near 1e-4; rank and alpha mean
    nothing), and may `start` from another adapter's encoder, and from its head too if kind and labels are the same.

    Raises UserError when rows do not fit the kind, TrainingError when the loss or a gradient is not a finite number.
    """
    names = _label_names(kind, rows, labels)
    pair = _reads_pairs(kind, rows)
    examples, skipped = _examples(kind, names, rows, encoder, max_tokens, pair=pair)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lora = {"rank": rank, "alpha": alpha}
        bert = _whole(encoder, dropout=dropout) if method == "full" else _lora(encoder, dropout=dropout, **lora)
        head = build_head(size=bert.config.hidden_size, pair=pair, hidden=hidden, outputs=len(names))
        if start is not None:
            _start_from(start, encoder, bert, head, kind=kind, labels=names)
        batches = _batches(examples, epochs=epochs, batch_tokens=batch_tokens, seed=seed)
        judge = {
            "encoder": encoder_key(encoder),
            "hidden": hidden,
            "kind": kind,
            "labels": list(names),
            "method": method,
            "pair": pair,
        }
        started = time.monotonic()
        loss = _fit(
            bert,
            head,
            [[examples[index] for index in batch] for batch in batches],
            kind=kind,
            pair=pair,
            learning_rates=(learning_rate, head_learning_rate),
            checkpoint=lambda: _save(out, encoder, bert, head, judge, card=UNFINISHED),
            save_every=save_every,
            progress=progress,
        )
        _save(out, encoder, bert, head, judge, card=UNFINISHED)
    training = JudgeTraining(
        kind=kind,
        labels=names,
        rows=len(examples),
        skipped=skipped,
        steps=len(batches),
        tokens=sum(len(examples[index].text) for batch in batches for index in batch),
        seconds=time.monotonic() - started,
        loss=loss,
        metrics=_measure(kind, encoder, out, heldout, pair=pair),
    )
    recipe: dict[str, Any] = {"method": method}
    if method == "lora":
        recipe |= {"rank": rank, "alpha": alpha}
    recipe |= {
        "dropout": dropout,
        "hidden": hidden,
        "learning_rate": learning_rate,
        "head_learning_rate": head_learning_rate,
        "epochs": epochs,
        "batch_tokens": batch_tokens,
        "max_tokens": max_tokens,
        "seed": seed,
        "threads": torch.get_num_threads(),
    }
    _finish(out, method, _card(title, training, rows, recipe, notes=notes, command=command))
    return training


def remeasure(out: Path, training: JudgeTraining, heldout: Mapping[str, Sequence[JudgeRow]]) -> JudgeTraining:
    """Measures an adapter whose weights were changed after its training, and writes figures and manifest anew."""
    encoder = resolve("embedded:minilm")
    files = read_judge_files(out, encoder=encoder)
    metrics = _measure(training.kind, encoder, out, heldout, pair=files.pair)
    made = (out / "CARD.md").read_text(encoding="utf-8").split(MEASURED)[0].rstrip()
    _finish(out, files.method, "\n\n".join([made, *_measured(metrics)]) + "\n")
    return replace(training, metrics=metrics)


def _reads_pairs(kind: JudgeKind, rows: Sequence[JudgeRow]) -> bool:
    """Whether rows hold two texts. Raises UserError where some do and some do not."""
    if kind != "classification":
        return kind == "nli"
    with_second = [row.second is not None for row in rows]
    if any(with_second) and not all(with_second):
        number = with_second.index(False)
        place = rows[number].place or f"row {number + 1}"
        raise UserError(f"{place}: a second text must be in every row or in none (got none here). Add it.")
    return all(with_second)


def _label_names(kind: JudgeKind, rows: Sequence[JudgeRow], labels: Sequence[str]) -> tuple[str, ...]:
    """The output labels in order. Raises UserError naming the first row that does not fit the kind."""
    if not rows:
        raise UserError("'rows' must hold at least one row (got none). Check the data file.")
    if kind == "score":
        for number, row in enumerate(rows, 1):
            if isinstance(row.label, str) or not 0 <= row.label <= 1:
                rule = f"'score' must be a number from 0 to 1 (got {row.label!r}). Rescale it."
                raise UserError(f"{row.place or f'row {number}'}: {rule}")
        return ("score",)
    found = tuple(labels) or tuple(sorted({str(row.label) for row in rows}))
    allowed = (*NLI_LABELS, NOT_ENTAILMENT) if kind == "nli" else found
    for number, row in enumerate(rows, 1):
        place = row.place or f"row {number}"
        if row.label not in allowed:
            raise UserError(f"{place}: 'label' must be one of {', '.join(allowed)} (got {row.label!r}). Rename it.")
        if kind == "nli" and row.second is None:
            raise UserError(f"{place}: 'hypothesis' must be given for nli (got none). Add it, or drop the row.")
    if len(allowed) < 2:
        raise UserError(f"'label' must take at least two values (got only {allowed[0]!r}). Add rows of another label.")
    return NLI_LABELS if kind == "nli" else allowed


def _examples(
    kind: JudgeKind, names: Sequence[str], rows: Sequence[JudgeRow], encoder: Path, max_tokens: int, *, pair: bool
) -> tuple[list[_Example], int]:
    """Tokenised rows with their targets, and how many were left out as longer than `max_tokens`."""
    texts = _tokenized(rows, encoder, pair=pair)
    kept = [
        _Example(text=text, target=_target(kind, names, row.label))
        for text, row in zip(texts, rows, strict=True)
        if len(text) <= max_tokens
    ]
    if not kept:
        raise UserError(f"'max_tokens' must leave rows to train on (got {max_tokens}, all rows are longer). Raise it.")
    return kept, len(rows) - len(kept)


def _tokenized(rows: Sequence[JudgeRow], encoder: Path, *, pair: bool) -> list[TokenizedText]:
    return tokenize(load_tokenizer(encoder), [_input(row, pair=pair) for row in rows])


def _input(row: JudgeRow, *, pair: bool) -> Any:
    return (row.text, row.second or "") if pair else row.text


def _target(kind: JudgeKind, names: Sequence[str], label: str | float) -> float:
    if kind == "score":
        return float(label)
    return -1.0 if kind == "nli" and label == NOT_ENTAILMENT else float(names.index(str(label)))


def _lora(encoder: Path, *, rank: int, alpha: int, dropout: float) -> PeftModel:
    """The encoder with a LoRA on every linear layer: query, key, value and the three dense ones of each block."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=["query", "key", "value", "dense"],
        bias="none",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # peft asks transformers for a renamed attribute
        model: PeftModel = get_peft_model(load_bert(encoder), config)
    return model


def _whole(encoder: Path, *, dropout: float) -> BertModel:
    """The encoder with every weight trained but the embeddings: half of all weights, which few rows would touch."""
    bert = load_bert(encoder, dropout=dropout)
    bert.embeddings.requires_grad_(False)
    return bert


def _start_from(
    folder: Path, encoder: Path, bert: PeftModel | BertModel, head: Head, *, kind: JudgeKind, labels: Sequence[str]
) -> None:
    """Puts another adapter's weights in place of the first ones, and its head where kind and labels are the same.

    Raises UserError where a LoRA is trained: it would lie on other weights than the ones it is kept without.
    """
    if isinstance(bert, PeftModel):
        raise UserError("'start' needs the method full (got lora). Leave it out, or train the whole encoder.")
    files = read_judge_files(folder, encoder=encoder)
    bert.load_state_dict(changed_weights(dict(bert.named_parameters()), files), strict=False)
    if (files.kind, files.labels) == (kind, tuple(labels)):
        head.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / HEAD_FILE).items()})


def _batches(examples: Sequence[_Example], *, epochs: float, batch_tokens: int, seed: int) -> list[list[int]]:
    """Indices of each step's rows: rows shuffled, sorted by length within buckets, cut, and the batches shuffled."""
    rng = np.random.default_rng(seed)
    batches: list[list[int]] = []
    wanted = math.ceil(epochs * len(examples))
    while wanted > 0:
        order = rng.permutation(len(examples))[:wanted]
        wanted -= len(order)
        epoch: list[list[int]] = []
        for start in range(0, len(order), BUCKET_ROWS):
            bucket = order[start : start + BUCKET_ROWS]
            cut = token_batches([len(examples[index].text) for index in bucket], batch_tokens)
            epoch += [[int(bucket[place]) for place in batch] for batch in cut]
        batches += [epoch[place] for place in rng.permutation(len(epoch))]
    return batches


def _fit(
    bert: PeftModel | BertModel,
    head: Head,
    batches: Sequence[Sequence[_Example]],
    *,
    kind: JudgeKind,
    pair: bool,
    learning_rates: tuple[float, float],
    checkpoint: Callable[[], None],
    save_every: int,
    progress: Progress | None,
) -> float:
    """Runs every batch once with AdamW; returns the mean loss of the last tenth of the steps."""
    encoder = [parameter for parameter in bert.parameters() if parameter.requires_grad]
    trained = [*encoder, *head.parameters()]
    groups = [{"params": encoder}, {"params": list(head.parameters())}]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, list(learning_rates), total_steps=len(batches) + 1, pct_start=WARMUP_SHARE
    )
    rows_a_batch = sum(len(batch) for batch in batches) / len(batches)
    losses: list[float] = []
    bert.train()
    for step, batch in enumerate(batches, 1):
        row_losses = _row_losses(_forward(bert, head, batch, pair=pair), batch, kind=kind)
        # Divided by the average batch, not by this one: a row counts the same in a batch of few long rows.
        (row_losses.sum() / rows_a_batch).backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
        losses.append(float(row_losses.detach().mean()))
        if not (math.isfinite(losses[-1]) and math.isfinite(float(norm))):
            raise TrainingError(
                f"step {step}: loss and gradient must be finite numbers (got {losses[-1]}, {float(norm)})."
                " Lower the learning rate."
            )
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % LOG_EVERY == 0:
            logger.info("step %d of %d: loss %.4f", step, len(batches), sum(losses[-LOG_EVERY:]) / LOG_EVERY)
        if step % save_every == 0:
            checkpoint()
        if progress is not None:
            progress(len(batch))
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def _forward(bert: PeftModel | BertModel, head: Head, batch: Sequence[_Example], *, pair: bool) -> Tensor:
    ids, mask, types = stack([example.text for example in batch])
    states = bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    logits: Tensor = head(pool(states, mask, types, pair=pair))
    return logits


def _row_losses(logits: Tensor, batch: Sequence[_Example], *, kind: JudgeKind) -> Tensor:
    """Cross-entropy of each row. A not_entailment row costs -log(1 - P(entailment)), whatever else is likely."""
    targets = torch.tensor([example.target for example in batch])
    if kind == "score":
        return functional.binary_cross_entropy_with_logits(logits[:, 0], targets, reduction="none")
    logs = logits.log_softmax(-1)
    chosen = -logs.gather(1, targets.long().clamp(min=0).unsqueeze(1)).squeeze(1)
    if kind == "classification":
        return chosen
    return torch.where(targets >= 0, chosen, -logs[:, 1:].logsumexp(-1))


def _save(
    out: Path, encoder: Path, bert: PeftModel | BertModel, head: Head, judge: Mapping[str, Any], *, card: str
) -> None:
    """Writes what was trained, the head and the description; each file whole or not at all, the manifest last."""
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(bert, PeftModel):
        _save_lora(out, bert)
    else:
        packed = pack_deltas(dict(load_bert(encoder).named_parameters()), dict(bert.named_parameters()))
        _replace(out / DELTA_FILE, lambda path: path.write_bytes(save(packed)))
    layers = {name: tensor.detach().half() for name, tensor in head.state_dict().items()}
    _replace(out / HEAD_FILE, lambda path: path.write_bytes(save(layers)))
    _write_json(out / JUDGE_FILE, judge)
    _finish(out, judge["method"], card)


def _save_lora(out: Path, bert: PeftModel) -> None:
    state = get_peft_model_state_dict(bert, save_embedding_layers=False)
    lora = {name: tensor.detach().half().contiguous() for name, tensor in state.items()}
    config = bert.peft_config["default"].to_dict()
    described = {
        "peft_type": "LORA",
        "base_model_name_or_path": "embedded:minilm",
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": config["lora_alpha"],
        "lora_dropout": config["lora_dropout"],
        "r": config["r"],
        "target_modules": sorted(config["target_modules"]),  # a set: its own order changes with PYTHONHASHSEED
        "task_type": None,
    }
    _replace(out / ADAPTER_FILE, lambda path: path.write_bytes(save(lora)))
    _write_json(out / ADAPTER_CONFIG, described)


def _finish(out: Path, method: str, card: str) -> None:
    """Writes the card, removes files of another method that stood here, and writes the manifest of all files."""
    _replace(out / "CARD.md", lambda path: path.write_text(card, encoding="utf-8"))
    names = sorted([*weight_files(method), "CARD.md"])
    for stale in {ADAPTER_CONFIG, ADAPTER_FILE, DELTA_FILE} - set(names):
        (out / stale).unlink(missing_ok=True)
    _write_json(out / "manifest.json", {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    os.replace(temporary, path)


def _measure(
    kind: JudgeKind, encoder: Path, out: Path, heldout: Mapping[str, Sequence[JudgeRow]], *, pair: bool
) -> dict[str, dict[str, float]]:
    """The measures of each held-out set, through the saved files and the code that judges use.

    Rows longer than the encoder reads are left out (`rows` says how many remain), and so are empty sets.
    """
    minilm = MiniLM(encoder)
    model = minilm.pair_classifier(out) if pair else minilm.text_classifier(out)
    measures = {}
    for name, given in heldout.items():
        texts = _tokenized(given, encoder, pair=pair)
        rows = [row for row, text in zip(given, texts, strict=True) if len(text) <= MAX_TOKENS]
        if not rows:
            continue
        table = np.array(model.probabilities([_input(row, pair=pair) for row in rows]))
        if kind == "nli":
            measures[name] = _nli_measures(table, [str(row.label) for row in rows])
        elif kind == "score":
            measures[name] = _score_measures(table[:, 0], np.array([float(row.label) for row in rows]))
        else:
            measures[name] = _class_measures(table, model.labels, [str(row.label) for row in rows])
    return measures


def _nli_measures(table: NDArray[np.float64], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy (on binary rows: whether entailment is the likeliest label), and AUROC of P(entailment)."""
    best = [NLI_LABELS[index] for index in table.argmax(1)]
    right = [
        (guess == "entailment") == (label == "entailment") if NOT_ENTAILMENT in labels else guess == label
        for guess, label in zip(best, labels, strict=True)
    ]
    measures = {"rows": len(labels), "accuracy": float(np.mean(right))}
    return measures | _auroc(table[:, 0], np.array([label == "entailment" for label in labels]))


def _class_measures(table: NDArray[np.float64], names: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, balanced accuracy, and for two labels the AUROC of the second one's probability."""
    truth = np.array([names.index(label) for label in labels])
    right = table.argmax(1) == truth
    measures = {
        "rows": len(labels),
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[truth == index].mean() for index in np.unique(truth)])),
    }
    return measures | (_auroc(table[:, 1], truth == 1) if len(names) == 2 else {})


def _score_measures(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """Mean absolute error, and Pearson's correlation where both vary."""
    measures = {"rows": len(truth), "mean_absolute_error": float(np.abs(predicted - truth).mean())}
    varies = predicted.std() > 0 and truth.std() > 0
    return measures | ({"pearson": float(np.corrcoef(predicted, truth)[0, 1])} if varies else {})


def _auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[str, float]:
    """P(a positive row scores above a negative one), ties half (Mann and Whitney); nothing where a class is absent."""
    below = np.sort(scores[~positive])
    above = scores[positive]
    if not len(below) or not len(above):
        return {}
    ranks = np.searchsorted(below, above, "left") + np.searchsorted(below, above, "right")
    return {"auroc": float(ranks.mean() / (2 * len(below)))}


def _card(
    title: str,
    training: JudgeTraining,
    rows: Sequence[JudgeRow],
    recipe: Mapping[str, Any],
    *,
    notes: str,
    command: str,
) -> str:
    """The model card in Markdown: what it is, how it was made, from what, and what was measured."""
    sources = Counter(row.source for row in rows)
    made = [
        f"- Kind: {training.kind}; labels: {', '.join(training.labels)}.",
        f"- Base: all-MiniLM-L6-v2 (`embedded:minilm`, Apache-2.0); trained: {TRAINED[recipe['method']]}, and a head.",
        f"- {training.rows:,} rows ({training.skipped:,} longer than {recipe['max_tokens']} tokens left out),"
        f" {training.steps:,} steps, {training.tokens:,} tokens, {training.seconds / 60:.1f} minutes;"
        f" closing loss {training.loss:.4f}.",
        "- " + ", ".join(f"{name} {value}" for name, value in recipe.items() if name != "method") + ".",
        f"- torch {torch.__version__}, float32; saved {SAVED[recipe['method']]}.",
    ]
    parts = [f"# {title}", notes.strip(), "## Made how", "\n".join(made)]
    if command:
        parts.append(f"    {command}")
    parts += ["## From what", _table(("source", "rows"), [(name, f"{n:,}") for name, n in sorted(sources.items())])]
    if training.metrics:
        parts += _measured(training.metrics)
    return "\n\n".join(part for part in parts if part) + "\n"


def _measured(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    columns = list(dict.fromkeys(name for measures in metrics.values() for name in measures))
    lines = [(name, *(_number(measures.get(c)) for c in columns)) for name, measures in metrics.items()]
    return [MEASURED, _table(("set", *columns), lines)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
