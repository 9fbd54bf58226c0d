"""`muster export-model`: the folder says what the candidate said, whole or not at all, and its card what the store holds."""

import itertools
import json
import shutil

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.cli.export_model import export_model
from harness.cli.run import run
from harness.errors import ModelError, UserError
from harness.models import identity
from harness.models.local import LocalModel
from harness.records import GenerationSettings
from harness.store import Home, Store
from tests.end_to_end.conftest import SUITE, rows
from tests.harness.models.tiny import make_adapter, make_model


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A suite that has run: base, a LoRA trained for a few steps, an adapter made elsewhere, cheap judges, a gate."""
    root = tmp_path_factory.mktemp("project")
    make_model(root / "base", window=1024)
    make_adapter(root / "mine", root / "base", seed=3)
    suite = yaml.safe_load(SUITE)
    suite["candidates"].pop("few_shot")
    suite["candidates"]["lora"]["train"] |= {"epochs": 1, "learning_rate": 0.05}
    suite["candidates"]["mine"] = {"model": {"kind": "transformers", "path": "base", "adapter": "mine"}}
    suite["candidates"]["four_bits"] = {
        "model": {"kind": "transformers", "path": "base", "adapter": "mine", "quantization": "nf4"}
    }
    suite["candidates"]["whole"] = {
        "train": {"base": "base", "method": "last_layers", "max_steps": [2], "learning_rate": 0.01}
    }
    suite["judges"] = {"token_f1": {"kind": "token_f1"}, "chrf": {"kind": "chrf"}, "likely": {"kind": "perplexity"}}
    (root / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(60)))
    with pytest.raises(BaseException, match=r"\d"):  # typer's Exit with the gate's status
        run(str(root / "suite.yaml"), home=root / ".muster")
    return root


def export(project, candidate, to, **options):
    """Calls the verb as the command line does, with the suite named."""
    given = {"suite": str(project / "suite.yaml"), "home": project / ".muster", "sample": 8}
    export_model(candidate, to=to, **{**given, **options})
    return to


@pytest.fixture(scope="module")
def exported(project, tmp_path_factory):
    """The LoRA of the run as a model folder, in shards of at most 50 kB."""
    return export(project, "lora", tmp_path_factory.mktemp("exports") / "model", max_shard_size="50KB")


def adapter_of(project):
    """The folder of the run's training, and the run."""
    with Store.open(Home(project / ".muster"), read_only=True) as store:
        found = store.run("latest")
        training = next(one for one in store.trainings(found.id) if one.candidate == "lora")
    return project / ".muster" / "adapters" / training.key, found, training


def logits(model):
    """Logits of three rows of ids."""
    with torch.inference_mode():
        return model(torch.tensor([[1, 5, 9, 30, 31], [1, 7, 7, 8, 40], [1, 200, 100, 50, 60]])).logits


def test_trap_15_reloaded_and_merged_equal_the_live_model(project, exported):
    """A reloaded adapter gives the live model's logits bit by bit; the merged folder the same argmax, to 1e-5."""
    adapter, _, _ = adapter_of(project)
    live = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(project / "base"), adapter).eval()
    again = LocalModel(project / "base", device="cpu")
    with again.using(adapter) as reloaded:
        assert torch.equal(logits(reloaded), logits(live))
    merged = AutoModelForCausalLM.from_pretrained(exported).eval()
    assert {weight.dtype for weight in merged.parameters()} == {torch.float32}
    scale = logits(live).abs().max()
    assert (logits(merged) - logits(live)).abs().max() < 1e-5 * max(1, scale)
    assert torch.equal(logits(merged).argmax(-1), logits(live).argmax(-1))
    base = AutoModelForCausalLM.from_pretrained(project / "base").eval()
    assert (logits(base) - logits(live)).abs().max() > 1e-3 * scale  # else the test shows nothing


