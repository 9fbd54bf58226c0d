"""Calibration: figures equal scikit-learn's and scipy's, intervals cover, nothing is dropped in silence."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import kendalltau, spearmanr
from sklearn import metrics

from harness.errors import UserError
from harness.records import Case, Failure, Judgement, Metric, fingerprint
from judges.calibration import (
    binary_figures,
    bootstrap,
    calibrate,
    calibration_error,
    crossfitted,
    decision_figures,
    graded_figures,
    read_truth,
    tie_counts,
)

SCALE = Metric(name="x")


def judged(scores, labels=None, evidence=None):
    """Judgements with these scores; None is unscored."""
    return [
        Judgement(id=str(i), metric="x", score=score, label=labels[i] if labels else None,
                  evidence=evidence[i] if evidence else {},
                  error=None if score is not None else Failure(kind="judge_failed", message="no"))
        for i, score in enumerate(scores)
    ]  # fmt: skip


def card(scores, labels, *, given=None, evidence=None, **options):
    """The calibration of scores on labels, and its figures by name."""
    reading = {name: options.pop(name) for name in ("positive", "at_least", "reverse", "vocabulary") if name in options}
    cases = [Case(id=str(i), answer=str(i)) for i in range(len(scores))]
    made = calibrate(
        cases, judged(scores, given, evidence), read_truth(labels, **reading), judge="j", judge_fingerprint="f",
        metric=options.pop("metric", SCALE), labels="set", resamples=options.pop("resamples", 200), **options,
    )  # fmt: skip
    return made, {figure.name: figure for figure in made.figures}


def drawn(seed, n=300):
    """Scores with ties, labels, grades, and the weights of a resample with its rows."""
    rng = np.random.default_rng(seed)
    positive = rng.integers(0, 2, n).astype(bool)
    scores = np.round(np.clip(rng.normal(0.5 + 0.2 * positive, 0.2), 0, 1), 2)
    grades = rng.integers(0, 5, n).astype(float)
    rows = rng.integers(0, n, n)
    return scores, positive, grades, rows, np.bincount(rows, minlength=n)[None].astype(float)


@pytest.mark.parametrize("seed", range(4))
def test_weighted_figures_equal_the_libraries_on_the_repeated_rows(seed):
    """A resample by weights is a resample by rows: scikit-learn and scipy say the same, ties and all."""
    scores, positive, _, rows, weights = drawn(seed)
    found = binary_figures(scores, positive, cut=0.5, fitted=scores >= 0.4, metric=SCALE)(weights)
    s, y = scores[rows], positive[rows]
    decided = s >= 0.5
    assert {name: float(value[0]) for name, value in found.items() if name in EXPECTED} == pytest.approx(
        {name: expected(y, s, decided) for name, expected in EXPECTED.items()}, abs=1e-12
    )
    assert found["balanced_accuracy_at_best"][0] == pytest.approx(metrics.balanced_accuracy_score(y, s >= 0.4))


EXPECTED = {
    "auroc": lambda y, s, d: metrics.roc_auc_score(y, s),
    "accuracy": lambda y, s, d: metrics.accuracy_score(y, d),
    "balanced_accuracy": lambda y, s, d: metrics.balanced_accuracy_score(y, d),
    "cohen_kappa": lambda y, s, d: metrics.cohen_kappa_score(y, d),
    "sensitivity": lambda y, s, d: metrics.recall_score(y, d),
    "specificity": lambda y, s, d: metrics.recall_score(~y, ~d),
    "prevalence": lambda y, s, d: y.mean(),
    "spearman": lambda y, s, d: spearmanr(s, y).statistic,
    "kendall_tau_b": lambda y, s, d: kendalltau(s, y, variant="b").statistic,
    "brier": lambda y, s, d: metrics.brier_score_loss(y, s),
}


@pytest.mark.parametrize("seed", range(4))
def test_graded_figures_equal_the_libraries(seed):
    """Rank correlations of the scores, agreement and both kappas of the nearest grade."""
    _, _, grades, rows, weights = drawn(seed)
    scores = np.clip(grades / 4 + np.random.default_rng(seed).normal(0, 0.2, len(grades)), 0, 1)
    found = {name: float(value[0]) for name, value in graded_figures(scores, grades)(weights).items()}
    s, g = scores[rows], grades[rows].astype(int)
    nearest = np.rint(s * 4).astype(int)
    assert found["spearman"] == pytest.approx(spearmanr(s, g).statistic)
    assert found["kendall_tau_b"] == pytest.approx(kendalltau(s, g, variant="b").statistic)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(g, nearest))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(g, nearest))
    assert found["cohen_kappa"] == pytest.approx(metrics.cohen_kappa_score(g, nearest))
    assert found["quadratic_kappa"] == pytest.approx(metrics.cohen_kappa_score(g, nearest, weights="quadratic"))


def test_published_values():
    """Cohen's kappa of [[20, 5], [10, 15]] is 0.4; Kendall's tau-b of a small table by hand; counted ties."""
    positive = np.repeat([True, True, False, False], [20, 5, 10, 15])
    decided = np.repeat([True, False, True, False], [20, 5, 10, 15])
    found = decision_figures(decided, positive, np.ones((1, 50)))
    assert found["cohen_kappa"][0] == pytest.approx(0.4)
    assert (found["sensitivity"][0], found["specificity"][0]) == (0.8, 0.6)
    # scores 1 1 2 3 against 0 1 1 1: of 6 pairs one is tied in score, three in label, none in both; 2 agree, 0 disagree
    scores, labels = np.array([0.1, 0.1, 0.2, 0.3]), np.array([0.0, 1.0, 1.0, 1.0])
    assert tie_counts(scores, labels) == {"pairs": 6, "score": 1, "label": 3, "both": 0}
    found = binary_figures(scores, labels > 0, cut=0.5, fitted=labels > 0, metric=SCALE)(np.ones((1, 4)))
    assert found["kendall_tau_b"][0] == pytest.approx(2 / math.sqrt(5 * 3))
    assert found["auroc"][0] == pytest.approx((0.5 + 1 + 1) / 3)


def test_calibration_error_by_hand():
    """Two bins: 0.15 with one of two positive, 0.95 with one of one: (2 * 0.35 + 0.05) / 3."""
    scores, outcome = np.array([0.15, 0.15, 0.95]), np.array([0.0, 1.0, 1.0])
    assert calibration_error(scores, outcome, np.ones((1, 3)))[0] == pytest.approx(0.25)
    assert calibration_error(np.array([1.0]), np.array([1.0]), np.ones((1, 1)))[0] == 0.0


def test_a_perfect_judge_gets_no_zero_width_interval():
    """Every share has the exact bound, 0.025^(1/n) of 20; AUROC cannot be bounded and says so."""
    made, found = card([1.0] * 20 + [0.0] * 20, [1] * 20 + [0] * 20)
    assert made.headline.name == "auroc"
    assert (found["auroc"].value, found["auroc"].low, found["auroc"].high) == (1.0, None, None)
    assert "every resample" in found["auroc"].note
    assert found["sensitivity"].low == pytest.approx(0.025 ** (1 / 20))
    assert (found["accuracy"].value, found["accuracy"].high) == (1.0, 1.0)
    assert found["best_threshold"].value == 0.5


def test_an_inverted_judge_is_below_chance_and_reverse_mends_it():
    """Labels the other way round give 1 - AUROC."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 80)
    scores = list(np.clip(rng.normal(0.6 - 0.2 * labels, 0.15), 0, 1))
    wrong, right = (card(scores, list(labels), reverse=reverse)[1]["auroc"] for reverse in (False, True))
    assert wrong.value == pytest.approx(1 - right.value)
    assert wrong.high < 0.5 < right.low


