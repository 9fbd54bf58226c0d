"""Training: the loss is what it says, the same recipe gives the same tensors, and nothing unsound leaves an adapter."""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, MistralConfig

from harness.errors import TrainingError, UserError
from harness.models.identity import base_fingerprint
from harness.suite.grammar import TransformersModel
from harness.training import (
    find_training,
    loop,
    sft,
    trainer,
    training_key,
    training_rows,
    training_steps,
)
from harness.training.attention import is_packable, packed_attention
from harness.training.audit import audit_rows
from tests.harness.training.ending import digest
from tests.harness.training.oracles import token_mean


def test_packed_and_padded_train_alike(run, recipe, tmp_path):
    """Laying rows end to end changes neither the loss curve nor the weights beyond rounding."""
    spec = recipe(dropout=0.0, logging_steps=1)
    packed = run(spec, batching="packed", adapters=tmp_path / "a")
    padded = run(spec, batching="padded", adapters=tmp_path / "b")
    for a, b in zip(packed.log, padded.log, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
        assert a["tokens"] == b["tokens"]
    left = load_file(Path(packed.path) / "adapter_model.safetensors")
    right = load_file(Path(padded.path) / "adapter_model.safetensors")
    assert max(float((left[name] - right[name]).abs().max()) for name in left) < 1e-3


def test_two_threads_are_deterministic_too(run, recipe, tmp_path):
    """With two threads as well, a recipe gives the same bytes twice."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one, two = (run(recipe(max_steps=2), adapters=tmp_path / name) for name in "ab")
    finally:
        torch.set_num_threads(before)
    assert one.record["ran"]["threads"] == 2
    assert digest(one) == digest(two)


def test_only_plain_causal_attention_is_packed():
    """A model with sliding windows is padded, and the attention itself refuses what it does not know."""
    assert is_packable(LlamaConfig())
    assert not is_packable(MistralConfig(sliding_window=128))
    one = torch.zeros(1, 1, 2, 4)
    bounds = torch.tensor([0, 2])
    with pytest.raises(ValueError, match="sliding_window"):
        packed_attention(torch.nn.Identity(), one, one, one, None, cu_seq_lens_q=bounds, sliding_window=128)
    with pytest.raises(ValueError, match="no mask"):
        packed_attention(torch.nn.Identity(), one, one, one, torch.ones(1, 2), cu_seq_lens_q=bounds)


def test_the_adapter_on_disk_is_the_trained_model(run, recipe, base_folder, samples, ask, tmp_path):
    """The loss of step 6 equals that of the 5-step adapter, loaded from its folder onto the base, rows run alone."""
    from peft import PeftModel

    options = {
        "batch_size": 24,
        "dropout": 0.0,
        "logging_steps": 1,
        "target_modules": "all-linear",
        "learning_rate": 0.02,
    }
    five = run(recipe(max_steps=5, **options), adapters=tmp_path / "five")
    six = run(recipe(max_steps=6, **options), adapters=tmp_path / "six")
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    token_rows, _ = audit_rows(tokenizer, training_rows(samples, ask), max_length=256)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, five.path).eval()
    assert token_mean(tuned, token_rows) == pytest.approx(six.log[-1]["loss"], rel=1e-5)
    assert six.log[-1]["loss"] < six.log[0]["loss"]


def test_finished_folder_holds_three_files_and_no_pickle(run, recipe):
    """The adapter's folder is tensors, a canonical config and a manifest; nothing partial is left beside it."""
    training = run(recipe(target_modules=["v_proj", "k_proj", "q_proj"]))
    folder = Path(training.path)
    assert sorted(path.name for path in folder.parent.iterdir()) == [training.key]
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["target_modules"] == ["k_proj", "q_proj", "v_proj"]
    assert str(folder.parent.parent) not in json.dumps(config)


def test_the_record_says_what_ran(run, recipe, base_folder):
    """Log, token count, dtypes, recipe and versions are those of the run; the log is one rising series."""
    training = run(recipe(scheduler="linear"))
    assert training.steps == 12
    assert [entry["step"] for entry in training.log] == [4, 8, 12]
    assert training.tokens == 2 * training.record["audit"]["tokens"] == training.log[-1]["tokens"]
    rates = [entry["learning_rate"] for entry in training.log]
    assert rates == pytest.approx([5e-3 * (12 - step) / 12 for step in (3, 7, 11)])
    assert training.record["ran"]["frozen"] == training.record["ran"]["trained"] == "float32"
    assert training.record["ran"]["compute_dtype"] == "float32"
    assert training.record["ran"]["batching"] == "packed"
    assert training.record["recipe"]["rank"] == 4
    assert training.record["versions"]["trl"]
    assert training.base_fingerprint == base_fingerprint(base_folder)
    assert training.trainable_parameters == sum(
        tensor.numel() for tensor in load_file(Path(training.path) / "adapter_model.safetensors").values()
    )


def test_progress_counts_every_step(run, recipe):
    """The callback's numbers add up to the planned steps."""
    seen = []
    training = run(recipe(), progress=seen.append)
    assert sum(seen) == training.steps == 12


def test_a_finished_training_is_found_not_repeated(run, recipe, monkeypatch):
    """The second call returns the first one's adapter, under the name it is now asked for, without loading a model."""
    first = run(recipe())
    monkeypatch.setattr(sft, "load_base", lambda *a, **k: pytest.fail("trained again"))
    second = run(recipe(save_steps=50, logging_steps=1), candidate="twin")
    assert second == dataclasses.replace(first, candidate="twin")


def test_a_spoilt_adapter_is_not_found_and_trained_again(run, recipe):
    """One flipped byte makes the adapter invisible; training it again restores the same bytes and says why."""
    training = run(recipe())
    file = Path(training.path) / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert find_training(file.parent.parent, training.key) is None
    lines = []
    run(recipe(), notice=lines.append)
    assert file.read_bytes() == whole
    assert any("trained again" in line for line in lines)


def test_another_base_of_the_same_shape_is_another_training(base_folder, samples, ask, recipe, tmp_path):
    """The key follows the base's weights, so an adapter of the old base is never taken for one of the new."""
    other = tmp_path / "base"
    shutil.copytree(base_folder, other)
    weights = other / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    keys = [
        training_key(recipe(), base_fingerprint=base_fingerprint(folder), rows=training_rows(samples, ask), seed=1)
        for folder in (base_folder, other)
    ]
    assert keys[0] != keys[1]


def test_refused_rows_leave_nothing_behind(run, recipe, tmp_path):
    """Rows that the audit refuses stop the training before a folder is made."""
    with pytest.raises(UserError, match="'max_length'"):
        run(recipe(max_length=8))
    assert not (tmp_path / "adapters").exists()


def test_out_of_memory_is_one_line(run, recipe, monkeypatch):
    """Running out of memory is a TrainingError that names the candidate and what to change."""

    def starve(*args, **kwargs):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(sft.SupervisedTrainer, "train", starve)
    with pytest.raises(TrainingError, match=r"lora: the training ran out of memory.*batch_size"):
        run(recipe())


def test_a_full_disk_is_one_line(run, recipe, monkeypatch):
    """A full disk is a TrainingError that says how to go on."""

    def fill(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop, "seal", fill)
    with pytest.raises(TrainingError, match="lora: the disk is full"):
        run(recipe())


def test_unusable_recipes_are_refused_before_a_step(run, recipe, monkeypatch):
    """Half precision without a GPU, unknown modules, the output layer and missing libraries are the user's to mend."""
    monkeypatch.setattr(sft, "load_base", lambda *a, **k: pytest.fail("a model was loaded"))
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="'compute_dtype' must be float32 or auto"):
            run(recipe(compute_dtype="bfloat16"))
    with pytest.raises(UserError, match="'target_modules' must fit"):
        run(recipe(target_modules=["c_attn"]))
    with pytest.raises(UserError, match="leave out the output layer 'lm_head'"):
        run(recipe(target_modules=["q_proj", "lm_head"]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"bitsandbytes.*muster-harness\[gpu\]"):
        run(recipe(quantization="nf4"))


def test_a_base_with_an_adapter_or_int8_is_refused(base_folder, samples, ask, recipe, tmp_path):
    """Training goes onto a bare base; int8 bases cannot be trained on."""
    for options, words in (({"adapter": "x"}, "without an adapter"), ({"quantization": "int8"}, "must be nf4")):
        with pytest.raises(UserError, match=words):
            trainer.train(
                "lora",
                recipe(),
                base=TransformersModel(kind="transformers", path=base_folder.name, **options),
                root=base_folder.parent,
                samples=samples,
                prompt=ask,
                adapters=tmp_path,
                seed=1,
            )


@pytest.mark.parametrize(
    ("rows", "options", "steps"),
    [
        (3000, {"batch_size": 4}, 750),
        (3001, {"batch_size": 4}, 751),
        (10, {"batch_size": 4, "gradient_accumulation": 2}, 2),
        (10, {"batch_size": 4, "epochs": 1.5}, 5),
        (10, {"batch_size": 4, "max_steps": 7}, 7),
        (0, {"batch_size": 4}, 0),
    ],
)
def test_steps(rows, options, steps):
    """3,000 rows at batch 4 are 750 steps; short batches and short accumulations count as steps."""
    assert training_steps(rows, **options) == steps


@pytest.mark.parametrize("options", [{"epochs": 1.5, "gradient_accumulation": 4}, {"batch_size": 5, "max_steps": 7}])
def test_planned_steps_are_the_steps_taken(run, recipe, options):
    """The plan's count equals what the trainer does, for fractions of epochs and short last batches."""
    seen = []
    training = run(recipe(**options), progress=seen.append)
    assert sum(seen) == training.steps == training.log[-1]["step"]


def test_importing_the_package_is_light():
    """`import harness.training` loads neither torch nor transformers nor trl: `muster check` can afford it."""
    heavy = ("torch", "transformers", "trl", "peft", "numpy", "datasets")
    code = f"import sys, harness.training; print([name for name in {heavy} if name in sys.modules])"
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
