"""Distillation as a user runs it: a teacher behind an endpoint or in a file, asked once, killed in between, judged beside all."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness.store import Home, Store
from tests.end_to_end.test_endpoint_job import Remote, lines_of
from tests.harness.models.fake_endpoint import FakeEndpoint, Step, reply, status
from tests.harness.models.tiny import make_model

SUITE = """\
suite: taught
seed: 7
data:
  path: rows.jsonl
  fields: {input: question, reference: answer}
splits:
  train: {where: {part: train}, use: training}
  test: {where: {part: test}}
prompt: "Question: {{ input }}"
generation: {max_new_tokens: 8}
candidates:
  base: {model: {kind: transformers, path: base}}
  student:
    train:
      base: base
      teacher: TEACHER
      keep: {token_f1: {at_least: 0.5}}
      keep_share: 0.5
      rank: 2
      batch_size: 8
judges:
  token_f1: {}
gate:
  baseline: base
  rules: [{coverage: 0.5}]
"""
TRAIN, TEST = 20, 6
API = "{kind: openai, name: large, base_url: URL, max_retries: 0, price: {input: 2, output: 8}}"
REFUSED, WRONG = "number 3", "number 4"


def answering(request):
    """The teacher: right but to the one row it refuses and the one it gets wrong."""
    question = request["messages"][-1]["content"]
    if question.endswith(f"{REFUSED}?"):
        return reply(None, refusal="I cannot help with that.")
    return reply("no idea" if question.endswith(f"{WRONG}?") else right(question))


def right(question):
    """The answer that the teacher gives, in words of its own."""
    return f"house {re.search(r'number [0-9]+', question)[0]} is red"


class Taught(Remote):
    """A project with a student."""

    def teach(self, teacher):
        """Writes the suite with this teacher; `URL` in it stands for the server."""
        self.write("suite.yaml", SUITE.replace("TEACHER", teacher.replace("URL", self.server.url)))

    def student(self):
        """The student's training in the newest run, and the run."""
        with Store.open(Home(self.root / ".muster")) as store:
            run = store.runs()[0]
            return next(t for t in store.trainings(run.id) if t.candidate == "student"), run


@pytest.fixture(scope="module")
def base(tmp_path_factory, libraries):
    """The tiny base, made once."""
    return make_model(tmp_path_factory.mktemp("model") / "base", window=256)


@pytest.fixture
def remote(tmp_path, base):
    """A project of 20 training and 6 test rows, and the teacher's server."""
    with FakeEndpoint(answering) as server:
        found = Taught(tmp_path, server)
        shutil.copytree(base, tmp_path / "base")
        rows = [
            {
                "question": f"what is number {i}?",
                "answer": f"the house number {i} is red",
                "part": "train" if i <= TRAIN else "test",
            }
            for i in range(1, TRAIN + TEST + 1)
        ]
        found.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        found.teach(API)
        yield found


def test_teacher_student_and_base_stand_in_one_leaderboard(remote):
    """The teacher is asked once a row; what it refused or got wrong is named; running again asks and trains nothing."""
    shown = remote.muster("check", "suite.yaml")
    assert f"student.teacher as teacher: up to {TRAIN} requests to large" in shown
    assert re.search(r"student .* up to 20 rows by student.teacher, up to 3 steps", shown)
    assert remote.server.requests == []

    printed = remote.muster("run", "suite.yaml", "--report", "report.html")
    assert len(remote.server.requests) == TRAIN + TEST
    named = "18 of 20 rows taught by student.teacher; left out: no answer (refusal): row 3; token_f1 not at_least 0.5: row 4"
    assert f"student: {named}" in printed
    training, run = remote.student()
    assert list(run.candidates) == ["base", "student.teacher", "student"]
    assert (training.rows, training.record["audit"]["rows"]) == (18, 18)
    lesson = training.record["teacher"]
    assert lesson["left_out"] == {"no answer (refusal)": [3], "token_f1 not at_least 0.5": [4]}
    assert lesson["cost"] == pytest.approx(19 * (2 * 7 + 8 * 3) / 1e6)  # the server counts 7 and 3 tokens a request
    used = {entry["user"]: entry["requests"] for entry in run.record["endpoints"]}
    assert used == {"student.teacher as teacher": TRAIN, "student.teacher": TEST}
    report = (remote.root / "report.html").read_text(encoding="utf-8")
    assert "18 of 20 rows" in report
    assert "token_f1 not at_least 0.5" in report

    again = remote.muster("run", "suite.yaml")
    assert "up to date" in again
    shown = remote.muster("check", "suite.yaml")
    assert re.search(r"student .* 18 rows by student.teacher, 3 steps, trained", shown)
    assert len(remote.server.requests) == TRAIN + TEST


