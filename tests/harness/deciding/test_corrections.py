"""What people would have said: which labels count for which metric, what is done with them, and that raw scores stay raw."""

import io

import numpy as np
import pytest
from rich.console import Console

from harness.deciding import corrections as correcting
from harness.deciding.corrections import corrections, run_corrections
from harness.deciding.scores import Scores
from harness.deciding.surfaces import correction_table
from harness.records import Calibration, Figure, Metric
from tests.reports.fake_run import fake_run

RATER = Metric(name="human:anna")


def judged(rng, n, good, *, sensitivity=0.9, specificity=0.8):
    """Truth and a judge's yes or no of n answers, of which a share is good."""
    truth = rng.random(n) < good
    yes = np.where(truth, rng.random(n) < sensitivity, rng.random(n) >= specificity)
    return truth.astype(float), yes.astype(float)


def card(**changes):
    """A home's card of the judge of correctness on labels from elsewhere: se 0.9, sp 0.85."""
    fields = {
        "judge": "correctness", "fingerprint": "judge of correctness", "labels": "elsewhere", "labels_sha": "s", "n": 200,
        "task": "binary", "unscored": 0, "clusters": None, "figures": (Figure(name="auroc", value=0.9),), "made": "",
        "record": {"cut": 0.5, "confusion": {"hits": 90, "positives": 100, "rejections": 85, "negatives": 100}},
    }  # fmt: skip
    return Calibration(**(fields | changes))


def labels_of(truth, candidate, upto, metric="correctness"):
    """What people said of the first answers of a candidate."""
    return {(candidate, metric, f"s{i:04d}"): float(v) for i, v in enumerate(truth[:upto])}


def test_labels_of_the_answers_correct_means_and_differences(make_run, make_scores):
    """Judge 0.59 and 0.83, people 0.55 and 0.90: PPI++ for both and for the difference, the raw figures beside it."""
    rng = np.random.default_rng(1)
    (base, base_scores), (lora, lora_scores) = judged(rng, 3000, 0.55), judged(rng, 3000, 0.9)
    scores = make_scores({"base": base_scores, "lora": lora_scores})
    said = labels_of(base, "base", 300) | labels_of(lora, "lora", 300)
    found = {(c.candidate, c.baseline): c for c in corrections(make_run(), scores, [], said, "base")}
    assert set(found) == {("base", None), ("lora", None), ("lora", "base")}
    for (candidate, baseline), truth in zip(found, (0.55, 0.9, 0.35), strict=True):
        one = found[candidate, baseline]
        assert one.method.startswith("PPI++, judge's weight 0.")
        assert one.low < truth < one.high
        assert (one.labels, one.clipped) == (300, False)
    assert found["base", None].raw == pytest.approx(base_scores.mean())
    assert found["lora", "base"].raw == pytest.approx(lora_scores.mean() - base_scores.mean())
    assert found["lora", None].raw < found["lora", None].low


def test_a_card_corrects_the_share_of_yes_where_nobody_labelled_the_answers(make_run, make_scores):
    """Rogan-Gladen's worked values: 0.25 observed is 0.1333; 0.10 is below zero, cut and flagged."""
    scores = make_scores({"base": [0.9] * 250 + [0.2] * 750, "lora": [0.9] * 100 + [0.2] * 900})
    base, lora = corrections(make_run(), scores, [card()], {}, "base")
    assert (base.raw, base.estimate, base.clipped) == (0.25, pytest.approx(0.1333, abs=5e-5), False)
    assert base.low < 0.1333 < base.high
    assert (lora.estimate, lora.low, lora.clipped) == (0.0, 0.0, True)
    assert lora.high > 0
    assert base.method == "Rogan-Gladen, Lang-Reiczigel, share at 0.5 or above by elsewhere"


def test_labels_of_the_answers_come_before_the_card(make_run, make_scores):
    """The card is for candidates without labels."""
    truth, yes = judged(np.random.default_rng(2), 400, 0.6)
    scores = make_scores({"base": yes, "lora": yes})
    base, lora = corrections(make_run(), scores, [card()], labels_of(truth, "base", 100), "base")
    assert base.method.startswith(("PPI++", "people alone"))
    assert lora.method.startswith("Rogan-Gladen")


