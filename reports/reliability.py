"""Whether a judge's score can be read as a probability: its scores in bins, and what people said of each bin.

The bins of a calibration card were counted when it was made. Where people rated answers of this very run, the judges' scores
stand beside their ratings in the store, and the bins are counted here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from harness import stats
from harness.records import Calibration, Judgement, Metric
from reports.views import Reliability

MIN_PAIRS = 10
"""Fewer answers rated by people say nothing about bins."""


def of_card(card: Calibration) -> Reliability | None:
    """The diagram of a card that holds its bins; None for one that does not."""
    found = card.record.get("reliability")
    if not isinstance(found, list | tuple) or not all(isinstance(entry, Mapping) for entry in found):
        return None
    return Reliability(against=card.labels, n=card.n, bins=tuple(stats.ReliabilityBin(**entry) for entry in found))


def by_people(
    judgements: Sequence[Judgement], metrics: Sequence[Metric], people: Sequence[str], confidence: float
) -> dict[str, tuple[Reliability, ...]]:
    """By metric of a judge: its scores against each rater's, over the answers of the run that both judged.

    Args:
        judgements: Of the run.
        metrics: All of the run.
        people: Names of the metrics that are ratings by people.
        confidence: Of the intervals, two-sided, one a bin of at least ten answers.
    """
    scales = {metric.name: metric for metric in metrics if metric.high < float("inf")}
    scores: defaultdict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for judgement in judgements:
        metric = scales.get(judgement.metric)
        if metric is not None and judgement.score is not None:
            share = (judgement.score - metric.low) / (metric.high - metric.low)
            upward = share if metric.direction == "higher" else 1 - share
            scores[judgement.metric][judgement.candidate, judgement.id] = upward
    found: defaultdict[str, list[Reliability]] = defaultdict(list)
    for name in scales:
        for rater in people:
            shared = [key for key in scores[name] if key in scores[rater]] if name not in people else []
            if len(shared) >= MIN_PAIRS:
                given = np.array([scores[name][key] for key in shared])
                said = np.array([scores[rater][key] for key in shared])
                bins = stats.reliability_bins(given, said, confidence=confidence)
                found[name].append(Reliability(against=rater, n=len(shared), bins=tuple(bins)))
    return {name: tuple(diagrams) for name, diagrams in found.items()}
