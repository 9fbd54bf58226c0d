"""A file as a tree whose every value remembers where it stands: file, line and column.

Knows nothing of YAML's syntax (`reading` does) and nothing of suites.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import Problem

SECRET = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|"
    r"AIza[A-Za-z0-9_-]{30,}|xox[abprs]-[A-Za-z0-9-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""What keys of the usual services look like; a text that matches is never shown."""

YamlPath = tuple[str | int, ...]
"""Keys and list indices from the top of the file, such as ("gate", "rules", 1, "metric")."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file, by its absolute path and by the name a person knows it under."""

    path: Path
    shown: str


@dataclass(frozen=True, slots=True)
class Place:
    """A character of a file. Line and column count from 1."""

    source: Source
    line: int
    column: int

    def problem(self, path: YamlPath, message: str, suggestion: str | None = None) -> Problem:
        """A mistake at this place."""
        return Problem(
            file=self.source.shown,
            line=self.line,
            column=self.column,
            path=format_path(path),
            message=message,
            suggestion=suggestion,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value of the file. `value` holds nodes for mappings and lists, and plain Python for the rest."""

    value: dict[str, Node] | list[Node] | str | int | float | bool | None
    place: Place
    key_place: Place | None = None
    """Where the key that holds the value stands."""
    written: str = ""
    """A scalar as it stands in the file, without its quotes."""
    style: str | None = None
    """The scalar's style: None when unquoted, else one of `'`, `"`, `|` and `>`."""

    @property
    def spot(self) -> Place:
        """Where a mistake in the value is shown: at its key for a mapping or no value, else at the value."""
        if self.key_place is not None and (isinstance(self.value, dict) or (self.value is None and not self.written)):
            return self.key_place
        return self.place


def format_path(path: YamlPath) -> str:
    """A path in words: `gate.rules[1].metric`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def find_node(node: Node, path: YamlPath) -> Node:
    """The node at a path, or the nearest one above it."""
    for part in path:
        below = child(node, part)
        if below is None:
            break
        node = below
    return node


def child(node: Node, part: str | int) -> Node | None:
    """The value under a key or an index, or None."""
    if isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


def to_plain(node: Node) -> Any:
    """The value as plain Python, without places."""
    if isinstance(node.value, dict):
        return {key: to_plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [to_plain(value) for value in node.value]
    return node.value


def iterate_scalars(node: Node, path: YamlPath = ()) -> Iterator[tuple[YamlPath, Node]]:
    """Every scalar below a node, with its path, in the order of the file."""
    if isinstance(node.value, dict):
        for key, value in node.value.items():
            yield from iterate_scalars(value, (*path, key))
    elif isinstance(node.value, list):
        for index, value in enumerate(node.value):
            yield from iterate_scalars(value, (*path, index))
    else:
        yield path, node


def from_plain(value: Any, place: Place) -> Node:
    """Plain Python as a tree all of which stands at one place."""
    if isinstance(value, dict):
        return Node(value={str(key): from_plain(item, place) for key, item in value.items()}, place=place)
    if isinstance(value, list):
        return Node(value=[from_plain(item, place) for item in value], place=place)
    return Node(value=value, place=place, written=str(value))


def show(value: object) -> str:
    """A value in a message: short, on one line, with nothing a terminal would obey."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and SECRET.search(value):
        return "something that looks like a key, not shown here"
    if isinstance(value, str) and len(value) > 60:
        return repr(value[:57]) + "…"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
