"""docs/store.md is what the store is: every view with its columns, in order, and every question answered."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from harness.cli import build_app
from harness.store import Home, Store, write_bundle
from tests.harness.store.any_records import make_parts, make_run, make_verdict

DOCUMENT = (Path(__file__).parents[3] / "docs" / "store.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^[A-Z][^;]*;", re.search(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)[1], re.MULTILINE)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """DuckDB itself on a store with a run and a verdict, as a person without muster opens it."""
    home = Home(tmp_path_factory.mktemp("home") / ".muster")
    with Store.open(home) as store:
        store.write_run(make_run(), **make_parts())
        store.write_verdicts("r1", [make_verdict(outcome="fail")])
    with duckdb.connect(str(home.store), read_only=True) as connection:
        yield connection


def documented():
    """By view, the columns in the order of the document."""
    views = {}
    for name, text in re.findall(r"^### (\w+)\n(.*?)(?=^##)", DOCUMENT, re.MULTILINE | re.DOTALL):
        rows = re.findall(r"^\| ([\w, ]+) \|", text, re.MULTILINE)
        views[name] = [column for row in rows[1:] for column in row.split(", ")]
    return views


def test_every_view_stands_in_the_document_with_its_columns(people):
    """None is missing, none too many, and the order is the store's."""
    views = [name for (name,) in people.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
    assert documented() == {view: people.sql(f"FROM {view}").columns for view in views}


def test_every_table_stands_in_the_document(people):
    """By its name."""
    for (name,) in people.sql("SELECT table_name FROM duckdb_tables() WHERE table_name <> 'meta'").fetchall():
        assert f"`{name}`" in DOCUMENT


def test_the_leaderboard_is_one_word_away(people):
    """`from leaderboard` gives the means of scored judgements, and says how many have none."""
    assert people.sql("from leaderboard").fetchall()[0] == (
        "r1",
        "base",
        "test",
        "correctness",
        3,
        0,
        pytest.approx(1 / 3),
        None,
    )
    assert people.sql("from leaderboard").fetchall()[1] == (
        "r1",
        "lora",
        "test",
        "correctness",
        2,
        1,
        pytest.approx(1 / 6),
        None,
    )


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_the_questions_of_the_document_are_answered(people, question):
    """All four have rows here, but for the last: no answer got worse."""
    assert len(QUESTIONS) == 4
    assert bool(people.sql(question).fetchall()) == (question != QUESTIONS[-1])


COMMANDS = re.findall(r"^    (muster .*?)(?:  .*)?$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_document_work(tmp_path, monkeypatch, command):
    """Each as it stands there, on a home with a run; none finds anything to mend."""
    assert len(COMMANDS) == 4
    write_bundle(Home(tmp_path / ".muster"), make_run(), **make_parts())
    with Store.open(Home(tmp_path / ".muster")) as store:
        store.write_run(make_run(), **make_parts())
    monkeypatch.chdir(tmp_path)
    words = ["latest" if word == "RUN" else "out" if word == "DIR" else word for word in command.split()[1:]]
    assert CliRunner().invoke(build_app(), words).exit_code == 0
