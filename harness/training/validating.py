"""Takes a training from its first step to what it leaves, evaluates it on the way, and keeps its best checkpoint.

Guarantees: the validation loss is the mean over the trained tokens of the split, whatever the batches; an evaluation
leaves no trace in the training: random generators, modes and attention are as before, so the tensors of every step are
those of a training that is not evaluated. What was best is in each checkpoint, whole or not at all, so a killed training
selects what an uninterrupted one does.
"""

from __future__ import annotations

import math
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.errors import TrainingError
from harness.models.local import LocalGenerator, LocalModel
from harness.records import Progress
from harness.suite.grammar import LOSS, TrainSpec
from harness.training import processes
from harness.training.adaptation import save_trained
from harness.training.audit import IGNORED, TokenRow
from harness.training.loop import Listen, Notice, quiet, run_trainer
from harness.training.recipe import steps_of
from harness.training.selection import Best, Validation, mean

SELECTED = Path("selected", "model")
"""Where a checkpoint keeps what was best when it was made: two deep, for PEFT takes a folder of an adapter beside its own
for one to load."""


def train(
    trainer: Any,
    spec: TrainSpec,
    *,
    validation: Validation | None,
    rows: Sequence[TokenRow] = (),
    trained_rows: int,
    tokenizer: Any,
    folder: Path,
    base_name: str,
    partial: Path,
    resume: Path | None,
    environment: Mapping[str, str],
    progress: Progress,
    notice: Notice,
    listen: Listen | None,
) -> dict[str, Any]:
    """Every step of a training, evaluated on the way; what it made is left in `partial/trained`. Returns what was evaluated.

    Args:
        trainer: a `Watched` trainer; with `token_loss` where there are `rows`.
        spec: the recipe, with `evaluate_every` where there is a `validation`.
        validation: what is asked, and who judges; None where nothing is evaluated.
        rows: its rows as tokens.
        trained_rows: rows of an epoch.
        tokenizer: the base's.
        folder: the base's.
        base_name: what the suite calls it.
        partial: the training's own folder.
        resume: the checkpoint to go on from; None where it begins.
        environment: device and precision, for the checkpoints.
        progress: told each step.
        notice: told each evaluation in a line.
        listen: see `run_trainer`.
    """
    validator = None
    if validation is not None:
        live = trainer.model.get_base_model() if spec.method == "lora" else trainer.model
        validator = Validator(
            trainer, spec, validation, rows=rows, trained_rows=trained_rows, partial=partial, notice=notice,
            local=in_training(folder, live, tokenizer, name=base_name),
            save=lambda: save_trained(trainer.model, partial, spec, base_name=base_name, base_folder=folder),
        )  # fmt: skip
        validator.take_best(resume)
        trainer.evaluates = validator
    run_trainer(
        trainer, spec, resume=resume, environment=environment, progress=progress, notice=notice, listen=listen
    )  # fmt: skip
    if validator is not None:
        evaluated = validator.record(int(trainer.ledger.log[-1]["step"]))
        with quiet():
            validator.leave(partial / "trained")
        return evaluated
    divided = spec.launcher is not None and spec.launcher.strategy != "ddp"
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if divided else None
    whole = trainer.accelerator.unwrap_model(trainer.model)
    if processes.writes():
        with quiet():
            save_trained(whole, partial, spec, base_name=base_name, base_folder=folder, state=state)
    processes.meet()
    return {}


def in_training(folder: Path, model: Any, tokenizer: Any, *, name: str) -> LocalModel:
    """A model in training behind the face of a loaded one, so that it answers as it will when it is finished."""
    local = LocalModel(folder, name=name)
    local.model, local.tokenizer = model, tokenizer
    return local


