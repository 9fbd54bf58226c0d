"""Where a model's files are and which content they hold, without loading it: no torch here.

Guarantees: a fingerprint changes whenever weights, configuration, tokenizer or chat template change, wherever the
folder lies; a file is hashed once a process as long as its size and time stand. An adapter that muster trained is
refused on another base, because PEFT would attach it silently to any base of the same shape.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import ModelError, UserError
from harness.records import fingerprint
from harness.suite.paths import PathError, resolve_inside

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")
MODEL_FILES = (
    "config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*",
    "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "chat_template.jinja",
)  # fmt: skip
"""Files that decide what a model says; others in the folder (cards, logs, consolidated copies) are left alone."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_UNSEEN_SETTINGS = ("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version")
"""Keys of adapter_config.json that say where an adapter came from and not what it computes."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hex digits. Raises ModelError where it cannot be read."""
    try:
        stat = path.stat()
        return _file_sha256(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"'{path.name}' cannot be read ({error.strerror}).") from None


@lru_cache(maxsize=4096)
def _file_sha256(path: str, size: int, mtime_ns: int) -> str:
    """Size and time are part of the memo's key: a file written anew is hashed anew."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_folder(
    name: str, *, root: Path, what: str, files: tuple[str, ...], revision: str | None = None, anywhere: bool = False
) -> Path:
    """The folder of a model or adapter: `embedded:NAME`, a folder below `root`, or a Hub name (fetched or from the
    Hub's cache).

    Args:
        name: as written in the suite.
        root: the suite's folder.
        what: the word for error messages: `model` or `adapter`.
        files: patterns of the files to fetch from the Hub.
        revision: the Hub revision.
        anywhere: whether a path may leave `root`: where a person typed it, instead of a suite from somebody else.

    Raises:
        UserError: for a path that leaves `root`.
        ModelError: where nothing is found.
    """
    if name.startswith("embedded:"):
        from harness.models import embedded

        return embedded.resolve(name)
    try:
        folder = root / Path(name).expanduser() if anywhere else resolve_inside(name, root, root)
    except PathError as error:
        raise UserError(f"{what}: {error.message}.") from None
    if folder.is_dir():
        return folder
    if not HUB_NAME.match(name):
        raise ModelError(f"{what} {name!r} is missing: no such folder beside the suite, and no Hub name 'owner/name'.")
    return _fetch(name, what=what, files=files, revision=revision)


def is_at_hand(name: str, root: Path) -> bool:
    """Whether a model's files lie on this machine, so that nobody is asked for them: embedded, or a folder below `root`."""
    return name.startswith("embedded:") or (root / name).is_dir()


def _fetch(name: str, *, what: str, files: tuple[str, ...], revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # the Hub client raises its own, requests' and OS errors: all mean "not to be had"
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(
            f"{what} {name!r} is missing: no such folder beside the suite, and the Hub did not give it ({reason})."
        ) from None


def base_fingerprint(folder: Path, *, chat_template: Path | None = None) -> str:
    """Hash of a base model's weights, configuration, tokenizer and chat template.

    Raises ModelError where the folder holds no config.json or no safetensors weights.
    """
    found = sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()})
    names = {path.name for path in found}
    if "config.json" not in names:
        raise ModelError(f"model '{folder.name}' is incomplete: it has no config.json.")
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"model '{folder.name}' has no safetensors weights; pickles (.bin, .pt) are never loaded.")
    files = [[path.name, file_sha256(path)] for path in found]
    return fingerprint([files, file_sha256(chat_template) if chat_template else None])


def template_sha(folder: Path, chat_template: Path | None = None) -> str:
    """Hash of a model's chat template: the file that replaces it, else its own; `plain` where it has none.

    Raises ModelError where a file cannot be read.
    """
    own = folder / "chat_template.jinja"
    if chat_template is not None or own.is_file():
        return file_sha256(chat_template or own)
    config = folder / "tokenizer_config.json"
    template = _read_json(config).get("chat_template") if config.is_file() else None
    return "plain" if template is None else fingerprint(template)


