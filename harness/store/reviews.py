"""Ratings by people: the keys of blind sheets, and what raters said as judgements `human:<rater>` of a run.

A sheet shows items under ids that say nothing. Which answer an id stands for is kept here, in `reviews/<sheet>.json` of the
home, and nowhere else. A rating is about a text: where a run is answered anew and says something else, the rating goes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.errors import StoreError, UserError
from harness.records import HUMAN, Answer, Failure, Judgement, Metric, Run, Sample, fingerprint
from harness.store.bundle import write_tables
from harness.store.home import Home
from harness.store.rows import arrow_table
from harness.store.store import Store

RATER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}\Z")
SHEET = re.compile(r"s[0-9a-f]{12}\Z")
NOT_RATED = Failure(kind="not_rated", message="the rater left it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer to rate. Candidates who gave the same answer to a sample share an item."""

    id: str
    sample_id: str
    candidates: tuple[str, ...]
    answer_sha: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A blind sheet and its key."""

    id: str
    run: str
    criteria: str
    """What the raters are asked."""
    low: int
    high: int
    """Ends of the scale, both whole; 0 and 1 are fail and pass."""
    items: tuple[Item, ...]
    """In the order of the sheet."""
    metric: str | None = None
    """The judge whose question it is, where it is one's."""
    reverse: bool = False
    """Whether a good answer has a low score by that judge."""
    baseline: str | None = None
    """On a sheet of flips, whose answer the judge passed: items are then pairs of one answer of it and one of another."""

    @property
    def pairs(self) -> list[tuple[Item, Item]]:
        """On a sheet of flips, the two items of each, the baseline's first; empty on any other."""
        if self.baseline is None:
            return []
        couples = zip(self.items[::2], self.items[1::2], strict=True)
        return [(a, b) if self.baseline in a.candidates else (b, a) for a, b in couples]

    @property
    def is_pass_fail(self) -> bool:
        """Whether the rater says pass or fail instead of a number."""
        return (self.low, self.high) == (0, 1)

    @property
    def scale(self) -> str:
        """The scale in words."""
        return "pass or fail" if self.is_pass_fail else f"{self.low} (worst) to {self.high} (best)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What a rater said of one item; `value` is None where they left it out."""

    item: str
    value: int | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did, counted in items."""

    metric: str
    run: str
    rated: int
    unrated: int
    new: int
    """Rated now, and not before."""
    changed: int
    """Rated before, and now otherwise or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipCount:
    """What a rater made of a judge's flips, from pass with the baseline to fail with the candidate."""

    right: int
    """Only the baseline's answer is good: the judge was right."""
    both: int
    """Both are good: the judge was wrong about the candidate's."""
    neither: int
    """Neither is: the judge was wrong about the baseline's."""
    opposite: int
    """Only the candidate's is good: the judge was wrong about both."""
    undecided: int


def count_flips(sheet: Sheet, ratings: Sequence[Rating]) -> FlipCount:
    """Adjudicated flips of a sheet of flips, by what the rater said of the two answers."""
    said = {rating.item: rating.value for rating in ratings}
    found = [(said.get(baseline.id), said.get(candidate.id)) for baseline, candidate in sheet.pairs]
    return FlipCount(
        right=found.count((1, 0)),
        both=found.count((1, 1)),
        neither=found.count((0, 0)),
        opposite=found.count((0, 1)),
        undecided=sum(None in pair for pair in found),
    )


