# ruff: noqa: E501 (a table of mistakes, one a line)
"""Forty-one kinds of bad input, each typed as a user would: one line that names the place, the value and the way out, no traceback.

The numbers are those of the list that muster was built to refuse; several lines of one number are variants of it. What reads
the inputs is tested more closely beside each reader (tests/harness/suite, tests/harness/data, tests/harness/store …).
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.cli import _run, build_app
from harness.store import Home, Store
from tests.harness.models.fake_endpoint import FakeEndpoint, reply

SUITE = """\
suite: s
data:
  path: rows.jsonl
  fields: {input: question, reference: answer}
splits:
  test: {share: 1.0}
candidates:
  base: {model: {kind: answers, path: base.jsonl}}
  new: {model: {kind: answers, path: new.jsonl}}
judges:
  exact_match: {}
gate:
  baseline: base
  rules:
    - {metric: exact_match, no_worse_by: 0.1}
    - {coverage: 0.98}
"""
ROWS = [{"id": f"r{n}", "question": f"what is number {n}?", "answer": f"it is {n}"} for n in range(12)]


class Place:
    """A folder with a good suite, its rows and its recorded answers, and muster typed in it."""

    def __init__(self, root):
        self.root = root
        self.write("suite.yaml", SUITE)
        self.rows("rows.jsonl", ROWS)
        for name in ("base", "new"):
            self.rows(f"{name}.jsonl", [{"input": row["question"], "answer": row["answer"]} for row in ROWS])
        self.closing = contextlib.ExitStack()
        self.stand_in = ""
        """What STAND_IN in a command or message stands for."""

    def write(self, name, content):
        """Writes a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def rows(self, name, rows):
        """Writes JSON lines."""
        self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def edit(self, old, new, name="suite.yaml"):
        """Replaces what must stand once in a file."""
        text = (self.root / name).read_text()
        assert text.count(old) == 1, old
        self.write(name, text.replace(old, new))

    def muster(self, *arguments):
        """Exit status and lines of standard error; standard output is checked for tracebacks alone."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.root), pytest.MonkeyPatch.context() as patch:
            patch.setenv("CI", "1")
            patch.setenv("COLUMNS", "1000")
            patch.setattr(sys, "argv", ["muster", *map(str, arguments)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = _run(build_app())
        assert "Traceback" not in out.getvalue() + err.getvalue()
        self.out = out.getvalue()
        return status, err.getvalue().splitlines()


@dataclass(frozen=True)
class Bad:
    """One bad input, and what is said to it."""

    number: int
    name: str
    make: Callable[[Place], object]
    """Spoils the place."""
    says: tuple[str, ...]
    """All in the one line: the place, the value, the way out."""
    command: tuple[str, ...] = ("check", "suite.yaml")
    status: int = 2
    lines: int = 1
    """Lines of standard error, where several mistakes are told at once."""
    ran: bool = False
    """Whether the good suite was run before."""


def nothing(place):
    """The input is good; what is asked of it is not."""


def suite(old, new):
    """The suite with something replaced."""
    return lambda place: place.edit(old, new)


def content(data, name="suite.yaml"):
    """A file of these bytes."""
    return lambda place: place.write(name, data)


def row(**columns):
    """The second row of the data with other columns."""
    return lambda place: place.rows("rows.jsonl", [ROWS[0], {**ROWS[1], **columns}, *ROWS[2:]])


def bomb(place):
    """Nine levels of nine aliases each: 9^9 values of a few bytes."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    place.write("suite.yaml", "\n".join(["l0: &l0 [x]", *levels]))


def csv(data):
    """The data as a CSV file of these bytes."""

    def make(place):
        place.edit("rows.jsonl", "rows.csv")
        place.write("rows.csv", data)

    return make


def both(*makes):
    """One after the other."""

    def make(place):
        for each in makes:
            each(place)

    return make


API = "{kind: openai, name: m, base_url: 'http://127.0.0.1:9/v1', api_key: 'env:MUSTER_TEST_KEY', max_retries: 0}"


def prompt(template):
    """The template as the suite's prompt, and a candidate that is asked with it."""
    return both(
        suite("{kind: answers, path: new.jsonl}", API), suite("splits:\n", f"prompt: {json.dumps(template)}\nsplits:\n")
    )


