"""What each method trains, and nothing else; what it leaves behind is a candidate that answers as the trained model did."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from harness.errors import ModelError, UserError
from harness.models.load import ModelRoom
from harness.records import GenerationSettings
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import find_training, planning, sft, training_rows
from harness.training.adaptation import choose_weights
from harness.training.audit import IGNORED, audit_rows
from tests.harness.training.ending import digest, killed

LAYER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
METHODS = ("lora", "full", "head", "last_layers")


def plain(recipe, method, **options):
    """A recipe for any method: the conftest's own is LoRA's."""
    if method == "lora":
        return recipe(**options)
    own = {"learning_rate": 5e-3, "epochs": 2, "save_steps": 3, "logging_steps": 4}
    return TrainSpec(base="base", method=method, **{**own, **options})


def expected_names(method):
    """Names of the trained tensors on the tests' base of two layers, written out."""
    layers = {n: [f"model.layers.{n}.{part}.weight" for part in LAYER] for n in (0, 1)}
    return {
        "lora": [
            f"base_model.model.model.layers.{n}.self_attn.{part}.lora_{side}.default.weight"
            for n in (0, 1) for part in ("q_proj", "v_proj") for side in "AB"
        ],
        "full": ["model.embed_tokens.weight", *layers[0], *layers[1], "model.norm.weight", "lm_head.weight"],
        "head": ["lm_head.weight"],
        "last_layers": [*layers[1], "model.norm.weight", "lm_head.weight"],
    }[method]  # fmt: skip


def token_mean(model, token_rows):
    """Mean loss over the trained tokens of all rows, each row alone and unpadded, straight from the definition."""
    summed = trained = 0
    for row in token_rows:
        labels = torch.tensor(row.labels)[1:]
        with torch.no_grad():
            logits = model(torch.tensor([row.input_ids])).logits[0, :-1]
        picked = torch.log_softmax(logits, dim=-1)[torch.arange(len(labels)), labels.clamp(min=0)]
        summed -= float(picked[labels != IGNORED].double().sum())
        trained += int((labels != IGNORED).sum())
    return summed / trained


@pytest.fixture
def watched(monkeypatch):
    """The trainer of each training, with the names its optimizer holds, taken when training begins."""
    seen = []
    train = sft.SupervisedTrainer.train

    def look(self, *args, **kwargs):
        done = train(self, *args, **kwargs)
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        seen.append([names[id(p)] for group in self.optimizer.param_groups for p in group["params"]])
        return done

    monkeypatch.setattr(sft.SupervisedTrainer, "train", look)
    return seen


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_its_weights_and_no_other(run, recipe, base_folder, watched, method):
    """The optimizer holds exactly the named tensors; those change, all others stay bit by bit, and the counts are theirs."""
    training = run(plain(recipe, method, max_steps=2))
    names = expected_names(method)
    assert sorted(watched[0]) == sorted(names)
    base = load_file(base_folder / "model.safetensors")
    if method == "lora":
        trained = load_file(Path(training.path) / "adapter_model.safetensors")
        assert training.trainable_parameters == sum(tensor.numel() for tensor in trained.values())
        assert training.total_parameters == training.trainable_parameters + sum(t.numel() for t in base.values())
        return
    tuned = load_file(Path(training.path) / "model.safetensors")
    assert tuned.keys() == base.keys()
    assert sorted(name for name in base if not torch.equal(base[name], tuned[name])) == sorted(names)
    assert training.trainable_parameters == sum(base[name].numel() for name in names)
    assert training.total_parameters == sum(tensor.numel() for tensor in base.values())


@pytest.mark.parametrize("method", METHODS)
def test_the_folder_answers_as_the_trained_model(run, recipe, base_folder, samples, ask, tmp_path, method):
    """The loss of step 4 is that of the 3-step folder, loaded as a candidate is, rows alone and unpadded."""
    options = {"batch_size": 24, "logging_steps": 1, "epochs": 9, **({"dropout": 0.0} if method == "lora" else {})}
    three = run(plain(recipe, method, max_steps=3, **options), adapters=tmp_path / "three")
    four = run(plain(recipe, method, max_steps=4, **options), adapters=tmp_path / "four")
    room = ModelRoom(base_folder.parent)
    spec = TransformersModel(kind="transformers", path=base_folder.name)
    base, tuned = room.generator(spec), room.generator(spec, adapter=Path(three.path))
    again = room.generator(spec, adapter=Path(four.path))
    assert len({base.key, tuned.key, again.key}) == 3
    token_rows, _ = audit_rows(AutoTokenizer.from_pretrained(base_folder), training_rows(samples, ask), max_length=256)
    local = tuned.load()
    with local.model.using(local.adapter) as model:
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert four.log[-1]["loss"] == pytest.approx(token_mean(model, token_rows), rel=1e-5)
    assert four.log[-1]["loss"] < four.log[0]["loss"]
    prompts = [ask(sample) for sample in samples[:3]]
    answers = [
        completion for batch in tuned.generate(prompts, GenerationSettings(max_new_tokens=4)) for completion in batch
    ]
    assert sorted(index for index, _ in answers) == [0, 1, 2]


