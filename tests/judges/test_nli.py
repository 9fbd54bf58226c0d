"""Entailment over premises of any length."""

import pytest

from judges.nli import Entailer


def test_evidence_far_behind_the_models_window_is_found(table_classifier):
    """A fact planted after 2,000 words of a premise entails, though the model reads 64 tokens at once."""
    filler = " ".join(f"Filler sentence number {i} says nothing." for i in range(400))
    premise = f"{filler} The patient takes warfarin daily. {filler}"
    model = table_classifier({("takes warfarin daily", "Warfarin is taken."): (0.9, 0.08, 0.02)})
    result = Entailer(model).entail([(premise, "Warfarin is taken.")])[0]
    assert result.label == "entailment"
    assert result.entailment == pytest.approx(0.9)
    assert "takes warfarin daily" in result.window


def test_no_word_of_a_long_premise_is_left_out(table_classifier):
    """The windows together hold every word of the premise, one giant sentence included."""
    words = [f"w{i}" for i in range(500)]
    premise = " ".join(words[:300]) + ". " + " ".join(w.capitalize() for w in words[300:]) + "."
    model = table_classifier({})
    Entailer(model).entail([(premise, "a b c")])
    seen = {word.strip(".").lower() for window, _ in model.asked for word in window.split()}
    assert seen == set(words)


def test_label_order_comes_from_the_checkpoint(table_classifier):
    """The same probabilities under another label order give the same result."""
    straight = table_classifier({("p", "h"): (0.7, 0.2, 0.1)})
    turned = table_classifier({("p", "h"): (0.1, 0.7, 0.2)}, labels=("contradiction", "entailment", "neutral"))
    assert Entailer(straight).entail([("p", "h")]) == Entailer(turned).entail([("p", "h")])


def test_two_way_heads_have_no_contradiction(table_classifier):
    """not_entailment counts as neutral: a two-way head cannot say that something is contradicted."""
    model = table_classifier({("p", "h"): (0.3, 0.7)}, labels=("entailment", "not_entailment"))
    result = Entailer(model).entail([("p", "h")])[0]
    assert (result.entailment, result.neutral, result.contradiction) == (0.3, 0.7, 0.0)


def test_each_pair_is_asked_once(table_classifier):
    """Whoever asks again is answered from memory."""
    model = table_classifier({})
    entailer = Entailer(model)
    entailer.entail([("p", "h"), ("p", "h"), ("p", "i")])
    entailer.entail([("p", "i")])
    assert model.asked == [("p", "h"), ("p", "i")]


def test_a_contradicting_window_beats_weaker_support(table_classifier):
    """Over several windows the strongest voice decides, for or against."""
    filler = " ".join(f"Filler {i} is here." for i in range(40))
    premise = f"Maybe yes. {filler} Surely not."
    model = table_classifier({("Maybe yes.", "It is."): (0.4, 0.6, 0.0), ("Surely not.", "It is."): (0.0, 0.1, 0.9)})
    assert Entailer(model).entail([(premise, "It is.")])[0].label == "contradiction"


def test_what_stands_there_word_for_word_is_entailed_unasked(table_classifier):
    """A judge that looks for evidence needs no model for a sentence of the premise; half a sentence is another claim."""
    model = table_classifier({})
    premise = "Nobody believes that he was cured. He went home."
    found = Entailer(model).entail([(premise, "he went home"), (premise, "he was cured")], window=32)
    assert [result.label for result in found] == ["entailment", "neutral"]
    assert model.asked == [(premise, "he was cured")]
    assert Entailer(model).entail([(premise, "he went home")])[0].label == "neutral"
