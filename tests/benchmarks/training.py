"""How fast does muster train, beside a plain SFTTrainer script on the same rows?

    python tests/benchmarks/training.py [--rows 192] [--batch-size 4] [--rounds 3]

Both train the same LoRA on the same random base (hidden 256, 6 layers, vocabulary 4,096) and the same tokenised rows,
in float32 on one thread, batches in the same order; the plain script pads, with activation checkpointing and bfloat16
off, which TRL would have on. Printed: tokens a second (real tokens, without padding; CPU seconds, so that other
processes disturb little; the median of the rounds), the ratio, and both mean losses, which must agree.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from harness.records import Message, Prompt, Sample
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training import training_rows
from harness.training.audit import TokenRow, audit_rows
from harness.training.trainer import train

SYLLABLES = [a + b for a in "bcdfgklmnprst" for b in "aeiou"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = make_base(folder / "base")
        samples = make_samples(options.rows)
        rows, audit = audit_rows(tokenizer, training_rows(samples, ask), max_length=1024, batch_size=options.batch_size)
        print(
            f"{audit.rows} rows of {audit.shortest} to {audit.longest} tokens (mean {audit.mean:.0f}), "
            f"{audit.trained_tokens / audit.tokens:.0%} of them trained, padding {audit.padding_share:.0%}, "
            f"batch {options.batch_size}"
        )
        rates: dict[str, list[float]] = {"plain SFTTrainer": [], "muster": []}
        losses = {}
        for turn in range(options.rounds):
            seconds, losses["plain SFTTrainer"] = plain(folder, tokenizer, rows, options.batch_size)
            rates["plain SFTTrainer"].append(audit.tokens / seconds)
            seconds, losses["muster"] = ours(folder, samples, options.batch_size, turn)
            rates["muster"].append(audit.tokens / seconds)
    for who, rate in rates.items():
        spread = f"{min(rate):,.0f} to {max(rate):,.0f}"
        print(f"{who:18} {median(rate):8,.0f} tokens/s ({spread}), mean loss {losses[who]:.6f}")
    print(f"ratio {median(rates['muster']) / median(rates['plain SFTTrainer']):.2f}")


def words(rng: random.Random, count: int) -> str:
    """That many invented words."""
    return " ".join("".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4))) for _ in range(count))


def make_base(folder: Path) -> Any:
    """A random Llama with its own BPE, saved to `folder`; the tokenizer."""
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
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
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


def plain(folder: Path, tokenizer: Any, rows: list[TokenRow], batch_size: int) -> tuple[float, float]:
    """A script as one would write it; CPU seconds of its steps and its mean loss."""
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32),
        args=SFTConfig(
            output_dir=str(folder / "plain"),
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            max_length=None,
            seed=1,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
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
        peft_config=LoraConfig(r=16, lora_alpha=16, task_type="CAUSAL_LM"),
    )
    began = time.process_time()
    loss = trainer.train().training_loss
    return time.process_time() - began, float(loss)


def ours(folder: Path, samples: list[Sample], batch_size: int, turn: int) -> tuple[float, float]:
    """The same through `harness.training`; CPU seconds of its steps (all but the first, scaled) and its mean loss."""
    marks: list[float] = []
    training = train(
        "lora",
        TrainSpec(base="base", rank=16, alpha=16, learning_rate=2e-4, batch_size=batch_size, logging_steps=1),
        base=TransformersModel(kind="transformers", path="base"),
        root=folder,
        samples=samples,
        prompt=ask,
        adapters=folder / f"adapters{turn}",
        seed=1,
        progress=lambda steps: marks.append(time.process_time()),
    )
    per_step = (marks[-1] - marks[0]) / (len(marks) - 1)
    return per_step * training.steps, sum(entry["loss"] for entry in training.log) / len(training.log)


if __name__ == "__main__":
    main()
