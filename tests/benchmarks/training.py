"""How fast does muster train, beside a plain SFTTrainer script and beside a bare PyTorch loop?

    python -m tests.benchmarks.training [--rows 192] [--batch-size 4] [--rounds 3]
    python -m tests.benchmarks.training --card [--rows 256] [--batch-size 8]

The first trains the same LoRA three ways on the same random base (hidden 256, 6 layers, vocabulary 4,096) and the same
tokenised rows, in float32 on one thread, batches of the same rows in the same order. The plain script pads, with
activation checkpointing and bfloat16 off, which TRL would have on. The bare loop gets the very batches of muster, laid
end to end, and does with them what must be done: forward, loss of the trained tokens, backward, clip, step. Printed:
tokens a second (real tokens, without padding; CPU seconds, so that other processes disturb little; the median of the
rounds), the ratios, and the mean losses, which must agree.

The second needs a GPU: a random Llama of 7B parameters, LoRA of rank 64, in bfloat16 and in NF4, by muster and by the
plain script. Printed: rows and tokens a second of wall time, peak memory, and the share of the card's own measured rate
of multiplying matrices (4 operations a parameter and token: forward, and backward to the activations; what activation
checkpointing computes twice is not counted).
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from harness.records import Message, Prompt, Sample
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import training_rows
from harness.training.attention import PACKED
from harness.training.audit import IGNORED, Audit, TokenRow, audit_rows
from harness.training.trainer import train

SYLLABLES = [a + b for a in "bcdfgklmnprst" for b in "aeiou"]
SMALL = {
    "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 4096, "tie_word_embeddings": True,
}  # fmt: skip
LLAMA_7B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip

Precision = Literal["bf16", "nf4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one training of the card's part took."""

    who: str
    precision: Precision
    rows_per_second: float
    tokens_per_second: float
    peak_gib: float | None
    """Most memory that the card held at once; None without one."""
    share: float
    """Of the measured rate of multiplying matrices."""
    loss: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--card", action="store_true", help="the 7B part, on a GPU")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        if options.card and not torch.cuda.is_available():
            print("there is no GPU here: the 7B part is skipped")
        elif options.card:
            show_card(measure_card(Path(name), LLAMA_7B, rows=options.rows or 256, batch_size=options.batch_size or 8))
        else:
            torch.set_num_threads(1)
            compare(Path(name), rows=options.rows or 192, batch_size=options.batch_size or 4, rounds=options.rounds)


def compare(folder: Path, *, rows: int, batch_size: int, rounds: int) -> None:
    """The first part: three ways on a CPU."""
    tokenizer, samples, token_rows, audit = prepare(folder, SMALL, rows, batch_size)
    print(
        f"{audit.rows} rows of {audit.shortest} to {audit.longest} tokens (mean {audit.mean:.0f}), "
        f"{audit.trained_tokens / audit.tokens:.0%} of them trained, padding {audit.padding_share:.0%}, batch {batch_size}"
    )
    rates: dict[str, list[float]] = {"plain SFTTrainer": [], "bare loop": [], "muster": []}
    losses = {}
    for turn in range(rounds):
        for who, (seconds, losses[who]) in (
            ("plain SFTTrainer", plain(folder, tokenizer, token_rows, batch_size, clock=time.process_time)),
            ("bare loop", bare(folder, token_rows, batch_size)),
            ("muster", ours(folder, samples, batch_size, f"{turn}", clock=time.process_time)),
        ):
            rates[who].append(audit.tokens / seconds)
    for who, rate in rates.items():
        spread = f"{min(rate):,.0f} to {max(rate):,.0f}"
        print(f"{who:18} {median(rate):8,.0f} tokens/s ({spread}), mean loss {losses[who]:.6f}")
    for who in ("plain SFTTrainer", "bare loop"):
        ratios = [ours / theirs for ours, theirs in zip(rates["muster"], rates[who], strict=True)]
        print(f"muster / {who}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} by round)")


