"""Supervised fine-tuning and continued pre-training, through TRL's SFTTrainer, on rows that the audit has tokenised.

Guarantees: the labels are the audit's, none added and none cut; the loss of a step is the mean over its trained
tokens, whatever the batching; the same key gives the same tensors, killed and resumed or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from torch.nn import functional
from transformers import AutoConfig, BitsAndBytesConfig, set_seed
from trl import SFTConfig, SFTTrainer

from harness.errors import ModelError
from harness.records import Progress
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import processes
from harness.training.adaptation import attach_lora, choose_weights, dtypes_of, lora_config, save_initial
from harness.training.attention import PACKED, is_packable
from harness.training.audit import IGNORED, TokenRow
from harness.training.checkpoints import newest_checkpoint
from harness.training.loop import Ledger, Listen, Notice, Watched, free, quiet, shared_arguments
from harness.training.planning import DTYPES, auto_class, device_of_machine, quantization_of, resolve_compute_dtype
from harness.training.selection import Validation
from harness.training.seq2seq import PairCollator, PairTrainer
from harness.training.validating import train

LOGITS_LIMIT = 2**28
"""Most logits held at once on the CPU (1 GiB in float32); above it TRL's chunked head takes over."""

Batching = Literal["packed", "padded"]


def fit_supervised(
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
    validation: Validation | None = None,
    validation_rows: Sequence[TokenRow] = (),
    listen: Listen | None = None,
) -> tuple[Ledger, dict[str, Any]]:
    """Run the training to its end and leave what it made in `partial/trained`; what it counted, and what really ran.

    With `validation` its checkpoints are evaluated, and the best is left where the recipe selects. `listen` opens a listener
    for the log, given what is in it already.
    """
    environment = {"device": device_of_machine(), "compute_dtype": resolve_compute_dtype(spec.compute_dtype)}
    processes.join(environment["device"])
    checkpoints = partial / "checkpoints"
    resume = processes.agreed_checkpoint(
        checkpoints, lambda: newest_checkpoint(checkpoints, environment=environment, notice=notice)
    )
    ledger = Ledger.load(resume) if resume else Ledger()
    model, batching = load_base(folder, quantization=quantization_of(spec, base), batching=batching, **environment)
    untied = spec.method != "lora" and choose_weights(model, spec)
    arguments = _arguments(spec, seed=seed, output=checkpoints, batching=batching, **environment)
    with quiet():
        trainer = _trainer(spec, ledger=ledger, model=model, args=arguments, rows=rows, tokenizer=tokenizer)
    save_initial(trainer.model, partial, spec)
    evaluated = train(
        trainer, spec, validation=validation, rows=validation_rows, trained_rows=len(rows), tokenizer=tokenizer, folder=folder,
        base_name=base.path, partial=partial, resume=resume, environment=environment, progress=progress, notice=notice,
        listen=listen,
    )  # fmt: skip
    ran = {
        **environment,
        "trained": dtypes_of(trainer.model, trained=True),
        "frozen": dtypes_of(trainer.model, trained=False),
        "untied": untied,
        "autocast": bool(arguments.bf16 or arguments.fp16),
        "quantization": quantization_of(spec, base),
        "batching": batching,
        "activation_checkpointing": bool(arguments.activation_checkpointing),
        "threads": torch.get_num_threads(),
        "processes": processes.world(),
    }
    del model
    free(trainer)
    return ledger, {"ran": ran, **evaluated}


def _trainer(
    spec: TrainSpec, *, ledger: Ledger, model: Any, args: SFTConfig, rows: Sequence[TokenRow], tokenizer: Any
) -> Any:
    """TRL's trainer, or transformers' own for a model with an encoder and a decoder."""
    lora = lora_config(spec, model) if spec.method == "lora" else None
    given = {"ledger": ledger, "args": args, "train_dataset": _dataset(rows), "processing_class": tokenizer}
    if not model.config.is_encoder_decoder:
        return SupervisedTrainer(model=model, peft_config=lora, **given)
    set_seed(args.seed)  # as TRL does, before the adapter's first weights are drawn
    collator = PairCollator(tokenizer, model)
    return PairTrainer(model=attach_lora(model, lora) if lora else model, data_collator=collator, **given)


