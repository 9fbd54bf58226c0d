"""The runner on a scripted candidate and judge: order, reuse, resumption, and failures that stay failures."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from harness.records import Answer, Case, Completion, Failure, Judgement, Message, Metric, Prompt, Sample, fingerprint
from harness.running import runner
from harness.store import Spool

SAMPLES = [Sample(id=f"s{i}", split="test", input=f"question {i % 7}", references=("r",)) for i in range(10)]


class Stages:
    """Remembers each stage: (name, total, done before, counted)."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def stage(self, name, total, *, done=0):
        counted = []
        yield counted.append
        self.seen.append((name, total, done, sum(counted)))


class Echo:
    """A candidate that says its input in capitals, three at a time; it can be made to die or to fail on an input."""

    name = "echo"

    def __init__(self, die_after=None, fail_on=None):
        self.die_after, self.fail_on, self.asked = die_after, fail_on, []

    def prompts(self, samples):
        return [Prompt(sample_id=s.id, messages=()) for s in samples]

    def answer_key(self, prompt):
        number = int(prompt.sample_id[1:]) % 7
        return f"question {number}"

    def generate(self, prompts):
        for start in range(0, len(prompts), 3):
            if self.die_after is not None and start >= self.die_after:
                raise KeyboardInterrupt
            batch = []
            for index, prompt in enumerate(prompts[start : start + 3], start=start):
                text = self.answer_key(prompt)
                self.asked.append(text)
                if text == self.fail_on:
                    batch.append((index, Completion(text=None, error=Failure(kind="timeout", message="late"))))
                else:
                    batch.append((index, Completion(text=text.upper(), finish_reason="stop")))
            yield batch


class Length:
    """A judge that scores by length and counts what it was given; it cannot judge inputs it is told to fear."""

    metric = Metric(name="length")

    def __init__(self, version=1, fear=None):
        self.version, self.fear, self.judged = version, fear, []

    @property
    def fingerprint(self):
        return fingerprint(["length", self.version])

    def judge(self, cases: list[Case]):
        self.judged += [case.input for case in cases]
        return [self._one(case) for case in cases]

    def _one(self, case):
        if case.answer is None or case.input == self.fear:
            kind = "no_answer" if case.answer is None else "judge_failed"
            return Judgement(id=case.id, metric="length", score=None, error=Failure(kind=kind, message="no"))
        return Judgement(id=case.id, metric="length", score=len(case.answer) / 100, label="long")


def answers_of(candidate, spool, cached=None):
    """The runner's answers, and its stages."""
    stages = Stages()
    return runner.answer(candidate, SAMPLES, spool=spool, cached=lambda keys: cached or {}, stages=stages), stages


def judgements_of(judge, answers, spool, cached=None):
    """The runner's judgements."""
    return runner.judge(judge, SAMPLES, answers, spool=spool, cached=lambda keys: cached or {}, stages=Stages())


@pytest.fixture
def spool(tmp_path):
    """Opens the same two journals again and again, as a restarted process would."""
    return lambda name: Spool(tmp_path / f"{name}.jsonl")


def test_equal_prompts_are_asked_once_and_answered_in_order(spool):
    """Ten samples with seven different prompts make seven requests and ten answers."""
    candidate = Echo()
    answers, stages = answers_of(candidate, spool("a"))
    assert candidate.asked == [f"question {i}" for i in range(7)]
    assert [a.completion.text for a in answers] == [s.input.upper() for s in SAMPLES]
    assert [a.sample_id for a in answers] == [s.id for s in SAMPLES]
    assert stages.seen == [("echo answers", 10, 3, 7)]


def test_a_killed_run_continues_where_it_stopped(spool):
    """What was finished before the kill is not asked again, and the result is the uninterrupted one."""
    with pytest.raises(KeyboardInterrupt):
        answers_of(Echo(die_after=3), spool("a"))
    second = Echo()
    resumed, _ = answers_of(second, spool("a"))
    assert second.asked == [f"question {i}" for i in range(3, 7)]
    uninterrupted, _ = answers_of(Echo(), spool("b"))
    assert resumed == uninterrupted


def test_an_error_is_recorded_and_tried_again(spool):
    """A failure is no answer; the next run asks for that one alone."""
    first, _ = answers_of(Echo(fail_on="question 2"), spool("a"))
    failed = [a.sample_id for a in first if a.completion.error is not None]
    assert failed == ["s2", "s9"]
    assert runner.is_incomplete(first, [])
    again = Echo()
    second, _ = answers_of(again, spool("a"))
    assert again.asked == ["question 2"]
    assert not runner.is_incomplete(second, [])


