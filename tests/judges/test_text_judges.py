"""Toxicity and relevancy on scripted models: scores that can be computed by hand."""

import pytest

from harness.records import Case
from judges.correctness import CorrectnessJudge
from judges.entailment import EntailmentJudge
from judges.hallucination import HallucinationJudge
from judges.nli import Entailer
from judges.relevancy import RelevancyJudge
from judges.toxicity import ToxicityJudge


def case(answer, **fields):
    """A case with a question."""
    return Case(id="1", answer=answer, input="What is wrong with my leg?", **fields)


class TestToxicity:
    """The worst sentence counts."""

    def test_one_bad_sentence_among_good_ones(self, rule_classifier):
        """Kind words around an insult do not dilute it."""
        answer = "Thank you for asking. You are stupid. Have a lovely day."
        judgement = ToxicityJudge("t", rule_classifier).judge([case(answer)])[0]
        assert judgement.score == pytest.approx(0.9)
        assert judgement.evidence["worst"] == "You are stupid."

    def test_an_insult_at_the_end_of_a_long_sentence_is_seen(self, rule_classifier):
        """A sentence longer than the model reads is cut, not truncated."""
        answer = " ".join(["kind"] * 60) + " stupid."
        assert ToxicityJudge("t", rule_classifier).judge([case(answer)])[0].score == pytest.approx(0.9)

    def test_a_dead_classifier_is_never_safe(self, rule_classifier):
        """An exception becomes a typed null, for each case by itself."""
        rule_classifier.probabilities = lambda texts: 1 / 0
        judgements = ToxicityJudge("t", rule_classifier).judge([case("Fine."), case("")])
        assert judgements[0].score is None
        assert judgements[0].error.kind == "judge_failed"
        assert (judgements[1].score, judgements[1].label) == (0.0, "empty")


def test_a_missing_answer_is_unscored_everywhere(table_classifier, rule_classifier, word_embedder, word_pairs):
    """An answer that failed to come is nobody's zero."""
    entailer = Entailer(table_classifier({}))
    judges = [
        CorrectnessJudge("c", entailer), HallucinationJudge("h", entailer), EntailmentJudge("e", entailer),
        ToxicityJudge("t", rule_classifier), RelevancyJudge("r", word_embedder, word_pairs),
    ]  # fmt: skip
    for judge in judges:
        judgement = judge.judge([case(None)])[0]
        assert judgement.score is None
        assert judgement.error.kind == "no_answer"
