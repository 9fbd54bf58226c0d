"""What is known of a run's gate besides its verdicts: how its rules were declared, and its certificate.

A JSON file in the run's folder, beside the bundle and not in it: `muster gate aa` comes later than the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.errors import UserError
from harness.records import Certificate
from harness.store.home import Home

FILE = "gate.json"


def write_certificate(home: Home, certificate: Certificate) -> None:
    """Keeps a run's certificate, in place of an earlier one. Raises UserError where it cannot be written."""
    _write(home, certificate.run, {"certificate": asdict(certificate)})


def write_changes(home: Home, run_id: str, changed: Sequence[str]) -> None:
    """Keeps what had changed of a run's rules when its verdicts were stored. Raises UserError where it cannot be written."""
    if changed or _read(home, run_id).get("changed"):
        _write(home, run_id, {"changed": list(changed)})


def read_certificate(home: Home, run_id: str) -> Certificate | None:
    """A run's certificate; None where there is none that can be read."""
    found = _read(home, run_id).get("certificate")
    try:
        return Certificate(**{**found, "left_out": tuple(found["left_out"])}) if found is not None else None
    except (TypeError, KeyError):
        return None


def read_changes(home: Home, run_id: str) -> tuple[str, ...]:
    """What had changed of a run's rules when its verdicts were stored."""
    found = _read(home, run_id).get("changed")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _read(home: Home, run_id: str) -> dict[str, Any]:
    try:
        found = json.loads((home.path / "runs" / run_id / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(home: Home, run_id: str, part: Mapping[str, Any]) -> None:
    path = home.path / "runs" / run_id / FILE
    draft = path.with_name(f".{FILE}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({**_read(home, run_id), **part}, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
