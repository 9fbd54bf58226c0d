"""G-Eval: what becomes of distributions, tokens and replies. The forms themselves are files."""

import json
import math
import time
from dataclasses import replace

import pytest

from harness.errors import ModelError, UserError
from harness.records import Case, Completion, Failure, Message, ReplyToken
from harness.suite.grammar import GEvalSpec
from judges import JudgeBuilder
from judges.forms import fill, prompt_text
from judges.geval import Criterion, GEvalJudge, build_geval, write_steps
from judges.graders import Endpoint, EndpointGrader, ExactGrader
from judges.grades import read_score, read_token, score_offset
from tests.harness.models.tiny import make_tokenizer

CASE = Case(id="1", answer="Rest and call us.", input="My back hurts.")


class Scorer:
    """A local model with fixed likelihoods."""

    key = "scorer"

    def __init__(self, probabilities):
        self.probabilities, self.calls = probabilities, []

    def log_likelihoods(self, prompts, choices):
        self.calls.append((len(prompts), list(choices)))
        return [[math.log(self.probabilities[c]) for c in choices] for _ in prompts]


def token(*alternatives):
    """A token of a reply: the first of its (text, probability) alternatives is the one drawn."""
    found = tuple((text, math.log(p)) for text, p in alternatives)
    return ReplyToken(text=found[0][0], logprob=found[0][1], alternatives=found)


class Server:
    """A sampler behind which nothing is: `tokens` (at temperature 0: `cold`) and `replies` are what it says."""

    def __init__(self, tokens=None, replies=(), *, cold=None, digits=None, error=None, key="server"):
        self.tokens, self.replies, self.error, self.key = tokens, list(replies), error, key
        self.cold, self.digits = tokens if cold is None else cold, digits
        self.asked = []

    def reply_tokens(self, messages, *, temperature, max_new_tokens):
        text = messages[0].content
        self.asked.append((text, temperature))
        if self.error:
            raise self.error
        if text.startswith("Write the number"):
            return self.digits
        return self.tokens if temperature else self.cold

    def sample(self, messages, *, n, temperature, max_new_tokens):
        self.asked.append((messages[0].content, "draws", n, temperature))
        if self.error:
            raise self.error
        return self.replies[:n]


def grader(tokens=None, replies=(), scale=(1, 5), mode="auto", samples=None, **server):
    """An endpoint's grader on a scale."""
    endpoint = Endpoint(Server(tokens, replies, **server))
    number = f"Write the number {scale[1]} in digits, and nothing else."
    return EndpointGrader(endpoint, scale, samples=samples or len(replies) or 20, mode=mode, digits=number)


def judge_of(distribution, scale=(1, 5), criteria="Kind.", **options):
    """A judge with one criterion and two steps."""
    return GEvalJudge(
        "g", distribution, criteria=[Criterion(text=criteria, steps=("Read.", "Grade."))], scale=scale, **options
    )


def judged(distribution, scale=(1, 5), case=CASE, **options):
    """The judgement of one case."""
    return judge_of(distribution, scale, **options).judge([case])[0]


class TestExact:
    """Likelihoods of score strings."""

    def test_the_score_is_the_expectation_over_the_declared_scale(self):
        """0.5 on 4 and 0.5 on 5 of 1..5 is 4.5 raw, 0.875 normalised, whatever mass lies elsewhere."""
        scorer = Scorer({"1": 1e-9, "2": 1e-9, "3": 1e-9, "4": 0.2, "5": 0.2})
        judgement = judged(ExactGrader(scorer, (1, 5)))
        assert judgement.score == pytest.approx(0.875, abs=1e-6)
        assert judgement.evidence["mode"] == "exact"
        assert judgement.evidence["valid_mass"] == pytest.approx(0.4, abs=1e-6)
        assert sum(judgement.evidence["distribution"].values()) == pytest.approx(1.0, abs=1e-5)

    @pytest.mark.parametrize("scale", [(0, 10), (1, 10), (0, 100), (-2, 2)])
    def test_every_score_of_a_scale_is_asked(self, scale):
        """Ten is no special case; a uniform model is in the middle of any scale."""
        scores = [str(s) for s in range(scale[0], scale[1] + 1)]
        scorer = Scorer(dict.fromkeys(scores, 1 / len(scores)))
        assert judged(ExactGrader(scorer, scale), scale).score == pytest.approx(0.5)
        assert scorer.calls == [(1, scores)]

    def test_equal_forms_are_asked_once(self):
        """The same answer to the same question costs one forward."""
        scorer = Scorer({str(s): 0.2 for s in range(1, 6)})
        assert len(judge_of(ExactGrader(scorer, (1, 5))).judge([CASE, CASE, CASE])) == 3
        assert scorer.calls[0][0] == 1


