"""Before any money is spent: what each rule of a gate can detect with the samples there are, and how many it needs.

Every figure is for a chance of 80 % and rests on a stated spread: that of an earlier run's scores where one is given,
otherwise an assumption (`ASSUMED_SPREAD`; for 0/1 metrics, `ASSUMED_DISCORDANCE`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness import stats
from harness.deciding.aggregates import interval as interval_of
from harness.deciding.comparison import checked_column
from harness.deciding.rules import QUANTILE, rule_text
from harness.deciding.scores import Scores
from harness.deciding.wording import number
from harness.records import Metric
from harness.suite.grammar import OF_ANSWERS, Gate, Rule, cell_texts

ASSUMED_SPREAD = 0.3
"""Standard deviation of scores, and of differences of scores, when nothing is known."""
ASSUMED_DISCORDANCE = 0.2
"""Share of samples on which two candidates differ in a 0/1 metric, when nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations of one sample of an earlier run: of scores, and of differences from the baseline."""

    score: float
    difference: float | None
    """None where no candidate's scores differ from the baseline's, or there is none to compare."""
    discordance: float | None = None
    """Of 0/1 scores: the largest share of samples on which a candidate and the baseline differ."""
    trial: float | None = None
    """Samples that count as one (those of a cluster, or 1) where a candidate's scores were 0/1, or nearly all equal to the
    baseline's: exact bounds decide there, and they ask for enough samples even of an equal candidate. None elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLine:
    """What one rule can show."""

    rule: str
    split: str
    n: int
    detectable: float | None
    """The smallest distance from the rule's limit that is noticed; None for coverage."""
    needed: int | None
    """Samples the rule needs: for `no_worse_by`, to pass an equal candidate; for `better_by`, one twice as good as
    asked; for the others, where no sample ever goes wrong. None where no number is enough, and for coverage."""
    enough: bool
    message: str

    def __str__(self) -> str:
        return self.message


def power_plan(
    gate: Gate,
    sizes: Mapping[str, int],
    *,
    clusters: Mapping[str, int] | None = None,
    default_split: str | None = None,
    binary: Collection[str] = (),
    aggregated: Collection[str] = (),
    spreads: Mapping[str, Spread] | None = None,
    slices: Mapping[str, Mapping[str, Sequence[str | None]]] | None = None,
) -> list[PowerLine]:
    """A line for each rule.

    Args:
        gate: The rules.
        sizes: Samples of each evaluation split.
        clusters: Clusters of each split that has them.
        default_split: The split of rules that name none; left out, the only one, or `test`.
        binary: Metrics whose scores are 0 or 1.
        aggregated: Metrics that are no means (perplexity, macro-F1): without an earlier run nothing is known of them.
        spreads: By metric, or `cost` and `latency`, from an earlier run (`spreads_of`).
        slices: Of each split, each slicing column's value for every sample; without it, rules on slices are told as if on all.
    """
    only = next(iter(sizes)) if len(sizes) == 1 else "test"
    found = []
    for rule in gate.rules:
        split = rule.split or default_split or only
        n, place = _smallest(rule, split, sizes.get(split, 0), (slices or {}).get(split, {}))
        groups = (clusters or {}).get(split) if n == sizes.get(split) else None
        about = rule.metric or rule.condition
        known = (spreads or {}).get(about)
        if rule.coverage is not None:
            found.append(_coverage(rule, place, n))
        elif rule.must_pass is not None:
            found.append(_must_pass(rule, place))
        elif rule.latency is not None:
            found.append(_latency(rule, gate.confidence, place, n))
        elif (about in aggregated and (known is None or not rule.is_paired)) or (about in OF_ANSWERS and known is None):
            found.append(_unknown(rule, place, n))
        else:
            found.append(_line(rule, gate.confidence, place, n, groups, about in binary, known))
    return found