def test_a_constant_judge_knows_nothing():
    """AUROC is 0.5; correlations are not defined and say so."""
    _, found = card([0.7] * 30, [0, 1] * 15)
    assert found["auroc"].value == 0.5
    assert found["cohen_kappa"].value == 0.0
    assert (found["sensitivity"].value, found["specificity"].value) == (1.0, 0.0)
    assert found["spearman"].value is None
    assert "not defined" in found["spearman"].note


def test_unscored_cases_are_counted_and_change_no_figure():
    """Nulls among the scores: the same figures, and their number beside them with the reason."""
    rng = np.random.default_rng(2)
    labels = [int(label) for label in rng.integers(0, 2, 60)]
    scores = [float(score) for score in rng.random(60)]
    whole, _ = card(scores, labels)
    holed, _ = card([*scores, None, None], [*labels, 1, 0])
    assert (whole.n, whole.unscored, holed.n, holed.unscored) == (60, 0, 60, 2)
    assert holed.record["unscored"] == {"judge_failed": 2}
    assert [(f.name, f.value) for f in holed.figures] == [(f.name, f.value) for f in whole.figures]
    with pytest.raises(UserError, match="none of 2 cases has a score"):
        card([None, None], [0, 1])


def test_resamples_with_one_class_are_left_out_and_counted():
    """One positive among 40: a third of the resamples lack it."""
    _, found = card([0.12] + [0.1 + 0.001 * i for i in range(39)], [1] + [0] * 39, resamples=1000)
    lost = int(found["auroc"].note.split()[0])
    assert lost == pytest.approx(1000 * (1 - 1 / 40) ** 40, abs=60)


