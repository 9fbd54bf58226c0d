"""Retrieval: is a bad answer the retriever's fault or the model's? Three judges of what a candidate retrieved.

- `context_relevance` (needs input and retrieved passages): does what was retrieved address the question? A passage's relevance is
  the largest cosine, cut off below at 0, of the input's embedding and any of its sentences'; the score is the passages' mean, so
  that irrelevant passages cost. The best passage stands in the evidence.
- `context_recall` (needs reference and retrieved passages): could the reference have been said from what was retrieved? The mean
  over the reference's sentences of P(grounded in the passages); what is no claim is left out. Of several references the
  best supported counts.
- `faithfulness` (needs answer and retrieved passages): 1 minus hallucination with the retrieved passages as context. An answer
  without a claim is faithful (label `empty`, `refusal` or `no claims`).

P(grounded) is 1 minus the P(ungrounded) that `muster judges hallucination` defines. All three are better when higher. Low recall
blames the retriever; high recall and low faithfulness the model. A case whose candidate retrieved nothing has no score.

Judged well: passages about something else; a reference whose facts no passage holds. Judged ill: evidence that only several
passages together give, and a relevant passage in words that share nothing with the question's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from harness.records import Case, Embedder, Failure, Judgement, Metric, fingerprint
from judges.grounding import ground
from judges.hallucination import by_grounds
from judges.judging import Scored, judge_each
from judges.nli import Entailer
from judges.sentences import split_sentences
from judges.weights import read_weights

VERSION = 4


class ContextRelevanceJudge:
    """How much of what was retrieved addresses the input, higher is better."""

    def __init__(self, name: str, embedder: Embedder) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._embedder = embedder

    @property
    def fingerprint(self) -> str:
        return fingerprint(["context_relevance", VERSION, self._embedder.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("input", "retrieved"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        passages = [[split_sentences(passage) for passage in case.retrieved] for case in cases]
        texts = [case.input or "" for case in cases] + [s for group in passages for part in group for s in part]
        unique = list(dict.fromkeys(texts))
        vectors = dict(zip(unique, self._embedder.embed(unique), strict=True))
        scored: list[Scored | Failure] = []
        for case, group in zip(cases, passages, strict=True):
            question = vectors[case.input or ""]
            values = [max((float(question @ vectors[s]) for s in part), default=0.0) for part in group]
            relevance = [min(1.0, max(0.0, value)) for value in values]
            rows = [
                {"passage": passage, "score": round(value, 6)}
                for passage, value in zip(case.retrieved, relevance, strict=True)
            ]
            score = sum(relevance) / len(relevance)
            scored.append((score, None, {"best": round(max(relevance), 6), "passages": rows}))
        return scored


class GroundingJudge:
    """`context_recall` or `faithfulness`: what stands on the retrieved passages, higher is better."""

    def __init__(self, name: str, kind: Literal["context_recall", "faithfulness"], entailer: Entailer) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._kind = kind
        self._entailer = entailer

    @property
    def fingerprint(self) -> str:
        weights = read_weights("hallucination", "context")
        return fingerprint([self._kind, VERSION, self._entailer.key, weights.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        name = self.metric.name
        if self._kind == "context_recall":
            return judge_each(cases, name, needs=("references", "retrieved"), empty=None, score=self._recall)
        return judge_each(
            cases, name, needs=("answer", "retrieved"), empty=(1.0, "empty", {}), score=self._faithfulness
        )

    def _faithfulness(self, cases: list[Case]) -> list[Scored | Failure]:
        scored = by_grounds(self._entailer, [(case, case.retrieved) for case in cases])
        return [
            outcome if isinstance(outcome, Failure) else (1.0 - outcome[0], outcome[1], outcome[2])
            for outcome in scored
        ]

    def _recall(self, cases: list[Case]) -> list[Scored | Failure]:
        sentences = [[self._entailer.claims(reference) for reference in case.references] for case in cases]
        texts = [
            (sentence, "\n".join(case.retrieved), "")
            for case, group in zip(cases, sentences, strict=True)
            for part in group
            for sentence in part
        ]
        results = iter(ground(self._entailer, texts))
        scored: list[Scored | Failure] = []
        for group in sentences:
            options = [self._supported([(sentence, next(results)) for sentence in part]) for part in group]
            scored.append(max(options, key=lambda option: option[0]))
        return scored

    @staticmethod
    def _supported(rows: Sequence[tuple[str, Any]]) -> Scored:
        found = [(sentence, result) for sentence, result in rows if result is not None]
        if not found:
            return 1.0, "no claims", {}
        values = [1.0 - result.probability for _, result in found]
        score = sum(values) / len(values)
        sentences = [
            {"sentence": sentence, "score": round(value, 6), **result.evidence}
            for (sentence, result), value in zip(found, values, strict=True)
        ]
        return score, "supported" if score >= 0.5 else "unsupported", {"sentences": sentences}
