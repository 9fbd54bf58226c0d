"""What a page says of itself, for machines: from which runs, by content, it was made, and with what.

The manifest stands in the page as JSON. With it and the store, `reports.verify` makes the page again and compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import harness
from harness.errors import UserError
from harness.records import Calibration, Run, Verdict, fingerprint

ELEMENT = re.compile(r'<script type="application/json" id="manifest">(.*?)</script>', re.DOTALL)


def build_manifest(
    page: str,
    runs: Sequence[Run],
    *,
    verdicts: Sequence[Verdict],
    cards: Iterable[Calibration],
    made: str,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of a page.

    Args:
        page: Which page it is: `report` or `comparison`.
        runs: Those that it shows, the main one first.
        verdicts: Those that it shows.
        cards: The calibration cards that it shows.
        made: When, in UTC, as the page says it.
        options: What else decided its content.
    """
    return {
        "page": page,
        "muster": harness.__version__,
        "made": made,
        "options": dict(options),
        "runs": [
            {
                "id": run.id,
                "key": run.key,
                "suite": run.suite,
                "suite_sha": run.suite_sha,
                "data_sha": run.data_sha,
                "candidates": dict(run.candidates),
                "judges": dict(run.judges),
            }
            for run in runs
        ],
        "gate": [
            {
                "candidate": verdict.candidate,
                "outcome": verdict.outcome,
                "exit_status": verdict.exit_status,
                "suite_sha": verdict.suite_sha,
                "record": fingerprint(asdict(verdict)),
            }
            for verdict in verdicts
        ],
        "calibrations": sorted({card_id(card) for card in cards}),
    }


def card_id(card: Calibration) -> str:
    """Which card it is: judge, labels and moment, hashed."""
    return fingerprint([card.fingerprint, card.labels_sha, card.made])


def read_manifest(text: str, file: object) -> dict[str, Any]:
    """The manifest of a page.

    Raises:
        UserError: If the text is no page of muster, or one of a version that this one cannot make again.
    """
    found = ELEMENT.search(text)
    manifest: Any
    try:
        manifest = json.loads(found[1]) if found else None
    except ValueError:
        manifest = None
    if not _is_manifest(manifest):
        raise UserError(f"{file}: is no report of muster, or its manifest is damaged. Make it again: muster report")
    if manifest["muster"] != harness.__version__:
        raise UserError(
            f"{file}: was made by muster {manifest['muster']} and can be verified by that version alone (this is "
            f"{harness.__version__}). Install it, or make the report again."
        )
    known: dict[str, Any] = manifest
    return known


def _is_manifest(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    texts = all(isinstance(value.get(name), str) for name in ("page", "muster", "made"))
    lists = all(isinstance(value.get(name), list) for name in ("runs", "gate", "calibrations"))
    if not texts or not lists or not isinstance(value.get("options"), Mapping) or not value["runs"]:
        return False
    return all(isinstance(run, Mapping) and isinstance(run.get("id"), str) for run in value["runs"])
