"""A suite with a pairwise judge from beginning to end: recorded answers, a judge at a local endpoint, store, gate and words."""

import json
import re

import pytest
import typer

from harness.cli.run import run
from harness.deciding.preferences import run_preferences
from harness.store import Home, Store
from tests.harness.models.fake_endpoint import FakeEndpoint, reply

SUITE = """\
suite: duel
data: {{path: rows.jsonl, fields: {{input: question}}}}
splits: {{test: {{share: 1.0}}}}
candidates:
  base: {{model: {{kind: answers, path: base.jsonl}}}}
  good: {{model: {{kind: answers, path: good.jsonl}}}}
  bad: {{model: {{kind: answers, path: bad.jsonl}}}}
judges:
  preference:
    kind: pairwise
    criteria: The higher number.
    model: {{kind: openai, name: m, base_url: "{url}"}}
gate:
  baseline: base
  rules:
    - {{metric: preference, at_least: 0.5}}
    - {{coverage: 0.9}}
"""
WORTH = {"base": 5, "good": 7, "bad": 3}
ROWS = 30


@pytest.fixture
def project(tmp_path):
    """A folder with data, three files of answers and a server that judges; bad has no answer to the last question."""

    def judge(request):
        first, second = re.findall(r"\[Answer [AB]\]\n\w+ (\d+)\n\[End", request["messages"][-1]["content"], re.DOTALL)
        return reply("A" if int(first) > int(second) else "B" if int(first) < int(second) else "tie")

    def write(name, lines):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("rows.jsonl", [{"question": f"Question {i}?"} for i in range(ROWS)])
    for name, worth in WORTH.items():
        rows = [{"input": f"Question {i}?", "answer": f"{name} {worth}"} for i in range(ROWS)]
        write(f"{name}.jsonl", rows[:-1] if name == "bad" else rows)
    with FakeEndpoint(judge) as server:
        (tmp_path / "suite.yaml").write_text(SUITE.format(url=server.url))
        yield tmp_path, server


def run_it(folder, capsys, **options):
    """The exit status, what was printed, and the newest run with its judgements and preferences."""
    given = {
        "candidate": None, "split": None, "limit": None, "data": None, "report": None, "json": None, "junit": None,
        "summary": None, "no_train": False, "no_gate": False, "fresh": False, "yes": True,
    }  # fmt: skip
    with pytest.raises(typer.Exit) as ended:
        run(str(folder / "suite.yaml"), home=folder / ".muster", **(given | options))
    with Store.open(Home(folder / ".muster"), read_only=True) as store:
        found = store.run("latest")
        return ended.value.exit_code, capsys.readouterr().out, store.judgements(found.id), run_preferences(store, found)


def scores(judgements):
    """The distinct scores of each candidate."""
    return {name: {j.score for j in judgements if j.candidate == name} for name in WORTH}


def test_against_the_baseline(project, capsys):
    """good wins and passes, bad loses, the baseline is a tie with itself; a second run asks the judge nothing for them."""
    folder, server = project
    _, printed, judgements, [found] = run_it(folder, capsys)
    assert scores(judgements) == {"base": {0.5}, "good": {1.0}, "bad": {0.0, None}}
    assert {j.error.kind for j in judgements if j.score is None} == {"no_answer"}
    assert all(j.evidence["opponents"] == ["base"] for j in judgements if j.score is not None)
    assert [s.candidate for s in found.standings] == ["good", "base", "bad"]
    assert found.duels["bad", "base"].losses == ROWS - 1
    assert re.search(r"PASS \(exit status 0\) +good against base", printed)
    assert "preference on test: who is preferred" in printed
    asked = len(server.requests)
    status, again, *_ = run_it(folder, capsys)
    assert len(server.requests) == asked
    assert status in (1, 4)
    assert "who is preferred" in again


def test_a_round_robin(project, capsys):
    """Against all: the score is the mean over the others, each pair is asked about once in each order and counted once."""
    folder, server = project
    suite = folder / "suite.yaml"
    suite.write_text(suite.read_text().replace("criteria:", "against: all\n    criteria:"))
    *_, judgements, [found] = run_it(folder, capsys)
    assert scores(judgements) == {"base": {0.5, 0.0}, "good": {1.0}, "bad": {0.0, None}}
    games = ROWS + 2 * (ROWS - 1)  # bad has no game about the last question
    assert (found.asked, found.bias.estimate) == (games, 0.0)
    forms = [request["messages"][-1]["content"] for request in server.requests]
    assert len(set(forms)) == 2 * games
    assert len(forms) == 2 * games + 1  # and once to find out that there are no logprobs
    assert [s.ranks for s in found.standings] == [(1, 1), (2, 2), (3, 3)]


def test_one_candidate_brings_its_opponent(project, capsys):
    """`--candidate good` takes the judge's opponent along, though no gate names it."""
    folder, _ = project
    suite = folder / "suite.yaml"
    text = suite.read_text()
    suite.write_text(text[: text.index("gate:")].replace("criteria:", "against: bad\n    criteria:"))
    *_, judgements, _ = run_it(folder, capsys, candidate=["good"])
    assert {j.candidate for j in judgements} == {"good", "bad"}
    unjudged = [j for j in judgements if j.candidate == "good" and j.score is None]
    assert [j.error.kind for j in unjudged] == ["missing_input"]
