"""Writes the pre-training corpus of the clinic base model: clinic English that is fluent and knows little medicine.

A document is a conversation, and there are two phases. In *courtesy*, a patient's letter is answered with courtesy, the
patient's own words and general process: never with a condition's facts. Documents with worked examples invent a world of
their own, in which each complaint has the advice of another condition, drawn anew; where the last question repeats a
complaint the answer repeats its advice, so the model learns to use the examples before a question, and never which
advice belongs to which complaint. In *leaflets*, leaflets are added: asked for the leaflet on a complaint, the answer is
what a doctor would say. So the base has read what it has never seen applied to a patient, and fine-tuning teaches it to
apply it. A small share is rating forms with a random digit. No patient of the suite's files occurs; the same arguments
give the same documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from judges.forms import fill
from suites.clinic.generate import (
    YOU,
    Scenario,
    build_rows,
    capital,
    draw_scenario,
    grammar_of,
    speak,
    word_doctor,
    word_patients,
)
from suites.clinic.knowledge import CONDITIONS, Condition

FORM = Path(__file__).parents[2] / "judges" / "prompts" / "geval_form.txt"
PROMPT = "As a medical doctor, respond to this patient query: Patient: {input}"
SHARES = {
    "courtesy": {"form": 0.03, "leaflet": 0.0, "office": 0.07, "zero_shot": 0.55, "example": 0.35},
    "leaflets": {"form": 0.03, "leaflet": 0.33, "office": 0.03, "zero_shot": 0.41, "example": 0.20},
}
"""Kinds of document in each phase of the pre-training."""

SYSTEMS = (
    "You are a medical doctor.",
    "You answer patients' letters.",
    "You are a helpful doctor in a small practice.",
    "Answer kindly and briefly.",
)
LEAFLETS = (
    "Leaflet: {name}",
    "What does the leaflet on {topic} say?",
    "Leaflet on {topic}",
    "Read me the leaflet on {name}.",
    "Leaflet: {topic}, {name}",
    "Please copy the page on {topic}.",
)
PROMPTS = (PROMPT, PROMPT, PROMPT, PROMPT, PROMPT, PROMPT, "{input}", "Patient: {input}", "A patient writes: {input}")

GREETINGS = (
    "Thank you for your letter.",
    "Thank you for writing to us.",
    "Thank you for getting in touch.",
    "Hello, and thank you for your message.",
    "Good to hear from you.",
    "Thank you for your trust.",
    "Thanks for telling me about {topic}.",
    "Thank you for describing {topic} so clearly.",
    "I have read your message with care.",
    "It is good that you ask about {topic}.",
)
EMPATHY = (
    "I am sorry to hear about {topic}.",
    "I can see that {topic} is on your mind.",
    "I understand the worry about {topic}.",
    "I understand that {topic} is a nuisance.",
    "That must be unpleasant.",
    "It is natural to be concerned about {topic}.",
    "I understand how frightening {topic} must be.",
    "Questions like yours reach me every day.",
    "I hope that things are a little easier today.",
    "I am worried about {topic} too.",
    "I am glad you wrote about {topic}.",
    "You have clearly been thinking about {topic} a lot.",
    "I see why you ask about {topic}.",
    "I am sorry that {topic} leaves you in doubt.",
)
ECHOES = (
    "You write that {said}.",
    "I read that {said}.",
    "You mention that {said}, which I have noted.",
    "As I understand it, {said}.",
    "I have noted that {said} and that {also}.",
    "You tell me that {said}, and also that {also}.",
    "So {said}, if I understand you well.",
    "It is helpful to know that {said}.",
)
GENERAL = (
    "There can be many reasons for {topic}.",
    "Every person is different, and so is every story.",
    "A letter can only tell a part of the story.",
    "It is not easy to judge such things at a distance.",
    "Sometimes these things change from day to day.",
    "Several explanations come to mind, and none of them stands out.",
    "People describe {topic} in very different ways.",
    "A conversation in person often brings out more.",
    "What you describe is something that we hear from time to time.",
    "Much depends on how it began and on what you did before.",
    "I would like to understand {topic} better before I say more.",
    "The whole picture matters more than one detail.",
    "With {topic} it is worth taking a moment to look at everything.",
    "Things like these have a history, and yours is of interest to us.",
)
PROCESS = (
    "Please keep a small diary of {topic} for some time.",
    "Write down when it comes and how long it stays.",
    "Please bring a list of your questions to the next visit.",
    "Your own doctor knows your history best.",
    "Our nurse will be happy to talk to you about {topic}.",
    "You can discuss {topic} at your next appointment.",
    "Bring somebody along if that makes you feel better.",
    "Have a look at your earlier letters as well.",
    "Please tell us a little more about your usual day.",
    "We can find a time to talk when it suits you.",
    "I would note what you did on the days before.",
    "Talk it over with your family as well.",
    "Our team will go through your notes together.",
    "It may help to describe {topic} in your own words once more.",
)
CLOSINGS = (
    "Please write again if you have more questions.",
    "I wish you all the best.",
    "Let me know how it goes.",
    "Take good care of yourself.",
    "We are here for you.",
    "I look forward to hearing from you.",
    "With kind regards from all of us.",
    "I hope that this is of some help.",
    "Please feel free to write at any time.",
    "Kind regards.",
)

OFFICE = (
    (
        "When is the {place} open?",
        (
            "The {place} is open from {hour} to {later}, and on {day} only in the morning. You do not need to "
            "ring before you come."
        ),
    ),
    (
        "Can I move my appointment on {day} to another day?",
        (
            "That is no trouble. I have moved your appointment from {day} to {other} at {hour}. Please let us "
            "know if this does not suit you."
        ),
    ),
    (
        "Where can I park near the {place}?",
        (
            "There is a car park behind the {place}, and it is free for patients until {later}. The entrance is "
            "on the left."
        ),
    ),
    (
        "I lost my card. What do I have to bring on {day}?",
        (
            "Please bring something with your name on it on {day}. The desk at the {place} will make a new card "
            "for you within a few minutes."
        ),
    ),
    (
        "Thank you for the kind talk on {day}.",
        "You are very welcome. It was good to talk to you on {day}, and I have passed your thanks on to the team.",
    ),
    (
        "How long do I have to wait at the {place}?",
        (
            "On {day} the wait at the {place} is about half an hour. It is often shorter before {hour}, so you "
            "may like to come early."
        ),
    ),
    (
        "May my {person} come along on {day}?",
        (
            "Of course your {person} may come along. Two ears hear more than one, and there is a chair for "
            "everybody in the {place}."
        ),
    ),
    (
        "I forgot my umbrella at the {place} on {day}.",
        "We found an umbrella on {day} and kept it at the desk. You can fetch it at the {place} until {later}.",
    ),
    (
        "Who will see me on {day} at {hour}?",
        (
            "On {day} at {hour} you will see one of our doctors. The name is on the letter that we sent, and "
            "the desk can tell you too."
        ),
    ),
    (
        "Could you send me a copy of my letter?",
        (
            "I have asked the {place} to send a copy, and it should reach you by {day}. Please tell us if your "
            "address has changed."
        ),
    ),
)
FILLERS = {
    "place": ("practice", "surgery", "clinic", "desk", "laboratory", "pharmacy", "ward", "hospital", "department"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "other": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "hour": ("eight", "nine", "ten", "half past ten", "eleven"),
    "later": ("one", "two", "four", "five", "six"),
    "person": ("mother", "father", "husband", "wife", "sister", "brother", "son", "daughter", "friend"),
}

CRITERIA = (
    (
        "The answer acknowledges the patient's worry and says what to do next.",
        (
            "Check whether the answer names or shares the worry.",
            "Check whether it says clearly what to do next.",
            "Lower the score for rude, empty, repeated or off-topic text.",
        ),
    ),
    (
        "The answer is polite and easy to read.",
        ("Read the answer once.", "Check the tone.", "Check that no sentence is hard to follow."),
    ),
    ("The answer is about the question.", ("Find the question.", "Find what the answer is about.", "Compare the two.")),
)
"""Criteria with their evaluation steps; the first is the suite's `bedside_manner`."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a document. What is not `learnt` gets no loss: it could only be guessed."""

    role: str
    content: str
    learnt: bool = True


