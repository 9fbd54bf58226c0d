"""`muster score JUDGE`: judges answers that exist already, one line in, one line out, in the same order."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.data.sources import Rows
    from harness.errors import ModelError
    from harness.models.load import ModelRoom
    from harness.records import Case, Judge, Judgement, Message, Metric
    from harness.suite.grammar import AnyJudgeSpec, TransformersModel

CHUNK = 128


def score(
    judge: Annotated[str, typer.Argument(help="A kind of judge, or the name of a judge in the suite.")],
    input: Annotated[
        Path,
        typer.Option(
            help="Lines of {id, input, reference, context, answer}; samples, retrieved, opponent where needed."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Lines of {id, metric, score, label, evidence, error}.")],
    suite: Annotated[str | None, typer.Option(help="A suite that declares the judge.")] = None,
    set: Annotated[
        list[str] | None, typer.Option(help="key=value: overrides an option of the judge; repeatable.")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Run the suite's custom judges, which are code.")
    ] = False,
    home: Annotated[Path, typer.Option(help="Where G-Eval steps written by a judge are kept.")] = Path(".muster"),
) -> None:
    """Judge existing answers. A line that cannot be judged gets score null and says why."""
    from rich.console import Console

    from harness.cli.usage import show_usage
    from harness.data.sources import read_rows
    from harness.errors import ModelError

    console = Console(stderr=True, markup=False, emoji=False)
    judge_spec(judge, suite, set or [])  # before the input, which may be large, and before any model
    refuse_output(output, input, suite)
    rows = read_rows(input)
    ids, cases = read_cases(rows)
    for name, meant in misnamed(rows.columns):
        note = f"  column '{name}' is not read (did you mean '{meant}'?)"
        console.print(note, style="yellow", highlight=False, markup=False)
    try:
        built, models = build_judge(judge, suite, set or [], trust_code=trust_code, home=home)
    except ModelError as error:
        write_judgements(output, ids, without_judge(judge, cases, error))
        raise
    judgements: list[Judgement] = []
    try:
        for chunk in judge_all(built, judge, cases, console):
            judgements += chunk
    except KeyboardInterrupt:
        part = output.with_name(f"{output.name}.part")
        if judgements:
            write_judgements(part, ids[: len(judgements)], judgements)
        where = f"lines are in {part}" if judgements else "lines were judged"
        console.print(f"  {len(judgements):,} of {len(cases):,} {where}", highlight=False, markup=False)
        raise
    write_judgements(output, ids, judgements)
    show_usage(models.usage(), console)
    raise typer.Exit(close(judgements, console, built.metric))


COLUMNS = (
    "id",
    "input",
    "reference",
    "context",
    "answer",
    "samples",
    "retrieved",
    "opponent",
    "likelihoods",
    "messages",
)
"""What is read of a line."""


def misnamed(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Columns that are not read, each with the absent one that it is probably meant to be."""
    absent = [name for name in COLUMNS if name not in columns]
    near = {name: difflib.get_close_matches(name, absent, 1, cutoff=0.8) for name in columns if name not in COLUMNS}
    return [(name, found[0]) for name, found in near.items() if found]


def refuse_output(output: Path, input: Path, suite: str | None = None) -> None:
    """Raises UserError, before anything is judged, where the judgements could not be written or would replace what is read."""
    from harness.errors import UserError
    from harness.suite import load_suite

    if output.is_dir():
        raise UserError(f"--output {output}: is a folder. Name a file, such as {output / 'scores.jsonl'}")
    if output.suffix.lower() in (".csv", ".tsv", ".parquet", ".xlsx"):
        raise UserError(f"--output {output}: must be JSON lines. Name it {output.with_suffix('.jsonl').name}")
    if output.exists() and input.exists() and output.samefile(input):
        raise UserError(f"--output {output}: is the input itself, which would be lost. Name another file")
    if suite is not None and output.resolve() in load_suite(suite).files_read():
        raise UserError(f"--output {output}: is read by the suite, and would be lost. Name another file")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise UserError(f"--output {output}: cannot be written (in {above})")


