"""Calibration: how far a judge agrees with people, in figures that each have an interval.

Three kinds of labels. *Binary*: 1 means what a high score of the judge means. *Grades*: numbers that rise with the score.
*Classes*: names, compared with the judge's own `label`. Cases without a score are counted beside the figures, never in them.

Binary decisions are taken at a cut (the middle of the metric's range unless given): accuracy, balanced accuracy, Cohen's
kappa, sensitivity and specificity are those of `score >= cut`. The best threshold maximises balanced accuracy and so
Youden's J = sensitivity + specificity - 1 too (Youden 1950); it is fitted on all cases, and what it achieves is measured
cross-fitted: each of five folds of clusters is decided by the threshold of the other four. Expected calibration error:
scores read as probabilities in ten bins of equal width, mean gap between score and share of positives, weighted by size
(Guo et al. 2017, eq. 5). For grades the scores are laid on the grade scale, lowest to lowest and highest to highest;
agreement and kappas are those of the nearest grade. Kendall's tau-b corrects for ties (Kendall 1945), which are counted.

Intervals: bootstrap over clusters (over cases where there are none), seeded, bias-corrected and accelerated (`stats.bca`). The
calibration error, which resampling inflates, gets the basic interval; near 0 that is still too high. Shares with fewer than
five clusters' worth of events on either side get the exact binomial interval over clusters. A resample that does not define a
figure (one class only) is left out and counted; a figure that is the same in every resample gets no interval, and fewer than
10 clusters carry none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError
from harness.records import Calibration, Case, Figure, Judgement, Metric, fingerprint
from harness.stats import bca, clopper_pearson, effective_size, left_out, reliability_bins, resampled

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Marks = NDArray[np.bool_]
Statistic = Callable[[Floats], dict[str, Floats]]
"""The figures of weighted rows: weights of shape [B, n] to values of shape [B], NaN where the rows do not define one."""

CONFIDENCE = 0.95
RESAMPLES = 1000
BINS = 10
FOLDS = 5
MIN_CLUSTERS = 10
"""Fewer clusters than this carry no interval."""
BATCH = 200_000
"""Weights that are computed on at once: few enough for a processor's cache."""
MOST_GRADES = 20
"""With more distinct grades than this, agreement of the nearest grade says nothing."""
FEW_EVENTS = 5
"""With fewer clusters' worth of events (or of non-events) than this, shares get the exact interval."""
NLI_ORDER = ("contradiction", "neutral", "entailment")
"""The one set of class names with an order: quadratic kappa and rank correlations are defined for it."""
YES, NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What people said, read for comparison with one judge."""

    task: Literal["binary", "grades", "classes"]
    values: tuple[Any, ...]
    """bool (binary), float (grades) or str (classes) a case."""
    positive: tuple[bool, ...] | None
    """Which cases should score high, where that is a yes or no."""
    meaning: str
    """In words: which label a high score stands for."""
    reverse: bool = False
    """Whether grades are negated, because a high label goes with a low score."""


def read_truth(
    labels: Sequence[Any],
    *,
    positive: Sequence[str] = (),
    at_least: float | None = None,
    reverse: bool = False,
    vocabulary: Sequence[str] | None = (),
) -> Truth:
    """What the labels mean. Raises UserError in one line, with the way out.

    Args:
        labels: One a case: 0 and 1 (or true and false, yes and no), numbers, or names. Texts that are numbers count as such.
        positive: Labels that a high score stands for; everything else is then negative.
        at_least: Grades from here on are good, for the figures that need a yes or no.
        reverse: A high label goes with a low score.
        vocabulary: The labels that the judge itself gives; None where nothing is judged yet, and then it may give any.
    """
    texts = [_shown(label) for label in labels]
    names = sorted(set(texts))
    if positive:
        unknown = [name for name in positive if name not in names]
        if unknown:
            raise UserError(f"--positive must be a label of the file (got {unknown[0]!r}; it has {_few(names)})")
        found = tuple((text in positive) != reverse for text in texts)
        word = "not " if reverse else ""
        return Truth(task="binary", values=found, positive=found, meaning=f"positive: {word}{' or '.join(positive)}")
    if at_least is None and {name.lower() for name in names} <= YES | NO:
        found = tuple((text.lower() in YES) != reverse for text in texts)
        return Truth(task="binary", values=found, positive=found, meaning=f"positive: {0 if reverse else 1}")
    numbers = [number for text in texts if (number := _number(text)) is not None]
    if len(numbers) == len(texts):
        return _graded(numbers, at_least=at_least, reverse=reverse)
    if numbers:
        raise UserError(f"labels must be all numbers or all names (got {_few(names)})")
    if reverse or at_least is not None:
        raise UserError(f"--reverse and --at-least are for numbers (the labels are {_few(names)})")
    vocabulary = names if vocabulary is None else vocabulary
    known = set(vocabulary) | (set(NLI_ORDER) if set(vocabulary) & set(NLI_ORDER) else set())
    if set(names) <= known:
        positives = tuple(text == "entailment" for text in texts) if "entailment" in names else None
        meaning = "positive: entailment" if positives else "names, compared with the judge's own label"
        return Truth(task="classes", values=tuple(texts), positive=positives, meaning=meaning)
    own = f"; the judge's own labels are {', '.join(sorted(known))}" if known else ""
    raise UserError(f"--positive must say which label a high score stands for (the labels are {_few(names)}{own})")


def _graded(numbers: list[float], *, at_least: float | None, reverse: bool) -> Truth:
    meaning = f"a high score stands for a {'low' if reverse else 'high'} grade"
    positives = None
    if at_least is not None:
        positives = tuple((number >= at_least) != reverse for number in numbers)
        meaning = f"positive: grades {'below' if reverse else 'from'} {at_least:g}"
    values = tuple(-number if reverse else number for number in numbers)
    return Truth(task="grades", values=values, positive=positives, meaning=meaning, reverse=reverse)


def calibrate(
    cases: Sequence[Case],
    judgements: Sequence[Judgement],
    truth: Truth,
    *,
    judge: str,
    judge_fingerprint: str,
    metric: Metric,
    labels: str,
    clusters: Sequence[str] | None = None,
    cut: float | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    selected: bool = False,
) -> Calibration:
    """The calibration card of a judge on one set.

    Args:
        cases: What was judged, one a label.
        judgements: Of the cases, in order; those without a score are counted.
        truth: The labels.
        judge: Kind or name of the judge.
        judge_fingerprint: Of the judge.
        metric: The judge's scale.
        labels: Name of the set.
        clusters: Which cases belong together; None where each stands for itself.
        cut: Scores from here on count as positive; None is the middle of the metric's range.
        confidence: Of the two-sided intervals.
        resamples: Of the bootstrap.
        seed: Of folds and resamples.
        selected: Whether the cases were chosen by their scores, as flips are: then the card corrects no mean.
    """
    groups = clusters if clusters is not None else [str(i) for i in range(len(judgements))]
    scored = sorted(  # by content: folds and resamples must not depend on the order of rows
        (i for i, judgement in enumerate(judgements) if judgement.score is not None),
        key=lambda i: (
            "" if clusters is None else clusters[i], cases[i].sha, repr(truth.values[i]), judgements[i].score,
            judgements[i].label or "",
        ),
    )  # fmt: skip
    if not scored:
        raise UserError(f"{labels}: none of {len(judgements):,} cases has a score, so there is nothing to compare")
    codes = np.arange(len(scored))
    if clusters is not None:
        _, codes = np.unique([clusters[i] for i in scored], return_inverse=True)
    kept = [judgements[i] for i in scored]
    values = [truth.values[i] for i in scored]
    positive = None if truth.positive is None else np.array([truth.positive[i] for i in scored], dtype=bool)
    scores = np.array([(j.score - metric.low) / (metric.high - metric.low) for j in kept if j.score is not None])
    middle = 0.5 if cut is None else (cut - metric.low) / (metric.high - metric.low)
    record: dict[str, Any] = {"positive": truth.meaning}
    parts: list[Statistic] = []
    if truth.task == "grades":
        parts.append(graded_figures(scores, np.array(values, dtype=np.float64)))
    if truth.task == "classes":
        parts.append(class_figures([str(value) for value in values], kept))
    if positive is not None:
        fitted = crossfitted(scores, positive, codes, seed=seed)
        parts.append(binary_figures(scores, positive, cut=middle, fitted=fitted, metric=metric,
                                    decisions=truth.task != "classes", ranks=truth.task == "binary"))  # fmt: skip
        record["cut"] = metric.low + middle * (metric.high - metric.low)
        if truth.task != "classes" and not selected:
            record["confusion"] = confusion(scores >= middle, positive, codes if clusters is not None else None)
    if truth.task != "classes":
        if not selected:
            keys = [fingerprint([judge_fingerprint, cases[i].sha]) for i in scored]
            record["labelled"] = dict(zip(keys, _on_the_scale(truth, values, metric), strict=False))
        record["ties"] = tie_counts(scores, np.array(values, dtype=np.float64))
        shares = _on_unit_scale(np.array(values, dtype=np.float64) if positive is None else positive)
        bins = reliability_bins(scores, shares, confidence=confidence, bins=BINS)
        record["reliability"] = [asdict(one) for one in bins]
    errors = Counter(j.error.kind for j in judgements if j.error is not None)
    if errors:
        record["unscored"] = dict(errors)
    figures, interval = bootstrap(
        lambda weights: {name: value for part in parts for name, value in part(weights).items()},
        codes, shares=_shares(truth.task, values, positive), confidence=confidence, resamples=resamples, seed=seed,
    )  # fmt: skip
    return Calibration(
        judge=judge,
        fingerprint=judge_fingerprint,
        labels=labels,
        labels_sha=fingerprint([[case.sha for case in cases], list(map(_shown, truth.values)), list(groups)]),
        task=truth.task,
        n=len(scored),
        unscored=len(judgements) - len(scored),
        clusters=None if clusters is None else int(codes.max()) + 1,
        figures=figures,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        record={**record, "interval": interval},
    )


def _on_unit_scale(truth: Floats | Marks) -> Floats:
    """Yes and no as 1 and 0; grades from 0 (the lowest) to 1."""
    values = truth.astype(np.float64)
    low, high = (0.0, 1.0) if truth.dtype == bool else (float(values.min()), float(values.max()))
    return (values - low) / ((high - low) or 1.0)


def confusion(decided: Marks, positive: Marks, clusters: Codes | None) -> dict[str, float]:
    """How often the judge found people's yes and no, for corrections of other data (`harness.stats.Confusion`).

    In independent cases: clustered ones count for as many as know sensitivity and specificity as well.
    """
    found: dict[str, float] = {}
    for name, total, own, right in (
        ("hits", "positives", positive, decided),
        ("rejections", "negatives", ~positive, ~decided),
    ):
        marks = right[own].astype(np.float64)
        size = effective_size(marks, None if clusters is None else clusters[own]) if len(marks) else 0.0
        found |= {name: float(marks.mean()) * size if len(marks) else 0.0, total: size}
    return found


def _on_the_scale(truth: Truth, values: Sequence[Any], metric: Metric) -> list[float]:
    """The labels on the metric's own scale; none where grades go beyond it, for nobody knows what they are on it."""
    if truth.task == "binary":
        return [metric.high if value else metric.low for value in values]
    grades = [float(value) + (metric.low + metric.high if truth.reverse else 0.0) for value in values]
    return grades if all(metric.low <= grade <= metric.high for grade in grades) else []


