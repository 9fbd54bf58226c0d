"""Judge adapters: seeded to the byte, trained on what the labels say, measured through the saved files."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from harness.errors import TrainingError, UserError
from harness.models.embedded import resolve, verify_manifest
from harness.models.encoder import MiniLM, TokenizedText
from harness.training import judge_adapters
from harness.training.judge_adapters import JudgeRow, train_judge_adapter

KIND = ["You are so kind", "Thank you for your help", "What a lovely idea", "I hope you get well soon"]
RUDE = ["You are an idiot", "Shut up, fool", "What a stupid idea", "I hate you"]
ROWS = [JudgeRow(text=text, label="kind") for text in KIND] + [JudgeRow(text=text, label="rude") for text in RUDE]
PAIRS = [
    JudgeRow(text="It rains.", second="It is wet outside.", label="entailment"),
    JudgeRow(text="It rains.", second="The sky is clear and dry.", label="contradiction"),
    JudgeRow(text="It rains.", second="Anna is late again.", label="neutral"),
    JudgeRow(text="It rains.", second="The sun shines everywhere.", label="not_entailment"),
]
SMALL = {"rank": 2, "hidden": 8, "batch_tokens": 48, "learning_rate": 1e-3, "head_learning_rate": 1e-2}


@pytest.fixture(scope="module")
def encoder() -> Path:
    """The encoder's folder."""
    return resolve("embedded:minilm")


def train(encoder: Path, out: Path, rows=ROWS, kind="classification", **settings):
    """A training of a few steps."""
    chosen = {"heldout": {}, "epochs": 2.0, **SMALL, **settings}
    return train_judge_adapter(kind=kind, encoder=encoder, rows=rows, out=out, **chosen)


def weights_sha(folder: Path) -> str:
    """The hash of all tensors of an adapter."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.safetensors")))).hexdigest()


def test_same_seed_same_bytes(encoder: Path, tmp_path: Path) -> None:
    """Two trainings with one seed write equal weights whatever the global generator was; another seed does not."""
    torch.manual_seed(1)
    train(encoder, tmp_path / "a", dropout=0.1)
    torch.manual_seed(2)
    train(encoder, tmp_path / "b", dropout=0.1)
    train(encoder, tmp_path / "c", dropout=0.1, seed=99)
    shas = [weights_sha(tmp_path / name) for name in "abc"]
    assert shas[0] == shas[1] != shas[2]
    files = [(tmp_path / name / "adapter_config.json").read_bytes() for name in "ab"]
    assert files[0] == files[1]


WHOLE = {"method": "full", "learning_rate": 2e-4}


def test_whole_encoder_same_seed_same_bytes_and_small(encoder: Path, tmp_path: Path) -> None:
    """Whole-encoder training is seeded to the byte, keeps no LoRA, and its folder stays under 11.5 MB."""
    train(encoder, tmp_path / "a", **WHOLE)
    train(encoder, tmp_path / "b", **WHOLE)
    assert weights_sha(tmp_path / "a") == weights_sha(tmp_path / "b")
    assert {p.name for p in (tmp_path / "a").glob("*.safetensors")} == {"delta.safetensors", "head.safetensors"}
    assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) < 11.5e6


def test_whole_encoder_learns_pairs_and_goes_on_from_a_start(encoder: Path, tmp_path: Path) -> None:
    """A classification of pairs learns what neither text alone says, and a start keeps what was learned."""
    questions = ("How old is Anna?", "Where does Anna live?")
    answers = ("Anna is nine years old.", "Anna lives in Oslo.")
    rows = [
        JudgeRow(text=question, second=answer, label="yes" if a == q else "no")
        for q, question in enumerate(questions)
        for a, answer in enumerate(answers)
    ]
    first = train(encoder, tmp_path / "a", rows=rows, epochs=30.0, heldout={"seen": rows}, **WHOLE)
    assert first.metrics["seen"]["accuracy"] == 1.0
    settings = {**WHOLE, "learning_rate": 1e-7, "head_learning_rate": 1e-7, "start": tmp_path / "a"}
    again = train(encoder, tmp_path / "b", rows=rows, epochs=1.0, heldout={"seen": rows}, **settings)
    assert again.metrics["seen"]["accuracy"] == 1.0
    other = [JudgeRow(text=row.text, second=row.second, label=f"{row.label}!") for row in rows]
    moved = train(encoder, tmp_path / "c", rows=other, epochs=1.0, heldout={"seen": other}, **settings)
    assert moved.labels == ("no!", "yes!")
    assert (tmp_path / "c/head.safetensors").read_bytes() != (tmp_path / "a/head.safetensors").read_bytes()
    with pytest.raises(UserError, match="'start' needs the method full"):
        train(encoder, tmp_path / "d", rows=rows, start=tmp_path / "a")


def test_rows_of_one_and_of_two_texts_do_not_mix(encoder: Path, tmp_path: Path) -> None:
    """The first row without a second text is named."""
    rows = [JudgeRow(text="a", second="b", label="x"), JudgeRow(text="a", label="y", place="rows.csv:3")]
    with pytest.raises(UserError, match=r"rows\.csv:3: a second text must be in every row or in none"):
        train(encoder, tmp_path / "a", rows=rows)


def test_training_leaves_the_global_generator_alone(encoder: Path, tmp_path: Path) -> None:
    """Random numbers drawn after a training are those drawn without it."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(encoder, tmp_path / "a")
    assert torch.equal(torch.rand(3), expected)


