"""The sample browser's data: one index that says enough to list and filter, and chunks that hold everything else.

Both are JSON, gzipped and base64-coded, so that 5,000 samples stay below 15 MB and the page decodes only what is looked
at. The JSON is ASCII (other characters escaped), hence safe inside a script element of any encoding. Evidence is the
largest part: when the chunks outgrow their budget, the samples at the end of the order keep their texts and scores but
lose evidence and prompts, and the page says so. `choose` leaves whole samples out, where somebody asked for that.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.deciding.cuts import Cut, cut_of, gate_rules
from harness.errors import UserError
from harness.records import HUMAN, Answer, Failure, Judgement, Metric
from reports.views import Report, ReportSample

CHUNK = 100
"""Samples a chunk."""
MAX_TEXT = 20_000
"""Characters of an input, reference, context or answer beyond which it is cut, and says so."""
SNIPPET = 160
HOLE = 0
"""Stands for evidence in what `encode` is given; no evidence is a number."""
_HOLE_JSON = f'"evidence":{HOLE}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What goes into the page's data blocks."""

    index: str
    chunks: tuple[str, ...]
    without_evidence: int
    """Samples whose evidence was left out to keep the page small."""
    cut_texts: int
    """Texts longer than MAX_TEXT."""


def choose(report: Report, which: str) -> tuple[tuple[ReportSample, ...], str]:
    """The samples that go into the page, in the report's order, and which they are in words (empty: all).

    `flipped` are those that pass a metric's cut with the baseline and fail it with some candidate, or the other way
    round; `failing` those that some candidate fails, or that lack an answer or a score. Both look at the metrics that the
    gate's rules name; without a gate, at the leaderboard's first. A number takes so many from the beginning.

    Raises:
        UserError: `which` is none of flipped, failing, all or a number from 1.
    """
    if which == "all":
        return report.samples, ""
    if which.isdecimal() and int(which) > 0:
        few = report.samples[: int(which)]
        return few, f"the {len(few):,} with the largest loss" if report.baseline else f"the first {len(few):,}"
    ruled = {rule.get("metric") for rule in gate_rules(report.run)}
    metrics = [m for m in report.metrics if m.name in ruled] or [
        m for m in report.metrics if m.name == report.boards[0].primary
    ]
    cuts = {metric.name: cut for metric in metrics if (cut := cut_of(report.run, metric)) is not None}
    by = " or ".join(cuts) or "any metric"
    if which == "flipped":
        if report.baseline is None:
            raise UserError("'--samples flipped' needs a baseline or a second candidate. Use failing, all or a number.")
        kept = tuple(s for s in report.samples if _flipped(s, cuts, report))
        return kept, f"those that flipped between pass and fail on {by}"
    if which == "failing":
        kept = tuple(s for s in report.samples if _failing(s, cuts, report))
        return kept, f"those that some candidate fails on {by}, or that lack an answer or a score"
    raise UserError(f"'--samples' must be flipped, failing, all or a number from 1 (got {which!r})")


def _passed(sample: ReportSample, candidate: str, metric: str, cut: Cut) -> bool | None:
    judgement = sample.judgements.get((candidate, metric))
    return None if judgement is None or judgement.score is None else cut.passes(judgement.score)


def _flipped(sample: ReportSample, cuts: Mapping[str, Cut], report: Report) -> bool:
    for metric, cut in cuts.items():
        before = _passed(sample, report.baseline or "", metric, cut)
        if before is not None and (not before) in {_passed(sample, name, metric, cut) for name in report.candidates}:
            return True
    return False


def _failing(sample: ReportSample, cuts: Mapping[str, Cut], report: Report) -> bool:
    return any(
        _failed(sample, candidate, report.metrics)
        or any(_passed(sample, candidate, metric, cut) is False for metric, cut in cuts.items())
        for candidate in report.candidates
    )


