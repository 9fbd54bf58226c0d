"""`extends`: what is merged, what is replaced, what is removed, and where mistakes are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Problem, SuiteError
from harness.suite import load_suite
from harness.suite.merging import merge
from harness.suite.reading import read_text
from harness.suite.source import Node, Source, to_plain

BASE = """\
suite: base
data:
  path: rows.jsonl
  fields: {input: q, reference: a, slices: [x, y]}
splits:
  train: {share: 0.8, use: training}
  test: {share: 0.2}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  lora: {train: {base: base, rank: 4}}
judges:
  correctness: {}
  toxicity: {}
gate:
  baseline: base
  rules:
    - {metric: correctness, better_by: 0.05}
"""


def write(folder: Path, name: str, text: str) -> Path:
    """A suite file, with data beside it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (path.parent / "rows.jsonl").write_text("{}\n")
    return path


def problems_of(path: Path, root: Path) -> list[str]:
    """What is wrong with a suite, with names below `root`."""
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return [str(problem).replace(f"{root}/", "") for problem in caught.value.problems]


def test_a_suite_may_change_a_few_keys_of_another(tmp_path):
    """Mappings merge, lists and scalars replace, null removes, another kind replaces the whole mapping."""
    write(tmp_path, "base.yaml", BASE)
    path = write(
        tmp_path,
        "small.yaml",
        "extends: base.yaml\nsuite: small\ndata: {limit: 10, fields: {slices: [z]}}\n"
        "candidates:\n  lora: {train: {rank: 8, base: plain}}\n"
        "  base: {model: {kind: openai, name: m}}\n  other: {train: {base: plain}}\n"
        "  plain: {model: {kind: transformers, path: embedded:clinic-base}}\n"
        "judges: {toxicity: null}\ngate: null\n",
    )
    suite = load_suite(path).suite
    assert suite.suite == "small"
    assert suite.data.limit == 10
    assert suite.data.fields.slices == ["z"]
    assert suite.data.fields.input == "q"
    assert suite.candidates["lora"].train.rank == 8
    assert suite.candidates["base"].model.kind == "openai"
    assert list(suite.judges) == ["correctness"]
    assert suite.gate is None
    assert list(suite.candidates) == ["base", "lora", "other", "plain"]


def test_mistakes_name_the_file_they_stand_in(tmp_path):
    """A wrong value is shown where it was written, in the suite or in what it extends; the suite's own come first."""
    write(tmp_path, "base.yaml", BASE.replace("rank: 4", "rank: four").replace("share: 0.2", "share: 2"))
    path = write(tmp_path, "top.yaml", "extends: base.yaml\ncandidates:\n  lora: {train: {alpha: big}}\n")
    found = problems_of(path, tmp_path)
    assert [line.split(": ")[0] for line in found] == ["top.yaml:3:25", "base.yaml:7:17", "base.yaml:10:36"]


def test_removing_what_is_not_there_is_a_mistake(tmp_path):
    """A misspelt key under null would silently remove nothing."""
    write(tmp_path, "base.yaml", BASE)
    path = write(tmp_path, "top.yaml", "extends: base.yaml\njudges: {toxicty: null}\n")
    found = problems_of(path, tmp_path)
    assert len(found) >= 1
    assert "top.yaml:2:19: judges.toxicty: must be a key of" in found[0]
    assert "(did you mean 'toxicity'?)" in found[0]


@pytest.mark.parametrize(
    ("extends", "text"),
    [
        ("bse.yaml", "no such file: 'bse.yaml' (did you mean 'base.yaml'?)"),
        ("top.yaml", "must not lead back"),
        ("../base.yaml", "must stay inside"),
        ("/base.yaml", "must be a path relative"),
        ("clinic", "must be the path of a .yaml file (got 'clinic')"),
        ("[a.yaml]", "must be the path of a .yaml file (got a list)"),
        ("https://x.org/a.yaml", "must be a path (got the address"),
    ],
)
def test_what_may_be_extended(tmp_path, extends, text):
    """Only a file inside the suite's folder, and never in a circle; the mistake is told alone."""
    write(tmp_path, "base.yaml", BASE)
    found = problems_of(write(tmp_path, "top.yaml", f"suite: x\nextends: {extends}\n"), tmp_path)
    assert len(found) == 1
    assert found[0].startswith("top.yaml:2:10: extends: ")
    assert text in found[0]


