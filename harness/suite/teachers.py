"""Teachers that are written inside a training: each becomes a candidate of its own, so that it stands in the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping

from harness.suite.grammar import AnswersModel, CandidateSpec, Suite


def teacher_name(student: str) -> str:
    """What the teacher that is written inside a training is called: `student.teacher`."""
    return f"{student}.teacher"


def name_teachers(suite: Suite, sweeps: Mapping[str, str]) -> Suite:
    """The suite with each such teacher as a candidate before its students, whose `teacher` is then that name.

    `sweeps` gives the name of its sweep for each candidate: they share one teacher. Recorded answers stay where they are: a
    file of answers to the training rows has none to those that are judged.
    """
    candidates: dict[str, CandidateSpec] = {}
    for name, spec in suite.candidates.items():
        train = spec.train
        if train is None or train.teacher is None or isinstance(train.teacher, str | AnswersModel):
            candidates[name] = spec
            continue
        teacher = teacher_name(sweeps[name])
        candidates.setdefault(teacher, CandidateSpec(model=train.teacher))
        candidates[name] = spec.model_copy(update={"train": train.model_copy(update={"teacher": teacher})})
    return suite.model_copy(update={"candidates": candidates})


def teacher_of(candidates: Mapping[str, CandidateSpec | None], name: str) -> str | None:
    """The candidate that teaches another; None where none does."""
    spec = candidates.get(name)
    teacher = spec.train.teacher if spec is not None and spec.train is not None else None
    return teacher if isinstance(teacher, str) else None


def line_of_teachers(candidates: Mapping[str, CandidateSpec | None], name: str) -> list[str]:
    """A candidate's teacher, that one's teacher, and so on; it ends where a candidate comes up again."""
    line: list[str] = []
    teacher = teacher_of(candidates, name)
    while teacher is not None and teacher not in line:
        line.append(teacher)
        teacher = teacher_of(candidates, teacher)
    return line
