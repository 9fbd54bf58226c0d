"""Reads data files into rows: .jsonl, .json, .csv and .parquet.

Guarantees that every text is UTF-8 without NUL or lone surrogates, that every number is finite, that no column stands
twice, and that each row knows its place in the file. All mistakes of a file are reported together, one line each. A CSV
cell stays the text it is: nothing is guessed to be a number. Knows nothing of suites: which column means what is
`harness.data.samples`.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from harness.errors import DataError
from harness.suite.paths import nearest_file

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
MAX_CELL = 1_000_000
"""Characters one cell may hold."""
SHOWN_MISTAKES = 10
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One row. `number` counts from 1; in .jsonl and .csv it is the line on which the row starts, so that an editor
    finds it.
    """

    number: int
    line: int | None
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one file, in its order, and every column that any of them has."""

    name: str
    """The file as a person would write it."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def place(self, row: Row) -> str:
        """`file:line`, or `file: row N` for a format without lines."""
        return f"{self.name}:{row.line}" if row.line is not None else f"{self.name}: row {row.number}"


class Mistakes:
    """Gathers mistakes and raises them together: the first ten, then how many more there are."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Notes one mistake."""
        self._lines.append(line)

    def raise_any(self) -> None:
        """Raises DataError where there are mistakes."""
        if self._lines:
            more = len(self._lines) - SHOWN_MISTAKES
            rest = [f"and {more:,} more mistakes"] if more > 0 else []
            raise DataError("\n".join(self._lines[:SHOWN_MISTAKES] + rest))

    def stop(self, line: str) -> NoReturn:
        """Raises DataError with everything so far and one mistake after which reading on makes no sense."""
        self.add(line)
        self.raise_any()
        raise AssertionError("unreachable")


