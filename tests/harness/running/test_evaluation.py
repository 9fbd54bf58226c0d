"""A whole evaluation in this process: faults at 3 % of judge calls, a dead judge, and judges that need likelihoods and draws."""

import json
import math
from contextlib import contextmanager
from dataclasses import replace

import duckdb
import pytest

from harness.data import load_dataset
from harness.deciding.comparison import leaderboard
from harness.deciding.gate import decide_all
from harness.deciding.scores import Scores
from harness.models.candidates import build_candidate
from harness.models.load import ModelRoom
from harness.records import Failure, Judgement, Metric, Needs
from harness.running.evaluation import evaluate
from harness.running.plan import make_plan
from harness.store import Home, Store
from harness.suite import load_suite
from judges.likelihood import ChoiceJudge, PerplexityJudge
from tests.harness.models.tiny import make_model

SUITE = """
suite: faults
data: {path: rows.jsonl, fields: {input: q, reference: a, id: id}}
splits: {test: {share: 1.0}}
candidates:
  base: {model: {kind: answers, path: base.jsonl}}
  lora: {model: {kind: answers, path: lora.jsonl}}
judges:
  correct: {kind: exact_match}
  toxicity: {}
gate:
  baseline: base
  rules:
    - {metric: correct, better_by: 0.05}
    - {metric: toxicity, at_most: 0.2}
    - {coverage: 0.98, metric: toxicity}
"""
COUNT = 400


class Stages:
    """Shows nothing."""

    @contextmanager
    def stage(self, name, total, *, done=0):
        yield lambda count: None


class Scripted:
    """A judge that scores by the sample's number and fails on the calls it is told to fail on; it counts its calls."""

    def __init__(self, name, fails=lambda call: False, kind="timeout"):
        self.metric = Metric(name=name, direction="lower" if name == "toxicity" else "higher")
        self.fingerprint, self.fails, self.kind, self.calls = f"judge of {name}", fails, kind, 0

    def judge(self, cases):
        return [self.one(case) for case in cases]

    def one(self, case):
        self.calls += 1
        if self.fails(self.calls):
            failure = Failure(kind=self.kind, message="the classifier is down")
            return Judgement(id=case.id, metric=self.metric.name, score=None, error=failure)
        number = int(case.id[1:])
        right = case.answer == "yes"
        score = float(right) if self.metric.name == "correct" else 0.05 + (number % 10) / 100 + 0.01 * right
        return Judgement(id=case.id, metric=self.metric.name, score=score)


