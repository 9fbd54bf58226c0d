"""The JSON Schema of a suite file (draft 2020-12), for editors and for people who write suites by program.

It says what the grammar says, and two things more: a judge that is called by its kind may leave `kind` out, and a suite
that `extends` another may leave anything out, and may remove a key with null.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from harness.suite.grammar import JUDGE_KINDS, Suite

DRAFT = "https://json-schema.org/draft/2020-12/schema"
EXTENDS = {
    "title": "Extends",
    "type": "string",
    "pattern": r"\.ya?ml$",
    "description": "Another suite, relative to this file, whose keys hold where this has none. Mappings are merged, "
    "lists and single values replace, null removes a key.",
}

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema, the same on every call."""
    schema = Suite.model_json_schema(by_alias=True, mode="validation")
    definitions = schema.pop("$defs")
    for definition in definitions.values():
        _tidy(definition)
    _tidy(schema)
    judges = _split_judges(schema, definitions)
    whole = {**schema, "properties": {**schema["properties"], "judges": judges}}
    parts, part_definitions = _partial(whole, definitions)
    definitions["Suite"] = whole
    part_definitions["PartialSuite"] = _with_extends(parts)
    return {
        "$schema": DRAFT,
        "title": "muster suite",
        "description": "Data, splits, candidates, judges and a gate: what `muster run` runs.",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": "#/$defs/PartialSuite"},
        "else": {"$ref": "#/$defs/Suite"},
        "$defs": dict(sorted({**definitions, **part_definitions}.items())),
    }


def _tidy(definition: Schema) -> None:
    """Takes out what only OpenAPI knows."""
    for value in _mappings(definition):
        value.pop("discriminator", None)


def _mappings(value: Any) -> list[Schema]:
    """Every mapping within a value, the outermost first."""
    if isinstance(value, list):
        return [found for item in value for found in _mappings(item)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for item in value.values() for found in _mappings(item))]


def _split_judges(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema of `judges`: each kind under its own name without `kind`, and any kind under any name."""
    judges: Schema = copy.deepcopy(schema["properties"]["judges"])
    references = judges["additionalProperties"].get("oneOf") or judges["additionalProperties"]["anyOf"]
    specs: dict[str, str] = {}
    for reference in references:
        name = reference["$ref"].rpartition("/")[2]
        definition = definitions[name]
        kind = definition["properties"]["kind"]
        specs.update(dict.fromkeys([kind["const"]] if "const" in kind else kind["enum"], name))
        definition["required"] = [key for key in definition.get("required", []) if key != "kind"]
        if not definition["required"]:
            del definition["required"]
    definitions["Judge"] = {
        "title": "Judge",
        "description": "A judge of any kind.",
        "required": ["kind"],
        "oneOf": references,
    }
    any_judge = {"$ref": "#/$defs/Judge"}
    by_kind = {
        kind: {"if": {"required": ["kind"]}, "then": any_judge, "else": {"$ref": f"#/$defs/{specs[kind]}"}}
        for kind in JUDGE_KINDS
    }
    return {**judges, "properties": by_kind, "additionalProperties": any_judge}


def _partial(schema: Schema, definitions: Mapping[str, Schema]) -> tuple[Schema, dict[str, Schema]]:
    """The schema of a suite that changes another: nothing is required, and any key may be null."""
    partial = {f"Partial{name}": _loosened(definition) for name, definition in definitions.items()}
    return _loosened(schema), partial


def _loosened(value: Any) -> Any:
    """A schema without `required`, in which each property may be null and references are partial too."""
    if isinstance(value, list):
        return [_loosened(item) for item in value]
    if not isinstance(value, dict):
        return value
    loose: Schema = {}
    for key, item in value.items():
        if key in ("required", "minProperties"):
            continue
        if key == "$ref":
            loose[key] = item.replace("#/$defs/", "#/$defs/Partial")
        elif key == "properties":
            loose[key] = {name: _or_null(_loosened(property_)) for name, property_ in item.items()}
        elif key == "additionalProperties" and isinstance(item, dict):
            loose[key] = _or_null(_loosened(item))
        elif key == "oneOf":  # without what tells them apart, several may fit
            loose["anyOf"] = _loosened(item)
        elif key == "default":
            continue
        else:
            loose[key] = _loosened(item) if key not in ("enum", "const", "if") else item
    return loose


def _or_null(schema: Any) -> Schema:
    described = {key: schema[key] for key in ("title", "description") if key in schema}
    return {**described, "anyOf": [schema, {"type": "null"}]}


def _with_extends(schema: Schema) -> Schema:
    return {**schema, "required": ["extends"], "properties": {"extends": EXTENDS, **schema["properties"]}}
