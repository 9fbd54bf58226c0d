"""The forecast: published counts, closed forms, and what a real training then takes."""

import dataclasses
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from trl.trainer import utils

from harness.errors import UserError
from harness.models.identity import base_fingerprint
from harness.records import GenerationSettings, Judgement, Preference
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import estimating, forecast, simulation, training_rows
from harness.training.adaptation import attach_lora, lora_config
from harness.training.attention import PACKED
from harness.training.audit import audit_rows, audit_training
from harness.training.estimating import forecast_training, refuse_hopeless
from harness.training.forecast import Forecast, as_of_now, refusal
from harness.training.memory import available_memory, count_memory
from harness.training.planning import meta_model
from harness.training.recipe import Reward, rows_of
from harness.training.simulation import _LiveBytes, simulate_step

SEVEN_B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip
SMALL = {
    "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 500,
}  # fmt: skip
FULL = TrainSpec(base="base", method="full")


@pytest.fixture
def look(base_folder, samples, ask, tmp_path):
    """What is told of a recipe on the tiny base, with its real rows."""

    def call(spec, weights=base_fingerprint(base_folder), **options):  # noqa: B008
        tokenizer = AutoTokenizer.from_pretrained(base_folder)
        rows, audit = audit_rows(
            tokenizer, training_rows(samples, ask), max_length=256, batch_size=spec.batch_size, allow=["duplicates"]
        )
        given = {
            "base": TransformersModel(kind="transformers", path="base"), "folder": base_folder, "rows": rows,
            "audit": audit,
        }  # fmt: skip
        told = forecast_training(spec, **{**given, **options})
        kept = Forecast.read(json.loads(json.dumps(dataclasses.asdict(told))))
        assert kept == told
        return as_of_now(kept, spec, adapters=tmp_path / "adapters", base_fingerprint=weights)

    return call


# ---------------------------------------------------------------------------------------------------------- simulation


@pytest.mark.parametrize(("rank", "packed"), [(None, True), (8, True), (8, False)])
def test_simulated_memory_is_that_of_a_real_step(recipe, rank, packed):
    """Bytes that operations of a real forward and backward pass hold at most, within 5 %: trained whole or by LoRA, rows
    end to end or below each other with a mask.
    """
    spec = recipe(rank=rank, target_modules="all-linear") if rank else FULL
    config = LlamaConfig(**SMALL)
    step = simulate_step(
        lambda shape: meta_model(shape, spec), config, rows=3, length=90, trained=None, dtype=torch.float32,
        packed=packed,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED if packed else "sdpa")
    if rank:
        model = attach_lora(model, lora_config(spec, model))
    model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    batch = {"input_ids": torch.zeros((3, 90), dtype=torch.long), "attention_mask": torch.ones((3, 90))}
    batch["attention_mask"][0, 60:] = 0
    if packed:
        batch = {
            "input_ids": torch.zeros((1, 270), dtype=torch.long), "position_ids": torch.arange(90).repeat(3)[None],
            "cu_seq_lens_q": torch.tensor([0, 90, 180, 270]),
        }  # fmt: skip
    with _LiveBytes() as real:
        logits = model(**batch, use_cache=False).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(270, dtype=torch.long))
        del logits
        loss.backward()
    assert step.activations == pytest.approx(real.peak, rel=0.05)


def test_arithmetic_is_six_or_four_times_weights_and_tokens(recipe):
    """Full training takes 6·N·T operations (Kaplan et al. 2020), N the weights that multiply. LoRA takes 4·N·T and 6 for its
    own weights, less the 2 for gradients of the first layer's input, which frozen embeddings do not want.
    """
    config = LlamaConfig(**SMALL)
    tokens = 4 * 16
    full, lora = (
        simulate_step(
            lambda shape, spec=spec: meta_model(shape, spec), config, rows=4, length=16, trained=None,
            dtype=torch.float32,
        )
        for spec in (FULL, recipe(rank=4))
    )  # fmt: skip
    whole = meta_model(config, FULL)
    matrices = sum(module.weight.numel() for module in whole.modules() if isinstance(module, torch.nn.Linear))
    adapter = sum(p.numel() for p in meta_model(config, recipe(rank=4)).parameters() if p.requires_grad)
    assert full.flops == 6 * matrices * tokens
    first = 64 * (64 + 32 + 32) + 2 * 4 * 64  # q, k and v, and LoRA's A beside q and v
    assert lora.flops == (4 * matrices + 6 * adapter - 2 * first) * tokens


