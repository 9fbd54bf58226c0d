"""DPO and reward models: the right tokens, learning that shows on pairs not seen, the same tensors every time."""

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness.errors import ModelError, UserError
from harness.models import rendering
from harness.models.load import ModelRoom
from harness.records import Case, Preference, Sample
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.audit import audit_pairs
from harness.training.recipe import preference_rows, training_key
from judges.reward import RewardJudge
from tests.harness.training.ending import digest, killed

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
GOOD, BAD = "bado kelu", "nimo fape"


def babble(rng, words):
    """That many invented words of two syllables."""
    return " ".join("".join(rng.choices(SYLLABLES, k=2)) for _ in range(words))


def pairs(count, seed):
    """Preferences for answers that hold GOOD over answers that hold BAD, both of the same length."""
    rng = random.Random(seed)
    found = []
    for row in range(1, count + 1):
        sample = Sample(id=f"p{row}", split="preferences.jsonl", row=row, input=babble(rng, rng.randint(3, 8)))
        words = [babble(rng, 1) for _ in range(3)]
        chosen, rejected = (" ".join([words[0], mark, *words[1:]]) for mark in (GOOD, BAD))
        found.append(Preference(sample=sample, chosen=chosen, rejected=rejected))
    return found


@pytest.fixture
def preference_recipe():
    """Makes a TrainSpec of an objective that learns from preferences."""

    def build(objective, **options):
        own = {"rank": 8, "alpha": 16.0, "learning_rate": 1e-2, "max_steps": 25, "logging_steps": 5, "save_steps": 10}
        return TrainSpec(base="base", objective=objective, preferences="p.jsonl", **{**own, **options})

    return build


def log_likelihoods(model, tokenizer, ask, preferences):
    """Sum of the log-likelihoods of each chosen and each rejected answer, shape [preferences, 2], one row at a time."""
    found = []
    for preference in preferences:
        row = []
        for answer in (preference.chosen, preference.rejected):
            prompt, ids = rendering.training_tokens(tokenizer, ask(preference.sample).messages, answer)
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            row.append(sum(logits[len(prompt) - 1 + place, token].item() for place, token in enumerate(ids)))
        found.append(row)
    return torch.tensor(found)


@pytest.fixture
def adapted(base_folder):
    """Opens the base with an adapter folder on it; None means the base alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def load(folder):
        base = AutoModelForCausalLM.from_pretrained(base_folder)
        return base if folder is None else PeftModel.from_pretrained(base, folder).eval()

    return load


def test_dpo_raises_the_margin_on_pairs_it_has_not_seen(run, preference_recipe, adapted, tokenizer, ask):
    """The margin between chosen and rejected log-likelihood grows against the base on most of 40 held-out pairs."""
    training = run(preference_recipe("dpo"), preferences=pairs(60, seed=1))
    heldout = pairs(40, seed=2)
    before = log_likelihoods(adapted(None), tokenizer, ask, heldout)
    after = log_likelihoods(adapted(training.path), tokenizer, ask, heldout)
    gain = (after[:, 0] - after[:, 1]) - (before[:, 0] - before[:, 1])
    assert (gain > 0).sum() >= 38
    assert gain.mean() > 1
    margins = [entry["margin"] for entry in training.log]
    assert margins[-1] > margins[0]
    assert [entry["step"] for entry in training.log] == [5, 10, 15, 20, 25]
    assert training.record["ran"]["trainer"] == "DPOTrainer"
    assert training.record["recipe"]["beta"] == 0.1


def test_the_first_dpo_step_is_the_closed_form(run, preference_recipe):
    """Before a step the policy is its reference: margin 0, loss ln 2; with loss hinge, 1."""
    sigmoid = run(preference_recipe("dpo", max_steps=1, logging_steps=1), preferences=pairs(4, seed=1))
    hinge = run(preference_recipe("dpo", max_steps=1, logging_steps=1, loss_type="hinge"), preferences=pairs(4, seed=1))
    assert sigmoid.log[0]["loss"] == pytest.approx(0.6931472, abs=1e-6)
    assert hinge.log[0]["loss"] == pytest.approx(1.0, abs=1e-6)
    assert sigmoid.log[0]["margin"] == pytest.approx(0, abs=1e-6)


def test_every_weight_can_learn_to_prefer(run, preference_recipe, adapted, base_folder, tokenizer, ask):
    """Method full: the reference is a frozen copy, so that the first loss is ln 2 and the logged margin the policy's own,
    measured from the base; the folder is a whole model that has moved."""
    spec = TrainSpec(
        base="base", objective="dpo", method="full", preferences="p", learning_rate=3e-3, max_steps=6, batch_size=4,
        logging_steps=1,
    )  # fmt: skip
    learnt = pairs(4, seed=1)
    training = run(spec, preferences=learnt)
    assert training.log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    five = run(spec.model_copy(update={"max_steps": 5}), preferences=learnt)
    before = log_likelihoods(adapted(None), tokenizer, ask, learnt)
    after = log_likelihoods(AutoModelForCausalLM.from_pretrained(five.path).eval(), tokenizer, ask, learnt)
    moved = after - before
    assert training.log[5]["margin"] == pytest.approx(0.1 * float((moved[:, 0] - moved[:, 1]).mean()), rel=1e-3)
    assert training.trainable_parameters == training.total_parameters
    ended, began = (load_file(Path(folder) / "model.safetensors") for folder in (training.path, base_folder))
    assert ended.keys() == began.keys()
    assert not any(torch.equal(ended[name], began[name]) for name in began)


def test_pairs_are_tokenised_as_inference_would(tokenizer, ask):
    """Prompt ids are inference's, both answers end with EOS alone, and the counts are those of the rows kept."""
    rows = preference_rows(pairs(6, seed=3), ask)
    kept, audit = audit_pairs(tokenizer, rows, max_length=256)
    for row, pair in zip(rows, kept, strict=True):
        assert list(pair.prompt_ids) == rendering.prompt_tokens(tokenizer, row.messages)
        for ids, text in ((pair.chosen_ids, row.chosen), (pair.rejected_ids, row.rejected)):
            assert ids[-1] == tokenizer.eos_token_id
            assert tokenizer.eos_token_id not in ids[:-1]
            assert rendering.decode(tokenizer, ids) == text
    assert audit.tokens == sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in kept)
    assert audit.bos == 1
    longest = max(len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)) for p in kept)
    with pytest.raises(UserError, match=f"Set max_length to {longest}"):
        audit_pairs(tokenizer, rows, max_length=longest - 1)
    kept, audit = audit_pairs(tokenizer, rows, max_length=longest - 1, truncation="drop")
    assert set(audit.dropped) | {pair.row for pair in kept} == {row.row for row in rows}
    with pytest.raises(UserError, match=r"row 1: the answer itself holds </s>"):
        audit_pairs(tokenizer, [replace(rows[0], rejected="a</s>b")], max_length=256)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_reward_model_orders_pairs_it_has_not_seen(run, preference_recipe, base_folder, method):
    """Of 60 held-out pairs at least 50 are ordered rightly (chance: 30, P < 1e-7), read through the judge's own model."""
    spec = preference_recipe("reward", dropout=0.1)
    if method == "full":
        own = {"learning_rate": 3e-3, "max_steps": 25, "logging_steps": 5, "save_steps": 10}
        spec = TrainSpec(base="base", objective="reward", method="full", preferences="p.jsonl", **own)
    training = run(spec, preferences=pairs(60, seed=1))
    assert training.log[0]["accuracy"] < training.log[-1]["accuracy"]
    assert training.record["ran"]["trainer"] == "RewardTrainer"
    room = ModelRoom(base_folder.parent)
    model = room.reward_model(
        TransformersModel(kind="transformers", path=base_folder.name), adapter=Path(training.path)
    )
    judge = RewardJudge("helpful", model)
    heldout = pairs(60, seed=2)
    scores = [
        [judgement.score for judgement in judge.judge([case(one, one.chosen), case(one, one.rejected)])]
        for one in heldout
    ]
    assert sum(chosen > rejected for chosen, rejected in scores) >= 50
    apart = [judge.judge([case(one, one.chosen)])[0].score for one in heldout[:5]]
    together = judge.judge([case(one, one.chosen) for one in heldout[:5]])
    assert [judgement.score for judgement in together] == pytest.approx(apart, abs=1e-6)
    assert [judgement.score for judgement in together] == pytest.approx(
        [1 / (1 + math.exp(-judgement.evidence["reward"])) for judgement in together], abs=1e-5
    )


