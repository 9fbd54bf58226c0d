"""`extends`: a suite that changes a few keys of another.

Mappings are merged key by key, lists and single values replace, and `null` removes what the extended suite has. A
mapping that names another `kind` replaces the old one whole. Every value keeps the place where it was written.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import Problem
from harness.suite.explain import suggest
from harness.suite.paths import PathError, resolve_file
from harness.suite.reading import read_source
from harness.suite.source import Node, Source, YamlPath, child, show, to_plain

MAX_CHAIN = 8


def read_chain(source: Source, root: Path) -> tuple[Node | None, list[Problem]]:
    """Reads a suite and all that it extends, merged; None where one of the files gives nothing to go on with."""
    layers: list[Node] = []
    problems: list[Problem] = []
    seen: list[Path] = []
    upper: Source | None = source
    while upper is not None:
        seen.append(upper.path.resolve())
        node, found = read_source(upper)
        problems += found
        if node is None:
            return None, problems
        before = len(problems)
        upper = _extended(node, root, seen, problems)
        if len(problems) > before:  # without what it extends, every key would seem to be missing
            return None, problems
        layers.append(node)
    merged = layers.pop()
    while layers:
        merged = merge(merged, _without_extends(layers.pop()), problems)
    return _without_extends(merged), problems


def merge(base: Node, change: Node, problems: list[Problem], path: YamlPath = ()) -> Node:
    """The base with a change laid over it. Removing what is not there is a mistake, added to `problems`."""
    if not isinstance(base.value, dict) or not isinstance(change.value, dict) or _other_kind(base, change):
        return change
    merged = dict(base.value)
    for key, value in change.value.items():
        if key not in merged:
            if value.value is None:
                problems.append(_nothing_to_remove(base, (*path, key), value))
            merged[key] = value
        elif value.value is None:
            del merged[key]
        else:
            merged[key] = merge(merged[key], value, problems, (*path, key))
    return replace(change, value=merged)


def _other_kind(base: Node, change: Node) -> bool:
    assert isinstance(base.value, dict)
    assert isinstance(change.value, dict)
    old, new = base.value.get("kind"), change.value.get("kind")
    return old is not None and new is not None and old.value != new.value


def _nothing_to_remove(base: Node, path: YamlPath, value: Node) -> Problem:
    assert isinstance(base.value, dict)
    message = f"must be a key of {base.place.source.shown} to be removed with null (there is none). Leave it out"
    return value.spot.problem(path, message, suggest(str(path[-1]), base.value))


def _extended(node: Node, root: Path, seen: list[Path], problems: list[Problem]) -> Source | None:
    """The file that a suite extends; None at the end of the chain, and after a mistake."""
    below = child(node, "extends")
    if below is None:
        return None
    if not isinstance(below.value, str) or not below.value.endswith((".yaml", ".yml")):
        message = f"must be the path of a .yaml file (got {show(to_plain(below))})"
        problems.append(below.spot.problem(("extends",), message))
        return None
    here = below.place.source
    try:
        path = resolve_file(below.value, here.path.parent, root)
        if path in seen:
            raise PathError(f"must not lead back to a file that extends it (got {show(below.value)})")
        if len(seen) >= MAX_CHAIN:
            raise PathError(f"must be a chain of at most {MAX_CHAIN} files (got more)")
    except PathError as error:
        problems.append(below.spot.problem(("extends",), error.message, error.suggestion))
        return None
    shown = (Path(here.shown).parent / below.value).as_posix()
    return Source(here.path.parent / below.value, shown)


def _without_extends(node: Node) -> Node:
    assert isinstance(node.value, dict)
    return replace(node, value={key: value for key, value in node.value.items() if key != "extends"})
