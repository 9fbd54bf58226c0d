"""Makes one model folder of base and adapter, and measures on prompts that it says what the candidate says.

Guarantees: an adapter is merged into weights of full precision, never into quantised ones, whatever the candidate
answered with; the folder comes to its place by one rename, whole or not at all; what is compared is the folder as it
was read back from disk. Knows no store, no judge and no card. Importing it loads torch.
"""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import GenerationConfig
from transformers.utils import logging

from harness.errors import ModelError, UserError
from harness.models.local import Dtype, LocalGenerator, LocalModel
from harness.records import Fidelity, GenerationSettings, Prompt


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder beside `to` that takes its place when the block ends; where the block raises, nothing is left of it.

    Raises UserError where `to` is there and not empty, or cannot be written to.
    """
    draft = to.parent / f".{to.name}.partial"
    try:
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise UserError(f"'--to' must be a new or empty folder (got {to}).")
        shutil.rmtree(draft, ignore_errors=True)  # of an export that was killed
        draft.mkdir(parents=True)
        yield draft
        if to.exists():
            to.rmdir()
        draft.rename(to)
    except OSError as error:
        raise UserError(f"'--to' must be a folder that can be written to (got {to}: {error.strerror}).") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_merged(
    live: LocalGenerator, folder: Path, *, dtype: Dtype, settings: GenerationSettings, max_shard_size: str
) -> str:
    """Writes the candidate behind `live` as a model of its own: weights in shards, tokenizer, template, decoding.

    Returns the dtype of the weights, such as `float32`.

    Args:
        live: the candidate: a base, quantised or not, and its adapter.
        folder: an empty folder.
        dtype: of the weights; `auto` is what the candidate computes in on this machine.
        settings: the decoding under which it was judged: it becomes the model's own.
        max_shard_size: most bytes of a weights file, such as `4GB`.

    Raises:
        ModelError: base or adapter cannot be loaded, or their sum is not finite.
    """
    source = live.model
    base = LocalModel(source.folder, name=source.name, dtype=dtype, device=source.device)
    model = base.model if live.adapter is None else base.merge(live.adapter)
    model.generation_config = _decoding(source, settings, start=getattr(model.config, "decoder_start_token_id", None))
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.save_pretrained(folder, max_shard_size=max_shard_size)
            source.tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # how a full disk looks to who writes the weights
        raise UserError(f"'--to' must be a folder that can be written to ({error}).") from None
    finally:
        if bars:
            logging.enable_progress_bar()
    return str(base.dtype).removeprefix("torch.")


def _decoding(source: LocalModel, settings: GenerationSettings, *, start: int | None) -> GenerationConfig:
    """What muster did, for who calls `generate` without arguments: nothing that a checkpoint adds of its own."""
    drawn = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    return GenerationConfig(
        bos_token_id=source.tokenizer.bos_token_id,
        eos_token_id=list(source.stop_ids),
        pad_token_id=source.tokenizer.pad_token_id,
        decoder_start_token_id=start,
        max_new_tokens=settings.max_new_tokens,
        do_sample=settings.temperature > 0,
        **(drawn if settings.temperature > 0 else {}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a model says to some prompts, one entry a prompt."""

    answers: tuple[str, ...]
    """Greedy."""
    fed: tuple[tuple[int, ...], ...]
    """The ids of prompt and answer that the logits are along."""
    logits: tuple[Tensor, ...]
    """Shape [tokens of the answer + 1, vocabulary], float32, on the CPU: at each place along an answer and behind it."""


def read(
    generator: LocalGenerator, prompts: Sequence[Prompt], *, max_new_tokens: int, along: Sequence[str] | None = None
) -> Reading:
    """Answers of a model, and its logits along these answers, or along those given. Raises ModelError where one fails."""
    settings = GenerationSettings(max_new_tokens=max_new_tokens)
    found = dict(itertools.chain.from_iterable(generator.generate(prompts, settings)))
    failed = next((c.error for c in found.values() if c.error is not None), None)
    if failed is not None:
        raise ModelError(f"model '{generator.model.name}' gave no answer ({failed.kind}: {failed.message}).")
    answers = tuple(found[place].text or "" for place in range(len(prompts)))
    texts = answers if along is None else along
    rows = [_along(generator, prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    return Reading(answers=answers, fed=tuple(ids for ids, _ in rows), logits=tuple(logits for _, logits in rows))


@torch.inference_mode()
def _along(generator: LocalGenerator, prompt: Prompt, answer: str) -> tuple[tuple[int, ...], Tensor]:
    local = generator.model
    start, [ids] = local.answers_tokens(prompt.messages, [answer])
    ids = ids[: local.room(len(start))]
    with local.using(generator.adapter) as model:
        if local.encodes:
            said = torch.tensor([[model.config.decoder_start_token_id, *ids]], device=model.device)
            fed = torch.tensor([start], device=model.device)
            logits: Tensor = model(input_ids=fed, decoder_input_ids=said).logits[0]
        else:
            fed = torch.tensor([start + ids], device=model.device)
            logits = model(input_ids=fed, logits_to_keep=len(ids) + 1).logits[0]
    return (*start, *ids), logits.float().cpu()


def fidelity(candidate: Reading, exported: Reading) -> Fidelity:
    """How far two readings of the same prompts, along the same answers, agree.

    Raises ModelError where they were not fed the same tokens, or a logit is not finite.
    """
    if candidate.fed != exported.fed:
        raise ModelError("the exported tokenizer or chat template makes other tokens of a text than the candidate's.")
    same, largest = 0, 0.0
    for ours, theirs in zip(candidate.logits, exported.logits, strict=True):
        if not torch.isfinite(theirs).all():
            raise ModelError("the exported model's logits are not finite. Export it with --dtype float32.")
        largest = max(largest, float((ours - theirs).abs().max()))
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
    return Fidelity(
        prompts=len(candidate.answers),
        same_answers=sum(a == b for a, b in zip(candidate.answers, exported.answers, strict=True)),
        tokens=sum(len(logits) for logits in candidate.logits),
        same_tokens=same,
        max_logit=largest,
    )
