"""Hallucination: the share of the answer that has no ground, lower is better.

With a context: the mean over the answer's sentences of 1 - P(entailment by the context), i.e. unsupported or contradicted; the
contradicted part stands apart in the evidence. With a reference only: the mean of P(contradiction by the reference), since a
reference need not say all that is true. With neither, but further sampled answers: the mean over sentences and samples of
P(contradiction) / (P(entailment) + P(contradiction)), after SelfCheckGPT-NLI (Manakul et al. 2023, section 5.4).
An empty answer claims nothing and scores 0, labelled `empty`.

Judged well: a named drug or number that the context contradicts in words. Judged ill: claims that need arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.records import Case, Failure, Judgement, Metric, Needs, Sample, fingerprint
from judges.judging import Scored, judge_each
from judges.nli import Entailer, Entailment
from judges.sentences import split_sentences

VERSION = 1


class HallucinationJudge:
    """Ungrounded share of the answer in [0, 1], lower is better."""

    def __init__(self, name: str, entailer: Entailer, *, samples: int = 5) -> None:
        self.metric = Metric(name=name, direction="lower")
        self._entailer = entailer
        self._samples = samples

    def needs(self, sample: Sample) -> Needs:
        """Further answers where there is nothing else to hold the answer against."""
        return Needs() if sample.contexts or sample.references else Needs(samples=self._samples)

    @property
    def fingerprint(self) -> str:
        return fingerprint(["hallucination", VERSION, self._entailer.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=(0.0, "empty", {}), score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        plans = [_plan(case) for case in cases]
        flat = [
            (p, s) for case, (_, premises) in zip(cases, plans, strict=True) for s in _sentences(case) for p in premises
        ]
        results = iter(self._entailer.entail(flat))
        scored: list[Scored | Failure] = []
        for case, (basis, premises) in zip(cases, plans, strict=True):
            if not premises:
                message = "the judge needs a context, a reference or sampled answers, and the case has none"
                scored.append(Failure(kind="missing_input", message=message))
                continue
            rows = [(sentence, [next(results) for _ in premises]) for sentence in _sentences(case)]
            scored.append(_aggregate(basis, rows))
        return scored


def _sentences(case: Case) -> list[str]:
    return split_sentences(case.answer or "")


def _plan(case: Case) -> tuple[str, tuple[str, ...]]:
    """What the answer is held against. Passages are joined: a claim may rest on two of them."""
    if case.contexts:
        return "context", ("\n".join(case.contexts),)
    if case.references:
        return "reference", case.references
    return "samples", case.samples


def _aggregate(basis: str, rows: list[tuple[str, list[Entailment]]]) -> Scored:
    sentences: list[dict[str, Any]] = []
    for sentence, results in rows:
        value, decisive = _ungrounded(basis, results)
        sentences.append(
            {"sentence": sentence, "score": round(value, 6), "label": decisive.label, **decisive.evidence(),
             "premise": decisive.window}
        )  # fmt: skip
    score = sum(row["score"] for row in sentences) / len(sentences)
    contradicted = sum(row["label"] == "contradiction" for row in sentences) / len(sentences)
    label = "contradicted" if contradicted else "grounded" if score < 0.5 else "unsupported"
    return score, label, {"basis": basis, "contradicted": round(contradicted, 6), "sentences": sentences}


def _ungrounded(basis: str, results: list[Entailment]) -> tuple[float, Entailment]:
    """How ungrounded one sentence is, and the premise that decides it. Several references: the kindest counts."""
    if basis == "context":
        return 1.0 - results[0].entailment, results[0]
    if basis == "reference":
        kindest = min(results, key=lambda result: result.contradiction)
        return kindest.contradiction, kindest
    rates = [r.contradiction / max(r.contradiction + r.entailment, 1e-12) for r in results]
    return sum(rates) / len(rates), max(results, key=lambda result: result.contradiction)
