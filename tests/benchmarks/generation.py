"""Measures batched generation and choice scoring against transformers' own `generate`, at batch size 1 and in batches.

    python tests/benchmarks/generation.py [--model embedded:clinic-base] [--prompts 64] [--new-tokens 64]

First answers of one length limit, one by one and batched. Then answers of mixed length (each row ends after a number of
tokens of its own, from 8 to --mixed, most of them short): muster's decoder, from whose batch a finished row leaves;
`generate` on left-padded batches sorted by length, where it is computed to the batch's end; and the continuous batching
behind `generate_batch`, which fills its place. After that an ordinary forward must be what it was before, bit by bit.

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
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, StoppingCriteria

from harness.models import decoding, rendering
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


def mixed_rows(local: LocalModel, prompts: list[Prompt], longest: int) -> list[decoding.Row]:
    """Each prompt with a length of its own: 8 to `longest` tokens, log-uniform."""
    rng = random.Random(1)
    limits = [round(8 * (longest / 8) ** rng.random()) for _ in prompts]
    ids = [rendering.prompt_tokens(local.tokenizer, prompt.messages) for prompt in prompts]
    return [decoding.Row(ids=row, limit=limit) for row, limit in zip(ids, limits, strict=True)]


def decode_mixed(local: LocalModel, rows: list[decoding.Row]) -> list[list[int]]:
    """As LocalGenerator does."""
    found: dict[int, list[int]] = {}
    for batch in local.batches([len(row.ids) for row in rows]):
        decoded = decoding.decode(local.model, [rows[i] for i in batch], stop_ids=[])
        found |= {i: one.ids for i, one in zip(batch, decoded, strict=True)}
    return [found[i] for i in range(len(rows))]


class OwnLimits(StoppingCriteria):
    """Ends each row at its own length: `generate` pads it from there to the end of the batch."""

    def __init__(self, limits: list[int]) -> None:
        self.limits = torch.tensor(limits)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Shape [rows]: who is done."""
        return input_ids.shape[1] >= self.limits


def generate_padded(local: LocalModel, rows: list[decoding.Row]) -> list[list[int]]:
    """What transformers makes of the same batches, padded on the left."""
    found: dict[int, list[int]] = {}
    for batch in local.batches([len(row.ids) for row in rows]):
        width = max(len(rows[i].ids) for i in batch)
        limits = [rows[i].limit for i in batch]
        out = local.model.generate(
            input_ids=torch.tensor([[0] * (width - len(rows[i].ids)) + list(rows[i].ids) for i in batch]),
            attention_mask=torch.tensor([[0] * (width - len(rows[i].ids)) + [1] * len(rows[i].ids) for i in batch]),
            max_new_tokens=max(limits), do_sample=False, eos_token_id=-1, pad_token_id=0,
            stopping_criteria=[OwnLimits([width + limit for limit in limits])],
        )  # fmt: skip
        found |= {i: out[place, width : width + rows[i].limit].tolist() for place, i in enumerate(batch)}
    return [found[i] for i in range(len(rows))]


def generate_continuously(local: LocalModel, rows: list[decoding.Row]) -> list[list[int]]:
    """What transformers makes of them with continuous batching: the engine of `generate_batch`, a limit a request."""
    decoding_config = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=1)
    blocks = sum(-(-(len(row.ids) + row.limit) // 32) for row in rows)
    engine = ContinuousBatchingConfig(page_size=32, num_blocks=blocks, max_batch_tokens=512)
    found: dict[int, list[int]] = {}
    with local.model.continuous_batching_context_manager(
        generation_config=decoding_config, continuous_batching_config=engine, block=True
    ) as manager:
        for number, row in enumerate(rows):
            manager.add_request(list(row.ids), request_id=str(number), max_new_tokens=row.limit, eos_token_id=-1)
        while len(found) < len(rows):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                found[int(result.request_id)] = list(result.generated_tokens)
    return [found[i] for i in range(len(rows))]


def measure_mixed(local: LocalModel, prompts: list[Prompt], longest: int) -> bool:
    """Prints the three ways beside each other; whether ours is the fastest, all ids are equal, and forwards stay."""
    rows = mixed_rows(local, prompts, longest)
    tokens = sum(row.limit for row in rows)
    probe = torch.tensor([list(rows[0].ids)])
    with torch.inference_mode():
        before = local.model(probe).logits
    ways = {"muster": decode_mixed, "generate, padded": generate_padded, "continuous batching": generate_continuously}
    print(f"{len(rows)} answers of 8 to {longest} tokens (median {sorted(r.limit for r in rows)[len(rows) // 2]})")
    spent: dict[str, float] = {}
    said: dict[str, list[list[int]]] = {}
    for name, way in ways.items():
        started = time.process_time()
        said[name] = way(local, rows)
        spent[name] = time.process_time() - started
        same = sum(a == b for a, b in zip(said[name], said["muster"], strict=True))
        ratio = spent[name] / spent["muster"]
        print(
            f"{name:<19} {spent[name]:8.2f} s {tokens / spent[name]:8.0f} tokens/s   {ratio:.2f} times muster's time, "
            f"{same} of {len(rows)} equal"
        )
    with torch.inference_mode():
        unchanged = torch.equal(local.model(probe).logits, before)
    print(f"forward afterwards  {'unchanged' if unchanged else 'CHANGED'}")
    return unchanged and len(set(map(str, said.values()))) == 1 and min(spent, key=spent.__getitem__) == "muster"


def main() -> int:
    """Prints the figures; 0 where texts are equal and the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--mixed", type=int, default=160, help="the longest of the answers of mixed length")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        local = LocalModel(resolve(given.model) if given.model else make_base(Path(scratch)), device="cpu")
        prompts = make_prompts(given.prompts)
        status = measure(local, prompts, given.new_tokens)
        return status if measure_mixed(local, prompts, given.mixed) else 1


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
