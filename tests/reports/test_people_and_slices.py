"""The report's slices and corrections: what the page says is what `harness.deciding` says, and drivers are named."""

from dataclasses import replace

import pytest

from harness.deciding.wording import correction_method
from harness.records import HUMAN, Failure, Judgement, Metric
from harness.store import Home, Store
from reports.queries import load_report
from reports.render import render
from tests.reports.fake_run import fake_run

RATER = Metric(name=f"{HUMAN}anna")
NOT_RATED = Failure(kind="not_rated", message="left out")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A run in which few_shot loses relevancy with migraines only, and a person rated every third sample's correctness."""
    fake = fake_run(160)
    condition = {sample.id: sample.slices["condition"] for sample in fake.samples}
    row = {sample.id: sample.row for sample in fake.samples}
    judgements = []
    for one in fake.judgements:
        spoilt = one.metric == "relevancy" and one.candidate == "few_shot" and condition[one.id] == "migraine"
        judgements.append(replace(one, score=max(0.0, one.score - 0.4)) if spoilt and one.score is not None else one)
        if one.metric == "correctness" and one.score is not None:
            rated = row[one.id] % 3 == 0
            judgements.append(
                Judgement(id=one.id, candidate=one.candidate, metric=RATER.name, key="", error=None if rated else NOT_RATED,
                          score=round(4 * one.score) / 4 if rated else None)
            )  # fmt: skip
    described = {**fake.run.record.get("judges", {}), RATER.name: {"kind": "human", "about": "correctness"}}
    run = replace(
        fake.run, metrics=(*fake.run.metrics, RATER), judges={**fake.run.judges, RATER.name: "anna"},
        record={**fake.run.record, "judges": described},
    )  # fmt: skip
    clusterless = [replace(sample, cluster=None) for sample in fake.samples]
    with Store.open(Home(tmp_path_factory.mktemp("home"))) as store:
        store.write_run(run, samples=clusterless, answers=fake.answers, judgements=judgements, trainings=())
        return load_report(store, [run.id])


def test_the_driver_is_named_before_the_table_of_slices(report):
    """In words, with its part of the whole; the multiplicity is stated, and what may be chance is called so."""
    named = [one for one in report.worse_slices if one.difference.drives]
    assert (named[0].difference.value, named[0].metric.name, named[0].difference.comparison.candidate) == (
        "migraine", "relevancy", "few_shot",
    )  # fmt: skip
    page = render(report)
    assert report.drivers[0].startswith("condition: migraine drives relevancy of few_shot: ")
    figures = report.drivers[0].removeprefix("condition: migraine drives relevancy of few_shot: ")
    assert "-" not in figures
    assert figures.count("−") >= 3  # the loss, its lower end and the whole
    assert page.index(report.drivers[0]) < page.index('<table class="worse">')
    assert report.slice_comparisons in page
    assert "false discovery rate of 5 % among them all (Benjamini-Hochberg)" in page


def test_corrections_stand_beside_the_raw_figures(report):
    """A row for each candidate that was rated and for its difference, with the method; other metrics have none."""
    assert {one.metric for one in report.corrections} == {"correctness"}
    assert {(one.candidate, one.baseline) for one in report.corrections} == {
        (name, baseline) for name in report.candidates for baseline in (None, "base") if name != baseline
    }
    page = render(report)
    table = page[page.index('<table class="corrections">') :]
    table = table[: table.index("</table>")]
    assert table.count("<tr data-metric") == len(report.corrections)
    for one in report.corrections:
        assert correction_method(one).replace("'", "&#39;") in table
        assert one.low < one.estimate < one.high
