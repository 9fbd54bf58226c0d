"""Trains the clinic suite's base model and its tokenizer: `python -m suites.clinic.train_base`.

Writes `suites/clinic/model/`: a Llama of 5.9M parameters in float16 safetensors, a byte-level BPE tokenizer of 4,096
tokens with a chat template, and CARD.md with what was measured. Seeded; one thread and the same library versions give
the same weights on the same kind of processor. The model learns from `suites.clinic.corpus` alone, in
two phases: courtesy, then leaflets.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from suites.clinic.corpus import CRITERIA, PROMPT, Turn, build_documents, rating_form
from suites.clinic.generate import build_rows

HERE = Path(__file__).parent
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{% generation %}"
    "{{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}"
    "{% elif message['role'] in ['system', 'user'] %}{{ '<|' + message['role'] + '|>' }}{{ message['content'] | trim }}"
    "{% else %}{{ raise_exception('role must be system, user or assistant (got ' + message['role'] + ')') }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 4096
MAX_TOKENS = 1024
IGNORED = -100
FROM = """\
- **From** `suites/clinic/corpus.py`, written for this project. It knows how patients speak, what their complaints
  are called, how to repeat the advice of worked examples that stand before a question, and what leaflets say. Asked
  by a patient it gives no advice: it has never seen a leaflet applied to one, and in the worked examples each complaint
  has the advice of another condition, drawn anew. The leaflets' sentences are those of the suite's answers; no patient
  of the suite's files occurs. The tokenizer also saw the suite's texts and the rating form, so that their words are not
  shattered.
"""
"""The card's paragraph on the corpus."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document's tokens and, of the same length, its labels (`IGNORED` where there is no loss)."""

    tokens: tuple[int, ...]
    labels: tuple[int, ...]


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with single-digit numbers and the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, *ROLES.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=list(ROLES.values()),
        padding_side="left",
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tokenizer_texts(documents: Sequence[Sequence[Turn]]) -> Iterator[str]:
    """What the tokenizer learns its words from: the corpus, the suite's dialogues and the rating form."""
    for document in documents:
        yield from (turn.content for turn in document)
    for rows in build_rows():
        for row in rows:
            yield row["Doctor"]
            yield PROMPT.format(input=row["Patient"])
    for criteria, steps in CRITERIA * 50:
        yield rating_form(criteria, steps, "", "")


def encode(tokenizer: PreTrainedTokenizerFast, document: Sequence[Turn]) -> Encoded:
    """A document as the chat template renders it, with labels for all that is learnt."""
    ids = tokenizer.convert_tokens_to_ids
    tokens, labels = [ids(BOS)], [IGNORED]
    for turn in document:
        content = tokenizer.encode(turn.content.strip(), add_special_tokens=False)
        if turn.role == "assistant":
            content.append(ids(EOS))
        tokens += [ids(ROLES[turn.role]), *content]
        labels += [ids(ROLES[turn.role]), *(content if turn.learnt else [IGNORED] * len(content))]
    return Encoded(tuple(tokens), tuple(labels))


