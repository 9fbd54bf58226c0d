"""The journal: appended rows survive, torn ones do not."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.store import Spool
from tests.harness.store.any_records import MAPPINGS

BATCHES = st.lists(st.lists(MAPPINGS, max_size=3), max_size=4)


@settings(max_examples=50, deadline=None)
@given(batches=BATCHES)
def test_rows_come_back_equal_and_in_order(tmp_path_factory, batches):
    """Every batch appended, also by another object, is read back equal, half surrogate pairs included."""
    path = tmp_path_factory.mktemp("spool") / "a.jsonl"
    for batch in batches:
        Spool(path).append(batch)
    assert Spool(path).rows() == [row for batch in batches for row in batch]


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(MAPPINGS, min_size=1, max_size=4), data=st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path_factory, rows, data):
    """Cut at any byte, the rows before stay, the torn one is gone, and the next append starts a line of its own."""
    path = tmp_path_factory.mktemp("spool") / "a.jsonl"
    Spool(path).append(rows)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = rows[: whole[:cut].count(b"\n")]
    assert Spool(path).rows() == kept
    spool = Spool(path)
    spool.append([{"next": 1}])
    spool.append([{"next": 2}])
    assert spool.rows() == [*kept, {"next": 1}, {"next": 2}]


def test_no_file_is_no_rows_and_removing_is_repeatable(tmp_path):
    """Reading and removing a journal that does not exist is fine."""
    spool = Spool(tmp_path / "a.jsonl")
    assert spool.rows() == []
    spool.append([])
    assert not spool.path.exists()
    spool.append([{"a": 1}])
    spool.remove()
    spool.remove()
    assert spool.rows() == []


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    """NaN and foreign objects are defects of the caller; the batch is not half written."""
    spool = Spool(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="Out of range float"):
        spool.append([{"a": 1}, {"a": float("nan")}])
    with pytest.raises(TypeError):
        spool.append([{"a": object()}])
    assert spool.rows() == []


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    """No kill tears a line in the middle: that is damage, and said so with its line."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\x00\x00\x00\n{"a": 2}\n')
    with pytest.raises(StoreError, match=r"a\.jsonl:2: is damaged"):
        Spool(path).rows()


APPEND_FOREVER = """
    import sys
    from pathlib import Path
    from harness.store import Spool
    spool, number = Spool(Path(sys.argv[1])), len(Spool(Path(sys.argv[1])).rows())
    print("go", flush=True)
    while True:
        spool.append([{"n": number + i, "text": "x" * 5000} for i in range(3)])
        number += 3
        print(number, flush=True)
"""


def test_killed_writers_leave_an_unbroken_journal(tmp_path):
    """Four writers in turn, each killed with `kill -9`, leave rows 0, 1, 2, … without a gap, and all acknowledged ones."""
    path, acknowledged = tmp_path / "a.jsonl", 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(APPEND_FOREVER), str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            for _ in range(20):
                writer.stdout.readline()
            writer.kill()
            printed = [line for line in writer.stdout.read().split("\n")[:-1] if line]
        acknowledged = max([acknowledged, *map(int, printed)])
        numbers = [row["n"] for row in Spool(path).rows()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= acknowledged
