"""The steps of a training: what is counted, when it stops, and how a checkpoint becomes complete.

Guarantees: one rising log, resumed or not; a NaN or infinite loss or gradient ends the training; a machine that gives
out (memory, disk) ends it with the way out in one line.
"""

from __future__ import annotations

import errno
import gc
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging

from harness.errors import TrainingError
from harness.records import Progress
from harness.suite.grammar import TrainSpec
from harness.training import processes
from harness.training.checkpoints import prune_checkpoints, seal, step_of

LEDGER = "ledger.json"

Notice = Callable[[str], None]


@dataclass(kw_only=True)
class Ledger:
    """What a training has counted so far; saved in each checkpoint, so that a resumed log has no gap and no echo."""

    log: list[dict[str, float]] = field(default_factory=list)
    """One entry a logged step, steps strictly rising."""
    losses: list[float] = field(default_factory=list)
    """Loss of each step since the last entry."""
    figures: dict[str, list[float]] = field(default_factory=dict)
    """What else an objective measures, of each step since the last entry."""
    counts: dict[str, int] = field(default_factory=dict)
    """What an objective counts besides, such as answers that no judge could score."""
    tokens: int = 0
    seconds: float = 0.0
    resumed: list[int] = field(default_factory=list)
    """Steps at which an interrupted attempt was taken up."""
    selection: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was best so far, by which a checkpoint is selected (`select`) and the training ended (`stop`)."""
    evaluating: float = 0.0
    """Seconds that evaluations took; `seconds` are without them."""
    stopped: int | None = None
    """The step at which it was ended early."""

    def save(self, folder: Path) -> None:
        """Write the ledger into a checkpoint that is not sealed yet."""
        (folder / LEDGER).write_text(json.dumps(asdict(self), allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ledger:
        """The ledger of a sealed checkpoint."""
        return cls(**json.loads((folder / LEDGER).read_text(encoding="utf-8")))


class Evaluates(Protocol):
    """What evaluates a training on the way (`harness.training.validating`)."""

    def after_step(self, step: int, last: int) -> dict[str, float]:
        """The figures of a step, for the log; nothing where it is not evaluated."""
        ...

    def keep_best(self, checkpoint: Path) -> None:
        """Put what is best so far into a checkpoint."""
        ...


class Listens(Protocol):
    """What is told each entry of the log when it is made (`harness.training.events`)."""

    def add(self, entry: Mapping[str, float]) -> None: ...


Listen = Callable[[Sequence[Mapping[str, float]]], Listens | None]
"""Opens a listener for the log, given what is in it already."""


class Watched:
    """What every trainer here has before its library's class: a ledger, no card, no report to anybody, and an end at the
    first number that is not finite.
    """

    ledger: Ledger
    step_loss: float
    step_tokens: int
    gradient_norm: float
    evaluates: Evaluates | None
    """Set by whoever wants evaluations, before the first step; `listens` likewise."""
    listens: Listens | None
    args: Any
    state: Any
    train_dataset: Any

    def __init__(self, *, ledger: Ledger, **options: Any) -> None:
        self.ledger = ledger
        self.step_loss = 0.0
        self.step_tokens = 0
        self.gradient_norm = 0.0
        self.evaluates = None
        self.listens = None
        super().__init__(**options)

    def take_figures(self) -> dict[str, float]:
        """What else was measured in the step that ends; nothing where the loss says it all."""
        return {}

    def record_loss(self, loss: float, tokens: int) -> None:
        """Add what a forward pass found to its step. Raises TrainingError where the loss is not finite.

        Args:
            loss: this pass's part of the step's loss.
            tokens: what it was fed, without padding.
        """
        self.step_loss += loss
        self.step_tokens += tokens
        if not math.isfinite(loss):
            self._stop("loss", loss)

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]  # of the library's trainer
        if math.isfinite(norm):
            self.gradient_norm = float(norm)
        elif not self.args.fp16:  # float16's scaler meets infinite gradients on purpose, and skips the step
            self._stop("gradient norm", float(norm))
        return norm

    def _stop(self, what: str, value: float) -> None:
        raise TrainingError(
            f"the {what} must be finite (got {value} at step {self.state.global_step + 1} of {self.state.max_steps}). "
            "No adapter was written; lower learning_rate, or look at the rows of this step."
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Rows in the order of one process, however many there are."""
        if processes.world() == 1:
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]  # of the library's trainer
        rows = len(self.train_dataset) - 1  # without the one that fills up
        multiple = self.args.per_device_train_batch_size * processes.world()
        steps = math.ceil(rows / (multiple * self.args.gradient_accumulation_steps))
        return processes.EvenSampler(
            rows, multiple=multiple, seed=self.args.seed, epoch=lambda: self.state.global_step // steps
        )

    def create_model_card(self, *arguments: Any, **options: Any) -> None:
        """None: the manifest says what was trained."""

    def _send_telemetry(self) -> None:
        """None."""


