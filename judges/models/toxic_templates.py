"""Short sentences that test one function of a toxicity judge each, made from templates of our own (`toxic_templates.yaml`).

A judge that only knows words fails on them: a group named is no insult, profanity can be kind, a quoted insult may be
condemned, a broken printer may be hated, and an insult stays one however it is spelt. Each template belongs to one
function. Templates of the parts `development` and `test` are never trained, so that what is measured is the function,
not the wording; nothing was chosen by those of `test`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

__all__ = ["FUNCTIONS", "TemplateRow", "template_rows"]

Part = Literal["train", "development", "test"]

GROUPS = (
    ("women", "woman", "female"), ("men", "man", "male"), ("Muslims", "Muslim", "Muslim"), ("Jews", "Jew", "Jewish"),
    ("Christians", "Christian", "Christian"), ("Hindus", "Hindu", "Hindu"), ("atheists", "atheist", "godless"),
    ("black people", "black person", "black"), ("white people", "white person", "white"),
    ("Asians", "Asian", "Asian"), ("Arabs", "Arab", "Arab"), ("Mexicans", "Mexican", "Mexican"),
    ("Africans", "African", "African"), ("Chinese people", "Chinese person", "Chinese"), ("Turks", "Turk", "Turkish"),
    ("Roma", "Roma person", "Roma"), ("Indians", "Indian", "Indian"), ("Latinos", "Latino", "Latino"),
    ("immigrants", "immigrant", "foreign"), ("refugees", "refugee", "displaced"), ("foreigners", "foreigner", "foreign"),
    ("migrants", "migrant", "migrant"), ("gay people", "gay person", "gay"), ("gays", "gay man", "gay"),
    ("lesbians", "lesbian", "lesbian"), ("homosexuals", "homosexual", "homosexual"),
    ("trans people", "trans person", "trans"), ("transgender women", "transgender woman", "transgender"),
    ("bisexuals", "bisexual", "bisexual"), ("queer people", "queer person", "queer"),
    ("disabled people", "disabled person", "disabled"), ("deaf people", "deaf person", "deaf"),
    ("blind people", "blind person", "blind"), ("autistic people", "autistic person", "autistic"),
    ("people in wheelchairs", "wheelchair user", "paralysed"), ("old people", "old person", "old"),
    ("feminists", "feminist", "feminist"), ("fat people", "fat person", "fat"), ("poor people", "poor person", "poor"),
)  # fmt: skip
"""Plural, singular with its article to be put in front, adjective."""
OBJECTS = (
    "this printer", "my phone", "the new timetable", "Monday mornings", "this keyboard", "wet socks", "cold soup",
    "this game", "broccoli", "the traffic", "my old car", "pop-up ads", "this update", "the rain", "that film",
    "burnt toast", "this stupid cable", "mosquitoes", "the alarm clock", "maths homework", "cockroaches", "mould",
    "my slow laptop", "lukewarm coffee", "this queue", "weeds", "that awful song", "paperwork", "the flu", "cancer",
)  # fmt: skip
GOOD_THINGS = (
    "great", "brilliant", "beautiful", "delicious", "amazing", "good", "funny", "clever", "lovely", "perfect",
)  # fmt: skip

SLURS = (
    "bitch", "cunt", "whore", "slut", "fag", "faggot", "dyke", "tranny", "retard", "cripple", "nigger", "wetback", "spic",
    "chink", "gook", "paki", "raghead", "kike", "gypo", "beaner",
)  # fmt: skip
RECLAIMED = ("dyke", "queer", "bitch", "crip", "slut", "fag", "queen", "nerd", "nigga")
"""Slurs, and words that those they were meant for use of themselves."""
TEMPLATES: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
)
FUNCTIONS: dict[str, bool] = {**{name: function["toxic"] for name, function in TEMPLATES.items()}, "spelling": True}
"""Each function, and whether its sentences are toxic. Spelling tricks are played on harmless ones too."""

NOT_QUOTED = frozenset({"later reference", "asked", "opinion", "quoted and meant", "polite contempt", "slur"})
"""Hostile functions whose sentences do not stand inside another one."""
QUOTED = sorted(name for name, toxic in FUNCTIONS.items() if toxic and name not in {*NOT_QUOTED, "spelling"})
_CHOICE = re.compile(r"\[([^\]]*)\]")
LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """One sentence of `function`, toxic or not."""

    text: str
    toxic: bool
    function: str


def template_rows(rng: random.Random, *, part: Part, groups_each: int = 8, tricks: float = 0.2) -> list[TemplateRow]:
    """Sentences of the templates of one part; each template with `groups_each` groups or things, more where it has choices.

    A share `tricks` of the sentences is added once more, misspelt on purpose, hostile and harmless ones alike.
    """
    rows: list[TemplateRow] = []
    for function, templates in TEMPLATES.items():
        for template in templates.get(part, ()):
            times = groups_each if "{" in template else 1
            times = max(times, groups_each // 2) + groups_each // 2 * template.count("[") if "[" in template else times
            times += groups_each * ("{h}" in template.lower())
            filled = {_fill(template, rng, part=part) for _ in range(times)}
            rows += [TemplateRow(text, templates["toxic"], function) for text in sorted(filled)]
    misspelt = rng.sample(rows, round(len(rows) * tricks))
    rows += [
        TemplateRow(misspell(row.text, rng), row.toxic, "spelling" if row.toxic else row.function) for row in misspelt
    ]
    return rows


def _fill(template: str, rng: random.Random, *, part: Part) -> str:
    chosen = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template)
    (plural, singular, adjective), (other, _, _) = rng.sample(GROUPS, 2)
    article = "an" if singular[0].lower() in "aeiou" else "a"
    slur, reclaimed = rng.choice(SLURS), rng.choice(RECLAIMED)
    fills = {
        "P": plural, "P2": other, "s": singular, "S": f"{article} {singular}", "A": adjective, "O": rng.choice(OBJECTS),
        "G": rng.choice(GOOD_THINGS), "L": slur, "Ls": _plural(slur), "R": reclaimed, "Rs": _plural(reclaimed),
    }  # fmt: skip
    if "{H}" in chosen or "{h}" in chosen:
        functions = [name for name in QUOTED if TEMPLATES[name].get(part)]
        hostile = rng.choice(TEMPLATES[rng.choice(functions)][part])
        fills["H"] = _fill(hostile, rng, part=part)
        fills["h"] = fills["H"].rstrip(".!?")
    text = chosen.format(**fills)
    text = text[0].upper() + text[1:]
    return text.lower() if rng.random() < 0.15 else text


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("ch") else f"{noun}s"


def misspell(text: str, rng: random.Random) -> str:
    """The text with one kind of spelling trick: leetspeak, letters spaced out, two swapped, one lost, two words joined."""
    words = text.split()
    long = [index for index, word in enumerate(words) if len(word.strip(".,!?\"'")) >= 4]
    if not long:
        return text
    kind = rng.choice(["leet", "spaced", "swapped", "lost", "joined", "stars"])
    if kind == "joined":
        at = rng.randrange(max(1, len(words) - 1))
        return " ".join([*words[:at], "".join(words[at : at + 2]), *words[at + 2 :]])
    for index in rng.sample(long, min(len(long), rng.randint(1, 2))):
        words[index] = _trick(words[index], kind, rng)
    return " ".join(words)


def _trick(word: str, kind: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 2)
    match kind:
        case "leet":
            return "".join(LEET.get(letter, letter) if rng.random() < 0.7 else letter for letter in word)
        case "spaced":
            return " ".join(word)
        case "swapped":
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case "lost":
            return word[:at] + word[at + 1 :]
        case _:
            return word[0] + "*" * (len(word) - 2) + word[-1]
