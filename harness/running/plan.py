"""What a run will do, before it does anything: which candidates, which splits, which trainings, and whether the data allow it.

Reads the suite and the data only; loads no model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.data import Dataset, Overlap, check_contamination, read_preferences
from harness.errors import NothingEvaluatedError, SuiteError, UserError
from harness.records import Embedder, Judge, Preference, Sample
from harness.suite import LoadedSuite, render_prompt
from harness.suite.grammar import (
    CandidateSpec,
    ClassificationSpec,
    PairwiseSpec,
    RewardSpec,
    TrainSpec,
    TransformersModel,
    label_words,
)
from harness.suite.teachers import line_of_teachers, teacher_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Who answers the training rows of a distillation."""

    name: str
    """A candidate's, or that of the answers recorded for one training."""
    spec: CandidateSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTraining:
    """A candidate, or a judge, that has to be trained: on what, from which base, taught by whom."""

    candidate: str
    """Its name; of a reward model, the judge's."""
    spec: TrainSpec
    base: TransformersModel
    split: str | None = None
    """The training split; None where it learns from preferences."""
    samples: tuple[Sample, ...] = ()
    """The rows of the split; after the lesson, those that are left, with the teacher's answer as their reference."""
    preferences: tuple[Preference, ...] = ()
    teacher: Teacher | None = None
    lesson: Mapping[str, Any] = field(default_factory=dict)
    """What became of the rows, once the teacher has answered them (`running.lessons`)."""
    validation: tuple[Sample, ...] = ()
    """What its checkpoints are evaluated on; empty where they are not."""

    @property
    def source(self) -> str:
        """Where the rows come from: a split, or a file of preferences."""
        return self.split or self.spec.preferences or ""

    @property
    def rows(self) -> int:
        """Rows to learn from: of the split, or preferences."""
        return len(self.samples) or len(self.preferences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Judges and encoders of a suite, each made when it is first asked for: no stage knows how."""

    judge: Callable[[str], Judge]
    """The judge of a name. Raises ModelError where its model is missing."""
    embedder: Callable[[str], Embedder]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a run needs to know from suite, data and command line."""

    loaded: LoadedSuite
    dataset: Dataset
    candidates: tuple[str, ...]
    splits: tuple[str, ...]
    trainings: tuple[PlannedTraining, ...]
    """Of candidates: a teacher's before those of its students, else in the order of the suite."""
    judge_trainings: tuple[PlannedTraining, ...] = ()
    """Of judges, which come first: candidates may be rewarded by them."""
    means: Means | None = None
    """What trainings that evaluate their checkpoints do it with."""

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples to answer, each once, in the order of the splits."""
        return tuple({s.id: s for split in self.splits for s in self.dataset.splits[split]}.values())

    @property
    def membership(self) -> tuple[Sample, ...]:
        """The samples of every evaluated split; a sample of two splits stands twice."""
        return tuple(s for split in self.splits for s in self.dataset.splits[split])

    def spec(self, candidate: str) -> CandidateSpec:
        return self.loaded.suite.candidates[candidate]

    def opponents(self, metric: str) -> list[str]:
        """The planned candidates beside whose answers a pairwise judge is shown the others'; none for any other judge."""
        return [name for name in self.loaded.suite.opponents(metric) if name in self.candidates]

    def overlaps(self) -> list[Overlap]:
        """Training rows that stand in evaluation rows too, for the planned trainings.

        Raises ContaminationError where they are more than the suite allows.
        """
        suite = self.loaded.suite
        trainings = (*self.judge_trainings, *self.trainings)
        if not trainings:
            return []
        used = tuple(dict.fromkeys(training.split for training in trainings if training.split is not None))
        pairs = {training.spec.preferences: training.preferences for training in trainings}
        learnt = [preference for preferences in pairs.values() for preference in preferences]
        return check_contamination(self.dataset, suite, training_splits=used, preferences=learnt)


def make_plan(
    loaded: LoadedSuite,
    dataset: Dataset,
    *,
    candidates: Sequence[str] = (),
    splits: Sequence[str] = (),
    means: Means | None = None,
) -> Plan:
    """The plan for the named candidates and splits; none named means all.

    A gate's baseline always comes along, and so do the one opponent of a pairwise judge and the teachers of those named.

    Raises UserError for an unknown name, a prompt that cannot be made, or labels that no reference is; NothingEvaluatedError
    where no sample is left.
    """
    suite = loaded.suite
    chosen = _choose("candidate", candidates, list(suite.candidates))
    if candidates:
        needed = {suite.gate.baseline} if suite.gate is not None else set()
        needed.update(spec.against for spec in suite.judges.values() if isinstance(spec, PairwiseSpec))
        needed.update(teacher for name in chosen for teacher in line_of_teachers(suite.candidates, name))
        chosen = [name for name in suite.candidates if name in chosen or name in needed]
    chosen_splits = _choose("split", splits, suite.evaluation_splits())
    specs = {name: train for name in chosen if (train := suite.candidates[name].train) is not None}
    trained = sorted(specs, key=lambda name: len(line_of_teachers(suite.candidates, name)))
    trainings = [_planned(loaded, dataset, name, specs[name]) for name in trained]
    judges = [
        _planned(loaded, dataset, name, judge.train)
        for name, judge in suite.judges.items()
        if isinstance(judge, RewardSpec) and judge.train is not None
    ]
    plan = Plan(
        loaded=loaded,
        dataset=dataset,
        candidates=tuple(chosen),
        splits=tuple(chosen_splits),
        trainings=tuple(trainings),
        means=means,
        judge_trainings=tuple(judges),
    )
    if not plan.samples:
        raise NothingEvaluatedError(f"{loaded.file.name}: no sample is left to evaluate in {', '.join(chosen_splits)}")
    _require_prompts(plan)
    _require_labels(plan)
    return plan


def _require_prompts(plan: Plan) -> None:
    """Raises SuiteError where the suite's prompt cannot be made of a row: it is kept with every answer, recorded ones too."""
    suite = plan.loaded.suite
    for sample in plan.samples:
        if not sample.messages:
            try:
                render_prompt(suite.prompt, {**sample.columns, "input": sample.input})
            except UserError as error:
                problem = plan.loaded.problem(("prompt",), f"row {sample.row}: {error}")
                raise SuiteError([problem]) from None


def _require_labels(plan: Plan) -> None:
    """Raises SuiteError where none of the references is a label: the suite has other words for them than the data."""
    problems = []
    for name, judge in plan.loaded.suite.judges.items():
        if isinstance(judge, ClassificationSpec):
            known = set(map(label_words, judge.labels))
            targets = [sample.references[0] for sample in plan.samples if sample.references]
            if targets and not any(label_words(target) in known for target in targets):
                message = f"must hold the references (none of {len(targets):,} is a label, such as {targets[0]!r:.60})"
                problems.append(plan.loaded.problem(("judges", name, "labels"), message))
    if problems:
        raise SuiteError(problems)


def _planned(loaded: LoadedSuite, dataset: Dataset, name: str, spec: TrainSpec) -> PlannedTraining:
    suite = loaded.suite
    base = suite.candidates[spec.base].model
    assert isinstance(base, TransformersModel)  # the suite's own checks hold this
    planned = PlannedTraining(candidate=name, spec=spec, base=base)
    validation = suite.validation_split(spec)
    if validation is not None:
        planned = replace(planned, validation=dataset.splits[validation])
    if spec.preferences is not None:
        return replace(planned, preferences=tuple(read_preferences(loaded.resolve(spec.preferences))))
    split = suite.training_split(spec)
    return replace(planned, split=split, samples=dataset.splits[split], teacher=_teacher(loaded, name, spec))


def _teacher(loaded: LoadedSuite, name: str, spec: TrainSpec) -> Teacher | None:
    match spec.teacher:
        case None:
            return None
        case str(teacher):
            return Teacher(name=teacher, spec=loaded.suite.candidates[teacher])
        case model:  # recorded answers: every other model became a candidate when the suite was loaded
            return Teacher(name=teacher_name(name), spec=CandidateSpec(model=model))


def _choose(what: str, wanted: Sequence[str], known: list[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean '{close[0]}'?)" if close else f". The suite has {', '.join(known)}"
            raise UserError(f"--{what}: '{name}' is no {what} of the suite{hint}")
    return [name for name in known if not wanted or name in wanted]
