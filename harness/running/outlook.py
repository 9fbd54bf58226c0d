"""What is known of each planned training before a step is taken: its audit, its forecast, and what stops it.

Trainings that differ in nothing the audit looks at (a sweep's, say) share one. What has been trained already is told
from its record, without loading the model stack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.contamination import Overlap, find_overlaps
from harness.errors import ModelError, UserError
from harness.models import identity
from harness.models.candidates import settings_of
from harness.records import Training
from harness.running.plan import Plan, PlannedTraining
from harness.running.trainings import key_of, prompt_of
from harness.suite.grammar import REFERRING
from harness.training.audit import Audit, PairAudit, TokenRow, audit_pairs, audit_prompts, audit_training
from harness.training.checkpoints import find_training
from harness.training.recipe import Reward, TrainingPlan, name_rows, rows_of

if TYPE_CHECKING:
    from harness.training.forecast import Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedRows:
    """Rows of a training split as the model will see them, or why they may not be trained."""

    rows: tuple[TokenRow, ...] = ()
    audit: Audit | None = None
    tokenizer: Any = None
    harm: tuple[str, ...] = ()
    """What stops every training on these rows, a line each."""
    untold: str = ""
    """Why the rows could not be tokenised."""
    counts: tuple[str, ...] = ()
    """What the audit counted where rows are no answers to train: of preferences, or prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A planned training, before it begins."""

    planned: PlannedTraining
    taught: PlannedTraining | None
    """The same with its teacher's answers; None where the teacher has not given them all."""
    plan: TrainingPlan | None
    """None where the base is missing or does not fit."""
    audited: AuditedRows
    validation: AuditedRows | None = None
    """The rows that checkpoints are evaluated on; None where they are not, or where it is trained already."""
    forecast: Forecast | None = None
    """None where it is trained already, and where there is no plan."""
    trained: Training | None = None
    untold: str = ""
    """Why there is no plan."""
    stops: tuple[str, ...] = ()
    """What stops this training, besides its rows; a line each that begins with the option's name in quotes."""


Rewarded = Callable[[PlannedTraining, Mapping[str, Training]], Reward | None]
"""The judges that reward a training, given the trainings that are finished; None where they cannot be had without running."""
Remembered = Callable[[PlannedTraining, Mapping[str, Training]], PlannedTraining | None]
"""A training as its teacher has taught it, given the trainings that are finished; None where it has not."""


def look_ahead(plan: Plan, *, adapters: Path, remembered: Remembered, rewarded: Rewarded) -> list[Outlook]:
    """The outlook of each planned training, judges' first. Loads the model stack where one is not trained yet."""
    audits: dict[tuple[object, ...], AuditedRows] = {}
    trainings: dict[str, Training] = {}
    outlooks = []
    for planned in (*plan.judge_trainings, *plan.trainings):
        taught = remembered(planned, trainings)
        trained = _finished(plan, taught, adapters, rewarded(planned, trainings)) if taught is not None else None
        outlook = _outlook(plan, planned, taught, trained, adapters, audits)
        if outlook.trained is not None:
            trainings[planned.candidate] = outlook.trained
        outlooks.append(outlook)
    return outlooks


def audited_rows(
    plan: Plan, *, remembered: Remembered | None = None
) -> list[tuple[AuditedRows, list[PlannedTraining]]]:
    """The audited rows of the planned trainings, trained already or not, each with the trainings that share them.

    Of objectives that learn no references, none.

    Raises ModelError where a base is missing, UserError where a teacher has not given its answers.
    """
    audits: dict[tuple[object, ...], AuditedRows] = {}
    groups: dict[int, tuple[AuditedRows, list[PlannedTraining]]] = {}
    for planned in plan.trainings:
        if planned.spec.objective in REFERRING:
            continue
        taught = remembered(planned, {}) if remembered is not None else planned
        if taught is None:
            raise UserError(f"candidate '{planned.candidate}' has no rows yet: {_untaught(planned)}.")
        audited = _audit_once(plan, taught, find_base(plan, planned), audits)
        groups.setdefault(id(audited), (audited, []))[1].append(planned)
    return list(groups.values())


def _untaught(planned: PlannedTraining) -> str:
    teacher = planned.teacher.name if planned.teacher is not None else ""
    return f"its answers come from teacher '{teacher}', which has not given them all"


def validation_overlaps(plan: Plan, planned: PlannedTraining) -> list[Overlap]:
    """Training rows that stand in a validation split too: its figures will flatter, no verdict is touched."""
    suite, splits = plan.loaded.suite, plan.dataset.splits
    names = [name for name, split in suite.splits.items() if split.use == "validation"]
    near = suite.contamination.near
    return [overlap for name in names for overlap in find_overlaps(planned.samples, splits[name], near=near)]


def _outlook(
    plan: Plan,
    planned: PlannedTraining,
    taught: PlannedTraining | None,
    trained: Training | None,
    adapters: Path,
    audits: dict[tuple[object, ...], AuditedRows],
) -> Outlook:
    if trained is not None:
        audited = AuditedRows(audit=_audit_of(trained))
        return Outlook(planned=planned, taught=taught, plan=_plan_of(trained), trained=trained, audited=audited)
    audited = AuditedRows(untold=_untaught(planned))
    validation: AuditedRows | None = None
    forecast: Forecast | None = None
    stops: list[str] = []
    untold = ""
    try:
        folder = find_base(plan, planned)
        if taught is not None:
            audited = _audit_once(plan, taught, folder, audits)
        if planned.spec.objective in REFERRING:
            return Outlook(planned=planned, taught=taught, plan=_planned(planned, folder), audited=audited)
        if planned.spec.evaluate_every is not None:
            validation = _audit_once(plan, replace(planned, samples=planned.validation), folder, audits)
        forecast = _forecast(plan, taught or planned, folder, adapters, audited)
        if not forecast.fits and "memory" not in planned.spec.allow:
            stops.append(_refusal(forecast, planned))
    except UserError as error:
        stops += str(error).splitlines()
    except ModelError as error:
        untold = str(error)
    return Outlook(
        planned=planned,
        taught=taught,
        plan=forecast.plan if forecast is not None else None,
        audited=audited,
        validation=validation,
        forecast=forecast,
        untold=untold,
        stops=tuple(stops),
    )


