"""Trains what a plan asks for, or finds the equal training that is there already, without loading the trainer for that."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import UserError
from harness.models import identity
from harness.models.candidates import settings_of
from harness.models.prompting import ZeroShot
from harness.records import Case, GenerationSettings, Judge, Judgement, Prompt, Sample, Training
from harness.running.examining import validation_of
from harness.running.plan import Plan, PlannedTraining
from harness.running.runner import judged
from harness.running.stages import Stages
from harness.training.checkpoints import find_training
from harness.training.events import EventLog, events_folder, require_tensorboard
from harness.training.recipe import Reward, reference_rows, rows_of, steps_of, training_key
from harness.training.selection import Validation

Notice = Callable[[str], None]


def key_of(
    plan: Plan, planned: PlannedTraining, validation: Validation | None = None, *, reward: Reward | None = None
) -> str:
    """The content key of a planned training; `validation` is looked up where it decides and is not given, `reward` are the
    judges that it names.

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
        rows=rows_of(planned.spec, planned.samples, prompt_of(plan), planned.preferences),
        seed=plan.loaded.suite.seed,
        validation=validation,
        reward=reward,
        generation=_generation(plan, planned) if reward is not None else None,
    )


def _pieces(plan: Plan, planned: PlannedTraining) -> int:
    """Into how many pieces the raw text of a training is cut."""
    from harness.models.local import LocalModel
    from harness.training.audit import audit_training
    from harness.training.planning import window_of

    base, spec = planned.base, planned.spec
    folder = identity.find_folder(
        base.path, root=plan.loaded.root, what="model", files=identity.MODEL_FILES, revision=base.revision
    )
    rows = reference_rows(spec, planned.samples, prompt_of(plan))
    model = LocalModel(folder, name=base.path)
    return len(audit_training(spec, model.tokenizer, rows, window=window_of(folder), encodes=model.encodes)[0])


def train_planned(
    plan: Plan,
    planned: PlannedTraining,
    *,
    adapters: Path,
    stages: Stages,
    notice: Notice,
    reward: Reward | None = None,
    fresh: bool = False,
    no_train: bool = False,
) -> Training:
    """The adapter of a planned training, made now if there is none. `fresh` makes it anew, `no_train` refuses to make it.

    `reward` are the judges that the training names as its reward. Raises UserError for `no_train` where it is missing, or
    when the audit refuses the rows; TrainingError or ModelError when the training stops.
    """
    validation = validation_of(
        plan, planned, prompt_of(plan), notice=lambda line: notice(f"{planned.candidate}: {line}")
    )
    key = key_of(plan, planned, validation, reward=reward)
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
        raise UserError(f"--no-train: '{planned.candidate}' is not trained yet. Run `muster train` first.")
    from harness.training.trainer import train

    rows = _pieces(plan, planned) if planned.spec.objective == "language_modelling" else planned.rows
    with stages.stage(name, steps_of(planned.spec, rows)) as advance:
        return train(
            planned.candidate, planned.spec, base=planned.base, root=plan.loaded.root, samples=planned.samples,
            prompt=prompt_of(plan), adapters=adapters, seed=plan.loaded.suite.seed, record=taught, progress=advance,
            notice=notice, validation=validation, events=events, preferences=planned.preferences, reward=reward,
            generation=_generation(plan, planned) if reward else None,
        )  # fmt: skip


def reward_of(planned: PlannedTraining, judges: Mapping[str, Judge]) -> Reward:
    """The judges that a training names, as what trains it needs them: asked about one answer to each sample."""

    def ask(samples: Sequence[Sample], answers: Sequence[str]) -> dict[str, list[Judgement]]:
        cases = [
            Case(id=s.id, answer=answer, input=s.input, references=s.references, contexts=s.contexts)
            for s, answer in zip(samples, answers, strict=True)
        ]
        return {name: judged(judges[name], cases) for name in planned.spec.rewards}

    return Reward(fingerprints={name: judges[name].fingerprint for name in planned.spec.rewards}, judge=ask)


def _generation(plan: Plan, planned: PlannedTraining) -> GenerationSettings:
    return settings_of(plan.spec(planned.candidate), plan.loaded.suite)


def prompt_of(plan: Plan) -> Callable[[Sample], Prompt]:
    """What a trained candidate is asked: the builder that inference uses too."""
    suite = plan.loaded.suite
    return ZeroShot(template=suite.prompt, system=suite.system).prompt
