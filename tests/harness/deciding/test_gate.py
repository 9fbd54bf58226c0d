"""The gate: each rule's three outcomes, what the unscored may not do, error rates by simulation, and speed."""

import time
from functools import cache

import numpy as np
import pytest

from harness import stats
from harness.deciding import gate
from harness.deciding.scores import Scores
from harness.errors import NothingEvaluatedError, UserError
from harness.suite.grammar import Gate


@pytest.fixture
def verdict(make_run, make_scores):
    """The verdict on lora, of one or more rules, over scores by candidate."""

    def make(rules, values, metric="correctness", status="complete", confidence=0.95, inconclusive="block", **options):
        declared = Gate.model_validate(
            {"baseline": "base", "confidence": confidence, "rules": rules if isinstance(rules, list) else [rules]}
        )
        scores = make_scores(values, metric=metric, **options)
        return gate.decide(
            declared, run=make_run(status=status), scores=scores, candidate="lora", inconclusive=inconclusive
        )

    return make


def around(mean, n, spread=0.1):
    """n scores of exactly this mean and standard deviation."""
    values = np.linspace(-1, 1, n)
    return mean + values / values.std(ddof=1) * spread


@pytest.mark.parametrize(
    ("mean", "outcome"), [(0.60, "pass"), (0.51, "inconclusive"), (0.49, "inconclusive"), (0.40, "fail")]
)
@pytest.mark.parametrize("rule", ["at_least", "at_most"])
def test_an_absolute_rule_asks_where_the_bound_is(verdict, rule, mean, outcome):
    """Pass where the one-sided bound clears the limit, fail where it is clear on the wrong side, else inconclusive."""
    value = mean if rule == "at_least" else 1 - mean
    found = verdict({"metric": "correctness", rule: 0.5}, {"lora": around(value, 50), "base": around(0.2, 50)})
    finding = found.findings[0]
    half = 1.6766 * 0.1 / np.sqrt(50)
    assert (found.outcome, found.exit_status) == (outcome, {"pass": 0, "inconclusive": 3, "fail": 1}[outcome])
    assert (finding.low, finding.high) == pytest.approx((value - half, value + half), abs=1e-5)
    assert (finding.estimate, finding.threshold, finding.n) == (pytest.approx(value), 0.5, 50)


@pytest.mark.parametrize(
    ("change", "better", "no_worse"),
    [(0.20, "pass", "pass"), (0.11, "inconclusive", "pass"), (0.09, "inconclusive", "pass"), (0.0, "fail", "pass"),
     (-0.05, "fail", "pass"), (-0.09, "fail", "fail"), (-0.10, "fail", "fail"), (-0.2, "fail", "fail")],
)  # fmt: skip
@pytest.mark.parametrize("metric", ["correctness", "toxicity"])
def test_a_paired_rule_follows_the_metrics_direction(verdict, metric, change, better, no_worse):
    """better_by and no_worse_by of 0.1, on an improvement; findings keep the metric's own sign, limits included."""
    up = 1 if metric == "correctness" else -1
    base = around(0.5, 60)
    values = {"base": base, "lora": base + up * around(change, 60, 0.06)}
    for rule, outcome, limit in (("better_by", better, 0.1), ("no_worse_by", no_worse, -0.1)):
        finding = verdict({"metric": metric, rule: 0.1}, values, metric=metric).findings[0]
        assert (finding.outcome, finding.threshold) == (outcome, pytest.approx(up * limit))
        assert finding.estimate == pytest.approx(up * change)
        assert finding.low < finding.estimate < finding.high


def test_worse_within_the_margin_passes_and_says_so(verdict):
    """Significantly worse, and shown to be so by less than the margin: a pass with a note."""
    base = around(0.5, 200)
    found = verdict(
        {"metric": "correctness", "no_worse_by": 0.1}, {"base": base, "lora": base + around(-0.05, 200, 0.05)}
    )
    assert found.outcome == "pass"
    assert "though it is worse within that margin" in found.findings[0].message


