"""Reward: what a reward model gives the answer, as the chance to be preferred to an average one.

A reward model is a language model with a head of one number, trained on pairs of answers to one input, of which people
(`muster review`) or a pairwise judge preferred one (`train:` with `objective: reward`, or `model:` for one that is there).
It reads the input as it stands in the data and the answer, both written as the base's chat template writes them, and gives
a reward r; of two answers, P(the first is preferred) = sigmoid(r1 - r2) (Bradley and Terry 1952). Training holds r near a
mean of zero over the answers it saw, so the score, sigmoid(r), is the chance to be preferred to an average one of those.
Evidence: the reward itself. An answer that does not fit the model's window is unscored; nothing is cut.

The mean over samples compares candidates. Rewards of one model are comparable with each other only; those of two are not.

Judged well: what the pairs were about, on inputs like theirs. Judged ill: everything else. Length is what such models learn
first where preferred answers are the longer ones (the training's audit tells both means), and a candidate that was trained
on this reward (`objective: grpo` or `rloo`) has learnt its gaps: decide about it by other judges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.records import Case, Failure, Judgement, Metric, RewardModel, fingerprint
from judges.judging import Scored, judge_each

VERSION = 1


class RewardJudge:
    """sigmoid(reward) in [0, 1], higher is better."""

    def __init__(self, name: str, model: RewardModel) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._model = model

    @property
    def fingerprint(self) -> str:
        return fingerprint(["reward", VERSION, self._model.key])

    @property
    def description(self) -> dict[str, Any]:
        """For a run's record."""
        return {"kind": "reward", "version": VERSION}

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer", "input"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        return [
            reward if isinstance(reward, Failure) else (_sigmoid(reward), None, {"reward": round(reward, 6)})
            for reward in self._model.rewards([(case.input or "", case.answer or "") for case in cases])
        ]


def _sigmoid(value: float) -> float:
    """Without overflow at either end."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))