def _shares(task: str, values: Sequence[Any], positive: Marks | None) -> dict[str, Marks]:
    """The figures that are means of 0 and 1, with the rows they are means over."""
    every = np.ones(len(values), dtype=bool)
    found = {"accuracy": every, "prevalence": every}
    if positive is not None:
        found |= {"sensitivity": positive, "specificity": ~positive}
    if task == "classes":
        names = np.array([str(value) for value in values])
        for name in np.unique(names):
            found |= {f"sensitivity of {name}": names == name, f"specificity of {name}": names != name,
                      f"prevalence of {name}": every}  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------------------- figures
#
# A row's weight is how often a resample holds it, so that all resamples are computed at once: every function takes weights
# of shape [B, n] and gives shape [B]. With weights of one they equal scikit-learn's and scipy's figures, which tests hold.


class Levels:
    """The distinct values of a column in ascending order, and sums of weights over each."""

    def __init__(self, values: Floats) -> None:
        self.values, self.codes = np.unique(values, return_inverse=True)
        self._order = np.argsort(self.codes, kind="stable")
        self._starts = np.searchsorted(self.codes[self._order], np.arange(len(self.values)))

    def sums(self, weights: Floats) -> Floats:
        """Shape [B, levels]."""
        found: Floats = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        return found

    def ranks(self, weights: Floats) -> Floats:
        """The mean rank of each row among the repeated rows, shape [B, n]."""
        sums = self.sums(weights)
        return (np.cumsum(sums, axis=1) - sums + (sums + 1) / 2)[:, self.codes]


