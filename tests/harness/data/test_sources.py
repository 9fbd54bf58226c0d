"""Reading files: what comes in unchanged, and the one line each mistake gets."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.sources import MAX_CELL, read_rows, table_rows
from harness.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def write(folder, name, content):
    """Writes a file and returns its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[\n {"q": "a"},\n {"q": "b"}\n]\n', "a.jsonl:1: must be one object a line (got a list). Name the file .json"),
        ('\n [{"q": "a"}, {"q": "b"}]', "a.jsonl:2: must be one object a line (got a list). Name the file .json"),
        ('{\n "q": "a"\n}\n{\n "q": "b"\n}\n', "a.jsonl:1: must be one object a line (got one over several lines)"),
    ],
)
def test_json_that_is_not_by_lines_is_one_mistake(tmp_path, content, said):
    """A list, or objects set out over several lines, under the name .jsonl: one line, not one for each line of the file."""
    text = mistake(write(tmp_path, "a.jsonl", content))
    assert said in text
    assert len(text.splitlines()) == 1


def mistake(path, **options):
    """The text of the DataError that reading raises."""
    with pytest.raises(DataError) as raised:
        read_rows(path, **options)
    return str(raised.value)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), min_size=1, max_size=5), ascii=st.booleans()
)
def test_json_and_jsonl_come_back_as_written(tmp_path_factory, rows, ascii):
    """Whatever JSON can hold is read back equal from .jsonl and .json, also with U+2028 and other odd line ends inside."""
    folder = tmp_path_factory.mktemp("data")
    lines = "\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows)
    assert [row.values for row in read_rows(write(folder, "a.jsonl", lines)).rows] == rows
    whole = json.dumps(rows, ensure_ascii=ascii, indent=1)
    assert [row.values for row in read_rows(write(folder, "a.json", whole)).rows] == rows


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=5))
def test_csv_cells_are_the_text_they_are(tmp_path_factory, rows):
    """A CSV written by the standard library is read back cell by cell, and `007` stays text."""
    out = io.StringIO()
    csv.writer(out).writerows([["a", "b"], ["007", "1e5"], *rows])
    path = write(tmp_path_factory.mktemp("data"), "a.csv", out.getvalue())
    assert [[*row.values.values()] for row in read_rows(path).rows] == [["007", "1e5"], *rows]


