"""A whole project in a temporary folder: a tiny base, data with clusters and slices, a suite with a training and a gate."""

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.harness.models.tiny import make_model
from tests.processes import Command

REPOSITORY = Path(__file__).parents[2]
SUITE = """\
suite: tiny
seed: 7
data:
  path: rows.jsonl
  fields: {input: question, reference: answer, cluster: group, slices: [kind]}
splits:
  train: {share: 0.6, use: training}
  test: {share: 0.4}
prompt: "Question: {{ input }}"
generation: {max_new_tokens: 12, temperature: 0}
candidates:
  base: {model: {kind: transformers, path: base}}
  few_shot: {model: {kind: transformers, path: base}, prompting: {kind: few_shot, split: train, shots: 2}}
  lora: {train: {base: base, rank: 4, epochs: 2, batch_size: 4, learning_rate: 5.0e-3, save_steps: 5, logging_steps: 5}}
judges:
  relevancy: {}
  token_f1: {kind: token_f1}
gate:
  baseline: base
  rules:
    - {metric: token_f1, no_worse_by: 0.3}
    - {coverage: 0.9}
"""
COLOURS = ("red", "green", "blue", "white", "black", "brown")
THINGS = ("house", "boat", "apple", "stone", "river", "glove", "train", "spoon", "cloud", "horse")
PLACES = ("garden", "market", "harbour", "kitchen", "village", "forest", "station", "valley")


def rows(count=120):
    """Question and answer about invented objects, grouped four by four."""
    rng = random.Random(3)
    made = []
    for number in range(count):
        colour, thing, place = rng.choice(COLOURS), rng.choice(THINGS), rng.choice(PLACES)
        words = rng.sample(THINGS, 3)
        made.append(
            {
                "question": f"Where is the {colour} {thing} number {number} of {' and '.join(words)}?",
                "answer": f"The {colour} {thing} is in the {place}.",
                "group": f"g{number // 4}",
                "kind": colour,
            }
        )
    return made


class Project:
    """A folder with a suite, and `muster` run in it as a user would, in a process of its own."""

    def __init__(self, root):
        self.root = root

    def write(self, name, text):
        """Writes a file below the root."""
        (self.root / name).write_text(text, encoding="utf-8")

    def environment(self):
        """No key, no hub, one thread, the repository importable."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "HF_", "MUSTER_"))}
        return {**keep, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CI": "1", "PYTHONPATH": str(REPOSITORY)}

    def start(self, *arguments, before=None):
        """Starts `muster` and returns the process; `before` is called in it first."""
        return Command(arguments, cwd=self.root, env=self.environment(), before=before)

    def muster(self, *arguments, status=0):
        """Runs `muster` to its end; the exit status must be `status`. Returns what it printed, both streams."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=600)
        assert process.returncode == status, f"exit status {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return out + err

    def rows_of(self, home=".muster"):
        """Everything a run says, without what depends on the clock: answers and judgements, sorted."""
        from harness.store import Home, Store

        with Store.open(Home(self.root / home)) as store:
            run = store.runs()[0]
            answers = [(a.candidate, a.sample_id, a.key, a.completion.text) for a in store.answers(run.id)]
            judgements = [(j.candidate, j.id, j.metric, j.key, j.score) for j in store.judgements(run.id)]
            return run, sorted(answers), sorted(judgements)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard():
    """A shell starts background jobs with SIGINT ignored, and what they start inherits that: the tests press Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """The folder that every project starts from: the tiny base beside its suite."""
    found = Project(tmp_path_factory.mktemp("project"))
    make_model(found.root / "base", window=1024)
    found.write("suite.yaml", SUITE)
    found.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows()))
    return found.root


@pytest.fixture
def project(template, tmp_path):
    """A fresh project."""
    return Project(Path(shutil.copytree(template, tmp_path / "project")))
