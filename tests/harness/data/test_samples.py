"""From rows to samples: ids, references, conversations, and the mistakes a row can hold."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.samples import MISSING, build_samples, every_turn
from harness.data.sources import Row, Rows
from harness.errors import DataError
from harness.records import Message


def rows_of(*values):
    """Rows of a file a.jsonl."""
    columns = tuple(dict.fromkeys(column for value in values for column in value))
    rows = tuple(Row(line, line, value) for line, value in enumerate(values, start=1))
    return Rows(name="a.jsonl", columns=columns, rows=rows)


def samples_of(*values, **columns):
    """Samples of these rows, the input in column q."""
    return [drawn.sample for drawn in build_samples(rows_of(*values), **{"input": "q", **columns})]


def mistakes_of(*values, **columns):
    """The lines of the DataError that these rows raise."""
    with pytest.raises(DataError) as raised:
        samples_of(*values, **columns)
    return str(raised.value).splitlines()


def chat(*turns):
    """A conversation in chat format."""
    return [{"role": role, "content": content} for role, content in turns]


def test_a_sample_holds_what_the_columns_say():
    """Each field of a sample comes from its column; the whole row stays at hand for templates."""
    row = {"q": "why?", "r": ["a", " ", "b"], "c": "because", "k": 7, "s": True, "t": None, "n": 3}
    (sample,) = samples_of(row, reference=["r"], context=["c"], id="n", cluster="k", slices=["s", "t"])
    assert (sample.id, sample.input, sample.references, sample.contexts) == ("3", "why?", ("a", "b"), ("because",))
    assert (sample.cluster, sample.slices, sample.row) == ("7", {"s": "true", "t": MISSING}, 1)
    assert sample.columns == row


def test_several_columns_may_hold_references_and_one_is_enough():
    """References are gathered over columns in their order; a row with any of them is complete."""
    rows = ({"q": "x", "r": "a", "t": "b"}, {"q": "y", "r": None, "t": "b"})
    assert [s.references for s in samples_of(*rows, reference=["r", "t"])] == [("a", "b"), ("b",)]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=12), extra=st.integers())
def test_content_ids_are_unique_and_name_the_content(texts, extra):
    """Ids are unique, 16 hex digits for a first appearance, and neither other rows nor unused columns change them."""
    ids = [s.id for s in samples_of(*({"q": text} for text in texts))]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f]{16}(-\d+)?", id) for id in ids)
    alone = {text: samples_of({"q": text, "note": extra})[0].id for text in texts}
    assert [id.split("-")[0] for id in ids] == [alone[text] for text in texts]
    assert ids == [s.id for s in samples_of(*({"q": text} for text in [*texts, "a", "z"]))][: len(ids)]


def test_groups_are_cluster_then_id_then_content():
    """What must stay together: rows of a cluster, else the row with its id, else rows of equal content."""

    def groups(*values, **columns):
        return [drawn.group for drawn in build_samples(rows_of(*values), input="q", **columns)]

    first, second, third = groups({"q": "a"}, {"q": "a"}, {"q": "b"})
    assert first == second != third
    first, second, third = groups({"q": "a", "k": 1}, {"q": "b", "k": 1}, {"q": "a", "k": None}, cluster="k")
    assert first == second != third
    first, second = groups({"q": "a", "n": 1}, {"q": "a", "n": 2}, id="n")
    assert first != second


@pytest.mark.parametrize(
    ("values", "columns", "expected"),
    [
        ([{"q": "a"}, {"q": 42}], {}, "a.jsonl:2: column 'q' must be text (got the number 42)."),
        ([{"q": "a"}, {"q": " "}], {}, "a.jsonl:2: column 'q' must hold more than white space (got text ' ')."),
        ([{"q": "a"}, {"x": 1}], {}, "a.jsonl:2: column 'q' must be text (got no such column in this row)."),
        ([{"q": "a", "r": ""}], {"reference": ["r"]}, "a.jsonl:1: column 'r' must hold a reference (got text '')."),
        ([{"q": "a", "r": []}], {"reference": ["r"]}, "a.jsonl:1: column 'r' must hold a reference (got a list)."),
        ([{"q": "a", "r": 1.5}], {"reference": ["r"]}, "a.jsonl:1: column 'r' must be text or a list of texts "
            "(got the number 1.5)."),
        ([{"q": "a", "c": None}], {"context": ["c"]}, "a.jsonl:1: column 'c' must hold a context (got nothing)."),
        ([{"q": "a", "k": {}}], {"cluster": "k"}, "a.jsonl:1: column 'k' must be text or a number (got an object)."),
        ([{"q": "a", "s": ["x"]}], {"slices": ["s"]}, "a.jsonl:1: column 's' must be text or a number (got a list)."),
        ([{"q": "a", "n": None}], {"id": "n"}, "a.jsonl:1: column 'n' must hold an id, text or a whole number (got nothing)."),
        ([{"q": "a", "n": 1.0}], {"id": "n"}, "a.jsonl:1: column 'n' must hold an id, text or a whole number "
            "(got the number 1.0)."),
        (
            [{"q": "a", "n": 1}, {"q": "b", "n": 2}, {"q": "c", "n": "1"}], {"id": "n"},
            "a.jsonl: column 'n' must be unique (rows 1, 3 all have '1').",
        ),
    ],
)  # fmt: skip
def test_a_bad_row_gets_one_line(values, columns, expected):
    """Blank, missing and mistyped cells and repeated ids are named with column, value and row."""
    assert mistakes_of(*values, **columns) == [expected]


def test_mistakes_of_all_rows_come_together():
    """Three bad rows make three lines."""
    assert len(mistakes_of({"q": 1}, {"q": "fine"}, {"q": None}, {"q": "a", "x": 1}, {"q": ""})) == 3


def test_a_conversation_is_read_turn_by_turn():
    """Input is the last user turn, the reference the assistant's after it; the turns before stay, with the system message."""
    turns = chat(("system", "be kind"), ("user", "hi"), ("assistant", "hello"), ("user", "why?"), ("assistant", "so"))
    for cell in (turns, json.dumps(turns)):
        (sample,) = samples_of({"m": cell}, input=None, messages="m")
        assert (sample.input, sample.references) == ("why?", ("so",))
        assert sample.messages == tuple(Message(role=t["role"], content=t["content"]) for t in turns[:-1])


