"""Records as rows of the store's tables, and back: what goes in comes out equal.

A row is a tuple in the order of its table's columns, without run_id and position. Mappings and lists become JSON text, a
batch at a time.
DuckDB and Parquet hold Unicode only, so a text with half a surrogate pair (a model may write one) is kept as JSON
behind a mark. NaN and infinity are refused with ValueError: they are never a value.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from operator import attrgetter, itemgetter
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
SEAM = "\ufeff|"
"""Stands between values that are encoded together; a value that holds it itself in a list is found and encoded alone."""
BATCH = 20_000
"""Records of which an Arrow table is made at a time."""

TEXT, JSON, WHOLE, REAL = "VARCHAR", "JSON", "BIGINT", "DOUBLE"
"""What a column holds, by its type in DuckDB; but JSON, there a VARCHAR too, is a mapping or a list until it is encoded."""
_OWN = {"run_id": TEXT, "position": WHOLE}

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "runs": {
        "run_id": TEXT, "key": TEXT, "suite": TEXT, "suite_version": WHOLE, "suite_sha": TEXT, "data_sha": TEXT,
        "status": TEXT, "started": TEXT, "finished": TEXT, "seconds": REAL, "candidates": JSON, "metrics": JSON,
        "judges": JSON, "record": JSON,
    },
    "samples": {
        **_OWN, "sample_id": TEXT, "split": TEXT, "input": TEXT, "references": JSON, "contexts": JSON, "cluster": TEXT,
        "slices": JSON, "row": WHOLE, "messages": JSON, "columns": JSON,
    },
    "answers": {
        **_OWN, "candidate": TEXT, "sample_id": TEXT, "key": TEXT, "prompt_sha": TEXT, "prompt": JSON, "text": TEXT,
        "finish_reason": TEXT, "prompt_tokens": WHOLE, "completion_tokens": WHOLE, "seconds": REAL, "contexts": JSON,
        "error_kind": TEXT, "error_message": TEXT,
    },
    "judgements": {
        **_OWN, "candidate": TEXT, "metric": TEXT, "sample_id": TEXT, "key": TEXT, "score": REAL, "label": TEXT,
        "evidence": JSON, "error_kind": TEXT, "error_message": TEXT,
    },
    "trainings": {
        **_OWN, "key": TEXT, "candidate": TEXT, "base": TEXT, "base_fingerprint": TEXT, "path": TEXT, "rows": WHOLE,
        "steps": WHOLE, "tokens": WHOLE, "seconds": REAL, "trainable_parameters": WHOLE, "total_parameters": WHOLE,
        "log": JSON, "record": JSON,
    },
    "verdicts": {
        **_OWN, "candidate": TEXT, "outcome": TEXT, "exit_status": WHOLE, "suite": TEXT, "suite_sha": TEXT,
        "baseline": TEXT, "confidence": REAL, "findings": JSON,
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

_ERROR: Mapping[str, Callable[[Any], Any]] = {
    "error_kind": lambda record: None if record.error is None else record.error.kind,
    "error_message": lambda record: None if record.error is None else record.error.message,
}
_FIELDS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "runs": {"metrics": lambda run: [_plain_metric(metric) for metric in run.metrics]},
    "samples": {"sample_id": attrgetter("id"), "messages": lambda sample: _plain_messages(sample.messages)},
    "answers": {
        **{f: attrgetter(f"completion.{f}") for f in
           ("text", "finish_reason", "prompt_tokens", "completion_tokens", "seconds")},
        "error_kind": lambda answer: _ERROR["error_kind"](answer.completion),
        "error_message": lambda answer: _ERROR["error_message"](answer.completion),
        "prompt": lambda answer: _plain_messages(answer.prompt),
    },
    "judgements": {"sample_id": attrgetter("id"), **_ERROR},
    "trainings": {},
    "verdicts": {"findings": lambda verdict: [asdict(finding) for finding in verdict.findings]},
    "probes": {},
    "repeats": _ERROR,
}  # fmt: skip
"""What a column holds of a record where it is no field of the column's name."""