def test_the_form_shows_a_whole_conversation():
    """Where the input is the last turn of a talk, all turns stand in its place; a single input is shown as ever."""
    turns = (
        Message(role="system", content="be kind"), Message(role="user", content="it {hurts}"),
        Message(role="assistant", content="where?"), Message(role="user", content="my back"),
    )  # fmt: skip
    seen = []

    class Reader(Scorer):
        def log_likelihoods(self, prompts, choices):
            seen.extend(turns[0].content for turns in prompts)
            return super().log_likelihoods(prompts, choices)

    reader = Reader({str(score): 0.2 for score in range(1, 6)})
    criteria = [Criterion(text="Kind.", steps=("Look.",))]
    judge = GEvalJudge("kind", ExactGrader(reader, (1, 5)), criteria=criteria, scale=(1, 5))
    single = Case(id="1", answer="rest", input="my back")
    judge.judge([single, replace(single, messages=turns)])
    asked = {"criteria": "Kind.", "steps": "1. Look.", "answer": "rest", "low": "1", "high": "5", "input": "my back"}
    assert seen[0] == fill(prompt_text("geval_form.txt"), asked)
    talk = "[system]\nbe kind\n\n[user]\nit {hurts}\n\n[assistant]\nwhere?\n\n[user]\nmy back\n[End of conversation]"
    assert seen[1] == seen[0].replace(
        "my back", f"the last turn of this conversation, with all that came before it.\n\n{talk}"
    )


