"""How long a report takes to be usable in a browser: `python tests/benchmarks/browsing.py [SAMPLES … | REPORT.html …]`.

Seconds from the start of loading the file in headless Chromium until the first rows stand in the list, and until a filter
is applied after that; then a search through all texts, the next sample, and what the page holds in memory. Each file
is opened three times; the figures are of the fastest. Without files, the fake run of the report's tests is rendered with
two candidates and five judges with evidence for each sentence.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))

from chromium import Chromium, find_chromium
from fake_run import fake_run

from harness.store import Home, Store
from reports.queries import load_report
from reports.render import render

READY = "document.documentElement.classList.contains('ready') && document.querySelectorAll('#list li').length > 0"
SHOWN = "document.getElementById('detail').dataset.sample"


def large_report(samples: int, folder: Path) -> Path:
    """A report with so many samples of two candidates, made of a small run whose samples are repeated under new ids."""
    with Store.open(Home(folder)) as store:
        fake_run(1000).write(store)
        report = load_report(store, ["latest"])
    views = [
        replace(view, sample=replace(view.sample, id=f"{view.sample.id}-{n}", row=n + 1))
        for n, view in enumerate((report.samples * (1 + samples // len(report.samples)))[:samples])
    ]
    path = folder / f"{samples}.html"
    page = render(replace(report, samples=tuple(views), candidates=("base", "lora_r16")))
    path.write_text(page, encoding="utf-8")
    return path


def measure(browser: Chromium, path: Path) -> dict[str, float]:
    """Seconds and megabytes of one opening."""
    found: dict[str, float] = {"file MB": path.stat().st_size / 1e6}
    page = browser.page("about:blank")
    page.call("Performance.enable", timeDomain="threadTicks")

    def timed(name: str, condition: str, action: str = "") -> None:
        start = time.perf_counter()
        if action:
            page.evaluate(action)
        page.wait_for(condition, timeout=120)
        found[name] = time.perf_counter() - start

    start = time.perf_counter()
    page.navigate(path.as_uri())
    page.wait_for(READY, timeout=120)
    found["first rows"] = time.perf_counter() - start
    ticks = {row["name"]: row["value"] for row in page.call("Performance.getMetrics")["metrics"]}
    found["of it processor time"] = ticks["TaskDuration"]
    found["rows in the list"] = page.evaluate("document.querySelectorAll('#list li').length")
    click = "document.querySelector('[data-preset={}]').click()"
    timed("filter", "document.querySelector('[data-preset=fell][aria-pressed=true]')", click.format("fell"))
    timed("judges disagree", "document.querySelector('[data-preset=apart][aria-pressed=true]')", click.format("apart"))
    page.evaluate(click.format("all"))
    page.wait_for(SHOWN)
    before = page.evaluate(SHOWN)
    timed("next sample", f"{SHOWN} !== {before!r}", "document.getElementById('next').click()")
    typed = "(s => { s.value = 'no such words anywhere'; s.dispatchEvent(new Event('input', {bubbles: true})); })"
    count = "document.getElementById('count').textContent"
    ended = f"{count}.startsWith('no sample') && !{count}.includes('so far')"
    timed("search all texts", ended, f"{typed}(document.getElementById('search'))")
    found["memory MB"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    assert page.console == page.exceptions == []
    page.close()
    return found


def main() -> int:
    """Prints a line a file."""
    executable = find_chromium()
    if executable is None:
        print("a Chromium must be installed (found none). On Debian: apt-get install chromium.", file=sys.stderr)
        return 2
    given = sys.argv[1:] or ["5000", "20000"]
    with tempfile.TemporaryDirectory() as folder, Chromium(executable) as browser:
        for n, name in enumerate(given):
            path = large_report(int(name), Path(folder) / str(n)) if name.isdecimal() else Path(name).resolve()
            tries = [measure(browser, path) for _ in range(3)]
            best = {key: min(one[key] for one in tries) for key in tries[0]}
            print(f"{name:>8}  " + "  ".join(f"{key} {value:.2f}" for key, value in best.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