def stored_text(text: str) -> str:
    """A text as DuckDB and Parquet can hold it."""
    if text.isascii() or (_is_unicode(text) and not text.startswith(MARK)):
        return text
    return MARK + json.dumps(text)


def read_text(stored: str) -> str:
    """The text that `stored_text` was given."""
    return str(json.loads(stored[len(MARK) :])) if stored.startswith(MARK) else stored


_READABLE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_ASCII = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
"""Made once: `json.dumps` with options makes an encoder a call, which takes as long as a small value. A value that holds
itself is still refused, by its depth (RecursionError)."""


def to_json(value: Any) -> str:
    """JSON text, readable in any language. Raises ValueError for NaN and infinity."""
    text = _READABLE.encode(value)
    return text if text.isascii() or _is_unicode(text) else _ASCII.encode(value)


def _json_texts(values: Sequence[Any]) -> Sequence[str]:
    """JSON text of each value, encoded as one list: a call a value would take three times as long."""
    woven: list[Any] = [SEAM] * (2 * len(values))
    woven[::2] = values
    seam = _READABLE.encode(SEAM)
    text = _READABLE.encode(woven)
    texts = text[1 : -len(seam) - 2].split(f",{seam},")
    if len(texts) == len(values) and (text.isascii() or _is_unicode(text)):
        return texts
    return [to_json(value) for value in values]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _texts(stored: str) -> tuple[str, ...]:
    return tuple(json.loads(stored)) if stored != "[]" else ()


def _plain_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _messages(stored: str) -> tuple[Message, ...]:
    return tuple(Message(**message) for message in json.loads(stored)) if stored != "[]" else ()


def _failure(kind: str | None, message: str | None) -> Failure | None:
    return Failure(kind=kind, message=message or "") if kind is not None else None


def own_columns(table: str) -> list[str]:
    """A table's columns without run_id and position."""
    return [column for column in COLUMNS[table] if column not in _OWN]


