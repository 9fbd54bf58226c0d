"""The audit: every training row, tokenised before any step, through the one render function that inference uses.

Guarantees of the rows it returns: what stands before an answer is, id by id, what the model is fed at inference; only
answers are trained, of a conversation every turn of the assistant; the last trained id of an answer is the
end-of-sequence token, which stands nowhere else in it; no row begins with two begin-of-sequence tokens; none is longer
than `max_length` and none has been cut. Whatever would harm stops the training with row numbers, all kinds at once.
Knows nothing of torch or files.

A suite can allow by name (`train.allow`) what makes poor data: `duplicates`, and `special_tokens` that an answer spells. It
cannot allow what teaches nothing or what the model would never meet in use: an empty answer, an empty prompt, two
begin-of-sequence tokens, an answer without its end, a turn that the template writes otherwise than at inference.
Copies of earlier rows stop a training where they are more than DUPLICATES of its rows: they weigh as further epochs on
a few rows; fewer are told. Rows with an earlier row's prompt and another answer are told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Literal

from harness.errors import UserError
from harness.models import rendering
from harness.records import Message
from harness.suite.grammar import REFERRING, TrainSpec
from harness.training.recipe import PreferenceRow, PromptRow, TrainingRow, name_rows, prompts_of_step

IGNORED = -100
"""The label of a token that is not trained (torch's `ignore_index`)."""

DUPLICATES = 0.01
"""Share of a training's rows that may repeat earlier ones unasked."""

Tokenised = tuple[TrainingRow, list[int], list[rendering.Turn]]
Harms = dict[str, list[int]]
"""Numbers of the rows, by what is wrong with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One training row as ids. `labels` equals `input_ids` on answers and their ends, and is IGNORED elsewhere."""

    row: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    def spans(self) -> list[tuple[int, int, bool]]:
        """(start, end, trained) of each longest run of tokens that are all trained, or all not."""
        found: list[tuple[int, int, bool]] = []
        for place, label in enumerate(self.labels):
            trained = label != IGNORED
            if found and found[-1][2] == trained:
                found[-1] = (found[-1][0], place + 1, trained)
            else:
                found.append((place, place + 1, trained))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the audit counted. Lengths are tokens of prompt and answer together, of the rows kept."""

    rows: int
    """Rows that are trained."""
    answers: int
    """Answers in them: one a row, or of a conversation every turn of the assistant; of raw text, the documents."""
    tokens: int
    """Tokens of one epoch, prompts included."""
    trained_tokens: int
    """Tokens of one epoch that the loss is taken of: answers and their end-of-sequence tokens."""
    bos: int
    """Begin-of-sequence tokens at the head of every row: 0 or 1."""
    shortest: int
    median: float
    mean: float
    longest: int
    padding_share: float
    """Share of padding if rows were batched in the order given and padded: what packing saves."""
    dropped: tuple[int, ...]
    """Row numbers left out because they are longer than max_length."""
    duplicates: tuple[int, ...]
    """Row numbers whose prompt and answer stand in an earlier row too."""
    contradictions: tuple[int, ...]
    """Row numbers whose prompt stands in an earlier row too, with another answer."""
    special: tuple[int, ...]
    """Row numbers whose answer spells a special token, where the suite allows them."""

    def as_record(self) -> dict[str, Any]:
        """Plain JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def audit_training(
    spec: TrainSpec, tokenizer: Any, rows: Sequence[Any], *, window: int | None, encodes: bool, max_new_tokens: int = 0
) -> tuple[list[Any], AnyAudit]:
    """The rows of a recipe as its trainer gets them, and what was counted.

    Args:
        spec: a recipe without sweeps.
        tokenizer: the base's.
        rows: what `recipe.rows_of` makes for its objective.
        window: the base's positions, where it says.
        encodes: whether the base has an encoder and a decoder.
        max_new_tokens: of an answer, where answers are drawn.

    Raises:
        UserError: with every kind of harm found, and its rows.
    """
    if encodes and spec.objective in REFERRING:
        raise UserError(f"'train.base' must be a decoder without an encoder for objective {spec.objective!r}.")
    if spec.objective in ("dpo", "reward"):
        return audit_pairs(
            tokenizer, rows, max_length=spec.max_length, truncation=spec.truncation, batch_size=spec.batch_size,
            window=window, allow=spec.allow,
        )  # fmt: skip
    if spec.objective in ("grpo", "rloo"):
        return audit_prompts(
            tokenizer, rows, max_new_tokens=max_new_tokens, max_length=spec.max_length, truncation=spec.truncation,
            window=window, num_generations=spec.num_generations, prompts_of_step=prompts_of_step(spec),
        )  # fmt: skip
    if spec.objective == "language_modelling":
        if encodes:
            raise UserError(
                "'train.objective' must be supervised for an encoder-decoder model (got 'language_modelling': raw text has "
                "no answer for the decoder)."
            )
        from harness.training.documents import audit_documents

        return audit_documents(tokenizer, rows, max_length=spec.max_length, batch_size=spec.batch_size, window=window)
    return audit_rows(
        tokenizer,
        rows,
        max_length=spec.max_length,
        truncation=spec.truncation,
        batch_size=spec.batch_size,
        window=window,
        allow=spec.allow,
        tokenise=rendering.pair_tokens if encodes else rendering.conversation_tokens,
    )


def audit_rows(
    tokenizer: Any,
    rows: Sequence[TrainingRow],
    *,
    max_length: int,
    truncation: Literal["error", "drop"] = "error",
    batch_size: int = 1,
    window: int | None = None,
    allow: Collection[str] = (),
    tokenise: Callable[[Any, Sequence[Message], str], tuple[list[int], list[rendering.Turn]]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[TokenRow], Audit]:
    """Tokenise and check every row.

    Args:
        tokenizer: a transformers tokenizer with an EOS token.
        rows: what to train, in order.
        max_length: tokens of prompt and answer together.
        truncation: what becomes of rows longer than max_length: `error` refuses them, `drop` leaves them out and counts
            them. None is ever cut.
        batch_size: rows in a batch, for the padding share.
        window: positions the base model was made for; rows beyond it count as too long, whatever max_length says.
        allow: names of harms that shall not stop: `special_tokens`, `duplicates`.
        tokenise: what makes ids and turns of messages and answer; left out, `rendering.conversation_tokens`.
        progress: called with 1 after each row.

    Raises:
        UserError: with every kind of harm found, and its rows.
    """
    _require_eos(tokenizer)
    tokenised: list[Tokenised] = []
    harms: Harms = {}
    for row in rows:
        try:
            tokenised.append((row, *(tokenise or rendering.conversation_tokens)(tokenizer, row.messages, row.answer)))
        except UserError as error:  # the chat template does not allow this row
            harms.setdefault(str(error).removesuffix("."), []).append(row.row)
        if progress is not None:
            progress(1)
    spelt = _find_harm(tokenizer, tokenised, harms, allow)
    lengths = [(row.row, len(ids)) for row, ids, _ in tokenised]
    limit = min(max_length, window or max_length)
    long = [(number, length) for number, length in lengths if length > limit]
    fit = [(row, ids, turns) for row, ids, turns in tokenised if len(ids) <= limit]
    kept = [TokenRow(row=row.row, input_ids=tuple(ids), labels=_labels(ids, turns)) for row, ids, turns in fit]
    duplicates, contradictions = _repeated(kept)
    stops = [f"training data: {name_rows(numbers)}: {harm}." for harm, numbers in harms.items()]
    if long and truncation == "error":
        stops.append(_too_long(long, len(rows), max_length, window))
    elif not kept and not harms:
        stops.append(f"'split' must leave rows to train (got {len(rows)}, of which {len(long)} are too long).")
    if len(duplicates) > DUPLICATES * len(kept) and "duplicates" not in allow:
        stops.append(
            f"training data: {name_rows(duplicates)}: prompt and answer of an earlier row again, {len(duplicates):,} of "
            f"{len(kept):,} rows; take the copies out, or set allow: [duplicates]."
        )
    if stops:
        raise UserError("\n".join(stops))
    return kept, count_rows(
        kept,
        answers=sum(len(turns) for _, _, turns in fit),
        bos=tokenizer.bos_token_id,
        batch_size=batch_size,
        dropped=tuple(number for number, _ in long),
        duplicates=tuple(duplicates),
        contradictions=tuple(contradictions),
        special=tuple(spelt),
    )


def count_rows(
    kept: Sequence[TokenRow],
    *,
    answers: int,
    bos: int | None,
    batch_size: int,
    dropped: tuple[int, ...] = (),
    duplicates: tuple[int, ...] = (),
    contradictions: tuple[int, ...] = (),
    special: tuple[int, ...] = (),
) -> Audit:
    """What the audit says of rows that are trained, with so many answers in them."""
    lengths = [len(row.input_ids) for row in kept]
    return Audit(
        rows=len(kept),
        answers=answers,
        tokens=sum(lengths),
        trained_tokens=sum(label != IGNORED for row in kept for label in row.labels),
        bos=int(bos is not None and kept[0].input_ids[0] == bos),
        shortest=min(lengths),
        median=float(median(lengths)),
        mean=fmean(lengths),
        longest=max(lengths),
        padding_share=_padding_share(lengths, batch_size),
        dropped=dropped,
        duplicates=duplicates,
        contradictions=contradictions,
        special=special,
    )


def _labels(ids: Sequence[int], turns: Sequence[rendering.Turn]) -> tuple[int, ...]:
    """The ids of answers and of what ends them; IGNORED elsewhere."""
    labels = [IGNORED] * len(ids)
    for start, stop, end in turns:
        labels[start:stop] = ids[start:stop]
        labels[end] = ids[end]
    return tuple(labels)


def _require_eos(tokenizer: Any) -> None:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "'tokenizer' must have an end-of-sequence token (got none). Without one the model never learns to stop: "
            "add eos_token to the base model's tokenizer_config.json."
        )


def _find_harm(tokenizer: Any, tokenised: Sequence[Tokenised], harms: Harms, allow: Collection[str]) -> list[int]:
    """Adds to `harms` the rows that would teach the wrong tokens; returns those that spell a special token and may."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    spelt: list[int] = []

    def found(harm: str, row: TrainingRow) -> None:
        _note(harms.setdefault(harm, []), row)

    def found_token(token: str, row: TrainingRow) -> None:
        if "special_tokens" in allow:
            _note(spelt, row)
        else:
            found(f"the answer itself holds {token}; take it out of the data, or set allow: [special_tokens]", row)

    for row, ids, turns in tokenised:
        if not row.answer.strip():
            found("the answer is empty; fill it or take the rows out", row)
            continue
        if not turns[0].start:
            found("the prompt is empty after tokenising; give the model at least one token to answer to", row)
        if bos is not None and ids[: turns[0].start][:2] == [bos, bos]:
            found(f"two {tokenizer.bos_token} stand at the head; take it out of the prompt or the chat template", row)
        for start, stop, end in turns:
            answer = ids[start:stop]
            if ids[end] != eos:
                found(f"{tokenizer.eos_token} does not end the answer; let the chat template end the turn with it", row)
            elif eos in answer:
                found_token(tokenizer.eos_token, row)
            if bos is not None and bos != eos and bos in answer:
                found_token(tokenizer.bos_token, row)
    return spelt


def _note(rows: list[int], row: TrainingRow) -> None:
    """A row once, for a conversation may hold one harm in several turns."""
    if row.row not in rows[-1:]:
        rows.append(row.row)


def _repeated(kept: Sequence[TokenRow]) -> tuple[list[int], list[int]]:
    """Numbers of rows that repeat an earlier one, and of those that repeat an earlier prompt with another answer."""
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    prompts: set[tuple[int, ...]] = set()
    duplicates, contradictions = [], []
    for row in kept:
        content = (row.input_ids, row.labels)
        prompt = tuple(i for i, label in zip(row.input_ids, row.labels, strict=True) if label == IGNORED)
        if content in seen:
            duplicates.append(row.row)
        elif prompt in prompts:
            contradictions.append(row.row)
        seen.add(content)
        prompts.add(prompt)
    return duplicates, contradictions


def _padding_share(lengths: Sequence[int], batch_size: int) -> float:
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    return 1 - sum(lengths) / sum(max(batch) * len(batch) for batch in batches)


def _too_long(long: Sequence[tuple[int, int]], rows: int, max_length: int, window: int | None) -> str:
    """The line on rows that are too long, for the recipe or for the model itself, each with its length."""
    listed = ", ".join(f"{number} ({length:,})" for number, length in long[:12])
    more = f" and {len(long) - 12:,} more" if len(long) > 12 else ""
    longest = max(length for _, length in long)
    way_out = (
        f"truncation: drop to leave {len(long):,} of {rows:,} rows out; a cut row would lose the end of its answer"
    )
    if window is not None and longest > window:
        return (
            f"training rows must fit the base model's window of {window:,} tokens (longer, with tokens in brackets: "
            f"row {listed}{more}). Shorten them, or set {way_out}."
        )
    return (
        f"'max_length' must be at least the longest training row (got {max_length:,}; longer, with tokens in brackets: "
        f"row {listed}{more}). Set max_length to {longest:,}, or {way_out}."
    )


# --------------------------------------------------------------------------------------------------------- preferences


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """One preference as ids: what inference would feed, and after it each answer with its end-of-sequence token."""

    row: int
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of the prompt and the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAudit:
    """What the audit counted of preferences. Lengths are tokens of a prompt and its longer answer, of the rows kept."""

    rows: int
    tokens: int
    """Tokens of one epoch: each prompt twice, once with each answer."""
    trained_tokens: int
    """Of them, those of answers and their ends."""
    bos: int
    longest: int
    padding_share: float
    """Share of padding where the answers of a batch's pairs lie below each other, in the order given."""
    chosen_mean: float
    """Mean tokens of a preferred answer."""
    rejected_mean: float
    """Of the other one: where the two differ much, length is what is learnt first."""
    dropped: tuple[int, ...]
    duplicates: tuple[int, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"dropped": list(self.dropped), "duplicates": list(self.duplicates)}


def audit_pairs(
    tokenizer: Any,
    rows: Sequence[PreferenceRow],
    *,
    max_length: int,
    truncation: Literal["error", "drop"] = "error",
    batch_size: int = 1,
    window: int | None = None,
    allow: Collection[str] = (),
) -> tuple[list[TokenPair], PairAudit]:
    """Tokenise and check every preference; both answers are held to what `audit_rows` asks of one.

    Raises:
        UserError: with every kind of harm found, and its rows.
    """
    _require_eos(tokenizer)
    pairs: list[TokenPair] = []
    told: list[Tokenised] = []
    for row in rows:
        answers = []
        for answer in (row.chosen, row.rejected):
            context, ids = rendering.training_tokens(tokenizer, row.messages, answer)
            end = len(context) + len(ids) - 1
            trained = TrainingRow(row=row.row, messages=row.messages, answer=answer)
            told.append((trained, [*context, *ids], [rendering.Turn(len(context), end, end)]))
            answers.append(tuple(ids))
        pairs.append(TokenPair(row=row.row, prompt_ids=tuple(context), chosen_ids=answers[0], rejected_ids=answers[1]))
    harms: Harms = {}
    _find_harm(tokenizer, told, harms, allow)
    equal = [pair.row for pair in pairs if pair.chosen_ids == pair.rejected_ids]
    if equal:
        harms["both answers are the same tokens; take the rows out"] = equal
    lengths = [pair.length for pair in pairs]
    limit = min(max_length, window or max_length)
    long = [(pair.row, length) for pair, length in zip(pairs, lengths, strict=True) if length > limit]
    kept = [pair for pair, length in zip(pairs, lengths, strict=True) if length <= limit]
    stops = [f"preferences: {name_rows(numbers)}: {harm}." for harm, numbers in harms.items()]
    if long and truncation == "error":
        stops.append(_too_long(long, len(rows), max_length, window))
    elif not kept and not harms:
        stops.append(f"'preferences' must leave rows to train (got {len(rows)}, of which {len(long)} are too long).")
    if stops:
        raise UserError("\n".join(stops))
    sides = [len(pair.prompt_ids) + len(ids) for pair in kept for ids in (pair.chosen_ids, pair.rejected_ids)]
    audit = PairAudit(
        rows=len(kept),
        tokens=sum(sides),
        trained_tokens=sum(len(pair.chosen_ids) + len(pair.rejected_ids) for pair in kept),
        bos=_heads(tokenizer, [pair.prompt_ids for pair in kept]),
        longest=max(sides),
        padding_share=_padding_share(sides, 2 * batch_size),
        chosen_mean=fmean(len(pair.chosen_ids) for pair in kept),
        rejected_mean=fmean(len(pair.rejected_ids) for pair in kept),
        dropped=tuple(number for number, _ in long),
        duplicates=_copies([(p.row, (p.prompt_ids, p.chosen_ids, p.rejected_ids)) for p in kept]),
    )
    return kept, audit


# ------------------------------------------------------------------------------------------------------------- prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptAudit:
    """What the audit counted of prompts to which answers are drawn. Lengths are tokens of the prompts kept."""

    rows: int
    tokens: int
    """Tokens of one epoch at most, where every answer drawn is as long as it may be: each prompt once with each answer."""
    trained_tokens: int
    """Of them, those of answers."""
    bos: int
    longest: int
    padding_share: float
    """Share of padding before the prompts of a step, in the order given; that behind answers is not known before."""
    dropped: tuple[int, ...]
    """Row numbers left out because prompt and longest answer are longer than max_length."""
    duplicates: tuple[int, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"dropped": list(self.dropped), "duplicates": list(self.duplicates)}


def audit_prompts(
    tokenizer: Any,
    rows: Sequence[PromptRow],
    *,
    max_new_tokens: int,
    max_length: int,
    truncation: Literal["error", "drop"] = "error",
    window: int | None = None,
    num_generations: int = 1,
    prompts_of_step: int = 1,
) -> tuple[list[tuple[PromptRow, list[int]]], PromptAudit]:
    """Tokenise and check every prompt: each leaves room for an answer of `max_new_tokens`.

    `num_generations` answers are drawn to each, to `prompts_of_step` of them together.

    Raises:
        UserError: with every kind of harm found, and its rows.
    """
    _require_eos(tokenizer)
    tokenised = [(row, rendering.prompt_tokens(tokenizer, row.messages)) for row in rows]
    bos = tokenizer.bos_token_id
    empty = [row.row for row, ids in tokenised if not ids]
    twice = [row.row for row, ids in tokenised if bos is not None and ids[:2] == [bos, bos]]
    stops = []
    if empty:
        stops.append(f"training data: {name_rows(empty)}: the prompt is empty after tokenising.")
    if twice:
        stops.append(f"training data: {name_rows(twice)}: two {tokenizer.bos_token} stand at the head.")
    limit = min(max_length, window or max_length)
    long = [(row.row, len(ids) + max_new_tokens) for row, ids in tokenised if len(ids) + max_new_tokens > limit]
    kept = [(row, ids) for row, ids in tokenised if len(ids) + max_new_tokens <= limit]
    if long and truncation == "error":
        stops.append(_too_long(long, len(rows), max_length, window))
    elif not kept and not stops:
        stops.append(
            f"'split' must leave prompts to answer (got {len(rows)}, of which {len(long)} leave no room for answers)."
        )
    if stops:
        raise UserError("\n".join(stops))
    lengths = [len(ids) for _, ids in kept]
    answers = len(kept) * num_generations * max_new_tokens
    audit = PromptAudit(
        rows=len(kept),
        tokens=sum(lengths) * num_generations + answers,
        trained_tokens=answers,
        bos=_heads(tokenizer, [ids for _, ids in kept]),
        longest=max(lengths),
        padding_share=_padding_share(lengths, max(prompts_of_step, 1)),
        dropped=tuple(number for number, _ in long),
        duplicates=_copies([(row.row, tuple(ids)) for row, ids in kept]),
    )
    return kept, audit


AnyAudit = Audit | PairAudit | PromptAudit


def _heads(tokenizer: Any, rows: Sequence[Sequence[int]]) -> int:
    """Begin-of-sequence tokens at the head of every row: 0 or 1."""
    bos = tokenizer.bos_token_id
    return int(bos is not None and all(ids[0] == bos for ids in rows))


def _copies(rows: Sequence[tuple[int, object]]) -> tuple[int, ...]:
    """Numbers of rows whose content stands in an earlier row too."""
    seen: set[object] = set()
    found = []
    for number, content in rows:
        if content in seen:
            found.append(number)
        seen.add(content)
    return tuple(found)