class Bookkeeper(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps the ledger, tells the progress, and seals each checkpoint."""

    def __init__(
        self, trainer: Watched, logging_steps: int, *, environment: Mapping[str, str], progress: Progress
    ) -> None:
        self.trainer = trainer
        self.logging_steps = logging_steps
        self.environment = environment
        self.progress = progress
        self.learning_rate = 0.0
        self.began = time.perf_counter()
        self.seconds_before = trainer.ledger.seconds

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the steps of earlier attempts, and let each of several processes draw dropout of its own."""
        if processes.rank():
            torch.manual_seed(args.seed + processes.rank())
        if state.global_step:
            self.progress(state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate of this step before the schedule moves on."""
        self.learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the step to the ledger, evaluate, and end the training where nothing has improved for too long."""
        trainer, ledger = self.trainer, self.trainer.ledger
        parts = processes.everywhere((trainer.step_loss, trainer.step_tokens))
        ledger.losses.append(math.fsum(loss for loss, _ in parts))
        ledger.tokens += sum(tokens for _, tokens in parts)
        trainer.step_loss, trainer.step_tokens = 0.0, 0
        for name, value in trainer.take_figures().items():
            ledger.figures.setdefault(name, []).append(value)
        figures = self._evaluate(state, control)
        ledger.seconds = self.seconds_before + time.perf_counter() - self.began
        is_last = state.global_step == state.max_steps or ledger.stopped is not None
        if state.global_step % self.logging_steps == 0 or is_last:
            ledger.log.append(
                {
                    "step": state.global_step,
                    "epoch": state.epoch,
                    "loss": math.fsum(ledger.losses) / len(ledger.losses),
                    "learning_rate": self.learning_rate,
                    "grad_norm": trainer.gradient_norm,
                    "tokens": ledger.tokens,
                    **{name: math.fsum(values) / len(values) for name, values in ledger.figures.items()},
                    **figures,
                }
            )
            ledger.losses.clear()
            ledger.figures.clear()
        elif figures:
            ledger.log.append({"step": state.global_step, "epoch": state.epoch, "tokens": ledger.tokens, **figures})
        if trainer.listens is not None and ledger.log and ledger.log[-1]["step"] == state.global_step:
            trainer.listens.add(ledger.log[-1])
        self.progress(1)

    def _evaluate(self, state: Any, control: Any) -> dict[str, float]:
        if self.trainer.evaluates is None:
            return {}
        before = time.perf_counter()
        figures = self.trainer.evaluates.after_step(state.global_step, state.max_steps)
        took = time.perf_counter() - before
        self.trainer.ledger.evaluating += took
        self.began += took
        if self.trainer.ledger.stopped is not None:
            control.should_training_stop = True
        return figures

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the checkpoint complete: everything above was only files."""
        processes.meet()
        if not processes.writes():
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
        self.trainer.ledger.save(folder)
        if self.trainer.evaluates is not None:
            self.trainer.evaluates.keep_best(folder)
        seal(folder, {"step": state.global_step, "environment": dict(self.environment)})
        prune_checkpoints(folder.parent)


def shared_arguments(spec: TrainSpec, *, seed: int, output: Path, device: str, compute_dtype: str) -> dict[str, Any]:
    """What every trainer of the library is told alike, written out: its defaults (bfloat16, checkpointing) would harm here."""
    batch_size, accumulation = processes.share(spec)
    return {
        "output_dir": str(output),
        "num_train_epochs": spec.epochs,
        "max_steps": spec.max_steps or -1,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": spec.learning_rate,
        "lr_scheduler_type": spec.scheduler,
        "warmup_steps": spec.warmup,
        "optim": spec.optimizer,
        "max_grad_norm": spec.max_grad_norm,
        "weight_decay": spec.weight_decay,
        "seed": spec.seed if spec.seed is not None else seed,
        "use_cpu": device == "cpu",
        "bf16": compute_dtype == "bfloat16",
        "fp16": compute_dtype == "float16",
        # Memory for time: worth it where a GPU holds billions of weights, a loss of a quarter on a CPU.
        "activation_checkpointing": device != "cpu",
        "dataloader_pin_memory": device != "cpu",
        "save_strategy": "steps",
        "save_steps": spec.save_steps,
        "save_total_limit": None,
        "save_on_each_node": True,
        "ddp_find_unused_parameters": False,
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


def run_trainer(
    trainer: Any,
    spec: TrainSpec,
    *,
    resume: Path | None,
    environment: Mapping[str, str],
    progress: Progress,
    notice: Notice,
    listen: Listen | None = None,
) -> None:
    """Take the trainer from its first step, or from a checkpoint, to its last."""
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # in bfloat16, which TRL chooses for adapters of 4-bit bases, small updates vanish
            parameter.data = parameter.data.float()
    if hasattr(trainer.model, "create_or_update_model_card"):  # PEFT's, in every checkpoint: nobody reads it there
        trainer.model.create_or_update_model_card = lambda _: None
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Bookkeeper(trainer, spec.logging_steps, environment=environment, progress=progress))
    if listen is not None:
        trainer.listens = listen(trainer.ledger.log)
    if resume:
        trainer.ledger.resumed.append(step_of(resume))
        notice(f"going on from step {step_of(resume):,}.")
    if trainer.ledger.stopped is None:
        with quiet():
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def free(trainer: Any) -> None:
    """Let go of the model and the optimiser, so that the next training of this process starts from an empty machine."""
    trainer.accelerator.free_memory()
    trainer.model = trainer.model_wrapped = trainer.optimizer = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no deprecations of the libraries' own making; what matters is checked here and raised."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings(
                "ignore", message=".*changes the base weights"
            )  # and is written as one that does not
            warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def stopped_clearly(candidate: str, spec: TrainSpec) -> Iterator[None]:
    """Name the candidate in every TrainingError, and turn the ways in which a machine ends a training into one."""
    try:
        with stopped_by_machine(spec):
            yield
    except TrainingError as error:
        raise TrainingError(f"{candidate}: {error}") from error.__cause__


@contextmanager
def stopped_by_machine(spec: TrainSpec) -> Iterator[None]:
    """Turn a want of memory or disk into TrainingError with the way out."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if _is_out_of_memory(error):
            raise TrainingError(
                f"the training ran out of memory (batch_size {spec.batch_size}, max_length {spec.max_length:,}). "
                "Lower batch_size and raise gradient_accumulation by as much: the result is the same but for rounding."
            ) from error
        if _is_out_of_disk(error):
            raise TrainingError(
                "the disk is full. Free some space and run again: the training goes on from its last complete "
                "checkpoint."
            ) from error
        raise


def _is_out_of_memory(error: BaseException) -> bool:
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(w in str(error) for w in words)


def _is_out_of_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in ("No space left", "PytorchStreamWriter failed"))
