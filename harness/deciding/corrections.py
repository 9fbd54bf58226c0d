"""What people would have said: a judge's means, corrected where a run's own answers or the judge's card have labels.

Labels of a run's answers are ratings from a sheet that asked about the metric (`muster review export --metric NAME`; several
raters of an answer are averaged first; those who rated flips are left out, for flips are no random answers), else labels that
the judge was calibrated on, found again by the key of the judgement.

With them the mean is corrected by PPI++, or taken from people alone (`harness.stats.corrected_mean`), and so is the difference
to the baseline where both have labels. Without any, the share of answers at or above the cut of the home's own newest card is
corrected by its sensitivity and specificity (Rogan-Gladen): a share of yes, whatever the metric's mean is. Cards that come with
muster were measured on other people's data and correct nothing.

The gate goes on deciding on raw scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.comparison import checked_column
from harness.deciding.scores import Column, Scores, SplitScores
from harness.records import Calibration, Metric, Run

if TYPE_CHECKING:
    from harness.store import Store

Floats = NDArray[np.float64]
Labels = Mapping[tuple[str, str, str], float]
"""By candidate, metric and sample: what people said, on the metric's scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A judge's figure, and what people would have said."""

    metric: str
    split: str
    candidate: str
    baseline: str | None
    """For a paired difference, the other side; else None."""
    raw: float
    """By the judge alone: a mean, the difference of two, or (Rogan-Gladen) the share at or above the card's cut."""
    estimate: float
    low: float | None
    high: float | None
    labels: int
    """Labels it rests on."""
    method: str
    clipped: bool = False
    """The estimate lay outside of what is possible, and stands at the end of it: sensitivity or specificity do not hold here."""


def run_corrections(
    store: Store,
    run: Run,
    scores: Scores,
    cards: Sequence[Calibration],
    baseline: str | None = None,
    confidence: float = 0.95,
) -> list[Correction]:
    """All corrections that a run's labels and its judges' cards allow, by split, metric and candidate.

    Args:
        store: Where its judgements are.
        run: The run.
        scores: Its scores.
        cards: The newest first; those that come with muster are left aside.
        baseline: With whom the others are compared.
        confidence: Of the two-sided intervals.
    """
    own = [card for card in cards if card.seen == ""]
    return corrections(
        run, scores, own, {**_labels_of_cards(store, run, own), **_ratings(run, scores)}, baseline, confidence
    )


def corrections(
    run: Run,
    scores: Scores,
    cards: Sequence[Calibration],
    labels: Labels,
    baseline: str | None = None,
    confidence: float = 0.95,
) -> list[Correction]:
    """As `run_corrections`.

    Args:
        run: Whose metrics and judges count.
        scores: Its scores.
        cards: Of the home, the newest first.
        labels: What people said of its answers.
        baseline: With whom the others are compared.
        confidence: Of the two-sided intervals.
    """
    found: list[Correction] = []
    for split, here in scores.splits.items():
        for metric in run.metrics:
            if metric.name not in here.metrics or metric.aggregate != "mean" or not np.isfinite(metric.high):
                continue
            card = next(
                (c for c in cards if c.fingerprint == run.judges.get(metric.name) and "confusion" in c.record), None
            )
            said = {name: _labels_here(here, labels, name, metric.name) for name in scores.candidates}
            for candidate in scores.candidates:
                column = checked_column(here, metric, candidate)
                if not column.scored.any():
                    continue
                if not np.isnan(said[candidate]).all():
                    found.append(_mean(here, metric, split, candidate, column, said[candidate], confidence))
                elif card is not None:
                    found += _by_card(here, metric, split, candidate, column, card, confidence)
                if baseline is not None and candidate != baseline and baseline in said:
                    against = checked_column(here, metric, baseline)
                    found += _difference(
                        here, metric, split, (candidate, baseline), (column, against),
                        (said[candidate], said[baseline]), confidence,
                    )  # fmt: skip
    return found


def _mean(
    here: SplitScores, metric: Metric, split: str, candidate: str, column: Column, said: Floats, confidence: float
) -> Correction:
    known = ~np.isnan(said)
    codes = None if here.clusters is None else here.clusters[known]
    people = stats.bounded_mean(said[known], confidence, low=metric.low, high=metric.high, clusters=codes)
    interval = stats.corrected_mean(
        people, said, _scores(column), confidence, low=metric.low, high=metric.high, clusters=here.clusters
    )
    return Correction(
        metric=metric.name, split=split, candidate=candidate, baseline=None,
        raw=float(column.values[column.scored].mean()), estimate=interval.estimate, low=interval.low,
        high=interval.high, labels=int(known.sum()), method=interval.method,
    )  # fmt: skip


