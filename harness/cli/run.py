"""`muster run SUITE`: the main job. Whatever is missing of train, answer and judge; then report and gate."""

from __future__ import annotations

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.gate import Annotations, Inconclusive, JsonFile, JunitFile, SummaryFile, WhenInconclusive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.suite.grammar import Gate


class Engine(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


def run(
    suite: Annotated[str, typer.Argument(help="A suite file, or the name of a built-in suite.")],
    candidate: Annotated[
        list[str] | None, typer.Option(help="Only this candidate (and the baseline); repeatable.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this evaluation split; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only N samples of each evaluation split.")] = None,
    data: Annotated[Path | None, typer.Option(help="Rows from this file instead of the suite's data path.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
    report: Annotated[Path | None, typer.Option(help="Write the HTML report here.")] = None,
    json: JsonFile = None,
    junit: JunitFile = None,
    summary: SummaryFile = None,
    baseline: Annotated[
        str | None, typer.Option(help="Gate against this candidate, blessed baseline (name or file), or RUN:CANDIDATE.")
    ] = None,
    inconclusive: WhenInconclusive = Inconclusive.block,
    annotations: Annotations = None,
    engine: Annotated[
        Engine, typer.Option(help="Where candidates answer and judges judge: in this process, or in workers of Ray.")
    ] = Engine.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of Ray: how many. Default: one a GPU, else one a processor.")
    ] = None,
    no_train: Annotated[bool, typer.Option("--no-train", help="Stop where a training is missing.")] = False,
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Evaluate only; decide nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train, answer and judge anew, whatever is stored.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the suite's custom judges, which are code.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing before requests to an endpoint.")] = False,
) -> None:
    """Train, answer, judge, store, report and gate: whatever is missing."""
    from rich.console import Console

    from harness.cli.closing import close_run
    from harness.cli.gate import empty, keep_inputs, to_stdout
    from harness.cli.progress import ProgressStages
    from harness.cli.session import announce, confirm_requests, evaluate_plan, read_plan
    from harness.cli.workflow import in_workflow
    from harness.deciding.baseline import refuse_drift
    from harness.errors import UserError
    from harness.running.engine import require_ray
    from harness.store import Home

    if engine == Engine.ray:
        require_ray()
    elif workers is not None:
        raise UserError("--workers are those of --engine ray. Leave it out.")
    console = Console(stderr=to_stdout(json, junit, summary), markup=False, emoji=False)
    plan = read_plan(suite, data=data, limit=limit, candidates=candidate or [], splits=split or [], baseline=baseline)
    keep_inputs(plan.loaded.files_read(), home, json, junit, summary, report, baseline=baseline)
    if report is not None:
        from reports.render import require_page

        require_page(report)
    if no_gate or plan.loaded.suite.gate is None:
        refuse_verdict_files(json, junit, summary)
    else:
        refuse_absent_splits(plan.loaded.suite.gate, plan.splits, plan.loaded.suite.default_split())
        refuse_drift(plan.loaded, plan.membership, baseline)
    announce(plan, console)
    confirm_requests(plan, console, yes=yes)
    empty(json, junit, summary)
    place = Home(home)
    began = time.monotonic()
    evaluation = evaluate_plan(
        plan,
        place,
        stages=ProgressStages(console),
        console=console,
        fresh=fresh,
        no_train=no_train,
        trust_code=trust_code,
        ray=engine == Engine.ray,
        workers=workers,
        command=typed(
            suite, candidate=candidate or [], split=split or [], limit=limit, data=data, home=home,
            baseline=baseline, trust_code=trust_code,
        ),
    )  # fmt: skip
    status = close_run(
        evaluation, plan, place, seconds=time.monotonic() - began, console=console, report=report, json=json, junit=junit,
        summary=summary, gate=not no_gate, candidates=candidate or [], baseline=baseline, inconclusive=inconclusive.value,
        annotations=in_workflow() if annotations is None else annotations,
    )  # fmt: skip
    raise typer.Exit(status)


def typed(suite: str, **options: object) -> str:
    """The command that gives this run again, as it was typed: whatever decides results, and the home it lies in.

    Options by their parameters' names; those left as they are by default do not appear.
    """
    words = ["muster", "run", suite]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            words += [word for entry in value for word in (option, entry)]
        elif value not in (None, False) and (name, value) != ("home", Path(".muster")):
            words += [option, str(value)]
    return shlex.join(words)


def refuse_absent_splits(gate: Gate, splits: Sequence[str], default: str | None) -> None:
    """Before anything is spent: UserError where a rule is about a split that is not evaluated."""
    from harness.deciding.rules import split_name
    from harness.errors import UserError

    for rule in gate.rules:
        try:
            split_name(rule, splits, default)
        except UserError as error:
            raise UserError(f"{error} Or decide nothing: --no-gate.") from None


def refuse_verdict_files(*paths: Path | None) -> None:
    """Without a gate there is no verdict to write. Raises UserError, before anything is spent."""
    from harness.errors import UserError

    if any(path is not None for path in paths):
        raise UserError("--json, --junit and --summary hold the gate's verdict, and there is no gate. Leave them out.")