class SupervisedTrainer(Watched, SFTTrainer):  # type: ignore[misc]  # trl is not typed
    """SFTTrainer whose loss looks at the trained tokens alone."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum of the trained tokens' negative log-likelihoods, over the trained tokens of the whole step."""
        tokens = _tokens(inputs)
        loss = self.token_loss(model, inputs, num_items_in_batch)
        self.record_loss(loss.item() / processes.world(), tokens)
        return loss

    def token_loss(self, model: Any, inputs: dict[str, Any], items: Any) -> torch.Tensor:
        """The sum of the trained tokens' negative log-likelihoods over `items`; nothing is counted.

        Of several processes it is as many times as large: DDP takes the mean of gradients that should be summed.
        """
        if self._fits_one_head_call(inputs):
            return _answer_loss(model, inputs, items) * processes.world()
        loss: torch.Tensor = super().compute_loss(model, inputs, return_outputs=False, num_items_in_batch=items)
        return loss

    def _fits_one_head_call(self, inputs: Mapping[str, Any]) -> bool:
        """On the CPU, TRL projects every position onto the vocabulary, twice; packed rows need only trained ones."""
        if "cu_seq_lens_q" not in inputs or inputs["input_ids"].device.type != "cpu":
            return False
        trained = max(processes.everywhere(int((inputs["labels"] != IGNORED).sum())))
        return trained * int(self.model.config.get_text_config().vocab_size) <= LOGITS_LIMIT


def _answer_loss(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
    """Token-mean negative log-likelihood of packed rows, with logits for the trained positions alone."""
    labels = inputs.pop("labels")[0, 1:]
    trained = (labels != IGNORED).nonzero().flatten()
    logits = model(**inputs, use_cache=False, logits_to_keep=trained).logits[0]
    loss = functional.cross_entropy(logits, labels[trained], reduction="sum")
    return loss / (len(trained) if num_items_in_batch is None else num_items_in_batch)


def _tokens(inputs: Mapping[str, Any]) -> int:
    """Tokens fed, without padding and without rows of one token, which fill up what several processes take."""
    mask = inputs.get("attention_mask")
    if mask is not None:
        lengths = mask.sum(dim=1)
    elif "cu_seq_lens_q" in inputs:
        lengths = inputs["cu_seq_lens_q"].diff()
    else:
        return int(inputs["input_ids"].numel())
    return int(lengths[lengths > (processes.world() > 1)].sum())


def _dataset(rows: Sequence[TokenRow]) -> Dataset:
    """The rows; where several processes train, one more that has no trained token."""
    filling = [TokenRow(row=0, input_ids=rows[0].input_ids[:1], labels=(IGNORED,))] if processes.world() > 1 else []
    taken = [*rows, *filling]
    return Dataset.from_dict({"input_ids": [row.input_ids for row in taken], "labels": [row.labels for row in taken]})


def load_base(
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
        with quiet():
            model = auto_class(config).from_pretrained(
                folder,
                dtype=DTYPES[compute_dtype],
                attn_implementation=PACKED if chosen == "packed" else "sdpa",
                quantization_config=four_bit if quantization == "nf4" else None,
                device_map=None if device == "cpu" else {"": processes.local_rank()},
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
    """TRL's arguments, written out: its defaults (cutting rows) would harm here."""
    arguments = SFTConfig(
        **shared_arguments(spec, seed=seed, output=output, device=device, compute_dtype=compute_dtype),
        max_length=None,
        packing=False,
        padding_free=batching == "packed",
        pad_to_multiple_of=None,
        shuffle_dataset=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs in one process would mean DataParallel, which TRL refuses
    return arguments
