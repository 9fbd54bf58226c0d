"""YAML read into a tree with positions.

Guarantees: all mistakes of a text are collected as long as it can still be read on; nothing in a file can build an
object, refer to another part of it, exhaust the stack, or cost more than its size. What YAML 1.1 and 1.2 read
differently (`no`, `0123`, `12:30:00`) is refused instead of guessed. Knows nothing of suites.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol

import yaml

from harness.errors import Problem
from harness.suite.source import Node, Place, Source, YamlPath, show, to_plain

MAX_BYTES = 500_000
MAX_DEPTH = 32
MAX_NODES = 10_000
MAX_PROBLEMS = 100
MAX_INT = 2**63 - 1

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_UNPRINTABLE = re.compile("[^\x09\x0a\x0d\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_TYPES = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


def read_source(source: Source) -> tuple[Node | None, list[Problem]]:
    """Reads a YAML file. The node is None where nothing can be made of the text; then there is at least one problem."""
    start = Place(source, 1, 1)
    try:
        if source.path.exists() and not source.path.is_file():
            kind = "a folder" if source.path.is_dir() else "no regular file"
            return None, [start.problem((), f"must be a YAML file (got {kind})")]
        size = source.path.stat().st_size
        if size > MAX_BYTES:
            return None, [start.problem((), f"must be at most {MAX_BYTES:,} bytes (got {size:,})")]
        content = source.path.read_bytes()
    except OSError as error:
        return None, [start.problem((), f"cannot be read ({error.strerror or error})")]
    return read_text(source, content)


def read_text(source: Source, content: bytes) -> tuple[Node | None, list[Problem]]:
    """Reads YAML from bytes: UTF-8, with or without a byte order mark."""
    start = Place(source, 1, 1)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None, [start.problem((), "must be UTF-8 (got UTF-16). Save the file as UTF-8")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _place_after(source, content[: error.start].decode("utf-8", "replace"))
        byte = content[error.start]
        return None, [place.problem((), f"must be UTF-8 (got the byte 0x{byte:02x}). Save the file as UTF-8")]
    if unprintable := _UNPRINTABLE.search(text):
        place = _place_after(source, text[: unprintable.start()])
        return None, [place.problem((), f"must be text (got the control character {unprintable.group()!r}). Remove it")]
    return _Builder(source).build(text)


def _place_after(source: Source, before: str) -> Place:
    lines = _LINE_BREAK.split(before)
    return Place(source, len(lines), len(lines[-1]) + 1)


class _Mark(Protocol):
    """PyYAML's marks, Python's and C's."""

    line: int
    column: int


def _place_of(source: Source, mark: _Mark | None) -> Place:
    return Place(source, mark.line + 1, mark.column + 1) if mark else Place(source, 1, 1)


class _StopError(Exception):
    """Raised inside the builder when the rest of a file cannot be read any more."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list whose end has not come yet. `dropped`: it stands where nothing can be kept, as in a key."""

    node: Node
    path: YamlPath
    key: str | None = None
    key_place: Place | None = None
    key_next: bool = True
    dropped: bool = False


