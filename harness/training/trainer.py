"""The verb: `train` makes an adapter or a model of a recipe and rows, or finds the one that is there.

Guarantees: a training is known by its content key before a weight is loaded; the audit has passed before a step is
taken; one process trains a key at a time; what is published is complete and says what ran (device, dtypes, batching,
versions), not what was asked. What is fitted, and how, is `sft`'s. Knows no judge and no store. Importing it takes
seconds (torch, peft, trl): `recipe` answers the light questions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial as partial_of
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.identity import MODEL_FILES, find_folder, template_sha
from harness.models.local import LocalModel
from harness.records import GenerationSettings, Preference, Progress, Prompt, Sample, Training
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.audit import audit_training
from harness.training.checkpoints import find_training, publish_adapter, training_lock
from harness.training.estimating import refuse_hopeless
from harness.training.events import EventLog, require_tensorboard
from harness.training.launch import fit_in_processes, refuse_unlaunchable
from harness.training.loop import Ledger, Notice, stopped_clearly
from harness.training.planning import plan_training, refuse_unknown_tokens, refuse_unusable, window_of
from harness.training.recipe import (
    Reward,
    library_versions,
    prompts_of_step,
    recipe_of,
    rows_of,
    steps_of,
    training_key,
)
from harness.training.selection import Validation
from harness.training.sft import Batching, fit_supervised


def train(
    candidate: str,
    spec: TrainSpec,
    *,
    base: TransformersModel,
    root: Path,
    samples: Sequence[Sample],
    prompt: Callable[[Sample], Prompt],
    adapters: Path,
    seed: int,
    record: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
    validation: Validation | None = None,
    events: Path | None = None,
    preferences: Sequence[Preference] = (),
    reward: Reward | None = None,
    generation: GenerationSettings | None = None,
    batching: Batching | None = None,
) -> Training:
    """Train by a recipe, or go on with a training that was interrupted, or return the one that is there.

    Args:
        candidate: the name the training is reported under.
        spec: the recipe, without sweeps.
        base: the model to train on.
        root: the suite's folder, which paths in `base` are relative to.
        samples: the training split; the first reference of each is its answer. Objectives that learn from preferences
            need none.
        prompt: what the candidate is asked for a sample: the same builder that inference uses.
        adapters: folder of finished trainings; this one comes to lie in `adapters/<key>`.
        seed: used unless the recipe has its own.
        record: what is known of the rows' origin, for the training's record.
        progress: called with the optimiser steps finished since the last call; after a resume, the earlier ones first.
        notice: called with one line on anything the user should know; left out, such lines are dropped.
        validation: what checkpoints are evaluated with; needed where the recipe selects one.
        events: where TensorBoard's event files go; left out, nowhere.
        preferences: what objectives `dpo` and `reward` learn from.
        reward: the judges that the recipe's `reward` names, for objectives `grpo` and `rloo`.
        generation: how the candidate answers; of it, drawn answers have their length, top_p and stop texts.
        batching: `packed` lays rows end to end, `padded` pads them, for measurements (not in the key). Left out,
            rows are packed where the architecture allows.

    Raises:
        UserError: the recipe, the data or the machine do not allow this training; no step was taken.
        TrainingError: it stopped before its end; checkpoints are kept and the next call goes on from the last.
        ModelError: the base cannot be loaded.
    """
    tell = notice or _drop
    refuse_unusable(spec, base)
    if events is not None:
        require_tensorboard()
    rows = rows_of(spec, samples, prompt, preferences)
    folder = find_folder(base.path, root=root, what="model", files=MODEL_FILES, revision=base.revision)
    template = root / base.chat_template if base.chat_template else None
    bare = LocalModel(folder, name=base.path, chat_template=template)  # of which only hash and tokenizer are used
    if spec.launcher is not None:
        refuse_unlaunchable(spec.launcher)
    draws = generation if reward is not None else None
    key = training_key(
        spec, base_fingerprint=bare.fingerprint, rows=rows, seed=seed, validation=validation,
        reward=reward, generation=draws,
    )  # fmt: skip
    training = find_training(adapters, key)
    unfinished = adapters / f"{key}.partial"
    if training is None:
        if (adapters / key).exists():
            tell(f"{candidate}: the adapter {key[:12]} is incomplete or was changed; it is trained again.")
        window = window_of(folder)
        audited: dict[str, Any] = {"window": window, "encodes": bare.encodes}
        token_rows, audit = audit_training(
            spec, bare.tokenizer, rows, max_new_tokens=draws.max_new_tokens if draws is not None else 0, **audited
        )
        checked, checks = (
            audit_training(spec, bare.tokenizer, validation.rows, **audited)
            if validation is not None and validation.rows
            else ([], None)
        )
        fit = _fit(spec, token_rows, bare, prompts=audit.rows, reward=reward, generation=draws, batching=batching)
        plan = plan_training(spec, folder=folder, rows=audit.rows, tokens=audit.tokens)
        refuse_hopeless(spec, base=base, folder=folder)
        given: dict[str, Any] = {"validation": validation} if validation is not None else {}
        given |= {"validation_rows": checked} if checked else {}
        if spec.launcher is None:
            listen = partial_of(EventLog, events) if events is not None else None
            given |= {"tokenizer": bare.tokenizer, "listen": listen}
        else:
            config = root / spec.launcher.config if spec.launcher.config else None
            given |= {"template": template, "config": config, "events": events}
        with training_lock(unfinished), stopped_clearly(candidate, spec):
            ledger, ran = fit(
                spec,
                seed=seed,
                folder=folder,
                base=base,
                partial=unfinished,
                progress=progress or _drop,
                notice=lambda line: tell(f"{candidate}: {line}"),
                **given,
            )
            training = Training(
                key=key,
                candidate=candidate,
                base=spec.base,
                base_fingerprint=bare.fingerprint,
                path=str(adapters / key),
                rows=plan.rows,
                steps=ledger.stopped or plan.steps,
                tokens=ledger.tokens,
                seconds=ledger.seconds,
                trainable_parameters=plan.trainable_parameters,
                total_parameters=plan.total_parameters,
                log=tuple(ledger.log),
                record={
                    **(record or {}),
                    "recipe": recipe_of(spec, seed),
                    "audit": audit.as_record(),
                    "chat_template": template_sha(folder, template),
                    **({"validation_audit": checks.as_record()} if checks is not None else {}),
                    **ran,
                    "versions": library_versions(spec),
                    "resumed_at_steps": ledger.resumed,
                },
            )
            publish_adapter(unfinished / "trained", adapters / key, training)
            shutil.rmtree(unfinished)
    elif unfinished.exists():  # killed between the adapter's rename and the end of the tidying
        shutil.rmtree(unfinished, ignore_errors=True)
    return replace(training, candidate=candidate, base=spec.base)


def _fit(
    spec: TrainSpec,
    rows: Sequence[Any],
    bare: LocalModel,
    *,
    prompts: int,
    reward: Reward | None,
    generation: GenerationSettings | None,
    batching: Batching | None,
) -> Callable[..., tuple[Ledger, dict[str, Any]]]:
    """What fits audited rows to an objective. Raises UserError where they are none that it can take."""
    match spec.objective:
        case "supervised" | "language_modelling":
            refuse_unknown_tokens(rows, bare.folder)
            fit = fit_supervised if spec.launcher is None else fit_in_processes
            return partial_of(fit, rows=rows, batching=batching)
        case "dpo" | "reward":
            from harness.training.preference import fit_preferences

            return partial_of(fit_preferences if spec.launcher is None else fit_in_processes, rows=rows)
        case "grpo" | "rloo":
            from harness.training.reinforcement import fit_policy

            if reward is None or generation is None:
                raise ValueError(f"objective {spec.objective!r} needs a reward and generation settings")
            if not steps_of(spec, prompts):
                raise UserError(
                    f"'split' must hold at least the {prompts_of_step(spec)} prompts of one step (got {prompts}). "
                    "Lower batch_size or gradient_accumulation, or raise num_generations."
                )
            return partial_of(fit_policy, rows=rows, reward=reward, generation=generation)


def _drop(_: object) -> None:
    """The callback of a caller who gave none."""
