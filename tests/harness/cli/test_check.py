"""`muster check` reads what a run would read, and says what is there already."""

from tests.harness.models.fake_endpoint import FakeEndpoint, reply
from tests.test_bad_inputs import ROWS, Place


def row_of(place, name):
    """The candidate's line in the table of the plan."""
    return next(line for line in place.out.splitlines() if line.split()[:1] == [name])


def test_mistakes_in_recorded_answers_are_told_before_a_run(tmp_path):
    """Every mistake of every file, as `muster run` would tell it."""
    place = Place(tmp_path)
    place.write("base.jsonl", "hello\n")
    place.rows("new.jsonl", [{"input": "what is number 1?", "answer": "it is 1"}] * 2)
    status, lines = place.muster("check", "suite.yaml")
    assert status == 2
    assert [line.split(": ")[-2] for line in lines] == ["is not JSON", "new.jsonl:2"]
    assert "'input' must be unique" in lines[1]


def test_recorded_answers_that_lack_are_named(tmp_path):
    """How many, which, and what it leads to; a null is no answer."""
    place = Place(tmp_path)
    answers = [{"input": row["question"], "answer": row["answer"] if n != 2 else None} for n, row in enumerate(ROWS)]
    place.rows("new.jsonl", answers[1:])
    place.edit("input: question", "id: id, input: question")
    status, _ = place.muster("check", "suite.yaml")
    assert status == 0
    assert row_of(place, "base").endswith("12, all recorded  ")
    assert row_of(place, "new").endswith("12, 10 recorded  ")
    assert "new: its file has no answer for 2 of 12 samples (r0, r2), so a run ends incomplete" in place.out
    assert place.muster("run", "suite.yaml")[0] == 4
    assert "incomplete: what was finished is kept; complete the file and run it again" in place.out


def test_a_rule_on_latency_says_what_recorded_answers_lack(tmp_path):
    """As the run then does: incomplete, for the file holds no times."""
    place = Place(tmp_path)
    place.edit("  rules:\n", "  rules:\n    - {latency: 2}\n")
    assert place.muster("check", "suite.yaml")[0] == 0
    assert "new: its answers are recorded and hold no times" in place.out
    assert "base: its answers are recorded" not in place.out
    assert place.muster("run", "suite.yaml")[0] == 4


def test_stored_answers_are_counted_without_a_request(tmp_path):
    """Before a run nothing is stored; after it everything; after a change of the prompt nothing again."""
    with FakeEndpoint(reply("it is 1")) as server:
        place = Place(tmp_path)
        model = f"{{kind: openai, name: m, base_url: '{server.url}'}}"
        place.edit("{kind: answers, path: new.jsonl}", model)
        place.edit("splits:\n", "prompt: 'Say it. {{ input }}'\nsplits:\n")
        place.muster("check", "suite.yaml")
        assert row_of(place, "new").endswith(" 12 requests  ")
        assert len(server.requests) == 0
        place.muster("run", "suite.yaml")
        sent = len(server.requests)
        assert sent == 12
        place.muster("check", "suite.yaml")
        assert row_of(place, "new").endswith("12 requests, all stored  ")
        place.edit("Say it.", "Tell it.")
        place.muster("check", "suite.yaml")
        assert row_of(place, "new").endswith(" 12 requests  ")
        assert len(server.requests) == sent
