"""Is a text grounded in a context? What hallucination, faithfulness and context recall have in common.

What a claim is, which features count against a text and how they become P(ungrounded): see `judges.hallucination`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from judges.nli import WINDOW, Entailer, Entailment
from judges.reversal import reversal
from judges.sentences import split_sentences
from judges.weights import read_weights
from judges.wording import pairs, share, wording

__all__ = ["FEATURES", "Grounded", "claims_of", "features_of", "ground", "is_evasion"]

FEATURES = (
    "unsupported",
    "worst",
    "nearest",
    "contradicted",
    "words",
    "content",
    "phrases",
    "joined",
    "names",
    "numbers",
    "reversed",
)
NEAREST = 2
"""Sentences of the context that a claim is held against by themselves."""

_OPENING = r"^\W*(?:(?:oh|well|yes|yeah|no|and|but|so|ok|okay|actually|hmm|wow|haha|ah)\b\W*)*"
_CHIT_CHAT = re.compile(
    _OPENING + r"(?:i|we)\s*(?:['’]?(?:m|ve|d|ll|am|have|do|would|will)\b|also|just|really|too|never|always|definitely"
    r"|absolutely|totally|personally|n['’]t|not|don['’]t|\s)*\b(?:love|like|hate|enjoy|hope|wish|feel|agree|glad|sorry|happy"
    r"|prefer|appreciate)\b(?!.*(?:\b(?:because|but|that|since|as|which|who|when|where|while)\b \w+ \w|[,;]))",
    re.IGNORECASE,
)
_COURTESY = (
    "hi hello hey thank welcome bye goodby sorri pleas ye yeah yep nope ok okai oh wow well cool nice right true inde haha lol"
    " ah hmm good luck dear regard take care see sound fun interest great sure much think"
    " guess agre know hope"
)
_COURTESIES = frozenset(_COURTESY.split())
_EVASION = re.compile(
    r"\b(?:(?:i|we) (?:really |still |just )?(?:do not|don['’]?t|did not|didn['’]?t) (?:know\b(?! (?:you|your|that))"
    r"|have (?:\w+ )?(?:access|information|idea|knowledge|data|clue|answer)\b)"
    r"|(?:i|we) have no (?:idea|information|knowledge|access|clue)|no (?:idea|comment|clue)\W*$|not sure\W*$|idk\b"
    r"|(?:i|we) (?:can ?not|can['’]?t|could not|couldn['’]?t|am not able to|are not able to|was not able to|am unable to"
    r"|are unable to|was unable to) (?:\w+ )?(?:help|answer|say|provide|find|give|assist|determine|comment|tell|access|offer"
    r"|confirm|verify|predict|remember|recall)\b"
    r"|i['’]m (?:not able|unable) to (?:\w+ )?(?:help|answer|say|provide|find|give|assist|determine|comment|tell|access)\b"
    r"|as an? (?:ai\b|artificial|(?:large )?language model)|i['’]d rather not|^\W*unknown\W*$"
    r"|(?:there is|there's|i found|i have) (?:no|not enough) (?:\w+ )?information)",
    re.IGNORECASE,
)


_TURN = re.compile(r"\b(?:but|however|although|though)\b(?:\W+\w+){3}", re.IGNORECASE)
"""What follows an evasion and says something after all."""


def is_evasion(sentence: str) -> bool:
    """Whether a sentence declines to answer ("I don't know", "I cannot help with that", "As an AI language model")."""
    found = _EVASION.search(sentence)
    return found is not None and not _TURN.search(sentence, found.end()) and not sentence.rstrip().endswith("?")


def claims_of(sentences: Sequence[str], known: str) -> list[str]:
    """The sentences that claim something; `known` is what context and input say together."""
    plain = [sentence for sentence in sentences if not _is_courtesy(sentence) and not is_evasion(sentence)]
    claims = [s for s in plain if not s.rstrip(" \"'”’)").endswith("?") and not _CHIT_CHAT.match(s)]
    return claims or [s for s in plain if share(wording(_CHIT_CHAT.sub("", s)).stems, wording(known).stems) < 1]


def _is_courtesy(sentence: str) -> bool:
    return wording(sentence).stems <= _COURTESIES and not wording(sentence).negated


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim with what the decisive window of the context says of it, and what the nearest sentences say."""

    text: str
    opinion: Entailment
    nearest: Entailment