def test_a_deep_model_is_told_by_shallow_ones(monkeypatch, recipe):
    """Two small depths give the same memory and arithmetic as all layers; recomputing trades one for the other."""
    config = LlamaConfig(**SMALL)
    options = {"rows": 2, "length": 40, "trained": 20, "dtype": torch.float32, "packed": True}

    def build(shape):
        return meta_model(shape, recipe(rank=4))

    shallow = simulate_step(build, config, **options)
    monkeypatch.setattr(simulation, "SHALLOW", 5)
    whole = simulate_step(build, config, **options)
    assert shallow.activations == pytest.approx(whole.activations, rel=1e-6)
    assert shallow.flops == pytest.approx(whole.flops, rel=1e-6)
    again = simulate_step(build, config, **options, checkpointing=True)
    assert again.activations < whole.activations
    assert again.flops > 1.3 * whole.flops


# -------------------------------------------------------------------------------------------------------------- memory


def test_parts_of_memory_in_closed_form(recipe):
    """Llama-2-7B: 4 bytes a weight in float32; in NF4 4.127 bits for each weight of a linear layer (QLoRA, section 3)."""
    model = meta_model(LlamaConfig(**SEVEN_B), recipe(rank=64, alpha=64))
    plain = count_memory(model, activations=7, dtype=torch.float32, quantized=False)
    assert plain.weights == 4 * (6_771_970_048 - 33_554_432)
    assert plain.trained == plain.gradients == 4 * 33_554_432
    assert plain.optimizer == 8 * 33_554_432
    assert plain.activations == 7
    linear = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    four_bit = count_memory(model, activations=0, dtype=torch.bfloat16, quantized=True)
    assert four_bit.weights == pytest.approx(linear * 4.127 / 8 + 2 * (6_738_415_616 - linear), rel=1e-4)
    assert four_bit.activations == 2 * 4096 * 11008


def test_a_real_training_takes_what_was_told(run, recipe, look):
    """All that torch holds in a real training, from loading to the last step, is 0.8 to 1.25 of the estimate."""
    spec = recipe(rank=16, target_modules="all-linear", batch_size=24, epochs=2)  # the widest batch is every batch
    told = look(spec).memory.total
    with _LiveBytes() as real:
        run(spec)
    assert 0.8 < real.peak / told < 1.25


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  4000 kB\n"}, 4_096_000),
        (
            {
                "proc/meminfo": "MemAvailable:  4000 kB\n",
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/b/memory.current": "10\n",
                "sys/fs/cgroup/a/memory.max": "1000\n",
                "sys/fs/cgroup/a/memory.current": "700\n",
                "sys/fs/cgroup/a/memory.stat": "anon 500\ninactive_file 150\n",
            },
            450,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/x\n",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1000\n",
                "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "900\n",
            },
            100,
        ),
    ],
    ids=["unknown", "machine", "version 2", "version 1"],
)
def test_free_memory_follows_the_tightest_limit(tmp_path, files, free):
    """The machine's, or a control group's above this process, what the file cache holds counted as free."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert available_memory("cpu", root=tmp_path) == free


def test_a_refusal_names_the_least_change_that_fits(monkeypatch, look, recipe):
    """Half the batch where that will do, four bits where the weights are the matter; each with what it needs then."""
    spec = recipe(batch_size=8)
    told = look(spec)
    assert told.fits
    halves, smaller = told.smaller[0]
    assert halves == "batch_size: 4 and gradient_accumulation: 2"
    assert smaller == told.memory.total - told.memory.activations // 2
    monkeypatch.setattr(forecast, "available_memory", lambda device: smaller)
    tight = look(spec)
    assert not tight.fits
    assert f"Set {halves}" in refusal(tight, spec)
    monkeypatch.setattr(forecast, "available_memory", lambda device: 10)
    assert "Take a smaller base" in refusal(look(spec), spec)


def test_weights_alone_can_be_too_much(monkeypatch, recipe, base_folder):
    """What no batch size could mend is refused by the trainer itself, unless the recipe allows it."""
    base = TransformersModel(kind="transformers", path="base")
    refuse_hopeless(recipe(), base=base, folder=base_folder)
    monkeypatch.setattr(estimating, "available_memory", lambda device: 1000)
    with pytest.raises(UserError, match=r"weights, gradients and optimiser alone are 0\.\d MiB"):
        refuse_hopeless(recipe(), base=base, folder=base_folder)
    refuse_hopeless(recipe(allow=["memory"]), base=base, folder=base_folder)


# ---------------------------------------------------------------------------------------------------- counts and time


def test_the_course_plan(look, recipe, tmp_path):
    """Llama-2-7B, r=64, 3,000 rows at batch 4, from config.json alone: 33,554,432 of 6,771,970,048, 750 steps."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **SEVEN_B}))
    told = look(
        recipe(rank=64, alpha=64, epochs=1, max_length=256),
        folder=tmp_path,
        rows=3000,
        audit=None,
        weights=None,
    )
    assert (told.plan.trainable_parameters, told.plan.total_parameters) == (33_554_432, 6_771_970_048)
    assert told.plan.steps == 750
    assert told.plan.tokens is None
    assert told.flops == pytest.approx(4 * 6.6e9 * 3000 * 256, rel=0.1)
    assert told.memory.total > 27 * 10**9