def bigram_model(folder, following, *, merge_ten):
    """A Llama in which only the last token decides the next: P(next | token) as given, and padding for the rest."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder, merge_ten=merge_ten)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, head_dim=8,
        max_position_embeddings=512, tie_word_embeddings=False, rms_norm_eps=1e-12, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    table = torch.full((size, size), -40.0)
    for before, options in following.items():
        rest = {"<pad>": 1 - sum(options.values())}
        for after, probability in (options | rest).items():
            ids = [tokenizer.convert_tokens_to_ids(text) for text in (before, after)]
            table[ids[0], ids[1]] = math.log(probability)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(table.T / math.sqrt(size))
    model.save_pretrained(folder)


def test_ten_as_one_token_or_two_is_the_same_score(tmp_path):
    """Two models that say the same with other tokens: P(10) is .2 in one step, or .5 * .4 in two. Scores agree to 1e-6."""
    from harness.models.load import ModelRoom

    shares = {s: 0.05 for s in range(1, 11)} | {1: 0.3, 10: 0.2}
    whole = {str(s): p for s, p in shares.items()}
    ends = {str(s): {"</s>": 0.9} for s in shares}
    bigram_model(tmp_path / "joined", {"<|assistant|>": whole, **ends}, merge_ten=True)
    split = {**whole, "1": 0.5}
    del split["10"], ends["10"]
    ends |= {"1": {"</s>": 0.3 * 0.9 / 0.5, "0": 0.2 / 0.5}, "0": {"</s>": 0.9}}
    bigram_model(tmp_path / "split", {"<|assistant|>": split, **ends}, merge_ten=False)
    room = ModelRoom(tmp_path, device="cpu")
    found = {}
    for name in ("joined", "split"):
        model = {"kind": "transformers", "path": name, "dtype": "float32"}
        judge = build_geval("g", spec_of(steps=["s"], scale=[1, 10], model=model), room)
        [found[name]] = judge.judge([CASE])
    expected = sum(s * p for s, p in shares.items()) / sum(shares.values())
    assert found["joined"].score == pytest.approx(found["split"].score, abs=1e-6)
    assert found["split"].evidence["raw"] == pytest.approx(expected, abs=1e-5)
    assert found["split"].evidence["valid_mass"] == pytest.approx(0.9 * sum(shares.values()), abs=1e-5)


class TestTableOfDefects:
    """The seven cases on which a widely used library was measured to go wrong, by name."""

    def test_weighted_mean_of_two_scores(self):
        """{8: .5, 9: .5} is 8.5."""
        assert judged(grader([token(("8", 0.5), ("9", 0.5))], scale=(0, 10)), (0, 10)).evidence["raw"] == pytest.approx(
            8.5
        )

    def test_reply_of_8_point_0_is_8(self):
        """A token "8.0" is the score 8, and its alternatives count."""
        tokens = [token(("8.0", 0.5), ("9.0", 0.5))]
        assert judged(grader(tokens, scale=(0, 10)), (0, 10)).evidence["raw"] == pytest.approx(8.5)
        tokens = [token(("8", 0.5), ("9", 0.5)), token((".", 1.0)), token(("0", 1.0))]
        assert judged(grader(tokens, scale=(0, 9)), (0, 9)).evidence["raw"] == pytest.approx(8.5)

    def test_10_in_two_tokens_is_not_mixed_with_1(self):
        """{9: .5, "1" that opens "10": .5} must not become 5: a tokenizer that splits numbers means drawing instead."""
        tokens = [token(("1", 0.5), ("9", 0.5)), token(("0", 1.0))]
        judgement = judged(grader(tokens, ["10", "9"], scale=(0, 10)), (0, 10))
        assert judgement.evidence["mode"] == "sampled"
        assert judgement.evidence["raw"] == pytest.approx(9.5)

    def test_leading_space(self):
        """ " 8" is 8."""
        tokens = [token((" 8", 0.5), (" 9", 0.5))]
        assert judged(grader(tokens, scale=(0, 10)), (0, 10)).evidence["raw"] == pytest.approx(8.5)

    def test_out_of_range_alternatives_do_not_count(self):
        """{8: .6, 85: .2, 100: .2} on 0..10 is 8, not 41.8."""
        tokens = [token(("8", 0.6), ("85", 0.2), ("100", 0.2))]
        judgement = judged(grader(tokens, scale=(0, 10)), (0, 10))
        assert judgement.evidence["raw"] == pytest.approx(8.0)
        assert judgement.evidence["valid_mass"] == pytest.approx(0.6)

    def test_small_probabilities_are_kept(self):
        """{8: .93, seven others .009} is below 8: a cut at 1 % would make it exactly 8."""
        others = [(str(score), 0.009) for score in range(1, 8)]
        raw = judged(grader([token(("8", 0.93), *others)], scale=(0, 10)), (0, 10)).evidence["raw"]
        assert raw == pytest.approx((8 * 0.93 + 0.009 * sum(range(1, 8))) / (0.93 + 7 * 0.009))

    def test_same_digit_in_a_later_field_is_not_the_score(self):
        """{"score": 8, "confidence": 8}: the distribution of the first 8 counts, wherever else one stands."""
        tokens = [
            token(('{"', 1.0)), token(("score", 1.0)), token(('":', 1.0)), token((" 8", 0.5), (" 9", 0.5)),
            token((', "', 1.0)), token(("confidence", 1.0)), token(('":', 1.0)), token((" 8", 0.5), (" 2", 0.5)),
            token(("}", 1.0)),
        ]  # fmt: skip
        assert judged(grader(tokens, scale=(0, 9)), (0, 9)).evidence["raw"] == pytest.approx(8.5)


class TestTopk:
    """Tokens of a reply and what could have stood in their place."""

    @pytest.mark.parametrize(
        ("alternatives", "raw"),
        [
            ([("4", 0.25), (" 4", 0.25), ("▁5", 0.25), ("5\n", 0.25)], 4.5),
            ([("4", 0.6), ("42", 0.2), ("100", 0.2)], 4.0),
            ([("**4**", 0.6), ("٣", 0.2), ("３", 0.2)], 4.0),
            ([("4.", 0.5), ("5/5", 0.25), ("3/10", 0.25)], 13 / 3),
        ],
    )
    def test_token_shapes_are_one_score(self, alternatives, raw):
        """Variants are summed; digits of other scripts, other scales and other tops are none."""
        judgement = judged(grader([token(*alternatives)]))
        assert judgement.evidence["raw"] == pytest.approx(raw)
        assert judgement.score == pytest.approx((raw - 1) / 4)

    def test_too_little_valid_mass_is_no_score(self):
        """A model that hardly considers a score has not given one; it is not re-asked, which would be another measure."""
        distribution = grader([token(("Sure", 0.8), ("5", 0.2))], ["5"])
        judgement = judged(distribution)
        assert judgement.score is None
        assert judgement.error.kind == "low_valid_mass"
        assert all("draws" not in asked for asked in distribution._endpoint.sampler.asked)

    def test_a_label_before_the_score_is_gone_through(self):
        """P("4") is .3 at once and .7 * .5 behind "Score:"; P("5") is .7 * .5."""
        tokens = [token(("Score", 0.7), ("4", 0.3)), token((":", 1.0)), token((" 4", 0.5), (" 5", 0.5))]
        judgement = judged(grader(tokens))
        assert judgement.evidence["distribution"] == {"4": pytest.approx(0.65), "5": pytest.approx(0.35)}
        assert judgement.evidence["valid_mass"] == pytest.approx(1.0)

    def test_a_score_after_a_rationale_is_no_distribution(self):
        """Behind one reason of many the score token is nearly certain; what counts is how likely that reason was."""
        tokens = [
            token(('{"reason', 1.0)), token(('": "', 1.0)), token(("Fine", 0.2), ("Good", 0.2)), token(("but", 0.1)),
            token(('", "score": ', 1.0)), token(("4", 0.99), ("5", 0.01)),
        ]  # fmt: skip
        assert judged(grader(tokens)).error.kind == "low_valid_mass"

    def test_the_number_of_a_list_is_not_the_score(self):
        """In "1. Coherence: 3" the first token's "1" counts by what follows it."""
        tokens = [
            token(("1", 0.5), ("3", 0.5)),
            token((". ", 1.0)),
            token(("Coherence", 1.0)),
            token((":", 1.0)),
            token((" 3", 1.0)),
        ]
        assert judged(grader(tokens)).evidence["distribution"] == {"3": pytest.approx(1.0)}

    @pytest.mark.parametrize("known", ["alternative", "probe"])
    def test_two_digits_in_one_token_make_wide_scales_readable(self, known):
        """Where "10" was seen as one token, in an alternative or in the probe, "1" means 1."""
        first = [("1", 0.5), ("9", 0.4), ("10", 0.1)] if known == "alternative" else [("1", 0.5), ("9", 0.5)]
        digits = [token(("10", 1.0))] if known == "probe" else None
        judgement = judged(grader([token(*first)], digits=digits, scale=(1, 10)), (1, 10))
        assert judgement.evidence["mode"] == "topk"
        assert judgement.evidence["raw"] == pytest.approx(sum(int(s) * p for s, p in first))

    def test_two_digits_in_two_tokens_mean_drawing(self):
        """The probe found "1", "0": `auto` draws, and a pinned topk is unscored where it matters."""
        split = [token(("1", 1.0)), token(("0", 1.0))]
        first = [token(("1", 0.5), ("9", 0.5))]
        judgement = judged(grader(first, ["10", "8"], digits=split, scale=(1, 10)), (1, 10))
        assert (judgement.evidence["mode"], judgement.evidence["raw"]) == ("sampled", 9.0)
        pinned = judged(grader(first, digits=split, scale=(1, 10), mode="topk"), (1, 10))
        assert pinned.error.kind == "ambiguous_tokens"
        clear = judged(grader([token(("8", 0.5), ("9", 0.5))], digits=split, scale=(1, 10), mode="topk"), (1, 10))
        assert clear.evidence["raw"] == pytest.approx(8.5)

    @pytest.mark.parametrize(
        ("cold", "said"),
        [
            ([token(("4", 0.52), ("5", 0.48))], "before temperature"),
            ([token(("4", 1.0))], "after temperature"),
        ],
    )
    def test_the_temperature_probe_is_evidence(self, cold, said):
        """Asked once at temperature 0; the weights come from temperature 1, so one-hot logprobs do no harm."""
        distribution = grader([token(("4", 0.5), ("5", 0.5))], cold=cold)
        judge = judge_of(distribution)
        first, second = judge.judge([CASE, Case(id="2", answer="Other.", input="My back hurts.")])
        assert first.evidence["logprobs"] == second.evidence["logprobs"] == said
        assert first.evidence["raw"] == pytest.approx(4.5)
        assert [t for _, t in distribution._endpoint.sampler.asked].count(0.0) == 1

    def test_judges_on_one_endpoint_share_their_probes(self):
        """Two criteria, one temperature probe."""
        endpoint = Endpoint(Server([token(("4", 1.0))]))
        for _ in range(2):
            assert judged(EndpointGrader(endpoint, (1, 5), samples=20)).evidence["raw"] == 4.0
        assert [t for _, t in endpoint.sampler.asked] == [1.0, 0.0, 1.0]

    def test_a_failing_endpoint_is_a_null(self):
        """An unreachable judge leaves the sample unscored."""
        judgement = judged(grader(error=ModelError("no route")))
        assert judgement.score is None
        assert judgement.error.kind == "judge_unreachable"

    def test_one_judge_keeps_to_one_mode(self):
        """Logprobs that stop coming in the middle leave those cases unscored: draws would be another measure."""
        server = Server([token(("4", 1.0))], ["2"])
        judge = judge_of(EndpointGrader(Endpoint(server), (1, 5), samples=1))
        assert judge.judge([CASE])[0].evidence["mode"] == "topk"
        server.tokens = None
        later = judge.judge([Case(id="2", answer="Other.", input="q")])[0]
        assert (later.score, later.error.kind) == (None, "no_logprobs")