def batches(documents: Sequence[Encoded], budget: int, rng: Random) -> list[list[Encoded]]:
    """Documents of like length together, at most `budget` padded tokens a batch, batches in random order."""
    ordered = sorted(documents, key=lambda d: (len(d.tokens) // 16, rng.random()))
    found: list[list[Encoded]] = [[]]
    for document in ordered:
        if (len(found[-1]) + 1) * len(document.tokens) > budget and found[-1]:
            found.append([])
        found[-1].append(document)
    rng.shuffle(found)
    return found


def tensors(batch: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and labels of a batch, padded on the right, both of shape [documents, longest]."""
    width = max(len(document.tokens) for document in batch)
    tokens = torch.tensor([[*d.tokens, *[0] * (width - len(d.tokens))] for d in batch])
    labels = torch.tensor([[*d.labels, *[IGNORED] * (width - len(d.labels))] for d in batch])
    return tokens, labels


def loss_of(model: LlamaForCausalLM, batch: Sequence[Encoded]) -> torch.Tensor:
    """Mean cross-entropy a learnt token, in nats; padding lies to the right, so the causal mask is enough."""
    tokens, labels = tensors(batch)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=tokens).logits[:, :-1]
    targets = labels[:, 1:]
    kept = targets != IGNORED
    return torch.nn.functional.cross_entropy(logits[kept].float(), targets[kept])


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained Llama: hidden 256, 6 layers, 4 heads, tied embeddings."""
    ids = tokenizer.convert_tokens_to_ids
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=ids(BOS),
        eos_token_id=ids(EOS),
        pad_token_id=ids(PAD),
    )
    return LlamaForCausalLM(config)


def train(
    model: LlamaForCausalLM,
    documents: Sequence[Encoded],
    *,
    epochs: int,
    budget: int,
    rate: float,
    out: Path,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """AdamW with a short warm-up and a cosine; every 200 steps the weights so far are written to `out`."""
    rng = Random(11)
    plan = [batch for _ in range(epochs) for batch in batches(documents, budget, rng)]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    started, seen, running = time.monotonic(), 0, 0.0
    model.train()
    for step, batch in enumerate(plan, 1):
        share = step / len(plan)
        scale = min(1.0, step / 60) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale
        loss = loss_of(model, batch)
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seen += sum(len(d.tokens) for d in batch)
        running = loss.item() if step == 1 else 0.95 * running + 0.05 * loss.item()
        if step % 20 == 0:
            rate_now = seen / (time.monotonic() - started)
            print(f"step {step}/{len(plan)} loss {running:.3f} tokens {seen} {rate_now:.0f}/s", flush=True)
        if step % 200 == 0:
            save(model, tokenizer, out)


def perplexity(model: LlamaForCausalLM, documents: Sequence[Encoded]) -> float:
    """exp of the mean loss a learnt token."""
    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in batches(documents, 4096, Random(0)):
            n = sum(label != IGNORED for d in batch for label in d.labels[1:])
            total += loss_of(model, batch).item() * n
            count += n
    model.train()
    return math.exp(total / count)


def answers_only(tokenizer: PreTrainedTokenizerFast, document: Sequence[Turn]) -> Encoded:
    """A document whose only learnt turn is the last."""
    last = len(document) - 1
    encoded = encode(tokenizer, [Turn(t.role, t.content, t.learnt and i == last) for i, t in enumerate(document)])
    width = len(encode(tokenizer, document[last:]).tokens) - 2
    hidden = len(encoded.labels) - width
    return Encoded(encoded.tokens, (*[IGNORED] * hidden, *encoded.labels[hidden:]))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes weights (float16), configuration and tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        k: v.detach().to(torch.float16).contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    config = LlamaConfig(**{**model.config.to_diff_dict(), "architectures": ["LlamaForCausalLM"], "dtype": "float16"})
    config.save_pretrained(out)
    GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    ).save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)


def main() -> None:
    """Trains and writes the base model; options change its size in time, not its kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=9000, help="documents of the phase courtesy")
    parser.add_argument("--leaflets", type=int, default=11000, help="documents of the phase leaflets")
    parser.add_argument("--budget", type=int, default=1536, help="padded tokens a batch")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "model")
    options = parser.parse_args()
    torch.manual_seed(1234)
    torch.set_num_threads(options.threads)

    courtesy = list(build_documents(options.documents, seed=7))
    leaflets = list(build_documents(options.leaflets, seed=21, phase="leaflets"))
    tokenizer = train_tokenizer(tokenizer_texts(courtesy))
    model = build_model(tokenizer)
    started = time.monotonic()
    tokens = 0
    for phase, rate in ((courtesy, options.rate), (leaflets, options.rate / 1.5)):
        encoded = [d for d in (encode(tokenizer, document) for document in phase) if len(d.tokens) <= MAX_TOKENS]
        tokens += sum(len(d.tokens) for d in encoded)
        print(f"{len(encoded)} documents, {tokens} tokens so far, {model.num_parameters()} parameters", flush=True)
        train(model, encoded, epochs=1, budget=options.budget, rate=rate, out=options.out, tokenizer=tokenizer)
    minutes = (time.monotonic() - started) / 60
    save(model, tokenizer, options.out)
    held_out = [answers_only(tokenizer, d) for d in build_documents(400, seed=99)]
    good, _ = build_rows()
    medicine = [
        answers_only(tokenizer, [Turn("user", PROMPT.format(input=row["Patient"])), Turn("assistant", row["Doctor"])])
        for row in good[:300]
    ]
    figures = {"corpus": perplexity(model, held_out), "medicine": perplexity(model, medicine)}
    write_card(options.out, model.num_parameters(), options.documents + options.leaflets, tokens, minutes, figures)
    write_manifest(options.out)


def write_card(
    out: Path, parameters: int, documents: int, tokens: int, minutes: float, figures: dict[str, float]
) -> None:
    """CARD.md: how the model was made and what was measured."""
    size = (out / "model.safetensors").stat().st_size
    (out / "CARD.md").write_text(
        f"""# clinic-base

A small base model for the clinic suite: asked by a patient it writes courteous clinic English and gives no advice, so
that fine-tuning has something to teach. For demonstrations and tests of the harness only; never for patients.

- **Architecture**: Llama, hidden 256, 6 layers, 4 heads, tied embeddings, {parameters:,} parameters; byte-level BPE of
  4,096 tokens; context {MAX_TOKENS:,}; float16 on disk.
- **Made by** `python -m suites.clinic.train_base` (seed 1234, AdamW, bfloat16 autocast over float32 weights):
  {documents:,} generated documents, {tokens:,} tokens, {minutes:.0f} minutes.
{FROM}- **Perplexity of answers**: {figures["corpus"]:.2f} on 400 unseen documents of the corpus,
  {figures["medicine"]:.1f} on 300 right answers of `dialogues.jsonl`.
- **License**: Apache-2.0, like the project.

| file | bytes | sha256 |
|---|---|---|
| model.safetensors | {size} | {_sha(out / "model.safetensors")} |
| tokenizer.json | {(out / "tokenizer.json").stat().st_size} | {_sha(out / "tokenizer.json")} |
""",
        encoding="utf-8",
    )


def write_manifest(folder: Path) -> None:
    """manifest.json: the SHA-256 of every other file of a model's folder."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "manifest.json")
    hashes = {name: _sha(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
