"""Which samples a report holds, what it says of the others, and where a score counts as passed."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace

import pytest
from fake_run import GATE, METRICS, fake_run

from harness.cli.show import show
from harness.deciding.cuts import cut_of
from harness.errors import UserError
from harness.records import Metric
from harness.store import Home, Store
from reports.queries import load_report
from reports.render import render
from reports.samples import choose, encode, pack

RULED = {"correctness": 0.5, "relevancy": 0.5, "toxicity": 0.05}
"""The metrics of the fake run's gate and their cuts: the gate's own limit, or the middle of the scale."""


@pytest.fixture(scope="module")
def report(home):
    """The view models of the fake run."""
    with Store.open(home, read_only=True) as store:
        return load_report(store, ["latest"])


def unpack(text):
    """What the page decodes."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def passed(fake, sample_id, candidate, metric):
    """Whether a score is on the good side of the cut, by the records; None where there is no score."""
    found = next(j for j in fake.judgements if (j.id, j.candidate, j.metric) == (sample_id, candidate, metric))
    if found.score is None:
        return None
    return found.score <= RULED[metric] if metric == "toxicity" else found.score >= RULED[metric]


def test_cut_is_the_gates_limit_or_the_middle(fake):
    """A rule on the mean names the number; a scale without end has no middle and so no cut."""
    toxicity, correctness = (cut_of(fake.run, m) for m in (METRICS[3], METRICS[0]))
    assert (toxicity.value, toxicity.rule, correctness.value, correctness.rule) == (
        0.05, "toxicity at_most 0.05", 0.5, "",
    )  # fmt: skip
    assert toxicity.passes(0.05)
    assert not toxicity.passes(0.0501)
    assert correctness.passes(0.5)
    assert cut_of(fake.run, Metric(name="perplexity", direction="lower", low=1.0, high=float("inf"))) is None
    rules = [{"metric": "correctness", "at_least": 0.7, "where": {"urgency": "soon"}}, {"coverage": 0.9}]
    other = replace(fake.run, record={"suite": {"gate": {**GATE, "rules": rules}}})
    assert cut_of(other, METRICS[0]).rule == ""


def test_flipped_samples_are_those_that_crossed_a_cut(report, fake):
    """By the records: pass with the baseline and fail with a candidate, or the other way round, on a metric of the gate."""
    kept, which = choose(replace(report, candidates=("base", "few_shot")), "flipped")
    wanted = set()
    for sample in fake.samples:
        for metric in RULED:
            before = passed(fake, sample.id, "base", metric)
            if {before, passed(fake, sample.id, "few_shot", metric)} == {True, False}:
                wanted.add(sample.id)
    assert {view.sample.id for view in kept} == wanted
    assert 0 < len(wanted) < len(fake.samples)
    assert which.endswith("on correctness or relevancy or toxicity")


def test_failing_samples_fail_or_lack_a_score(report, fake):
    """Every sample that is left out passes everything that the gate looks at, with every candidate."""
    kept, _ = choose(replace(report, candidates=("lora_r16",)), "failing")
    left_out = {s.id for s in fake.samples} - {view.sample.id for view in kept}
    wanted = {s.id for s in fake.samples if all(passed(fake, s.id, "lora_r16", m) for m in RULED)}
    assert left_out == wanted - {j.id for j in fake.judgements if j.candidate == "lora_r16" and j.error}
    assert left_out
    kept, _ = choose(report, "failing")
    assert {j.id for j in fake.judgements if j.error} <= {view.sample.id for view in kept}


def test_a_number_takes_the_largest_losses(report):
    """The report's order begins with them."""
    kept, which = choose(report, "30")
    assert kept == report.samples[:30]
    assert which == "the 30 with the largest loss"


@pytest.mark.parametrize("wrong", ["0", "-3", "best", "", "1.5", "flipped,failing"])
def test_another_word_is_refused(report, wrong):
    """One line with the words there are."""
    with pytest.raises(UserError, match="must be flipped, failing, all or a number"):
        choose(report, wrong)