class TestSampled:
    """Draws at temperature 1 where no logprobs are given."""

    def test_unreadable_draws_are_left_out_and_counted(self):
        """Three readable draws of four: mean 4, standard error 1/sqrt(3); never a zero."""
        judgement = judged(grader(None, ["3", "Score: 4", "I think it is fine", "**5**"]))
        assert judgement.evidence["raw"] == pytest.approx(4.0)
        assert (judgement.evidence["n"], judgement.evidence["unparsable"]) == (3, 1)
        assert judgement.evidence["valid_mass"] == 0.75
        assert judgement.evidence["standard_error"] == pytest.approx(1 / math.sqrt(3))

    def test_draws_that_never_came_are_counted_apart(self):
        """Two of four came back: n is 2, two are missing, none is unreadable."""
        evidence = judged(grader(None, ["3", "4"], samples=4)).evidence
        assert (evidence["n"], evidence["unparsable"], evidence["missing"]) == (2, 0, 2)

    def test_fractions_count_as_they_stand(self):
        """2.5 and 3 average to 2.75."""
        judgement = judged(grader(None, ["2.5", "3"]))
        assert judgement.evidence["raw"] == pytest.approx(2.75)
        assert judgement.evidence["distribution"] == {"2.5": 0.5, "3": 0.5}

    def test_no_readable_draw_is_no_score(self):
        """All prose is an error, not the lowest grade."""
        judgement = judged(grader(None, ["well", "hm"]))
        assert judgement.score is None
        assert judgement.error.kind == "unparsable"

    def test_missing_logprobs_are_remembered(self):
        """One endpoint is asked once whether it gives logprobs; the draws are many, at temperature 1."""
        distribution = grader(None, ["3", "3"])
        judge_of(distribution).judge([CASE, Case(id="2", answer="Other.", input="My back hurts.")])
        asked = distribution._endpoint.sampler.asked
        assert [row[1:] for row in asked] == [(1.0,), ("draws", 2, 1.0), ("draws", 2, 1.0)]

    def test_a_dead_start_does_not_settle_the_mode(self):
        """The mode is found out by the first form that is answered, not by the first that is sent."""
        server = Server([token(("4", 1.0))], error=ModelError("no route"))
        distribution = EndpointGrader(Endpoint(server), (1, 5), samples=1)
        judge = judge_of(distribution)
        assert judge.judge([CASE])[0].error.kind == "judge_unreachable"
        server.error = None
        assert judge.judge([CASE])[0].evidence["mode"] == "topk"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4", 4), (" 4.5", 4.5), ("Score: 3", 3), ("- Score: 2", 2), ("8/10", None), ("4/5", 4), ("0", None), ("four", None),
     ("", None), ("4 because", 4), ("\"5\"", 5), ("-1", None), ("4.0", 4), ("step 4", None), ("**4**", 4), ("4.", 4),
     ("- Groundedness: 2", 2), ("Coherence: 2", 2), ("1. Coherence: 3", 3), ("Response:\n\n3", 3), ("2. Somewhat", 2),
     ("1. 2", 2), ("1. 1\n2. 3\n3. 3", None), ("1. The answer names the worry of", None), ("1-5", None), ("1 to 5", None),
     ("40%", None), ("4%", None), ("4th", None), ("2,5", None), ("٤", None), ("４", None), ("42", None),
     ('{"score": 4, "confidence": 1}', 4), ('{"confidence": 1, "score": 4}', 4), ('{"confidence": 1}', None),
     ('{"reason": "Good: 3 points"}', None), ("Reason: 3 faults", None), ("The answer deserves a 4", None),
     ("Final score = 4", 4), ("```json\n{\"score\": 4.0}\n```", 4)],
)  # fmt: skip
def test_reading_a_reply(text, expected):
    """A reply must begin with a score of the scale 1..5; nothing is guessed from digits further on."""
    assert read_score(text, (1, 5)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4 out of 5", 4), ("4 (out of 5)", 4), ("4 of 5", 4), ("4 points", 4), ("4 of the steps", 4), ("Score (1-5): 4", 4),
     ("Score (an integer from 1 to 5): 4", 4), ("4 out of 10", None), ("4 of 10", None), ("4 (out of 10)", None),
     ("4 points out of 100", None), ("4 or 5", None), ("4~5", None), ("4 percent", None)],
)  # fmt: skip
def test_a_fraction_in_words_is_one(text, expected):
    """As with a slash: of the scale's own top it is the score, of another no score; nor is a range or a percentage."""
    assert read_score(text, (1, 5)) == expected


