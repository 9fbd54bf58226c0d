"""What kind of answer a question asks for, and whether a sentence or a few bare words are of that kind.

Question words and the shape of the answer decide, not meaning: "1912" is of the kind that "When did it sink?" asks for,
and so is "1812". English only. Used by `judges.relevancy`.
"""

from __future__ import annotations

import re
from typing import Literal

from judges.sentences import split_sentences

__all__ = ["BARE", "bare_kind", "chosen", "content", "is_phrase", "kind_in", "question_of"]

BARE = 6
"""Words of an answer that may be bare: "Canberra", "in the north of France", "No, not under sixteen"."""

PHRASE = 3
"""Words of an answer that is a phrase even if it takes up words of the question."""

Kind = Literal["yes or no", "number", "time", "person", "place", "reason", "way", "thing"]

_STOP_WORDS = """
    a about after all also am an and any are as at be because been before being but by can could did do does doing for from
    get had has have having he her hers him his how i if in into is it its just me more most my no not of on or other our out
    over she should so some such than that the their them then there these they this those to too up us very was we were what
    when where which while who whom whose why will with would you your yours doctor please dr patient
"""
_STOP = frozenset(_STOP_WORDS.split())
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(
    r"\b(\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundreds?|thousands?"
    r"|millions?|billions?|once|twice|half|dozen|percent)\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b(1\d\d\d|20\d\d|\d+|january|february|march|april|may|june|july|august|september|october|november|december|(mon|tues|wednes"
    r"|thurs|fri|satur|sun)day|today|tomorrow|yesterday|century|ago|hours?|days?|weeks?|months?|years?|minutes?|morning|evening|night"
    r"|spring|summer|autumn|winter)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<![.!?:\"'`] )(?<!^)\b[A-ZÀ-Þ][\w'’-]+")
# Of whole sentences, by `kind_in`: a feature with a fitted weight (`models/fit_relevancy.py`), so it keeps its own few kinds
# beside the many of bare answers below; sharing those would change every score of long answers, unmeasured.
_ASKS = (
    (re.compile(r"\bhow (many|much|old|tall|long|far|fast|high|large|big|often|deep|wide|heavy)\b", re.I), _NUMBER),
    (re.compile(r"\b(when|(what|which|in what|in which) (year|month|day|date|time|century|decade))\b", re.I), _TIME),
    (re.compile(r"\b(who|whom|whose|where|(what|which) (\w+ )?(city|country|state|person|company|team|name))\b", re.I), _NAME),
)  # fmt: skip


def content(text: str) -> set[str]:
    """Content words, cut to six letters so that treat, treats and treatment meet."""
    return {word[:6].rstrip("s") for word in map(str.lower, _WORD.findall(text)) if word not in _STOP}


def kind_in(question: str, sentence: str) -> int:
    """Whether the sentence has something new of the kind that is asked for: 1, -1, or 0 where no kind is asked for."""
    old = set(map(str.lower, _WORD.findall(question)))
    for asks, kind in _ASKS:
        if asks.search(question):
            return 1 if any(found[0].lower() not in old for found in kind.finditer(sentence)) else -1
    return 0


# --------------------------------------------------------------------------------------------------------- bare answers

