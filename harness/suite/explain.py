"""Turns pydantic's errors into mistakes with a place, a rule, what was found, and a way out.

One mistake gives one problem: the branches of a union that were tried and failed are told as one. Pydantic's own
wording, its names of union tags and its addresses never reach a user.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from harness.errors import Problem
from harness.suite.grammar import JUDGE_KINDS, Suite, TrainSpec
from harness.suite.installed import installed_kinds
from harness.suite.old_names import option_of, told
from harness.suite.source import Node, YamlPath, child, show, to_plain

OR_LIST = object()
"""Marks an option that may be a list too: a sweep."""
_LOOSE_NUMBER = re.compile(r"([-+]?)([0-9]*)(\.[0-9]*)?[eE]([-+]?)([0-9]+)\Z")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the grammar says about one place: a type, and the constraints beside it."""

    kind: Any
    constraints: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Error:
    """One of pydantic's errors, with its place in the file and the part of the grammar that refused."""

    type: str
    path: YamlPath
    node: Node
    shape: _Shape
    key: str
    """The unknown or missing key, where the error is about one; else empty."""
    text: str


def explain(error: ValidationError, root: Node, *, at: YamlPath = ()) -> list[Problem]:
    """Every mistake behind a failed validation, in pydantic's order; `at` is the part of the suite that was validated."""
    errors = [
        _locate({**item, "loc": (*at, *item["loc"])}, root)
        for item in error.errors(include_url=False, include_context=True)
    ]
    meant = {(item.path, _meant(item)) for item in errors if item.type == "extra_forbidden"}
    values = {item.path for item in errors if not item.key}
    problems: dict[tuple[YamlPath, str], Problem] = {}
    for item in errors:
        misspelt = item.type == "missing" and (item.path, item.key) in meant
        told_deeper = not item.key and any(path[: len(item.path)] == item.path != path for path in values)
        if not misspelt and not told_deeper:
            problems.setdefault((item.path, item.key), _problem(item))
    return list(problems.values())


def _meant(item: _Error) -> str | None:
    """The key that stands behind an unknown one."""
    return option_of(item.shape.kind, item.key) or suggest(item.key, _keys(item.shape))


def suggest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The nearest of some words, if one is near enough to be meant: `cutoff` is the least similarity, from 0 to 1."""
    choices = {choice.lower(): choice for choice in words}
    near = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=cutoff)
    return choices[near[0]] if near else None


def quoted(words: Iterable[str], conjunction: str = "or", limit: int = 20) -> str:
    """Names in a sentence: 'a', 'b' or 'c'; past `limit`, the count of those left out."""
    names = list(words)
    shown = [repr(name) for name in names[:limit]]
    if len(names) > limit:
        return ", ".join(shown) + f" and {len(names) - limit} more"
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} {conjunction} {shown[-1]}"


# ------------------------------------------------------------------------------------------------------------ locating


def _locate(item: Any, root: Node) -> _Error:
    """Walks a location through the grammar and the file at once; union tags are steps in the grammar only."""
    shape, node = _Shape(Suite), root
    path: YamlPath = ()
    about_key = item["type"] in ("extra_forbidden", "missing")
    for index, part in enumerate(item["loc"]):
        if about_key and index == len(item["loc"]) - 1 and _is_model(shape.kind):
            break
        further, steps = _step(shape, part, node)
        below = child(node, part) if steps else node
        if below is None:  # an entry that is not there, such as the second number of a pair
            about_key = False
            break
        shape, node, path = further, below, ((*path, part) if steps else path)
    key = str(item["loc"][-1]) if about_key else ""
    return _Error(item["type"], path, node, shape, key, str(item.get("ctx", {}).get("error", "")))


def _step(shape: _Shape, part: str | int, node: Node) -> tuple[_Shape, bool]:
    """The shape one part further, and whether the part is a step in the file too."""
    kind = shape.kind
    if _is_model(kind):
        field = _fields(kind).get(str(part))
        marks = (OR_LIST,) if kind is TrainSpec and part in TrainSpec.swept() else ()
        return (_unwrap(_Shape(field.annotation, (*field.metadata, *marks))) if field else _Shape(Any)), True
    if _is_union(kind):
        return _branch(kind, str(part), node), False
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is dict:
        return _unwrap(_Shape(arguments[1])), True
    if origin is list:
        return _unwrap(_Shape(arguments[0])), True
    if origin is tuple and isinstance(part, int):
        return _unwrap(_Shape(arguments[min(part, len(arguments) - 1)])), True
    if isinstance(part, int) and isinstance(node.value, list):  # an entry of a sweep is as the option itself
        return _Shape(kind, tuple(mark for mark in shape.constraints if mark is not OR_LIST)), True
    return _Shape(Any), True


def _branch(union: Any, label: str, node: Node) -> _Shape:
    """The member of a union that pydantic means by a label: a tag for models, else the one that fits the value."""
    members = [_unwrap(_Shape(member)) for member in get_args(union)]
    for member in members:
        if label in _tags(member):
            return member
    lists = [member for member in members if get_origin(member.kind) is list]
    if isinstance(node.value, list) and lists and label.startswith("list"):
        return lists[0]
    return _Shape(union)


def _tags(member: _Shape) -> tuple[str, ...]:
    kinds = _fields(member.kind).get("kind") if _is_model(member.kind) else None
    named = tuple(str(c.tag) for c in member.constraints if hasattr(c, "tag"))
    return tuple(dict.fromkeys(named + (get_args(kinds.annotation) if kinds else ())))


def _unwrap(shape: _Shape) -> _Shape:
    """Strips Annotated and `| None`, keeping the constraints."""
    kind, constraints = shape.kind, shape.constraints
    while True:
        if get_origin(kind) is Annotated:
            kind, *extra = get_args(kind)
            for item in extra:
                constraints += tuple(item.metadata) if isinstance(item, FieldInfo) else (item,)
            continue
        members = [member for member in get_args(kind) if member is not NoneType] if _is_union(kind) else []
        if members and len(members) < len(get_args(kind)):
            kind = members[0] if len(members) == 1 else Union[tuple(members)]  # noqa: UP007 (built at run time)
            continue
        return _Shape(kind, constraints)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _fields(model: Any) -> dict[str, FieldInfo]:
    """A model's fields by the names a suite uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _keys(shape: _Shape) -> list[str]:
    return list(_fields(shape.kind)) if _is_model(shape.kind) else []


