"""Objectives: what a training may learn, from what, and how a suite is told what does not go together."""

import pytest

from harness.errors import SuiteError
from harness.suite import load_suite

SUITE = """\
suite: s
data: {{path: d.jsonl, fields: {{input: q, reference: a}}}}
splits: {{train: {{share: 0.5, use: training}}, test: {{share: 0.5}}}}
candidates:
  base: {{model: {{kind: transformers, path: embedded:clinic-base}}}}
  trained: {{train: {{base: base, {train}}}}}
judges:
  rouge: {{}}
  toxicity: {{}}
  perplexity: {{}}
  versus: {{kind: pairwise, criteria: good, against: base, model: {{kind: transformers, path: embedded:clinic-base}}}}
  liked: {{kind: reward, {reward}}}
"""
REWARD = "train: {base: base, preferences: p.jsonl}"


@pytest.fixture
def loaded(tmp_path):
    """Loads the suite with these options of the candidate's training and of the judge."""
    (tmp_path / "d.jsonl").write_text('{"q": "x", "a": "y"}\n')
    (tmp_path / "p.jsonl").write_text('{"input": "x", "chosen": "y", "rejected": "z"}\n')

    def load(train, reward=REWARD):
        (tmp_path / "s.yaml").write_text(SUITE.format(train=train, reward=reward))
        return load_suite(tmp_path / "s.yaml").suite

    return load


def test_each_objective_in_its_shortest_form(loaded):
    """Preferences for dpo and a reward model, a judge or weights for grpo and rloo."""
    assert loaded("objective: dpo, preferences: p.jsonl").candidates["trained"].train.objective == "dpo"
    assert loaded("objective: grpo, reward: rouge").candidates["trained"].train.rewards == {"rouge": 1.0}
    weights = "objective: rloo, reward: {rouge: 1, toxicity: -0.5, liked: 2}"
    assert loaded(weights).candidates["trained"].train.rewards == {"rouge": 1.0, "toxicity": -0.5, "liked": 2.0}
    assert loaded("epochs: 1").judges["liked"].train.objective == "reward"
    assert loaded("epochs: 1", REWARD.replace("{", "{objective: reward, ")).judges["liked"].train.rank == 16


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("objective: ppo, reward: rouge", "must be 'grpo' or 'rloo' (got 'ppo', which has left TRL)"),
        ("objective: dpo", "must have 'preferences' with objective 'dpo'"),
        ("objective: dpo, preferences: P.jsonl", "no such file: 'P.jsonl' (did you mean 'p.jsonl'?)"),
        ("objective: grpo", "must have a 'reward' with objective 'grpo'"),
        ("objective: grpo, reward: ruge", "must be a judge of this suite"),
        ("objective: grpo, reward: toxicity", "Write toxicity: -1"),
        ("objective: grpo, reward: {rouge: -1}", "must have a positive weight: 'rouge' is better when higher"),
        ("objective: grpo, reward: {rouge: 0}", "must have a positive weight"),
        ("objective: grpo, reward: versus", "scores one answer by itself (got 'versus', of kind pairwise)"),
        ("objective: grpo, reward: {perplexity: -1}", "scores one answer by itself"),
        ("objective: grpo, reward: rouge, batch_size: 6", "a multiple of num_generations"),
        ("objective: grpo, reward: rouge, num_generations: 1", "a whole number of at least 2"),
        ("objective: grpo, reward: rouge, loss_type: sigmoid", "as 'loss_type' of 'grpo' 'dapo'"),
        ("objective: rloo, reward: rouge, loss_type: grpo", "must not have 'loss_type' with objective 'rloo'"),
        ("objective: dpo, preferences: p.jsonl, dropout: 0.1", "must not have 'dropout' with objective 'dpo'"),
        (
            "objective: dpo, preferences: p.jsonl, method: head",
            "must have method 'lora' or 'full' with objective 'dpo'",
        ),
        (
            "objective: grpo, reward: rouge, method: full",
            "must have method 'lora' with objective 'grpo' (got 'full'): the",
        ),
        ("objective: dpo, preferences: p.jsonl, init: pissa", "must not have init 'pissa' with objective 'dpo'"),
        ("objective: dpo, preferences: p.jsonl, teacher: base", "can be the 'chosen' ones of a file of preferences"),
        ("objective: dpo, preferences: p.jsonl, reward: rouge", "must not have 'reward' with objective 'dpo'"),
        ("objective: grpo, reward: rouge, evaluate_every: 5, select: loss", "must have a judge in 'select'"),
        ("objective: rloo, reward: rouge, evaluate_every: 5, early_stopping: {}", "must have a judge in 'select'"),
        ("beta: 0.2", "must not have 'beta' with objective 'supervised'. It is an option of 'dpo', 'grpo' and 'rloo'"),
        ("objective: reward, preferences: p.jsonl", "Write it as a judge: judges: NAME: {kind: reward, train: {…}}"),
    ],
)
def test_what_does_not_go_together_is_told(loaded, train, message):
    """At its place, with the way out."""
    with pytest.raises(SuiteError) as caught:
        loaded(train)
    assert message in str(caught.value)
    assert str(caught.value).count("s.yaml:") == 1


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("", "must have exactly one of 'model' and 'train'"),
        ("train: {base: base, objective: dpo, preferences: p.jsonl}", "objective 'reward' (got 'dpo')"),
        (
            "train: {base: base, preferences: p.jsonl, evaluate_every: 5}",
            "must not have 'evaluate_every' with objective 'reward': a reward model gives no answers to judge",
        ),
        ("train: {base: nobody, preferences: p.jsonl}", "must name a candidate to train (got 'nobody')"),
        ("train: {base: base, preferences: gone.jsonl}", "no such file"),
    ],
)
def test_a_reward_judge_has_a_model_or_learns_one(loaded, reward, message):
    """From a base of the suite and a file that is there."""
    with pytest.raises(SuiteError) as caught:
        loaded("epochs: 1", reward)
    assert message in str(caught.value)


def test_options_of_an_objective_may_be_swept(loaded):
    """beta is a single value like any other."""
    suite = loaded("objective: dpo, preferences: p.jsonl, beta: [0.1, 0.5]")
    assert [name for name in suite.candidates if name != "base"] == ["trained[beta=0.1]", "trained[beta=0.5]"]
