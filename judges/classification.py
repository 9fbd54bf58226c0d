"""Classification: label tasks. Which of the declared labels the answer names, against the label that the reference is.

An answer names a label when it is the label, letter case and punctuation aside, or when of all labels it mentions exactly one as
whole words; a label within a longer one ("toxic" within "not toxic") is no mention of its own. An answer that names no label, or
several, is wrong: it is scored 0, not left out. Of several references the first is the target; one that is no label leaves the
sample unscored.

classification: accuracy, 1 where the named label is the target, else 0.
macro_f1: the same per sample; the figure for many samples is the mean over labels of F1 = 2 TP / (2 TP + FP + FN), over the
declared labels that occur as target or as prediction (scikit-learn's f1_score with average="macro"). An answer without a label
is a miss of its target and a false alarm of none.

Judged well: answers that are a label or one sentence with it. Judged ill: negated labels ("not positive" names positive).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from harness.suite.grammar import label_words
from judges.judging import Scored, judge_each

VERSION = 1


class ClassificationJudge:
    """1.0 where the answer names the reference's label, else 0.0; the aggregate is accuracy or macro-F1."""

    def __init__(self, name: str, kind: Literal["classification", "macro_f1"], *, labels: Sequence[str]) -> None:
        self.metric = Metric(name=name, direction="higher", aggregate="macro_f1" if kind == "macro_f1" else "mean")
        self._labels = tuple(labels)
        self._by_words = {label_words(label): label for label in self._labels}
        longest_first = sorted(self._by_words, key=len, reverse=True)
        self._mention = re.compile(rf"(?<!\S)({'|'.join(map(re.escape, longest_first))})(?!\S)")

    @property
    def fingerprint(self) -> str:
        return fingerprint(["classification", VERSION, self.metric.aggregate, self._labels])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer", "references"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        return [self._one(case) for case in cases]

    def _one(self, case: Case) -> Scored | Failure:
        target = self._by_words.get(label_words(case.references[0]))
        if target is None:
            known = ", ".join(self._labels)
            message = f"the reference must be a label: {known:.200} (got {case.references[0]!r:.80})"
            return Failure(kind="missing_input", message=message)
        predicted, found = self.named(case.answer or "")
        evidence: dict[str, Any] = {"target": target, "predicted": predicted, "found": found}
        return float(predicted == target), predicted or found, evidence

    def named(self, answer: str) -> tuple[str | None, str]:
        """The label that the answer names, or None; and how: `exact`, `mention`, or why not: `no label`, `several labels`."""
        words = label_words(answer)
        if words in self._by_words:
            return self._by_words[words], "exact"
        mentioned = set(self._mention.findall(words))
        if len(mentioned) == 1:
            return self._by_words[mentioned.pop()], "mention"
        return None, "several labels" if mentioned else "no label"
