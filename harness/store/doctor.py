"""Looks the store and its bundles over, takes a damaged log away, and makes the store anew from the bundles.

The bundles are the record and the store is an index over them: whatever is wrong with the store, `rebuild` mends it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from harness.errors import StoreError, StoreLockedError
from harness.store.bundle import Bundle, bundle_folders, read_bundle, write_tables
from harness.store.home import Home
from harness.store.opening import CONFIG, connect, explained, make_store, open_store, schema_version
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
    """Something that is not as it should be. A `warning` loses nothing; an `error` has to be mended."""

    severity: Literal["error", "warning"]
    kind: str
    """Snake case, for machines."""
    subject: str
    """The run or file."""
    message: str
    """One line: the place, what is wrong, and what to do."""


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


def drop_log(home: Home) -> Path | None:
    """Takes a damaged write-ahead log away, so that the store is what it was at its last checkpoint.

    Before that both files are copied beside the store. Returns the copy, or None where the log is sound (then it holds what
    was committed, and stays) or there is none. Raises StoreLockedError while another process holds the store.
    """
    log = _log(home.store)
    try:
        if log.exists():
            connect(home.store, read_only=True, wait=0.0).close()
        return None
    except StoreError as error:
        if error.fault != "log_damaged":
            raise
    backup = _beside(home.store, "backup")
    shutil.copy2(log, _log(backup))
    shutil.copy2(home.store, backup)
    log.unlink()
    return backup


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
            ailments.append(_error(f"bundle_{error.fault}", folder.name, str(error)))
    return found, ailments


def _store_rows(home: Home) -> tuple[RunRows | None, list[Ailment]]:
    """Rows of each run in the store, or None where it cannot be read."""
    if not home.store.exists():
        return {}, []
    try:
        connection = connect(home.store, read_only=True, wait=0.0)
    except StoreLockedError as error:
        return None, [_warning("store_locked", home.store.name, str(error))]
    except StoreError as error:
        return None, [_store_error(home, error)]
    try:
        schema_version(connection, home.store)
        return _counted(connection), _twice(connection)
    except StoreError as error:
        return None, [_store_error(home, error)]
    except duckdb.Error as error:
        return None, [_store_error(home, explained(home.store, str(error)))]
    finally:
        connection.close()


def _store_error(home: Home, error: StoreError) -> Ailment:
    return _error(error.fault if error.fault == "log_damaged" else f"store_{error.fault}", home.store.name, str(error))


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
            message = f"{name} holds {len(found):,} rows more than once, such as {example} ({count} times)"
            ailments.append(_error("rows_twice", str(run_id), f"run {run_id}: {message}. {REBUILD}"))
    return ailments


def _differences(home: Home, stored: RunRows, bundled: RunRows) -> list[Ailment]:
    ailments = []
    for run_id, counts in stored.items():
        if not counts["runs"]:
            message = f"run {run_id}: the store holds rows of it and does not list it. {REBUILD}"
            ailments.append(_error("rows_without_run", run_id, message))
        elif run_id not in bundled:
            message = f"run {run_id}: has no bundle; the store alone holds it. {REBUILD} (it writes the bundle)"
            ailments.append(_warning("bundle_missing", run_id, message))
        elif bundled[run_id] and bundled[run_id] != counts:
            names = [name for name in COLUMNS if bundled[run_id][name] != counts[name]]
            parts = ", ".join(f"{name} {counts[name]:,} here, {bundled[run_id][name]:,} there" for name in names)
            message = f"run {run_id}: store and bundle hold different rows ({parts}). {REBUILD}"
            ailments.append(_error("rows_differ", run_id, message))
    for run_id in bundled:
        if run_id not in stored:
            message = f"run {run_id}: has a bundle, and the store lacks it. {REBUILD}"
            ailments.append(_warning("run_missing", run_id, message))
    for folder in sorted((home.path / "runs").glob("*/spool")):
        message = f"run {folder.parent.name}: was interrupted; what it had finished is kept. The same 'muster run' continues it"
        ailments.append(_warning("run_interrupted", folder.parent.name, message))
    return ailments


def _error(kind: str, subject: str, message: str) -> Ailment:
    return Ailment(severity="error", kind=kind, subject=subject, message=message)


def _warning(kind: str, subject: str, message: str) -> Ailment:
    return Ailment(severity="warning", kind=kind, subject=subject, message=message)


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
        if error.fault not in ("damaged", "log_damaged"):
            raise  # not ours to replace
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
    log = _log(path)
    if is_readable or not path.exists():
        log.unlink(missing_ok=True)
        return None
    kept = _beside(path, "damaged")
    if log.exists():
        os.replace(log, _log(kept))
    os.replace(path, kept)
    return kept


def _log(path: Path) -> Path:
    """DuckDB's write-ahead log of a file."""
    return path.with_name(path.name + ".wal")


def _beside(path: Path, what: str) -> Path:
    """A new name for an old store, in the same folder."""
    return path.with_name(f"{path.stem}.{what}-{datetime.now(UTC):%Y%m%dT%H%M%S}{path.suffix}")
