"""Overlap judges against published or hand-computed values."""

import math

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from harness.records import Case
from harness.suite.grammar import JsonSchemaSpec
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
    assert measure_of("rouge")(["police killed the gunman"], "police kill the gunman") == pytest.approx(1.0)
    assert measure_of("rouge")(["police killed the gunman"], "the gunman kill police") == pytest.approx(0.5)


def test_bleu_and_chrf_are_one_for_equal_texts_and_zero_for_strangers():
    """The ends of the scale, in [0, 1] and not in percent."""
    text = "the cat sat on the mat today"
    for kind in ("bleu", "chrf"):
        assert measure_of(kind)([text], text) == pytest.approx(1.0)
        assert measure_of(kind)([text], "zzz") == pytest.approx(0.0, abs=0.02)


def test_bleu_by_hand():
    """Precisions 5/5, 3/4, 2/3, 1/2 and brevity exp(1 - 6/5); one word of two: precision 1, brevity exp(1 - 2)."""
    bleu = measure_of("bleu")
    assert bleu(["the cat sat on the mat"], "the cat sat on mat") == pytest.approx(0.25**0.25 * math.exp(-0.2))
    assert bleu(["the cat"], "the") == pytest.approx(math.exp(-1))
    assert bleu(["the cat"], "") == 0.0
    # no bigram is right: method 3 gives it 1 / (2 * 2) of the 2 there are
    assert bleu(["a b c"], "a c b") == pytest.approx((3 / 3 * (1 / 2 / 2) * (1 / 4 / 1)) ** (1 / 3))


def test_chrf_by_hand():
    """'ab' against 'abc': precision 1, recall (2/3 + 1/2 + 0)/3 over the orders that both can have; F with recall twice."""
    precision, recall = (2 / 2 + 1 / 1) / 2, (2 / 3 + 1 / 2) / 2
    assert measure_of("chrf")(["abc"], "ab") == pytest.approx(5 * precision * recall / (4 * precision + recall))


REFERENCES = ["The cat sat on the mat.", "There is a cat on the mat, asleep.", "Une chatte dort."]
ANSWERS = ["A cat sits on the mat.", "the cat sat on mat", "", "Une chatte", "nothing of it", "The cat sat on the mat."]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_scores_are_the_libraries_own(answer, count):
    """Of one reference and of several: sacrebleu's sentence scores over 100, rouge-score's best."""
    references = REFERENCES[:count]
    rouge = RougeScorer(["rougeL"], use_stemmer=True).score_multi(references, answer)["rougeL"].fmeasure
    assert measure_of("rouge")(references, answer) == pytest.approx(rouge, abs=1e-12)
    assert measure_of("bleu")(references, answer) == pytest.approx(
        sacrebleu.sentence_bleu(answer, references).score / 100
    )
    assert measure_of("chrf")(references, answer) == pytest.approx(
        sacrebleu.sentence_chrf(answer, references).score / 100
    )


@pytest.mark.parametrize(
    ("reference", "answer", "exact", "f1"),
    [
        ("The Beatles", "beatles", 1.0, 1.0),
        ("a", "the", 1.0, 1.0),
        ("!", "", 1.0, 1.0),
        ("!", "x", 0.0, 0.0),
        ("U.S.", "US", 1.0, 1.0),
        ("theatre", "the atre", 0.0, 0.0),
        ("1,000", "1000", 1.0, 1.0),
        ("well-known", "well known", 0.0, 0.0),
        ("b b c", "b c c", 0.0, 2 / 3),
        ("Zürich", "ZÜRICH", 1.0, 1.0),
        ("don’t", "don't", 0.0, 0.0),
        ("东京", "东京。", 0.0, 0.0),
    ],
)
def test_squad_by_hand(reference, answer, exact, f1):
    """As the official script: punctuation is taken out without a space, ASCII punctuation only."""
    assert measure_of("exact_match")([reference], answer) == exact
    assert measure_of("token_f1")([reference], answer) == pytest.approx(f1)


def test_rouge_without_a_letter_it_reads_gives_no_score():
    """Equal texts in another script would score 0, which is not their agreement; one readable reference is enough."""
    judge = OverlapJudge("rouge", "rouge")
    unread, mixed = judge.judge(
        [
            Case(id="1", answer="Москва", references=("Москва",)),
            Case(id="2", answer="Moscow", references=("Москва", "Moscow")),
        ]
    )
    assert (unread.score, unread.error.kind) == (None, "missing_input")
    assert mixed.score == 1.0


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


def test_regex_search_without_end_is_given_up_and_is_no_score():
    """Nested repetitions take exponential time: the case gets a failure, the next one its score."""
    judge = RegexJudge("r", r"^(a|aa)+$", seconds=0.2)
    endless, quick = judge.judge([Case(id="1", answer="a" * 200 + "b"), Case(id="2", answer="aaa")])
    assert endless.score is None
    assert endless.error is not None
    assert endless.error.kind == "timeout"
    assert quick.score == 1.0


def test_json_schema_says_why():
    """Valid, invalid and no JSON at all are told apart."""
    judge = JsonSchemaJudge("j", {"type": "object", "required": ["dose"]})
    judgements = judge.judge([Case(id=str(i), answer=a) for i, a in enumerate(['{"dose": 1}', "{}", "dose: 1"])])
    assert [j.score for j in judgements] == [1.0, 0.0, 0.0]
    assert [j.label for j in judgements] == ["valid", "invalid", "not JSON"]
    assert "dose" in judgements[1].evidence["reason"]


@pytest.mark.parametrize(
    "text", ["NaN", '{"dose": Infinity}', "", "{'dose': 1}", '{"dose": 1} ', '```json\n{"dose": 1}\n```']
)
def test_what_is_no_json(text):
    """Python reads more than JSON; white space around is allowed."""
    judge = JsonSchemaJudge("j", {})
    assert score(judge, text) == float(text.strip() == '{"dose": 1}')


def test_a_schema_fetches_nothing_and_must_be_one(monkeypatch):
    """An address under $ref is a typed null, not a request; a wrong schema is a mistake of the suite."""
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: asked.append(args))
    judgement = JsonSchemaJudge("j", {"$ref": "http://127.0.0.1:9/x.json"}).judge([Case(id="1", answer="{}")])[0]
    assert (judgement.score, judgement.error.kind, asked) == (None, "judge_failed", [])
    with pytest.raises(ValueError, match=r"must be a JSON Schema \(type: 'objekt'"):
        JsonSchemaSpec(kind="json_schema", schema={"type": "objekt"})
