"""Decoding and scoring of token rows with a language model, in batches that equal batch size 1.

What it guarantees, in float32: a row's ids do not depend on the rows beside it. Rows are padded on the left, with
explicit positions (of an encoder-decoder model only the encoder's input is padded); what all rows of a batch begin with
is computed once; keys and values lie in one buffer that a step writes into instead of copying it, and a finished row
leaves the batch at once. Only temperature and top_p act on the logits: what a checkpoint's generation config adds
(repetition penalties, sampling) is left out on purpose, since the suite declares decoding.

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
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

SHARED_PREFIX = 16
"""Common leading tokens from which computing them once for the whole batch pays."""
TREE_LOGITS = 1 << 26
"""Most logits that one pass over a tree of continuations may give: a quarter of a gigabyte in float32."""
BRANCHING = ("llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3", "phi3", "gemma", "granite", "gpt_neox")
"""Architectures that tests hold against one pass a continuation; they take a mask that says who sees whom."""


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

    The prompts are run once; then all choices of all rows go through the model in one pass, laid out as a tree in which
    each token sees the prompt and its own beginning only. Models that take no such mask get a pass a choice.

    Args:
        model: a causal language model.
        rows: prompt ids.
        continuations: shape [rows][choices], each at least one id; all rows have equally many.
        stop_ids: where a turn may end.
    """
    count = len(continuations[0])
    parts = _parts(count, size=len(rows) * model.config.get_text_config().vocab_size)
    trees = [[_tree(choices[start:end]) for choices in continuations] for start, end in parts]
    longest = max(len(ids) for choices in continuations for ids in choices)
    room = max(longest, *(len(tree.tokens) for part in trees for tree in part))
    state = _prefill(model, rows, room=room)
    first = torch.log_softmax(state.logits.double(), dim=-1)
    if isinstance(state, _State) and state.is_plain and model.config.get_text_config().model_type in BRANCHING:
        found = [_branch(model, state, first, part, stop_ids) for part in trees]
        return [[score for part in found for score in part[row]] for row in range(len(rows))]
    columns = []
    for choice in range(count):
        ids = [list(choices[choice]) for choices in continuations]
        columns.append(_continue(model, state, first, ids, stop_ids))
    return [list(row) for row in zip(*columns, strict=True)]


@torch.inference_mode()
def given_log_likelihoods(
    model: Any, rows: Sequence[Sequence[int]], continuations: Sequence[Sequence[Sequence[int]]]
) -> list[list[float]]:
    """Shape [rows][continuations of the row]: natural log of P(continuation | row), teacher-forced; no end is asked for.

    Args:
        model: a causal language model.
        rows: prompt ids.
        continuations: for each row any number of continuations, each at least one id.
    """
    longest = max(len(ids) for given in continuations for ids in given)
    state = _prefill(model, rows, room=longest)
    first = torch.log_softmax(state.logits.double(), dim=-1)
    totals: list[list[float]] = [[] for _ in rows]
    for number in range(max(map(len, continuations))):
        ids = [list(given[number]) if number < len(given) else [0] for given in continuations]
        width = max(map(len, ids)) - 1  # nothing is asked after the last token
        logits = None
        if width:
            padded = torch.tensor([(row + [0] * width)[:width] for row in ids], device=first.device)
            logits = state.peek(model, padded)
        for place, row in enumerate(ids):
            if number < len(continuations[place]):
                totals[place].append(float(first[place, row[0]]) + _following(logits, place, row[1:]))
    return totals


