"""Turns rows into samples: which column is the input, the references, the id; and how a conversation is read.

A conversation is a list of messages, {role, content}, or that list as JSON text: at most one system message, then user
and assistant in turn. Calls of tools and what tools returned are left out and counted: a message of the assistant that
calls any (`tool_calls`, `function_call`) goes with its text, which only announces the call.

A sample without an id of its own is named by its content, so the same row has the same name in every file and every
run. Mistakes of all rows are reported together. Knows nothing of splits: `split` is still empty here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast, get_args

from harness.data.sources import Mistakes, Row, Rows, describe, fault
from harness.records import Message, Role, Sample, fingerprint

ID_DIGITS = 16
_CALLS = ("tool_calls", "function_call")
MISSING = "(missing)"
"""The slice of a row that has no value in the slice's column."""


class Drawn(NamedTuple):
    """A sample before it has a split, and the group it must stay with: its cluster, its given id, or its content."""

    sample: Sample
    group: str
    left_out: int = 0
    """Messages of its conversation that were left out, since they call a tool or hold what one returned."""


class _Columns(NamedTuple):
    input: str | None
    messages: str | None
    reference: tuple[str, ...]
    context: tuple[str, ...]
    id: str | None
    cluster: str | None
    slices: tuple[str, ...]


class _Bad(ValueError):
    """A mistake in one row; its text lacks only the place."""


def build_samples(
    rows: Rows,
    *,
    input: str | None,
    messages: str | None = None,
    reference: Sequence[str] = (),
    context: Sequence[str] = (),
    id: str | None = None,
    cluster: str | None = None,
    slices: Sequence[str] = (),
) -> list[Drawn]:
    """One sample a row, in order; the arguments name columns, and exactly one of `input` and `messages` is given.

    With `messages` the input is the last user turn, and the reference the assistant's turn after it, unless `reference`
    names a column; then the conversation ends with the user. Raises DataError with every mistake of every row.
    """
    columns = _Columns(input, messages, tuple(reference), tuple(context), id, cluster, tuple(slices))
    mistakes = Mistakes()
    drawn: list[Drawn] = []
    seen: dict[str, int] = {}
    for row in rows.rows:
        try:
            sample, left_out = _sample(row, columns)
        except _Bad as bad:
            mistakes.add(f"{rows.place(row)}: {bad}")
            continue
        base = sample.id
        seen[base] = seen.get(base, 0) + 1
        if seen[base] > 1 and id is None:
            sample = replace(sample, id=f"{base}-{seen[base]}")
        drawn.append(Drawn(sample, _group(sample.cluster, base), left_out))
    if id is not None:
        _name_duplicates(rows, id, [d.sample for d in drawn], mistakes)
    mistakes.raise_any()
    return drawn


def every_turn(conversation: Sample) -> list[Sample]:
    """A sample for each turn of the assistant, in order, with what stands before it: `ID#1`, `ID#2`, ….

    They are no independent draws, so they make a cluster: the conversation, unless it belongs to one already. A sample
    that holds no conversation is returned as it is.
    """
    turns = conversation.messages
    if not turns:
        return [conversation]
    earlier = [
        replace(conversation, input=turns[place - 1].content, references=(turn.content,), messages=turns[:place])
        for place, turn in enumerate(turns)
        if turn.role == "assistant"
    ]
    cluster = conversation.cluster if conversation.cluster is not None else conversation.id
    return [
        replace(sample, id=f"{conversation.id}#{number}", cluster=cluster)
        for number, sample in enumerate([*earlier, conversation], start=1)
    ]


def _group(cluster: str | None, base: str) -> str:
    return json.dumps(["cluster", cluster] if cluster is not None else ["id", base])


def _sample(row: Row, columns: _Columns) -> tuple[Sample, int]:
    """The sample of a row, and how many messages of its conversation were left out."""
    references = _required_texts(row, columns.reference, "reference")
    contexts = _required_texts(row, columns.context, "context")
    turns: tuple[Message, ...] = ()
    left_out = 0
    if columns.messages is not None:
        turns, left_out = read_conversation(row, columns.messages, answered=not columns.reference)
        if not columns.reference:
            turns, references = turns[:-1], (turns[-1].content,)
        text = turns[-1].content
    else:
        assert columns.input is not None  # the suite's grammar: exactly one of the two
        text = _text(row, columns.input)
    content = [text, references, contexts, [[turn.role, turn.content] for turn in turns]]
    sample = Sample(
        id=_given_id(row, columns.id) if columns.id is not None else fingerprint(content)[:ID_DIGITS],
        split="",
        input=text,
        references=references,
        contexts=contexts,
        cluster=_name(row, columns.cluster) if columns.cluster is not None else None,
        slices={column: _name(row, column) or MISSING for column in columns.slices},
        row=row.number,
        messages=turns,
        columns=row.values,
    )
    return sample, left_out