@pytest.fixture
def folder(tmp_path):
    """400 samples; lora answers 80 % as wanted, base 50 %. Where both say yes, one judgement serves both."""
    rows = [{"id": f"s{i}", "q": f"question {i}", "a": "yes"} for i in range(COUNT)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, share in (("base", 5), ("lora", 8)):
        said = [{"id": f"s{i}", "answer": "yes" if i % 10 < share else f"{name} says no"} for i in range(COUNT)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


def evaluated(folder, judges, home="home", **options):
    """The evaluation of the suite by these judges, its scores, and the verdict on lora if the suite has a gate."""
    loaded = load_suite(folder / "suite.yaml")
    dataset = load_dataset(loaded)
    plan = make_plan(loaded, dataset)
    room = ModelRoom(folder, device="cpu")
    candidates = [
        build_candidate(
            name, plan.spec(name), suite=loaded.suite, dataset=dataset, loaded=loaded, models=room, training=None
        )
        for name in plan.candidates
    ]
    place = Home(folder / home)
    run = evaluate(
        plan, candidates=candidates, judges=judges, trainings={}, home=place, stages=Stages(), record={}, **options
    ).run
    with Store.open(place) as store:
        scores = Scores.from_rows(store.scores(run.id))
        judgements = store.judgements(run.id)
    verdicts = decide_all(loaded.suite.gate, run=run, scores=scores) if loaded.suite.gate is not None else [None]
    return run, scores, judgements, verdicts[0]


def every_33rd(call):
    """3 % of calls."""
    return call % 33 == 0


def test_faults_at_3_percent_of_calls_change_no_mean_and_are_zero_nowhere(folder):
    """Means are those of the rest, counts are right, NULL is stored, coverage stops the gate; the next run mends it all."""
    judges = [Scripted("correct"), Scripted("toxicity", every_33rd)]
    run, scores, judgements, verdict = evaluated(folder, judges)
    whole, _, sound, fine = evaluated(folder, [Scripted("correct"), Scripted("toxicity")], home="whole")
    expected = {(j.candidate, j.id): j.score for j in sound if j.metric == "toxicity"}
    failed = [j for j in judgements if j.error is not None]
    assert judges[1].calls // 33 <= len(failed) < 0.05 * 2 * COUNT
    assert {(j.metric, j.error.kind, j.score) for j in failed} == {("toxicity", "timeout", None)}
    for row in leaderboard(scores, run.metrics):
        rest = [j for j in judgements if (j.candidate, j.metric) == (row.candidate, "toxicity") and j.error is None]
        found = row.estimates["toxicity"]
        assert found.unscored == COUNT - len(rest) > 0
        assert found.n == len(rest)
        assert found.mean == pytest.approx(sum(expected[j.candidate, j.id] for j in rest) / len(rest), abs=1e-12)
        assert row.estimates["correct"].unscored == 0
    with duckdb.connect(str(folder / "home" / "store.duckdb"), read_only=True) as connection:
        stored = connection.execute(
            "SELECT count(*), count(score), min(score) FROM judgements WHERE metric = 'toxicity'"
        ).fetchone()
    assert stored == (2 * COUNT, 2 * COUNT - len(failed), pytest.approx(0.06))
    coverage = next(f for f in verdict.findings if "coverage" in f.rule)
    assert (run.status, coverage.outcome, coverage.n_unscored) == (
        "incomplete",
        "incomplete",
        sum(j.candidate == "lora" for j in failed),
    )
    assert (verdict.outcome, verdict.exit_status) == ("incomplete", 4)
    healthy = Scripted("toxicity")
    mended, _, after, passed = evaluated(folder, [Scripted("correct"), healthy])
    assert healthy.calls == len({j.key for j in failed})
    assert {(j.candidate, j.id, j.metric): j.score for j in after} == {
        (j.candidate, j.id, j.metric): j.score for j in sound
    }
    assert (
        (mended.status, passed.outcome, passed.exit_status)
        == (whole.status, fine.outcome, 0)
        == ("complete", "pass", 0)
    )


def test_faults_that_last_fail_the_coverage_rule(folder):
    """What no other try can mend is no reason to call the run unfinished: the coverage rule itself stops the gate."""
    run, _, _, verdict = evaluated(
        folder, [Scripted("correct"), Scripted("toxicity", every_33rd, kind="missing_input")]
    )
    coverage = next(f for f in verdict.findings if "coverage" in f.rule)
    assert (run.status, coverage.outcome, verdict.outcome, verdict.exit_status) == ("complete", "fail", "fail", 1)


def test_a_dead_judge_gives_null_for_all_and_stops_the_gate(folder):
    """No answer is called harmless because nobody looked: no score, no pass, exit status 4."""
    run, scores, judgements, verdict = evaluated(folder, [Scripted("correct"), Scripted("toxicity", lambda call: True)])
    assert {j.score for j in judgements if j.metric == "toxicity"} == {None}
    toxicity = next(f for f in verdict.findings if "at_most" in f.rule)
    assert (toxicity.outcome, toxicity.estimate, toxicity.n) == ("incomplete", None, 0)
    assert (run.status, verdict.outcome, verdict.exit_status) == ("incomplete", "incomplete", 4)
    means = [row.estimates["toxicity"].mean for row in leaderboard(scores, run.metrics)]
    assert means == [None, None]


LOCAL = """
suite: likely
data: {path: rows.jsonl, fields: {input: q, reference: a, id: id}}
splits: {test: {share: 1.0}}
generation: {max_new_tokens: 4}
candidates:
  local: {model: {kind: transformers, path: model}}
  recorded: {model: {kind: answers, path: recorded.jsonl}}
judges:
  perplexity: {}
  choice: {kind: mcq, choices: options}
  drawn: {kind: exact_match, repeats: 2, repeat_cases: 3}
"""


class Drawn:
    """A judge that needs two further answers, and scores how many of three differ."""

    metric = Metric(name="drawn")
    fingerprint = "drawn"

    def needs(self, sample):
        return Needs(samples=2)

    def judge(self, cases):
        return [Judgement(id=c.id, metric="drawn", score=(len({c.answer, *c.samples}) - 1) / 2) for c in cases]


def test_likelihoods_and_draws_are_gathered_stored_and_asked_once(tmp_path, monkeypatch):
    """Perplexity, choices and draws of a local model; recorded answers have none of them, typed and for good; all is kept."""
    make_model(tmp_path / "model")
    options = ["rest", "a doctor", "water"]
    rows = [{"id": f"s{i}", "q": f"pain {i}", "a": options[i % 3], "options": options} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recorded.jsonl").write_text(
        "".join(json.dumps({"id": r["id"], "answer": "rest"}) + "\n" for r in rows)
    )
    (tmp_path / "suite.yaml").write_text(LOCAL)
    judges = [
        PerplexityJudge("perplexity"),
        ChoiceJudge("choice", choices="options", normalisation="characters"),
        Drawn(),
    ]
    run, scores, judgements, _ = evaluated(tmp_path, judges)
    assert run.status == "complete"
    errors = {(j.metric, j.error.kind) for j in judgements if j.candidate == "recorded"}
    assert errors == {("perplexity", "no_likelihoods"), ("choice", "no_likelihoods"), ("drawn", "no_samples")}
    local = [j for j in judgements if j.candidate == "local"]
    assert all(j.error is None for j in local)
    with Store.open(Home(tmp_path / "home")) as store:
        probes, repeats, board = store.probes(run.id), store.repeats(run.id), store.leaderboard(run.id)
    assert {(p.kind, p.candidate) for p in probes} == {("sample", "local"), ("likelihood", "local")}
    assert sum(p.kind == "likelihood" for p in probes) == 6 * 3  # the reference is one of the choices: asked once
    assert sum(p.kind == "sample" for p in probes) == 6 * 2
    asked = [j.evidence for j in local if j.metric == "perplexity"]
    expected = math.exp(-sum(e["log_likelihood"] for e in asked) / sum(e["tokens"] for e in asked))
    [row] = [row for row in leaderboard(scores, run.metrics) if row.candidate == "local"]
    assert row.estimates["perplexity"].mean == pytest.approx(expected, rel=1e-9)
    assert next(mean for _, m, c, _, _, mean in board if (m, c) == ("perplexity", "local")) == pytest.approx(
        expected, rel=1e-9
    )
    assert len(repeats) == 3 * 2
    assert run.record["judge_noise"]["drawn"]["within_variance"] == 0

    class Another(Drawn):
        """The same needs, another judge."""

        fingerprint = "another"

    monkeypatch.setattr(
        "harness.models.local.LocalModel.model", property(lambda self: pytest.fail("the model was loaded again"))
    )
    _, _, again, _ = evaluated(tmp_path, [*judges[:2], Another()])
    assert [replace(j, key="") for j in again] == [replace(j, key="") for j in judgements]
