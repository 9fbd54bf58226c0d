"""Judge noise: real calls on a drawn few, 0 for a judge that repeats itself, the right variance for one that does not."""

import random
from contextlib import contextmanager

import pytest

from harness.deciding.wording import noise_sentence
from harness.records import Case, Failure, Judgement, Metric, Repeat
from harness.running import repeating
from harness.store import Spool


class Stages:
    """Shows nothing."""

    @contextmanager
    def stage(self, name, total, *, done=0):
        yield lambda count: None


class Noisy:
    """Scores a case by its answer's number, plus noise of a known standard deviation; it counts its calls."""

    metric = Metric(name="noisy", low=-10, high=10)
    fingerprint = "noisy"

    def __init__(self, sigma, die_after=None, fail=0.0):
        self.rng, self.sigma, self.die_after, self.fail, self.calls = random.Random(1), sigma, die_after, fail, []

    def judge(self, cases):
        if self.die_after is not None and len(self.calls) >= self.die_after:
            raise KeyboardInterrupt
        self.calls += [case.id for case in cases]
        return [self.one(case) for case in cases]

    def one(self, case):
        if self.rng.random() < self.fail:
            return Judgement(id=case.id, metric="noisy", score=None, error=Failure(kind="timeout", message="late"))
        return Judgement(id=case.id, metric="noisy", score=float(case.answer) + self.rng.gauss(0, self.sigma))


CASES = [(f"k{i}", Case(id=f"s{i}", answer=str((i % 7) / 3))) for i in range(300)]
FIRST = [Judgement(id=f"s{i}", metric="noisy", candidate="base", score=(i % 7) / 3) for i in range(300)]


def repeats_of(judge, tmp_path, *, times=3, limit=40, seed=0, cached=None, name="r"):
    """The judge's repeats."""
    return repeating.repeat(
        judge, CASES, FIRST, times=times, limit=limit, seed=seed, spool=Spool(tmp_path / f"{name}.jsonl"),
        cached=lambda keys: cached or {}, stages=Stages(),
    )  # fmt: skip


def test_every_repeat_is_a_call_of_its_own(tmp_path):
    """40 drawn cases three times are 120 calls and 120 different keys; the seed decides which, and nothing else does."""
    judge = Noisy(0)
    found = repeats_of(judge, tmp_path)
    assert len(judge.calls) == len(found) == len({one.key for one in found}) == 120
    drawn = {one.sample_id for one in found}
    assert len(drawn) == 40
    assert {one.key for one in found}.isdisjoint(key for key, _ in CASES)
    assert {one.sample_id for one in repeats_of(Noisy(1), tmp_path, name="again")} == drawn
    assert {one.sample_id for one in repeats_of(Noisy(0), tmp_path, seed=1, name="other")} != drawn


def test_a_judge_that_repeats_itself_has_no_noise(tmp_path):
    """The between-call variance is exactly 0, and so is its share."""
    entry = repeating.noise(repeats_of(Noisy(0), tmp_path), of=300)
    assert (entry["within_variance"], entry["share"], entry["cases"], entry["of"]) == (0.0, 0.0, 40, 300)
    assert noise_sentence(entry).endswith("always the same score (between-call variance 0)")


def test_a_known_noise_is_found(tmp_path):
    """Scores of variance 4/9 between cases (0, 1/3 … 2) with noise of 0.3: both are found within 10 % and 15 %."""
    entry = repeating.noise(repeats_of(Noisy(0.3), tmp_path, times=10, limit=300), of=300)
    assert entry["within_variance"] ** 0.5 == pytest.approx(0.3, rel=0.1)
    assert entry["total_variance"] == pytest.approx(4 / 9 + 0.09, rel=0.15)
    assert entry["share"] == pytest.approx(0.09 / (4 / 9 + 0.09), rel=0.15)


def test_the_figures_by_hand():
    """Two cases called twice: within (0.02 + 0.08) / 2, between var(0.1, 0.6) - within / 2."""
    scores = {"a": (0.0, 0.2), "b": (0.4, 0.8)}
    made = [
        Repeat(key=f"{s}{n}", candidate="base", sample_id=s, metric="m", number=n, score=v)
        for s, pair in scores.items()
        for n, v in enumerate(pair, start=1)
    ]
    entry = repeating.noise(made, of=9)
    assert entry["within_variance"] == pytest.approx(0.05)
    assert entry["total_variance"] == pytest.approx(0.05 + 0.125 - 0.025)
    assert entry["share"] == pytest.approx(0.05 / 0.15)
    assert entry["ids"] == [["base", "a"], ["base", "b"]]
    assert noise_sentence(entry) == (
        "2 of 9 scored cases judged 2 times more: between-call variance 0.05 (standard deviation 0.224), "
        "33.3 % of the variance of its scores"
    )


def test_a_failed_repeat_is_counted_and_is_no_score(tmp_path):
    """What could not be judged again is left out of the variance, and tried again by the next run."""
    found = repeats_of(Noisy(0, fail=0.2), tmp_path)
    entry = repeating.noise(found, of=300)
    missing = sum(one.score is None for one in found)
    assert 0 < missing == entry["unscored"]
    assert entry["within_variance"] == 0
    judge = Noisy(0)
    repeats_of(judge, tmp_path)
    assert len(judge.calls) == missing


def test_a_kill_loses_no_finished_call(tmp_path):
    """The second process makes the calls that are left."""
    with pytest.raises(KeyboardInterrupt):
        repeats_of(Noisy(0, die_after=40), tmp_path)
    judge = Noisy(0)
    assert len(repeats_of(judge, tmp_path)) == 120
    assert len(judge.calls) == 80


def test_stored_repeats_are_not_made_again(tmp_path):
    """An incomplete run that is continued keeps its repeats."""
    stored = {one.key: one for one in repeats_of(Noisy(0.3), tmp_path)}
    judge = Noisy(0.3)
    again = repeats_of(judge, tmp_path, cached=stored, name="empty")
    assert judge.calls == []
    assert again == list(stored.values())
