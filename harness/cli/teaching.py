"""Wires teachers, the judges of `keep` and those of `reward` to the trainings that learn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.session import build_judge

if TYPE_CHECKING:
    from harness.models.load import ModelRoom
    from harness.records import Judge, Training
    from harness.running.lessons import Teaching
    from harness.running.outlook import Remembered, Rewarded
    from harness.running.plan import Plan, PlannedTraining
    from harness.running.stages import Stages
    from harness.store import Home
    from harness.training.recipe import Reward
    from judges import JudgeBuilder


class Classroom:
    """Gives each training the rows it learns; a lesson that several share, as those of a sweep do, is held once."""

    def __init__(
        self,
        plan: Plan,
        *,
        home: Home,
        models: ModelRoom,
        builder: JudgeBuilder,
        stages: Stages,
        fresh: bool = False,
    ) -> None:
        """What is answered and judged is kept in `home`; `fresh` asks each teacher once anew."""
        self._plan = plan
        self._home = home
        self._models = models
        self._builder = builder
        self._stages = stages
        self._fresh = fresh
        self._asked: set[str] = set()
        self._held: dict[tuple[object, ...], PlannedTraining] = {}

    def taught(self, planned: PlannedTraining, trainings: Mapping[str, Training]) -> PlannedTraining:
        """The training after its teacher has answered; as it is where it has none. `trainings` are those finished so far.

        Raises IncompleteError where the teacher is not there or did not finish, UserError where too few rows are left.
        """
        from harness.running.lessons import learn

        if planned.teacher is None:
            return planned
        key = _lesson_key(planned)
        if key not in self._held:
            teacher = self._teacher(planned, trainings)
            fresh = self._fresh and teacher.key not in self._asked
            self._asked.add(teacher.key)
            self._held[key] = learn(
                planned, teacher=teacher, judges=self._judges(planned, trainings), folder=self._home.lessons,
                stages=self._stages, fresh=fresh,
            )  # fmt: skip
        held = self._held[key]
        return replace(planned, samples=held.samples, lesson=held.lesson)

    def remembered(self, planned: PlannedTraining, trainings: Mapping[str, Training]) -> PlannedTraining | None:
        """As `taught`, asking nobody; None where the lesson is not known in full."""
        from harness.errors import IncompleteError, SuiteError
        from harness.running.lessons import recall

        if planned.teacher is None:
            return planned
        try:
            teacher, judges = self._teacher(planned, trainings), self._judges(planned, trainings)
        except (IncompleteError, SuiteError):  # not there; or code of the suite's that may not run
            return None
        folder = self._home.path / "lessons"
        return recall(planned, teacher=teacher, judges=judges, folder=folder, stages=self._stages)

    def reward(self, planned: PlannedTraining, trainings: Mapping[str, Training]) -> Reward | None:
        """The judges that reward a training, `trainings` among them; None for one that no judge rewards.

        Raises ModelError where a judge's model is not there, SuiteError where its options are wrong.
        """
        from harness.running.trainings import reward_of

        judges = {}
        for name in planned.spec.rewards:
            with self._models.for_user(f"{name} as reward"):
                judges[name] = build_judge(self._plan, self._builder, name, trainings)
        return reward_of(planned, judges) if judges else None

    def _teacher(self, planned: PlannedTraining, trainings: Mapping[str, Training]) -> Teaching:
        """The teacher as a candidate. Weights of this machine are loaded for the lesson alone, and make room for the training."""
        from harness.errors import IncompleteError
        from harness.models.candidates import build_candidate
        from harness.models.load import ModelRoom
        from harness.suite.grammar import OpenAIModel

        assert planned.teacher is not None
        name, spec = planned.teacher.name, planned.teacher.spec
        if spec.train is not None and name not in trainings:
            raise IncompleteError(f"its teacher '{name}' is not trained.")
        loaded, remote = self._plan.loaded, isinstance(spec.model, OpenAIModel)
        models = self._models if remote else ModelRoom(loaded.root)
        with models.for_user(f"{name} as teacher"):
            return build_candidate(
                name, spec, suite=loaded.suite, dataset=self._plan.dataset, loaded=loaded, models=models,
                training=trainings.get(name), samples=planned.samples,
            )  # fmt: skip

    def _judges(self, planned: PlannedTraining, trainings: Mapping[str, Training]) -> dict[str, Judge]:
        judges = {}
        for name in planned.spec.keep:
            with self._models.for_user(f"{name} of training rows"):
                judges[name] = build_judge(self._plan, self._builder, name, trainings)
        return judges


def remembered(plan: Plan, home: Path) -> Remembered:
    """What makes a training the one its teacher has taught, from what lies in `home` alone; writes nothing."""
    return _silent(plan, home).remembered


def rewarded(plan: Plan, home: Path) -> Rewarded:
    """The judges that reward a training, where they are there and no code of the suite's has to run for it."""
    from harness.errors import IncompleteError, SuiteError

    classroom = _silent(plan, home)

    def judges(planned: PlannedTraining, trainings: Mapping[str, Training]) -> Reward | None:
        try:
            return classroom.reward(planned, trainings)
        except (IncompleteError, SuiteError):
            return None

    return judges


def _silent(plan: Plan, home: Path) -> Classroom:
    from rich.console import Console

    from harness.cli.progress import ProgressStages
    from harness.models.load import ModelRoom
    from harness.store import Home
    from judges import JudgeBuilder

    models = ModelRoom(plan.loaded.root)
    builder = JudgeBuilder(models, steps=home / "geval_steps")
    silent = ProgressStages(Console(markup=False, emoji=False), quiet=True)
    return Classroom(plan, home=Home(home), models=models, builder=builder, stages=silent)


def _lesson_key(planned: PlannedTraining) -> tuple[object, ...]:
    assert planned.teacher is not None
    keep = tuple((metric, str(bar)) for metric, bar in planned.spec.keep.items())
    return planned.teacher.name, planned.split, keep, planned.spec.keep_share
