"""Recorded answers: to the right sample or a clear word why not."""

import json

import pytest

from harness.errors import DataError
from harness.models.recorded import load_recorded
from harness.records import GenerationSettings, Message, Prompt, Sample

SAMPLES = [Sample(id=f"s{i}", split="test", input=f"question  {i}\nplease") for i in range(3)]
SETTINGS = GenerationSettings()


def write(folder, lines):
    """A JSONL file of these objects."""
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def completions(recorded, samples=SAMPLES):
    """What is found for each sample."""
    prompts = [Prompt(sample_id=sample.id, messages=()) for sample in samples]
    [batch] = recorded.generate(prompts, SETTINGS)
    assert [index for index, _ in batch] == list(range(len(samples)))
    return [completion for _, completion in batch]


def test_by_id(tmp_path):
    """Answers go by id, in any order; text is kept letter for letter; extra lines and missing samples are counted."""
    lines = [{"id": "s2", "answer": " two \n"}, {"id": "s0", "answer": ""}, {"id": "s9", "answer": "nobody's"}]
    recorded = load_recorded(write(tmp_path, lines), SAMPLES)
    zero, one, two = completions(recorded)
    assert (zero.text, two.text, two.finish_reason) == ("", " two \n", "recorded")
    assert one.error.kind == "missing_answer"
    assert "answers.jsonl" in one.error.message
    assert (recorded.extra, recorded.missing) == (1, 1)


def test_by_input_letter_for_letter_then_by_words(tmp_path):
    """Without ids answers go by input: exact first, else with white space made equal; equal inputs share an answer."""
    lines = [
        {"input": "question 0 please", "answer": "spaced"},
        {"input": "question  0\nplease", "answer": "spaced"},
        {"input": " question 1 please", "answer": "one"},
    ]
    twin = Sample(id="twin", split="test", input=SAMPLES[1].input)
    found = completions(load_recorded(write(tmp_path, lines), [*SAMPLES, twin]), [*SAMPLES, twin])
    assert [c.text for c in found] == ["spaced", "one", None, "one"]


def test_inputs_cannot_tell_conversations_apart_that_end_alike(tmp_path):
    """A last turn that two different conversations share names neither: the file needs ids."""

    def talk(name, *texts):
        turns = [Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts)]
        return Sample(id=name, split="test", input=texts[-1], messages=tuple(turns))

    talks = [talk("a", "hi", "hello", "thanks"), talk("b", "help", "with what?", "thanks")]
    lines = [{"input": "thanks", "answer": "welcome"}]
    with pytest.raises(DataError, match=r"'thanks' is the last turn of several conversations\. Give each line an 'id'"):
        load_recorded(write(tmp_path, lines), talks)
    assert load_recorded(write(tmp_path, lines), [talks[0], talks[0]]).completions["a"].text == "welcome"


def test_ids_win_over_inputs(tmp_path):
    """In a file with ids the inputs are not looked at."""
    lines = [{"id": "s0", "input": SAMPLES[1].input, "answer": "zero"}]
    assert [c.text for c in completions(load_recorded(write(tmp_path, lines), SAMPLES))] == ["zero", None, None]


def test_null_is_a_missing_answer(tmp_path):
    """A null answer is a failure that names its line, and counts as missing."""
    recorded = load_recorded(write(tmp_path, [{"id": "s0", "answer": None}, {"id": "s1", "answer": "a"}]), SAMPLES)
    failure = completions(recorded)[0].error
    assert (failure.kind, "line 1" in failure.message, recorded.missing) == ("missing_answer", True, 2)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [{"id": "s0", "answer": "a"}, {"id": "s0", "answer": "b"}],
            r"jsonl:2: 'id' must be unique \(got 's0', as on .*:1",
        ),
        ([{"id": "s0", "answer": "a"}, {"input": "x", "answer": "b"}], "jsonl:2: 'id' must be text"),
        ([{"answer": "a"}], "'input' must be text"),
        ([{"id": "s0", "text": "a"}], "'answer' is missing"),
        ([{"id": "s0", "answer": 5}], "'answer' must be text or null"),
        ([{"id": "s0", "answer": ["a"]}], "'answer' must be text or null"),
        ([{"id": "other", "answer": "a"}], "none of its 1 answers belongs to a sample"),
        ([{"input": "a b", "answer": "x"}, {"input": "a  b", "answer": "y"}], "differ in white space only"),
    ],
)
def test_mistakes_of_the_file_are_named(tmp_path, lines, said):
    """What cannot be told apart or used is refused with its line."""
    with pytest.raises(DataError, match=said):
        load_recorded(write(tmp_path, lines), SAMPLES)


def test_missing_file_and_torn_line(tmp_path):
    """A file that is not there, or not JSON, is a DataError that names it."""
    with pytest.raises(DataError, match="nothing"):
        load_recorded(tmp_path / "nothing.jsonl", SAMPLES)
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "s0", "answer": "a"}\n{"id": "s1", "ans')
    with pytest.raises(DataError, match="jsonl:2"):
        load_recorded(path, SAMPLES)


def test_key_is_the_content(tmp_path):
    """The same lines elsewhere have the same key; one letter changed has another."""
    (tmp_path / "b").mkdir()
    first = load_recorded(write(tmp_path, [{"id": "s0", "answer": "a"}]), SAMPLES)
    second = load_recorded(write(tmp_path / "b", [{"id": "s0", "answer": "a"}]), SAMPLES)
    third = load_recorded(write(tmp_path, [{"id": "s0", "answer": "b"}]), SAMPLES)
    assert first.key == second.key != third.key
