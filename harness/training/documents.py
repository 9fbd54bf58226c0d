"""Raw text for continued pre-training: every token of every document is trained, in pieces that the model can take.

Guarantees: a document is its ids as the tokenizer begins a text, and the end-of-sequence token; it is cut where a piece
is full and nowhere lost: the next piece begins with the last id of the one before, as its context, so each id but the
document's first is predicted exactly once. Neither prompt nor chat template stands around a text. Pieces do not see
each other, even where they are laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import UserError
from harness.models import rendering
from harness.training.audit import IGNORED, Audit, TokenRow, count_rows
from harness.training.recipe import TrainingRow, name_rows


def audit_documents(
    tokenizer: Any, rows: Sequence[TrainingRow], *, max_length: int, batch_size: int = 1, window: int | None = None
) -> tuple[list[TokenRow], Audit]:
    """The pieces of every document, in order, and what was counted; `answers` are the documents.

    Args:
        tokenizer: a transformers tokenizer with an EOS token.
        rows: the documents, each the `answer` to nothing.
        max_length: most ids of a piece, at least 2.
        batch_size: pieces in a batch, for the padding share.
        window: positions the base model was made for: no piece is longer.

    Raises:
        UserError: a text spells a begin or end of its own, or max_length leaves no room; every such row is named.
    """
    if tokenizer.eos_token_id is None:
        raise UserError(
            "'tokenizer' must have an end-of-sequence token, which ends every document (got none). Add eos_token to the "
            "base model's tokenizer_config.json."
        )
    size = min(max_length, window or max_length)
    if size < 2:
        raise UserError(f"'max_length' must be at least 2, a token and the one before it (got {max_length}).")
    documents = [(row, [*rendering.tokens(tokenizer, row.answer), tokenizer.eos_token_id]) for row in rows]
    _refuse_harm(tokenizer, documents)
    pieces = [
        TokenRow(row=row.row, input_ids=tuple(piece), labels=(IGNORED, *piece[1:]))
        for row, ids in documents
        for piece in cut(ids, size)
    ]
    return pieces, count_rows(pieces, answers=len(documents), bos=tokenizer.bos_token_id, batch_size=batch_size)


def cut(ids: Sequence[int], size: int) -> list[Sequence[int]]:
    """Pieces of at most `size` ids, each beginning with the last id of the one before: together they predict every id."""
    return [ids[start : start + size] for start in range(0, max(len(ids) - 1, 1), size - 1)]


def _refuse_harm(tokenizer: Any, documents: Sequence[tuple[TrainingRow, list[int]]]) -> None:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    harms = {
        f"the text itself holds {tokenizer.eos_token}": [row.row for row, ids in documents if eos in ids[:-1]],
        f"the text itself holds {tokenizer.bos_token}": [
            row.row for row, ids in documents if bos not in (None, eos) and bos in ids[1:]
        ],
    }
    lines = [
        f"training data: {name_rows(rows)}: {harm}; take it out of the data." for harm, rows in harms.items() if rows
    ]
    if lines:
        raise UserError("\n".join(lines))
