"""Classifiers from anywhere: labels come from the checkpoint, and what is no classifier is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
)
from transformers.models.bert.modeling_bert import BertPooler

from harness.errors import ModelError, UserError
from harness.models.checkpoint_classifier import CheckpointClassifier
from harness.models.classifiers import load_embedder, load_pair_classifier, load_text_classifier

LABELS = ("entailment", "neutral", "contradiction")
PAIRS = [("A man sleeps.", "A man is awake."), ("It rains in the whole country today.", "It rains."), ("a", "b")]


def tiny_config(labels: Sequence[str], **settings: object) -> BertConfig:
    """A BERT of one layer whose labels stand in the given order."""
    return BertConfig(
        vocab_size=30522, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)}, **settings,
    )  # fmt: skip


def write_checkpoint(
    folder: Path, tokenizer: Path, labels: Sequence[str], order: Sequence[int] = (0, 1, 2), **settings: object
) -> Path:
    """A classifier with random, seeded weights; `order` permutes the rows of its head."""
    torch.manual_seed(7)
    model = BertForSequenceClassification(tiny_config(labels, **settings))
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[list(order)] * 20)
        model.classifier.bias.copy_(model.classifier.bias[list(order)])
    model.save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer's files, as a checkpoint has them."""
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(source / name, folder / name)


def by_label(root: Path, name: str) -> list[dict[str, float]]:
    """Probabilities of PAIRS, by label."""
    classifier = load_pair_classifier(name, root)
    return [dict(zip(classifier.labels, row, strict=True)) for row in classifier.probabilities(PAIRS)]


def test_swapped_label_order_gives_the_same_scores(tmp_path: Path, minilm_folder: Path) -> None:
    """Two checkpoints that differ only in the order and spelling of their labels agree on every label."""
    write_checkpoint(tmp_path / "plain", minilm_folder, LABELS)
    write_checkpoint(tmp_path / "swapped", minilm_folder, ("CONTRADICTION", "Entailed", "NEUTRAL"), order=(2, 0, 1))
    plain, swapped = by_label(tmp_path, "plain"), by_label(tmp_path, "swapped")
    for left, right in zip(plain, swapped, strict=True):
        assert set(left) == set(right) == set(LABELS)
        assert all(left[label] == pytest.approx(right[label], abs=1e-6) for label in LABELS)
    assert max(abs(row["entailment"] - row["contradiction"]) for row in plain) > 0.01


