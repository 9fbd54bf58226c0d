"""Continued pre-training on raw text: no token is lost, none is trained twice, and the loss is that of each piece alone."""

import itertools
import json

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from harness.data import load_dataset
from harness.errors import SuiteError, UserError
from harness.records import Message, Sample
from harness.suite import load_suite
from harness.suite.grammar import TrainSpec
from harness.training import TrainingRow, training_key
from harness.training.audit import IGNORED
from harness.training.documents import audit_documents, cut
from harness.training.recipe import rows_of


@pytest.fixture
def texts(samples):
    """Twelve documents of different lengths, of which some hold several paragraphs."""
    return [f"{one.input}.\n\n{two.references[0]}" for one, two in zip(samples[::2], samples[1::2], strict=True)]


@pytest.fixture
def documents(texts):
    """The documents as rows 1 to 12 of a training split."""
    return [TrainingRow(row=row, messages=(), answer=text) for row, text in enumerate(texts, 1)]


@pytest.mark.parametrize("size", [2, 3, 7, 100])
@pytest.mark.parametrize("length", [2, 3, 6, 7, 8, 13, 14])
def test_cutting_loses_nothing(length, size):
    """Every id but the first is predicted in exactly one piece, after the id that precedes it in the text."""
    ids = list(range(length))
    pieces = cut(ids, size)
    assert all(2 <= len(piece) <= size for piece in pieces)
    assert [pair for piece in pieces for pair in itertools.pairwise(piece)] == list(itertools.pairwise(ids))


def test_every_token_is_trained_once(tokenizer, texts, documents):
    """What is trained of a document decodes to its text and the end token; the count adds up to tokenising it whole."""
    pieces, audit = audit_documents(tokenizer, documents, max_length=16, batch_size=4)
    whole = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    for number, (text, ids) in enumerate(zip(texts, whole, strict=True), 1):
        mine = [piece for piece in pieces if piece.row == number]
        trained = [label for piece in mine for label in piece.labels if label != IGNORED]
        assert trained == ids[1:]
        assert tokenizer.decode(trained) == text + "</s>"
        assert [piece.input_ids[0] == tokenizer.bos_token_id for piece in mine] == [True] + [False] * (len(mine) - 1)
        assert all(after.input_ids[0] == before.input_ids[-1] for before, after in itertools.pairwise(mine))
    assert audit.answers == len(texts)
    assert audit.rows == len(pieces) > len(texts)
    assert audit.trained_tokens == sum(len(ids) - 1 for ids in whole)
    assert audit.longest == 16


def test_the_window_bounds_pieces_too(tokenizer, documents):
    """A piece is never longer than what the base was made for."""
    pieces, _ = audit_documents(tokenizer, documents, max_length=512, window=12)
    assert max(len(piece.input_ids) for piece in pieces) == 12


def test_texts_that_spell_special_tokens_are_refused(tokenizer):
    """A document that ends or begins in its middle is named by its row; so is a max_length without room."""
    rows = [
        TrainingRow(row=n, messages=(), answer=text) for n, text in ((3, "ba be"), (5, "ba</s> be"), (8, "ba <s>be"))
    ]
    with pytest.raises(UserError) as caught:
        audit_documents(tokenizer, rows, max_length=16)
    assert str(caught.value).splitlines() == [
        "training data: row 5: the text itself holds </s>; take it out of the data.",
        "training data: row 8: the text itself holds <s>; take it out of the data.",
    ]
    with pytest.raises(UserError, match="'max_length' must be at least 2"):
        audit_documents(tokenizer, rows[:1], max_length=1)


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_the_loss_is_of_each_piece_alone(run, base_folder, tokenizer, texts, documents, batching):
    """The first loss, all pieces in one batch, is the mean over all their tokens, each piece run by itself."""
    samples = [Sample(id=str(n), split="train", row=n, input=text) for n, text in enumerate(texts, 1)]
    pieces, audit = audit_documents(tokenizer, documents, max_length=16)
    spec = TrainSpec(
        base="base", objective="language_modelling", method="full", max_length=16, batch_size=len(pieces), epochs=2,
        logging_steps=1, learning_rate=5e-3,
    )  # fmt: skip
    training = run(spec, rows=samples, batching=batching)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    summed = 0.0
    for piece in pieces:
        ids = torch.tensor([piece.input_ids])
        with torch.no_grad():
            summed += float(base(ids, labels=ids).loss) * (ids.shape[1] - 1)
    assert training.log[0]["loss"] == pytest.approx(summed / audit.trained_tokens, rel=1e-6)
    assert training.log[1]["loss"] < training.log[0]["loss"]
    assert training.tokens == 2 * audit.tokens
    assert (training.rows, training.steps) == (len(pieces), 2)


def test_raw_text_needs_no_answer_and_is_another_training(samples, ask):
    """The text is the input as it stands, without the prompt around it; the objective is part of the key."""
    spec = TrainSpec(base="b", objective="language_modelling")
    bare = [Sample(id=s.id, split="train", row=s.row, input=s.input) for s in samples]
    rows = rows_of(spec, bare, ask)
    assert [row.answer for row in rows] == [sample.input for sample in samples]
    given = {"base_fingerprint": "b", "rows": rows, "seed": 1, "versions": {}}
    assert training_key(spec, **given) != training_key(TrainSpec(base="b"), **given)
    talk = Sample(id="1", split="train", row=4, input="ba", messages=(Message(role="user", content="ba"),))
    with pytest.raises(UserError, match=r"must have raw text \(got conversations in row 4\)"):
        rows_of(spec, [talk], ask)
    with pytest.raises(ValidationError, match="long texts are cut into pieces"):
        TrainSpec(base="b", objective="language_modelling", truncation="drop")


def test_a_split_of_pages_has_columns_of_its_own(tmp_path):
    """A training file with another column than the data's is read by its own `fields`; a wrong column is told at its line."""
    rows = [{"question": f"what is {n}", "answer": f"number {n}"} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pages.jsonl").write_text('{"page": "all about numbers"}\n{"page": "and letters"}\n')
    text = """\
suite: s
data: {path: rows.jsonl, fields: {input: question, reference: answer}}
splits:
  pages: {path: pages.jsonl, use: training, fields: {input: page}}
  test: {share: 1}
prompt: "{{ input }}"
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
judges: {rouge: {}}
"""
    (tmp_path / "suite.yaml").write_text(text)
    data = load_dataset(load_suite(str(tmp_path / "suite.yaml")))
    assert [(s.input, s.references) for s in data.splits["pages"]] == [("all about numbers", ()), ("and letters", ())]
    (tmp_path / "suite.yaml").write_text(text.replace("input: page}", "input: paeg}"))
    with pytest.raises(SuiteError, match=r"suite\.yaml:4:\d+: splits\.pages\.fields\.input: .*has no column 'paeg'"):
        load_dataset(load_suite(str(tmp_path / "suite.yaml")))
    (tmp_path / "suite.yaml").write_text(
        text.replace("path: pages.jsonl,", "share: 0.1,").replace("share: 1", "share: 0.9")
    )
    with pytest.raises(SuiteError, match="must have a 'path' beside 'fields'"):
        load_suite(str(tmp_path / "suite.yaml"))
