"""What can end a training, through the command line: one clear line, the right status, and nothing lost."""

import errno
import os
import signal
from pathlib import Path

import pytest
import yaml

from harness import cli
from harness.training import sft
from tests.harness.training.ending import fork, status_of


@pytest.fixture
def muster(project, libraries, monkeypatch, capsys):
    """Calls `muster train` in this process, which has torch loaded; the status, and what was printed."""
    suite = yaml.safe_load((project.root / "suite.yaml").read_text())
    suite["candidates"] = {"base": suite["candidates"]["base"], "lora": suite["candidates"]["lora"]}
    suite.pop("gate")
    monkeypatch.chdir(project.root)

    def call(**options):
        suite["candidates"]["lora"]["train"] = {
            "base": "base", "rank": 4, "batch_size": 8, "max_steps": 12, "learning_rate": 1e-3, "save_steps": 3, **options
        }  # fmt: skip
        project.write("suite.yaml", yaml.safe_dump(suite, sort_keys=False))
        monkeypatch.setattr("sys.argv", ["muster", "train", "suite.yaml"])
        status = cli._run(cli.build_app())
        printed = capsys.readouterr()
        return status, " ".join((printed.out + printed.err).split())

    return call


def adapters(folder=Path(".muster/adapters")):
    """Names of what lies among the adapters, finished and not."""
    return sorted(path.name for path in folder.iterdir())


def test_numbers_that_are_not_finite(muster):
    """NaN or infinity: status 4, the step is named, and there is no adapter."""
    status, printed = muster(learning_rate=1e30)
    assert status == 4
    assert "lora: the " in printed
    assert "must be finite" in printed
    assert "lower learning_rate" in printed
    assert all(name.endswith(".partial") for name in adapters())


@pytest.mark.parametrize("way", ["disk", "memory", "interrupt"])
def test_what_the_machine_ends_goes_on_where_it_was(muster, monkeypatch, way):
    """A full disk, no memory and Ctrl-C after step 7: a line with the way out, the status of the contract, no traceback;
    the same command then goes on from step 6 to the tensors of an unbroken training."""
    status, _ = muster(seed=5)
    assert status == 0
    [key] = adapters()
    whole = (Path(".muster/adapters") / key / "adapter_model.safetensors").read_bytes()
    Path(".muster").rename("unbroken")
    wanted, said = {
        "disk": (
            4,
            "lora: the disk is full. Free some space and run again: the training goes on from its last complete",
        ),
        "memory": (
            4,
            "lora: the training ran out of memory (batch_size 8, max_length 1,024). Lower batch_size and raise",
        ),
        "interrupt": (130, "muster: interrupted. What was finished is kept; the same command continues from there."),
    }[way]
    with monkeypatch.context() as broken:
        break_at_step(7, way, broken)
        status, printed = muster(seed=5)
    assert status == wanted
    assert said in printed
    assert "Traceback" not in printed
    assert adapters() == [f"{key}.partial"]
    status, printed = muster(seed=5)
    assert status == 0
    assert "going on from step 6" in printed
    assert adapters() == [key]
    assert (Path(".muster/adapters") / key / "adapter_model.safetensors").read_bytes() == whole


def break_at_step(step, way, monkeypatch):
    """From that step on the machine fails as it would: the next write, allocation or key press."""
    real_loss, real_fsync = sft.SupervisedTrainer.compute_loss, os.fsync

    def loss(self, *arguments, **options):
        if self.state.global_step >= step:
            if way == "memory":
                raise RuntimeError(
                    "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
                )
            if way == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            if way == "disk":
                monkeypatch.setattr(os, "fsync", full)
        return real_loss(self, *arguments, **options)

    def full(descriptor):
        real_fsync(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sft.SupervisedTrainer, "compute_loss", loss)


def test_a_second_training_of_the_same_key_waits_outside(muster, monkeypatch):
    """While one process trains, another that is asked for the same is told which process has it, with status 4."""
    reading, writing = os.pipe()
    started = os.pipe()

    def hold():
        real = sft.SupervisedTrainer.compute_loss

        def wait(self, *arguments, **options):
            os.write(started[1], b".")
            os.read(reading, 1)
            return real(self, *arguments, **options)

        sft.SupervisedTrainer.compute_loss = wait
        muster(seed=5)

    child = fork(hold)
    os.read(started[0], 1)
    status, printed = muster(seed=5)
    os.write(writing, b"." * 100)
    assert status_of(child) == 0
    assert status == 4
    assert f"Process {child} is training the same adapter" in printed
