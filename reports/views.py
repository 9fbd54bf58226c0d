"""What the report shows, as frozen view models: everything counted and ordered, nothing formatted.

`reports.queries` makes them from the store, `reports.render` turns them into a page. They hold records of the house
where those say it already (Estimate, Comparison, Verdict) and add only what a page needs: order, groups and what was
left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.deciding.corrections import Correction
from harness.deciding.preferences import Preferences
from harness.deciding.slices import SliceDifference
from harness.records import (
    Answer,
    Calibration,
    Certificate,
    Comparison,
    Estimate,
    Judgement,
    Metric,
    Run,
    Sample,
    Training,
    Verdict,
)  # fmt: skip
from harness.stats import ReliabilityBin


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One candidate on one metric: its mean, how it compares with the baseline, and how its scores are spread."""

    metric: Metric
    estimate: Estimate
    comparison: Comparison | None
    """None for the baseline itself, and where there is none."""
    ranks: tuple[int, int] | None
    """Best and worst rank that the intervals of all paired differences allow."""
    histogram: tuple[int, ...]
    """Scores in ten equal bins from the metric's lower end to `top`."""
    top: float
    """The metric's upper end; of a scale without one, the largest score of the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a candidate's answers on one split cost."""

    answers: int
    failed: int
    cut: int
    """Answers that ended because `max_new_tokens` was reached."""
    prompt_tokens: float | None
    """Mean a sample."""
    completion_tokens: float | None
    """Mean a sample."""
    seconds: float | None
    """Median a sample."""
    cost: float | None
    """Mean of an answer, in the currency of the candidate's price; None where it has none or no answer's tokens are known."""
    unpriced: int
    """Answers whose tokens are not known, which the mean leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRow:
    """One candidate's line of the leaderboard."""

    candidate: str
    is_baseline: bool
    cells: tuple[Cell, ...]
    effort: Effort


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePoint:
    """One candidate's quality, and what it takes."""

    candidate: str
    amount: float
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """Quality against what it takes."""

    metric: Metric
    way: str
    """What `amount` is, in words."""
    points: tuple[TradePoint, ...]
    front: tuple[str, ...]
    """The Pareto front: candidates that no other beats in one without being worse in the other; the cheapest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wins:
    """Samples on which one candidate is better than another, equal, worse."""

    wins: int
    ties: int
    losses: int

    @property
    def share(self) -> float:
        """Samples won, ties as half."""
        return (self.wins + self.ties / 2) / (self.wins + self.ties + self.losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class WinTable:
    """Each candidate against each other on one metric."""

    metric: Metric
    split: str
    candidates: tuple[str, ...]
    duels: Mapping[tuple[str, str], Wins]
    """By candidate and opponent, each pair from both sides; pairs that cannot be compared are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """A judge's scores in bins, beside what people said of each."""

    against: str
    """A labelled set, or the metric of a rater."""
    n: int
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The leaderboard of one split, best first on its primary metric."""

    split: str
    samples: int
    clusters: int | None
    """Number of clusters, where the suite names a cluster."""
    primary: str
    rows: tuple[BoardRow, ...]
    leaders: tuple[str, ...]
    """Candidates whose best possible rank on the primary metric is 1; empty where ranks could not be told."""
    trade_off: TradeOff | None
    """On the primary metric; None where too little is known."""
    wins: tuple[WinTable, ...]
    """Of each metric, the primary one first; empty with a single candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceCell:
    """One candidate within one slice."""

    candidate: str
    estimate: Estimate
    difference: SliceDifference | None
    """To the baseline; None for the baseline itself, and where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """One value of a slice column."""

    value: str
    samples: int
    cells: tuple[SliceCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTable:
    """One slice column on one metric of one split; values by size."""

    column: str
    split: str
    metric: Metric
    rows: tuple[SliceRow, ...]
    left_out: int
    """Values beyond the most frequent ones that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorseSlice:
    """A slice in which a candidate is worse than the baseline, its interval clear of zero."""

    difference: SliceDifference
    metric: Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A sample whose score differs much from the baseline's. `change` is oriented: negative is worse."""

    sample_id: str
    snippet: str
    score: float
    baseline_score: float
    change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """How one candidate's samples moved against the baseline on one metric."""

    comparison: Comparison
    metric: Metric
    good_to_bad: int
    """Samples that passed the cut of the metric (`harness.deciding.cuts`) with the baseline and fail it with the candidate."""
    bad_to_good: int
    drops: tuple[Move, ...]
    gains: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCard:
    """What is known about the judge behind a metric."""

    metric: Metric
    kind: str
    definition: str
    fingerprint: str
    facts: Mapping[str, Any]
    scored: int
    unscored: int
    errors: Mapping[str, int]
    """Unscored judgements by kind of error."""
    calibrations: tuple[Calibration, ...]
    """Its agreement with human labels, one card a set; empty where nobody has looked."""
    reliability: tuple[Reliability, ...]
    """Against people who rated answers of this run, then against the sets of cards that hold their bins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSample:
    """One sample with every candidate's answer and judgements."""

    sample: Sample
    answers: Mapping[str, Answer]
    """By candidate."""
    judgements: Mapping[tuple[str, str], Judgement]
    """By candidate and metric, without their evidence: the largest part of a run, which nothing here looks into."""
    evidence: Mapping[tuple[str, str], str]
    """By candidate and metric, as JSON text."""
    worst_change: float | None
    """The largest oriented loss against the baseline over candidates and metrics, as a share of the metric's range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One run in the history of a suite."""

    run: Run
    estimates: Mapping[tuple[str, str], Estimate]
    """By candidate and metric, on the primary split."""
    outcomes: Mapping[str, str]
    """By candidate."""
    blessed: Mapping[str, str]
    """By candidate, the name of the baseline that it was blessed as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLine:
    """The candidates of a sweep that differ in one option alone."""

    label: str
    """The other options of the sweep, such as `alpha=8`; empty where there are none."""
    candidates: tuple[str | None, ...]
    """In the order of the values; None where the run has no such candidate."""
    estimates: tuple[Estimate | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepChart:
    """One metric against one option of a sweep."""

    metric: Metric
    lines: tuple[SweepLine, ...]
    baseline: float | None
    """The baseline's mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What an option of a sweep does, on one split."""

    name: str
    option: str
    values: tuple[str, ...]
    """In order: numbers by size, anything else as the suite has it."""
    split: str
    charts: tuple[SweepChart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstAnswer:
    """One of a trained candidate's worst samples, and the training rows nearest to it."""

    sample: Sample
    answer: Answer | None
    score: float
    nearest: tuple[Mapping[str, Any], ...]
    """`row`, `split`, `similarity`, `input`, `reference`; the nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstAnswers:
    """What a trained candidate may have learnt its worst answers from, by one metric."""

    candidate: str
    metric: Metric
    answers: tuple[WorstAnswer, ...]
    """The worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole page."""

    run: Run
    baseline: str | None
    declared_baseline: bool
    """False where no gate names a baseline and the first candidate stands in."""
    candidates: tuple[str, ...]
    metrics: tuple[Metric, ...]
    splits: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    certificate: Certificate | None
    """How often the gate fails a model exactly as good as the baseline, where that was asked."""
    boards: tuple[Board, ...]
    preferences: tuple[Preferences, ...]
    """Of each pairwise judge on each split."""
    corrections: tuple[Correction, ...]
    """What people would have said, where their labels tell."""
    slices: tuple[SliceTable, ...]
    worse_slices: tuple[WorseSlice, ...]
    """Those that stand among all comparisons first, then by what they do to the whole difference."""
    slice_comparisons: str
    """How many slices were compared, and how many stand; empty where none were."""
    drivers: tuple[str, ...]
    """A sentence for each slice that drives a candidate's loss."""
    flips: tuple[Flips, ...]
    samples: tuple[ReportSample, ...]
    judges: tuple[JudgeCard, ...]
    trainings: tuple[Training, ...]
    sweeps: tuple[Sweep, ...]
    worst: tuple[WorstAnswers, ...]
    history: tuple[HistoryRow, ...]
