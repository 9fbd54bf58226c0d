"""Words and numbers that all surfaces share, so that they cannot differ."""

from __future__ import annotations

import re

from harness.deciding.wording import number
from harness.records import Finding, Verdict

UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters (ANSI escapes), marks that turn writing round, lone surrogates: forbidden in XML, or traps."""


def plain(value: str) -> str:
    """The text without unprintable characters, on one line."""
    return " ".join(UNPRINTABLE.sub("", value).split())


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


def estimate_text(finding: Finding) -> str:
    """The finding's estimate, or a dash."""
    return "-" if finding.estimate is None else number(finding.estimate)


def bounds_text(finding: Finding) -> str:
    """The finding's bounds, or a dash."""
    if finding.low is None or finding.high is None:
        return "-"
    return f"{number(finding.low)} to {number(finding.high)}"
