"""Paths in a suite: they stay inside the suite's folder, and a file that is named is there.

A path is relative to the file in which it stands. No symlink leads out of the folder of the suite that was asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from harness.errors import Problem
from harness.suite.explain import quoted, suggest
from harness.suite.source import Node, YamlPath, child, show

EMBEDDED = ("minilm", "nli", "toxicity", "relevance", "geval", "clinic-base")
"""What may stand after `embedded:`: the models that come with muster."""

Role = Literal["file", "model"]
"""`file`: must exist. `model`: `embedded:NAME`, a folder, or a Hub name."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class PathError(Exception):
    """Raised with a message, and the nearest name of what is there."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        self.message = message
        self.suggestion = suggestion
        super().__init__(message)


def resolve_inside(value: str, folder: Path, root: Path) -> Path:
    """The absolute path of `value`, relative to `folder`; raises PathError where it is not inside `root`."""
    if _URL.match(value):
        raise PathError(f"must be a path (got the address {show(value)}). Download it")
    if value.startswith(("/", "~")) or "\\" in value or _DRIVE.match(value):
        raise PathError(f"must be a path relative to the suite, with '/' (got {show(value)}). Copy it there")
    if ".." in PurePosixPath(value).parts:
        raise PathError(f"must stay inside the suite's folder, without '..' (got {show(value)}). Copy it there")
    try:
        path = (folder / value).resolve()
    except (OSError, RuntimeError) as error:
        raise PathError(f"must be a path that can be followed (got {show(value)}: {error})") from None
    if not path.is_relative_to(root.resolve()):
        raise PathError(f"must stay inside the suite's folder (got the link {show(value)} out of it). Copy it there")
    return path


def resolve_file(value: str, folder: Path, root: Path) -> Path:
    """The absolute path of a file that is there and can be read; raises PathError."""
    path = resolve_inside(value, folder, root)
    if message := refuse_file(path, show(value)):
        raise PathError(message, nearest_file(folder / value))
    return path


def refuse_file(path: Path, name: str) -> str | None:
    """What is wrong with a file that goes by a name, or None."""
    try:
        if path.is_file():
            return None if os.access(path, os.R_OK) else f"must be a file that can be read (got {name})"
        if path.is_dir():
            return f"must be a file (got the folder {name})"
        return f"must be a regular file (got {name})" if path.exists() else f"no such file: {name}"
    except (OSError, ValueError) as error:
        return f"must be a path that can be followed (got {name}: {error})"


def nearest_file(path: Path) -> str | None:
    """The name of the file most like a missing one, in the same folder; None where none is near enough to be meant.

    Names are compared without what stands after the first dot: that two files are `.jsonl` makes neither stand for the other.
    """
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(entry.name for _, entry in zip(range(5000), entries, strict=False) if entry.is_file())
    except OSError:
        return None
    stem = suggest(_stem(path.name), map(_stem, names), cutoff=0.7)
    return suggest(path.name, [name for name in names if _stem(name) == stem], cutoff=0) if stem else None


def _stem(name: str) -> str:
    return name.partition(".")[0]


def iterate_paths(root: Node) -> Iterator[tuple[YamlPath, Node, Role]]:
    """Every value of a suite that may be a path, with its place in the tree."""
    training = [(part, "*", "train", "preferences") for part in ("candidates", "judges")]
    launching = ("candidates", "*", "train", "launcher", "config")
    listing = ("gate", "rules", "*", "must_pass")
    for pattern in (("data", "path"), ("splits", "*", "path"), *training, launching, listing):
        for place, node in _select(root, pattern):
            yield place, node, "file"
    yield from _iterate_models(root, ("candidates", "*", "model"))
    yield from _iterate_models(root, ("judges", "*", "model"))
    for place, node, role in _iterate_models(root, ("candidates", "*", "train", "teacher")):
        if place[-1] != "teacher":  # a text there is the name of a candidate
            yield place, node, role
    for place, node in _select(root, ("judges", "*", "classifier")):
        yield place, node, "model"
    for place, node in _select(root, ("candidates", "*", "prompting", "encoder")):
        if node.value != "tfidf":
            yield place, node, "model"


def _iterate_models(root: Node, path: YamlPath) -> Iterator[tuple[YamlPath, Node, Role]]:
    for place, model in _select(root, path):
        if isinstance(model.value, str):
            yield place, model, "model"
            continue
        kind = child(model, "kind")
        recorded = kind is not None and kind.value == "answers"
        keys: dict[str, Role] = {"path": "file" if recorded else "model", "adapter": "model", "chat_template": "file"}
        for key, role in keys.items():
            if (node := child(model, key)) is not None:
                yield (*place, key), node, role


def _select(node: Node, pattern: YamlPath, path: YamlPath = ()) -> Iterator[tuple[YamlPath, Node]]:
    """The nodes at a path in which `*` stands for any key, or place in a list."""
    if not pattern:
        yield path, node
        return
    first, rest = pattern[0], pattern[1:]
    keys: Sequence[str | int] = (first,)
    if first == "*":
        below_all = node.value
        keys = list(below_all) if isinstance(below_all, dict) else ()
        keys = range(len(below_all)) if isinstance(below_all, list) else keys
    for key in keys:
        below = child(node, key)
        if below is not None:
            yield from _select(below, rest, (*path, key))


def find_problems(root_node: Node, root: Path, skip: YamlPath | None) -> list[Problem]:
    """Every path that leads out or to nothing. `skip` is one that the command line replaces."""
    problems = []
    for path, node, role in iterate_paths(root_node):
        if not isinstance(node.value, str) or not node.value or path == skip:
            continue
        folder = node.place.source.path.parent
        try:
            if role == "file":
                resolve_file(node.value, folder, root)
            else:
                _check_model(node.value, folder, root)
        except PathError as error:
            way_out = ". Name another, or give one with --data FILE" if path == ("data", "path") else ""
            problems.append(node.spot.problem(path, error.message + way_out, error.suggestion))
    return problems


def _check_model(value: str, folder: Path, root: Path) -> None:
    """A model name is a folder where it cannot be anything else, or where there is one."""
    if value.startswith("embedded:"):
        name = value.removeprefix("embedded:")
        if name not in EMBEDDED:
            near = suggest(name, EMBEDDED)
            raise PathError(
                f"must be a model that comes with muster: {quoted(f'embedded:{one}' for one in EMBEDDED)} (got {show(value)})",
                near and f"embedded:{near}",
            )
        return
    path = resolve_inside(value, folder, root)
    local = value.startswith("./") or value.count("/") > 1 or value.endswith("/")
    if path.exists() and not path.is_dir():
        raise PathError(f"must be a folder, 'embedded:NAME' or a Hub name (got the file {show(value)})")
    if local and not path.exists():
        raise PathError(f"no such folder: {show(value)}")


def rebase(node: Node, root: Path) -> Node:
    """The tree with the paths of extended files rewritten so that they hold from `root`."""
    for path, below, role in list(iterate_paths(node)):
        folder = below.place.source.path.parent.resolve()
        if not isinstance(below.value, str) or folder == root.resolve() or not folder.is_relative_to(root.resolve()):
            continue
        if role == "model" and (below.value.startswith("embedded:") or not (folder / below.value).is_dir()):
            continue
        value = (folder.relative_to(root.resolve()) / below.value).as_posix()
        node = _replaced(node, path, replace(below, value=value))
    return node


def _replaced(node: Node, path: YamlPath, leaf: Node) -> Node:
    if not path:
        return leaf
    key, value = path[0], node.value
    if isinstance(value, list):
        changed = [_replaced(below, path[1:], leaf) if place == key else below for place, below in enumerate(value)]
        return replace(node, value=changed)
    assert isinstance(value, dict)
    return replace(node, value={**value, str(key): _replaced(value[str(key)], path[1:], leaf)})