class Validator:
    """Evaluates when it is time, tells the ledger, and keeps what was best in a folder."""

    def __init__(
        self,
        trainer: Any,
        spec: TrainSpec,
        validation: Validation,
        *,
        rows: Sequence[TokenRow],
        trained_rows: int,
        local: LocalModel,
        partial: Path,
        save: Callable[[], Path],
        notice: Callable[[str], None],
    ) -> None:
        """Goes on from the ledger of `trainer`.

        Args:
            trainer: a `Watched` trainer with `token_loss`.
            spec: the recipe, with `evaluate_every`.
            validation: what is asked, and who judges.
            rows: its rows as tokens.
            trained_rows: rows of an epoch, for `evaluate_every: epoch`.
            local: the model in training.
            partial: the training's own folder.
            save: writes the model in training to a folder of its own choice.
            notice: told each evaluation in a line.
        """
        self._trainer = trainer
        self._spec = spec
        self._validation = validation
        self._rows = rows
        self._local = local
        self._save = save
        self._notice = notice
        self.best_folder = partial / "best"
        self._every = (
            spec.evaluate_every if isinstance(spec.evaluate_every, int) else _steps_of_epoch(spec, trained_rows)
        )
        selection: dict[str, Any] = trainer.ledger.selection
        self._select = self._best(selection.get("select"), spec.selects_by)
        stopping = spec.early_stopping
        self._stop = self._best(selection.get("stop"), spec.stops_by, stopping.min_delta if stopping else 0.0)

    def _best(self, saved: Mapping[str, Any] | None, metric: str | None, min_delta: float = 0.0) -> Best | None:
        if metric is None:
            return None
        return (
            Best(**saved)
            if saved
            else Best(metric=metric, direction=self._validation.direction(metric), min_delta=min_delta)
        )

    # ------------------------------------------------------------------------------------------------------ evaluating

    def after_step(self, step: int, last: int) -> dict[str, float]:
        """The figures of this step, for the log; nothing where it is not evaluated.

        Raises TrainingError where the loss is not finite, ModelError where the model cannot answer.
        """
        if step % self._every and step != last:
            return {}
        with undisturbed(self._trainer.model):
            losses = self._losses(step, last)
            generator = LocalGenerator(key="", model=self._local)
            with ordinary_attention(self._local.model), self._trainer.compute_loss_context_manager():
                judged = self._validation.examine(generator)
            scores = {**losses, **judged}
            self._decide(step, scores)
        return self._told(step, scores)

    def _losses(self, step: int, last: int) -> dict[str, Mapping[str, float]]:
        """The validation loss; nothing for an objective that has none there."""
        if not self._rows:
            return {}
        loss = validation_loss(self._trainer, self._rows, batch_size=self._spec.batch_size)
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss must be finite (got {loss} at step {step} of {last}).")
        return {LOSS: {LOSS: loss}}

    def _decide(self, step: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        ledger = self._trainer.ledger
        if self._select is not None and self._select.offer(step, scores[self._select.metric]):
            staged = self._save()
            shutil.rmtree(self.best_folder, ignore_errors=True)
            staged.rename(self.best_folder)
        if self._stop is not None:
            self._stop.offer(step, scores[self._stop.metric])
            patience = self._spec.early_stopping.patience if self._spec.early_stopping else math.inf
            if self._stop.waited >= patience:
                ledger.stopped = step
        bests = {"select": self._select, "stop": self._stop}
        ledger.selection = {name: asdict(best) for name, best in bests.items() if best is not None}

    def _told(self, step: int, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        entry: dict[str, float] = {}
        for name, got in scores.items():
            value = mean(got)
            if value is not None:
                entry[f"validation_{name}"] = value
            missing = 0 if name == LOSS else self._validation.samples - len(got)
            if missing:
                entry[f"unscored_{name}"] = missing
        figures = ", ".join(f"{name.removeprefix('validation_')} {value:.4g}" for name, value in entry.items())
        kept = " (the best so far)" if self._select is not None and self._select.step == step else ""
        self._notice(f"step {step:,}: {figures.replace('unscored_', 'unscored by ')}{kept}")
        return entry

    # ----------------------------------------------------------------------------------------------- checkpoints, ends

    def keep_best(self, checkpoint: Path) -> None:
        """Put what is best so far into a checkpoint that is not sealed yet; its files are shared, never changed."""
        if self.best_folder.is_dir():
            shutil.copytree(self.best_folder, checkpoint / SELECTED, copy_function=os.link)

    def take_best(self, checkpoint: Path | None) -> None:
        """Go on from what a checkpoint holds as best; from nothing without one."""
        shutil.rmtree(self.best_folder, ignore_errors=True)
        if checkpoint is not None and (checkpoint / SELECTED).is_dir():
            shutil.copytree(checkpoint / SELECTED, self.best_folder, copy_function=os.link)

    def leave(self, folder: Path) -> None:
        """Put what this training made to where it is looked for: what was best where it selects, else what it came to."""
        if self._select is None:
            self._save()
            return
        shutil.rmtree(folder, ignore_errors=True)
        self.best_folder.rename(folder)

    def record(self, steps: int) -> dict[str, Any]:
        """What was evaluated and what it decided, as plain JSON.

        Raises TrainingError where a checkpoint was to be selected by a judge that scored none.
        """
        spec, validation, best = self._spec, self._validation, self._select
        told: dict[str, Any] = {
            "every": spec.evaluate_every,
            "rows": len(self._rows),
            "samples": validation.samples if validation.metrics else 0,
            "judges": dict(validation.fingerprints),
            "seconds": round(self._trainer.ledger.evaluating, 3),
        }
        if best is None:
            return {"validation": told}
        if best.step is None:
            raise TrainingError(
                f"no checkpoint could be selected: {best.metric} scored none of {validation.samples} answers at any "
                "evaluation. Look at the judge, or select by loss."
            )
        selection = {
            "by": best.metric,
            "better": best.direction,
            "step": best.step,
            "of": steps,
            "score": best.mean,
            "scored": len(best.scores),
            "samples": 1 if best.metric == LOSS else validation.samples,
        }
        if self._stop is not None and spec.early_stopping is not None:
            selection |= {
                "stopped_at": self._trainer.ledger.stopped,
                "patience": spec.early_stopping.patience,
                "min_delta": spec.early_stopping.min_delta,
                "stopped_by": self._stop.metric,
            }
        return {"validation": told, "selection": selection}


def _steps_of_epoch(spec: TrainSpec, rows: int) -> int:
    return max(steps_of(spec.model_copy(update={"epochs": 1.0, "max_steps": None}), rows), 1)


def validation_loss(trainer: Any, rows: Sequence[TokenRow], *, batch_size: int) -> float:
    """Mean negative log-likelihood of the trained tokens of all rows, each token once and equal to every other."""
    total, count = 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        inputs = trainer.data_collator([{"input_ids": list(r.input_ids), "labels": list(r.labels)} for r in batch])
        with torch.no_grad(), trainer.compute_loss_context_manager():
            total += float(trainer.token_loss(trainer.model, trainer._prepare_inputs(inputs), 1))
        count += sum(label != IGNORED for row in batch for label in row.labels[1:])
    return total / count


@contextmanager
def ordinary_attention(model: Any) -> Iterator[None]:
    """Within the block a model that is trained on rows laid end to end reads padded batches and answers prompts."""
    own = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Within the block the model does not train, and may be loaded beside others; afterwards all is as it was."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (the libraries' own)
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if devices:
            torch.cuda.set_rng_state_all(devices)
