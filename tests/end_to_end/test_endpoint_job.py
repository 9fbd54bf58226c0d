"""Candidate and judge behind an endpoint, as a user runs them: keys stay secret, budgets hold, Ctrl-C is prompt."""

import contextlib
import io
import itertools
import json
import os
import signal
import sys
import threading
import time
from unittest import mock

import pytest

from harness.cli import _run, build_app
from tests.end_to_end.conftest import Project
from tests.harness.models.fake_endpoint import FakeEndpoint, Step, raw, reply, status

KEY = "sk-canary-5f1e7a20c9"
SAMPLES = 24
SUITE = """\
suite: remote
data:
  path: rows.jsonl
  fields: {{input: question, reference: answer}}
splits:
  test: {{share: 1.0}}
generation: {{max_new_tokens: 12}}
candidates:
  api: {{model: &m {{kind: openai, name: m, base_url: "{url}", api_key: "env:CANARY", max_retries: 0, timeout: 3600{options}}}}}
judges:
  token_f1: {{}}
  kind:
    kind: geval
    criteria: The answer is kind.
    steps: [Read it., Grade it.]
    model:
      {{kind: openai, name: judge, base_url: "{url}", api_key: "env:CANARY", max_retries: 0, timeout: 3600,
       price: {{input: 1, output: 2}}}}
gate:
  rules: [{{coverage: 0.5}}]
"""


