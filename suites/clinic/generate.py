"""Writes the clinic suite's dialogues from the knowledge table.

`python -m suites.clinic.generate` writes `dialogues.jsonl` and `spoilt.jsonl` beside this file; the same seed gives
the same bytes. A scenario is a condition with two signs, perhaps a twist, a duration and a person; it is worded two
to four times. Guaranteed: no two rows of different scenarios share more than `NEAR` of their word 3-grams, and the
spoilt rows, whose answers belong to another condition on purpose, have scenarios of their own. Nothing here knows how
a suite uses the rows.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from suites.clinic.knowledge import CONDITIONS, OLDER, Condition

HERE = Path(__file__).parent
SEED = 20250
SCENARIOS = 15
"""Scenarios a condition in `dialogues.jsonl`."""
SPOILT_SCENARIOS = 6
"""Scenarios a condition in `spoilt.jsonl`."""
NEAR = 0.7
"""Word 3-gram Jaccard similarity that two patients of different scenarios stay below."""
MAX_PATIENT_WORDS = 45

FIRST = {
    "I": "I",
    "my": "my",
    "me": "me",
    "s": "",
    "es": "",
    "ies": "y",
    "has": "have",
    "is": "am",
    "was": "was",
    "does": "do",
}
SHE = {
    "I": "she",
    "my": "her",
    "me": "her",
    "s": "s",
    "es": "es",
    "ies": "ies",
    "has": "has",
    "is": "is",
    "was": "was",
    "does": "does",
}
HE = {**SHE, "I": "he", "my": "his", "me": "him"}
YOU = {**FIRST, "I": "you", "my": "your", "me": "you", "is": "are", "was": "were"}
FEMALE = {
    "mother",
    "wife",
    "sister",
    "daughter",
    "grandmother",
    "little girl",
    "granddaughter",
    "baby girl",
    "friend",
    "partner",
}

AGES = {
    "son": (3, 15),
    "daughter": (3, 15),
    "little boy": (2, 7),
    "little girl": (2, 7),
    "grandson": (2, 9),
    "granddaughter": (2, 9),
    "mother": (52, 84),
    "father": (52, 84),
    "grandmother": (70, 90),
    "grandfather": (70, 90),
    "me": (24, 48),
}
OLDER_SELF = (56, 74)
"""Age of a writer whose condition belongs to later life."""

STATED: tuple[tuple[str, ...], ...] = (
    ("{Who} {has} had {C} {D}.", "{S1}, and {s2}.", "{T}.", "{Q}"),
    ("{hello}", "{Who} {has} had {C} {D}, and {s1}.", "{S2}.", "{T}.", "{Q}"),
    ("{Subject} {C} {D}.", "{S2}.", "{S1}.", "{T}.", "{Q}"),
    ("{Q}", "{Who} {has} {C} {D}.", "{S1} and {s2}.", "{T}, in case that matters."),
    ("Doctor, {who} {has} {C}.", "It has been like this {D}.", "{S1}, {s2}.", "{Q}"),
    ("At first we thought nothing of it, but {who} {has} {C} {D}.", "Now {s1}, and {s2}.", "{Q}"),
    ("I wrote last week and was told to wait.", "Now {who} {has} {C}, and {s1}.", "{S2}.", "{T}.", "{Q}"),
    ("Can you help {whom}?", "{I_} {has} had {C} {D}.", "{S1}.", "I should add that {t}.", "Besides, {s2}."),
    ("{hello}", "It is about {whom}.", "{I_} {has} {C}, {D} by now; {s1} and {s2}.", "{T}."),
    ("Quick question.", "{Subject} {C} {D}, and {s2}.", "Also {s1}.", "{Q}"),
    ("{hello}", "I am worried, because {who} {has} {C}.", "{S2}, and {s1}.", "It has gone on {D}, to be exact.", "{Q}"),
    ("{Who} {has} {C}, {D} now, and I do not know what to make of it.", "{S1}, {s2}.", "{T}.", "{Q}"),
    ("Sorry to trouble you.", "{D_} {who} {has} had {C}.", "{S1}.", "{T}, and {s2}.", "{Q}"),
    ("I need some advice, please.", "{Who} {has} {C} {D}.", "What else?", "{S2}, {s1}.", "{T}.", "{Q}"),
    ("{Who} got {C}, and that was the start, {D} by now.", "{S1}.", "{T}, and {s2}.", "{Q}"),
)
"""How a complaint is worded, as sentences; one whose slot the scenario leaves empty is left out."""

ASKED: tuple[tuple[str, ...], ...] = (
    ("{hello}", "{about}", "{A}", "{S1}, and {s2}.", "{T}."),
    ("{about}", "{S1}.", "{S2}.", "{T}.", "{A}"),
    ("{about}", "{S1} and {s2}.", "So {a}"),
    ("{hello}", "{about}", "I have only one question: {a}", "{S2}.", "{T}, and {s1}."),
    ("{about}", "{T}, and {s2}.", "{S1}.", "Please just tell me: {a}"),
    ("Quick question.", "{about}", "{A}", "You should know that {s1}.", "{S2}."),
    ("Sorry to trouble you.", "{about}", "{S2}, {s1}.", "{T}.", "{A}"),
    ("{hello}", "{about}", "{S1}, but {s2}.", "{A}", "Yes or no would do."),
    ("I wrote last week and got no reply.", "{about}", "{A}", "{S2}; {s1}."),
)

HELLOS = (
    "Hello.",
    "Good morning.",
    "Good evening.",
    "Dear doctor.",
    "Hi there.",
    "Hello doctor, thanks for reading.",
    "Hi.",
)
QUESTIONS = (
    "What should I do?",
    "Is this serious?",
    "Do I need to see anyone?",
    "Can this wait?",
    "What could it be?",
    "What helps?",
    "Should I worry?",
    "Is it dangerous?",
    "What would you advise?",
    "How do I get rid of it?",
    "Can I treat it at home?",
    "Who should look at it?",
)

OPENERS: Mapping[str, tuple[str, ...]] = {
    "emergency": (
        "Please take {topic} very seriously.",
        "I am glad you wrote, since {topic} cannot wait.",
        "I understand how frightening {topic} must be.",
        "I am worried about {topic} too.",
    ),
    "soon": (
        "I am sorry to hear about {topic}.",
        "I understand the worry about {topic}.",
        "Thank you for describing {topic} so clearly.",
        "It is good that you ask about {topic}.",
    ),
    "routine": (
        "I am sorry to hear about {topic}.",
        "I understand that {topic} is a nuisance.",
        "Thank you for describing {topic} so clearly.",
        "It is good that you ask about {topic}.",
    ),
    "unknown": (
        "I understand the worry about {topic}.",
        "I am sorry that {topic} leaves you in doubt.",
        "I see why you ask about {topic}.",
        "Thank you for asking about {topic}.",
    ),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one patient has: worded several times, it stays in one split."""

    condition: Condition
    who: str
    age: int | None
    signs: tuple[str, str]
    twist: str | None
    duration: str
    ask: str | None

    @property
    def name(self) -> str:
        """Identifies the scenario; wordings of it share the name."""
        signs = sorted(self.condition.signs.index(sign) for sign in self.signs)
        twist = "-" if self.twist is None else str(self.condition.twists.index(self.twist))
        label = self.condition.name.replace(" ", "-").replace("'", "")
        return f"{label}/{signs[0]}{signs[1]}{twist}/{self.who.replace(' ', '-')}"


