"""What a training is evaluated with: who is asked what, and who judges."""

import json

import pytest

from harness.data import load_dataset
from harness.records import Completion, Failure, Judgement, Metric, Needs
from harness.running.examining import validation_of
from harness.running.plan import Means, make_plan
from harness.running.trainings import key_of
from harness.suite import load_suite

SUITE = """
suite: s
data: {path: rows.jsonl, fields: {input: q, reference: a, id: id}}
splits:
  train: {share: 0.4, use: training}
  valid: {share: 0.3, use: validation}
  test: {share: 0.3}
prompt: "Q: {{ input }}"
generation: {max_new_tokens: 7, temperature: 0.9}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  lora: {train: {base: base, evaluate_every: 2, evaluate_samples: 5, OPTIONS}, PROMPTING}
judges:
  rouge: {}
  exact_match: {}
  perplexity: {}
  api: {kind: geval, criteria: Good., steps: [Look.], model: {kind: openai, name: m}}
"""


class Fake:
    """A judge that gives half a point, fails on answers `bad`, and wants more of the samples it is told to."""

    def __init__(self, name, fingerprint="1"):
        self.metric, self.fingerprint = Metric(name=name), fingerprint

    def needs(self, sample):
        return Needs(samples=3) if sample.id == "needy" else Needs()

    def judge(self, cases):
        failed = Failure(kind="no_answer", message="nothing to judge")
        return [
            Judgement(id=c.id, metric=self.metric.name, score=None, error=failed)
            if c.answer == "bad"
            else Judgement(id=c.id, metric=self.metric.name, score=0.5)
            for c in cases
        ]


class Model:
    """Answers in batches of two, last prompts first; remembers what it was asked and how."""

    def __init__(self, answers=()):
        self.answers, self.prompts, self.settings = dict(answers), [], None

    def generate(self, prompts, settings):
        self.prompts, self.settings = list(prompts), settings
        order = list(range(len(prompts)))[::-1]
        for start in range(0, len(order), 2):
            yield [(i, self.complete(prompts[i])) for i in order[start : start + 2]]

    def complete(self, prompt):
        answer = self.answers.get(prompt.sample_id, "fine")
        return Completion(text=None, error=answer) if isinstance(answer, Failure) else Completion(text=answer)


@pytest.fixture
def planned(tmp_path):
    """Makes plan and planned training of a suite with 60 rows; judges are fakes with these fingerprints."""

    def build(options="select: rouge", prompting="prompting: {kind: zero_shot}", fingerprints=None, answer="a"):
        rows = [{"q": f"question {i}", "a": f"{answer} {i}", "id": f"r{i}"} for i in range(60)]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        text = SUITE.replace("OPTIONS", options).replace("PROMPTING", prompting)
        (tmp_path / "suite.yaml").write_text(text)
        loaded = load_suite(tmp_path / "suite.yaml")
        means = Means(judge=lambda name: Fake(name, (fingerprints or {}).get(name, "1")), embedder=lambda name: None)
        plan = make_plan(loaded, load_dataset(loaded), means=means)
        return plan, plan.trainings[0]

    return build


def of(plan, training, **options):
    """The validation of a planned training."""
    from harness.models.prompting import ZeroShot

    return validation_of(plan, training, ZeroShot(template=plan.loaded.suite.prompt).prompt, **options)


def test_answers_are_greedy_and_asked_as_the_candidate_will_be(planned):
    """Five samples of the split, always the same; the suite's length, temperature 0; few-shot prompts for few-shot candidates."""
    plan, training = planned(prompting="prompting: {kind: few_shot, shots: 2}")
    validation, model = of(plan, training), Model()
    scores = validation.examine(model)
    assert (model.settings.temperature, model.settings.max_new_tokens) == (0.0, 7)
    ids = [prompt.sample_id for prompt in model.prompts]
    assert len(ids) == validation.samples == 5
    assert set(ids) <= {sample.id for sample in plan.dataset.splits["valid"]}
    assert all(len(prompt.messages) == 5 for prompt in model.prompts)
    assert len(validation.rows) == len(plan.dataset.splits["valid"]) > 5
    assert all(len(row.messages) == 1 for row in validation.rows)
    assert scores["rouge"] == dict.fromkeys(ids, 0.5)


def test_judges_left_out_are_those_of_one_answer_that_run_here(planned):
    """Endpoints and likelihoods are asked only where named; those that decide are always asked."""
    assert list(of(*planned("select: loss")).fingerprints) == ["rouge", "exact_match"]
    assert list(of(*planned("evaluate_with: [exact_match], select: rouge")).fingerprints) == ["rouge", "exact_match"]
    assert list(of(*planned("select: loss, evaluate_with: [api]")).fingerprints) == ["api"]
    assert list(of(*planned("early_stopping: {metric: api}, evaluate_with: [rouge]")).fingerprints) == ["rouge", "api"]


def test_what_has_no_score_is_left_out_and_told(planned):
    """A failed answer, an unscored one and one the judge would need more for are no zeros; a line says how many and why."""
    plan, training = planned()
    ids = [prompt.sample_id for prompt in asked(plan, training)]
    lines = []
    model = Model({ids[0]: "bad", ids[1]: Failure(kind="prompt_too_long", message="too long")})
    scores = of(plan, training, notice=lines.append).examine(model)
    assert set(scores["rouge"]) == set(ids[2:])
    assert lines[0].startswith("rouge: 2 of 5 answers have no score, 1 of them for ")


def asked(plan, training):
    """What the model is asked."""
    model = Model()
    of(plan, training).examine(model)
    return model.prompts


def test_the_key_follows_the_deciding_judge_and_the_answers_it_looks_at(planned):
    """Another version of the judge that selects, or another reference, is another training; of a judge that looks on, not."""
    keys = [
        key_of(*planned()),
        key_of(*planned(fingerprints={"rouge": "2"})),
        key_of(*planned(answer="b")),
        key_of(*planned("select: loss")),
        key_of(*planned("select: exact_match")),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(*planned(fingerprints={"exact_match": "2"})) == keys[0]
    assert key_of(*planned("evaluate_with: [exact_match], select: rouge")) == keys[0]
