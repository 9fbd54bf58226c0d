"""Encoder-decoder trainings (a random T5): fed as at inference, answers trained to their end, the loss what it says."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from harness.errors import UserError
from harness.models.load import ModelRoom
from harness.models.local import LocalModel
from harness.records import GenerationSettings
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import sft, training_rows
from harness.training.audit import IGNORED, audit_training
from tests.harness.models.tiny import make_t5
from tests.harness.training.ending import digest, killed


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """The folder of a random T5 without dropout."""
    return make_t5(tmp_path_factory.mktemp("t5"), sharpness=8)


@pytest.fixture
def audited(t5, samples, ask):
    """The rows of the tests' samples as its trainer gets them."""
    tokenizer = AutoTokenizer.from_pretrained(t5)
    return audit_training(TrainSpec(base="b"), tokenizer, training_rows(samples, ask), window=None, encodes=True)[0]


def spec_of(method="lora", **options):
    """A recipe of all rows in one batch."""
    own = {"learning_rate": 5e-3, "epochs": 9, "batch_size": 24, "logging_steps": 1, "save_steps": 3}
    return TrainSpec(base="base", method=method, **{**own, **options})


def token_mean(model, rows):
    """Mean loss over the answers' tokens, each row alone, by the model's own forward call with labels."""
    summed = count = 0
    for row in rows:
        start = next(place for place, label in enumerate(row.labels) if label != IGNORED)
        labels = torch.tensor([row.labels[start:]])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([row.input_ids[:start]]), labels=labels).loss
        summed += float(loss) * labels.shape[1]
        count += labels.shape[1]
    return summed / count


def test_the_encoder_is_fed_as_at_inference(t5, samples, ask, audited):
    """Prompt ids are those a candidate is fed; what is trained decodes to the answer and its end."""
    local = LocalModel(t5)
    for sample, row in zip(samples, audited, strict=True):
        trained = [label for label in row.labels if label != IGNORED]
        assert list(row.input_ids[: -len(trained)]) == local.prompt_tokens(ask(sample).messages)
        assert row.input_ids[-len(trained) - 1] == local.tokenizer.eos_token_id
        assert local.tokenizer.decode(trained) == sample.references[0] + "</s>"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_loss_and_folder_are_what_they_say(run, t5, samples, ask, audited, tmp_path, monkeypatch, method):
    """The first loss is the base's and the fourth the 3-step folder's, loaded as a candidate, each row alone; it answers."""
    seen = []
    train = sft.PairTrainer.train

    def look(self, *args, **kwargs):
        done = train(self, *args, **kwargs)
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        seen.append({names[id(p)] for group in self.optimizer.param_groups for p in group["params"]})
        return done

    monkeypatch.setattr(sft.PairTrainer, "train", look)
    three, four = (run(spec_of(method, max_steps=n), base=t5, adapters=tmp_path / str(n)) for n in (3, 4))
    base = AutoModelForSeq2SeqLM.from_pretrained(t5, dtype=torch.float32).eval()
    if method == "lora":
        projections = [
            f"{side}.block.{n}.layer.{place}.{kind}.{part}"
            for side, kinds in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"]))
            for n in (0, 1)
            for place, kind in enumerate(kinds)
            for part in "qv"
        ]
        assert seen[0] == {f"base_model.model.{p}.lora_{ab}.default.weight" for p in projections for ab in "AB"}
    else:
        assert seen[0] == {name for name, _ in base.named_parameters()}
    assert four.log[0]["loss"] == pytest.approx(token_mean(base, audited), rel=1e-5)
    room, spec = ModelRoom(t5.parent), TransformersModel(kind="transformers", path=t5.name)
    tuned = room.generator(spec, adapter=Path(three.path))
    assert tuned.key != room.generator(spec).key
    local = tuned.load()
    with local.model.using(local.adapter) as model:
        assert four.log[-1]["loss"] == pytest.approx(token_mean(model, audited), rel=1e-5)
    assert four.log[-1]["loss"] < four.log[0]["loss"]
    said = dict(
        p
        for batch in tuned.generate([ask(s) for s in samples[:3]], GenerationSettings(max_new_tokens=4))
        for p in batch
    )
    assert all(said[number].text is not None for number in range(3))
    assert three.tokens == 3 * sum(len(row.input_ids) for row in audited)
    assert three.record["ran"]["batching"] == "padded"


def test_accumulation_splits_a_batch_without_changing_it(run, t5, tmp_path):
    """8 rows at once and 4 x 2 give the same losses: the mean is over the step's tokens, not over batches."""
    whole, parts = (
        run(spec_of(batch_size=b, gradient_accumulation=8 // b, max_steps=3), base=t5, adapters=tmp_path / str(b)).log
        for b in (8, 2)
    )
    for one, other in zip(whole, parts, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_a_killed_training_ends_in_the_same_tensors(run, t5, tmp_path):
    """`kill -9` after step 5, with LoRA dropout; the next call goes on from step 3 to the same file."""
    spec = spec_of(batch_size=4, dropout=0.1, max_steps=8)
    whole = run(spec, base=t5, adapters=tmp_path / "whole")
    assert killed(lambda progress: run(spec, base=t5, adapters=tmp_path / "broken", progress=progress), steps=5)
    broken = run(spec, base=t5, adapters=tmp_path / "broken")
    assert broken.record["resumed_at_steps"] == [3]
    assert digest(whole) == digest(broken)
    assert whole.log == broken.log


def test_what_does_not_fit_an_encoder_is_refused(run, t5):
    """A tied head cannot be trained alone, and raw text has no answer for the decoder."""
    with pytest.raises(UserError, match="must be lora or full for an encoder-decoder model"):
        run(spec_of("head"), base=t5)
    with pytest.raises(UserError, match=r"'train\.objective' must be supervised for an encoder-decoder model"):
        run(spec_of("full", objective="language_modelling"), base=t5)


def test_embeddings_stay_one_tensor(run, t5):
    """Fully trained, the embeddings that encoder, decoder and output share are still one tensor in the file."""
    training = run(spec_of("full", max_steps=1), base=t5)
    assert load_file(Path(training.path) / "model.safetensors").keys() == load_file(t5 / "model.safetensors").keys()
