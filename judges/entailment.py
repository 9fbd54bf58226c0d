"""Entailment: the NLI pair itself.

Premise: the reference (or the context); hypothesis: the whole answer. The score is P(entailment), the label the likeliest of
entailment, neutral and contradiction. Of several references (or passages) the one that entails most counts.

Judged well: reference "The man sleeps." and answer "A person is asleep." (entailment).
Judged ill: pairs that differ by a number or a negation only; small NLI models overlook both.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.judging import Scored, judge_each
from judges.nli import Entailer

VERSION = 1


class EntailmentJudge:
    """P(entailment) of the answer, higher is better."""

    def __init__(self, name: str, entailer: Entailer, *, premise: str | None = None) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._entailer = entailer
        self._premise = premise

    @property
    def fingerprint(self) -> str:
        return fingerprint(["entailment", VERSION, self._entailer.key, self._premise])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=None, score=self._score)

    def _premises(self, case: Case) -> tuple[str, ...]:
        if self._premise == "context":
            return case.contexts
        if self._premise == "reference":
            return case.references
        return case.references or case.contexts

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        pairs = [(premise, case.answer or "") for case in cases for premise in self._premises(case)]
        results = iter(self._entailer.entail(pairs))
        scored: list[Scored | Failure] = []
        for case in cases:
            rows = [next(results) for _ in self._premises(case)]
            if not rows:
                lack = self._premise or "reference or context"
                scored.append(Failure(kind="missing_input", message=f"the judge needs '{lack}', and the case has none"))
                continue
            best = max(rows, key=lambda row: row.entailment)
            scored.append((best.entailment, best.label, best.evidence()))
        return scored