def without_judge(name: str, cases: Sequence[Case], error: ModelError) -> list[Judgement]:
    """No score for any case, since the judge's model cannot be had."""
    from harness.records import Judgement
    from judges.graders import unreachable

    return [Judgement(id=case.id, metric=name, score=None, error=unreachable(error)) for case in cases]


def build_judge(
    judge: str, suite: str | None, settings: Sequence[str], *, trust_code: bool, home: Path
) -> tuple[Judge, ModelRoom]:
    """The judge of the command line, and where its models are. Raises UserError where its options are wrong or its code is
    not trusted.
    """
    from harness.errors import UserError
    from harness.models.load import ModelRoom
    from harness.suite import load_suite
    from judges import JudgeBuilder

    root, spec = judge_spec(judge, suite, settings)
    agreed = trust_code or any(setting.startswith("factory=") for setting in settings)
    typed = suite is None or any(setting.startswith("model") for setting in settings)
    models = ModelRoom(root, anywhere=typed)
    builder = JudgeBuilder(models, steps=home / "geval_steps", trusted=root if agreed else None)
    try:
        with models.for_user(judge):
            return builder.build(judge, spec, trained=trained_by(suite, judge, home)), models
    except UserError as error:
        place = load_suite(suite).problem(("judges", judge), "") if suite is not None else f"judge {judge}: "
        raise UserError(f"{place}{error}") from None


def trained_by(suite: str | None, judge: str, home: Path) -> tuple[TransformersModel, Path] | None:
    """Base and adapter of a judge that the suite trains; None for any other. Raises UserError where it is not trained yet."""
    from harness.cli.session import read_plan
    from harness.errors import UserError
    from harness.running.trainings import key_of
    from harness.store import Home
    from harness.suite import load_suite
    from harness.suite.grammar import RewardSpec
    from harness.training.checkpoints import find_training

    spec = load_suite(suite).suite.judges.get(judge) if suite is not None else None
    if suite is None or not isinstance(spec, RewardSpec) or spec.train is None:
        return None
    plan = read_plan(suite, data=None, limit=None, candidates=[], splits=[])
    planned = next(one for one in plan.judge_trainings if one.candidate == judge)
    found = find_training(Home(home).adapters, key_of(plan, planned))
    if found is None:
        raise UserError(f"must be trained first (nothing of it is in {home}). Run muster train {suite}")
    return planned.base, Path(found.path)


def judge_all(built: Judge, name: str, cases: Sequence[Case], console: Console) -> Iterator[list[Judgement]]:
    """One judgement a case, in order, a chunk at a time, with a progress bar."""
    from harness.cli.progress import ProgressStages

    with ProgressStages(console).stage(f"{name} judges", len(cases)) as advance:
        for start in range(0, len(cases), CHUNK):
            chunk = cases[start : start + CHUNK]
            yield built.judge(chunk)
            advance(len(chunk))


def judge_spec(judge: str, suite: str | None, settings: Sequence[str]) -> tuple[Path, AnyJudgeSpec]:
    """The judge's options, from the suite or by kind, with the overrides; and the folder its paths are relative to."""
    from harness.errors import UserError
    from harness.suite import load_suite
    from harness.suite.grammar import JUDGE_KINDS
    from harness.suite.installed import installed_kinds
    from harness.suite.loading import complete_judge

    root, options = Path.cwd(), complete_judge(judge, {"kind": judge})
    names: tuple[str, ...] = (*JUDGE_KINDS, *installed_kinds())
    if suite is not None:
        loaded = load_suite(suite)
        names = (*loaded.suite.judges, *names)
        if judge in loaded.suite.judges:
            root = loaded.root
            options = loaded.suite.judges[judge].model_dump(mode="json", by_alias=True, exclude_none=True)
    if options["kind"] not in JUDGE_KINDS:
        close_names = difflib.get_close_matches(judge, names, 1)
        known = ", ".join(dict.fromkeys(names))
        hint = f" (did you mean '{close_names[0]}'?)" if close_names else f". There are {known}"
        raise UserError(f"'{judge}' is no judge{hint}")
    for setting in settings:
        override(options, setting)
    return root, validate(judge, options)


