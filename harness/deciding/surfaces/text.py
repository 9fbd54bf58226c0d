"""Words and numbers that all surfaces share, so that they cannot differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from harness.deciding.wording import number
from harness.records import Finding, Verdict

UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters (ANSI escapes), marks that turn writing round, lone surrogates: forbidden in XML, or traps."""


DIRECTION_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

FOLDED = 6
"""Slices of one rule that pass and are still shown one by one where space is dear."""


def plain(value: str) -> str:
    """The text without unprintable characters, on one line."""
    return " ".join(UNPRINTABLE.sub("", value).split())


def printable(value: object) -> str:
    """A text that no terminal obeys: controls, half surrogate pairs and direction overrides become visible escapes."""
    return "".join(char.encode("unicode_escape").decode() if _is_command(char) else char for char in str(value))


def _is_command(char: str) -> bool:
    return (char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs")) or char in DIRECTION_OVERRIDES


def is_warning(verdict: Verdict) -> bool:
    """Whether the verdict is inconclusive and was asked not to block."""
    return verdict.outcome == "inconclusive" and verdict.exit_status == 0


def headline(verdict: Verdict) -> str:
    """Outcome and exit status, such as `FAIL (exit status 1)`."""
    warned = ", a warning" if is_warning(verdict) else ""
    return f"{verdict.outcome.upper()} (exit status {verdict.exit_status}{warned})"


def subject(verdict: Verdict) -> str:
    """Who was decided about, such as `lora_r16 against base`."""
    return verdict.candidate if verdict.baseline is None else f"{verdict.candidate} against {verdict.baseline}"


def title(finding: Finding) -> str:
    """The rule, with the slice where that is not in the rule already: `correctness at_least 0.8 each area: area=skin`."""
    if finding.slice is None or finding.rule.endswith(f" where {finding.slice}"):
        return finding.rule
    return f"{finding.rule}: {finding.slice}"


def folded(findings: Sequence[Finding]) -> list[tuple[Finding, ...]]:
    """The findings in order, each by itself, but for the slices of one rule that pass: more than a few stand together."""
    passing: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.slice is not None and finding.outcome == "pass":
            passing.setdefault((finding.rule, finding.split), []).append(finding)
    found: list[tuple[Finding, ...]] = []
    for finding in findings:
        together = passing.get((finding.rule, finding.split), [])
        if len(together) <= FOLDED or finding not in together:
            found.append((finding,))
        elif finding is together[0]:
            found.append(tuple(together))
    return found


def estimate_text(finding: Finding) -> str:
    """The finding's estimate with its unit, or a dash."""
    return "-" if finding.estimate is None else with_unit(number(finding.estimate), finding)


def bounds_text(finding: Finding) -> str:
    """The finding's bounds, the one it has, or a dash."""
    if finding.low is not None and finding.high is not None:
        return with_unit(f"{number(finding.low)} to {number(finding.high)}", finding)
    if finding.low is not None:
        return with_unit(f"{number(finding.low)} or more", finding)
    return "-" if finding.high is None else with_unit(f"{number(finding.high)} or less", finding)


def with_unit(text: str, finding: Finding) -> str:
    """A number of the finding with its unit, where it has one."""
    return f"{text} {finding.unit}" if finding.unit else text