def is_near(grams: frozenset[str], others: Iterable[frozenset[str]]) -> bool:
    """Whether the word 3-grams of a text overlap with another's by a Jaccard similarity of at least `NEAR`."""
    return any(len(grams & other) >= NEAR * len(grams | other) for other in others)


def word_grams(text: str) -> frozenset[str]:
    """The word 3-grams of a text, lower case, punctuation left out."""
    words = re.findall(r"[a-z0-9']+", text.lower())
    return frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def speak(fragment: str, grammar: Mapping[str, str]) -> str:
    """A fragment of the knowledge table in one grammatical person."""

    def ending(match: re.Match[str]) -> str:
        word = match.group(1)
        return capital(grammar[word.lower()]) if word != "I" and word[0].isupper() else grammar[word]

    return re.sub(r"\{(\w+)\}", ending, fragment)


def grammar_of(who: str) -> Mapping[str, str]:
    """The grammatical person in which a patient's letter speaks of `who`."""
    if who == "me":
        return FIRST
    return SHE if who in FEMALE else HE


def draw_scenario(condition: Condition, rng: Random) -> Scenario:
    """One scenario of a condition, drawn with `rng`."""
    who = rng.choice(condition.who)
    low, high = OLDER_SELF if who == "me" and condition.who is OLDER else AGES.get(who, (0, 0))
    age = rng.randint(low, high) if high and rng.random() < 0.5 else None
    first, second = rng.sample(condition.signs, 2)
    return Scenario(
        condition=condition,
        who=who,
        age=age,
        signs=(first, second),
        twist=rng.choice(condition.twists) if rng.random() < 0.8 else None,
        duration=rng.choice(condition.durations),
        ask=rng.choice(condition.asks) if condition.asks else None,
    )


