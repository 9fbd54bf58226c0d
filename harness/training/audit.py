"""The audit: every training row, tokenised before any step, through the one render function that inference uses.

Guarantees of the rows it returns: what stands before an answer is, id by id, what the model is fed at inference; only
answers are trained, of a conversation every turn of the assistant; the last trained id of an answer is the
end-of-sequence token, which stands nowhere else in it; no row begins with two begin-of-sequence tokens; none is longer
than `max_length` and none has been cut. Whatever would harm stops the training with row numbers, all kinds at once.
Knows nothing of torch, files or the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Literal

from harness.errors import UserError
from harness.models import rendering
from harness.training.recipe import TrainingRow, name_rows

IGNORED = -100
"""The label of a token that is not trained (torch's `ignore_index`)."""

Tokenised = tuple[TrainingRow, list[int], list[rendering.Turn]]
Harms = dict[str, list[int]]
"""Numbers of the rows, by what is wrong with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One training row as ids. `labels` equals `input_ids` on answers and their ends, and is IGNORED elsewhere."""

    row: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the audit counted. Lengths are tokens of prompt and answer together, of the rows kept."""

    rows: int
    """Rows that are trained."""
    answers: int
    """Answers in them: one a row, or of a conversation every turn of the assistant."""
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

    def as_record(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"dropped": list(self.dropped), "duplicates": list(self.duplicates)}


def audit_rows(
    tokenizer: Any,
    rows: Sequence[TrainingRow],
    *,
    max_length: int,
    truncation: Literal["error", "drop"] = "error",
    batch_size: int = 1,
    window: int | None = None,
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
        progress: called with 1 after each row.

    Raises:
        UserError: with every kind of harm found, and its rows.
    """
    if tokenizer.eos_token_id is None:
        raise UserError(
            "'tokenizer' must have an end-of-sequence token (got none). Without one the model never learns to stop: "
            "add eos_token to the base model's tokenizer_config.json."
        )
    tokenised: list[Tokenised] = []
    harms: Harms = {}
    for row in rows:
        try:
            tokenised.append((row, *rendering.conversation_tokens(tokenizer, row.messages, row.answer)))
        except UserError as error:  # the chat template does not allow this row
            harms.setdefault(str(error).removesuffix("."), []).append(row.row)
        if progress is not None:
            progress(1)
    _refuse_harm(tokenizer, tokenised, harms)
    lengths = [(row.row, len(ids)) for row, ids, _ in tokenised]
    limit = min(max_length, window or max_length)
    long = [(number, length) for number, length in lengths if length > limit]
    if long and truncation == "error":
        _refuse_long(long, len(rows), max_length, window)
    fit = [(row, ids, turns) for row, ids, turns in tokenised if len(ids) <= limit]
    kept = [TokenRow(row=row.row, input_ids=tuple(ids), labels=_labels(ids, turns)) for row, ids, turns in fit]
    if not kept:
        raise UserError(f"'split' must leave rows to train (got {len(rows)}, of which {len(long)} are too long).")
    answers = sum(len(turns) for _, _, turns in fit)
    dropped = [number for number, _ in long]
    return kept, _count(kept, answers, dropped=dropped, bos=tokenizer.bos_token_id, batch_size=batch_size)


def _labels(ids: Sequence[int], turns: Sequence[rendering.Turn]) -> tuple[int, ...]:
    """The ids of answers and of what ends them; IGNORED elsewhere."""
    labels = [IGNORED] * len(ids)
    for start, stop, end in turns:
        labels[start:stop] = ids[start:stop]
        labels[end] = ids[end]
    return tuple(labels)


def _refuse_harm(tokenizer: Any, tokenised: Sequence[Tokenised], harms: Harms) -> None:
    """Raise UserError, one line a kind of harm, if any row would teach the wrong tokens; `harms` were found before."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id

    def found(harm: str, row: TrainingRow) -> None:
        rows = harms.setdefault(harm, [])
        if row.row not in rows[-1:]:  # a conversation may hold one harm in several turns
            rows.append(row.row)

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
                found(f"the answer itself holds {tokenizer.eos_token}; take it out of the data", row)
            if bos is not None and bos != eos and bos in answer:
                found(f"the answer itself holds {tokenizer.bos_token}; take it out of the data", row)
    if harms:
        raise UserError("\n".join(f"training data: {name_rows(numbers)}: {harm}." for harm, numbers in harms.items()))


def _refuse_long(long: Sequence[tuple[int, int]], rows: int, max_length: int, window: int | None) -> None:
    """Raise UserError with each row that is too long, for the recipe or for the model itself."""
    listed = ", ".join(f"{number} ({length:,})" for number, length in long[:12])
    more = f" and {len(long) - 12:,} more" if len(long) > 12 else ""
    longest = max(length for _, length in long)
    way_out = (
        f"truncation: drop to leave {len(long):,} of {rows:,} rows out; a cut row would lose the end of its answer"
    )
    if window is not None and longest > window:
        raise UserError(
            f"training rows must fit the base model's window of {window:,} tokens (longer, with tokens in brackets: "
            f"row {listed}{more}). Shorten them, or set {way_out}."
        )
    raise UserError(
        f"'max_length' must be at least the longest training row (got {max_length:,}; longer, with tokens in brackets: "
        f"row {listed}{more}). Set max_length to {longest:,}, or {way_out}."
    )


def _count(
    kept: Sequence[TokenRow], answers: int, *, dropped: Sequence[int], bos: int | None, batch_size: int
) -> Audit:
    lengths = [len(row.input_ids) for row in kept]
    batches = [lengths[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    duplicates = []
    for row in kept:
        content = (row.input_ids, row.labels)
        if content in seen:
            duplicates.append(row.row)
        seen.add(content)
    return Audit(
        rows=len(kept),
        answers=answers,
        tokens=sum(lengths),
        trained_tokens=sum(label != IGNORED for row in kept for label in row.labels),
        bos=int(bos is not None and all(row.input_ids[0] == bos for row in kept)),
        shortest=min(lengths),
        median=float(median(lengths)),
        mean=fmean(lengths),
        longest=max(lengths),
        padding_share=1 - sum(lengths) / padded,
        dropped=tuple(dropped),
        duplicates=tuple(duplicates),
    )
