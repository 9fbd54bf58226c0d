"""Two candidates as a page: what it says is what the store gives, of one run or of two, and it can be verified."""

from __future__ import annotations

import json
from dataclasses import replace

import lxml.html
import pytest
from fake_run import METRICS, fake_run

from harness.cli.compare import compare
from harness.deciding import comparison
from harness.deciding.scores import Scores
from harness.deciding.sides import Side
from harness.errors import UserError
from harness.store import Home, Store
from reports.comparing import render_comparison, word_diff, write_comparison
from reports.render import score, signed
from reports.verify import verify_report


def text(element):
    """The element's text with runs of white space as one blank."""
    return " ".join(element.text_content().split())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A home with two runs of 30 samples; the second run's judge of toxicity is another one."""
    home = Home(tmp_path_factory.mktemp("two"))
    old, new = fake_run(30, seed=4, run_id="20260301-0000-aaaaaa"), fake_run(30, seed=4, run_id="20260302-0000-bbbbbb")
    new = replace(new, run=replace(new.run, judges={**new.run.judges, "toxicity": "another"}))
    with Store.open(home) as store:
        old.write(store)
        new.write(store)
    return home, old, new


@pytest.fixture(scope="module")
def compared(two, tmp_path_factory):
    """The page on lora_r16 against base, and its file."""
    home, old, _ = two
    file = tmp_path_factory.mktemp("page") / "compare.html"
    sides = [Side(run=old.run, candidate=name) for name in ("lora_r16", "base")]
    with Store.open(home, read_only=True) as store:
        write_comparison(store, *sides, file)
    return lxml.html.fromstring(file.read_text(encoding="utf-8")), file


def test_the_table_holds_the_paired_differences_of_the_store(compared, two):
    """Per metric: both means, difference, interval, samples better, same, worse, as `muster compare` prints them."""
    home, old, _ = two
    with Store.open(home, read_only=True) as store:
        scores = Scores.from_rows(store.scores(old.run.id))
    rows = {
        row.find("th").text: text(row) for row in compared[0].xpath("//table[contains(@class, 'changes')]/tbody/tr")
    }
    assert list(rows) == [metric.name for metric in METRICS]
    for metric in METRICS:
        c = comparison.compare(scores, metric, "lora_r16", "base", "test")
        for needle in (
            score(c.baseline_mean),
            score(c.candidate_mean),
            signed(c.difference),
            f"{signed(c.low)} to {signed(c.high)}",
            f"{c.wins}, {c.ties}, {c.losses}",
            f"n {c.n}",
        ):
            assert needle in rows[metric.name]


def test_the_heading_says_what_changed_in_a_sentence(compared):
    """Better, worse and unclear metrics by name, and a stamp that is no verdict."""
    head = text(compared[0].xpath("//header[@class='top']")[0])
    assert "lora_r16 against base" in head
    assert "lora_r16 is better on correctness, relevancy, hallucination" in head
    assert "exit status" not in head


def test_flips_stand_side_by_side_pass_to_fail_first(two):
    """What fell stands before what rose, each way by size; the answers are whole, with what differs marked."""
    home, old, _ = two
    sides = [Side(run=old.run, candidate=name) for name in ("few_shot", "base")]
    with Store.open(home, read_only=True) as store:
        page = lxml.html.fromstring(render_comparison(store, *sides))
    found = {(j.candidate, j.id): j.score for j in old.judgements if j.metric == "correctness"}
    answers = {(a.candidate, a.sample_id): a.completion.text for a in old.answers}
    moves = []
    for sample in old.samples:
        before, after = found["base", sample.id], found["few_shot", sample.id]
        if after is not None and (before >= 0.5) != (after >= 0.5):
            moves.append((before < 0.5, -abs(after - before), sample.id))
    assert {fell for fell, _, _ in moves} == {True, False}
    articles = page.xpath("//div[contains(@class, 'turned')]/article")
    assert [a.xpath("./h4/a/text()")[0] for a in articles] == [name for _, _, name in sorted(moves)][:12]
    for article, (rose, _, name) in zip(articles, sorted(moves), strict=False):
        assert ("fail to pass" if rose else "pass to fail") in text(article)
        shown = [p.text_content() for p in article.xpath(".//div[@class='field']/p")]
        assert shown == [answers["base", name], answers["few_shot", name]]


def test_two_runs_are_paired_and_other_judges_are_left_out(two, tmp_path):
    """RUN:CANDIDATE on both sides: equal scores differ by nothing, and the metric of another judge is named, not compared."""
    home, old, new = two
    with Store.open(home, read_only=True) as store:
        sides = Side(run=new.run, candidate="lora_r16"), Side(run=old.run, candidate="lora_r16")
        file = write_comparison(store, *sides, tmp_path / "two.html")
        assert verify_report(store, file).mismatches == ()
    page = lxml.html.fromstring(file.read_text(encoding="utf-8"))
    rows = [row.find("th").text for row in page.xpath("//table[contains(@class, 'changes')]/tbody/tr")]
    assert rows == [metric.name for metric in METRICS if metric.name != "toxicity"]
    assert "the judges differ: toxicity" in text(page.get_element_by_id("verdict"))
    assert "neither better nor worse" in text(page.xpath("//header[@class='top']")[0])
    assert {run["id"] for run in json.loads(page.get_element_by_id("manifest").text)["runs"]} == {
        old.run.id,
        new.run.id,
    }


def test_a_changed_comparison_is_told(compared, two):
    """Comparisons are verified as reports are."""
    home, file = two[0], compared[1]
    whole = file.read_text(encoding="utf-8")
    with Store.open(home, read_only=True) as store:
        assert verify_report(store, file).mismatches == ()
        other = file.with_name("other.html")
        other.write_text(whole.replace("<p>30 samples in", "<p>31 samples in"), encoding="utf-8")
        assert verify_report(store, other).mismatches[0].shown.startswith("31 samples")


@pytest.mark.parametrize(
    ("before", "after"), [("a b c", "a x c"), ("", "new"), ("same", "same"), ("one  two\nthree", "two three four")]
)
def test_a_word_diff_holds_both_texts(before, after):
    """Without insertions it is the one text, without deletions the other, white space and all."""
    pieces = word_diff(before, after)
    assert "".join(words for kind, words in pieces if kind != "ins") == before
    assert "".join(words for kind, words in pieces if kind != "del") == after


def test_command_writes_the_page_and_refuses_what_has_none(two, tmp_path, capsys):
    """`--html` writes one page on two candidates; two whole runs, or another confidence, are refused in one line."""
    home, old, new = two
    given = {"run": old.run.id, "metric": None, "flips": 0, "confidence": 0.95, "home": home.path}
    compare("lora_r16", "base", **given, html=tmp_path / "c.html")
    assert "open it in a browser" in capsys.readouterr().out
    assert (tmp_path / "c.html").stat().st_size > 10_000
    with pytest.raises(UserError, match="is about two candidates"):
        compare(new.run.id, old.run.id, **given, html=tmp_path / "d.html")
    with pytest.raises(UserError, match=r"must be 0\.95 beside"):
        compare("lora_r16", "base", **{**given, "confidence": 0.9}, html=tmp_path / "d.html")
