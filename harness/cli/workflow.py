"""Inside a GitHub workflow: what a model said must not become a command of the runner, and what muster finds shall.

GitHub's runner obeys lines of standard output and standard error that begin with `::`, spaces aside, or hold `##[`. A
terminal may break a text so that such a line begins anywhere in it, so every line is looked at where it leaves.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

    from harness.deciding.surfaces.annotations import Line
    from harness.records import Verdict
    from harness.suite import LoadedSuite

COMMAND = re.compile(r"((?:^|(?<=[\r\n]))\s*:)(?=:)|(##)(?=\[)")
LINE_START = re.compile(r"\s*:?\Z")


def in_workflow() -> bool:
    """Whether a GitHub runner reads what is printed."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


class Guarded:
    """A text stream whose lines are no workflow commands; `raw` is the stream behind it. All else is the stream's own."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        self._before = ""  # the end of the unfinished line, as far as a command could have begun in it

    def write(self, text: str) -> int:
        """Writes the text, with a space in what would be a command; returns its length."""
        whole = COMMAND.sub(r"\1\2 ", self._before + text)
        self.raw.write(whole[len(self._before) :])
        line = whole[max(whole.rfind("\n"), whole.rfind("\r")) + 1 :]
        self._before = (
            line if LINE_START.match(line) else "x##" if line.endswith("##") else "x#" if line.endswith("#") else "x"
        )
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Writes each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def guard_streams() -> None:
    """From now on, nothing printed is a workflow command; outside of a workflow, changes nothing."""
    if in_workflow():
        sys.stdout, sys.stderr = cast(TextIO, Guarded(sys.stdout)), cast(TextIO, Guarded(sys.stderr))


def annotate(verdicts: Sequence[Verdict], loaded: LoadedSuite, console: Console) -> None:
    """Prints the verdicts as annotations, past the guard."""
    from harness.deciding.surfaces import to_annotations

    console.file.flush()
    stream = getattr(console.file, "raw", console.file) if isinstance(console.file, Guarded) else console.file
    stream.write(to_annotations(verdicts, rule_lines(loaded)))
    stream.flush()


def rule_lines(loaded: LoadedSuite) -> Mapping[str, Line]:
    """Where each rule of the gate stands, by its text."""
    from harness.deciding.rules import rule_text
    from harness.deciding.surfaces.annotations import Line

    gate = loaded.suite.gate
    found = {}
    for number, rule in enumerate(gate.rules if gate is not None else ()):
        place = loaded.problem(("gate", "rules", number), "")
        found[rule_text(rule)] = Line(in_repository(place.file), place.line)
    return found


def in_repository(file: str) -> str:
    """The path from the root of the repository that the workflow checked out; as it is where that is not known."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    relative = os.path.relpath(file, workspace) if workspace else file
    return file if relative.startswith("..") else Path(relative).as_posix()
