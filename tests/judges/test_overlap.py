"""Overlap judges against published or hand-computed values."""

import pytest

from harness.records import Case
from judges.overlap import JsonSchemaJudge, OverlapJudge, RegexJudge, measure_of, normalise, token_f1


def score(judge, answer, *references):
    """One judgement's score."""
    return judge.judge([Case(id="1", answer=answer, references=references)])[0].score


def test_squad_normalisation():
    """Case, punctuation and articles do not count (Rajpurkar et al. 2016, official script)."""
    assert normalise("The  Cat, an 'OWL'!") == "cat owl"


def test_token_f1_is_the_harmonic_mean_of_token_overlap():
    """Two of three against two of two tokens: 2 * 2 / 5."""
    assert token_f1("Sir Raymond Unwin", "Raymond Unwin") == pytest.approx(0.8)
    assert token_f1("the", "a") == 1.0
    assert token_f1("cat", "") == 0.0


def test_rouge_l_of_the_papers_example():
    """'police kill the gunman' against 'police killed the gunman': 3 of 4 in order (Lin 2004, section 3.1), unstemmed 0.75;
    with stemming 'killed' and 'kill' agree too.
    """
    assert measure_of("rouge")("police killed the gunman", "police kill the gunman") == pytest.approx(1.0)
    assert measure_of("rouge")("police killed the gunman", "the gunman kill police") == pytest.approx(0.5)


def test_bleu_and_chrf_are_one_for_equal_texts_and_zero_for_strangers():
    """The ends of the scale, in [0, 1] and not in percent."""
    text = "the cat sat on the mat today"
    for kind in ("bleu", "chrf"):
        assert measure_of(kind)(text, text) == pytest.approx(1.0)
        assert measure_of(kind)(text, "zzz") == pytest.approx(0.0, abs=0.02)


def test_the_best_reference_counts():
    """Of several references any one will do."""
    assert score(OverlapJudge("exact", "exact_match"), "Unwin", "Raymond Unwin", "unwin.") == 1.0


def test_without_a_reference_there_is_no_score():
    """Nothing to compare with is an error."""
    judgement = OverlapJudge("f1", "token_f1").judge([Case(id="1", answer="x")])[0]
    assert judgement.score is None
    assert judgement.error.kind == "missing_input"


def test_regex_finds_anywhere():
    """The pattern is searched, not anchored."""
    judge = RegexJudge("r", r"\bER\b")
    assert score(judge, "Go to the ER now") == 1.0
    assert score(judge, "NEVER") == 0.0


def test_json_schema_says_why():
    """Valid, invalid and no JSON at all are told apart."""
    judge = JsonSchemaJudge("j", {"type": "object", "required": ["dose"]})
    judgements = judge.judge([Case(id=str(i), answer=a) for i, a in enumerate(['{"dose": 1}', "{}", "dose: 1"])])
    assert [j.score for j in judgements] == [1.0, 0.0, 0.0]
    assert [j.label for j in judgements] == ["valid", "invalid", "not JSON"]
    assert "dose" in judgements[1].evidence["reason"]
