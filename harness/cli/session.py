"""What `run`, `train` and `check` share: reading a plan, training what is missing, and wiring models, candidates and judges.

The one place where suite, data, trainer, models and judges meet.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cli.progress import ProgressStages
    from harness.cli.teaching import Classroom
    from harness.models.load import ModelRoom
    from harness.records import Failure, Judge, Models, Sample, Training
    from harness.running.engine import Engine, Keyed
    from harness.running.evaluation import Evaluation
    from harness.running.plan import Plan
    from harness.store import Home
    from harness.suite.grammar import AnyJudgeSpec, TransformersModel
    from judges import JudgeBuilder

    Recipe = tuple[AnyJudgeSpec, tuple[TransformersModel, Path] | None]


def read_plan(
    suite: str,
    *,
    data: Path | None,
    limit: int | None,
    candidates: Sequence[str],
    splits: Sequence[str],
    home: Path = Path(".muster"),
    trust_code: bool = False,
    baseline: str | None = None,
) -> Plan:
    """Suite and data, checked and planned. Raises UserError (with every mistake) or NothingEvaluatedError.

    A `baseline` that is a candidate of the suite comes along with those that are named.
    """
    from harness.data import load_dataset
    from harness.running.plan import make_plan
    from harness.suite import load_suite

    loaded = load_suite(suite, data=data)
    if candidates and baseline in loaded.suite.candidates:
        candidates = [*candidates, baseline]
    plan = make_plan(loaded, load_dataset(loaded, limit=limit), candidates=candidates, splits=splits)
    if limit is None:
        refuse_absent_rows(plan)
    if any(planned.spec.evaluate_every is not None for planned in plan.trainings):
        plan, _, _ = with_means(plan, home, trust_code=trust_code)
    return plan


def refuse_absent_rows(plan: Plan) -> None:
    """What the gate's rules name is among the rows: samples that must pass, values of slicing columns. Raises SuiteError."""
    from harness.errors import SuiteError
    from harness.suite.rows import find_absent

    splits = {name: plan.dataset.splits[name] for name in plan.splits}
    ids = {name: [sample.id for sample in samples] for name, samples in splits.items()}
    slices = {
        name: {column: [sample.slices.get(column) for sample in samples] for column in samples[0].slices}
        for name, samples in splits.items()
        if samples
    }
    if problems := list(find_absent(plan.loaded, ids, slices)):
        raise SuiteError(problems)


def with_means(plan: Plan, home: Path, *, trust_code: bool) -> tuple[Plan, ModelRoom, JudgeBuilder]:
    """The plan with judges for its trainings to evaluate checkpoints with, and what they and all others are made on."""
    from functools import cache

    from harness.models.load import ModelRoom
    from harness.running.plan import Means
    from judges import JudgeBuilder

    models = ModelRoom(plan.loaded.root)
    builder = JudgeBuilder(models, steps=home / "geval_steps", trusted=plan.loaded.root if trust_code else None)

    @cache
    def judge(name: str) -> Judge:
        with models.for_user(name):
            return build_judge(plan, builder, name)

    return replace(plan, means=Means(judge=judge, embedder=models.embedder)), models, builder


def announce(plan: Plan, console: Console) -> None:
    """One line on the suite, one on the splits."""
    from rich.text import Text

    suite = plan.loaded.suite
    counts = ", ".join(f"{name} {_size(samples)}" for name, samples in plan.dataset.splits.items())
    sizes = f"{_counted(len(plan.candidates), 'candidate')}, {_counted(len(suite.judges), 'judge')}"
    console.print(Text.assemble((suite.suite, "bold"), f" version {suite.version}: {sizes}"))
    console.print(f"  splits: {counts}", highlight=False)
    for line in plan.dataset.notices:
        console.print(f"  {line}", highlight=False, markup=False)


def elsewhere(home: Path, data: Path | None = None) -> str:
    """What a printed command needs beside its verb, where data or state do not lie where they do by default."""
    import shlex

    said = "" if data is None else f" --data {shlex.quote(str(data))}"
    return said if home == Path(".muster") else f"{said} --home {shlex.quote(str(home))}"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _size(samples: Sequence[Sample]) -> str:
    """`40`, or `40 turns of 12 conversations` where each turn is a sample."""
    rows = len({sample.row for sample in samples})
    return f"{len(samples):,}" if rows == len(samples) else f"{len(samples):,} turns of {rows:,} conversations"


def confirm_requests(plan: Plan, console: Console, *, yes: bool, evaluation: bool = True) -> None:
    """Asks before requests to an endpoint, on a terminal only: a CI job has decided already.

    Without `evaluation`, only what the trainings' teachers would be asked counts.
    """
    import typer

    if yes or not sys.stdin.isatty() or os.environ.get("CI"):
        return
    from harness.cli.usage import show_expected
    from harness.running.expected import expected_lessons, expected_requests

    expected = expected_requests(plan) if evaluation else expected_lessons(plan)
    if expected:
        show_expected(expected, console)
        typer.confirm("  go on?", abort=True)