# ------------------------------------------------------------------------------------------------------------- wording


def _problem(item: _Error) -> Problem:
    if item.type == "extra_forbidden":
        return _unknown_key(item)
    if item.type == "missing" and item.key:
        field = _fields(item.shape.kind)[item.key]
        wanted = describe(_unwrap(_Shape(field.annotation, tuple(field.metadata))))
        return item.node.spot.problem(item.path, f"{item.key!r} is missing. It must be {wanted}")
    if item.type in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(item)
    if item.type == "value_error":
        return item.node.spot.problem(item.path, item.text)
    if item.path == ("suite",) and isinstance(item.node.value, str):
        return item.node.spot.problem(item.path, wrong_name(item.node.value))
    return _wrong_value(item)


def _unknown_key(item: _Error) -> Problem:
    """The problem of a key that the grammar does not know, shown at the key."""
    below, keys = child(item.node, item.key), _keys(item.shape)
    place = below.key_place if below is not None and below.key_place is not None else item.node.spot
    old = told(item.shape.kind, item.key, below)
    if old is not None:
        return place.problem((*item.path, item.key), old)
    suggestion = suggest(item.key, keys)
    message = "unknown key" if suggestion else f"unknown key. Known here: {', '.join(keys)}"
    return place.problem((*item.path, item.key), message, suggestion)


def wrong_name(name: str) -> str:
    """The message for a name that cannot be one."""
    rule = "letters, digits, '_', '-' and '.', beginning with a letter, at most 64 characters"
    return f"must be a name of {rule} (got {show(name)})"


def _wrong_kind(item: _Error) -> Problem:
    """A union's `kind` is missing or unknown, or there is no mapping to look for it in."""
    judge = item.path[:1] == ("judges",) and len(item.path) == 2
    kinds = (
        [*JUDGE_KINDS, *installed_kinds()]
        if judge
        else [
            tag for m in map(_unwrap, map(_Shape, get_args(item.shape.kind))) if _is_model(m.kind) for tag in _tags(m)
        ]
    )
    name = str(item.path[-1])
    given = child(item.node, "kind")
    if not isinstance(item.node.value, dict):
        example = f"{name}: {{}}" if judge and name in kinds else f"{name}: {{kind: {kinds[0]}}}"
        message = f"must be a mapping (got {show(to_plain(item.node))}). Write '{example}'"
        return item.node.spot.problem(item.path, message)
    if given is None and judge:
        message = f"{name!r} is no built-in judge, so it must have a 'kind': {quoted(kinds)}"
        return item.node.spot.problem(item.path, message, suggest(name, kinds))
    if given is None:
        return item.node.spot.problem(item.path, f"'kind' is missing. It must be {quoted(kinds)}")
    value = to_plain(given)
    message = f"must be {quoted(kinds)} (got {show(value)})"
    suggestion = suggest(value, kinds) if isinstance(value, str) else None
    return given.spot.problem((*item.path, "kind"), message, suggestion)


def _wrong_value(item: _Error) -> Problem:
    value = to_plain(item.node)
    got = "something else, not shown here" if item.path[-1:] == ("api_key",) else _got(item.node)
    wanted = describe(item.shape) + (", or a list of such" if OR_LIST in item.shape.constraints else "")
    message = f"must be {wanted} (got {got})"
    hint = _hint(item.shape, item.node) if item.path[-1:] != ("api_key",) else None
    choices = [choice for choice in _literals(item.shape.kind) if isinstance(choice, str)]
    suggestion = suggest(value, choices) if isinstance(value, str) and not hint else None
    return item.node.spot.problem(item.path, f"{message}. {hint}" if hint else message, suggestion)