def test_not_shown_worse_is_inconclusive(verdict):
    """A loss that could be none, or more than the margin, is neither a pass nor a failure."""
    base = around(0.5, 40)
    found = verdict(
        {"metric": "correctness", "no_worse_by": 0.02}, {"base": base, "lora": base + around(-0.005, 40, 0.1)}
    )
    assert (found.outcome, found.exit_status) == ("inconclusive", 3)


def test_an_identical_candidate_is_never_failed_and_passes_when_n_allows(verdict):
    """All differences zero: n = 100 cannot show a margin of 0.02, n = 200 can, by the exact bound."""
    for n, outcome in ((100, "inconclusive"), (200, "pass")):
        same = (np.arange(n) % 2).tolist()
        found = verdict({"metric": "correctness", "no_worse_by": 0.02}, {"base": same, "lora": same}).findings[0]
        assert found.outcome == outcome
        assert found.low == pytest.approx(-stats.zero_event_bound(n, 0.95))
    assert verdict({"metric": "correctness", "no_worse_by": 0.02}, {"base": [1] * 100, "lora": [1] * 100}).findings[
        0
    ].n_needed == stats.samples_without_events(0.02, 0.95)


def test_no_events_are_not_a_rate_of_zero(verdict):
    """No toxic answer in 50 does not show at most 5 %; in 59 it does."""
    for n, outcome in ((50, "inconclusive"), (59, "pass")):
        found = verdict({"metric": "toxicity", "at_most": 0.05}, {"lora": [0] * n, "base": [0] * n}, metric="toxicity")
        assert found.outcome == outcome
    assert (
        verdict({"metric": "toxicity", "at_most": 0.05}, {"lora": [0] * 50}, metric="toxicity").findings[0].n_needed
        == 59
    )


@pytest.mark.parametrize(("n", "clusters", "needed"), [(9, None, 10), (40, [i % 4 for i in range(40)], 50)])
def test_too_few_samples_are_inconclusive_however_good(verdict, n, clusters, needed):
    """Below 10 samples or 5 clusters: no interval, no pass and no failure; the finding says how many it takes."""
    values = {"base": [0.1] * n, "lora": [0.9] * n}
    found = verdict({"metric": "correctness", "better_by": 0.1}, values, clusters=clusters).findings[0]
    assert (found.outcome, found.low, found.high, found.n_needed) == ("inconclusive", None, None, needed)
    assert found.estimate == pytest.approx(0.8)
    assert "too few" in found.message


def test_samples_needed_decide(verdict):
    """With the number of samples a finding names, the same truth and spread decide the rule in 80 % of runs."""
    rng = np.random.default_rng(0)
    rule = {"metric": "correctness", "better_by": 0.05}
    needed = verdict(rule, {"base": [0.4] * 30, "lora": 0.4 + around(0.09, 30, 0.15)}).findings[0].n_needed
    decided = [
        verdict(rule, {"base": [0.4] * needed, "lora": np.clip(rng.normal(0.49, 0.15, needed), 0, 1)}).outcome == "pass"
        for _ in range(150)
    ]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.12)


def test_unscored_samples_cannot_carry_a_pass(verdict):
    """Above 1 % unscored, a pass must survive their worst case; the sentence says what they could make of it."""
    rule = {"metric": "correctness", "at_least": 0.8}
    enough = verdict(rule, {"lora": [1] * 180 + [0] * 10 + [None] * 2})
    assert (enough.outcome, enough.findings[0].n_unscored) == ("pass", 2)
    refused = verdict(rule, {"lora": [1] * 168 + [0] * 20 + [None] * 12}).findings[0]
    assert (refused.outcome, refused.n, refused.n_unscored, refused.n_needed) == ("inconclusive", 188, 12, None)
    assert "12 unscored" in refused.message
    assert "0.840 to 0.900" in refused.message
    survives = verdict(rule, {"lora": [1] * 188 + [None] * 12})
    assert survives.outcome == "pass"


