"""`muster check SUITE`: reads everything, runs nothing. Mistakes with their place, the plan, trainings and their rows, power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.gate import Inconclusive

if TYPE_CHECKING:
    from rich.console import Console

    from harness.data import Overlap
    from harness.deciding.power import Spread
    from harness.running.at_hand import AtHand
    from harness.running.outlook import Outlook
    from harness.running.plan import Plan


MOST_OVERLAPS = 5
"""Overlapping rows that are listed."""


def check(
    suite: Annotated[str, typer.Argument(help="A suite file, or the name of a built-in suite.")],
    candidate: Annotated[list[str] | None, typer.Option(help="Only this candidate; repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this evaluation split; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only N samples of each evaluation split.")] = None,
    data: Annotated[Path | None, typer.Option(help="Rows from this file instead of the suite's data path.")] = None,
    inconclusive: Annotated[
        Inconclusive, typer.Option(help="block: exit status 3 where a rule has too few samples; warn: 0.")
    ] = Inconclusive.warn,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Check suite and data, and show what a run would do, cost and be able to detect."""
    from rich.console import Console

    from harness.cli.gate import show_blessed
    from harness.cli.session import announce, elsewhere, read_plan
    from harness.cli.teaching import remembered, rewarded
    from harness.cli.trainings import show_outlooks
    from harness.cli.usage import show_expected, show_unset
    from harness.deciding.baseline import refuse_drift
    from harness.running.environment import describe_environment
    from harness.running.expected import expected_requests
    from harness.running.outlook import look_ahead

    console = Console(markup=False, emoji=False)
    plan = read_plan(suite, data=data, limit=limit, candidates=candidate or [], splits=split or [], home=home)
    announce(plan, console)
    require_models(plan)
    overlaps = plan.overlaps()
    outlooks: list[Outlook] = []
    if plan.trainings or plan.judge_trainings:
        with console.status("reading the rows of trainings …"):
            outlooks = look_ahead(plan, home=home, remembered=remembered(plan, home), rewarded=rewarded(plan, home))
    ready = at_hand(plan, outlooks, home)
    show_candidates(plan, outlooks, ready, console)
    show_absent(ready, len(plan.samples), console)
    show_untimed(plan, ready, console)
    expected = expected_requests(plan)
    show_expected(expected, console)
    show_unset(expected, console)
    if outlooks:
        show_outlooks(plan, outlooks, console)
        console.print()
    show_overlaps(plan, overlaps, console)
    show_blessed(refuse_drift(plan.loaded, plan.membership, None), describe_environment(), console)
    enough = show_power(plan, home, console)
    console.print(f"\n  no mistakes. next: muster run {suite}{elsewhere(home, data)}", highlight=False, soft_wrap=True)
    if not enough and inconclusive == Inconclusive.block:
        raise typer.Exit(3)


def at_hand(plan: Plan, outlooks: Sequence[Outlook], home: Path) -> dict[str, AtHand]:
    """What each candidate has answered already, in the store or a file. Raises DataError for a broken file."""
    from contextlib import ExitStack

    from harness.models.load import ModelRoom
    from harness.running.at_hand import answers_at_hand
    from harness.store import Home, Store

    trained = {outlook.planned.candidate: outlook.trained for outlook in outlooks if outlook.trained is not None}
    with ExitStack() as stack:
        there = Home(home).store.is_file()
        store = stack.enter_context(Store.open(Home(home), read_only=True)) if there else None
        return answers_at_hand(
            plan, models=ModelRoom(plan.loaded.root), trainings=trained,
            cached=store.cached_answers if store is not None else None,
        )  # fmt: skip


def show_absent(ready: Mapping[str, AtHand], samples: int, console: Console) -> None:
    """Candidates whose file of recorded answers lacks some: without them a run is incomplete."""
    for name, found in ready.items():
        if found.absent:
            listed = ", ".join(found.absent[:MOST_OVERLAPS]) + (", …" if len(found.absent) > MOST_OVERLAPS else "")
            console.print(
                f"  {name}: its file has no answer for {len(found.absent):,} of {samples:,} samples ({listed}), so a run "
                "ends incomplete (exit status 4)",
                highlight=False, style="bold yellow",
            )  # fmt: skip


