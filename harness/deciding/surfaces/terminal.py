"""Verdicts and leaderboards for a terminal. Words say what colours say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.deciding.comparison import Flip, LeaderboardRow, sign
from harness.deciding.corrections import Correction
from harness.deciding.gate import worst_verdict
from harness.deciding.selftest import Characteristic
from harness.deciding.slices import SliceDifference, drivers
from harness.deciding.surfaces.text import bounds_text, estimate_text, folded, headline, plain, subject, title
from harness.deciding.wording import (
    correction_method,
    correction_subject,
    driver_sentence,
    number,
    signed,
    slice_name,
    trust_text,
)
from harness.records import Calibration, Comparison, Estimate, Finding, Metric, Outcome, Verdict

STYLES: dict[Outcome, str] = {
    "pass": "bold green",
    "fail": "bold red",
    "inconclusive": "bold yellow",
    "incomplete": "bold magenta",
}
GAP = 3
"""Columns between two cells of a table."""


def to_terminal(verdicts: Sequence[Verdict]) -> RenderableType:
    """For each verdict its outcome, a table of the rules, and the sentence of each rule that did not pass."""
    parts: list[RenderableType] = [
        Text(f"RULES  {plain(line)}", "bold yellow") for line in (verdicts[0].changed if verdicts else ())
    ]
    for verdict in verdicts:
        parts += [_heading(subject(verdict), verdict), _findings(verdict), *_sentences(verdict), Text()]
    if len(verdicts) > 1:
        parts.append(_heading(f"{len(verdicts)} candidates", worst_verdict(verdicts)))
    return Group(*parts)


def leaderboard_tables(rows: Sequence[LeaderboardRow], metrics: Sequence[Metric]) -> RenderableType:
    """A table for each split: mean and the longer side of its interval, n, unscored.

    Metrics that do not fit beside the others get a table of their own, so that nothing is cut off.
    """
    return _Leaderboard(rows, metrics)


@dataclass(frozen=True, slots=True)
class _Leaderboard:
    rows: Sequence[LeaderboardRow]
    metrics: Sequence[Metric]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for split in dict.fromkeys(row.split for row in self.rows):
            rows = [row for row in self.rows if row.split == split]
            shown = [metric for metric in self.metrics if any(metric.name in row.estimates for row in rows)]
            yield Text(f"on {plain(split)}", "bold")
            counts = any(len({(e.n, e.unscored) for e in row.estimates.values()}) > 1 for row in rows)
            for group in _groups(rows, shown, options.max_width, counts=counts):
                yield _leaderboard(rows, group, counts=counts)
            confidence = next((e.confidence for row in rows for e in row.estimates.values()), 0.95)
            note = f"± is the longer side of the {100 * confidence:g} % interval"
            if any(e.lowest is not None for row in rows for e in row.estimates.values()):
                note += "; with all: had every unscored answer the worst, or the best, score"
            yield Text(note, "dim")


def trust_note(calibrations: Mapping[str, Sequence[Calibration]]) -> RenderableType:
    """What is known of each metric's judge, in a paragraph: `calibrations` maps metrics to the cards of their judges."""
    known = [f"{plain(name)} {plain(trust_text(cards))}" for name, cards in calibrations.items() if cards]
    unknown = [plain(name) for name, cards in calibrations.items() if not cards]
    parts = known + ([f"not calibrated: {', '.join(unknown)}"] if unknown else [])
    return Text(f"judges against people: {' · '.join(parts)}", "dim")