def evaluate_plan(
    plan: Plan,
    home: Home,
    *,
    stages: ProgressStages,
    console: Console,
    fresh: bool,
    no_train: bool,
    command: str,
    trust_code: bool = False,
    ray: bool = False,
    workers: int | None = None,
) -> Evaluation:
    """The whole street from training to the store; with `ray`, its workers answer and judge.

    Raises ContaminationError before anything is spent.
    """
    from harness.cli.teaching import Classroom
    from harness.running.evaluation import evaluate

    overlaps = plan.overlaps()
    plan, models, builder = with_means(plan, home.path, trust_code=trust_code)
    try_custom_judges(plan, builder)
    classroom = Classroom(plan, home=home, models=models, builder=builder, stages=stages, fresh=fresh)
    trainings, failures = train_missing(
        plan, classroom, adapters=home.adapters, stages=stages, console=console, fresh=fresh, no_train=no_train
    )
    candidates = build_candidates(plan, models, trainings, failures, console)
    judges = build_all_judges(plan, builder, models, trainings, failures, console)
    record = describe(plan, judges, contamination=len(overlaps), command=command)
    with _engine(plan, judges, trainings, home, console, ray=ray, workers=workers) as engine:
        return evaluate(
            plan, candidates=candidates, judges=judges, trainings=trainings, home=home, stages=stages, record=record,
            usage=models.usage, fresh=fresh, engine=engine,
        )  # fmt: skip


def _engine(
    plan: Plan,
    judges: Sequence[Judge],
    trainings: Mapping[str, Training],
    home: Home,
    console: Console,
    *,
    ray: bool,
    workers: int | None,
) -> Engine:
    """Where the run works. Judges that ask an endpoint, or are code of the suite's, are not for workers."""
    from harness.running.engine import Local, Ray
    from harness.running.unavailable import UnavailableJudge
    from harness.suite.grammar import CustomSpec, OpenAIModel

    if not ray:
        return Local()
    names = [judge.metric.name for judge in judges if not isinstance(judge, UnavailableJudge)]
    specs = {name: plan.loaded.suite.judges[name] for name in names}
    recipes = {
        name: (spec, _trained(plan, name, trainings))
        for name, spec in specs.items()
        if not isinstance(spec, CustomSpec) and not isinstance(getattr(spec, "model", None), OpenAIModel)
    }
    return Ray(
        plan.loaded.root, judges=recipes.keys(), workers=workers,
        build=partial(judges_by_name, recipes=recipes, steps=home.path.resolve() / "geval_steps"),
        tell=lambda line: console.print(f"  {line}", highlight=False, markup=False),
    )  # fmt: skip


def judges_by_name(models: Models, *, recipes: Mapping[str, Recipe], steps: Path) -> Callable[[str], Judge]:
    """What builds judges of their specs, and of what was trained, on a worker's models."""
    from judges import JudgeBuilder

    builder = JudgeBuilder(models, steps=steps)
    return lambda name: builder.build(name, recipes[name][0], trained=recipes[name][1])


def train_missing(
    plan: Plan,
    classroom: Classroom,
    *,
    adapters: Path,
    stages: ProgressStages,
    console: Console,
    fresh: bool = False,
    no_train: bool = False,
) -> tuple[dict[str, Training], dict[str, Failure]]:
    """The planned trainings, reused where an equal one is complete, and why those that stopped did; judges come first.

    What a training learns of a teacher comes from `classroom`. Raises UserError for `no_train` where a training is missing;
    other candidates go on when one training stops.
    """
    from harness.errors import IncompleteError, UserError
    from harness.records import Failure
    from harness.running.lessons import describe_lesson
    from harness.running.trainings import train_planned

    trainings: dict[str, Training] = {}
    failures: dict[str, Failure] = {}

    def tell(line: str) -> None:
        console.print(f"  {line}", highlight=False, markup=False)

    for planned in (*plan.judge_trainings, *plan.trainings):
        try:
            taught = classroom.remembered(planned, trainings) if no_train else classroom.taught(planned, trainings)
            if taught is None:
                raise UserError(f"--no-train: '{planned.candidate}' has not been taught yet. Run `muster train` first.")
            if taught.lesson:
                tell(f"{planned.candidate}: {describe_lesson(taught.lesson)}")
            trainings[planned.candidate] = train_planned(
                plan, taught, adapters=adapters, stages=stages, fresh=fresh, no_train=no_train, notice=tell,
                reward=classroom.reward(planned, trainings),
            )  # fmt: skip
        except IncompleteError as error:
            failures[planned.candidate] = Failure(kind="training_failed", message=str(error))
            console.print(f"  {planned.candidate}: {error}", style="red", highlight=False, markup=False)
    return trainings, failures


