"""`muster review export|import|agreement|labels`: blind ratings by people, as judgements of a run like any judge's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.data.sources import Mistakes, Row, Rows
    from harness.records import Answer, Figure, Judgement, Metric, Run, Sample
    from harness.store.reviews import Rating, Sheet

HIGHEST = 9
"""One key a rating."""
LEVELS = (
    ("nominal", "equal or not"),
    ("ordinal", "by rank"),
    ("interval", "by distance"),
)


def export(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")],
    out: Annotated[Path, typer.Option(help="The sheet: .html for a browser, .csv for a spreadsheet.")],
    criteria: Annotated[str | None, typer.Option(help="What raters are asked, in a sentence or a few.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Ask what this judge of the run measures; a geval judge gives its criteria and scale."),
    ] = None,
    flips: Annotated[
        str | None,
        typer.Option(help="Ask about the samples that pass this judge with the baseline and fail it with --candidate."),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Of --flips.  [default: that of the run's gate]")] = None,
    scale: Annotated[str | None, typer.Option(help="LOW,HIGH within 0 to 9, or pass/fail.  [default: 1,5]")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="N random samples, each with all candidates' answers.")
    ] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="Only this candidate; repeatable.")] = None,
    show_reference: Annotated[bool, typer.Option("--show-reference", help="Show the reference answers.")] = False,
    show_context: Annotated[bool, typer.Option("--show-context", help="Show the passages of the data.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides which samples, and their order.")] = 0,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Write a blind sheet: answers in random order, whose is whose kept in the home."""
    from harness.cli.session import elsewhere
    from harness.errors import UserError
    from harness.store import Home, Store
    from harness.store.reviews import read_sheet, write_sheet
    from reports.review import choose_flips, choose_items, render_csv, render_html, rows

    if out.suffix.lower() not in (".html", ".csv"):
        raise UserError(f"'--out' must be a .html or .csv file (got {out})")
    place = Home(home)
    with Store.open(place, read_only=True) as store:
        found = store.run(run)
        samples, answers = store.samples(found.id), store.answers(found.id)
        judgements = store.judgements(found.id, metric=flips) if flips is not None else []
    if flips is not None:
        if metric is not None or scale is not None:
            raise UserError("'--flips' asks pass or fail by its own judge. Leave '--metric' and '--scale' out")
        judge = known_metric(found, "--flips", flips)
        ours, theirs = flip_pair(found, candidate or [], baseline)
        sheet = choose_flips(
            found, answers, judgements, metric=judge, candidate=ours, baseline=theirs, limit=limit, seed=seed,
            criteria=" ".join((criteria or flip_question(found, judge)).split()),
        )  # fmt: skip
        show_reference = show_context = True  # what the judge knew, and what calibrating it needs
    else:
        if baseline is not None:
            raise UserError("'--baseline' goes with '--flips'")
        asked, own_scale = question(found, criteria, metric)
        sheet = choose_items(
            found, samples, answers, candidates=candidate or [], criteria=asked, limit=limit, seed=seed,
            scale=read_scale(scale) if scale is not None else own_scale,
            metric=known_metric(found, "--metric", metric) if metric is not None else None,
        )  # fmt: skip
    sheet = read_sheet(place, sheet.id) or sheet  # the same sheet again keeps its ids
    shown = rows(sheet, samples, answers, reference=show_reference, context=show_context)
    write_sheet(place, sheet)
    if out.suffix.lower() == ".html":
        write_file(out, render_html(sheet, shown))
        how = "open it in a browser; it gives the ratings back as a file"
    else:
        write_file(out, "\ufeff" + render_csv(sheet, shown))
        how = "fill in the column 'rating' and save it as CSV"
    said = f"{len(sheet.items):,} answers to {len({i.sample_id for i in sheet.items}):,} samples"
    typer.echo(f"{out}: {f'{len(sheet.pairs):,} flips' if sheet.pairs else said}; {how}")
    typer.echo(f"  then: muster review import FILE --rater NAME{elsewhere(home)}")
    if sheet.pairs and out.suffix.lower() == ".html":
        typer.echo(f"   and: muster calibrate {flips} --labels FILE{elsewhere(home)}")


