"""Verdicts as Markdown: for a job summary or a pull request's comment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.deciding.gate import worst_verdict
from harness.deciding.surfaces.text import bounds_text, estimate_text, headline, plain, subject, title, with_unit
from harness.deciding.wording import number
from harness.records import Verdict

LIMIT = 1_000_000
"""Bytes. GitHub drops a whole job summary above 1 MiB."""
SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")
HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b"})


def escaped(value: str) -> str:
    """The text as itself: no markup, no HTML, no table cell ends, no @mention, no link made of a bare address."""
    return SPECIAL.sub(r"\\\1", plain(value)).translate(HTML).replace("://", ":\u200b//").replace("www.", "www\u200b.")


def to_markdown(verdicts: Sequence[Verdict], *, limit: int = LIMIT) -> str:
    """A heading with the outcome that counts, then a table and the sentences of each verdict; at most `limit` bytes.

    Verdicts that do not fit are left out from the end, and the text says how many.

    Raises:
        ValueError: If there are none.
    """
    if not verdicts:
        raise ValueError("'verdicts' must hold at least one (got none). Nothing evaluated is an error of its own.")
    first = verdicts[0]
    text = f"## muster: {headline(worst_verdict(verdicts))}\n\n"
    text += f"Suite {escaped(first.suite)}, run {escaped(first.run)}, bounds at {100 * first.confidence:g} % a side.\n"
    text += "".join(f"- RULES: {escaped(line)}\n" for line in first.changed)
    room = limit - len(text.encode()) - 100
    for number_done, verdict in enumerate(verdicts):
        section = _section(verdict)
        room -= len(section.encode())
        if room < 0:
            return f"{text}\n{len(verdicts) - number_done} of {len(verdicts)} verdicts did not fit here.\n"
        text += section
    return text


def _section(verdict: Verdict) -> str:
    lines = [
        "",
        f"### {escaped(subject(verdict))}: {headline(verdict)}",
        "",
        "| outcome | rule | split | estimate | bounds | limit | n | unscored |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for finding in verdict.findings:
        cells = (
            finding.outcome.upper(), title(finding), finding.split, estimate_text(finding), bounds_text(finding),
            with_unit(number(finding.threshold), finding), str(finding.n), str(finding.n_unscored),
        )  # fmt: skip
        lines.append(f"| {' | '.join(escaped(cell) for cell in cells)} |")
    lines.append("")
    lines += [f"- {finding.outcome.upper()}: {escaped(finding.message)}" for finding in verdict.findings]
    return "\n".join(lines) + "\n"