def text_sha(text: str) -> str:
    """SHA-256 of an answer's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_sheet(home: Home, sheet: Sheet) -> None:
    """Keeps the key of a sheet."""
    folder = home.reviews
    unfinished = folder / f"{sheet.id}.part"
    unfinished.write_text(json.dumps(asdict(sheet), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / f"{sheet.id}.json")


def read_sheet(home: Home, id: str) -> Sheet | None:
    """The sheet of an id, or None where this home exported none such. Raises StoreError where its key is damaged."""
    path = home.path / "reviews" / f"{id}.json"
    if not SHEET.match(id) or not path.is_file():
        return None
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        items = tuple(Item(**{**item, "candidates": tuple(item["candidates"])}) for item in row.pop("items"))
        return Sheet(**row, items=items)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{path}: the key of the sheet is damaged ({type(error).__name__}). Export it anew.") from None


# -------------------------------------------------------------------------------------------------------------- import


def add_ratings(home: Home, sheet: Sheet, rater: str, ratings: Sequence[Rating]) -> Imported:
    """Puts a rater's ratings of a sheet into its run, in place of what they said of the same items before.

    Items that `ratings` leaves out count as not rated. The same ratings again change nothing.

    Args:
        home: Where the run is stored.
        sheet: What was rated.
        rater: The metric is called `human:<rater>`.
        ratings: At most one an item of the sheet, within its scale.

    Raises:
        UserError: The rater's name cannot be one, they rated the run by another question before, or the run is gone or
            was answered otherwise since.
    """
    if not RATER.match(rater):
        raise UserError(
            f"'--rater' must be letters, digits, '_', '-' and '.', beginning with a letter (got {rater!r})."
        )
    metric = Metric(name=HUMAN + rater, direction="higher")
    judge = fingerprint(["human", rater, sheet.criteria, sheet.low, sheet.high])
    with Store.open(home) as store:
        run = store.run(sheet.run)
        if run.judges.get(metric.name, judge) != judge:
            raise UserError(
                f"{rater!r} has rated run {run.id} by another question or scale. Give '--rater' another name, such as"
                f" {rater}-2"
            )
        _require_same_answers(sheet, store.answers(run.id))
        judgements = store.judgements(run.id)
        before = {(j.candidate, j.id): j for j in judgements if j.metric == metric.name}
        now = _judgements(sheet, metric.name, judge, ratings)
        told = run.record.get("judges", {}).get(metric.name, {})
        rated = _with_metric(run, metric, judge, description(rater, sheet, told))
        kept = [j for j in judgements if j.metric != metric.name or (j.candidate, j.id) not in now]
        tables = {
            "runs": arrow_table("runs", run.id, [rated]),
            "judgements": arrow_table("judgements", run.id, [*kept, *now.values()]),
        }
        write_tables(home.run_dir(run.id), run.id, {**store.tables(run.id), **tables})
        store.replace_run(run.id, tables)
    pairs = [(item.candidates[0], item.sample_id) for item in sheet.items]
    scored = [pair for pair in pairs if now[pair].score is not None]
    known = {pair for pair, judgement in before.items() if judgement.score is not None}
    return Imported(
        metric=metric.name,
        run=run.id,
        rated=len(scored),
        unrated=len(pairs) - len(scored),
        new=sum(pair not in known for pair in scored),
        changed=sum(pair in known and _said(before[pair]) != _said(now[pair]) for pair in pairs),
    )


def _said(judgement: Judgement) -> tuple[Any, Any]:
    return judgement.evidence.get("rating"), judgement.evidence.get("note")


def description(rater: str, sheet: Sheet, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the run's record says of a rater, as of a judge; `before` is what it said until now.

    `about` is the judge's metric that the question is about. `selected`: flips are among what was rated, which were chosen by
    their scores, so that the ratings say nothing of all answers.
    """
    return {
        "kind": "human",
        "definition": "Ratings by a person who did not know whose answer it was.",
        "rater": rater,
        "criteria": sheet.criteria,
        "scale": [sheet.low, sheet.high],
        **({"about": sheet.metric} if sheet.metric is not None else {}),
        **({"selected": True} if sheet.baseline is not None or before.get("selected") else {}),
    }