_HOW_MUCH = "many much old tall long far fast high large big often deep wide heavy hot cold thick short quickly strong soon close"
_QUANTITY = (
    "number amount population temperature point price cost fee salary age height length width depth weight mass distance speed"
    " dose dosage percentage percent share rate ratio port score size volume area radius diameter voltage current duration"
    " capacity frequency square root sum product average median total limit count"
)
_KINDS: tuple[tuple[Kind, str], ...] = (
    ("reason", r"why\b|how come\b|(?:for )?what reason\b"),
    ("time", r"when\b|since when\b|until when\b|how soon\b"
             r"|(?:(?:in|on|at|by|since|until) )?(?:what|which) (?:year|month|day|date|time|century|decade)\b"
             r"|(?:what|which)(?: is| was|'s|’s)?(?: the| its| his| her| your)?(?: \w+)? date\b"),
    ("number", rf"how (?:{'|'.join(_HOW_MUCH.split())})\b"
               rf"|(?:what|which)(?: is| was| are|'s|’s)?(?: the| its| his| her| your)?(?: \w+)?"
               rf" (?:{'|'.join(_QUANTITY.split())})\b|what (?:is|are|'s) \d"),
    ("person", r"(?:(?:by|to|for|with|from) )?(?:who|whom|whose)\b"),
    ("place", r"(?:from )?where\b|in (?:what|which) (?:\w+ )?(?:city|country|state|town|place|room|building|continent)\b"),
    ("way", r"how\b"),
    ("thing", r"(?:(?:in|on|at|by|to|for|with|from|of) )?(?:what|which)\b|(?:please )?(?:name|list|state|tell me|give me)\b"),
    ("yes or no", r"(?:is|are|am|was|were|do|does|did|can|could|should|shall|will|would|may|might|must|has|have|had)"
                  r"(?:n['’]?t)?\b"),
)  # fmt: skip
_QUESTION_KINDS = tuple(
    (kind, re.compile(rf"\W*(?:(?:and|but|so|then|or)\s+)?(?:{words})", re.I)) for kind, words in _KINDS
)
_LATER_KINDS = tuple((kind, re.compile(rf"\b(?:{words})", re.I)) for kind, words in _KINDS if kind != "yes or no")
"""For a question that begins otherwise: "In the poem, who speaks?"."""
_YES_OR_NO = re.compile(
    r"\b(?:yes|yeah|yep|no|nope|not|never|always|sometimes|rarely|seldom|usually|often|occasionally|mostly|generally|typically"
    r"|normally|probably|likely|unlikely|definitely|certainly|absolutely|of course|true|false|correct|right|wrong|only|if|unless"
    r"|(?:it|he|she|they|you|we|i|that|this|there) (?:is|are|was|were|does|do|did|can|could|should|will|would|may|might|must"
    r"|has|have|had)(?:n['’]t)?)\b",
    re.IGNORECASE,
)
_ANSWERS_YES_OR_NO = re.compile(r"\W*(?:yes|yeah|yep|no|nope)\b(?! \w+\W*$)(?:\W|$)", re.IGNORECASE)
_AMOUNT = re.compile(
    r"\b(?:none|nothing|free|zero|no \w+|several|(?:a )?few|many|lots?|plenty|countless|daily|weekly|monthly|yearly|hourly"
    r"|every|never|always|forever|overnight|until|unlimited|infinite|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|sixty"
    r"|seventy|eighty|ninety|hundred|thousand|million|billion|seconds?|minutes?|hours?|days?|weeks?|months?|years?|decades?)\b",
    re.IGNORECASE,
)
_MOMENT = re.compile(
    r"\b(?:after|before|during|every|next|last|soon|now|never|always|daily|weekly|monthly|immediately|noon|midday|midnight|dawn"
    r"|dusk|afternoon|easter|christmas|as soon|at once|when|while|later|early|late|BC|AD|\d+(?:st|nd|rd|th))\b",
    re.IGNORECASE,
)
_DATED = re.compile(
    r"\W*(?:in|on|since|until|from|around|about|before|after|by)? ?(?:the )?(?:(?:early|late|mid) )?(?:1\d\d\d|20\d\d)s?\W*$"
    r"|\b(?:january|february|april|june|july|august|september|october|november|december|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|today|tomorrow|yesterday|\w+ ago)\b|\W*since\b",
    re.IGNORECASE,
)
_MEASURED = re.compile(r"[$€£%]|\d ?(?:mg|kg|g|km|cm|mm|m|ml|l|miles?|feet|euros?|dollars?|percent)\b", re.IGNORECASE)
_PLACED = re.compile(
    r"\W*(?:in|at|on|near|under|over|above|below|behind|between|beside|inside|outside|next to|around|across|along|throughout"
    r"|opposite|upstairs|downstairs|home|abroad|nowhere|everywhere|here|there)\b",
    re.IGNORECASE,
)
_STATE_WORDS = "is are was were be has have had does do did can could will would"
_STATES = frozenset(_STATE_WORDS.split())
_REASONED = re.compile(r"\W*(?:because|due to|owing to|thanks to|to|for|since|so|as)\s+\w", re.IGNORECASE)
_DONE = re.compile(r"\W*(?:by|with|using|through|via)\s+\w", re.IGNORECASE)