def word_patient(scenario: Scenario, frame: tuple[str, ...], rng: Random) -> str:
    """A scenario in a patient's words, by one frame; sentences with an empty slot are left out."""
    condition, grammar = scenario.condition, grammar_of(scenario.who)
    slots = _slots(scenario, grammar, rng)
    complaint = speak(rng.choice(condition.complaints), grammar) if condition.complaints else None
    slots["C"] = complaint
    sentences = []
    for sentence in frame:
        names = re.findall(r"\{(\w+)\}", sentence)
        if all(slots.get(name) for name in names):
            sentences.append(capital(re.sub(r"\{(\w+)\}", lambda m: slots[m.group(1)] or "", sentence)))
    text = " ".join(sentences)
    return text.lower().replace(" i ", " I ") if rng.random() < 0.08 else text


def _slots(scenario: Scenario, grammar: Mapping[str, str], rng: Random) -> dict[str, str | None]:
    first, second = (speak(sign, grammar) for sign in scenario.signs)
    if rng.random() < 0.5:
        first, second = second, first
    twist = speak(scenario.twist, grammar) if scenario.twist else None
    ask = speak(scenario.ask, grammar) if scenario.ask else None
    mine = scenario.who == "me"
    person = "I" if mine else f"my {scenario.who}"
    aged = person if scenario.age is None or mine else f"{person}, {scenario.age},"
    subject = "" if mine else f"My {scenario.who}{'' if scenario.age is None else f' ({scenario.age})'}:"
    if mine and scenario.age is not None:
        subject = f"I am {scenario.age}:"
    return {
        "who": aged,
        "Who": capital(aged),
        "whom": "me" if mine else person,
        "I_": capital(grammar["I"]),
        "has": grammar["has"],
        "Subject": subject or "I have",
        "D": scenario.duration,
        "D_": f"{capital(scenario.duration)},",
        "s1": first,
        "S1": capital(first),
        "s2": second,
        "S2": capital(second),
        "t": twist,
        "T": capital(twist) if twist else None,
        "Q": rng.choice(QUESTIONS) if rng.random() < 0.75 else None,
        "hello": rng.choice(HELLOS),
        "a": ask[0].lower() + ask[1:] if ask and not ask.startswith("I ") else ask,
        "A": ask,
        "about": None
        if mine
        else rng.choice(
            (
                f"It is about my {scenario.who}.",
                f"I am asking for my {scenario.who}.",
                f"This concerns my {scenario.who}.",
            )
        ),
    }


