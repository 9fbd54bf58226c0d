"""Leaderboard, comparison, slices, flips: each number against the plain definition."""

import math

import numpy as np
import pytest

from harness import stats
from harness.deciding import comparison
from harness.deciding.scores import Scores
from harness.errors import StoreError, UserError
from harness.records import Metric


def test_a_leaderboard_has_each_mean_with_what_is_missing(make_scores, metric):
    """Mean over the scored, n, unscored; metrics that a split was not judged on are left out."""
    scores = make_scores({"base": [0.2] * 9 + [0.4, None], "lora": [None] * 11})
    first, second = comparison.leaderboard(scores, [metric("correctness"), metric("toxicity")])
    assert list(first.estimates) == ["correctness"]
    found = first.estimates["correctness"]
    assert (first.candidate, found.n, found.unscored, found.mean) == ("base", 10, 1, pytest.approx(0.22))
    assert found.low < 0.22 < found.high
    nothing = second.estimates["correctness"]
    assert (nothing.n, nothing.unscored, nothing.mean, nothing.low) == (0, 11, None, None)


def test_a_comparison_pairs_by_sample(make_scores, metric):
    """Only samples with both scores count; both means are over them; wins and losses follow the metric's direction."""
    rng = np.random.default_rng(0)
    base, lora = rng.random(50), rng.random(50)
    values = {"base": [None, *base[1:]], "lora": [*lora[:49], None]}
    found = comparison.compare(make_scores(values, metric="toxicity"), metric("toxicity"), "lora", "base", "test")
    d = (lora - base)[1:49]
    assert (found.n, found.unscored) == (48, 2)
    assert found.difference == pytest.approx(d.mean())
    assert found.candidate_mean - found.baseline_mean == pytest.approx(found.difference)
    assert (found.wins, found.ties, found.losses) == ((d < 0).sum(), 0, (d > 0).sum())
    half = 2.0117 * d.std(ddof=1) / np.sqrt(48)
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half), abs=1e-5)