def adapter_config(folder: Path) -> dict[str, Any]:
    """An adapter's adapter_config.json. Raises ModelError where the adapter is missing, incomplete or unreadable."""
    if not folder.is_dir():
        raise ModelError(f"adapter '{folder}' is missing: no such folder.")
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise ModelError(f"adapter '{folder}' is incomplete: it has no {name}.")
    return _read_json(folder / "adapter_config.json")


def adapter_key(folder: Path) -> str:
    """Hash of an adapter's tensors and of the settings that decide what it computes.

    PEFT writes `target_modules` from a set, in an order that changes with the hash seed: lists of names are sorted.
    """
    config = {key: value for key, value in adapter_config(folder).items() if key not in _UNSEEN_SETTINGS}
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    return fingerprint([file_sha256(folder / "adapter_model.safetensors"), config])


def is_encoder_decoder(folder: Path) -> bool:
    """Whether a model has an encoder for the prompt and a decoder for the answer, such as T5."""
    return bool(_read_json(folder / "config.json").get("is_encoder_decoder"))


def is_model(folder: Path) -> bool:
    """Whether a training's folder holds a whole model, and not an adapter."""
    return (folder / "config.json").is_file()


def trains_biases(folder: Path) -> bool:
    """Whether an adapter holds biases of the base (LoRA `bias: all` or `lora_only`), and so cannot share it."""
    return str(adapter_config(folder).get("bias", "none")) != "none"


def model_key(base_sha: str, adapter: Path | None, *, dtype: str, quantization: str | None) -> str:
    """What decides a model's answers: base, adapter, dtype as asked for, quantization. The same on every device."""
    return fingerprint([base_sha, adapter_key(adapter) if adapter else None, dtype, quantization])


def require_base(adapter: Path, base: str, base_sha: str, *, template: str | None = None) -> None:
    """Refuses an adapter that is known to be of another base, or to have been trained with another chat template.

    `template` is the hash of the base's (`template_sha`), for the message.

    Known is what its manifest.json records, which muster's trainer writes, or what an embedded base it names holds. An
    adapter made elsewhere says neither, and passes.

    Raises ModelError.
    """
    trained_on = _recorded_base(adapter)
    if trained_on is not None and trained_on != base_sha:
        learnt = _recorded_template(adapter)
        if template is not None and learnt is not None and learnt != template:
            raise ModelError(
                f"adapter '{adapter.name}' was trained with another chat template than {base!r} has (template "
                f"{learnt[:12]}, got {template[:12]}). Give it that 'chat_template', or train it again."
            )
        raise ModelError(
            f"adapter '{adapter.name}' was trained on another base than {base!r} (base {trained_on[:12]}, "
            f"got {base_sha[:12]}). Train it again on this base."
        )


def _recorded_base(adapter: Path) -> str | None:
    """The fingerprint of the base that an adapter was trained on, where that is known."""
    from harness.models import embedded

    manifest = adapter / "manifest.json"
    recorded = _read_json(manifest).get("base_fingerprint") if manifest.is_file() else None
    if recorded is not None:
        return str(recorded)
    name = str(adapter_config(adapter).get("base_model_name_or_path") or "")
    return base_fingerprint(embedded.resolve(name)) if name.startswith(embedded.PREFIX) else None


def _recorded_template(adapter: Path) -> str | None:
    """The hash of the chat template that an adapter was trained with, where its manifest records one."""
    manifest = adapter / "manifest.json"
    training = _read_json(manifest).get("training") if manifest.is_file() else None
    record = training.get("record") if isinstance(training, dict) else None
    recorded = record.get("chat_template") if isinstance(record, dict) else None
    return None if recorded is None else str(recorded)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"'{path}' cannot be read ({error}).") from None
    if not isinstance(value, dict):
        raise ModelError(f"'{path}' must hold a JSON object (got {type(value).__name__}).")
    return value
