"""Rules on slices, on samples that must pass, on seconds and money: what they decide, and how often they are wrong."""

import numpy as np
import pytest

from harness import stats
from harness.deciding import gate
from harness.deciding.efforts import with_efforts
from harness.deciding.scores import Scores
from harness.deciding.surfaces import folded, to_dict, to_junit
from harness.errors import UserError
from harness.suite.grammar import Gate


@pytest.fixture
def decided(make_run, make_scores):
    """The verdict on lora, of some rules, over scores by candidate."""

    def make(rules, values, status="complete", **options):
        declared = Gate.model_validate({"baseline": "base", "rules": rules})
        return gate.decide(
            declared, run=make_run(status=status), scores=make_scores(values, **options), candidate="lora"
        )

    return make


def areas(*sizes):
    """Slices of a column `area`: a, b, c …, as many samples of each as asked for."""
    return [{"area": name} for name, size in zip("abcdefgh", sizes, strict=False) for _ in range(size)]


def test_where_decides_on_the_slice_alone(decided):
    """Good on the whole and bad on the slice: the rule with `where` fails, and names the slice in every field."""
    values = {"base": [1] * 400, "lora": [1] * 340 + [0] * 60}
    rules = [{"metric": "correctness", "no_worse_by": 0.2},
             {"metric": "correctness", "no_worse_by": 0.2, "where": {"area": ["b"]}}]  # fmt: skip
    found = decided(rules, values, slices=areas(300, 100))
    whole, part = found.findings
    assert (whole.outcome, whole.n, whole.slice) == ("pass", 400, None)
    assert (part.outcome, part.n, part.slice) == ("fail", 100, "area=b")
    assert part.estimate == pytest.approx(-0.6)
    assert part.rule == "correctness no_worse_by 0.2 where area=b"
    assert "on test where area=b" in part.message


def test_each_is_a_rule_for_every_value(decided):
    """A pass needs all slices; a slice without enough samples is inconclusive, or left out with a word where that is asked."""
    values = {"base": [1] * 409, "lora": [1] * 409}
    rule = {"metric": "correctness", "no_worse_by": 0.05, "each": "area"}
    found = decided([rule], values, slices=areas(200, 200, 9))
    assert [(f.slice, f.outcome, f.n) for f in found.findings] == [
        ("area=a", "pass", 200), ("area=b", "pass", 200), ("area=c", "inconclusive", 9),
    ]  # fmt: skip
    assert (found.outcome, found.findings[2].n_needed) == ("inconclusive", 10)
    lenient = decided([rule | {"min_n": 10}], values, slices=areas(200, 200, 9))
    assert lenient.outcome == "pass"
    told = lenient.findings[2]
    assert (told.slice, told.n, told.estimate) == ("left out", 400, pytest.approx(400 / 409))
    assert "1 slices with fewer than 10 samples (c (9))" in told.message
    none = decided([rule | {"min_n": 300}], values, slices=areas(200, 200, 9))
    assert none.outcome == "inconclusive"  # nothing was decided, so nothing may pass
    with pytest.raises(UserError, match="must name slicing columns of the run"):
        decided([rule | {"each": "aera"}], values, slices=areas(200, 200, 9))


def test_surfaces_name_every_slice_once(decided):
    """JUnit keeps a test case a slice under a name of its own; a person sees the passing slices of a rule together."""
    rules = [{"metric": "correctness", "no_worse_by": 0.2, "each": "area"}]
    lora = [1] * 700 + [0] * 100
    found = decided(rules, {"base": [1] * 800, "lora": lora}, slices=areas(*[100] * 8))
    names = [f"correctness no_worse_by 0.2 each area: area={name} on test" for name in "abcdefgh"]
    assert [
        part.split('"')[0] for part in to_junit([found]).split(' name="')[1:] if part.startswith("correct")
    ] == names
    assert [len(group) for group in folded(found.findings)] == [7, 1]
    assert [finding["slice"] for finding in to_dict([found])["findings"]] == [f"area={name}" for name in "abcdefgh"]


def test_two_hundred_slices_without_a_difference_raise_no_alarm(make_run, make_rows):
    """Under `each`, 200 null slices of 12 samples fail the gate in at most 5 % of runs (Holm over all findings)."""
    rng = np.random.default_rng(1)
    slices = [{"area": f"a{i // 12:03d}"} for i in range(2400)]
    declared = Gate.model_validate(
        {"baseline": "base", "rules": [{"metric": "correctness", "no_worse_by": 0.02, "each": "area"}]}
    )
    alarms = 0
    for _ in range(20):
        base = (rng.random(2400) < 0.8).astype(float)
        differs = rng.random(2400) < 0.2
        lora = np.where(differs, rng.permuted(1 - base), base)  # as often gained as lost where they differ
        swap = rng.random(2400) < 0.5
        base, lora = np.where(swap, lora, base), np.where(swap, base, lora)
        rows = make_rows({"base": base, "lora": lora}, slices=slices)
        verdict = gate.decide(declared, run=make_run(), scores=Scores.from_rows(rows), candidate="lora")
        alarms += verdict.outcome == "fail"
    assert alarms <= 3  # of 20: at a true rate of 5 %, more than that has a chance of 2 %