@pytest.mark.parametrize(
    "changes",
    [{"fingerprint": "another judge"}, {"record": {"cut": 0.5}},
     {"record": {"cut": 0.5, "confusion": {"hits": 40, "positives": 100, "rejections": 55, "negatives": 100}}},
     {"record": {"cut": 0.5, "confusion": {"hits": 8, "positives": 9, "rejections": 85, "negatives": 100}}}],
    ids=["another judge", "no confusion", "no better than chance", "nine positives"],
)  # fmt: skip
def test_a_card_that_tells_nothing_corrects_nothing(make_run, make_scores, changes):
    """Nothing is said rather than something wrong."""
    scores = make_scores({"base": [0.9, 0.2] * 50})
    assert corrections(make_run(("base",)), scores, [card(**changes)], {}) == []


def test_clusters_widen_what_a_card_says(make_run, make_scores):
    """Answers that are copies of each other by ten count as one."""
    values = {"base": np.repeat([0.9] * 25 + [0.2] * 75, 10)}
    [alone] = corrections(make_run(("base",)), make_scores(values), [card()], {})
    clustered = make_scores(values, clusters=[i // 10 for i in range(1000)])
    [together] = corrections(make_run(("base",)), clustered, [card()], {})
    assert together.estimate == pytest.approx(alone.estimate)
    assert together.high - together.low > 1.25 * (alone.high - alone.low)


def test_ratings_count_for_the_metric_that_was_asked_about(make_run, make_rows):
    """Raters of one answer are averaged first; a low metric is rated the other way round; a question of its own counts not."""
    rows = make_rows({"base": [0.4] * 20}, metric="toxicity")
    rows += make_rows({"base": [1.0, 0.5] * 10}, metric="human:anna")
    rows += make_rows({"base": [0.5, None] * 10}, metric="human:ben")
    rows += make_rows({"base": [0.0] * 20}, metric="human:cleo")
    metrics = (Metric(name="toxicity", direction="lower"), RATER, Metric(name="human:ben"), Metric(name="human:cleo"))
    about = {
        "human:anna": {"about": "toxicity"},
        "human:ben": {"about": "toxicity"},
        "human:cleo": {"criteria": "Nice?"},
    }
    run = make_run(("base",), metrics=metrics, judges={}, record={"judges": about})
    found = correcting._ratings(run, Scores.from_rows(rows))
    assert set(found) == {("base", "toxicity", f"s{i:04d}") for i in range(20)}
    assert [found["base", "toxicity", f"s{i:04d}"] for i in range(2)] == [0.25, 0.5]
    of_flips = {**about, "human:anna": {"about": "toxicity", "selected": True}}
    run = make_run(("base",), metrics=metrics, judges={}, record={"judges": of_flips})
    assert len(correcting._ratings(run, Scores.from_rows(rows))) == 10


def test_labels_that_a_judge_was_calibrated_on_are_found_among_the_runs_answers(tmp_path):
    """By the key of the judgement, without an id; cards that come with muster (`seen` is set) correct nothing."""
    from harness.store import Home, Store
    from harness.store.calibrations import write_calibration

    fake, home = fake_run(40), Home(tmp_path)
    with Store.open(home) as store:
        run = store.run(fake.write(store))
        scores = Scores.from_rows(store.scores(run.id))
        keyed = [
            j for j in fake.judgements if (j.metric, j.candidate) == ("correctness", "base") and j.score is not None
        ]
        assert run_corrections(store, run, scores, store.calibrations()) == []
        labelled = {j.key: float(j.score > 0.3) for j in keyed[:30]}
        own = card(fingerprint=run.judges["correctness"], record={"labelled": labelled})
        write_calibration(home, own)
        [found] = run_corrections(store, run, scores, store.calibrations())
    assert (found.metric, found.candidate, found.labels) == ("correctness", "base", 30)
    assert found.estimate == pytest.approx(np.mean(list(labelled.values())), abs=0.15)


def test_the_table_has_judge_and_people_side_by_side(make_run, make_scores):
    """Raw and corrected figure, interval, and how; a cut estimate says so, and too few labels have no interval."""
    truth, yes = judged(np.random.default_rng(6), 400, 0.6)
    scores = make_scores({"base": yes, "lora": np.zeros(400)})
    made = corrections(make_run(), scores, [card()], labels_of(truth, "base", 9), "base")
    out = io.StringIO()
    Console(file=out, width=120).print(correction_table(made))
    base, lora = (
        next(line for line in out.getvalue().splitlines() if f" {name} " in line) for name in ("base", "lora")
    )
    assert base.split()[:4] == ["correctness", "base", f"{yes.mean():.3f}", f"{truth[:9].mean():.3f}"]
    assert "people alone, none below 10 items, 9 labels" in base
    assert lora.split()[:4] == ["correctness", "lora", "0.000", "0.000"]
    text = " ".join(out.getvalue().split())
    assert "the card is not true of these answers" in text or "cut off, for it lay beyond what can be" in text