def measure_card(folder: Path, shape: dict[str, Any], *, rows: int, batch_size: int) -> list[Figures]:
    """The second part: muster and the plain script in both precisions, and a share of what the device can do."""
    tokenizer, samples, token_rows, audit = prepare(folder, shape, rows, batch_size)
    parameters = sum(tensor.numel() for tensor in meta_model(shape).parameters())
    rate = matrix_rate()
    figures = []
    for precision in ("bf16", "nf4"):
        for who in ("plain SFTTrainer", "muster"):
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            if who == "muster":
                seconds, loss = ours(folder, samples, batch_size, precision, rank=64, precision=precision)
            else:
                seconds, loss = plain(folder, tokenizer, token_rows, batch_size, rank=64, precision=precision)
            gc.collect()
            peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
            figures.append(
                Figures(
                    who=who,
                    precision=precision,
                    rows_per_second=audit.rows / seconds,
                    tokens_per_second=audit.tokens / seconds,
                    peak_gib=peak,
                    share=4 * parameters * audit.tokens / seconds / rate,
                    loss=loss,
                )
            )
    return figures


def show_card(figures: list[Figures]) -> None:
    """A line a training."""
    for one in figures:
        memory = "" if one.peak_gib is None else f", peak {one.peak_gib:.1f} GiB"
        print(
            f"{one.who:18} {one.precision}: {one.rows_per_second:6.1f} rows/s, {one.tokens_per_second:9,.0f} tokens/s"
            f"{memory}, {one.share:.0%} of the matrix rate, mean loss {one.loss:.4f}"
        )


def matrix_rate() -> float:
    """Floating point operations a second of the best of five large matrix products, in the dtype that is trained in."""
    size, dtype = (8192, torch.bfloat16) if torch.cuda.is_available() else (512, torch.float32)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    one = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        one @ one
        wait()
        seconds.append(time.perf_counter() - began)
    return float(2 * size**3 / min(seconds[1:]))