def test_a_regression_in_one_small_slice_is_found(make_run, make_rows):
    """A loss of 40 points in one slice of 8 % (40 of 500) drowns in the mean, and is found by `each`."""
    rng = np.random.default_rng(2)
    slices = [{"area": "small" if i < 40 else f"large{i % 4}"} for i in range(500)]
    rules = [{"metric": "correctness", "no_worse_by": 0.05}]
    found = {"whole": 0, "each": 0}
    for _ in range(30):
        base = (rng.random(500) < 0.85).astype(float)
        lora = np.where((np.arange(500) < 40) & (rng.random(500) < 0.47), 0.0, base)
        rows = Scores.from_rows(make_rows({"base": base, "lora": lora}, slices=slices))
        for name, extra in (("whole", {}), ("each", {"each": "area"})):
            declared = Gate.model_validate({"baseline": "base", "rules": [rules[0] | extra]})
            verdict = gate.decide(declared, run=make_run(), scores=rows, candidate="lora")
            bad = [f.slice for f in verdict.findings if f.outcome == "fail"]
            found[name] += bad == (["area=small"] if extra else [None])
    assert found["each"] >= 27
    assert found["whole"] <= 15


@pytest.mark.parametrize(
    ("scores", "status", "outcome", "words"),
    [([1, 1, 1], "complete", "pass", "passes all 3 samples"),
     ([1, 0.5, 1], "complete", "fail", "1 of the 3 samples of test that must have a correctness of at least 1: s0001 with 0.5"),
     ([1, None, 1], "complete", "inconclusive", "1 without a score (s0001)"),
     ([1, None, 1], "incomplete", "incomplete", "1 without a score (s0001)"),
     ([None, 0.5, 1], "complete", "fail", "s0001 with 0.500; 1 without a score (s0000)")],
)  # fmt: skip
def test_every_sample_that_must_pass_counts_by_itself(decided, scores, status, outcome, words):
    """One failing sample fails the gate by name, however many others pass; one without a score leaves it open."""
    rule = {"metric": "correctness", "at_least": 1, "must_pass": ["s0000", "s0001", "s0002"]}
    found = decided([rule], {"base": [1] * 100, "lora": scores + [0] * 97}, status=status).findings[0]
    assert found.outcome == outcome
    assert words in found.message
    assert found.n + found.n_unscored == 3


def test_samples_that_the_run_did_not_evaluate_leave_it_incomplete(decided):
    """A run with --limit cannot pass what it did not look at."""
    rule = {"metric": "toxicity", "at_most": 0.2, "must_pass": ["s0000", "s9999"]}
    found = decided([rule], {"base": [0] * 20, "lora": [0] * 20}, metric="toxicity").findings[0]
    assert (found.outcome, found.n, found.n_unscored) == ("incomplete", 1, 1)
    assert "1 not evaluated in this run (s9999)" in found.message


# --------------------------------------------------------------------------------------------------- seconds and money


class Answers:
    """A store that knows what answers took, and nothing else."""

    def __init__(self, rows):
        self.rows = rows

    def efforts(self, run_id):
        return self.rows


@pytest.fixture
def timed(make_run, make_scores):
    """The verdict on lora of one rule, over rows of seconds and tokens by candidate."""

    def make(rule, took, price=None, status="complete"):
        models = {name: {"model": {"price": price} if price else {}} for name in ("base", "lora")}
        run = make_run(status=status, record={"suite": {"candidates": models}})
        n = max(len(rows) for rows in took.values())
        declared = Gate.model_validate({"baseline": "base", "rules": [rule]})
        store = Answers([(name, f"s{i:04d}", *row) for name, rows in took.items() for i, row in enumerate(rows)])
        scores = with_efforts(make_scores({"base": [1] * n, "lora": [1] * n}), store, run, declared)
        return gate.decide(declared, run=run, scores=scores, candidate="lora").findings[0]

    return make


def test_latency_is_a_quantile_with_bounds_that_are_seconds(timed):
    """The 95 % quantile of 1 … 1000 ms: order statistics 939 and 961 bound it at 95 % a side, by the binomial."""
    took = {"lora": [(i / 1000, 1, 1) for i in range(1, 1001)]}
    found = timed({"latency": 0.97}, took)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.950, 0.938, 0.962), abs=0.0015)
    assert (found.outcome, found.unit, found.metric) == ("pass", "s", "latency")
    assert timed({"latency": 0.955}, took).outcome == "inconclusive"
    assert timed({"latency": 0.93}, took).outcome == "fail"
    assert "95 % quantile of the latency on test is 0.950 s (" in found.message
    assert timed({"latency": 0.55, "quantile": 0.5}, took).outcome == "pass"


