"""What five LoRAs on one loaded base cost, beside one load plus each LoRA's generation on a base of its own.

    python tests/benchmarks/adapters.py [--adapters 5] [--prompts 16] [--new-tokens 24]

The base is random, of 23 million parameters, so that loading is worth something; the adapters are of rank 16 on all
linear layers. Seconds of one thread's CPU, which are wall seconds on a quiet machine. The goal is a ratio below 1.5; the
texts must be equal. Beside it: what the five cost when each loads its own base, and one adapter's generation over the
base's own.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from harness.models.load import ModelRoom
from harness.models.local import LocalGenerator
from harness.records import GenerationSettings, Prompt
from harness.suite.grammar import TransformersModel
from tests.benchmarks.generation import make_prompts
from tests.harness.models.tiny import make_tokenizer

GOAL = 1.5


def make_models(folder: Path, adapters: int) -> None:
    """Writes `base` and `lora0`, `lora1` … with random weights."""
    torch.manual_seed(0)
    make_tokenizer(folder / "base")
    config = LlamaConfig(
        hidden_size=448, intermediate_size=1200, num_hidden_layers=8, num_attention_heads=7, num_key_value_heads=7,
        vocab_size=4096, max_position_embeddings=1024, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    for number in range(adapters):
        lora = LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(base, lora)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.02)
        model.save_pretrained(folder / f"lora{number}")
        base = model.unload()


def timed(work: Callable[[], object]) -> float:
    """CPU seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def texts(generator: LocalGenerator, prompts: list[Prompt], settings: GenerationSettings) -> list[str | None]:
    """Greedy answers in the order of the prompts."""
    found = dict(itertools.chain.from_iterable(generator.generate(prompts, settings)))
    return [found[i].text for i in range(len(prompts))]


def main() -> int:
    """Prints the figures; 0 where the texts are equal and the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    prompts, settings = make_prompts(given.prompts), GenerationSettings(max_new_tokens=given.new_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_models(root, given.adapters)
        base = TransformersModel(kind="transformers", path="base")
        specs = [base.model_copy(update={"adapter": f"lora{number}"}) for number in range(given.adapters)]

        def together() -> list[list[str | None]]:
            room = ModelRoom(root, device="cpu")
            return [texts(room.local_generator(spec), prompts, settings) for spec in specs]

        texts(ModelRoom(root, device="cpu").local_generator(specs[0]), prompts[:1], settings)  # imports, page cache
        said: list[list[str | None]] = []
        shared = timed(lambda: said.extend(together()))
        loads, generations, alone = [], [], []
        for spec in specs:
            generator = ModelRoom(root, device="cpu").local_generator(spec)
            loads.append(timed(lambda one=generator: one.model.using(one.adapter).__enter__()))
            generations.append(timed(lambda one=generator: alone.append(texts(one, prompts, settings))))
        bare = ModelRoom(root, device="cpu").local_generator(base)
        loaded = timed(lambda: bare.model.model)
        plain = timed(lambda: texts(bare, prompts, settings))
    ratio = shared / (loaded + sum(generations))
    print(f"{given.adapters} adapters, {given.prompts} prompts, {given.new_tokens} new tokens, CPU seconds")
    print(f"one load {loaded:.2f} s, generation on a base of its own {sum(generations) / len(generations):.2f} s each")
    print(
        f"all on one base     {shared:8.2f} s   {ratio:.2f} times one load plus the sum of generation (goal < {GOAL})"
    )
    own = sum(loads) + sum(generations)
    print(f"each loads its own  {own:8.2f} s   {own / shared:.2f} times that")
    print(f"an adapter's generation is {sum(generations) / len(generations) / plain:.2f} times the base's")
    print(f"equal texts         {sum(a == b for a, b in zip(said, alone, strict=True))} of {len(specs)} adapters")
    return 0 if ratio < GOAL and said == alone else 1


if __name__ == "__main__":
    sys.exit(main())