def read_rows(path: Path, *, limit: int | None = None) -> Rows:
    """The rows of a file, or its first `limit`. Raises DataError with one line a mistake."""
    name = shown(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{name}: a data file must be one of {', '.join(SUFFIXES)} (got '{path.suffix or path.name}').")
    _require_file(path, name)
    mistakes = Mistakes()
    if suffix == ".parquet":
        columns, rows = _read_parquet(path, name, limit)
    else:
        text = _read_text(path, name)
        if suffix == ".csv":
            columns, rows = _read_csv(text, name, limit, mistakes)
        else:
            found = _jsonl_values(text, name, mistakes) if suffix == ".jsonl" else _json_values(text, name, mistakes)
            columns, rows = _objects(found, name, limit, mistakes)
    result = checked_rows(name, columns, rows, mistakes)
    mistakes.raise_any()
    return result


def checked_rows(name: str, columns: Iterable[str], rows: Iterable[Row], mistakes: Mistakes) -> Rows:
    """Rows whose values have been looked at one by one. Mistakes are noted; no row at all raises DataError."""
    result = Rows(name=name, columns=tuple(columns), rows=tuple(rows))
    for row in result.rows:
        for column, value in row.values.items():
            if found := fault(value):
                mistakes.add(f"{result.place(row)}: column '{column}' {found}")
    if not result.rows:
        mistakes.raise_any()
        mistakes.stop(f"{name}: holds no rows.")
    return result


def shown(path: Path) -> str:
    """A path as a person would write it: relative to the current folder where it lies below."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return str(path) if relative.startswith("..") else relative


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------------------------- files


def _require_file(path: Path, name: str) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"{name}: must be a file (got a folder).")
    if name.startswith(("http:", "https:")):
        raise DataError(f"{name}: must be a file on this machine (got an address). Download it, or use data.hub.")
    close = nearest_file(path)
    hint = f" (did you mean '{close}'?)" if close else ""
    raise DataError(f"{name}: no such file{hint}")


def _read_text(path: Path, name: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error}).") from None
    if data.startswith(UTF16_MARKS):
        raise DataError(f"{name}:1: must be UTF-8 (got a UTF-16 byte order mark). Save the file as UTF-8.")
    data = data.removeprefix(UTF8_MARK)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        got = f"byte 0x{data[error.start]:02x} at column {column}"
        raise DataError(f"{name}:{line}: must be UTF-8 (got {got}). Save the file as UTF-8.") from None


# ---------------------------------------------------------------------------------------------------------------- JSON


def _jsonl_values(text: str, name: str, mistakes: Mistakes) -> Iterator[tuple[int, int, Any]]:
    """(row number, line, value) of each line that holds JSON; blank lines count, but hold no row."""
    start = _skip_space(text, 0)
    first, top = text[start : start + 80].partition("\n")[0].strip(), text.count("\n", 0, start) + 1
    if first.startswith("["):
        mistakes.stop(f"{name}:{top}: must be one object a line (got a list). Name the file .json if it is one list.")
    if first == "{":
        mistakes.stop(f"{name}:{top}: must be one object a line (got one over several lines). Write it on one line.")
    # Not splitlines(): U+2028 and its like are allowed inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, number, _DECODER.decode(line)
        except json.JSONDecodeError as error:
            mistakes.add(f"{name}:{number}:{error.colno}: is not JSON: {error.msg}")
        except (ValueError, RecursionError) as error:
            mistakes.add(f"{name}:{number}: {_json_fault(error)}")


def _json_values(text: str, name: str, mistakes: Mistakes) -> Iterator[tuple[int, int, Any]]:
    """(row number, line, value) of each element of the file's one list, decoded one by one to know their lines."""
    start = _skip_space(text, 0)
    if start == len(text):
        return
    if text[start] != "[":
        hint = " Name the file .jsonl if it has one object a line." if text[start] == "{" else ""
        mistakes.stop(f"{name}:1: must be a list of objects.{hint}")
    at, line, counted, number = start + 1, 1, 0, 0
    while (at := _skip_space(text, at)) < len(text):
        if text[at] == "]" and number == 0:
            break
        line, counted = line + text.count("\n", counted, at), at
        number += 1
        try:
            value, at = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            mistakes.stop(f"{name}:{error.lineno}:{error.colno}: is not JSON: {error.msg}")
        except (ValueError, RecursionError) as error:
            mistakes.stop(f"{name}:{line}: {_json_fault(error)}")
        yield number, line, value
        at = _skip_space(text, at)
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[at : at + 1] != "]" or _skip_space(text, at + 1) != len(text):
        line = text.count("\n", 0, at) + 1
        mistakes.stop(f"{name}:{line}: is not JSON: the list of rows must end with one ']' and nothing after it")


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _objects(
    found: Iterable[tuple[int, int, Any]], name: str, limit: int | None, mistakes: Mistakes
) -> tuple[list[str], list[Row]]:
    columns: dict[str, None] = {}
    rows: list[Row] = []
    for number, line, value in found:
        if isinstance(value, dict):
            columns.update(dict.fromkeys(value))
            rows.append(Row(number, line, value))
        else:
            mistakes.add(f"{name}:{line}: must be an object with the columns as keys (got {describe(value)}).")
        if limit is not None and len(rows) >= limit:
            break
    return list(columns), rows


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"column '{twice}' stands twice")
    return row


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"must hold finite numbers only (got {text}). Write null where there is no value")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)


def _json_fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    text = str(error)
    return "holds a number with too many digits" if "integer string conversion" in text else text


# ----------------------------------------------------------------------------------------------------------------- CSV


