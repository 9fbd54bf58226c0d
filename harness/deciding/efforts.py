"""What answers took: seconds and money, as columns beside the scores, so that rules and comparisons treat them alike.

Seconds are those stored with an answer: the request's, or its share of a batch. Money is what the candidate's `price` in the
run's own suite makes of the answer's tokens. An answer that failed, or of which either is unknown, counts as unscored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.deciding.scores import Column, Scores, SplitScores
from harness.errors import UserError
from harness.records import Metric, Run
from harness.suite.grammar import OF_ANSWERS, Gate, Rule

if TYPE_CHECKING:
    from harness.store import Store

EffortRow = tuple[str, str, float | None, int | None, int | None]
"""Candidate, sample id, seconds, prompt tokens, completion tokens of an answer without an error."""
METRICS: Mapping[str, Metric] = {
    name: Metric(name=name, direction="lower", low=0.0, high=math.inf) for name in OF_ANSWERS
}


def effort_of(rule: Rule, metrics: Collection[str]) -> str | None:
    """`latency` or `cost` where the rule is about that; None where it is about scores."""
    if rule.condition in OF_ANSWERS:
        return rule.condition
    return rule.metric if rule.metric in OF_ANSWERS and rule.metric not in metrics else None


def with_efforts(
    scores: Scores,
    store: Store,
    run: Run,
    gate: Gate,
    *,
    candidates: Sequence[str] | None = None,
    strict: bool = True,
) -> Scores:
    """The scores with what the answers took, where a rule of the gate asks for it.

    Args:
        scores: The run's scores.
        store: Where the answers are.
        run: The run.
        gate: The rules.
        candidates: Those that are decided about; left out, all of the run but the baseline.
        strict: Whether a missing price is an error; without it, costs are then unknown.

    Raises:
        UserError: If a rule is about costs and one of these has no price.
    """
    metrics = {metric.name for metric in run.metrics}
    wanted = {effort for rule in gate.rules if (effort := effort_of(rule, metrics)) is not None}
    if not wanted:
        return scores
    prices = {name: price_of(run, name) for name in run.candidates} if "cost" in wanted else {}
    paired = any(rule.is_paired for rule in gate.rules if effort_of(rule, metrics) == "cost")
    for name, price in prices.items():
        decided = paired if name == gate.baseline else candidates is None or name in candidates
        if price is None and decided and strict:
            raise UserError(
                f"a rule on 'cost' must be about candidates with a price (got {name!r} without in run {run.id}). Give its "
                "model a 'price' and run it again."
            )
    rows = store.efforts(run.id)
    return replace(
        scores,
        splits={
            name: replace(here, efforts=_columns(here, rows, prices, wanted)) for name, here in scores.splits.items()
        },
    )


def price_of(run: Run, candidate: str) -> tuple[float, float] | None:
    """What the run's suite says that a prompt token and a completion token cost."""
    found: Any = run.record.get("suite")
    for key in ("candidates", candidate, "model", "price"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return (found["input"] / 1e6, found["output"] / 1e6) if isinstance(found, Mapping) else None


def _columns(
    here: SplitScores,
    rows: Sequence[EffortRow],
    prices: Mapping[str, tuple[float, float] | None],
    wanted: Collection[str],
) -> dict[tuple[str, str], Column]:
    places = {sample: place for place, sample in enumerate(here.ids)}
    found: dict[tuple[str, str], Column] = {}
    for candidate, sample, seconds, prompt, completion in rows:
        place, price = places.get(sample), prices.get(candidate)
        cost = None
        if price is not None and prompt is not None and completion is not None:
            cost = price[0] * prompt + price[1] * completion
        for name, value in (("latency", seconds), ("cost", cost)):
            if place is not None and value is not None and name in wanted:
                if (candidate, name) not in found:
                    found[candidate, name] = _empty(len(here.ids))
                found[candidate, name].values[place] = value
                found[candidate, name].scored[place] = True
    return found


def _empty(n: int) -> Column:
    return Column(values=np.zeros(n), scored=np.zeros(n, dtype=bool))
