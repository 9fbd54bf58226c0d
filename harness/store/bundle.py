"""Run bundles: everything of one run as Parquet files beside a manifest with their hashes. The record that outlives the
store.

A bundle is whole or it is the one from before: files are named by their content, and the manifest, which names them, is
swapped in by one rename after all of them are on disk. Knows no SQL.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import StoreError, UserError
from harness.records import Answer, Judgement, Probe, Repeat, Run, Sample, Training, Verdict
from harness.store.home import Home
from harness.store.rows import COLUMNS, arrow_table, arrow_tables, verdict_table

MANIFEST = "manifest.json"
FORMAT = 2
"""2 brought the tables of `ADDED`."""
ADDED = frozenset({"probes", "repeats"})
"""Tables that a bundle of format 1 lacks: they are empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files are what its manifest says."""

    run_id: str
    manifest: Mapping[str, Any]
    tables: Mapping[str, Any]
    """Name to Arrow table, with all columns of the store's tables."""


def write_bundle(
    home: Home,
    run: Run,
    *,
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    judgements: Sequence[Judgement],
    trainings: Sequence[Training],
    verdicts: Sequence[Verdict] = (),
    probes: Sequence[Probe] = (),
    repeats: Sequence[Repeat] = (),
) -> Path:
    """Writes everything of a run into its folder, in place of an earlier bundle; returns the folder."""
    tables = arrow_tables(
        run, samples=samples, answers=answers, judgements=judgements, trainings=trainings, verdicts=verdicts,
        probes=probes, repeats=repeats,
    )  # fmt: skip
    return write_tables(home.run_dir(run.id), run.id, tables)


def write_tables(folder: Path, run_id: str, tables: Mapping[str, Any]) -> Path:
    """Writes Arrow tables as a run's bundle; returns the folder."""
    entries = {name: _write_table(folder, name, table) for name, table in tables.items()}
    _write_manifest(folder, run_id, entries)
    return folder


def export_tables(folder: Path, tables: Mapping[str, Any]) -> dict[str, Path]:
    """Writes Arrow tables as `NAME.parquet` into a new or empty folder. Raises UserError where it is neither."""
    import pyarrow.parquet as pq

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"'--to' must be a new or empty folder (got {folder}).")
        files = {name: folder / f"{name}.parquet" for name in tables}
        for name, path in files.items():
            pq.write_table(tables[name], path, compression="zstd")
    except OSError as error:
        raise UserError(f"'--to' must be a folder that can be written to (got {folder}: {error.strerror}).") from None
    return files


def write_bundled_verdicts(home: Home, run_id: str, verdicts: Sequence[Verdict]) -> None:
    """Replaces the verdicts in a run's bundle; does nothing where there is no bundle."""
    folder = home.path / "runs" / run_id
    if (folder / MANIFEST).exists():
        entries = dict(read_manifest(folder)["tables"])
        entries["verdicts"] = _write_table(folder, "verdicts", verdict_table(run_id, verdicts))
        for name in ADDED - entries.keys():  # a bundle of an earlier format becomes one of this
            entries[name] = _write_table(folder, name, arrow_table(name, run_id, []))
        _write_manifest(folder, run_id, entries)


def bundle_folders(home: Home) -> list[Path]:
    """Folders below `runs` that hold a manifest, the oldest first."""
    found = [path.parent for path in (home.path / "runs").glob(f"*/{MANIFEST}")]
    return sorted(found, key=lambda folder: ((folder / MANIFEST).stat().st_mtime_ns, folder.name))


def read_bundle(folder: Path) -> Bundle:
    """The bundle in a folder, after comparing every file with the manifest. Raises StoreError in one line."""
    import pyarrow.parquet as pq

    manifest = read_manifest(folder)
    tables = {}
    for name in COLUMNS:
        if manifest["format"] == 1 and name in ADDED:
            tables[name] = arrow_table(name, str(manifest["run_id"]), [])
            continue
        entry = manifest["tables"][name]
        path = folder / str(entry["file"])
        if not path.is_file() or path.parent != folder:
            raise _damaged(folder, f"{entry['file']} is missing")
        if _sha256(path) != entry["sha256"]:
            raise _damaged(folder, f"{entry['file']} is not the file that the manifest names")
        tables[name] = pq.read_table(path)
        if tables[name].num_rows != entry["rows"] or tables[name].column_names != list(COLUMNS[name]):
            raise _damaged(folder, f"{entry['file']} holds other rows or columns")
    return Bundle(run_id=str(manifest["run_id"]), manifest=manifest, tables=tables)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A bundle's manifest. Raises StoreError where it is damaged, or of a newer format."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        bundled, tables = manifest["format"], manifest["tables"]
        whole = isinstance(manifest["run_id"], str) and all(
            {"file", "sha256", "rows"} <= set(tables[t]) for t in COLUMNS if bundled != 1 or t not in ADDED
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{MANIFEST}: {type(error).__name__}: {error}") from None
    if bundled > FORMAT:
        raise StoreError(
            f"{folder}: the bundle was written by a newer muster (format {bundled}; this one knows {FORMAT}). "
            "Upgrade: pip install --upgrade muster-harness",
            fault="newer",
        )
    if not whole:
        raise _damaged(folder, f"{MANIFEST} lacks a table")
    return dict(manifest)


def _damaged(folder: Path, what: str) -> StoreError:
    way_out = (
        "Move the folder away, then type: muster store rebuild (a run that the store still holds gets a new bundle)"
    )
    return StoreError(f"{folder}: the bundle is damaged ({what}). {way_out}")


def _write_table(folder: Path, name: str, table: Any) -> dict[str, Any]:
    import pyarrow.parquet as pq

    draft = folder / f".{name}.{os.getpid()}.tmp"
    pq.write_table(table, draft, compression="zstd")
    sha = _sha256(draft)
    _sync(draft)
    file = f"{name}-{sha[:12]}.parquet"
    os.replace(draft, folder / file)
    return {"file": file, "sha256": sha, "rows": table.num_rows}


def _write_manifest(folder: Path, run_id: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Swaps the manifest in, then removes the files that it no longer names."""
    manifest = {"format": FORMAT, "run_id": run_id, "written_by": f"muster {__version__}", "tables": entries}
    draft = folder / f".{MANIFEST}.{os.getpid()}.tmp"
    draft.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    _sync(draft)
    os.replace(draft, folder / MANIFEST)
    named = {str(entry["file"]) for entry in entries.values()}
    for path in [*folder.glob("*.parquet"), *folder.glob(".*.tmp")]:
        if path.name not in named:
            path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
