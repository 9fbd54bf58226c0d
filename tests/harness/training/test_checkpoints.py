"""Kill it anywhere: what is on disk is whole or not there, and a resumed training ends in the same tensors."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

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

KILLER = """
import json, os, signal, sys, traceback
from pathlib import Path

from harness.records import Message, Prompt, Sample
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import checkpoints, trainer

base, home, rows, kills = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
samples = [Sample(id=str(n), split="train", row=n, input=i, references=(r,)) for n, (i, r) in enumerate(rows, 1)]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def train(progress=None, notice=print, adapters=home / "broken"):
    return trainer.train(
        "lora",
        TrainSpec(
            base="base", rank=4, dropout=0.1, learning_rate=5e-3, epochs=2, save_steps=3, logging_steps=4,
            gradient_accumulation=2,
        ),
        base=TransformersModel(kind="transformers", path=base.name),
        root=base.parent,
        samples=samples,
        prompt=lambda s: Prompt(sample_id=s.id, messages=(Message(role="user", content=s.input),)),
        adapters=adapters,
        seed=1,
        progress=progress,
        notice=notice,
    )


def die_after_steps(count):
    done = 0

    def progress(steps):
        nonlocal done
        done += steps
        if done >= count:
            die()

    train(progress)


def die_in_call(name, count):
    real, left = getattr(os, name), count

    def fatal(*args, **kwargs):
        nonlocal left
        left -= 1
        if left < 0:
            die()
        return real(*args, **kwargs)

    setattr(os, name, fatal)
    train()


def in_a_process(work):
    # the parent has imported torch and never computed with it: forking is safe, and quicker than a new interpreter
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if in_a_process(lambda: train(adapters=home / "whole")) != 0:
    sys.exit("the uninterrupted training failed")
for what, count in kills:
    ended = in_a_process(lambda: die_after_steps(count) if what == "step" else die_in_call(what, count))
    if ended != -signal.SIGKILL:
        sys.exit(f"kill {what} {count} did not happen: {ended}")
if in_a_process(train) != 0:
    sys.exit("the last attempt failed")
"""

KILLS = [
    ("step", 1),
    ("fsync", 0),
    ("fsync", 4),
    ("replace", 0),
    ("step", 4),
    ("step", 5),
    ("rename", 0),
]
"""After a number of steps, or in the n-th call (from 0) of a function of `os` that makes files durable or final."""


def test_killed_and_resumed_equals_uninterrupted(base_folder, samples, tmp_path):
    """Killed at each of KILLS and started again, six steps end in the tensors and log of an unbroken run."""
    rows = json.dumps([[sample.input, sample.references[0]] for sample in samples])
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(base_folder), str(tmp_path), rows, json.dumps(KILLS)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (key,) = {path.name for name in ("whole", "broken") for path in (tmp_path / name).iterdir()}
    whole, broken = (find_training(tmp_path / name, key) for name in ("whole", "broken"))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (Path(broken.path) / name).read_bytes() == (Path(whole.path) / name).read_bytes()
    assert broken.log == whole.log
    assert (broken.tokens, broken.steps) == (whole.tokens, whole.steps)
    assert whole.record["resumed_at_steps"] == []
    assert broken.record["resumed_at_steps"]
    assert "is incomplete: removed" in done.stdout


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
