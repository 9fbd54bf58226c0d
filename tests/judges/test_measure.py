"""The measuring of the judges: baselines on the same rows, unscored cases counted, the table says what was measured."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from harness.records import Case
from harness.store.calibrations import shipped_calibrations
from judges.models.labelled import is_held_out
from judges.models.measure import Labelled, LabelledSet, f1_of_reference, measured, new_words, ordered, sampled, table
from judges.overlap import OverlapJudge

WORDS = ["red", "green", "blue", "old", "new", "tall"]


def rows(data=None):
    """Answers that share from none to all words with the reference; every seventh has no answer."""
    rng = np.random.default_rng(4)
    for i in range(70):
        answer = " ".join(rng.choice(WORDS, 4))
        right = len(set(answer.split()) & set(WORDS[:3])) + rng.normal(0, 0.5) > 2
        case = Case(id="", answer=None if i % 7 == 3 else answer, references=("red green blue",), contexts=("red old",))
        yield Labelled(case=case, label=int(right), group=f"g{i // 2}")


SET = LabelledSet(
    judge="rouge", name="words", what="made up", rows=rows, seen="unseen", baselines={"F1": f1_of_reference},
    published="someone 0.9",
)  # fmt: skip


def test_a_set_is_measured_beside_its_baseline():
    """The baseline's figure is computed on the scored rows, the unscored ones are counted, the groups are the clusters."""
    chosen = sampled(list(rows()), 1000)
    card = measured(OverlapJudge("rouge", "rouge"), SET, chosen)
    assert (card.n, card.unscored, card.clusters, card.seen) == (60, 10, 35, "unseen")
    scored = [row for row in chosen if row.case.answer is not None]
    expected = roc_auc_score([row.label for row in scored], f1_of_reference([row.case for row in scored]))
    assert card.record["baselines"] == {"F1": pytest.approx(expected, abs=1e-4)}
    shown = table([card])
    assert f"| words | made up | 60 (10 unscored) | AUROC **{card.headline.value:.3f}** (" in shown
    assert f"| F1 {expected:.3f}" in shown
    assert "| someone 0.9 | unseen |" in shown


def test_pairs_in_order_are_counted_within_groups():
    """Two pairs of group a (one right, one a tie), one wrong pair of b, none of c, which has one side only: 1.5 of 3."""
    rows = [("a", 1, 0.9), ("a", 0, 0.9), ("a", 0, 0.1), ("b", 1, 0.2), ("b", 0, 0.3), ("c", 1, 0.0), ("c", 1, 1.0)]
    groups, positive, scores = zip(*rows, strict=True)
    assert ordered(scores, positive, groups) == (0.5, 3)
    assert np.isnan(ordered([1.0, 0.0], [1, 0], ["a", "b"])[0])


def test_samples_are_always_the_same_rows():
    """A smaller sample is drawn without looking at labels, with ids that name the rows."""
    every = list(rows())
    one, two = sampled(every, 20), sampled(every, 20)
    assert [row.case.id for row in one] == [row.case.id for row in two]
    assert all(every[int(row.case.id)].case.answer == row.case.answer for row in one)
    assert len({row.case.id for row in one}) == 20


def test_new_words_are_what_the_context_lacks():
    """Two of four words are new."""
    assert new_words([Case(id="1", answer="Red, new old tall!", contexts=("a red one", "old"))])[0] == 0.5


def test_held_out_groups_nest():
    """What is held out at one share is held out at a larger one, whatever the case and punctuation."""
    groups = [f"Question {i}?" for i in range(400)]
    small, large = ({group for group in groups if is_held_out(group, share)} for share in (0.15, 0.4))
    assert small < large
    assert len(large) / 400 == pytest.approx(0.4, abs=0.08)
    assert all(is_held_out(group.upper().rstrip("?"), 0.4) for group in large)


def test_every_embedded_judge_ships_with_cards():
    """Figures on at least three labelled sets each, with intervals and baselines."""
    cards = shipped_calibrations()
    for kind in ("entailment", "correctness", "hallucination", "relevancy", "toxicity"):
        own = [card for card in cards if card.judge == kind]
        assert len({card.labels for card in own}) >= 3, kind
        assert len({card.fingerprint for card in own}) == 1, kind
        assert all(card.seen and card.n >= 50 and card.record["baselines"] for card in own), kind
        assert sum(card.headline.low is not None for card in own) >= 3, kind
