"""G-Eval: what becomes of distributions, tokens and replies. The forms themselves are files."""

import math

import pytest

from harness.errors import ModelError, UserError
from harness.records import Case, Completion, ReplyToken
from harness.suite.grammar import GEvalSpec
from judges.geval import EndpointScores, ExactScores, GEvalJudge, build_geval, fill, read_score, write_steps

CASE = Case(id="1", answer="Rest and call us.", input="My back hurts.")


class Scorer:
    """A local model with fixed likelihoods."""

    key = "scorer"

    def __init__(self, probabilities):
        self.probabilities, self.calls = probabilities, []

    def log_likelihoods(self, prompts, choices):
        self.calls.append((len(prompts), list(choices)))
        return [[math.log(self.probabilities[c]) for c in choices] for _ in prompts]


class Endpoint:
    """An endpoint with scripted logprobs and replies."""

    key = "endpoint"

    def __init__(self, logprobs=None, replies=(), error=None):
        self.logprobs, self.replies, self.error, self.asked = logprobs, list(replies), error, 0

    def reply_tokens(self, messages, *, temperature, max_new_tokens):
        self.asked += 1
        if self.error:
            raise self.error
        if self.logprobs is None:
            return None
        found = tuple((t, math.log(p)) for t, p in self.logprobs)
        return [ReplyToken(text=found[0][0], logprob=found[0][1], alternatives=found)]

    def sample(self, messages, *, n, temperature, max_new_tokens):
        assert (n, temperature) == (len(self.replies), 1.0)
        return self.replies


def judged(distribution, scale=(1, 5), case=CASE):
    """The judgement of one case."""
    judge = GEvalJudge("g", distribution, criteria="Kind.", steps=["Read.", "Grade."], scale=scale)
    return judge.judge([case])[0]


def endpoint(logprobs=None, replies=(), scale=(1, 5), mode="auto", error=None):
    """An endpoint's distribution on a scale."""
    return EndpointScores(Endpoint(logprobs, replies, error), scale, samples=len(replies) or 20, mode=mode)


class TestExact:
    """Likelihoods of score strings."""

    def test_the_score_is_the_expectation_over_the_declared_scale(self):
        """0.5 on 4 and 0.5 on 5 of 1..5 is 4.5 raw, 0.875 normalised, whatever mass lies elsewhere."""
        scorer = Scorer({"1": 1e-9, "2": 1e-9, "3": 1e-9, "4": 0.2, "5": 0.2})
        judgement = judged(ExactScores(scorer, (1, 5)))
        assert judgement.score == pytest.approx(0.875, abs=1e-6)
        assert judgement.evidence["mode"] == "exact"
        assert judgement.evidence["valid_mass"] == pytest.approx(0.4, abs=1e-6)
        assert sum(judgement.evidence["distribution"].values()) == pytest.approx(1.0, abs=1e-5)

    def test_every_score_of_a_wide_scale_is_asked(self):
        """0..10 asks eleven strings: ten is no special case."""
        scorer = Scorer({str(s): 1 / 11 for s in range(11)})
        assert judged(ExactScores(scorer, (0, 10)), scale=(0, 10)).score == pytest.approx(0.5)
        assert scorer.calls == [(1, [str(s) for s in range(11)])]

    def test_equal_forms_are_asked_once(self):
        """The same answer to the same question costs one forward."""
        scorer = Scorer({str(s): 0.2 for s in range(1, 6)})
        judge = GEvalJudge("g", ExactScores(scorer, (1, 5)), criteria="c", steps=["s"], scale=(1, 5))
        assert len(judge.judge([CASE, CASE, CASE])) == 3
        assert scorer.calls[0][0] == 1


class TestTopk:
    """First-token alternatives; the seven cases in which a known library goes wrong."""

    @pytest.mark.parametrize(
        ("alternatives", "raw"),
        [
            ([("4", 0.5), ("5", 0.5)], 4.5),
            ([(" 4", 0.25), ("4", 0.25), ("▁5", 0.25), ("5\n", 0.25)], 4.5),
            ([("4", 0.6), ("42", 0.2), ("100", 0.2)], 4.0),
            ([("4", 0.93), ("5", 0.009), ("3", 0.009), ("x", 0.05)], (4 * 0.93 + 8 * 0.009) / 0.948),
            ([("**4**", 0.9), ("٣", 0.1)], 4.0),
        ],
    )
    def test_alternatives_are_merged_ranged_and_weighed(self, alternatives, raw):
        """Token shapes are one score, out-of-range and non-ASCII digits none, small masses are kept."""
        judgement = judged(endpoint(alternatives))
        assert judgement.evidence["raw"] == pytest.approx(raw)
        assert judgement.score == pytest.approx((raw - 1) / 4)

    def test_too_little_valid_mass_is_no_score(self):
        """A model that hardly considers a score has not given one."""
        judgement = judged(endpoint([("Sure", 0.8), ("5", 0.2)]))
        assert judgement.score is None
        assert judgement.error.kind == "low_valid_mass"

    def test_scales_beyond_one_digit_are_sampled(self):
        """'10' may be two tokens at an endpoint, so first-token weights would mix it with 1."""
        assert endpoint(scale=(0, 10), replies=["10"]).mode == "sampled"
        with pytest.raises(UserError, match="mode: topk"):
            endpoint(scale=(1, 10), mode="topk")

    def test_a_failing_endpoint_is_a_null(self):
        """An unreachable judge leaves the sample unscored."""
        judgement = judged(endpoint(error=ModelError("no route")))
        assert judgement.score is None
        assert judgement.error.kind == "judge_unreachable"