@pytest.mark.parametrize("run", ["_", " ", "*", "> ", "- ", "\n", "#", "Score (", "_a"])
def test_a_run_of_marks_is_read_at_once(run):
    """A model that repeats one token costs no time: the marks before a score are read in one way only, not in n^4."""
    before = time.process_time()
    assert read_score(run * 2000, (1, 5)) is None
    assert score_offset(run * 2000) is None
    assert time.process_time() - before < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8", 8), (" 8", 8), ("▁8", 8), ("8\n", 8), ("8.", 8), ("8/10", 8), ("**8**", 8), ("8.0", 8), ("10", 10), ("(8", 8),
     ("8/5", None), ("85", None), ("8.5", None), (".8", None), ("-8", None), ("٩", None), ("９", None), ("8th", None),
     ("", None), (" ", None), ("eight", None)],
)  # fmt: skip
def test_reading_a_token(text, expected):
    """A token spells a whole score of 0..10, in ASCII digits, whatever marks stand around it."""
    assert read_token(text, (0, 10)) == expected


class TestForm:
    """What the judge model is shown."""

    @staticmethod
    def form(criteria, case, shows=None):
        """The form of a case, or why there is none."""
        server = Server([token(("4", 1.0))])
        judge = judge_of(EndpointGrader(Endpoint(server), (1, 5), samples=1), criteria=criteria, shows=shows)
        [judgement] = judge.judge([case])
        return judgement.error or server.asked[0][0]

    FULL = Case(id="1", answer="A.", input="Q?", references=("R.", "S."), contexts=("C.", "D."))

    def test_reference_and_context_show_where_the_criteria_name_them(self):
        """Neither is in the way of a criterion about tone."""
        plain = self.form("It is kind.", self.FULL)
        assert "R." not in plain
        assert "C." not in plain
        assert "Question: Q?\n\nAnswer: A." in plain
        grounded = self.form("Every claim is in the context.", self.FULL)
        assert "Context: C.\n\nD." in grounded
        assert "R." not in grounded
        assert "Reference answer: R.\nS." in self.form("It agrees with the reference.", self.FULL)

    def test_what_the_criteria_name_is_needed(self):
        """Groundedness without a context cannot be judged; the message says what is missing."""
        failure = self.form("Every claim is in the context.", CASE)
        assert (failure.kind, failure.message) == ("missing_input", "the judge needs 'context', and the case has none")

    def test_shows_has_the_last_word(self):
        """A criterion may speak of context and mean something else; another may need a passage without saying so."""
        assert "C." not in self.form("It fits the context of life.", self.FULL, ["input"])
        assert "Context: C." in self.form("It is grounded.", self.FULL, ["input", "context"])
        assert "Q?" not in self.form("It is grounded.", self.FULL, ["context"])

    def test_a_text_alone_gets_a_form_about_a_text(self):
        """Fluency needs no question, and the form does not speak of one."""
        form = self.form("It is fluent.", Case(id="1", answer="A."))
        assert "question" not in form.lower()
        assert "Text: A." in form

    def test_the_form_asks_for_the_score_only_and_ends_there(self):
        """A rationale before the score would make its probability worthless."""
        assert self.form("It is kind.", CASE).endswith("\n\nScore (an integer from 1 to 5) only:")

    def test_placeholders_in_an_answer_stay_text(self):
        """Filling is one pass: an answer cannot pull another field in, braces do not crash it, and blank lines stay."""
        assert (
            fill("A: {answer} L: {low}", {"answer": "{low} {x}\n\n{context}", "low": "1"})
            == "A: {low} {x}\n\n{context} L: 1"
        )

    def test_paragraphs_without_a_value_are_left_out(self):
        """So one file holds every section."""
        assert fill("A: {answer}\n\nC: {context}\n\nend", {"answer": "x"}) == "A: x\n\nend"


