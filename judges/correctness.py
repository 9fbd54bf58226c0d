"""Correctness: how far the answer is entailed by the reference, sentence by sentence.

An NLI model gives meaning, wording gives names, numbers and negations, and weights fitted on graded answers
(judges/models/correctness) make one score of them, P(correct), with each contribution in the evidence. Features, 0 to 1:

- `contradicted` (against): the largest P(contradiction by the reference) of any sentence of the answer. A sentence of 0.5 or
  more is contradicted: it counts here and supports nothing below, so that adding one never raises the score. Of an answer
  that is nothing else each feature is its worst sentence's.
- `entailed`: P(entailment by the reference) of the rest as a whole, or its sentences' mean where it is longer than 96 tokens.
- `covered`: mean P(entailment by the rest) of the reference's sentences.
- `words`, `content`, `phrases`: shares of the reference's words, of its content words that the question does not hold, and of
  its pairs of neighbouring words that the rest repeats; `precise`: the share of the answer's content words that reference or
  question hold; `numbers`, `names`: the shares of the reference's that the rest repeats.
- `negation` (against): one of rest and reference is negated, the other is not; `evasive` (against): some sentence evades.
- `reversed` (against): a sentence that repeats most of a reference's sentence turns it round: a "not" more or less or another
  number, as far as NLI sees a contradiction; a word for its opposite or for another of its kind, another name, two words
  exchanged, "either" this or another (`judges.reversal`).

`direction`: *forward* (precision) asks for contradicted, entailed, precise, negation, reversed and evasive; *backward*
(coverage) for covered and what the reference shares; *both*, the default, for all. A question stands before answer and reference
alike ("Who designed it? Raymond Unwin") where it and the reference have at most 40 words, so short answers are judged as
statements are.
Premises are read in windows of at most 160 tokens, so a long reference is searched to its end. Of several references any one
will do: the best counts, of the three nearest in words; a short reference with slashes ("Raymond Unwin/architect Barry
Parker") is several. An empty answer scores 0, and so does one that only evades ("I don't know"; label `refusal`), unless a
reference evades as well.
Labels: correct (0.5 or more), contradictory (below, and contradicted), partly (0.25 or more), incorrect.

"Sydney, not Canberra" says Sydney: what is only denied supports nothing. "Unsafe" is read as "not safe" where the other text
says "safe".

Judged well: the reference's facts in other words; a name within a long answer. Judged ill: reasoning; another content word in a
long sentence of which the NLI model thinks nothing; dangerous advice added to a right answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.grounding import is_evasion
from judges.judging import Scored, judge_each
from judges.nli import WINDOW, Entailer, Entailment
from judges.reversal import asserted, reversal, spelt_out
from judges.sentences import split_sentences
from judges.weights import read_weights
from judges.wording import pairs, share, wording

VERSION = 5
SHORT = 40
"""Words. A longer input is a letter, not a question, and would drown what stands after it; a longer reference says by itself
what it is about."""
NEAREST = 3
"""References that the NLI model is asked about."""
CONTRADICTED = 0.5
"""P(contradiction) from which a sentence supports nothing."""

Direction = Literal["forward", "backward", "both"]
FEATURES: dict[Direction, tuple[str, ...]] = {
    "forward": ("contradicted", "entailed", "precise", "negation", "reversed", "evasive"),
    "backward": ("covered", "words", "content", "phrases", "numbers", "names"),
    "both": (
        "contradicted", "entailed", "covered", "words", "content", "phrases", "precise", "numbers", "names",
        "negation", "reversed", "evasive",
    ),
}  # fmt: skip
AGAINST = frozenset({"contradicted", "negation", "reversed", "evasive"})
"""Features whose weight is negative; the others' is positive."""
_ALTERNATIVE = re.compile(r"(?<=[^\W\d_])\s*/\s*(?=\w)|(?<=\w)\s*/\s*(?=[^\W\d_])")