class TestSampled:
    """Draws at temperature 1 where no logprobs are given."""

    def test_unreadable_draws_are_left_out_and_counted(self):
        """Three readable draws of four: mean 4, standard error 1/sqrt(3); never a zero."""
        judgement = judged(endpoint(None, ["3", "Score: 4", "I think it is fine", "**5**"]))
        assert judgement.evidence["raw"] == pytest.approx(4.0)
        assert judgement.evidence["unparsable"] == 1
        assert judgement.evidence["standard_error"] == pytest.approx(1 / math.sqrt(3))

    def test_no_readable_draw_is_no_score(self):
        """All prose is an error, not the lowest grade."""
        judgement = judged(endpoint(None, ["well", "hm"]))
        assert judgement.score is None
        assert judgement.error.kind == "unparsable"

    def test_missing_logprobs_are_remembered(self):
        """One endpoint is asked once whether it gives logprobs."""
        distribution = endpoint(None, ["3", "3"])
        judge = GEvalJudge("g", distribution, criteria="c", steps=["s"], scale=(1, 5))
        judge.judge([CASE, Case(id="2", answer="Other.", input="My back hurts.")])
        assert distribution._sampler.asked == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4", 4), (" 4.5", 4.5), ("Score: 3", 3), ("- Score: 2", 2), ("8/10", None), ("0", None), ("four", None), ("", None),
     ("4 because", 4), ("\"5\"", 5), ("-1", None), ("4.0", 4), ("step 4", None)],
)  # fmt: skip
def test_reading_a_score(text, expected):
    """A reply must start with a score of the scale 1..5; nothing is guessed from digits further on."""
    assert read_score(text, (1, 5)) == expected


def test_placeholders_in_an_answer_stay_text():
    """Filling is one pass: an answer cannot pull another field in, and braces do not crash it."""
    assert fill("A: {answer} L: {low}", {"answer": "{low} {x}", "low": "1"}) == "A: {low} {x} L: 1"


class Writer:
    """A generator that writes a fixed text and counts its calls."""

    key = "writer"

    def __init__(self, text):
        self.text, self.calls = text, 0

    def generate(self, prompts, settings):
        self.calls += 1
        yield [(0, Completion(text=self.text))]


class Room:
    """Models for `build_geval`."""

    def __init__(self, writer):
        self.writer = writer

    def choice_scorer(self, spec):
        return Scorer({str(s): 0.2 for s in range(1, 6)})

    def generator(self, spec):
        return self.writer


def test_steps_are_written_once_for_all_candidates_and_runs(tmp_path):
    """The second build reads the kept steps: same steps, same hash, no call."""
    writer = Writer("Sure:\n1. Read it.\n2) Grade it.\n")
    spec = GEvalSpec.model_validate(
        {"kind": "geval", "criteria": "Kind.", "model": {"kind": "transformers", "path": "embedded:clinic-base"}}
    )
    first = build_geval("g", spec, Room(writer), steps_folder=tmp_path)
    second = build_geval("g", spec, Room(writer), steps_folder=tmp_path)
    assert writer.calls == 1
    assert first.steps_hash == second.steps_hash
    assert first.fingerprint == second.fingerprint


def test_a_model_that_writes_no_steps_says_what_to_do():
    """Without steps there is no judge; the way out is to pin them."""
    with pytest.raises(ModelError, match="Pin them"):
        write_steps("g", "Write steps.", Writer("I would rather chat."))


def test_other_criteria_are_another_judge():
    """The fingerprint holds criteria, steps and scale, so a stored judgement is never reused for another form."""

    def make(criteria="a", steps=("s",), scale=(1, 5)):
        return GEvalJudge("g", ExactScores(Scorer({}), scale), criteria=criteria, steps=steps, scale=scale).fingerprint

    assert len({make(), make(criteria="b"), make(steps=("t",)), make(scale=(1, 4))}) == 4
