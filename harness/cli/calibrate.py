"""`muster calibrate JUDGE`: how far a judge agrees with human labels, kept as a calibration card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.data.sources import Rows
    from harness.records import Calibration, Judgement, Metric


def calibrate(
    judge: Annotated[str, typer.Argument(help="A kind of judge, or the name of a judge in the suite.")],
    labels: Annotated[
        Path, typer.Option(help="Lines as for 'muster score', with a label each and, if need be, a cluster.")
    ],
    suite: Annotated[str | None, typer.Option(help="A suite that declares the judge.")] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="key=value: overrides an option of the judge; repeatable.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="What 'muster score' wrote for these ids; left out, the judge judges now.")
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="A label that a high score stands for; repeatable. For 0 and 1 it is 1 unless said here."),
    ] = None,
    at_least: Annotated[float | None, typer.Option(help="Grades from here on are good.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="A high label goes with a low score.")] = False,
    cut: Annotated[
        float | None, typer.Option(help="Scores from here on count as positive.  [default: middle of the scale]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the set.  [default: that of the file]")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the card here too, as JSON.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and resamples.")] = 0,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the suite's custom judges, which are code.")
    ] = False,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Compare a judge with human labels: every figure with its interval, kept for the reports."""
    from rich.console import Console

    from harness.cli.score import build_judge, close, judge_all, judge_spec, read_cases
    from harness.cli.usage import show_usage
    from harness.data.sources import read_rows
    from harness.store import Home
    from harness.store.calibrations import write_calibration, write_cards
    from judges import calibration

    console, errors = (
        Console(highlight=False, markup=False, emoji=False),
        Console(stderr=True, markup=False, emoji=False),
    )
    judge_spec(judge, suite, set or [])  # before the labels, and before any model
    rows = read_rows(labels)
    said, clusters = read_labels(rows)
    ids, cases = read_cases(rows)
    kept = [i for i, label in enumerate(said) if label is not None]
    cases = [cases[i] for i in kept]
    if scores is None:
        refuse_without_answers(rows)
    read_truth = partial(
        calibration.read_truth, [said[i] for i in kept], positive=positive or [], at_least=at_least, reverse=reverse
    )
    read_truth(vocabulary=None)  # before anything is judged
    built, models = build_judge(judge, suite, set or [], trust_code=trust_code, home=home)
    refuse_cut(cut, built.metric)
    judgements: list[Judgement] = []
    if scores is None:
        for chunk in judge_all(built, judge, cases, errors):
            judgements += chunk
            scored = [one for one in judgements if one.score is not None]
            if scored and all(one.label is None for one in scored):  # whose names the file's labels cannot be
                read_truth(vocabulary=())
        show_usage(models.usage(), errors)
    else:
        judgements = read_scores(scores, judge, [str(ids[i]) for i in kept])
    truth = read_truth(vocabulary=sorted({j.label for j in judgements if j.label is not None}))
    card = calibration.calibrate(
        cases, judgements, truth, judge=judge, judge_fingerprint=built.fingerprint, metric=built.metric,
        labels=name or labels.stem, clusters=[clusters[i] for i in kept] if any(clusters) else None, cut=cut,
        resamples=resamples, seed=seed, selected=any(row.values.get("selected") for row in rows.rows),
    )  # fmt: skip
    path = write_calibration(Home(home), card)
    if out is not None:
        write_cards(out, [card])
    show_card(card, console, unlabelled=len(said) - len(kept))
    console.print(f"\n  card     {path}", markup=False)
    if scores is None:
        raise typer.Exit(close(judgements, errors, built.metric) if card.unscored else 0)


def refuse_cut(cut: float | None, metric: Metric) -> None:
    """Raises UserError where every score lies on one side of the cut."""
    from harness.errors import UserError

    if cut is not None and not metric.low <= cut <= metric.high:
        raise UserError(
            f"--cut must be from {metric.low:g} to {metric.high:g}, the scale of '{metric.name}' (got {cut:g})"
        )


def read_labels(rows: Rows) -> tuple[list[Any], list[str]]:
    """A label a row (None where it is blank) and its cluster ('' where there is none). Raises DataError a mistake a line."""
    from harness.data.sources import Mistakes
    from harness.errors import NothingEvaluatedError, UserError

    if "label" not in rows.columns:
        hint = (
            ". A rated sheet comes in with 'muster review import'; 'muster review labels' then writes labels"
            if "rating" in rows.columns
            else ""
        )
        raise UserError(f"{rows.name}: must have a column 'label' (it has {', '.join(rows.columns)}){hint}")
    mistakes = Mistakes()
    said: list[Any] = []
    clusters: list[str] = []
    seen: dict[str, int] = {}
    for row in rows.rows:
        label, cluster = row.values.get("label"), row.values.get("cluster")
        if isinstance(label, list | dict):
            mistakes.add(f"{rows.place(row)}: 'label' must be a number or a name (got {str(label)[:60]})")
            label = None
        said.append(None if label is None or (isinstance(label, str) and not label.strip()) else label)
        clusters.append("" if cluster is None else str(cluster))
        identity = str(row.values.get("id", row.number))
        if identity in seen:
            mistakes.add(f"{rows.place(row)}: 'id' {identity!r} stands twice (first at row {seen[identity]})")
        seen.setdefault(identity, row.number)
    if any(clusters):
        for row, cluster, label in zip(rows.rows, clusters, said, strict=True):
            if not cluster and label is not None:
                mistakes.add(f"{rows.place(row)}: 'cluster' must be given for every line or for none")
    mistakes.raise_any()
    if all(label is None for label in said):
        raise NothingEvaluatedError(f"{rows.name}: no line has a label")
    return said, clusters


