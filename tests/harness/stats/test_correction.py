"""Judge corrections: worked values, closed forms, and the coverage of each method where a judge's own mean has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import stats
from harness.stats.correction import prediction_powered

NOBODY = np.nan


def judged(rng, n, good, *, sensitivity=0.9, specificity=0.8):
    """Truth and a judge's yes or no."""
    truth = rng.random(n) < good
    yes = np.where(truth, rng.random(n) < sensitivity, rng.random(n) >= specificity)
    return truth.astype(float), yes.astype(float)


def labelled(truth, m):
    """The labels of the first m."""
    return np.where(np.arange(len(truth)) < m, truth, NOBODY)


def corrected(labels, scores, **options):
    """With the interval of people alone, at 0.95 on 0 to 1."""
    said = ~np.isnan(labels)
    clusters = options.get("clusters")
    people = stats.bounded_mean(
        labels[said], 0.95, low=0, high=1, clusters=None if clusters is None else clusters[said]
    )
    return stats.corrected_mean(people, labels, scores, 0.95, low=0, high=1, **options)


@pytest.mark.parametrize(("observed", "true", "clipped"), [(0.25, 0.1333, False), (0.10, 0.0, True), (0.95, 1.0, True)])
def test_rogan_gladen_gives_the_worked_values(observed, true, clipped):
    """Sensitivity 0.9, specificity 0.85: 0.25 is 0.1333; 0.10 would be -0.067 and 0.95 1.067, which are cut and flagged."""
    known = stats.Confusion(hits=90, positives=100, rejections=85, negatives=100)
    found, cut = stats.rogan_gladen(1000 * observed, 1000, known, 0.95)
    assert (found.estimate, cut) == (pytest.approx(true, abs=5e-5), clipped)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 0.005


def test_a_share_that_no_true_share_could_give_has_no_interval():
    """All answers are a yes though one in ten good ones is missed: the card is of other answers. No width of zero."""
    known = stats.Confusion(hits=900, positives=1000, rejections=850, negatives=1000)
    found, cut = stats.rogan_gladen(1000, 1000, known, 0.95)
    assert (found.estimate, found.low, found.high, cut) == (1.0, None, None, True)


def test_a_perfect_judge_leaves_about_the_observed_share():
    """Known without error, nothing but the sample's own doubt is left: Agresti-Coull's interval, as z^2/2 are added."""
    known = stats.Confusion(hits=1e9, positives=1e9, rejections=1e9, negatives=1e9)
    found, _ = stats.rogan_gladen(60, 200, known, 0.95)
    z = 1.959964
    centre, n = (60 + z**2 / 2) / (200 + z**2), 200 + z**2
    half = z * np.sqrt(centre * (1 - centre) / n)
    assert found.estimate == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


@pytest.mark.parametrize("known", [(50, 100, 50, 100), (9, 9, 85, 100), (90, 100, 8, 9)])
def test_a_judge_of_which_too_little_is_known_corrects_nothing(known):
    """No better than chance, or fewer than ten labels of one kind."""
    confusion = stats.Confusion(hits=known[0], positives=known[1], rejections=known[2], negatives=known[3])
    assert stats.rogan_gladen(25, 100, confusion, 0.95) is None


def test_prediction_powered_inference_by_its_formula():
    """Estimate and weight as written in Angelopoulos, Duchi and Zrnic (2023); the error is the two samples' added."""
    rng = np.random.default_rng(0)
    truth, scores = judged(rng, 500, 0.6)
    found = prediction_powered(labelled(truth, 100), scores, 0.95)
    y, f, g = truth[:100], scores[:100], scores[100:]
    weight = np.cov(y, f, bias=True)[0, 1] / ((1 + 100 / 400) * np.var(scores))
    estimate = weight * g.mean() + (y - weight * f).mean()
    error = np.sqrt(np.var(y - weight * f) / 100 + weight**2 * np.var(g) / 400) * np.sqrt(100 / 99)
    assert found.estimate == pytest.approx(estimate)
    assert (found.low, found.high) == pytest.approx((estimate - 1.98422 * error, estimate + 1.98422 * error), abs=1e-5)


def test_a_judge_that_knows_nothing_has_no_weight():
    """Scores that go against the labels: the estimate is that of people alone."""
    rng = np.random.default_rng(1)
    truth = (rng.random(300) < 0.5).astype(float)
    found = prediction_powered(labelled(truth, 100), 1 - truth, 0.95)
    assert found.method == "PPI++, judge's weight 0.00"
    assert found.estimate == pytest.approx(truth[:100].mean())
    assert prediction_powered(labelled(truth, 100), np.full(300, 0.3), 0.95) is None


