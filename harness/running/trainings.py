"""Trains what a plan asks for, or finds the equal training that is there already, without loading the trainer for that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.errors import UserError
from harness.models import identity
from harness.models.prompting import ZeroShot
from harness.records import Prompt, Sample, Training
from harness.running.examining import validation_of
from harness.running.plan import Plan, PlannedTraining
from harness.running.runner import Stages
from harness.training.checkpoints import find_training
from harness.training.events import EventLog, events_folder, require_tensorboard
from harness.training.recipe import rows_of, training_key, training_steps
from harness.training.selection import Validation

Notice = Callable[[str], None]


def key_of(plan: Plan, planned: PlannedTraining, validation: Validation | None = None) -> str:
    """The content key of a planned training; `validation` is looked up where it decides and is not given.

    Raises ModelError where its base or a deciding judge's model is missing, UserError for rows without answer.
    """
    if validation is None and planned.spec.selects_by is not None:
        validation = validation_of(plan, planned, prompt_of(plan))
    root, base = plan.loaded.root, planned.base
    template = base.chat_template
    folder = identity.find_folder(
        base.path, root=root, what="model", files=identity.MODEL_FILES, revision=base.revision
    )
    return training_key(
        planned.spec,
        base_fingerprint=identity.base_fingerprint(folder, chat_template=root / template if template else None),
        rows=rows_of(planned.spec, planned.samples, prompt_of(plan)),
        seed=plan.loaded.suite.seed,
        validation=validation,
    )


def steps_of(planned: PlannedTraining, rows: int | None = None) -> int:
    """Optimiser steps of a planned training of so many rows; left out, of as many as it has samples."""
    spec = planned.spec
    return training_steps(
        len(planned.samples) if rows is None else rows, batch_size=spec.batch_size,
        gradient_accumulation=spec.gradient_accumulation, epochs=spec.epochs, max_steps=spec.max_steps,
    )  # fmt: skip


def _pieces(plan: Plan, planned: PlannedTraining) -> int:
    """Into how many pieces the raw text of a training is cut."""
    from harness.models.local import LocalModel
    from harness.training.audit import audit_training
    from harness.training.planning import window_of

    base, spec = planned.base, planned.spec
    folder = identity.find_folder(
        base.path, root=plan.loaded.root, what="model", files=identity.MODEL_FILES, revision=base.revision
    )
    rows = rows_of(spec, planned.samples, prompt_of(plan))
    model = LocalModel(folder, name=base.path)
    return len(audit_training(spec, model.tokenizer, rows, window=window_of(folder), encodes=model.encodes)[0])


def train_planned(
    plan: Plan,
    planned: PlannedTraining,
    *,
    adapters: Path,
    stages: Stages,
    notice: Notice,
    fresh: bool = False,
    no_train: bool = False,
) -> Training:
    """The adapter of a planned training, made now if there is none. `fresh` makes it anew, `no_train` refuses to make it.

    Raises UserError for `no_train` where it is missing, or when the audit refuses the rows; TrainingError or ModelError
    when the training stops.
    """
    validation = validation_of(
        plan, planned, prompt_of(plan), notice=lambda line: notice(f"{planned.candidate}: {line}")
    )
    key = key_of(plan, planned, validation)
    events = events_folder(adapters.parent, planned.candidate, key) if planned.spec.tensorboard else None
    if fresh and (adapters / key).is_dir():
        shutil.rmtree(adapters / key)
    found = find_training(adapters, key)
    name = f"{planned.candidate} trains"
    taught = {"teacher": dict(planned.lesson)} if planned.lesson else {}
    if found is not None:
        if events is not None and not events.is_dir():
            require_tensorboard()
            EventLog(events, found.log).close()
        if validation is not None and "validation" not in found.record:
            notice(
                f"{planned.candidate}: is trained already, without evaluations on the way. --fresh trains it with them."
            )
        with stages.stage(name, found.steps, done=found.steps):
            return replace(
                found, candidate=planned.candidate, base=planned.spec.base,
                record={**found.record, **taught},
            )  # fmt: skip
    if no_train:
        raise UserError(f"--no-train: candidate '{planned.candidate}' is not trained yet. Run `muster train` first.")
    from harness.training.trainer import train

    pieces = _pieces(plan, planned) if planned.spec.objective == "language_modelling" else None
    with stages.stage(name, steps_of(planned, pieces)) as advance:
        return train(
            planned.candidate, planned.spec, base=planned.base, root=plan.loaded.root, samples=planned.samples,
            prompt=prompt_of(plan), adapters=adapters, seed=plan.loaded.suite.seed, record=taught, progress=advance,
            notice=notice, validation=validation, events=events,
        )  # fmt: skip


def prompt_of(plan: Plan) -> Callable[[Sample], Prompt]:
    """What a trained candidate is asked: the builder that inference uses too."""
    suite = plan.loaded.suite
    return ZeroShot(template=suite.prompt, system=suite.system).prompt
