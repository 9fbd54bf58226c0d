"""`muster gate SUITE`: decides about a stored run, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.groups import STDOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from rich.console import Console

    from harness.deciding.baseline import Against, Baseline
    from harness.deciding.corrections import Correction
    from harness.deciding.scores import Scores
    from harness.errors import UserError
    from harness.records import Calibration, Run, Verdict
    from harness.suite import LoadedSuite
    from harness.suite.grammar import Gate


class Inconclusive(StrEnum):
    """What an inconclusive verdict does."""

    block = "block"
    warn = "warn"


JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="[FILE]", help="Write the verdict as JSON to FILE, or to stdout.")
]
JunitFile = Annotated[
    Path | None, typer.Option("--junit", metavar="[FILE]", help="Write the verdict as JUnit XML to FILE, or to stdout.")
]
SummaryFile = Annotated[
    Path | None,
    typer.Option("--summary", metavar="[FILE]", help="Write the verdict as Markdown to FILE, or to stdout."),
]
WhenInconclusive = Annotated[
    Inconclusive, typer.Option("--inconclusive", help="block: exit status 3 where nothing could be shown; warn: 0.")
]
Annotations = Annotated[
    bool | None,
    typer.Option(
        "--annotations/--no-annotations", help="Print GitHub annotations; left out, where GITHUB_ACTIONS is true."
    ),
]
"""What `muster run` and `muster gate` do with a verdict."""


def gate(
    suite: Annotated[str, typer.Argument(help="A suite file, or the name of a built-in suite.")],
    candidate: Annotated[list[str] | None, typer.Option(help="Only this candidate; repeatable.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Compare with this candidate, blessed baseline (name or file), RUN:CANDIDATE, or RUN's."),
    ] = None,
    run: Annotated[
        str, typer.Option(help="The run to decide about: an id, its first letters, or 'latest'.")
    ] = "latest",
    json: JsonFile = None,
    junit: JunitFile = None,
    summary: SummaryFile = None,
    inconclusive: WhenInconclusive = Inconclusive.block,
    annotations: Annotations = None,
    lock: Annotated[
        bool, typer.Option("--lock", help="Only pin the rules: a file beside the suite; later edits show as changed.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="The file the run read with --data, if it did.")] = None,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Decide whether candidates pass: reads the store, loads no model.

    Exit status: 0 pass, 1 fail, 2 wrong input, 3 inconclusive, 4 incomplete, 5 nothing evaluated.
    """
    from rich.console import Console

    from harness.cli.workflow import annotate, in_workflow
    from harness.deciding.comparison import leaderboard
    from harness.deciding.gate import worst_exit_status
    from harness.deciding.lock import write_lock
    from harness.deciding.surfaces import correction_table, leaderboard_tables, to_terminal, trust_note

    console = Console(stderr=to_stdout(json, junit, summary), markup=False, emoji=False)
    loaded, rules = gated_suite(suite, data)
    if lock:
        path = write_lock(loaded, rules)
        console.print(f"{path}: the rules as they are now; put it into git", markup=False, highlight=False)
        raise typer.Exit
    keep_inputs(loaded.files_read(), home, json, junit, summary, baseline=baseline)
    empty(json, junit, summary)
    decided = decide_stored(
        loaded, rules, home=home, run=run, candidates=candidate, baseline=baseline, inconclusive=inconclusive.value
    )
    found, against, verdicts = decided.run, decided.against, decided.verdicts
    if found.suite_sha != loaded.sha:
        console.print(f"note: the suite has changed since run {found.id}; these are its present rules", style="yellow")
    console.print(leaderboard_tables(leaderboard(against.scores, found.metrics), found.metrics))
    console.print(trust_note(decided.calibrations))
    if decided.corrections:
        console.print(correction_table(decided.corrections))
    show_blessed(against.blessed, found.record.get("environment") or {}, console)
    console.print(to_terminal(verdicts))
    write_surfaces(verdicts, json=json, junit=junit, summary=summary)
    if in_workflow() if annotations is None else annotations:
        annotate(verdicts, loaded, console)
    raise typer.Exit(worst_exit_status(verdicts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a stored run by the rules of a suite."""

    run: Run
    against: Against
    verdicts: list[Verdict]
    calibrations: Mapping[str, Sequence[Calibration]]
    """By metric, the cards of its judge."""
    corrections: Sequence[Correction]
    """What people would have said, where their labels tell."""


def decide_stored(
    loaded: LoadedSuite,
    rules: Gate,
    *,
    home: Path,
    run: str = "latest",
    candidates: Sequence[str] | None = None,
    baseline: str | None = None,
    inconclusive: Literal["block", "warn"] = "block",
) -> Decided:
    """Decides about a stored run by a suite's present rules (see `gated_suite`); arguments as on the command line.

    Raises:
        UserError: If run, candidate or baseline cannot be used.
        NothingEvaluatedError: If there is nothing to decide on.
    """
    from harness.deciding.baseline import scores_against
    from harness.deciding.corrections import run_corrections
    from harness.deciding.efforts import with_efforts
    from harness.deciding.gate import decide_all
    from harness.deciding.lock import declared
    from harness.deciding.sides import latest_run
    from harness.store import Home, Store
    from harness.store.calibrations import by_metric

    with Store.open(Home(home), read_only=True) as store:
        found = latest_run(store, loaded.suite.suite, run)
        against = scores_against(store, found, loaded, baseline=baseline, candidates=candidates or ())
        refuse_absent(loaded, against.scores)
        scores = with_efforts(against.scores, store, found, rules, candidates=candidates)
        cards = store.calibrations()
        corrections = run_corrections(store, found, against.scores, cards, against.name)
    verdicts = decide_all(
        rules,
        run=found,
        scores=scores,
        candidates=candidates,
        baseline=against.name,
        default_split=loaded.suite.default_split(),
        inconclusive=inconclusive,
    )
    verdicts = declared(verdicts, loaded, rules, found)
    return Decided(
        run=found,
        against=against,
        verdicts=verdicts,
        calibrations=by_metric(found.judges, cards),
        corrections=corrections,
    )


def gated_suite(suite: str, data: Path | None = None) -> tuple[LoadedSuite, Gate]:
    """A suite with its rules. Raises UserError where it has none."""
    from harness.errors import UserError
    from harness.suite import load_suite

    loaded = load_suite(suite, data=data)
    if loaded.suite.gate is None:
        raise UserError(
            f"'gate' must be in the suite to decide by (got none in {loaded.file.name}). Add 'gate:' with rules."
        )
    return loaded, loaded.suite.gate


def refuse_absent(loaded: LoadedSuite, scores: Scores) -> None:
    """What a rule names is in the run: samples that must pass, and values of slicing columns.

    Raises:
        SuiteError: With every mistake, at its line.
    """
    from harness.errors import SuiteError
    from harness.suite.rows import find_absent

    ids = {split: here.ids for split, here in scores.splits.items()}
    slices = {split: here.slices for split, here in scores.splits.items()}
    if problems := list(find_absent(loaded, ids, slices)):
        raise SuiteError(problems)


def to_stdout(*surfaces: Path | None) -> bool:
    """Whether a surface goes to standard output, so that everything else must not.

    Raises:
        UserError: If several do, which nobody could take apart.
    """
    from harness.errors import UserError

    count = sum(str(path) == STDOUT for path in surfaces)
    if count > 1:
        raise UserError("only one of --json, --junit and --summary can go to stdout. Name a FILE for the others.")
    return count == 1


def keep_inputs(inputs: Set[Path], home: Path, *surfaces: Path | None, baseline: str | None = None) -> None:
    """Nothing is written over what was read, into what the home keeps or twice to one file, nor found out at the end that
    it cannot be written.

    Args:
        inputs: Absolute paths.
        home: Of the store, the runs and the adapters.
        surfaces: What will be written; None for nothing.
        baseline: As on the command line, where it may name a file too.

    Raises:
        UserError: If a surface cannot be.
    """
    import tempfile

    from harness.errors import UserError
    from harness.store import Home

    files = [path for path in surfaces if path is not None and str(path) != STDOUT]
    for number, path in enumerate(files):
        place = path.resolve()
        if place in inputs or (baseline is not None and place == Path(baseline).resolve() and path.is_file()):
            raise UserError(f"'{path}' is read, so nothing may be written there. Name another FILE, or none.")
        if Home(home).keeps(place):
            raise UserError(f"'{path}' is kept by '--home {home}', so nothing may be written there. Name another FILE.")
        if place in [other.resolve() for other in files[:number]] and (path.is_file() or not path.exists()):
            raise UserError(f"'{path}' is written twice, and one would be lost. Name another FILE for each.")
        if path.is_dir():
            raise UserError(f"'{path}' must be a file that can be written (it is a folder). Name another.")
        if path.exists() and not path.is_file():  # a device, a pipe
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UserError:
    from harness.errors import UserError

    return UserError(f"'{path}' must be a file that can be written ({error.strerror}). Name another.")


def empty(*surfaces: Path | None) -> None:
    """Leaves nothing in the files that a verdict will be written to: if there is none, an earlier one must not pass for it.

    Raises:
        UserError: If a file cannot be written.
    """
    for path in surfaces:
        if path is not None and str(path) != STDOUT and path.is_file():
            try:
                path.write_text("", encoding="utf-8")
            except OSError as error:
                raise _unwritable(path, error) from None


def write_surfaces(verdicts: Sequence[Verdict], *, json: Path | None, junit: Path | None, summary: Path | None) -> None:
    """Writes each surface that was asked for: to its file, or to standard output for `-`.

    Raises:
        NothingEvaluatedError: If there is no verdict: a file left by an earlier gate must not pass for this one's.
        UserError: If a file cannot be written.
    """
    from harness.deciding.surfaces import to_json, to_junit, to_markdown
    from harness.errors import NothingEvaluatedError

    wanted = [path for path in (json, junit, summary) if path is not None]
    if wanted and not verdicts:
        raise NothingEvaluatedError(f"there is no verdict to write to {wanted[0]}: nothing was gated.")
    for path, render in ((json, to_json), (junit, to_junit), (summary, to_markdown)):
        if path is not None and str(path) == STDOUT:
            typer.echo(render(verdicts), nl=False)
        elif path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(render(verdicts), encoding="utf-8")
            except OSError as error:
                raise _unwritable(path, error) from None


def show_blessed(baseline: Baseline | None, environment: Mapping[str, str], console: Console) -> None:
    """One line on a blessed baseline: who blessed what, when and why, and one on what ran in other versions than in this
    environment; nothing where there is none."""
    from harness.deciding.baseline import other_versions

    if baseline is not None:
        one = baseline.blessing
        text = f"baseline {baseline.name}: {one.candidate} of run {one.run}, blessed by {one.by} on {one.at[:10]}: {one.why}"
        console.print(text, style="dim", markup=False, highlight=False)
        if others := other_versions(baseline.versions, environment):
            text = f"note: baseline {baseline.name} was measured with {', '.join(others)}; that too can change scores"
            console.print(text, style="yellow", markup=False, highlight=False)


def aa(
    suite: Annotated[str, typer.Argument(help="A suite file, or the name of a built-in suite.")],
    run: Annotated[str, typer.Option(help="The run whose scores are used.")] = "latest",
    baseline: Annotated[str | None, typer.Option(help="Instead of the gate's own baseline.")] = None,
    repeats: Annotated[int, typer.Option(min=20, help="Simulated runs.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
    home: Annotated[Path, typer.Option(help="Where store, runs and adapters live.")] = Path(".muster"),
) -> None:
    """Gate the baseline against itself: how often these rules would fail a model that is exactly as good.

    Exit status: 0, or 1 where the rate is shown to be above what the gate's confidence states.
    """
    from rich.console import Console

    from harness.deciding.against_itself import against_itself, certificate_sentence, other_draws
    from harness.deciding.scores import Scores
    from harness.deciding.sides import latest_run
    from harness.store import Home, Store
    from harness.store.gates import write_certificate

    loaded, rules = gated_suite(suite)
    with Store.open(Home(home), read_only=True) as store:
        found = latest_run(store, loaded.suite.suite, run)
        name = baseline or rules.baseline or next(iter(found.candidates))
        scores = Scores.from_rows(store.scores(found.id), store.modes(found.id))
        draws = other_draws(store, found, scores, name)
    certificate = against_itself(
        rules, run=found, scores=scores, baseline=name, draws=draws, repeats=repeats, seed=seed,
        default_split=loaded.suite.default_split(),
    )  # fmt: skip
    write_certificate(Home(home), certificate)
    console = Console(markup=False, emoji=False)
    style = "bold green" if certificate.holds else "bold red"
    console.print(certificate_sentence(certificate), style=style, markup=False, highlight=False)
    raise typer.Exit(0 if certificate.holds else 1)


def selftest(
    sims: Annotated[int, typer.Option(min=50, help="Simulated runs of each characteristic.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Put the gate itself to the test: how often it passes and fails candidates whose truth is known.

    Exit status: 0 where every rate is within its tolerance, 1 where one is not.
    """
    from rich.console import Console

    from harness.deciding.selftest import DISCORDANCE, MARGIN, selftest
    from harness.deciding.surfaces import selftest_table

    console = Console(markup=False, emoji=False)
    found = selftest(sims, seed)
    console.print(
        f"no_worse_by {MARGIN:g} at one-sided 0.95, 0/1 scores that differ on {DISCORDANCE:.0%} of the samples; {sims:,} "
        f"simulated runs of each, seed {seed}",
        highlight=False,
    )  # fmt: skip
    console.print(selftest_table(found))
    raise typer.Exit(0 if all(one.holds for one in found) else 1)