def word_patients(scenario: Scenario, rng: Random) -> list[str]:
    """Two to four different wordings of a scenario, each at most `MAX_PATIENT_WORDS` words."""
    frames = list(STATED if scenario.condition.complaints else ASKED)
    rng.shuffle(frames)
    texts: list[str] = []
    wanted = rng.choice((2, 3, 3, 4))
    for frame in frames:
        text = word_patient(scenario, frame, rng)
        if len(text.split()) <= MAX_PATIENT_WORDS and text not in texts:
            texts.append(text)
        if len(texts) == wanted:
            break
    return texts


def word_doctor(condition: Condition, rng: Random, *, topic: str | None = None) -> str:
    """A right answer for a condition: an opener about `topic`, then its four facts, each in one wording."""
    facts = [rng.choice(wordings) for wordings in condition.facts]
    if condition.urgency == "emergency" and rng.random() < 0.3:
        facts[0], facts[1] = facts[1], facts[0]
    opener = rng.choice(OPENERS[condition.urgency]).format(topic=topic or condition.topic)
    return " ".join((opener, *facts))


def wrong_condition(condition: Condition) -> Condition:
    """The condition whose answer stands in the spoilt rows: half the table away, so mostly of another urgency."""
    index = CONDITIONS.index(condition)
    return CONDITIONS[(index + len(CONDITIONS) // 2) % len(CONDITIONS)]


def scenario_rows(
    per_condition: int, taken: set[str], worded: dict[str, list[frozenset[str]]], rng: Random
) -> Iterator[tuple[Scenario, str]]:
    """New scenarios of every condition with their wordings.

    Names in `taken` are not drawn again, and no text comes near one in `worded`, the 3-grams of each condition's texts
    so far; both grow. Texts of different conditions are not compared: they have no complaint or sign in common.
    """
    for condition in CONDITIONS:
        found = 0
        while found < per_condition:
            scenario = draw_scenario(condition, rng)
            if scenario.name in taken:
                continue
            texts = word_patients(scenario, rng)
            grams = [word_grams(text) for text in texts]
            if any(is_near(mine, worded[condition.name]) for mine in grams):
                continue
            taken.add(scenario.name)
            worded[condition.name] += grams
            found += 1
            for text in texts:
                yield scenario, text


def build_rows(seed: int = SEED) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The rows of `dialogues.jsonl` and of `spoilt.jsonl`, shuffled; a pure function of the seed."""
    rng = Random(seed)
    taken: set[str] = set()
    worded: dict[str, list[frozenset[str]]] = defaultdict(list)
    good = [
        _row(scenario, text, scenario.condition, rng) for scenario, text in scenario_rows(SCENARIOS, taken, worded, rng)
    ]
    spoilt = [
        _row(scenario, text, wrong_condition(scenario.condition), rng)
        for scenario, text in scenario_rows(SPOILT_SCENARIOS, taken, worded, rng)
    ]
    rng.shuffle(good)
    rng.shuffle(spoilt)
    return good, spoilt


def _row(scenario: Scenario, patient: str, answered: Condition, rng: Random) -> dict[str, str]:
    return {
        "Patient": patient,
        "Doctor": word_doctor(answered, rng, topic=scenario.condition.topic),
        "condition": scenario.condition.name,
        "urgency": scenario.condition.urgency,
        "scenario": scenario.name,
    }


def dump(rows: Iterable[Mapping[str, str]]) -> str:
    """Rows as JSON Lines, one newline at the end of each."""
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def main() -> None:
    """Writes both files beside this module and prints how many rows each has."""
    for name, rows in zip(("dialogues.jsonl", "spoilt.jsonl"), build_rows(), strict=True):
        (HERE / name).write_text(dump(rows), encoding="utf-8", newline="\n")
        print(f"{name}: {len(rows)} rows, {len({row['scenario'] for row in rows})} scenarios")


if __name__ == "__main__":
    main()
