"""What `muster check` says before any money is spent."""

import numpy as np
import pytest

from harness import stats
from harness.deciding import power
from harness.suite.grammar import Gate

RULES = [
    {"metric": "exact_match", "no_worse_by": 0.03},
    {"metric": "correctness", "better_by": 0.05},
    {"metric": "toxicity", "at_most": 0.05},
    {"metric": "correctness", "at_least": 0.8},
    {"coverage": 0.98},
]
GATE = Gate.model_validate({"baseline": "base", "rules": RULES})


def test_each_rule_says_what_it_needs_under_stated_assumptions():
    """0/1 metrics by discordance 0.2 (1,374 for 3 points), others by spread 0.3, absolute rules by the zero-event n."""
    lines = power.power_plan(GATE, {"test": 500}, binary=["exact_match"])
    assert [line.needed for line in lines] == [1374, 223, 59, 14, None]
    assert [line.enough for line in lines] == [False, True, True, True, True]
    assert lines[0].detectable == pytest.approx(2.4865 * np.sqrt(0.2 / 500), abs=1e-5)
    assert "1,374" in str(lines[0])
    assert "assuming that 0.2 of the samples differ" in str(lines[0])
    assert "of 500 samples 10 may be unscored" in str(lines[4])


def test_clusters_widen_what_can_be_noticed():
    """With clusters of unknown likeness the worst case is stated: a cluster is worth one sample."""
    line = power.power_plan(GATE, {"test": 500}, clusters={"test": 50})[1]
    worst = stats.detectable_effect(50, 0.3, 0.95)
    assert f"in 50 clusters, so at worst only {worst:.3f}" in str(line)
    assert not power.power_plan(GATE, {"test": 500}, clusters={"test": 4})[1].enough


def test_an_empty_split_shows_nothing():
    """Zero samples detect nothing, and are not enough."""
    lines = power.power_plan(GATE, {"test": 0})
    assert not any(line.enough for line in lines)
    assert "cannot show anything" in str(lines[0])


def test_an_earlier_run_replaces_the_assumptions(make_scores, metric):
    """The largest spread among its candidates, of scores and of differences, clustering included."""
    rng = np.random.default_rng(0)
    base = rng.random(200)
    scores = make_scores({"base": base, "lora": np.clip(base + rng.normal(0, 0.05, 200), 0, 1), "gone": [None] * 200})
    found = power.spreads_of(scores, [metric("correctness")], "test", "base", ["base", "lora", "gone"])["correctness"]
    assert found.score == pytest.approx(base.std(ddof=1), rel=0.05)
    assert found.difference == pytest.approx(0.05, rel=0.2)
    line = power.power_plan(GATE, {"test": 500}, spreads={"correctness": found})[1]
    assert line.needed < 15
    assert "in an earlier run" in str(line)


def test_a_rule_with_too_few_samples_is_unmistakable():
    """One point at discordance 0.10 needs 6,183 samples: the line shouts it, and the discordance is the earlier run's."""
    declared = Gate.model_validate({"baseline": "base", "rules": [{"metric": "exact_match", "no_worse_by": 0.01}]})
    known = power.Spread(score=0.4, difference=np.sqrt(0.1), discordance=0.1)
    [line] = power.power_plan(declared, {"test": 500}, binary=["exact_match"], spreads={"exact_match": known})
    assert (line.needed, line.enough) == (6183, False)
    assert str(line).startswith(
        "TOO FEW SAMPLES for exact_match no_worse_by 0.01 on test: 500 cannot detect your margin of 0.01"
    )
    assert "needs 6,183 (10.0 % of the samples differ in an earlier run)" in str(line)


def test_rules_on_slices_are_as_strong_as_their_smallest_slice():
    """`each` is told by the smallest slice that is decided about, `where` by its own samples."""
    values = ["a"] * 400 + ["b"] * 60 + ["c"] * 8
    rules = [{"metric": "correctness", "no_worse_by": 0.1, "each": "area"},
             {"metric": "correctness", "no_worse_by": 0.1, "each": "area", "min_n": 10},
             {"metric": "correctness", "no_worse_by": 0.1, "where": {"area": ["a", "b"]}},
             {"coverage": 0.5, "where": {"area": "c"}}]  # fmt: skip
    declared = Gate.model_validate({"baseline": "base", "rules": rules})
    lines = power.power_plan(declared, {"test": 468}, slices={"test": {"area": values}})
    assert [(line.n, line.enough) for line in lines] == [(8, False), (60, True), (460, True), (8, True)]
    assert "in the smallest of 3 slices (area=c)" in str(lines[0])


def test_latency_and_lists_say_what_they_allow():
    """By the binomial: 59 answers for a 95 % quantile; of 500, 16 may be slower; a list needs no number."""
    rules = [{"latency": 2}, {"cost": 0.1}, {"metric": "correctness", "at_least": 1, "must_pass": ["x", "y"]}]
    declared = Gate.model_validate({"rules": rules})
    few = power.power_plan(declared, {"test": 58})
    assert [(line.needed, line.enough) for line in few] == [(59, False), (None, True), (None, True)]
    [latency, cost, listed] = power.power_plan(
        declared, {"test": 500}, spreads={"cost": power.Spread(score=0.02, difference=0.1)}
    )
    allowed = int(str(latency).split("answers ")[1].split()[0])
    ends = [stats.clopper_pearson(k, 500, 0.9)[1] for k in (allowed, allowed + 1)]
    assert ends[0] <= 0.05 < ends[1]
    assert cost.detectable == pytest.approx(2.4865 * 0.02 / np.sqrt(500), rel=1e-3)
    assert "each of 2 samples decides by itself" in str(listed)


def test_no_number_is_called_enough_that_the_gate_calls_too_few(make_scores, metric):
    """Of a run whose scores hardly differ: an identical candidate passes 0.1 from the 29 samples of 1 - 0.05^(1/n) < 0.1 on."""
    declared = Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", "no_worse_by": 0.1}]})
    for n, enough in ((16, False), (28, False), (29, True)):
        scores = make_scores({"base": [0.2] * n, "lora": [0.2] * (n - 1) + [0.3]})
        spreads = power.spreads_of(scores, [metric("correctness")], "test", "base", ["lora"])
        [line] = power.power_plan(declared, {"test": n}, spreads=spreads)
        same = make_scores({"base": [0.2] * n, "lora": [0.2] * n})
        bound = stats.paired_difference(
            *(same.splits["test"].column(name, "correctness").values for name in ("lora", "base")), 0.9, low=0, high=1
        ).low
        assert (line.needed, line.enough, bound > -0.1) == (29, enough, enough)
        assert (line.detectable < 0.1) == enough


def test_fewer_samples_than_carry_an_interval_are_never_enough(make_scores, metric):
    """A faultless candidate needs 10 samples even for a limit that five without a fault would clear."""
    declared = Gate.model_validate({"rules": [{"metric": "correctness", "at_least": 0.5}]})
    assert power.power_plan(declared, {"test": 60})[0].needed == stats.MIN_ITEMS


def test_what_no_run_has_told_is_called_an_assumption(make_scores, metric):
    """A run of the baseline alone, or of one equal to it, has no spread of differences to tell."""
    scores = make_scores({"base": [0.2, 0.8] * 20, "lora": [0.2, 0.8] * 20})
    for candidates in (["base"], ["base", "lora"]):
        spreads = power.spreads_of(scores, [metric("correctness")], "test", "base", candidates)
        line = power.power_plan(GATE, {"test": 500}, spreads=spreads)[1]
        assert "(assuming a spread of 0.3)" in str(line)
