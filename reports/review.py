"""A blind sheet for people: which answers it asks about, and the sheet as one HTML file or as CSV.

Blind means that nothing in the file says whose answer is whose: items have random ids, the key stays in the home, answers to
all samples are shuffled together, and of the candidates neither names nor retrieved passages are written. The HTML loads
nothing, runs its own script alone (content security policy by hash), and gives the ratings back as a download. In CSV a cell
that a spreadsheet would take for a formula starts with an apostrophe.
"""

from __future__ import annotations

import csv
import io
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from harness.errors import NothingEvaluatedError, UserError
from harness.records import Answer, Run, Sample, fingerprint
from harness.store.reviews import Item, Sheet, text_sha
from reports.render import content_hash, page_environment, static

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet may take for the start of a formula."""


def choose_items(
    run: Run,
    samples: Sequence[Sample],
    answers: Iterable[Answer],
    *,
    candidates: Sequence[str],
    criteria: str,
    scale: tuple[int, int],
    limit: int | None,
    seed: int,
) -> Sheet:
    """A new sheet: the answers of the candidates to `limit` random samples (all where it is None), shuffled together.

    Equal answers to a sample are one item. Answers that failed are left out. The same arguments choose the same items in the same
    order under the same sheet id; the ids of items are random.

    Raises:
        UserError: A candidate is not one of the run.
        NothingEvaluatedError: No answer is left to rate.
    """
    for name in candidates:
        if name not in run.candidates:
            raise UserError(f"'--candidate' must be one of run {run.id}: {', '.join(run.candidates)} (got {name!r})")
    wanted = set(candidates or run.candidates)
    texts: dict[tuple[str, str], list[str]] = {}
    for answer in answers:
        if answer.candidate in wanted and answer.completion.text is not None:
            texts.setdefault((answer.sample_id, answer.completion.text), []).append(answer.candidate)
    ids = sorted({sample_id for sample_id, _ in texts} & {sample.id for sample in samples})
    if not ids:
        raise NothingEvaluatedError(f"run {run.id} holds no answer to rate")
    draw = random.Random(seed)
    chosen = set(ids if limit is None else draw.sample(ids, min(limit, len(ids))))
    found = sorted(
        (sample_id, text_sha(text), *names) for (sample_id, text), names in texts.items() if sample_id in chosen
    )
    draw.shuffle(found)
    key = fingerprint([run.id, criteria, scale, sorted(found), seed])
    items = tuple(
        Item(id=f"q{secrets.token_hex(5)}", sample_id=sample_id, candidates=tuple(names), answer_sha=sha)
        for sample_id, sha, *names in found
    )
    return Sheet(id=f"s{key[:12]}", run=run.id, criteria=criteria, low=scale[0], high=scale[1], items=items)


def rows(
    sheet: Sheet, samples: Iterable[Sample], answers: Iterable[Answer], *, reference: bool, context: bool
) -> list[dict[str, Any]]:
    """What a rater sees of each item, in order: id, input, answer and, where asked for, reference and context."""
    by_id = {sample.id: sample for sample in samples}
    texts = {(answer.candidate, answer.sample_id): answer.completion.text for answer in answers}
    shown = []
    for item in sheet.items:
        sample = by_id[item.sample_id]
        row: dict[str, Any] = {"id": item.id, "input": _input(sample)}
        if reference:
            row["reference"] = list(sample.references)
        if context:
            row["context"] = list(sample.contexts)
        shown.append({**row, "answer": texts[item.candidates[0], item.sample_id]})
    return shown


def _input(sample: Sample) -> str:
    if not sample.messages:
        return sample.input
    return "\n\n".join(f"{message.role}: {message.content}" for message in sample.messages)


def render_html(sheet: Sheet, shown: Sequence[Mapping[str, Any]]) -> str:
    """The sheet as one HTML file."""
    style, script = static("base.css") + static("review.css"), static("review.js")
    return (
        page_environment()
        .get_template("review.html.j2")
        .render(
            sheet=sheet,
            data={
                "sheet": sheet.id,
                "low": sheet.low,
                "high": sheet.high,
                "passFail": sheet.is_pass_fail,
                "items": list(shown),
            },
            style=Markup(style),
            script=Markup(script),
            style_hash=content_hash(style),
            script_hash=content_hash(script),
        )
    )


def render_csv(sheet: Sheet, shown: Sequence[Mapping[str, Any]]) -> str:
    """The sheet for a spreadsheet: the rater fills in the column `rating`, and `note` where there is something to say."""
    columns = [name for name in shown[0] if name not in ("id", "answer")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["sheet", "item", "criteria", "scale", *columns, "answer", "rating", "note"])
    for row in shown:
        cells = [sheet.criteria, sheet.scale, *(_text(row[name]) for name in columns), row["answer"]]
        writer.writerow([sheet.id, row["id"], *map(defused, cells), "", ""])
    return out.getvalue()


def defused(cell: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "\n\n".join(value)