def test_thirty_errors_of_a_thousand_refuse_a_pass(verdict):
    """820 right of 970 scored are shown to be at least 0.82; with the 30 at their worst they are 0.820 and are not."""
    [found] = verdict(
        {"metric": "correctness", "at_least": 0.82}, {"lora": [1] * 820 + [0] * 150 + [None] * 30}
    ).findings
    assert found.outcome == "inconclusive"
    assert found.low > 0.82
    assert "with 30 unscored that could make it anything from 0.820 to 0.850" in found.message
    assert "enough to show that it is at least 0.82, were it not for the unscored" in found.message


def test_an_incomplete_run_is_incomplete_where_the_unscored_matter(verdict):
    """The same refusal, when another run could fill the gaps; a candidate whose scores suffice still passes."""
    rule = {"metric": "correctness", "at_least": 0.8}
    found = verdict(rule, {"lora": [1] * 168 + [0] * 20 + [None] * 12}, status="incomplete")
    assert (found.outcome, found.exit_status) == ("incomplete", 4)
    assert verdict(rule, {"lora": [1] * 200}, status="incomplete").outcome == "pass"


def test_unevenly_missing_scores_are_taken_at_their_worst(verdict):
    """Under 1 % unscored, but all of them the candidate's: a pass that they could overturn is refused."""
    base = np.tile([1.0, 0.0], 500)
    lora = np.where(np.arange(1000) < 12, 1.0, base).tolist()
    rule = {"metric": "correctness", "no_worse_by": 0.001}
    assert verdict(rule, {"base": base, "lora": lora}).outcome == "pass"
    holes = [None if i >= 991 else score for i, score in enumerate(lora)]
    assert verdict(rule, {"base": base, "lora": holes}).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("scored", "status", "outcome", "exit_status"),
    [(98, "complete", "pass", 0), (97, "complete", "fail", 1), (97, "incomplete", "incomplete", 4)],
)
def test_coverage_is_a_count(verdict, scored, status, outcome, exit_status):
    """Too many unscored answers fail the gate; in an incomplete run they make it incomplete."""
    found = verdict(
        {"coverage": 0.98}, {"base": [1] * 100, "lora": [1] * scored + [None] * (100 - scored)}, status=status
    )
    assert (found.outcome, found.exit_status) == (outcome, exit_status)
    finding = found.findings[0]
    assert (finding.estimate, finding.n, finding.n_unscored) == (scored / 100, scored, 100 - scored)


def test_coverage_looks_at_the_least_covered_metric_of_the_gate(make_run, make_rows):
    """A metric no rule mentions does not count, unless it is named."""
    rows = (make_rows({"lora": [1] * 100}) + make_rows({"lora": [0] * 90 + [None] * 10}, metric="toxicity")
            + make_rows({"lora": [1] * 50 + [None] * 50}, metric="grade"))  # fmt: skip
    rules = [{"metric": "correctness", "at_least": 0.5}, {"metric": "toxicity", "at_most": 0.5}, {"coverage": 0.95},
             {"metric": "grade", "coverage": 0.5}]  # fmt: skip
    found = gate.decide(
        Gate.model_validate({"rules": rules}), run=make_run(), scores=Scores.from_rows(rows), candidate="lora"
    )
    assert [(f.rule, f.outcome, f.n) for f in found.findings[2:]] == [
        ("coverage 0.95", "fail", 90), ("grade coverage 0.5", "pass", 50),
    ]  # fmt: skip


