"""The end of `muster run`: leaderboard, verdict, files, and the next thing to type. Reads the store only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from harness.records import Answer, Judgement, Verdict
    from harness.running.evaluation import Evaluation
    from harness.running.plan import Plan
    from harness.store import Home

SHOWN_REASONS = 8
"""Of an incomplete run, the most frequent ones."""


def close_run(
    evaluation: Evaluation,
    plan: Plan,
    home: Home,
    *,
    seconds: float,
    console: Console,
    report: Path | None,
    json: Path | None,
    junit: Path | None,
    summary: Path | None,
    gate: bool,
    candidates: Sequence[str] = (),
    baseline: str | None = None,
    inconclusive: Literal["block", "warn"] = "block",
    annotations: bool = False,
) -> int:
    """Prints and writes everything a finished run has to say; returns the exit status of the contract.

    `seconds` is what training, answering and judging took. `candidates`, `baseline`, `inconclusive` and `annotations` are
    those of the command line, for the gate.

    Raises:
        UserError: At the end of it all, if the baseline is none, or cannot be compared with.
    """
    from harness.cli.gate import show_blessed, write_surfaces
    from harness.cli.usage import show_usage
    from harness.cli.workflow import annotate
    from harness.deciding.baseline import Against, scores_against
    from harness.deciding.comparison import leaderboard
    from harness.deciding.corrections import run_corrections
    from harness.deciding.efforts import with_efforts
    from harness.deciding.gate import decide_all, run_exit_status
    from harness.deciding.lock import declared
    from harness.deciding.preferences import run_preferences
    from harness.deciding.scores import Scores
    from harness.deciding.surfaces import (
        correction_table,
        leaderboard_tables,
        preference_tables,
        to_terminal,
        trust_note,
    )
    from harness.deciding.wording import noise_sentence
    from harness.errors import MusterError, NothingEvaluatedError, UserError
    from harness.store import Store
    from harness.store.calibrations import by_metric

    run = evaluation.run
    with Store.open(home) as store:
        against = Against(scores=Scores.from_rows(store.scores(run.id), store.modes(run.id)), name=None)
        rules = plan.loaded.suite.gate
        verdicts: list[Verdict] = []
        refused: MusterError | None = None
        if gate and rules is not None:
            try:
                against = scores_against(store, run, plan.loaded, baseline=baseline, candidates=candidates)
                scores = with_efforts(against.scores, store, run, rules)
                verdicts = decide_all(
                    rules, run=run, scores=scores, baseline=against.name, inconclusive=inconclusive,
                    default_split=plan.loaded.suite.default_split(),
                )  # fmt: skip
                verdicts = declared(verdicts, plan.loaded, rules, run)
            except (NothingEvaluatedError, UserError) as error:
                refused = error
            store.write_verdicts(run.id, verdicts)
        if report is not None:
            from reports.render import write_report

            write_report(store, [run.id], report)
        preferred = run_preferences(store, run)
        cards = store.calibrations()
        calibrations = by_metric(run.judges, cards)
        corrected = run_corrections(store, run, against.scores, cards, against.name)
        answers = store.answers(run.id) if run.status != "complete" else []
        judgements = store.judgements(run.id) if run.status != "complete" else []
    shown = [*run.candidates, *(name for name in against.scores.candidates if name not in run.candidates)]
    console.print(leaderboard_tables(leaderboard(against.scores, run.metrics, shown), run.metrics))
    console.print(trust_note(calibrations))
    if corrected:
        console.print(correction_table(corrected))
    for name, entry in run.record.get("judge_noise", {}).items():
        console.print(f"noise of {name}: {noise_sentence(entry)}", style="dim", highlight=False, markup=False)
    if preferred:
        console.print(preference_tables(preferred))
    if verdicts:
        show_blessed(against.blessed, run.record.get("environment") or {}, console)
        console.print(to_terminal(verdicts))
    show_usage(evaluation.usage, console)
    show_reasons(answers, judgements, console)
    if verdicts:
        write_surfaces(verdicts, json=json, junit=junit, summary=summary)
        if annotations:
            annotate(verdicts, plan.loaded, console)
    show_places(evaluation, seconds, home, report, console)
    if refused is not None and (run.status == "complete" or isinstance(refused, UserError)):
        raise refused
    return run_exit_status(run, verdicts)


def show_reasons(answers: Sequence[Answer], judgements: Sequence[Judgement], console: Console) -> None:
    """For an incomplete run: what is missing, where, how often, and why. Prints nothing for a complete one."""
    from collections import Counter

    from rich.text import Text

    found = [(a.candidate, "answers", a.completion.error) for a in answers]
    found += [
        (j.candidate, f"{j.metric} scores", j.error) for j in judgements if j.error and j.error.kind != "no_answer"
    ]
    reasons = Counter((who, what, error.kind, error.message) for who, what, error in found if error is not None)
    if not reasons:
        return
    recorded = all(kind == "missing_answer" for _, _, kind, _ in reasons)
    way_out = "complete the file and run it again" if recorded else "the same command tries the rest again"
    console.print(Text.assemble("\n", ("incomplete", "bold"), f": what was finished is kept; {way_out}"))
    told = reasons.most_common(SHOWN_REASONS)
    for (who, what, kind, message), count in told:
        what = what if count > 1 else what.removesuffix("s")
        console.print(f"  {who}: {count:,} {what} missing, {kind}: {message}", markup=False, highlight=False)
    if rest := reasons.total() - sum(count for _, count in told):
        console.print(
            f"  and {rest:,} more, each with its reason in 'muster show RUN SAMPLE'", markup=False, highlight=False
        )


def show_places(evaluation: Evaluation, seconds: float, home: Home, report: Path | None, console: Console) -> None:
    """Where everything lies, and what to type next."""
    from harness.cli.session import elsewhere

    run = evaluation.run
    state = "up to date: nothing has changed since" if evaluation.cached else f"took {seconds:.0f} s"
    console.print(f"\n  run      {run.id} ({state})", highlight=False, markup=False)
    console.print(f"  store    {home.store}", highlight=False, markup=False)
    console.print(f"  bundle   {home.run_dir(run.id)}", highlight=False, markup=False)
    if report is not None:
        console.print(f"  report   {report}", highlight=False, markup=False)
        line = f"\n  next: open {report}, or: muster show {run.id}{elsewhere(home.path)}"
    else:
        line = f"\n  next: muster report --run {run.id} --out report.html{elsewhere(home.path)}"
    console.print(line, highlight=False, soft_wrap=True)
