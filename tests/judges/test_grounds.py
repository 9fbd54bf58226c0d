"""Correctness, hallucination, entailment and retrieval on scripted NLI models, where what must come out is known."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import Case
from judges.correctness import AGAINST, FEATURES, CorrectnessJudge, compare, nearest_references
from judges.entailment import EntailmentJudge
from judges.grounding import claims_of, ground, is_evasion, nearest_sentences
from judges.hallucination import HallucinationJudge
from judges.nli import Entailer
from judges.retrieval import ContextRelevanceJudge, GroundingJudge
from judges.sentences import split_sentences
from judges.weights import FOLDER, Weights
from judges.wording import share, wording

REFERENCE = "It is a strain of the muscle fibre. You should rest the leg for two days."
RIGHT = "The muscle is strained."
WRONG = "You should run a marathon tomorrow."
BESIDE = "Zebras live in Kenya."


class Opinions:
    """An NLI model with an opinion of each sentence, whatever the premise: the last sentence of `opinions` in the hypothesis.

    Counts its calls. One word is one token.
    """

    labels = ("entailment", "neutral", "contradiction")
    key = "opinions"

    def __init__(self, opinions, max_tokens=512):
        self.opinions, self.max_tokens, self.asked = opinions, max_tokens, []

    def probabilities(self, pairs):
        self.asked += pairs
        return [self._of(hypothesis) for _, hypothesis in pairs]

    def _of(self, hypothesis):
        found = [row for sentence, row in self.opinions.items() if sentence in hypothesis]
        return min(found) if found else (0.0, 1.0, 0.0)

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


OPINIONS = {RIGHT: (0.9, 0.1, 0.0), WRONG: (0.0, 0.1, 0.9), BESIDE: (0.0, 1.0, 0.0), "strain of the": (0.8, 0.2, 0.0)}


def case(answer, **fields):
    """A case with the reference above."""
    return Case(id="1", answer=answer, **{"references": (REFERENCE,), **fields})


def judged(judge, *cases):
    """The judgements, each with a score."""
    judgements = judge.judge(cases)
    assert all(judgement.error is None for judgement in judgements), judgements
    return judgements


def score(judge, *cases):
    """The scores."""
    return [judgement.score for judgement in judged(judge, *cases)]


@pytest.fixture
def correctness():
    """The judge on the opinions above."""
    return CorrectnessJudge("c", Entailer(Opinions(OPINIONS)))


@pytest.fixture
def hallucination():
    """The judge on the opinions above."""
    return HallucinationJudge("h", Entailer(Opinions(OPINIONS)))


@pytest.mark.parametrize(("judge", "parts"), [("correctness", FEATURES), ("hallucination", None)])
def test_no_evidence_counts_the_wrong_way(judge, parts):
    """Every stored weight has the sign that its feature's definition says."""
    document = json.loads((FOLDER / judge / "weights.json").read_text())
    for part, row in document["parts"].items():
        if parts is not None:
            assert tuple(row["coefficients"]) == parts[part]
        for name, weight in row["coefficients"].items():
            assert (weight <= 0) if name in AGAINST and parts else (weight >= 0), (part, name)


def test_a_probability_is_the_logistic_of_the_weighted_sum():
    """1 / (1 + exp(-(1 + 2 * 0.5 - 3 * 1))) = 1 / (1 + e), and the contributions add up to it."""
    weights = Weights(1.0, {"a": 2.0, "b": -3.0}, "model", "key")
    features = {"a": 0.5, "b": 1.0}
    assert weights.probability(features) == pytest.approx(1 / (1 + 2.718281828459045))
    explained = weights.explain(features, "key")
    assert sum(row["contribution"] for row in explained["features"].values()) + explained["intercept"] == -1.0
    assert "weights_fitted_with" not in explained
    assert weights.explain(features, "another")["weights_fitted_with"] == "model"