def test_a_trained_model_is_refused_on_another_base(run, recipe, base_folder, tmp_path):
    """A folder of `method: full` belongs to the base it was trained from, though it would load alone."""
    training = run(plain(recipe, "full", max_steps=1))
    manifest = Path(training.path) / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "base_fingerprint": "0" * 64}))
    spec = TransformersModel(kind="transformers", path=base_folder.name)
    with pytest.raises(ModelError, match="trained on another base"):
        ModelRoom(base_folder.parent).generator(spec, adapter=Path(training.path))


def test_a_tied_head_gets_weights_of_its_own(run, recipe, base_folder, tmp_path, watched):
    """With head and embeddings tied, `head` trains a copy: the embeddings stay, the file holds both, the count says so."""
    tied = tmp_path / "tied"
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    config = AutoConfig.from_pretrained(base_folder)
    config.tie_word_embeddings = True
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict({**base.state_dict(), "lm_head.weight": base.model.embed_tokens.weight})
    model.save_pretrained(tied)
    AutoTokenizer.from_pretrained(base_folder).save_pretrained(tied)
    for method in ("head", "full"):
        training = run(plain(recipe, method, max_steps=2), base=tied)
        before = load_file(tied / "model.safetensors")
        after = load_file(Path(training.path) / "model.safetensors")
        size = before["model.embed_tokens.weight"].numel()
        if method == "full":  # one tensor in two places, trained once
            assert after.keys() == before.keys()
            assert not training.record["ran"]["untied"]
            assert training.trainable_parameters == training.total_parameters
            continue
        assert watched[0] == ["lm_head.weight"]
        assert training.record["ran"]["untied"]
        assert after.keys() - before.keys() == {"lm_head.weight"}
        assert torch.equal(after["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
        assert not torch.equal(after["lm_head.weight"], before["model.embed_tokens.weight"])
        assert training.trainable_parameters == size
        assert training.total_parameters == sum(tensor.numel() for tensor in before.values()) + size


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "qwen2", "gemma", "opt", "phi"])
def test_last_layers_of_other_architectures(architecture):
    """The last layer, the last norm and the head, whatever an architecture calls them; never embeddings or first layers."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64, "pad_token_id": 0, "head_dim": 8}
    heads = {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, "word_embed_proj_dim": 32}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes, **heads))
    choose_weights(model, TrainSpec(base="b", method="last_layers"))
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    assert f"{head}.weight" in names
    inner = [name for name in names if not name.startswith(f"{head}.")]
    layers = [name for name in inner if ".2." in name]
    assert layers == [name for name, _ in model.named_parameters() if ".2." in name]
    rest = [name for name in inner if name not in layers]
    assert rest
    assert all("norm" in name or "ln_f" in name for name in rest)
    with pytest.raises(UserError, match=r"at most the layers of the base \(got 4; it has 3 layers\)"):
        choose_weights(model, TrainSpec(base="b", method="last_layers", last_layers=4))


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_killed_training_ends_in_the_same_tensors(run, recipe, tmp_path, method):
    """`kill -9` after step 5, and the next call goes on from step 3 to the same file as an uninterrupted training."""
    spec = plain(recipe, method, max_steps=8)
    whole = run(spec, adapters=tmp_path / "whole")
    assert killed(lambda progress: run(spec, adapters=tmp_path / "broken", progress=progress), steps=5)
    assert find_training(tmp_path / "broken", whole.key) is None
    broken = run(spec, adapters=tmp_path / "broken")
    assert broken.record["resumed_at_steps"] == [3]
    assert digest(whole) == digest(broken)
    assert whole.log == broken.log


@pytest.mark.parametrize(
    "options",
    [
        {"dora": True, "rslora": True},
        {"init": "gaussian"},
        {"init": "orthogonal"},
        {"init": "olora"},
        {"init": "pissa", "rslora": True},
    ],
)
def test_variants_of_lora(run, recipe, base_folder, samples, ask, tmp_path, options):
    """Each begins as the base and ends as its adapter on the untouched base says: losses of rows alone, before and after."""
    from peft import PeftModel

    own = {"batch_size": 24, "dropout": 0.0, "logging_steps": 1, "epochs": 9, "rank": 4, "alpha": 8.0, **options}
    three, four = (run(recipe(max_steps=steps, **own), adapters=tmp_path / str(steps)) for steps in (3, 4))
    token_rows, _ = audit_rows(AutoTokenizer.from_pretrained(base_folder), training_rows(samples, ask), max_length=256)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    assert four.log[0]["loss"] == pytest.approx(token_mean(base, token_rows), rel=1e-5)
    tuned = PeftModel.from_pretrained(base, three.path).eval()
    assert four.log[-1]["loss"] == pytest.approx(token_mean(tuned, token_rows), rel=1e-5)
    after = tuned.get_base_model().state_dict()
    after = {name.replace(".base_layer", ""): tensor for name, tensor in after.items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_a_variant_is_stands_in_its_adapter(run, recipe):
    """DoRA has a magnitude for each adapted weight, rsLoRA its flag, PiSSA twice the rank and the same scaling."""
    from peft import LoraConfig

    dora = load_file(Path(run(recipe(dora=True, max_steps=1)).path) / "adapter_model.safetensors")
    assert sum("lora_magnitude_vector" in name for name in dora) == 4
    both = LoraConfig.from_pretrained(run(recipe(rslora=True, rank=16, alpha=8.0, max_steps=1)).path)
    assert (both.use_rslora, both.r, both.lora_alpha) == (True, 16, 8.0)
    pissa = LoraConfig.from_pretrained(run(recipe(init="pissa", rank=4, alpha=8.0, max_steps=1)).path)
    assert (pissa.r, pissa.lora_alpha, pissa.init_lora_weights) == (8, 16.0, True)


def test_a_killed_pissa_ends_in_the_same_tensors(run, recipe, tmp_path):
    """What PiSSA takes out of the frozen weights is taken out again, bit by bit, before a resumed training goes on."""
    spec = recipe(init="pissa", max_steps=8)
    whole = run(spec, adapters=tmp_path / "whole")
    assert killed(lambda progress: run(spec, adapters=tmp_path / "broken", progress=progress), steps=5)
    broken = run(spec, adapters=tmp_path / "broken")
    assert broken.record["resumed_at_steps"] == [3]
    assert digest(whole) == digest(broken)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "full", "rank": 8}, r"must not have 'rank' with method 'full'.*Use method: lora"),
        ({"method": "head", "alpha": 8.0, "dora": True}, r"must not have 'alpha' and 'dora' with method 'head'"),
        ({"method": "lora", "last_layers": 2}, "must not have 'last_layers' with method 'lora'"),
        ({"method": "full", "quantization": "nf4"}, "weights in 4 bits cannot be trained themselves"),
        ({"init": "orthogonal", "rank": 5}, r"must have an even 'rank' with init 'orthogonal' \(got 5\)"),
        ({"init": "pissa", "dora": True, "bias": "all"}, "must not have 'dora' and 'bias' with init 'pissa'"),
    ],
)
def test_options_that_do_not_belong_are_refused(options, words):
    """Whoever writes them means something by them; what a run's record says of a spec, defaults and all, is read back."""
    with pytest.raises(ValidationError, match=words):
        TrainSpec(base="b", **options)
    full = TrainSpec(base="b", method="full")
    assert TrainSpec.model_validate(full.model_dump(mode="json", exclude_none=True)) == full


def test_a_base_in_four_bits_is_trained_by_lora_only(base_folder, recipe):
    """What the base is loaded with elsewhere counts too."""
    base = TransformersModel(kind="transformers", path=base_folder.name, quantization="nf4")
    with pytest.raises(UserError, match="full precision for method 'full'"):
        planning.refuse_unusable(plain(recipe, "full"), base)


def test_a_reward_model_is_not_quantised():
    """Its scorer is loaded in full precision: a record that says nf4 would not be true."""
    base = TransformersModel(kind="transformers", path="b", quantization="nf4")
    spec = TrainSpec(base="b", objective="reward", preferences="pairs.jsonl")
    with pytest.raises(UserError, match="left out for a reward model"):
        planning.refuse_unusable(spec, base)
