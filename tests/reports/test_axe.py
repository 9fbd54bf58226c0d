"""Accessibility as axe-core sees it: no violation of WCAG 2.2 A and AA that it calls serious or critical.

axe-core (MPL 2.0) is no part of the project: `.ci/run` fetches it with npm into .cache, which git ignores.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_run import fake_calibrations, fake_run

from harness.cli import review
from harness.deciding.sides import Side
from harness.store import Home, Store
from harness.store.calibrations import write_calibration
from reports.comparing import write_comparison
from reports.render import write_report

AXE = Path(__file__).parents[2] / ".cache" / "axe-core" / "package" / "axe.min.js"
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RUN = f"""
axe.run(document, {{runOnly: {json.dumps(TAGS)}, preload: false, resultTypes: ['violations']}}).then(found =>
  found.violations.map(v => [v.impact, v.id, v.help, v.nodes.slice(0, 4).map(n => n.html.slice(0, 160) + ' ' +
    (n.any.concat(n.all, n.none).map(c => c.message).join(' ').slice(0, 200)))]))
"""


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, or a skip that says what was not tested."""
    if not AXE.is_file():
        pytest.skip(
            "NOT TESTED: accessibility by axe-core, which is not here. .ci/run fetches it where npm is installed."
        )
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report on a run of 24 samples with an older one as its history, a comparison and a review sheet."""
    folder = tmp_path_factory.mktemp("axe")
    home, fake = Home(folder), fake_run(24)
    for card in fake_calibrations(fake.run):
        write_calibration(home, card)
    with Store.open(home) as store:
        fake_run(12, run_id="20260101-0000-older0").write(store)
        fake.write(store)
        report = write_report(store, [fake.run.id, "20260101-0000-older0"], folder / "report.html")
        sides = [Side(run=fake.run, candidate=name) for name in ("few_shot", "base")]
        comparison = write_comparison(store, *sides, folder / "compare.html")
    review.export(
        fake.run.id, folder / "sheet.html", home=home.path, criteria="Is it right?", metric=None, scale=None, limit=2,
        candidate=None, show_reference=True, show_context=True, seed=0,
    )  # fmt: skip
    return {"report": report, "comparison": comparison, "sheet": folder / "sheet.html"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("report", {"dark": True}), ("comparison", {"width": 390, "height": 844}), ("sheet", {"width": 390})],
    ids=["report-dark", "comparison-phone", "sheet-phone"],
)
def test_no_serious_violation(axe, pages, browser, name, options):
    """Neither by structure nor by contrast, in light and dark, at desktop and phone width, with a sample open."""
    page = browser.page(pages[name].as_uri(), **options)
    page.wait_for("document.documentElement.classList.contains('ready')")
    page.evaluate(axe)
    found = page.evaluate(RUN)
    page.close()
    assert [one for one in found if one[0] in ("serious", "critical")] == []