def _required_texts(row: Row, columns: Sequence[str], what: str) -> tuple[str, ...]:
    texts = tuple(text for column in columns for text in _texts(row, column))
    if columns and not texts:
        names = " or ".join(f"'{column}'" for column in columns)
        got = ", ".join(describe(row.values.get(column)) for column in columns)
        raise _Bad(f"column {names} must hold a {what} (got {got}).")
    return texts


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str) or not value.strip():
        got = describe(value) if column in row.values else "no such column in this row"
        blank = isinstance(value, str)
        raise _Bad(f"column '{column}' must {'hold more than white space' if blank else 'be text'} (got {got}).")
    return value


def _texts(row: Row, column: str) -> Iterator[str]:
    """The texts of a cell that holds a text or a list of texts; a blank one is left out, any other type refused."""
    value = row.values.get(column)
    for text in value if isinstance(value, list) else [value]:
        if text is not None and not isinstance(text, str):
            raise _Bad(f"column '{column}' must be text or a list of texts (got {describe(text)}).")
        if text is not None and text.strip():
            yield text


def _name(row: Row, column: str) -> str | None:
    """A cell as the name of a group: text, number or truth value; None where it is blank."""
    value = row.values.get(column)
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return value if value.strip() else None
        case _:
            raise _Bad(f"column '{column}' must be text or a number (got {describe(value)}).")


def _given_id(row: Row, column: str) -> str:
    value = row.values.get(column)
    if isinstance(value, bool | float) or not (name := _name(row, column)):
        raise _Bad(f"column '{column}' must hold an id, text or a whole number (got {describe(value)}).")
    return name


def _name_duplicates(rows: Rows, column: str, samples: Sequence[Sample], mistakes: Mistakes) -> None:
    numbers: dict[str, list[int]] = {}
    for sample in samples:
        numbers.setdefault(sample.id, []).append(sample.row)
    for id, found in numbers.items():
        if len(found) > 1:
            shown = ", ".join(map(str, found[:5])) + (", …" if len(found) > 5 else "")
            mistakes.add(f"{rows.name}: column '{column}' must be unique (rows {shown} all have {id!r}).")


# ------------------------------------------------------------------------------------------------------- conversations


def read_conversation(row: Row, column: str, *, answered: bool) -> tuple[tuple[Message, ...], int]:
    """The turns of a conversation that ends with the assistant (`answered`) or with the user, and how many messages
    were left out. Raises ValueError with what is wrong, place aside.
    """
    listed = list(enumerate(_listed(row, column), start=1))
    kept = [(number, value) for number, value in listed if not _is_of_tools(value)]
    turns = tuple(_turn(number, value, column) for number, value in kept)
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    got = (
        ", ".join(turn.role for turn in turns[:8]) + (", …" if len(turns) > 8 else "")
        if turns
        else "calls of tools only"
    )
    for number, turn in enumerate(spoken):
        if turn.role != ("user", "assistant")[number % 2]:
            raise _Bad(
                f"column '{column}' must alternate user and assistant, after at most one system message (got {got})."
            )
    last = "assistant" if answered else "user"
    if not spoken or spoken[-1].role != last:
        why = "whose turn is the reference" if answered else "since a column of its own holds the reference"
        raise _Bad(f"column '{column}' must end with the {last}, {why} (got {turns[-1].role if turns else got}).")
    return turns, len(listed) - len(kept)


def _listed(row: Row, column: str) -> list[Any]:
    value = row.values.get(column)
    if isinstance(value, str):  # how a CSV holds it
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _Bad(f"column '{column}' must be a list of messages (got {describe(value)}).") from None
    if not isinstance(value, list) or not value:
        raise _Bad(f"column '{column}' must be a list of messages (got {describe(value) if value else 'nothing'}).")
    return value


def _is_of_tools(value: Any) -> bool:
    """Whether a message calls a tool or holds what one returned."""
    if not isinstance(value, dict):
        return False
    return value.get("role") in ("tool", "function") or any(value.get(key) for key in _CALLS)


def _turn(number: int, value: Any, column: str) -> Message:
    where = f"column '{column}': message {number}"
    # A Parquet file gives every message the keys that any has, with null where it has none.
    keys = [key for key, held in value.items() if held is not None] if isinstance(value, dict) else []
    if not isinstance(value, dict) or not {"role", "content"} <= set(value) or set(keys) - {"role", "content", *_CALLS}:
        got = "keys " + ", ".join(map(str, value)) if isinstance(value, dict) else describe(value)
        raise _Bad(f"{where} must have the keys role and content, and no other (got {got}).")
    role = value["role"]
    if role not in get_args(Role):
        raise _Bad(f"{where}: role must be system, user or assistant (got {describe(role)}).")
    content = _content(value["content"], where)
    if found := fault(content):
        raise _Bad(f"{where} {found}")
    return Message(role=cast(Role, role), content=content.strip() if role == "assistant" else content)


def _content(value: Any, where: str) -> str:
    """A message's text: as it stands, or the parts of a list of {type: text, text: …}, a line each."""
    text = value
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in value]
        for number, part in enumerate(parts, start=1):
            if not isinstance(part, str):
                kind = value[number - 1].get("type") if isinstance(value[number - 1], dict) else value[number - 1]
                raise _Bad(
                    f"{where}: part {number} of content must be of type text, with a text (got {describe(kind)})."
                )
        text = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(text, str) or not text.strip():
        raise _Bad(f"{where}: content must be text (got {describe(value)}).")
    return text
