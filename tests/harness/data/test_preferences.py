"""Preferences are read with every mistake at its line, written as they are read, and count as learnt from."""

import json

import pytest

from harness.data import check_contamination, load_dataset, preference_line, read_preferences
from harness.errors import ContaminationError, DataError
from harness.records import Message, Preference, Sample
from harness.suite import load_suite


def write(path, *lines):
    """A .jsonl file of those lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_line_is_a_sample_and_two_answers(tmp_path):
    """The input, both answers, the row's number, and every column for the prompt."""
    path = write(tmp_path / "p.jsonl", {"input": "q", "chosen": "a", "rejected": "b", "topic": "t", "cluster": "c"})
    [one] = read_preferences(path)
    assert (one.sample.input, one.chosen, one.rejected) == ("q", "a", "b")
    assert (one.sample.row, one.sample.cluster, one.sample.columns["topic"]) == (1, "c", "t")
    assert one.sample.split.endswith("p.jsonl")


def test_a_conversation_ends_with_the_user(tmp_path):
    """Its turns are the prompt's."""
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "q"},
    ]
    [one] = read_preferences(write(tmp_path / "p.jsonl", {"messages": turns, "chosen": "a", "rejected": "b"}))
    assert one.sample.messages == tuple(Message(**turn) for turn in turns)
    assert one.sample.input == "q"


def test_every_mistake_is_told_at_its_line(tmp_path):
    """A blank, a list, and two equal answers."""
    path = write(
        tmp_path / "p.jsonl",
        {"input": "q", "chosen": "a", "rejected": " "},
        {"input": "q", "chosen": ["a"], "rejected": "b"},
        {"input": "q", "chosen": "a", "rejected": "a "},
        {"input": "q", "chosen": "a", "rejected": "b"},
    )
    with pytest.raises(DataError) as caught:
        read_preferences(path)
    lines = str(caught.value).splitlines()
    assert [line.rpartition("p.jsonl:")[2][0] for line in lines] == ["1", "2", "3"]
    assert "'rejected' must be text" in lines[0]
    assert "'chosen' must be one text" in lines[1]
    assert "must differ" in lines[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "column 'input' or column 'messages' must be there"),
        ({"input": "q", "better": "a", "rejected": "b"}, "column 'chosen' must be there"),
    ],
)
def test_missing_columns_are_named(tmp_path, line, message):
    """With those that are there."""
    with pytest.raises(DataError, match=message):
        read_preferences(write(tmp_path / "p.jsonl", line))


def test_what_is_written_is_read_back(tmp_path):
    """Input or turns, answers, cluster and the row's columns survive; a column called like a part of the line does not."""
    plain = Sample(id="1", split="test", input="q", cluster="c", columns={"Patient": "q", "chosen": "x", "input": "q"})
    turns = (Message(role="user", content="hi"),)
    spoken = Sample(id="2", split="test", input="hi", messages=turns, columns={"messages": "raw", "input": "odd"})
    for sample in (plain, spoken):
        written = Preference(sample=sample, chosen="a", rejected="b")
        [read] = read_preferences(write(tmp_path / "p.jsonl", preference_line(written)))
        assert (read.sample.input, read.sample.messages, read.chosen, read.rejected) == (
            sample.input, sample.messages, "a", "b",
        )  # fmt: skip
        assert read.sample.cluster == sample.cluster
    assert preference_line(Preference(sample=plain, chosen="a", rejected="b"))["Patient"] == "q"


def test_preferences_about_evaluation_rows_are_contamination(tmp_path):
    """The file and both row numbers are named."""
    write(tmp_path / "d.jsonl", {"q": "what is the dose for a small child of two years", "a": "x"})
    (tmp_path / "s.yaml").write_text(
        "suite: s\ndata: {path: d.jsonl, fields: {input: q, reference: a}}\nsplits: {test: {share: 1.0}}\n"
        "candidates: {base: {model: {kind: answers, path: d.jsonl}}}\njudges: {rouge: {}}\n"
    )
    line = {"input": "What is the dose for a small child of two years?", "chosen": "a", "rejected": "b"}
    learnt = read_preferences(write(tmp_path / "p.jsonl", line))
    loaded = load_suite(tmp_path / "s.yaml")
    with pytest.raises(ContaminationError, match=r"row 1 of '.*p\.jsonl' and row 1 of 'test': normalised"):
        check_contamination(load_dataset(loaded), loaded.suite, preferences=learnt)
