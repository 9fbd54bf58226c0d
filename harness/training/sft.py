"""Supervised fine-tuning of a LoRA, through TRL's SFTTrainer on rows that the audit has tokenised.

Guarantees: the labels are the audit's, none added and none cut; the loss of a step is the mean over its trained
tokens, whatever the batching; the same key gives the same adapter tensors, killed and resumed or not; a NaN or
infinite loss or gradient ends the training with no adapter; the record says what ran (device, dtypes, batching,
versions), not what was asked. Knows no judge and no store. Importing it takes seconds (torch, peft, trl): `recipe`
answers the light questions.
"""

from __future__ import annotations

import errno
import gc
import importlib.util
import json
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PrinterCallback,
    TrainerCallback,
)
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from harness.errors import ModelError, TrainingError, UserError
from harness.models.identity import MODEL_FILES, find_folder
from harness.models.local import LocalModel
from harness.records import Progress, Prompt, Sample, Training
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.attention import PACKED, is_packable
from harness.training.audit import IGNORED, TokenRow, audit_rows
from harness.training.checkpoints import (
    find_training,
    newest_checkpoint,
    prune_checkpoints,
    publish_adapter,
    seal,
    step_of,
    training_lock,
)
from harness.training.recipe import (
    TrainingPlan,
    library_versions,
    needs_bitsandbytes,
    recipe_of,
    training_key,
    training_rows,
    training_steps,
)

LEDGER = "ledger.json"
LOGITS_LIMIT = 2**28
"""Most logits held at once on the CPU (1 GiB in float32); above it TRL's chunked head takes over."""

Notice = Callable[[str], None]
Batching = Literal["packed", "padded"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


# ------------------------------------------------------------------------------------------------------------ the verb


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
    progress: Progress | None = None,
    notice: Notice | None = None,
    batching: Batching | None = None,
) -> Training:
    """Train a LoRA, or go on with one that was interrupted, or return the one that is there.

    Args:
        candidate: the name the training is reported under.
        spec: the recipe, without sweeps.
        base: the model to train on.
        root: the suite's folder, which paths in `base` are relative to.
        samples: the training split; the first reference of each is its answer.
        prompt: what the candidate is asked for a sample: the same builder that inference uses.
        adapters: folder of finished adapters; this one comes to lie in `adapters/<key>`.
        seed: used unless the recipe has its own.
        progress: called with the optimiser steps finished since the last call; after a resume, the earlier ones first.
        notice: called with one line on anything the user should know; left out, such lines are dropped.
        batching: `packed` lays rows end to end, `padded` pads them, for measurements (not in the key). Left out,
            rows are packed where the architecture allows.

    Raises:
        UserError: the recipe, the data or the machine do not allow this training; no step was taken.
        TrainingError: it stopped before its end; checkpoints are kept and the next call goes on from the last.
        ModelError: the base cannot be loaded.
    """
    tell = notice or _drop
    _refuse_unusable(spec, base)
    rows = training_rows(samples, prompt)
    folder = find_folder(base.path, root=root, what="model", files=MODEL_FILES, revision=base.revision)
    template = root / base.chat_template if base.chat_template else None
    bare = LocalModel(folder, name=base.path, chat_template=template)  # of which only hash and tokenizer are used
    key = training_key(spec, base_fingerprint=bare.fingerprint, rows=rows, seed=seed)
    training = find_training(adapters, key)
    partial = adapters / f"{key}.partial"
    if training is None:
        if (adapters / key).exists():
            tell(f"{candidate}: the adapter {key[:12]} is incomplete or was changed; it is trained again.")
        token_rows, audit = audit_rows(
            bare.tokenizer,
            rows,
            max_length=spec.max_length,
            window=_window(folder),
            truncation=spec.truncation,
            batch_size=spec.batch_size,
        )
        plan = plan_training(spec, folder=folder, rows=audit.rows, tokens=audit.tokens)
        with training_lock(partial), _stopped_clearly(candidate, spec):
            ledger, ran = _fit(
                spec,
                seed=seed,
                folder=folder,
                base=base,
                tokenizer=bare.tokenizer,
                rows=token_rows,
                partial=partial,
                batching=batching,
                progress=progress or _drop,
                notice=lambda line: tell(f"{candidate}: {line}"),
            )
            training = Training(
                key=key,
                candidate=candidate,
                base=spec.base,
                base_fingerprint=bare.fingerprint,
                path=str(adapters / key),
                rows=plan.rows,
                steps=plan.steps,
                tokens=ledger.tokens,
                seconds=ledger.seconds,
                trainable_parameters=plan.trainable_parameters,
                total_parameters=plan.total_parameters,
                log=tuple(ledger.log),
                record={
                    "recipe": recipe_of(spec, seed),
                    "audit": audit.as_record(),
                    "ran": ran,
                    "versions": library_versions(spec),
                    "resumed_at_steps": ledger.resumed,
                },
            )
            publish_adapter(partial / "adapter", adapters / key, training)
            shutil.rmtree(partial)
    elif partial.exists():  # killed between the adapter's rename and the end of the tidying
        shutil.rmtree(partial, ignore_errors=True)
    return replace(training, candidate=candidate, base=spec.base)