class TestCorrectness:
    """What the reference entails, against what it contradicts."""

    def test_right_beats_beside_the_point_beats_wrong(self, correctness):
        """Entailment counts for, contradiction against."""
        right, beside, wrong = score(correctness, case(RIGHT), case(BESIDE), case(WRONG))
        assert right > beside > wrong

    def test_a_contradiction_counts_against_whatever_else_is_entailed(self, correctness):
        """The right sentence with a contradicted one scores less than alone, and the evidence names the contradiction."""
        alone, spoilt = judged(correctness, case(RIGHT), case(f"{RIGHT} {WRONG}"))
        assert spoilt.score < alone.score
        rows = {
            row["sentence"]: row["contradicted"]
            for row in spoilt.evidence["sentences"]
            if row["direction"] == "forward"
        }
        assert rows == {RIGHT: False, WRONG: True}

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_adding_a_contradicted_sentence_never_raises_the_score(self, data):
        """Wherever it is put, and whatever words it shares with the reference."""
        words = st.sampled_from(
            ["strain", "muscle", "fibre", "rest", "leg", "two", "days", "not", "never", "Kenya", "twelve", "run"]
        )
        sentence = st.lists(words, min_size=1, max_size=5).map(lambda found: " ".join(found).capitalize() + ".")
        sentences = data.draw(st.lists(sentence, min_size=1, max_size=4, unique=True))
        added = data.draw(sentence.filter(lambda found: found not in sentences))
        opinion = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda p: (p[0] * (1 - p[1]), 0.0, p[1]))
        table = {s: data.draw(opinion) for s in sentences}
        table |= {added: (0.0, 0.1, data.draw(st.floats(0.5, 1)))}

        class Model(Opinions):
            def _of(self, hypothesis):
                return table.get(hypothesis, (0.3 + 0.4 * (len(hypothesis) % 2), 0.3, 0.0))

        at = data.draw(st.integers(0, len(sentences)))
        longer = [*sentences[:at], added, *sentences[at:]]
        judge = CorrectnessJudge("c", Entailer(Model({})))
        before, after = score(judge, case(" ".join(sentences)), case(" ".join(longer)))
        assert after <= before + 1e-12

    def test_any_one_of_several_references_will_do(self, correctness):
        """The best counts, in whatever order they stand, and the evidence names it."""
        references = [
            REFERENCE,
            "Nothing of the kind is said here.",
            "Strain.",
            "A broken leg needs a plaster cast.",
            "Rest.",
        ]
        expected = max(
            score(
                correctness,
                *[case(RIGHT, references=(r,)) for r in nearest_references(case(RIGHT, references=tuple(references)))],
            )
        )
        for seed in range(5):
            random.Random(seed).shuffle(references)
            assert score(correctness, case(RIGHT, references=tuple(references))) == [pytest.approx(expected, abs=1e-12)]

    def test_a_short_answer_is_read_with_its_question(self):
        """Question and reference are the premise, question and answer the hypothesis, and the other way round."""
        model = Opinions({})
        judge = CorrectnessJudge("c", Entailer(model))
        judge.judge([case("It was Unwin", input="Who designed it?", references=("Raymond Unwin",))])
        statement, answer = "Who designed it? Raymond Unwin", "Who designed it? It was Unwin"
        assert model.asked == [(statement, answer), (answer, statement)]

    def test_a_letter_is_no_question(self):
        """An input of more than 40 words stands before nothing."""
        model = Opinions({})
        CorrectnessJudge("c", Entailer(model)).judge(
            [case("It was Unwin", input="word " * 41, references=("Raymond Unwin",))]
        )
        assert model.asked == [("Raymond Unwin", "It was Unwin"), ("It was Unwin", "Raymond Unwin")]

    def test_slashes_in_a_short_reference_part_alternatives(self):
        """Names do, units and sentences do not."""
        names = nearest_references(case("Raymond Unwin", references=("planner Raymond Unwin/Barry Parker",)))
        assert set(names) == {"planner Raymond Unwin/Barry Parker", "planner Raymond Unwin", "Barry Parker"}
        for whole in ("120 km/h", "11/11/1918", "Take one. Use gel and/or cream afterwards."):
            assert nearest_references(case("It.", references=(whole,))) == [whole]

    @pytest.mark.parametrize("direction", ["forward", "backward", "both"])
    def test_evidence_after_token_2000_of_a_reference_is_found(self, direction, table_classifier):
        """The planted sentence entails the answer, though the model reads 64 tokens at once."""
        filler = " ".join(f"Filler sentence number {i} says nothing." for i in range(400))
        planted = {("takes warfarin daily", "Warfarin is taken."): (0.9, 0.08, 0.02)}
        cases = [
            case("Warfarin is taken.", references=(f"{filler} {part} {filler}",))
            for part in ("The patient takes warfarin daily.", "")
        ]
        found, absent = compare(Entailer(table_classifier(planted)), cases, direction=direction)
        row = found[0].sentences[0]
        assert (row["label"], row["entailment"]) == ("entailment", 0.9)
        assert "takes warfarin daily" in row["premise"]
        assert absent[0].sentences[0]["label"] == "neutral"

    def test_forward_is_blind_to_what_is_left_out_and_backward_to_what_is_added(self):
        """Half an answer is precise; an answer with an aside covers all."""
        half = "You should rest the leg for two days."
        table = {half: (0.9, 0.1, 0.0), "It is a strain of the muscle fibre.": (0.9, 0.1, 0.0)}
        entailer = Entailer(Opinions(table))
        whole, aside = case(REFERENCE), case(f"{REFERENCE} {BESIDE}")
        forward, backward = (CorrectnessJudge("c", entailer, direction=d) for d in ("forward", "backward"))
        assert score(forward, case(half)) == score(forward, whole) > score(forward, aside)
        assert score(backward, whole) == score(backward, aside) > score(backward, case(half))

    @pytest.mark.parametrize(
        "answer",
        [
            "",
            "  \n ",
            "I don't know.",
            "As an AI language model, I cannot say.",
            "I'm sorry, but I couldn't find any information about it.",
        ],
    )
    def test_saying_nothing_scores_nothing(self, correctness, answer):
        """Blank answers and refusals score 0 and say so."""
        judgement = judged(correctness, case(answer, input="Who was it?"))[0]
        assert (judgement.score, judgement.label) == (0.0, "refusal" if answer.strip() else "empty")

    def test_declining_is_right_where_the_reference_declines(self, correctness):
        """Then it is compared like any answer."""
        judgement = judged(correctness, case("I don't know.", references=("I do not know.",)))[0]
        assert judgement.label != "refusal"

    def test_the_wrong_number_or_name_counts_against(self, correctness):
        """The same NLI opinion, another number: less; another name: less."""
        reference = ("The dose given to Anna Miller was 40 mg.",)
        right, number, name = score(
            correctness,
            case("The dose given to Anna Miller was 40 mg.", references=reference),
            case("The dose given to Anna Miller was 80 mg.", references=reference),
            case("The dose given to Maria Stone was 40 mg.", references=reference),
        )
        assert right > number
        assert right > name


