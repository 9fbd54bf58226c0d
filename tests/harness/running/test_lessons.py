"""Lessons on a scripted teacher and judge: every row is kept or named, known answers are not asked for, gaps stop the lesson."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from harness.errors import IncompleteError, UserError
from harness.records import Completion, Failure, Judgement, Message, Metric, Prompt, Sample, fingerprint
from harness.running import lessons
from harness.running.plan import PlannedTraining, Teacher
from harness.suite.grammar import Bar, CandidateSpec, OpenAIModel, TrainSpec, TransformersModel
from harness.training.recipe import training_key, training_rows

SAMPLES = tuple(
    Sample(id=f"s{row}", split="train", input=f"question {row}", references=("by a person",), row=row)
    for row in range(1, 13)
)
MODEL = OpenAIModel(kind="openai", name="large", price={"input": 2.0, "output": 8.0})


class Stages:
    """Shows nothing."""

    @contextmanager
    def stage(self, name, total, *, done=0):
        yield lambda count: None


class Scripted:
    """A teacher that says "answer N" to row N, unless its script has a completion for it; `die_after` kills it in between."""

    def __init__(self, script=None, *, name="large", die_after=None):
        self.script, self.name, self.die_after, self.asked = script or {}, name, die_after, []
        self.key = fingerprint(["scripted", sorted(map(repr, self.script.items()))])

    def prompts(self, samples):
        return [Prompt(sample_id=s.id, messages=(Message(role="user", content=s.input),)) for s in samples]

    def answer_key(self, prompt):
        return fingerprint(["one", prompt.sha])

    def generate(self, prompts):
        for index, prompt in enumerate(prompts):
            if index == self.die_after:
                raise KeyboardInterrupt
            row = int(prompt.sample_id[1:])
            self.asked.append(row)
            said = Completion(text=f"answer {row}", finish_reason="stop", prompt_tokens=100, completion_tokens=10)
            yield [(index, self.script.get(row, said))]


class Marks:
    """A judge that gives each row its mark, or 1; a mark may be a failure."""

    def __init__(self, name="good", marks=None):
        self.metric, self.marks, self.judged = Metric(name=name), marks or {}, []
        self.fingerprint = fingerprint(["marks", name])

    def judge(self, cases):
        self.judged += [int(case.id[1:]) for case in cases]
        return [self._one(case.id, self.marks.get(int(case.id[1:]), 1.0)) for case in cases]

    def _one(self, name, mark):
        error = mark if isinstance(mark, Failure) else None
        return Judgement(id=name, metric=self.metric.name, score=None if error else mark, error=error)


def failed(kind):
    """A completion without a text."""
    return Completion(text=None, error=Failure(kind=kind, message="no"))


def planned(samples=SAMPLES, **options):
    """A training that learns of a teacher behind an endpoint."""
    spec = TrainSpec(base="base", teacher="large", **options)
    return PlannedTraining(
        candidate="small", spec=spec, base=TransformersModel(kind="transformers", path="x"), split="train",
        samples=samples, teacher=Teacher(name="large", spec=CandidateSpec(model=MODEL)),
    )  # fmt: skip


@pytest.fixture
def learn(tmp_path):
    """Holds a lesson; what was answered and judged stays for the next one."""

    def call(training, teacher, *judges, how=lessons.learn, **options):
        by_name = {judge.metric.name: judge for judge in judges}
        return how(training, teacher=teacher, judges=by_name, folder=tmp_path, stages=Stages(), **options)

    return call


def key_of(training):
    """The content key of what would be trained."""
    rows = training_rows(training.samples, lambda s: Scripted().prompts([s])[0])
    return training_key(training.spec, base_fingerprint="b", rows=rows, seed=0)


SCRIPT = {
    2: failed("refusal"), 3: failed("content_filter"), 4: Completion(text=" \n"), 5: failed("refusal"),
    6: Completion(text="and then", finish_reason="length", prompt_tokens=100, completion_tokens=96),
}  # fmt: skip
MARKS = {7: 0.5, 8: 0.49, 9: Failure(kind="too_long", message="no"), 10: 0.0}


def test_every_row_is_kept_or_named_under_one_reason(learn):
    """Refused, empty, cut, unscored and badly scored answers are each named; the bar itself passes."""
    training = planned(keep={"good": Bar(at_least=0.5)}, keep_share=0.3)
    taught = learn(training, Scripted(SCRIPT), Marks(marks=MARKS))
    assert [sample.row for sample in taught.samples] == [1, 7, 11, 12]
    assert taught.lesson["left_out"] == {
        "no answer (refusal)": [2, 5],
        "no answer (content_filter)": [3],
        "empty answer": [4],
        "answer cut at max_new_tokens": [6],
        "good not at_least 0.5": [8, 10],
        "no good (too_long)": [9],
    }
    named = [row for rows in taught.lesson["left_out"].values() for row in rows]
    assert sorted(named + [s.row for s in taught.samples]) == [s.row for s in SAMPLES]
    assert (taught.lesson["rows"], taught.lesson["kept"]) == (12, 4)


def test_the_answers_take_the_place_of_the_references(learn):
    """Everything else of a row stays, and a lesson says what it cost: 12 answers of 100 + 10 tokens at 2 and 8 a million."""
    taught = learn(planned(), Scripted())
    assert taught.samples == tuple(replace(s, references=(f"answer {s.row}",)) for s in SAMPLES)
    assert (taught.lesson["prompt_tokens"], taught.lesson["completion_tokens"]) == (1200, 120)
    assert taught.lesson["cost"] == pytest.approx((2 * 1200 + 8 * 120) / 1e6)


def test_rows_with_one_prompt_are_asked_and_paid_once(learn):
    """The same question in two rows is one request; both rows learn its answer."""
    twice = (SAMPLES[0], replace(SAMPLES[0], id="s13", row=13))
    teacher = Scripted()
    taught = learn(planned(twice), teacher)
    assert len(teacher.asked) == 1
    assert [s.references for s in taught.samples] == [(f"answer {teacher.asked[0]}",)] * 2
    assert taught.lesson["prompt_tokens"] == 100


def test_no_person_need_have_answered(learn):
    """Rows without a reference can be taught."""
    bare = tuple(replace(sample, references=()) for sample in SAMPLES)
    assert [s.references[0] for s in learn(planned(bare), Scripted()).samples] == [f"answer {i}" for i in range(1, 13)]


def test_a_known_lesson_asks_nobody(learn):
    """The second time neither teacher nor judge is asked, not even where the teacher refused; `recall` knows the same."""
    training = planned(keep={"good": Bar(at_least=0.5)}, keep_share=0.3)
    assert learn(training, Scripted(SCRIPT), Marks(marks=MARKS), how=lessons.recall) is None
    first = learn(training, Scripted(SCRIPT), Marks(marks=MARKS))
    teacher, judge = Scripted(SCRIPT), Marks(marks=MARKS)
    assert learn(training, teacher, judge) == first
    assert learn(training, teacher, judge, how=lessons.recall) == first
    assert (teacher.asked, judge.judged) == ([], [])


def test_fresh_asks_again(learn):
    """What the journals hold does not count then."""
    training = planned(keep={"good": Bar(at_least=0.5)})
    learn(training, Scripted(), Marks())
    teacher, judge = Scripted(), Marks()
    learn(training, teacher, judge, fresh=True)
    assert teacher.asked == judge.judged == list(range(1, 13))


def test_a_lesson_of_other_judges_is_not_known(learn):
    """A bar that was never judged is missing, though all answers are there."""
    learn(planned(), Scripted())
    training = planned(keep={"good": Bar(at_least=0.5)})
    assert learn(training, Scripted(), Marks(), how=lessons.recall) is None


@pytest.mark.parametrize("stopped_after", [0, 1, 7, 11])
def test_a_killed_lesson_goes_on_where_it_stopped(learn, tmp_path, stopped_after):
    """No row is asked twice, and the result is that of a lesson in one go."""
    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        learn(planned(), Scripted(die_after=stopped_after))
    second = Scripted()
    taught = learn(planned(), second)
    assert second.asked == list(range(stopped_after + 1, 13))
    assert taught == lessons.learn(planned(), teacher=Scripted(), judges={}, folder=tmp_path / "b", stages=Stages())


def test_a_row_that_another_try_may_bring_is_not_left_out(learn):
    """An endpoint that was down stops the lesson, says how far it came, and is asked for the rest alone."""
    down = {5: failed("timeout"), 9: failed("budget_exhausted")}
    with pytest.raises(IncompleteError, match=r"large has answered 10 of 12 training rows \(timeout: no\)"):
        learn(planned(), Scripted(down))
    teacher = Scripted(down)
    teacher.script = {}
    assert len(learn(planned(), teacher).samples) == 12
    assert teacher.asked == [5, 9]


def test_a_judge_that_was_down_stops_the_lesson(learn):
    """What it did not judge is neither kept nor left out."""
    marks = {3: Failure(kind="model_failed", message="no memory")}
    with pytest.raises(IncompleteError, match=r"good has judged 11 of 12 training rows \(model_failed: no memory\)"):
        learn(planned(keep={"good": Bar(at_least=0.5)}), Scripted(), Marks(marks=marks))


def test_a_later_judge_sees_what_an_earlier_one_left(learn):
    """Bars are held in the order of the suite, so the cheap one can stand first."""
    training = planned(keep={"good": Bar(at_least=0.5), "bad": Bar(at_most=0.2)})
    good, bad = Marks(marks={2: 0.0, 3: 0.1}), Marks("bad", {row: 0.1 for row in range(1, 12)})
    taught = learn(training, Scripted(), good, bad)
    assert bad.judged == [1, *range(4, 13)]
    assert taught.lesson["left_out"] == {"good not at_least 0.5": [2, 3], "bad not at_most 0.2": [12]}


@pytest.mark.parametrize(("share", "refused"), [(4 / 12, False), (0.34, True)])
def test_too_few_rows_are_refused_with_the_reasons(learn, share, refused):
    """Four of twelve are a third: one more is too much to ask."""
    training = planned(keep={"good": Bar(at_least=0.5)}, keep_share=share)
    judge = Marks(marks=MARKS)
    if not refused:
        assert len(learn(training, Scripted(SCRIPT), judge).samples) == 4
        return
    words = (
        r"'keep_share' asks for 34% of the training rows \(got 4 of 12 rows taught by large; left out: .*rows 2 and 5"
    )
    with pytest.raises(UserError, match=words):
        learn(training, Scripted(SCRIPT), judge)


def test_the_key_of_the_training_is_what_was_said(learn, tmp_path):
    """Another name, another bar that keeps the same rows: the same training. One other answer, one row less: another."""
    taught = learn(planned(keep={"good": Bar(at_least=0.5)}), Scripted(), Marks())
    renamed = learn(planned(keep={"good": Bar(at_least=0.9)}, keep_share=0.9), Scripted(name="other"), Marks())
    by_hand = planned(tuple(replace(s, references=(f"answer {s.row}",)) for s in SAMPLES))
    assert key_of(taught) == key_of(renamed) == key_of(by_hand)
    fewer = learn(planned(keep={"strict": Bar(at_least=0.5)}), Scripted(), Marks("strict", {4: 0.0}))
    other = replace(taught, samples=(*taught.samples[:-1], replace(taught.samples[-1], references=("no",))))
    assert len({key_of(taught), key_of(fewer), key_of(other), key_of(planned())}) == 4
