"""`muster score`: line in, line out, in order; nulls with reasons; options from the command line."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from sklearn.metrics import f1_score

from harness.cli.score import build_judge, judge_all, judge_spec, read_cases, score, write_judgements
from harness.data.sources import Row, Rows
from harness.errors import DataError, ModelError, UserError
from harness.records import Judgement


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
        ("regex", [], r"^judge regex: 'pattern' is missing. It must be a text.*--set key=value$"),
        ("regex", ["patern=x"], r"^--set patern: unknown key \(did you mean 'pattern'\?\)$"),
        ("json_schema", ["schema=shape.json"], r"^--set schema: must be a mapping \(got 'shape.json'\)$"),
        ("geval", ["criteria=kind", "model.kind=openia"], "--set model.kind: must be .*did you mean 'openai'"),
        ("geval", ["criteria=kind", "model.kind=openai"], "^--set model: 'name' is missing"),
        (
            "geval",
            ["criteria=", "model.kind=openai", "model.name=m"],
            "^--set criteria: must be a text that is not empty",
        ),
        ("regex", ["pattern=("], "regular expression"),
        ("correctness", ["direction=sideways"], "direction"),
        ("correctness", ["direction"], "key=value"),
    ],
)
def test_wrong_options_are_named(judge, settings, said):
    """One line says which option is wrong."""
    with pytest.raises(UserError, match=said):
        judge_spec(judge, None, settings)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("out", "is a folder"),
        (".", "is a folder"),
        ("in.jsonl", "is the input itself"),
        ("in.jsonl/x", "cannot be written"),
        ("scores.csv", "must be JSON lines. Name it scores.jsonl"),
        ("Scores.PARQUET", "must be JSON lines. Name it Scores.jsonl"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_judged(tmp_path, monkeypatch, output, said):
    """Judging may take hours or money: where the result could not go, nothing is read or built; the input is never replaced."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "in.jsonl").write_text('{"answer": "a", "reference": "a"}\n')
    monkeypatch.setattr("harness.cli.score.build_judge", lambda *_, **__: pytest.fail("a judge was built"))
    with pytest.raises(UserError, match=said):
        score("token_f1", input=Path("in.jsonl"), output=Path(output))
    assert (tmp_path / "in.jsonl").read_text() == '{"answer": "a", "reference": "a"}\n'


def test_a_pipe_is_written_to_and_never_replaced(tmp_path):
    """`--output /dev/null` or a pipe stays what it is; a link to a file stays a link."""
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_text("old")
    link.symlink_to(file)
    judgement = Judgement(id="1", metric="m", score=1.0)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        write_judgements(pipe, ["1"], [judgement])
        assert json.loads(read.result(timeout=300))["score"] == 1.0
    write_judgements(link, ["1"], [judgement])
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert json.loads(file.read_text())["score"] == 1.0


def test_what_standard_output_goes_to_is_written_on(tmp_path):
    """`{ echo first; muster score … --output /dev/stdout; echo last; } >file`: the file is neither replaced nor emptied."""
    writing = "from pathlib import Path; from harness.store.writing import write_whole as w; w(Path('/dev/stdout'), b'scores\\n')"
    shell = f'{{ echo first; "{sys.executable}" -c "{writing}"; echo last; }}'
    subprocess.run(f"{shell} >> file", shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "file").read_text() == "first\nscores\nlast\n"
    assert (
        subprocess.run(f"{shell} | cat", shell=True, check=True, capture_output=True).stdout == b"first\nscores\nlast\n"
    )


def test_the_figure_of_many_scores_is_the_metrics_own(tmp_path, capsys):
    """Macro-F1 and perplexity are no means of scores: scikit-learn's F1 and exp(-sum log-likelihood / sum tokens) are printed."""
    pairs = [("a", "a"), ("b", "b"), ("b", "a"), ("b", "none of them"), ("a", "a"), ("c", "a")]
    lines = [{"reference": reference, "answer": answer} for reference, answer in pairs]
    scored(tmp_path, lines, judge="macro_f1", set=["labels=a,b,c"])
    said = [answer if answer in "abc" else "" for _, answer in pairs]
    expected = f1_score(
        [reference for reference, _ in pairs], said, labels=["a", "b", "c"], average="macro", zero_division=0
    )
    assert f"6 scored, 0 unscored, macro_f1 {expected:.4f}" in capsys.readouterr().err
    texts = [[("x", -1.0, 1)], [("y", -9.0, 3)]]
    lines = [
        {"likelihoods": [{"text": text, "log_likelihood": log, "tokens": tokens} for text, log, tokens in row]}
        for row in texts
    ]
    scored(tmp_path, lines, judge="perplexity")
    assert f"perplexity {math.exp(10 / 4):.4f}" in capsys.readouterr().err


def test_an_interrupted_score_keeps_what_was_judged_and_promises_nothing(tmp_path, monkeypatch, capsys):
    """The lines of the chunks that were done lie beside the output; without any, no file is left."""
    monkeypatch.setattr("harness.cli.score.CHUNK", 2)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"answer": "a", "reference": "a"}\n' * 5)

    def stopping(after):
        def judge(built, name, cases, console):
            yield from itertools.islice(whole(built, name, cases, console), after)
            raise KeyboardInterrupt

        return judge

    whole = judge_all
    for after, left in ((0, None), (2, 4)):
        monkeypatch.setattr("harness.cli.score.judge_all", stopping(after))
        with pytest.raises(KeyboardInterrupt):
            score("token_f1", input=source, output=out)
        part = tmp_path / "out.jsonl.part"
        assert (len(part.read_text().splitlines()) if part.exists() else None) == left
        assert not out.exists()
    assert "4 of 5 lines are in" in capsys.readouterr().err


def test_nothing_scored_is_status_5_and_a_misspelt_column_is_named(tmp_path, capsys):
    """All lines lack the answer: each says so, the exit status too, and the column that was meant is shown."""
    status, lines = scored(tmp_path, [{"id": 1, "anwser": "a", "reference": "a"}])
    assert status == 5
    assert lines[0]["error"]["kind"] == "no_answer"
    assert "column 'anwser' is not read (did you mean 'answer'?)" in capsys.readouterr().err


def test_a_judge_whose_model_is_away_leaves_nulls(tmp_path):
    """An endpoint that refuses the steps of G-Eval, and a model that is not there: every line null with the reason, status 4."""
    from tests.harness.models.fake_endpoint import FakeEndpoint, status

    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": 7, "input": "q", "answer": "a"}\n{"id": "b", "input": "q", "answer": "c"}\n')

    def fails(judge, settings, home="home"):
        out.write_text("of an earlier run")
        with pytest.raises(ModelError) as error:
            score(judge, input=source, output=out, set=settings, home=tmp_path / home)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert error.value.exit_status == 4
        assert [(line["id"], line["score"], line["metric"]) for line in lines] == [(7, None, judge), ("b", None, judge)]
        return {line["error"]["kind"] for line in lines}

    with FakeEndpoint() as endpoint:
        endpoint.default = status(401, "bad key")
        options = ["criteria=kind", "model.kind=openai", "model.name=m", f"model.base_url={endpoint.url}"]
        assert fails("geval", options) == {"not_authorised"}
    assert fails("toxicity", ["model=nobody/nothing"]) == {"judge_unreachable"}


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
