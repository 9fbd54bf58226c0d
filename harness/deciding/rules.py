"""What a rule of a gate says: in words, and about which samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.deciding.scores import Scores, SplitScores
from harness.errors import UserError
from harness.records import Metric
from harness.suite.grammar import Rule, cell_texts

QUANTILE = 0.95
"""Of the answers must keep a limit on latency, unless the rule says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The samples that a rule is decided on at once: those of a split, or of one slice of it."""

    rule: Rule
    split: str
    scores: SplitScores
    slice: str = ""
    """Such as `specialty=cardio`; empty for all samples of the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Samples that no part of a rule holds: those of small slices, and those without a value."""

    rule: Rule
    split: str
    slices: Mapping[str, int]
    """The slices with fewer samples than the rule's `min_n`, and how many each has."""
    missing: int
    """Samples without a value of the column."""
    kept: int
    """Samples of the slices that are decided about."""


def rule_text(rule: Rule) -> str:
    """The rule as a person wrote it, such as `correctness better_by 0.05 each specialty`."""
    text = f"{rule.condition} {getattr(rule, rule.condition):g}"
    text = f"{rule.metric} {text}" if rule.metric else text
    text += f" quantile {rule.quantile:g}" if rule.quantile is not None else ""
    text += f" where {where_text(rule)}" if rule.where else ""
    text += f" each {rule.each}" if rule.each is not None else ""
    text += f" min_n {rule.min_n}" if rule.min_n is not None else ""
    if rule.must_pass is not None:
        text += f" must_pass {len(rule.must_pass)} samples" if isinstance(rule.must_pass, list) else " must_pass"
    return text


def where_text(rule: Rule) -> str:
    """The slice that `where` names, such as `specialty=cardio, language=en or fr`; empty where there is none."""
    return ", ".join(f"{column}={' or '.join(cell_texts(value))}" for column, value in (rule.where or {}).items())


def split_of(rule: Rule, scores: Scores, default: str | None) -> tuple[str, SplitScores]:
    """The split a rule is about, and its scores. Raises UserError where it is not told, or was not evaluated."""
    split = split_name(rule, list(scores.splits), default)
    return split, scores.splits[split]


def split_name(rule: Rule, splits: Sequence[str], default: str | None) -> str:
    """The split a rule is about, of those that are evaluated. Raises UserError where it is not told, or none of them."""
    known = ", ".join(splits) or "none"
    split = rule.split or default
    if split is None and len(splits) == 1:
        split = splits[0]
    if split is None and "test" in splits:
        split = "test"
    if split is None:
        raise UserError(f"gate rule '{rule_text(rule)}' must name its split (evaluated: {known}). Add 'split: NAME'.")
    if split not in splits:
        raise UserError(
            f"the split of gate rule '{rule_text(rule)}' must be one that was evaluated (got {split!r}; there is "
            f"{known}). Run it first."
        )
    return split


def metric_of(rule: Rule, metrics: Mapping[str, Metric], split: str, here: SplitScores) -> Metric:
    """The metric a rule is about. Raises UserError where it was not judged on the split."""
    if rule.metric in metrics and rule.metric in here.metrics:
        return metrics[rule.metric]
    known = ", ".join(here.metrics) or "none"
    raise UserError(
        f"the metric of gate rule '{rule_text(rule)}' must be one judged on {split!r} (got {rule.metric!r}; there is "
        f"{known}). Run the suite again to judge it."
    )


def parts_of(rule: Rule, split: str, here: SplitScores) -> Iterator[Part | LeftOut]:
    """The samples that a rule is decided on: one part, or one for each value of its `each`, sorted; then what is left out.

    Raises:
        UserError: If the run knows no such slicing column.
    """
    chosen = where_text(rule)
    for column, wanted in (rule.where or {}).items():
        values = _column(rule, "where", column, here)
        cells = set(cell_texts(wanted))
        here = here.within(np.array([value in cells for value in values], dtype=bool))
    if rule.each is None:
        yield Part(rule=rule, split=split, scores=here, slice=chosen)
        return
    values = _column(rule, "each", rule.each, here)
    sizes = dict(sorted(Counter(value for value in values if value is not None).items()))
    small = {value: size for value, size in sizes.items() if size < (rule.min_n or 0)}
    for value in sizes:
        if value in small:
            continue
        name = f"{rule.each}={value}"
        yield Part(
            rule=rule, split=split, scores=here.within(values == value), slice=f"{chosen}, {name}" if chosen else name
        )
    missing = len(values) - sum(sizes.values())
    if small or missing or not sizes:
        kept = sum(sizes.values()) - sum(small.values())
        yield LeftOut(rule=rule, split=split, slices=small, missing=missing, kept=kept)


def _column(rule: Rule, option: str, column: str, here: SplitScores) -> NDArray[Any]:
    if column not in here.slices:
        known = ", ".join(here.slices) or "none"
        raise UserError(
            f"'{option}' of gate rule '{rule_text(rule)}' must name slicing columns of the run (got {column!r}; there is "
            f"{known}). Run the suite again with {column!r} in 'data.fields.slices'."
        )
    return np.array(here.slices[column], dtype=object)