def test_adapter_learns_what_labels_say(encoder: Path, tmp_path: Path) -> None:
    """After fifteen passes over separable rows every row is classified right, and unseen rows mostly are."""
    unseen = [JudgeRow(text="You stupid fool", label="rude"), JudgeRow(text="Thanks, how kind of you", label="kind")]
    training = train(encoder, tmp_path / "a", epochs=15.0, heldout={"seen": ROWS, "unseen": unseen})
    assert training.metrics["seen"]["accuracy"] == 1.0
    assert training.metrics["seen"]["auroc"] == 1.0
    assert training.metrics["unseen"] == {"rows": 2, "accuracy": 1.0, "balanced_accuracy": 1.0, "auroc": 1.0}
    assert training.loss < 0.1


def test_nli_learns_three_labels_and_the_binary_one(encoder: Path, tmp_path: Path) -> None:
    """Entailment wins on the entailed pair and on no other; not_entailment asks only that."""
    train(encoder, tmp_path / "a", rows=PAIRS, kind="nli", epochs=25.0)
    pairs = [(row.text, row.second or "") for row in PAIRS]
    table = np.array(MiniLM(encoder).pair_classifier(tmp_path / "a").probabilities(pairs))
    assert table[:3].argmax(1).tolist() == [0, 2, 1]
    assert table[3, 0] < 0.2


def test_score_learns_numbers(encoder: Path, tmp_path: Path) -> None:
    """A score adapter predicts the numbers it saw, within 0.15."""
    rows = [JudgeRow(text=text, label=0.9) for text in KIND] + [JudgeRow(text=text, label=0.2) for text in RUDE]
    training = train(encoder, tmp_path / "a", rows=rows, kind="score", epochs=25.0, heldout={"seen": rows})
    assert training.labels == ("score",)
    assert training.metrics["seen"]["mean_absolute_error"] < 0.15
    assert training.metrics["seen"]["pearson"] > 0.9
    (score,) = MiniLM(encoder).text_classifier(tmp_path / "a").probabilities(["You are so kind"])[0]
    assert score == pytest.approx(0.9, abs=0.15)


def test_not_entailment_costs_minus_log_of_the_rest() -> None:
    """The closed form: -log(1 - P(entailment)) on binary rows, -log P(label) on the others."""
    logits = torch.tensor([[2.0, -1.0, 0.5], [2.0, -1.0, 0.5], [0.1, 0.2, 0.3]])
    text = TokenizedText([1], [0])
    batch = [judge_adapters._Example(text=text, target=target) for target in (-1.0, 0.0, 2.0)]
    probabilities = logits.softmax(-1)
    expected = [-math.log(1 - probabilities[0, 0]), -math.log(probabilities[1, 0]), -math.log(probabilities[2, 2])]
    assert judge_adapters._row_losses(logits, batch, kind="nli").tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("epochs", [0.5, 1.0, 2.5])