def trained(rows):
    """A candidate that learns these rows, beside the test split."""

    def make(place):
        place.edit(
            "judges:\n",
            "  lora: {train: {base: tiny}}\n  tiny: {model: {kind: transformers, path: embedded:clinic-base}}\njudges:\n",
        )
        place.edit("  test: {share: 1.0}", "  train: {path: train.jsonl, use: training}\n  test: {share: 1.0}")
        place.rows("train.jsonl", rows)

    return make


def local(options, **files):
    """A candidate whose model lies on this machine, with these files beside the suite."""

    def make(place):
        place.edit("{kind: answers, path: new.jsonl}", f"{{kind: transformers, {options}}}")
        for name, text in files.items():
            place.write(name.replace("__", "/"), text)

    return make


def long_prompt(place):
    """A question of 30,000 words for a model of this machine, and muster run on it: the row stays unanswered."""
    place.edit("{kind: answers, path: new.jsonl}", "{kind: transformers, path: embedded:clinic-base}")
    place.edit("input: question", "id: id, input: question")
    place.rows("rows.jsonl", [ROWS[0], {**ROWS[1], "question": "word " * 30_000}])
    place.rows("base.jsonl", [{"id": f"r{n}", "answer": "yes"} for n in range(2)])
    place.muster("run", "suite.yaml")


def judged(judge, code=""):
    """A judge more, and two answers for it to judge."""

    def make(place):
        place.edit("  exact_match: {}", f"  exact_match: {{}}\n  mine: {judge}")
        place.write("bad_judge.py", code)
        place.rows("in.jsonl", [{"id": n, "input": "q", "reference": "a", "answer": "a"} for n in range(2)])

    return make


def columns_of_bytes(place):
    """A Parquet file whose questions are images."""
    place.edit("rows.jsonl", "rows.parquet")
    images = pa.array([{"bytes": b"\x89PNG", "path": "a.png"}])
    pq.write_table(pa.table({"question": images, "answer": ["a"]}), place.root / "rows.parquet")


def other_rows(place):
    """The run's rows give way to others, and muster runs again: the older run shares no sample with the newer."""
    with Store.open(Home(place.root / ".muster"), read_only=True) as store:
        older = store.run("latest").id
    place.rows("rows.jsonl", [{"question": f"why {n}?", "answer": f"so {n}"} for n in range(12)])
    for name in ("base", "new"):
        place.rows(f"{name}.jsonl", [{"input": f"why {n}?", "answer": "so"} for n in range(12)])
    place.muster("run", "suite.yaml")
    place.stand_in = older


def another_metric(place):
    """The gate asks for a metric that the stored run has not."""
    place.edit("  exact_match: {}", "  exact_match: {}\n  token_f1: {}")
    place.edit("metric: exact_match", "metric: token_f1")


def sql(statement):
    """A statement that DuckDB does to the store."""

    def make(place):
        with duckdb.connect(str(place.root / ".muster" / "store.duckdb")) as connection:
            connection.execute(statement)

    return make


def held(place):
    """Another process has the store open, until the test ends."""
    code = "import duckdb, sys, time; store = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(600)"
    store = str(place.root / ".muster" / "store.duckdb")
    holder = subprocess.Popen([sys.executable, "-c", code, store], stdout=subprocess.PIPE, text=True)
    place.closing.callback(holder.communicate)
    place.closing.callback(holder.kill)
    assert holder.stdout.readline() == "open\n"
    place.stand_in = f"(PID {holder.pid})"


def chatty(place):
    """A judge behind an endpoint that answers in prose."""
    server = place.closing.enter_context(FakeEndpoint(reply("What a fine answer!")))
    model = API.replace("http://127.0.0.1:9/v1", server.url)
    judged(f"{{kind: geval, criteria: Kind., steps: [Read it.], model: {model}}}")(place)


NAN = "def factory():\n    return lambda case: float('nan') if case.id == '0' else 2.0\n"
SCORE = ("score", "mine", "--suite", "suite.yaml", "--trust-code", "--input", "in.jsonl", "--output", "out.jsonl")
GATE = ("gate", "suite.yaml")
RUN = ("run", "suite.yaml")


def linked_out(place):
    """The data file is a link to a file outside the suite's folder."""
    place.write("../outside.jsonl", "{}\n")
    (place.root / "rows.jsonl").unlink()
    (place.root / "rows.jsonl").symlink_to(place.root.parent / "outside.jsonl")