def correction_table(corrections: Sequence[Correction]) -> RenderableType:
    """Beside each figure of a judge what people would have said, with its interval, and how that is known."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
        title=Text("what people would have said", "bold"),
    )  # fmt: skip
    table.add_column("metric", overflow="fold")
    table.add_column("candidate", overflow="fold")
    table.add_column("judge", justify="right", no_wrap=True)
    table.add_column("people", justify="right", no_wrap=True)
    table.add_column("how")
    several = len({one.split for one in corrections}) > 1
    for one in corrections:
        show = number if one.baseline is None else signed
        people = Text(show(one.estimate))
        if one.low is not None and one.high is not None:
            people.append(f"\n{show(one.low)} to {show(one.high)}", "dim")
        table.add_row(
            Text(plain(f"{one.metric} on {one.split}" if several else one.metric)),
            Text(plain(correction_subject(one))),
            show(one.raw),
            people,
            Text(plain(correction_method(one)), "dim"),
        )
    return table


def comparison_table(comparisons: Sequence[Comparison], metrics: Sequence[Metric]) -> RenderableType:
    """A row for each of `metrics`, in order: both means, the difference with its interval, and what it says."""
    if not comparisons:
        return Text("nothing judged on both sides")
    first = comparisons[0]
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left",
        title=Text(plain(f"{first.candidate} against {first.baseline} on {first.split}"), "bold"),
    )  # fmt: skip
    table.add_column("metric", no_wrap=True)
    for name in ("mean", "against", "difference", "better/equal/worse"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("so it is")
    for found, metric in zip(comparisons, metrics, strict=True):
        table.add_row(
            Text(plain(found.metric)),
            _or_dash(found.candidate_mean),
            _or_dash(found.baseline_mean),
            _difference(found),
            Text.assemble(
                f"{found.wins}/{found.ties}/{found.losses}\n", (f"n {found.n}, {found.unscored} unscored", "dim")
            ),
            _said(found, metric),
        )
    return Group(table, Text(f"differences with their {100 * first.confidence:g} % intervals", "dim"))


def selftest_table(found: Sequence[Characteristic]) -> RenderableType:
    """A row for each operating characteristic: its rate with its interval, what is allowed, and whether it holds."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("holds", no_wrap=True)
    table.add_column("gate on simulated runs", overflow="fold")
    for name in ("rate", "95 % interval", "allowed"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        table.add_row(
            Text("yes", "bold green") if one.holds else Text("NO", "bold red"),
            Text(one.name),
            f"{one.rate:.4f}",
            f"{one.low:.4f} to {one.high:.4f}",
            f"at most {one.most:g}" if one.least == 0 else f"at least {one.least:g}",
        )
    return table


def slice_table(
    differences: Sequence[SliceDifference], whole: Comparison, metric: Metric, limit: int
) -> RenderableType:
    """The slices that move one metric's difference most, what makes it worse first, and those that drive it."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
        title=Text(f"{plain(metric.name)}: where it comes from", "bold"),
    )  # fmt: skip
    table.add_column("slice", overflow="fold")
    for name in ("share", "difference", "of the whole"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("so it is")
    mine = [one for one in differences if one.comparison.metric == metric.name and one.contribution is not None]
    mine.sort(key=lambda one: (-abs(one.contribution or 0.0), slice_name(one)))
    for one in sorted(mine[:limit], key=lambda one: (one.contribution or 0.0) * sign(metric)):
        table.add_row(
            Text(plain(slice_name(one))),
            f"{100 * one.share:.1f} %",
            _difference(one.comparison),
            _contribution(one),
            _slice_said(one, metric),
        )
    sentences = [Text(plain(driver_sentence(one, whole))) for one in drivers(differences, metric)]
    return Group(table, *sentences)


def _contribution(one: SliceDifference) -> Text:
    text = Text(signed(one.contribution or 0.0))
    if one.low is not None and one.high is not None:
        text.append(f"\n{signed(one.low)} to {signed(one.high)}", "dim")
    return text


def _slice_said(one: SliceDifference, metric: Metric) -> Text:
    said = _said(one.comparison, metric)
    if one.drives:
        said.append(", drives it")
    elif said.plain in ("better", "worse") and not one.stands:
        return Text(f"{said.plain}, or chance", "dim")
    return said


def flip_table(flips: Sequence[Flip], metric: Metric) -> RenderableType:
    """The samples that changed most in one metric."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
        title=Text(f"{plain(metric.name)}: changed most", "bold"),
    )  # fmt: skip
    table.add_column("sample", overflow="fold")
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right")
    table.add_column("")
    for flip in flips:
        table.add_row(
            Text(plain(flip.sample_id)),
            number(flip.baseline_score),
            number(flip.candidate_score),
            signed(flip.change),
            Text("better", "green") if flip.improved else Text("worse", "red"),
        )
    return table


def _difference(found: Comparison) -> Text:
    text = Text("-" if found.difference is None else signed(found.difference))
    if found.low is not None and found.high is not None:
        text.append(f"\n{signed(found.low)} to {signed(found.high)}", "dim")
    return text


