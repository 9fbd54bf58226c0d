"""Records as rows of the store's tables, and back: what goes in comes out equal.

A row is a tuple in the order of its table's columns, without run_id and position. Mappings and lists become JSON text.
DuckDB and Parquet hold Unicode only, so a text with half a surrogate pair (a model may write one) is kept as JSON
behind a mark. NaN and infinity are refused with ValueError: they are never a value.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from harness.records import (
    Answer,
    Completion,
    Failure,
    Finding,
    Judgement,
    Message,
    Metric,
    Probe,
    Repeat,
    Run,
    Sample,
    Training,
    Verdict,
)

Row = tuple[Any, ...]
MARK = "\ufeffjson:"
"""Starts a text that is kept as JSON, as no text of people does."""
BATCH = 50_000
"""Rows held as Python tuples at a time while an Arrow table is made."""

TEXT, WHOLE, REAL = "VARCHAR", "BIGINT", "DOUBLE"
_OWN = {"run_id": TEXT, "position": WHOLE}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "runs": {
        "run_id": TEXT, "key": TEXT, "suite": TEXT, "suite_version": WHOLE, "suite_sha": TEXT, "data_sha": TEXT,
        "status": TEXT, "started": TEXT, "finished": TEXT, "seconds": REAL, "candidates": TEXT, "metrics": TEXT,
        "judges": TEXT, "record": TEXT,
    },
    "samples": {
        **_OWN, "sample_id": TEXT, "split": TEXT, "input": TEXT, "references": TEXT, "contexts": TEXT, "cluster": TEXT,
        "slices": TEXT, "row": WHOLE, "messages": TEXT, "columns": TEXT,
    },
    "answers": {
        **_OWN, "candidate": TEXT, "sample_id": TEXT, "key": TEXT, "prompt_sha": TEXT, "prompt": TEXT, "text": TEXT,
        "finish_reason": TEXT, "prompt_tokens": WHOLE, "completion_tokens": WHOLE, "seconds": REAL, "contexts": TEXT,
        "error_kind": TEXT, "error_message": TEXT,
    },
    "judgements": {
        **_OWN, "candidate": TEXT, "metric": TEXT, "sample_id": TEXT, "key": TEXT, "score": REAL, "label": TEXT,
        "evidence": TEXT, "error_kind": TEXT, "error_message": TEXT,
    },
    "trainings": {
        **_OWN, "key": TEXT, "candidate": TEXT, "base": TEXT, "base_fingerprint": TEXT, "path": TEXT, "rows": WHOLE,
        "steps": WHOLE, "tokens": WHOLE, "seconds": REAL, "trainable_parameters": WHOLE, "total_parameters": WHOLE,
        "log": TEXT, "record": TEXT,
    },
    "verdicts": {
        **_OWN, "candidate": TEXT, "outcome": TEXT, "exit_status": WHOLE, "suite": TEXT, "suite_sha": TEXT,
        "baseline": TEXT, "confidence": REAL, "findings": TEXT,
    },
    "probes": {
        **_OWN, "candidate": TEXT, "sample_id": TEXT, "key": TEXT, "kind": TEXT, "number": WHOLE, "text": TEXT,
        "log_likelihood": REAL, "tokens": WHOLE,
    },
    "repeats": {
        **_OWN, "candidate": TEXT, "metric": TEXT, "sample_id": TEXT, "number": WHOLE, "key": TEXT, "score": REAL,
        "error_kind": TEXT, "error_message": TEXT,
    },
}  # fmt: skip
"""Every table with its columns, as in schema.sql."""


def stored_text(text: str) -> str:
    """A text as DuckDB and Parquet can hold it."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return MARK + json.dumps(text)
    return MARK + json.dumps(text) if text.startswith(MARK) else text


def read_text(stored: str) -> str:
    """The text that `stored_text` was given."""
    return str(json.loads(stored[len(MARK) :])) if stored.startswith(MARK) else stored


_READABLE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ASCII = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
"""Made once: `json.dumps` with options makes an encoder a call, which takes as long as a small value."""


