"""Reading a grade: from a reply in words, and from a single token that a model might have written.

A reply must begin with its score. What may stand before it: Markdown, quotes, brackets, a list mark, and a label with a colon
("- Coherence: 2", "Response:\\n\\n3", "1. Groundedness: 0"). JSON is read at its key "score" wherever that stands, and nowhere
else: the digits of another field, of a rationale or of a numbered list are never a score. Only the ASCII digits count
(Python's own notion of a digit includes Arabic-Indic and full-width ones). "8/10" and "8 out of 10" are 8 on a scale that ends at
10 and no score on any other; a range ("1-3", "4 or 5") and a percentage are none.
"""

from __future__ import annotations

import re

Scale = tuple[int, int]

_MARKS = r"(?:[\s▁*_`\"'#>:(\[]|[-–•](?=[\s▁]))*+"  # possessive: a run of marks is read in one way only
_LIST = r"(?:[0-9]{1,2}[.)]\s++(?=[A-Za-z][^\n:]{0,40}:|-?[0-9]+(?:\.[0-9]+)?\s*\Z))?"
_LABEL = r"(?!reason|rationale|explanation|confidence|step)[A-Za-z][A-Za-z _-]{0,40}+(?:\([^()\n]{0,40}\))?[*_`\"']*+\s*+[:=]"
_TOP = r"(?:\s*/\s*|\s+(?:points?\s+)?\(?(?:out\s+)?of\s+)(?P<top>[0-9]+)"
_NUMBER = (
    r"(?P<score>-?[0-9]+(?:\.[0-9]+)?)(?![.,]?[^\W_])(?!\s*(?:%|percent\b))"
    rf"(?!\s*(?:[-–~]|(?:to|or)\b)\s*[0-9])(?:{_TOP})?"
)
_NO_RATIONALE = r"(?!1[.)]\s+(?:\S+\s+){3}\S)"  # a list of reasons begins with "1." as well
_OPENING = re.compile(
    rf"{_MARKS}{_LIST}{_MARKS}(?:{_LABEL}\s*\n)?{_MARKS}(?:{_LABEL})?{_MARKS}{_NO_RATIONALE}{_NUMBER}", re.IGNORECASE
)
_LISTED = re.compile(r"^[^\w\n]*+[0-9]{1,2}[.)]\s", re.MULTILINE)
_FIELD = re.compile(rf"\"score\"\s*:\s*\"?{_NUMBER}", re.IGNORECASE)
_TOKEN = re.compile(r"[\s▁*_`\"'({\[:]*(?P<score>-?[0-9]+)(?:\.0*)?(?:/(?P<top>[0-9]+))?[\s▁*_`\"')}\],;:]*")


def read_score(text: str, scale: Scale) -> float | None:
    """The score that a reply gives on the scale, fractions such as 2.5 included; None where it gives none."""
    match = _find(text)
    if match is None or not _fits(match, scale):
        return None
    value = float(match["score"])
    return value if scale[0] <= value <= scale[1] else None


def score_offset(text: str) -> int | None:
    """Where in a reply its score begins, on the scale or off it; None where it gives none."""
    match = _find(text)
    return None if match is None else match.start("score")


def read_token(text: str, scale: Scale) -> int | None:
    """The score that one token spells: " 8", "▁8", "8\\n", "8.", "**8**", "8.0", "8/10" where 10 is the top; else None."""
    match = _TOKEN.fullmatch(text)
    if match is None or not _fits(match, scale):
        return None
    value = int(match["score"])
    return value if scale[0] <= value <= scale[1] else None


def _find(text: str) -> re.Match[str] | None:
    field = _FIELD.search(text)
    if field is not None or len(_LISTED.findall(text)) > 1:
        return field
    return _OPENING.match(text)


def _fits(match: re.Match[str], scale: Scale) -> bool:
    """Whether a fraction such as 8/10 is out of this scale's top."""
    return match["top"] is None or int(match["top"]) == scale[1]
