"""How long a report takes to write and how large it is: `python tests/benchmarks/reporting.py [SAMPLES …]`.

The run is the fake one of the report's tests: four candidates, five judges with evidence for each sentence. Writing the
store is not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))

from fake_run import fake_run

from harness.store import Home, Store
from reports.render import write_report


def measure(samples: int) -> tuple[float, float]:
    """Processor seconds and megabytes of the report on so many samples."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Home(Path(folder))) as store:
        fake_run(samples).write(store)
        start = time.process_time()
        path = write_report(store, ["latest"], Path(folder) / "report.html")
        return time.process_time() - start, path.stat().st_size / 1e6


def main() -> None:
    """Prints one line a size."""
    for samples in map(int, sys.argv[1:] or ("40", "1000", "5000")):
        seconds, size = measure(samples)
        print(f"{samples:>7,} samples  {seconds:6.2f} s of processor time  {size:6.2f} MB")


if __name__ == "__main__":
    main()
