"""The report as one HTML file: no network, no other file, nothing a text can break out of.

Styles and script stand in the page and are allowed by their hash alone, so an attribute or element that some answer
smuggled in could neither run nor load anything; that none gets in is autoescaping's job. The page is complete without
JavaScript (except for the sample browser, which then gives way to the first samples as plain text), in print, and from
file://.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.deciding.against_itself import certificate_sentence
from harness.deciding.corrections import Correction
from harness.deciding.counts import LEFT_OUT
from harness.deciding.gate import run_exit_status, worst_outcome
from harness.deciding.preferences import Preferences
from harness.deciding.slices import MOST_VALUES
from harness.deciding.surfaces import folded
from harness.deciding.surfaces.preferences import bias_sentence, elo_text
from harness.deciding.wording import (
    correction_method,
    correction_subject,
    figure_name,
    figure_text,
    number,
    slice_name,
    trust_text,
)
from harness.errors import UserError
from harness.records import Calibration, Figure, Finding, Metric, Training, Verdict
from harness.store import Store
from harness.store.writing import write_whole
from reports import charts
from reports.manifest import build_manifest
from reports.queries import CONFIDENCE, leaning, load_report
from reports.samples import MAX_TEXT, choose, pack, page_facts
from reports.trainings import (
    judged_series,
    kept_step,
    objective_series,
    series,
    steps_domain,
    sweep_domain,
    sweep_points,
)
from reports.views import Board, Cell, JudgeCard, Reliability, Report, SliceTable, TradeOff

RunLine = tuple[str, list[tuple[float, float | None, float | None, bool] | None]]
"""A candidate's name, and (mean, low, high, blessed) or None for each run of a history."""

STATIC_SAMPLES = 20
"""Samples that are readable without JavaScript and in print."""
BUDGET = 13_000_000
"""Bytes of sample data beyond which evidence is left out."""
OUTCOME_WORDS: Mapping[str, str] = {
    "pass": "may ship",
    "fail": "must not ship",
    "inconclusive": "cannot be told yet",
    "incomplete": "not finished",
}


