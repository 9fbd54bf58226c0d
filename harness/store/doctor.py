"""Looks the store and its bundles over, and makes the store anew from the bundles. `doctor` changes nothing.

The bundles are the record and the store is an index over them: whatever is wrong with the store, `rebuild` mends it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from harness.errors import StoreError, StoreLockedError
from harness.store.bundle import Bundle, bundle_folders, read_bundle, write_tables
from harness.store.home import Home
from harness.store.opening import CONFIG, connect, make_store, open_store, schema_version
from harness.store.rows import COLUMNS
from harness.store.store import Store

REBUILD = "Type: muster store rebuild"
RUN_ROWS_SQL = {name: f"SELECT run_id, count(*) FROM {name} GROUP BY run_id" for name in COLUMNS}
TWICE_SQL = {
    "runs": "SELECT run_id, count(*) FROM runs GROUP BY ALL HAVING count(*) > 1",
    "samples": "SELECT run_id, split, sample_id, count(*) FROM samples GROUP BY ALL HAVING count(*) > 1",
    "answers": "SELECT run_id, candidate, sample_id, count(*) FROM answers GROUP BY ALL HAVING count(*) > 1",
    "judgements": "SELECT run_id, candidate, sample_id, metric, count(*) n FROM judgements GROUP BY ALL HAVING n > 1",
    "probes": "SELECT run_id, candidate, sample_id, key, count(*) n FROM probes GROUP BY ALL HAVING n > 1",
    "repeats": "SELECT run_id, candidate, sample_id, metric, number, count(*) n FROM repeats GROUP BY ALL HAVING n > 1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """Something that is not as it should be, and what to do. A `warning` loses nothing; an `error` has to be mended."""

    severity: Literal["error", "warning"]
    kind: str
    """Snake case, for machines."""
    subject: str
    """The run or file."""
    message: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild did."""

    runs: tuple[str, ...]
    """Runs in the new store, in the order they were written."""
    bundled: tuple[str, ...]
    """Runs that stood in the old store alone; they have a bundle now."""
    kept: Path | None
    """Where the old store lies, if it could not be read."""


def doctor(home: Home) -> list[Ailment]:
    """Everything that is wrong with the store or a bundle: none where all is well. Reads only."""
    bundled, ailments = _bundle_rows(home)
    stored, found = _store_rows(home)
    ailments = found + ailments
    if stored is not None:
        ailments += _differences(home, stored, bundled)
    return ailments