def question_of(text: str) -> str | None:
    """The last question in a text, or one typed without its mark ("the tower who built it", "Name a river"); otherwise None."""
    sentences = split_sentences(text)
    asked = [sentence for sentence in sentences if sentence.rstrip(" \"'”’)").endswith("?")]
    if asked:
        return asked[-1]
    last = sentences[-1] if sentences else ""
    begins = any(kind.match(last) for _, kind in _QUESTION_KINDS)
    typed = not last.endswith((".", "!", ":")) and any(kind.search(last) for _, kind in _LATER_KINDS)
    return last if begins or typed else None


def bare_kind(question: str, answer: str) -> int:
    """Whether a few words are what a question asks for, by their shape.

    Returns: 1 if they are of its kind ("8" to how many), -1 if of another ("In 1913" to who), 0 if their meaning decides.
    """
    kind = _kind(question)
    dated = bool(_DATED.search(answer))
    new_number = any(found[0] not in question.split() for found in _NUMBER.finditer(answer))
    if kind == "yes or no":
        return 1 if _YES_OR_NO.search(answer) else -1
    other = dated or bool(_ANSWERS_YES_OR_NO.match(answer))
    if kind == "number" and ((new_number and not dated) or _AMOUNT.search(answer)):
        return 1
    if kind == "number":
        return -1 if other or re.search(r"\bhow\b", question, re.I) else 0
    if kind == "time" and _is_number(answer) and not dated and not _MEASURED.search(answer):
        return 0  # "5" may be an hour, "31 states" is none
    if kind == "time":
        return 1 if (_TIME.search(answer) and not _MEASURED.search(answer)) or _MOMENT.search(answer) else -1
    if other:
        return -1
    if kind == "place":
        return 1 if _PLACED.match(answer) else -1 if new_number else 0
    if kind == "reason":
        return 1 if _REASONED.match(answer) else -1 if _is_number(answer) else 0
    if kind == "way":
        return 1 if _DONE.match(answer) else -1 if _is_number(answer) else 0
    if kind == "person" and (_PLACED.match(answer) or _is_number(answer)):
        return -1
    return 0


def chosen(question: str, answer: str) -> bool:
    """Whether the words are one of two that the question offers: "Two or three years?" "Three years"."""
    before, offered, after = question.rpartition(" or ")
    said = content(answer)
    if not offered or not said:
        return False
    last = content(" ".join(before.split()[-1:]))
    return bool(said & (last | content(after))) and said <= content(question)


def is_phrase(question: str, answer: str) -> bool:
    """Whether the words are too few for a remark, and not all the question's: "Vitamin C" to which vitamin."""
    asked = set(map(str.lower, _WORD.findall(question)))
    said = [word.lower() for word in _WORD.findall(answer)]
    return len(said) <= PHRASE and _STATES.isdisjoint(said) and not asked.issuperset(said)


def _kind(question: str) -> Kind:
    for kinds, find in ((_QUESTION_KINDS, "match"), (_LATER_KINDS, "search")):
        for kind, pattern in kinds:
            if getattr(pattern, find)(question):
                return kind
    return "yes or no" if question.rstrip().endswith("?") else "thing"


def _is_number(answer: str) -> bool:
    return bool(_NUMBER.search(answer)) and not content(_NUMBER.sub("", answer))
