"""How a training ends: killed after some steps, or with a tensor file."""

import hashlib
import os
import signal
from pathlib import Path


def killed(work, *, steps):
    """Whether a child process that works died by `kill -9` after that many steps."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    done = 0

    def die(count):
        nonlocal done
        done += count
        if done >= steps:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        work(die)
    finally:
        os._exit(1)


def digest(training):
    """SHA-256 of the only tensor file of a training's folder."""
    [file] = Path(training.path).glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()