def _smallest(rule: Rule, split: str, n: int, slices: Mapping[str, Sequence[str | None]]) -> tuple[int, str]:
    """How many samples the rule has at least, and where: in the smallest slice of those it decides about."""
    within = np.ones(n, dtype=bool)
    for column, wanted in (rule.where or {}).items():
        if column in slices:
            cells = set(cell_texts(wanted))
            within &= np.array([value in cells for value in slices[column]], dtype=bool)
    n = int(within.sum())
    if rule.each is None or rule.each not in slices:
        return n, split
    counts = Counter(value for value, here in zip(slices[rule.each], within, strict=True) if here and value is not None)
    kept = {value: size for value, size in counts.items() if size >= (rule.min_n or 0)}
    if not kept:
        return 0, f"{split}, where no slice is left"
    least = min(sorted(kept), key=kept.__getitem__)
    return kept[least], f"{split} in the smallest of {len(kept)} slices ({rule.each}={least})"


def spreads_of(
    scores: Scores, metrics: Sequence[Metric], split: str, baseline: str | None, candidates: Sequence[str]
) -> dict[str, Spread]:
    """The largest spreads among an earlier run's candidates, clustering included. Too few scores give none."""
    here = scores.splits[split]
    found = {}
    for metric in metrics:
        alone, apart, differing, trials = [], [], [], []
        base = None if baseline is None else checked_column(here, metric, baseline)
        for candidate in candidates:
            column = checked_column(here, metric, candidate)
            shared = column.scored if base is None else column.scored & base.scored
            if shared.sum() < stats.MIN_ITEMS:
                continue
            alone.append(interval_of(metric, column, None, shared, 0.9, clusters=here.clusters).spread)
            if base is not None and candidate != baseline:
                paired = interval_of(metric, column, base, shared, 0.9, clusters=here.clusters)
                apart.append(paired.spread)
                binary = stats.is_binary(column.values[shared]) and stats.is_binary(base.values[shared])
                if binary:
                    differing.append(float(np.mean(column.values[shared] != base.values[shared])))
                if (metric.low, metric.high) == (0, 1) and (binary or paired.method.endswith("exact bounds")):
                    trials.append(paired.n / (paired.clusters or paired.n))
        if alone:
            found[metric.name] = Spread(
                score=max(alone),
                difference=max(apart, default=0.0) or None,
                discordance=max(differing, default=None),
                trial=max(trials, default=None),
            )
    return found


def _line(
    rule: Rule,
    confidence: float,
    place: str,
    n: int,
    clusters: int | None,
    is_binary: bool,
    known: Spread | None,
) -> PowerLine:
    spread, basis = _spread(rule.is_paired, is_binary, known)
    detectable = stats.detectable_effect(n, spread, confidence) if n else None
    trial = known.trial if known is not None and rule.no_worse_by is not None else None
    if detectable is not None and trial is not None:
        detectable = max(detectable, stats.zero_event_bound(max(1, int(n / trial)), confidence))
    needed, claim = _needed(rule, spread, confidence, trial)
    enough = needed is not None and n >= needed and (clusters is None or clusters >= stats.MIN_CLUSTERS)
    message = f"{rule_text(rule)} on {place}: {n:,} samples "
    if not enough:
        message = f"TOO FEW SAMPLES for {rule_text(rule)} on {place}: {n:,} "
    if detectable is None:
        message += "cannot show anything"
    elif enough:
        message += f"detect {number(detectable)} beyond the limit"
    else:
        message += f"cannot {_task(rule)} (they detect {number(detectable)})"
    message += f"; {claim}" + (" cannot be shown" if needed is None else f" needs {needed:,}") + f" ({basis})"
    if clusters is not None and clusters < n and known is None:
        at_worst = stats.detectable_effect(max(clusters, 1), spread, confidence)
        message += f"; in {clusters:,} clusters, so at worst only {number(at_worst)}"
    return PowerLine(
        rule=rule_text(rule), split=place, n=n, detectable=detectable, needed=needed, enough=enough, message=message
    )


def _task(rule: Rule) -> str:
    """What the samples are too few for."""
    if rule.no_worse_by is not None:
        return f"detect your margin of {rule.no_worse_by:g}"
    if rule.better_by is not None:
        return f"show a lead of {rule.better_by:g}"
    return (
        f"show at least {rule.at_least:g}"
        if rule.at_least is not None
        else f"show at most {rule.at_most or rule.cost:g}"
    )