class TestHallucination:
    """What context, reference or samples do not bear out."""

    def test_unsupported_beats_supported(self, hallucination):
        """Of a supported claim, a mix and an unsupported one, the score rises."""
        cases = [case(answer, contexts=(REFERENCE,)) for answer in (RIGHT, f"{RIGHT} {BESIDE}", BESIDE)]
        supported, mixed, unsupported = judged(hallucination, *cases)
        assert supported.score < mixed.score < unsupported.score
        assert mixed.evidence["basis"] == "context"
        assert mixed.evidence["contradicted"] == 0.0

    def test_joining_halves_of_two_sentences_counts_against(self):
        """Words and phrases of the context are repeated alike; only one of the answers keeps to one of its sentences."""
        judge = HallucinationJudge("h", Entailer(Opinions({})))
        context = "Red green blue. Old new tall."
        kept, joined = judged(
            judge, *[case(a, contexts=(context,)) for a in ("Green blue red green.", "Red green new tall.")]
        )
        of_kept, of_joined = (
            {name: row["value"] for name, row in judgement.evidence["features"].items()} for judgement in (kept, joined)
        )
        assert {name for name in of_kept if of_kept[name] != of_joined[name]} == {"joined"}
        assert (of_kept["joined"], of_joined["joined"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
        assert joined.score > kept.score

    def test_a_fact_among_many_is_found_by_the_nearest_sentences(self):
        """An NLI model that is lost in more than two sentences supports the claim all the same."""

        class Lost(Opinions):
            def probabilities(self, pairs):
                return [(0.9, 0.1, 0.0) if premise.count(".") <= 2 else (0.1, 0.9, 0.0) for premise, _ in pairs]

        context = f"{BESIDE} The strain of the muscle is slight. Crayons are made of wax. {BESIDE}"
        judgement = judged(HallucinationJudge("h", Entailer(Lost({}))), case(RIGHT, contexts=(context,)))[0]
        assert judgement.evidence["features"]["nearest"]["value"] == pytest.approx(0.1)
        assert judgement.evidence["features"]["unsupported"]["value"] == pytest.approx(0.9)
        assert "strain of the muscle" in judgement.evidence["sentences"][0]["nearest"]["premise"]

    @settings(max_examples=50, deadline=None)
    @given(
        words=st.lists(
            st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4), min_size=1, max_size=6, unique_by=tuple
        ),
        said=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True),
    )
    def test_no_sentence_shares_more_words_than_the_nearest(self, words, said):
        """At most two sentences of the context, in their order, and none that is left out shares more."""
        sentences = [" ".join(f"x{word}x" for word in row).capitalize() + "." for row in words]
        context, claim = " ".join(sentences), " ".join(f"x{word}x" for word in said)
        found = split_sentences(nearest_sentences(context, claim))
        assert len(found) == min(2, len(sentences))
        assert [s for s in sentences if s in found] == found

        def shared(sentence):
            return share(wording(claim).tokens, set(wording(sentence).tokens))

        others = [s for s in sentences if s not in found]
        assert max(map(shared, others), default=0) <= min(map(shared, found))

    def test_contradicted_claims_are_counted_apart(self, hallucination):
        """One of two claims is contradicted."""
        judgement = judged(hallucination, case(f"{WRONG} {BESIDE}", contexts=(REFERENCE,)))[0]
        assert judgement.evidence["contradicted"] == 0.5
        assert judgement.label == "contradicted"

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_appending_an_unsupported_claim_never_lowers_the_score(self, data):
        """Of a claim that nothing supports: no entailment, and no word of the context."""
        words = st.sampled_from(
            ["strain", "muscle", "fibre", "rest", "leg", "two", "days", "Kenya", "Paris", "twelve", "run"]
        )
        sentence = st.lists(words, min_size=1, max_size=5).map(lambda found: " ".join(found).capitalize() + ".")
        sentences = data.draw(st.lists(sentence, min_size=1, max_size=4, unique=True))
        table = {s: (e := data.draw(st.floats(0, 1)), (1 - e) / 2, (1 - e) / 2) for s in sentences}
        judge = HallucinationJudge("h", Entailer(Opinions(table)))
        answer = " ".join(sentences)
        before, after = score(judge, *[case(a, contexts=(REFERENCE,)) for a in (answer, f"{answer} {BESIDE}")])
        assert after >= before - 1e-12

    def test_with_a_reference_only_contradiction_counts(self, hallucination):
        """Half the mean (0 + 0.81) / 2 and half the worst 0.81; the sentence beside the point costs nothing."""
        judgement = judged(hallucination, case(f"{BESIDE} {WRONG}"))[0]
        assert judgement.score == pytest.approx((0.405 + 0.81) / 2)
        assert judgement.evidence["basis"] == "reference"
        assert score(hallucination, case(BESIDE)) == [0.0]

    def test_the_kindest_reference_counts(self, table_classifier):
        """Contradicted by one reference and not by the other is not contradicted."""
        table = {("One", "It is so today."): (0.0, 0.2, 0.8), ("Other", "It is so today."): (0.6, 0.3, 0.1)}
        judge = HallucinationJudge("h", Entailer(table_classifier(table)))
        assert score(judge, case("It is so today.", references=("One", "Other"))) == [pytest.approx(0.01)]

    def test_with_samples_inconsistency_counts(self, table_classifier):
        """One sample agrees (0.8 against 0), one disagrees (0.2 against 0.6): (0 + 0.75) / 2."""
        table = {("agree", "It is so today."): (0.8, 0.2, 0.0), ("differ", "It is so today."): (0.2, 0.2, 0.6)}
        judge = HallucinationJudge("h", Entailer(table_classifier(table)))
        judgement = judged(judge, Case(id="1", answer="It is so today.", samples=("agree", "differ")))[0]
        assert judgement.score == pytest.approx(0.375)

    @pytest.mark.parametrize(("consistent", "expected"), [(True, 0.0), (False, 1.0)])
    def test_consistent_samples_are_no_hallucination_and_contradictory_ones_are(self, consistent, expected):
        """A model that always entails gives 0, one that always contradicts 1."""
        row = (1.0, 0.0, 0.0) if consistent else (0.0, 0.0, 1.0)
        judge = HallucinationJudge("h", Entailer(Opinions({"Kenya": row})))
        assert score(judge, Case(id="1", answer=BESIDE, samples=("a", "b", "c"))) == [expected]

    def test_without_any_ground_there_is_no_score(self, hallucination):
        """Nothing to hold the answer against is an error, not a clean bill."""
        judgement = hallucination.judge([Case(id="1", answer=BESIDE)])[0]
        assert judgement.score is None
        assert judgement.error.kind == "missing_input"

    @pytest.mark.parametrize(
        ("answer", "label"),
        [
            (" ", "empty"),
            ("I don't know.", "refusal"),
            ("Hello! Thank you so much.", "no claims"),
            ("Yes, I see. How is the leg?", "no claims"),
        ],
    )
    @pytest.mark.parametrize("basis", [{"contexts": (REFERENCE,)}, {}, {"references": (), "samples": ("a", "b")}])
    def test_an_answer_without_claims_hallucinates_nothing(self, hallucination, answer, label, basis):
        """Whatever it is held against, the score is 0 and the label says why."""
        judgement = judged(hallucination, case(answer, input="What about my leg?", **basis))[0]
        assert (judgement.score, judgement.label) == (0.0, label)

    def test_a_question_beside_a_claim_is_not_asked_about(self):
        """The NLI model hears of the claim alone."""
        model = Opinions(OPINIONS)
        judged(
            HallucinationJudge("h", Entailer(model)),
            case(f"Hello! {RIGHT} Is that all? I love that.", contexts=(REFERENCE,)),
        )
        assert {hypothesis for _, hypothesis in model.asked} == {RIGHT}

    def test_a_made_up_name_or_number_counts_though_the_model_is_fooled(self):
        """With the same opinion of the NLI model, what the context does not hold costs."""
        judge = HallucinationJudge("h", Entailer(Opinions({"treated": (0.9, 0.1, 0.0)})))
        context = ("Anna Miller treated 40 patients in the clinic.",)
        answers = (
            "The clinic treated 40 patients.",
            "The clinic treated 75 patients.",
            "The clinic treated Peter Stone.",
        )
        known, number, name = score(judge, *[case(answer, contexts=context) for answer in answers])
        assert number > known
        assert name > known


