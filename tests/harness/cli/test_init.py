"""`muster init`: what it writes is a good suite, and it writes over nothing."""

from __future__ import annotations

import json

import pytest

from harness.cli.init import init
from harness.errors import UserError
from harness.suite import load_suite


def test_the_starter_suite_loads_and_its_rows_are_whole(tmp_path, capsys):
    """Forty different rows with all columns, and the next command to type."""
    init(tmp_path / "new" / "suite")
    loaded = load_suite(tmp_path / "new" / "suite" / "suite.yaml")
    rows = [json.loads(line) for line in loaded.data_path.read_text().splitlines()]
    assert len(rows) == 40
    assert len({row["question"] for row in rows}) == 40
    assert all(row.keys() == {"question", "answer", "topic"} and all(row.values()) for row in rows)
    assert "Next: muster check" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["suite.yaml", "questions.jsonl"])
def test_nothing_is_overwritten(tmp_path, name):
    """One file that is there already stops it before anything is written."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="must not be there yet"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    """A file in the way of the folder gives one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        init(tmp_path / "file")