def plan_training(spec: TrainSpec, *, folder: Path, rows: int, tokens: int | None = None) -> TrainingPlan:
    """What a training of `rows` rows will take, computed on the meta device: no weight is read.

    Args:
        spec: a recipe without sweeps.
        folder: the base model's folder, of which only config.json is read.
        rows: rows that are trained.
        tokens: tokens of one epoch, where they have been counted.

    Raises:
        UserError: the adapter does not fit this architecture.
    """
    trainable, total = count_parameters(AutoConfig.from_pretrained(folder, local_files_only=True), _lora(spec))
    steps = training_steps(
        rows,
        batch_size=spec.batch_size,
        gradient_accumulation=spec.gradient_accumulation,
        epochs=spec.epochs,
        max_steps=spec.max_steps,
    )
    epochs = steps * spec.batch_size * spec.gradient_accumulation / rows if spec.max_steps else spec.epochs
    return TrainingPlan(
        rows=rows,
        steps=steps,
        tokens=None if tokens is None else round(tokens * epochs),
        trainable_parameters=trainable,
        total_parameters=total,
    )


def count_parameters(config: PreTrainedConfig, lora: LoraConfig) -> tuple[int, int]:
    """Trainable parameters, and all of base and adapter together.

    Raises:
        UserError: the target modules are not in this architecture, or hold its output layer.
    """
    with _quiet(), torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config)
        head = next((name for name, module in base.named_modules() if module is base.get_output_embeddings()), None)
        try:
            model = get_peft_model(base, lora)
        except ValueError as error:
            raise UserError(f"'target_modules' must fit the base model: {str(error).splitlines()[0]}") from None
    if head is not None and hasattr(model.get_submodule(f"base_model.model.{head}"), "lora_A"):
        raise UserError(
            f"'target_modules' must leave out the output layer {head!r}: its adapter would not be trained. Take it out."
        )
    trainable, total = model.get_nb_trainable_parameters()
    return int(trainable), int(total)


def resolve_compute_dtype(asked: str) -> str:
    """The dtype training computes in: `auto` is float32 on a CPU, bfloat16 on a GPU that has it.

    Raises:
        UserError: half precision is asked for without a GPU.
    """
    if torch.cuda.is_available():
        if asked == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError("'compute_dtype' must be one this GPU has (got 'bfloat16'). Use float16, float32 or auto.")
        if asked != "auto":
            return asked
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if asked not in ("auto", "float32"):
        raise UserError(
            f"'compute_dtype' must be float32 or auto on a machine without a GPU (got {asked!r}). "
            "Half precision on a CPU is many times slower; leave the option out."
        )
    return "float32"


