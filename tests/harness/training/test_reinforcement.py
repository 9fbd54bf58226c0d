"""GRPO and RLOO: judges raise what they reward, an answer without a score has no say, the same seed gives the same tensors."""

import dataclasses
import math
import string

import pytest
import torch

from harness.errors import TrainingError, UserError
from harness.models import rendering
from harness.records import Failure, GenerationSettings, Judgement
from harness.suite.grammar import TrainSpec
from harness.training.audit import audit_prompts
from harness.training.recipe import Reward, prompt_rows, steps_of, training_key
from tests.harness.training.ending import digest, killed


def letters(answer):
    """The share of a text's characters that are small letters from a to z."""
    return sum(character in string.ascii_lowercase for character in answer) / max(len(answer), 1)


def likes_letters(sample, answer):
    """A judge that likes letters."""
    return Judgement(id=sample.id, metric="letter", score=letters(answer))


def rewarding(**judges):
    """A Reward of functions of sample and answer; it notes what it was asked in `asked`."""
    asked = []

    def judge(samples, answers):
        asked.extend(zip(samples, answers, strict=True))
        return {
            name: [function(s, a) for s, a in zip(samples, answers, strict=True)] for name, function in judges.items()
        }

    reward = Reward(fingerprints={name: f"print of {name}" for name in judges}, judge=judge)
    return reward, asked


@pytest.fixture
def policy_recipe():
    """Makes a TrainSpec of an objective that learns from rewards: 6 steps of 4 prompts with 4 answers."""

    def build(objective, **options):
        own = {
            "rank": 8, "alpha": 32.0, "learning_rate": 2e-2, "max_steps": 6, "logging_steps": 1, "save_steps": 2,
            "batch_size": 8, "gradient_accumulation": 2, "reward": "letter",
        }  # fmt: skip
        return TrainSpec(base="base", objective=objective, **{**own, **options})

    return build


@pytest.fixture
def draws():
    """How answers are drawn: at most 12 tokens."""
    return GenerationSettings(max_new_tokens=12)


@pytest.mark.parametrize("objective", ["grpo", "rloo"])
def test_the_reward_rises(run, policy_recipe, draws, objective):
    """The share of letters rises by more than a fifth within 20 steps; every step is logged."""
    reward, asked = rewarding(letter=likes_letters)
    spec = policy_recipe(
        objective, max_steps=20, target_modules="all-linear", temperature=0.1, beta=0.0  # the base's logits are flat
    )  # fmt: skip
    training = run(spec, reward=reward, generation=draws)
    curve = [entry["reward"] for entry in training.log]
    assert len(curve) == 20
    assert sum(curve[-4:]) > sum(curve[:4]) + 4 * 0.2
    assert [entry["reward letter"] for entry in training.log] == pytest.approx(curve, abs=1e-6)
    assert len(asked) == 20 * 16 == training.record["ran"]["answers"]
    assert training.record["ran"]["unscored_answers"] == 0
    assert training.record["ran"]["trainer"] == {"grpo": "GRPOTrainer", "rloo": "RLOOTrainer"}[objective]


def test_groups_are_answers_to_one_prompt_and_judges_see_samples(run, policy_recipe, draws, samples):
    """A step asks about 4 answers to each of 4 samples of the split, and an epoch about each sample once."""
    reward, asked = rewarding(letter=likes_letters)
    run(policy_recipe("grpo", max_steps=None, epochs=1), reward=reward, generation=draws)
    assert len(asked) == 24 * 4
    for start in range(0, len(asked), 4):
        assert len({id(sample) for sample, _ in asked[start : start + 4]}) == 1
    assert {sample.id for sample, _ in asked} == {sample.id for sample in samples}


