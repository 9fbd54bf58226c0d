"""Cuts an answer into sentences, the unit that most judges score.

Guarantees that joining the pieces with single spaces gives back the text with its white space collapsed, so nothing is
judged twice or lost. Knows English abbreviations, decimals, list markers and tokenised text ("it is so . he left ."); knows
the sentence ends of Chinese, Japanese, Hindi and Arabic, but no other language's abbreviations. A text without any punctuation
is one sentence, however long: who reads sentences of limited length cuts it further (see `judges.nli`).
"""

from __future__ import annotations

import re

_SHORTENED = (
    "dr mr mrs ms prof st vs etc e.g i.e eg ie approx no nos fig figs inc ltd jr sr dept est al cf min max a.m p.m u.s u.k"
    " u.n gov gen col lt sgt capt rev hon sen rep jan feb mar apr jun jul aug sept sep oct nov dec mt ft vol pp ca co corp"
    " ph.d m.d b.c a.d"
)
_ABBREVIATIONS = frozenset(_SHORTENED.split())
_END = re.compile(
    r"""(?<=[.!?…])["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9À-ÞΑ-ΩА-Я\-•*])"""  # "It is. Then", and a list marker after an end
    r"""|(?<=\s[.!?])\s+(?=\S)"""  # tokenised text, where lower case may follow: "it is . then"
    r"""|(?<=[a-zß-ÿ]{2}[!?])\s+(?=[a-z])"""  # "really? yes", without capitals
    r"""|(?<=[。！？।؟])\s*"""
    r"""|\n+\s*"""
)


_LOWER_END = re.compile(_END.pattern + r"|(?<=[a-zß-ÿ]{2}\.)\s+(?=[a-zß-ÿ])")
"""For text without any capital, where a full stop must do."""


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, in order; an empty list for blank text."""
    pieces: list[str] = []
    start = 0
    for match in (_LOWER_END if text.islower() else _END).finditer(text):
        piece = text[start : match.end()]
        if "\n" not in match.group() and _ends_in_abbreviation(text[start : match.start()]):
            continue
        pieces.append(piece)
        start = match.end()
    pieces.append(text[start:])
    return [" ".join(piece.split()) for piece in pieces if piece.strip()]


def _ends_in_abbreviation(piece: str) -> bool:
    words = piece.rsplit(maxsplit=1)
    if not words or not words[-1].endswith("."):
        return False
    word = words[-1].strip("\"'(“‘").rstrip(".").lower()
    numbered = word.isdigit() and len(words) == 1
    return word in _ABBREVIATIONS or numbered or (len(word) == 1 and word.isalpha() and word not in {"i", "a"})
