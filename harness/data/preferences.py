"""Preferences as data: a file of lines {input, chosen, rejected}, or {messages, chosen, rejected} for conversations.

`chosen` and `rejected` are two answers to the same input, the better one first. Every other key is a column that the
suite's prompt may use; `id` and `cluster` say which sample a line is about. Any format of `harness.data.sources` will do;
`muster export-preferences` writes .jsonl. Knows nothing of judges, stores and models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data.samples import build_samples
from harness.data.sources import Mistakes, Rows, describe, read_rows
from harness.records import Preference


def read_preferences(path: Path) -> list[Preference]:
    """The preferences of a file, in order. Raises DataError with every mistake, each with its line.

    Each sample has the file's name as its split, and `chosen` as its reference.
    """
    rows = read_rows(path)
    _require_columns(rows)
    conversations = "messages" in rows.columns
    drawn = build_samples(
        rows,
        input=None if conversations else "input",
        messages="messages" if conversations else None,
        reference=("chosen",),
        cluster="cluster" if "cluster" in rows.columns else None,
    )
    mistakes = Mistakes()
    found = []
    for row, sample in zip(rows.rows, (one.sample for one in drawn), strict=True):
        chosen, rejected = row.values.get("chosen"), row.values.get("rejected")
        if not isinstance(chosen, str):
            mistakes.add(f"{rows.place(row)}: column 'chosen' must be one text (got {describe(chosen)}).")
        elif not isinstance(rejected, str) or not rejected.strip():
            mistakes.add(f"{rows.place(row)}: column 'rejected' must be text (got {describe(rejected)}).")
        elif chosen.strip() == rejected.strip():
            mistakes.add(f"{rows.place(row)}: 'chosen' and 'rejected' must differ. Take the row out.")
        else:
            found.append(Preference(sample=replace(sample, split=rows.name), chosen=chosen, rejected=rejected))
    mistakes.raise_any()
    return found


def _require_columns(rows: Rows) -> None:
    mistakes = Mistakes()
    for column in ("chosen", "rejected"):
        if column not in rows.columns:
            mistakes.add(f"{rows.name}: column '{column}' must be there (got {', '.join(rows.columns)}). Rename it.")
    if ("input" in rows.columns) == ("messages" in rows.columns):
        got = ", ".join(rows.columns)
        mistakes.add(f"{rows.name}: column 'input' or column 'messages' must be there, and not both (got {got}).")
    mistakes.raise_any()


def preference_line(preference: Preference) -> dict[str, Any]:
    """A preference as a line of such a file; the sample's own columns stay, for prompts that use them."""
    sample = preference.sample
    own = {key: value for key, value in sample.columns.items() if key not in ("input", "messages")}
    if sample.messages:
        asked: dict[str, Any] = {"messages": [{"role": m.role, "content": m.content} for m in sample.messages]}
    else:
        asked = {"input": sample.input}
    line = {**own, "id": sample.id, **asked, "chosen": preference.chosen, "rejected": preference.rejected}
    return line if sample.cluster is None else {**line, "cluster": sample.cluster}