def _refuse_unusable(spec: TrainSpec, base: TransformersModel) -> None:
    """Raise UserError for what neither the grammar nor the machine's libraries allow."""
    if base.adapter is not None:
        raise UserError(f"'train.base' must be a model without an adapter (got {base.adapter!r} on {spec.base!r}).")
    if _quantization(spec, base) == "int8":
        raise UserError(
            f"'quantization' must be nf4 for a training (got 'int8' from {spec.base!r}). Set train.quantization: nf4."
        )
    if (needs_bitsandbytes(spec) or _quantization(spec, base)) and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "'quantization' and paged optimisers must have bitsandbytes (not installed). "
            "Install it with: pip install 'muster-harness[gpu]'."
        )


def _quantization(spec: TrainSpec, base: TransformersModel) -> str | None:
    return spec.quantization or base.quantization


def _drop(_: object) -> None:
    """The callback of a caller who gave none."""


# ------------------------------------------------------------------------------------------------ a training that runs


@dataclass(kw_only=True)
class Ledger:
    """What a training has counted so far; saved in each checkpoint, so that a resumed log has no gap and no echo."""

    log: list[dict[str, float]] = field(default_factory=list)
    """One entry a logged step, steps strictly rising."""
    losses: list[float] = field(default_factory=list)
    """Loss of each step since the last entry."""
    tokens: int = 0
    seconds: float = 0.0
    resumed: list[int] = field(default_factory=list)
    """Steps at which an interrupted attempt was taken up."""

    def save(self, folder: Path) -> None:
        """Write the ledger into a checkpoint that is not sealed yet."""
        (folder / LEDGER).write_text(json.dumps(asdict(self), allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ledger:
        """The ledger of a sealed checkpoint."""
        return cls(**json.loads((folder / LEDGER).read_text(encoding="utf-8")))


class _Trainer(SFTTrainer):  # type: ignore[misc]  # trl is not typed
    """SFTTrainer that reports nothing to anybody, writes no card, and stops at the first number that is not finite."""

    def __init__(self, *, ledger: Ledger, **options: Any) -> None:
        self.ledger = ledger
        self.step_loss = 0.0
        self.gradient_norm = 0.0
        super().__init__(**options)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum of the trained tokens' negative log-likelihoods, over the trained tokens of the whole step."""
        mask = inputs.get("attention_mask")
        tokens = inputs["input_ids"].numel() if mask is None else int(mask.sum())
        if self._fits_one_head_call(inputs):
            loss = _answer_loss(model, inputs, num_items_in_batch)
        else:
            loss = super().compute_loss(model, inputs, return_outputs=False, num_items_in_batch=num_items_in_batch)
        self._record_loss(loss.item())
        self.ledger.tokens += tokens
        return loss

    def _fits_one_head_call(self, inputs: Mapping[str, Any]) -> bool:
        """On the CPU, TRL projects every position onto the vocabulary, twice; packed rows need only trained ones."""
        if "cu_seq_lens_q" not in inputs or inputs["input_ids"].device.type != "cpu":
            return False
        trained = int((inputs["labels"] != IGNORED).sum())
        return trained * int(self.model.config.get_text_config().vocab_size) <= LOGITS_LIMIT

    def _record_loss(self, loss: float) -> None:
        self.step_loss += loss
        if not math.isfinite(loss):
            self._stop("loss", loss)

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
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

    def create_model_card(self, *arguments: Any, **options: Any) -> None:
        """None: the manifest says what was trained."""

    def _send_telemetry(self) -> None:
        """None."""


def _answer_loss(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
    """Token-mean negative log-likelihood of packed rows, with logits for the trained positions alone."""
    labels = inputs.pop("labels")[0, 1:]
    trained = (labels != IGNORED).nonzero().flatten()
    logits = model(**inputs, use_cache=False, logits_to_keep=trained).logits[0]
    loss = functional.cross_entropy(logits, labels[trained], reduction="sum")
    return loss / (len(trained) if num_items_in_batch is None else num_items_in_batch)


class _Bookkeeper(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps the ledger, tells the progress, and seals each checkpoint."""

    def __init__(
        self, trainer: _Trainer, logging_steps: int, *, environment: Mapping[str, str], progress: Progress
    ) -> None:
        self.trainer = trainer
        self.logging_steps = logging_steps
        self.environment = environment
        self.progress = progress
        self.learning_rate = 0.0
        self.began = time.perf_counter()
        self.seconds_before = trainer.ledger.seconds

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count the steps of earlier attempts."""
        if state.global_step:
            self.progress(state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the learning rate of this step before the schedule moves on."""
        self.learning_rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add the step to the ledger."""
        trainer, ledger = self.trainer, self.trainer.ledger
        ledger.losses.append(trainer.step_loss)
        trainer.step_loss = 0.0
        ledger.seconds = self.seconds_before + time.perf_counter() - self.began
        if state.global_step % self.logging_steps == 0 or state.global_step == state.max_steps:
            ledger.log.append(
                {
                    "step": state.global_step,
                    "epoch": state.epoch,
                    "loss": math.fsum(ledger.losses) / len(ledger.losses),
                    "learning_rate": self.learning_rate,
                    "grad_norm": trainer.gradient_norm,
                    "tokens": ledger.tokens,
                }
            )
            ledger.losses.clear()
        self.progress(1)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Make the checkpoint complete: everything above was only files."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
        self.trainer.ledger.save(folder)
        seal(folder, {"step": state.global_step, "environment": dict(self.environment)})
        prune_checkpoints(folder.parent)


# -------------------------------------------------------------------------------------------------------- the builders


def _fit(
    spec: TrainSpec,
    *,
    seed: int,
    folder: Path,
    base: TransformersModel,
    tokenizer: Any,
    rows: Sequence[TokenRow],
    partial: Path,
    batching: Batching | None,
    progress: Progress,
    notice: Notice,
) -> tuple[Ledger, dict[str, Any]]:
    """Run the training to its end and leave the adapter in `partial/adapter`; what it counted, and what really ran."""
    environment = {"device": _device(), "compute_dtype": resolve_compute_dtype(spec.compute_dtype)}
    checkpoints = partial / "checkpoints"
    resume = newest_checkpoint(checkpoints, environment=environment, notice=notice)
    ledger = Ledger.load(resume) if resume else Ledger()
    model, batching = _load_base(folder, quantization=_quantization(spec, base), batching=batching, **environment)
    arguments = _arguments(spec, seed=seed, output=checkpoints, batching=batching, **environment)
    with _quiet():
        trainer = _Trainer(
            ledger=ledger,
            model=model,
            args=arguments,
            train_dataset=_dataset(rows),
            processing_class=tokenizer,
            peft_config=_lora(spec),
        )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL rounds adapters of quantised bases to bfloat16, where small updates vanish
            parameter.data = parameter.data.float()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Bookkeeper(trainer, spec.logging_steps, environment=environment, progress=progress))
    if resume:
        ledger.resumed.append(step_of(resume))
        notice(f"going on from step {step_of(resume):,}.")
    with _quiet():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    _save_adapter(trainer.model, partial / "adapter", base_name=base.path)
    ran = {
        **environment,
        "weights": _dtypes(trainer.model, trained=False),
        "adapter": _dtypes(trainer.model, trained=True),
        "autocast": bool(arguments.bf16 or arguments.fp16),
        "quantization": _quantization(spec, base),
        "batching": batching,
        "activation_checkpointing": bool(arguments.activation_checkpointing),
        "threads": torch.get_num_threads(),
    }
    del model
    _free(trainer)
    return ledger, ran


def _window(folder: Path) -> int | None:
    """Positions the base was made for, where its configuration says so."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _free(trainer: _Trainer) -> None:
    """Let go of the model and the optimiser, so that the next training of this process starts from an empty machine."""
    trainer.accelerator.free_memory()
    trainer.model = trainer.model_wrapped = trainer.optimizer = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _dataset(rows: Sequence[TokenRow]) -> Dataset:
    return Dataset.from_dict({"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]})


def _lora(spec: TrainSpec) -> LoraConfig:
    assert isinstance(spec.rank, int)
    assert isinstance(spec.alpha, (int, float))
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=spec.target_modules,
        bias=spec.bias,
        task_type="CAUSAL_LM",
    )


def _load_base(
    folder: Path, *, device: str, compute_dtype: str, quantization: str | None, batching: Batching | None
) -> tuple[Any, Batching]:
    """The base model in the compute dtype (or NF4), and how its rows can be batched."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    chosen: Batching = batching or ("packed" if is_packable(config) else "padded")
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=DTYPES[compute_dtype],
    )
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=DTYPES[compute_dtype],
                attn_implementation=PACKED if chosen == "packed" else "sdpa",
                quantization_config=four_bit if quantization == "nf4" else None,
                device_map=None if device == "cpu" else {"": 0},
                use_safetensors=True,
                local_files_only=True,
            )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a checkpoint can be wrong in as many ways as there are architectures
        raise ModelError(f"model '{folder.name}' cannot be loaded ({str(error).strip().splitlines()[0]}).") from None
    return model, chosen


def _arguments(
    spec: TrainSpec, *, seed: int, output: Path, device: str, compute_dtype: str, batching: Batching
) -> SFTConfig:
    """TRL's arguments, written out: its defaults (bfloat16, checkpointing, cutting rows) would harm here."""
    arguments = SFTConfig(
        output_dir=str(output),
        num_train_epochs=spec.epochs,
        max_steps=spec.max_steps or -1,
        per_device_train_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.scheduler,
        warmup_steps=spec.warmup,
        optim=spec.optimizer,
        max_grad_norm=spec.max_grad_norm,
        weight_decay=spec.weight_decay,
        seed=spec.seed if spec.seed is not None else seed,
        use_cpu=device == "cpu",
        bf16=compute_dtype == "bfloat16",
        fp16=compute_dtype == "float16",
        # Memory for time: worth it where a GPU holds billions of weights, a loss of a quarter on a CPU.
        activation_checkpointing=device != "cpu",
        dataloader_pin_memory=device != "cpu",
        max_length=None,
        packing=False,
        padding_free=batching == "packed",
        pad_to_multiple_of=None,
        shuffle_dataset=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        save_strategy="steps",
        save_steps=spec.save_steps,
        save_total_limit=None,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs in one process would mean DataParallel, which TRL refuses
    return arguments


def _save_adapter(model: Any, staged: Path, *, base_name: str) -> None:
    """Write weights and a config that is the same for the same adapter: sorted, and without a path of this machine."""
    shutil.rmtree(staged, ignore_errors=True)
    model.save_pretrained(str(staged), save_embedding_layers=False)
    (staged / "README.md").unlink(missing_ok=True)
    path = staged / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(config["target_modules"], list):
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_name
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _dtypes(model: Any, *, trained: bool) -> str:
    """Names of the dtypes among the trained or the frozen parameters, such as `float32`."""
    names = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad == trained}
    return ", ".join(sorted(names))


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no deprecations of the libraries' own making; what matters is checked here and raised."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _stopped_clearly(candidate: str, spec: TrainSpec) -> Iterator[None]:
    """Turn the ways in which a machine ends a training into TrainingError with the way out."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{candidate}: {error}") from None
    except (MemoryError, RuntimeError, OSError) as error:
        if _is_out_of_memory(error):
            raise TrainingError(
                f"{candidate}: the training ran out of memory (batch_size {spec.batch_size}, max_length "
                f"{spec.max_length:,}). Lower batch_size and raise gradient_accumulation by as much: the result "
                "is the same but for rounding."
            ) from error
        if _is_out_of_disk(error):
            raise TrainingError(
                f"{candidate}: the disk is full. Free some space and run again: the training goes on from its last "
                "complete checkpoint."
            ) from error
        raise


def _is_out_of_memory(error: BaseException) -> bool:
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(w in str(error) for w in words)


def _is_out_of_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in ("No space left", "PytorchStreamWriter failed"))