def write_report(
    store: Store,
    run_ids: Sequence[str],
    out: Path,
    *,
    samples: str = "all",
    budget: int = BUDGET,
    blessed: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """Writes the report on the first run, with the others as its history, and returns the file's path.

    `samples` says which are embedded: flipped, failing, all, or how many.

    Raises:
        UserError: If a run is unknown, `samples` is none of these, or the file cannot be written.
        NothingEvaluatedError: If the run holds no judgements.
    """
    return write_page(out, render(load_report(store, run_ids, blessed=blessed), samples=samples, budget=budget))


def write_page(out: Path, page: str) -> Path:
    """Writes a page to a file, whole or not at all, and returns the file's path. Raises UserError where it cannot be."""
    if out.is_dir():
        raise UserError(f"the report must be written to a file (got the folder {out}). Use --out FILE.")
    require_page(out)
    try:
        write_whole(out, page.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(
            f"the report must be written to a file (got {out}: {error.strerror}). Use --out FILE."
        ) from error
    return out


def require_page(out: Path) -> None:
    """Raises UserError where a page would take the place of a file that is none, such as the suite's data."""
    try:
        head = b""
        if out.is_file():
            with out.open("rb") as file:
                head = file.read(100)
    except OSError:
        return
    if head.strip() and not head.lstrip().lower().startswith(b"<!doctype html"):
        raise UserError(f"'{out}' must be a new file or a page to replace (it holds something else). Name another.")


def render(report: Report, *, samples: str = "all", budget: int = BUDGET, made: str | None = None) -> str:
    """The page as text; `made` is when, now if it is left out."""
    made = made or now()
    return page(
        "report.html.j2",
        report,
        samples=samples,
        budget=budget,
        outcome=overall_outcome(report),
        exit_status=run_exit_status(report.run, report.verdicts),
        headline=headline(report),
        commands=commands(report),
        suite_yaml=suite_yaml(report),
        made=made,
        manifest=build_manifest(
            "report",
            [report.run, *(row.run for row in report.history if row.run.id != report.run.id)],
            verdicts=report.verdicts,
            cards=cards_of(report),
            made=made,
            options={
                "samples": samples,
                "budget": budget,
                "certificate": None if report.certificate is None else report.certificate.made,
                "blessed": [[row.run.id, *mark] for row in report.history for mark in row.blessed.items()],
            },
        ),
    )


def page(template: str, report: Report, *, samples: str, budget: int, **given: Any) -> str:
    """A page with a sample browser, by its template; `given` is what the template wants beside the report."""
    kept, which = choose(report, samples)
    total, report = len(report.samples), replace(report, samples=kept)
    style, script = static("base.css") + static("report.css"), static("report.js")
    environment = page_environment()
    return environment.get_template(template).render(
        report=report,
        payload=pack(report, budget=budget),
        total=total,
        which=which,
        style=Markup(style),
        script=Markup(script),
        style_hash=content_hash(style),
        script_hash=content_hash(script),
        browser=page_facts(report),
        **given,
    )


def now() -> str:
    """The moment in UTC, as pages say it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def cards_of(report: Report) -> list[Calibration]:
    """The calibration cards that a page shows."""
    return [card for judge in report.judges for card in judge.calibrations]


def content_hash(text: str) -> str:
    """The hash that a content security policy names: base64 of the SHA-256 of an inline element's text."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def overall_outcome(report: Report) -> str:
    """The worst outcome, as the stamp at the top shows it."""
    if not report.verdicts:
        return "none"
    outcomes = [verdict.outcome for verdict in report.verdicts]
    return worst_outcome([*outcomes, "incomplete"] if report.run.status != "complete" else outcomes)


def headline(report: Report) -> str:
    """A sentence an outcome: which candidates may ship, and which may not."""
    if not report.verdicts:
        return "No gate decided about this run: the figures are here, the judgement is yours."
    sentences = []
    for outcome, words in (
        ("pass", "{} may ship."),
        ("fail", "{} must not ship."),
        ("inconclusive", "This data cannot tell about {}."),
        ("incomplete", "{} lacks scores: run it again."),
    ):
        names = [verdict.candidate for verdict in report.verdicts if verdict.outcome == outcome]
        if names:
            sentences.append(words.format(listed(names)))
    if all(verdict.outcome != "pass" for verdict in report.verdicts):
        sentences.insert(0, "Nothing may ship.")
    return " ".join(sentences)


def commands(report: Report) -> str:
    """What to type to make this run and this page again, to hold the page against the store, and to look further."""
    given = report.run.record.get("command")
    run = (
        shlex.join(map(str, given))
        if isinstance(given, list | tuple)
        else str(given or f"muster run {report.run.suite}")
    )
    try:
        words = shlex.split(run)
    except ValueError:  # what somebody wrote into the record; it is shown as it is
        words = []
    home = ["--home", words[words.index("--home") + 1]] if "--home" in words[:-1] else []
    runs = [row.run.id for row in reversed(report.history) if row.run.id != report.run.id]
    chosen = [word for name in (report.run.id, *runs) for word in ("--run", name)]
    lines = [
        "# this run again: what is stored is reused, --fresh trains, answers and judges anew",
        run,
        "# this page again, and every number of it recomputed from the store",
        shlex.join(["muster", "report", *chosen, "--out", "muster-report.html", *home]),
        shlex.join(["muster", "report", "verify", "muster-report.html", *home]),
        "# everything known about one sample",
        f"{shlex.join(['muster', 'show', report.run.id])} SAMPLE{''.join(f' {shlex.quote(word)}' for word in home)}",
    ]
    return "\n".join(lines)


def suite_yaml(report: Report) -> str:
    """The resolved suite as YAML; empty where the run kept none."""
    suite = report.run.record.get("suite")
    if not isinstance(suite, Mapping):
        return ""
    plain = json.loads(json.dumps(suite, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)


# ------------------------------------------------------------------------------------------------------------ templates


@cache
def page_environment() -> Environment:
    """Jinja for every page of this folder: what is put in is escaped, what is missing is an error. Templates compile once."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        score=score,
        signed=signed,
        count=count,
        amount=amount,
        duration=duration,
        elo=elo,
        percent=percent,
        when=when,
        plain=plain,
        trust=trust_text,
        figure_name=figure_name,
        slice_name=slice_name,
        correction_method=correction_method,
        correction_subject=correction_subject,
        agreement=agreement,
        sweep_points=sweep_points,
    )
    environment.globals.update(
        OUTCOME_WORDS=OUTCOME_WORDS,
        STATIC_SAMPLES=STATIC_SAMPLES,
        MOST_VALUES=MOST_VALUES,
        MAX_TEXT=MAX_TEXT,
        CONFIDENCE=CONFIDENCE,
        charts=charts,
        leaning=leaning,
        mean_domain=mean_domain,
        difference_domain=difference_domain,
        elo_domain=elo_domain,
        bias_sentence=bias_sentence,
        slice_domain=slice_domain,
        correction_domain=correction_domain,
        finding_domain=finding_domain,
        folded=folded,
        certificate_sentence=certificate_sentence,
        LEFT_OUT=LEFT_OUT,
        rules_of=rules_of,
        findings_of=findings_of,
        is_count=is_count,
        worst_outcome=worst_outcome,
        histogram_label=histogram_label,
        about=about,
        loss_domain=loss_domain,
        own_domain=own_domain,
        series=series,
        judged_series=judged_series,
        objective_series=objective_series,
        kept_step=kept_step,
        steps_domain=steps_domain,
        sweep_domain=sweep_domain,
        reason=reason,
        figure_of=figure_of,
        best_baseline=best_baseline,
        agreement_domain=agreement_domain,
        trade_points=trade_points,
        trade_domain=trade_domain,
        trade_label=trade_label,
        run_labels=run_labels,
        run_lines=run_lines,
        run_domain=run_domain,
        run_label=run_label,
        reliability_points=reliability_points,
        reliability_label=reliability_label,
        is_mapping=lambda value: isinstance(value, Mapping),
        is_list=lambda value: isinstance(value, list | tuple),
    )
    return environment


def static(name: str) -> str:
    """A file of reports/static, with line ends as hashes count them."""
    text = resources.files("reports").joinpath("static", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ----------------------------------------------------------------------------------------------------- numbers in words


def score(value: float | None) -> str:
    """Three decimals, or more where the first are zeros; a dash where there is none."""
    return "–" if value is None else number(value).replace("-", "−")


def signed(value: float | None) -> str:
    """Like `score`, with its sign."""
    return "–" if value is None else f"{'+' if value > 0 else ''}{score(value)}"


def count(value: int | float) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}"


def amount(value: float | None) -> str:
    """A number of tokens: whole from 100, else with one decimal."""
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def elo(points: float | None) -> str:
    """Elo points with their sign, whole; a dash where there are none."""
    return elo_text(points).replace("-", "−" if points is not None else "–")


def percent(share: float) -> str:
    """A share as a percentage without needless decimals."""
    return f"{100 * share:g} %"


def when(moment: str) -> str:
    """An ISO 8601 time to the minute, in UTC; anything else as it is."""
    try:
        return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return moment


def plain(value: object) -> str:
    """A scalar of a record, or any other value as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def reason(verdict: Verdict) -> str:
    """Why the outcome is what it is: how many rules came to it, and which."""
    total = len({finding.rule for finding in verdict.findings})
    if verdict.outcome == "pass":
        return f"all {total} rules hold" if total > 1 else "the rule holds"
    rules = list(dict.fromkeys(f.rule for f in verdict.findings if f.outcome == verdict.outcome))
    one, many = {
        "fail": ("fails", "fail"),
        "inconclusive": ("cannot be told", "cannot be told"),
        "incomplete": ("lacks scores", "lack scores"),
    }[verdict.outcome]
    return f"{len(rules)} of {total} rules {one if len(rules) == 1 else many}: {', '.join(rules)}"


def agreement(figure: Figure | None) -> str:
    """A figure of agreement with its interval."""
    return "–" if figure is None else figure_text(figure).replace("-", "−") if figure.value is not None else "–"


def figure_of(card: Calibration, name: str) -> Figure | None:
    """A figure of a card, or None."""
    return next((figure for figure in card.figures if figure.name == name), None)


def best_baseline(card: Calibration) -> tuple[str, float] | None:
    """What does best without a judge on the card's rows, by the headline's figure."""
    found = card.record.get("baselines")
    return max(found.items(), key=lambda item: item[1]) if isinstance(found, Mapping) and found else None


# ------------------------------------------------------------------------------------------------------- axes of charts


def mean_domain(board: Board, metric: str) -> charts.Point:
    """The axis of one column of the leaderboard: all of its intervals."""
    return charts.padded(
        value
        for row in board.rows
        for cell in row.cells
        if cell.metric.name == metric
        for value in (cell.estimate.mean, cell.estimate.low, cell.estimate.high)
        if value is not None
    )


def difference_domain(board: Board, metric: str) -> charts.Point:
    """The axis of one column of differences: all of its intervals, and zero."""
    found = [
        value
        for row in board.rows
        for cell in row.cells
        if cell.metric.name == metric and cell.comparison is not None
        for value in (cell.comparison.difference, cell.comparison.low, cell.comparison.high)
        if value is not None
    ]
    return charts.padded(found, include=(0.0,))


def elo_domain(preferences: Preferences) -> charts.Point:
    """The axis of a table of strengths: all of its intervals, and zero."""
    found = [
        value
        for standing in preferences.standings
        for value in (standing.elo, standing.low, standing.high)
        if value is not None
    ]
    return charts.padded(found, include=(0.0,))


def agreement_domain(cards: Sequence[Calibration]) -> charts.Point:
    """One axis for the headlines of a judge's cards."""
    return charts.padded(
        value for card in cards for value in (card.headline.value, card.headline.low, card.headline.high)
        if value is not None
    )  # fmt: skip


def correction_domain(correction: Correction) -> charts.Point:
    """The axis of one correction: what the judge says, and the interval of what people would have said."""
    found = (correction.raw, correction.estimate, correction.low, correction.high)
    return charts.padded(value for value in found if value is not None)


def slice_domain(table: SliceTable) -> charts.Point:
    """The axis of one slice table: all of its intervals."""
    return charts.padded(
        value
        for row in table.rows
        for cell in row.cells
        for value in (cell.estimate.mean, cell.estimate.low, cell.estimate.high)
        if value is not None
    )


def rules_of(verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """The rules that verdicts are about, each once, with its split: a rule on many slices is one."""
    return list(dict.fromkeys((finding.rule, finding.split) for verdict in verdicts for finding in verdict.findings))


def findings_of(verdict: Verdict, rule: tuple[str, str]) -> list[Finding]:
    """What became of a rule: one finding, or one a slice; what it leaves out is not counted."""
    here = [finding for finding in verdict.findings if (finding.rule, finding.split) == rule]
    return [finding for finding in here if finding.slice != LEFT_OUT] or here


def is_count(finding: Finding) -> bool:
    """Whether the finding is a plain count, which has no interval for it has no chance in it."""
    return finding.rule.startswith("coverage ") or " coverage " in finding.rule or " must_pass " in finding.rule


def finding_domain(*values: float | None) -> charts.Point:
    """The axis of one finding: its interval and the limit."""
    return charts.padded(value for value in values if value is not None)


def trade_points(found: TradeOff) -> list[tuple[str, float, float, float | None, float | None]]:
    """A trade-off's candidates as the chart takes them."""
    return [
        (point.candidate, point.amount, point.estimate.mean, point.estimate.low, point.estimate.high)
        for point in found.points
        if point.estimate.mean is not None
    ]


def trade_domain(found: TradeOff) -> charts.Point:
    """The axis of a trade-off's quality: all of its intervals."""
    return charts.padded(value for point in trade_points(found) for value in point[2:] if value is not None)


def trade_label(found: TradeOff) -> str:
    """A trade-off in words."""
    points = (f"{name} {score(quality)} at {amount:.4g}" for name, amount, quality, _, _ in trade_points(found))
    return f"{found.metric.name} against {found.way}: {', '.join(points)}"


def run_labels(report: Report) -> list[str]:
    """The runs of the history by their day, and by their time where one day has several."""
    starts = [when(row.run.started) for row in report.history]
    days = [start[:10] for start in starts]
    return [start[5:16] if days.count(day) > 1 else day for start, day in zip(starts, days, strict=True)]


def run_lines(report: Report, metric: Metric) -> list[RunLine]:
    """A metric's history as the chart takes it: a line a candidate that any run has a mean of."""
    lines: list[RunLine] = []
    for name in report.candidates:
        found = [(row.estimates.get((name, metric.name)), name in row.blessed) for row in report.history]
        points = [None if e is None or e.mean is None else (e.mean, e.low, e.high, mark) for e, mark in found]
        if any(points):
            lines.append((name, points))
    return lines


def run_domain(report: Report, metric: Metric) -> charts.Point:
    """The axis of a metric's history: all of its intervals."""
    return charts.padded(
        value
        for _, points in run_lines(report, metric)
        for point in points
        if point is not None
        for value in point[:3]
        if value is not None
    )


def run_label(report: Report, metric: Metric) -> str:
    """A metric's history in words: the first and the last mean of each candidate."""
    told = []
    for name, points in run_lines(report, metric):
        means = [point[0] for point in points if point is not None]
        told.append(f"{name} from {score(means[0])} to {score(means[-1])}")
    return f"{metric.name} over {len(report.history)} runs: {', '.join(told)}"


def reliability_points(diagram: Reliability) -> list[tuple[float, float, float | None, float | None, int]]:
    """A reliability diagram as the chart takes it."""
    return [(one.score, one.share, one.low, one.high, one.n) for one in diagram.bins]


def reliability_label(judge: JudgeCard, diagram: Reliability) -> str:
    """A reliability diagram in words."""
    bins = (f"{score(one.score)}: {score(one.share)} of {one.n}" for one in diagram.bins)
    return f"{judge.metric.name} against {diagram.against}, mean score and share found good: {', '.join(bins)}"


def histogram_label(cell: Cell) -> str:
    """A cell's histogram in words."""
    low, counts = cell.metric.low, cell.histogram
    step = (cell.top - low) / max(1, len(counts))
    bins = [f"{low + i * step:g} to {low + (i + 1) * step:g}: {n}" for i, n in enumerate(counts) if n]
    return f"Scores: {', '.join(bins)}" if bins else "No scores"


def loss_domain(trainings: Sequence[Training]) -> charts.Point:
    """One axis for all loss curves, so that they can be compared."""
    names = ("loss", "validation_loss")
    return charts.padded(loss for training in trainings for name in names for _, loss in series(training, name))


def own_domain(points: Sequence[charts.Point]) -> charts.Point:
    """The axis of a curve that stands alone."""
    return charts.padded(value for _, value in points)


def about(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a training's record says, without the rows near its worst samples, which have a section of their own."""
    return {name: value for name, value in record.items() if name != "nearest"}
