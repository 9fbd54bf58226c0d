"""Overlap: agreement of the texts themselves, delegated to the libraries whose tokenisation everybody quotes.

rouge: ROUGE-L F-measure with stemming (rouge-score). bleu, chrf: sentence BLEU with exponential smoothing and chrF, over 100
(sacrebleu). exact_match, token_f1: after SQuAD's normalisation (lower case, no punctuation, no articles; Rajpurkar et al. 2016).
regex: 1 where the pattern is found. json_schema: 1 where the answer is JSON that the schema accepts.
Of several references the best counts. An empty answer is compared like any other.
"""

from __future__ import annotations

import collections
import importlib.metadata
import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.judging import Scored, judge_each

VERSION = 1
Kind = Literal["rouge", "bleu", "chrf", "exact_match", "token_f1"]


class OverlapJudge:
    """Best agreement with any reference, in [0, 1], higher is better."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._kind = kind
        self._measure: Callable[[str, str], float] | None = None

    @property
    def fingerprint(self) -> str:
        package = {"rouge": "rouge-score", "bleu": "sacrebleu", "chrf": "sacrebleu"}.get(self._kind)
        library = f"{package} {importlib.metadata.version(package)}" if package else ""
        return fingerprint([self._kind, VERSION, library])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer", "references"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        measure = self._measure = self._measure or measure_of(self._kind)
        return [(max(measure(r, case.answer or "") for r in case.references), None, {}) for case in cases]


def measure_of(kind: Kind) -> Callable[[str, str], float]:
    """The function (reference, answer) -> [0, 1] of an overlap kind; imports its library."""
    match kind:
        case "rouge":
            from rouge_score.rouge_scorer import RougeScorer

            scorer = RougeScorer(["rougeL"], use_stemmer=True)
            return lambda reference, answer: float(scorer.score(reference, answer)["rougeL"].fmeasure)
        case "bleu":
            from sacrebleu.metrics.bleu import BLEU

            bleu = BLEU(effective_order=True)
            return lambda reference, answer: min(1.0, float(bleu.sentence_score(answer, [reference]).score) / 100)
        case "chrf":
            from sacrebleu.metrics.chrf import CHRF

            chrf = CHRF()
            return lambda reference, answer: min(1.0, float(chrf.sentence_score(answer, [reference]).score) / 100)
        case "exact_match":
            return lambda reference, answer: float(normalise(reference) == normalise(answer))
        case "token_f1":
            return token_f1


def normalise(text: str) -> str:
    """SQuAD's normalisation: lower case, punctuation and the articles a, an, the removed, white space collapsed."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def token_f1(reference: str, answer: str) -> float:
    """Harmonic mean of token precision and recall after `normalise`; two empty texts agree (1.0)."""
    expected, given = normalise(reference).split(), normalise(answer).split()
    if not expected or not given:
        return float(expected == given)
    common = sum((collections.Counter(expected) & collections.Counter(given)).values())
    return 2 * common / (len(expected) + len(given))


class RegexJudge:
    """1.0 where the pattern is found in the answer, else 0.0."""

    def __init__(self, name: str, pattern: str) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._pattern = re.compile(pattern)

    @property
    def fingerprint(self) -> str:
        return fingerprint(["regex", VERSION, self._pattern.pattern])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        scored: list[Scored | Failure] = []
        for case in cases:
            found = self._pattern.search(case.answer or "")
            scored.append((float(found is not None), None, {"match": found.group()} if found else {}))
        return scored


class JsonSchemaJudge:
    """1.0 where the answer is JSON that the schema accepts, else 0.0 with the reason in the evidence."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        import jsonschema

        self.metric = Metric(name=name, direction="higher")
        self._schema = dict(schema)
        self._validator = jsonschema.Draft202012Validator(self._schema)

    @property
    def fingerprint(self) -> str:
        return fingerprint(["json_schema", VERSION, self._schema])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        return [self._one(case.answer or "") for case in cases]

    def _one(self, text: str) -> Scored:
        try:
            value = json.loads(text)
        except ValueError as error:
            return 0.0, "not JSON", {"reason": str(error)}
        problem = next(iter(self._validator.iter_errors(value)), None)
        if problem is None:
            return 1.0, "valid", {}
        return 0.0, "invalid", {"reason": problem.message[:300], "path": problem.json_path}