def build_candidates(
    plan: Plan,
    models: ModelRoom,
    trainings: Mapping[str, Training],
    failures: Mapping[str, Failure],
    console: Console,
) -> list[Keyed]:
    """The planned candidates in order; one that cannot be loaded answers every sample with the reason."""
    from harness.errors import ModelError
    from harness.models.candidates import build_candidate
    from harness.records import Failure
    from harness.running.unavailable import UnavailableCandidate

    candidates: list[Keyed] = []
    for name in plan.candidates:
        try:
            if name in failures:
                candidates.append(UnavailableCandidate(name=name, failure=failures[name]))
                continue
            with models.for_user(name):
                candidates.append(
                    build_candidate(
                        name, plan.spec(name), suite=plan.loaded.suite, dataset=plan.dataset, loaded=plan.loaded,
                        models=models, training=trainings.get(name),
                    )
                )  # fmt: skip
        except ModelError as error:
            console.print(f"  {name}: {error}", style="red", highlight=False, markup=False)
            failure = Failure(kind="model_unavailable", message=str(error))
            candidates.append(UnavailableCandidate(name=name, failure=failure))
    return candidates


def try_custom_judges(plan: Plan, builder: JudgeBuilder) -> None:
    """Builds each custom judge once, so that its mistakes are told before a training. Raises SuiteError."""
    from harness.errors import ModelError
    from harness.suite.grammar import CustomSpec

    for name, spec in plan.loaded.suite.judges.items():
        if isinstance(spec, CustomSpec):
            with contextlib.suppress(ModelError):  # told where the judges are built for good
                build_judge(plan, builder, name, {})


def build_judge(
    plan: Plan, builder: JudgeBuilder, name: str, trainings: Mapping[str, Training] = MappingProxyType({})
) -> Judge:
    """One judge of the suite. Raises SuiteError at its line where its options are wrong, ModelError for its model, or where
    it is trained by the suite and its training stopped.
    """
    from harness.errors import SuiteError, UserError

    try:
        return builder.build(name, plan.loaded.suite.judges[name], trained=_trained(plan, name, trainings))
    except UserError as error:
        raise SuiteError([plan.loaded.problem(("judges", name), str(error))]) from None


def _trained(plan: Plan, name: str, trainings: Mapping[str, Training]) -> tuple[TransformersModel, Path] | None:
    """Of a judge that the suite trains, its base and where the adapter lies. Raises ModelError where its training stopped."""
    from harness.errors import ModelError

    planned = next((one for one in plan.judge_trainings if one.candidate == name), None)
    if planned is None:
        return None
    if name not in trainings:
        raise ModelError(f"judge '{name}' is not trained: its training stopped.")
    return planned.base, Path(trainings[name].path).resolve()


def build_all_judges(
    plan: Plan,
    builder: JudgeBuilder,
    models: ModelRoom,
    trainings: Mapping[str, Training],
    failures: Mapping[str, Failure],
    console: Console,
) -> list[Judge]:
    """The suite's judges in order; one that cannot be loaded leaves every answer unscored with the reason."""
    from harness.errors import ModelError
    from harness.records import Failure, Metric
    from harness.running.unavailable import UnavailableJudge
    from judges import direction_of

    judges: list[Judge] = []
    for name, spec in plan.loaded.suite.judges.items():
        try:
            with models.for_user(name):
                judges.append(build_judge(plan, builder, name, trainings))
        except ModelError as error:
            console.print(f"  judge {name}: {error}", style="red", highlight=False, markup=False)
            metric = Metric(name=name, direction=direction_of(spec))
            failure = failures.get(name) or Failure(kind="judge_unavailable", message=str(error))
            judges.append(UnavailableJudge(metric=metric, failure=failure))
    return judges


def describe(plan: Plan, judges: Sequence[Judge], *, contamination: int, command: str) -> dict[str, Any]:
    """What goes into the run's record: the resolved suite, environment, command, split sizes, contamination, judges."""
    from harness.running.environment import describe_environment

    suite = plan.loaded.suite
    return {
        "suite": suite.model_dump(mode="json", by_alias=True, exclude_none=True),
        "environment": describe_environment(),
        "command": command,
        "file": file.as_posix() if not (file := plan.loaded.file).is_absolute() and ".." not in file.parts else file.name,
        "splits": {name: {"samples": len(rows), "use": suite.splits[name].use, "evaluated": name in plan.splits}
                   for name, rows in plan.dataset.splits.items()},
        "contamination": {"overlaps": contamination, "near": suite.contamination.near,
                          "allow_share": suite.contamination.allow_share},
        "judges": {judge.metric.name: getattr(judge, "description", {}) for judge in judges},
    }  # fmt: skip