class Remote(Project):
    """A project whose models are behind a scripted endpoint."""

    def __init__(self, root, server):
        super().__init__(root)
        self.server = server

    def environment(self):
        """With the key, in its variable, and lines that need not be folded."""
        return {**super().environment(), "CANARY": KEY, "COLUMNS": "400"}

    def muster(self, *arguments, status=0):
        """Like the project's own, in this process: what is imported once need not be imported again."""
        printed = io.StringIO()
        with (
            contextlib.chdir(self.root),
            mock.patch.dict(os.environ, self.environment(), clear=True),
            mock.patch.object(sys, "argv", ["muster", *map(str, arguments)]),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            returned = _run(build_app())
        assert returned == status, printed.getvalue()
        assert "Traceback" not in printed.getvalue()
        return printed.getvalue()

    def write_suite(self, options=""):
        """The suite, with further options for the candidate's model."""
        self.write("suite.yaml", SUITE.replace("&m ", "").format(url=self.server.url, options=options))


def answering(request):
    """The candidate answers, the judge gives a grade with its alternatives."""
    if request["model"] == "judge":
        return reply("4", logprobs=[("4", -0.105), ("5", -2.303)])
    return reply("the house is red")


@pytest.fixture
def remote(tmp_path):
    """A project of 24 samples and its server, which answers everything."""
    with FakeEndpoint(answering) as server:
        found = Remote(tmp_path, server)
        found.write_suite()
        rows = [{"question": f"what is number {i}?", "answer": f"the house number {i} is red"} for i in range(SAMPLES)]
        found.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        yield found


def everything_written(root):
    """All that lies below a folder as text: files as they are, and the rows of compressed ones."""
    import duckdb
    import pyarrow.parquet as pq

    for path in root.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            yield path, repr(pq.read_table(path).to_pylist())
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as store:
                for (table,) in store.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                    yield path, repr(store.execute(f'SELECT * FROM "{table}"').fetchall())


def test_the_key_is_in_no_file_and_on_no_screen(remote):
    """Whatever a server does with the key, in errors and in good replies, nothing that muster writes or prints holds it."""
    faults = [
        status(401, f"Incorrect API key provided: {KEY}"),
        status(429, f"quota of {KEY}", error="insufficient_quota"),
        status(500, f"trace: Authorization: Bearer {KEY}"),
        Step(code=502, body=f"<html><title>{KEY}</title></html>".encode()),
        raw({"error": {"message": KEY, "code": 400}}),
        raw(f"{KEY} is not JSON"),
        reply(f"you are {KEY}"),
        reply(None, refusal=KEY),
        reply("fine", finish=KEY),
    ]
    turns = iter(range(10_000))
    lock = threading.Lock()

    def echoing(request):
        with lock:
            turn = next(turns)
        return faults[turn // 2 % len(faults)] if turn % 2 else answering(request)

    remote.server.default = echoing
    printed = remote.muster(
        "run", "suite.yaml", "--report", "report.html", "--json", "verdict.json", "--junit", "junit.xml",
        "--summary", "summary.md", status=4,
    )  # fmt: skip
    lines = [{"id": i, "input": "q", "answer": f"answer {i}"} for i in range(12)]
    remote.write("in.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    printed += remote.muster(
        "score", "geval", "--input", "in.jsonl", "--output", "out.jsonl", "--set", "criteria=kind", "--set",
        "model.kind=openai", "--set", "model.name=judge", "--set", f"model.base_url={remote.server.url}", "--set",
        "model.api_key=env:CANARY", "--set", "model.max_retries=0", "--set", "steps=[Read it.]", status=4,
    )  # fmt: skip
    for arguments in (
        ["check", "suite.yaml"],
        ["runs"],
        ["show", "latest"],
        ["env"],
        ["export", "latest", "--to", "out"],
        ["review", "export", "latest", "--criteria", "Is it kind?", "--out", "sheet.html"],
        ["store", "doctor"],
        ["report", "--out", "again.html"],
    ):
        printed += remote.muster(*arguments)
    assert "***" in printed
    assert KEY not in printed
    assert f"Bearer {KEY}" in remote.server.authorizations
    found = list(everything_written(remote.root))
    assert {"store.duckdb", "out.jsonl", "report.html", "junit.xml", "answers.parquet"} <= {
        path.name for path, _ in found
    }
    assert any("***" in text for path, text in found if path.name == "store.duckdb")
    assert [str(path) for path, text in found if KEY in text] == []


HANG = 3600.0
"""Seconds that a stuck request takes: whoever waited for one would never come back to these tests."""


def interrupt(process, remote, requests, journal="", lines=0):
    """Ctrl-C once the server has so many requests, and files of that name so many lines; exit status and what was printed."""
    while len(remote.server.requests) < requests or lines_of(remote.root, journal) < lines:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def lines_of(root, pattern):
    """How many whole lines the files of that name have."""
    return sum(path.read_bytes().count(b"\n") for path in root.rglob(pattern)) if pattern else 0


@pytest.mark.parametrize("stuck", ["m", "judge"])
def test_an_interruption_is_prompt_and_keeps_what_was_answered(remote, stuck):
    """With requests in flight that would take an hour, Ctrl-C ends at once; the next run asks only for the rest.

    The journal that is left holds no key, though the answers in it repeat what the server was sent.
    """
    answered = 10 if stuck == "m" else 0
    turns = itertools.count()  # of requests to the model that gets stuck, in whatever order their threads come here

    def sticking(request):
        whole = reply(f"the house of {KEY}") if request["model"] == "m" else answering(request)
        if request["model"] == stuck and next(turns) >= answered:
            return Step(body=whole.body, headers=whole.headers, hang=HANG)
        return whole

    remote.server.default = sticking
    process = remote.start("run", "suite.yaml")
    in_flight, kept = (8, answered) if stuck == "m" else (SAMPLES + 1, SAMPLES)
    returned, printed = interrupt(process, remote, answered + in_flight, "answers-*.jsonl", kept)
    assert returned == 130, printed
    assert "Traceback" not in printed
    journals = {path: text for path, text in everything_written(remote.root) if "spool" in path.parts}
    assert any("the house of ***" in text for text in journals.values())
    assert not any(KEY in text for text in [printed, *journals.values()])
    remote.server.default = answering
    remote.server.requests.clear()
    remote.muster("run", "suite.yaml")
    asked = [request["model"] for request in remote.server.requests]
    assert asked.count("m") == (SAMPLES - answered if stuck == "m" else 0)
    assert remote.rows_of()[0].status == "complete"


def test_a_budget_ends_the_run_incomplete_and_the_next_one_goes_on(remote):
    """24 samples with a budget of 10 requests take three runs; no answer is lost, and none is asked for twice."""
    remote.write_suite(", max_requests: 10")
    printed = remote.muster("run", "suite.yaml", status=4)
    assert "14 answers missing, budget_exhausted: not sent: max_requests is 10" in printed
    _, answers, judgements = remote.rows_of()
    assert sum(text is not None for *_, text in answers) == 10
    assert sum(score is None for *_, score in judgements) == 2 * 14
    remote.muster("run", "suite.yaml", status=4)
    remote.muster("run", "suite.yaml")
    assert sum(request["model"] == "m" for request in remote.server.requests) == SAMPLES
    run = remote.rows_of()[0]
    assert run.status == "complete"
    assert [e["requests"] for e in run.record["endpoints"] if e["user"] == "api"] == [10, 10, 4]


def test_usage_cost_and_latency_are_printed_and_kept(remote):
    """The judge's cost is its tokens at its price; the candidate has no price, and its cost is unknown, not 0."""
    printed = remote.muster("run", "suite.yaml")
    entries = {entry["user"]: entry for entry in remote.rows_of()[0].record["endpoints"]}
    judge, api = entries["kind"], entries["api"]
    assert judge["answered"] == judge["requests"]
    assert judge["cost"] == pytest.approx((7 * 1 + 3 * 2) * judge["answered"] / 1e6)
    assert (api["requests"], api["cost"], api["prompt_tokens"]) == (SAMPLES, None, 7 * SAMPLES)
    assert 0 < api["seconds"]["p50"] <= api["seconds"]["p95"] <= api["seconds"]["p99"]
    assert f"api: {SAMPLES} requests to m, {7 * SAMPLES} + {3 * SAMPLES} tokens, cost unknown" in printed
    assert "p50, p95, p99" in printed
    assert "requests to m" not in remote.muster("run", "suite.yaml")


def test_check_tells_what_a_run_would_ask_for(remote):
    """Requests of candidates and judges, tokens and cost, without a request and without the key."""
    printed = remote.muster("check", "suite.yaml")
    assert f"api: up to {SAMPLES} requests to m" in printed
    assert f"{12 * SAMPLES} more in reply, cost unknown" in " ".join(printed.split())
    assert f"kind: up to {20 * SAMPLES} requests to judge" in printed
    assert "cost at most" in printed
    assert remote.server.requests == []


def test_what_cannot_be_mended_does_not_leave_a_run_incomplete(remote):
    """A sample that the endpoint's filter holds back stays unanswered; the run is complete, and the gate sees the gap."""
    remote.server.default = lambda request: (
        reply(None, finish="content_filter") if "number 3?" in json.dumps(request) else answering(request)
    )
    remote.muster("run", "suite.yaml")
    run, answers, _ = remote.rows_of()
    assert run.status == "complete"
    assert sum(text is None for *_, text in answers) == 1


def test_interrupting_score_leaves_what_was_judged(remote):
    """A second chunk that hangs is given up; the first one's lines are in a file beside the output."""
    lines = [{"id": i, "input": "q", "answer": f"answer {i}"} for i in range(140)]
    remote.write("in.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    whole = reply("4", logprobs=[("4", -0.105), ("5", -2.303)])
    remote.server.default = lambda request: Step(
        body=whole.body, headers=whole.headers, hang=HANG if len(remote.server.requests) > 129 else 0
    )
    process = remote.start("score", "kind", "--suite", "suite.yaml", "--input", "in.jsonl", "--output", "out.jsonl")
    returned, printed = interrupt(process, remote, 131)
    assert returned == 130, printed
    kept = [json.loads(line) for line in (remote.root / "out.jsonl.part").read_text().splitlines()]
    assert [line["id"] for line in kept] == list(range(128))
    assert not os.path.exists(remote.root / "out.jsonl")
