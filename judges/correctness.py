"""Correctness: how far the answer is entailed by the reference, sentence by sentence.

For each sentence s, support(s) = P(entailment) - P(contradiction), so a contradiction counts against whatever else is entailed.
forward (precision) = mean support of the answer's sentences given the reference; backward (coverage) = mean support of the
reference's sentences given the answer; both are cut off below at 0, and `both` is their harmonic mean. Of several references
the best counts. A reference or answer of a few words is read together with the question ("Who designed it? Raymond Unwin"),
so that short-answer question answering is judged as statements are. An empty answer scores 0.

Judged well: an answer that says the reference's facts in other words. Judged ill: numbers and dosages, which NLI reads loosely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.judging import Scored, judge_each
from judges.nli import Entailer, Entailment
from judges.sentences import split_sentences

VERSION = 1
SHORT_WORDS = 6
"""A text of at most so many words is no statement by itself and is read with the question."""

Direction = Literal["forward", "backward", "both"]


class CorrectnessJudge:
    """Entailment by the reference in one or both directions, higher is better."""

    def __init__(self, name: str, entailer: Entailer, *, direction: Direction = "both") -> None:
        self.metric = Metric(name=name, direction="higher")
        self._entailer = entailer
        self._direction = direction

    @property
    def fingerprint(self) -> str:
        return fingerprint(["correctness", VERSION, self._entailer.key, self._direction])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(
            cases, self.metric.name, needs=("answer", "references"), empty=(0.0, "empty", {}), score=self._score
        )

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        plans = [[self._pairs(case, reference) for reference in case.references] for case in cases]
        flat = [pair for plan in plans for forward, backward in plan for pair in forward + backward]
        results = iter(self._entailer.entail(flat))
        scored: list[Scored | Failure] = []
        for plan in plans:
            options = []
            for forward, backward in plan:
                rows = {
                    "forward": [(pair, next(results)) for pair in forward],
                    "backward": [(pair, next(results)) for pair in backward],
                }
                options.append(self._aggregate(rows))
            scored.append(max(options, key=lambda option: option[0]))
        return scored

    def _pairs(self, case: Case, reference: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        answer = case.answer or ""
        question = case.input or ""
        short = min(len(reference.split()), len(answer.split())) <= SHORT_WORDS and bool(question)
        if short:
            reference, answer = f"{question} {reference}", f"{question} {answer}"
            forward, backward = [(reference, answer)], [(answer, reference)]
        else:
            forward = [(reference, sentence) for sentence in split_sentences(answer)]
            backward = [(answer, sentence) for sentence in split_sentences(reference)]
        return (forward if self._direction != "backward" else [], backward if self._direction != "forward" else [])

    def _aggregate(self, rows: dict[str, list[tuple[tuple[str, str], Entailment]]]) -> Scored:
        scores = {name: _support([result for _, result in part]) for name, part in rows.items() if part}
        score = _harmonic(list(scores.values()))
        sentences: list[dict[str, Any]] = [
            {
                "sentence": pair[1],
                "direction": name,
                "label": result.label,
                **result.evidence(),
                "premise": result.window,
            }
            for name, part in rows.items()
            for pair, result in part
        ]
        contradicted = any(row["label"] == "contradiction" for row in sentences)
        label = "contradicted" if contradicted else "entailed" if score >= 0.5 else "not entailed"
        rounded = {name: round(value, 6) for name, value in scores.items()}
        return score, label, {**rounded, "sentences": sentences}


def _support(results: list[Entailment]) -> float:
    return max(0.0, sum(r.entailment - r.contradiction for r in results) / len(results))


def _harmonic(values: list[float]) -> float:
    if len(values) == 1:
        return values[0]
    total = sum(values)
    return 2 * values[0] * values[1] / total if total else 0.0