def test_tokenizer_template_and_decoding_come_along(project, exported):
    """Tokenizer and chat template are the base's; generate() without arguments stops where muster stopped."""
    before, after = AutoTokenizer.from_pretrained(project / "base"), AutoTokenizer.from_pretrained(exported)
    turns = [{"role": "user", "content": "Where is the red house?"}, {"role": "assistant", "content": "Here — é 10"}]
    assert after.chat_template == before.chat_template
    assert after.apply_chat_template(turns, tokenize=False) == before.apply_chat_template(turns, tokenize=False)
    assert after("<s><|user|>Where — é 10")["input_ids"] == before("<s><|user|>Where — é 10")["input_ids"]
    assert after.get_vocab() == before.get_vocab()
    config = json.loads((exported / "generation_config.json").read_text())
    assert (config["max_new_tokens"], config["eos_token_id"], config["do_sample"]) == (12, [2], False)
    source, copy = LocalModel(project / "base", device="cpu"), LocalModel(exported, device="cpu")
    _, found, _ = adapter_of(project)
    with Store.open(Home(project / ".muster"), read_only=True) as store:
        stored = {a.prompt_sha: a.completion.text for a in store.answers(found.id, "lora")}
        from harness.records import Prompt

        asked = [Prompt(sample_id=a.sample_id, messages=a.prompt) for a in store.answers(found.id, "lora")][:6]
    said = dict(itertools.chain.from_iterable(copy.generator().generate(asked, GenerationSettings(max_new_tokens=12))))
    assert [said[i].text for i in range(6)] == [stored[one.sha] for one in asked]
    assert source.stop_ids == copy.stop_ids


def test_weights_lie_in_shards_and_every_file_is_hashed(exported):
    """No shard is above the size asked for (unless it holds one tensor), and the manifest names every file's hash."""
    index = json.loads((exported / "model.safetensors.index.json").read_text())
    shards = sorted(exported.glob("model-*.safetensors"))
    assert len(shards) > 1
    for shard in shards:
        tensors = [name for name, file in index["weight_map"].items() if file == shard.name]
        assert len(tensors) == 1 or shard.stat().st_size < 55_000
    files = json.loads((exported / "manifest.json").read_text())["files"]
    assert set(files) == {path.name for path in exported.iterdir()} - {"manifest.json"}
    assert all(identity.file_sha256(exported / name) == sha for name, sha in files.items())


def test_the_card_tells_what_the_store_holds(project, exported):
    """Base, hashes, recipe, splits, curve, figures with n, verdict and versions, each as stored; no text of the data."""
    from harness.deciding.wording import number

    card = (exported / "README.md").read_text()
    adapter, found, training = adapter_of(project)
    assert card.startswith("---\nlibrary_name: transformers\n")
    with Store.open(Home(project / ".muster"), read_only=True) as store:
        board = [row for row in store.leaderboard(found.id) if row[2] in ("lora", "base")]
        [verdict] = [v for v in store.verdicts(found.id) if v.candidate == "lora"]
        sample = store.samples(found.id)[0]
    for split, metric, candidate, n, unscored, mean in board:
        line = next(x for x in card.splitlines() if x.startswith(f"| {split} | {metric.replace('_', chr(92) + '_')} ")
                    and f"| {candidate} |" in x)  # fmt: skip
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[3] == number(mean)
        assert cells[5:] == [str(n), str(unscored)]
        assert " to " in cells[4]
    losses = [entry["loss"] for entry in training.log]
    for text in (
        identity.adapter_key(adapter), training.base_fingerprint, found.suite_sha, found.data_sha, training.key,
        f"{number(losses[-1])} at step {training.steps}", f"**{verdict.outcome.upper()}", "| rank | 4 |",
        f"| train | {found.record['splits']['train']['samples']} | training |", f"| torch | {torch.__version__}",
        "8 of 8 greedy answers are equal", "Question: {{ input }}",
    ):  # fmt: skip
        assert text in card, text
    assert sample.input not in card
    assert sample.references[0] not in card
    for path in exported.glob("*.safetensors"):
        assert identity.file_sha256(path) in card


