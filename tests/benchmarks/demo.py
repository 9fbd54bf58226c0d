"""What `make demo` costs after installation: the clinic suite in an empty home, then the same command again.

Prints wall seconds and peak memory of each, and the ratio of the second run to the first:

    python tests/benchmarks/demo.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run(home: Path) -> tuple[float, float]:
    """Wall seconds and peak resident GiB of one `muster run suites/clinic/suite.yaml`."""
    command = [sys.executable, "-m", "harness", "run", "suites/clinic/suite.yaml", "--home", str(home)]
    command += ["--report", str(home / "report.html")]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 3):
        raise SystemExit(f"{' '.join(command)} ended with status {code}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def main() -> None:
    """Prints a line a run."""
    with tempfile.TemporaryDirectory() as folder:
        first, memory = run(Path(folder))
        print(f"first run   {first:7.1f} s   peak {memory:.2f} GiB")
        second, memory = run(Path(folder))
        print(f"second run  {second:7.1f} s   peak {memory:.2f} GiB   {second / first:.3f} x the first")


if __name__ == "__main__":
    main()
