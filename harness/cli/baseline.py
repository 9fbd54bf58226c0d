"""`muster baseline bless|show|log|verify`: what later runs are compared with, as a small file for git."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.deciding.baseline import Baseline, Blessing
    from harness.records import Run

SuiteOption = Annotated[
    str | None, typer.Option(help="The suite beside which 'baselines' lies; left out, in the working folder.")
]
HomeOption = Annotated[Path, typer.Option(help="Where store, runs and adapters live.")]


def bless(
    run: Annotated[str, typer.Argument(help="A run (an id, its first letters, or 'latest'), or RUN:CANDIDATE.")],
    name: Annotated[str, typer.Option(help="What the baseline is called: its file is baselines/NAME.json.")],
    why: Annotated[str, typer.Option(help="Why it is good enough to be compared with; kept in the file.")],
    candidate: Annotated[str | None, typer.Option(help="The candidate to bless, if RUN does not name it.")] = None,
    by: Annotated[str | None, typer.Option(help="Who blesses; left out, git's user.name.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="The suite beside which the file is kept; left out, the run's own.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Keep it in this file instead.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Though its verdict is no pass; the file says so.")] = False,
    home: HomeOption = Path(".muster"),
) -> None:
    """Bless a candidate of a stored run: later runs are compared with it, wherever they are made.

    The file holds its scores sample by sample, hashes of all that a comparison rests on, and every earlier blessing.
    """
    from rich.console import Console

    from harness.deciding import baseline as blessed
    from harness.errors import UserError
    from harness.store import Home, Store
    from harness.suite.baselines import baseline_file
    from harness.suite.explain import wrong_name
    from harness.suite.grammar import NAME

    if not NAME.match(name):
        raise UserError(f"'--name' {wrong_name(name)}.")
    if not why.strip():
        raise UserError("'--why' must say why (got nothing). A line that a reader in a year understands is enough.")
    run_name, colon, named = run.partition(":")
    if colon and candidate not in (None, named):
        raise UserError(f"'--candidate' must not differ from RUN:CANDIDATE (got {candidate!r} and {named!r}).")
    with Store.open(Home(home), read_only=True) as store:
        found = store.run(run_name)
        chosen = candidate or named or only_candidate(found)
        path = file or baseline_file(folder_of(found, suite), name)
        before = blessed.read_baseline(path) if path.exists() else None
        if before is not None and (edits := before.edits()):
            raise UserError("\n".join([f"{path}: was changed since it was blessed:", *edits,
                                       "Take it from git again, or delete it to begin anew without its history."]))  # fmt: skip
        made = blessed.bless(
            store, found, chosen, name=name, by=by or somebody(), why=" ".join(why.split()), force=force, before=before
        )
    blessed.write_baseline(path, made)
    console = Console(highlight=False, markup=False, emoji=False)
    for line in described(made, made.blessing):
        console.print(line, markup=False)
    for line in changed_since(made.blessing, before.blessing if before is not None else None):
        console.print(f"  {line}", markup=False)
    console.print(f"\n  next: git add {path}; and 'gate: {{baseline: {name}}}' in the suite, or --baseline {name}",
                  markup=False, soft_wrap=True)  # fmt: skip


def show(
    name: Annotated[str | None, typer.Argument(help="A name or a file; left out, all there are.")] = None,
    suite: SuiteOption = None,
) -> None:
    """Show baselines: what is blessed, by whom and why."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for number, (path, found) in enumerate(wanted(name, suite)):
        if number:
            console.print()
        for line in described(found, found.blessing):
            console.print(line, markup=False)
        console.print(f"  file       {path}", markup=False, soft_wrap=True)
        for split, record in found.splits.items():
            console.print(f"  {split:<10} {len(record.ids):,} samples, {', '.join(record.scores)}", markup=False)
        console.print(f"  versions   {', '.join(f'{k} {v}' for k, v in found.versions.items())}", markup=False)
        console.print(f"  blessings  {len(found.blessings)} (see 'muster baseline log {found.name}')", markup=False)


