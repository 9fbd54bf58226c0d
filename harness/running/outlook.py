"""What is known of each planned training before a step is taken: its audit, its forecast, and what stops it.

Trainings that differ in nothing the audit looks at (a sweep's, say) share one. What has been trained already is told
from its record, and what was found before of the same recipe, base, rows and machine from a file in the home: both without
loading the model stack. Only what nothing stood against is kept; and whatever is kept, the trainer audits again.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.contamination import Overlap, find_overlaps
from harness.errors import ModelError, UserError
from harness.models import identity
from harness.models.candidates import settings_of
from harness.records import Training, fingerprint
from harness.running.plan import Plan, PlannedTraining
from harness.running.trainings import key_of, prompt_of
from harness.store import Home
from harness.suite.grammar import REFERRING
from harness.training.audit import AnyAudit, Audit, PairAudit, PromptAudit, audit_training
from harness.training.checkpoints import find_training
from harness.training.forecast import Forecast, as_of_now, refusal
from harness.training.recipe import TRAINER_VERSION, Reward, TrainingPlan, library_versions, rows_of

if TYPE_CHECKING:
    from harness.training.recipe import Row

KEPT = 1
"""Version of what is kept of an outlook; raised when audit or forecast find something else in the same rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedRows:
    """Rows of a training split as the model will see them, or why they may not be trained."""

    rows: tuple[Any, ...] = ()
    """As the trainer gets them; none where the audit was kept from before."""
    audit: AnyAudit | None = None
    tokenizer: Any = None
    harm: tuple[str, ...] = ()
    """What stops every training on these rows, a line each."""
    untold: str = ""
    """Why the rows could not be tokenised."""


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


def look_ahead(plan: Plan, *, home: Path, remembered: Remembered, rewarded: Rewarded) -> list[Outlook]:
    """The outlook of each planned training, judges' first. Loads the model stack where one is neither trained nor known."""
    adapters = home / "adapters"
    audits: dict[tuple[object, ...], AuditedRows] = {}
    trainings: dict[str, Training] = {}
    outlooks = []
    for planned in (*plan.judge_trainings, *plan.trainings):
        taught = remembered(planned, trainings)
        trained = _finished(plan, taught, adapters, rewarded(planned, trainings)) if taught is not None else None
        outlook = _outlook(plan, planned, taught, trained, home, audits)
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
    home: Path,
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
        kept = _Kept(plan, taught, folder, home / "forecasts") if taught is not None else None
        known = kept.read() if kept is not None else None
        if known is not None:
            audited, validation, forecast = known
        else:
            if taught is not None:
                audited = _audit_once(plan, taught, folder, audits)
            if planned.spec.evaluate_every is not None and planned.spec.objective not in REFERRING:
                validation = _audit_once(plan, replace(planned, samples=planned.validation), folder, audits)
            forecast = _forecast(plan, taught or planned, folder, audited)
            if kept is not None:
                kept.write(audited, validation, forecast)
        weights = _fingerprint(plan, planned, folder)
        forecast = as_of_now(forecast, planned.spec, adapters=home / "adapters", base_fingerprint=weights)
        if not forecast.fits and "memory" not in planned.spec.allow:
            stops.append(refusal(forecast, planned.spec))
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


def _audit(plan: Plan, planned: PlannedTraining, rows: Sequence[Row], folder: Path) -> AuditedRows:
    from harness.models.local import LocalModel
    from harness.training.planning import window_of

    spec, template = planned.spec, planned.base.chat_template
    try:
        model = LocalModel(
            folder, name=planned.base.path, chat_template=plan.loaded.root / template if template else None
        )
        kept, audit = audit_training(
            spec, model.tokenizer, rows, window=window_of(folder), encodes=model.encodes,
            max_new_tokens=room_for_answers(plan, planned),
        )  # fmt: skip
    except UserError as error:
        return AuditedRows(harm=tuple(str(error).splitlines()))
    except ModelError as error:
        return AuditedRows(untold=str(error))
    return AuditedRows(rows=tuple(kept), audit=audit, tokenizer=model.tokenizer)


