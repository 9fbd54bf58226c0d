"""`muster train SUITE`: only the training, for a look at the adapters or a machine of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def train(
    suite: Annotated[str, typer.Argument(help="A suite file, or the name of a built-in suite.")],
    candidate: Annotated[list[str] | None, typer.Option(help="Only this candidate; repeatable.")] = None,
    data: Annotated[Path | None, typer.Option(help="Rows from this file instead of the suite's data path.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Train anew, whatever is stored.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the suite's custom judges, which are code.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing before requests to an endpoint.")] = False,
    show: Annotated[
        int,
        typer.Option(min=0, help="Print N rows as the model sees them, what is trained highlighted; train nothing."),
    ] = 0,
    ids: Annotated[bool, typer.Option("--ids", help="With --show: the token ids too.")] = False,
) -> None:
    """Train the candidates and judges of a suite that have no adapter yet."""
    from rich.console import Console
    from rich.table import Table

    from harness.cli.check import show_overlaps
    from harness.cli.progress import ProgressStages
    from harness.cli.session import announce, confirm_requests, elsewhere, read_plan, train_missing, with_means
    from harness.cli.teaching import Classroom, remembered, rewarded
    from harness.cli.trainings import show_outlooks, show_rows
    from harness.cli.usage import show_usage
    from harness.errors import UserError
    from harness.running.outlook import look_ahead
    from harness.store import Home

    console = Console(markup=False, emoji=False)
    plan = read_plan(
        suite, data=data, limit=None, candidates=candidate or [], splits=[], home=home, trust_code=trust_code
    )  # fmt: skip
    if not plan.trainings and not plan.judge_trainings:
        raise UserError(f"{plan.loaded.file.name}: no chosen candidate and no judge has a 'train:' section")
    announce(plan, console)
    if show:
        show_rows(plan, show, console, ids=ids, remembered=remembered(plan, home))
        return
    place, stages = Home(home), ProgressStages(console)
    plan, models, builder = with_means(plan, home, trust_code=trust_code)
    with console.status("reading the rows of trainings …"):
        outlooks = look_ahead(plan, home=home, remembered=remembered(plan, home), rewarded=rewarded(plan, home))
    show_outlooks(plan, outlooks, console)
    console.print()
    show_overlaps(plan, plan.overlaps(), console)
    confirm_requests(plan, console, yes=yes, evaluation=False)
    classroom = Classroom(plan, home=place, models=models, builder=builder, stages=stages, fresh=fresh)
    trainings, failures = train_missing(
        plan, classroom, adapters=place.adapters, stages=stages, console=console, fresh=fresh
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("candidate", "rows", "steps", "tokens", "trainable", "loss", "seconds", "adapter"):
        justify: Literal["left", "right"] = "left" if column in ("candidate", "adapter") else "right"
        table.add_column(column, justify=justify, overflow="fold")  # a path cut short cannot be copied
    for name, training in trainings.items():
        what = next((what for what in ("reward", "margin", "loss") if any(what in entry for entry in training.log)), "")
        values = [entry[what] for entry in training.log if what in entry]
        loss = f"{'' if what == 'loss' else what + ' '}{values[0]:.3f} → {values[-1]:.3f}" if values else "–"
        table.add_row(
            name, f"{training.rows:,}", f"{training.steps:,}", f"{training.tokens:,}",
            f"{training.trainable_parameters:,} of {training.total_parameters:,}", loss, f"{training.seconds:.0f}",
            training.path,
        )  # fmt: skip
    console.print(table)
    show_usage(models.usage(), console)
    if failures:
        raise typer.Exit(4)
    console.print(f"\n  next: muster run {suite}{elsewhere(home, data)}", highlight=False, soft_wrap=True)