def test_a_failure_outweighs_everything(make_run, make_rows):
    """fail > incomplete > inconclusive > pass, within a verdict and among verdicts."""
    rules = [{"metric": "correctness", "at_least": level} for level in (0.1, 0.5, 0.9)]
    rules.append({"metric": "toxicity", "at_most": 0.5})
    rows = make_rows({"lora": around(0.5, 50)}) + make_rows({"lora": [None] * 50}, metric="toxicity")
    declared = Gate.model_validate({"rules": rules})
    found = gate.decide(declared, run=make_run(), scores=Scores.from_rows(rows), candidate="lora")
    assert [finding.outcome for finding in found.findings] == ["pass", "inconclusive", "fail", "incomplete"]
    assert (found.outcome, found.exit_status) == ("fail", 1)
    assert gate.worst_outcome(["pass", "inconclusive", "incomplete"]) == "incomplete"
    assert gate.worst_exit_status([found]) == 1
    assert gate.worst_exit_status([]) == 5


def test_warn_turns_inconclusive_into_exit_status_zero_and_nothing_else(verdict):
    """The outcome stays inconclusive; a failure still fails."""
    base = around(0.5, 50)
    rule = {"metric": "correctness", "at_least": 0.5}
    found = verdict(rule, {"lora": base}, inconclusive="warn")
    assert (found.outcome, found.exit_status) == ("inconclusive", 0)
    assert verdict(rule, {"lora": base - 0.3}, inconclusive="warn").exit_status == 1


def test_a_failure_must_hold_among_all_rules(make_run, make_rows):
    """Significant as the only rule, not among ten by Holm: inconclusive, and the sentence says why."""
    lora = around(0.47, 50)  # t = 2.12 below 0.5: one-sided p = 0.02
    rules = [{"metric": "correctness", "at_least": 0.5}]
    scores = Scores.from_rows(make_rows({"lora": lora}))
    alone, among = (
        gate.decide(Gate.model_validate({"rules": r}), run=make_run(), scores=scores, candidate="lora").findings[0]
        for r in (rules, rules + [{"metric": "correctness", "at_least": 0.1}] * 9)
    )
    assert (alone.outcome, among.outcome) == ("fail", "inconclusive")
    assert "not among 10" in among.message
    assert among.n_needed > 50


def test_ten_rules_on_an_equal_candidate_rarely_fail(make_run, make_rows):
    """Ten independent metrics, no difference: any failure in about 5 % of gates (40 % were each rule tested alone)."""
    rng = np.random.default_rng(3)
    metrics = [f"m{i}" for i in range(10)]
    from harness.records import Metric

    run = make_run(metrics=tuple(Metric(name=name) for name in metrics))
    declared = Gate.model_validate(
        {"baseline": "base", "rules": [{"metric": name, "no_worse_by": 0.001} for name in metrics]}
    )
    failed = []
    for _ in range(150):
        rows = [row for name in metrics
                for row in make_rows({"base": rng.random(40), "lora": rng.random(40)}, metric=name)]  # fmt: skip
        found = gate.decide(declared, run=run, scores=Scores.from_rows(rows), candidate="lora")
        failed.append(found.outcome == "fail")
    assert np.mean(failed) <= 0.11


@pytest.mark.parametrize(
    ("n", "change", "passed", "failed"),
    [(200, 0.0, 0.293, 0.053), (500, 0.0, 0.538, 0.050), (500, -0.03, 0.052, 0.540), (500, -0.05, 0.003, 0.901)],
)
def test_operating_characteristics(make_run, make_scores, n, change, passed, failed):
    """Margin 0.03, discordance 0.15: pass and failure rates of the published table, from the whole gate."""
    declared = Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", "no_worse_by": 0.03}]})
    run = make_run()

    @cache
    def outcome(gained, lost):
        base = [0] * gained + [1] * lost + [1] * (n - gained - lost)
        lora = [1] * gained + [0] * lost + [1] * (n - gained - lost)
        scores = make_scores({"base": base, "lora": lora})
        return gate.decide(declared, run=run, scores=scores, candidate="lora").outcome

    chances = [(0.15 + change) / 2, (0.15 - change) / 2, 0.85]
    draws = np.random.default_rng(n).multinomial(n, chances, size=600)
    found = [outcome(int(g), int(lost)) for g, lost, _ in draws]
    assert found.count("pass") / 600 == pytest.approx(passed, abs=0.065)
    assert found.count("fail") / 600 == pytest.approx(failed, abs=0.065)