class TestRetrieval:
    """Who is to blame for a bad answer."""

    GOOD = (
        "The muscle fibre is strained and the leg needs rest for two days.",
        "A strain of the muscle fibre heals with rest.",
    )
    BAD = (BESIDE, "Trains to Nairobi run twice a day.")

    @pytest.fixture
    def judges(self, word_embedder):
        """Relevance, recall and faithfulness on an NLI model for which two texts entail by the share of their content words."""

        class Shared(Opinions):
            def probabilities(self, pairs):
                rows = [share(wording(hypothesis).stems, wording(premise).stems) for premise, hypothesis in pairs]
                return [(row, 1 - row, 0.0) for row in rows]

        entailer = Entailer(Shared({}))
        return (
            ContextRelevanceJudge("context_relevance", word_embedder),
            GroundingJudge("context_recall", "context_recall", entailer),
            GroundingJudge("faithfulness", "faithfulness", entailer),
        )

    def test_a_bad_answer_is_blamed_on_the_retriever_or_on_the_model(self, judges):
        """Wrong passages: low relevance and recall, though the answer is faithful. Wrong answer: high recall, unfaithful."""
        question = "How long should I rest the leg with a strain of the muscle fibre?"
        faithful_to_nothing = case(BESIDE, input=question, retrieved=self.BAD)
        made_up = case("Take antibiotics against tuberculosis for eleven months.", input=question, retrieved=self.GOOD)
        good = case("You should rest the leg for two days.", input=question, retrieved=self.GOOD)
        relevance, recall, faithfulness = (score(judge, faithful_to_nothing, made_up, good) for judge in judges)
        assert relevance[0] < relevance[1] == relevance[2]
        assert recall[0] < 0.5 < recall[1] == recall[2]
        assert faithfulness[1] < 0.5 < min(faithfulness[0], faithfulness[2])

    def test_faithfulness_is_one_minus_hallucination(self):
        """With the retrieved passages as context."""
        entailer = Entailer(Opinions(OPINIONS))
        faithful = score(
            GroundingJudge("f", "faithfulness", entailer), case(f"{RIGHT} {BESIDE}", retrieved=(REFERENCE,))
        )
        hallucinated = score(HallucinationJudge("h", entailer), case(f"{RIGHT} {BESIDE}", contexts=(REFERENCE,)))
        assert faithful == [pytest.approx(1 - hallucinated[0])]

    def test_an_irrelevant_passage_costs_relevance(self, judges):
        """The mean of two passages, of which the best is the one alone."""
        question = "Which muscle fibre is strained?"
        alone, padded = judged(
            judges[0], *[case("", input=question, retrieved=r) for r in (self.GOOD[:1], (self.GOOD[0], BESIDE))]
        )
        assert padded.score == pytest.approx((alone.score + 0.0) / 2, abs=1e-6)
        assert padded.evidence["best"] == pytest.approx(alone.score, abs=1e-6)

    def test_nothing_retrieved_is_no_score(self, judges):
        """A candidate that retrieves nothing is not judged for it."""
        for judge in judges:
            judgement = judge.judge([case(RIGHT, input="Why?")])[0]
            assert (judgement.score, judgement.error.kind) == (None, "missing_input")


