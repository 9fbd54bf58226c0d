"""`muster` in processes of its own that need not import everything anew.

Importing torch, transformers, peft and trl takes ten seconds of CPU, and tests start some sixty commands. A server
imports them once for each test process (`tests/warm.py`) and runs no test; every command is a fork of it
with its own folder, environment, streams and exit status, and can be interrupted and killed. What a fresh interpreter
does is tested with `python -m harness`.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

REPOSITORY = Path(__file__).parents[1]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.warm"])


class Command:
    """A running `muster …`: the part of `subprocess.Popen` that tests use."""

    def __init__(self, arguments, *, cwd, env, before=None):
        offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        with contextlib.chdir(REPOSITORY), mock.patch.dict(os.environ, offline):  # where `tests` can be imported
            forkserver.ensure_running()
        self._streams = tempfile.TemporaryDirectory(prefix="streams-")
        files = [str(Path(self._streams.name) / name) for name in ("out", "err")]
        words = [str(word) for word in arguments]
        self._process = FORKS.Process(target=_muster, args=(words, str(cwd), dict(env), files, before))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        """The exit status, minus the signal that ended it, or None."""
        return self._process.exitcode

    def poll(self):
        """The same, by the name that `Popen` has for it."""
        return self.returncode

    def send_signal(self, number):
        """Sends a signal, as long as there is somebody to get it."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it as `kill -9` does."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """Waits for the end; returns what was printed on both streams, once."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("muster", timeout)
        with self._streams as folder:
            return tuple((Path(folder) / name).read_text(encoding="utf-8") for name in ("out", "err"))


def _muster(arguments, folder, environment, files, before):
    """What the fork does; `before` is called in it first, and may change what the command meets."""
    for descriptor, file in enumerate(files, start=1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["muster", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if before is not None:
        before()
    from harness.cli import main

    main()