def test_an_answer_that_a_judge_cannot_score_is_left_out_and_counted(run, policy_recipe, draws):
    """Two judges, one of which fails on every fourth answer: its answers have no reward, though the other scored them."""
    count = 0

    def sometimes(sample, answer):
        nonlocal count
        count += 1
        if count % 4 == 0:
            failure = Failure(kind="judge_failed", message="no")
            return Judgement(id=sample.id, metric="other", score=None, error=failure)
        return Judgement(id=sample.id, metric="other", score=0.5)

    reward, asked = rewarding(letter=likes_letters, other=sometimes)
    spec = policy_recipe("grpo", max_steps=2, reward={"letter": 1.0, "other": 2.0})
    training = run(spec, reward=reward, generation=draws)
    assert training.record["ran"]["unscored_answers"] == 8
    assert [entry["unscored"] for entry in training.log] == [4, 4]
    for step, entry in enumerate(training.log):
        told = asked[16 * step : 16 * step + 16]
        scored = [letters(answer) + 1.0 for n, (_, answer) in enumerate(told, 1) if n % 4]
        assert entry["reward"] == pytest.approx(sum(scored) / len(scored), abs=1e-6)


def test_unscored_answers_have_no_advantage(run, policy_recipe, draws, monkeypatch):
    """Within a group the scored answers are compared among themselves; the unscored one moves nothing."""
    from harness.training import reinforcement

    seen = []
    compute = reinforcement.GRPOTrainer._compute_loss

    def spy(self, model, inputs):
        seen.append(inputs["advantages"].clone())
        return compute(self, model, inputs)

    monkeypatch.setattr(reinforcement.GRPOTrainer, "_compute_loss", spy)
    values = iter([0.0, 1.0, None, 1.0] * 4)

    def told(sample, answer):
        value = next(values)
        error = None if value is not None else Failure(kind="judge_failed", message="no")
        return Judgement(id=sample.id, metric="letter", score=value, error=error)

    reward, _ = rewarding(letter=told)
    run(policy_recipe("grpo", max_steps=1), reward=reward, generation=draws)
    found = torch.cat(seen).sort().values
    spread = torch.tensor([0.0, 1.0, 1.0]).std()
    low, high = (0 - 2 / 3) / (spread + 1e-4), (1 - 2 / 3) / (spread + 1e-4)
    expected = torch.tensor([low] * 4 + [0.0] * 4 + [high] * 8)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_step_without_any_score_ends_the_training(run, policy_recipe, draws, tmp_path):
    """Nothing can be learnt from it, so nothing is published, and the message says why."""

    def never(sample, answer):
        failure = Failure(kind="endpoint_down", message="no route")
        return Judgement(id=sample.id, metric="letter", score=None, error=failure)

    reward, _ = rewarding(letter=never)
    with pytest.raises(TrainingError, match=r"scored none of the 16 answers of step 1 \(endpoint_down: no route\)"):
        run(policy_recipe("grpo"), reward=reward, generation=draws)
    assert not list((tmp_path / "adapters").glob("*/manifest.json"))


def test_judges_see_what_inference_would_say(run, policy_recipe, samples):
    """No special tokens, no white space at the ends, and nothing from a stop text on."""
    reward, asked = rewarding(letter=likes_letters)
    run(
        policy_recipe("grpo", max_steps=2), reward=reward, generation=GenerationSettings(max_new_tokens=12, stop=("e",))
    )
    assert asked
    for _, answer in asked:
        assert answer == answer.strip()
        assert "e" not in answer
        assert not any(special in answer for special in ("<s>", "</s>", "<pad>"))


