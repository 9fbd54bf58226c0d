"""Calibration cards as JSON files: those of a home, and those that come with muster for its own judges.

They lie beside the store, not in it: the store is an index that is made anew from run bundles, and a card belongs to no run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from harness.errors import StoreError, UserError
from harness.records import HUMAN, Calibration, Figure
from harness.store.home import Home
from harness.store.writing import write_whole

SHIPPED = "models/calibrations.json"
"""Within the package `judges`, which is named here and not imported."""


def write_calibration(home: Home, card: Calibration) -> Path:
    """Keeps a card, in place of an earlier one of the same judge on the same labels."""
    path = home.calibrations / f"{card.fingerprint[:16]}-{card.labels_sha[:16]}.json"
    write_cards(path, [card])
    return path


def write_cards(path: Path, cards: Sequence[Calibration]) -> None:
    """Writes cards as a JSON list, one a line; the file appears whole or not at all.

    Raises UserError where it cannot be written.
    """
    lines = [json.dumps(asdict(card), allow_nan=False) for card in cards]
    try:
        write_whole(path, ("[\n" + ",\n".join(lines) + "\n]\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def read_cards(path: Path) -> list[Calibration]:
    """The cards of a file. Raises StoreError in one line where it holds none."""
    try:
        return [_card(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        way_out = "Delete it and calibrate again"
        raise StoreError(f"{path}: is no calibration card ({type(error).__name__}: {error}). {way_out}") from None


def known_calibrations(home: Home) -> list[Calibration]:
    """The home's cards, the newest first, then those that come with muster."""
    own = [card for path in sorted((home.path / "calibrations").glob("*.json")) for card in read_cards(path)]
    return sorted(own, key=lambda card: card.made, reverse=True) + shipped_calibrations()


def shipped_calibrations() -> list[Calibration]:
    """The cards of the embedded judges, in the order of judges/README.md."""
    path = Path(str(resources.files("judges").joinpath(SHIPPED)))
    return read_cards(path) if path.is_file() else []


def by_metric(judges: Mapping[str, str], cards: Iterable[Calibration]) -> dict[str, tuple[Calibration, ...]]:
    """The cards of each metric's judge, where `judges` maps metric names to judge fingerprints. People are no judges here."""
    known = list(cards)
    return {
        name: tuple(card for card in known if card.fingerprint == key)
        for name, key in judges.items()
        if not name.startswith(HUMAN)
    }


def _card(entry: Mapping[str, Any]) -> Calibration:
    figures = tuple(Figure(**figure) for figure in entry["figures"])
    return Calibration(**{**entry, "figures": figures})
