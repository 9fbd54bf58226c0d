"""Files that a command was told to write: whole or not at all, and nothing but a file is ever replaced."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, in place of an earlier one only once it is whole; folders above it are made, a link to it stays.

    A device, a pipe, and the file that standard output goes to (`--out /dev/stdout >file`) are written to as they are.
    Raises OSError where it cannot be written.
    """
    if _stays(path):
        with path.open("ab") as file:
            file.write(data)
        return
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink()


def _stays(path: Path) -> bool:
    """Whether nothing may take the place of what is there."""
    try:
        found = path.stat()
    except OSError:
        return False
    if not path.is_file():
        return not path.is_dir()
    for stream in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(stream)):
                return True
    return False