def override(options: dict[str, Any], setting: str) -> None:
    """Applies `key.inner=value`; the value is read as YAML, and commas make a list (`scale=1,5`)."""
    import yaml

    from harness.errors import UserError

    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set must be key=value (got {setting!r})")
    *outer, last = key.strip().split(".")
    place = options
    for part in outer:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise UserError(f"--set {key}: '{part}' holds no options (got {place!r})")
    place[last] = text if last in TEXT_OPTIONS or outer == ["criteria"] else parse_value(text, yaml)


TEXT_OPTIONS = frozenset({"criteria", "pattern", "name", "base_url", "api_key", "path", "kind", "factory"})
"""Options that are text whatever they look like: criteria may hold commas and colons."""


def parse_value(text: str, yaml: Any) -> Any:
    """A YAML scalar or flow list; `1,5` is a list too."""
    try:
        value = yaml.safe_load(text)
        if isinstance(value, str) and "," in text:
            value = yaml.safe_load(f"[{text}]")
        return text if value is None else value
    except yaml.YAMLError:
        return text


def validate(judge: str, options: Mapping[str, Any]) -> AnyJudgeSpec:
    """The options as a spec. Raises UserError with every mistake, one line each, worded as in a suite."""
    from pydantic import TypeAdapter, ValidationError

    from harness.errors import UserError
    from harness.suite.explain import explain
    from harness.suite.grammar import AnyJudgeSpec
    from harness.suite.source import Place, Source, format_path, from_plain

    adapter: TypeAdapter[AnyJudgeSpec] = TypeAdapter(AnyJudgeSpec)
    try:
        return adapter.validate_python(dict(options))
    except ValidationError as error:
        at = ("judges", judge)
        nowhere = Place(Source(Path(), "--set"), 1, 1)
        lines = []
        for problem in explain(error, from_plain({"judges": {judge: dict(options)}}, nowhere), at=at):
            option = problem.path.removeprefix(format_path(at)).lstrip(".")
            where = f"--set {option}" if option else f"judge {judge}"
            way_out = "" if option else ". Options are given as --set key=value"
            hint = f" (did you mean {problem.suggestion!r}?)" if problem.suggestion else ""
            lines.append(f"{where}: {problem.message}{hint}{way_out}")
        raise UserError("\n".join(lines)) from None


def read_cases(rows: Rows) -> tuple[list[Any], list[Case]]:
    """The ids as they were given (the line's number where there is none) and the cases. Raises DataError naming each line."""
    from harness.data.samples import read_conversation
    from harness.data.sources import Mistakes
    from harness.records import Case

    mistakes = Mistakes()
    ids: list[Any] = []
    cases: list[Case] = []
    for row in rows.rows:
        read = {name: as_text(row.values.get(name)) for name in ("answer", "input")}
        read |= {name: as_texts(row.values.get(name)) for name in ("reference", "context", "samples", "retrieved")}
        read["opponent"] = as_texts(row.values.get("opponent"), keep_blank=True)
        read["likelihoods"] = as_likelihoods(row.values.get("likelihoods"))
        for name, value in read.items():
            if value is WRONG:
                what = "a list of {text, log_likelihood, tokens}" if name == "likelihoods" else "text"
                mistakes.add(f"{rows.place(row)}: '{name}' must be {what} (got {row.values[name]!r:.80})")
        turns: tuple[Message, ...] = ()
        if row.values.get("messages") is not None:
            try:
                turns, _ = read_conversation(row, "messages", answered=False)
            except ValueError as error:
                mistakes.add(f"{rows.place(row)}: {error}")
        ids.append(row.values.get("id", row.number))
        cases.append(
            Case(
                id=str(ids[-1]),
                answer=read["answer"],
                input=turns[-1].content if turns else read["input"],
                messages=turns if len(turns) > 1 else (),
                references=read["reference"],
                contexts=read["context"],
                samples=read["samples"],
                retrieved=read["retrieved"],
                opponents=read["opponent"],
                likelihoods=read["likelihoods"],
            )
        )
    mistakes.raise_any()
    return ids, cases


