"""What turns a repeated sentence round, and what only words it otherwise."""

import pytest

from judges.reversal import asserted, reversal, spelt_out

OPENED = "The bridge was opened in 1898 by the king."
RASH = "The rash is not contagious and clears within ten days."
SWITCH = "The lamp is on because the switch is closed."
FINAL = "Germany won the final against Argentina."


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (SWITCH, "The lamp is on because the switch is open."),
        (FINAL, "Argentina won the final against Germany."),
        (OPENED, "The bridge was opened in 1989 by the king."),
        ("The tiger is larger than the lion.", "The lion is larger than the tiger."),
        ("The lecture begins at 12:30 in the hall.", "The lecture begins at 12:45 in the hall."),
        ("The water boils at 99.9 degrees here.", "The water boils at 93.5 degrees here."),
        ("The landlord may raise the rent once a year.", "The tenant may raise the rent once a year."),
        ("Take 500 mg of it three times a day.", "Take 500 g of it three times a day."),
        ("The match was in May at the old stadium.", "The match was in June at the old stadium."),
        ("Scurvy is treated with vitamin C for weeks.", "Scurvy is treated with vitamin D for weeks."),
        ("The river Vltava runs through Prague.", "The river Danube runs through Prague."),
        ("The race was won by Amara Diallo in June.", "The race was won by Lena Voss in June."),
    ],
)
def test_sure_without_the_nli_model(reference, sentence):
    """One word for its opposite, one number for another, two words exchanged: whatever the model thinks, and either way round."""
    for contradiction in (0.0, 0.4, 1.0):
        assert reversal(sentence, [reference], contradiction) == 1.0
        assert reversal(reference, [sentence], contradiction) == 1.0


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (RASH, "The rash is contagious and clears within ten days."),
        (RASH.replace("not ", ""), "The rash is not contagious, and it clears within ten days."),
        ("Canberra", "It is not Canberra."),
        ("1898", "It was opened in 1989."),
    ],
)
def test_as_sure_as_the_nli_model(reference, sentence):
    """A not more or less and another number count in proportion to P(contradiction) beyond a half."""
    assert reversal(sentence, [reference], 0.5) == 0.0
    assert reversal(sentence, [reference], 0.9) == pytest.approx(0.8)
    assert reversal(sentence, [reference], 1.0) == 1.0


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (OPENED, OPENED),
        (OPENED, "The king opened the bridge in 1898."),
        (OPENED, "In 1898 the king opened it, and 3,000 people came."),
        (RASH, "The rash isn't contagious and clears within 10 days."),
        ("Mars has the moons Phobos and Deimos.", "Mars has the moons Deimos and Phobos."),
        ("Bulb 4 is not connected to the negative pole.", "Bulb 4 is connected to the positive pole."),
        ("She was there, but Anna came late.", "Anna was there, but she came late."),
        ("Rest the leg for two days.", "Call a doctor."),
        ("Take 500 mg of it three times a day.", "Take 500 milligrams of it three times a day."),
        ("It takes one hour to get there by train.", "It takes one hours to get there by train."),
        ("The race was won by Amara Diallo in June.", "The race was won by Diallo in June."),
        ("The water boils at 99.97 degrees here.", "The water boils at 100 degrees here."),
        ("The bulb with a reading of 0 between its ends.", "The reading goes from 3 to 1.5."),
    ],
)
def test_the_same_said_otherwise(reference, sentence):
    """Other words, other order, lists in another order, a not beside another content word, pronouns: nothing is turned round,
    even where the model sees a contradiction."""
    assert reversal(sentence, [reference], 1.0) == 0.0


def test_numbers_of_the_rest_and_of_the_question_are_no_claims():
    """A sentence may join numbers of several sentences, and repeat those of the question."""
    reference = ["Take 2 tablets a day.", "Wait 6 hours after each."]
    assert reversal("Take a tablet every 6 hours.", reference, 1.0) == 0.0
    assert reversal("Take 3 tablets a day.", reference, 1.0) == 1.0
    assert reversal("Of the 12 it is 3.", ["It is 3."], 1.0, asked="Which of the 12?") == 0.0


def test_nothing_to_compare():
    """Without a reference or a word nothing is turned round."""
    assert reversal("It is so.", [], 1.0) == 0.0
    assert reversal("…", ["It is so."], 1.0) == 0.0


def test_what_is_only_denied_is_not_asserted():
    """A contrast at the end of a sentence falls away; a negation that carries the sentence, or has no content, stays."""
    assert asserted("Sydney, not Canberra.") == "Sydney."
    assert asserted("It is Sydney – and not old Canberra. Go there!") == "It is Sydney. Go there!"
    for text in ("Do not drive.", "Wait two weeks, not before.", "It is not safe, and not cheap for most people here."):
        assert asserted(text) == text


@pytest.mark.parametrize(("contradiction", "expected"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_one_other_word_in_a_long_sentence_is_believed_sooner(contradiction, expected):
    """Where all else is the same, P(contradiction) of a half is enough."""
    reference = "Give the child ibuprofen every eight hours and plenty of water, and keep the room cool."
    other = reference.replace("ibuprofen", "codeine")
    assert reversal(other, [reference], contradiction) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sentence", "reference", "asked", "wavers"),
    [
        ("either Sydney or Canberra", "Canberra", "What is the capital?", True),
        ("Either the Danube or the Vltava runs through it.", "The Vltava runs through it.", "", True),
        ("either Canberra or the city of Canberra", "Canberra", "", False),
        ("It is either red or blue.", "Red or blue, as you like.", "", False),
        ("It was either red or blue.", "It was red.", "Was it red or blue?", False),
        ("Canberra, and either way a city", "Canberra", "", False),
    ],
)
def test_either_of_two_is_no_answer(sentence, reference, asked, wavers):
    """Naming the right one beside a wrong one leaves open what is known, unless reference or question do so too."""
    assert reversal(sentence, [reference], 0.0, asked=asked) == float(wavers)


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        ("The drug is unsafe.", "not safe", "The drug is not safe."),
        ("The contract is invalid.", "A contract is valid if signed.", "The contract is not valid."),
        ("It is non-contagious.", "It is contagious.", "It is not contagious."),
        ("It isn't unsafe.", "It is safe.", "It is safe."),
        ("It is not unsafe.", "It is safe.", "It is safe."),
        ("The drug is unsafe.", "It is dangerous.", "The drug is unsafe."),
        (
            "I was informed under the unit until then.",
            "The form of it, less der til.",
            "I was informed under the unit until then.",
        ),
        ("discover", "cover", "discover"),
    ],
)
def test_a_prefix_is_a_not_where_the_other_text_has_the_word(text, other, expected):
    """Unsafe is not safe, and two denials cancel; informed is no denial of formed."""
    assert spelt_out(text, other) == expected