def binary_figures(
    scores: Floats,
    positive: Marks,
    *,
    cut: float,
    fitted: Marks,
    metric: Metric,
    decisions: bool = True,
    ranks: bool = True,
) -> Statistic:
    """Figures of scores in [0, 1] against yes or no.

    Args:
        scores: Shape [n], scaled to [0, 1].
        positive: Shape [n].
        cut: On the scaled axis.
        fitted: Cross-fitted decisions at the best threshold, shape [n].
        metric: The scale on which the best threshold is told.
        decisions: Whether the figures of the cut are wanted.
        ranks: Whether Spearman and Kendall are wanted.
    """
    levels, truth = Levels(scores), positive.astype(np.float64)
    truths = Levels(truth)

    def statistic(weights: Floats) -> dict[str, Floats]:
        area, threshold = roc(levels, truth, weights)
        found = {"auroc": area}
        if decisions:
            found |= decision_figures(scores >= cut, positive, weights)
            found["prevalence"] = weights @ truth / weights.sum(axis=1)
        if ranks:
            found |= rank_figures(levels, truths, weights)
        return {
            **found,
            "expected_calibration_error": calibration_error(scores, truth, weights),
            "brier": weights @ (scores - truth) ** 2 / weights.sum(axis=1),
            "best_threshold": metric.low + threshold * (metric.high - metric.low),
            "balanced_accuracy_at_best": decision_figures(fitted, positive, weights)["balanced_accuracy"],
        }

    return statistic


