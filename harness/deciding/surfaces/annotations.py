"""Verdicts as GitHub's workflow commands: annotations at the lines of the suite's rules.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions, and the escapes of actions/toolkit
(`packages/core/src/command.ts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.deciding.gate import worst_verdict
from harness.deciding.surfaces.text import headline, is_warning, plain, subject, title
from harness.records import Finding, Verdict

Kind = Literal["error", "warning", "notice"]
MOST = 10
"""Annotations of a kind that GitHub shows of one step; it drops the rest without a word."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, as GitHub knows it: from the root of the repository, counted from 1."""

    file: str
    number: int


def to_annotations(verdicts: Sequence[Verdict], lines: Mapping[str, Line] | None = None) -> str:
    """A line for each finding that did not pass, at most 10 of a kind, and one for the outcome that counts.

    What blocks is an error, what was asked to be a warning is one, and a pass is a notice. Where there are more than 10
    errors (or warnings), the tenth says how many are not shown.

    Args:
        verdicts: At least one.
        lines: Where each rule, by its text, stands in the suite.

    Raises:
        ValueError: If there are no verdicts.
    """
    if not verdicts:
        raise ValueError("'verdicts' must hold at least one (got none). Nothing evaluated is an error of its own.")
    worst = worst_verdict(verdicts)
    found: dict[Kind, list[str]] = {"error": [], "warning": [], "notice": []}
    whole = _kind(worst)
    whom = subject(worst) if len(verdicts) == 1 else f"{len(verdicts)} candidates, the worst of them {subject(worst)}"
    found[whole].append(_command(whole, f"muster: {headline(worst)}", f"{whom}, suite {worst.suite}, run {worst.run}"))
    for verdict in verdicts:
        for finding in verdict.findings:
            if finding.outcome != "pass":
                kind: Kind = "warning" if is_warning(verdict) else "error"
                found[kind].append(_annotation(kind, verdict, finding, (lines or {}).get(finding.rule)))
    return "".join(f"{line}\n" for kind, texts in found.items() for line in _limited(kind, texts))


def _kind(verdict: Verdict) -> Kind:
    return "warning" if is_warning(verdict) else "notice" if verdict.outcome == "pass" else "error"


def _annotation(kind: Kind, verdict: Verdict, finding: Finding, line: Line | None) -> str:
    heading = f"{finding.outcome.upper()}: {verdict.candidate}, {title(finding)} on {finding.split}"
    return _command(kind, heading, finding.message, line)


def _limited(kind: Kind, texts: Sequence[str]) -> list[str]:
    if len(texts) <= MOST:
        return list(texts)
    return [*texts[: MOST - 1], _command(kind, "muster", f"and {len(texts) - MOST + 1} more, in the summary")]


def _command(kind: Kind, heading: str, message: str, line: Line | None = None) -> str:
    place = {"file": line.file, "line": str(line.number)} if line is not None else {}
    properties = ",".join(f"{name}={_property(value)}" for name, value in {**place, "title": heading}.items())
    return f"::{kind} {properties}::{_data(message)}"


def _data(text: str) -> str:
    """A command's message: on one line, with what GitHub would read as an escape escaped."""
    return plain(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A command's property: neither ends it nor begins another."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
