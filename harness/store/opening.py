"""Opens the DuckDB file: waits for another process to let go, makes a new store whole, brings an older one up to date.

Everything DuckDB may say on opening becomes one sentence that names the file and the way out. Every connection is shut
off from other files and from extensions.
"""

from __future__ import annotations

import os
import re
import time
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from harness.errors import StoreError, StoreLockedError, UserError
from harness.store.home import Home

SCHEMA = resources.files("harness.store").joinpath("schema.sql")
VIEWS = resources.files("harness.store").joinpath("views.sql")
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE probes (
        run_id VARCHAR NOT NULL, position BIGINT NOT NULL, candidate VARCHAR NOT NULL, sample_id VARCHAR NOT NULL,
        key VARCHAR NOT NULL, kind VARCHAR NOT NULL CHECK (kind IN ('sample', 'likelihood')), number BIGINT NOT NULL,
        text VARCHAR NOT NULL, log_likelihood DOUBLE, tokens BIGINT,
        CHECK ((kind = 'likelihood') = (log_likelihood IS NOT NULL AND tokens IS NOT NULL))
    );
    CREATE TABLE repeats (
        run_id VARCHAR NOT NULL, position BIGINT NOT NULL, candidate VARCHAR NOT NULL, metric VARCHAR NOT NULL,
        sample_id VARCHAR NOT NULL, number BIGINT NOT NULL, key VARCHAR NOT NULL,
        score DOUBLE CHECK (score IS NULL OR isfinite(score)), error_kind VARCHAR, error_message VARCHAR,
        CHECK ((score IS NULL) = (error_kind IS NOT NULL))
    )
    """,
    "SELECT 3",  # no table: the view training_log
    "SELECT 4",  # no table: the view findings, a quicker leaderboard
    "SELECT 5",  # no table: the leaderboard averages no scores of several modes
)
"""SQL that brings schema version 1 to 2, then 2 to 3, and so on; schema.sql is always the newest. The views come after."""
FIRST_WAIT, LONGEST_WAIT = 0.05, 0.5
STATEMENT_ERRORS = (duckdb.ProgrammingError, duckdb.IntegrityError, duckdb.DataError, duckdb.NotSupportedError)
"""What DuckDB raises when the statement is at fault, a defect of muster. Anything else is the file's."""
CONFIG = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "lock_configuration": "true",
}

TABLES_SQL = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"
VERSION_SQL = "SELECT schema_version FROM meta"
SET_VERSION_SQL = "UPDATE meta SET schema_version = ?"


def known_version() -> int:
    """The newest schema that this program knows."""
    return len(MIGRATIONS) + 1


def open_store(home: Home, *, read_only: bool, wait: float) -> duckdb.DuckDBPyConnection:
    """A connection to an up-to-date store. Waits up to `wait` seconds for a process that holds it.

    Raises StoreLockedError, or StoreError where there is nothing to read, or no store, or one that is damaged or newer.
    """
    if not home.store.exists():
        if read_only:
            made = "there is no store yet. It is made by 'muster run SUITE'"
            if any((home.path / "runs").glob("*/manifest.json")):
                made = "there is no store, but bundles of runs are there. Type: muster store rebuild"
            raise StoreError(f"{home.store}: {made}.", fault="missing")
        home.make()
        make_store(home.store)
    connection = connect(home.store, read_only=read_only, wait=wait)
    try:
        version = schema_version(connection, home.store)
        if version < known_version() and read_only:
            connection.close()
            open_store(home, read_only=False, wait=wait).close()
            return connect(home.store, read_only=True, wait=wait)
        migrate(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def make_store(path: Path) -> None:
    """Makes an empty store beside its place and puts it there whole; one that another process made meanwhile stays."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.unlink(missing_ok=True)
        connection = duckdb.connect(str(draft), config=CONFIG)
    except (duckdb.Error, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.parent}: must be a folder that can be written to ({reason}).") from None
    try:
        connection.execute(SCHEMA.read_text(encoding="utf-8"))
        connection.execute(VIEWS.read_text(encoding="utf-8"))
    finally:
        connection.close()
    try:
        os.link(draft, path)  # unlike a rename, never replaces
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            os.replace(draft, path)
    draft.unlink(missing_ok=True)


def connect(path: Path, *, read_only: bool, wait: float) -> duckdb.DuckDBPyConnection:
    """A connection to a DuckDB file, tried again for `wait` seconds while another process holds it."""
    deadline, pause = time.monotonic() + wait, FIRST_WAIT
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=CONFIG)
        except duckdb.Error as error:
            reason = str(error)
            if not _is_locked(reason):
                raise explained(path, reason) from None
            if time.monotonic() >= deadline:
                raise StoreLockedError(_holder(path, reason)) from None
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(2 * pause, LONGEST_WAIT)


def schema_version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """The schema's number. Raises StoreError for a file of something else, or of a newer muster."""
    tables = {name for (name,) in connection.execute(TABLES_SQL).fetchall()}
    row: Any = next(iter(connection.execute(VERSION_SQL).fetchall()), None) if "meta" in tables else None
    if row is None or "judgements" not in tables:
        raise StoreError(
            f"{path}: is a DuckDB file, but no muster store. Name another folder with --home.", fault="foreign"
        )
    version = int(row[0])
    if version > known_version():
        raise StoreError(
            f"{path}: was written by a newer muster (schema {version}; this one knows {known_version()}). "
            "Upgrade: pip install --upgrade muster-harness",
            fault="newer",
        )
    return version


def migrate(connection: duckdb.DuckDBPyConnection, version: int) -> None:
    """Applies what is missing after `version`, each step in a transaction of its own."""
    for number, step in enumerate(MIGRATIONS[version - 1 :], start=version + 1):
        connection.begin()
        try:
            connection.execute(step)
            connection.execute(VIEWS.read_text(encoding="utf-8"))
            connection.execute(SET_VERSION_SQL, [number])
            connection.commit()
        except BaseException:
            connection.rollback()
            raise


def _is_locked(reason: str) -> bool:
    return "Could not set lock" in reason or "being used by another process" in reason


def _holder(path: Path, reason: str) -> str:
    pid = re.search(r"PID (\d+)", reason)
    if pid is None:
        return f"{path}: another process holds the store. Wait until it has ended, then try again."
    return f"{path}: another process holds the store (PID {pid[1]}). Wait until it has ended, or end it: kill {pid[1]}"


def explained(path: Path, reason: str) -> StoreError:
    """What DuckDB says about a file that it cannot open, read or write, in one line with the way out."""
    reason = " ".join(reason.split())
    mend = "'muster store rebuild' makes the store anew from the run bundles"
    if "not a valid DuckDB database" in reason:
        return StoreError(f"{path}: is not a DuckDB file. {mend}, and keeps the file beside it.")
    if "version number" in reason:
        return StoreError(
            f"{path}: was written by another DuckDB ({reason}). Upgrade: pip install --upgrade duckdb", fault="foreign"
        )
    if "replaying WAL" in reason or "WAL file" in reason:
        return StoreError(
            f"{path}: its write-ahead log is damaged. {mend}; 'muster store doctor --drop-wal' goes back to the last "
            "checkpoint, after a backup.",
            fault="log_damaged",
        )
    if "different configuration" in reason:
        return StoreError(f"{path}: is already open in this process. Close it first.", fault="open")
    if "orrupt" in reason or "not read enough bytes" in reason:
        return StoreError(f"{path}: the store is damaged. {mend}.")
    return StoreError(f"{path}: cannot be used ({reason[:300]}).")