def test_an_adapter_made_elsewhere_is_merged_too(project, tmp_path, capsys):
    """`model: {adapter: …}` is exported like a training; the numbers on the terminal are the card's."""
    folder = export(project, "mine", tmp_path / "model", sample=4)
    live = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(project / "base"), project / "mine").eval()
    merged = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(logits(merged).argmax(-1), logits(live).argmax(-1))
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if "greedy answers" in line)
    assert line == "- 4 of 4 greedy answers are equal, character by character."
    assert line in (folder / "README.md").read_text()


def test_what_was_trained_whole_is_exported_as_it_is(project, tmp_path):
    """A method without an adapter needs no merging: every tensor is the training's own, under its base's fingerprint."""
    from safetensors.torch import load_file

    folder = export(project, "whole[max_steps=2]", tmp_path / "model", sample=4)
    with Store.open(Home(project / ".muster"), read_only=True) as store:
        training = next(t for t in store.trainings(store.run("latest").id) if t.candidate == "whole[max_steps=2]")
    trained = load_file(project / ".muster" / "adapters" / training.key / "model.safetensors")
    written, base = load_file(folder / "model.safetensors"), load_file(project / "base" / "model.safetensors")
    assert written.keys() == trained.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in trained.items())
    assert any(not torch.equal(written[name], tensor) for name, tensor in base.items())
    card = (folder / "README.md").read_text()
    assert f"`{identity.base_fingerprint(project / 'base')}`" in card
    assert "its weights as trained" in card


def test_a_quantised_base_is_merged_in_full_precision_and_the_difference_told(project, tmp_path, capsys):
    """The adapter of a 4-bit candidate goes into the float32 base; what that changes, judges included, is said."""
    folder = export(project, "four_bits", tmp_path / "model")
    full = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(project / "base"), project / "mine").eval()
    merged = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert (logits(merged) - logits(full)).abs().max() < 1e-5 * logits(full).abs().max()
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    printed = capsys.readouterr().out
    same = int(next(line for line in printed.splitlines() if "greedy answers" in line).split()[1])
    assert same < 8
    for name in ("token\\_f1: ", "chrf: ", "likely: not asked again"):
        assert f"- {name}" in printed


def test_half_precision_only_when_asked_for(project, tmp_path):
    """`--dtype` decides what is written; the differences are measured on what was written."""
    from harness.cli.export_model import Dtype

    folder = export(project, "mine", tmp_path / "model", dtype=Dtype.bfloat16, sample=4)
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert {weight.dtype for weight in merged.parameters()} == {torch.bfloat16}
    assert "bfloat16" in (folder / "README.md").read_text()


def test_nothing_is_left_where_it_fails(project, tmp_path, monkeypatch):
    """A folder with something in it is not touched; an export that fails halfway leaves no trace."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(UserError, match="new or empty folder"):
        export(project, "lora", tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["file"]

    def fails(*_, **__):
        raise ModelError("it broke")

    monkeypatch.setattr("harness.training.export.fidelity", fails)
    with pytest.raises(ModelError, match="it broke"):
        export(project, "lora", tmp_path / "new" / "model", sample=2)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_cannot_be_exported_is_one_line(project, tmp_path):
    """An untrained candidate, an unknown one, a run or a size that is none."""
    for candidate, options, message in (
        ("base", {}, "must be trained, or have an adapter"),
        ("lorra", {}, r"must be one of a run of suite tiny .*did you mean 'lora'"),
        ("lora", {"run": "nothing"}, "'run' must be in the store"),
        ("lora", {"max_shard_size": "4 apples"}, "'--max-shard-size' must be a size"),
        ("lora", {"suite": "nothing.yaml"}, "no such suite"),
    ):
        with pytest.raises(UserError, match=message):
            export(project, candidate, tmp_path / "model", **options)
    with pytest.raises(ModelError, match="name that: --suite SUITE"):
        export(project, "lora", tmp_path / "model", suite=None)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_than_those_that_were_judged_are_refused(project, tmp_path):
    """A retrained adapter, or another base in the same folder, never gets the old results on its card."""
    root = shutil.copytree(project, tmp_path / "copy")
    shutil.rmtree(root / "mine")
    make_adapter(root / "mine", root / "base", seed=4)
    with pytest.raises(UserError, match="must be the one that run tiny-"):
        export(root, "mine", tmp_path / "model")
    shutil.rmtree(root / "base")
    make_model(root / "base", window=1024, seed=9)
    with pytest.raises(ModelError, match="trained on another base"):
        export(root, "lora", tmp_path / "model")
    adapters = project / ".muster" / "adapters"
    adapters.rename(adapters.with_name("away"))
    try:
        with pytest.raises(ModelError, match="Train it again: muster train"):
            export(project, "lora", tmp_path / "model")
    finally:
        adapters.with_name("away").rename(adapters)


# ----------------------------------------------------------------------------------------------------------------- push


class Hub:
    """Stands in for the Hub's client: keeps what it was given."""

    def __init__(self, is_public=False, refuses=None):
        self.calls, self.is_public, self.refuses = [], is_public, refuses

    def __call__(self, token):
        self.token = token
        return self

    def create_repo(self, name, **options):
        """Makes a repository under the token's owner."""
        self.calls.append(("create", options))
        self.name = name if "/" in name else f"me/{name}"
        return type("Url", (str,), {"repo_id": self.name})(f"https://hub/{self.name}")

    def repo_info(self, name, **_):
        """Whether it is private."""
        return type("Info", (), {"private": not self.is_public})

    def upload_folder(self, *, repo_id, folder_path, **options):
        """Keeps the names of the files."""
        if self.refuses:
            raise self.refuses
        self.calls.append(("upload", repo_id, sorted(path.name for path in folder_path.iterdir()), options))