def test_the_best_threshold_is_cross_fitted():
    """On scores that say nothing, the in-sample optimum is above 0.5 and the cross-fitted one is not."""
    rng = np.random.default_rng(3)
    gains, honest = [], []
    for _ in range(30):
        scores, positive = rng.random(60), rng.random(60) < 0.5
        fitted = crossfitted(scores, positive, np.arange(60), seed=0)
        false_rate, true_rate, _ = metrics.roc_curve(positive, scores)
        gains.append((1 + np.max(true_rate - false_rate)) / 2)
        honest.append(metrics.balanced_accuracy_score(positive, fitted))
    assert np.mean(gains) > 0.57
    assert np.mean(honest) == pytest.approx(0.5, abs=0.04)


def test_the_best_threshold_separates():
    """It lies midway between the classes, on the metric's own scale."""
    metric = Metric(name="x", low=1, high=5)
    _, found = card([1.0, 2.0] * 6 + [4.0, 5.0] * 6, [0] * 12 + [1] * 12, metric=metric)
    assert found["best_threshold"].value == 3.0
    assert found["balanced_accuracy_at_best"].value == 1.0


def test_intervals_cover_by_cluster():
    """AUROC of normal scores in 60 cases, and accuracy in 40 clusters of five: 95 % intervals hold the truth in 90 to 99 %
    of 150 trials, and intervals that ignore the clusters do not.
    """
    hits = {"auroc": [], "clustered": [], "naive": []}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        positive = rng.random(60) < 1 / 3
        scores = ndtr(rng.normal(positive, 1))
        statistic = binary_figures(scores, positive, cut=0.5, fitted=positive, metric=SCALE)
        area = bootstrap(statistic, np.arange(60), resamples=300, seed=seed)[0][0]
        hits["auroc"].append(area.low <= ndtr(1 / math.sqrt(2)) <= area.high)
        right = (rng.random((40, 5)) < rng.beta(3, 1, 40)[:, None]).ravel()
        every = np.ones(200, dtype=bool)
        for name, clusters in (("clustered", np.repeat(np.arange(40), 5)), ("naive", np.arange(200))):
            figures, _ = bootstrap(
                lambda w, r=right, e=every: decision_figures(r, e, w), clusters, resamples=300, seed=seed
            )
            hits[name].append(figures[0].low <= 0.75 <= figures[0].high)
    assert 0.9 <= np.mean(hits["auroc"]) <= 0.99
    assert 0.9 <= np.mean(hits["clustered"]) <= 0.99
    assert np.mean(hits["naive"]) < 0.9


def test_few_clusters_carry_no_interval():
    """Nine are too few, whatever the number of cases."""
    scores = [0.1, 0.9] * 45
    made, found = card(scores, [0, 1] * 45, clusters=[str(i % 9) for i in range(90)])
    assert made.clusters == 9
    assert all(figure.low is None for figure in found.values())


def test_three_way_labels_are_compared_with_the_judges_label():
    """Accuracy, kappas and each class's sensitivity; the score counts for entailment against the rest."""
    names = ["entailment", "neutral", "contradiction"] * 20
    given = [*names[:45], *["neutral"] * 15]
    evidence = [{"entailment": 0.1, "neutral": 0.1, "contradiction": 0.1, label: 0.8} for label in given]
    scores = [0.8 if label == "entailment" else 0.1 for label in given]
    made, found = card(scores, names, given=given, evidence=evidence, vocabulary=set(given))
    assert (made.task, made.headline.name, made.headline.value) == ("classes", "accuracy", pytest.approx(50 / 60))
    assert found["cohen_kappa"].value == pytest.approx(metrics.cohen_kappa_score(names, given))
    order = ["contradiction", "neutral", "entailment"]
    assert found["quadratic_kappa"].value == pytest.approx(
        metrics.cohen_kappa_score([order.index(n) for n in names], [order.index(g) for g in given], weights="quadratic")
    )
    assert found["sensitivity of entailment"].value == 0.75
    assert found["label_calibration_error"].value == pytest.approx(abs(50 / 60 - 0.8))
    assert found["auroc"].value == pytest.approx(metrics.roc_auc_score([n == "entailment" for n in names], scores))