def read_rows(table: str, columns: Sequence[str], rows: list[Row]) -> list[Row]:
    """Rows as DuckDB gives them, with the texts that could not be kept as they were put right."""
    marked = {
        i for i, column in enumerate(columns)
        if COLUMNS[table][column] == TEXT and max(filter(None, map(itemgetter(i), rows)), default="") >= MARK
    }  # fmt: skip
    if not marked:
        return rows
    return [
        tuple(read_text(value) if i in marked and value is not None else value for i, value in enumerate(row))
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
    _refuse_twice("sample", samples, "split", "id")
    _refuse_twice("answer", answers, "candidate", "sample_id")
    _refuse_twice("judgement", judgements, "candidate", "metric", "id")
    _refuse_twice("probe", probes, "candidate", "sample_id", "key")
    _refuse_twice("repeat", repeats, "candidate", "metric", "sample_id", "number")
    return {
        "runs": arrow_table("runs", run.id, [run]),
        "samples": arrow_table("samples", run.id, samples),
        "answers": arrow_table("answers", run.id, answers),
        "judgements": arrow_table("judgements", run.id, judgements),
        "trainings": arrow_table("trainings", run.id, trainings),
        "verdicts": verdict_table(run.id, verdicts),
        "probes": arrow_table("probes", run.id, probes),
        "repeats": arrow_table("repeats", run.id, repeats),
    }


def verdict_table(run_id: str, verdicts: Sequence[Verdict]) -> Any:
    """A run's verdicts as an Arrow table. Raises ValueError for a verdict on another run."""
    for verdict in verdicts:
        if verdict.run != run_id:
            raise ValueError(f"verdicts must be on run {run_id!r} (got one on {verdict.run!r})")
    return arrow_table("verdicts", run_id, verdicts)


def arrow_table(table: str, run_id: str, records: Sequence[Any]) -> Any:
    """Records of one run as an Arrow table with all columns of the store's table, numbered in their order.

    It is made column by column: a tuple a record would keep the garbage collector busy for as long again.
    """
    import pyarrow as pa

    types = {TEXT: pa.string(), JSON: pa.string(), WHOLE: pa.int64(), REAL: pa.float64()}
    schema = pa.schema([(column, types[kind]) for column, kind in COLUMNS[table].items()])
    batches: list[Any] = []
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        arrays = []
        for column, kind in COLUMNS[table].items():
            values: Sequence[Any]
            if column == "run_id":
                values = [run_id] * len(batch)
            elif column == "position":
                values = range(start, start + len(batch))
            else:
                values = list(map(_FIELDS[table].get(column) or attrgetter(column), batch))
            if kind == TEXT:
                arrays.append(_text_array(values))
            else:
                arrays.append(pa.array(_json_texts(values) if kind == JSON else values, type=types[kind]))
        batches.append(pa.record_batch(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema=schema)


def _text_array(texts: Sequence[Any]) -> Any:
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


def _refuse_twice(what: str, records: Sequence[Any], *names: str) -> None:
    key = attrgetter(*names)
    if len(set(map(hash, map(key, records)))) == len(
        records
    ):  # a key no longer held is no work for the garbage collector
        return
    twice, count = Counter(map(key, records)).most_common(1)[0]
    if count > 1:
        raise ValueError(f"a run must hold one {what} of {' / '.join(map(str, twice))} (got two)")


# ---------------------------------------------------------------------------------------------------------------- runs


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


def _plain_metric(metric: Metric) -> dict[str, Any]:
    """JSON has no infinity: a scale without an upper end has none."""
    return {**asdict(metric), "high": metric.high if math.isfinite(metric.high) else None}


def _metric_of(stored: Mapping[str, Any]) -> Metric:
    return Metric(**{**stored, "high": math.inf if stored["high"] is None else stored["high"]})


# ------------------------------------------------------------------------------------------------------------- samples


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


def judgement_of(*row: Any) -> Judgement:
    """The judgement of a row of `judgements`."""
    judgement, evidence = unread_judgement_of(*row)
    return replace(judgement, evidence=json.loads(evidence)) if evidence != "{}" else judgement


def unread_judgement_of(
    candidate: str, metric: str, id: str, key: str, score: float | None, label: str | None, evidence: str,
    error_kind: str | None, error_message: str | None,
) -> tuple[Judgement, str]:  # fmt: skip
    """The judgement of a row of `judgements` without its evidence, and that as JSON text."""
    error = _failure(error_kind, error_message)
    return Judgement(
        id=id, metric=metric, score=score, label=label, error=error, candidate=candidate, key=key
    ), evidence


# -------------------------------------------------------------------------------------------------- probes and repeats


def probe_of(*row: Any) -> Probe:
    """The probe of a row of `probes`."""
    return Probe(**dict(zip(own_columns("probes"), row, strict=True)))


def repeat_of(*row: Any) -> Repeat:
    """The repeat of a row of `repeats`."""
    *plain, kind, message = row
    fields = dict(zip(own_columns("repeats")[:-2], plain, strict=True))
    return Repeat(**fields, error=_failure(kind, message))


# ----------------------------------------------------------------------------------------------- trainings and verdicts


def training_of(*row: Any) -> Training:
    """The training of a row of `trainings`."""
    *plain, log, record = row
    fields = dict(zip(own_columns("trainings")[:-2], plain, strict=True))
    return Training(**fields, log=tuple(json.loads(log)), record=json.loads(record))


def verdict_of(run: str, *row: Any) -> Verdict:
    """The verdict of a run and a row of `verdicts`."""
    *plain, findings = row
    fields = dict(zip(own_columns("verdicts")[:-1], plain, strict=True))
    return Verdict(run=run, **fields, findings=tuple(Finding(**finding) for finding in json.loads(findings)))
