"""What is on disk is whole or not there. (Trainings that are killed: test_traps.py, traps 12 to 14.)"""

import hashlib
import os

import pytest

from harness.errors import TrainingError
from harness.records import Training
from harness.training.checkpoints import (
    find_training,
    newest_checkpoint,
    prune_checkpoints,
    publish_adapter,
    read_manifest,
    seal,
    training_lock,
)

HERE = {"device": "cpu", "compute_dtype": "float32"}


def checkpoint(folder, step, content="x"):
    """A sealed checkpoint of two files."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        (path / name).write_text(f"{content} {name} {step}")
    seal(path, {"step": step, "environment": HERE})
    return path


@pytest.mark.parametrize("victim", ["adapter_model.safetensors", "optimizer.pt", "manifest.json"])
@pytest.mark.parametrize("harm", ["truncated", "missing", "changed"])
def test_a_broken_checkpoint_gives_way_to_the_one_before(tmp_path, victim, harm):
    """Whatever happens to any file of the newest checkpoint, it is removed with a line and the one before is taken."""
    older, newer = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    path = newer / victim
    match harm:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-3])
        case "missing":
            path.unlink()
        case "changed":
            path.write_bytes(b"!" + path.read_bytes()[1:])
    lines = []
    assert newest_checkpoint(tmp_path, environment=HERE, notice=lines.append) == older
    assert not newer.exists()
    assert len(lines) == 1
    assert "checkpoint-10 is incomplete" in lines[0]


def test_no_checkpoint_is_none(tmp_path):
    """An absent folder, an empty one and one of broken checkpoints all mean: from the start."""
    assert newest_checkpoint(tmp_path / "absent", environment=HERE, notice=print) is None
    (tmp_path / "checkpoint-4").mkdir()
    assert newest_checkpoint(tmp_path, environment=HERE, notice=print) is None


def test_a_checkpoint_of_another_machine_is_not_resumed(tmp_path):
    """Device or dtype changed since: going on would give other tensors than either machine's own run."""
    checkpoint(tmp_path, 5)
    lines = []
    assert newest_checkpoint(tmp_path, environment={**HERE, "device": "cuda"}, notice=lines.append) is None
    assert "was made on" in lines[0]


def test_pruning_keeps_the_newest_by_step(tmp_path):
    """Two checkpoints remain, counted by number and not by name."""
    for step in (2, 9, 10, 100):
        checkpoint(tmp_path, step)
    prune_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-100"]


@pytest.fixture
def training(tmp_path):
    """A finished training in a staged folder."""
    staged = tmp_path / "key.partial" / "adapter"
    staged.mkdir(parents=True)
    (staged / "adapter_model.safetensors").write_text("tensors")
    return Training(
        key="key",
        candidate="lora",
        base="base",
        base_fingerprint="b" * 64,
        path=str(tmp_path / "key"),
        rows=3,
        steps=1,
        tokens=30,
        seconds=0.5,
        trainable_parameters=8,
        total_parameters=80,
        log=({"step": 1, "loss": 2.5},),
        record={"ran": {"device": "cpu"}},
    )


def test_a_published_training_is_found_as_it_was(tmp_path, training):
    """publish, then find: the same record; the manifest names each file's hash and the base at its top level."""
    publish_adapter(tmp_path / "key.partial" / "adapter", tmp_path / "key", training)
    assert find_training(tmp_path, "key") == training
    manifest = read_manifest(tmp_path / "key")
    assert manifest["base_fingerprint"] == "b" * 64
    assert manifest["files"] == {"adapter_model.safetensors": hashlib.sha256(b"tensors").hexdigest()}


def test_an_adapter_moved_or_changed_is_not_found(tmp_path, training):
    """A folder renamed to another key, or with another file content, is no training."""
    publish_adapter(tmp_path / "key.partial" / "adapter", tmp_path / "key", training)
    (tmp_path / "key").rename(tmp_path / "other")
    assert find_training(tmp_path, "other") is None
    assert find_training(tmp_path, "key") is None
    (tmp_path / "other").rename(tmp_path / "key")
    (tmp_path / "key" / "adapter_model.safetensors").write_text("retrained elsewhere")
    assert find_training(tmp_path, "key") is None


def test_two_processes_do_not_train_the_same_key(tmp_path):
    """The second one is told which process holds the folder, and holds nothing itself."""
    folder = tmp_path / "key.partial"
    with training_lock(folder), pytest.raises(TrainingError, match=f"Process {os.getpid()} is"), training_lock(folder):
        pytest.fail("held twice")
    with training_lock(folder):
        pass