@dataclass(slots=True)
class _Builder:
    """Makes nodes of YAML events with its own stack, so that no nesting can exhaust Python's."""

    source: Source
    problems: list[Problem] = field(default_factory=list)
    frames: list[_Frame] = field(default_factory=list)
    root: Node | None = None
    nodes: int = 0
    documents: int = 0
    aliases: set[str] = field(default_factory=set)

    def build(self, text: str) -> tuple[Node | None, list[Problem]]:
        """Reads to the end, or to the first mistake after which nothing more can be told."""
        try:
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
            return None, self.problems
        except _StopError:
            return None, self.problems
        if not self.problems:
            self._root_is_mapping()
        usable = self.root is not None and isinstance(self.root.value, dict)
        return (self.root if usable else None), self.problems

    def _root_is_mapping(self) -> None:
        if self.root is None or self.root.value is None:
            self._add(Place(self.source, 1, 1), "the file is empty. Start from the one that `muster init` writes")
        elif not isinstance(self.root.value, dict):
            self._add(self.root.place, f"must be a mapping of keys (got {show(to_plain(self.root))})")

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents == 2:
                self._stop(self._place(event), "a second document starts here. Keep one suite in a file")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open(event)
        elif isinstance(event, _ENDS):
            self.frames.pop()

    def _alias(self, event: yaml.AliasEvent) -> None:
        place = self._place(event)
        if event.anchor is not None and event.anchor not in self.aliases:
            self.aliases.add(event.anchor)
            self._add(place, f"an alias is not allowed (got '*{event.anchor}'). Write the value out, or use 'extends'")
        self._put(Node(value=None, place=place, written="*"))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        place = self._place(event)
        if self.frames and isinstance(self.frames[-1].node.value, dict) and self.frames[-1].key_next:
            self._key(event, place)
            return
        value: str | int | float | bool | None = event.value
        message = self._tag(event)
        if message is None and event.implicit[0]:
            value, message = _resolve(event.value)
        if message is None and isinstance(value, str):
            message = _refuse_characters(value)
        if message:
            self._add(place, message)
        self._put(Node(value=value, place=place, written=event.value, style=event.style or None))

    def _key(self, event: yaml.ScalarEvent, place: Place) -> None:
        """Keys are texts as they stand: a candidate may be called `no` or `3.10`."""
        frame = self.frames[-1]
        assert isinstance(frame.node.value, dict)
        frame.key_next, frame.key, frame.key_place = False, event.value, place
        message = self._tag(event) or _refuse_characters(event.value)
        if message:
            self._add(place, message)
            frame.key = None
        elif event.value in frame.node.value:
            first = frame.node.value[event.value].key_place
            line = first.line if first else 0
            frame.key = None
            path = (*frame.path, event.value)
            self._add(place, f"the key is given twice (first on line {line}). Keep one of them", path)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        place = self._place(event)
        if len(self.frames) >= MAX_DEPTH:
            self._stop(place, f"must be nested at most {MAX_DEPTH} deep (got more). Write it flatter", ())
        message = self._tag(event)
        if message:
            self._add(place, message)
        parent = self.frames[-1] if self.frames else None
        path = self._path()
        as_key = parent is not None and isinstance(parent.node.value, dict) and parent.key_next
        dropped = as_key or (parent is not None and parent.dropped)
        empty: dict[str, Node] | list[Node] = {} if isinstance(event, yaml.MappingStartEvent) else []
        key_place = parent.key_place if parent is not None and isinstance(parent.node.value, dict) else None
        node = Node(value=empty, place=place, key_place=key_place)
        if as_key:
            assert parent is not None
            parent.key_next, parent.key, parent.key_place = False, None, place
            if not parent.dropped:
                self._add(place, "a key must be a text (got a list or mapping). Put a text with braces into quotes")
        else:
            self._put(node)
        self.frames.append(_Frame(node=node, path=path, dropped=dropped))

    def _put(self, node: Node) -> None:
        """Hangs a value under the open mapping or list."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(node.place, f"must hold at most {MAX_NODES:,} values (got more). Put data into a data file")
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
            return
        assert isinstance(frame.node.value, dict)
        if frame.key_next:  # an alias as a key
            frame.key_next, frame.key = False, None
            return
        frame.key_next = True
        if frame.key is not None and not frame.dropped:
            frame.node.value[frame.key] = _keyed(node, frame.key_place)

    def _path(self) -> YamlPath:
        """Where the next value stands."""
        if not self.frames:
            return ()
        frame = self.frames[-1]
        if isinstance(frame.node.value, list):
            return (*frame.path, len(frame.node.value))
        return (*frame.path, frame.key) if frame.key is not None and not frame.key_next else frame.path

    def _tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> str | None:
        if event.tag is None or event.tag == "!":
            return None
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        return f"a tag is not allowed (got {show(tag)}). Remove it, and quote the value where a text is meant"

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        self._add(_place_of(self.source, error.problem_mark or error.context_mark), _syntax_message(error))

    def _place(self, event: yaml.Event) -> Place:
        return _place_of(self.source, event.start_mark)

    def _add(self, place: Place, message: str, path: YamlPath | None = None) -> None:
        self.problems.append(place.problem(self._path() if path is None else path, message))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _StopError

    def _stop(self, place: Place, message: str, path: YamlPath | None = None) -> NoReturn:
        self._add(place, message, path)
        raise _StopError


def _keyed(node: Node, key_place: Place | None) -> Node:
    """The node with the place of its key; containers have it already, and must stay the object that is being filled."""
    if isinstance(node.value, dict | list):
        return node
    return replace(node, key_place=key_place)


def _resolve(text: str) -> tuple[str | int | float | bool | None, str | None]:
    """What an unquoted scalar means, and a message where its writer and YAML may disagree about that."""
    if text in _NULLS:
        return None, None
    if text in _BOOLEANS:
        return _BOOLEANS[text], None
    if _INT.match(text):
        if len(text) > 20 or abs(int(text)) > MAX_INT:
            return text, f"must be below 2^63 (got a number of {len(text):,} digits). Quote it where a text is meant"
        return int(text), None
    if _FLOAT.match(text):
        sign = "-" if text.startswith("-") else ""
        named = text.lstrip("+-").lower()
        return float(sign + named.removeprefix(".") if named in (".inf", ".nan") else text), None
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], [])
    if len(text) <= 100 and any(tag in _TYPES and pattern.match(text) for tag, pattern in resolvers):
        return text, _ambiguous(text)
    return text, None


def _ambiguous(text: str) -> str:
    """The message for a scalar that YAML 1.1 takes for something else than what stands there."""
    try:
        value = yaml.safe_load(text)
    except (ValueError, OverflowError):
        return f"must be a plain number or a quoted text (got {show(text)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a plain number or a quoted text (got {show(text)})"
    meant = show(value)
    return f"{text} means {meant} in YAML. Write {meant} where that is meant, or '{text}' in quotes for the text"


def _refuse_characters(text: str) -> str | None:
    """A message for what an escape in a quoted scalar can smuggle in: NUL, and halves of surrogate pairs."""
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            return f"must be text (got the escaped character U+{ord(character):04X}). Remove it"
    return None


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab cannot indent YAML. Use spaces"
    if "mapping values are not allowed here" in problem:
        return "is not valid YAML: a second ':' on the line. Put a text with ': ' into quotes, or check the indentation"
    if "expected <block end>" in problem or "did not find expected" in problem:
        return f"is not valid YAML: {problem}. Check the indentation of this line and the one above, and the quotes"
    context = f" {error.context}" if error.context else ""
    return f"is not valid YAML:{context + ',' if context else ''} {problem}"
