"""Rows of the store become columns without losing or inventing a score."""

import math
import random

import numpy as np
import pytest

from harness.deciding.comparison import leaderboard
from harness.deciding.scores import Scores
from harness.errors import StoreError
from harness.records import Repeat
from harness.store import Home, Store
from tests.reports.fake_run import fake_run


def test_every_row_is_found_again_in_any_order(make_rows):
    """The columns hold exactly the rows, whatever their order; a missing score is unscored, not 0."""
    rng = np.random.default_rng(0)
    values = {c: [None if rng.random() < 0.2 else rng.random() for _ in range(30)] for c in ("base", "lora")}
    rows = make_rows(values) + make_rows(values, metric="toxicity", split="dev")
    random.Random(0).shuffle(rows)
    scores = Scores.from_rows(rows)
    found = []
    for split, here in scores.splits.items():
        for (candidate, metric), column in here.columns.items():
            for i, sample_id in enumerate(here.ids):
                score = float(column.values[i]) if column.scored[i] else None
                found.append((candidate, split, sample_id, None, None, metric, score, None))
    assert sorted(found, key=repr) == sorted(rows, key=repr)


def test_a_sample_only_one_candidate_has_is_unscored_for_the_other(make_rows):
    """What another candidate was asked counts for all."""
    scores = Scores.from_rows(make_rows({"base": [1, 1, 1], "lora": [1]}))
    assert scores.splits["test"].column("lora", "correctness").scored.tolist() == [True, False, False]
    assert scores.splits["test"].column("absent", "correctness").scored.tolist() == [False] * 3


def test_clusters_and_slices_are_those_of_the_sample(make_rows):
    """Slices come as JSON or as mappings; a sample without a cluster is a cluster of its own."""
    slices = ['{"urgency": "high"}', {"urgency": "low"}, None, '{"urgency": "high"}']
    rows = make_rows({"base": [1, 0, 1, 0], "lora": [0, 0, 1, 1]}, slices=slices, clusters=["a", "b", "a", "c"])
    here = Scores.from_rows(rows).splits["test"]
    assert here.slices["urgency"] == ("high", "low", None, "high")
    assert here.clusters[0] == here.clusters[2]
    assert len(set(here.clusters.tolist())) == 3


@pytest.mark.parametrize("clusters", [None, ["a", "b", "c"], [None, None, "c"]])
def test_clusters_of_one_sample_are_none(make_rows, clusters):
    """Where no two samples share a cluster, the samples are independent."""
    rows = [(c, s, i, None if clusters is None else clusters[n], *rest)
            for n, (c, s, i, _, *rest) in enumerate(make_rows({"base": [1, 0, 1]}))]  # fmt: skip
    assert Scores.from_rows(rows).splits["test"].clusters is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(make_rows, bad):
    """NaN passes comparisons in SQL; here it names its sample."""
    with pytest.raises(StoreError, match=r"finite .* correctness of s0001"):
        Scores.from_rows(make_rows({"base": [1, bad]}))


def test_two_scores_of_one_sample_are_refused(make_rows):
    """A duplicate would count one sample twice."""
    with pytest.raises(StoreError, match="several"):
        Scores.from_rows(make_rows({"base": [1, 0]}) + make_rows({"base": [1]}))


def test_no_rows_are_no_scores():
    """An empty run is empty, not an error."""
    assert Scores.from_rows([]).candidates == ()


def test_repeated_calls_of_a_judge_are_no_samples(tmp_path):
    """They tell its noise; n, mean and interval are of one score a sample, however often it was judged again."""
    fake = fake_run(20)
    again = [
        Repeat(key=f"{j.key}{number}", candidate=j.candidate, sample_id=j.id, metric=j.metric, number=number, score=1.0)
        for j in fake.judgements[:50]
        for number in (1, 2, 3)
    ]
    boards = []
    for repeats in ([], again):
        with Store.open(Home(tmp_path / str(len(repeats)))) as store:
            store.write_run(
                fake.run,
                samples=fake.samples,
                answers=fake.answers,
                judgements=fake.judgements,
                trainings=(),
                repeats=repeats,
            )
            assert len(store.repeats(fake.run.id)) == len(repeats)
            boards.append(leaderboard(Scores.from_rows(store.scores(fake.run.id)), fake.run.metrics))
    assert boards[0] == boards[1]
    assert max(estimate.n for row in boards[1] for estimate in row.estimates.values()) == 20