TABLE = [
    Bad(1, "malformed YAML", suite("judges:\n", "judges: [\n"), ("suite.yaml:", "is not valid YAML")),
    Bad(2, "tab indentation", suite("  test: {", "\ttest: {"), ("suite.yaml:6:1:", "a tab cannot indent YAML. Use spaces")),
    Bad(3, "duplicate key", suite("suite: s\n", "suite: s\nsuite: t\n"), ("suite.yaml:2:1:", "suite", "the key is given twice (first on line 1)")),
    Bad(4, "YAML reads 3.10 as 3.1", suite("suite: s\n", "suite: 3.10\n"), ("suite.yaml:1:8:", "got 3.1, which is how YAML reads 3.10", 'Put it in quotes: "3.10"')),
    Bad(4, "YAML reads no as false", suite("suite: s\n", "suite: no\n"), ("suite.yaml:1:8:", "no means false in YAML", "in quotes")),
    Bad(4, "YAML reads 0123 as 83", suite("suite: s\n", "suite: s\nseed: 0123\n"), ("suite.yaml:2:7:", "0123 means 83 in YAML")),
    Bad(4, "YAML reads 12:30:00 as 45000", suite("suite: s\n", "suite: s\nseed: 12:30:00\n"), ("suite.yaml:2:7:", "12:30:00 means 45000 in YAML")),
    Bad(4, "YAML reads 1e-1 as text", suite("no_worse_by: 0.1", "no_worse_by: 1e-1"), ("suite.yaml:15:42:", "YAML takes 1e-1 for a text", "Write 1.0e-1")),
    Bad(5, "two documents", lambda place: place.write("suite.yaml", SUITE + "---\na: 1\n"), ("suite.yaml:17:1:", "a second document starts here")),
    Bad(5, "empty file", content(b""), ("suite.yaml:1:1:", "the file is empty")),
    Bad(6, "not UTF-8", content(b"suite: caf\xe9\n"), ("suite.yaml:1:11:", "must be UTF-8 (got the byte 0xe9)")),
    Bad(6, "UTF-16", content(SUITE.encode("utf-16")), ("suite.yaml:1:1:", "must be UTF-8 (got UTF-16)")),
    Bad(7, "YAML bomb", bomb, ("suite.yaml:2:", "an alias is not allowed (got '*l0')"), lines=24),
    Bad(8, "3,000 levels deep", content("a: " + "[" * 3000 + "]" * 3000), ("suite.yaml:1:", "must be nested at most 32 deep")),
    Bad(9, "Python tag", suite("suite: s\n", "suite: !!python/object/apply:os.system [echo]\n"), ("suite.yaml:1:8:", "a tag is not allowed", "python/object/apply:os.system")),
    Bad(10, "unknown key", suite("judges:", "judgs:"), ("suite.yaml:10:1:", "judgs: unknown key", "did you mean 'judges'?")),
    Bad(10, "unknown judge", both(suite("  exact_match: {}", "  halucination: {}"), suite("    - {metric: exact_match, no_worse_by: 0.1}\n", ""),), ("suite.yaml:11:3:", "halucination", "did you mean 'hallucination'?")),
    Bad(10, "unknown metric", suite("metric: exact_match", "metric: exact_mach"), ("suite.yaml:15:", "exact_mach", "did you mean 'exact_match'?")),
    Bad(11, "wrong type", suite("coverage: 0.98", "coverage: most"), ("suite.yaml:16:", "coverage: must be a number", "got 'most'")),
    Bad(11, "negative margin", suite("no_worse_by: 0.1", "no_worse_by: -0.1"), ("suite.yaml:15:", "no_worse_by: must be a number", "got -0.1")),
    Bad(11, "confidence of 1.5", suite("  baseline: base\n", "  baseline: base\n  confidence: 1.5\n"), ("suite.yaml:14:", "confidence: must be a number", "got 1.5")),
    Bad(12, "toxicity higher is better", both(suite("  exact_match: {}", "  toxicity: {}"), suite("metric: exact_match, no_worse_by", "metric: toxicity, at_least"),), ("suite.yaml:15:", "'toxicity' is better when lower", "Use 'at_most'")),
    Bad(13, "missing data file", suite("rows.jsonl", "row.jsonl"), ("suite.yaml:3:9:", "no such file: 'row.jsonl'", "did you mean 'rows.jsonl'?")),
    Bad(13, "folder for a file", suite("rows.jsonl", "."), ("suite.yaml:3:9:", "must be a file (got the folder '.')")),
    Bad(14, "path out of the suite", suite("rows.jsonl", "../rows.jsonl"), ("suite.yaml:3:9:", "must stay inside the suite's folder, without '..'")),
    Bad(14, "absolute path", suite("rows.jsonl", "/etc/passwd"), ("suite.yaml:3:9:", "must be a path relative to the suite", "/etc/passwd")),
    Bad(14, "link out of the suite", linked_out, ("suite.yaml:3:9:", "must stay inside the suite's folder", "'rows.jsonl'")),
    Bad(15, "address for a path", suite("rows.jsonl", "https://example.org/rows.jsonl"), ("suite.yaml:3:9:", "must be a path (got the address", "https://example.org/rows.jsonl")),
    Bad(16, "empty split", suite("test: {share: 1.0}", "test: {where: {id: none}}"), ("split 'test' is empty", "'where'", "'id' holds text 'r0'")),
    Bad(17, "missing column", suite("reference: answer", "reference: anser"), ("suite.yaml:4:", "no column 'anser' (it has id, question, answer)", "did you mean 'answer'?")),
    Bad(18, "duplicate id", both(suite("input: question", "id: id, input: question"), row(id="r0")), ("rows.jsonl: column 'id'", "must be unique", "rows 1, 2", "'r0'")),
    Bad(21, "null reference", row(answer=None), ("rows.jsonl:2", "'answer'")),
    Bad(21, "wrong label", suite("  exact_match: {}", "  exact_match: {kind: classification, labels: [yes it is, no it is not]}"), ("suite.yaml:11:", "labels: must hold the references", "such as 'it is 0'")),
    Bad(22, "mixed types in a column", row(question={"text": "what?"}), ("rows.jsonl:2", "'question'")),
    Bad(23, "giant field", row(question="x" * 1_000_001), ("rows.jsonl:2:", "column 'question' must hold at most 1,000,000 characters")),
    Bad(24, "NUL", row(question="a\x00b"), ("rows.jsonl:2:", "column 'question' holds a NUL")),
    Bad(24, "lone surrogate", row(question="a\ud800b"), ("rows.jsonl:2:", "column 'question' holds half of a surrogate pair")),
    Bad(25, "ragged CSV", csv("question,answer\na,b\na,b,c\n"), ("rows.csv:3:", "must have 2 cells, like the header (got 3)")),
    Bad(25, "quotes in CSV", csv('question,answer\n"a"b,c\n'), ("rows.csv:2:", "is not CSV")),
    Bad(26, "NaN in the data", row(score=float("nan")), ("rows.jsonl:2:", "must hold finite numbers only (got NaN)")),
    Bad(27, "4,300 digits in the data", content('{"question": "q", "answer": ' + "9" * 4301 + "}\n", "rows.jsonl"), ("rows.jsonl:1:", "too many digits")),
    Bad(27, "4,300 digits in the suite", suite("suite: s\n", f"suite: s\nseed: {'9' * 4301}\n"), ("suite.yaml:2:7:", "must be below 2^63 (got a number of 4,301 digits)")),
    Bad(29, "undefined variable", prompt("{{questoin }}"), ("suite.yaml:5:", "questoin", "did you mean 'question'?")),
    Bad(29, "sandbox escape", prompt("{{input.__class__.__mro__ }}"), ("suite.yaml:5:", "__class__")),
    Bad(29, "too long a text", prompt("{{input * 10**9 }}"), ("suite.yaml:5:", "must")),
    Bad(29, "endless template", prompt("{{input }}{% for i in range(10**9) %}{% endfor %}"), ("suite.yaml:5:", "must need less work", "Make it simpler")),
    Bad(19, "training rows in the test split", trained(ROWS[:6]), ("'train' holds 6 of the 12 rows of 'test' (6 exact", "Take the rows out"), lines=7),
    Bad(20, "test rows reworded in training", trained([{**row, "question": f"  {row['question'].upper()}"} for row in ROWS[:2]]), ("'train' holds 2 of the 12 rows of 'test' (0 exact, 2 normalised", "Take the rows out"), lines=3),
    Bad(26, "NaN from a judge", judged("{kind: custom, factory: 'bad_judge:factory'}", NAN), ("out_of_range: the score must be from 0 to 1 (got nan)",), SCORE, 4),
    Bad(26, "score out of range", judged("{kind: custom, factory: 'bad_judge:factory'}", NAN), ("out_of_range: the score must be from 0 to 1 (got 2.0)",), SCORE, 4),
    Bad(28, "prompt longer than the context", long_prompt, ("prompt_too_long: the prompt has", "context window", "nothing is cut"), ("show", "latest", "r1"), 0),
    Bad(30, "unparsable judge", chatty, ("2 x unparsable: none of 20 replies begins with a score",), SCORE, 4),
    Bad(31, "baseline run missing", nothing, ("'baseline' must be a candidate or a blessed baseline ('base' and 'new'), RUN or RUN:CANDIDATE", "got 'r9:base'"), (*GATE, "--baseline", "r9:base"), ran=True),
    Bad(31, "baseline shares no sample", other_rows, ("samples of test:", "12 then, 12 now, 0 the same in both"), (*GATE, "--baseline", "STAND_IN:base"), lines=3, ran=True),
    Bad(32, "metric not computed", another_metric, ("gate rule 'token_f1 no_worse_by 0.1'", "there is exact_match", "Run the suite again"), GATE, ran=True),
    Bad(33, "too few samples", nothing, ("TOO FEW SAMPLES for exact_match no_worse_by 0.1 on test", "12 cannot detect your margin of 0.1", "needs 124"), status=0),
    Bad(34, "trust_remote_code", local("path: embedded:clinic-base, trust_remote_code: true"), ("suite.yaml:9:", "trust_remote_code: unknown key")),
    Bad(34, "pickled weights", local("path: ./model", **{"model/config.json": "{}", "model/pytorch_model.bin": "x"}), ("suite.yaml:9:", "no safetensors weights", "pickles (.bin, .pt) are never loaded")),
    Bad(35, "adapter of another base", local("path: embedded:clinic-base, adapter: ./old", **{"old/adapter_config.json": "{}", "old/adapter_model.safetensors": "x", "old/manifest.json": '{"base_fingerprint": "0123456789abcdef"}'},), ("suite.yaml:9:", "'old' was trained on another base than 'embedded:clinic-base' (base 0123456789ab", "Train it again",)),
    Bad(36, "unknown model", local("path: embedded:clinic-bas"), ("suite.yaml:9:", "'embedded:clinic-bas'", "did you mean 'embedded:clinic-base'?")),
    Bad(36, "missing API key", suite("{kind: answers, path: new.jsonl}", API.replace("TEST_KEY", "NO_KEY")), ("'api_key' must name a variable that is set (got MUSTER_NO_KEY", "export MUSTER_NO_KEY="), RUN),
    Bad(36, "missing API key, before a run", suite("{kind: answers, path: new.jsonl}", API.replace("TEST_KEY", "NO_KEY")), ("NOT SET: MUSTER_NO_KEY, which new cannot do without", "'muster run' will refuse", "export MUSTER_NO_KEY="), status=0),
    Bad(36, "unreachable endpoint", suite("{kind: answers, path: new.jsonl}", API), ("answers missing", "the endpoint at http://127.0.0.1:9 cannot be reached"), RUN, 4),
    Bad(37, "secret in the suite", suite("suite: s\n", "suite: s\ndescription: sk-abcdefghijklmnopqrstuvwx\n"), ("suite.yaml:2:14:", "must not hold a secret", "env:")),
    Bad(38, "folder with something in it", nothing, ("'--to' must be a new or empty folder (got .)",), ("export", "latest", "--to", "."), ran=True),
    Bad(38, "folder for a report", nothing, ("the report must be written to a file (got the folder .)", "--out FILE"), ("report", "--out", "."), ran=True),
    Bad(38, "report over the suite", nothing, ("'suite.yaml' is read, so nothing may be written there",), (*RUN, "--report", "suite.yaml")),
    Bad(38, "verdict over recorded answers", nothing, ("'new.jsonl' is read, so nothing may be written there",), (*RUN, "--json", "new.jsonl")),
    Bad(38, "stored verdict over recorded answers", nothing, ("'new.jsonl' is read, so nothing may be written there",), (*GATE, "--json", "new.jsonl"), ran=True),
    Bad(38, "verdict over the store", nothing, ("'.muster/store.duckdb' is kept by '--home .muster'",), (*RUN, "--summary", ".muster/store.duckdb"), ran=True),
    Bad(38, "verdict over a bundle", nothing, ("is kept by '--home .muster'",), (*GATE, "--json", ".muster/runs/x/manifest.json"), ran=True),
    Bad(38, "two verdicts in one file", nothing, ("'both' is written twice, and one would be lost",), (*RUN, "--json", "both", "--junit", "both")),
    Bad(38, "scores over the suite", nothing, ("--output suite.yaml: is read by the suite",), ("score", "exact_match", "--suite", "suite.yaml", "--input", "new.jsonl", "--output", "suite.yaml")),
    Bad(38, "prompt of a column that is not there, answers recorded", suite("suite: s\n", 'suite: s\nprompt: "{{ nosuch }}"\n'), ("suite.yaml:2:", "row 1: the prompt uses 'nosuch'")),
    Bad(38, "rule on a split that is not run", both(suite("metric: exact_match, no_worse_by", "metric: exact_match, split: other, no_worse_by"), suite("test: {share: 1.0}", "test: {share: 0.5}\n  other: {share: 0.5}")), ("(got 'other'; there is test)", "--no-gate"), (*RUN, "--split", "test")),
    Bad(38, "file for a folder", nothing, ("--home", "rows.jsonl"), (*RUN, "--home", "rows.jsonl")),
    Bad(38, "disk full", nothing, ("/dev/full", "No space left on device", "Name another"), (*GATE, "--json", "/dev/full"), ran=True),
    Bad(39, "store held by a process", held, ("store.duckdb: another process holds the store", "STAND_IN", "kill"), GATE, 4, ran=True),
    Bad(39, "newer store", sql("UPDATE meta SET schema_version = 99"), ("store.duckdb: was written by a newer muster (schema 99", "pip install --upgrade"), GATE, ran=True),
    Bad(39, "corrupt store", content("x" * 20_000, ".muster/store.duckdb"), ("store.duckdb: is not a DuckDB file", "'muster store rebuild'"), GATE, ran=True),
    Bad(40, "images", columns_of_bytes, ("suite.yaml:4:", "has no column 'question' (it has answer)")),
    Bad(41, "a million draws a judgement", judged(f"{{kind: geval, criteria: Kind., samples: 1000000, model: {API}}}"), ("suite.yaml:12:", "samples: must be a whole number from 1 to 100 (got 1000000)")),
]  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The home of a good place that was run."""
    place = Place(tmp_path_factory.mktemp("good"))
    assert place.muster("run", "suite.yaml")[0] == 3  # 12 samples are too few to decide
    return place.root / ".muster"


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: f"{bad.number:02} {bad.name}")
def test_a_bad_input_is_refused_in_one_line(tmp_path, stored, monkeypatch, bad):
    """The documented exit status, and one line with everything in it."""
    monkeypatch.setenv("MUSTER_TEST_KEY", "a key")
    place = Place(tmp_path / "place")
    if bad.ran:
        shutil.copytree(stored, place.root / ".muster")
    with place.closing:
        bad.make(place)
        status, lines = place.muster(*(word.replace("STAND_IN", place.stand_in) for word in bad.command))
    assert status == bad.status, (lines, place.out)
    if status == 2:
        assert len(lines) == bad.lines, lines
    says = [part.replace("STAND_IN", place.stand_in) for part in bad.says]
    told = [line for line in [*lines, *place.out.splitlines()] if all(part in line for part in says)]
    assert told, (says, lines, place.out)


def test_every_number_has_its_inputs():
    """One to forty-one."""
    assert {bad.number for bad in TABLE} == set(range(1, 42))


@pytest.mark.parametrize("option", ["--report", "--json", "--junit", "--summary"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_spent(tmp_path, option):
    """The place of every file is tried first: hours of training do not end without their report."""
    place = Place(tmp_path)
    status, [line] = place.muster("run", "suite.yaml", option, "rows.jsonl/file")
    assert (status, "'rows.jsonl/file' must be a file that can be written" in line) == (2, True)
    assert not (tmp_path / ".muster").exists()


def test_an_earlier_verdict_does_not_pass_for_one_that_was_not_reached(tmp_path):
    """A verdict file says the last gate's verdict or nothing: not that from before where the gate ended with an error."""
    place = Place(tmp_path)
    assert place.muster(*RUN, "--json", "verdict.json")[0] == 3
    assert '"outcome": "inconclusive"' in (tmp_path / "verdict.json").read_text()
    assert place.muster(*GATE, "--json", "verdict.json", "--baseline", "r9:base")[0] == 2
    assert (tmp_path / "verdict.json").read_text() == ""


def test_of_many_reasons_the_rest_is_counted(tmp_path):
    """Of twelve missing answers, each with a reason of its own, eight are told one by one, and that there are four more."""
    place = Place(tmp_path)
    place.rows("new.jsonl", [{"input": row["question"], "answer": None} for row in ROWS])
    assert place.muster(*RUN)[0] == 4
    assert place.out.count("new: 1 answer missing, missing_answer: ") == 8
    assert "and 4 more, each with its reason" in place.out
