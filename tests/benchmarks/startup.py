"""How long a user waits before anything happens: `muster --help` and `muster check`, against the bare interpreter.

Prints the median of several whole processes and the ratio to `python -c pass` in the same run:

    python tests/benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "muster --help": ["-m", "harness", "--help"],
    "muster check clinic": ["-m", "harness", "check", "suites/clinic/suite.yaml"],
}


def seconds(arguments: list[str], runs: int = 7) -> float:
    """Median wall seconds of a process, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Prints a line a command."""
    bare = seconds(COMMANDS["python -c pass"])
    for name, arguments in COMMANDS.items():
        taken = seconds(arguments)
        print(f"{name:<22} {taken:6.3f} s   {taken / bare:5.1f} x the bare interpreter")


if __name__ == "__main__":
    main()