def import_(
    file: Annotated[Path, typer.Argument(help="What the sheet gave back: .csv or .jsonl.")],
    rater: Annotated[str, typer.Option(help="Who rated; the metric is called human:NAME.")],
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Bring ratings in as judgements human:NAME. The same file again changes nothing."""
    from harness.cli.session import elsewhere
    from harness.errors import NothingEvaluatedError
    from harness.store import Home
    from harness.store.reviews import add_ratings, count_flips

    place = Home(home)
    sheet, ratings = read_ratings(file, place)
    if all(rating.value is None for rating in ratings):
        raise NothingEvaluatedError(f"{file}: no item is rated yet. Fill in the column 'rating'.")
    done = add_ratings(place, sheet, rater, ratings)
    typer.echo(f"{done.metric} of run {done.run}: {done.rated:,} rated, {done.unrated:,} not rated")
    typer.echo(f"  {done.new:,} new, {done.changed:,} changed")
    if sheet.pairs:
        found = count_flips(sheet, ratings)
        typer.echo(
            f"  of {len(sheet.pairs):,} flips of {sheet.metric}, {found.right:,} are real: only the answer it passed is good"
        )
        typer.echo(
            f"  both are good in {found.both:,}, neither in {found.neither:,}, only the failed one in {found.opposite:,};"
            f" {found.undecided:,} undecided"
        )
    typer.echo(f"  next: muster review agreement {done.run}{elsewhere(home)}")


def agreement(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")],
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Show how far raters agree with each other, and every judge with them."""
    from rich.console import Console

    from harness.store import Home, Store
    from harness.store.reviews import rated_texts

    console = Console(highlight=False, markup=False, emoji=False)
    with Store.open(Home(home), read_only=True) as store:
        found = store.run(run)
        samples, answers, judgements = store.samples(found.id), store.answers(found.id), store.judgements(found.id)
    units = rated_texts(samples, answers, judgements)
    for question_, raters in asked_questions(found).items():
        show_raters(console, question_, raters, units)
        show_judges(console, found, raters, units, judgements)


def labels(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")],
    out: Annotated[Path, typer.Option(help="A .jsonl file for 'muster calibrate --labels'.")],
    rater: Annotated[list[str] | None, typer.Option(help="Only this rater; repeatable.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Write what raters said as labels: one line an answer, its label the mean rating on 0 to 1."""
    from harness.cli.session import elsewhere
    from harness.errors import UserError
    from harness.records import HUMAN
    from harness.store import Home, Store
    from harness.store.reviews import rated_texts

    with Store.open(Home(home), read_only=True) as store:
        found = store.run(run)
        units = rated_texts(store.samples(found.id), store.answers(found.id), store.judgements(found.id))
    questions = asked_questions(found)
    known = [name.removeprefix(HUMAN) for raters in questions.values() for name in raters]
    for name in rater or []:
        if name not in known:
            raise UserError(f"'--rater' must be one of {', '.join(known)} (got {name!r})")
    wanted = {HUMAN + name for name in rater or known}
    asked = [question_ for question_, raters in questions.items() if wanted & set(raters)]
    selected = {name for name in wanted if found.record["judges"][name].get("selected")}
    if len(asked) > 1:
        raise UserError(
            "the raters answered different questions: " + "; ".join(q for q, *_ in asked) + ". Name --rater"
        )
    lines = []
    for sample, answer, said in units:
        scores = [judgement.score for name, judgement in said.items() if name in wanted and judgement.score is not None]
        if scores:
            line = {**unit_line(sample, answer), "label": round(sum(scores) / len(scores), 6)}
            lines.append({**line, "selected": True} if selected & set(said) else line)
    write_file(out, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    typer.echo(f"{out}: {len(lines):,} labels")
    typer.echo(f"  next: muster calibrate JUDGE --labels {out}{elsewhere(home)}")


# ------------------------------------------------------------------------------------------------------------ exporting


def question(run: Run, criteria: str | None, metric: str | None) -> tuple[str, tuple[int, int]]:
    """What raters are asked, and the scale that goes with it. Raises UserError where neither or both are given."""
    from harness.errors import UserError
    from reports.queries import DEFINITIONS

    if (criteria is None) == (metric is None):
        raise UserError(
            "give '--criteria TEXT' (what raters are asked), '--metric NAME' (what that judge measures) or '--flips NAME'"
        )
    if criteria is not None:
        if not criteria.strip():
            raise UserError("'--criteria' must say what raters are asked (got an empty text)")
        return " ".join(criteria.split()), (1, 5)
    judge = known_metric(run, "--metric", metric)
    spec = judge_record(run, metric)
    scale = spec.get("scale")
    low, high = scale if isinstance(scale, list | tuple) and len(scale) == 2 else (1, 5)
    asked = spec.get("criteria") or DEFINITIONS.get(spec.get("kind", judge.name))
    if not isinstance(asked, str):
        raise UserError(f"the run does not say what {judge.name!r} measures. Use '--criteria TEXT'")
    if judge.direction == "lower":
        asked += " The best rating is for the answer that has least of it."
    return " ".join(asked.split()), (low, high) if 0 <= low < high <= HIGHEST else (1, 5)


def known_metric(run: Run, option: str, name: str | None) -> Metric:
    """The run's metric of a name. Raises UserError with those there are."""
    from harness.errors import UserError

    found = next((known for known in run.metrics if known.name == name), None)
    if found is None:
        names = ", ".join(known.name for known in run.metrics)
        raise UserError(f"'{option}' must be one of run {run.id}: {names} (got {name!r})")
    return found


def flip_pair(run: Run, named: Sequence[str], baseline: str | None) -> tuple[str, str]:
    """Candidate and baseline of a sheet of flips. Raises UserError where they are not told, not known or the same."""
    from harness.errors import UserError

    names = list(run.candidates)
    suite = run.record.get("suite")
    gate = suite.get("gate") if isinstance(suite, Mapping) else None
    theirs = baseline or (gate.get("baseline") if isinstance(gate, Mapping) else None)
    if theirs not in names:
        raise UserError(f"'--baseline' must be one of run {run.id}: {', '.join(names)} (got {theirs or 'none'!r})")
    others = list(named) or [name for name in names if name != theirs]
    if len(others) != 1 or others[0] not in names or others[0] == theirs:
        choice = ", ".join(name for name in names if name != theirs)
        raise UserError(f"'--candidate' must be one of {choice} (got {', '.join(named) or 'none'})")
    return others[0], theirs


def flip_question(run: Run, metric: Metric) -> str:
    """What raters of flips are asked, where nobody said it."""
    asked = judge_record(run, metric.name).get("criteria")
    meant = f" {asked}" if isinstance(asked, str) else ""
    least = " A good answer has little of it." if metric.direction == "lower" else ""
    return f"Which of the two answers are good enough, as to {metric.name}?{meant}{least}"


def judge_record(run: Run, metric: str | None) -> dict[str, Any]:
    """What the run's record says of a judge: its options in the suite, and its own description."""
    found: dict[str, Any] = {}
    for part in (run.record.get("suite"), run.record):
        judges = part.get("judges") if isinstance(part, Mapping) else None
        told = judges.get(metric) if isinstance(judges, Mapping) else None
        found |= dict(told) if isinstance(told, Mapping) else {}
    return found


def read_scale(text: str) -> tuple[int, int]:
    """`1,5` or `pass/fail` as the ends of a scale. Raises UserError."""
    from harness.errors import UserError

    if text.strip().lower() == "pass/fail":
        return 0, 1
    parts = text.split(",")
    if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
        low, high = (int(part) for part in parts)
        if 0 <= low < high <= HIGHEST:
            return low, high
    raise UserError(f"'--scale' must be LOW,HIGH within 0 to {HIGHEST}, such as 1,5, or pass/fail (got {text!r})")


def write_file(path: Path, text: str) -> None:
    """Writes a file whole or not at all. Raises UserError where it cannot be written."""
    from harness.errors import UserError
    from harness.store.writing import write_whole

    try:
        write_whole(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"'--out' must be a file that can be written (got {path}: {error.strerror})") from None


# ------------------------------------------------------------------------------------------------------------ importing


def read_ratings(file: Path, home: Any) -> tuple[Sheet, list[Rating]]:
    """The sheet a file belongs to, and its ratings. Raises DataError with every mistake, each with its line."""
    from harness.data.sources import Mistakes, read_rows
    from harness.store.reviews import read_sheet

    rows = read_rows(file)
    mistakes = Mistakes()
    for column in ("sheet", "item", "rating"):
        if column not in rows.columns:
            have = ", ".join(rows.columns[:12])
            mistakes.stop(f"{rows.name}: column '{column}' must be there, as in the exported sheet (got {have}).")
    sheets = list(dict.fromkeys(str(row.values.get("sheet") or "").strip() for row in rows.rows))
    if len(sheets) > 1:
        other = next(row for row in rows.rows if str(row.values.get("sheet") or "").strip() != sheets[0])
        mistakes.stop(f"{rows.place(other)}: must be of sheet {sheets[0]!r}, like the first row (got {sheets[1]!r}).")
    sheet = read_sheet(home, sheets[0])
    if sheet is None:
        mistakes.stop(
            f"{rows.name}: no sheet {sheets[0]!r} was exported from {home.path}. Name its --home, or export anew."
        )
    ratings = read_rating_rows(rows, sheet, home, mistakes)
    mistakes.raise_any()
    return sheet, ratings


def read_rating_rows(rows: Rows, sheet: Sheet, home: Any, mistakes: Mistakes) -> list[Rating]:
    """One rating a row that is right; what is wrong with the others is noted."""
    from harness.store.reviews import Rating

    items = {item.id: item for item in sheet.items}
    texts = exported_texts(sheet, home) if "answer" in rows.columns else {}
    seen: dict[str, Row] = {}
    ratings = []
    for row in rows.rows:
        place, item = rows.place(row), str(row.values.get("item") or "").strip()
        if item not in items:
            mistakes.add(f"{place}: item {item!r} is not on sheet {sheet.id}.")
            continue
        if item in seen:
            mistakes.add(f"{place}: item {item!r} stands twice (first at {rows.place(seen[item])}). Keep one of them.")
            continue
        seen[item] = row
        if item in texts and squeezed(row.values.get("answer")) != squeezed(texts[item]):
            mistakes.add(f"{place}: the answer is not the one that was exported for {item!r}. Rate the sheet as it is.")
        value = read_rating(row.values.get("rating"), sheet)
        if value is WRONG:
            rule = "pass or fail" if sheet.is_pass_fail else f"a whole number from {sheet.low} to {sheet.high}"
            mistakes.add(f"{place}: the rating must be {rule}, or empty (got {row.values.get('rating')!r:.60}).")
            continue
        note = row.values.get("note")
        ratings.append(Rating(item=item, value=value, note=note.strip() if isinstance(note, str) else ""))
    return ratings


WRONG: Any = object()
"""Stands for a rating that is none."""


def read_rating(value: Any, sheet: Sheet) -> Any:
    """A rating on the sheet's scale, None for an empty cell, WRONG for anything else."""
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return None
    if sheet.is_pass_fail and text in ("pass", "fail"):
        return int(text == "pass")
    whole = text.removesuffix(".0").removesuffix(",0")  # what spreadsheets make of whole numbers
    if isinstance(value, bool) or not whole.isdecimal() or not sheet.low <= int(whole) <= sheet.high:
        return WRONG
    return int(whole)


def exported_texts(sheet: Sheet, home: Any) -> dict[str, str]:
    """The answer behind each item of a sheet, as the store has it."""
    from harness.store import Store

    with Store.open(home, read_only=True) as store:
        answers = {(a.candidate, a.sample_id): a.completion.text or "" for a in store.answers(store.run(sheet.run).id)}
    return {item.id: answers.get((item.candidates[0], item.sample_id), "") for item in sheet.items}


def squeezed(value: Any) -> str:
    """A text without what spreadsheets change: line ends, spaces at the ends, the apostrophe before a formula."""
    return " ".join(str(value or "").replace("\ufffd", "").split()).removeprefix("'")


# ------------------------------------------------------------------------------------------------------------ agreement


def asked_questions(run: Run) -> dict[tuple[str, int, int], list[str]]:
    """The raters' metrics by what they were asked and on which scale. Raises NothingEvaluatedError where nobody rated."""
    from harness.errors import NothingEvaluatedError
    from harness.records import HUMAN

    found: dict[tuple[str, int, int], list[str]] = {}
    for metric in run.metrics:
        if metric.name.startswith(HUMAN):
            described = run.record["judges"][metric.name]
            found.setdefault((described["criteria"], *described["scale"]), []).append(metric.name)
    if not found:
        raise NothingEvaluatedError(
            f"run {run.id} holds no ratings. Begin with: muster review export {run.id} --out FILE"
        )
    return found


Units = Sequence[tuple["Sample", "Answer", Mapping[str, "Judgement"]]]


def show_raters(console: Console, asked: tuple[str, int, int], raters: Sequence[str], units: Units) -> None:
    """What each rater did, and Krippendorff's alpha between them."""
    import numpy as np

    from harness.stats import krippendorff_alpha

    criteria, low, high = asked
    console.print(f"{criteria}  ({low} to {high})", style="bold", markup=False)
    table = plain_table("rater", "rated", "mean", "mean 0..1")
    for rater in raters:
        ratings = [said[rater].evidence["rating"] for _, _, said in units if rater in said]
        mean = sum(ratings) / len(ratings) if ratings else None
        shown = ("–", "–") if mean is None else (f"{mean:.2f}", f"{(mean - low) / (high - low):.3f}")
        table.add_row(rater, f"{len(ratings):,}", *shown)
    console.print(table)
    if len(raters) < 2:
        console.print("  one rater: agreement between people needs a second\n")
        return
    matrix = np.array(
        [[said[rater].evidence["rating"] if rater in said else np.nan for _, _, said in units] for rater in raters],
        dtype=np.float64,
    )
    clusters = np.unique([cluster_of(sample) for sample, _, _ in units], return_inverse=True)[1]
    table = plain_table("Krippendorff's alpha", "differences", "95 % interval", "items")
    for level, words in LEVELS if high - low > 1 else LEVELS[:1]:
        found = krippendorff_alpha(matrix, level, clusters=clusters)  # type: ignore[arg-type]
        alpha = "–" if found.value is None else f"{level} {found.value:.3f}"
        between = found.reason if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
        table.add_row(alpha, words, between, f"{found.units:,}")
    console.print(table)
    console.print()


def show_judges(
    console: Console, run: Run, raters: Sequence[str], units: Units, judgements: Sequence[Judgement]
) -> None:
    """Each judge of the run against the mean rating, and each rater against the mean of the others."""
    from harness.records import HUMAN

    by_cell = {(j.metric, j.candidate, j.id): j for j in judgements}
    table = plain_table("against people", "n", "unscored", "Spearman", "AUROC", "quadratic kappa")
    for metric in run.metrics:
        if metric.name.startswith(HUMAN) and (metric.name not in raters or len(raters) < 2):
            continue
        others = [rater for rater in raters if rater != metric.name]
        pairs = []
        for unit in units:
            sample, answer, said = unit
            scores = [said[rater].score or 0.0 for rater in others if rater in said]
            judged = by_cell.get((metric.name, answer.candidate, sample.id))
            if scores and judged is not None:
                pairs.append((unit, judged, sum(scores) / len(scores)))
        if pairs:
            table.add_row(metric.name, *judge_row(run, metric, pairs))
    console.print(table)
    console.print(
        "  95 % intervals, over clusters. Scores that are better when lower are compared the other way round.\n"
    )


def judge_row(
    run: Run, metric: Metric, pairs: Sequence[tuple[tuple[Sample, Answer, Any], Judgement, float]]
) -> list[str]:
    """Scored, unscored, and the figures of one judge's agreement with mean ratings."""
    from harness.records import Case
    from judges.calibration import calibrate, read_truth

    scored = sum(judged.score is not None for _, judged, _ in pairs)
    counts = [f"{scored:,}", f"{len(pairs) - scored:,}"]
    if not scored:
        return [*counts, "–", "–", "–"]
    cases = [
        Case(id=s.id, answer=a.completion.text, input=s.input, references=s.references, contexts=s.contexts)
        for (s, a, _), _, _ in pairs
    ]
    ratings = [mean for _, _, mean in pairs]
    labels = [int(mean) for mean in ratings] if set(ratings) <= {0.0, 1.0} else ratings
    card = calibrate(
        cases, [judged for _, judged, _ in pairs], read_truth(labels, reverse=metric.direction == "lower"),
        judge=metric.name, judge_fingerprint=run.judges.get(metric.name, ""), metric=metric, labels="ratings",
        clusters=[cluster_of(s) for (s, _, _), _, _ in pairs],
    )  # fmt: skip
    figures = {figure.name: figure for figure in card.figures}
    return [*counts, *(shown_figure(figures.get(name)) for name in ("spearman", "auroc", "quadratic_kappa"))]


def shown_figure(figure: Figure | None) -> str:
    """A figure with its interval, or a dash where the ratings do not define it."""
    if figure is None or figure.value is None:
        return "–"
    between = f" [{figure.low:.2f}, {figure.high:.2f}]" if figure.low is not None and figure.high is not None else ""
    return f"{figure.value:.2f}{between}"


def cluster_of(sample: Sample) -> str:
    """What belongs together: the suite's cluster, or all answers to one sample."""
    return f"c {sample.cluster}" if sample.cluster is not None else f"s {sample.id}"


def unit_line(sample: Sample, answer: Answer) -> dict[str, Any]:
    """An answer as a line for `muster score` and `muster calibrate`."""
    turns = [{"role": turn.role, "content": turn.content} for turn in sample.messages]
    return {
        "id": f"{sample.id}:{answer.candidate}",
        "input": sample.input,
        **({"messages": turns} if turns else {}),
        "reference": list(sample.references),
        "context": list(sample.contexts),
        "answer": answer.completion.text,
        "cluster": sample.cluster if sample.cluster is not None else sample.id,
    }


NUMBERS = frozenset({"rated", "mean", "mean 0..1", "items", "n", "unscored"})
"""Columns that stand to the right."""


def plain_table(*columns: str) -> Any:
    """A table without lines."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 2))
    for column in columns:
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    return table
