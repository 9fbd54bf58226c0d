"""Entailment: the NLI pair itself.

Premise: the reference (or the context); hypothesis: the whole answer. The score is P(entailment), the label the likeliest of
entailment, neutral and contradiction. Of several references (or passages) the one that entails most counts. An answer so
long that it leaves the premise fewer than 160 tokens is asked in parts of whole sentences (their number in the evidence): it is
entailed as surely as its least entailed part, and contradicted as surely as its most contradicted one. An empty answer gets 0,
label `empty`.

Judged well: reference "The man sleeps." and answer "A person is asleep." (entailment).
Judged ill: pairs that differ by a number or a negation only; small NLI models overlook both.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.judging import Scored, judge_each
from judges.nli import Entailer, Entailment

VERSION = 3


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
        premises = [self._premises(case) for case in cases]
        blank = [not (case.answer or "").strip() for case in cases]
        parts = [
            [] if empty else self._entailer.parts(case.answer or "") for case, empty in zip(cases, blank, strict=True)
        ]
        pairs = [
            (premise, part) for known, asked in zip(premises, parts, strict=True) for premise in known for part in asked
        ]
        results = iter(self._entailer.entail(pairs))
        scored: list[Scored | Failure] = []
        for known, empty, asked in zip(premises, blank, parts, strict=True):
            if not known:
                lack = self._premise or "reference or context"
                scored.append(Failure(kind="missing_input", message=f"the judge needs '{lack}', and the case has none"))
                continue
            if empty:
                scored.append((0.0, "empty", {}))
                continue
            rows = [together([next(results) for _ in asked]) for _ in known]
            best = max(rows, key=lambda row: row.entailment)
            several = {"parts": len(asked)} if len(asked) > 1 else {}
            scored.append((best.entailment, best.label, {**best.evidence(), **several}))
        return scored


def together(parts: Sequence[Entailment]) -> Entailment:
    """All parts of a hypothesis at once: the least P(entailment), the largest P(contradiction), the rest neutral."""
    worst = min(parts, key=lambda part: part.entailment)
    if len(parts) == 1:
        return worst
    contradiction = max(part.contradiction for part in parts)
    neutral = max(0.0, 1.0 - worst.entailment - contradiction)
    return Entailment(entailment=worst.entailment, neutral=neutral, contradiction=contradiction, window=worst.window)
