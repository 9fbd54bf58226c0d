"""Measures batched generation and choice scoring against transformers' own `generate` at batch size 1.

    python tests/benchmarks/generation.py [--model embedded:clinic-base] [--prompts 64] [--new-tokens 64]

Without --model a random Llama of the embedded base's size (5.9M parameters) is made. Texts must be equal, or it exits with 1.
Figures are CPU seconds, so that a busy machine does not spoil the ratio.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from harness.models import rendering
from harness.models.embedded import resolve
from harness.models.local import LocalModel
from harness.records import GenerationSettings, Message, Prompt
from tests.harness.models.tiny import WORDS, make_tokenizer

GOAL = 5.0
FORM = "rate the answer from 1 to 5 as a careful doctor would and write the score alone " * 12


def make_base(folder: Path) -> Path:
    """A random model of the embedded base's size; its logits say EOS about once in 60 tokens."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=4,
        vocab_size=4096, max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=[2, *range(len(AutoTokenizer.from_pretrained(folder)), 450)], pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_prompts(count: int) -> list[Prompt]:
    """Questions of 20 to 120 words."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(20, 120))) for _ in range(count)]
    return [Prompt(sample_id=str(i), messages=(Message(role="user", content=text),)) for i, text in enumerate(texts)]


def generate_one_by_one(local: LocalModel, prompts: list[Prompt], limit: int) -> list[str]:
    """What transformers says, one prompt at a time."""
    texts = []
    for prompt in prompts:
        ids = rendering.prompt_tokens(local.tokenizer, prompt.messages)
        out = local.model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=list(local.stop_ids),
            pad_token_id=0,
        )
        new = [token for token in out[0, len(ids) :].tolist() if token not in local.stop_ids]
        texts.append(rendering.decode(local.tokenizer, new))
    return texts


def main() -> int:
    """Prints the figures; 0 where texts are equal and the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        local = LocalModel(resolve(given.model) if given.model else make_base(Path(scratch)), device="cpu")
        return measure(local, make_prompts(given.prompts), given.new_tokens)


def measure(local: LocalModel, prompts: list[Prompt], limit: int) -> int:
    """Runs both ways and the choice scorer."""
    settings = GenerationSettings(max_new_tokens=limit)
    list(local.generator().generate(prompts[:2], settings))  # loads and warms up
    started = time.process_time()
    found = dict(itertools.chain.from_iterable(local.generator().generate(prompts, settings)))
    batched = time.process_time() - started
    started = time.process_time()
    expected = generate_one_by_one(local, prompts, limit)
    single = time.process_time() - started
    same = sum(found[i].text == text for i, text in enumerate(expected))
    tokens = sum(completion.completion_tokens or 0 for completion in found.values())
    print(f"{len(prompts)} prompts, {tokens:,} new tokens, {torch.get_num_threads()} threads, CPU seconds")
    print(f"generate, batch 1   {single:8.2f} s {tokens / single:8.0f} tokens/s")
    print(
        f"batched             {batched:8.2f} s {tokens / batched:8.0f} tokens/s   {single / batched:.1f} times as fast"
    )
    print(f"same text           {same} of {len(prompts)}")
    forms = [(Message(role="user", content=FORM + prompt.messages[0].content),) for prompt in prompts]
    lengths = [len(rendering.prompt_tokens(local.tokenizer, form)) for form in forms]
    started = time.process_time()
    local.choice_scorer().log_likelihoods(forms, ["1", "2", "3", "4", "5"])
    seconds = time.process_time() - started
    mean = sum(lengths) / len(forms)
    print(f"choices             {seconds:8.2f} s {len(forms) / seconds:8.1f} prompts/s   of {mean:.0f} tokens")
    return 0 if same == len(prompts) and single / batched >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
