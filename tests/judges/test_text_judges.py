"""Correctness, hallucination, entailment, toxicity and relevancy on scripted models: scores that can be computed by hand."""

import pytest

from harness.records import Case
from judges.correctness import CorrectnessJudge
from judges.entailment import EntailmentJudge
from judges.hallucination import HallucinationJudge
from judges.nli import Entailer
from judges.relevancy import RelevancyJudge
from judges.toxicity import ToxicityJudge

REFERENCE = "It is a strain of the muscle fibre. You should rest the leg for two days."
TABLE = {
    (REFERENCE, "It is surely a strain of the muscle."): (0.9, 0.1, 0.0),
    (REFERENCE, "You should run a marathon on it tomorrow."): (0.0, 0.1, 0.9),
    (REFERENCE, "The clinic opens at nine every single day."): (0.0, 1.0, 0.0),
    ("strain", "It is a strain of the muscle fibre."): (0.8, 0.2, 0.0),
}


def case(answer, **fields):
    """A case with the reference above."""
    return Case(id="1", answer=answer, input="What is wrong with my leg?", **{"references": (REFERENCE,), **fields})


@pytest.fixture
def entailer(table_classifier):
    """The NLI model of this module's table."""
    return Entailer(table_classifier(TABLE))


class TestCorrectness:
    """Support by the reference, both ways."""

    def test_forward_is_the_mean_support(self, entailer):
        """(0.9 - 0) and (0 - 0) average to 0.45."""
        judge = CorrectnessJudge("c", entailer, direction="forward")
        answer = "It is surely a strain of the muscle. The clinic opens at nine every single day."
        assert judge.judge([case(answer)])[0].score == pytest.approx(0.45)

    def test_a_contradiction_counts_against(self, entailer):
        """An entailed and a contradicted sentence cancel out: (0.9 - 0.9) / 2."""
        judge = CorrectnessJudge("c", entailer, direction="forward")
        answer = "It is surely a strain of the muscle. You should run a marathon on it tomorrow."
        judgement = judge.judge([case(answer)])[0]
        assert judgement.score == pytest.approx(0.0)
        assert judgement.label == "contradicted"

    def test_both_is_the_harmonic_mean(self, entailer):
        """Forward 0.9 and backward (0.8 + 0) / 2 = 0.4 give 2 * 0.36 / 1.3."""
        judge = CorrectnessJudge("c", entailer)
        judgement = judge.judge([case("It is surely a strain of the muscle.")])[0]
        assert judgement.score == pytest.approx(2 * 0.9 * 0.4 / 1.3)
        assert {row["direction"] for row in judgement.evidence["sentences"]} == {"forward", "backward"}

    def test_the_best_of_several_references_counts(self, entailer):
        """A second, useless reference takes nothing away."""
        judge = CorrectnessJudge("c", entailer, direction="forward")
        answer = "It is surely a strain of the muscle."
        references = ("Something else entirely is written in here.", REFERENCE)
        assert judge.judge([case(answer, references=references)])[0].score == pytest.approx(0.9)

    def test_a_short_reference_is_read_with_the_question(self, table_classifier):
        """Name answers become statements by the question in front."""
        table = {("Who designed it? Raymond Unwin", "Who designed it? It was Unwin"): (0.8, 0.2, 0.0)}
        judge = CorrectnessJudge("c", Entailer(table_classifier(table)), direction="forward")
        short = Case(id="1", answer="It was Unwin", input="Who designed it?", references=("Raymond Unwin",))
        assert judge.judge([short])[0].score == pytest.approx(0.8)


class TestHallucination:
    """The ungrounded share, by the strongest ground there is."""

    def test_with_a_context_unsupported_counts(self, entailer):
        """1 - 0.9 and 1 - 0 average to 0.55; nothing is contradicted."""
        answer = "It is surely a strain of the muscle. The clinic opens at nine every single day."
        judgement = HallucinationJudge("h", entailer).judge([case(answer, contexts=(REFERENCE,))])[0]
        assert judgement.score == pytest.approx(0.55)
        assert judgement.evidence["basis"] == "context"
        assert judgement.evidence["contradicted"] == 0.0

    def test_with_a_reference_only_contradiction_counts(self, entailer):
        """The sentence beside the point costs nothing, the contradicted one 0.9."""
        answer = "The clinic opens at nine every single day. You should run a marathon on it tomorrow."
        assert HallucinationJudge("h", entailer).judge([case(answer)])[0].score == pytest.approx(0.45)

    def test_with_samples_inconsistency_counts(self, table_classifier):
        """One sample agrees (0.8 against 0), one disagrees (0.2 against 0.6): (0 + 0.75) / 2."""
        table = {("agree", "It is so."): (0.8, 0.2, 0.0), ("differ", "It is so."): (0.2, 0.2, 0.6)}
        judge = HallucinationJudge("h", Entailer(table_classifier(table)))
        judgement = judge.judge([Case(id="1", answer="It is so.", samples=("agree", "differ"))])[0]
        assert judgement.score == pytest.approx(0.375)

    def test_without_any_ground_there_is_no_score(self, entailer):
        """Nothing to hold the answer against is an error, not a clean bill."""
        judgement = HallucinationJudge("h", entailer).judge([Case(id="1", answer="It is so.")])[0]
        assert judgement.score is None
        assert judgement.error.kind == "missing_input"


def test_entailment_is_the_pair_itself(entailer):
    """The whole answer is the hypothesis; the evidence holds the three probabilities."""
    judgement = EntailmentJudge("e", entailer).judge([case("It is surely a strain of the muscle.")])[0]
    assert (judgement.score, judgement.label) == (0.9, "entailment")
    assert judgement.evidence == {"entailment": 0.9, "neutral": 0.1, "contradiction": 0.0}


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


class TestRelevancy:
    """On the question, without padding, evasion or echo."""

    def test_order_of_good_and_bad_answers(self, word_embedder):
        """Advice beats padded advice beats digression; evasion and echo fall behind advice."""
        judge = RelevancyJudge("r", word_embedder)

        def score(answer):
            return judge.judge([case(answer)])[0].score

        advice = "What is wrong with your leg is likely a strain."
        assert score(advice) > score(advice + " Bananas grow in Ecuador. Trains run late.") > score("Bananas grow.")
        assert score("I don't know what is wrong with your leg.") == 0.0
        assert score("What is wrong with my leg?") == 0.0

    def test_empty_answers_are_not_relevant(self, word_embedder):
        """Silence scores 0 and is labelled so."""
        judgement = RelevancyJudge("r", word_embedder).judge([case("  ")])[0]
        assert (judgement.score, judgement.label) == (0.0, "empty")


def test_a_missing_answer_is_unscored_everywhere(entailer, rule_classifier, word_embedder):
    """An answer that failed to come is nobody's zero."""
    judges = [
        CorrectnessJudge("c", entailer), HallucinationJudge("h", entailer), EntailmentJudge("e", entailer),
        ToxicityJudge("t", rule_classifier), RelevancyJudge("r", word_embedder),
    ]  # fmt: skip
    for judge in judges:
        judgement = judge.judge([case(None)])[0]
        assert judgement.score is None
        assert judgement.error.kind == "no_answer"