def test_calls_of_tools_and_their_results_are_left_out_and_counted():
    """What is left is the talk: a message that calls a tool goes with its text, and so does what the tool returned."""
    call = {"role": "assistant", "content": "let me look", "tool_calls": [{"id": "1", "function": {"name": "look"}}]}
    old_call = {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "a", "tool_calls": None},
        call, {"role": "tool", "content": "42", "tool_call_id": "1", "name": "look"},
        {"role": "assistant", "content": "b", "tool_calls": []},
        {"role": "user", "content": "c"}, old_call, {"role": "function", "name": "look", "content": ""},
        {"role": "assistant", "content": "d", "function_call": None},
    ]  # fmt: skip
    rows = rows_of({"m": talk}, {"m": chat(("user", "a"), ("assistant", "b"))})
    with_tools, plain = build_samples(rows, input=None, messages="m")
    assert (with_tools.left_out, plain.left_out) == (4, 0)
    assert [(t.role, t.content) for t in with_tools.sample.messages] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert with_tools.sample.references == ("d",)


def test_content_in_parts_is_joined_and_an_assistants_turn_is_trimmed():
    """Parts of type text make a line each; white space around what the assistant said is no part of it."""
    parts = [{"type": "text", "text": "what"}, {"type": "text", "text": "now?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": " rest \n"}]
    (sample,) = samples_of({"m": [*turns, *chat(("user", " why? "), ("assistant", "\nso"))]}, input=None, messages="m")
    assert [turn.content for turn in sample.messages] == ["what\nnow?", "rest", " why? "]
    assert sample.references == ("so",)


def test_every_turn_of_a_conversation_is_a_sample_with_what_stands_before_it():
    """Ids are the conversation's with the number of the turn, which also are its cluster; a cluster of its own stays."""
    talk = chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    (sample,) = samples_of({"m": talk, "n": 7, "k": "x"}, input=None, messages="m", id="n")
    first, second = every_turn(sample)
    assert (first.id, first.input, first.references, first.cluster) == ("7#1", "a", ("b",), "7")
    assert (second.id, second.input, second.references, second.cluster) == ("7#2", "c", ("d",), "7")
    assert [turn.content for turn in first.messages] == ["s", "a"]
    assert second.messages == sample.messages
    assert (first.row, first.columns) == (sample.row, sample.columns)
    (grouped,) = samples_of({"m": talk, "k": "x"}, input=None, messages="m", cluster="k")
    assert {turn.cluster for turn in every_turn(grouped)} == {"x"}
    (single,) = samples_of({"q": "a"})
    assert every_turn(single) == [single]


def test_a_conversation_with_a_reference_column_ends_with_the_user():
    """Where a column holds the reference, the conversation is all prompt."""
    (sample,) = samples_of({"m": chat(("user", "why?")), "r": "so"}, input=None, messages="m", reference=["r"])
    assert (sample.input, sample.references, len(sample.messages)) == ("why?", ("so",), 1)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (None, "must be a list of messages (got nothing)"),
        ("hi", "must be a list of messages (got text 'hi')"),
        ([], "must be a list of messages (got nothing)"),
        ([1], "message 1 must have the keys role and content, and no other (got the number 1)"),
        ([{"from": "human", "value": "hi"}], "message 1 must have the keys role and content, "
            "and no other (got keys from, value)"),
        (chat(("user", "a"), ("critic", "b")), "message 2: role must be system, user or assistant (got text 'critic')"),
        (chat(("user", "a"), ("assistant", " ")), "message 2: content must be text (got text ' ')"),
        (chat(("user", "a")), "must end with the assistant, whose turn is the reference (got user)"),
        (chat(("system", "a")), "must end with the assistant"),
        (chat(("assistant", "a")), "must alternate user and assistant, after at most one system message (got assistant)"),
        (chat(("user", "a"), ("user", "b"), ("assistant", "c")), "must alternate user and assistant"),
        (chat(("user", "a"), ("system", "b"), ("assistant", "c")), "must alternate user and assistant"),
        ([{"role": "user", "content": "a", "weight": 0}], "message 1 must have the keys role and content, and no other "
            "(got keys role, content, weight)"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]}],
            "message 1: part 2 of content must be of type text, with a text (got text 'image_url')"),
        ([{"role": "user", "content": []}], "message 1: content must be text (got a list)"),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}], "must end with the assistant, whose turn "
            "is the reference (got calls of tools only)"),
        (json.dumps(chat(("user", "a\x00"), ("assistant", "b"))), "message 1 holds a NUL character"),
    ],
)  # fmt: skip
def test_a_bad_conversation_gets_one_line(cell, expected):
    """Roles, their order, the last turn and empty contents are checked, each with its message number."""
    (line,) = mistakes_of({"m": cell}, input=None, messages="m")
    assert line.startswith("a.jsonl:1: column 'm'")
    assert expected in line