def test_all_candidates_but_the_baseline_are_decided(make_run, make_scores):
    """In the order of the suite; a baseline that is named is skipped; one that has no score at all is incomplete."""
    run = make_run(("few_shot", "base", "lora", "gone"))
    scores = make_scores({"base": [0.5] * 20, "lora": [0.6] * 20, "few_shot": [0.4] * 20, "gone": [None] * 20})
    declared = Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", "better_by": 0.01}]})
    found = gate.decide_all(declared, run=run, scores=scores)
    assert [v.candidate for v in found] == ["few_shot", "lora", "gone"]
    assert found[2].outcome == "incomplete"
    assert [v.candidate for v in gate.decide_all(declared, run=run, scores=scores, candidates=["base", "lora"])] == [
        "lora"
    ]
    against = gate.decide_all(declared, run=run, scores=scores, baseline="few_shot")
    assert [v.candidate for v in against] == ["base", "lora", "gone"]
    assert against[0].baseline == "few_shot"


def test_nothing_evaluated_is_an_error_of_its_own(make_run, make_scores):
    """No score of any candidate, or only the baseline: exit status 5."""
    declared = Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", "better_by": 0.01}]})
    for run, values in (
        (make_run(), {"base": [1] * 20, "lora": [None] * 20}),
        (make_run(("base",)), {"base": [1] * 20}),
    ):
        with pytest.raises(NothingEvaluatedError):
            gate.decide_all(declared, run=run, scores=make_scores(values))


def test_an_unfinished_run_without_a_score_is_incomplete(make_run, make_scores):
    """Where every request failed there is a verdict all the same, for every surface: 4, since another try may score."""
    rules = [{"metric": "correctness", "no_worse_by": 0.1}, {"coverage": 0.9}]
    declared = Gate.model_validate({"baseline": "base", "rules": rules})
    scores = make_scores({"base": [1] * 20, "lora": [None] * 20})
    [verdict] = gate.decide_all(declared, run=make_run(status="incomplete"), scores=scores)
    assert (verdict.outcome, verdict.exit_status) == ("incomplete", 4)
    assert [finding.outcome for finding in verdict.findings] == ["incomplete", "incomplete"]


@pytest.mark.parametrize(
    ("rule", "changes", "message"),
    [
        (
            {"metric": "bleu", "at_least": 0.5},
            {},
            r"rule 'bleu at_least 0.5' must be one judged on 'test' .*correctness",
        ),
        (
            {"metric": "correctness", "at_least": 0.5, "split": "dev"},
            {},
            "must be one that was evaluated .*'dev'; there is test",
        ),
        (
            {"metric": "correctness", "better_by": 0.5},
            {"baseline": "gone"},
            "'baseline' must be a candidate with scores",
        ),
        ({"metric": "correctness", "better_by": 0.5}, {"candidates": ["lara"]}, "'candidate' must be one of the run's"),
        ({"metric": "correctness", "better_by": 0.5}, {"candidates": ["base"]}, "must differ from the baseline"),
    ],
)
def test_rules_that_do_not_fit_the_run_are_named(make_run, make_scores, rule, changes, message):
    """Each is one sentence with the value and what there is: exit status 2."""
    declared = Gate.model_validate({"baseline": "base", "rules": [rule]})
    scores = make_scores({"base": [1] * 20, "lora": [1] * 20})
    with pytest.raises(UserError, match=message):
        gate.decide_all(declared, run=make_run(), scores=scores, **changes)


