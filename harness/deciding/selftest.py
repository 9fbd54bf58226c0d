"""The gate put to the test: candidates are drawn whose truth is known, and the gate itself decides about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.gate import decide
from harness.deciding.scores import Column, Scores, SplitScores
from harness.records import Metric, Outcome, Run
from harness.suite.grammar import Gate

CONFIDENCE = 0.95
"""Of the two-sided intervals of what was counted."""
MARGIN, DISCORDANCE = 0.03, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Characteristic:
    """One thing the gate must hold, and how often it came in the simulation."""

    name: str
    counted: Outcome
    count: int
    sims: int
    low: float
    """Wilson's interval for the rate; `high` likewise."""
    high: float
    least: float
    """What the rate must be at least; `most` at most."""
    most: float

    @property
    def rate(self) -> float:
        return self.count / self.sims

    @property
    def holds(self) -> bool:
        """Whether the rate is within its limits, or could be by chance."""
        return self.high >= self.least and self.low <= self.most


def selftest(sims: int, seed: int) -> list[Characteristic]:
    """The gate's operating characteristics, at a margin of 3 points and one-sided 0.95.

    0/1 scores that differ on 15 % of the samples: the exact rates of a non-inferiority test are 5 % passes at the margin and 5 %
    failures at no difference; both limits are 6 %, for Tango's bounds are not exact. Powers are those of a simulation of
    20,000 runs, less 4 points. Scores on a scale are t distributed around the same truths.

    Args:
        sims: Simulated runs of each characteristic.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    binary, graded = _Binary(rng), _Graded(rng)
    plan: list[tuple[str, Callable[[int, float], Outcome], int, float, Outcome, float, float]] = [
        ("0/1 scores, equal, n 500: fails", binary, 500, 0.0, "fail", 0.0, 0.06),
        ("0/1 scores, equal, n 1000: fails", binary, 1000, 0.0, "fail", 0.0, 0.06),
        ("0/1 scores, equal, n 1000: passes", binary, 1000, 0.0, "pass", 0.75, 1.0),
        ("0/1 scores, equal, n 2000: passes", binary, 2000, 0.0, "pass", 0.92, 1.0),
        ("0/1 scores, worse by the margin, n 500: passes", binary, 500, -MARGIN, "pass", 0.0, 0.06),
        ("0/1 scores, worse by the margin, n 1000: passes", binary, 1000, -MARGIN, "pass", 0.0, 0.06),
        ("0/1 scores, worse by 5 points, n 400: fails", binary, 400, -0.05, "fail", 0.75, 1.0),
        ("0/1 scores, worse by 5 points, n 400: passes", binary, 400, -0.05, "pass", 0.0, 0.06),
        ("graded scores, equal, n 200: fails", graded, 200, 0.0, "fail", 0.0, 0.06),
        ("graded scores, worse by the margin, n 200: passes", graded, 200, -MARGIN, "pass", 0.0, 0.06),
        ("identical answers, n 200: fails", _identical, 200, 0.0, "fail", 0.0, 0.0),
    ]  # fmt: skip
    found = []
    counts: dict[tuple[Callable[[int, float], Outcome], int, float], list[Outcome]] = {}
    for name, draw, n, truth, outcome, least, most in plan:
        key = (draw, n, truth)
        if key not in counts:
            counts[key] = [draw(n, truth) for _ in range(sims)]
        count = counts[key].count(outcome)
        low, high = stats.wilson(count, sims, CONFIDENCE)
        found.append(
            Characteristic(
                name=name, counted=outcome, count=count, sims=sims, low=low, high=high, least=least, most=most
            )
        )
    return found


@dataclass(eq=False)
class _Binary:
    """Draws a run of 0/1 scores and lets the gate decide; equal counts are decided once."""

    rng: np.random.Generator

    def __call__(self, n: int, truth: float) -> Outcome:
        chances = [(DISCORDANCE + truth) / 2, (DISCORDANCE - truth) / 2, 1 - DISCORDANCE]
        gained, lost, _ = self.rng.multinomial(n, chances)
        return _decided_binary(n, int(gained), int(lost))


@cache
def _decided_binary(n: int, gained: int, lost: int) -> Outcome:
    ours, theirs = np.ones(n), np.ones(n)
    theirs[:gained] = 0.0
    ours[gained : gained + lost] = 0.0
    return _decided(ours, theirs)


@dataclass(eq=False)
class _Graded:
    """Draws a run of scores between 0 and 1 that differ by up to 0.15 to either side of the truth."""

    rng: np.random.Generator

    def __call__(self, n: int, truth: float) -> Outcome:
        theirs = self.rng.uniform(0.2, 0.8, n)
        return _decided(theirs + truth + self.rng.uniform(-0.15, 0.15, n), theirs)


def _identical(n: int, truth: float) -> Outcome:
    scores = np.linspace(0, 1, n)
    return _decided(scores, scores)


METRIC = Metric(name="score")
RULES = Gate.model_validate({"baseline": "base", "rules": [{"metric": METRIC.name, "no_worse_by": MARGIN}]})
RUN = Run(
    id="", key="", suite="selftest", suite_version=1, suite_sha="", data_sha="", status="complete", started="",
    finished=None, seconds=0.0, candidates={"base": "", "new": ""}, metrics=(METRIC,), judges={},
)  # fmt: skip


def _decided(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Outcome:
    scored = np.ones(len(ours), dtype=bool)
    columns = {
        ("new", METRIC.name): Column(values=ours, scored=scored),
        ("base", METRIC.name): Column(values=theirs, scored=scored),
    }
    here = SplitScores(ids=tuple(map(str, range(len(ours)))), clusters=None, slices={}, columns=columns)
    scores = Scores(candidates=("base", "new"), splits={"test": here})
    return decide(RULES, run=RUN, scores=scores, candidate="new").outcome
