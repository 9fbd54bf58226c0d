"""What rules of a gate say about rows: samples that must pass, by their ids, and slices by their values.

Ids may stand in a text file beside the suite, which is read when the suite is; whether there are such rows is found out when
there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import Problem
from harness.suite.explain import quoted, suggest
from harness.suite.grammar import Suite, cell_texts
from harness.suite.source import Node, YamlPath, find_node, show

if TYPE_CHECKING:
    from harness.suite.loading import LoadedSuite

SHOWN = 5
"""Ids named in one message."""


def with_listed_ids(suite: Suite, document: Node, root: Path) -> tuple[Suite, list[Problem]]:
    """The suite with the ids in place of the files that list them, one a line, and what is wrong with these lists.

    So the hash of the suite, and of its rules, changes with what is in the file.
    """
    if suite.gate is None:
        return suite, []
    rules, problems = [], []
    for number, rule in enumerate(suite.gate.rules):
        ids, path = rule.must_pass, ("gate", "rules", number, "must_pass")
        message = None
        if isinstance(ids, str):
            try:
                ids = [
                    line.strip() for line in (root / ids).read_text(encoding="utf-8-sig").splitlines() if line.strip()
                ]
                message = (
                    None if ids else f"must name a file with an id a line (got {show(rule.must_pass)}, which is empty)"
                )
            except (OSError, UnicodeDecodeError) as error:
                message = f"must name a text file in UTF-8 that can be read (got {show(rule.must_pass)}: {error})"
                ids = []
        if ids is not None and message is None and len(set(ids)) < len(ids):
            twice = next(one for place, one in enumerate(ids) if one in ids[:place])
            message = f"must name each sample once (got {show(twice)} twice)"
        if message is not None:
            problems.append(find_node(document, path).spot.problem(path, message))
        rules.append(rule.model_copy(update={"must_pass": ids}))
    return suite.model_copy(update={"gate": suite.gate.model_copy(update={"rules": rules})}), problems


def find_absent(
    loaded: LoadedSuite,
    ids: Mapping[str, Sequence[str]],
    slices: Mapping[str, Mapping[str, Sequence[str | None]]],
) -> Iterator[Problem]:
    """Samples that must pass, and values of slicing columns, that are not in the split of their rule.

    Args:
        loaded: The suite.
        ids: The ids of the samples of each evaluation split; rules of other splits are not looked at.
        slices: Of each split, each slicing column's value for every sample.
    """
    for number, rule in enumerate(loaded.suite.gate.rules if loaded.suite.gate is not None else ()):
        split = rule.split or loaded.suite.default_split()
        if split is None or split not in ids:
            continue
        path: YamlPath = ("gate", "rules", number)
        there = set(ids[split])
        if absent := [one for one in rule.must_pass or () if one not in there]:
            place: YamlPath = (*path, "must_pass")
            if isinstance(find_node(loaded.document, place).value, list) and rule.must_pass is not None:
                place = (*place, rule.must_pass.index(absent[0]))
            near = suggest(absent[0], there) if len(there) < 5000 else None
            yield loaded.problem(place, f"must name samples of {split!r} (got {quoted(absent, 'and', SHOWN)})", near)
        for column, wanted in (rule.where or {}).items():
            values = dict.fromkeys(value for value in slices[split].get(column, ()) if value is not None)
            missing = next((text for text in cell_texts(wanted) if values and text not in values), None)
            if missing is not None:
                message = f"must name values of {column!r} in {split!r}: {quoted(values)} (got {missing!r})"
                yield loaded.problem((*path, "where", column), message, suggest(missing, values))