def page_facts(report: Report) -> dict[str, Any]:
    """What the browser knows before it unpacks anything: names, scales, cuts, and what a grade was asked for."""
    names = [metric.name for metric in report.metrics]
    others = [row.candidate for row in report.boards[0].rows if not row.is_baseline]
    return {
        "run": report.run.id,
        "candidates": report.candidates,
        "metrics": [_metric(report, metric) for metric in report.metrics],
        "splits": report.splits,
        "baseline": None if report.baseline is None else report.candidates.index(report.baseline),
        "declared": report.declared_baseline,
        "first": report.candidates.index(others[0]) if others else 0,
        "primary": names.index(report.boards[0].primary),
        "chunk": CHUNK,
    }


def _metric(report: Report, metric: Metric) -> dict[str, Any]:
    """With the largest score as the upper end of a scale that has none."""
    cells = [cell for board in report.boards for row in board.rows for cell in row.cells if cell.metric == metric]
    cut = cut_of(report.run, metric)
    return {
        "name": metric.name,
        "direction": metric.direction,
        "low": metric.low,
        "high": max(cell.top for cell in cells),
        "cut": None if cut is None else cut.value,
        "rule": "" if cut is None else cut.rule,
        "human": metric.name.startswith(HUMAN),
        "steps": _steps(report, metric),
    }


def _steps(report: Report, metric: Metric) -> list[dict[str, Any]]:
    """The criteria of a grade and the steps of each; none for a judge that follows none."""
    facts = next(card.facts for card in report.judges if card.metric == metric)
    criteria, steps = facts.get("criteria"), facts.get("steps")
    if isinstance(criteria, Mapping):
        return [
            {"name": str(name), "criterion": str(one.get("criterion", "")), "steps": _texts(one.get("steps"))}
            for name, one in criteria.items()
            if isinstance(one, Mapping)
        ]
    return [{"name": metric.name, "criterion": str(criteria or ""), "steps": _texts(steps)}] if steps else []


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def pack(report: Report, *, budget: int) -> Payload:
    """Encodes all samples in the report's order; `budget` is the size in bytes that chunks may have together."""
    columns = tuple(dict.fromkeys(name for s in report.samples for name in s.sample.slices))
    coder = _Coder(report.candidates, [metric.name for metric in report.metrics])
    chunks: list[str] = []
    spent = without = 0
    for start in range(0, len(report.samples), CHUNK):
        part = report.samples[start : start + CHUNK]
        chunk = encode([coder.sample(s, evidence=True) for s in part], coder.evidence(part)) if spent < budget else ""
        if not chunk or spent + len(chunk) > budget:
            chunk = encode([coder.sample(s, evidence=False) for s in part])
            without += len(part)
            spent = budget
        spent += len(chunk)
        chunks.append(chunk)
    index = encode(_index(report, columns))
    return Payload(index=index, chunks=tuple(chunks), without_evidence=without, cut_texts=coder.cut)


