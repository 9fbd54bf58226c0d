"""Is a text grounded in a context? What hallucination, faithfulness and context recall have in common.

What a claim is, which features count against a text and how they become P(ungrounded): see `judges.hallucination`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from judges.nli import WINDOW, Entailer, Entailment
from judges.sentences import split_sentences
from judges.weights import read_weights
from judges.wording import pairs, share, wording

__all__ = ["FEATURES", "Grounded", "claims_of", "features_of", "ground", "is_evasion"]

FEATURES = ("unsupported", "worst", "contradicted", "words", "content", "phrases", "names", "numbers")

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
class Grounded:
    """What was found of one text: P(ungrounded), the evidence for it, and each claim with the decisive window's opinion."""

    probability: float
    claims: tuple[tuple[str, Entailment], ...]
    evidence: dict[str, Any]

    @property
    def contradicted(self) -> float:
        """Share of claims that are labelled contradiction."""
        return sum(result.label == "contradiction" for _, result in self.claims) / len(self.claims)


def ground(entailer: Entailer, texts: Sequence[tuple[str, str, str]]) -> list[Grounded | None]:
    """For each (text, context, input) how far the text is ungrounded in the context; None where it claims nothing."""
    weights = read_weights("hallucination", "context")
    return [
        Grounded(weights.probability(found[1]), found[0], weights.explain(found[1], entailer.key)) if found else None
        for found in features_of(entailer, texts)
    ]


def features_of(
    entailer: Entailer, texts: Sequence[tuple[str, str, str]]
) -> list[tuple[tuple[tuple[str, Entailment], ...], dict[str, float]] | None]:
    """For each (text, context, input) the claims with the NLI model's opinion, and the features; None without a claim."""
    claims = [claims_of(entailer.claims(text), f"{context}\n{question}") for text, context, question in texts]
    asked = [(context, claim) for (_, context, _), found in zip(texts, claims, strict=True) for claim in found]
    results = iter(entailer.entail(asked, window=WINDOW))
    rows = [tuple((claim, next(results)) for claim in found) for found in claims]
    return [
        (found, _features(text, context, [result for _, result in found])) if found else None
        for (text, context, _), found in zip(texts, rows, strict=True)
    ]


def _features(text: str, context: str, results: Sequence[Entailment]) -> dict[str, float]:
    unsupported = [1.0 - result.entailment for result in results]
    said = wording(" ".join(s for s in split_sentences(text) if not _is_courtesy(s)))
    known = wording(context)
    return {
        "unsupported": sum(unsupported) / len(unsupported),
        "worst": max(unsupported),
        "contradicted": max(result.contradiction for result in results),
        "words": 1 - share(said.tokens, set(known.tokens)),
        "content": 1 - share(said.stems, known.stems),
        "phrases": 1 - share(pairs(said.tokens), set(pairs(known.tokens))),
        "names": 1 - share(said.names, known.stems),
        "numbers": 1 - share(said.numbers, known.stems),
    }