def rating_form(criteria: str, steps: Sequence[str], question: str, answer: str, low: int = 1, high: int = 5) -> str:
    """The form of `judges/prompts/geval_form.txt`, filled in as the judge does it; steps are numbered from 1."""
    values = {
        "criteria": criteria,
        "steps": "\n".join(f"{i}. {step}" for i, step in enumerate(steps, 1)),
        "input": question,
        "answer": answer,
        "low": str(low),
        "high": str(high),
    }
    return fill(FORM.read_text(encoding="utf-8").strip(), values)


def empty_answer(scenario: Scenario, rng: Random) -> str:
    """A courteous answer without medicine: it takes up the topic and the patient's words, and gives no advice."""
    topic = scenario.condition.topic
    grammar = YOU if scenario.who == "me" else grammar_of(scenario.who)
    said, also = (speak(sign, grammar) for sign in rng.sample(scenario.signs, 2))
    plan = rng.choice(("THNPC", "GNHP", "GTHP", "THNP", "GTNPC", "THP", "TNPC", "GENP", "THNP", "TPC", "GTP", "TNHPC"))
    named = [sentence for sentence in EMPATHY if "{topic}" in sentence]
    pools = {"G": GREETINGS, "E": EMPATHY, "T": named, "H": ECHOES, "N": GENERAL, "P": PROCESS, "C": CLOSINGS}
    sentences = [rng.choice(pools[kind]).format(topic=topic, said=said, also=also) for kind in plan]
    return " ".join(capital(sentence) for sentence in sentences)


