"""Before any money is spent: what each rule of a gate can detect with the samples there are, and how many it needs.

Every figure is for a chance of 80 % and rests on a stated spread: that of an earlier run's scores where one is given,
otherwise an assumption (`ASSUMED_SPREAD`; for 0/1 metrics, `ASSUMED_DISCORDANCE`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness import stats
from harness.deciding.aggregates import interval as interval_of
from harness.deciding.comparison import checked_column
from harness.deciding.rules import rule_text
from harness.deciding.scores import Scores
from harness.deciding.wording import number
from harness.records import Metric
from harness.suite.grammar import Gate, Rule

ASSUMED_SPREAD = 0.3
"""Standard deviation of scores, and of differences of scores, when nothing is known."""
ASSUMED_DISCORDANCE = 0.2
"""Share of samples on which two candidates differ in a 0/1 metric, when nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations of one sample of an earlier run: of scores, and of differences from the baseline."""

    score: float
    difference: float


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
) -> list[PowerLine]:
    """A line for each rule.

    Args:
        gate: The rules.
        sizes: Samples of each evaluation split.
        clusters: Clusters of each split that has them.
        default_split: The split of rules that name none; left out, the only one, or `test`.
        binary: Metrics whose scores are 0 or 1.
        aggregated: Metrics that are no means (perplexity, macro-F1): without an earlier run nothing is known of them.
        spreads: By metric, from an earlier run (`spreads_of`).
    """
    only = next(iter(sizes)) if len(sizes) == 1 else "test"
    found = []
    for rule in gate.rules:
        split = rule.split or default_split or only
        n = sizes.get(split, 0)
        if rule.coverage is not None:
            found.append(_coverage(rule, split, n))
        else:
            known = (spreads or {}).get(rule.metric or "")
            if rule.metric in aggregated and (known is None or rule.at_least is not None or rule.at_most is not None):
                found.append(_unknown(rule, split, n))
                continue
            groups = (clusters or {}).get(split)
            found.append(_line(rule, gate.confidence, split, n, groups, rule.metric in binary, known))
    return found


def spreads_of(
    scores: Scores, metrics: Sequence[Metric], split: str, baseline: str | None, candidates: Sequence[str]
) -> dict[str, Spread]:
    """The largest spreads among an earlier run's candidates, clustering included. Too few scores give none."""
    here = scores.splits[split]
    found = {}
    for metric in metrics:
        alone, apart = [], []
        base = None if baseline is None else checked_column(here, metric, baseline)
        for candidate in candidates:
            column = checked_column(here, metric, candidate)
            shared = column.scored if base is None else column.scored & base.scored
            if shared.sum() < stats.MIN_ITEMS:
                continue
            alone.append(interval_of(metric, column, None, shared, 0.9, clusters=here.clusters).spread)
            if base is not None and candidate != baseline:
                apart.append(interval_of(metric, column, base, shared, 0.9, clusters=here.clusters).spread)
        if alone:
            found[metric.name] = Spread(score=max(alone), difference=max(apart, default=0.0) or ASSUMED_SPREAD)
    return found


def _line(
    rule: Rule,
    confidence: float,
    split: str,
    n: int,
    clusters: int | None,
    is_binary: bool,
    known: Spread | None,
) -> PowerLine:
    is_paired = rule.better_by is not None or rule.no_worse_by is not None
    spread, basis = _spread(is_paired, is_binary, known)
    detectable = stats.detectable_effect(n, spread, confidence) if n else None
    needed, claim = _needed(rule, spread, confidence)
    enough = (
        needed is not None
        and n >= max(needed, stats.MIN_ITEMS)
        and (clusters is None or clusters >= stats.MIN_CLUSTERS)
    )
    message = f"{rule_text(rule)} on {split}: {n:,} samples "
    message += "cannot show anything" if detectable is None else f"detect {number(detectable)} beyond the limit"
    message += f"; {claim}" + (" cannot be shown" if needed is None else f" needs {needed:,}") + f" ({basis})"
    if clusters is not None and clusters < n and known is None:
        at_worst = stats.detectable_effect(max(clusters, 1), spread, confidence)
        message += f"; in {clusters:,} clusters, so at worst only {number(at_worst)}"
    return PowerLine(
        rule=rule_text(rule), split=split, n=n, detectable=detectable, needed=needed, enough=enough, message=message
    )


def _unknown(rule: Rule, split: str, n: int) -> PowerLine:
    message = (
        f"{rule_text(rule)} on {split}: {n:,} samples; the metric is no mean, so what they can show is seen in a run"
    )
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
    if known is not None:
        spread = known.difference if is_paired else known.score
        return spread, f"spread {number(spread)} in an earlier run"
    if is_binary and is_paired:
        return stats.binary_spread(ASSUMED_DISCORDANCE), f"assuming that {ASSUMED_DISCORDANCE:g} of the samples differ"
    return ASSUMED_SPREAD, f"assuming a spread of {ASSUMED_SPREAD:g}"


def _needed(rule: Rule, spread: float, confidence: float) -> tuple[int | None, str]:
    """Samples needed, and by what."""
    if rule.no_worse_by is not None:
        return stats.samples_needed(rule.no_worse_by, spread, confidence), "an equal candidate"
    if rule.better_by is not None:
        needed = stats.samples_needed(rule.better_by, spread, confidence)
        twice = f"one better by {2 * rule.better_by:g}" if rule.better_by else "one better by nothing"
        return needed, twice
    limit = rule.at_most if rule.at_most is not None else 1 - (rule.at_least or 0.0)
    return stats.samples_without_events(limit, confidence), "a faultless one"


def _coverage(rule: Rule, split: str, n: int) -> PowerLine:
    most = int(np.floor(n * (1 - (rule.coverage or 0.0)) + 1e-9))
    message = f"{rule_text(rule)} on {split}: of {n:,} samples {most:,} may be unscored"
    return PowerLine(
        rule=rule_text(rule), split=split, n=n, detectable=None, needed=None, enough=n > 0, message=message
    )