@pytest.fixture
def online(monkeypatch):
    """The Hub switched on, with a token in the environment."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


def test_push_sends_the_whole_folder_to_a_private_repository(project, tmp_path, monkeypatch, online, capsys):
    """Private unless --public says otherwise; the token comes from the environment and is printed nowhere."""
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    folder = export(project, "mine", tmp_path / "model", push="mine", sample=2)
    create, upload = hub.calls
    assert create[1]["private"] is True
    assert upload[1] == "me/mine"
    assert upload[2] == sorted(path.name for path in folder.iterdir())
    assert hub.token == "hf_secret"
    printed = capsys.readouterr().out
    assert "pushed   https://hub/me/mine" in printed
    assert "hf_secret" not in printed + (folder / "README.md").read_text()


def test_a_repository_that_is_public_already_needs_the_word(tmp_path, monkeypatch, online):
    """Without --public nothing is sent to a repository that anybody can read."""
    from harness.models.pushing import Target, push

    hub = Hub(is_public=True)
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    with pytest.raises(UserError, match="must name a private repository"):
        push(tmp_path, Target.of("me/mine"), message="m")
    assert [call[0] for call in hub.calls] == ["create"]
    push(tmp_path, Target.of("me/mine", public=True), message="m")
    assert [call[0] for call in hub.calls] == ["create", "create", "upload"]


def test_what_stops_a_push_is_said_before_a_model_is_loaded(project, tmp_path, monkeypatch, online):
    """Offline, no token, no name: each one line, and no folder written."""
    with pytest.raises(UserError, match="must be a Hub name"):
        export(project, "lora", tmp_path / "model", push="a/b/c")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="must have a token of the Hub in HF_TOKEN"):
        export(project, "lora", tmp_path / "model", push="me/mine")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE switches off"):
        export(project, "lora", tmp_path / "model", push="me/mine")
    assert list(tmp_path.iterdir()) == []


def test_a_push_that_the_hub_refuses_keeps_the_folder(tmp_path, monkeypatch, online):
    """One line with the command that sends it later."""
    from harness.models.pushing import Target, push

    monkeypatch.setattr("huggingface_hub.HfApi", Hub(refuses=OSError("403 Forbidden\nRequest id 1")))
    (tmp_path / "README.md").write_text("card")
    with pytest.raises(ModelError, match=r"403 Forbidden\)\. The export is complete .* hf upload me/mine") as caught:
        push(tmp_path, Target.of("me/mine"), message="m")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "README.md").exists()