def graded_figures(scores: Floats, grades: Floats) -> Statistic:
    """Figures of scores in [0, 1] against grades; both of shape [n]."""
    levels, truths = Levels(scores), Levels(grades)
    scale = truths.values
    low, span = float(scale[0]), float(scale[-1] - scale[0]) or 1.0
    nearest = np.argmin(np.abs((low + scores * span)[:, None] - scale[None, :]), axis=1)
    few = 1 < len(scale) <= MOST_GRADES
    even = few and bool(np.allclose(np.diff(scale), np.diff(scale)[0]))

    def statistic(weights: Floats) -> dict[str, Floats]:
        found = rank_figures(levels, truths, weights)
        if few:
            found |= agreement_figures(nearest, truths.codes, len(scale), weights, quadratic=even)
        return {**found, "expected_calibration_error": calibration_error(scores, (grades - low) / span, weights)}

    return statistic


def class_figures(names: Sequence[str], judgements: Sequence[Judgement]) -> Statistic:
    """Figures of the judge's labels against class names, one of each a case.

    Where the evidence holds the probability of each class, also the calibration error of the likeliest one.
    """
    given_names = [judgement.label or "" for judgement in judgements]
    ordered = set(names) | set(given_names) <= set(NLI_ORDER)
    classes = list(NLI_ORDER) if ordered else sorted(set(names) | set(given_names))
    given = np.array([classes.index(name) for name in given_names])
    wanted = np.array([classes.index(name) for name in names])
    told = [_probability(judgement) for judgement in judgements]
    confidences = None if any(value is None for value in told) else np.array(told, dtype=np.float64)

    def statistic(weights: Floats) -> dict[str, Floats]:
        found = agreement_figures(given, wanted, len(classes), weights, quadratic=ordered)
        if ordered:
            found |= rank_figures(Levels(given.astype(np.float64)), Levels(wanted.astype(np.float64)), weights)
        for name in dict.fromkeys(names):
            own, truth = given == classes.index(name), wanted == classes.index(name)
            one = decision_figures(own, truth, weights)
            found[f"sensitivity of {name}"], found[f"specificity of {name}"] = one["sensitivity"], one["specificity"]
            found[f"prevalence of {name}"] = weights @ truth / weights.sum(axis=1)
        if confidences is not None:
            right = (given == wanted).astype(np.float64)
            found["label_calibration_error"] = calibration_error(confidences, right, weights)
        return found

    return statistic