def _said(found: Comparison, metric: Metric) -> Text:
    if found.low is None or found.high is None:
        return Text("too few to tell", "dim")
    if found.low <= 0 <= found.high:
        return Text("not told apart", "dim")
    return Text("better", "bold green") if found.low * sign(metric) > 0 else Text("worse", "bold red")


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value)


def _heading(who: str, verdict: Verdict) -> Text:
    return Text.assemble((headline(verdict), STYLES[verdict.outcome]), "  ", plain(who))


def _findings(verdict: Verdict) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("outcome", no_wrap=True)
    table.add_column("rule", overflow="fold")
    for name in ("estimate", "bounds", "n", "unscored"):
        table.add_column(name, justify="right", overflow="fold")
    several = len({finding.split for finding in verdict.findings}) > 1
    for group in folded(verdict.findings):
        finding, one = group[0], len(group) == 1
        name = title(finding) if one else f"{finding.rule}: {len(group)} slices"
        table.add_row(
            Text(finding.outcome.upper(), STYLES[finding.outcome]),
            Text(plain(f"{name} on {finding.split}" if several else name)),
            estimate_text(finding) if one else "",
            bounds_text(finding) if one else "",
            str(sum(each.n for each in group)),
            str(sum(each.n_unscored for each in group)),
        )
    return Padding(table, (0, 0, 0, 2))


def _sentences(verdict: Verdict) -> list[RenderableType]:
    return [Padding(_sentence(finding), (0, 0, 0, 2)) for finding in verdict.findings if finding.outcome != "pass"]


def _sentence(finding: Finding) -> Text:
    return Text.assemble((finding.outcome.upper(), STYLES[finding.outcome]), "  ", plain(finding.message))


def _groups(
    rows: Sequence[LeaderboardRow], metrics: Sequence[Metric], width: int, *, counts: bool
) -> list[list[Metric]]:
    """The metrics, in order, in as many groups as a terminal of this width needs."""
    names = max(len("candidate"), *(len(plain(row.candidate)) for row in rows))
    whole = width - names - (0 if counts else 2 * GAP + len("n unscored") + 6)
    groups: list[list[Metric]] = []
    room = 0
    for metric in metrics:
        lines = [
            line for row in rows for line in _cell(row.estimates.get(metric.name), counts=counts).plain.split("\n")
        ]
        wide = max(len(_metric_heading(metric)), *map(len, lines)) + GAP
        if room < wide:
            groups.append([])
            room = whole
        groups[-1].append(metric)
        room -= wide
    return groups


def _leaderboard(rows: Sequence[LeaderboardRow], metrics: Sequence[Metric], *, counts: bool) -> Table:
    """With `counts`, n and unscored stand in each cell, for they differ; else in columns of their own."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("candidate", overflow="fold")
    for metric in metrics:
        table.add_column(Text(_metric_heading(metric)), justify="right", overflow="fold")
    if not counts:
        table.add_column("n", justify="right", no_wrap=True)
        table.add_column("unscored", justify="right", no_wrap=True)
    for row in rows:
        cells = [_cell(row.estimates.get(metric.name), counts=counts) for metric in metrics]
        if not counts:
            first = next(iter(row.estimates.values()))
            cells += [Text(str(first.n)), Text(str(first.unscored))]
        table.add_row(Text(plain(row.candidate)), *cells)
    return table


def _metric_heading(metric: Metric) -> str:
    return f"{plain(metric.name)} {'↑' if metric.direction == 'higher' else '↓'}"


def _cell(estimate: Estimate | None, *, counts: bool) -> Text:
    if estimate is None:
        return Text("")
    text = Text("-" if estimate.mean is None else number(estimate.mean))
    if estimate.mean is not None and estimate.low is not None and estimate.high is not None:
        text.append(f" ±{number(max(estimate.high - estimate.mean, estimate.mean - estimate.low))}", "dim")
    if estimate.method.startswith("different modes"):
        text = Text("different modes", "yellow")
    if counts:
        text.append(f"\nn {estimate.n}, {estimate.unscored} unscored", "dim")
    if estimate.lowest is not None and estimate.highest is not None:
        text.append(f"\n{number(estimate.lowest)} to {number(estimate.highest)} with all", "dim")
    return text
