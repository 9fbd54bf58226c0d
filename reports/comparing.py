"""Two candidates side by side, as a page in the style of the report: what changed, where, and the answers themselves."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.deciding.cuts import cut_of
from harness.deciding.sides import Side, shared_metrics
from harness.records import Calibration, Metric, Sample
from harness.store import Store
from reports.manifest import build_manifest
from reports.queries import leaning, load_comparison
from reports.render import BUDGET, cards_of, listed, now, page, write_page
from reports.views import Report, ReportSample

SIDE_BY_SIDE = 12
"""Flipped samples whose answers stand on the page without JavaScript and in print."""
STAMPS = {
    "better": ("pass", "better"),
    "worse": ("fail", "worse"),
    "mixed": ("inconclusive", "better and worse"),
    "unclear": ("none", "no clear difference"),
}
"""Class and words of the stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """A sample that passes a metric's cut with one candidate and fails it with the other."""

    sample: Sample
    before: float
    after: float
    fell: bool
    words: tuple[tuple[str, str], ...]
    """Both answers as pieces: `same`, `del` (the baseline's only) or `ins` (the candidate's only), and the text."""


def write_comparison(store: Store, first: Side, second: Side, out: Path, *, metrics: Sequence[str] = ()) -> Path:
    """Writes the page on two candidates and returns the file's path; arguments and errors as in `load_comparison`."""
    return write_page(out, render_comparison(store, first, second, metrics=metrics))


def render_comparison(
    store: Store,
    first: Side,
    second: Side,
    *,
    metrics: Sequence[str] = (),
    cards: Sequence[Calibration] | None = None,
    budget: int = BUDGET,
    made: str | None = None,
) -> str:
    """The page as text; arguments and errors as in `load_comparison`."""
    report = load_comparison(store, first, second, metrics=metrics, cards=cards)
    made = made or now()
    candidate = report.candidates[1]
    primary = next(metric for metric in report.metrics if metric.name == report.boards[0].primary)
    turned = turned_samples(report, primary, candidate)
    words, tone, stamp = summary(report, candidate)
    runs = [first.run] if first.run.id == second.run.id else [first.run, second.run]
    return page(
        "compare.html.j2",
        report,
        samples="all",
        budget=budget,
        candidate=candidate,
        headline=words,
        tone=tone,
        stamp=stamp,
        notes=notes(first, second, report),
        runs=runs,
        primary=primary,
        turned=[_with_words(one, fell, report, candidate, primary) for one, fell in turned[:SIDE_BY_SIDE]],
        all_turned=len(turned),
        flips={(flip.comparison.split, flip.metric.name): flip for flip in report.flips},
        made=made,
        manifest=build_manifest(
            "comparison",
            runs,
            verdicts=(),
            cards=cards_of(report),
            made=made,
            options={
                "budget": budget,
                "first": [first.run.id, first.candidate],
                "second": [second.run.id, second.candidate],
                "metrics": list(metrics),
            },
        ),
    )


def summary(report: Report, candidate: str) -> tuple[str, str, str]:
    """A sentence of what is better, worse and unclear on the first split, and class and words of the stamp."""
    row = next(row for row in report.boards[0].rows if row.candidate == candidate)
    found: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    for cell in row.cells:
        if cell.comparison is not None:
            found[leaning(cell.comparison, cell.metric)].append(cell.metric.name)
    parts = [f"{way} on {listed(found[way])}" for way in ("better", "worse") if found[way]]
    sentence = f"{candidate} is {' and '.join(parts)}" if parts else f"{candidate} is neither better nor worse on any"
    if found["unclear"]:
        sentence += f"{'; on' if parts else ' of'} {listed(found['unclear'])}{' it cannot be told' if parts else ''}"
    outcome = "mixed" if found["better"] and found["worse"] else next((w for w in found if found[w]), "unclear")
    return f"{sentence}.", *STAMPS[outcome]


def notes(first: Side, second: Side, report: Report) -> list[str]:
    """What a reader must know before believing the table: other data, other judges, a run that is unfinished."""
    found = []
    changed = shared_metrics(first.run, second.run)[1]
    if changed:
        found.append(f"Not compared, for the judges differ: {', '.join(changed)}.")
    if first.run.data_sha != second.run.data_sha:
        found.append(
            "The two runs read different data: samples are paired by id, so look whether their texts are equal."
        )
    found += [f"Run {run.id} is {run.status}." for run in (first.run, second.run) if run.status != "complete"]
    return list(dict.fromkeys(found))


def turned_samples(report: Report, metric: Metric, candidate: str) -> list[tuple[ReportSample, bool]]:
    """Samples that cross the metric's cut, and whether they fell: those first, each way the largest change first."""
    cut = cut_of(report.run, metric)
    found = []
    for view in report.samples:
        before, after = (_score(view, name, metric) for name in (report.baseline or "", candidate))
        if cut is None or before is None or after is None or cut.passes(before) == cut.passes(after):
            continue
        found.append((view, cut.passes(before), abs(after - before)))
    found.sort(key=lambda one: (not one[1], -one[2], one[0].sample.id))
    return [(view, fell) for view, fell, _ in found]


def _score(view: ReportSample, candidate: str, metric: Metric) -> float | None:
    judgement = view.judgements.get((candidate, metric.name))
    return None if judgement is None else judgement.score


def _with_words(view: ReportSample, fell: bool, report: Report, candidate: str, metric: Metric) -> Turned:
    texts = [_answer(view, name) for name in (report.baseline or "", candidate)]
    before, after = (_score(view, name, metric) or 0.0 for name in (report.baseline or "", candidate))
    return Turned(sample=view.sample, before=before, after=after, fell=fell, words=tuple(word_diff(*texts)))


def _answer(view: ReportSample, candidate: str) -> str:
    answer = view.answers.get(candidate)
    return (answer.completion.text if answer else None) or "(no answer)"


def word_diff(before: str, after: str) -> list[tuple[str, str]]:
    """Two texts as one sequence of pieces: `same`, `del` or `ins`, and the words with the white space between them."""
    ours, theirs = (re.findall(r"\s+|\S+", text[:20_000]) for text in (before, after))
    pieces: list[tuple[str, str]] = []
    codes: Any = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    for kind, a, b, c, d in codes:
        if kind == "equal":
            pieces.append(("same", "".join(ours[a:b])))
            continue
        pieces += [(name, "".join(part)) for name, part in (("del", ours[a:b]), ("ins", theirs[c:d])) if part]
    return pieces
