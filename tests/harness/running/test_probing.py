"""Judges that need more than the answer: asked once, resumed after a kill, never a number where there is none."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from harness.errors import ModelError
from harness.records import (
    Answer,
    Case,
    Completion,
    Failure,
    Inquirer,
    Judgement,
    Likelihood,
    Metric,
    Needs,
    Prompt,
    Sample,
    fingerprint,
)
from harness.running import probing, runner
from harness.running.probing import Gathered
from harness.store import Spool

SAMPLES = [Sample(id=f"s{i}", split="test", input=f"question {i % 4}", references=(f"r{i % 4}",)) for i in range(6)]


class Stages:
    """Shows nothing."""

    @contextmanager
    def stage(self, name, total, *, done=0):
        yield lambda count: None


class Talker:
    """A candidate that draws "input #number" and finds a text as likely as it is short; it counts what it was asked."""

    name = "talker"

    def __init__(self, die_after=None, fail_on=(), break_down=False):
        self.die_after, self.fail_on, self.break_down, self.asked = die_after, fail_on, break_down, []

    def prompts(self, samples):
        return [Prompt(sample_id=s.id, messages=()) for s in samples]

    def input(self, prompt):
        return f"question {int(prompt.sample_id[1:]) % 4}"

    def draw_key(self, prompt, number):
        return fingerprint(["draw", self.input(prompt), number])

    def likelihood_key(self, prompt, text):
        return fingerprint(["likelihood", self.input(prompt), text])

    def count(self, what):
        if self.break_down:
            raise ModelError("the model broke down")
        if len(self.asked) == self.die_after:
            raise KeyboardInterrupt
        self.asked.append(what)

    def draw(self, prompts, number):
        for index, prompt in enumerate(prompts):
            what = f"{self.input(prompt)} #{number}"
            self.count(what)
            failed = what in self.fail_on
            error = Failure(kind="timeout", message="late") if failed else None
            yield [(index, Completion(text=None if failed else what, error=error))]

    def likelihoods(self, pairs):
        for index, (_, text) in enumerate(pairs):
            self.count(text)
            yield [(index, Likelihood(text=text, log_likelihood=-float(len(text)), tokens=len(text)))]


class Asker:
    """A judge that needs two further answers and the likelihood of each reference, and scores by how many it got."""

    metric = Metric(name="asker")
    fingerprint = "asker"

    def __init__(self):
        self.cases = []

    def needs(self, sample):
        if sample.id == "s5":
            return Failure(kind="missing_input", message="s5 is not for me")
        return Needs(samples=2, likelihoods=sample.references)

    def judge(self, cases):
        self.cases += cases
        return [Judgement(id=c.id, metric="asker", score=(len(set(c.samples)) + len(c.likelihoods)) / 4) for c in cases]


@pytest.fixture
def spool(tmp_path):
    """Opens the same journal again and again, as a restarted process would."""
    return lambda name="p": Spool(tmp_path / f"{name}.jsonl")


def gather(candidate, spool, samples=SAMPLES, needs=None, cached=None):
    """What the candidate is asked for: by default two draws and the likelihood of the references."""
    needs = needs or [Needs(samples=2, likelihoods=s.references) for s in samples]
    return probing.gather(candidate, samples, needs, spool=spool, cached=lambda keys: cached or {}, stages=Stages())


def test_equal_prompts_are_asked_once_and_everybody_gets_what_it_asked_for(spool):
    """Six samples with four inputs: four draws a number and four likelihoods; each sample has its own, in order."""
    candidate = Talker()
    found = gather(candidate, spool())
    assert len(candidate.asked) == 4 * 2 + 4
    for sample, got in zip(SAMPLES, found, strict=True):
        assert got.samples == (f"{sample.input} #1", f"{sample.input} #2")
        assert got.likelihoods == (Likelihood(text=sample.references[0], log_likelihood=-2.0, tokens=2),)
        assert {(p.candidate, p.sample_id) for p in got.probes} == {("talker", sample.id)}


@pytest.mark.parametrize("after", range(12))
def test_a_kill_at_any_moment_loses_nothing_that_was_asked(spool, after):
    """The second process asks what the first had not, and ends with what an uninterrupted one has."""
    first, second = Talker(die_after=after), Talker()
    with pytest.raises(KeyboardInterrupt):
        gather(first, spool())
    resumed = gather(second, spool())
    assert len(first.asked) + len(second.asked) == 12
    assert not set(first.asked) & set(second.asked)
    assert resumed == gather(Talker(), spool("whole"))


def test_what_an_earlier_run_stored_is_not_asked_again(spool):
    """Probes of the store are taken by key, whichever candidate and sample they were stored for."""
    stored = {
        p.key: replace(p, candidate="other", sample_id="x") for got in gather(Talker(), spool()) for p in got.probes
    }
    candidate = Talker()
    assert gather(candidate, spool("empty"), cached=stored) == gather(Talker(), spool("whole"))
    assert candidate.asked == []


def test_more_draws_use_the_ones_there_are(spool):
    """A judge that wants four draws after one that wanted two has two asked."""
    gather(Talker(), spool())
    candidate = Talker()
    found = gather(candidate, spool(), SAMPLES[:1], [Needs(samples=4)])
    assert candidate.asked == ["question 0 #3", "question 0 #4"]
    assert found[0].samples == tuple(f"question 0 #{n}" for n in (1, 2, 3, 4))


def test_a_failed_draw_fails_its_samples_and_is_tried_again(spool):
    """The failure is kept nowhere; the next run asks for that draw alone."""
    found = gather(Talker(fail_on=["question 2 #2"]), spool())
    assert [got.kind for got in found if isinstance(got, Failure)] == ["timeout"]
    assert isinstance(found[2], Failure)
    candidate = Talker()
    again = gather(candidate, spool())
    assert candidate.asked == ["question 2 #2"]
    assert all(isinstance(got, Gathered) for got in again)


def test_a_model_that_breaks_down_fails_what_is_open(spool):
    """A ModelError is a typed failure of every sample that still needed something, and not the end of the run."""
    found = gather(Talker(break_down=True), spool())
    assert {got.kind for got in found} == {"model_failed"}


def answers():
    """One answer a sample; s1 has none."""
    failed = Completion(text=None, error=Failure(kind="timeout", message="late"))
    return [
        Answer(key=s.id, candidate="talker", sample_id=s.id, prompt_sha="p",
               completion=failed if s.id == "s1" else Completion(text="it is"), contexts=("a passage",))
        for s in SAMPLES
    ]  # fmt: skip


def judge(asker, gathered, spool):
    """The runner's judgements."""
    return runner.judge(
        asker, SAMPLES, answers(), spool=spool, cached=lambda keys: {}, stages=Stages(), gathered=gathered
    )