class Writer:
    """A generator that writes a fixed text, or fails, and keeps what it was asked."""

    key = "writer"

    def __init__(self, text, error=None):
        self.text, self.error, self.calls, self.prompts = text, error, 0, []

    def generate(self, prompts, settings):
        self.calls += 1
        self.prompts += prompts
        for index, _ in enumerate(prompts):
            yield [(index, Completion(text=None, error=self.error) if self.error else Completion(text=self.text))]


class Room:
    """Models for `build_geval`."""

    def __init__(self, writer, server=None):
        self.writer, self.server = writer, server

    def choice_scorer(self, spec):
        return Scorer({str(s): 0.2 for s in range(1, 6)})

    def score_sampler(self, spec):
        return self.server

    def generator(self, spec):
        return self.writer


LOCAL = {"kind": "transformers", "path": "embedded:clinic-base"}
REMOTE = {"kind": "openai", "name": "m", "base_url": "http://localhost:1/v1"}


def spec_of(**options):
    """A G-Eval spec on a local model."""
    return GEvalSpec.model_validate({"kind": "geval", "criteria": "Kind.", "model": LOCAL, **options})


class TestSteps:
    """Written once, kept, hashed, shared."""

    def test_steps_are_written_once_for_all_candidates_and_runs(self, tmp_path):
        """The second build reads the kept steps: same steps, same hash, no call; however many cases there are."""
        writer = Writer("Sure:\n1. Read it.\n2) Grade it.\n")
        first = build_geval("g", spec_of(), Room(writer), steps_folder=tmp_path)
        second = build_geval("g", spec_of(), Room(writer), steps_folder=tmp_path)
        for judge in (first, second):
            judge.judge([Case(id=str(i), answer=f"a {i}", input="q") for i in range(5)])
        assert writer.calls == 1
        assert first.steps_hash == second.steps_hash
        assert first.fingerprint == second.fingerprint
        assert first.description["criteria"] == {"g": {"criterion": "Kind.", "steps": ["Read it.", "Grade it."]}}
        [kept] = tmp_path.iterdir()
        assert json.loads(kept.read_text())["steps"] == ["Read it.", "Grade it."]

    def test_pinned_steps_ask_nobody(self, tmp_path):
        """The suite's steps are the steps."""
        writer = Writer("")
        judge = build_geval("g", spec_of(steps=["Read."]), Room(writer), steps_folder=tmp_path)
        assert (writer.calls, judge.description["criteria"]["g"]["steps"]) == (0, ["Read."])

    def test_a_model_that_writes_no_steps_says_what_to_do(self):
        """Without steps there is no judge; the way out is to pin them."""
        with pytest.raises(ModelError, match="Pin them"):
            write_steps("g", "Write steps.", Writer("I would rather chat."))
        with pytest.raises(ModelError, match="no route"):
            write_steps("g", "Write steps.", Writer("", Failure(kind="endpoint_unreachable", message="no route")))

    @pytest.mark.parametrize(
        "text", ["1. Read it.\n2. Grade it.", "- Read it.\n* Grade it.", "Step 1: Read it.\nStep 2: Grade it."]
    )
    def test_marks_of_a_list_are_not_part_of_a_step(self, text):
        """The form numbers steps itself."""
        assert write_steps("g", "Write steps.", Writer(text)) == ["Read it.", "Grade it."]

    def test_whatever_could_change_a_score_makes_another_judge(self):
        """Criteria, steps, scale, mode, draws and what is shown are in the fingerprint."""
        base = {"steps": ["s"]}
        variants = [
            {}, {"criteria": "b"}, {"steps": ["t"]}, {"scale": [1, 4]}, {"shows": ["context"]},
            {"criteria": {"x": "Kind."}, "steps": {"x": ["s"]}}, {"reason": True},
            {"model": REMOTE}, {"model": REMOTE, "mode": "sampled"}, {"model": REMOTE, "samples": 5},
        ]  # fmt: skip
        room = Room(Writer(""), Server())
        prints = [build_geval("g", spec_of(**{**base, **variant}), room).fingerprint for variant in variants]
        assert len(set(prints)) == len(variants)


