"""Checkpoints and finished adapters as folders that are either complete or not there.

A folder is complete when it holds a `manifest.json` whose SHA-256 of every other file is right. The manifest is
written last, to a temporary name, forced to disk and renamed; a finished adapter comes to its place by one rename. So
a `kill -9`, a full disk or a flipped bit leaves nothing that could be taken for whole: a broken checkpoint is removed
with one line and the one before it is used. Knows files and JSON, nothing of torch.

    adapters/<key>/                     adapter_model.safetensors  adapter_config.json  manifest.json; or a model folder
    adapters/<key>.partial/             while training: lock, checkpoints/checkpoint-<step>/, trained/ before its rename
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import TrainingError
from harness.records import Training

MANIFEST = "manifest.json"
FORMAT = 1


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, content: Mapping[str, Any]) -> None:
    """Force every file of `folder` to disk, then write the manifest: `content`, and the hash of each file."""
    files = {}
    for path in _files(folder):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        files[path.relative_to(folder).as_posix()] = file_sha256(path)
    manifest = {"format": FORMAT, **content, "files": files}
    temporary = folder / f"{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / MANIFEST)
    _sync_folder(folder)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete folder; None where it is missing or unreadable, or any file is missing or changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        whole = manifest["format"] == FORMAT and all(file_sha256(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole and isinstance(manifest, dict) else None


def newest_checkpoint(
    checkpoints: Path, *, environment: Mapping[str, str], notice: Callable[[str], None]
) -> Path | None:
    """The complete checkpoint with the most steps. All that is newer but broken is removed, with a line.

    A checkpoint from another `environment` (device, compute dtype) would lead to other tensors: it is removed too.
    """
    for folder in sorted(checkpoints.glob("checkpoint-*"), key=step_of, reverse=True):
        manifest = read_manifest(folder)
        if manifest is not None and manifest.get("environment") == dict(environment):
            return folder
        why = "is incomplete" if manifest is None else f"was made on {manifest.get('environment')}"
        notice(f"{folder.name} {why}: removed; the training goes on from the one before.")
        shutil.rmtree(folder)
    return None


def prune_checkpoints(checkpoints: Path, *, keep: int = 2) -> None:
    """Remove all but the `keep` newest checkpoints; call it when the newest is sealed."""
    for folder in sorted(checkpoints.glob("checkpoint-*"), key=step_of)[:-keep]:
        shutil.rmtree(folder)


def publish_adapter(staged: Path, final: Path, training: Training) -> None:
    """Seal `staged` with its record and move it to `final` by one rename; a broken folder in that place goes."""
    content = asdict(training)
    del content["path"]
    seal(staged, {"key": training.key, "base_fingerprint": training.base_fingerprint, "training": content})
    if final.exists():
        shutil.rmtree(final)
    staged.rename(final)
    _sync_folder(final.parent)


def find_training(adapters: Path, key: str) -> Training | None:
    """The finished training of this key, if its folder is complete and every hash holds.

    Its `candidate` and `base` are the names it was trained under; another suite may call it otherwise.
    """
    folder = adapters / key
    manifest = read_manifest(folder)
    if manifest is None or manifest.get("key") != key:
        return None
    content = manifest["training"]
    return Training(**{**content, "path": str(folder), "log": tuple(content["log"])})


@contextmanager
def training_lock(partial: Path) -> Iterator[None]:
    """Hold `partial` for this process.

    Raises:
        TrainingError: another process trains the same key.
    """
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise TrainingError(
                f"Process {file.read().strip() or 'unknown'} is training the same adapter ({partial.name}). "
                "Wait for it, then run again: its result will be used."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _files(folder: Path) -> list[Path]:
    own = (MANIFEST, f"{MANIFEST}.tmp")
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in own)


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint folder's name; -1 where there is none."""
    digits = checkpoint.name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