def case(preference, answer):
    """What a judge sees of one of the answers."""
    return Case(id=preference.sample.id, input=preference.sample.input, answer=answer)


def test_a_base_alone_is_no_reward_model_and_neither_is_an_answering_adapter(run, recipe, base_folder):
    """A head filled in at random would score: both are refused."""
    room = ModelRoom(base_folder.parent)
    spec = TransformersModel(kind="transformers", path=base_folder.name)
    with pytest.raises(ModelError, match="must be a reward model"):
        room.reward_model(spec).rewards([("a", "b")])
    answering = run(recipe(max_steps=1))
    with pytest.raises(ModelError, match="must be of a reward model"):
        room.reward_model(spec, adapter=Path(answering.path)).rewards([("a", "b")])


@pytest.mark.parametrize("objective", ["dpo", "reward"])
def test_killed_pairs_end_in_the_same_tensors(run, preference_recipe, tmp_path, objective):
    """`kill -9` after step 8, and the next call goes on from step 7, in the second epoch, to the same file and log."""
    spec, learnt = preference_recipe(objective, max_steps=10, save_steps=7), pairs(20, seed=1)
    whole = run(spec, preferences=learnt, adapters=tmp_path / "whole")
    broken = {"preferences": learnt, "adapters": tmp_path / "broken"}
    assert killed(lambda progress: run(spec, progress=progress, **broken), steps=8)
    resumed = run(spec, **broken)
    assert resumed.record["resumed_at_steps"] == [7]
    assert digest(whole) == digest(resumed)
    assert whole.log == resumed.log


def test_the_key_follows_the_pairs_and_the_options(preference_recipe, ask):
    """Other answers, beta or loss give another key; TRL's defaults written out, and another file name, give the same."""

    def key(spec, learnt=None):
        rows = preference_rows(pairs(4, seed=1) if learnt is None else learnt, ask)
        return training_key(spec, base_fingerprint="b", rows=rows, seed=1)

    own = key(preference_recipe("dpo"))
    assert own == key(preference_recipe("dpo", beta=0.1, loss_type="sigmoid"))
    assert own == key(preference_recipe("dpo").model_copy(update={"preferences": "other.jsonl"}))
    assert own != key(preference_recipe("dpo", beta=0.2))
    assert own != key(preference_recipe("dpo", loss_type="ipo"))
    swapped = [replace(one, chosen=one.rejected, rejected=one.chosen) for one in pairs(4, seed=1)]
    assert own != key(preference_recipe("dpo"), swapped)
    assert own != key(preference_recipe("reward"))
