"""What a trained candidate may have learnt its worst answers from: the training rows whose inputs are nearest.

Nearness is the cosine of TF-IDF vectors of words, fitted on the training inputs, as retrieval has it. Computed where a
run ends, for there the training rows are at hand; what is found goes with the training into the store, so that reports
need neither the data nor a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.records import Judgement, Metric, Sample

WORST = 5
"""Samples a candidate and metric, from the worst."""
NEAREST = 3
"""Training rows a sample."""
MAX_TEXT = 1_000
"""Characters of an input or answer that are kept."""


def worst_samples(judgements: Sequence[Judgement], metrics: Sequence[Metric], candidate: str) -> list[str]:
    """Ids of the samples that a candidate did worst on by any metric, each once; of equal scores the earlier judged."""
    found: dict[str, None] = {}
    for metric in metrics:
        scored = [j for j in judgements if j.candidate == candidate and j.metric == metric.name and j.score is not None]
        sign = 1 if metric.direction == "higher" else -1
        found |= dict.fromkeys(j.id for j in sorted(scored, key=lambda j: sign * (j.score or 0.0))[:WORST])
    return list(found)


def nearest_rows(samples: Sequence[Sample], training: Sequence[Sample]) -> dict[str, list[dict[str, Any]]]:
    """By sample id, the nearest training rows, the nearest first; those that share no word are left out.

    Each is plain JSON: `row` (in the data file), `split`, `similarity` (0 to 1), `input` and `reference`.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not samples or not training:
        return {}
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        rows = vectorizer.fit_transform([sample.input for sample in training])
    except ValueError:  # no words at all
        return {}
    cosines = np.asarray((vectorizer.transform([sample.input for sample in samples]) @ rows.T).todense())
    return {sample.id: _nearest(line, training) for sample, line in zip(samples, cosines, strict=True)}


def _nearest(cosines: np.ndarray[Any, Any], training: Sequence[Sample]) -> list[dict[str, Any]]:
    order = np.argsort(-cosines, kind="stable")[:NEAREST]
    return [
        {
            "row": training[i].row,
            "split": training[i].split,
            "similarity": round(float(cosines[i]), 4),
            "input": _cut(training[i].input),
            "reference": _cut(training[i].references[0]) if training[i].references else "",
        }
        for i in order
        if cosines[i] > 0
    ]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def near_the_worst(
    judgements: Sequence[Judgement],
    metrics: Sequence[Metric],
    samples: Sequence[Sample],
    trained: Mapping[str, Sequence[Sample]],
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By trained candidate and sample id, the training rows nearest to its worst samples.

    `trained` holds the rows that each was trained on.
    """
    by_id = {sample.id: sample for sample in samples}
    return {
        name: nearest_rows([by_id[i] for i in worst_samples(judgements, metrics, name)], rows)
        for name, rows in trained.items()
    }
