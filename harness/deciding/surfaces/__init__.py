"""What a verdict is shown on: JSON, JUnit XML, Markdown, annotations and the terminal, all from the one Verdict record.

No surface decides anything: outcome words and exit statuses are copied from the verdicts, and the worst of several is
found by `gate.worst_verdict` for all of them. Every text is treated as hostile: names come from files that others
wrote.
"""

from __future__ import annotations

from harness.deciding.surfaces.annotations import to_annotations
from harness.deciding.surfaces.machine import to_dict, to_json, to_junit
from harness.deciding.surfaces.markdown import to_markdown
from harness.deciding.surfaces.preferences import duel_sentence, preference_tables
from harness.deciding.surfaces.terminal import (
    comparison_table,
    correction_table,
    flip_table,
    leaderboard_tables,
    selftest_table,
    slice_table,
    to_terminal,
    trust_note,
)
from harness.deciding.surfaces.text import folded

__all__ = [
    "comparison_table",
    "correction_table",
    "duel_sentence",
    "flip_table",
    "folded",
    "leaderboard_tables",
    "preference_tables",
    "selftest_table",
    "slice_table",
    "to_annotations",
    "to_dict",
    "to_json",
    "to_junit",
    "to_markdown",
    "to_terminal",
    "trust_note",
]
