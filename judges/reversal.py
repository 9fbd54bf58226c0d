"""Nearly the reference's words, and the opposite said: what shares of words cannot see, and small NLI models often miss.

Looked at are a sentence and the sentence of the reference that it repeats most of. Negations and numbers count as far as the
NLI model sees a contradiction too, for people say the same with and without "not"; opposites, words of one kind (months,
units, landlord and tenant), exchanged words, other names and other numbers in an otherwise equal sentence count by themselves,
since there the NLI model is often sure of the contrary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from judges.wording import Wording, share, wording

__all__ = ["asserted", "reversal", "spelt_out"]

REPEATED = 0.6
"""Share of a reference sentence's words from which a sentence with all of its content words repeats it, so that a "not" more or
less turns it round. Without one content word it may not: "connected to the positive", "not connected to the negative"."""
MORE = 1
"""Content words that such a sentence may add, "yes" for one: "not in the same path", "in separate closed paths"."""
COPIED = 0.75
"""Share from which it is a copy but for single words."""
ALL_BUT_ONE = 0.85
"""Share from which another content word in the place of one is another statement, where the NLI model sees a contradiction."""

ROUNDING = 0.01
"""Relative difference within which a number with decimals may be another one, rounded."""

_PAIRS = (
    "up/down north/south east/west northern/southern eastern/western left/right open/closed opened/closed rise/fall"
    " rises/falls rose/fell rising/falling increase/decrease increases/decreases increased/decreased increasing/decreasing"
    " raises/lowers raise/lower higher/lower high/low more/less more/fewer most/least maximum/minimum large/small"
    " larger/smaller big/small bigger/smaller long/short longer/shorter fast/slow faster/slower quickly/slowly strong/weak"
    " stronger/weaker hot/cold hotter/colder warm/cool warmer/cooler heavy/light heavier/lighter before/after above/below"
    " over/under inside/outside on/off with/without always/never all/none same/different positive/negative true/false"
    " right/wrong correct/incorrect safe/unsafe safe/dangerous harmless/harmful harmless/dangerous benign/malignant"
    " acute/chronic possible/impossible necessary/unnecessary early/late earlier/later first/last begins/ends start/stop"
    " starts/stops wins/loses won/lost buy/sell bought/sold allowed/forbidden connected/disconnected attract/repel"
    " attracts/repels empty/full wet/dry hard/soft public/private worse/better worst/best"
)
_OPPOSITES = frozenset(
    pair for words in _PAIRS.split() for one, other in [words.split("/")] for pair in ((one, other), (other, one))
)
_KINDS = (
    "january february march april may june july august september october november december",
    "monday tuesday wednesday thursday friday saturday sunday",
    "spring summer autumn winter",
    "morning noon afternoon evening night",
    "second/seconds minute/minutes hour/hours day/days week/weeks month/months year/years decade/decades century/centuries",
    "mcg/microgram/micrograms mg/milligram/milligrams g/gram/grams kg/kilogram/kilograms",
    "ml/millilitre/millilitres/milliliter/milliliters l/litre/litres/liter/liters",
    "mm/millimetre/millimetres cm/centimetre/centimetres m/metre/metres/meter/meters km/kilometre/kilometres mile/miles",
    "red blue green yellow white black brown orange purple grey",
    "virus/viruses bacterium/bacteria fungus/fungi parasite/parasites",
    "heart liver kidney lung brain stomach pancreas spleen bladder thyroid",
    "forward backward", "row column", "input output", "client server", "upload download", "read write", "import export",
    "landlord tenant", "buyer seller", "employer employee", "plaintiff defendant", "winner loser", "teacher pupil",
    "husband wife", "brother sister", "mother father", "son daughter", "king queen", "men women", "boys girls",
    "daily weekly monthly yearly", "orally intravenously", "vein artery", "oxygen nitrogen hydrogen carbon helium",
)  # fmt: skip
"""Words of one kind: one in the place of another says something else. Between slashes stand forms of the same."""
_KIND_OF = {
    word: (kind, place)
    for kind, words in enumerate(_KINDS)
    for place, forms in enumerate(words.split())
    for word in forms.split("/")
}
_NAMED = 3
"""Words of a name that stands where another stood."""
_EITHER = re.compile(r"\beither\b\W+(?P<one>.{1,60}?)\W+or\W+(?P<other>[^.;!?]{1,60})", re.IGNORECASE)
_PREFIX = re.compile(r"\b(?P<prefix>un|in|im|il|ir|non-?|dis)(?P<base>[a-z]{3,})\b", re.IGNORECASE)
_ENDINGS = re.compile(r"(?:able|ible|ive|ent|ant|al|ate|ect|id|ure|ous|ible|ar|ite|plete|cient)(?:ly)?$")
_DIS = frozenset(
    {"connected", "allowed", "approved", "honest", "agree", "agrees", "agreed", "satisfied", "continued", "similar"}
)
_NO_UN = ("der", "i", "less", "til", "it")
_TWICE = re.compile(
    r"\b(?:not|(?P<short>(?:is|are|was|were|do|does|did|has|have|had|ca|could|should|would|must))n['’]t) not ", re.I
)

_LIST_WORDS = frozenset({"and", "or", "as", "well"})
_CONTRAST = re.compile(
    r"\s*[,;–—]\s*(?:and\s+|but\s+)?not\s+(?P<denied>[^\s,;.!?]+(?:\s+[^\s,;.!?]+){0,2})(?=\s*(?:[.!?]|$))"
)


def asserted(text: str) -> str:
    """The text without what it only denies: "Sydney, not Canberra" says Sydney. A tail without content words stays."""
    return _CONTRAST.sub(lambda found: "" if wording(found["denied"]).stems else found[0], text)


def spelt_out(text: str, other: str) -> str:
    """The text with "unsafe" as "not safe", where the other text says "safe": so that the two are told apart or made alike."""
    words = set(re.findall(r"[a-z]+", other.lower()))

    def negated(found: re.Match[str]) -> str:
        base = found["base"].lower()
        return f"not {base}" if base in words and _negates(found["prefix"].lower(), base) else found[0]

    return _TWICE.sub(lambda found: f"{found['short']} " if found["short"] else "", _PREFIX.sub(negated, text))


def _negates(prefix: str, base: str) -> bool:
    if prefix == "un":
        return len(base) > 3 and not base.startswith(_NO_UN)
    if prefix == "dis":
        return base in _DIS
    return prefix.startswith("non") or _ENDINGS.search(base) is not None


def reversal(sentence: str, reference: Sequence[str], contradiction: float, *, asked: str = "") -> float:
    """How far a sentence turns round what it repeats of a reference, from 0 to 1.

    Args:
        sentence: of the answer.
        reference: the sentences of the reference.
        contradiction: P(contradiction) of the sentence by the reference.
        asked: the question; its numbers are nobody's claim.
    """
    said = wording(sentence)
    parts = [wording(part) for part in reference]
    if not parts or not said.tokens:
        return 0.0
    nearest = max(parts, key=lambda part: share(part.tokens, set(said.tokens)))
    repeated = share(nearest.tokens, set(said.tokens))
    sure = max(0.0, 2 * contradiction - 1)
    found = [float(_wavers(sentence, nearest, wording(asked)))]
    more = said.stems - nearest.stems - wording(asked).stems
    if said.negated != nearest.negated and repeated >= REPEATED and nearest.stems <= said.stems and len(more) <= MORE:
        found.append(sure)
    numbers = frozenset().union(*(part.numbers for part in parts), wording(asked).numbers)
    beside = [token for token in nearest.tokens if token not in nearest.numbers]
    missing = nearest.numbers - said.numbers - wording(asked).numbers
    other = [n for n in said.numbers - numbers if not any(_rounded(n, known) for known in missing)]
    if missing and other and share(beside, set(said.tokens)) >= REPEATED:
        found.append(sure)
    if repeated >= COPIED and said.negated == nearest.negated:
        found.append(_replaced(nearest, said, contradiction if repeated >= ALL_BUT_ONE else 0.0))
    return max(found)


def _wavers(sentence: str, known: Wording, asked: Wording) -> bool:
    """Whether it leaves open what is known: "either Sydney or Canberra"."""
    found = _EITHER.search(sentence)
    if found is None or "or" in known.tokens or "or" in asked.tokens:
        return False
    one, other = (wording(found[side]).stems - asked.stems for side in ("one", "other"))
    mine = known.stems - asked.stems
    return bool(one and other) and bool(one & mine) != bool(other & mine)


def _replaced(known: Wording, said: Wording, contradiction: float) -> float:
    """1 where all that differs is an opposite, another of a kind, a number, a name or two words exchanged.

    Another content word counts as far as the NLI model sees a contradiction: a single one from 0 on, more from one half on.
    """
    matcher = SequenceMatcher(None, known.tokens, said.tokens, autojunk=False)
    codes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    if any(code[0] != "replace" for code in codes) or not 1 <= len(codes) <= 2:
        return 0.0
    swaps = [(known.tokens[a:b], said.tokens[c:d]) for _, a, b, c, d in codes]
    if len(swaps) == 2:
        between = known.tokens[codes[0][2] : codes[1][1]]
        named = all(wording(word).stems for word in swaps[0][0] + swaps[0][1])
        return float(named and swaps[0] == swaps[1][::-1] and not _LIST_WORDS.issuperset(between))
    [(before, after)] = swaps
    single = len(before) == len(after) == 1
    if single:
        if (before[0], after[0]) in _OPPOSITES:
            return 1.0
        kind = _other_of_kind(before[0], after[0])
        if kind is not None:
            return float(kind)
        if before[0] in known.numbers and after[0] in said.numbers:
            return 0.0 if _rounded(before[0], after[0]) else 1.0
    old, new = wording(" ".join(before)).stems, wording(" ".join(after)).stems
    if (
        max(len(before), len(after)) <= _NAMED
        and old
        and new
        and not old & new
        and (old & known.names or new & said.names)
    ):
        return 1.0
    if len(said.stems) != len(known.stems) or said.stems == known.stems:
        return 0.0
    return min(1.0, 2 * contradiction) if single else max(0.0, 2 * contradiction - 1)


def _other_of_kind(one: str, other: str) -> bool | None:
    """Whether two words, or two letters ("vitamin C"), are different ones of a kind; None where they are of none."""
    if len(one) == len(other) == 1 and one.isalpha() and other.isalpha():
        return one != other
    first, second = _KIND_OF.get(one), _KIND_OF.get(other)
    return None if first is None or second is None or first[0] != second[0] else first[1] != second[1]


def _rounded(one: str, other: str) -> bool:
    """Whether one of two numbers may be the other, rounded: 99.97 and 100. Whole numbers are what they are, as years are."""
    try:
        first, second = float(one), float(other)
    except ValueError:  # 12:30
        return False
    return "." in one + other and abs(first - second) <= ROUNDING * max(abs(first), abs(second))