@pytest.mark.parametrize(
    ("labels", "options", "task", "positive"),
    [
        ([0, 1, 1], {}, "binary", (False, True, True)),
        (["0", "1", "1.0"], {"at_least": 0.5}, "grades", (False, True, True)),
        ([True, False, True], {}, "binary", (True, False, True)),
        (["yes", "No", "YES"], {}, "binary", (True, False, True)),
        ([0, 1, 1], {"reverse": True}, "binary", (True, False, False)),
        ([0, 1, 1], {"positive": ["0"]}, "binary", (True, False, False)),
        (["supported", "hallucinated", "supported"], {"positive": ["hallucinated"]}, "binary", (False, True, False)),
        (["a", "b", "c"], {"positive": ["a", "c"]}, "binary", (True, False, True)),
        ([0, 1, 2], {}, "grades", None),
        ([0, 1, 2], {"at_least": 1}, "grades", (False, True, True)),
        ([0, 1, 2], {"at_least": 1, "reverse": True}, "grades", (True, False, False)),
        (["neutral", "entailment", "neutral"], {"vocabulary": ["neutral"]}, "classes", (False, True, False)),
    ],
)
def test_labels_are_read(labels, options, task, positive):
    """Which labels a high score stands for."""
    truth = read_truth(labels, **options)
    assert (truth.task, truth.positive) == (task, positive)


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (["good", "bad"], {}, "--positive must say which label"),
        (["entailment", "not_entailment"], {"vocabulary": ["entailment", "neutral"]}, "--positive must say"),
        ([1, 2, "bad"], {}, "all numbers or all names"),
        (["good", "bad"], {"positive": ["god"]}, "--positive must be a label of the file"),
        (["neutral", "entailment"], {"vocabulary": ["neutral"], "reverse": True}, "are for numbers"),
    ],
)
def test_labels_that_say_too_little_are_refused(labels, options, said):
    """One line with the way out."""
    with pytest.raises(UserError, match=said):
        read_truth(labels, **options)


def test_the_same_seed_gives_the_same_card():
    """Figures and the labels' hash; a changed label changes the hash."""
    rng = np.random.default_rng(5)
    scores, labels = list(rng.random(40)), [int(x) for x in rng.integers(0, 2, 40)]
    one, two = card(scores, labels)[0], card(scores, labels)[0]
    assert (one.figures, one.labels_sha) == (two.figures, two.labels_sha)
    assert card(scores, [1 - labels[0], *labels[1:]])[0].labels_sha != one.labels_sha
    assert card(scores, labels, seed=1)[0].figures != one.figures


@pytest.mark.parametrize("clustered", [False, True])
def test_the_order_of_rows_changes_no_figure(clustered):
    """Figures, intervals, thresholds and diagrams belong to the set of labels, and not to how its file is sorted."""
    scores, positive, _, _, _ = drawn(3, 120)
    rows = np.arange(120)
    cards = []
    for order in (rows, rows[::-1], np.random.default_rng(1).permutation(rows)):
        cases = [Case(id=str(i), answer=f"answer {i}") for i in order]
        made = calibrate(
            cases, judged(scores[order].tolist()), read_truth([int(positive[i]) for i in order]), judge="j",
            judge_fingerprint="f", metric=SCALE, labels="set", resamples=200,
            clusters=[f"c{i % 30}" for i in order] if clustered else None,
        )  # fmt: skip
        cards.append((made.figures, made.record))
    assert cards[1] == cards[0]
    assert cards[2] == cards[0]
    assert len({figure.name for figure in cards[0][0] if figure.low is not None}) > 5


def test_a_card_holds_what_corrections_need():
    """Counts at the cut, and each label under the key of its judgement in a run; neither for cases chosen by their scores."""
    scores, labels = [0.9, 0.7, 0.4, 0.6, 0.2, 0.1], [1, 1, 1, 0, 0, 0]
    made, _ = card(scores, labels)
    assert made.record["confusion"] == {"hits": 2, "positives": 3, "rejections": 2, "negatives": 3}
    case = Case(id="anything", answer="3")
    assert made.record["labelled"][fingerprint(["f", case.sha])] == 0.0
    assert sorted(made.record["labelled"].values()) == [0, 0, 0, 1, 1, 1]
    chosen, _ = card(scores, labels, selected=True)
    assert not {"confusion", "labelled"} & set(chosen.record)


def test_clustered_cases_count_for_as_many_as_they_are_worth():
    """Ten copies of each case: the shares are the same, and the counts those of one copy."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 60)
    scores = np.where(rng.random(60) < 0.8, labels, 1 - labels) * 0.8 + 0.1
    once = card(scores.tolist(), labels.tolist())[0].record["confusion"]
    clusters = [str(i // 10) for i in range(600)]
    copied = card(np.repeat(scores, 10).tolist(), np.repeat(labels, 10).tolist(), clusters=clusters)[0].record[
        "confusion"
    ]
    assert copied == pytest.approx(once, rel=0.05)


def test_grades_beyond_the_metrics_scale_are_no_labels_for_it():
    """Grades of 1 to 5 say nothing on a scale of 0 to 1; reversed ones are turned round on the scale they are on."""
    assert card([0.1, 0.5, 0.9], [1, 3, 5])[0].record["labelled"] == {}
    graded = card([0.1, 0.5, 0.9], [0.9, 0.5, 0.25], reverse=True)[0].record["labelled"]
    keys = [fingerprint(["f", Case(id="", answer=str(i)).sha]) for i in range(3)]
    assert graded == pytest.approx(dict(zip(keys, [0.1, 0.5, 0.75], strict=True)))
