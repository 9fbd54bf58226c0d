"""Trainings that die, and what their folders hold, for tests that take them up again.

Children are forks: this process has imported torch and computes with one thread, so that forking is safe, and ten
seconds quicker than a new interpreter.
"""

import hashlib
import os
import random
import select
import signal
import time
import traceback
from pathlib import Path


def fork(work):
    """The id of a child process that does the work and ends: status 0, or 1 with a traceback."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def status_of(child):
    """What the child ended with: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die():
    """The end, as the system or `kill -9` brings it."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work, *, steps):
    """Whether a child process that works died by `kill -9` after that many steps."""
    done = 0

    def count(more):
        nonlocal done
        done += more
        if done >= steps:
            die()

    return status_of(fork(lambda: work(count))) == -signal.SIGKILL


def killed_in(work, name, calls):
    """Whether a child process died in its call number `calls` (from 0) of a function of `os`, before the call did anything."""

    def doomed():
        real, left = getattr(os, name), calls

        def fatal(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                die()
            return real(*args, **kwargs)

        setattr(os, name, fatal)
        work()

    return status_of(fork(doomed)) == -signal.SIGKILL


def torture(work, *, kills, seed, steps):
    """Kill a training at random moments, again and again, each time after it has begun; the moments in steps of each attempt.

    Args:
        work: does the whole training, and calls the progress that it is given.
        kills: how many attempts die.
        seed: of the moments: a number of steps, and a part of the next.
        steps: no attempt lives to take more than one above, so that the training is not finished before the last kill.
    """
    rng = random.Random(seed)
    moments = []
    for _ in range(kills):
        (reading, told), (granted, granting) = os.pipe(), os.pipe()

        def wait(count):
            if count:
                os.write(told, b".")  # noqa: B023  # run at once
                os.read(granted, 1)  # noqa: B023

        child = fork(lambda: work(wait))
        os.close(told)
        wanted, seen, began = rng.randint(1, steps), 0, time.monotonic()
        os.write(granting, b"." * wanted)  # however late this process wakes up, the child is at most one step further
        while seen < wanted:
            if not select.select([reading], [], [], 600)[0] or not os.read(reading, 1):
                raise AssertionError(f"the training ended, or hung, before it could be killed: {status_of(child)}")
            seen += 1
            began, step = time.monotonic(), time.monotonic() - began
        time.sleep(rng.random() * min(step, 0.2))
        os.kill(child, signal.SIGKILL)
        assert status_of(child) == -signal.SIGKILL
        for end in (reading, granted, granting):
            os.close(end)
        moments.append(seen)
    return moments


def digest(training):
    """SHA-256 of the only tensor file of a training's folder."""
    [file] = Path(training.path).glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()
