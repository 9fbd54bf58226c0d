"""Answers written down elsewhere, as a candidate: a file with an `answer` and an `id` or an `input` a line.

Guarantees: an answer goes to the sample with its id or, where the file has no column `id`, to every sample with its
input (letter for letter, else with white space made equal); a sample without one is a typed failure, never an empty
answer; two answers for one sample are refused. Identity is the content of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.sources import Mistakes, Row, Rows, describe, file_sha256, read_rows
from harness.errors import DataError
from harness.records import Completion, Failure, GenerationSettings, Prompt, Sample, fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAnswers:
    """The answers of a file, by sample. Settings of generation do not apply: they were decided elsewhere."""

    key: str
    name: str
    """The file as a person would write it."""
    completions: Mapping[str, Completion]
    """By sample id, for samples that the file has a line for."""
    extra: int
    """Lines of the file that belong to none of the samples."""
    missing: int
    """Samples that the file has no answer for."""

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yields one batch: for each prompt the answer recorded for its sample, or the failure `missing_answer`."""
        message = f"{self.name} has no answer for this sample"
        absent = Completion(text=None, error=Failure(kind="missing_answer", message=message))
        if prompts:
            yield [(index, self.completions.get(prompt.sample_id, absent)) for index, prompt in enumerate(prompts)]


def load_recorded(path: Path, samples: Sequence[Sample]) -> RecordedAnswers:
    """The recorded answers to `samples`.

    Raises DataError with every mistake of the file, and where none of its lines belongs to any sample.
    """
    rows = read_rows(path)
    column = "id" if "id" in rows.columns else "input"
    by_name = _completions(rows, column)
    if column == "id":
        found = {sample.id: sample.id for sample in samples if sample.id in by_name}
    else:
        found = _match_inputs(rows, by_name, samples)
    if not found:
        hint = " (data.fields.id names the data's column of ids)" if column == "id" else ""
        raise DataError(
            f"{rows.name}: none of its {len(rows.rows):,} answers belongs to a sample (matched by {column}). "
            f"A sample's {column} is {getattr(samples[0], column)[:60]!r}{hint}."
            if samples
            else f"{rows.name}: no samples."
        )
    completions = {sample_id: by_name[name] for sample_id, name in found.items()}
    return RecordedAnswers(
        key=fingerprint(["answers", file_sha256(path)]),
        name=rows.name,
        completions=completions,
        extra=len(by_name.keys() - set(found.values())),
        missing=sum(sample.id not in completions or completions[sample.id].text is None for sample in samples),
    )


def _completions(rows: Rows, column: str) -> dict[str, Completion]:
    """Each line's answer by its id or input."""
    mistakes = Mistakes()
    completions: dict[str, Completion] = {}
    first: dict[str, Row] = {}
    for row in rows.rows:
        try:
            name, completion = _name(row, column), _completion(row)
        except ValueError as error:
            mistakes.add(f"{rows.place(row)}: {error}")
            continue
        if name in first:
            got = f"{name[:60]!r}, as on {rows.place(first[name])}"
            mistakes.add(f"{rows.place(row)}: '{column}' must be unique (got {got}).")
        first.setdefault(name, row)
        completions[name] = completion
    mistakes.raise_any()
    return completions


def _name(row: Row, column: str) -> str:
    value: Any = row.values.get(column)
    if column == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        hint = "Every line needs an 'id', or every line an 'input' and none an 'id'."
        raise ValueError(f"'{column}' must be text (got {describe(value)}). {hint}")
    return value


def _completion(row: Row) -> Completion:
    if "answer" not in row.values:
        raise ValueError(f"'answer' is missing (the line has {', '.join(row.values)}).")
    value = row.values["answer"]
    if value is None:
        message = f"the answer on line {row.number} is null"
        return Completion(text=None, error=Failure(kind="missing_answer", message=message))
    if not isinstance(value, str):
        raise ValueError(f"'answer' must be text or null (got {describe(value)}).")
    return Completion(text=value, finish_reason="recorded")


def _match_inputs(rows: Rows, by_input: Mapping[str, Completion], samples: Sequence[Sample]) -> dict[str, str]:
    """Sample id to the input the file has for it. Raises DataError where white space alone tells two lines apart."""
    mistakes = Mistakes()
    by_words: dict[str, str] = {}
    for name in by_input:
        words = " ".join(name.split())
        if words in by_words and by_input[by_words[words]] != by_input[name]:
            mistakes.add(f"{rows.name}: two lines answer {words[:60]!r} differently (they differ in white space only).")
        by_words[words] = name
    mistakes.raise_any()
    found: dict[str, str] = {}
    talks: dict[str, Sample] = {}
    for sample in samples:
        name = sample.input if sample.input in by_input else by_words.get(" ".join(sample.input.split()), "")
        if name:
            if talks.setdefault(name, sample).messages != sample.messages:
                mistakes.add(
                    f"{rows.name}: {name[:60]!r} is the last turn of several conversations. Give each line an 'id'."
                )
            found[sample.id] = name
    mistakes.raise_any()
    return found