class TestSeveralCriteria:
    """One judge, several criteria: each its own score, their mean as the judge's."""

    def test_each_criterion_has_its_own_form_steps_and_score(self):
        """4 of "Kind." and 2 of "Clear." are 0.75 and 0.25, on average 0.5."""

        class Two(Server):
            def reply_tokens(self, messages, **_):
                return [token(("4", 1.0))] if "Kind." in messages[0].content else [token(("2", 1.0))]

        spec = spec_of(
            criteria={"kind": "Kind.", "clear": "Clear."}, steps={"kind": ["k"], "clear": ["c"]}, model=REMOTE
        )
        [judgement] = build_geval("g", spec, Room(Writer(""), Two())).judge([CASE])
        assert judgement.score == pytest.approx(0.5)
        found = judgement.evidence["criteria"]
        assert (found["kind"]["score"], found["clear"]["score"]) == (0.75, 0.25)
        assert (found["kind"]["raw"], judgement.evidence["raw"], judgement.evidence["mode"]) == (4.0, 3.0, "topk")

    def test_one_criterion_without_a_score_leaves_the_case_without(self):
        """A mean over what happened to work would be another measure; the message names the criterion."""

        class Half(Server):
            def reply_tokens(self, messages, **_):
                return [token(("4", 1.0))] if "Kind." in messages[0].content else [token(("well", 1.0))]

        spec = spec_of(
            criteria={"kind": "Kind.", "clear": "Clear."}, steps={"kind": ["k"], "clear": ["c"]}, model=REMOTE
        )
        [judgement] = build_geval("g", spec, Room(Writer(""), Half())).judge([CASE])
        assert judgement.score is None
        assert judgement.error.message.startswith("clear: only 0.000")

    def test_steps_are_written_for_each(self):
        """Two criteria, two requests; a pinned one asks nobody."""
        writer = Writer("1. Read it.")
        build_geval("g", spec_of(criteria={"a": "A.", "b": "B."}, steps={"b": ["s"]}), Room(writer))
        assert writer.calls == 1

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"criteria": {"a": "A."}, "steps": ["s"]}, "a list for each"),
            ({"criteria": "A.", "steps": {"a": ["s"]}}, "there is one criterion"),
            ({"criteria": {"a": "A."}, "steps": {"b": ["s"]}}, "steps of its criteria only"),
        ],
    )
    def test_steps_must_fit_the_criteria(self, options, said):
        """The grammar says so, before anything is asked."""
        with pytest.raises(ValueError, match=said):
            spec_of(**options)


