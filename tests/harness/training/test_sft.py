"""Training: the loss is what it says, the same recipe gives the same tensors, and nothing unsound leaves an adapter."""

import copy
import dataclasses
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, MistralConfig

from harness.errors import TrainingError, UserError
from harness.models.identity import base_fingerprint
from harness.suite.grammar import CandidateSpec, TransformersModel
from harness.training import (
    find_training,
    loop,
    planning,
    sft,
    trainer,
    training_key,
    training_rows,
    training_steps,
)
from harness.training.attention import PACKABLE, PACKED, is_packable, packed_attention
from harness.training.audit import IGNORED, audit_rows


def tensors(training):
    """SHA-256 of the adapter's tensor file."""
    return hashlib.sha256((Path(training.path) / "adapter_model.safetensors").read_bytes()).hexdigest()


def row_losses(model, token_rows):
    """Summed loss and trained tokens of each row, one row at a time and unpadded, straight from the definition."""
    for row in token_rows:
        labels = torch.tensor(row.labels)[1:]
        with torch.no_grad():
            logits = model(torch.tensor([row.input_ids])).logits[0, :-1]
        picked = torch.log_softmax(logits, dim=-1)[torch.arange(len(labels)), labels.clamp(min=0)]
        yield -float(picked[labels != IGNORED].double().sum()), int((labels != IGNORED).sum())


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_first_loss_is_the_token_mean_over_rows_alone(run, recipe, base_folder, samples, ask, batching):
    """With all rows in one batch, the first loss is the sum over rows, each run alone, over their trained tokens."""
    training = run(recipe(batch_size=24, epochs=1, logging_steps=1, dropout=0.0), batching=batching)
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    token_rows, _ = audit_rows(tokenizer, training_rows(samples, ask), max_length=256)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    summed, trained = map(sum, zip(*row_losses(base, token_rows), strict=True))
    assert training.log[0]["loss"] == pytest.approx(summed / trained, rel=1e-6)


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


def test_accumulation_splits_a_batch_without_changing_it(run, recipe, tmp_path):
    """4 rows at once, 2 x 2 and 1 x 4 give the same losses: the mean is over the step's tokens, not over batches."""
    logs = [
        run(
            recipe(batch_size=b, gradient_accumulation=4 // b, dropout=0.0, logging_steps=1), adapters=tmp_path / f"{b}"
        ).log
        for b in (4, 2, 1)
    ]
    for whole, *parts in zip(*logs, strict=True):
        for part in parts:
            assert part == pytest.approx(whole, rel=1e-4)


def test_same_recipe_same_tensors(run, recipe, tmp_path):
    """Two trainings of one recipe write the same bytes, dropout and shuffling included; another seed does not."""
    one, two = (run(recipe(max_steps=6), adapters=tmp_path / name) for name in "ab")
    other = run(recipe(max_steps=6), adapters=tmp_path / "c", seed=2)
    assert tensors(one) == tensors(two)
    assert one.log == two.log
    assert one.key == two.key != other.key
    assert tensors(one) != tensors(other)


def test_two_threads_are_deterministic_too(run, recipe, tmp_path):
    """With two threads as well, a recipe gives the same bytes twice."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one, two = (run(recipe(max_steps=2), adapters=tmp_path / name) for name in "ab")
    finally:
        torch.set_num_threads(before)
    assert one.record["ran"]["threads"] == 2
    assert tensors(one) == tensors(two)


@pytest.mark.parametrize("architecture", PACKABLE)
def test_packed_rows_do_not_see_each_other(architecture):
    """Packed logits equal each row's alone to 1e-5, and changing the first row moves nothing in the second."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64, "pad_token_id": 0}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": None}
    config = AutoConfig.for_model(architecture, **sizes, **heads)
    assert is_packable(config)
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation="sdpa").eval()
    model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED).eval()
    model.load_state_dict(plain.state_dict())
    first, other, second = [5, 6, 7, 8], [9, 9, 40, 3], [11, 12, 13, 14, 15]

    def packed(left, **options):
        positions = [*range(len(left)), *range(len(second))]
        bounds = torch.tensor([0, len(left), len(left) + len(second)])
        ids, places = torch.tensor([left + second]), torch.tensor([positions])
        return model(ids, position_ids=places, cu_seq_lens_q=bounds, use_cache=False, **options).logits[0]

    with torch.no_grad():
        together, alone = packed(first), plain(torch.tensor([second])).logits[0]
        assert (together[:4] - plain(torch.tensor([first])).logits[0]).abs().max() < 1e-5
        assert (together[4:] - alone).abs().max() < 1e-5
        assert torch.equal(packed(other)[4:], together[4:])
        assert torch.allclose(packed(first, logits_to_keep=torch.tensor([1, 5])), together[[1, 5]], atol=1e-6)


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
    summed, trained = map(sum, zip(*row_losses(tuned, token_rows), strict=True))
    assert summed / trained == pytest.approx(six.log[-1]["loss"], rel=1e-5)
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