def test_chains_circles_and_folders(tmp_path):
    """A chain may lead through folders, paths being relative to their file; a circle names the file that closes it."""
    write(tmp_path, "shared/base.yaml", BASE)
    write(tmp_path, "shared/middle.yaml", "extends: base.yaml\nseed: 7\n")
    (tmp_path / "shared" / "model").mkdir()
    path = write(
        tmp_path,
        "top.yaml",
        "extends: shared/middle.yaml\nsuite: top\nsplits: {test: {share: null, path: rows.jsonl}}\n",
    )
    loaded = load_suite(path)
    assert loaded.suite.seed == 7
    assert loaded.data_path == tmp_path / "shared" / "rows.jsonl"
    assert loaded.suite.data.path == "shared/rows.jsonl"
    assert loaded.suite.splits["test"].path == "rows.jsonl"
    assert str(loaded.problem(("data", "path"), "x")).startswith(f"{tmp_path}/shared/base.yaml:3:9")

    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "extends: a.yaml\n")
    assert problems_of(tmp_path / "a.yaml", tmp_path)[0].startswith("b.yaml:1:10: extends: must not lead back")
    for index in range(9):
        write(tmp_path, f"c{index}.yaml", f"extends: c{index + 1}.yaml\n")
    assert "at most 8 files" in problems_of(tmp_path / "c0.yaml", tmp_path)[0]


def test_a_broken_file_below_is_told_with_its_name(tmp_path):
    """A syntax error in an extended file is shown in that file."""
    write(tmp_path, "base.yaml", BASE.replace("suite: base", "suite: 'base"))
    found = problems_of(write(tmp_path, "top.yaml", "extends: base.yaml\n"), tmp_path)
    assert found[0].startswith("base.yaml:")


def test_the_same_suite_has_the_same_hash_however_it_is_written(tmp_path):
    """Extending and writing out give one hash."""
    write(tmp_path, "base.yaml", BASE)
    by_extends = load_suite(write(tmp_path, "top.yaml", "extends: base.yaml\nseed: 3\n"))
    written_out = load_suite(write(tmp_path, "flat.yaml", BASE + "seed: 3\n"))
    assert by_extends.sha == written_out.sha


KEYS = st.sampled_from(["a", "b", "c", "d"])
VALUES: Any = st.recursive(
    st.integers(-9, 9) | st.text("xyz", max_size=3) | st.lists(st.integers(0, 9), max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
LEAVES = st.integers(-9, 9) | st.lists(st.integers(0, 9), max_size=3)
INNER = st.dictionaries(KEYS, LEAVES, max_size=3)
SHAPED = st.fixed_dictionaries({}, optional={"a": LEAVES, "b": LEAVES, "c": INNER, "d": INNER})
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4)


def tree(value: dict[str, Any], name: str = "x.yaml") -> Node:
    """The value as a file with positions."""
    node, problems = read_text(Source(Path(name), name), yaml.safe_dump(value).encode())
    assert not problems
    return node if node is not None else Node(value={}, place=None)  # type: ignore[arg-type]


def merged(*values: dict[str, Any]) -> Any:
    """Values laid over each other, the last one uppermost."""
    problems: list[Problem] = []
    node = tree(values[0])
    for value in values[1:]:
        node = merge(node, tree(value), problems)
    assert not problems
    return to_plain(node)


@settings(max_examples=50, deadline=None)
@given(MAPPINGS)
def test_merging_with_nothing_or_itself_changes_nothing(value):
    """The empty mapping is neutral on both sides, and merging twice is merging once."""
    assert merged(value, {}) == value
    assert merged({}, value) == value
    assert merged(value, value) == value


@settings(max_examples=50, deadline=None)
@given(SHAPED, SHAPED, SHAPED)
def test_merging_without_removal_is_associative(one, two, three):
    """Where mappings meet mappings, a chain gives the same in any grouping, and the upper file has the last word."""
    assert merged(one, two, three) == merged(one, merged(two, three))
    for key, value in three.items():
        if not isinstance(value, dict):
            assert merged(one, two, three)[key] == value


@settings(max_examples=50, deadline=None)
@given(MAPPINGS)
def test_reading_gives_what_pyyaml_gives_with_places_that_hold(value):
    """Values agree with PyYAML's, and every scalar stands at the place it says."""
    text = yaml.safe_dump(value)
    node = tree(value)
    assert to_plain(node) == yaml.safe_load(text)
    lines = text.splitlines()
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item.value, dict):
            for key, below in item.value.items():
                assert lines[below.key_place.line - 1][below.key_place.column - 1 :].startswith(key)
                stack.append(below)
        elif isinstance(item.value, list):
            stack += item.value
        elif item.style is None:
            assert lines[item.place.line - 1][item.place.column - 1 :].startswith(item.written)
