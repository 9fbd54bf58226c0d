"""G-Eval at an endpoint, from `muster score` through the openai client to the server and back."""

import json
import math
import re

import pytest
import typer

from harness.cli.score import score
from tests.harness.models.fake_endpoint import FakeEndpoint, reply, status

LINES = [{"id": i, "input": "My back hurts.", "answer": f"Rest {i} days."} for i in range(3)]


def scored(folder, server, *settings):
    """Exit status and lines of `muster score geval` against a server, with pinned steps."""
    source, out = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    with FakeEndpoint(default=server) as endpoint:
        options = [
            "criteria=Kind.",
            "steps=[Read.]",
            "model.kind=openai",
            "model.name=m",
            f"model.base_url={endpoint.url}",
        ]
        with pytest.raises(typer.Exit) as done:
            score("geval", input=source, output=out, set=[*options, *settings], home=folder / "home")
        return done.value.exit_code, [json.loads(line) for line in out.read_text().splitlines()], endpoint.requests


def test_logprobs_on_a_scale_of_ten(tmp_path):
    """{8: .5, 9: .5} on 0..10 is 8.5; asked at temperature 1 for 20 alternatives, and once at 0."""
    half = math.log(0.5)
    status_, lines, requests = scored(tmp_path, reply("8", logprobs=[("8", half), ("9", half)]), "scale=0,10")
    assert status_ == 0
    assert [line["score"] for line in lines] == pytest.approx([0.85] * 3)
    assert {(line["evidence"]["mode"], line["evidence"]["logprobs"]) for line in lines} == {
        ("topk", "before temperature")
    }
    asked = [request for request in requests if "Kind." in request["messages"][0]["content"]]
    assert sorted(request["temperature"] for request in asked) == [0, 1, 1, 1]
    assert {(request["logprobs"], request["top_logprobs"]) for request in asked} == {(True, 20)}
    assert len(requests) == len(asked) + 1  # and once for the number 10


@pytest.mark.parametrize(
    "refusal",
    [
        status(403, "You are not allowed to request logprobs from this model"),
        status(400, "logprobs are not supported with reasoning models"),
        reply("4"),
    ],
    ids=["403", "400", "none"],
)
def test_refused_logprobs_are_probed_once_and_then_drawn(tmp_path, refusal):
    """One request finds out; every case is drawn, in one request of n, at temperature 1 and top_p 1."""

    def server(request):
        return refusal if request.get("logprobs") else reply(*["4", "5"] * (request["n"] // 2))

    status_, lines, requests = scored(tmp_path, server, "samples=4")
    assert status_ == 0
    assert [line["evidence"]["raw"] for line in lines] == [4.5] * 3
    assert [line["evidence"]["n"] for line in lines] == [4] * 3
    assert sum("logprobs" in request for request in requests) == 1
    assert {(r["n"], r["temperature"], r["top_p"]) for r in requests if "logprobs" not in r} == {(4, 1, 1)}


def test_logprobs_for_half_of_the_rows_make_no_mean_of_two_measures(tmp_path):
    """A server that drops them for some leaves those without a score, and the exit status says that some are missing."""

    def server(request):
        text = request["messages"][0]["content"]
        return reply("4") if re.search("Rest [12] days", text) else reply("4", logprobs=[("4", 0.0)])

    status_, lines, _ = scored(tmp_path, server)
    assert status_ == 4
    assert [line["score"] for line in lines] == [0.75, None, None]
    assert [line["error"] and line["error"]["kind"] for line in lines] == [None, "no_logprobs", "no_logprobs"]
