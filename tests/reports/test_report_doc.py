"""The commands of docs/report.md, each typed as it stands there, in its order."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import fake_run
from typer.testing import CliRunner

from harness.cli import build_app
from harness.store import Home, Store

DOCUMENT = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
BLESS = "muster baseline bless OLDER --candidate lora_r16 --name main --why good --by ann --file baselines/main.json"
COMMANDS = re.findall(r"^    (muster .*?)(?:  .*)?$", DOCUMENT, re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two runs, the older one blessed."""
    folder = tmp_path_factory.mktemp("reader")
    older, run = fake_run(12, seed=2, run_id="OLDER"), fake_run(12, run_id="RUN")
    older = replace(older, run=replace(older.run, started="2026-03-01T00:00:00+00:00"))
    with Store.open(Home(folder / ".muster")) as store:
        older.write(store)
        run.write(store)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "muster baseline bless OLDER --candidate lora_r16 --name main --why good --by ann --file baselines/main.json",
        *COMMANDS,
    ],
)
def test_the_commands_of_the_document_work(folder, monkeypatch, command):
    """Each leaves with status 0, and the page it names is there."""
    assert len(COMMANDS) == 6
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(build_app(), command.split()[1:])
    assert result.exit_code == 0, result.output
    for file in re.findall(r"\S+\.html", command):
        assert (folder / file).is_file()


def test_blessed_runs_are_marked(folder, monkeypatch):
    """The diamond of the blessed run stands in each chart of the history."""
    monkeypatch.chdir(folder)
    words = ["report", "--run", "RUN", "--run", "OLDER", "--baseline", "baselines/main.json", "--out", "marked.html"]
    assert CliRunner().invoke(build_app(), words).exit_code == 0
    assert 'class="blessed"' in (folder / "marked.html").read_text(encoding="utf-8")
