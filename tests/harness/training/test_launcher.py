"""Several processes for one training: the losses and the weights of one process, and an end for all where one ends."""

import contextlib
import itertools
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.distributed import TCPStore
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from harness.errors import TrainingError, UserError
from harness.records import Preference
from harness.training import launch, processes, worker
from tests.harness.models.tiny import make_t5
from tests.harness.training.ending import digest, fork, status_of

LAUNCHER = {"kind": "accelerate", "processes": 2}


class Agent:
    """What `torch.distributed.run` is to its parent, made of forks of this process, which has imported torch already."""

    def __init__(self, room, count=2):
        # Where the children meet is open already, at a port of the system's choice: no other process can be there first.
        self.meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        port = self.meeting.port
        reading, writing = os.pipe()
        self.stdin, self.returncode = os.fdopen(writing, "wb"), None
        self.children = [self._fork(rank, count, port, room, reading) for rank in range(count)]
        os.close(reading)

    def _fork(self, rank, count, port, room, reading):
        def work():
            from accelerate.state import AcceleratorState

            AcceleratorState._reset_state(reset_partial_state=True)
            self.stdin.close()
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
            os.environ.update({name: str(value) for name, value in names.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"})
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
            worker.end_with_parent(reading)
            os._exit(worker.main(room))

        return fork(work)

    def poll(self):
        """None while all work; the first status that is not 0 ends the others."""
        for child in list(self.children):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                self.children.remove(child)
                if os.waitstatus_to_exitcode(status) and self.children:
                    self.stop()
        if not self.children:
            self.returncode = 0
        return self.returncode

    def stop(self):
        for child in self.children:
            os.kill(child, signal.SIGKILL)

    def wait(self, seconds):
        time.sleep(seconds / 5)


@pytest.fixture
def forked(monkeypatch):
    """Processes are forked instead of started: the same worker, without ten seconds of imports each."""

    @contextlib.contextmanager
    def started(command, output):
        agent = Agent(Path(command[-1]))
        try:
            yield agent
        finally:
            if not agent.stdin.closed:
                agent.stdin.close()
            agent.stop()
            while agent.poll() is None:
                agent.wait(0.1)

    monkeypatch.setattr(launch, "_started", started)


def difference(one, other):
    """Largest absolute difference of two trainings' tensors."""
    left, right = (load_file(Path(training.path) / "adapter_model.safetensors") for training in (one, other))
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.parametrize(
    ("options", "batching"),
    [({}, "packed"), ({"batch_size": 3, "gradient_accumulation": 2}, "padded")],
)
def test_two_processes_train_as_one(run, recipe, samples, tmp_path, forked, options, batching):
    """23 rows, which come out even for nobody: two processes have the losses, tokens and weights of one, step by step.

    Their answers differ in length, so a loss that each process normalised by its own tokens would be another.
    """
    given = {"dropout": 0.0, "logging_steps": 1, **options}
    one, two = (
        run(recipe(**given, **more), rows=samples[:23], adapters=tmp_path / name, batching=batching)
        for name, more in (("one", {}), ("two", {"launcher": LAUNCHER}))
    )
    assert len(two.log) == two.steps == one.steps
    for alone, together in zip(one.log, two.log, strict=True):
        assert together == pytest.approx(alone, rel=1e-5)
        assert together["tokens"] == alone["tokens"]
    assert difference(one, two) < 1e-5
    assert (one.record["ran"]["processes"], two.record["ran"]["processes"]) == (1, 2)
    assert one.key != two.key


@pytest.mark.parametrize("options", [{"loss_type": "apo_zero"}, {"batch_size": 3, "gradient_accumulation": 2}])
def test_two_processes_prefer_as_one(run, recipe, samples, tmp_path, forked, options):
    """DPO on 23 pairs: losses, margins, tokens and weights of one process, step by step, uneven ends of epochs included."""
    pairs = [
        Preference(sample=one, chosen=one.references[0], rejected=" ".join([*other.references, "no"]))
        for one, other in itertools.pairwise(samples)
    ]
    given = {"dropout": 0.0, "logging_steps": 1, "objective": "dpo", "preferences": "p", **options}
    one, two = (
        run(recipe(**given, **more), preferences=pairs, adapters=tmp_path / name)
        for name, more in (("one", {}), ("two", {"launcher": LAUNCHER}))
    )
    assert len(two.log) == two.steps == one.steps
    for alone, together in zip(one.log, two.log, strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-6)
        assert together["tokens"] == alone["tokens"]
    assert difference(one, two) < 1e-5
    assert two.record["ran"]["processes"] == 2


def test_two_processes_train_an_encoder_and_a_decoder_as_one(run, recipe, samples, tmp_path, forked):
    """A T5 on 23 rows: the same, for the encoder's and the decoder's adapters."""
    t5 = make_t5(tmp_path / "t5", sharpness=8)
    given = {"dropout": 0.0, "logging_steps": 1, "batch_size": 6}
    one, two = (
        run(recipe(**given, **more), rows=samples[:23], base=t5, adapters=tmp_path / name)
        for name, more in (("one", {}), ("two", {"launcher": LAUNCHER}))
    )
    for alone, together in zip(one.log, two.log, strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
        assert together["tokens"] == alone["tokens"]
    assert difference(one, two) < 1e-5


def test_killed_with_its_parent_and_taken_up(run, recipe, tmp_path, forked):
    """The parent dies after step 8, in the second epoch: both processes end with it, and the next attempt goes on from
    step 6 to the bytes of an uninterrupted training, dropout included."""
    spec = recipe(launcher=LAUNCHER)
    whole = run(spec, adapters=tmp_path / "whole")
    pids = tmp_path / "pids"
    parent = os.fork()
    if not parent:
        try:
            real, agents = launch._started, []

            @contextlib.contextmanager
            def noted(command, output):
                with real(command, output) as agent:
                    agents.append(agent)
                    yield agent

            launch._started = noted
            done = []

            def die(steps):
                done.append(steps)
                if sum(done) >= 8:
                    pids.write_text(" ".join(map(str, agents[0].children)))
                    os.kill(os.getpid(), signal.SIGKILL)

            run(spec, adapters=tmp_path / "broken", progress=die)
        finally:
            os._exit(1)
    assert status_of(parent) == -signal.SIGKILL
    assert gone(map(int, pids.read_text().split()))
    broken = run(spec, adapters=tmp_path / "broken")
    assert broken.record["resumed_at_steps"] in ([6], [9], [12])  # what the processes did until they noticed
    assert digest(broken) == digest(whole)
    assert broken.log == whole.log


def gone(pids, seconds=300):
    """Whether none of these processes runs after at most that many seconds."""
    pids, end = list(pids), time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def runs(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_stops_a_process_is_told(run, recipe, tmp_path, forked):
    """An exploding loss in the processes is the same one line as in one, and leaves no adapter."""
    with pytest.raises(TrainingError, match=r"lora: the (loss|gradient norm) must be finite"):
        run(recipe(learning_rate=1e30, launcher=LAUNCHER))
    assert all(path.name.endswith(".partial") for path in (tmp_path / "adapters").iterdir())


def test_the_real_launcher_loses_a_process(run, recipe, tmp_path):
    """Started by `torch.distributed.run`, a process that the system kills ends the other, in one line with the signal;
    the checkpoints stay."""

    def kill(steps):
        done.append(steps)
        if sum(done) >= 3 and not workers:
            (agent,) = children(os.getpid())
            workers.extend(children(agent))
            os.kill(workers[-1], signal.SIGKILL)

    done, workers = [], []
    with pytest.raises(TrainingError, match=r"^lora: a process of the training was ended by signal 9, as the system"):
        run(recipe(launcher=LAUNCHER, max_steps=1000, save_steps=1), progress=kill)
    assert len(workers) == 2
    assert gone(workers)
    assert list((tmp_path / "adapters").glob("*.partial/checkpoints/checkpoint-*/manifest.json"))


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ((1, -9), "was ended by signal 9, as the system does where memory runs out."),
        ((-11, -9), "was ended by signal 11."),
        ((1, 1), "ended with status 1."),
        ((3,), "ended with status 1."),
    ],
)
def test_the_signal_is_told_whichever_process_is_seen_first(tmp_path, codes, told):
    """Of torch's own summary of processes that ended between two of its looks: the signal, not what it did to the other."""
    failures = {
        rank: ProcessFailure(local_rank=rank, pid=100 + rank, exitcode=code, error_file="<N/A>")
        for rank, code in enumerate(codes)
    }
    output = tmp_path / "output.txt"
    output.write_text(f"exitcode : -7 of something else\n{ChildFailedError('harness.training.worker', failures)}")
    assert launch._lost(output, 1).startswith(f"a process of the training {told} Its output is in {output}; run again")


def children(pid):
    """Process ids of its children that run a module of ours or of torch's."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
            line = " ".join(child.cmdline())
            if " -m harness." in line or "distributed.run" in line:
                found.append(child.pid)
    return sorted(found)


def test_what_cannot_be_divided_or_run_is_refused(recipe, run):
    """Three processes cannot share four rows; nothing is sharded without a GPU."""
    with pytest.raises(ValidationError, match="that 3 processes can divide"):
        recipe(launcher={**LAUNCHER, "processes": 3})
    assert recipe(launcher={**LAUNCHER, "processes": 3}, gradient_accumulation=6).launcher.processes == 3
    if not torch.cuda.is_available():
        for strategy in ("fsdp", "deepspeed"):
            with pytest.raises(UserError, match=r"'launcher\.strategy' must be ddp on a machine without a GPU"):
                run(recipe(launcher={**LAUNCHER, "strategy": strategy}))


@pytest.mark.parametrize(("options", "shares"), [((4, 4), (4, 2)), ((4, 1), (2, 1)), ((6, 3), (3, 3))])
def test_shares_make_up_the_step(recipe, options, shares):
    """Passes are divided where they can be, rows of a pass otherwise; two shares are the step of the recipe."""
    spec = recipe(batch_size=options[0], gradient_accumulation=options[1], launcher=LAUNCHER)
    assert processes.share(spec) == shares
    assert 2 * shares[0] * shares[1] == options[0] * options[1]


def test_the_agreed_checkpoint_is_one_that_all_machines_have(tmp_path, monkeypatch):
    """A machine that is a checkpoint ahead of the others takes its own away, and goes on from the one before."""
    for step in (3, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "local_rank", lambda: 0)
    monkeypatch.setattr(processes, "meet", lambda: None)
    monkeypatch.setattr(processes, "everywhere", lambda mine: [mine, 3])
    agreed = processes.agreed_checkpoint(tmp_path, lambda: tmp_path / "checkpoint-6")
    assert agreed == tmp_path / "checkpoint-3"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
