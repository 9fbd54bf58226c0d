"""From a file, or the name of a built-in suite, to a `Suite` that can be run: all mistakes at once, or none left.

Stages: read YAML with positions, merge what it extends, validate against the grammar, check across parts, check paths.
Every stage reports into one list, sorted by file, line and column. Nothing here reads a data row or loads a model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import Problem, SuiteError, UserError
from harness.records import fingerprint
from harness.suite import checks, paths
from harness.suite.baselines import FOLDER, blessed_names
from harness.suite.explain import explain, quoted, suggest
from harness.suite.grammar import JUDGE_KINDS, Suite
from harness.suite.installed import find_factory
from harness.suite.merging import read_chain
from harness.suite.rows import with_listed_ids
from harness.suite.source import Node, Source, YamlPath, find_node, show, to_plain
from harness.suite.sweeps import expand_sweeps, sweep_names
from harness.suite.teachers import name_teachers

MAX_SHOWN = 100
"""Most mistakes that are listed; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSuite:
    """A suite without mistakes, and where it came from."""

    suite: Suite
    """Sweeps are expanded already, and teachers inside a training are candidates."""
    file: Path
    """The suite's file, by the name it was asked for."""
    root: Path
    """The folder that every path of the suite stays in; absolute."""
    data_path: Path | None
    """The data file, absolute; None where the rows come from the Hub."""
    sha: str
    """SHA-256 of what the suite says: comments, formatting, order of keys and its place on disk do not matter."""
    document: Node = field(repr=False, compare=False)
    """The file as a tree with positions."""
    sweeps: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)
    """Name of an expanded candidate to the name of its sweep."""

    def resolve(self, relative: str) -> Path:
        """The absolute path of one that stands in the suite; raises UserError where it would leave the root."""
        try:
            return paths.resolve_inside(relative, self.root, self.root)
        except paths.PathError as error:
            raise UserError(f"{self.file}: {show(relative)} {error.message}") from None

    def files_read(self) -> set[Path]:
        """Every file that the suite is made of (itself, what it extends) or names (data, answers, lists), and its baselines."""
        found = {self.file.resolve(), *(self.root / FOLDER).glob("*.json")}
        found |= {self.data_path.resolve()} if self.data_path is not None else set()
        nodes = [self.document]
        while nodes:
            node = nodes.pop()
            found.add(node.place.source.path.resolve())
            if isinstance(node.value, dict):
                nodes += node.value.values()
            elif isinstance(node.value, list):
                nodes += node.value
            elif isinstance(node.value, str) and os.path.isfile(self.root / node.value):
                found.add((self.root / node.value).resolve())
        return found

    def problem(self, path: YamlPath, message: str, suggestion: str | None = None) -> Problem:
        """A mistake found later, at the line where its part of the suite stands, such as ("splits", "test", "path")."""
        if len(path) > 1 and path[0] == "candidates":
            path = (path[0], self.sweeps.get(str(path[1]), path[1]), *path[2:])
        return find_node(self.document, path).spot.problem(path, message, suggestion)


def load_suite(path: str | Path, *, data: Path | None = None) -> LoadedSuite:
    """Reads a suite from a file or by its built-in name, and finds every mistake in it.

    Args:
        path: A YAML file, or the name of a suite that ships with muster.
        data: A file that takes the place of the suite's own data; its columns are read as `data.fields` says.

    Raises:
        SuiteError: With every mistake of the file and of those it extends, in the order of the file.
        UserError: There is no such suite or no such data file.
    """
    source = find_source(path)
    root = source.path.parent.resolve()
    if data is not None and (message := paths.refuse_file(data, repr(str(data)))):
        near = paths.nearest_file(data)
        raise UserError(f"--data {message}" + (f" (did you mean {near!r}?)" if near else ""))
    document, problems = read_chain(source, root)
    if document is None:
        raise SuiteError(_ordered(problems, source))
    plain = _prepare(to_plain(paths.rebase(document, root)), data)
    told = {problem.path for problem in problems if problem.path}
    suite, found = _validate(plain, document)
    found += checks.find_problems(checks.read_draft(plain, blessed_names(root)), document)
    found += paths.find_problems(document, root, skip=("data", "path") if data is not None else None)
    problems += [problem for problem in found if problem.path not in told]
    if suite is not None and not problems:
        suite, problems = with_listed_ids(suite, document, root)
    if problems or suite is None:
        raise SuiteError(_ordered(problems, source))
    return _loaded(suite, document, source, root, data)