def room_for_answers(plan: Plan, planned: PlannedTraining) -> int:
    """The most tokens of an answer that a training draws; 0 where it draws none."""
    return settings_of(plan.spec(planned.candidate), plan.loaded.suite).max_new_tokens if planned.spec.rewards else 0


def _forecast(plan: Plan, planned: PlannedTraining, folder: Path, audited: AuditedRows) -> Forecast:
    from harness.training.estimating import forecast_training
    from harness.training.planning import refuse_unusable

    refuse_unusable(planned.spec, planned.base)
    return forecast_training(
        planned.spec,
        base=planned.base,
        folder=folder,
        rows=audited.rows if audited.audit is not None else planned.rows,
        audit=audited.audit,
        max_new_tokens=room_for_answers(plan, planned),
    )


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


def _audit_of(training: Training) -> AnyAudit | None:
    """The audit in a training's record; None where another version of muster wrote it."""
    found = training.record.get("audit")
    return _read_audit(found) if isinstance(found, dict) else None


def _read_audit(found: Mapping[str, Any]) -> AnyAudit | None:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    for kind in (Audit, PairAudit, PromptAudit):
        if set(values) == {field.name for field in fields(kind)}:
            return kind(**values)
    return None


class _Kept:
    """What was found of a training before, in a file of the home named by all that decides it."""

    def __init__(self, plan: Plan, planned: PlannedTraining, base: Path, folder: Path) -> None:
        self._plan = plan
        self._planned = planned
        self._base = _fingerprint(plan, planned, base)
        self._path = folder / f"{self._key()}.json" if self._base is not None else None

    def _key(self) -> str:
        plan, planned, spec = self._plan, self._planned, self._planned.spec
        rows = rows_of(spec, planned.samples, prompt_of(plan), planned.preferences)
        looks = spec.evaluate_every is not None and spec.objective not in REFERRING
        checked = rows_of(spec, planned.validation, prompt_of(plan)) if looks else []
        machine = [platform.node(), os.cpu_count(), *(os.environ.get(name) for name in MACHINE)]
        decided = [
            KEPT, TRAINER_VERSION, library_versions(spec), machine, Path("/proc/driver/nvidia").exists(),
            spec.model_dump(mode="json"), planned.base.model_dump(mode="json"), self._base,
            [[row.row, *row.content] for row in rows], [[row.row, *row.content] for row in checked],
            room_for_answers(plan, planned), plan.loaded.suite.seed,
        ]  # fmt: skip
        return fingerprint(decided)

    def read(self) -> tuple[AuditedRows, AuditedRows | None, Forecast] | None:
        """Rows' audit, that of validation rows, and the forecast; None where nothing is kept that can be read."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            audits = [
                AuditedRows(audit=_read_audit(content[name])) if content[name] is not None else None
                for name in ("audit", "validation")
            ]
            forecast = Forecast.read(content["forecast"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if audits[0] is None or audits[0].audit is None:
            return None
        return audits[0], audits[1], forecast

    def write(self, audited: AuditedRows, validation: AuditedRows | None, forecast: Forecast) -> None:
        """Keep what was found, where nothing stood against it; a home that cannot be written to keeps nothing."""
        stood = [one for one in (audited, validation) if one is not None and one.audit is None]
        if self._path is None or stood:
            return
        content = {
            "audit": audited.audit.as_record() if audited.audit is not None else None,
            "validation": validation.audit.as_record()
            if validation is not None and validation.audit is not None
            else None,
            "forecast": asdict(forecast),
        }
        try:
            temporary = Home(self._path.parents[1]).forecasts / f"{self._path.stem}.{os.getpid()}.tmp"
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(self._path)
        except (OSError, UserError):
            return


MACHINE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
"""Variables that decide how fast this machine computes, and on what."""