def test_batches_hold_each_row_once_an_epoch(epochs: float) -> None:
    """Whole epochs hold every row once; a part of an epoch holds that share of different rows."""
    rng = np.random.default_rng(0)
    texts = [TokenizedText([1] * int(n), [0] * int(n)) for n in rng.integers(3, 40, 100)]
    examples = [judge_adapters._Example(text=text, target=0) for text in texts]
    batches = judge_adapters._batches(examples, epochs=epochs, batch_tokens=200, seed=3)
    counts = np.bincount([index for batch in batches for index in batch], minlength=100)
    assert counts.sum() == round(100 * epochs)
    assert set(counts) <= {math.floor(epochs), math.ceil(epochs)}
    assert all(max(len(examples[i].text) for i in batch) * len(batch) <= 200 for batch in batches)


def test_auroc_equals_scikit_learns() -> None:
    """The rank formula agrees with scikit-learn on scores with ties; with one class only there is none."""
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 8, 200) / 8, rng.random(200) < 0.3
    assert judge_adapters._auroc(scores, positive)["auroc"] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert judge_adapters._auroc(scores, np.ones(200, dtype=bool)) == {}


def test_folder_is_whole_and_names_no_machine(encoder: Path, tmp_path: Path) -> None:
    """The manifest holds for every file, the card says what was measured, and no file names a path of this machine."""
    out = tmp_path / "a"
    train(encoder, out, heldout={"mine": ROWS}, title="My judge", notes="Made of eight rows.", command="muster x")
    verify_manifest(out, "Way out.")
    names = {path.name for path in out.iterdir()}
    assert names == {*json.loads((out / "manifest.json").read_text()), "manifest.json"}
    card = (out / "CARD.md").read_text()
    for part in ("# My judge", "Made of eight rows.", "8 rows", "seed 1234", "| mine |", "muster x", "accuracy"):
        assert part in card
    for path in out.iterdir():
        assert str(encoder).encode() not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()


def test_long_rows_are_left_out_and_counted(encoder: Path, tmp_path: Path) -> None:
    """Rows over the limit are no part of the training, and the record says how many there were."""
    training = train(encoder, tmp_path / "a", rows=[*ROWS, JudgeRow(text="kind " * 90, label="kind")], max_tokens=60)
    assert (training.rows, training.skipped) == (8, 1)
    with pytest.raises(UserError, match="max_tokens"):
        train(encoder, tmp_path / "b", max_tokens=3)


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("nli", JudgeRow(text="a", second="b", label="maybe"), "must be one of entailment"),
        ("nli", JudgeRow(text="a", label="neutral", place="rows.jsonl:7"), r"rows\.jsonl:7: 'hypothesis'"),
        ("score", JudgeRow(text="a", label=1.5), "from 0 to 1"),
        ("classification", JudgeRow(text="a", label="x"), "at least two values"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    encoder: Path, tmp_path: Path, kind: str, row: JudgeRow, message: str
) -> None:
    """The first row that does not fit the kind is named before anything is loaded."""
    with pytest.raises(UserError, match=message):
        train(encoder, tmp_path / "a", rows=[row], kind=kind)
    assert not (tmp_path / "a").exists()


def test_a_loss_that_is_no_number_stops_the_training(encoder: Path, tmp_path: Path) -> None:
    """A diverged training is an error and writes no adapter."""
    with pytest.raises(TrainingError, match="finite"):
        train(encoder, tmp_path / "a", epochs=20.0, learning_rate=1e20, head_learning_rate=1e20)
    assert not (tmp_path / "a").exists()


def test_a_stop_leaves_the_last_save(encoder: Path, tmp_path: Path) -> None:
    """A training that is stopped leaves a whole folder, which says that it is unfinished."""
    seen = 0

    def stop(rows: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(encoder, tmp_path / "a", epochs=10.0, save_every=3, progress=stop)
    verify_manifest(tmp_path / "a", "Way out.")
    assert "has not ended" in (tmp_path / "a/CARD.md").read_text()
    assert MiniLM(encoder).text_classifier(tmp_path / "a").labels == ("kind", "rude")