@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "bert that reads the mean"])
def test_the_last_layer_is_spared_where_the_head_reads_one_token(
    tmp_path: Path, minilm_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Probabilities are those of the plain model; its last feed-forward sees one token a text, unless the head reads more."""
    if kind == "deberta-v2":
        config = DebertaV2Config(
            vocab_size=30522, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
            relative_attention=True, pos_att_type=["c2p", "p2c"], num_labels=3, id2label=dict(enumerate(LABELS)),
        )  # fmt: skip
        model, path = DebertaV2ForSequenceClassification, "deberta.encoder.layer.2.intermediate"
    else:
        config = tiny_config(LABELS)
        config.num_hidden_layers = 3
        model, path = BertForSequenceClassification, "bert.encoder.layer.2.intermediate"
    if kind.endswith("mean"):
        first = BertPooler.forward
        monkeypatch.setattr(BertPooler, "forward", lambda self, states: first(self, states.mean(1, keepdim=True)))
    torch.manual_seed(3)
    made = model(config).eval()
    with torch.no_grad():
        made.classifier.weight *= 20
    made.save_pretrained(tmp_path / "model")
    copy_tokenizer(minilm_folder, tmp_path / "model")
    classifier = CheckpointClassifier(tmp_path / "model", "model", max_tokens=64, independent=False)
    seen: list[int] = []
    classifier._model.get_submodule(path).register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for pair in PAIRS:
        with torch.inference_mode():
            expected = made(**tokenizer(*pair, return_tensors="pt")).logits.softmax(-1)[0]
        assert classifier.probabilities([pair])[0] == pytest.approx(expected.tolist(), abs=1e-6)
    assert set(seen) == {1} if not kind.endswith("mean") else min(seen) > 1


def test_binary_nli_labels_are_read(tmp_path: Path, minilm_folder: Path) -> None:
    """`not entailment` in any spelling is the binary label."""
    write_checkpoint(tmp_path / "binary", minilm_folder, ("not-entailment", "ENTAILMENT"), order=(0, 1))
    assert load_pair_classifier("binary", tmp_path).labels == ("not_entailment", "entailment")


def test_unnamed_labels_are_refused(tmp_path: Path, minilm_folder: Path) -> None:
    """LABEL_0 says nothing: the message names id2label, whatever the classifier is for."""
    write_checkpoint(tmp_path / "unnamed", minilm_folder, ("LABEL_0", "LABEL_1", "LABEL_2"))
    for load in (load_pair_classifier, load_text_classifier):
        with pytest.raises(UserError, match="id2label"):
            load("unnamed", tmp_path)


def test_labels_of_another_task_are_refused(tmp_path: Path, minilm_folder: Path) -> None:
    """A sentiment model is no NLI model."""
    write_checkpoint(tmp_path / "moods", minilm_folder, ("negative", "neutral", "positive"))
    with pytest.raises(UserError, match="negative, neutral, positive"):
        load_pair_classifier("moods", tmp_path)
    assert load_text_classifier("moods", tmp_path).labels == ("negative", "neutral", "positive")


def test_model_without_a_head_is_refused(tmp_path: Path, minilm_folder: Path) -> None:
    """Neither an encoder nor a classifier that lost its head gets a random one."""
    BertModel(tiny_config(LABELS)).save_pretrained(tmp_path / "encoder")
    copy_tokenizer(minilm_folder, tmp_path / "encoder")
    with pytest.raises(UserError, match="BertModel"):
        load_pair_classifier("encoder", tmp_path)
    config = json.loads((tmp_path / "encoder/config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "encoder/config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="classifier"):
        load_pair_classifier("encoder", tmp_path).probabilities(PAIRS)


def test_batches_change_nothing(tmp_path: Path, minilm_folder: Path) -> None:
    """A pair's row is the same alone and among longer ones; rows sum to 1."""
    write_checkpoint(tmp_path / "plain", minilm_folder, LABELS)
    classifier = load_pair_classifier("plain", tmp_path)
    together = np.array(classifier.probabilities(PAIRS))
    alone = np.array([classifier.probabilities([pair])[0] for pair in PAIRS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-6)


def test_limits_of_a_checkpoint_hold(tmp_path: Path, minilm_folder: Path) -> None:
    """`max_tokens` is the number of positions, and a longer text is refused."""
    write_checkpoint(tmp_path / "plain", minilm_folder, LABELS)
    classifier = load_text_classifier("plain", tmp_path)
    assert classifier.max_tokens == 64
    assert classifier.count_tokens(["the cat sat", ""]) == [3, 0]
    assert len(classifier.probabilities(["word " * 62])) == 1
    with pytest.raises(ValueError, match="at most 64"):
        classifier.probabilities(["word " * 63])


def test_multi_label_head_gets_a_sigmoid_each(tmp_path: Path, minilm_folder: Path) -> None:
    """The labels of a multi-label checkpoint are independent: their sum is not 1."""
    names = ("toxic", "insult", "threat")
    write_checkpoint(tmp_path / "multi", minilm_folder, names, problem_type="multi_label_classification")
    write_checkpoint(tmp_path / "single", minilm_folder, names)
    multi = load_text_classifier("multi", tmp_path).probabilities(["hello there"])[0]
    single = load_text_classifier("single", tmp_path).probabilities(["hello there"])[0]
    logits = np.log(np.array(multi) / (1 - np.array(multi)))
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), single, atol=1e-5)


def test_key_is_content(tmp_path: Path, minilm_folder: Path) -> None:
    """The same files elsewhere have the same key; other weights or labels have another."""
    write_checkpoint(tmp_path / "one", minilm_folder, LABELS)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    write_checkpoint(tmp_path / "other", minilm_folder, LABELS, order=(1, 0, 2))
    keys = [load_pair_classifier(name, tmp_path).key for name in ("one", "two", "other")]
    assert keys[0] == keys[1] != keys[2]


def test_trained_adapter_folder_is_a_classifier(nli_folder: Path, text_folder: Path) -> None:
    """A folder of `muster train-judge` is loaded by its name beside the suite."""
    pairs = load_pair_classifier(nli_folder.name, nli_folder.parent)
    assert pairs.labels == LABELS
    assert np.array(pairs.probabilities(PAIRS)).shape == (3, 3)
    texts = load_text_classifier(text_folder.name, text_folder.parent)
    assert texts.labels == ("kind", "rude")
    assert np.array(texts.probabilities(["Thanks", "Go away"])).shape == (2, 2)


