"""What quality takes, who wins against whom, whether a score is a probability: known values and counts by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import lxml.html
import numpy as np
import pytest
from fake_run import CANDIDATES, METRICS, fake_calibrations, fake_run

from harness.deciding.scores import Scores
from harness.records import Estimate, Judgement, Metric
from harness.stats import reliability_bins, wilson
from harness.store import Home, Store
from harness.store.calibrations import write_calibration
from reports.queries import load_report
from reports.render import render, write_report
from reports.tradeoffs import pareto_front, win_table
from reports.views import TradePoint

UP, DOWN = Metric(name="up"), Metric(name="down", direction="lower")


def point(name, amount, mean):
    """A candidate of this quality at this price."""
    estimate = Estimate(n=9, unscored=0, mean=mean, low=None, high=None, confidence=0.95, method="given")
    return TradePoint(candidate=name, amount=amount, estimate=estimate)


def loaded(tmp_path, fake, cards=()):
    """The report on a run in a store of its own."""
    home = Home(tmp_path / "home")
    for card in cards:
        write_calibration(home, card)
    with Store.open(home) as store:
        fake.write(store)
        return load_report(store, ["latest"])


def test_the_front_holds_whom_nobody_beats():
    """Cheapest first; equals stay together; where lower is better the other end is on it."""
    points = [point("a", 1, 0.2), point("b", 2, 0.5), point("c", 3, 0.4), point("d", 4, 0.9), point("e", 4, 0.9)]
    assert pareto_front(points, UP) == ("a", "b", "d", "e")
    assert pareto_front(points, DOWN) == ("a",)
    assert pareto_front([*points, point("f", 1, 0.3)], UP) == ("f", "b", "d", "e")


def test_wins_are_counted_as_by_hand(fake):
    """Each pair of candidates: better, equal and worse samples by the metric's direction, ties as half of the share."""
    samples = {sample.id: sample for sample in fake.samples}
    rows = [(j.candidate, samples[j.id].split, j.id, None, {}, j.metric, j.score, None) for j in fake.judgements]
    scores = Scores.from_rows(rows)
    found = {(j.candidate, j.metric, j.id): j.score for j in fake.judgements}
    for metric in METRICS:
        table = win_table(scores, metric, "test", CANDIDATES)
        up = 1 if metric.direction == "higher" else -1
        for one, other in permutations(CANDIDATES, 2):
            pairs = [(found[one, metric.name, i], found[other, metric.name, i]) for i in samples]
            gains = [up * (a - b) for a, b in pairs if a is not None and b is not None]
            duel = table.duels[one, other]
            wins, ties = sum(gain > 0 for gain in gains), sum(gain == 0 for gain in gains)
            assert (duel.wins, duel.ties, duel.losses) == (wins, ties, len(gains) - wins - ties)
            assert duel.share == pytest.approx(1 - table.duels[other, one].share)
    assert win_table(scores, METRICS[0], "test", CANDIDATES[:1]) is None


def test_bins_hold_score_share_and_wilson_interval():
    """Bins by hand; a score of 1 belongs to the last; an interval stands from ten answers on."""
    scores = np.array([0.05] * 20 + [0.95] * 12 + [1.0] * 4 + [0.5] * 3)
    truth = np.array([1.0] * 4 + [0.0] * 16 + [1.0] * 14 + [0.0] * 2 + [1.0, 0.0, 0.0])
    low, middle, high = reliability_bins(scores, truth, confidence=0.95)
    assert (low.n, low.score, low.share) == (20, pytest.approx(0.05), 0.2)
    assert (low.low, low.high) == pytest.approx(wilson(4, 20, 0.95))
    assert (middle.n, middle.share, middle.low) == (3, pytest.approx(1 / 3), None)
    assert (high.n, high.score, high.share) == (16, pytest.approx((12 * 0.95 + 4) / 16), 14 / 16)