def encode(value: object, filling: Sequence[str] = ()) -> str:
    """Base64 of the gzipped ASCII JSON of a value; the same value always gives the same text.

    `filling` is JSON text, a piece for each place of the value that says `"evidence": HOLE`, in their order: it is not
    read, which would take longer than all else.
    """
    try:
        text = _json(value)
    except ValueError:
        text = _json(_finite(value))
    if filling:
        first, *rest = text.split(
            _HOLE_JSON
        )  # within a text its quotation marks are escaped, so it is never found there
        pieces = (f'"evidence":{_ascii(piece)}}}{after}' for piece, after in zip(filling, rest, strict=True))
        text = "".join((first, *pieces))
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _ascii(text: str) -> str:
    """The same JSON, other characters escaped."""
    return text if text.isascii() else _json(json.loads(text))


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def _finite(value: Any) -> Any:
    """The value with NaN and infinities, which JSON lacks and evidence may hold, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def snippet(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 4 * SNIPPET].split())
    return line if len(line) <= SNIPPET else f"{line[:SNIPPET].rstrip()}…"


def _index(report: Report, columns: Sequence[str]) -> dict[str, Any]:
    """Column-wise, so that it compresses well: one list a field, scores as [candidate][metric][sample]."""
    samples = report.samples
    cuts = [cut_of(report.run, metric) for metric in report.metrics]
    values = {name: list(dict.fromkeys(s.sample.slices.get(name, "") for s in samples)) for name in columns}
    places = {name: {value: i for i, value in enumerate(values[name])} for name in columns}
    return {
        "ids": [s.sample.id for s in samples],
        "rows": [s.sample.row for s in samples],
        "splits": [report.splits.index(s.sample.split) for s in samples],
        "snippets": [snippet(s.sample.input) for s in samples],
        "slices": [
            {"name": name, "values": values[name], "of": [places[name][s.sample.slices.get(name, "")] for s in samples]}
            for name in columns
        ],
        "scores": [
            [[_score(s, c, m, cut) for s in samples] for m, cut in zip(report.metrics, cuts, strict=True)]
            for c in report.candidates
        ],
        "failed": [[_failed(s, c, report.metrics) for s in samples] for c in report.candidates],
    }


def _score(sample: ReportSample, candidate: str, metric: Metric, cut: Cut | None) -> float | None:
    """Four decimals, unless they would carry the score over the cut."""
    judgement = sample.judgements.get((candidate, metric.name))
    if judgement is None or judgement.score is None:
        return None
    score = judgement.score
    short = round(score, 4)
    near = cut is not None and abs(score - cut.value) < 1e-4
    return score if near and cut is not None and cut.passes(short) != cut.passes(score) else short


def _failed(sample: ReportSample, candidate: str, metrics: Sequence[Metric]) -> int:
    """1 where an answer is missing or failed, or a judgement has an error; else 0."""
    answer = sample.answers.get(candidate)
    if answer is None or answer.completion.error is not None:
        return 1
    found = (sample.judgements.get((candidate, metric.name)) for metric in metrics)
    return int(any(judgement is not None and judgement.error is not None for judgement in found))


class _Coder:
    """Turns samples into JSON values and counts the texts it had to cut."""

    def __init__(self, candidates: Sequence[str], metrics: Sequence[str]) -> None:
        self._candidates = candidates
        self._metrics = metrics
        self.cut = 0

    def sample(self, view: ReportSample, *, evidence: bool) -> dict[str, Any]:
        sample = view.sample
        return {
            "id": sample.id,
            "input": self._text(sample.input),
            "turns": [[turn.role, self._text(turn.content)] for turn in sample.messages],
            "references": [self._text(text) for text in sample.references],
            "contexts": [self._text(text) for text in sample.contexts],
            "cluster": sample.cluster,
            "answers": [self._answer(view.answers.get(name), evidence) for name in self._candidates],
            "judgements": [
                [self._judgement(view.judgements.get((name, metric)), evidence) for metric in self._metrics]
                for name in self._candidates
            ],
        }

    def _answer(self, answer: Answer | None, evidence: bool) -> dict[str, Any] | None:
        if answer is None:
            return None
        completion = answer.completion
        return {
            "text": None if completion.text is None else self._text(completion.text),
            "error": _error(completion.error),
            "finish": completion.finish_reason,
            "tokens": completion.completion_tokens,
            "seconds": None if completion.seconds is None else round(completion.seconds, 3),
            "contexts": [self._text(text) for text in answer.contexts] if evidence else [],
            "prompt": [[turn.role, self._text(turn.content)] for turn in answer.prompt] if evidence else [],
        }

    def evidence(self, views: Sequence[ReportSample]) -> list[str]:
        """What goes into the holes of these samples, in their order."""
        places = [(name, metric) for name in self._candidates for metric in self._metrics]
        return [view.evidence[place] for view in views for place in places if place in view.judgements]

    @staticmethod
    def _judgement(judgement: Judgement | None, evidence: bool) -> dict[str, Any] | None:
        if judgement is None:
            return None
        return {
            "score": judgement.score,
            "label": judgement.label,
            "error": _error(judgement.error),
            "evidence": HOLE if evidence else None,
        }

    def _text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.cut += 1
        return f"{text[:MAX_TEXT]}\n[… cut here: {len(text):,} characters in all]"


def _error(failure: Failure | None) -> list[str] | None:
    return None if failure is None else [failure.kind, failure.message]
