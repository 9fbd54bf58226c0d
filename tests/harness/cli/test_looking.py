"""`muster runs`, `show`, `export` and `store`: what a user sees of the store."""

from __future__ import annotations

from dataclasses import replace

import pytest
import typer

from harness.cli.export import export
from harness.cli.runs import runs
from harness.cli.show import show
from harness.cli.store import doctor, rebuild
from harness.deciding.surfaces.text import printable
from harness.errors import StoreError, UserError
from harness.records import Completion
from harness.store import Home, Store, write_bundle
from tests.harness.store.any_records import make_parts, make_run, make_verdict


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder of a home with one run, whose last answer failed, and whose first one would drive a terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    parts = make_parts(3)
    evil = Completion(text="\x1b[31mred\x07\u202e [bold]not markup[/bold] \ud800")
    parts["answers"][0] = replace(parts["answers"][0], completion=evil)
    path = tmp_path / ".muster"
    write_bundle(Home(path), make_run("clinic-1a2b"), **parts)
    with Store.open(Home(path)) as store:
        store.write_run(make_run("clinic-1a2b"), **parts)
        store.write_verdicts("clinic-1a2b", [make_verdict("clinic-1a2b")])
    return path


def test_runs_lists_runs_with_their_verdicts(place, capsys, monkeypatch):
    """A row a run: id (in one piece, however narrow the terminal), suite, time, status, candidates and verdicts."""
    runs(home=place)
    out = capsys.readouterr().out
    assert all(
        word in out
        for word in ("clinic-1a2b", "clinic v1", "2026-03-14 09:15:00", "complete", "base, lora", "lora pass")
    )
    monkeypatch.setenv("COLUMNS", "60")
    runs(home=place)
    assert any(line.startswith("clinic-1a2b ") for line in capsys.readouterr().out.splitlines())
    runs(suite="other", home=place)
    assert capsys.readouterr().out == "no runs of other\n"


def test_show_tells_everything_about_a_run(place, capsys):
    """Facts, means with n and unscored, trainings, verdicts with their findings, and samples to look at next."""
    show("latest", home=place)
    out = capsys.readouterr().out
    assert all(
        word in out
        for word in ("clinic version 1", "correctness better_by 0.05", "adapters/t", "100 of 10,000", "question 2")
    )
    assert any(line.split() == ["test", "toxicity", "lora", "0.1667", "2", "1"] for line in out.splitlines())
    assert f"next: muster show clinic-1a2b s0 --home {place}" in out


def test_show_tells_everything_about_a_sample(place, capsys):
    """Prompt, every candidate's answer or failure, every judgement with its evidence."""
    show("clinic", "s2", home=place)
    out = capsys.readouterr().out
    for word in (
        "question 2",
        "answer 2",
        "base says 2",
        "timeout: no answer in 60 s",
        "0.6667",
        "n: 2",
        "no_answer: there is no",
    ):
        assert word in out
    assert "prompt, user" in out


def test_no_answer_drives_the_terminal(place, capsys):
    """Escape sequences, bells, direction overrides, half surrogate pairs and rich's own markup are shown, not obeyed."""
    show("clinic", "s0", home=place)
    out = capsys.readouterr().out
    assert "\\x1b[31mred\\x07\\u202e [bold]not markup[/bold] \\ud800" in out
    assert printable("a\tb\nc é 👍🏽 \u200d") == "a\tb\nc é 👍🏽 \u200d"


def test_an_unknown_sample_is_answered_with_the_nearest(place):
    """A sample id that is not there, or not one, is one line."""
    with pytest.raises(UserError, match=r"'sample' must name one sample .*with which 3 begin"):
        show("latest", "s", home=place)
    with pytest.raises(UserError, match=r"must be in the run .*did you mean 's2'"):
        show("latest", "ss2", home=place)


def test_export_names_its_files(place, tmp_path, capsys):
    """A line a table, with its rows."""
    export("latest", to=tmp_path / "out", home=place)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["12", "judgements", str(tmp_path / "out" / "judgements.parquet")] in lines


def test_doctor_and_rebuild_speak_plainly(place, capsys):
    """A sound store is said to be; a broken one gives status 2 and the command that mends it."""
    doctor(home=place)
    assert capsys.readouterr().out.endswith("all is well\n")
    (place / "store.duckdb").write_bytes(b"x" * 20_000)
    with pytest.raises(typer.Exit) as raised:
        doctor(home=place)
    assert raised.value.exit_code == 2
    assert "'muster store rebuild' makes the store anew" in capsys.readouterr().out
    rebuild(home=place)
    out = capsys.readouterr().out
    assert "made anew from 1 run bundle\n" in out
    assert "it lies in" in out
    doctor(home=place)
    with pytest.raises(StoreError, match="there is no store yet"):
        runs(home=place / "nowhere")
    (place / "store.duckdb").unlink()
    with pytest.raises(StoreError, match=r"bundles of runs are there\. Type: muster store rebuild"):
        runs(home=place)