def roc(levels: Levels, truth: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Area under the ROC curve, and the threshold of the greatest balanced accuracy; NaN where a class is missing.

    The area is the chance that a positive scores above a negative, half of a tie counted (Hanley and McNeil 1982). The
    threshold lies midway between two scores; of equally good ones it is the highest.
    """
    positives, negatives = levels.sums(weights * truth), levels.sums(weights * (1 - truth))
    n_positive, n_negative = positives.sum(axis=1), negatives.sum(axis=1)
    above = n_positive[:, None] - np.cumsum(positives, axis=1)
    area = _ratio((negatives * (above + positives / 2)).sum(axis=1), n_positive * n_negative)
    caught = _ratio(above + positives, n_positive[:, None])
    alarmed = _ratio(n_negative[:, None] - np.cumsum(negatives, axis=1) + negatives, n_negative[:, None])
    best = len(levels.values) - 1 - np.argmax((caught - alarmed)[:, ::-1], axis=1)
    values = levels.values
    middles = np.concatenate([values[:1], (values[:-1] + values[1:]) / 2])
    return area, np.where(np.isnan(area), np.nan, middles[best])


def rank_figures(scores: Levels, truth: Levels, weights: Floats) -> dict[str, Floats]:
    """Spearman's rho and Kendall's tau-b; NaN where one side is constant."""
    total = weights.sum(axis=1)
    a, b = scores.ranks(weights), truth.ranks(weights)
    middle = (total[:, None] + 1) / 2
    a, b = a - middle, b - middle
    rho = _ratio((weights * a * b).sum(axis=1), np.sqrt((weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1)))
    lower = np.zeros((len(weights), len(scores.values)))
    ahead = np.zeros(len(weights))
    for code in range(len(truth.values)):
        here = scores.sums(weights * (truth.codes == code))
        before = np.cumsum(lower, axis=1)
        ahead += (here * (2 * before - lower - before[:, -1:])).sum(axis=1)
        lower += here
    untied = [total * (total - 1) - (s * (s - 1)).sum(axis=1) for s in (scores.sums(weights), truth.sums(weights))]
    return {"spearman": rho, "kendall_tau_b": _ratio(2 * ahead, np.sqrt(untied[0] * untied[1]))}


def decision_figures(decided: Marks, positive: Marks, weights: Floats) -> dict[str, Floats]:
    """Figures of a two-by-two table; NaN where a class is missing."""
    total, positives = weights.sum(axis=1), weights @ positive
    negatives = total - positives
    hits, alarms = weights @ (decided & positive), weights @ (decided & ~positive)
    sensitivity, specificity = _ratio(hits, positives), _ratio(negatives - alarms, negatives)
    accuracy = (hits + negatives - alarms) / total
    chance = ((hits + alarms) * positives + (total - hits - alarms) * negatives) / total**2
    return {
        "accuracy": accuracy,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "cohen_kappa": _ratio(accuracy - chance, 1 - chance),
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


def agreement_figures(
    given: Codes, wanted: Codes, classes: int, weights: Floats, *, quadratic: bool
) -> dict[str, Floats]:
    """Accuracy, mean recall over the classes that occur, Cohen's kappa, and the one with quadratic weights (Cohen 1968)."""
    cells = np.zeros((len(given), classes * classes))
    cells[np.arange(len(given)), wanted * classes + given] = 1.0
    table = (weights @ cells).reshape(-1, classes, classes) / weights.sum(axis=1)[:, None, None]
    rows, columns = table.sum(axis=2), table.sum(axis=1)
    hits = np.diagonal(table, axis1=1, axis2=2)
    expected = rows[:, :, None] * columns[:, None, :]
    apart = np.subtract.outer(np.arange(classes), np.arange(classes))
    found = {
        "accuracy": hits.sum(axis=1),
        "balanced_accuracy": np.nanmean(_ratio(hits, rows), axis=1),
        "cohen_kappa": 1 - _ratio((table * (apart != 0)).sum(axis=(1, 2)), (expected * (apart != 0)).sum(axis=(1, 2))),
    }
    if quadratic:
        far = apart.astype(np.float64) ** 2
        found["quadratic_kappa"] = 1 - _ratio((table * far).sum(axis=(1, 2)), (expected * far).sum(axis=(1, 2)))
    return found


def calibration_error(scores: Floats, outcome: Floats, weights: Floats) -> Floats:
    """Expected calibration error in ten bins of equal width; scores and outcomes in [0, 1], shape [n]."""
    bins = np.zeros((len(scores), BINS))
    bins[np.arange(len(scores)), np.minimum((scores * BINS).astype(np.int64), BINS - 1)] = scores - outcome
    found: Floats = np.abs(weights @ bins).sum(axis=1) / weights.sum(axis=1)
    return found


def crossfitted(scores: Floats, positive: Marks, clusters: Codes, *, seed: int) -> Marks:
    """Decisions by thresholds that were fitted on other clusters; shape [n]. A fold without both classes outside it
    takes the threshold of all cases.
    """
    levels, truth = Levels(scores), positive.astype(np.float64)
    groups = int(clusters.max()) + 1
    fold = np.random.default_rng(seed).permutation(groups)[clusters] % FOLDS
    weights = np.stack([*((fold != number).astype(np.float64) for number in range(FOLDS)), np.ones(len(scores))])
    *thresholds, overall = roc(levels, truth, weights)[1]
    fitted = np.array([overall if math.isnan(threshold) else threshold for threshold in thresholds])
    decided: Marks = scores >= fitted[fold]
    return decided


def tie_counts(scores: Floats, truth: Floats) -> dict[str, int]:
    """Pairs of cases, and how many are tied in the score, in the label, and in both."""

    def pairs(values: Any) -> int:
        _, counts = np.unique(values, axis=0, return_counts=True)
        return int(np.sum(counts * (counts - 1) // 2))

    n = len(scores)
    both = np.column_stack([scores, truth])
    return {"pairs": n * (n - 1) // 2, "score": pairs(scores), "label": pairs(truth), "both": pairs(both)}


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where `below` is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(below == 0, np.nan, above / below)
    return found


def _probability(judgement: Judgement) -> float | None:
    value = judgement.evidence.get(judgement.label or "")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


# ----------------------------------------------------------------------------------------------------------- intervals


def bootstrap(
    statistic: Statistic,
    clusters: Codes,
    *,
    shares: Mapping[str, Marks] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[tuple[Figure, ...], str]:
    """Every figure with its interval, and the method in words.

    Args:
        statistic: The figures of weighted rows.
        clusters: Codes 0 to G-1 of the rows, shape [n].
        shares: For figures that are means of 0 and 1, the rows they are means over.
        confidence: Of the two-sided intervals.
        resamples: How many.
        seed: Of the random draws.
    """
    groups = int(clusters.max()) + 1
    values = {name: float(found[0]) for name, found in statistic(np.ones((1, len(clusters)))).items()}
    if groups < MIN_CLUSTERS:
        note = f"no interval: {groups} independent cases are too few"
        return tuple(_plain(name, value, note) for name, value in values.items()), "none"
    draws = _in_batches(statistic, resampled(groups, resamples, seed), clusters)
    without = _in_batches(statistic, left_out(groups), clusters)
    sizes = {name: len(np.unique(clusters[rows])) for name, rows in (shares or {}).items()}
    figures = tuple(
        _with_interval(name, value, draws[name], without[name], sizes.get(name), confidence)
        for name, value in values.items()
    )
    unit = "clusters" if groups < len(clusters) else "cases"
    return (
        figures,
        f"BCa bootstrap over {groups:,} {unit}, {resamples:,} resamples, seed {seed}, {100 * confidence:g} %",
    )


def _in_batches(statistic: Statistic, counts: NDArray[Any], clusters: Codes) -> dict[str, Floats]:
    """The figures of each row of cluster counts, a few at a time: shape [rows]."""
    step = max(1, BATCH // len(clusters))
    found = [
        statistic(counts[start : start + step, clusters].astype(np.float64)) for start in range(0, len(counts), step)
    ]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _with_interval(
    name: str, value: float, draws: Floats, without: Floats, share_of: int | None, confidence: float
) -> Figure:
    """`share_of`: for a share, the number of clusters it is a share of."""
    defined = draws[~np.isnan(draws)]
    lost = len(draws) - len(defined)
    if math.isnan(value):
        return _plain(name, value, "")
    if share_of and min(value, 1 - value) * share_of < FEW_EVENTS:
        low, high = clopper_pearson(value * share_of, share_of, confidence)
        return Figure(name=name, value=value, low=low, high=high, note="exact interval: few events")
    if 2 * len(defined) < len(draws):
        return _plain(name, value, "no interval: most resamples do not define it")
    if np.ptp(defined) == 0:
        return _plain(name, value, "no interval: every resample gave the same")
    if name.endswith("calibration_error"):
        low, high = basic(value, defined, confidence)
    else:
        low, high = bca(value, defined, without[~np.isnan(without)], confidence)
    note = f"{lost:,} of {len(draws):,} resamples did not define it" if lost else ""
    return Figure(name=name, value=value, low=low, high=high, note=note)


def basic(value: float, draws: Floats, confidence: float) -> tuple[float, float]:
    """Ends of the basic interval (Davison and Hinkley 1997, eq. 5.6), cut off at 0.

    For the calibration error: resampling adds noise that it counts as error, so draws lie above the figure as the figure
    lies above the truth, and reflecting them takes the bias out.
    """
    low, high = np.quantile(draws, ((1 - confidence) / 2, (1 + confidence) / 2))
    return max(0.0, 2 * value - float(high)), max(0.0, 2 * value - float(low))


def _plain(name: str, value: float, note: str) -> Figure:
    if math.isnan(value):
        return Figure(name=name, value=None, note="not defined by these labels and scores")
    return Figure(name=name, value=value, note=note)


# -------------------------------------------------------------------------------------------------------------- labels


def _shown(label: Any) -> str:
    """A label as people write it: 1.0 is 1, True is true."""
    if isinstance(label, bool):
        return "true" if label else "false"
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