def test_stored_answers_are_not_asked_for(spool):
    """An equal key in the store is an answer, whichever run it is from."""
    cached = {f"question {i}": Completion(text="stored") for i in range(7)}
    candidate = Echo()
    answers, _ = answers_of(candidate, spool("a"), cached)
    assert candidate.asked == []
    assert {a.completion.text for a in answers} == {"stored"}


def test_equal_content_is_judged_once(spool):
    """Ten answers with seven contents are seven judgements; each answer gets one of its own id."""
    answers, _ = answers_of(Echo(), spool("a"))
    judge = Length()
    judgements = judgements_of(judge, answers, spool("j"))
    assert len(judge.judged) == 7
    assert [j.id for j in judgements] == [s.id for s in SAMPLES]
    assert {j.candidate for j in judgements} == {"echo"}


def test_judgements_survive_a_restart_and_errors_do_not(spool):
    """A second process judges only what had no score."""
    answers, _ = answers_of(Echo(), spool("a"))
    first = judgements_of(Length(fear="question 4"), answers, spool("j"))
    assert [j.id for j in first if j.score is None] == ["s4"]
    assert runner.is_incomplete(answers, first)
    judge = Length()
    second = judgements_of(judge, answers, spool("j"))
    assert judge.judged == ["question 4"]
    assert not runner.is_incomplete(answers, second)


def test_another_judge_version_shares_nothing():
    """The key of a judgement holds the judge's fingerprint."""
    assert Length(version=1).fingerprint != Length(version=2).fingerprint


def test_a_missing_answer_is_unscored_and_lasting(spool):
    """A judgement without an answer is no reason of its own to try the judge again."""
    answers, _ = answers_of(Echo(fail_on="question 2"), spool("a"))
    judgements = judgements_of(Length(), answers, spool("j"))
    assert [j.error.kind for j in judgements if j.score is None] == ["no_answer", "no_answer"]
    assert not runner.is_incomplete([], judgements)


class Rival(Length):
    """A judge that remembers which answers were shown beside which."""

    def judge(self, cases):
        self.pairs = [*getattr(self, "pairs", []), *((case.answer, case.opponents) for case in cases)]
        return super().judge(cases)


def test_a_pairwise_judge_sees_the_opponents_answers(tmp_path):
    """Each case holds the opponent's text to the same sample, and the evidence its name; another text is judged anew."""
    samples = SAMPLES[:3]

    def answer(candidate, sample, text):
        error = None if text else Failure(kind="timeout", message="late")
        completion = Completion(text=text, error=error)
        return Answer(key="k", candidate=candidate, sample_id=sample.id, prompt_sha="p", completion=completion)

    ours = [answer("lora", s, f"ours {s.id}") for s in samples]

    def judged(theirs):
        found = {a.sample_id: a for a in theirs if a.completion.text is not None}
        judge = Rival()
        judgements = runner.judge(
            judge, samples, ours, spool=Spool(tmp_path / "pairs.jsonl"), cached=lambda keys: {}, stages=Stages(),
            opponents=lambda a: [found[a.sample_id]] if a.sample_id in found else [],
        )  # fmt: skip
        return judgements, getattr(judge, "pairs", [])

    first, pairs = judged([answer("base", s, f"theirs {s.id}" if s.id != "s2" else None) for s in samples])
    assert pairs == [("ours s0", ("theirs s0",)), ("ours s1", ("theirs s1",)), ("ours s2", ())]
    assert [j.evidence.get("opponents") for j in first] == [["base"], ["base"], None]
    again, pairs = judged([answer("other", s, f"theirs {s.id}") for s in samples])
    assert pairs == [("ours s2", ("theirs s2",))]
    assert [j.evidence["opponents"] for j in again] == [["other"]] * 3


def test_a_judge_sees_the_conversation_that_was_answered():
    """The input is the user's last turn and the turns stand beside it; where it is the only turn, nothing does, so the
    case is that of a single question."""
    turns = tuple(Message(role=role, content=text) for role, text in (("user", "a"), ("assistant", "b"), ("user", "c")))
    talk = Sample(id="s", split="test", input="c", references=("r",), messages=turns)
    answer = Answer(
        key="k", candidate="x", sample_id="s", prompt_sha="p", completion=Completion(text="t", finish_reason="stop")
    )
    case = runner.case_of(talk, answer)
    assert (case.input, case.messages) == ("c", turns)
    opening, single = replace(talk, messages=turns[2:]), replace(talk, messages=())
    assert runner.case_of(opening, answer) == runner.case_of(single, answer) != case
    assert runner.case_of(single, answer).sha != case.sha
    other = replace(talk, messages=(replace(turns[0], content="A"), *turns[1:]))
    assert runner.case_of(other, answer).sha != case.sha
