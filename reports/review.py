"""A blind sheet for people: which answers it asks about, and the sheet as one HTML file or as CSV.

A sheet of flips asks about pairs: an answer that a judge passed and one that it failed, side by side in random order. The rater
sees neither whose they are nor which of them the judge passed, and says which are good; whether the judge was right follows.

Blind means that nothing in the file says whose answer is whose: items have random ids, the key stays in the home, answers to
all samples are shuffled together, and of the candidates neither names nor retrieved passages are written. The HTML loads
nothing, runs its own script alone (content security policy by hash), and gives the ratings back as a download. In CSV a cell
that a spreadsheet would take for a formula starts with an apostrophe, and control characters are shown as escapes.

What the HTML gives back are lines for `muster review import` and, with their texts and a `label`, for `muster calibrate` too. The
label is the rating from 0 to 1, turned round where a good answer has a low score by the judge in question.
"""

from __future__ import annotations

import csv
import io
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from harness.deciding.cuts import cut_of
from harness.deciding.surfaces.text import printable
from harness.errors import NothingEvaluatedError, UserError
from harness.records import Answer, Judgement, Metric, Run, Sample, fingerprint
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
    metric: Metric | None = None,
) -> Sheet:
    """A new sheet: the answers of the candidates to `limit` random samples (all where it is None), shuffled together.

    Equal answers to a sample are one item. Answers that failed are left out. The same arguments choose the same items in the same
    order under the same sheet id; the ids of items are random. `metric` is the judge whose question it is, where it is one's.

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
        Item(id=random_id(), sample_id=sample_id, candidates=tuple(names), answer_sha=sha)
        for sample_id, sha, *names in found
    )
    return Sheet(
        id=f"s{key[:12]}",
        run=run.id,
        criteria=criteria,
        low=scale[0],
        high=scale[1],
        items=items,
        metric=metric.name if metric else None,
        reverse=metric is not None and metric.direction == "lower",
    )


def choose_flips(
    run: Run,
    answers: Iterable[Answer],
    judgements: Iterable[Judgement],
    *,
    metric: Metric,
    candidate: str,
    baseline: str,
    criteria: str,
    limit: int | None,
    seed: int,
) -> Sheet:
    """A sheet of flips: samples that pass `metric` with the baseline and fail it with the candidate, the surest first.

    How sure the judge is of a flip is the smaller distance of the two scores from the cut (`harness.deciding.cuts`). The
    two answers of a flip follow each other in random order. The same arguments give the same order under the same id.

    Raises:
        UserError: The metric has no cut.
        NothingEvaluatedError: No sample flipped so.
    """
    cut = cut_of(run, metric)
    if cut is None:
        raise UserError(f"'--flips' needs a metric with a scale that ends (got {metric.name!r})")
    scores = {(j.candidate, j.id): j.score for j in judgements if j.metric == metric.name}
    texts = {(a.candidate, a.sample_id): a.completion.text for a in answers}
    found = []
    for sample_id in sorted({sample_id for _, sample_id in texts}):
        before, now = scores.get((baseline, sample_id)), scores.get((candidate, sample_id))
        ours, theirs = texts.get((candidate, sample_id)), texts.get((baseline, sample_id))
        if before is None or now is None or ours is None or theirs is None:
            continue
        if cut.passes(before) and not cut.passes(now):
            sure = min(abs(before - cut.value), abs(now - cut.value))
            found.append((-round(sure, 9), sample_id, text_sha(theirs), text_sha(ours)))
    if not found:
        raise NothingEvaluatedError(
            f"run {run.id}: no sample passes {metric.name} with {baseline} and fails it with {candidate}"
        )
    found = sorted(found)[:limit]
    draw = random.Random(seed)
    items: list[Item] = []
    for _, sample_id, theirs, ours in found:
        pair = [(baseline, theirs), (candidate, ours)]
        draw.shuffle(pair)
        items += [Item(id=random_id(), sample_id=sample_id, candidates=(n,), answer_sha=sha) for n, sha in pair]
    key = fingerprint([run.id, "flips", metric.name, candidate, baseline, criteria, found, seed])
    return Sheet(
        id=f"s{key[:12]}",
        run=run.id,
        criteria=criteria,
        low=0,
        high=1,
        items=tuple(items),
        metric=metric.name,
        reverse=metric.direction == "lower",
        baseline=baseline,
    )


def random_id() -> str:
    """An item's id, which tells nothing."""
    return f"q{secrets.token_hex(5)}"


def rows(
    sheet: Sheet, samples: Iterable[Sample], answers: Iterable[Answer], *, reference: bool, context: bool
) -> list[dict[str, Any]]:
    """What a rater sees of each item, in order: id, input, answer and, where asked for, reference and context.

    `cluster` numbers what belongs together: the suite's cluster, or the answers to one sample.
    """
    by_id = {sample.id: sample for sample in samples}
    clusters: dict[tuple[str, str], str] = {}
    texts = {(answer.candidate, answer.sample_id): answer.completion.text for answer in answers}
    shown = []
    for item in sheet.items:
        sample = by_id[item.sample_id]
        row: dict[str, Any] = {"id": item.id, "input": _input(sample)}
        if reference:
            row["reference"] = list(sample.references)
        if context:
            row["context"] = list(sample.contexts)
        group = ("sample", sample.id) if sample.cluster is None else ("cluster", sample.cluster)
        cluster = clusters.setdefault(group, f"c{len(clusters) + 1}")
        shown.append({**row, "answer": texts[item.candidates[0], item.sample_id], "cluster": cluster})
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
                "pairs": sheet.baseline is not None,
                "reverse": sheet.reverse,
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
    columns = [name for name in shown[0] if name not in ("id", "answer", "cluster")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["sheet", "item", "criteria", "scale", *columns, "answer", "rating", "note"])
    for row in shown:
        cells = [sheet.criteria, sheet.scale, *(_text(row[name]) for name in columns), row["answer"]]
        writer.writerow([sheet.id, row["id"], *map(defused, cells), "", ""])
    return out.getvalue()


def defused(cell: str) -> str:
    """A text that no spreadsheet takes for a formula and no terminal obeys: escape sequences are shown as `\\x1b[31m`."""
    cell = cell.replace("\r\n", "\n")
    return printable(f"'{cell}" if cell.startswith(FORMULA) else cell)


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "\n\n".join(value)
