"""What two texts share as words, numbers and names: the evidence beside an NLI model's opinion.

Words are compared without case and accents; content words also without endings (Porter's stems) and without function words.
Numbers are compared by value, in digits or in words. Names are words with a capital inside a sentence: a text without capitals
has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

__all__ = ["Wording", "pairs", "share", "wording"]

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_FUNCTION = (
    "a an the this that these those it its itself he him his she her hers they them their theirs we us our ours you your yours"
    " i me my mine and or but so yet if then than as of at by for from in into on onto to with about over under up down out"
    " off is am are was were be been being do does did done doing have has had having will would shall should can could may"
    " might must there here what which who whom whose when where why how all any both each few more most other some such"
    " only own same too very just also because while during before after again further once s t d ll m re ve"
)
_NEGATION = (
    "no not never none nothing nobody neither nor without cannot cant dont doesnt didnt isnt arent wasnt werent wont"
    " wouldnt shouldnt couldnt hasnt havent hadnt n"
)
_COUNTS = (
    "zero one two/twice three/third four/fourth five/fifth six/sixth seven/seventh eight/eighth nine/ninth ten/tenth eleven"
    " twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
)
_FUNCTION_WORDS = frozenset(_FUNCTION.split())
_NEGATIONS = frozenset(_NEGATION.split())
_NUMBER_WORDS = {
    word: str(value)
    for value, words in enumerate(_COUNTS.split())
    for word in words.split("/")
    if word != "one"  # seldom a count
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90"}


@dataclass(frozen=True, slots=True)
class Wording:
    """What a text consists of. `stems` are of content words, numbers and names among them."""

    tokens: tuple[str, ...]
    stems: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    negated: bool


@lru_cache(maxsize=32768)
def wording(text: str) -> Wording:
    """The words, numbers, names and negations of a text."""
    tokens: list[str] = []
    stems, numbers, names = set(), set(), set()
    negated, opening = False, True
    plain = _plain(text)
    for match in _TOKEN.finditer(plain):
        token = match.group()
        lower = token.lower().replace("’", "'").removesuffix("'s")
        value = _number(_NUMBER_WORDS.get(lower, lower))
        if value is not None:
            tokens.append(value)
            numbers.add(value)
            stems.add(value)
        else:
            tokens.append(lower)
            if lower.replace("'", "") in _NEGATIONS or lower.endswith("n't"):
                negated = True
            elif lower not in _FUNCTION_WORDS:
                stems.add(_stem(lower))
                if token[0].isupper() and not opening:
                    names.add(_stem(lower))
        opening = plain[match.end() : match.end() + 1] in (".", "!", "?", ":", "\n")
    return Wording(tuple(tokens), frozenset(stems), frozenset(numbers), frozenset(names), negated)


def share(part: Iterable[str] | Iterable[tuple[str, str]], whole: Collection[Any]) -> float:
    """Which share of `part` lies in `whole`, from 0 to 1; 1 when `part` is empty."""
    items = list(part)
    return sum(item in whole for item in items) / len(items) if items else 1.0


def pairs(tokens: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each word with the next."""
    return list(pairwise(tokens))


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _number(text: str) -> str | None:
    if not text[0].isdigit():
        return None
    plain = text.replace(",", "")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word))