TEXTS = st.text(alphabet=st.sampled_from("aAbe1 .,!?'\n-éß中。"), max_size=60)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_scores_lie_between_0_and_1_and_know_no_order(texts, rng):
    """Any text gets a score or a typed null; shuffling the batch moves no score by more than 1e-5."""

    class Model(Opinions):
        def probabilities(self, pairs):
            rows = [random.Random(repr(pair)).random() for pair in pairs]
            return [(row, (1 - row) / 2, (1 - row) / 2) for row in rows]

    cases = [
        Case(
            id=str(i),
            answer=a,
            input=b,
            references=(c or "x",),
            contexts=(b,) if b.strip() else (),
            retrieved=(c or "x",),
        )
        for i, (a, b, c) in enumerate(texts)
    ]
    shuffled = cases.copy()
    rng.shuffle(shuffled)
    for make in (
        lambda: CorrectnessJudge("c", Entailer(Model({}, max_tokens=64))),
        lambda: HallucinationJudge("h", Entailer(Model({}, max_tokens=64))),
        lambda: GroundingJudge("r", "context_recall", Entailer(Model({}, max_tokens=64))),
        lambda: GroundingJudge("f", "faithfulness", Entailer(Model({}, max_tokens=64))),
    ):
        straight = {j.id: j for j in make().judge(cases)}
        turned = {j.id: j for j in make().judge(shuffled)}
        for identity, judgement in straight.items():
            assert judgement.error is None
            assert 0.0 <= judgement.score <= 1.0
            assert judgement.score == pytest.approx(turned[identity].score, abs=1e-5)
            assert judgement.label == turned[identity].label