def _read_csv(text: str, name: str, limit: int | None, mistakes: Mistakes) -> tuple[list[str], list[Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    before = csv.field_size_limit(MAX_CELL + 1)  # the module's own limit is global: put back below
    try:
        return _csv_rows(reader, name, limit, mistakes)
    except csv.Error as error:
        reason = f"a cell holds more than {MAX_CELL:,} characters" if "field limit" in str(error) else str(error)
        mistakes.stop(f"{name}:{reader.line_num}: is not CSV: {reason}")
    finally:
        csv.field_size_limit(before)


def _csv_rows(reader: Any, name: str, limit: int | None, mistakes: Mistakes) -> tuple[list[str], list[Row]]:
    header: list[str] = next((cells for cells in reader if cells), [])
    _check_header(header, f"{name}:{max(reader.line_num, 1)}", mistakes)
    rows: list[Row] = []
    line = reader.line_num + 1
    for cells in reader:
        if cells:
            if len(cells) != len(header):
                mistakes.add(f"{name}:{line}: must have {len(header)} cells, like the header (got {len(cells)}).")
            rows.append(Row(line, line, dict(zip(header, cells, strict=False))))
        line = reader.line_num + 1
        if limit is not None and len(rows) >= limit:
            break
    return header, rows


def _check_header(header: list[str], place: str, mistakes: Mistakes) -> None:
    for number, column in enumerate(header, start=1):
        if not column.strip():
            mistakes.stop(f"{place}: column {number} has no name.")
        if header.index(column) < number - 1:
            mistakes.stop(f"{place}: column '{column}' stands twice.")
    if len(header) == 1:
        for mark, word in ((";", "semicolons"), ("\t", "tabs")):
            if mark in header[0]:
                mistakes.stop(f"{place}: cells must be separated by commas (got {word}). Save it with commas.")


# ------------------------------------------------------------------------------------------------------------- Parquet


def _read_parquet(path: Path, name: str, limit: int | None) -> tuple[list[str], list[Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = text_columns(file.schema_arrow, name)
            values: list[dict[str, Any]] = []
            for batch in file.iter_batches(columns=columns):
                values += batch.to_pylist()
                if limit is not None and len(values) >= limit:
                    break
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name}: is not a Parquet file ({str(error).splitlines()[0]}).") from None
    return columns, table_rows(values[:limit])


def text_columns(schema: Any, name: str) -> list[str]:
    """The columns of an Arrow schema that can be shown as text: binary ones, such as images, are left out."""
    import pyarrow as pa

    twice = sorted({column for column in schema.names if schema.names.count(column) > 1})
    if twice:
        raise DataError(f"{name}: column '{twice[0]}' stands twice.")
    return [field.name for field in schema if not _holds_bytes(field.type, pa.types)]


def _holds_bytes(kind: Any, types: Any) -> bool:
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(i).type, types) for i in range(kind.num_fields))


def table_rows(values: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows of a table without lines, their values turned into what JSON can hold: dates as ISO text, NaN as missing."""
    return [
        Row(number, None, {column: _plain(value) for column, value in row.items()})
        for number, row in enumerate(values, start=1)
    ]


def _plain(value: Any) -> Any:
    match value:
        case float() if math.isnan(value):
            return None  # a table's way of saying that there is no value
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta() | decimal.Decimal():
            return str(value)
        case dict():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value


# -------------------------------------------------------------------------------------------------------------- values


def describe(value: Any) -> str:
    """What a value is, for an error: `text 'abc'`, `the number 42`, `a list`, `nothing`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the truth value {json.dumps(value)}"
        case int() | float():
            return f"the number {value}" if abs(value) < 1e15 else "a number"
        case str():
            return f"text {value[:40]!r}{'…' if len(value) > 40 else ''}"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def fault(value: Any) -> str | None:
    """What is wrong with a cell wherever it is used, or None."""
    match value:
        case str():
            if len(value) > MAX_CELL:
                return f"must hold at most {MAX_CELL:,} characters (got {len(value):,})."
            if "\x00" in value:
                return "holds a NUL character."
            half = not value.isascii() and _has_surrogate(value)
            return "holds half of a surrogate pair, which is no text." if half else None
        case float() if not math.isfinite(value):
            return f"must be a finite number (got {value})."
        case dict():
            return next((found for item in value.items() for part in item if (found := fault(part))), None)
        case list():
            return next((found for part in value if (found := fault(part))), None)
        case _:
            return None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
