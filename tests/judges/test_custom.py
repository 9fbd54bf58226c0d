"""Custom judges: whatever somebody's code does, a score is a score, a failure a typed null, and changed code another judge."""

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ModelError, UserError
from harness.records import Case, Failure, Judgement, Metric
from harness.suite.grammar import CustomSpec
from judges.custom import build_custom, source_sha

REPOSITORY = Path(__file__).parents[2]
CASES = [Case(id=f"c{i}", answer=answer, input="q") for i, answer in enumerate(["a", "b b", "c c c"])]
NUMBERS = itertools.count()


class Room:
    """Models whose keys are their names."""

    def embedder(self, name):
        if name == "gone":
            raise ModelError("model 'gone' cannot be had")
        return type("Model", (), {"key": f"key of {name}"})()


@pytest.fixture
def write(tmp_path):
    """Writes a module under a name no other test uses, and returns the name."""

    def write_module(text, name=None):
        name = name or f"judges_of_test_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write_module


def build(tmp_path, factory, trusted=True, **spec):
    """The judge called `mine`."""
    made = CustomSpec(kind="custom", factory=factory, **spec)
    return build_custom("mine", made, Room(), trusted=tmp_path if trusted else None)


def judged(tmp_path, write, returns, cases=CASES):
    """Judgements of a function that returns an expression of the case."""
    name = write(f"import math\nfrom harness.records import Failure\ndef make():\n    return lambda case: {returns}\n")
    return build(tmp_path, f"{name}:make").judge(cases)


@pytest.mark.parametrize(
    ("returns", "score", "label", "evidence"),
    [
        ("0.25", 0.25, None, {}),
        ("1", 1.0, None, {}),
        ("len(case.answer) > 100", 0.0, None, {}),
        ("(0.5, 'fair', {'words': [1, 2]})", 0.5, "fair", {"words": [1, 2]}),
        ("__import__('numpy').float32(0.5)", 0.5, None, {}),
    ],
)
def test_what_is_a_score(tmp_path, write, returns, score, label, evidence):
    """A number from 0 to 1, a truth value, or a number with label and evidence."""
    judgement = judged(tmp_path, write, returns)[0]
    assert (judgement.score, judgement.label, judgement.evidence) == (score, label, evidence)
    assert (judgement.id, judgement.metric, judgement.error) == ("c0", "mine", None)


@pytest.mark.parametrize(
    ("returns", "kind", "said"),
    [
        ("math.nan", "out_of_range", "nan"),
        ("math.inf", "out_of_range", "inf"),
        ("1.5", "out_of_range", "1.5"),
        ("-0.001", "out_of_range", "-0.001"),
        ("'good'", "wrong_return", "'good'"),
        ("'0.5'", "wrong_return", "'0.5'"),
        ("None", "wrong_return", "None"),
        ("[0.5]", "wrong_return", "list"),
        ("(0.5, 'fair')", "wrong_return", "tuple of 2"),
        ("(0.5, 3, {})", "wrong_return", "label"),
        ("(0.5, 'fair', 'because')", "wrong_return", "evidence"),
        ("(0.5, 'fair', {'x': math.nan})", "wrong_return", "plain JSON"),
        ("(0.5, 'fair', {'x': object()})", "wrong_return", "plain JSON"),
        ("1 / 0", "judge_failed", "ZeroDivisionError: division by zero"),
        ("exit(3)", "judge_failed", "SystemExit: 3"),
        ("Failure(kind='no_numbers', message='there is none')", "no_numbers", "there is none"),
    ],
)
def test_what_is_none_is_a_typed_null(tmp_path, write, returns, kind, said):
    """Never a zero, never an exception out of the judge."""
    judgement = judged(tmp_path, write, returns)[0]
    assert judgement.score is None
    assert judgement.error.kind == kind
    assert said in judgement.error.message


def test_a_bad_case_costs_only_itself_and_a_missing_answer_is_not_shown(tmp_path, write):
    """The others keep their scores."""
    cases = [*CASES, Case(id="c3", answer=None)]
    judgements = judged(tmp_path, write, "1 / (len(case.answer) - 3)", cases)
    assert [j.score for j in judgements] == [None, None, 0.5, None]
    kinds = [j.error.kind if j.error else None for j in judgements]
    assert kinds == ["out_of_range", "judge_failed", None, "no_answer"]


OBJECT = """
from harness.records import Judgement, Metric
class Mine:
    metric = Metric(name="anything", direction={direction!r}, high={high})
    fingerprint = "inner"
    def judge(self, cases):
        return {returned}
make = lambda: Mine()
"""


def with_object(tmp_path, write, returned, direction="higher", high=1.0, spec="higher"):
    """The judge of a factory that returns an object."""
    name = write(OBJECT.format(returned=returned, direction=direction, high=high))
    return build(tmp_path, f"{name}:make", direction=spec)


GOOD = "Judgement(id=case.id, metric='anything', score=0.5, evidence={'n': len(cases)})"