def test_the_page_says_what_it_leaves_out_and_keeps_every_figure(report):
    """Fewer samples change neither the leaderboard nor the flips; the section says how many there are and which."""
    whole, part = render(report), render(report, samples="25")
    assert "<b>This file holds 25 of 140 samples: the 25 with the largest loss.</b>" in part
    assert "This file holds" not in whole
    board = re.compile(r'<section class="part" id="leaderboard".*?</section>', re.DOTALL)
    assert board.search(whole)[0] == board.search(part)[0]
    assert len(unpack(re.search(r'id="samples-index">([^<]+)<', part)[1])["ids"]) == 25
    assert len(part) < len(whole)


def test_rounding_never_carries_a_score_over_its_cut(report):
    """The page counts flips from four decimals: a score of 0.49996 must not become a pass."""
    view = report.samples[0]
    key = ("base", "correctness")
    near = replace(view, judgements={**view.judgements, key: replace(view.judgements[key], score=0.49996)})
    index = unpack(pack(replace(report, samples=(near,)), budget=10**6).index)
    assert index["scores"][0][0] == [0.49996]


def test_the_same_value_gives_the_same_text():
    """Reports of one run are equal, byte for byte."""
    assert encode({"a": [1, "ä"]}) == encode({"a": [1, "ä"]})


def test_evidence_reaches_the_page_as_it_was_given(tmp_path):
    """Each judgement has its own, whatever texts and evidence hold: quotation marks, other alphabets, half a surrogate pair."""
    odd = ('"evidence":0}', '{"evidence": 0}', "ä\u2028😀\ud83d", 'a"}')
    fake = fake_run(24, hostile=odd)
    with Store.open(Home(tmp_path)) as store:
        fake.write(store)
        report = load_report(store, ["latest"])
    given = {(j.id, j.candidate, j.metric): j.evidence for j in fake.judgements}
    found = {}
    for chunk in pack(report, budget=10**7).chunks:
        for sample in unpack(chunk):
            for name, row in zip(report.candidates, sample["judgements"], strict=True):
                for metric, judgement in zip(report.metrics, row, strict=True):
                    found[sample["id"], name, metric.name] = judgement["evidence"]
    assert found == given


def test_show_prints_all_that_is_known_of_a_sample(home, fake, capsys):
    """Texts, prompts, tokens, each judgement with evidence, every score beside its cut, and each flip by the records."""
    sample = fake.samples[2]
    show(fake.run.id, sample.id, home.path)
    told = " ".join(capsys.readouterr().out.split())
    for answer in (a for a in fake.answers if a.sample_id == sample.id):
        assert " ".join(answer.completion.text.split()) in told
        assert " ".join(answer.prompt[0].content.split()) in told
        assert f"answer tokens {answer.completion.completion_tokens}" in told
    flips = set()
    for judged in (j for j in fake.judgements if j.id == sample.id):
        assert f"{judged.score:.4f}" in told
        cut = cut_of(fake.run, next(m for m in METRICS if m.name == judged.metric))
        before = next(
            j.score for j in fake.judgements if (j.id, j.candidate, j.metric) == (sample.id, "base", judged.metric)
        )
        if cut.passes(before) != cut.passes(judged.score):
            how = "fail → pass" if cut.passes(judged.score) else "pass → fail"
            flips.add(f"{how} {judged.candidate} against base on {judged.metric}: {before:.4f} → {judged.score:.4f}")
    assert flips
    assert set(re.findall(r"(?:fail → pass|pass → fail) \S+ against base on \S+ [\d.]+ → [\d.]+", told)) == flips
    sentence = next(
        j for j in fake.judgements if (j.id, j.candidate, j.metric) == (sample.id, "base", "correctness")
    ).evidence["sentences"][0]
    assert f"- {sentence['sentence']} label {sentence['label']}, entailment" in told
    assert "near it in the training of lora_r16: row 1,003 of train" in told