def show_untimed(plan: Plan, ready: Mapping[str, AtHand], console: Console) -> None:
    """Candidates that a rule on latency cannot decide about, for recorded answers hold no times."""
    from harness.deciding.efforts import effort_of

    gate = plan.loaded.suite.gate
    if gate is None or all(effort_of(rule, plan.loaded.suite.judges) != "latency" for rule in gate.rules):
        return
    for name, found in ready.items():
        if found.recorded and name != gate.baseline:
            console.print(
                f"  {name}: its answers are recorded and hold no times, so the rule on latency ends incomplete (exit status 4)",
                highlight=False, style="bold yellow",
            )  # fmt: skip


def show_candidates(plan: Plan, outlooks: Sequence[Outlook], ready: Mapping[str, AtHand], console: Console) -> None:
    """A row a candidate: its model, how it is prompted, its training and whether that is done, the requests it would send,
    and how many of its answers are there already.
    """
    from rich.table import Table

    from harness.cli.trainings import METHODS
    from harness.suite.grammar import OpenAIModel

    table = Table(box=None, padding=(0, 2, 0, 0), title=None)
    for column in ("candidate", "model", "prompting", "training", "answers"):
        table.add_column(column, justify="right" if column == "answers" else "left")
    lines = {outlook.planned.candidate: training_line(outlook) for outlook in outlooks}
    for name in plan.candidates:
        spec = plan.spec(name)
        training = lines.get(name, "–")
        model = getattr(spec.model, "path", None) or getattr(spec.model, "name", None) or ""
        if spec.train is not None:
            model = f"{METHODS[spec.train.method]} on {spec.train.base}"
        answers = f"{len(plan.samples):,}" + (" requests" if isinstance(spec.model, OpenAIModel) else "")
        answers += _there(ready[name], len(plan.samples))
        table.add_row(name, model, spec.prompting.kind.replace("_", "-"), training, answers)
    console.print(table)
    for judge in plan.judge_trainings:
        line = f"  judge {judge.candidate}: reward model on {judge.spec.base}, {lines[judge.candidate]}"
        console.print(line, highlight=False, markup=False)


def _there(found: AtHand, samples: int) -> str:
    """`, 12 stored`, `, all recorded`, or nothing where none is there or it cannot be told."""
    if not found.answers:
        return ""
    count = "all" if found.answers == samples else f"{found.answers:,}"
    return f", {count} {'recorded' if found.recorded else 'stored'}"


def training_line(outlook: Outlook) -> str:
    """Rows and steps of a training, who teaches or rewards it, and whether an equal training is there."""
    from harness.training.recipe import steps_of

    planned, taught = outlook.planned, outlook.taught
    if taught is None:
        teacher = planned.teacher.name if planned.teacher is not None else ""
        return f"up to {planned.rows:,} rows by {teacher}, up to {steps_of(planned.spec, planned.rows):,} steps"
    by = f" by {planned.teacher.name}" if planned.teacher is not None else ""
    steps = outlook.plan.steps if outlook.plan is not None else steps_of(taught.spec, taught.rows)
    line = f"{taught.rows:,} rows{by}, {steps:,} steps"
    if planned.spec.rewards:
        line += f", rewarded by {', '.join(planned.spec.rewards)}"
    return line + (", trained" if outlook.trained is not None else "")


def require_models(plan: Plan) -> None:
    """Looks at the files of candidates' models on this machine, and loads none. Raises SuiteError with every model that is
    missing, incomplete, without safetensors, or under an adapter of another base.
    """
    from harness.errors import ModelError, SuiteError, UserError
    from harness.models.identity import is_at_hand
    from harness.models.load import ModelRoom
    from harness.suite.grammar import TransformersModel

    models = ModelRoom(plan.loaded.root)
    problems = []
    for name in plan.candidates:
        model = plan.spec(name).model
        if not isinstance(model, TransformersModel):
            continue
        if all(is_at_hand(path, plan.loaded.root) for path in (model.path, model.adapter) if path):
            try:
                models.generator(model)
            except (ModelError, UserError) as error:
                problems.append(plan.loaded.problem(("candidates", name, "model"), str(error)))
    if problems:
        raise SuiteError(problems)