def test_the_judge_sees_what_was_gathered_and_is_not_asked_where_it_could_not_be(spool):
    """Cases hold draws, likelihoods and retrieved passages; a failure is the judgement's own, without a score."""
    asker = Asker()
    assert isinstance(asker, Inquirer)
    found = gather(Talker(fail_on=["question 2 #2"]), spool())
    gathered = {("talker", s.id): got for s, got in zip(SAMPLES, found, strict=True)}
    gathered["talker", "s5"] = asker.needs(SAMPLES[5])
    judgements = judge(asker, gathered, spool("j"))
    assert [j.score for j in judgements] == [0.75, 0.75, None, 0.75, 0.75, None]
    assert [(j.error.kind, j.id) for j in judgements if j.error] == [("timeout", "s2"), ("missing_input", "s5")]
    assert {case.retrieved for case in asker.cases} == {("a passage",)}
    assert [len(c.samples) for c in asker.cases] == [2, 2, 2]  # s4 is s0 again
    assert runner.is_incomplete([], judgements)
    lasting = [j for j in judgements if j.id != "s2"]
    assert not runner.is_incomplete([], lasting)


def test_the_key_holds_what_was_gathered_by_its_key_not_by_its_last_digit(spool):
    """Other draws, another model or another retrieved passage make another judgement; float rounding makes none."""
    sample, answer = SAMPLES[0], answers()[0]
    [got] = gather(Talker(), spool(), SAMPLES[:1])

    def key(got, answer=answer):
        [(found, _)] = runner.cases_of(Asker(), [sample], [answer], [[]], {("talker", "s0"): got})
        return found

    rounded = replace(got, probes=(*got.probes[:2], replace(got.probes[2], log_likelihood=-2.0000001)))
    assert key(rounded) == key(got)
    drawn = replace(got, probes=(replace(got.probes[0], text="else", key="k"), *got.probes[1:]))
    model = replace(got, probes=(*got.probes[:2], replace(got.probes[2], key="another model's")))
    assert len({key(got), key(drawn), key(model), key(None), key(got, replace(answer, contexts=()))}) == 5


def test_case_sha_holds_every_field_but_the_id():
    """Whatever a judge may look at changes the sha; the id does not."""
    case = Case(id="a", answer="it is")
    likely = Likelihood(text="r", log_likelihood=-1.0, tokens=1)
    changes = [
        {"answer": "no"}, {"input": "q"}, {"references": ("r",)}, {"contexts": ("r",)}, {"samples": ("r",)},
        {"retrieved": ("r",)}, {"likelihoods": (likely,)},
    ]  # fmt: skip
    assert len({case.sha, *(replace(case, **change).sha for change in changes)}) == len(changes) + 1
    assert replace(case, id="b").sha == case.sha


class Wild:
    """A judge from outside that breaks its promises: raises for one answer, leaves its scale for another."""

    metric = Metric(name="wild")
    fingerprint = "wild"

    def __init__(self, short=False):
        self.short = short

    def judge(self, cases):
        if any(case.input == "question 1" for case in cases):
            raise ZeroDivisionError("oh\nno")
        scores = [3.0 if case.input == "question 2" else 0.5 for case in cases]
        found = [Judgement(id=c.id, metric="wild", score=s) for c, s in zip(cases, scores, strict=True)]
        return found[:-1] if self.short else found


def test_a_judge_that_raises_or_leaves_its_scale_costs_only_what_it_cannot_judge(spool):
    """The others keep their scores, and nothing becomes a number or the end of the run."""
    judgements = judge(Wild(), {}, spool("j"))
    assert [j.score for j in judgements] == [0.5, None, None, 0.5, 0.5, None]
    errors = {j.id: j.error for j in judgements if j.error}
    assert errors["s1"] == errors["s5"] == Failure(kind="judge_failed", message="ZeroDivisionError: oh no")
    assert errors["s2"].kind == "off_scale"
    assert errors["s2"].message == "the judge's score must lie within 0 to 1 (got 3)"


def test_a_judge_that_loses_cases_scores_none_of_them(spool):
    """Fewer judgements than cases cannot be told apart, so none is believed."""
    judgements = judge(Wild(short=True), {}, spool("j"))
    assert {j.error.kind for j in judgements} == {"judge_failed"}