@pytest.mark.parametrize(
    ("good", "m", "people", "card", "powered"),
    [(0.60, 50, 0.942, 0.969, 0.923), (0.85, 100, 0.937, 0.956, 0.938), (0.85, 300, 0.959, 0.947, 0.937),
     (0.97, 100, 0.963, 0.938, 0.857), (0.97, 300, 0.941, 0.946, 0.930)],
)  # fmt: skip
def test_coverage_of_each_method(good, m, people, card, powered):
    """2,000 answers judged, m labelled, 250 trials: the judge's own mean never covers from 0.85 on; what is chosen does.

    People alone, Rogan-Gladen and PPI++ cover as often as was found elsewhere, PPI++ too rarely where few labels say no.
    """
    rng = np.random.default_rng(round(1000 * good) + m)
    hits = dict.fromkeys(("judge", "people", "card", "powered", "chosen"), 0)
    for _ in range(250):
        truth, scores = judged(rng, 2000, good)
        labels = labelled(truth, m)
        ends = {
            "judge": stats.wilson(int(scores.sum()), 2000, 0.95),
            "people": stats.wilson(int(truth[:m].sum()), m, 0.95),
        }
        elsewhere, said = judged(rng, 600, 0.5)
        known = stats.Confusion(
            hits=float(elsewhere @ said), positives=float(elsewhere.sum()),
            rejections=float((1 - elsewhere) @ (1 - said)), negatives=float((1 - elsewhere).sum()),
        )  # fmt: skip
        by_card = stats.rogan_gladen(scores.sum(), 2000, known, 0.95)[0]
        by_powered, chosen = prediction_powered(labels, scores, 0.95), corrected(labels, scores)
        ends |= {name: (one.low, one.high) for name, one in
                 (("card", by_card), ("powered", by_powered), ("chosen", chosen))}  # fmt: skip
        for name, (low, high) in ends.items():
            hits[name] += low <= good <= high
    share = {name: count / 250 for name, count in hits.items()}
    assert share["judge"] < (0.7 if good == 0.6 else 0.02)
    assert share["people"] == pytest.approx(people, abs=0.04)
    assert share["powered"] == pytest.approx(powered, abs=0.055)
    assert share["card"] == pytest.approx(card, abs=0.045)
    assert share["chosen"] >= 0.915


def test_the_guard_asks_for_fifteen_labels_of_each_kind():
    """Fourteen noes of 200: people alone. Fifteen: PPI++, for it is narrower."""
    rng = np.random.default_rng(2)
    for noes, method in ((14, "people alone, Wilson"), (15, "PPI++")):
        truth = np.concatenate([np.zeros(noes), np.ones(200 - noes), (rng.random(1800) < 0.93)]).astype(float)
        scores = np.where(rng.random(2000) < 0.95, truth, 1 - truth)
        assert corrected(labelled(truth, 200), scores).method.startswith(method)


def test_graded_labels_are_corrected_too():
    """People grade from 0 to 1 in quarters, the judge is 0.15 too kind and noisy: covered in 91 % or more of 250 trials,
    the judge's own mean never, and narrower than people alone by a fifth.
    """
    rng = np.random.default_rng(3)
    hits, widths, alone = 0, [], []
    for _ in range(250):
        grades = rng.choice([0, 0.25, 0.5, 0.75, 1], 1000, p=[0.1, 0.2, 0.3, 0.25, 0.15])
        scores = np.clip(grades + 0.15 + rng.normal(0, 0.15, 1000), 0, 1)
        found = corrected(labelled(grades, 80), scores)
        hits += found.low <= 0.5375 <= found.high
        widths.append(found.high - found.low)
        alone.append(2 * 1.99 * grades[:80].std(ddof=1) / np.sqrt(80))
    assert hits / 250 >= 0.91
    assert np.mean(widths) < 0.8 * np.mean(alone)


def test_clusters_keep_the_coverage():
    """Answers in 100 clusters of eight that are good or bad together: with clusters 90 % or more of 250, without far fewer."""
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(100), 8)
    with_clusters = without = 0
    for _ in range(250):
        truth = (rng.random(800) < np.repeat(rng.beta(0.8, 0.8, 100), 8)).astype(float)
        scores = np.where(rng.random(800) < 0.85, truth, 1 - truth)
        labels = labelled(truth, 320)
        for clusters in (codes, None):
            found = corrected(labels, scores, clusters=clusters)
            covers = found.low <= 0.5 <= found.high
            with_clusters += covers and clusters is not None
            without += covers and clusters is None
    assert with_clusters / 250 >= 0.9
    assert without / 250 <= 0.85


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.booleans())
def test_what_holds_for_any_labels(seed, m, clustered):
    """Within the range, around the estimate, wider than zero, the same in any order; no interval below ten labels."""
    rng = np.random.default_rng(seed)
    truth, scores = judged(rng, 120, 0.7)
    scores[rng.random(120) < 0.1] = NOBODY
    labels, clusters = labelled(truth, m), np.arange(120) // 3 if clustered else None
    found = corrected(labels, scores, **({"clusters": clusters} if clustered else {}))
    order = rng.permutation(120)
    names = rng.permutation(40)
    again = corrected(labels[order], scores[order], **({"clusters": names[clusters[order]]} if clustered else {}))
    assert again.estimate == pytest.approx(found.estimate)
    if m < 10 or (clustered and m <= 12):
        assert found.low is None
    else:
        assert 0 <= found.low <= found.estimate <= found.high <= 1
        assert found.high - found.low > 1e-3
        assert (again.low, again.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_effective_size_divides_by_the_design_effect():
    """Ten copies of each mark are as good as one; independent marks count in full."""
    rng = np.random.default_rng(5)
    marks = (rng.random(200) < 0.3).astype(float)
    assert stats.effective_size(marks, None) == 200
    copies = stats.effective_size(np.repeat(marks, 10), np.repeat(np.arange(200), 10))
    assert copies == pytest.approx(200, rel=0.02)
    assert stats.effective_size(np.ones(50), np.arange(50) // 5) == 10
