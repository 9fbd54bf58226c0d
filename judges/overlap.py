"""Overlap: agreement of the texts themselves, delegated to the libraries whose tokenisation everybody quotes.

exact_match: 1 where answer and reference are equal after SQuAD's normalisation, else 0: lower case, without ASCII
punctuation and the articles a, an, the, white space collapsed (Rajpurkar et al. 2016, official script). token_f1: harmonic
mean of precision and recall of the tokens left by it, each counted as often as it stands in both; two texts without tokens
agree (1), one without does not (0).
rouge: ROUGE-L, F-measure of the longest common subsequence of words, Porter-stemmed (Lin 2004; rouge-score). It reads the
letters a to z and digits only: references without any are left out, and where none is left there is no score.
bleu: BLEU of the one answer (Papineni et al. 2002), n-grams up to 4 or to the answer's length, precisions of 0 smoothed
exponentially (Chen and Cherry 2014, method 3), tokenised by 13a, with case; of several references as BLEU itself takes
them: n-grams of any, the length nearest (sacrebleu). chrf: chrF2, F-measure of character n-grams up to 6 with beta 2,
without word n-grams, with case (Popovic 2015; sacrebleu). Both are divided by 100.
regex: 1 where the pattern, written as for Python's `re`, is found anywhere in the answer, else 0; a search that takes longer
than 10 s (nested repetitions can take for ever) gives no score. json_schema: 1 where the whole answer is JSON (RFC 8259: no
NaN) that the schema accepts (draft 2020-12; `format` is not asserted, nothing is fetched for `$ref`), else 0.

All lie in 0..1, higher is better. Of several references the best counts, except for bleu. An empty answer is compared like
any other.
Judged well: short answers with one way to say them, and forms. Judged ill: paraphrases and translations of meaning,
negations and numbers in long texts (nearly all words are shared), typographic quotes (exact_match, token_f1), words with accents
(rouge), answers that wrap their JSON in a code fence.
"""

from __future__ import annotations

import collections
import importlib.metadata
import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.judging import Scored, judge_each

VERSION = 2
Kind = Literal["rouge", "bleu", "chrf", "exact_match", "token_f1"]


REGEX_SECONDS = 10.0

Measure = Callable[[Sequence[str], str], float]
"""(references, answer) to [0, 1]."""


class OverlapJudge:
    """Agreement with the references, in [0, 1], higher is better."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._kind = kind
        self._measure: Measure | None = None

    @property
    def fingerprint(self) -> str:
        package = {"rouge": "rouge-score", "bleu": "sacrebleu", "chrf": "sacrebleu"}.get(self._kind)
        library = f"{package} {importlib.metadata.version(package)}" if package else ""
        return fingerprint([self._kind, VERSION, library])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer", "references"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        measure = self._measure = self._measure or measure_of(self._kind)
        return [self._one(measure, case) for case in cases]

    def _one(self, measure: Measure, case: Case) -> Scored | Failure:
        references = case.references
        if self._kind == "rouge":
            references = tuple(reference for reference in references if READABLE.search(reference))
            if not references:
                return Failure(
                    kind="missing_input", message="rouge reads a to z and digits, and the reference has none"
                )
        return measure(references, case.answer or ""), None, {}


READABLE = re.compile(r"[a-z0-9]", re.IGNORECASE | re.ASCII)
"""What rouge-score keeps of a text."""


def measure_of(kind: Kind) -> Measure:
    """The function (references, answer) -> [0, 1] of an overlap kind; imports its library."""
    match kind:
        case "rouge":
            from rouge_score.rouge_scorer import RougeScorer

            scorer = RougeScorer(["rougeL"], use_stemmer=True)
            return best(lambda reference, answer: float(scorer.score(reference, answer)["rougeL"].fmeasure))
        case "bleu":
            from sacrebleu.metrics.bleu import BLEU

            bleu = BLEU(effective_order=True)
            return lambda references, answer: min(1.0, float(bleu.sentence_score(answer, references).score) / 100)
        case "chrf":
            from sacrebleu.metrics.chrf import CHRF

            chrf = CHRF()
            return lambda references, answer: min(1.0, float(chrf.sentence_score(answer, references).score) / 100)
        case "exact_match":
            return best(lambda reference, answer: float(normalise(reference) == normalise(answer)))
        case "token_f1":
            return best(token_f1)


def best(measure: Callable[[str, str], float]) -> Measure:
    """The best over the references of a measure of one."""
    return lambda references, answer: max(measure(reference, answer) for reference in references)


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

    def __init__(self, name: str, pattern: str, *, seconds: float = REGEX_SECONDS) -> None:
        """`seconds`: after so many a search is given up."""
        import regex  # the standard library's search cannot be given up

        self.metric = Metric(name=name, direction="higher")
        self._pattern = regex.compile(pattern)
        self._seconds = seconds

    @property
    def fingerprint(self) -> str:
        return fingerprint(["regex", VERSION, self._pattern.pattern])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        scored: list[Scored | Failure] = []
        for case in cases:
            try:
                found = self._pattern.search(case.answer or "", timeout=self._seconds)
            except TimeoutError:
                message = (
                    f"the search took longer than {self._seconds:g} s; write the pattern without nested repetitions"
                )
                scored.append(Failure(kind="timeout", message=message))
                continue
            scored.append((float(found is not None), None, {"match": found.group()} if found else {}))
        return scored


class JsonSchemaJudge:
    """1.0 where the answer is JSON that the schema accepts, else 0.0 with the reason in the evidence."""

    def __init__(self, name: str, schema: Mapping[str, Any]) -> None:
        import jsonschema
        from jsonschema_specifications import REGISTRY

        self.metric = Metric(name=name, direction="higher")
        self._schema = dict(schema)
        # With a registry of its own the validator fetches no address that a schema names.
        self._validator = jsonschema.Draft202012Validator(self._schema, registry=REGISTRY)

    @property
    def fingerprint(self) -> str:
        return fingerprint(["json_schema", VERSION, self._schema, importlib.metadata.version("jsonschema")])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        return [self._one(case.answer or "") for case in cases]

    def _one(self, text: str) -> Scored:
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except ValueError as error:
            return 0.0, "not JSON", {"reason": str(error)}
        problem = next(iter(self._validator.iter_errors(value)), None)
        if problem is None:
            return 1.0, "valid", {}
        return 0.0, "invalid", {"reason": problem.message[:300], "path": problem.json_path}


def _refuse_constant(text: str) -> NoReturn:
    """NaN and Infinity are Python's, not JSON's."""
    raise ValueError(f"{text} is no JSON")