def _latency(rule: Rule, confidence: float, place: str, n: int) -> PowerLine:
    """By the binomial: how many answers may be slower, and from how many on a faultless candidate passes."""
    late = 1 - (rule.quantile or QUANTILE)
    needed = stats.samples_without_events(late, confidence)
    enough = needed is not None and n >= needed
    message = f"TOO FEW SAMPLES for {rule_text(rule)} on {place}: {n:,} bound no quantile that high; {needed:,} would"
    if enough:
        level = stats.two_sided(confidence)
        allowed = next(k for k in range(n + 1) if stats.clopper_pearson(k + 1, n, level)[1] > late)
        message = f"{rule_text(rule)} on {place}: of {n:,} answers {allowed:,} may be slower (a faultless one needs {needed:,})"
    return PowerLine(
        rule=rule_text(rule), split=place, n=n, detectable=None, needed=needed, enough=enough, message=message
    )


def _must_pass(rule: Rule, place: str) -> PowerLine:
    count = len(rule.must_pass or ())
    message = (
        f"{rule_text(rule)} on {place}: each of {count:,} samples decides by itself, so one wrong score fails the gate"
    )
    return PowerLine(
        rule=rule_text(rule), split=place, n=count, detectable=None, needed=None, enough=True, message=message
    )


def _unknown(rule: Rule, split: str, n: int) -> PowerLine:
    reason = "nothing is known of its spread" if rule.metric in (None, *OF_ANSWERS) else "the metric is no mean"
    message = f"{rule_text(rule)} on {split}: {n:,} samples; {reason}, so what they can show is seen in a run"
    return PowerLine(
        rule=rule_text(rule),
        split=split,
        n=n,
        detectable=None,
        needed=None,
        enough=n >= stats.MIN_ITEMS,
        message=message,
    )


def _spread(is_paired: bool, is_binary: bool, known: Spread | None) -> tuple[float, str]:
    if known is not None and (spread := known.difference if is_paired else known.score) is not None:
        if is_paired and known.discordance:
            return spread, f"{100 * known.discordance:.1f} % of the samples differ in an earlier run"
        return spread, f"spread {number(spread)} in an earlier run"
    if is_binary and is_paired:
        return stats.binary_spread(ASSUMED_DISCORDANCE), f"assuming that {ASSUMED_DISCORDANCE:g} of the samples differ"
    return ASSUMED_SPREAD, f"assuming a spread of {ASSUMED_SPREAD:g}"


def _needed(rule: Rule, spread: float, confidence: float, trial: float | None) -> tuple[int | None, str]:
    """Samples needed, never fewer than carry an interval, and by what."""
    needed, claim = _asked(rule, spread, confidence, trial)
    return (None if needed is None else max(needed, stats.MIN_ITEMS)), claim


def _asked(rule: Rule, spread: float, confidence: float, trial: float | None) -> tuple[int | None, str]:
    if rule.no_worse_by is not None:
        needed = stats.samples_needed(rule.no_worse_by, spread, confidence)
        trials = stats.samples_without_events(rule.no_worse_by, confidence) if trial is not None else None
        if needed is not None and trials is not None and trial is not None:
            needed = max(needed, math.ceil(trials * trial))
        return needed, "an equal candidate"
    if rule.better_by is not None:
        needed = stats.samples_needed(rule.better_by, spread, confidence)
        twice = f"one better by {2 * rule.better_by:g}" if rule.better_by else "one better by nothing"
        return needed, twice
    if rule.metric is None or rule.metric in OF_ANSWERS:
        return stats.MIN_ITEMS, "one that varies as before"
    limit = rule.at_most if rule.at_most is not None else 1 - (rule.at_least or 0.0)
    return stats.samples_without_events(limit, confidence), "a faultless one"


def _coverage(rule: Rule, split: str, n: int) -> PowerLine:
    most = int(np.floor(n * (1 - (rule.coverage or 0.0)) + 1e-9))
    message = f"{rule_text(rule)} on {split}: of {n:,} samples {most:,} may be unscored"
    return PowerLine(
        rule=rule_text(rule), split=split, n=n, detectable=None, needed=None, enough=n > 0, message=message
    )
