"""Options that may be a list: a mapping with such lists stands for one model of each combination of their entries.

Knows no part of the grammar: the model whose options they are comes as an argument.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

MAX_SWEEP = 64
"""Most candidates one sweep may make."""

Model = TypeVar("Model", bound=BaseModel)


def single_valued(model: type[BaseModel]) -> list[str]:
    """Names of the fields that hold one number, text or flag: those of which a list can only mean several models."""
    return [name for name, field in model.model_fields.items() if _is_single(field.annotation)]


def _is_single(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_single(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return all(_is_single(member) for member in get_args(kind))
    return get_origin(kind) is Literal or kind in (int, float, str, bool, NoneType)


def listed(value: Any, options: Sequence[str]) -> dict[str, list[Any]]:
    """The options of a mapping that are lists, in the order of `options`."""
    if not isinstance(value, dict):
        return {}
    return {name: value[name] for name in options if isinstance(value.get(name), list) and value[name]}


def validate_each(
    value: Mapping[str, Any], lists: Mapping[str, list[Any]], validate: Callable[[Any], Model]
) -> tuple[Model, dict[str, Model]]:
    """The model of every list's first entry, and each combination's model by its label, such as `rank=4,alpha=8`.

    Of more than MAX_SWEEP combinations none is made.

    Raises:
        ValidationError: with what is wrong in any entry, at its place in its list, and in any combination.
    """
    first = {name: entries[0] for name, entries in lists.items()}
    errors: dict[tuple[Any, ...], InitErrorDetails] = {}
    for name, entries in lists.items():
        for index, entry in enumerate(entries):
            try:
                one = validate({**value, **first, name: entry})
            except ValidationError as error:
                for found in _details(error):
                    loc = found.get("loc", ())
                    if loc[:1] == (name,):
                        found["loc"] = (name, index, *loc[1:])
                    elif loc[:1] and loc[0] in lists:  # told where that list's own entries are looked at
                        continue
                    errors.setdefault((found["loc"], str(found.get("ctx"))), found)
    if errors:
        raise ValidationError.from_exception_data("sweep", list(errors.values()))
    if math.prod(map(len, lists.values())) > MAX_SWEEP:
        return one, {}
    combinations = (dict(zip(lists, entries, strict=True)) for entries in itertools.product(*lists.values()))
    made = [validate({**value, **combination}) for combination in combinations]
    return made[0], {label_of(model, list(lists)): model for model in made}


def _details(error: ValidationError) -> Iterator[InitErrorDetails]:
    for item in error.errors(include_url=False):
        yield InitErrorDetails(type=item["type"], loc=item["loc"], input=item["input"], ctx=item.get("ctx", {}))


def label_of(model: BaseModel, options: Sequence[str]) -> str:
    """What tells a model from the others of its sweep: `rank=4,learning_rate=4e-05`."""
    return ",".join(f"{name}={spell(getattr(model, name))}" for name in options)


def spell(value: object) -> str:
    """A value as a label shows it; a number as the shortest text that reads back as the same: 4, 0.5, 4e-05."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)


def allow_lists(schema: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """A model's JSON Schema in which each of the options may be a list too."""
    properties = dict(schema["properties"])
    for name in options:
        about = {key: properties[name][key] for key in ("title", "description", "default") if key in properties[name]}
        one = {key: item for key, item in properties[name].items() if key not in about}
        properties[name] = {**about, "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    return {**schema, "properties": properties}
