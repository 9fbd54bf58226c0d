"""Cuts an answer into sentences, the unit that most judges score.

Guarantees that joining the pieces with single spaces gives back the text with its white space collapsed, so nothing is
judged twice or lost. Knows English abbreviations, decimals and list markers; knows no other language's.
"""

from __future__ import annotations

import re

_ABBREVIATIONS = frozenset(
    [
        "dr",
        "mr",
        "mrs",
        "ms",
        "prof",
        "st",
        "vs",
        "etc",
        "e.g",
        "i.e",
        "eg",
        "ie",
        "approx",
        "no",
        "fig",
        "inc",
        "ltd",
        "jr",
        "sr",
        "dept",
        "est",
        "al",
        "cf",
        "min",
        "max",
        "a.m",
        "p.m",
        "u.s",
        "u.k",
    ]
)
_END = re.compile(r"""(?<=[.!?…])["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9À-Þ\-•*])|\n+\s*""")


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped, in order; an empty list for blank text."""
    pieces: list[str] = []
    start = 0
    for match in _END.finditer(text):
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