def show_overlaps(plan: Plan, overlaps: Sequence[Overlap], console: Console) -> None:
    """Contamination, when anything is trained."""
    if not plan.trainings and not plan.judge_trainings:
        return
    allowed = plan.loaded.suite.contamination.allow_share
    if not overlaps:
        console.print("  contamination: no training row stands in an evaluation split", highlight=False)
        return
    console.print(f"  contamination: {len(overlaps)} overlapping rows, within the {allowed:.1%} that the suite allows")
    for overlap in overlaps[:MOST_OVERLAPS]:
        console.print(
            f"    row {overlap.training_row} of {overlap.training_split} and row {overlap.evaluation_row} of "
            f"{overlap.evaluation_split}: {overlap.kind}, similarity {overlap.similarity:.2f}",
            highlight=False, markup=False,
        )  # fmt: skip
    if len(overlaps) > MOST_OVERLAPS:
        console.print(f"    and {len(overlaps) - MOST_OVERLAPS:,} more", highlight=False)


def show_power(plan: Plan, home: Path, console: Console) -> bool:
    """What each rule of the gate can detect with these samples, by the spread of the suite's last run where there is one.

    Returns whether they are enough for every rule.
    """
    from harness.deciding.power import power_plan

    gate = plan.loaded.suite.gate
    if gate is None:
        return True
    sizes = {split: len(plan.dataset.splits[split]) for split in plan.splits}
    clusters = {split: len({s.cluster for s in plan.dataset.splits[split]}) for split in plan.splits
                if any(s.cluster is not None for s in plan.dataset.splits[split])}  # fmt: skip
    binary = [name for name, judge in plan.loaded.suite.judges.items()
              if judge.kind in ("exact_match", "regex", "json_schema", "mcq", "classification")]  # fmt: skip
    aggregated = [name for name, judge in plan.loaded.suite.judges.items() if judge.kind in ("perplexity", "macro_f1")]
    slices = {split: {column: [s.slices.get(column) for s in samples] for column in samples[0].slices}
              for split in plan.splits if (samples := plan.dataset.splits[split])}  # fmt: skip
    lines = power_plan(
        gate,
        sizes,
        clusters=clusters,
        binary=binary,
        aggregated=aggregated,
        default_split=plan.loaded.suite.default_split(),
        spreads=last_spreads(plan, home),
        slices=slices,
    )
    for line in lines:
        style = None if line.enough else "bold yellow"
        console.print(f"  {line.message}", highlight=False, markup=False, style=style)
    weak = sum(not line.enough for line in lines)
    if weak:
        console.print(
            f"  UNDER-POWERED: {weak} of {len(lines)} rules cannot be shown to hold with these samples, so that even a good "
            "candidate is likely to end inconclusive (exit status 3)",
            highlight=False, style="bold yellow",
        )  # fmt: skip
    return weak == 0


def last_spreads(plan: Plan, home: Path) -> dict[str, Spread]:
    """Spreads of each metric in the newest complete run of this suite; empty where the home holds none."""
    from harness.deciding.baseline import Against, scores_against
    from harness.deciding.efforts import METRICS, with_efforts
    from harness.deciding.power import spreads_of
    from harness.deciding.scores import Scores
    from harness.errors import UserError
    from harness.store import Home, Store

    suite = plan.loaded.suite
    if suite.gate is None or not Home(home).store.is_file():
        return {}
    with Store.open(Home(home), read_only=True) as store:
        run = next((r for r in store.runs() if r.suite == suite.suite and r.status == "complete"), None)
        if run is None:
            return {}
        try:
            against = scores_against(store, run, plan.loaded, baseline=None)
        except UserError:  # that run had other judges, or lacks the baseline: its candidates have spreads all the same
            against = Against(scores=Scores.from_rows(store.scores(run.id)), name=None)
        scores = with_efforts(against.scores, store, run, suite.gate, strict=False)
    split = suite.default_split()
    if split is None or split not in scores.splits:
        return {}
    baseline = against.name if against.name in scores.candidates else None
    judged = {metric.name for metric in run.metrics}
    metrics = [*run.metrics, *(metric for name, metric in METRICS.items() if name not in judged)]
    return spreads_of(scores, metrics, split, baseline, list(run.candidates))
