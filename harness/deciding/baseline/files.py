"""Baselines as files: read with nothing taken on trust, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.deciding.baseline.record import FORMAT, Baseline
from harness.errors import UserError
from harness.suite.baselines import FOLDER, baseline_file, blessed_names
from harness.suite.explain import quoted, suggest
from harness.suite.grammar import NAME

DEPTH = 4
"""Mappings nested deeper than this stand on one line, and so do all lists of plain values."""


def find_baseline(wanted: str, root: Path) -> Path:
    """The file of a name beside the suite in `root`, or the file of this path.

    Raises:
        UserError: If there is none.
    """
    beside = baseline_file(root, wanted)
    if NAME.match(wanted) and beside.is_file():
        near_by = Path(os.path.relpath(beside))
        return beside if near_by.parts[0] == ".." else near_by
    if Path(wanted).is_file():
        return Path(wanted)
    known = blessed_names(root)
    near = suggest(wanted, known)
    hint = f" (did you mean {near!r}?)" if near else f" (there is {quoted(known, 'and')})" if known else ""
    raise UserError(
        f"'baseline' must be one in {root / FOLDER} or a file (got {wanted!r}){hint}. See 'muster baseline bless --help'."
    )


def read_baseline(path: Path) -> Baseline:
    """The baseline of a file, whether or not its hashes hold: see `Baseline.edits`.

    Raises:
        UserError: In one line, if the file is none, or of a newer muster.
    """
    way_out = "Take it from git again, or bless anew."
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no baseline, for it is no JSON ({error}). {way_out}") from None
    made = value.get("muster_baseline") if isinstance(value, dict) else None
    if isinstance(made, int) and made > FORMAT:
        raise UserError(f"{path}: is of format {made}, and this muster reads up to {FORMAT}. Update muster.")
    try:
        found = Baseline.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: is no baseline: '{where}': {first['msg']}. {way_out}") from None
    if not found.blessings:
        raise UserError(f"{path}: is no baseline: 'blessings' is empty. {way_out}")
    for name, split in found.splits.items():
        lists = [split.samples, split.clusters or split.ids, *split.scores.values()]
        lists += [values for held in split.evidence.values() for values in held.values()]
        if any(len(values) != len(split.ids) for values in lists) or len(set(split.ids)) != len(split.ids):
            raise UserError(f"{path}: is no baseline: the lists of 'splits.{name}' do not fit each other. {way_out}")
    return found


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes the file in place of an earlier one, whole or not at all. Raises UserError where it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    head = ("muster_baseline", "name")
    value = baseline.model_dump(mode="json")
    text = _laid_out({**{key: value[key] for key in head}, **value}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(
                text.encode("utf-8", "backslashreplace")
            )  # half a surrogate pair becomes the escape JSON has for it
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}). Name another place with --file.") from None


def _laid_out(value: Any, depth: int = 0) -> str:
    """JSON of a few long lines: what is one thing stands on one, so that a change in git shows what changed."""
    if isinstance(value, dict) and value and depth < DEPTH:
        pad = " " * (depth + 1)
        inner = ",\n".join(f"{pad}{_text(key)}: {_laid_out(entry, depth + 1)}" for key, entry in value.items())
        return f"{{\n{inner}\n{' ' * depth}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        pad = " " * (depth + 1)
        inner = ",\n".join(f"{pad}{_laid_out(entry, depth + 1)}" for entry in value)
        return f"[\n{inner}\n{' ' * depth}]"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
