"""The JSON Schema: it is committed, valid, and says the same as the loader about whole suites."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from harness.cli.schema import schema as print_schema
from harness.suite import load_suite
from harness.suite.schema import json_schema

SUITES = Path(__file__).parents[3] / "suites"


@pytest.fixture(scope="module")
def validator():
    """The schema, ready to use."""
    return jsonschema.Draft202012Validator(json_schema())


def test_the_committed_schema_is_what_the_grammar_says(capsys):
    """`muster schema > suites/suite.schema.json` was run after the last change of the grammar."""
    print_schema()
    assert capsys.readouterr().out == (SUITES / "suite.schema.json").read_text()


def test_the_schema_is_valid_and_explains_itself():
    """It is a draft 2020-12 schema, and every key a person may write has a title or description."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, definition in schema["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            explained = {"$ref", "title", "description", "if"} & value.keys()
            assert name.startswith("Partial") or explained, (name, key)
    train = schema["$defs"]["TrainSpec"]["properties"]
    assert all(value.get("description") for value in train.values())


@pytest.mark.parametrize("path", sorted(SUITES.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_suite_that_ships_validates(validator, path):
    """The built-in suites hold against the schema."""
    errors = [
        f"{error.json_path}: {error.message}" for error in validator.iter_errors(yaml.safe_load(path.read_text()))
    ]
    assert errors == []


def test_the_examples_of_the_readme_load_and_validate(validator, tmp_path):
    """The grammar by example is true: the suites of suites/README.md load, and hold against the schema."""
    whole, *others = re.findall(r"```yaml\n(.*?)```", (SUITES / "README.md").read_text(), re.DOTALL)
    for name in ("rows.jsonl", "hard.jsonl", "answers.jsonl", "pairs.jsonl", "red_team.txt"):
        (tmp_path / name).write_text("{}\n")
    assert len(others) > 1
    for name, text in (("suite.yaml", whole), *((f"other{i}.yaml", text) for i, text in enumerate(others))):
        (tmp_path / name).write_text(text)
        assert validator.is_valid(yaml.safe_load(text))
        assert "lora[rank=4]" in load_suite(tmp_path / name).suite.candidates


def starter():
    """The starter suite, to be changed."""
    return yaml.safe_load((SUITES / "starter" / "suite.yaml").read_text())


@pytest.mark.parametrize(
    ("change", "right"),
    [
        (lambda s: None, True),
        (lambda s: s["judges"].update(warmth={"kind": "toxicity"}), True),
        (lambda s: s["judges"].update(warmth={}), False),
        (lambda s: s["judges"].update(rouge={}), True),
        (lambda s: s["judges"].update(relevancy={"kind": "relevancy"}), True),
        (lambda s: s["judges"].update(relevancy={"modl": "x"}), False),
        (lambda s: s.update(oops=1), False),
        (lambda s: s.pop("data"), False),
        (lambda s: s["splits"]["test"].update(share=1.5), False),
        (lambda s: s["candidates"]["base"]["model"].update(kind="nope"), False),
        (lambda s: s["candidates"]["lora"]["train"].update(rank=[4, 8]), True),
    ],
)
def test_the_schema_accepts_and_refuses(validator, change, right):
    """A judge called by its kind needs no kind, others do; unknown keys and values out of range are refused."""
    suite = starter()
    change(suite)
    assert validator.is_valid(suite) is right


@pytest.mark.parametrize(
    ("suite", "right"),
    [
        ({"extends": "suite.yaml"}, True),
        ({"extends": "suite.yaml", "gate": None, "judges": {"toxicity": None}, "data": {"limit": 3}}, True),
        ({"extends": "suite.yaml", "candidates": {"lora": {"train": {"rank": 8, "alpha": None}}}}, True),
        ({"extends": "suite.yaml", "candidates": {"lora": {"train": {"rnk": 8}}}}, False),
        ({"extends": "suite.yaml", "dta": {}}, False),
        ({"extends": "clinic"}, False),
        ({"suite": "x"}, False),
    ],
)
def test_a_suite_that_extends_may_leave_out_and_remove(validator, suite, right):
    """With `extends` nothing is required and null is allowed, but unknown keys are still refused."""
    assert validator.is_valid(suite) is right