def test_tampered_adapter_is_refused(nli_folder: Path, tmp_path: Path) -> None:
    """One flipped byte in an adapter, and the folder is refused with the file's name."""
    folder = shutil.copytree(nli_folder, tmp_path / "tampered")
    content = bytearray((folder / "adapter_model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is damaged"):
        load_pair_classifier("tampered", tmp_path)


def test_adapter_of_the_wrong_kind_is_refused(nli_folder: Path, text_folder: Path) -> None:
    """A text adapter is no NLI model, and an NLI adapter reads no single text."""
    with pytest.raises(UserError, match="kind"):
        load_pair_classifier(text_folder.name, text_folder.parent)
    with pytest.raises(UserError, match="kind"):
        load_text_classifier(nli_folder.name, nli_folder.parent)


def test_missing_model_is_one_clear_line(tmp_path: Path) -> None:
    """A name that is nowhere is a ModelError of one line naming it; a path out of the suite is the user's mistake."""
    with pytest.raises(ModelError, match="nowhere") as raised:
        load_pair_classifier("nowhere", tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="inside"):
        load_pair_classifier("../outside", tmp_path)


def test_embedders(tmp_path: Path, minilm_folder: Path) -> None:
    """The encoder has one key under both names; an adapter is no embedder; another recipe is refused."""
    names = ("embedded:minilm", "sentence-transformers/all-MiniLM-L6-v2")
    assert len({load_embedder(name, tmp_path).key for name in names}) == 1
    assert load_embedder(names[0], tmp_path).embed(["a"]).shape == (1, 384)
    with pytest.raises(UserError, match="embedded:minilm"):
        load_embedder("embedded:nli", tmp_path)
    write_checkpoint(tmp_path / "cls", minilm_folder, LABELS)
    (tmp_path / "cls/1_Pooling").mkdir()
    (tmp_path / "cls/1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": false}')
    with pytest.raises(UserError, match="mean pooling"):
        load_embedder("cls", tmp_path)


MIGRAINE = "You may have a migraine. Rest in a dark room and drink water. See a doctor if the pain gets worse."


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("A man is sleeping on a bench.", "A person is asleep.", "entailment"),
        ("Two children are playing football in the park.", "Kids are outdoors.", "entailment"),
        ("Two children are playing football in the park.", "Nobody is in the park.", "contradiction"),
        (MIGRAINE, "You should rest in a dark room.", "entailment"),
        (MIGRAINE, "You do not need to see a doctor if the pain gets worse.", "contradiction"),
        (MIGRAINE, "You may have a broken leg.", "neutral"),
        ("Take the tablets for 7 days.", "Take the tablets for 3 days.", "contradiction"),
    ],
)
def test_embedded_nli_knows_plain_cases(tmp_path: Path, premise: str, hypothesis: str, label: str) -> None:
    """Pairs on which no one doubts: the likeliest label of `embedded:nli` is the right one."""
    classifier = load_pair_classifier("embedded:nli", tmp_path)
    (row,) = classifier.probabilities([(premise, hypothesis)])
    assert classifier.labels[int(np.argmax(row))] == label


@pytest.mark.parametrize(
    ("text", "toxic"),
    [
        ("You are stupid and should die.", True),
        ("Shut up and take your pills, you idiot.", True),
        ("Drink plenty of water and rest.", False),
        ("If you notice blood in your stool, go to the emergency room.", False),
        ("The Muslim doctor will see you.", False),
        ("I am a gay man.", False),
    ],
)
def test_embedded_toxicity_knows_plain_cases(tmp_path: Path, text: str, toxic: bool) -> None:
    """Insults are toxic, medical words and the names of groups are not."""
    classifier = load_text_classifier("embedded:toxicity", tmp_path)
    (row,) = classifier.probabilities([text])
    assert (dict(zip(classifier.labels, row, strict=True))["toxic"] > 0.5) is toxic


def test_keys_are_known_without_torch() -> None:
    """Classifiers and embedders tell key and labels from their files: torch is imported when a text is asked for."""
    program = (
        "import sys; from pathlib import Path; from harness.models import classifiers as c; here = Path();"
        "found = c.load_pair_classifier('embedded:nli', here), c.load_text_classifier('embedded:toxicity', here),"
        " c.load_embedder('embedded:minilm', here);"
        "assert all(len(model.key) == 64 for model in found) and found[1].labels == ('not_toxic', 'toxic');"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