def test_a_judge_object_sees_all_cases_at_once_and_is_called_by_its_name_in_the_suite(tmp_path, write):
    """One judgement a case, in order."""
    judgements = with_object(tmp_path, write, f"[{GOOD} for case in cases]").judge(CASES)
    assert [(j.id, j.metric, j.score, j.evidence["n"]) for j in judgements] == [
        (f"c{i}", "mine", 0.5, 3) for i in range(3)
    ]


@pytest.mark.parametrize(
    "returned",
    ["None", "[0.5 for case in cases]", f"[{GOOD} for case in cases][1:]", f"[{GOOD} for case in cases * 2]"],
)
def test_a_judge_object_that_returns_something_else_leaves_nulls(tmp_path, write, returned):
    """Too few, too many, or no judgements: no score is given to the wrong case."""
    judgements = with_object(tmp_path, write, returned).judge(CASES)
    assert {(j.score, j.error.kind) for j in judgements} == {(None, "judge_failed")}


@pytest.mark.parametrize(
    ("direction", "high", "spec", "said"),
    [("lower", 1.0, "higher", "direction: lower"), ("higher", 5.0, "higher", "from 0 to 1")],
)
def test_a_judge_object_must_agree_with_the_suite(tmp_path, write, direction, high, spec, said):
    """Direction and scale are the suite's, so that rules can be checked without running code."""
    with pytest.raises(UserError, match=said):
        with_object(tmp_path, write, "[]", direction=direction, high=high, spec=spec)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("x = 1", {}, "the module has no 'make'"),
        ("def mak(): pass", {}, "did you mean 'mak'"),
        ("make = 3", {}, "must be a function .got int."),
        ("def make(*, words): pass", {"word": 3}, "no option 'word' .did you mean 'words'.*It takes words"),
        ("def make(): pass", {"word": 3}, "It takes none"),
        ("def make(*, words): pass", {}, "needs the option 'words'"),
        ("def make(metric, /): pass", {}, "needs the option 'metric'"),
        ("def make(*, metric): pass", {"metric": "x"}, "given by muster itself"),
        ("def make(): return 3", {}, "must return a function of a case, or a judge .*got int"),
        ("def make(): return int", {}, "got type"),
        ("def make(): raise ValueError('no such list')", {}, "failed: ValueError: no such list"),
        ("def make(: pass", {}, "cannot be imported: SyntaxError"),
        ("import no_such_module_anywhere", {}, "cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit(0)", {}, "cannot be imported: SystemExit"),
    ],
)
def test_a_factory_that_cannot_be_used_is_one_clear_line(tmp_path, write, text, options, said):
    """What is wrong and what would be right, in one line."""
    with pytest.raises(UserError, match=said) as error:
        build(tmp_path, f"{write(text)}:make", options=options)
    assert "\n" not in str(error.value)


def test_a_module_that_is_not_there_is_named(tmp_path):
    """Whether the package is missing or a module in it."""
    with pytest.raises(UserError, match="no module 'nowhere_at_all'"):
        build(tmp_path, "nowhere_at_all.inner:make")
    with pytest.raises(UserError, match=r"no module 'json\.nowhere'"):
        build(tmp_path, "json.nowhere:make")


@pytest.mark.parametrize("factory", ["make", "a.b", "a:b.c", "a b:c", "../a:b", ":b", "a:"])
def test_a_factory_is_module_and_function(factory):
    """Anything else is refused by the grammar."""
    with pytest.raises(ValueError, match=r"package\.module:function"):
        CustomSpec(kind="custom", factory=factory)


@pytest.mark.parametrize("options", [{"a-b": 1}, {"x": math.nan}, {"x": {"y": {1}}}])
def test_options_are_keyword_arguments_of_plain_values(options):
    """What could be no keyword, or has no JSON, is refused by the grammar."""
    with pytest.raises(ValueError, match="must h"):
        CustomSpec(kind="custom", factory="a:b", options=options)


