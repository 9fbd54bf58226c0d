"""Relevancy: does the answer address the input, informatively and concisely.

Each sentence's relevance is the cosine of its embedding and the input's, cut off below at 0; the score is the mean of the whole
answer's cosine and the sentences' mean, so padding and digression cost. Two discounts, both shown in the evidence: an
*evasion* ("I don't know", "as a language model") counts by the share of sentences that evade, and an *echo* counts by the share
of the answer's words that are not the question's (an answer that only repeats the question tells nothing).
"Please see a doctor today" is advice, not evasion. An empty answer scores 0.

Judged well: on-topic advice against a digression. Judged ill: a fluent wrong answer on the right topic (see correctness).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from harness.records import Case, Embedder, Failure, Judgement, Metric, fingerprint
from judges.judging import Scored, judge_each
from judges.sentences import split_sentences

VERSION = 1
_EVASION = re.compile(
    r"\b(i (do not|don't) know\b(?! (you|your|that) )|i (cannot|can't|am not able to|am unable to) (help|answer|say anything)"
    r"|as an? (ai|artificial|language model)|no comment|i have no idea|i'd rather not|cannot assist|can't assist)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")
ECHO_FLOOR = 0.2
"""An answer with fewer new words than this share is discounted in proportion."""


class RelevancyJudge:
    """How well the answer addresses the input, in [0, 1], higher is better."""

    def __init__(self, name: str, embedder: Embedder) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._embedder = embedder

    @property
    def fingerprint(self) -> str:
        return fingerprint(["relevancy", VERSION, self._embedder.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(
            cases, self.metric.name, needs=("answer", "input"), empty=(0.0, "empty", {}), score=self._score
        )

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        parts = [split_sentences(case.answer or "") for case in cases]
        texts = [
            t for case, part in zip(cases, parts, strict=True) for t in (case.input or "", case.answer or "", *part)
        ]
        unique = list(dict.fromkeys(texts))
        vectors = dict(zip(unique, self._embedder.embed(unique), strict=True))
        return [self._one(case, part, vectors) for case, part in zip(cases, parts, strict=True)]

    def _one(self, case: Case, sentences: list[str], vectors: dict[str, np.ndarray]) -> Scored:
        question = vectors[case.input or ""]
        relevance = [max(0.0, float(question @ vectors[sentence])) for sentence in sentences]
        whole = max(0.0, float(question @ vectors[case.answer or ""]))
        evasive = [bool(_EVASION.search(sentence)) for sentence in sentences]
        direct = 1.0 - sum(evasive) / len(evasive)
        informative = min(1.0, _new_words(case.input or "", case.answer or "") / ECHO_FLOOR)
        score = min(1.0, (whole + sum(relevance) / len(relevance)) / 2 * direct * informative)
        label = (
            "relevant" if score >= 0.5 else "evasive" if direct < 0.5 else "echo" if informative < 0.5 else "off topic"
        )
        rows = [
            {"sentence": sentence, "score": round(value, 6), "evasive": evades}
            for sentence, value, evades in zip(sentences, relevance, evasive, strict=True)
        ]
        return score, label, {"whole": round(whole, 6), "direct": direct, "informative": informative, "sentences": rows}


def _new_words(question: str, answer: str) -> float:
    asked = {word.lower() for word in _WORD.findall(question)}
    said = [word.lower() for word in _WORD.findall(answer)]
    return sum(word not in asked for word in said) / len(said) if said else 0.0