def test_one_sentence_of_1000_words_or_one_word_of_3000_letters_is_judged():
    """Both are cut to what the model reads, and all of it is asked."""
    for giant in (" ".join(f"word{i}" for i in range(1000)), "x" * 3000):

        class Letters(Opinions):
            def count_tokens(self, texts):
                return [(len(text) + 3) // 4 for text in texts]

        model = Letters({}, max_tokens=128)
        found = ground(Entailer(model), [(giant, REFERENCE, "")])[0]
        assert "".join(claim.text for claim in found.claims).replace(" ", "") == giant.replace(" ", "")
        assert all(sum(model.count_tokens(pair)) < 128 for pair in model.asked)


def test_entailment_is_the_pair_itself():
    """The whole answer is the hypothesis; the evidence holds the three probabilities."""
    judgement = judged(EntailmentJudge("e", Entailer(Opinions(OPINIONS))), case(RIGHT))[0]
    assert (judgement.score, judgement.label) == (0.9, "entailment")
    assert judgement.evidence == {"entailment": 0.9, "neutral": 0.1, "contradiction": 0.0}


def test_entailment_of_an_answer_longer_than_the_model_reads():
    """It is asked in parts that leave the premise room; the least entailed and the most contradicted part decide."""
    filler = "It is a strain of the calf. " * 30
    for planted, expected, label in [
        ("", (0.8, 0.2, 0.0), "entailment"),
        (f"{BESIDE} ", (0.0, 1.0, 0.0), "neutral"),
        (f"{WRONG} {BESIDE} ", (0.0, 0.1, 0.9), "contradiction"),
    ]:
        model = Opinions(OPINIONS, max_tokens=64)
        judgement = judged(EntailmentJudge("e", Entailer(model)), case(filler + planted + filler))[0]
        assert [judgement.evidence[name] for name in model.labels] == pytest.approx(expected)
        assert (judgement.score, judgement.label) == (expected[0], label)
        assert judgement.evidence["parts"] > 2
        assert all(sum(model.count_tokens(pair)) <= 64 for pair in model.asked)
        assert set(" ".join(hypothesis for _, hypothesis in model.asked).split()) >= set((filler + planted).split())


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("The dose is 40 mg.", True),
        ("Is it?", False),
        ("Hello!", False),
        ("Thank you very much.", False),
        ("I love that too.", False),
        ("I think so.", False),
        ("I like him because he won in 1990.", True),
        ("I know that he was a critic.", True),
        ("I am not sure, but it is grown in over 70 countries.", True),
        ("No, it is not.", True),
        ("Good luck!", False),
        ("I don't know.", False),
    ],
)
def test_what_a_claim_is(sentence, claims):
    """Beside another claim, questions, courtesies and chit-chat are none."""
    assert claims_of([sentence, BESIDE], "") == ([sentence] if claims else []) + [BESIDE]