def to_json(value: Any) -> str:
    """JSON text, readable in any language. Raises ValueError for NaN and infinity."""
    text = _READABLE.encode(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ASCII.encode(value)
    return text


def _texts(stored: str) -> tuple[str, ...]:
    return tuple(json.loads(stored)) if stored != "[]" else ()


def _messages_json(messages: Sequence[Message]) -> str:
    return to_json([{"role": m.role, "content": m.content} for m in messages]) if messages else "[]"


def _messages(stored: str) -> tuple[Message, ...]:
    return tuple(Message(**message) for message in json.loads(stored)) if stored != "[]" else ()


def _failure(kind: str | None, message: str | None) -> Failure | None:
    return Failure(kind=kind, message=message or "") if kind is not None else None


def _failure_row(failure: Failure | None) -> tuple[str | None, str | None]:
    return (failure.kind, failure.message) if failure is not None else (None, None)


def own_columns(table: str) -> list[str]:
    """A table's columns without run_id and position."""
    return [column for column in COLUMNS[table] if column not in _OWN]


def read_rows(table: str, columns: Sequence[str], rows: Iterable[Row]) -> list[Row]:
    """Rows as DuckDB gives them, with the texts that could not be kept as they were put right."""
    is_text = [COLUMNS[table][column] == TEXT for column in columns]
    return [
        tuple(
            read_text(value) if text and value is not None and value[:1] == MARK[0] else value
            for value, text in zip(row, is_text, strict=True)
        )
        for row in rows
    ]


def arrow_tables(
    run: Run,
    *,
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    judgements: Sequence[Judgement],
    trainings: Sequence[Training],
    verdicts: Sequence[Verdict] = (),
    probes: Sequence[Probe] = (),
    repeats: Sequence[Repeat] = (),
) -> dict[str, Any]:
    """Everything of a run as one Arrow table for each of the store's. Raises ValueError where a row stands twice."""
    _refuse_twice("sample", ((s.split, s.id) for s in samples))
    _refuse_twice("answer", ((a.candidate, a.sample_id) for a in answers))
    _refuse_twice("judgement", ((j.candidate, j.metric, j.id) for j in judgements))
    _refuse_twice("probe", ((p.candidate, p.sample_id, p.key) for p in probes))
    _refuse_twice("repeat", ((r.candidate, r.metric, r.sample_id, r.number) for r in repeats))
    return {
        "runs": arrow_table("runs", run.id, [run_row(run)]),
        "samples": arrow_table("samples", run.id, map(sample_row, samples)),
        "answers": arrow_table("answers", run.id, map(answer_row, answers)),
        "judgements": arrow_table("judgements", run.id, map(judgement_row, judgements)),
        "trainings": arrow_table("trainings", run.id, map(training_row, trainings)),
        "verdicts": verdict_table(run.id, verdicts),
        "probes": arrow_table("probes", run.id, map(probe_row, probes)),
        "repeats": arrow_table("repeats", run.id, map(repeat_row, repeats)),
    }


def verdict_table(run_id: str, verdicts: Sequence[Verdict]) -> Any:
    """A run's verdicts as an Arrow table. Raises ValueError for a verdict on another run."""
    for verdict in verdicts:
        if verdict.run != run_id:
            raise ValueError(f"verdicts must be on run {run_id!r} (got one on {verdict.run!r})")
    return arrow_table("verdicts", run_id, map(verdict_row, verdicts))


def arrow_table(table: str, run_id: str, rows: Iterable[Row]) -> Any:
    """Rows of one run as an Arrow table with all columns of the store's table, numbered in their order."""
    import pyarrow as pa

    types = {TEXT: pa.string(), WHOLE: pa.int64(), REAL: pa.float64()}
    schema = pa.schema([(column, types[kind]) for column, kind in COLUMNS[table].items()])
    batches: list[Any] = []
    rows, start = iter(rows), 0
    while batch := list(islice(rows, BATCH)):
        values: dict[str, Any] = {name: [row[i] for row in batch] for i, name in enumerate(own_columns(table))}
        values["run_id"], values["position"] = [run_id] * len(batch), range(start, start + len(batch))
        arrays = [
            _text_array(values[column]) if kind == TEXT else pa.array(values[column], type=types[kind])
            for column, kind in COLUMNS[table].items()
        ]
        batches.append(pa.record_batch(arrays, schema=schema))
        start += len(batch)
    return pa.Table.from_batches(batches, schema=schema)


def _text_array(texts: Sequence[str | None]) -> Any:
    """Texts as Arrow holds them; only where it cannot hold one as it is are they looked at one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        plain = pa.array(texts, type=pa.string())
        if not pc.any(pc.starts_with(plain, MARK)).as_py():
            return plain
    except UnicodeEncodeError:
        pass
    return pa.array([None if text is None else stored_text(text) for text in texts], type=pa.string())


def _refuse_twice(what: str, keys: Iterable[Row]) -> None:
    given = list(keys)
    if len(set(given)) < len(given):
        twice = next(key for key, count in Counter(given).items() if count > 1)
        raise ValueError(f"a run must hold one {what} of {' / '.join(map(str, twice))} (got two)")


# ---------------------------------------------------------------------------------------------------------------- runs


def run_row(run: Run) -> Row:
    """A run as a row of `runs`."""
    return (
        run.key, run.suite, run.suite_version, run.suite_sha, run.data_sha, run.status, run.started, run.finished,
        run.seconds, to_json(run.candidates), to_json([_metric_json(metric) for metric in run.metrics]), to_json(run.judges),
        to_json(run.record),
    )  # fmt: skip


def run_of(id: str, *row: Any) -> Run:
    """The run of an id and a row of `runs`."""
    plain = dict(zip(own_columns("runs")[:-4], row[:-4], strict=True))
    candidates, metrics, judges, record = map(json.loads, row[-4:])
    return Run(
        id=id,
        **plain,
        candidates=candidates,
        metrics=tuple(map(_metric_of, metrics)),
        judges=judges,
        record=record,
    )


def _metric_json(metric: Metric) -> dict[str, Any]:
    """JSON has no infinity: a scale without an upper end has none."""
    return {**asdict(metric), "high": metric.high if math.isfinite(metric.high) else None}


def _metric_of(stored: Mapping[str, Any]) -> Metric:
    return Metric(**{**stored, "high": math.inf if stored["high"] is None else stored["high"]})


# ------------------------------------------------------------------------------------------------------------- samples


def sample_row(sample: Sample) -> Row:
    """A sample as a row of `samples`."""
    return (
        sample.id, sample.split, sample.input, to_json(sample.references), to_json(sample.contexts), sample.cluster,
        to_json(sample.slices), sample.row, _messages_json(sample.messages), to_json(sample.columns),
    )  # fmt: skip


def sample_of(
    id: str, split: str, input: str, references: str, contexts: str, cluster: str | None, slices: str, row: int,
    messages: str, columns: str,
) -> Sample:  # fmt: skip
    """The sample of a row of `samples`."""
    return Sample(
        id=id, split=split, input=input, references=_texts(references), contexts=_texts(contexts), cluster=cluster,
        slices=json.loads(slices), row=row, messages=_messages(messages), columns=json.loads(columns),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- answers


def answer_row(answer: Answer) -> Row:
    """An answer as a row of `answers`."""
    made = answer.completion
    return (
        answer.candidate, answer.sample_id, answer.key, answer.prompt_sha, _messages_json(answer.prompt), made.text,
        made.finish_reason, made.prompt_tokens, made.completion_tokens, made.seconds, to_json(answer.contexts),
        *_failure_row(made.error),
    )  # fmt: skip


def completion_of(
    text: str | None, finish_reason: str | None, prompt_tokens: int | None, completion_tokens: int | None,
    seconds: float | None, error_kind: str | None = None, error_message: str | None = None,
) -> Completion:  # fmt: skip
    """The completion within a row of `answers`."""
    return Completion(
        text=text, finish_reason=finish_reason, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens,
        seconds=seconds, error=_failure(error_kind, error_message),
    )  # fmt: skip


def answer_of(
    candidate: str, sample_id: str, key: str, prompt_sha: str, prompt: str, text: str | None, finish_reason: str | None,
    prompt_tokens: int | None, completion_tokens: int | None, seconds: float | None, contexts: str,
    error_kind: str | None, error_message: str | None,
) -> Answer:  # fmt: skip
    """The answer of a row of `answers`."""
    made = completion_of(text, finish_reason, prompt_tokens, completion_tokens, seconds, error_kind, error_message)
    return Answer(
        key=key, candidate=candidate, sample_id=sample_id, prompt_sha=prompt_sha, prompt=_messages(prompt),
        contexts=_texts(contexts), completion=made,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- judgements


def judgement_row(judgement: Judgement) -> Row:
    """A judgement as a row of `judgements`."""
    return (
        judgement.candidate, judgement.metric, judgement.id, judgement.key, judgement.score, judgement.label,
        to_json(judgement.evidence) if judgement.evidence else "{}", *_failure_row(judgement.error),
    )  # fmt: skip


def judgement_of(
    candidate: str, metric: str, id: str, key: str, score: float | None, label: str | None, evidence: str,
    error_kind: str | None, error_message: str | None,
) -> Judgement:  # fmt: skip
    """The judgement of a row of `judgements`."""
    return Judgement(
        id=id, metric=metric, score=score, label=label, evidence=json.loads(evidence) if evidence != "{}" else {},
        error=_failure(error_kind, error_message), candidate=candidate, key=key,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------- probes and repeats


def probe_row(probe: Probe) -> Row:
    """A probe as a row of `probes`."""
    return (
        probe.candidate, probe.sample_id, probe.key, probe.kind, probe.number, probe.text, probe.log_likelihood,
        probe.tokens,
    )  # fmt: skip


def probe_of(*row: Any) -> Probe:
    """The probe of a row of `probes`."""
    return Probe(**dict(zip(own_columns("probes"), row, strict=True)))


def repeat_row(repeat: Repeat) -> Row:
    """A repeat as a row of `repeats`."""
    return (
        repeat.candidate, repeat.metric, repeat.sample_id, repeat.number, repeat.key, repeat.score,
        *_failure_row(repeat.error),
    )  # fmt: skip


def repeat_of(*row: Any) -> Repeat:
    """The repeat of a row of `repeats`."""
    *plain, kind, message = row
    fields = dict(zip(own_columns("repeats")[:-2], plain, strict=True))
    return Repeat(**fields, error=_failure(kind, message))


# ----------------------------------------------------------------------------------------------- trainings and verdicts


def training_row(training: Training) -> Row:
    """A training as a row of `trainings`."""
    return (
        training.key, training.candidate, training.base, training.base_fingerprint, training.path, training.rows,
        training.steps, training.tokens, training.seconds, training.trainable_parameters, training.total_parameters,
        to_json(training.log), to_json(training.record),
    )  # fmt: skip


def training_of(*row: Any) -> Training:
    """The training of a row of `trainings`."""
    *plain, log, record = row
    fields = dict(zip(own_columns("trainings")[:-2], plain, strict=True))
    return Training(**fields, log=tuple(json.loads(log)), record=json.loads(record))


def verdict_row(verdict: Verdict) -> Row:
    """A verdict as a row of `verdicts`."""
    return (
        verdict.candidate, verdict.outcome, verdict.exit_status, verdict.suite, verdict.suite_sha,
        verdict.baseline, verdict.confidence, to_json([asdict(finding) for finding in verdict.findings]),
    )  # fmt: skip


def verdict_of(run: str, *row: Any) -> Verdict:
    """The verdict of a run and a row of `verdicts`."""
    *plain, findings = row
    fields = dict(zip(own_columns("verdicts")[:-1], plain, strict=True))
    return Verdict(run=run, **fields, findings=tuple(Finding(**finding) for finding in json.loads(findings)))