@dataclass(frozen=True, slots=True)
class Grounded:
    """What was found of one text: P(ungrounded), the evidence for it, and its claims."""

    probability: float
    claims: tuple[Claim, ...]
    evidence: dict[str, Any]

    @property
    def contradicted(self) -> float:
        """Share of claims that are labelled contradiction."""
        return sum(claim.opinion.label == "contradiction" for claim in self.claims) / len(self.claims)


def ground(entailer: Entailer, texts: Sequence[tuple[str, str, str]]) -> list[Grounded | None]:
    """For each (text, context, input) how far the text is ungrounded in the context; None where it claims nothing."""
    weights = read_weights("hallucination", "context")
    return [
        Grounded(weights.probability(found[1]), found[0], weights.explain(found[1], entailer.key)) if found else None
        for found in features_of(entailer, texts)
    ]


def features_of(
    entailer: Entailer, texts: Sequence[tuple[str, str, str]]
) -> list[tuple[tuple[Claim, ...], dict[str, float]] | None]:
    """For each (text, context, input) the claims with the NLI model's opinions, and the features; None without a claim."""
    claims = [claims_of(entailer.claims(text), f"{context}\n{question}") for text, context, question in texts]
    asked = [(context, claim) for (_, context, _), found in zip(texts, claims, strict=True) for claim in found]
    near = [(nearest_sentences(context, claim), claim) for context, claim in asked]
    results = entailer.entail([*asked, *near], window=WINDOW)
    opinions = zip(results[: len(asked)], results[len(asked) :], strict=True)
    rows = [tuple(Claim(claim, *next(opinions)) for claim in found) for found in claims]
    return [
        (found, _features(text, context, found)) if found else None
        for (text, context, _), found in zip(texts, rows, strict=True)
    ]


def nearest_sentences(context: str, claim: str) -> str:
    """The `NEAREST` sentences of a context that share most with a claim, in their order; earlier ones where they are equal."""
    sentences = split_sentences(context)
    said = wording(claim)

    def shared(place: int) -> float:
        known = wording(sentences[place])
        return share(said.stems, known.stems) + share(said.tokens, set(known.tokens)) / 2

    places = sorted(range(len(sentences)), key=shared, reverse=True)[:NEAREST]
    return " ".join(sentences[place] for place in sorted(places))


def _features(text: str, context: str, claims: Sequence[Claim]) -> dict[str, float]:
    unsupported = [1.0 - claim.opinion.entailment for claim in claims]
    sentences = [sentence for sentence in split_sentences(text) if not _is_courtesy(sentence)]
    said, known = wording(" ".join(sentences)), wording(context)
    passages = split_sentences(context)
    known_phrases = [set(pairs(wording(passage).tokens)) for passage in passages]
    return {
        "unsupported": sum(unsupported) / len(unsupported),
        "worst": max(unsupported),
        "nearest": sum(1.0 - claim.nearest.entailment for claim in claims) / len(claims),
        "contradicted": max(claim.opinion.contradiction for claim in claims),
        "words": 1 - share(said.tokens, set(known.tokens)),
        "content": 1 - share(said.stems, known.stems),
        "phrases": 1 - share(pairs(said.tokens), set(pairs(known.tokens))),
        "joined": max((_joined(sentence, known_phrases) for sentence in sentences), default=0.0),
        "names": 1 - share(said.names, known.stems),
        "numbers": 1 - share(said.numbers, known.stems),
        "reversed": max(reversal(claim.text, passages, claim.nearest.contradiction) for claim in claims),
    }


def _joined(sentence: str, known: Sequence[set[tuple[str, str]]]) -> float:
    """The share of a sentence's phrases that no one sentence of the context holds."""
    phrases = pairs(wording(sentence).tokens)
    return 1 - max((share(phrases, held) for held in known), default=0.0)