def wait() -> None:
    """Until the card has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def meta_model(shape: dict[str, Any]) -> Any:
    """The model without its weights."""
    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**shape))


def words(rng: random.Random, count: int) -> str:
    """That many invented words."""
    return " ".join("".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4))) for _ in range(count))


def prepare(
    folder: Path, shape: dict[str, Any], rows: int, batch_size: int
) -> tuple[Any, list[Sample], list[TokenRow], Audit]:
    """Base, samples, and the samples as the audit tokenises them."""
    tokenizer = make_base(folder / "base", shape)
    samples = make_samples(rows)
    token_rows, audit = audit_rows(tokenizer, training_rows(samples, ask), max_length=1024, batch_size=batch_size)
    return tokenizer, samples, token_rows, audit


def make_base(folder: Path, shape: dict[str, Any]) -> Any:
    """A random Llama of this shape with its own BPE, saved to `folder`; the tokenizer."""
    rng = random.Random(0)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((words(rng, 100) for _ in range(400)), trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    set_seed(0)
    config = LlamaConfig(**shape, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    if torch.cuda.is_available():
        with torch.device("cuda"):
            model = LlamaForCausalLM(config).to(torch.bfloat16)
    else:
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return tokenizer


def make_samples(count: int) -> list[Sample]:
    """Questions and answers whose lengths spread as patients' and doctors' do: a few are three times the median."""
    rng = random.Random(1)

    def length() -> int:
        return min(int(rng.lognormvariate(3.4, 0.5)), 150)

    return [
        Sample(id=str(row), split="train", row=row, input=words(rng, length()), references=(words(rng, length()),))
        for row in range(1, count + 1)
    ]


def ask(sample: Sample) -> Prompt:
    """The prompt of a sample."""
    return Prompt(sample_id=sample.id, messages=(Message(role="user", content=sample.input),))


def plain(
    folder: Path,
    tokenizer: Any,
    rows: list[TokenRow],
    batch_size: int,
    *,
    rank: int = 16,
    precision: Precision = "bf16",
    clock: Any = time.perf_counter,
) -> tuple[float, float]:
    """A script as one would write it; seconds of its steps and its mean loss. `precision` counts on a GPU only."""
    card = torch.cuda.is_available()
    dtype = torch.bfloat16 if card else torch.float32
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            folder / "base", dtype=dtype, quantization_config=four_bit if precision == "nf4" else None,
            device_map={"": 0} if card else None,
        ),
        args=SFTConfig(
            output_dir=str(folder / "plain"),
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            max_length=None,
            seed=1,
            use_cpu=not card,
            bf16=card,
            activation_checkpointing=card,
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            disable_tqdm=True,
            log_level="error",
        ),
        train_dataset=Dataset.from_dict(
            {"input_ids": [list(row.input_ids) for row in rows], "labels": [list(row.labels) for row in rows]}
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=rank, lora_alpha=16, task_type="CAUSAL_LM"),
    )  # fmt: skip
    began = clock()
    loss = trainer.train().training_loss
    wait()
    seconds = clock() - began
    trainer.accelerator.free_memory()
    return seconds, float(loss)


def bare(folder: Path, rows: list[TokenRow], batch_size: int) -> tuple[float, float]:
    """What must be done, on the batches of muster; CPU seconds and mean loss."""
    config = AutoConfig.from_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base", config=config, attn_implementation=PACKED)
    set_seed(1)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=16, task_type="CAUSAL_LM")).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0)
    losses = []
    began = time.process_time()
    for ids, positions, bounds, places, labels in packed_batches(rows, batch_size):
        logits = model(
            input_ids=ids, position_ids=positions, cu_seq_lens_q=bounds, use_cache=False, logits_to_keep=places
        ).logits[0]
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return time.process_time() - began, sum(losses) / len(losses)


def packed_batches(rows: list[TokenRow], batch_size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """Rows end to end in the order that the trainer takes them: ids, positions, bounds, places that predict, labels there."""
    order = list(SeedableRandomSampler(range(len(rows)), data_seed=1))
    for start in range(0, len(order), batch_size):
        batch = [rows[index] for index in order[start : start + batch_size]]
        lengths = torch.tensor([len(row.input_ids) for row in batch])
        labels = torch.tensor([label for row in batch for label in (IGNORED, *row.labels[1:])])[1:]
        places = (labels != IGNORED).nonzero().flatten()
        yield (
            torch.tensor([[i for row in batch for i in row.input_ids]]),
            torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
            functional.pad(lengths.cumsum(0), (1, 0)),
            places,
            labels[places],
        )


def ours(
    folder: Path,
    samples: list[Sample],
    batch_size: int,
    turn: str,
    *,
    rank: int = 16,
    precision: Precision = "bf16",
    clock: Any = time.perf_counter,
) -> tuple[float, float]:
    """The same through `harness.training`; seconds of its steps (all but the first, scaled) and its mean loss."""
    marks: list[float] = []

    def mark(steps: int) -> None:
        wait()
        marks.append(clock())

    adapters = folder / f"adapters-{turn}"
    training = train(
        "lora",
        TrainSpec(
            base="base", rank=rank, alpha=16, learning_rate=2e-4, batch_size=batch_size, logging_steps=1,
            quantization="nf4" if precision == "nf4" else None,
        ),
        base=TransformersModel(kind="transformers", path="base"),
        root=folder,
        samples=samples,
        prompt=ask,
        adapters=adapters,
        seed=1,
        progress=mark,
    )  # fmt: skip
    shutil.rmtree(adapters)
    per_step = (marks[-1] - marks[0]) / (len(marks) - 1)
    return per_step * training.steps, sum(entry["loss"] for entry in training.log) / len(training.log)


if __name__ == "__main__":
    main()