class TestReason:
    """Asked for after the score."""

    def test_a_reason_comes_after_the_score_and_leaves_it_as_it_is(self):
        """The second call holds form, likeliest score and question; score and distribution are those without it."""
        writer = Writer("It names the worry.")
        server = Server([token(("4", 0.6), ("5", 0.4))])
        spec = spec_of(steps=["s"], model=REMOTE, reason=True)
        [judgement] = build_geval("g", spec, Room(writer, server)).judge([CASE])
        assert judgement.evidence["reason"] == "It names the worry."
        assert judgement.evidence["raw"] == pytest.approx(4.4)
        form, said, asked = writer.prompts[0].messages
        assert (form.content, said.role, said.content) == (server.asked[0][0], "assistant", "4")
        assert "why" in asked.content

    def test_a_reason_that_fails_costs_no_score(self):
        """The score stands; the evidence says why there is no reason."""
        writer = Writer("", Failure(kind="timeout", message="no answer in time"))
        [judgement] = build_geval("g", spec_of(steps=["s"], reason=True), Room(writer)).judge([CASE])
        assert judgement.score == pytest.approx(0.5)
        assert (judgement.evidence["reason"], judgement.evidence["reason_error"]) == (None, "no answer in time")

    def test_nobody_is_asked_unless_told_to(self):
        """Without `reason` the generator is not touched."""
        writer = Writer("")
        build_geval("g", spec_of(steps=["s"]), Room(writer)).judge([CASE])
        assert writer.calls == 0


class TestBuilding:
    """Modes that a model cannot do are refused before anything is asked."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"model": REMOTE, "mode": "exact"}, "runs here"),
            ({"model": LOCAL, "mode": "sampled"}, "for endpoints"),
            ({"model": REMOTE, "mode": "topk", "scale": [-1, 1]}, "sign"),
            ({"model": {"kind": "answers", "path": "a.jsonl"}}, "must generate"),
        ],
    )
    def test_modes_fit_the_model(self, options, said):
        """One line, with the way out."""
        with pytest.raises(UserError, match=said):
            build_geval("g", spec_of(steps=["s"], **options), Room(Writer(""), Server()))

    def test_the_builder_remembers_its_endpoints(self):
        """Two judges on one endpoint: the temperature is probed once."""
        server = Server([token(("4", 1.0))])
        builder = JudgeBuilder(Room(Writer(""), server))
        for name in ("a", "b"):
            [judgement] = builder.build(name, spec_of(steps=[name], model=REMOTE)).judge([CASE])
            assert judgement.score == 0.75
        assert [asked[1] for asked in server.asked].count(0.0) == 1