def test_the_same_seed_gives_the_same_tensors_and_another_does_not(run, policy_recipe, draws, tmp_path):
    """Answers are drawn, and still everything repeats."""
    reward, _ = rewarding(letter=likes_letters)
    spec = policy_recipe("rloo", max_steps=3)
    one, two, other = (
        run(spec, reward=reward, generation=draws, adapters=tmp_path / name, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert digest(one) == digest(two) != digest(other)
    assert one.log == two.log


@pytest.mark.parametrize(("objective", "saved"), [("grpo", 7), ("rloo", 6)])
def test_a_killed_policy_ends_in_the_same_tensors(run, policy_recipe, draws, tmp_path, objective, saved):
    """`kill -9` after step 8, and the next call goes on to the same answers, file and log: from within the second epoch, or
    from its beginning.
    """
    reward, asked = rewarding(letter=likes_letters)
    spec = policy_recipe(objective, max_steps=10, save_steps=saved)
    whole = run(spec, reward=reward, generation=draws, adapters=tmp_path / "whole")
    drawn = [answer for _, answer in asked]
    asked.clear()
    broken = {"reward": reward, "generation": draws, "adapters": tmp_path / "broken"}
    assert killed(lambda progress: run(spec, progress=progress, **broken), steps=8)
    resumed = run(spec, **broken)
    assert resumed.record["resumed_at_steps"] == [saved]
    assert [answer for _, answer in asked] == drawn[saved * 16 :]
    assert digest(whole) == digest(resumed)
    assert whole.log == resumed.log
    assert resumed.record["ran"]["answers"] == 10 * 16


def test_prompts_are_inferences_and_leave_room(tokenizer, samples, ask):
    """The ids are those that inference feeds; a prompt too long for an answer is refused by its row, or left out."""
    rows = prompt_rows(samples, ask)
    kept, audit = audit_prompts(tokenizer, rows, max_new_tokens=12, max_length=256)
    assert [ids for _, ids in kept] == [rendering.prompt_tokens(tokenizer, row.messages) for row in rows]
    longest = max(len(ids) for _, ids in kept)
    assert audit.longest == longest
    with pytest.raises(UserError, match=f"Set max_length to {longest + 12}"):
        audit_prompts(tokenizer, rows, max_new_tokens=12, max_length=longest + 11)
    kept, audit = audit_prompts(tokenizer, rows, max_new_tokens=12, max_length=longest + 11, truncation="drop")
    assert len(kept) + len(audit.dropped) == 24


def test_steps_are_counted_in_prompts(policy_recipe):
    """16 answers a step, 4 to a prompt: 4 prompts; 24 prompts make 6 steps, 27 as well, 3 none."""
    spec = policy_recipe("grpo", max_steps=None)
    assert [steps_of(spec, rows) for rows in (24, 27, 3)] == [6, 6, 0]
    assert steps_of(spec.model_copy(update={"epochs": 1.5}), 24) == 9


def test_too_few_prompts_for_a_step_are_refused(run, policy_recipe, draws, samples):
    """TRL would train no step and say nothing."""
    reward, _ = rewarding(letter=likes_letters)
    with pytest.raises(UserError, match=r"at least the 4 prompts of one step \(got 3\)"):
        run(policy_recipe("grpo", max_steps=None), reward=reward, generation=draws, rows=samples[:3])


def test_the_key_follows_judges_and_drawing(policy_recipe, draws, samples, ask):
    """Another judge, weight, length of answers or reference gives another key; another name of the judge does not."""
    rows = prompt_rows(samples, ask)

    def key(spec, reward=None, generation=draws, rows=rows):
        reward = reward or rewarding(letter=likes_letters)[0]
        return training_key(spec, base_fingerprint="b", rows=rows, seed=1, reward=reward, generation=generation)

    own = key(policy_recipe("grpo"))
    renamed = Reward(fingerprints={"x": "print of letter"}, judge=dict)
    assert own == key(policy_recipe("grpo", reward={"x": 1.0}), renamed)
    assert own != key(policy_recipe("grpo"), Reward(fingerprints={"letter": "changed"}, judge=dict))
    assert own != key(policy_recipe("grpo", reward={"letter": 2.0}))
    assert own != key(policy_recipe("grpo"), generation=GenerationSettings(max_new_tokens=13))
    assert own != key(policy_recipe("rloo"))
    changed = [dataclasses.replace(samples[0], references=("other",)), *samples[1:]]
    assert own != key(policy_recipe("grpo"), rows=prompt_rows(changed, ask))


def test_the_penalty_holds_the_policy_back(run, policy_recipe, draws, tmp_path):
    """With a large beta the policy moves less far from the base than without: its KL stays smaller."""
    reward, _ = rewarding(letter=likes_letters)
    far, near = (
        run(
            policy_recipe("grpo", beta=beta, max_steps=8),
            reward=reward,
            generation=draws,
            adapters=tmp_path / str(beta),
        )
        for beta in (1e-6, 10.0)
    )
    assert math.fsum(e["kl"] for e in near.log[4:]) < math.fsum(e["kl"] for e in far.log[4:])
    assert near.log[0]["kl"] == pytest.approx(0, abs=1e-6)