def find_base(plan: Plan, planned: PlannedTraining) -> Path:
    """The folder of the base model. Raises ModelError where it is missing."""
    base = planned.base
    return identity.find_folder(
        base.path, root=plan.loaded.root, what="model", files=identity.MODEL_FILES, revision=base.revision
    )


def _audit_once(
    plan: Plan, planned: PlannedTraining, folder: Path, audits: dict[tuple[object, ...], AuditedRows]
) -> AuditedRows:
    """The audited rows of a training, from `audits` where another training has the same."""
    spec, base = planned.spec, planned.base
    try:
        rows = tuple(rows_of(spec, planned.samples, prompt_of(plan), planned.preferences))
    except UserError as error:
        return AuditedRows(harm=tuple(str(error).splitlines()))
    key: tuple[object, ...] = (
        spec.objective, json.dumps([[row.row, *row.content] for row in rows]), folder, base.chat_template,
        spec.max_length, spec.truncation, spec.batch_size, *spec.allow,
    )  # fmt: skip
    if key not in audits:
        audits[key] = _audit(plan, planned, rows, folder)
    return audits[key]


def _planned(planned: PlannedTraining, folder: Path) -> TrainingPlan:
    """What a training that is not forecast will take: parameters and steps."""
    from harness.training.planning import plan_training, refuse_unusable

    refuse_unusable(planned.spec, planned.base)
    return plan_training(planned.spec, folder=folder, rows=planned.rows)


def _audit(plan: Plan, planned: PlannedTraining, rows: Sequence[Any], folder: Path) -> AuditedRows:
    from harness.models.local import LocalModel
    from harness.training.planning import window_of

    spec, template = planned.spec, planned.base.chat_template
    try:
        model = LocalModel(
            folder, name=planned.base.path, chat_template=plan.loaded.root / template if template else None
        )
        limits: dict[str, Any] = {
            "max_length": spec.max_length, "window": window_of(folder), "truncation": spec.truncation,
        }  # fmt: skip
        if spec.preferences is not None:
            _, pairs = audit_pairs(model.tokenizer, rows, allow=spec.allow, **limits)
            return AuditedRows(counts=_told_pairs(pairs))
        if spec.rewards:
            room = settings_of(plan.spec(planned.candidate), plan.loaded.suite).max_new_tokens
            _, prompts = audit_prompts(model.tokenizer, rows, max_new_tokens=room, **limits)
            return AuditedRows(
                counts=(f"every prompt leaves room for {room:,} tokens; the longest has {prompts.longest:,}",)
            )
        kept, audit = audit_training(spec, model.tokenizer, rows, window=window_of(folder), encodes=model.encodes)
    except UserError as error:
        return AuditedRows(harm=tuple(str(error).splitlines()))
    except ModelError as error:
        return AuditedRows(untold=str(error))
    return AuditedRows(rows=tuple(kept), audit=audit, tokenizer=model.tokenizer)


def _told_pairs(audit: PairAudit) -> tuple[str, ...]:
    """What the audit of preferences counted, in a line each."""
    left = (f"{name_rows(audit.dropped)}: longer than max_length, left out",) if audit.dropped else ()
    return (
        "both answers of every pair end with the end-of-sequence token, after what inference feeds",
        f"answers have {audit.chosen_mean:.0f} tokens where preferred, {audit.rejected_mean:.0f} where not",
        *left,
    )


def _forecast(plan: Plan, planned: PlannedTraining, folder: Path, adapters: Path, audited: AuditedRows) -> Forecast:
    from harness.training.forecast import forecast_training
    from harness.training.planning import refuse_unusable

    refuse_unusable(planned.spec, planned.base)
    return forecast_training(
        planned.spec,
        base=planned.base,
        folder=folder,
        base_fingerprint=_fingerprint(plan, planned, folder),
        adapters=adapters,
        rows=audited.rows if audited.audit is not None else len(planned.samples),
        audit=audited.audit,
    )


def _refusal(forecast: Forecast, planned: PlannedTraining) -> str:
    from harness.training.forecast import refusal

    return refusal(forecast, planned.spec)


def _fingerprint(plan: Plan, planned: PlannedTraining, folder: Path) -> str | None:
    template = planned.base.chat_template
    try:
        return identity.base_fingerprint(folder, chat_template=plan.loaded.root / template if template else None)
    except ModelError:
        return None


def _finished(plan: Plan, planned: PlannedTraining, adapters: Path, reward: Reward | None) -> Training | None:
    if planned.spec.rewards and reward is None:
        return None
    try:
        return find_training(adapters, key_of(plan, planned, reward=reward))
    except (ModelError, UserError):  # told where the rows are audited and the base is looked for
        return None


def _plan_of(training: Training) -> TrainingPlan:
    return TrainingPlan(
        rows=training.rows,
        steps=training.steps,
        tokens=training.tokens,
        trainable_parameters=training.trainable_parameters,
        total_parameters=training.total_parameters,
    )


def _audit_of(training: Training) -> Audit | None:
    """The audit in a training's record; None where another version of muster wrote it."""
    found = training.record.get("audit")
    if not isinstance(found, dict) or set(found) != {field.name for field in fields(Audit)}:
        return None
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return Audit(**values)
