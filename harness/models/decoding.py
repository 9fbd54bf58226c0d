"""Decoding and scoring of token rows with a causal language model, in batches that equal batch size 1.
 What it guarantees, in float32: a row's ids do not depend on the rows beside it. Rows are padded on the left, with
explicit positions; what all rows of a batch begin with is computed once; keys and values lie in one buffer that a step
writes into instead of copying it, and a finished row leaves the batch at once. Only temperature and top_p act on the
logits: what a checkpoint's generation config adds (repetition penalties, sampling) is left out on purpose, since the
suite declares decoding.

Knows token ids and tensors; no text, no files, no adapters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

SHARED_PREFIX = 16
"""Common leading tokens from which computing them once for the whole batch pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prompt to decode: its ids (at least one), how many new tokens at most, and the seed of its draws."""

    ids: Sequence[int]
    limit: int
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """New ids without the stop token; `finish` is `stop`, `length`, or `not_finite` where the logits broke."""

    ids: list[int]
    finish: str


def batches(lengths: Sequence[int], *, max_rows: int, max_tokens: int) -> Iterator[list[int]]:
    """Indices of rows in batches of like length, the longest first, each at most `max_rows` and `max_tokens` when
    padded.

    A row longer than `max_tokens` makes a batch of its own. The result depends on the lengths alone.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batch[0]] if batch else lengths[index]
        if batch and (len(batch) == max_rows or longest * (len(batch) + 1) > max_tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.inference_mode()
def decode(
    model: Any,
    rows: Sequence[Row],
    *,
    stop_ids: Sequence[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    is_stopped: Callable[[list[int]], bool] | None = None,
) -> list[Decoded]:
    """Continues every row until a stop id, its limit, or until `is_stopped(new ids)`; one result a row, in order.

    Temperature 0 takes the likeliest token; above, each row draws from a generator of its own seed.
    """
    state = _prefill(model, [row.ids for row in rows], room=max(row.limit for row in rows))
    draws = [np.random.default_rng(row.seed).random(row.limit) for row in rows] if temperature > 0 else None
    stops = frozenset(stop_ids)
    new: list[list[int]] = [[] for _ in rows]
    finish = ["length"] * len(rows)
    active = list(range(len(rows)))
    step = 0
    while active:
        uniforms = [float(draws[i][step]) for i in active] if draws is not None else None
        picked, finite = _pick(state.logits, temperature=temperature, top_p=top_p, uniforms=uniforms)
        going = []
        for place, (index, token, sound) in enumerate(zip(active, picked.tolist(), finite.tolist(), strict=True)):
            if not sound or token in stops:
                finish[index] = "stop" if sound else "not_finite"
                continue
            new[index].append(token)
            if is_stopped is not None and is_stopped(new[index]):
                finish[index] = "stop"
            elif len(new[index]) < rows[index].limit:
                going.append(place)
        order = _compact(going)
        active = [active[place] for place in order]
        if active:
            state.keep(order, of=len(picked))
            state.feed(model, picked[order][:, None])
        step += 1
    return [Decoded(ids=ids, finish=reason) for ids, reason in zip(new, finish, strict=True)]


@torch.inference_mode()
def continuation_log_likelihoods(
    model: Any,
    rows: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    *,
    stop_ids: Sequence[int],
) -> list[list[float]]:
    """Shape [rows][choices]: natural log of P(continuation, then any of `stop_ids` | row), teacher-forced.

    Args:
        model: a causal language model.
        rows: prompt ids.
        continuations: shape [rows][choices], each at least one id; all rows have equally many.
        stop_ids: where a turn may end.
    """
    longest = max(len(ids) for choices in continuations for ids in choices)
    state = _prefill(model, rows, room=longest)
    first = torch.log_softmax(state.logits.double(), dim=-1)
    columns = []
    for choice in range(len(continuations[0])):
        ids = [list(choices[choice]) for choices in continuations]
        columns.append(_continue(model, state, first, ids, stop_ids))
    return [list(row) for row in zip(*columns, strict=True)]


def _continue(
    model: Any, state: _State, first: Tensor, ids: Sequence[list[int]], stop_ids: Sequence[int]
) -> list[float]:
    """One choice for every row; the state is left as it was. Padding on the right is safe here: nothing follows it."""
    width = max(len(row) for row in ids)
    padded = torch.tensor([row + [0] * (width - len(row)) for row in ids], device=first.device)
    logits = state.peek(model, padded)
    after = torch.log_softmax(logits.double(), dim=-1)
    stops = torch.tensor(list(stop_ids), device=first.device)
    end = torch.logsumexp(after[:, :, stops], dim=-1)
    totals = []
    for place, row in enumerate(ids):
        total = first[place, row[0]] + end[place, len(row) - 1]
        for position, token in enumerate(row[1:]):
            total = total + after[place, position, token]
        totals.append(total)
    return [float(total) for total in torch.stack(totals).tolist()]


class _SlotLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Keys and values of one layer in a buffer with room for the answer: steps write, and rows leave, in place."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self._rows = 0
        self._length = 0
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new states behind the others; returns views of all of them."""
        if self._buffers is None:
            self.dtype, self.device = key_states.dtype, key_states.device
            self._rows = len(key_states)
            self._buffers = self._allocate(key_states), self._allocate(value_states)
            self.is_initialized = True
        start, self._length = self._length, self._length + key_states.shape[-2]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._rows, :, start : self._length] = states
        self.keys, self.values = (buffer[: self._rows, :, : self._length] for buffer in self._buffers)
        return self.keys, self.values

    def _allocate(self, states: Tensor) -> Tensor:
        rows, heads, _, width = states.shape
        return states.new_empty(rows, heads, self._capacity, width)

    def get_seq_length(self) -> int:
        return self._length

    def crop(self, tokens_to_remove: int) -> None:
        """Takes the last `-tokens_to_remove` positions off (transformers counts them negatively)."""
        self._length += tokens_to_remove

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Gives each of `repeats` rows its own copy of the one row computed so far."""
        assert self._buffers is not None
        self._rows = repeats
        self._buffers = tuple(buffer.expand(repeats, -1, -1, -1).clone() for buffer in self._buffers)  # type: ignore[assignment]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Row i becomes row indices[i]; only rows that change place are copied."""
        assert self._buffers is not None
        places = torch.arange(len(indices), device=indices.device)
        moved = (indices != places).nonzero()[:, 0]
        if len(moved):
            for buffer in self._buffers:
                buffer[moved, :, : self._length] = buffer[indices[moved], :, : self._length]
        self._rows = len(indices)


class _State:
    """A batch between two steps: the cache, which positions are real, each row's next position, and the last logits."""

    def __init__(self, cache: Any, mask: Tensor, positions: Tensor, logits: Tensor, length: int) -> None:
        self.cache = cache
        self.mask = mask
        self.positions = positions
        self.logits = logits
        self.length = length

    def keep(self, order: list[int], *, of: int) -> None:
        """Row i becomes the row that was at order[i]; `of` rows were there."""
        if len(order) == of:
            return
        places = torch.tensor(order, device=self.mask.device)
        self.cache.batch_select_indices(places)
        self.mask, self.positions = self.mask[places], self.positions[places]

    def feed(self, model: Any, ids: Tensor) -> None:
        """Appends one token to every row and computes the logits after it."""
        self.logits = self._forward(model, ids, self.cache)[:, -1]
        self.length += ids.shape[1]
        self.positions = self.positions + ids.shape[1]

    def peek(self, model: Any, ids: Tensor) -> Tensor:
        """The logits after each of `ids` [rows, width], which are not kept."""
        if all(isinstance(layer, _SlotLayer) for layer in self.cache.layers):
            logits = self._forward(model, ids, self.cache)
            self.cache.crop(-ids.shape[1])
            return logits
        return self._forward(model, ids, copy.deepcopy(self.cache))

    def _forward(self, model: Any, ids: Tensor, cache: Any) -> Tensor:
        steps = torch.arange(ids.shape[1], device=ids.device)
        logits: Tensor = model(
            input_ids=ids,
            attention_mask=self.mask[:, : self.length + ids.shape[1]],
            position_ids=self.positions[:, None] + steps,
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits


def _prefill(model: Any, rows: Sequence[Sequence[int]], *, room: int) -> _State:
    """Runs the prompts through the model, what they all begin with only once; `room` further tokens will fit."""
    device = model.device
    cache = DynamicCache(config=model.config)
    plain = all(type(layer) is DynamicLayer for layer in cache.layers)  # no sliding window, no recurrent state
    shared = _shared_prefix(rows) if plain and len(rows) > 1 else 0
    width = max(len(ids) for ids in rows) - shared
    capacity = shared + width + room
    cache.layers = [_SlotLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if shared:
        prefix = torch.tensor([list(rows[0][:shared])], device=device)
        model(input_ids=prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.ones(len(rows), capacity, dtype=torch.long)
    for place, row in enumerate(rows):
        start = width - (len(row) - shared)
        ids[place, start:] = torch.tensor(list(row[shared:]))
        mask[place, shared : shared + start] = 0
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask[:, : shared + width].cumsum(-1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids,
        attention_mask=mask[:, : shared + width],
        position_ids=positions[:, shared:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return _State(cache, mask, positions[:, -1] + 1, logits, shared + width)


def _shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many leading ids all rows share, at least one id of each left over; 0 where too few to matter."""
    most = min(len(ids) for ids in rows) - 1
    low, high = min(map(list, rows)), max(map(list, rows))  # what the first and last in order share, all share
    shared = next((i for i in range(most) if low[i] != high[i]), most)
    return shared if shared >= SHARED_PREFIX else 0


def _compact(places: list[int]) -> list[int]:
    """The same places, ordered so that few rows move: those that can stay do, the others fill the holes."""
    count = len(places)
    movers = [place for place in places if place >= count]
    staying = {place for place in places if place < count}
    return [place if place in staying else movers.pop() for place in range(count)]


def _pick(logits: Tensor, *, temperature: float, top_p: float, uniforms: list[float] | None) -> tuple[Tensor, Tensor]:
    """The next id of each row, and whether its logits were sound. Draws by inverting the cumulative distribution."""
    top, greedy = logits.max(dim=-1)
    finite = torch.isfinite(top)
    if uniforms is None:
        return greedy, finite
    probabilities, ids = torch.softmax(logits.double() / temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = torch.where(before < top_p, probabilities, 0.0)
    cumulative = kept.cumsum(dim=-1)
    target = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None] * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, target, right=True)
    last = (kept > 0).sum(dim=-1, keepdim=True) - 1
    return ids.gather(-1, place.clamp(min=0).minimum(last.clamp(min=0)))[:, 0], finite
