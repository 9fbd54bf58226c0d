"""`muster score`: line in, line out, in order; nulls with reasons; options from the command line."""

import json
import re

import pytest
import typer

from harness.cli.score import build_judge, judge_spec, read_cases, score
from harness.data.sources import Row, Rows
from harness.errors import DataError, UserError


def scored(tmp_path, lines, judge="token_f1", **options):
    """The exit status and the lines that `muster score` writes."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(typer.Exit) as exit_:
        score(judge, input=source, output=out, **options)
    return exit_.value.exit_code, [json.loads(line) for line in out.read_text().splitlines()]


def test_lines_come_out_in_order_with_the_ids_they_had(tmp_path):
    """Ids keep their type; any one of several references will do; score is null exactly where error is not."""
    status, lines = scored(
        tmp_path,
        [
            {"id": 7, "reference": ["no", "The cat"], "answer": "cat"},
            {"id": "b", "answer": "x"},
            {"reference": "x", "answer": None},
            {"id": "d", "reference": "a b", "answer": ""},
        ],
    )
    assert status == 0
    assert [line["id"] for line in lines] == [7, "b", 3, "d"]
    assert [line["score"] for line in lines] == [1.0, None, None, 0.0]
    assert [line["error"]["kind"] if line["error"] else None for line in lines] == [
        None,
        "missing_input",
        "no_answer",
        None,
    ]
    assert {line["metric"] for line in lines} == {"token_f1"}


def test_a_line_may_hold_a_conversation():
    """Messages that end with the user make input and conversation of a case; wrong ones are named with their line."""
    turns = [("user", "hi"), ("assistant", "hello"), ("user", "why?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    lines = ({"answer": "so", "messages": messages}, {"answer": "so", "messages": messages[2:]})
    rows = Rows(name="in.jsonl", columns=("messages",), rows=tuple(Row(n, n, row) for n, row in enumerate(lines, 1)))
    _, (talk, single) = read_cases(rows)
    assert (talk.input, [turn.content for turn in talk.messages]) == ("why?", ["hi", "hello", "why?"])
    assert (single.input, single.messages) == ("why?", ())
    assert talk.sha != single.sha
    ends_wrongly = Rows(name="in.jsonl", columns=("messages",), rows=(Row(1, 1, {"messages": messages[:2]}),))
    with pytest.raises(DataError, match=r"in\.jsonl:1: column 'messages' must end with the user"):
        read_cases(ends_wrongly)


def test_options_are_set_on_the_command_line(tmp_path):
    """A pattern is text, whatever YAML would make of it."""
    status, lines = scored(tmp_path, [{"id": 1, "answer": "yes: 12"}], judge="regex", set=["pattern=yes: [0-9]+"])
    assert (status, lines[0]["score"]) == (0, 1.0)


def test_nested_options_and_lists():
    """The contract's own example: criteria, a scale, and a model's parts."""
    _, spec = judge_spec(
        "geval",
        None,
        ["criteria=Is it kind, and brief?", "scale=1,5", "model.kind=openai", "model.name=m", "samples=5"],
    )
    assert (spec.criteria, spec.scale, spec.model.name, spec.samples) == ("Is it kind, and brief?", (1, 5), "m", 5)


@pytest.mark.parametrize(
    ("judge", "settings", "said"),
    [
        ("corectness", [], "did you mean 'correctness'"),
        ("regex", [], "pattern"),
        ("regex", ["pattern=("], "regular expression"),
        ("correctness", ["direction=sideways"], "direction"),
        ("correctness", ["direction"], "key=value"),
    ],
)
def test_wrong_options_are_named(judge, settings, said):
    """One line says which option is wrong."""
    with pytest.raises(UserError, match=said):
        judge_spec(judge, None, settings)


def test_pairwise_reads_the_opponents_answer(tmp_path):
    """A text or a list of texts under 'opponent', an empty one included; without one the line is unscored."""
    from tests.harness.models.fake_endpoint import FakeEndpoint, reply

    def longer(request):
        first, second = re.findall(r"\[Answer [AB]\]\n(.*?)\n\[End", request["messages"][-1]["content"], re.DOTALL)
        return reply("A" if len(first) > len(second) else "B")

    lines = [
        {"id": 1, "input": "q", "answer": "a long answer", "opponent": "no"},
        {"id": 2, "input": "q", "answer": "no answer at all", "opponent": ["no", "a much longer answer than that"]},
        {"id": 3, "input": "q", "answer": "no"},
        {"id": 4, "input": "q", "answer": "something more than nothing", "opponent": ""},
    ]
    with FakeEndpoint(longer) as server:
        options = ["criteria=Longer.", "model.kind=openai", "model.name=m", f"model.base_url={server.url}"]
        status, found = scored(tmp_path, lines, judge="pairwise", set=options)
    assert status == 0
    assert [line["score"] for line in found] == [1.0, 0.5, None, 1.0]
    assert found[2]["error"]["kind"] == "missing_input"
    assert [game["verdict"] for game in found[1]["evidence"]["games"]] == ["win", "loss"]


def test_a_model_typed_on_the_command_line_may_lie_anywhere(tmp_path, monkeypatch):
    """An absolute path is looked at where the user typed it; a suite from somebody else may not lead out of its folder."""
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(UserError, match="must be a sequence classification checkpoint"):
        build_judge("entailment", None, [f"model={elsewhere}"], trust_code=False, home=tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"input": "a", "reference": "b"}\n')
    (tmp_path / "suite.yaml").write_text(
        "suite: s\ndata: {path: rows.jsonl}\nsplits: {test: {share: 1.0}}\n"
        "candidates: {c: {model: {kind: answers, path: rows.jsonl}}}\n"
        f"judges: {{entailment: {{model: {elsewhere}}}}}\n"
    )
    with pytest.raises(UserError, match="relative to the suite"):
        build_judge("entailment", str(tmp_path / "suite.yaml"), [], trust_code=False, home=tmp_path)