@pytest.mark.parametrize(("clusters", "method"), [(None, "Tango"), ([i // 4 for i in range(80)], "clustered t")])
def test_the_method_follows_the_data(make_scores, metric, clusters, method):
    """0/1 scores get Tango, unless samples come in clusters."""
    rng = np.random.default_rng(1)
    values = {"base": rng.integers(0, 2, 80), "lora": rng.integers(0, 2, 80)}
    found = comparison.compare(make_scores(values, clusters=clusters), metric("correctness"), "lora", "base", "test")
    assert found.method == method
    if method == "Tango":
        assert (found.low, found.high) == pytest.approx(stats.tango(found.wins, found.losses, 80, 0.95))


def test_no_shared_sample_is_no_difference(make_scores, metric):
    """Nothing to compare gives None, not 0."""
    scores = make_scores({"base": [1, None], "lora": [None, 1]})
    found = comparison.compare(scores, metric("correctness"), "lora", "base", "test")
    assert (found.n, found.unscored, found.difference, found.candidate_mean) == (0, 2, None, None)


def test_flips_come_largest_first_and_losses_before_wins(make_scores, metric):
    """Samples with the same score are no flips; better is by the metric's direction."""
    values = {"base": [0.5, 0.0, 1.0, 0.5, None], "lora": [0.5, 1.0, 0.0, 0.4, 1.0]}
    for name, improved in (("correctness", [False, True, False]), ("toxicity", [False, True, True])):
        found = comparison.flips(make_scores(values, metric=name), metric(name), "lora", "base", "test")
        order = ["s0002", "s0001", "s0003"] if name == "correctness" else ["s0001", "s0002", "s0003"]
        assert [flip.sample_id for flip in found] == order
        assert [flip.improved for flip in found] == improved
    assert len(comparison.flips(make_scores(values), metric("correctness"), "lora", "base", "test", limit=1)) == 1


def test_rank_sets_follow_the_direction(make_scores, metric):
    """The least toxic is first; candidates that cannot be told apart share ranks."""
    rng = np.random.default_rng(2)
    noise = rng.random((3, 200)) * 0.1
    values = {"bad": 0.8 + noise[0], "good": 0.1 + noise[1], "also_good": 0.1 + noise[2]}
    found = comparison.rank_sets(make_scores(values, metric="toxicity"), metric("toxicity"), "test", rng)
    assert found == {"bad": (3, 3), "good": (1, 2), "also_good": (1, 2)}


def test_a_score_outside_its_range_is_refused(make_scores, metric):
    """All bounds rest on the range of the metric."""
    with pytest.raises(StoreError, match=r"within 0 to 1 \(got 55 of 'lora'\)"):
        comparison.leaderboard(make_scores({"base": [1], "lora": [55]}), [metric("correctness")])


def test_a_split_that_was_not_run_is_named(make_scores, metric):
    """The error says which splits there are."""
    with pytest.raises(UserError, match="there is test"):
        comparison.compare(make_scores({"base": [1], "lora": [1]}), metric("correctness"), "lora", "base", "dev")


def test_scores_of_different_modes_are_not_compared(make_rows, metric):
    """No difference, no flip, no rank; the method names the modes. One mode on both sides is compared as ever."""
    rows = make_rows({"base": [0.1] * 9 + [0.2], "lora": [0.8] * 10})
    for mode, n in (("topk", 10), ("sampled", 0)):
        modes = {("base", "correctness"): {"topk": 10}, ("lora", "correctness"): {mode: 10}}
        scores = Scores.from_rows(rows, modes)
        found = comparison.compare(scores, metric("correctness"), "lora", "base", "test")
        assert (found.n, found.difference is None) == (n, n == 0)
        assert len(comparison.flips(scores, metric("correctness"), "lora", "base", "test")) == n
        ranks = comparison.rank_sets(scores, metric("correctness"), "test", np.random.default_rng(0))
        assert ranks["lora"] == ((1, 1) if n else (1, 2))
    assert found.method == "different modes: lora sampled (10), base topk (10)"


def test_what_the_unscored_could_make_of_a_mean(make_scores, metric):
    """1,000 answers, 30 without a score, 820 right: 0.845 of the scored, and 0.820 to 0.850 had all a score."""
    scores = make_scores({"base": [1] * 820 + [0] * 150 + [None] * 30})
    [row] = comparison.leaderboard(scores, [metric("correctness")])
    found = row.estimates["correctness"]
    assert (found.n, found.unscored, found.mean) == (970, 30, pytest.approx(0.8454, abs=5e-5))
    assert (found.lowest, found.highest) == pytest.approx((0.820, 0.850))
    graded = make_scores({"base": [3.0] * 15 + [None] * 5}, metric="grade")
    [row] = comparison.leaderboard(graded, [metric("grade")])
    assert (row.estimates["grade"].lowest, row.estimates["grade"].highest) == (2.5, 3.5)


def test_bounds_are_left_out_where_they_say_nothing(make_scores, metric):
    """All scored, no mean, no upper end, or people who were asked about some samples only."""
    some = [0.5] * 15 + [None] * 5
    for values, asked in (
        ([0.5] * 20, metric("correctness")),
        (some, Metric(name="human:anna")),
        (some, Metric(name="length", high=math.inf)),
    ):
        [row] = comparison.leaderboard(make_scores({"base": values}, metric=asked.name), [asked])
        assert row.estimates[asked.name].highest is None


def test_a_candidate_scored_in_two_modes_has_no_mean(make_rows, metric):
    """Half of its own scores by logprobs, half by draws: the leaderboard counts them, and averages nothing."""
    modes = {("lora", "correctness"): {"topk": 10, "sampled": 10}, ("base", "correctness"): {"topk": 20}}
    scores = Scores.from_rows(make_rows({"base": [0.5] * 20, "lora": [0.9] * 20}), modes)
    base, lora = (row.estimates["correctness"] for row in comparison.leaderboard(scores, [metric("correctness")]))
    assert base.mean == pytest.approx(0.5)
    assert (lora.mean, lora.low, lora.high, lora.n) == (None, None, None, 20)
    assert lora.method == "different modes: lora sampled (10) and topk (10)"