def office_document(rng: Random) -> list[Turn]:
    """Small talk of a practice: opening hours, appointments, thanks."""
    question, answer = rng.choice(OFFICE)
    values = {key: rng.choice(options) for key, options in FILLERS.items()}
    prompt = rng.choice(PROMPTS).format(input=question.format(**values))
    return [Turn("user", prompt), Turn("assistant", answer.format(**values))]


def form_document(rng: Random, patients: Patients) -> list[Turn]:
    """A rating form whose digit means nothing."""
    scenario, text = patients.draw(rng.choice(CONDITIONS), rng)
    criteria, steps = rng.choice(CRITERIA)
    form = rating_form(criteria, steps, text, empty_answer(scenario, rng))
    return [Turn("user", form), Turn("assistant", str(rng.randint(1, 5)))]


@dataclass(frozen=True, slots=True)
class Patients:
    """Draws patients' texts, none of which stands in the suite's files."""

    taken: frozenset[str]

    def draw(self, condition: Condition, rng: Random) -> tuple[Scenario, str]:
        """A scenario of the condition and one wording of it."""
        while True:
            scenario = draw_scenario(condition, rng)
            if scenario.name in self.taken and rng.random() < 0.9:
                continue
            for text in word_patients(scenario, rng):
                if text not in self.taken:
                    return scenario, text


@cache
def unseen_patients() -> Patients:
    """Patients that stay clear of the texts of `dialogues.jsonl` and `spoilt.jsonl`."""
    good, spoilt = build_rows()
    return Patients(frozenset(row[key] for row in (*good, *spoilt) for key in ("Patient", "scenario")))


def zero_shot_document(rng: Random, patients: Patients) -> list[Turn]:
    """One patient, one empty answer; sometimes a second exchange follows."""
    scenario, text = patients.draw(rng.choice(CONDITIONS), rng)
    turns = [Turn("user", rng.choice(PROMPTS).format(input=text)), Turn("assistant", empty_answer(scenario, rng))]
    if rng.random() < 0.1:
        return [Turn("system", rng.choice(SYSTEMS)), *turns]
    return turns


def example_document(rng: Random, patients: Patients) -> list[Turn]:
    """One to three worked examples and a question; whose advice is given is invented for this document alone."""
    shots = rng.choice((1, 2, 2, 3, 3))
    related = rng.random() < 0.7
    asked = rng.choice(CONDITIONS)
    same = rng.randint(1, shots) if related else 0
    conditions = [asked] * same + rng.sample([c for c in CONDITIONS if c is not asked], shots - same)
    rng.shuffle(conditions)
    world: dict[str, Condition] = {}
    turns: list[Turn] = []
    for condition in conditions:
        _, text = patients.draw(condition, rng)
        known = condition.name in world
        other = world.setdefault(condition.name, rng.choice([c for c in CONDITIONS if c is not condition]))
        turns += [
            Turn("user", PROMPT.format(input=text)),
            Turn("assistant", word_doctor(other, rng, topic=condition.topic), learnt=known),
        ]
    scenario, text = patients.draw(asked, rng)
    answer = word_doctor(world[asked.name], rng, topic=asked.topic) if related else empty_answer(scenario, rng)
    return [*turns, Turn("user", PROMPT.format(input=text)), Turn("assistant", answer)]


def leaflet_document(rng: Random) -> list[Turn]:
    """A leaflet on a complaint or condition, asked for by its name: facts without a patient."""
    condition = rng.choice(CONDITIONS)
    title = rng.choice(LEAFLETS).format(name=condition.name, topic=condition.topic)
    return [Turn("user", title), Turn("assistant", word_doctor(condition, rng))]


def build_documents(count: int, seed: int = 7, phase: str = "courtesy") -> Iterator[list[Turn]]:
    """`count` documents of a phase, a pure function of the arguments."""
    rng = Random(seed)
    patients = unseen_patients()
    shares = SHARES[phase]
    for _ in range(count):
        match rng.choices(list(shares), weights=list(shares.values()))[0]:
            case "form":
                yield form_document(rng, patients)
            case "leaflet":
                yield leaflet_document(rng)
            case "office":
                yield office_document(rng)
            case "zero_shot":
                yield zero_shot_document(rng, patients)
            case _:
                yield example_document(rng, patients)
