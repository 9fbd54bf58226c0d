"""`muster train-judge`: a judge adapter from one's own labels, on the embedded encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.data.sources import Mistakes, Row, Rows
    from harness.training.judge_adapters import JudgeRow, JudgeTraining


class JudgeKind(StrEnum):
    """What an adapter learns."""

    nli = "nli"
    classification = "classification"
    score = "score"


COLUMNS = {
    JudgeKind.nli: ("premise", "hypothesis", "label"),
    JudgeKind.classification: ("text", "label"),
    JudgeKind.score: ("text", "score"),
}
"""The columns each kind of training reads; the last one is what is learned."""
HELDOUT = "held out"


def train_judge(
    kind: Annotated[JudgeKind, typer.Option(help="nli: two texts; classification: labels; score: a number 0 to 1.")],
    data: Annotated[Path, typer.Option(help="Labelled rows: .jsonl, .json, .csv or .parquet.")],
    out: Annotated[Path, typer.Option(help="The folder to write; a judge's `model:` may name it.")],
    heldout: Annotated[Path | None, typer.Option(help="Rows to measure on, instead of a share of --data.")] = None,
    heldout_share: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of --data to measure on.")] = 0.1,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the training rows.")] = 3.0,
    rank: Annotated[int, typer.Option(min=1, max=384, help="LoRA rank.")] = 32,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1e-2, help="Peak of the one-cycle schedule.")] = 2e-4,
    max_tokens: Annotated[int, typer.Option(min=8, max=512, help="Longer rows are left out of training.")] = 192,
    seed: Annotated[int, typer.Option(help="Order of the rows and first weights.")] = 1234,
) -> None:
    """Train a judge adapter from labelled rows, and measure it on rows held out.

    nli reads the columns premise, hypothesis and label (entailment, neutral, contradiction, or not_entailment);
    classification reads text and label; score reads text and score.
    """
    from rich.console import Console

    from harness.cli.progress import ProgressStages
    from harness.models.embedded import resolve
    from harness.training.judge_adapters import train_judge_adapter

    console = Console(markup=False, emoji=False)
    require_new_folder(out)
    rows = read_judge_rows(data, kind)
    if heldout is not None:
        training_rows, measured_rows = rows, read_judge_rows(heldout, kind)
    else:
        training_rows, measured_rows = split_rows(rows, share=heldout_share, seed=seed)
    console.print(f"{len(training_rows):,} rows to train on, {len(measured_rows):,} held out", highlight=False)
    with ProgressStages(console).stage("training", round(epochs * len(training_rows))) as advance:
        training = train_judge_adapter(
            kind=kind.value,
            encoder=resolve("embedded:minilm"),
            rows=training_rows,
            heldout={HELDOUT: measured_rows},
            out=out,
            labels=sorted({str(row.label) for row in rows}) if kind is JudgeKind.classification else (),
            epochs=epochs,
            rank=rank,
            learning_rate=learning_rate,
            max_tokens=max_tokens,
            seed=seed,
            title=out.resolve().name,
            command=f"muster train-judge --kind {kind.value} --data {data.name} --out {out.name} --seed {seed}",
            progress=advance,
        )
    for line in describe(training):
        console.print(f"  {line}", highlight=False)
    judge = "toxicity" if kind is JudgeKind.classification else "entailment"
    if kind is not JudgeKind.score:
        labels = (
            " --set toxic_labels=LABEL" if kind is JudgeKind.classification and "toxic" not in training.labels else ""
        )
        line = f"\n  next: muster score {judge} --set model={out}{labels} --input FILE --output FILE"
        console.print(line, highlight=False, soft_wrap=True)


def require_new_folder(out: Path) -> None:
    """Refuses a file, and a folder that holds anything, an earlier judge's adapter too. Raises UserError."""
    from harness.errors import UserError

    if out.is_dir() and any(out.iterdir()):
        holds = "a judge adapter" if (out / "judge.json").is_file() else "other files"
        raise UserError(f"'--out' must be a new folder (got {out}, which holds {holds}). Name another, or remove it.")
    if out.exists() and not out.is_dir():
        raise UserError(f"'--out' must be a new folder (got the file {out}). Name another.")


def read_judge_rows(path: Path, kind: JudgeKind) -> list[JudgeRow]:
    """The labelled rows of a file. Raises DataError with every mistake, each with its line."""
    from harness.data.sources import Mistakes, read_rows

    rows = read_rows(path)
    mistakes = Mistakes()
    for column in COLUMNS[kind]:
        if column not in rows.columns:
            have = ", ".join(rows.columns)
            mistakes.add(f"{rows.name}: column '{column}' must be there for kind {kind.value} (got {have}). Rename it.")
    mistakes.raise_any()
    read = [_judge_row(rows, row, kind, mistakes) for row in rows.rows]
    mistakes.raise_any()
    return [row for row in read if row is not None]


def _judge_row(rows: Rows, row: Row, kind: JudgeKind, mistakes: Mistakes) -> JudgeRow | None:
    from harness.training.judge_adapters import JudgeRow

    *texts, target = COLUMNS[kind]
    for column in texts:
        if not isinstance(row.values.get(column), str) or not row.values[column].strip():
            mistakes.add(f"{rows.place(row)}: column '{column}' must be a text (got {row.values.get(column)!r}).")
            return None
    label: str | float
    try:
        label = _label(row.values.get(target), kind)
    except ValueError:
        rule = "a number from 0 to 1" if kind is JudgeKind.score else "a label"
        mistakes.add(f"{rows.place(row)}: column '{target}' must be {rule} (got {row.values.get(target)!r}).")
        return None
    second = row.values[texts[1]] if len(texts) > 1 else None
    return JudgeRow(text=row.values[texts[0]], second=second, label=label, source=rows.name, place=rows.place(row))


def _label(value: object, kind: JudgeKind) -> str | float:
    """A score as a number, any other label as text; raises ValueError for what is neither."""
    if kind is JudgeKind.score:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not 0 <= float(value) <= 1:
            raise ValueError
        return float(value)
    if value is None or not str(value).strip() or isinstance(value, Mapping | list):
        raise ValueError
    return str(value).strip()


def split_rows(rows: Sequence[JudgeRow], *, share: float, seed: int) -> tuple[list[JudgeRow], list[JudgeRow]]:
    """Training rows and held-out rows, by a hash of seed and text: appending moves none, equal texts stay together."""
    parts: tuple[list[JudgeRow], list[JudgeRow]] = ([], [])
    for row in rows:
        digest = hashlib.sha256(f"{seed}:{row.text}".encode("utf-8", "surrogatepass")).digest()
        parts[int.from_bytes(digest[:8], "big") / 2**64 < share].append(row)
    return parts


def describe(training: JudgeTraining) -> list[str]:
    """What was trained and measured, for people."""
    lines = [
        f"{training.steps:,} steps, {training.tokens:,} tokens, closing loss {training.loss:.4f}",
        f"labels: {', '.join(training.labels)}",
    ]
    if training.skipped:
        lines.append(f"{training.skipped:,} rows were longer than the limit and left out (--max-tokens)")
    for name, measures in training.metrics.items():
        shown = ", ".join(
            f"{key.replace('_', ' ')} {value:,}" if isinstance(value, int) else f"{key.replace('_', ' ')} {value:.3f}"
            for key, value in measures.items()
        )
        lines.append(f"{name}: {shown}")
    return lines