def test_rows_know_the_line_on_which_they_start(tmp_path):
    """Row numbers of .jsonl and .csv are lines of the file: blank lines and cells of several lines count."""
    jsonl = read_rows(write(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": 2}\r\n'))
    assert [(row.number, row.values["a"]) for row in jsonl.rows] == [(1, 1), (3, 2)]
    table = read_rows(write(tmp_path, "a.csv", 'a,b\r\n"one\r\ntwo",x\r\n\r\nthree,y\r\n'))
    assert [row.number for row in table.rows] == [2, 5]
    listed = read_rows(write(tmp_path, "a.json", '[\n{"a": 1},\n\n{"a": 2}]'))
    assert [(row.number, row.line) for row in listed.rows] == [(1, 2), (2, 4)]
    assert re.search(r"a\.json:4\Z", listed.place(listed.rows[1]))


def test_limit_keeps_the_first_rows_and_reads_no_further(tmp_path):
    """`limit` takes rows from the start; what follows may even be broken."""
    assert len(read_rows(write(tmp_path, "a.jsonl", '{"a": 1}\n{"a": 2}\n{broken'), limit=2).rows) == 2
    assert len(read_rows(write(tmp_path, "a.json", '[{"a": 1}, {"a": 2}, {"a": 3}]'), limit=2).rows) == 2
    assert len(read_rows(write(tmp_path, "a.csv", "a\n1\n2\n3\n"), limit=2).rows) == 2
    pq.write_table(pa.table({"a": list(range(10))}), tmp_path / "a.parquet")
    assert [row.values["a"] for row in read_rows(tmp_path / "a.parquet", limit=2).rows] == [0, 1]


def test_a_utf8_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    """Files saved by a spreadsheet as UTF-8 with a mark are read as if they had none."""
    assert read_rows(write(tmp_path, "a.csv", b"\xef\xbb\xbfPatient,Doctor\nhi,ho\n")).columns == ("Patient", "Doctor")
    assert read_rows(write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"a": 1}')).columns == ("a",)


def test_parquet_values_become_what_json_can_hold(tmp_path):
    """Dates become ISO text, NaN a missing value, structures stay; columns of bytes are left out."""
    table = pa.table({
        "text": ["a", None], "number": [float("nan"), 1.5], "day": [datetime.date(2024, 2, 29)] * 2,
        "turns": [[{"role": "user", "content": "hi"}], []], "image": [{"bytes": b"\x00"}] * 2,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet")
    assert rows.columns == ("text", "number", "day", "turns")
    assert rows.rows[0].values == {
        "text": "a", "number": None, "day": "2024-02-29", "turns": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    assert rows.place(rows.rows[1]).endswith("a.parquet: row 2")


BAD = {
    "not_json.jsonl": ('{"a": 1}\n{"a": 1,}\n', r"\.jsonl:2:\d+: is not JSON"),
    "no_object.jsonl": ('{"a": 1}\n[1]\n', r"\.jsonl:2: must be an object .*got a list"),
    "twice.jsonl": ('{"a": 1, "a": 2}\n', r"\.jsonl:1: column 'a' stands twice"),
    "nan.jsonl": ('{"a": 1}\n{"a": NaN}\n', r"\.jsonl:2: must hold finite numbers only \(got NaN\)"),
    "infinite.jsonl": ('{"a": 1e999}\n', r"\.jsonl:1: column 'a' must be a finite number"),
    "digits.jsonl": ('{"a": ' + "9" * 5000 + "}\n", r"\.jsonl:1: holds a number with too many digits"),
    "deep.jsonl": ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", r"\.jsonl:1: is nested too deeply"),
    "nul.jsonl": ('{"a": "x"}\n{"a": ["\\u0000"]}\n', r"\.jsonl:2: column 'a' holds a NUL"),
    "surrogate.jsonl": ('{"a": "\\ud800"}\n', r"\.jsonl:1: column 'a' holds half of a surrogate pair"),
    "giant.jsonl": (json.dumps({"a": "x" * (MAX_CELL + 1)}), r"\.jsonl:1: column 'a' must hold at most 1,000,000 char"),
    "latin.jsonl": (b'{"a": "x"}\n{"a": "caf\xe9"}\n', r"\.jsonl:2: must be UTF-8 \(got byte 0xe9 at column 11\)"),
    "utf16.csv": ("a,b\n1,2\n".encode("utf-16"), r"\.csv:1: must be UTF-8 \(got a UTF-16"),
    "empty.jsonl": ("", r"\.jsonl: holds no rows"),
    "blank.jsonl": ("\n \n", r"\.jsonl: holds no rows"),
    "empty.json": (" ", r"\.json: holds no rows"),
    "list.json": ("[]", r"\.json: holds no rows"),
    "one_object.json": ('{"a": 1}\n{"a": 2}', r"\.json:1: must be a list of objects\. Name the file \.jsonl"),
    "torn.json": ('[{"a": 1},\n{"a": ', r"\.json:2:\d+: is not JSON"),
    "open.json": ('[{"a": 1}\n', r"\.json:2: is not JSON: the list of rows must end"),
    "more.json": ('[{"a": 1}] x', r"\.json:1: is not JSON: the list of rows must end"),
    "comma.json": ('[{"a": 1},]', r"\.json:1:\d+: is not JSON"),
    "numbers.json": ("[1]", r"\.json:1: must be an object .*got the number 1"),
    "ragged.csv": ("a,b\n1,2\n1,2,3\n", r"\.csv:3: must have 2 cells, like the header \(got 3\)"),
    "quote.csv": ('a,b\n"x"y,2\n', r"\.csv:2: is not CSV"),
    "unclosed.csv": ('a,b\n"x,2\n', r"\.csv:2: is not CSV"),
    "twice.csv": ("a,b,a\n1,2,3\n", r"\.csv:1: column 'a' stands twice"),
    "nameless.csv": ("a,,b\n1,2,3\n", r"\.csv:1: column 2 has no name"),
    "semicolons.csv": ("a;b\n1;2\n", r"\.csv:1: cells must be separated by commas \(got semicolons\)"),
    "giant.csv": ("a,b\n" + "x" * (MAX_CELL + 2) + ",2\n", r"\.csv:2: .*1,000,000 characters"),
    "nul.csv": ("a,b\nx,\x00\n", r"\.csv:2: column 'b' holds a NUL"),
    "header.csv": ("a,b\n", r"\.csv: holds no rows"),
    "empty.csv": ("", r"\.csv: holds no rows"),
    "text.parquet": ("hello", r"\.parquet: is not a Parquet file"),
    "data.txt": ("hello", r"data\.txt: a data file must be one of \.jsonl, \.json, \.csv, \.parquet \(got '\.txt'\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_line_that_names_the_place(tmp_path, name):
    """Each broken file is refused with `file:line: what`, and neither a traceback nor a second line."""
    content, expected = BAD[name]
    text = mistake(write(tmp_path, name, content))
    assert re.search(expected, text), text
    assert "\n" not in text


def test_all_mistakes_of_a_file_come_together(tmp_path):
    """Every bad line is named, up to ten; the rest is counted."""
    text = mistake(write(tmp_path, "a.jsonl", '{"a": 1}\n' + "nonsense\n" * 25))
    lines = text.splitlines()
    assert [re.search(r":(\d+):", line)[1] for line in lines[:10]] == [str(n) for n in range(2, 12)]
    assert lines[10:] == ["and 15 more mistakes"]


def test_a_missing_file_is_answered_with_the_nearest_name(tmp_path):
    """A misspelt file name gets a suggestion from the same folder; a folder and an address are told apart."""
    write(tmp_path, "dialogues.jsonl", "{}")
    assert "did you mean 'dialogues.jsonl'?" in mistake(tmp_path / "dialogs.jsonl")
    (tmp_path / "folder.csv").mkdir()
    assert "must be a file (got a folder)" in mistake(tmp_path / "folder.csv")
    assert "no such file" in mistake(tmp_path / "nowhere" / "a.csv")


def test_csv_restores_the_global_field_limit(tmp_path):
    """The standard library's limit on cells is as before, also after a failure."""
    before = csv.field_size_limit()
    mistake(write(tmp_path, "a.csv", 'a\n"x"y\n'))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("dialogue.jsonl", "dialogues.jsonl"), ("Dialogues.JSONL", "dialogues.jsonl"), ("rows.csv", "rows.parquet"),
        ("train.jsonl", None), ("answers.jsonl", None), ("zzz.jsonl", None),
    ],
)  # fmt: skip
def test_only_a_near_file_is_meant(tmp_path, asked, meant):
    """A name nearly the same, or the same in another format; never an unrelated one that ends alike."""
    for name in ("dialogues.jsonl", "rows.parquet", "suite.yaml"):
        write(tmp_path, name, "x")
    found = mistake(tmp_path / asked)
    assert ("no such file (did you mean" in found) == (meant is not None)
    assert meant is None or f"did you mean '{meant}'" in found


def test_table_rows_count_from_one():
    """Rows without lines are numbered from 1."""
    assert [row.number for row in table_rows([{"a": 1}, {"a": 2}])] == [1, 2]


def test_reading_text_files_needs_no_heavy_library():
    """`harness.data` imports neither numpy, pyarrow, duckdb, sklearn, datasets nor torch, so that `muster check` stays quick."""
    heavy = {"numpy", "pyarrow", "duckdb", "sklearn", "datasets", "torch", "scipy"}
    code = f"import sys, harness.data; print([m for m in sys.modules if m in {heavy}])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
