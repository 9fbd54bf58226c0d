"""What a stored run measured, as the record that baselines are made of and compared by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.deciding.baseline.record import JudgeRecord, Measured, SplitRecord
from harness.deciding.scores import ScoreRow
from harness.records import Run, Sample, fingerprint
from harness.suite.grammar import Generation
from harness.suite.template import TemplateMistake, check_template

if TYPE_CHECKING:
    from harness.store import Store

DIGITS = 12
"""Of a sample's hash: two of a million samples that differ are told apart but for a chance of 1 in 500."""
FIGURE_KEYS = {"perplexity": ("log_likelihood", "tokens"), "macro_f1": ("target", "predicted")}
"""What of the evidence the figures of metrics that are no means are made of."""


def measure(store: Store, run: Run, candidate: str | None = None) -> Measured:
    """The conditions of a run and, with a candidate, what it scored."""
    suite = run.record.get("suite") or {}
    modes = {metric: found for (name, metric), found in store.modes(run.id).items() if name == candidate}
    measured = conditions(suite, store.samples(run.id), suite_name=run.suite, suite_version=run.suite_version)
    judges = {
        metric.name: JudgeRecord(
            fingerprint=run.judges.get(metric.name, ""), direction=metric.direction, low=metric.low,
            high=metric.high if math.isfinite(metric.high) else None, aggregate=metric.aggregate,
            modes=modes.get(metric.name, {}),
        )
        for metric in run.metrics
    }  # fmt: skip
    rows = [row for row in store.scores(run.id) if row[0] == candidate] if candidate is not None else []
    return measured.model_copy(
        update={
            "candidate": candidate or "",
            "candidate_key": run.candidates[candidate] if candidate is not None else "",
            "judges": judges,
            "versions": dict(run.record.get("environment") or {}),
            "splits": {name: _scored(split, name, rows, judges) for name, split in measured.splits.items()},
        }
    )


def conditions(suite: Mapping[str, Any], samples: Iterable[Sample], *, suite_name: str, suite_version: int) -> Measured:
    """What is known before any model is asked: the suite's prompts and settings, and the samples.

    Args:
        suite: The resolved suite in plain values, as it stands in a run's record.
        samples: Of every evaluated split; one of two splits stands twice.
        suite_name: The suite's name.
        suite_version: Its version.
    """
    prompt = suite.get("prompt") or "{{ input }}"
    usual = Generation().model_dump()
    generation = {k: v for k, v in (suite.get("generation") or {}).items() if v != usual.get(k)}
    by_split: dict[str, list[Sample]] = {}
    for sample in samples:
        by_split.setdefault(sample.split, []).append(sample)
    columns = _columns(prompt)
    return Measured(
        suite=suite_name,
        suite_version=suite_version,
        prompts=fingerprint([suite.get("system"), prompt]),
        generation=fingerprint(generation),
        candidate="",
        candidate_key="",
        judges={},
        versions={},
        splits={name: _split(found, columns) for name, found in by_split.items()},
    )


def _columns(prompt: str) -> list[str]:
    """The columns of a row that the prompt shows beside the input."""
    try:
        return sorted(check_template(prompt) - {"input"})
    except TemplateMistake:  # a record of a suite that muster would refuse today
        return []


def _split(samples: Sequence[Sample], columns: Sequence[str]) -> SplitRecord:
    clusters = [sample.cluster for sample in samples]
    return SplitRecord(
        ids=[sample.id for sample in samples],
        samples=[_content(sample, columns) for sample in samples],
        clusters=clusters if any(cluster is not None for cluster in clusters) else None,
    )


def _content(sample: Sample, columns: Sequence[str]) -> str:
    """The hash of what candidates and judges see of a sample: neither its place in the file nor its slices."""
    turns = [[turn.role, turn.content] for turn in sample.messages]
    shown = {name: sample.columns[name] for name in columns if name in sample.columns}
    return fingerprint([sample.input, list(sample.references), list(sample.contexts), turns, shown])[:DIGITS]


def _scored(split: SplitRecord, name: str, rows: Sequence[ScoreRow], judges: Mapping[str, JudgeRecord]) -> SplitRecord:
    here = [row for row in rows if row[1] == name]
    scores: dict[str, list[float | None]] = {}
    evidence: dict[str, dict[str, list[Any]]] = {}
    for metric in dict.fromkeys(row[5] for row in here):
        if metric not in judges:  # what people said of the answers is theirs, not a judge's
            continue
        found = {row[2]: row for row in here if row[5] == metric}
        scores[metric] = [found[i][6] if i in found else None for i in split.ids]
        if judges[metric].aggregate != "mean":
            read = [_read(found.get(i)) for i in split.ids]
            evidence[metric] = {k: [one.get(k) for one in read] for k in FIGURE_KEYS[judges[metric].aggregate]}
    return split.model_copy(update={"scores": scores, "evidence": evidence})


def _read(row: ScoreRow | None) -> Mapping[str, Any]:
    return {} if row is None or row[6] is None or row[7] is None else json.loads(row[7])


def score_rows(measured: Measured, label: str) -> list[ScoreRow]:
    """The scores as the store's rows, of a candidate called `label`."""
    rows: list[ScoreRow] = []
    for name, split in measured.splits.items():
        clusters = split.clusters or [None] * len(split.ids)
        for metric, scores in split.scores.items():
            held = split.evidence.get(metric)
            for i, (sample, cluster, score) in enumerate(zip(split.ids, clusters, scores, strict=True)):
                shown = None if held is None or score is None else json.dumps({k: v[i] for k, v in held.items()})
                rows.append((label, name, sample, cluster, None, metric, score, shown))
    return rows


def modes_of(measured: Measured, label: str) -> dict[tuple[str, str], dict[str, int]]:
    """In which modes the scores were made, by candidate (called `label`) and metric."""
    return {(label, name): judge.modes for name, judge in measured.judges.items() if judge.modes}
