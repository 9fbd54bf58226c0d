"""Fixtures of the report's tests: a store with a fake run, its page, and a headless browser."""

from __future__ import annotations

import sys
from pathlib import Path

import lxml.html
import pytest

# The fake run and the browser are modules beside this file, used by scripts too; tests are no package.
sys.path.insert(0, str(Path(__file__).parent))

from chromium import Chromium, find_chromium
from fake_run import fake_calibrations, fake_run

from harness.store import Home, Store
from harness.store.calibrations import write_calibration
from reports.render import write_report


@pytest.fixture(scope="session")
def fake():
    """A whole run of 140 samples: more than one page of the sample list."""
    return fake_run(140)


@pytest.fixture(scope="session")
def home(fake, tmp_path_factory):
    """A home whose store holds the fake run."""
    home = Home(tmp_path_factory.mktemp("home"))
    with Store.open(home) as store:
        fake.write(store)
    for card in fake_calibrations(fake.run):
        write_calibration(home, card)
    return home


@pytest.fixture(scope="session")
def page_file(home, tmp_path_factory):
    """The report on the fake run."""
    with Store.open(home, read_only=True) as store:
        return write_report(store, ["latest"], tmp_path_factory.mktemp("out") / "report.html")


@pytest.fixture(scope="session")
def page(page_file):
    """The report, parsed."""
    return lxml.html.fromstring(page_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium, or a skip that says what was not tested."""
    executable = find_chromium()
    if executable is None:
        pytest.skip(
            "NOT TESTED: the report in a browser. No Chromium on this machine; 'apt-get install chromium' has one."
        )
    with Chromium(executable) as chromium:
        yield chromium