def rebuild(home: Home, *, wait: float = 5.0) -> Rebuilt:
    """Makes the store anew from the run bundles; runs that only the old store has get a bundle first.

    An old store that cannot be read is kept beside the new one. Raises StoreLockedError, or StoreError for a damaged
    bundle, and then leaves everything as it was.
    """
    bundles = [read_bundle(folder) for folder in bundle_folders(home)]
    missing, is_readable = _unbundled(home, {bundle.run_id for bundle in bundles}, wait)
    for run_id, tables in missing.items():
        bundles.append(read_bundle(write_tables(home.run_dir(run_id), run_id, tables)))
    bundles.sort(key=_age)
    home.make()
    draft = home.store.with_name(f".{home.store.name}.rebuild.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    make_store(draft)
    _fill(draft, home, bundles)
    kept = _put_aside(home.store, is_readable=is_readable)
    os.replace(draft, home.store)
    return Rebuilt(runs=tuple(b.run_id for b in bundles), bundled=tuple(missing), kept=kept)


# ------------------------------------------------------------------------------------------------------------ looking

RunRows = dict[str, dict[str, int]]
"""Run to table to number of rows."""


def _bundle_rows(home: Home) -> tuple[RunRows, list[Ailment]]:
    found: RunRows = {}
    ailments = []
    for folder in bundle_folders(home):
        try:
            bundle = read_bundle(folder)
            found[bundle.run_id] = {name: table.num_rows for name, table in bundle.tables.items()}
        except StoreError as error:
            found[folder.name] = {}
            remedy = "Delete the folder if the store still has the run, then type: muster store rebuild"
            ailments.append(_error("bundle_damaged", folder.name, str(error), remedy))
    return found, ailments


def _store_rows(home: Home) -> tuple[RunRows | None, list[Ailment]]:
    """Rows of each run in the store, or None where it cannot be read."""
    if not home.store.exists():
        return {}, []
    try:
        connection = connect(home.store, read_only=True, wait=0.0)
    except StoreLockedError as error:
        return None, [_warning("store_locked", home.store.name, str(error), "Look again when it has ended.")]
    except StoreError as error:
        is_log = "write-ahead log" in str(error)
        return None, [_error("log_damaged" if is_log else "store_damaged", home.store.name, str(error), REBUILD)]
    try:
        schema_version(connection, home.store)
        return _counted(connection), _twice(connection)
    except StoreError as error:
        return None, [_error("store_foreign", home.store.name, str(error), "")]
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        return None, [_error("store_damaged", home.store.name, f"{home.store}: cannot be read ({reason}).", REBUILD)]
    finally:
        connection.close()


def _counted(connection: duckdb.DuckDBPyConnection) -> RunRows:
    rows: RunRows = {}
    for name, sql in RUN_ROWS_SQL.items():
        for run_id, count in connection.execute(sql).fetchall():
            rows.setdefault(run_id, dict.fromkeys(COLUMNS, 0))[name] = count
    return rows


def _twice(connection: duckdb.DuckDBPyConnection) -> list[Ailment]:
    ailments = []
    for name, sql in TWICE_SQL.items():
        found = connection.execute(sql).fetchall()
        if found:
            run_id, *key, count = found[0]
            example = " / ".join(map(str, key)) or run_id
            message = f"{name} holds {len(found):,} rows more than once, such as {example} ({count} times)."
            ailments.append(_error("rows_twice", str(run_id), message, REBUILD))
    return ailments


def _differences(home: Home, stored: RunRows, bundled: RunRows) -> list[Ailment]:
    ailments = []
    for run_id, counts in stored.items():
        if not counts["runs"]:
            ailments.append(
                _error("rows_without_run", run_id, "the store holds rows of a run that it does not list.", REBUILD)
            )
        elif run_id not in bundled:
            ailments.append(_warning("bundle_missing", run_id, "the store holds a run that has no bundle.", REBUILD))
        elif bundled[run_id] and bundled[run_id] != counts:
            names = [name for name in COLUMNS if bundled[run_id][name] != counts[name]]
            parts = ", ".join(f"{name} {counts[name]:,} here, {bundled[run_id][name]:,} there" for name in names)
            ailments.append(_error("rows_differ", run_id, f"store and bundle hold different rows ({parts}).", REBUILD))
    for run_id in bundled:
        if run_id not in stored:
            ailments.append(_warning("run_missing", run_id, "a bundle holds a run that the store lacks.", REBUILD))
    for folder in sorted((home.path / "runs").glob("*/spool")):
        message = "a run was interrupted; what it had finished is kept."
        ailments.append(_warning("run_interrupted", folder.parent.name, message, "The same 'muster run' continues it."))
    return ailments


def _error(kind: str, subject: str, message: str, remedy: str) -> Ailment:
    return Ailment(severity="error", kind=kind, subject=subject, message=message, remedy=remedy)


def _warning(kind: str, subject: str, message: str, remedy: str) -> Ailment:
    return Ailment(severity="warning", kind=kind, subject=subject, message=message, remedy=remedy)


# ---------------------------------------------------------------------------------------------------------- rebuilding


def _unbundled(home: Home, bundled: set[str], wait: float) -> tuple[dict[str, dict[str, Any]], bool]:
    """Arrow tables of the runs that only the old store has, and whether it could be read at all."""
    if not home.store.exists():
        return {}, True
    try:
        connection = open_store(home, read_only=False, wait=wait)  # for writing: no one else may have it open now
    except StoreLockedError:
        raise
    except StoreError as error:
        if re.search("newer muster|no muster store|another DuckDB|already open", str(error)):
            raise  # not damaged: not ours to replace
        return {}, False
    try:
        ids = [run_id for run_id, count in connection.execute(RUN_ROWS_SQL["runs"]).fetchall() if run_id not in bundled]
        found = {run_id: Store(connection, home).tables(run_id) for run_id in ids}
    finally:
        connection.close()
    return found, True


def _age(bundle: Bundle) -> tuple[str, str]:
    runs = bundle.tables["runs"].to_pylist()
    return (str(runs[0]["started"]), str(runs[0]["finished"] or "~")) if runs else ("", "")


def _fill(path: Path, home: Home, bundles: list[Bundle]) -> None:
    connection = duckdb.connect(str(path), config=CONFIG)
    try:
        for bundle in bundles:
            Store(connection, home).replace_run(bundle.run_id, bundle.tables)
    finally:
        connection.close()


def _put_aside(path: Path, *, is_readable: bool) -> Path | None:
    """Takes the old store's log away, so that it is not replayed into the new one; keeps both files where they are
    damaged.
    """
    log = path.with_name(path.name + ".wal")
    if is_readable or not path.exists():
        log.unlink(missing_ok=True)
        return None
    kept = path.with_name(f"{path.stem}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}{path.suffix}")
    if log.exists():
        os.replace(log, kept.with_name(kept.name + ".wal"))
    os.replace(path, kept)
    return kept