def test_time_is_arithmetic_over_a_measured_rate(monkeypatch, look, recipe):
    """Without an earlier training: operations over the share of the rate that a training reaches."""
    monkeypatch.setattr(estimating, "_matrix_rate", lambda *a: 2e9)
    told = look(recipe())
    assert told.seconds == pytest.approx(told.flops / (2e9 * estimating.EFFICIENCY))
    assert "2 GFLOP/s" in told.pace
    assert look(recipe(epochs=4)).seconds == pytest.approx(2 * told.seconds, rel=0.02)


def test_time_follows_the_last_training_of_this_base(run, look, recipe, tmp_path):
    """Its tokens a second; a training on another base, or one that cannot be read, is no guide."""
    training = run(recipe(max_steps=2))
    told = look(recipe())
    assert told.seconds == pytest.approx(told.plan.tokens / (training.tokens / training.seconds))
    assert "last training" in told.pace
    assert "GFLOP/s" in look(recipe(), weights="another").pace
    (tmp_path / "adapters" / training.key / "manifest.json").write_text("{}")
    assert "GFLOP/s" in look(recipe()).pace


# ------------------------------------------------------------------------------------------------- pairs and policies


@pytest.fixture
def learnt(samples):
    """A preference for each sample: its own answer over twice that of the next."""
    following = [*samples[1:], samples[0]]
    return [
        Preference(sample=one, chosen=one.references[0], rejected=" ".join(other.references * 2))
        for one, other in zip(samples, following, strict=True)
    ]


@pytest.fixture
def told_and_taken(monkeypatch, run, recipe, tokenizer, base_folder, samples, ask, learnt):
    """The forecast of a recipe that learns no references, a training by it, and the bytes it really held."""

    def call(objective, **options):
        rewards = objective in ("grpo", "rloo")
        own = {"reward": "letter", "num_generations": 4, "dropout": 0.0} if rewards else {"preferences": "p"}
        spec = recipe(objective=objective, **{**own, "target_modules": "all-linear", "dropout": 0.0, **options})
        rows = rows_of(spec, samples, ask, learnt)
        kept, audit = audit_training(spec, tokenizer, rows, window=256, encodes=False, max_new_tokens=16)
        told = forecast_training(
            spec, base=TransformersModel(kind="transformers", path="base"), folder=base_folder, rows=kept, audit=audit,
            max_new_tokens=16,
        )  # fmt: skip
        given = {"preferences": learnt}
        if rewards:

            def judge(samples, answers):
                scores = [len(set(answer)) / 99 for answer in answers]
                return {"letter": [Judgement(id="", metric="letter", score=score) for score in scores]}

            reward = Reward(fingerprints={"letter": "print"}, judge=judge)
            given = {"reward": reward, "generation": GenerationSettings(max_new_tokens=16)}
        monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 320)  # else reserved, and never touched beyond that
        with _LiveBytes() as real:
            training = run(spec, **given)
        return told, training, real.peak

    return call


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("dpo", {"batch_size": 12}),
        ("reward", {"batch_size": 12}),
        ("rloo", {"batch_size": 16, "gradient_accumulation": 2}),
    ],
)
def test_pairs_and_policies_take_what_was_told(told_and_taken, objective, options):
    """Trainable and all parameters, steps and tokens are the training's own; its bytes are 0.9 to 1.1 of the estimate. Of
    answers drawn, tokens are told at most: with every answer as long as it may be."""
    told, training, peak = told_and_taken(objective, **options)
    assert told.plan.trainable_parameters == training.trainable_parameters
    assert told.plan.total_parameters == training.total_parameters
    assert told.plan.steps == training.steps
    if objective == "rloo":
        assert 0.6 * told.plan.tokens < training.tokens <= told.plan.tokens
    else:
        assert told.plan.tokens == training.tokens
    assert 0.9 < peak / told.memory.total < 1.1