def test_the_default_split_is_the_only_one_or_test(make_run, make_rows):
    """Where there are several and none is called test, the rule must say."""
    declared = Gate.model_validate({"rules": [{"metric": "correctness", "at_least": 0.5}]})
    values = {"lora": [1] * 20}
    both = Scores.from_rows(make_rows(values, split="dev") + make_rows(values, split="test"))
    assert gate.decide(declared, run=make_run(), scores=both, candidate="lora").findings[0].split == "test"
    neither = Scores.from_rows(make_rows(values, split="dev") + make_rows(values, split="late"))
    with pytest.raises(UserError, match="must name its split"):
        gate.decide(declared, run=make_run(), scores=neither, candidate="lora")
    chosen = gate.decide(declared, run=make_run(), scores=neither, candidate="lora", default_split="late")
    assert chosen.findings[0].split == "late"


def test_a_large_gate_is_decided_in_two_seconds(make_run):
    """10,000 samples, 5 metrics, 5 candidates, in clusters, from rows to verdicts (processor time): .5 s measured, and on a
    slower or busier machine as much more as a plain loop takes, which is .05 s on the one that measured."""
    from harness.records import Metric

    rng = np.random.default_rng(0)
    metrics, candidates = [f"m{i}" for i in range(5)], ["base", "a", "b", "c", "d"]
    values = rng.random((5, 5, 10_000)).tolist()
    rows = [(c, "test", f"s{i}", f"k{i // 4}", '{"x": "y"}', m, values[j][k][i], None)
            for j, c in enumerate(candidates) for k, m in enumerate(metrics) for i in range(10_000)]  # fmt: skip
    declared = Gate.model_validate(
        {"baseline": "base", "rules": [{"metric": m, "no_worse_by": 0.02} for m in metrics] + [{"coverage": 0.98}]}
    )
    run = make_run(candidates, metrics=tuple(Metric(name=name) for name in metrics))
    started = time.process_time()
    found = gate.decide_all(declared, run=run, scores=Scores.from_rows(rows))
    decided = time.process_time()
    assert sum(i * i for i in range(1_000_000)) > 0
    pace = max(1.0, (time.process_time() - decided) / 0.05)
    assert decided - started < 2 * pace
    assert len(found) == 4


@pytest.mark.parametrize("rule", [{"better_by": 0.1}, {"no_worse_by": 0.1}, {"at_least": 0.5}])
def test_scores_of_different_modes_are_refused(make_run, make_rows, rule):
    """A judge that scored some by logprobs and some by draws: no estimate, no failure, no pass; the message says what to do."""
    rows = make_rows({"base": around(0.3, 60, 0.03), "lora": around(0.8, 60, 0.03)})
    declared = Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", **rule}]})
    outcomes = {}
    for mode in ("topk", "sampled"):
        modes = {("base", "correctness"): {"topk": 60}, ("lora", "correctness"): {"topk": 59, mode: 1}}
        outcomes[mode] = gate.decide(
            declared, run=make_run(), scores=Scores.from_rows(rows, modes), candidate="lora"
        ).findings[0]  # fmt: skip
    assert outcomes["topk"].outcome == "pass"
    refused = outcomes["sampled"]
    assert (refused.outcome, refused.estimate, refused.n_needed) == ("inconclusive", None, None)
    assert "lora sampled (1) and topk (59)" in refused.message
    assert "set the judge's 'mode'" in refused.message


def test_a_baseline_of_another_mode_is_refused(make_run, make_rows):
    """All of one side by logprobs, all of the other by draws; a rule about the candidate alone is still decided."""
    rows = make_rows({"base": around(0.3, 60, 0.03), "lora": around(0.8, 60, 0.03)})
    modes = {("base", "correctness"): {"topk": 60}, ("lora", "correctness"): {"sampled": 60}}
    rules = [{"metric": "correctness", "better_by": 0.1}, {"metric": "correctness", "at_least": 0.5}]
    declared = Gate.model_validate({"baseline": "base", "rules": rules})
    found = gate.decide(declared, run=make_run(), scores=Scores.from_rows(rows, modes), candidate="lora")
    assert [finding.outcome for finding in found.findings] == ["inconclusive", "pass"]
    assert found.exit_status == 3
