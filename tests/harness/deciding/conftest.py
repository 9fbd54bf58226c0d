"""Makers of small runs and score rows."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from harness.deciding.scores import Scores
from harness.records import Metric, Run

METRICS = (
    Metric(name="correctness"),
    Metric(name="toxicity", direction="lower"),
    Metric(name="grade", low=1, high=5),
)


@pytest.fixture
def metric() -> Callable[[str], Metric]:
    """A metric by name: correctness (higher is better), toxicity (lower), grade (1 to 5)."""
    by_name = {metric.name: metric for metric in METRICS}
    return by_name.__getitem__


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """A run of the candidates base and lora, or others; fields can be replaced."""

    def make(candidates: Sequence[str] = ("base", "lora"), **changes) -> Run:
        fields = {
            "id": "run1", "key": "k", "suite": "clinic", "suite_version": 1, "suite_sha": "5" * 64,
            "data_sha": "d" * 64,
            "status": "complete", "started": "2026-01-01T00:00:00Z", "finished": None, "seconds": 1.0,
            "candidates": {name: name for name in candidates}, "metrics": METRICS,
            "judges": {metric.name: f"judge of {metric.name}" for metric in METRICS},
        }  # fmt: skip
        return Run(**(fields | changes))

    return make


@pytest.fixture
def make_rows() -> Callable[..., list]:
    """Score rows from lists of scores (and of evidence) by candidate; sample i is called s000i."""

    def make(
        scores: Mapping[str, Sequence[float | None]],
        metric="correctness",
        split="test",
        clusters=None,
        slices=None,
        evidence=None,
    ) -> list:
        return [
            (
                candidate, split, f"s{i:04d}", None if clusters is None else str(clusters[i]),
                None if slices is None else slices[i], metric, None if score is None else float(score),
                None if evidence is None or score is None else json.dumps(evidence[candidate][i]),
            )
            for candidate, values in scores.items()
            for i, score in enumerate(values)
        ]  # fmt: skip

    return make


@pytest.fixture
def make_scores(make_rows) -> Callable[..., Scores]:
    """As `make_rows`, turned into columns."""
    return lambda *args, **options: Scores.from_rows(make_rows(*args, **options))