class CorrectnessJudge:
    """P(correct) by the reference, higher is better."""

    def __init__(self, name: str, entailer: Entailer, *, direction: Direction = "both") -> None:
        self.metric = Metric(name=name, direction="higher")
        self._entailer = entailer
        self._direction: Direction = direction
        self._weights = read_weights("correctness", direction)

    @property
    def fingerprint(self) -> str:
        return fingerprint(["correctness", VERSION, self._entailer.key, self._direction, self._weights.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(
            cases, self.metric.name, needs=("answer", "references"), empty=(0.0, "empty", {}), score=self._score
        )

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        comparisons = compare(self._entailer, cases, direction=self._direction)
        return [self._best(found) if found else (0.0, "refusal", {}) for found in comparisons]

    def _best(self, found: list[Comparison]) -> Scored:
        scores = [self._weights.probability(comparison.features) for comparison in found]
        score = max(scores)
        best = found[scores.index(score)]
        contradicted = any(row["direction"] == "forward" and row["contradicted"] for row in best.sentences)
        label = (
            "correct" if score >= 0.5 else "contradictory" if contradicted else "partly" if score >= 0.25 else "incorrect"
        )  # fmt: skip
        explained = self._weights.explain(best.features, self._entailer.key)
        return score, label, {"reference": best.reference, **explained, "sentences": list(best.sentences)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An answer held against one reference: the features, and each sentence with what the NLI model said."""

    reference: str
    features: dict[str, float]
    sentences: tuple[dict[str, Any], ...]


def compare(entailer: Entailer, cases: Sequence[Case], *, direction: Direction = "both") -> list[list[Comparison]]:
    """For each case its comparisons with the nearest references; empty for a refusal. All cases are asked in two batches."""
    drafts = [[_Draft(entailer, case, reference) for reference in nearest_references(case)] for case in cases]
    flat = [draft for group in drafts for draft in group]
    forward = iter(entailer.entail([pair for draft in flat for pair in draft.forward_pairs()], window=WINDOW))
    for draft in flat:
        draft.read(forward)
    later = [draft.whole_pairs() + (draft.backward_pairs() if direction != "forward" else []) for draft in flat]
    results = iter(entailer.entail([pair for pairs_ in later for pair in pairs_], window=WINDOW))
    for draft, asked in zip(flat, later, strict=True):
        draft.later = {pair: next(results) for pair in asked}
    return [[draft.comparison(direction) for draft in group] for group in drafts]


def is_short(text: str) -> bool:
    """Whether a text is of the length of a question or a short answer."""
    return len(text.split()) <= SHORT


def nearest_references(case: Case) -> list[str]:
    """The references to ask about, nearest in words first; none when the answer evades and no reference does."""
    references = [part for reference in case.references for part in _alternatives(reference)]
    if not any(is_evasion(reference) for reference in references) and _only_evades(case.answer or ""):
        return []
    said = wording(case.answer or "")

    def distance(reference: str) -> tuple[float, str]:
        known = wording(reference)
        return -share(known.tokens, set(said.tokens)) - share(known.stems, said.stems), reference

    return sorted(dict.fromkeys(references), key=distance)[:NEAREST]


def _alternatives(reference: str) -> list[str]:
    """A short reference with slashes is several answers of which any one will do; it stays one of them itself."""
    parts = [part.strip() for part in _ALTERNATIVE.split(reference)]
    short = len(split_sentences(reference)) == 1 and all(len(part) > 2 and len(part.split()) <= 8 for part in parts)
    return [reference, *parts] if short and len(parts) > 1 else [reference]


def _only_evades(answer: str) -> bool:
    return all(is_evasion(sentence) for sentence in split_sentences(answer))


class _Draft:
    """One answer against one reference, between two questions to the NLI model."""

    def __init__(self, entailer: Entailer, case: Case, reference: str) -> None:
        self._entailer = entailer
        self._question = (case.input or "").strip()
        self._reference = reference
        self._known = asserted(spelt_out(reference, case.answer or ""))
        self._framing = self._question != "" and is_short(self._question) and is_short(reference)
        self._sentences = entailer.claims(asserted(spelt_out(case.answer or "", reference)))
        self._forward: list[Entailment] = []
        self._readings: list[str] = []
        """What supports: the sentences that are not contradicted, as one text; failing that, each sentence by itself."""
        self.later: dict[tuple[str, str], Entailment] = {}

    def forward_pairs(self) -> list[tuple[str, str]]:
        return [(self._framed(self._known), self._framed(sentence)) for sentence in self._sentences]

    def read(self, results: Iterator[Entailment]) -> None:
        """Takes its share of the forward results."""
        self._forward = [next(results) for _ in self._sentences]
        rest = [s for s, result in zip(self._sentences, self._forward, strict=True) if not _contradicts(result)]
        self._readings = [" ".join(rest)] if rest else self._sentences

    def whole_pairs(self) -> list[tuple[str, str]]:
        """The rest as one hypothesis, where it is several sentences and not too long."""
        whole = self._readings[0]
        several = len(self._readings) == 1 and whole not in self._sentences
        return [(self._framed(self._known), self._framed(whole))] if several and self._entailer.fits(whole) else []

    def backward_pairs(self) -> list[tuple[str, str]]:
        parts = self._entailer.claims(self._known)
        return [(self._framed(reading), self._framed(part)) for reading in self._readings for part in parts]

    def comparison(self, direction: Direction) -> Comparison:
        readings = [self._features(reading) for reading in self._readings]
        features = {
            name: (max if name in AGAINST else min)(reading[name] for reading in readings)
            for name in FEATURES[direction]
        }
        rows: list[dict[str, Any]] = [
            {"sentence": sentence, "direction": "forward", "contradicted": _contradicts(result), **_opinion(result)}
            for sentence, result in zip(self._sentences, self._forward, strict=True)
        ]
        rows += [
            {"sentence": hypothesis, "direction": "whole" if premise == self._framed(self._known) else "backward",
             **_opinion(result)}
            for (premise, hypothesis), result in self.later.items()
        ]  # fmt: skip
        return Comparison(reference=self._reference, features=features, sentences=tuple(rows))

    def _framed(self, text: str) -> str:
        return f"{self._question} {text}" if self._framing else text

    def _features(self, reading: str) -> dict[str, float]:
        rest, known, asked = wording(reading), wording(self._known), wording(self._question)
        everything = wording(" ".join(self._sentences))
        news = (known.stems - asked.stems) or known.stems
        words = share(known.tokens, set(rest.tokens))
        phrases = pairs(known.tokens)
        supported = known.stems | asked.stems
        covered = [result.entailment for (_, part), result in self._backward(reading)]
        return {
            "contradicted": max(result.contradiction for result in self._forward),
            "entailed": self._entailed(reading),
            "covered": sum(covered) / max(1, len(covered)),
            "words": words,
            "content": share(news, rest.stems) if news else words,
            "phrases": share(phrases, set(pairs(rest.tokens))) if phrases else words,
            "precise": len(rest.stems & supported) / max(1, len(everything.stems)),
            "numbers": share(known.numbers, rest.stems | asked.stems),
            "names": share(known.names, rest.stems | asked.stems),
            "negation": float(rest.negated != known.negated),
            "reversed": max(
                reversal(sentence, split_sentences(self._known), result.contradiction, asked=self._question)
                for sentence, result in zip(self._sentences, self._forward, strict=True)
            ),
            "evasive": float(any(is_evasion(sentence) for sentence in self._sentences)),
        }

    def _entailed(self, reading: str) -> float:
        whole = self.later.get((self._framed(self._known), self._framed(reading)))
        if whole is not None:
            return whole.entailment
        by_sentence = dict(zip(self._sentences, self._forward, strict=True))
        if reading in by_sentence:
            return by_sentence[reading].entailment
        kept = [0.0 if _contradicts(result) else result.entailment for result in self._forward]
        return sum(kept) / len(kept)

    def _backward(self, reading: str) -> list[tuple[tuple[str, str], Entailment]]:
        wanted = {(self._framed(reading), self._framed(part)) for part in self._entailer.claims(self._known)}
        return [(pair, result) for pair, result in self.later.items() if pair in wanted]


def _contradicts(result: Entailment) -> bool:
    return result.contradiction >= CONTRADICTED


def _opinion(result: Entailment) -> dict[str, Any]:
    return {"label": result.label, **result.evidence(), "premise": result.window}