def test_cost_is_told_where_prices_are_known(tmp_path):
    """Mean cost of 1,000 answers by price and tokens; a candidate without a price says so; quality against cost needs all."""
    fake = fake_run(20)
    suite = fake.run.record["suite"]
    priced = {name: {"model": {"kind": "openai", "price": {"input": 2.0, "output": 8.0}}} for name in CANDIDATES}
    some = {**priced, "base": {"model": {"kind": "transformers"}}}

    def page(candidates):
        run = replace(fake.run, record={**fake.run.record, "suite": {**suite, "candidates": candidates}})
        return loaded(tmp_path / str(len(str(candidates))), replace(fake, run=run))

    report = page(some)
    tokens = [a.completion for a in fake.answers if a.candidate == "lora_r16"]
    cost = sum(2e-6 * c.prompt_tokens + 8e-6 * c.completion_tokens for c in tokens) / len(tokens)
    efforts = {row.candidate: row.effort for row in report.boards[0].rows}
    assert efforts["lora_r16"].cost == pytest.approx(cost)
    assert efforts["base"].cost is None
    assert report.boards[0].trade_off.way == "median seconds an answer"
    board = lxml.html.fromstring(render(report)).xpath("//table[@class='board']")[0]
    assert "of 1,000 answers" in board.text_content()
    assert "no price" in board.text_content()
    assert f"{1000 * cost:.3f}" in board.text_content()
    whole = page(priced).boards[0].trade_off
    assert whole.way == "cost of 1,000 answers"
    assert {p.candidate: p.amount for p in whole.points}["lora_r16"] == pytest.approx(1000 * cost)


def test_without_prices_there_is_no_cost_column(page):
    """A column of dashes says nothing."""
    assert "of 1,000 answers" not in page.xpath("//table[@class='board']")[0].text_content()
    assert "against median seconds an answer" in page.xpath("//article[contains(@class, 'trade')]")[0].text_content()


def test_ratings_of_the_run_give_reliability_diagrams(tmp_path):
    """Where a person rated this run's answers, each judge is held against them; a metric that is better low is turned."""
    fake = fake_run(30)
    person = "human:ann"
    rated = tuple(
        Judgement(id=j.id, metric=person, candidate=j.candidate, score=float(j.score > 0.5), key=j.key + "h")
        for j in fake.judgements
        if j.metric == "correctness" and j.score is not None
    )
    run = replace(
        fake.run,
        metrics=(*fake.run.metrics, Metric(name=person)),
        judges={**fake.run.judges, person: "x"},
        record={**fake.run.record, "judges": {person: {"kind": "human"}}},
    )
    report = loaded(tmp_path, replace(fake, run=run, judgements=(*fake.judgements, *rated), verdicts=()))
    found = {judge.metric.name: judge.reliability for judge in report.judges}
    assert found[person] == ()
    (diagram,) = found["correctness"]
    assert (diagram.against, diagram.n) == (person, len(rated))
    for one in diagram.bins:  # the person's cut is the judge's middle
        assert one.share == float(one.score > 0.5)
    shares = {j.candidate + j.id: j.score for j in fake.judgements if j.metric == "toxicity"}
    assert sum(one.score * one.n for one in found["toxicity"][0].bins) == pytest.approx(
        sum(1 - shares[j.candidate + j.id] for j in rated)
    )
    assert len(lxml.html.fromstring(render(report)).xpath("//div[contains(@class, 'reliability')]//svg")) == len(
        METRICS
    )


def test_cards_with_bins_have_a_diagram(tmp_path):
    """A card that holds its bins shows them; one that does not has none."""
    fake = fake_run(12)
    one, *others = fake_calibrations(fake.run)
    bins = [{"score": 0.1, "share": 0.2, "low": 0.1, "high": 0.4, "n": 40}]
    report = loaded(tmp_path, fake, [replace(one, record={**one.record, "reliability": bins}), *others])
    assert [len(judge.reliability) for judge in report.judges] == [1, 0, 0, 0, 0]
    assert report.judges[0].reliability[0].bins[0].share == 0.2


def test_history_is_drawn_with_its_blessed_runs(tmp_path):
    """One chart a metric, a line a candidate, a diamond where a run was blessed, the numbers below."""
    old = fake_run(12, seed=1, run_id="old")
    old = replace(old, run=replace(old.run, started="2026-03-01T00:00:00+00:00"))
    with Store.open(Home(tmp_path)) as store:
        old.write(store)
        fake_run(12, seed=2, run_id="new").write(store)
        write_report(store, ["new", "old"], tmp_path / "r.html", blessed={("old", "lora_r16"): "main"})
    page = lxml.html.fromstring((tmp_path / "r.html").read_text(encoding="utf-8"))
    svgs = page.xpath("//div[contains(@class, 'wide')]//svg")
    assert len(svgs) == len(METRICS)
    for svg in svgs:
        assert len(svg.xpath("./path[starts-with(@class, 'line')]")) == len(CANDIDATES)
        assert len(svg.xpath("./path[@class='blessed']")) == 1
        assert {text.text for text in svg.xpath("./text[@text-anchor='start']")} == set(CANDIDATES)
    assert page.xpath("//table[@class='history']")[0].text_content().count("blessed as main") == 1
