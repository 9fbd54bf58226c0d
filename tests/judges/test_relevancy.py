"""The relevancy judge on scripted models: what padding, digression, evasion and echo cost, and what long texts are cut into."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.models.load import ModelRoom
from harness.records import Case
from harness.suite.grammar import RelevancySpec
from judges import JudgeBuilder
from judges.asked import bare_kind, chosen, question_of
from judges.relevancy import BEST, INPUT_TOKENS, PASSAGE_WORDS, RelevancyJudge

QUESTION = "What is wrong with my leg?"
ADVICE = "What is wrong with your leg is likely a strain."
PADDING = ("Bananas grow in Ecuador.", "Trains run late.", "Nobody painted the fence.", "Tea tastes sweet today.")


@pytest.fixture
def judge(word_embedder, word_pairs):
    """A judge on scripted models."""
    return RelevancyJudge("r", word_embedder, word_pairs)


def judged(judge, answer, question=QUESTION):
    """The judgement of one answer."""
    return judge.judge([Case(id="1", answer=answer, input=question)])[0]


def test_order_of_good_and_bad_answers(judge):
    """Advice beats padded advice beats digression; evasion, pleasantry and echo are worth nothing."""
    padded = judged(judge, f"{ADVICE} {PADDING[0]} {PADDING[1]}").score
    assert judged(judge, ADVICE).score > padded > judged(judge, PADDING[0]).score
    for nothing in (
        "I don't know what is wrong with your leg.",
        "What is wrong with my leg?",
        "That is a good question!",
    ):
        assert judged(judge, nothing).score == 0.0


def test_the_score_can_be_computed_from_the_evidence(judge):
    """The best sentence and the mean of all, times the two discounts."""
    judgement = judged(judge, f"{ADVICE} {PADDING[0]} I cannot help with that.")
    rows = [row["score"] for row in judgement.evidence["sentences"]]
    assert len(rows) == 3
    assert judgement.evidence["direct"] == pytest.approx(2 / 3)
    aggregated = BEST * max(rows) + (1 - BEST) * sum(rows) / 3
    assert judgement.score == pytest.approx(aggregated * 2 / 3 * judgement.evidence["informative"], abs=1e-5)


def test_sending_to_a_doctor_is_no_evasion(judge):
    """Not knowing, and saying who does, is advice; not knowing alone is not."""
    assert judged(judge, "I cannot say what is wrong with your leg, see a doctor today.").evidence["direct"] == 1.0
    assert judged(judge, "I cannot say what is wrong with your leg.").evidence["direct"] == 0.0


def test_empty_answers_are_not_relevant(judge):
    """Silence scores 0 and is labelled so."""
    judgement = judged(judge, "  ")
    assert (judgement.score, judgement.label) == (0.0, "empty")


def test_a_question_at_the_end_of_a_long_letter_is_seen(judge):
    """An input longer than the model reads is read in parts, and the part that fits best counts."""
    letter = " ".join(["My uncle keeps bees and tells of them all day."] * (INPUT_TOKENS // 8))
    end, start = (judged(judge, ADVICE, text).score for text in (f"{letter} {QUESTION}", f"{QUESTION} {letter}"))
    assert end > judged(judge, ADVICE, letter).score
    assert end == pytest.approx(start, abs=0.2)


def test_evidence_at_the_end_of_a_long_answer_is_seen(judge):
    """A passage is as long as the model reads well, so the last sentence is judged like the first."""
    filler = " ".join(["Bananas grow in Ecuador all year."] * PASSAGE_WORDS)
    judgement = judged(judge, f"{filler} {ADVICE}")
    rows = judgement.evidence["sentences"]
    assert len(rows) == PASSAGE_WORDS + 1
    assert rows[-1]["score"] == max(row["score"] for row in rows)


def test_a_sentence_without_end_is_cut_not_refused(judge):
    """Words that never end in a stop are judged in pieces."""
    assert judged(judge, " ".join(["leg"] * 500)).score is not None


def test_a_classifier_without_the_label_is_refused(word_embedder, word_pairs):
    """A topic classifier says nothing of relevance; a reranker with one label does."""
    word_pairs.labels = ("sport", "politics")
    with pytest.raises(UserError, match="'topics' must have a label relevant or entailment, or one label"):
        RelevancyJudge("r", word_embedder, word_pairs, model="topics")


ASKED = (
    ("How many legs has a spider?", ("8", "Eight.", "none", "a few"), ("Spiders", "Hairy ones", "In 1913")),
    ("how often is the pill taken", ("daily", "Twice a day", "every four hours"), ("with water", "Pills")),
    ("When did it sink?", ("1912", "In April 1912.", "last night", "After the war"), ("An iceberg", "No", "3 kg", "$12")),
    ("In what year was it built?", ("1961",), ("Concrete", "Yes")),
    ("Who wrote it?", (), ("In 1869", "Yes.", "3", "In London", "No, thanks a lot")),
    ("Where is the Louvre?", ("In Paris", "next to the river"), ("Every Tuesday morning in 1950", "Since 1950", "Yes.")),
    ("Why is the sky blue?", ("Because of scattered light", "due to the air"), ("Yes, it is.", "In 1990", "12")),
    ("How do I get there?", ("By train", "using the lift"), ("2005", "No.")),
    ("Is it safe?", ("No.", "yes", "It is.", "Not under 16.", "Rarely"), ("Willow bark", "1897", "Purple")),
    ("My dog is ill. Should he eat?", ("Only a little.",), ("Dogs",)),
    ("What is the boiling point of water?", ("100 °C",), ("In 1742", "Yes, it is.")),
)  # fmt: skip


@pytest.mark.parametrize(("question", "right", "wrong"), ASKED)
def test_bare_words_are_of_the_kind_that_is_asked_for(question, right, wrong):
    """A number to how many, a time to when, yes or no to is; a name to who is settled by its meaning, so 0."""
    asked = question_of(question)
    assert {answer: bare_kind(asked, answer) for answer in right} == dict.fromkeys(right, 1)
    assert {answer: bare_kind(asked, answer) for answer in wrong} == dict.fromkeys(wrong, -1)
    assert bare_kind("Who wrote it?", "Leo Tolstoy") == bare_kind("What is the currency?", "The yen.") == 0


@pytest.mark.parametrize("text", ["Thank you for the letter.", "Translate this into French: good morning", ""])
def test_where_nothing_is_asked_no_words_are_bare(judge, text):
    """An instruction is not answered by a number or a yes."""
    assert question_of(text) is None
    if text:
        assert "bare" not in judged(judge, "Yes.", text).evidence["sentences"][0]


def test_one_of_two_that_are_offered_is_no_echo():
    """What stands beside "or" answers; other words of the question do not."""
    question = "Is the warranty of the new car two or three years?"
    assert [chosen(question, answer) for answer in ("Three years.", "Two", "the new car", "four", "?")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_only_few_words_are_judged_as_bare_ones(judge):
    """Seven words or two sentences are a text, whose score does not depend on its kind; what is bare is never lowered by it."""
    for answer in ("my leg is torn and hurts me now", "Never. It hurts."):
        assert "bare" not in judged(judge, answer, "Is my leg torn?").evidence["sentences"][0]
    assert judged(judge, "when is easter", "When is Easter?").label == "echo"
    assert judged(judge, "No.", "Is my leg torn?").score > 0.7 > 0.3 > judged(judge, "Bananas", "Is my leg torn?").score


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(padding=st.lists(st.sampled_from(PADDING), min_size=1, max_size=5))
def test_each_padding_sentence_costs(judge, padding):
    """Appending what has nothing to do with the question lowers the score, sentence by sentence."""
    texts = [" ".join([ADVICE, *padding[:count]]) for count in range(len(padding) + 1)]
    scores = [judged(judge, text).score for text in texts]
    assert all(before > after for before, after in pairwise(scores))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The judge that comes along."""
    return JudgeBuilder(ModelRoom(tmp_path_factory.mktemp("suite"))).build("relevancy", RelevancySpec())


PAIRS = (
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("A cough for three weeks: what should I do?", "A cough of three weeks should be seen by a doctor."),
    ("Who painted the Mona Lisa?", "Leonardo da Vinci painted it between 1503 and 1506."),
)  # fmt: skip


@pytest.mark.parametrize(("question", "answer"), PAIRS)
def test_padding_and_echo_with_the_real_models(real, question, answer):
    """Answer, padded answer, echo: in this order."""
    scores = [judged(real, text, question).score for text in (answer, f"{answer} {PADDING[0]} {PADDING[2]}", question)]
    assert scores[0] > scores[1] > scores[2]
    assert scores[2] < 0.05


def test_the_order_of_cases_does_not_matter(real):
    """Each answer has its own score, whatever it is judged beside."""
    cases = [Case(id=str(i), input=question, answer=answer) for i, (question, answer) in enumerate(PAIRS)]
    forward = {one.id: one.score for one in real.judge(cases)}
    assert forward == pytest.approx({one.id: one.score for one in real.judge(cases[::-1])}, abs=1e-5)
    assert forward == pytest.approx({case.id: real.judge([case])[0].score for case in cases}, abs=1e-5)
