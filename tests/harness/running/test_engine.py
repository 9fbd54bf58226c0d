"""The engine on Ray with judges that need no model: what a lost worker, a broken model and another judge come to."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from harness.errors import ModelError, UserError
from harness.models.candidates import Candidate
from harness.records import Case, GenerationSettings, Judgement, Metric
from harness.running import runner
from harness.running.engine import Local, Ray, _pieces, require_ray

CASES = [Case(id=f"c{number}", answer="word " * number) for number in range(300)]


class Length:
    """Counts letters; told to by an answer, ends its process or misses its model."""

    metric = Metric(name="length", high=10_000)

    def __init__(self, fingerprint="one"):
        self.fingerprint = fingerprint

    def judge(self, cases):
        if any(case.answer == "kill -9" for case in cases):
            os.kill(os.getpid(), signal.SIGKILL)
        return [
            Judgement(id=case.id, metric="length", score=float(len(case.answer)), label=str(os.getpid()))
            for case in cases
        ]


def build(models):
    """Builds `length`; `missing` has no model. A worker calls it, so it stands in a module."""

    def judge(name):
        if name == "missing":
            raise ModelError("the model 'gone' is missing.")
        return Length()

    return judge


class Named(Length):
    """The same by another name."""

    def __init__(self, name, fingerprint="one"):
        super().__init__(fingerprint)
        self.metric = Metric(name=name, high=10_000)


def judged(engine, judge, cases=CASES):
    """The judgements in the order of the cases; each case must have exactly one."""
    found = [pair for batch in engine.judging(judge, cases) for pair in batch]
    assert sorted(index for index, _ in found) == list(range(len(cases)))
    return [judgement for _, judgement in sorted(found, key=lambda pair: pair[0])]


def runs(process):
    """Whether it is there; what nobody waits for once its parent is gone, as in a container without an init, is not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_say_what_this_process_says_until_none_is_left(tmp_path):
    """One engine through its whole life, since starting one takes long: equal scores; a judge whose model is missing, or that is
    another in the workers, leaves all unscored; a killed worker costs its piece alone; with the last one everything else is
    unscored too. None of it lasts: another try asks again. Afterwards nothing that was started is left, nor what it wrote.
    """
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: the engine on it is NOT tested")
    told = []
    before = set(psutil.Process().children(recursive=True))
    local = [j.score for j in judged(Local(), Length())]
    with Ray(tmp_path, judges={"length", "missing"}, build=build, workers=2, tell=told.append) as engine:
        spread = judged(engine, Length())
        assert [j.score for j in spread] == local
        assert os.getpid() not in {int(j.label) for j in spread}
        started = set(psutil.Process().children(recursive=True)) - before
        session = engine._session
        assert session.is_dir()

        for judge, word in ((Named("missing"), "gone"), (Length("another"), "differ")):
            failed = judged(engine, judge)
            assert {(j.score, j.error.kind) for j in failed} == {(None, "model_failed")}
            assert all(word in j.error.message for j in failed)

        fatal = [*CASES[:200], Case(id="fatal", answer="kill -9"), *CASES[200:]]
        half = judged(engine, Length(), fatal)
        lost = [j for j in half if j.error is not None]
        assert {j.error.kind for j in lost} == {"worker_lost"}
        assert 0 < len(lost) <= runner.CHUNK
        assert half[200] in lost
        assert runner.is_incomplete([], half)
        expected = [float(len(case.answer)) for case in fatal]
        assert all(j.score == score for j, score in zip(half, expected, strict=True) if j.error is None)
        assert len([line for line in told if "lost" in line]) == 1

        left = judged(engine, Length())
        assert [j.score for j in left] == local
        assert len({j.label for j in left}) == 1
        gone = judged(engine, Length(), [Case(id="fatal", answer="kill -9")] * 300)
        assert {j.error.kind for j in gone} == {"worker_lost", "model_failed"}
        after = judged(engine, Length())
        assert {(j.score, j.error.kind) for j in after} == {(None, "model_failed")}
    end = time.monotonic() + 300
    while running := [process for process in started if runs(process)]:
        assert time.monotonic() < end, running
        time.sleep(0.05)
    assert not session.exists()


def test_what_is_not_for_workers_stays_in_this_process(tmp_path):
    """A judge that workers cannot build, a candidate behind an endpoint or with recorded answers, and what is known already:
    nothing is even started.
    """

    class Elsewhere:
        key = "endpoint"

    engine = Ray(tmp_path, judges={"length"}, build=build, workers=2, tell=print)
    candidate = Candidate(
        name="api", key="k", settings=GenerationSettings(max_new_tokens=1), generator=Elsewhere(), ask=list
    )
    assert engine.answering(candidate) is candidate
    assert {int(j.label) for j in judged(engine, Named("custom"))} == {os.getpid()}
    assert judged(engine, Length(), []) == []
    assert engine._ray is None


@pytest.mark.parametrize(("count", "workers"), [(1, 2), (44, 2), (257, 2), (1000, 3), (129, 1), (5, 8)])
def test_pieces_are_every_item_once_and_none_is_longer_than_a_chunk(count, workers):
    """In order, without gaps; as many workers have one as can, and the longest is no more than needed."""
    pieces = list(_pieces(count, workers))
    assert [index for piece in pieces for index in piece] == list(range(count))
    sizes = [len(piece) for piece in pieces]
    assert max(sizes) <= runner.CHUNK
    rounds = -(-count // (workers * runner.CHUNK))
    assert max(sizes) == -(-count // (workers * rounds))


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch):
    """Before anything is read or trained."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'muster-harness\[ray\]'"):
        require_ray()


def test_local_never_imports_ray():
    """Neither do the modules that every run imports."""
    code = "import sys, harness.running.evaluation, harness.running.engine; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
