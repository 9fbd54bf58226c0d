"""What a single score must reach to count as passed: where a sample flips between two candidates, and which ones fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import Metric, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The place on a metric's scale from which on a score counts as passed."""

    value: float
    rule: str
    """The gate's rule it comes from, such as `toxicity at_most 0.05`; empty where it is the middle of the scale."""
    direction: str

    def passes(self, score: float) -> bool:
        """Whether a score is on the good side; the cut itself is."""
        return score >= self.value if self.direction == "higher" else score <= self.value


def cut_of(run: Run, metric: Metric) -> Cut | None:
    """The limit of the gate's first rule on the metric's mean, else the middle of its scale; None on a scale without end.

    A rule limits a mean, and a sample is held against the same number: it is the only one the suite's author has named.
    Limits of single slices (`where`) are not taken for all samples.
    """
    for rule in gate_rules(run):
        for condition in ("at_least", "at_most"):
            limit = rule.get(condition)
            if rule.get("metric") == metric.name and not rule.get("where") and isinstance(limit, int | float):
                told = f"{metric.name} {condition} {limit:g}"
                return Cut(value=float(limit), rule=told, direction=metric.direction)
    if not math.isfinite(metric.high) or not math.isfinite(metric.low):
        return None
    return Cut(value=(metric.low + metric.high) / 2, rule="", direction=metric.direction)


def gate_rules(run: Run) -> Sequence[Mapping[str, Any]]:
    """The rules of the gate as the run's record has them; empty where there is no gate."""
    suite = run.record.get("suite")
    gate = suite.get("gate") if isinstance(suite, Mapping) else None
    rules = gate.get("rules") if isinstance(gate, Mapping) else None
    return [rule for rule in rules if isinstance(rule, Mapping)] if isinstance(rules, list | tuple) else []
