"""The encoder: published embeddings, adapters that equal peft's, and no dependence on batch, order or switching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ModelError, UserError
from harness.models.encoder import MiniLM, build_head, load_bert, pool, stack, token_batches, tokenize

TEXTS = [
    "Drink plenty of water.",
    "See a doctor within a day if the fever stays above 39 degrees, or earlier if you find it hard to breathe.",
    "Rest.",
    "Schlafstörungen — 睡眠障害 🙂",
    "word " * 400,
]
PAIRS = [
    ("A man sleeps on a bench.", "A person is asleep."),
    ("Two dogs play in the snow near a house with a red roof.", "The dogs are inside."),
    ("It is late.", "It is early, and nobody has come yet because of the weather."),
]


@pytest.fixture(scope="module")
def encoder(minilm_folder: Path) -> MiniLM:
    """One encoder for all tests."""
    return MiniLM(minilm_folder)


def mean_pooled(folder: Path, text: str) -> np.ndarray:
    """The published recipe, written out with transformers: 256 tokens, mean over the mask, unit length."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer([text], padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs)[0]
    mask = inputs["attention_mask"].unsqueeze(-1).expand(states.size()).float()
    mean = torch.sum(states * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)
    return torch.nn.functional.normalize(mean, p=2, dim=1)[0].numpy()


@pytest.mark.parametrize("text", TEXTS)
def test_embedding_follows_the_published_recipe(encoder: MiniLM, minilm_folder: Path, text: str) -> None:
    """Each embedding equals the one computed by hand with transformers, beyond 256 tokens too."""
    np.testing.assert_allclose(encoder.embed([text])[0], mean_pooled(minilm_folder, text), atol=1e-5)


def test_embeddings_do_not_depend_on_company_or_order(minilm_folder: Path) -> None:
    """A text's vector is the same alone, in a batch, and in a shuffled batch with repetitions."""
    alone = np.concatenate([MiniLM(minilm_folder).embed([text]) for text in TEXTS[:3]])
    together = MiniLM(minilm_folder).embed([TEXTS[2], TEXTS[0], TEXTS[1], TEXTS[0]])
    np.testing.assert_allclose(together, alone[[2, 0, 1, 0]], atol=1e-5)


def test_embeddings_are_float32_unit_vectors(encoder: MiniLM) -> None:
    """Shape [texts, 384], float32, length 1; no text gives an empty array of the same width."""
    vectors = encoder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.embed([]).shape == (0, 384)


def test_similarities_are_the_published_ones(encoder: MiniLM) -> None:
    """The example on the encoder's page on the Hub: similarities .695, .943 and .257 to its first sentence."""
    sentences = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    vectors = encoder.embed(sentences)
    np.testing.assert_allclose(vectors[1:] @ vectors[0], [0.695, 0.943, 0.257], atol=6e-4)


def test_embedding_memory_is_bounded(minilm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full memory forgets the oldest texts, and what is returned stays right."""
    monkeypatch.setattr("harness.models.encoder.EMBEDDING_CACHE", 2)
    small = MiniLM(minilm_folder)
    first = small.embed(["one", "two", "three"])
    np.testing.assert_allclose(small.embed(["three", "two", "one"]), first[::-1], atol=1e-6)
    assert len(small._embeddings) <= 2


def test_tokens_are_counted_without_special_ones(encoder: MiniLM) -> None:
    """Known counts: words of the vocabulary are one token each, an empty text none."""
    assert encoder.count_tokens(["the cat sat", "", "the"]) == [3, 0, 1]


def test_merged_adapter_equals_peft(encoder: MiniLM, minilm_folder: Path, nli_folder: Path) -> None:
    """The probabilities are those of peft's own unmerged layers with the same head."""
    from peft import PeftModel
    from safetensors.torch import load_file

    model = PeftModel.from_pretrained(load_bert(minilm_folder), str(nli_folder)).eval()
    head = build_head(size=384, pair=True, hidden=8, outputs=3)
    head.load_state_dict({name: tensor.float() for name, tensor in load_file(nli_folder / "head.safetensors").items()})
    ids, mask, types = stack(tokenize(encoder._tokenizer, PAIRS))
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        expected = head(pool(states, mask, types, pair=True)).softmax(-1).numpy()
    found = np.array(encoder.pair_classifier(nli_folder).probabilities(PAIRS))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_switching_leaves_nothing_behind(minilm_folder: Path, nli_folder: Path, text_folder: Path) -> None:
    """Embeddings and both adapters, asked in turn on one encoder, equal each one loaded alone, to the last bit."""
    shared = MiniLM(minilm_folder)
    vectors, pairs = shared.embed(TEXTS[:2]), shared.pair_classifier(nli_folder).probabilities(PAIRS)
    texts = shared.text_classifier(text_folder).probabilities(TEXTS[:3])
    assert shared.pair_classifier(nli_folder).probabilities(PAIRS) == pairs
    assert MiniLM(minilm_folder).pair_classifier(nli_folder).probabilities(PAIRS) == pairs
    assert MiniLM(minilm_folder).text_classifier(text_folder).probabilities(TEXTS[:3]) == texts
    shared._embeddings.clear()
    np.testing.assert_array_equal(shared.embed(TEXTS[:2]), vectors)


def test_probabilities_do_not_depend_on_company_or_order(encoder: MiniLM, nli_folder: Path) -> None:
    """A pair's row is the same alone and among others, repeated or not."""
    classifier = encoder.pair_classifier(nli_folder)
    alone = [classifier.probabilities([pair])[0] for pair in PAIRS]
    together = classifier.probabilities([PAIRS[2], PAIRS[0], PAIRS[1], PAIRS[0]])
    np.testing.assert_allclose(together, [alone[index] for index in (2, 0, 1, 0)], atol=1e-5)
    assert classifier.probabilities([]) == []


def test_pair_too_long_is_refused(encoder: MiniLM, nli_folder: Path) -> None:
    """512 tokens with the special ones are read; one more raises ValueError, nothing is cut in silence."""
    classifier = encoder.pair_classifier(nli_folder)
    premise, hypothesis = "word " * 500, "word " * 9
    assert len(classifier.probabilities([(premise, hypothesis)])) == 1
    with pytest.raises(ValueError, match="at most 512"):
        classifier.probabilities([(premise + "word", hypothesis)])


def test_adapter_of_another_kind_is_refused(encoder: MiniLM, nli_folder: Path, text_folder: Path) -> None:
    """An NLI adapter classifies no single text, and the other way round."""
    with pytest.raises(UserError, match="kind"):
        encoder.text_classifier(nli_folder)
    with pytest.raises(UserError, match="kind"):
        encoder.pair_classifier(text_folder)


def test_unreadable_adapter_is_a_model_error(encoder: MiniLM, nli_folder: Path, tmp_path: Path) -> None:
    """A folder with a truncated weights file raises one clear error, and no traceback from the reader."""
    for path in nli_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 500 if path.name == "head.safetensors" else None])
    with pytest.raises(ModelError, match="cannot be read"):
        encoder.pair_classifier(tmp_path)


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 1000))
def test_token_batches_hold_each_text_once_within_budget(lengths: list[int], budget: int) -> None:
    """Every index stands in one batch; padded size stays within the budget unless a batch is a single text."""
    batches = token_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget for batch in batches)