def _with_metric(run: Run, metric: Metric, judge: str, described: Mapping[str, Any]) -> Run:
    metrics = (*(known for known in run.metrics if known.name != metric.name), metric)
    if metric in run.metrics:
        metrics = run.metrics
    record = {**run.record, "judges": {**run.record.get("judges", {}), metric.name: dict(described)}}
    return replace(run, metrics=metrics, judges={**run.judges, metric.name: judge}, record=record)


def _require_same_answers(sheet: Sheet, answers: Iterable[Answer]) -> None:
    texts = {(answer.candidate, answer.sample_id): answer.completion.text for answer in answers}
    for item in sheet.items:
        for candidate in item.candidates:
            text = texts.get((candidate, item.sample_id))
            if text is None or text_sha(text) != item.answer_sha:
                raise UserError(
                    f"item {item.id!r}: run {sheet.run} was answered otherwise since sheet {sheet.id} was exported."
                    " Export it anew."
                )


def _judgements(sheet: Sheet, metric: str, judge: str, ratings: Sequence[Rating]) -> dict[tuple[str, str], Judgement]:
    """A judgement for each candidate and sample behind each item of the sheet."""
    by_item = {rating.item: rating for rating in ratings}
    found = {}
    for item in sheet.items:
        rating = by_item.get(item.id)
        value = rating.value if rating is not None else None
        evidence: dict[str, Any] = {"sheet": sheet.id}
        if rating is not None and rating.note:
            evidence["note"] = rating.note
        if value is not None:
            evidence["rating"] = value
        for candidate in item.candidates:
            found[candidate, item.sample_id] = Judgement(
                id=item.sample_id,
                metric=metric,
                candidate=candidate,
                score=None if value is None else (value - sheet.low) / (sheet.high - sheet.low),
                label=("pass" if value else "fail") if sheet.is_pass_fail and value is not None else None,
                evidence=evidence,
                error=NOT_RATED if value is None else None,
                key=fingerprint([judge, item.sample_id, item.answer_sha]),
            )
    return found


# ------------------------------------------------------------------------------------------------------ run made anew


def keep_ratings(
    old: Run, judgements: Iterable[Judgement], answers: Iterable[Answer], new: Run, new_answers: Iterable[Answer]
) -> tuple[Run, list[Judgement]]:
    """A run made anew, with the raters of the one it replaces, and the ratings of answers that are still the same."""
    texts = {(a.candidate, a.sample_id): a.completion.text for a in answers}
    now = {(a.candidate, a.sample_id): a.completion.text for a in new_answers}
    same = {pair for pair, text in texts.items() if text is not None and now.get(pair) == text}
    kept = [j for j in judgements if j.metric.startswith(HUMAN) and (j.candidate, j.id) in same]
    described = old.record.get("judges", {})
    for metric in old.metrics:
        if metric.name.startswith(HUMAN) and any(j.metric == metric.name for j in kept):
            new = _with_metric(new, metric, old.judges[metric.name], described.get(metric.name, {}))
    return new, kept


def rated_texts(
    samples: Sequence[Sample], answers: Iterable[Answer], judgements: Iterable[Judgement]
) -> list[tuple[Sample, Answer, dict[str, Judgement]]]:
    """Each distinct answer to a sample that somebody rated, with its ratings by metric; equal answers stand once."""
    by_id = {sample.id: sample for sample in samples}
    rated: dict[tuple[str, str], dict[str, Judgement]] = {}
    for judgement in judgements:
        if judgement.metric.startswith(HUMAN) and judgement.score is not None:
            rated.setdefault((judgement.candidate, judgement.id), {})[judgement.metric] = judgement
    found: dict[tuple[str, str | None], tuple[Sample, Answer, dict[str, Judgement]]] = {}
    for answer in answers:
        ratings = rated.get((answer.candidate, answer.sample_id))
        if ratings and answer.sample_id in by_id:
            unit = (answer.sample_id, answer.completion.text)
            found.setdefault(unit, (by_id[answer.sample_id], answer, {}))[2].update(ratings)
    return list(found.values())