def test_recorded_answers_teach_the_same_student(remote):
    """A file of what the teacher said makes the same adapter: the key is the answers, not who gave them."""
    remote.muster("train", "suite.yaml")
    by_endpoint = {path.name for path in (remote.root / ".muster" / "adapters").iterdir()}
    asked = len(remote.server.requests)
    remote.teach("{kind: answers, path: answers.jsonl}")
    questions = [f"what is number {i}?" for i in range(1, TRAIN + 1)]
    lines = [{"input": q, "answer": "no idea" if q.endswith(f"{WRONG}?") else right(q)} for q in questions]
    remote.write("answers.jsonl", "".join(json.dumps(line) + "\n" for line in lines if line["input"] != questions[2]))
    printed = remote.muster("train", "suite.yaml")
    assert "18 of 20 rows taught by student.teacher; left out: no answer (missing_answer): row 3" in printed
    assert {path.name for path in (remote.root / ".muster" / "adapters").iterdir()} == by_endpoint
    assert len(remote.server.requests) == asked


def test_a_teacher_that_fails_leaves_its_student_untrained(remote):
    """An endpoint that breaks down half-way: the run is incomplete, nothing is trained on half of the rows, and the same
    command asks for the other half alone."""
    remote.server.script = [answering({"messages": [{"content": f"number {i}?"}]}) for i in range(5, 15)]
    remote.server.default = status(500, "broken")
    printed = remote.muster("run", "suite.yaml", status=4)
    assert "student.teacher has answered 10 of 20 training rows (server_error" in printed
    assert not any((remote.root / ".muster" / "adapters").iterdir())
    asked = len(remote.server.requests)
    remote.server.default = answering
    remote.muster("train", "suite.yaml")
    assert len(remote.server.requests) - asked == 10


def test_too_few_answers_are_refused(remote):
    """A teacher that is nearly always wrong trains nobody, and the line says why."""
    remote.server.default = reply("no idea")
    printed = remote.muster("run", "suite.yaml", status=2)
    assert "'keep_share' asks for 50% of the training rows (got 0 of 20 rows" in printed
    assert "token_f1 not at_least 0.5: rows 1, 2, 3" in printed


LESSON = """
from pathlib import Path
from rich.console import Console
from harness.cli.progress import ProgressStages
from harness.cli.session import read_plan
from harness.cli.teaching import Classroom
from harness.models.load import ModelRoom
from harness.store import Home
from judges import JudgeBuilder

plan = read_plan("suite.yaml", data=None, limit=None, candidates=[], splits=[])
models = ModelRoom(plan.loaded.root)
stages = ProgressStages(Console(), quiet=True)
room = Classroom(plan, home=Home(Path(".muster")), models=models, builder=JudgeBuilder(models), stages=stages)
print(len(room.taught(plan.trainings[0], {}).samples))
"""
"""What `muster train` does before it trains."""


def test_killed_while_the_teacher_answers(remote):
    """`kill -9` in the middle of the lesson: what was answered is not asked again, and no row is missing in the end."""
    remote.teach(API.replace("max_retries: 0", "concurrency: 1"))
    remote.server.script = [
        *(answering({"messages": [{"content": f"number {i}?"}]}) for i in (1, 2)), Step(hang=600.0),
    ]  # fmt: skip
    command, options = [sys.executable, "-c", LESSON], {"cwd": remote.root, "env": remote.environment()}
    with subprocess.Popen(command, **options) as process:
        while len(remote.server.requests) < 3 or lines_of(remote.root, "answers-*.jsonl") < 2:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    answered = [request["messages"][-1]["content"] for request in remote.server.requests[:2]]
    remote.server.requests.clear()
    done = subprocess.run(command, **options, capture_output=True, text=True, check=True)
    asked = [request["messages"][-1]["content"] for request in remote.server.requests]
    assert done.stdout.split() == ["18"]
    assert sorted([*answered, *asked]) == sorted(f"Question: what is number {i}?" for i in range(1, TRAIN + 1))