def refuse_without_answers(rows: Rows) -> None:
    """Raises UserError where the labels' file has no answers to judge."""
    from harness.errors import UserError

    if "answer" not in rows.columns:
        raise UserError(
            f"{rows.name}: must have a column 'answer' to judge (it has {', '.join(rows.columns)}). If 'muster score' has"
            " scored these ids already, name its output with --scores"
        )


def read_scores(path: Path, judge: str, ids: Sequence[str]) -> list[Judgement]:
    """The judgements of the ids, from what `muster score` wrote. An id without a line is unscored, and says so.

    Raises DataError naming each wrong line, UserError where no id is known or the file is another judge's.
    """
    from harness.data.sources import Mistakes, read_rows
    from harness.errors import UserError
    from harness.records import Failure, Judgement

    rows, mistakes = read_rows(path), Mistakes()
    metrics = {str(row.values.get("metric", judge)) for row in rows.rows}
    if judge not in metrics and len(metrics) > 1:
        raise UserError(f"{rows.name}: holds no scores of '{judge}' (its metrics are {', '.join(sorted(metrics))})")
    wanted = judge if judge in metrics else next(iter(metrics))
    found: dict[str, Judgement] = {}
    for row in rows.rows:
        if str(row.values.get("metric", judge)) != wanted:
            continue
        identity, value, error = str(row.values.get("id", row.number)), row.values.get("score"), row.values.get("error")
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            mistakes.add(f"{rows.place(row)}: 'score' must be a number or null (got {str(value)[:60]!r})")
            continue
        if identity in found:
            mistakes.add(f"{rows.place(row)}: 'id' {identity!r} stands twice")
        told = error if isinstance(error, dict) else {}
        failure = Failure(kind=str(told.get("kind", "no_score")), message=str(told.get("message", "no score")))
        evidence, label = row.values.get("evidence"), row.values.get("label")
        found[identity] = Judgement(
            id=identity, metric=wanted, score=None if value is None else float(value),
            label=None if label is None else str(label), evidence=evidence if isinstance(evidence, dict) else {},
            error=failure if value is None else None,
        )  # fmt: skip
    mistakes.raise_any()
    if not set(ids) & set(found):
        raise UserError(
            f"{rows.name}: has none of the labelled ids (such as {ids[0]!r}; it has {next(iter(found), '-')!r})"
        )
    lacking = Failure(kind="no_score", message=f"{path.name} has no line for it")
    return [found.get(i) or Judgement(id=i, metric=wanted, score=None, error=lacking) for i in ids]


def show_card(card: Calibration, console: Console, *, unlabelled: int = 0) -> None:
    """The whole card for a terminal."""
    from rich.table import Table
    from rich.text import Text

    from harness.deciding.wording import figure_name, number

    console.print(Text.assemble((card.judge, "bold"), f" against {card.labels}"))
    counts = f"{card.n:,} labelled cases" + (f" in {card.clusters:,} clusters" if card.clusters is not None else "")
    counts += f", {card.unscored:,} unscored" if card.unscored else ""
    counts += f", {unlabelled:,} without a label left out" if unlabelled else ""
    console.print(f"  {counts}; {card.record['positive']}", markup=False)
    if "cut" in card.record and card.task != "classes":
        console.print(f"  decisions: score >= {number(card.record['cut'])}", markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  figure", no_wrap=True)
    table.add_column("", justify="right")
    table.add_column("interval", no_wrap=True)
    table.add_column("")
    for figure in card.figures:
        value = "-" if figure.value is None else number(figure.value)
        ends = (
            f"{number(figure.low)} to {number(figure.high)}"
            if figure.low is not None and figure.high is not None
            else "-"
        )
        note = NOTES.get(figure.name, "") if card.task != "classes" else ""
        table.add_row(
            f"  {figure_name(figure.name)}", value, ends, Text("; ".join(filter(None, (note, figure.note))), "dim")
        )
    console.print(table)
    if ties := card.record.get("ties"):
        console.print(
            f"  pairs {ties['pairs']:,}: tied in score {ties['score']:,}, in label {ties['label']:,}, in both {ties['both']:,}",
            style="dim",
        )
    console.print(f"  intervals: {card.record['interval']}", style="dim", markup=False)
    for kind, count in Counter(card.record.get("unscored", {})).most_common():
        console.print(f"  {count} x {kind}", style="yellow", markup=False)
    chance = {"auroc": 0.5, "spearman": 0.0}.get(card.headline.name)
    end = card.headline.value if card.headline.high is None else card.headline.high
    if chance is not None and end is not None and end < chance:
        console.print(
            "  the judge disagrees with the labels. If a high label goes with a low score, say --reverse",
            style="yellow",
        )


NOTES = {  # of figures that their names do not explain
    "auroc": "chance that a positive scores above a negative",
    "expected_calibration_error": "ten bins of equal width",
    "best_threshold": "in-sample; greatest balanced accuracy",
}
