"""The clinic suite: its dialogues follow from the knowledge table, and its base model is what its card says."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy.sparse import csr_array

from harness.suite import load_suite
from suites.clinic import corpus, generate, knowledge

CLINIC = Path(generate.__file__).parent
MODEL = CLINIC / "model"
BY_NAME = {condition.name: condition for condition in knowledge.CONDITIONS}


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (CLINIC / name).read_text(encoding="utf-8").splitlines()]


DIALOGUES, SPOILT = _rows("dialogues.jsonl"), _rows("spoilt.jsonl")


def test_generator_reproduces_the_committed_files_byte_for_byte() -> None:
    """The same seed gives the files that are in the repository."""
    good, spoilt = generate.build_rows()
    assert generate.dump(good).encode() == (CLINIC / "dialogues.jsonl").read_bytes()
    assert generate.dump(spoilt).encode() == (CLINIC / "spoilt.jsonl").read_bytes()


def test_there_is_enough_of_everything() -> None:
    """At least 60 conditions of all four urgencies, 3,000 dialogues, two to four wordings of each scenario."""
    assert len(BY_NAME) == len(knowledge.CONDITIONS) >= 60
    assert {row["urgency"] for row in DIALOGUES} == {"emergency", "soon", "routine", "unknown"}
    assert len(DIALOGUES) >= 3000
    wordings = defaultdict(int)
    for row in DIALOGUES:
        wordings[row["scenario"]] += 1
    assert set(wordings.values()) == {2, 3, 4}


def test_no_patient_is_a_near_duplicate_of_another_scenario() -> None:
    """Word 3-grams of patients of different scenarios overlap by less than 0.8, in and between both files."""
    rows = DIALOGUES + SPOILT
    grams = [generate.word_grams(row["Patient"]) for row in rows]
    names = {gram: i for i, gram in enumerate(sorted(set().union(*grams)))}
    columns = [names[gram] for mine in grams for gram in mine]
    starts = np.cumsum([0, *map(len, grams)])
    matrix = csr_array((np.ones(len(columns), np.int32), columns, starts), shape=(len(rows), len(names)))
    shared = (matrix @ matrix.T).tocoo()
    one, other = shared.coords
    sizes = np.diff(starts)
    similarity = shared.data / (sizes[one] + sizes[other] - shared.data)
    scenario = np.array([row["scenario"] for row in rows])
    assert 0.5 < similarity[scenario[one] != scenario[other]].max() < 0.8


def test_texts_have_the_promised_length_and_no_placeholder() -> None:
    """Patients write at most 45 words, doctors 35 to 70 in three to nine sentences, and no brace is left."""
    for row in DIALOGUES + SPOILT:
        assert len(row["Patient"].split()) <= 45
        assert 35 <= len(row["Doctor"].split()) <= 70
        assert not set("{}") & set(row["Patient"] + row["Doctor"])


def test_every_answer_holds_the_four_facts_of_its_condition() -> None:
    """A doctor's text contains one wording of each fact of the row's own condition."""
    for row in DIALOGUES:
        for wordings in BY_NAME[row["condition"]].facts:
            assert sum(wording in row["Doctor"] for wording in wordings) == 1, row["condition"]


def test_spoilt_answers_hold_no_fact_of_their_condition() -> None:
    """A spoilt row answers another condition throughout."""
    for row in SPOILT:
        condition = BY_NAME[row["condition"]]
        assert generate.wrong_condition(condition) is not condition
        assert not any(wording in row["Doctor"] for wordings in condition.facts for wording in wordings)


def test_look_alikes_get_different_advice() -> None:
    """Conditions that are worded alike share no fact, and each group spans more than one urgency or treatment."""
    for group in knowledge.LOOK_ALIKES:
        for one, other in combinations((BY_NAME[name] for name in group), 2):
            mine, theirs = ({w for wordings in c.facts for w in wordings} for c in (one, other))
            assert not mine & theirs


def test_facts_are_unique_to_their_condition() -> None:
    """No sentence of advice stands in two conditions, so an answer says whose it is."""
    facts = [w for condition in knowledge.CONDITIONS for wordings in condition.facts for w in wordings]
    assert len(facts) == len(set(facts))


def test_emergencies_send_for_help_now_and_unknowns_say_so() -> None:
    """An emergency's facts send for an ambulance, or somewhere now; an unknown's say that it cannot be known."""
    urgent = ("ambulance", "now", "at once", "immediately", "this minute", "right away", "straight away")
    for condition in knowledge.CONDITIONS:
        if condition.urgency == "emergency":
            assert all(any(word in act for word in urgent) for act in condition.act), condition.name
        if condition.urgency == "unknown":
            assert condition.asks
            assert not condition.complaints
            assert all(
                "not" in text or "Nobody" in text or "Without" in text or "no " in text for text in condition.likely
            )


@pytest.mark.parametrize("who", ["me", "mother", "father"])
def test_fragments_are_spoken_in_one_person(who: str) -> None:
    """The person grammar fills every fragment of the table and leaves no placeholder."""
    grammar = generate.grammar_of(who)
    for condition in knowledge.CONDITIONS:
        for fragment in (*condition.complaints, *condition.signs, *condition.twists, *condition.asks):
            assert "{" not in generate.speak(fragment, grammar)
    assert (
        generate.speak("{I} {has} pain and {I} cr{ies}", generate.grammar_of("mother")) == "she has pain and she cries"
    )
    assert generate.speak("{I} {has} pain and {I} cr{ies}", generate.grammar_of("me")) == "I have pain and I cry"


def test_corpus_holds_no_patient_of_the_suite_and_no_advice_without_an_example() -> None:
    """The base never sees a row's patient, and learns a fact only where the same document showed it before."""
    known = {row["Patient"] for row in DIALOGUES + SPOILT}
    facts = {w: (c.name, i) for c in knowledge.CONDITIONS for i, wordings in enumerate(c.facts) for w in wordings}
    for document in corpus.build_documents(300, seed=5):
        seen: set[tuple[str, int]] = set()
        for turn in document:
            asked = turn.content.split("Patient: ")
            assert not {part.split("\nDoctor: ")[0] for part in (*asked, turn.content)} & known
            told = {facts[w] for w in facts if w in turn.content}
            if turn.role == "assistant" and turn.learnt:
                assert told <= seen
            seen |= told