WRONG: Any = object()
"""Stands for a value that is no text."""


def as_text(value: Any) -> Any:
    """Text, a number as text, or None; WRONG for anything else."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else WRONG


def as_texts(value: Any, *, keep_blank: bool = False) -> Any:
    """A text or a list of texts as a tuple, blank ones left out unless they are to be kept; WRONG for anything else."""
    items = value if isinstance(value, list | tuple) else [value]
    texts = [as_text(item) for item in items]
    return (
        WRONG if WRONG in texts else tuple(text for text in texts if text is not None and (keep_blank or text.strip()))
    )


def as_likelihoods(value: Any) -> Any:
    """A list of {text, log_likelihood, tokens} as likelihoods, none as none; WRONG for anything else."""
    from harness.records import Likelihood

    found = []
    for item in value if isinstance(value, list) else [] if value is None else [WRONG]:
        match item:
            case {"text": str(text), "log_likelihood": int() | float() as log, "tokens": int(tokens), **rest} if (
                not rest
            ):
                if not (math.isfinite(log) and tokens >= 1):
                    return WRONG
                found.append(Likelihood(text=text, log_likelihood=float(log), tokens=tokens))
            case _:
                return WRONG
    return tuple(found)


def write_judgements(path: Path, ids: Iterable[Any], judgements: Iterable[Judgement]) -> None:
    """One JSON line a judgement; the file appears whole or not at all. Raises UserError where it cannot be written."""
    from harness.errors import UserError
    from harness.store.writing import write_whole

    lines = []
    for identity, judgement in zip(ids, judgements, strict=True):
        error = judgement.error
        line = {
            "id": identity, "metric": judgement.metric, "score": judgement.score, "label": judgement.label,
            "evidence": dict(judgement.evidence),
            "error": {"kind": error.kind, "message": error.message} if error else None,
        }  # fmt: skip
        lines.append(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    try:
        write_whole(path, "".join(lines).encode("utf-8"))
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written ({error.strerror})") from None


def close(judgements: Sequence[Judgement], console: Any, metric: Metric) -> int:
    """Prints how many were scored and why the others were not.

    The exit status is 4 where another try could help, else 5 where nothing was scored, else 0.
    """
    from collections import Counter

    from harness.errors import IncompleteError, NothingEvaluatedError
    from harness.running.runner import LASTING_FAILURES

    scored = [judgement for judgement in judgements if judgement.score is not None]
    figure = f", {metric.aggregate} {together(metric, scored):.4f}" if scored else ""
    console.print(f"  {len(scored)} scored, {len(judgements) - len(scored)} unscored{figure}", highlight=False)
    reasons = Counter((j.error.kind, j.error.message) for j in judgements if j.error is not None)
    for (kind, message), count in reasons.most_common(5):
        console.print(f"  {count} x {kind}: {message}", style="yellow", highlight=False, markup=False)
    if any(kind not in LASTING_FAILURES for kind, _ in reasons):
        return IncompleteError.exit_status
    return 0 if scored else NothingEvaluatedError.exit_status


def together(metric: Metric, scored: Sequence[Judgement]) -> float:
    """The metric's one figure for many scores: their mean, or what else it says."""
    import numpy as np

    from harness.deciding.aggregates import pointwise
    from harness.deciding.scores import Column

    every = np.ones(len(scored), dtype=np.bool_)
    column = Column(
        values=np.array([judgement.score for judgement in scored], dtype=np.float64),
        scored=every,
        evidence=tuple(judgement.evidence for judgement in scored),
    )
    return float(pointwise(metric, column, every).mean())