def _difference(
    here: SplitScores,
    metric: Metric,
    split: str,
    names: tuple[str, str],
    columns: tuple[Column, Column],
    said: tuple[Floats, Floats],
    confidence: float,
) -> list[Correction]:
    """Over the samples that both have a label of; none where there are none."""
    known = ~np.isnan(said[0]) & ~np.isnan(said[1])
    both = columns[0].scored & columns[1].scored
    if not known.any() or not both.any():
        return []
    codes = None if here.clusters is None else here.clusters[known]
    people = stats.paired_difference(
        said[0][known], said[1][known], confidence, low=metric.low, high=metric.high, clusters=codes
    )
    judged = _scores(columns[0]) - _scores(columns[1])
    width = metric.high - metric.low
    interval = stats.corrected_mean(
        people, said[0] - said[1], judged, confidence, low=-width, high=width, clusters=here.clusters
    )
    return [
        Correction(
            metric=metric.name, split=split, candidate=names[0], baseline=names[1], raw=float(judged[both].mean()),
            estimate=interval.estimate, low=interval.low, high=interval.high, labels=int(known.sum()),
            method=interval.method,
        )
    ]  # fmt: skip


def _by_card(
    here: SplitScores,
    metric: Metric,
    split: str,
    candidate: str,
    column: Column,
    card: Calibration,
    confidence: float,
) -> list[Correction]:
    """None where the card says that the judge is no better than chance, or has too few labels of either kind."""
    decided = (column.values[column.scored] >= card.record["cut"]).astype(np.float64)
    codes = None if here.clusters is None else here.clusters[column.scored]
    size = stats.effective_size(decided, codes)
    confusion = stats.Confusion(**card.record["confusion"])
    result = stats.rogan_gladen(float(decided.mean()) * size, size, confusion, confidence)
    if result is None:
        return []
    interval, clipped = result
    return [
        Correction(
            metric=metric.name, split=split, candidate=candidate, baseline=None, raw=float(decided.mean()),
            estimate=interval.estimate, low=interval.low, high=interval.high, labels=card.n,
            method=f"{interval.method}, share at {card.record['cut']:g} or above by {card.labels}", clipped=clipped,
        )
    ]  # fmt: skip


def _scores(column: Column) -> Floats:
    return np.where(column.scored, column.values, np.nan)


def _labels_here(here: SplitScores, labels: Labels, candidate: str, metric: str) -> Floats:
    return np.array([labels.get((candidate, metric, sample), np.nan) for sample in here.ids], dtype=np.float64)


def _ratings(run: Run, scores: Scores) -> dict[tuple[str, str, str], float]:
    """The mean rating of each answer by those who were asked about a metric, on that metric's scale."""
    described = run.record.get("judges", {})
    metrics = {metric.name: metric for metric in run.metrics}
    raters: dict[str, list[str]] = {}
    for name in metrics:
        told = described.get(name)
        about = told.get("about") if isinstance(told, Mapping) and not told.get("selected") else None
        if about in metrics:
            raters.setdefault(about, []).append(name)
    found = {}
    for about, names in raters.items():
        metric = metrics[about]
        for here in scores.splits.values():
            for candidate in scores.candidates:
                columns = [here.column(candidate, name) for name in names]
                counts = np.sum([column.scored for column in columns], axis=0)
                sums = np.sum([np.where(column.scored, column.values, 0.0) for column in columns], axis=0)
                for place in np.flatnonzero(counts):
                    good = float(sums[place] / counts[place])
                    share = good if metric.direction == "higher" else 1 - good
                    found[candidate, about, here.ids[place]] = metric.low + share * (metric.high - metric.low)
    return found


def _labels_of_cards(store: Store, run: Run, cards: Sequence[Calibration]) -> dict[tuple[str, str, str], float]:
    """Labels of the run's own judgements among those that its judges were calibrated on; the newest card's count."""
    known: dict[str, float] = {}
    for card in reversed(cards):
        if card.fingerprint in run.judges.values():
            known |= card.record.get("labelled", {})
    if not known:
        return {}
    return {(j.candidate, j.metric, j.id): known[j.key] for j in store.judgements(run.id) if j.key in known}