def _following(logits: Tensor | None, place: int, ids: Sequence[int]) -> float:
    """Natural log of the probability of ids that follow a continuation's first; one row at a time, for the memory."""
    if logits is None or not ids:
        return 0.0
    after = torch.log_softmax(logits[place, : len(ids)].double(), dim=-1)
    return float(after.gather(-1, torch.tensor(list(ids), device=after.device)[:, None]).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """Continuations with what they have in common laid out once. Lists have a place a node, parents before children."""

    tokens: list[int]
    parents: list[int]
    """-1 where a node follows the prompt itself."""
    depths: list[int]
    ends: list[int]
    """For each continuation the node it ends at."""


def _tree(sequences: Sequence[Sequence[int]]) -> _Tree:
    tree = _Tree(tokens=[], parents=[], depths=[], ends=[])
    nodes: dict[tuple[int, int], int] = {}
    for ids in sequences:
        node = -1
        for depth, token in enumerate(ids):
            parent, node = node, nodes.setdefault((node, token), len(tree.tokens))
            if node == len(tree.tokens):
                tree.tokens.append(token)
                tree.parents.append(parent)
                tree.depths.append(depth)
        tree.ends.append(node)
    return tree


def _parts(count: int, *, size: int) -> list[tuple[int, int]]:
    """Stretches of `count` choices such that the logits of one stretch, `size` each, stay within TREE_LOGITS."""
    step = max(1, TREE_LOGITS // size)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def _branch(
    model: Any, state: _State, first: Tensor, trees: Sequence[_Tree], stop_ids: Sequence[int]
) -> list[list[float]]:
    """Shape [rows][continuations]: the trees of all rows in one pass; the state is left as it was."""
    device = first.device
    width = max(len(tree.tokens) for tree in trees)
    ids = torch.zeros(len(trees), width, dtype=torch.long)
    depths = torch.zeros(len(trees), width, dtype=torch.long)
    sees = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        ids[row, : len(tree.tokens)] = torch.tensor(tree.tokens)
        depths[row, : len(tree.tokens)] = torch.tensor(tree.depths)
        for node, parent in enumerate(tree.parents):
            if parent >= 0:
                sees[row, node] |= sees[row, parent]
    logits = state.peek_tree(model, ids.to(device), depths.to(device), sees.to(device))
    stops = torch.tensor(list(stop_ids), device=device)
    totals = []
    for row, tree in enumerate(trees):
        after = torch.log_softmax(logits[row, : len(tree.tokens)].double(), dim=-1)
        steps = torch.cat([first[row][None], after])[[parent + 1 for parent in tree.parents], tree.tokens].tolist()
        ends = torch.logsumexp(after[:, stops], dim=-1).tolist()
        reached: list[float] = []
        for step, parent in zip(steps, tree.parents, strict=True):
            reached.append(step + (reached[parent] if parent >= 0 else 0.0))
        totals.append([reached[end] + ends[end] for end in tree.ends])
    return totals


def _continue(
    model: Any, state: _State | _Encoded, first: Tensor, ids: Sequence[list[int]], stop_ids: Sequence[int]
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

    @property
    def is_plain(self) -> bool:
        """Whether every layer holds keys and values of all positions, and nothing else."""
        return all(isinstance(layer, _SlotLayer) for layer in self.cache.layers)

    def peek_tree(self, model: Any, ids: Tensor, depths: Tensor, sees: Tensor) -> Tensor:
        """The logits after each of `ids` [rows, width], which are not kept.

        `depths` [rows, width] is how far after the prompt each token stands, `sees` [rows, width, width] which of the
        others it attends to, itself among them.
        """
        prompt = self.mask[:, None, : self.length].bool().expand(-1, ids.shape[1], -1)
        allowed = torch.cat([prompt, sees], dim=-1)[:, None]
        dtype = self.logits.dtype
        mask = torch.zeros(allowed.shape, dtype=dtype, device=ids.device)
        mask.masked_fill_(~allowed, torch.finfo(dtype).min)
        logits: Tensor = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=self.positions[:, None] + depths,
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        self.cache.crop(-ids.shape[1])
        return logits

    def peek(self, model: Any, ids: Tensor) -> Tensor:
        """The logits after each of `ids` [rows, width], which are not kept."""
        if self.is_plain:
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


class _Encoded:
    """A batch of an encoder-decoder model between two steps: encoded prompts, the decoder's cache, and the last logits.

    Every row's decoder has come equally far, so nothing is padded but the encoder's input, which a mask hides.
    """

    is_plain = False

    def __init__(self, model: Any, rows: Sequence[Sequence[int]]) -> None:
        device = model.device
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        self.mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        self.encoded = model.get_encoder()(input_ids=ids, attention_mask=self.mask).last_hidden_state
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.feed(model, torch.full((len(rows), 1), model.config.decoder_start_token_id, device=device))

    def keep(self, order: list[int], *, of: int) -> None:
        """Row i becomes the row that was at order[i]; `of` rows were there."""
        if len(order) == of:
            return
        places = torch.tensor(order, device=self.mask.device)
        self.cache.batch_select_indices(places)
        self.mask, self.encoded = self.mask[places], self.encoded[places]

    def feed(self, model: Any, ids: Tensor) -> None:
        """Appends one token to every row and computes the logits after it."""
        self.logits = self._forward(model, ids, self.cache)[:, -1]

    def peek(self, model: Any, ids: Tensor) -> Tensor:
        """The logits after each of `ids` [rows, width], which are not kept."""
        return self._forward(model, ids, copy.deepcopy(self.cache))

    def _forward(self, model: Any, ids: Tensor, cache: Any) -> Tensor:
        logits: Tensor = model(
            encoder_outputs=(self.encoded,),
            attention_mask=self.mask,
            decoder_input_ids=ids,
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits


def _prefill(model: Any, rows: Sequence[Sequence[int]], *, room: int) -> _State | _Encoded:
    """Runs the prompts through the model, what they all begin with only once; `room` further tokens will fit."""
    if model.config.is_encoder_decoder:
        return _Encoded(model, rows)
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