def builtin_suites() -> list[str]:
    """Names of the suites that ship with muster."""
    folder = files("suites")
    return sorted(entry.name for entry in folder.iterdir() if (entry / "suite.yaml").is_file())


def find_source(path: str | Path) -> Source:
    """The file of a suite, given a path or a built-in name; raises UserError."""
    text = str(path)
    names = builtin_suites()
    if text in names:
        file = Path(str(files("suites"))) / text / "suite.yaml"
        return Source(file, _shown(file))
    file = Path(path)
    if file.is_file():
        return Source(file.absolute(), text)
    if file.is_dir():
        inside = file / "suite.yaml"
        example = inside if inside.is_file() else Path("suite.yaml")
        raise UserError(f"{text}: must be a suite file (got a folder). Name the file, such as {example}")
    if file.exists():
        raise UserError(f"{text}: must be a regular file")
    near = suggest(text, names) if file.parent == Path() else None
    near = near or paths.nearest_file(file)
    hint = f" (did you mean {near!r}?)" if near else ""
    raise UserError(f"{text}: no such suite. Name a YAML file, or a built-in suite: {quoted(names)}{hint}")


def _shown(file: Path) -> str:
    """A built-in suite's file as a person may open it: from the working folder where it is below that."""
    relative = os.path.relpath(file)
    return str(file) if relative.startswith("..") else relative


def _prepare(plain: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """Fills in what may be left out: the kind of a judge that is called by its kind, and data from the command line."""
    judges = plain.get("judges")
    if isinstance(judges, dict):
        plain["judges"] = {name: complete_judge(name, judge) for name, judge in judges.items()}
    section = plain.get("data")
    if data is not None and isinstance(section, dict):
        kept = {key: value for key, value in section.items() if key not in OVERRIDDEN}
        plain["data"] = {**kept, "path": data.name}
    return plain


def complete_judge(name: str, judge: Any) -> Any:
    """A judge's options with the kind that its name stands for, and an added kind as the custom judge that it is."""
    if not isinstance(judge, dict):
        return judge
    kind = judge.get("kind", name)
    if kind in JUDGE_KINDS:
        return {**judge, "kind": kind}
    factory = find_factory(kind) if isinstance(kind, str) and "factory" not in judge else None
    return {**judge, "kind": "custom", "factory": factory} if factory is not None else judge


OVERRIDDEN = ("path", "hub", "revision", "config", "hub_split", "sha256")
"""Keys of `data` that a data file on the command line replaces."""


def _validate(plain: dict[str, Any], document: Node) -> tuple[Suite | None, list[Problem]]:
    """The suite, or None and what is wrong with it by the grammar."""
    try:
        return Suite.model_validate(plain), []
    except ValidationError as error:
        return None, explain(error, document)


def _ordered(problems: list[Problem], source: Source) -> list[Problem]:
    """Each mistake once, by file (the suite's own first), line and column; a flood is cut off and counted."""
    unique = sorted(set(problems), key=lambda p: (p.file != source.shown, p.file, p.line, p.column, p.path, p.message))
    if len(unique) <= MAX_SHOWN:
        return unique
    last = unique[MAX_SHOWN]
    rest = Problem(
        file=last.file,
        line=last.line,
        column=last.column,
        path="",
        message=f"and {len(unique) - MAX_SHOWN:,} more from here on",
    )
    return [*unique[:MAX_SHOWN], rest]


def _loaded(suite: Suite, document: Node, source: Source, root: Path, data: Path | None) -> LoadedSuite:
    sweeps = {one: name for name, spec in suite.candidates.items() for one in sweep_names(name, spec)}
    expanded = name_teachers(expand_sweeps(suite), sweeps)
    own = root / suite.data.path if suite.data.path is not None else None
    return LoadedSuite(
        suite=expanded,
        file=Path(source.shown),
        root=root,
        data_path=data.resolve() if data is not None else own,
        sha=fingerprint(content(expanded)),
        document=document,
        sweeps=sweeps,
    )


def content(suite: Suite) -> dict[str, Any]:
    """What a suite says, without what it leaves at its default: an option added to muster changes no suite's hash."""
    said = suite.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    said["judges"] = {name: {**said["judges"][name], "kind": judge.kind} for name, judge in suite.judges.items()}
    return said
