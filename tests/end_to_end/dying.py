"""Deaths by `kill -9` at a place that does not depend on who is quicker: hooks for `Project.start(..., before=...)`."""

import os
import signal
from pathlib import Path


def die():
    """The end, as the system or `kill -9` brings it."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_training(step):
    """The command dies within the training step of this number, from 0."""
    from harness.training import sft

    real = sft.SupervisedTrainer.compute_loss

    def fatal(self, *arguments, **options):
        if self.state.global_step == step:
            die()
        return real(self, *arguments, **options)

    sft.SupervisedTrainer.compute_loss = fatal


def in_journal(name, journals):
    """The command dies as soon as rows are in so many journals whose names begin like this."""
    from harness.store import Spool

    real, begun = Spool.append, set()

    def fatal(self, rows):
        real(self, rows)
        if rows and self.path.name.startswith(name):
            begun.add(self.path)
        if len(begun) == journals:
            die()

    Spool.append = fatal


def in_worker(flag):
    """Of Ray's workers the first that has made answers dies before it gives them back, and leaves this file."""
    from harness.running import engine

    engine.Workshop = mortal(flag)


def mortal(flag):
    """A workshop as `in_worker` tells; made in the command and sent whole to the workers, which know no tests."""
    from harness.running.engine import Workshop

    class Mortal(Workshop):
        def generate(self, *arguments):
            made = super().generate(*arguments)
            try:
                Path(flag).touch(exist_ok=False)
            except FileExistsError:
                return made
            os.kill(os.getpid(), signal.SIGKILL)

    return Mortal