def test_corpus_is_a_function_of_its_seed() -> None:
    """Two builds agree, and a longer one begins with the shorter."""
    assert list(corpus.build_documents(20, seed=3)) == list(corpus.build_documents(30, seed=3))[:20]


def test_suite_file_is_right() -> None:
    """The suite loads, and asks for the columns that the generator writes."""
    loaded = load_suite(CLINIC / "suite.yaml")
    assert set(loaded.suite.candidates) >= {"base", "few_shot", "retrieval", "lora_r4", "lora_r16", "spoilt"}
    assert loaded.suite.data.fields.cluster == "scenario"
    assert {"Patient", "Doctor", "condition", "urgency", "scenario"} == set(DIALOGUES[0])


def test_form_is_filled_in_one_pass() -> None:
    """A placeholder inside an answer stays text."""
    form = corpus.rating_form("kind?", ["look", "count"], "hello {answer}", "{low} or {criteria}")
    assert "hello {answer}" in form
    assert "{low} or {criteria}" in form
    assert "1. look\n2. count" in form
    assert form.endswith("Score (an integer from 1 to 5) only:")


def test_base_model_is_small_and_as_its_card_says() -> None:
    """At most 12 MB and 6M parameters, and the card names the hash of the very file."""
    from harness.models.identity import file_sha256

    weights = MODEL / "model.safetensors"
    assert weights.stat().st_size <= 12_000_000
    assert file_sha256(weights) in (MODEL / "CARD.md").read_text(encoding="utf-8")
    from safetensors import safe_open

    with safe_open(weights, framework="np") as tensors:
        assert sum(math.prod(tensors.get_slice(k).get_shape()) for k in tensors.keys()) <= 6_000_000  # noqa: SIM118


def test_base_model_tokens_are_those_of_its_training() -> None:
    """The chat template and the encoding used in training give the same ids; digits are single tokens."""
    from harness.models import rendering
    from harness.records import Message
    from suites.clinic.train_base import EOS, encode

    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(MODEL)
    turns = [
        corpus.Turn("system", "Be kind."),
        corpus.Turn("user", "I have 12 spots."),
        corpus.Turn("assistant", "Wait."),
    ]
    messages = [Message(role=turn.role, content=turn.content) for turn in turns]  # type: ignore[arg-type]
    text = rendering.render(tokenizer, messages, add_generation_prompt=False)
    assert rendering.tokens(tokenizer, text) == list(encode(tokenizer, turns).tokens)
    assert text.endswith(EOS)
    assert all(len(tokenizer.encode(str(digit), add_special_tokens=False)) == 1 for digit in range(10))


def test_grades_follow_from_elements() -> None:
    """More of what the criterion asks for never lowers a grade, faults never raise it, and all five grades occur."""
    from suites.clinic.train_geval import Elements, build_items, grade

    assert grade(Elements(worry=True, step=True, back=True)) == 5
    assert grade(Elements()) == 1
    assert grade(Elements(step=True)) > grade(Elements(vague=True)) > grade(Elements())
    assert grade(Elements(worry=True, step=True, rude=True)) < grade(Elements(worry=True, step=True))
    patients = corpus.Patients(frozenset())
    items = build_items(200, knowledge.CONDITIONS, patients, seed=4)
    assert {item.grade for item in items} == {1, 2, 3, 4, 5}
    assert items == build_items(200, knowledge.CONDITIONS, patients, seed=4)


def test_scenarios_name_what_they_are() -> None:
    """Equal scenarios share a name whatever the order of the signs; different twists do not."""
    condition = BY_NAME["migraine"]
    one = generate.draw_scenario(condition, Random(1))
    turned = generate.Scenario(one.condition, one.who, one.age, one.signs[::-1], one.twist, one.duration, one.ask)
    assert one.name == turned.name
    assert len({generate.draw_scenario(condition, Random(seed)).name for seed in range(40)}) > 20
