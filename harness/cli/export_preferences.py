"""`muster export-preferences RUN --by METRIC`: pairs of answers, the preferred one first, to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_preferences(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or 'latest'.")],
    by: Annotated[str, typer.Option(help="Who prefers: a judge of the run, or a rater (human:NAME).")],
    out: Annotated[Path, typer.Option(help="A .jsonl file for 'preferences' of a training.")],
    margin: Annotated[
        float, typer.Option(min=0.0, help="Scores must differ by more than this; of no use to a pairwise judge.")
    ] = 0.0,
    split: Annotated[str | None, typer.Option(help="Only samples of this split.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Write what a judge or a rater of a run prefers, for trainings with objective dpo or reward.

    A pairwise judge gives the games that both orders decided alike, any other metric the pairs of answers to one sample
    whose scores differ.
    """
    import json

    from harness.cli.review import write_file
    from harness.data import preference_line
    from harness.deciding.preferences import preferred
    from harness.errors import NothingEvaluatedError, UserError
    from harness.store import Home, Store

    with Store.open(Home(home), read_only=True) as store:
        found = store.run(run)
        metric = next((metric for metric in found.metrics if metric.name == by), None)
        if metric is None:
            names = ", ".join(metric.name for metric in found.metrics)
            raise UserError(f"'--by' must be a metric of run {found.id}: {names} (got {by!r})")
        samples = [sample for sample in store.samples(found.id) if split in (None, sample.split)]
        told = preferred(
            metric, store.judgements(found.id, metric=by), samples, store.answers(found.id), list(found.candidates),
            margin=margin,
        )  # fmt: skip
    if not told.preferences:
        raise NothingEvaluatedError(
            f"run {found.id}: {by} prefers no answer to another ({told.undecided:,} undecided, {told.unfit:,} unfit)"
        )
    lines = [json.dumps(preference_line(one), ensure_ascii=False) + "\n" for one in told.preferences]
    write_file(out, "".join(lines))
    asked = len({preference.sample.id for preference in told.preferences})
    typer.echo(f"{out}: {len(lines):,} preferences about {asked:,} samples, by {by}")
    typer.echo(f"  left out: {told.undecided:,} undecided, {told.unfit:,} with an empty answer or twice the same")
    typer.echo("  their samples are learnt from now: let a split that holds none of them decide")
    typer.echo(f"  next: train: {{objective: dpo, preferences: {out.name}, …}}")