def _got(node: Node) -> str:
    value = node.value
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if value == {}:
        return "an empty mapping"
    if isinstance(value, float) and node.written and node.written != repr(value):
        return f"{show(value)}, which is how YAML reads {node.written}"
    return show(to_plain(node))


def _hint(shape: _Shape, node: Node) -> str | None:
    """What to write instead, where YAML's reading of a scalar is the likely reason."""
    kinds = list(_leaves(shape.kind))
    value, written = node.value, node.written
    if str in kinds and isinstance(value, bool | int | float):
        return f'Put it in quotes: "{written}"'
    if (int in kinds or float in kinds) and isinstance(value, str):
        if node.style in ("'", '"') and _is_number(written):
            return f"Remove the quotes: {written}"
        if node.style is None and (fixed := _spell_number(written)):
            return f"YAML takes {written} for a text. Write {fixed}"
    if bool in kinds and isinstance(value, str) and value.lower() in ("true", "false"):
        return f"Remove the quotes: {value.lower()}"
    if int in kinds and float not in kinds and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"Write {int(value)}"
    return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", text) is not None


def _spell_number(text: str) -> str | None:
    """A number such as 1e3 as YAML 1.1 wants it: with a point, and a sign in the exponent."""
    match = _LOOSE_NUMBER.match(text)
    if not match or not (match[2] or match[3]):
        return None
    fraction = match[3] if match[3] and match[3] != "." else ".0"
    return f"{match[1]}{match[2] or '0'}{fraction}e{match[4] or '+'}{match[5]}"


def describe(shape: _Shape) -> str:
    """A type and its constraints in words: "a whole number of at least 1, or a list of such"."""
    kind = shape.kind
    if _is_union(kind):
        return _describe_union(kind)
    origin = get_origin(kind)
    if origin is Literal:
        return quoted([str(value) for value in get_args(kind)])
    if origin is list:
        item = _unwrap(_Shape(get_args(kind)[0]))
        return f"a list of {_minimum(shape)}, each {'a mapping' if _is_model(item.kind) else describe(item)}"
    if origin is tuple:
        return f"a list of {len(get_args(kind))}, each {describe(_unwrap(_Shape(get_args(kind)[0])))}"
    if origin is dict:
        return "a mapping with at least one entry" if _constraint(shape, "min_length") else "a mapping"
    if _is_model(kind):
        return f"a mapping with {quoted(list(_fields(kind)), 'and', limit=6)}"
    if kind is bool:
        return "true or false"
    if kind is int:
        return "a whole number" + _bounds(shape)
    if kind is float:
        return "a number" + _bounds(shape)
    if kind is str:
        return _describe_text(shape)
    return "something else"


def _describe_union(kind: Any) -> str:
    members = [_unwrap(_Shape(member)) for member in get_args(kind)]
    if all(_is_model(member.kind) for member in members):
        return f"a mapping with 'kind': {quoted([tag for member in members for tag in _tags(member)])}"
    scalars = [m for m in members if get_origin(m.kind) is not list and not (m.kind is int and float in get_args(kind))]
    lists = [member for member in members if get_origin(member.kind) is list]
    words = " or ".join(describe(member) for member in scalars)
    if not lists:
        return words
    entry = _unwrap(_Shape(get_args(lists[0].kind)[0]))
    same = any(entry == member for member in scalars) or _is_union(entry.kind)
    return f"{words}, or a list of such" if same else f"{words}, or {describe(lists[0])}"


def _describe_text(shape: _Shape) -> str:
    pattern = str(_constraint(shape, "pattern") or "")
    if "64" in pattern and "a-f" in pattern:
        return "a SHA-256 of 64 lower-case hex digits"
    if pattern.startswith("^[A-Za-z0-9]"):
        return "a Hub name such as owner/name"
    if pattern:
        return "a name of letters, digits, '_', '-' and '.'"
    return "a text" if not _constraint(shape, "min_length") else "a text that is not empty"


def _minimum(shape: _Shape) -> str:
    least = _constraint(shape, "min_length")
    return f"at least {least}" if least else "entries"


def _bounds(shape: _Shape) -> str:
    """Bounds in words, with a leading space."""
    ge, gt, le, lt = (_constraint(shape, name) for name in ("ge", "gt", "le", "lt"))
    if ge is not None and le is not None:
        return f" from {ge} to {le}"
    low = f" of at least {ge}" if ge is not None else f" above {gt}" if gt is not None else ""
    high = f"up to {le}" if le is not None else f"below {lt}" if lt is not None else ""
    return f"{low} and {high}" if low and high else f"{low} {high}".rstrip()


def _constraint(shape: _Shape, name: str) -> Any:
    return next((value for c in shape.constraints if (value := getattr(c, name, None)) is not None), None)


def _leaves(kind: Any) -> Iterator[Any]:
    """The scalar types a place accepts."""
    if _is_union(kind):
        for member in get_args(kind):
            yield from _leaves(_unwrap(_Shape(member)).kind)
    elif get_origin(kind) is not list:
        yield kind


def _literals(kind: Any) -> Iterator[Any]:
    for leaf in _leaves(kind):
        if get_origin(leaf) is Literal:
            yield from get_args(leaf)