def test_the_key_holds_what_decides_and_nothing_else(recipe, samples, ask):
    """Recipe, rows, base, seed and versions change the key; names, paces and row numbers do not."""
    rows = training_rows(samples, ask)
    given = {"base_fingerprint": "b", "rows": rows, "seed": 1, "versions": {"torch": "2"}}
    key = training_key(recipe(), **given)
    changed = [
        training_key(recipe(learning_rate=1e-3), **given),
        training_key(recipe(seed=7), **given),
        training_key(recipe(), **{**given, "rows": rows[:-1]}),
        training_key(recipe(), **{**given, "rows": rows[::-1]}),
        training_key(recipe(), **{**given, "base_fingerprint": "c"}),
        training_key(recipe(), **{**given, "seed": 2}),
        training_key(recipe(), **{**given, "versions": {"torch": "3"}}),
    ]
    assert len({key, *changed}) == 1 + len(changed)
    renumbered = [dataclasses.replace(row, row=row.row + 100) for row in rows]
    assert training_key(recipe(save_steps=1, logging_steps=1, split="other"), **{**given, "rows": renumbered}) == key
    assert training_key(recipe(seed=1), **{**given, "seed": 9}) == key
    assert training_key(recipe(), **{**given, "versions": {"torch": "2+cpu"}}) == key
    sweep = CandidateSpec.model_validate({"train": {"base": "base", "rank": [4, 8]}}).train
    with pytest.raises(ValueError, match="must be one value"):
        training_key(sweep, **given)


def test_refused_rows_leave_nothing_behind(run, recipe, tmp_path):
    """Rows that the audit refuses stop the training before a folder is made."""
    with pytest.raises(UserError, match="'max_length'"):
        run(recipe(max_length=8))
    assert not (tmp_path / "adapters").exists()


def test_nan_stops_and_leaves_no_adapter(run, recipe, tmp_path):
    """A learning rate that blows the weights up ends in a TrainingError with the step, and no finished adapter."""
    with pytest.raises(
        TrainingError, match=r"lora: the (loss|gradient norm) must be finite \(got \w+ at step \d+ of 12\)"
    ):
        run(recipe(learning_rate=1e30))
    assert all(path.name.endswith(".partial") for path in (tmp_path / "adapters").iterdir())


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


def test_nf4_trains_on_a_cpu_with_float32_adapters(run, recipe):
    """QLoRA with a paged optimiser runs without a GPU; the record says 4 bit, float32 compute and float32 adapter."""
    pytest.importorskip("bitsandbytes")
    training = run(recipe(quantization="nf4", optimizer="paged_adamw_32bit", max_steps=2))
    ran = training.record["ran"]
    assert (ran["quantization"], ran["trained"], ran["compute_dtype"]) == ("nf4", "float32", "float32")
    assert training.steps == len([entry for entry in training.log if entry["step"] == 2]) * 2
    assert training.record["versions"]["bitsandbytes"]


def test_llama_2_7b_counts(recipe):
    """LoRA r=64 on the Llama-2-7B configuration trains 33,554,432 of 6,771,970,048 parameters, as published."""
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=32000,
        tie_word_embeddings=False,
    )
    assert planning.count_parameters(config, recipe(rank=64, alpha=64)) == (
        33_554_432,
        6_771_970_048,
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