def log(
    name: Annotated[str | None, typer.Argument(help="A name or a file; left out, all there are.")] = None,
    suite: SuiteOption = None,
) -> None:
    """Show every blessing of a baseline, the newest first, and what changed from one to the next."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for _, found in wanted(name, suite):
        for one, previous in zip(found.blessings, [*found.blessings[1:], None], strict=True):
            for line in described(found, one):
                console.print(line, markup=False)
            for line in changed_since(one, previous):
                console.print(f"  {line}", markup=False)
            console.print()


def verify(
    name: Annotated[str | None, typer.Argument(help="A name or a file; left out, all there are.")] = None,
    suite: SuiteOption = None,
    home: HomeOption = Path(".muster"),
) -> None:
    """Check that baselines are as they were blessed, and as the store has them, where it holds their run.

    Exit status: 0 as written, 1 changed, 2 no such baseline.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    wrong = False
    for path in wanted_files(name, suite):
        verdict, lines = examined(path, home)
        wrong = wrong or verdict == "CHANGED"
        console.print(f"{verdict}  {path}", markup=False, soft_wrap=True)
        for line in lines:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def examined(path: Path, home: Path) -> tuple[str, list[str]]:
    """`AS BLESSED` or `CHANGED`, and why; what could not be checked is said."""
    from harness.deciding.baseline import figures_of, held_against_store, read_baseline
    from harness.errors import UserError
    from harness.store import Home, Store

    try:
        found = read_baseline(path)
    except UserError as error:
        return "CHANGED", [str(error)]
    lines = found.edits()
    if not lines and figures_of(found) != found.blessing.figures:
        lines.append("blessings[0].figures are not those of its scores")
    checked = [f"hashes of {len(found.parts())} parts, {len(found.blessings)} linked blessings, figures"]
    one = found.blessing
    if not Home(home).store.is_file():
        checked.append(f"not checked against the store: there is none in {home}")
    else:
        with Store.open(Home(home), read_only=True) as store:
            differing = held_against_store(found, store)
        if differing is None:
            checked.append(f"not checked against the store: {home} does not hold run {one.run}")
        else:
            lines += [f"store and file differ: {line}" for line in differing]
            checked.append(f"scores, samples and judges against run {one.run} in {home}")
    return ("CHANGED", lines) if lines else ("AS BLESSED", [f"checked: {checked[0]}", *checked[1:]])


def wanted(name: str | None, suite: str | None) -> Iterator[tuple[Path, Baseline]]:
    """The baselines that are meant, with their files. Raises UserError."""
    from harness.deciding.baseline import read_baseline

    for path in wanted_files(name, suite):
        yield path, read_baseline(path)


def wanted_files(name: str | None, suite: str | None) -> list[Path]:
    """The files that are meant. Raises UserError if there is none."""
    from harness.deciding.baseline import find_baseline
    from harness.errors import UserError
    from harness.suite.baselines import FOLDER, baseline_file, blessed_names

    root = folder_of(None, suite)
    if name is not None:
        return [find_baseline(name, root)]
    names = blessed_names(root)
    if not names:
        raise UserError(f"no baseline is blessed in {root / FOLDER}. Name its --suite, or bless one.")
    return [baseline_file(root, one) for one in names]


def folder_of(run: Run | None, suite: str | None) -> Path:
    """The folder of the suite that is named, or that the run was made of; else the working folder.

    Raises:
        UserError: If the run's suite is not where it was.
    """
    from harness.errors import UserError
    from harness.suite.loading import find_source

    if suite is not None:
        folder = find_source(suite).path.parent
    elif run is None or "file" not in run.record:
        return Path()
    elif Path(run.record["file"]).is_file():
        folder = Path(run.record["file"]).parent
    else:
        raise UserError(
            f"'--suite' must say where the suite of run {run.id} is (its {run.record['file']!r} is not in this folder)."
        )
    relative = os.path.relpath(folder)
    return folder if relative.startswith("..") else Path(relative)


def only_candidate(run: Run) -> str:
    """The run's candidate, if it has but one. Raises UserError."""
    from harness.errors import UserError

    if len(run.candidates) != 1:
        raise UserError(f"'--candidate' must say which of run {run.id}'s to bless: {', '.join(run.candidates)}.")
    return next(iter(run.candidates))


def somebody() -> str:
    """Who types: git's user.name, or whom CI or the system names. Raises UserError."""
    import subprocess

    from harness.errors import UserError

    try:
        asked = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, timeout=10, check=False)
        told = asked.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        told = ""
    found = told or os.environ.get("GITHUB_ACTOR") or os.environ.get("GITLAB_USER_LOGIN") or os.environ.get("USER")
    if not found:
        raise UserError("'--by' must say who blesses, for neither git nor the environment does.")
    return found


def described(baseline: Baseline, one: Blessing) -> list[str]:
    """A blessing in a few lines."""
    from harness.deciding.surfaces.text import plain
    from harness.deciding.wording import number

    said = "no verdict" if one.verdict is None else f"verdict {one.verdict}{', forced' if one.forced else ''}"
    lines = [f"blessed by {one.by} on {one.at}: {one.why}"]
    for split, figures in one.figures.items():
        values = ", ".join(f"{metric} {'-' if value is None else number(value)}" for metric, value in figures.items())
        lines.append(f"on {split}: {values}")
    head = f"{baseline.name} {one.sha[:8]}: {one.candidate} of run {one.run} ({said})"
    return [plain(head), *(f"  {plain(line)}" for line in lines)]


def changed_since(one: Blessing, previous: Blessing | None) -> list[str]:
    """What a comparison rests on that is not as it was at the blessing before, a line each."""
    from harness.deciding.baseline import changes

    if previous is None:
        return []
    kept = ("suite", "prompts", "generation", "judge ", "samples of ")
    old, new = ({k: v for k, v in b.parts.items() if k.startswith(kept)} for b in (previous, one))
    return [f"since {previous.sha[:8]}: {line}" for line in changes(old, new)]