def test_no_code_runs_unasked(tmp_path, write):
    """Not the factory, nor the top of its module; not a function of the standard library either."""
    name = write(f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef make(): return lambda case: 1.0\n")
    for factory, options in ((f"{name}:make", {}), ("os:system", {"command": f"touch {tmp_path / 'ran'}"})):
        with pytest.raises(UserError, match="--trust-code"):
            build(tmp_path, factory, trusted=False, options=options)
    assert not (tmp_path / "ran").exists()


def test_the_folder_shadows_nothing_installed(tmp_path, write):
    """A file called like an installed module is not taken for it, and the path is left as it was."""
    write("def make(): return lambda case: 1.0\n", name="wave")
    before = list(sys.path)
    with pytest.raises(UserError, match="the module has no 'make'"):
        build(tmp_path, "wave:make")
    assert sys.path == before


# --------------------------------------------------------------------------------------------------------- fingerprint


def test_another_option_direction_or_code_is_another_judge(tmp_path, write):
    """What could change a score changes the fingerprint; the metric's name does not."""
    text = "def make(*, words=1): return lambda case: {}\n"
    name = write(text.format(0.5))
    first = build(tmp_path, f"{name}:make").fingerprint
    assert build(tmp_path, f"{name}:make").fingerprint == first
    assert build(tmp_path, f"{name}:make", options={"words": 2}).fingerprint != first
    (tmp_path / f"{name}.py").write_text(text.format(0.6))
    assert build(tmp_path, f"{name}:make").fingerprint != first


def test_code_that_the_module_imports_from_its_folder_counts(tmp_path, write):
    """A helper beside the module, and every file of a package."""
    helper, package = write("LIMIT = 1\n"), tmp_path / f"package_{next(NUMBERS)}"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text("X = 1\n")
    unrelated = write("Y = 1\n")
    name = write(f"import {package.name}\nfrom {helper} import LIMIT\ndef make(): return lambda case: 1.0\n")
    first = build(tmp_path, f"{name}:make").fingerprint
    write("Y = 2\n", name=unrelated)
    assert build(tmp_path, f"{name}:make").fingerprint == first
    write("LIMIT = 2\n", name=helper)
    second = build(tmp_path, f"{name}:make").fingerprint
    assert second != first
    (package / "inner" / "deep.py").write_text("X = 2\n")
    assert build(tmp_path, f"{name}:make").fingerprint not in (first, second)


def test_installed_source_is_hashed_without_its_neighbours():
    """An installed module is its own package's files: json's hash is there and differs from another's."""
    import json.decoder  # noqa: F401
    import wave  # noqa: F401

    assert source_sha("json.decoder") == source_sha("json") != source_sha("wave")


def test_models_asked_for_count_and_come_from_the_room(tmp_path, write):
    """Another model is another judge; a model that cannot be had is told as such; asking later is refused."""
    name = write(
        "def make(*, models, metric, model='a', late=False):\n"
        "    assert metric == 'mine'\n"
        "    models.embedder(model)\n"
        "    return lambda case: 0.5 if not late else models.embedder('b') and 0.5\n"
    )
    factory = f"{name}:make"
    prints = {build(tmp_path, factory, options={"model": m}).fingerprint for m in ("a", "b")}
    assert len(prints) == 2
    with pytest.raises(ModelError, match="gone"):
        build(tmp_path, factory, options={"model": "gone"})
    late = build(tmp_path, factory, options={"late": True}).judge(CASES)[0]
    assert (late.score, late.error.kind) == (None, "judge_failed")


def test_a_failure_of_a_judge_object_is_kept(tmp_path, write):
    """Its own typed null goes through."""
    failure = "Judgement(id=case.id, metric='x', score=None, error=__import__('harness.records').records.Failure"
    name = f"[{failure}(kind='odd', message='m')) for case in cases]"
    assert with_object(tmp_path, write, name).judge(CASES)[0].error == Failure(kind="odd", message="m")


# -------------------------------------------------------------------------------------------------------- entry points


def install(folder, package="desk-judges", kind="brevity", value="desk_judges:brevity"):
    """Makes a folder look like site-packages with one package that adds a kind."""
    folder.mkdir(exist_ok=True)
    (folder / "desk_judges.py").write_text("def brevity(*, words):\n    return lambda case: words / 10\n")
    info = folder / f"{package.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[muster.judges]\n{kind} = {value}\n")
    return folder


def muster(*arguments, cwd, installed):
    """`muster` in a process that has a package more."""
    path = os.pathsep.join([str(REPOSITORY), str(installed)])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "CI": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_an_installed_package_adds_a_kind(tmp_path):
    """By name, without agreement; `muster judges` lists it, and a kind that nobody adds is a mistake that names it."""
    installed = install(tmp_path / "site")
    (tmp_path / "in.jsonl").write_text('{"id": 1, "answer": "x"}\n')
    files = ("--input", "in.jsonl", "--output", "out.jsonl")
    status, said = muster("score", "brevity", "--set", "options.words=3", *files, cwd=tmp_path, installed=installed)
    assert status == 0, said
    assert '"score": 0.3' in (tmp_path / "out.jsonl").read_text()
    status, said = muster("score", "brevty", *files, cwd=tmp_path, installed=installed)
    assert (status, "did you mean 'brevity'" in said) == (2, True)
    status, said = muster("judges", cwd=tmp_path, installed=installed)
    assert (status, "brevity" in said, "desk-judges 1.2" in " ".join(said.split())) == (0, True, True)


def test_two_packages_with_one_kind_are_refused(tmp_path):
    """Neither wins by chance."""
    installed = install(tmp_path / "site")
    install(installed, package="other-judges", value="other:brevity")
    (tmp_path / "in.jsonl").write_text('{"id": 1, "answer": "x"}\n')
    files = ("--input", "in.jsonl", "--output", "out.jsonl")
    status, said = muster("score", "brevity", *files, cwd=tmp_path, installed=installed)
    assert status == 2
    assert "desk-judges 1.2 and other-judges 1.2" in said


def test_judgements_are_records(tmp_path, write):
    """What comes out is what every judge gives."""
    judgement = judged(tmp_path, write, "0.5")[0]
    assert isinstance(judgement, Judgement)
    assert build(tmp_path, f"{write('def make(): return lambda case: 1')}:make", direction="lower").metric == Metric(
        name="mine", direction="lower"
    )
