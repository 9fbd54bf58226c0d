"""Causal language models that run here: one base loaded once, LoRA adapters switched on it.

Guarantees: weights come from safetensors only and no code of a model folder is run; a batch says, in float32, what
batch size 1 says; a prompt that does not fit the context window is a typed failure, never cut; after any call no
parameter wants gradients and the base is the base again, bit by bit. Adapters are known by content, so a retrained one
in the same folder is a new one.

Knows nothing of suites, samples or stores.
"""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from harness.errors import ModelError
from harness.models import decoding, identity, rendering
from harness.records import Completion, Failure, GenerationSettings, Likelihood, Message, Prompt, fingerprint

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["nf4", "int8"]

MAX_ROWS = {"cpu": 64, "cuda": 128}
"""Rows of a batch: measured on the embedded base, where larger batches gain little and wait long for their last row."""
MAX_TOKENS = 16_384
"""Longest prompt times rows of a batch, unless the suite says otherwise."""
MAX_LOGITS = 2**28
"""Logits of a batch in which every token's are wanted: 1 GiB in float32."""


class LocalModel:
    """A base model with its tokenizer, read from a folder at first use, and the adapters attached to it since."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        dtype: Dtype = "auto",
        quantization: Quantization | None = None,
        chat_template: Path | None = None,
        batch_tokens: int | None = None,
        device: str | None = None,
    ) -> None:
        """Checks that the folder holds a model and hashes it; loads nothing yet.

        Args:
            folder: config.json, tokenizer files and safetensors weights.
            name: how the model is called in messages; left out, the folder's name.
            dtype: `auto` is float32 on a CPU, bfloat16 on a GPU that has it, else float16.
            quantization: bitsandbytes `nf4` or `int8`.
            chat_template: a Jinja file instead of the tokenizer's template.
            batch_tokens: upper bound on the longest prompt times the rows of a batch.
            device: `cpu`, `cuda`, `cuda:1`…; left out, the GPU if there is one.

        Raises:
            ModelError: where files are missing.
        """
        self.name = name or folder.name
        self.fingerprint = identity.base_fingerprint(folder, chat_template=chat_template)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.folder = folder
        self._dtype: Dtype = dtype
        self._quantization: Quantization | None = quantization
        self._chat_template = chat_template
        self._max_tokens = batch_tokens or MAX_TOKENS
        self._peft: Any = None
        self._attached: set[str] = set()
        self._biased = False

    # ------------------------------------------------------------------------------------------------------- parts

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, with the suite's chat template where it names one."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the loader raises whatever its many formats raise
            raise ModelError(f"the tokenizer of model '{self.name}' cannot be loaded ({_one_line(error)}).") from None
        if self._chat_template is not None:
            tokenizer.chat_template = self._chat_template.read_text(encoding="utf-8")
        return tokenizer

    @cached_property
    def model(self) -> Any:
        """The transformers model, in evaluation mode, on its device, without gradients."""
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        options: dict[str, Any] = {"dtype": self.dtype}
        if self._quantization is not None:
            options |= {"quantization_config": self._quantized(), "device_map": {"": self.device}}
        try:
            auto = AutoModelForSeq2SeqLM if self.encodes else AutoModelForCausalLM
            model = auto.from_pretrained(
                self.folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options
            )
            if self._quantization is None:
                model = model.to(self.device)
        except Exception as error:  # a checkpoint can be wrong in as many ways as there are architectures
            raise ModelError(f"model '{self.name}' cannot be loaded ({_one_line(error)}).") from None
        return model.eval().requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the weights are computed in on this device."""
        if self._dtype != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self._dtype]
        if not self.device.startswith("cuda"):
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    @cached_property
    def encodes(self) -> bool:
        """Whether an encoder reads the prompt and a decoder says the answer, such as T5."""
        return identity.is_encoder_decoder(self.folder)

    @cached_property
    def window(self) -> int:
        """Positions the model was made for: prompt and answer together; of an encoder-decoder model, each of the two."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 1 << 30)

    def room(self, prompt: int) -> int:
        """Tokens that fit the window after a prompt of so many."""
        if self.encodes:
            return self.window - 1 if prompt <= self.window else 0
        return self.window - prompt

    def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """What the model is fed for a conversation."""
        render = rendering.encoder_tokens if self.encodes else rendering.prompt_tokens
        return render(self.tokenizer, messages)

    def answers_tokens(self, messages: Sequence[Message], answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """What the model is fed for a conversation, and the ids of each answer after it, without what ends a turn."""
        if self.encodes:
            ids = rendering.encoder_tokens(self.tokenizer, messages)
            return ids, [rendering.decoder_tokens(self.tokenizer, answer) for answer in answers]
        text = rendering.render(self.tokenizer, messages, add_generation_prompt=True)
        ids = rendering.tokens(self.tokenizer, text)
        return ids, [rendering.answer_tokens(self.tokenizer, text, ids, answer) for answer in answers]

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids at which an answer ends."""
        return rendering.stop_ids(self.tokenizer, getattr(self.model.generation_config, "eos_token_id", None))

    def batches(self, lengths: Sequence[int], *, max_logits: int | None = None) -> Iterator[list[int]]:
        """Indices of prompts in the batches they are run in, for prompts of so many tokens.

        `max_logits` bounds tokens times vocabulary, where the logits of every token are wanted.
        """
        max_rows = MAX_ROWS["cuda" if self.device.startswith("cuda") else "cpu"]
        max_tokens = self._max_tokens
        if max_logits is not None:
            max_tokens = min(max_tokens, max(1, max_logits // int(self.model.config.get_text_config().vocab_size)))
        return decoding.batches(lengths, max_rows=max_rows, max_tokens=max_tokens)

    def _quantized(self) -> Any:
        from transformers import BitsAndBytesConfig

        if self._quantization == "int8":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=self.dtype,
        )

    # ------------------------------------------------------------------------------------------------------- roles

    def key(self, adapter: Path | None = None) -> str:
        """What decides the answers: base, adapter, dtype as asked for, quantization. The same on every device."""
        return identity.model_key(self.fingerprint, adapter, dtype=self._dtype, quantization=self._quantization)

    def generator(self, adapter: Path | None = None) -> LocalGenerator:
        """Answers prompts with the base or an adapter on it. Raises ModelError for one that does not belong."""
        self._check(adapter)
        return LocalGenerator(key=self.key(adapter), model=self, adapter=adapter)

    def choice_scorer(self, adapter: Path | None = None) -> LocalChoiceScorer:
        """Scores given continuations. Raises ModelError for an adapter that does not belong."""
        self._check(adapter)
        return LocalChoiceScorer(key=self.key(adapter), model=self, adapter=adapter)

    def _check(self, adapter: Path | None) -> None:
        if adapter is None:
            return
        config = identity.adapter_config(adapter)
        if config.get("peft_type") != "LORA":
            raise ModelError(f"adapter '{adapter.name}' must be of type LORA (got {config.get('peft_type')!r}).")
        template = identity.template_sha(self.folder, self._chat_template)
        identity.require_base(adapter, self.name, self.fingerprint, template=template)

    # ---------------------------------------------------------------------------------------------------- adapters

    @contextmanager
    def using(self, adapter: Path | None) -> Iterator[Any]:
        """The model with this adapter, and no other, switched on; the plain base for None."""
        model = self.model
        if adapter is None:
            if self._biased:
                raise ModelError(f"model '{self.name}' is in use by an adapter that trains biases. Load it once more.")
            if self._peft is None:
                yield model
                return
            with self._peft.disable_adapter():
                yield model
            model.requires_grad_(False)
            return
        name = self._attach(adapter)
        self._peft.set_adapter(name, inference_mode=True)
        yield model

    def _attach(self, adapter: Path) -> str:
        name = identity.adapter_key(adapter)[:16]
        if name in self._attached:
            return name
        biased = identity.trains_biases(adapter)
        if self._biased or (biased and self._attached):
            raise ModelError(f"adapter '{adapter.name}' cannot share its base: trained biases replace the base's own.")
        from peft import PeftModel

        try:
            with warnings.catch_warnings():
                # PEFT only warns where tensors of an adapter find no place, and then runs the base unnoticed.
                warnings.filterwarnings("error", message=".*missing adapter keys.*")
                warnings.filterwarnings("error", message=".*unexpected adapter keys.*")
                warnings.filterwarnings("ignore", category=FutureWarning)  # PEFT's dealings with transformers
                if self._peft is None:
                    self._peft = PeftModel.from_pretrained(self.model, adapter, adapter_name=name, is_trainable=False)
                else:
                    self._peft.load_adapter(adapter, adapter_name=name, is_trainable=False)
        except Exception as error:  # wrong shapes, unknown modules, broken files: all mean it does not fit
            why = _one_line(error)
            self._forget()
            raise ModelError(f"adapter '{adapter.name}' does not fit model '{self.name}' ({why}).") from None
        self.model.requires_grad_(False)
        self._attached.add(name)
        self._biased = biased
        return name

    def merge(self, adapter: Path) -> Any:
        """The transformers model with the adapter's change in its own weights, in this model's dtype, to be saved.

        It is no longer part of this object, which reads its base anew when it is next used. Raises ModelError for an
        adapter that does not fit or breaks the weights, ValueError where the base is quantised: merging would round twice.
        """
        if self._quantization is not None:
            raise ValueError("an adapter is merged into a base of full precision")
        self._check(adapter)
        name = self._attach(adapter)
        try:
            return self._peft.merge_and_unload(safe_merge=True, adapter_names=[name])
        except ValueError as error:  # weights that are not finite
            raise ModelError(f"adapter '{adapter.name}' cannot be merged ({_one_line(error)}).") from None
        finally:
            self._forget()

    def release(self) -> None:
        """Lets go of the weights, which are read anew when they are next asked for."""
        self._forget()
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _forget(self) -> None:
        """Drops the model, to be read anew: PEFT leaves it changed when an adapter fails halfway."""
        self.__dict__.pop("model", None)
        self._peft = None
        self._attached.clear()
        self._biased = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGenerator:
    """Answers prompts with one set of weights."""

    key: str
    model: LocalModel
    adapter: Path | None = None

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yields each batch when it is done: first the prompts that do not fit, then the longest.

        An answer may use what the context window leaves after the prompt, and then ends with `length`.
        """
        local = self.model
        ids = [local.prompt_tokens(prompt.messages) for prompt in prompts]
        unfit = [(index, _unfit(len(row), local.window)) for index, row in enumerate(ids)]
        refused = [(index, Completion(text=None, error=failure)) for index, failure in unfit if failure]
        if refused:
            yield refused
        fit = [index for index, failure in unfit if failure is None]
        for places in local.batches([len(ids[index]) for index in fit]):
            batch = [fit[place] for place in places]
            rows = [
                decoding.Row(
                    ids=ids[i],
                    limit=min(settings.max_new_tokens, local.room(len(ids[i]))),
                    seed=_seed(settings.seed, prompts[i]),
                )
                for i in batch
            ]
            yield list(zip(batch, self._complete(rows, settings), strict=True))

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> Iterator[list[tuple[int, Likelihood | Failure]]]:
        """Yields batches of (index, likelihood of the text as the answer to the prompt), rendered as for answering.

        The text's own tokens count, and not what ends the turn. Texts of one prompt share its computation. White space
        around a text is left out. A text without tokens, and one that does not fit behind its prompt, is a failure.
        """
        local = self.model
        by_prompt: dict[str, list[int]] = {}
        for index, (prompt, _) in enumerate(pairs):
            by_prompt.setdefault(prompt.sha, []).append(index)
        rows: list[tuple[list[int], dict[int, list[int]]]] = []
        refused: list[tuple[int, Likelihood | Failure]] = []
        for members in by_prompt.values():
            ids, texts = local.answers_tokens(pairs[members[0]][0].messages, [pairs[index][1] for index in members])
            given = dict(zip(members, texts, strict=True))
            unfit = {index: _unfit_text(len(ids), len(answer), local) for index, answer in given.items()}
            refused += [(index, failure) for index, failure in unfit.items() if failure]
            fit = {index: answer for index, answer in given.items() if unfit[index] is None}
            if fit:
                rows.append((ids, fit))
        if refused:
            yield refused
        lengths = [len(ids) + max(map(len, given.values())) for ids, given in rows]
        for batch in local.batches(lengths, max_logits=MAX_LOGITS):
            yield self._likelihoods([rows[place] for place in batch], pairs)

    def _likelihoods(
        self, rows: Sequence[tuple[list[int], dict[int, list[int]]]], pairs: Sequence[tuple[Prompt, str]]
    ) -> list[tuple[int, Likelihood | Failure]]:
        with _out_of_memory(self.model.name), self.model.using(self.adapter) as model:
            scores = decoding.given_log_likelihoods(
                model, [ids for ids, _ in rows], [list(given.values()) for _, given in rows]
            )
        found: list[tuple[int, Likelihood | Failure]] = []
        for (_, given), row in zip(rows, scores, strict=True):
            for (index, answer), value in zip(given.items(), row, strict=True):
                if math.isfinite(value):
                    likelihood = Likelihood(text=pairs[index][1], log_likelihood=value, tokens=len(answer))
                    found.append((index, likelihood))
                else:
                    message = "the model's logits are not finite; try dtype: float32"
                    found.append((index, Failure(kind="not_finite", message=message)))
        return found

    def _complete(self, rows: Sequence[decoding.Row], settings: GenerationSettings) -> list[Completion]:
        started = time.perf_counter()
        with _out_of_memory(self.model.name), self.model.using(self.adapter) as model:
            decoded = decoding.decode(
                model,
                rows,
                stop_ids=self.model.stop_ids,
                temperature=settings.temperature,
                top_p=settings.top_p,
                is_stopped=_stop_test(self.model.tokenizer, settings.stop),
            )
        seconds = (time.perf_counter() - started) / len(rows)
        return [self._completion(row, out, settings, seconds) for row, out in zip(rows, decoded, strict=True)]

    def _completion(
        self, row: decoding.Row, out: decoding.Decoded, settings: GenerationSettings, seconds: float
    ) -> Completion:
        failure = None
        if out.finish == "not_finite":
            message = f"the model's logits are not finite after {len(out.ids)} tokens; try dtype: float32"
            failure = Failure(kind="not_finite", message=message)
        return Completion(
            text=None if failure else rendering.decode(self.model.tokenizer, out.ids, stop=settings.stop),
            finish_reason=None if failure else out.finish,
            prompt_tokens=len(row.ids),
            completion_tokens=len(out.ids),
            seconds=seconds,
            error=failure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalChoiceScorer:
    """Teacher-forces given answers with one set of weights."""

    key: str
    model: LocalModel
    adapter: Path | None = None

    def log_likelihoods(self, prompts: Sequence[tuple[Message, ...]], choices: Sequence[str]) -> list[list[float]]:
        """Shape [prompts][choices]: natural log of P(the answer is exactly the choice | prompt).

        The turn's end is part of it, so "1" and "10" are comparable whether "10" is one token or two. A prompt that
        does not fit the context window gives a row of -inf.
        """
        if not choices:
            return [[] for _ in prompts]
        local = self.model
        result = [[float("-inf")] * len(choices) for _ in prompts]
        rows: dict[int, tuple[list[int], list[list[int]]]] = {}
        known: dict[str, list[list[int]]] = {}
        for index, messages in enumerate(prompts):
            if local.encodes:
                rows[index] = local.answers_tokens(messages, choices)
                continue
            text = rendering.render(local.tokenizer, messages, add_generation_prompt=True)
            ids = rendering.tokens(local.tokenizer, text)
            end = rendering.last_piece(local.tokenizer, text)  # a hundred scores of a thousand forms: a few ends
            if end not in known:
                known[end] = [rendering.answer_tokens(local.tokenizer, text, ids, choice) for choice in choices]
            rows[index] = ids, known[end]
        fit = [index for index, (ids, given) in rows.items() if max(map(len, given)) <= local.room(len(ids))]
        for places in local.batches([len(rows[index][0]) for index in fit]):
            batch = [fit[place] for place in places]
            with _out_of_memory(local.name), local.using(self.adapter) as model:
                scores = decoding.continuation_log_likelihoods(
                    model,
                    [rows[index][0] for index in batch],
                    [rows[index][1] for index in batch],
                    stop_ids=local.stop_ids,
                )
            for index, row in zip(batch, scores, strict=True):
                result[index] = row
        return result


def _unfit(length: int, window: int) -> Failure | None:
    if length < 1:
        return Failure(kind="prompt_empty", message="the prompt has no tokens")
    if length >= window:
        message = f"the prompt has {length:,} tokens and the model's context window {window:,}; nothing is cut"
        return Failure(kind="prompt_too_long", message=message)
    return None


def _unfit_text(prompt: int, text: int, local: LocalModel) -> Failure | None:
    if prompt < 1:
        return Failure(kind="prompt_empty", message="the prompt has no tokens")
    if text < 1:
        return Failure(kind="text_empty", message="the text whose likelihood is asked for has no tokens")
    if text > local.room(prompt):
        message = (
            f"prompt and text have {prompt:,} and {text:,} tokens and the model's context window {local.window:,}; "
            "nothing is cut"
        )
        return Failure(kind="too_long", message=message)
    return None


def _seed(seed: int, prompt: Prompt) -> int:
    """Draws follow from the seed and the prompt's content: not from batch, order or sample id."""
    return int(fingerprint([seed, prompt.sha])[:16], 16)


def _stop_test(tokenizer: Any, stop: Sequence[str]) -> Callable[[list[int]], bool] | None:
    """Whether a stop text stands at the end of the ids. Only a tail is decoded: as many ids as the text has bytes."""
    if not stop:
        return None
    tail = max(len(text.encode()) for text in stop) + 4

    def is_stopped(ids: list[int]) -> bool:
        text = tokenizer.decode(ids[-tail:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(end in text for end in stop)

    return is_stopped


@contextmanager
def _out_of_memory(name: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise ModelError(f"model '{name}' ran out of memory. Set a smaller batch_tokens for it in the suite.") from None


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
