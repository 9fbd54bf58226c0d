"""What the tests of models share: judge adapters trained for a few steps, a tiny causal model, a scripted endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.models.embedded import resolve
from tests.harness.models.fake_endpoint import FakeEndpoint
from tests.harness.models.tiny import make_adapter, make_model

PAIRS = [
    ("A man sleeps on a bench.", "A person is asleep.", "entailment"),
    ("A man sleeps on a bench.", "The man is running.", "contradiction"),
    ("A man sleeps on a bench.", "The man is tired of work.", "neutral"),
    ("Two dogs play in the snow.", "Animals are outside.", "entailment"),
    ("Two dogs play in the snow.", "The dogs are inside.", "not_entailment"),
]
TEXTS = [("What a kind answer", "kind"), ("You are a fool", "rude"), ("Thank you so much", "kind"), ("Shut up", "rude")]


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Where the encoder's files are."""
    return resolve("embedded:minilm")


@pytest.fixture(scope="session")
def nli_folder(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Path:
    """An NLI adapter of rank 2, hardly trained."""
    from harness.training.judge_adapters import JudgeRow, train_judge_adapter

    out = tmp_path_factory.mktemp("adapters") / "pairs"
    rows = [JudgeRow(text=a, second=b, label=label) for a, b, label in PAIRS]
    train_judge_adapter(
        kind="nli", encoder=minilm_folder, rows=rows, heldout={}, out=out, rank=2, hidden=8, epochs=3, batch_tokens=64,
        learning_rate=1e-2,
    )  # fmt: skip
    return out


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Path:
    """A classification adapter of rank 2, hardly trained."""
    from harness.training.judge_adapters import JudgeRow, train_judge_adapter

    out = tmp_path_factory.mktemp("adapters") / "texts"
    rows = [JudgeRow(text=text, label=label) for text, label in TEXTS]
    train_judge_adapter(
        kind="classification", encoder=minilm_folder, rows=rows, heldout={}, out=out, rank=2, hidden=8, epochs=4,
        batch_tokens=32, learning_rate=1e-2,
    )  # fmt: skip
    return out


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal language model's folder."""
    return make_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def tiny_adapters(tiny_base: Path) -> list[Path]:
    """Two different adapters for it, beside it."""
    return [make_adapter(tiny_base.parent / f"adapter{seed}", tiny_base, seed=seed) for seed in (1, 2)]


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    """A scripted endpoint on this machine."""
    with FakeEndpoint() as server:
        yield server
