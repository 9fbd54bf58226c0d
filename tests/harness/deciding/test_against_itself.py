"""The baseline gated against itself: its rate of failures is what the gate states, and what it rests on is said."""

import numpy as np
import pytest

from harness.deciding.against_itself import against_itself, certificate_sentence
from harness.deciding.scores import Column
from harness.errors import NothingEvaluatedError
from harness.suite.grammar import Gate


@pytest.fixture
def certified(make_run, make_scores):
    """The certificate of some rules over scores by candidate."""

    def make(rules, values, draws=None, repeats=200, **options):
        declared = Gate.model_validate({"baseline": "base", "rules": rules})
        return against_itself(
            declared, run=make_run(), scores=make_scores(values, **options), baseline="base", draws=draws or {},
            repeats=repeats, seed=1,
        )  # fmt: skip

    return make


def test_a_better_candidate_does_not_make_its_equal_fail(certified):
    """Lora is far better than base: swapped at random neither side is, and the gate fails at its stated 5 % at most."""
    rng = np.random.default_rng(0)
    values = {"base": rng.random(200) * 0.4, "lora": 0.6 + rng.random(200) * 0.4}
    found = certified([{"metric": "correctness", "no_worse_by": 0.01}], values)
    assert found.holds
    assert 0.005 <= found.rate <= 0.1  # one-sided 5 %, of 200
    assert found.low <= found.rate <= found.high
    assert "swapped at random with those of lora" in certificate_sentence(found)


def test_clusters_are_drawn_as_a_whole(certified):
    """Differences that come in clusters of 10 would fail far too often if samples were swapped one by one."""
    rng = np.random.default_rng(1)
    shift = np.repeat(rng.normal(0, 0.2, 40), 10)
    values = {"base": np.full(400, 0.5), "lora": np.clip(0.5 + shift, 0, 1)}
    clusters = np.repeat(np.arange(40), 10).tolist()
    assert certified([{"metric": "correctness", "no_worse_by": 0.01}], values, clusters=clusters).rate <= 0.1


def test_further_scores_of_the_baseline_are_used_before_anything_is_assumed(certified):
    """Two sets of scores of the same model: their own noise decides, and the candidate's scores are not looked at."""
    rng = np.random.default_rng(2)
    base = rng.random(300)
    again = Column(values=np.clip(base + rng.normal(0, 0.05, 300), 0, 1), scored=np.ones(300, dtype=bool))
    found = certified(
        [{"metric": "correctness", "no_worse_by": 0.02}], {"base": base, "lora": np.zeros(300)},
        draws={("test", "correctness"): [again]},
    )  # fmt: skip
    assert found.fails == 0
    assert found.passes >= 190  # noise of 0.05 on 300 samples shows a margin of 0.02
    assert "stored scores of base itself" in certificate_sentence(found)


def test_what_the_baseline_fails_is_no_false_alarm(certified):
    """Rules that the baseline does not meet, that ask for a lead, and counts are left out by name."""
    values = {"base": [0.5] * 20 + [0.4] * 20, "lora": [0.5] * 40}
    rules = [{"metric": "correctness", "at_least": 0.9}, {"metric": "correctness", "better_by": 0.1},
             {"coverage": 0.9}, {"metric": "correctness", "at_least": 0.2}]  # fmt: skip
    found = certified(rules, values, repeats=20)
    assert found.left_out == ("correctness at_least 0.9", "correctness better_by 0.1", "coverage 0.9")
    assert (found.fails, found.passes) == (0, 20)
    with pytest.raises(NothingEvaluatedError, match="no rule of the gate can fail by chance"):
        certified(rules[:3], values)