def test_few_answers_bound_no_high_quantile(timed):
    """58 answers cannot show that 95 % are quick, at 95 %; 59 can (0.95^59 < 0.05), and the finding says so."""
    few = timed({"latency": 2}, {"lora": [(1.0, 1, 1)] * 58})
    assert (few.outcome, few.high, few.n_needed) == ("inconclusive", None, 59)
    assert timed({"latency": 2}, {"lora": [(1.0, 1, 1)] * 59}).outcome == "pass"
    assert timed({"latency": 0.5}, {"lora": [(1.0, 1, 1)] * 20}).outcome == "fail"


def test_answers_without_a_time_may_have_taken_any(timed):
    """6 % without seconds: at their worst, the quantile is beyond every limit."""
    took = {"lora": [(1.0, 1, 1)] * 188 + [(None, 1, 1)] * 12}
    found = timed({"latency": 2}, took)
    assert (found.outcome, found.n, found.n_unscored) == ("inconclusive", 188, 12)
    assert timed({"latency": 2}, {"lora": [(1.0, 1, 1)] * 199 + [(None, 1, 1)]}).outcome == "pass"
    assert timed({"latency": 2}, {"base": [(1.0, 1, 1)] * 20}).outcome == "incomplete"  # nothing known of lora


def test_cost_is_tokens_times_price(timed):
    """1,000 prompt tokens at 2 and 500 completion tokens at 6 a million: 0.005 an answer; bounds have no upper end."""
    rng = np.random.default_rng(3)
    took = {"lora": [(None, 1000, int(n)) for n in rng.normal(500, 50, 200)]}
    found = timed({"cost": 0.006}, took, price={"input": 2.0, "output": 6.0})
    assert found.outcome == "pass"
    assert found.estimate == pytest.approx(0.005, rel=0.02)
    assert timed({"cost": 0.004}, took, price={"input": 2.0, "output": 6.0}).outcome == "fail"
    even = timed({"cost": 0.006}, {"lora": [(None, 1000, 500)] * 200}, price={"input": 2.0, "output": 6.0})
    assert (even.outcome, even.high) == ("inconclusive", None)  # equal costs say nothing of a rare, dear answer
    assert "too few of the values differ for a bound" in even.message
    assert "near the limit" not in even.message
    with pytest.raises(UserError, match="must be about candidates with a price"):
        timed({"cost": 0.006}, took)


def test_seconds_and_money_compare_with_the_baseline_too(timed):
    """`metric: latency` with no_worse_by: the paired difference of mean seconds, where less is better."""
    rng = np.random.default_rng(4)
    base = rng.gamma(2, 0.5, 200)
    took = {"base": [(s, 1, 1) for s in base], "lora": [(s + 0.1 + rng.normal(0, 0.05), 1, 1) for s in base]}
    found = timed({"metric": "latency", "no_worse_by": 0.2}, took)
    assert (found.outcome, found.threshold, found.unit) == ("pass", 0.2, "s")
    assert found.estimate == pytest.approx(0.1, abs=0.02)
    assert timed({"metric": "latency", "no_worse_by": 0.05}, took).outcome == "fail"


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_a_quantiles_bounds_err_as_rarely_as_they_say(quantile):
    """Skewed values, 3,000 samples of 100: neither end errs more often than 5 %, and not much less often."""
    rng = np.random.default_rng(5)
    true = -np.log(1 - quantile)
    ends = [
        (i.low, i.high)
        for i in (stats.quantile_interval(rng.exponential(size=100), quantile, 0.9) for _ in range(3000))
    ]
    low, high = np.mean([low > true for low, _ in ends]), np.mean([high < true for _, high in ends])
    assert 0.01 < low < 0.06
    assert 0.01 < high < 0.06


def test_clusters_widen_a_quantiles_bounds():
    """Equal values within clusters of 5: as wide as a fifth of the values would give."""
    rng = np.random.default_rng(6)
    groups = rng.exponential(size=100)
    values, codes = np.repeat(groups, 5), np.repeat(np.arange(100), 5)
    alone = stats.quantile_interval(groups, 0.8, 0.9)
    found = stats.quantile_interval(values, 0.8, 0.9, clusters=codes)
    naive = stats.quantile_interval(values, 0.8, 0.9)
    assert found.low <= alone.low + 1e-9 or found.high >= alone.high - 1e-9
    assert found.high - found.low > 1.5 * (naive.high - naive.low)
    assert stats.quantile_interval(values[:20], 0.8, 0.9, clusters=codes[:20]).low is None