def test_chit_chat_alone_is_a_claim_as_far_as_it_brings_something_in():
    """A question about a novel by Stephen King presupposes one; a question about the leg that was asked about does not."""
    assert claims_of(["Have you read the novel by Stephen King?"], "It is a novel.") != []
    assert claims_of(["Have you read the novel?"], "It is a novel that was read.") == []


@pytest.mark.parametrize(
    ("sentence", "evades"),
    [
        ("I don't know.", True),
        ("Sorry, I do not have access to real-time information.", True),
        ("I cannot answer that.", True),
        ("I'm sorry to hear that, but you can take ibuprofen.", False),
        ("The cause is unknown.", False),
        ("I don't know you, but rest is best.", False),
        ("You cannot find it in shops.", False),
        ("I don't know why, but some doctors advise against it.", False),
    ],
)
def test_what_an_evasion_is(sentence, evades):
    """Declining to answer, not regret or the unknown as a fact."""
    assert is_evasion(sentence) is evades


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("two tablets", "2 tablets"),
        ("1,500 mg", "1500 mg"),
        ("7.50", "7.5"),
        ("Garbiñe", "Garbine"),
        ("sleeping", "sleeps"),
        ("Anna's", "anna"),
    ],
)
def test_the_same_content_in_other_letters(left, right):
    """Digits or words, separators, accents, endings and capitals make no difference."""
    assert wording(left).stems == wording(right).stems != frozenset()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("it is so . he left .", 2),
        ("Dr. Who paid 3.5 p.m. on 5 Jan. 2020.", 1),
        ("really? yes", 2),
        ("i prefer bowling. my best score is 300.", 2),
        ("take aspirin approx. twice a day", 1),
        ("好。不。", 2),
        ("no end in sight", 1),
    ],
)
def test_sentences_of_untidy_text(text, count):
    """Tokenised, abbreviated, lower-case and Chinese text; nothing is lost."""
    pieces = split_sentences(text)
    assert len(pieces) == count
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
