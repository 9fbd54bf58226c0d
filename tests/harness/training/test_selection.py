"""Which checkpoint is kept and when training ends, decided by figures alone; and what of it enters the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Metric
from harness.suite.grammar import EarlyStopping
from harness.training import training_key, training_rows
from harness.training.selection import Best, Validation

FIGURES = st.lists(st.integers(-20, 20), min_size=1, max_size=12)


@given(figures=FIGURES, direction=st.sampled_from(["higher", "lower"]))
def test_the_best_is_the_first_of_the_extreme_figures(figures, direction):
    """Whatever the order of figures, kept is the step of the largest (smallest) one, of equals the earliest."""
    best = Best(metric="m", direction=direction)
    for step, figure in enumerate(figures):
        best.offer(step, {"a": float(figure)})
    wanted = max(figures) if direction == "higher" else min(figures)
    assert best.step == figures.index(wanted)
    assert best.waited == len(figures) - 1 - best.step


def test_a_gain_within_min_delta_is_none():
    """Patience counts evaluations that are not better than the best by more than min_delta."""
    best = Best(metric="m", direction="higher", min_delta=0.1)
    taken = [best.offer(step, {"a": figure}) for step, figure in enumerate([0.5, 0.6, 0.59, 0.61, 0.7])]
    assert taken == [True, False, False, True, False]
    assert (best.step, best.waited) == (3, 1)


def test_checkpoints_are_compared_on_what_both_have_a_score_for():
    """An answer that could not be judged neither raises nor lowers a checkpoint; no score at all never wins."""
    best = Best(metric="m", direction="higher")
    assert not best.offer(1, {})
    assert best.offer(2, {"easy": 1.0, "hard": 0.2})
    assert not best.offer(3, {"easy": 0.9})  # a higher mean (0.9 against 0.6), for want of the hard one
    assert best.offer(4, {"hard": 0.3})
    assert not best.offer(5, {"another": 1.0})
    assert best.step == 4


def validation(samples=(), ask=None, **changed):
    """A validation by two judges that examines nothing."""
    own = {
        "rows": tuple(training_rows(samples, ask)) if ask else (),
        "questions": "q",
        "samples": 5,
        "metrics": {"good": Metric(name="good"), "bad": Metric(name="bad", direction="lower")},
        "fingerprints": {"good": "1", "bad": "2"},
        "examine": lambda generator: {},
    }
    return Validation(**{**own, **changed})


def test_what_decides_the_selection_is_in_the_key_and_nothing_else(recipe, samples, ask):
    """Judge, questions, pace and patience change the key of a training that selects; of one that only looks, nothing does."""
    given = {"base_fingerprint": "b", "rows": training_rows(samples, ask), "seed": 1, "versions": {"torch": "2"}}
    plain = training_key(recipe(), **given)
    looking = recipe(evaluate_every=2, evaluate_samples=7, evaluate_with=["bad"], validation="v", tensorboard=True)
    assert training_key(looking, validation=validation(), **given) == plain
    assert training_key(looking, **given) == plain

    def key(validated=None, **options):
        spec = recipe(**{"evaluate_every": 2, "select": "good", **options})
        return training_key(spec, validation=validated or validation(), **given)

    stopping = {"early_stopping": EarlyStopping(patience=2)}
    by_loss = {"select": "loss"}
    keys = [
        plain,
        key(),
        key(evaluate_every=3),
        key(evaluate_every="epoch"),
        key(select="bad"),
        key(validation(fingerprints={"good": "9", "bad": "2"})),
        key(validation(questions="other")),
        key(**stopping),
        key(early_stopping=EarlyStopping(patience=3)),
        key(early_stopping=EarlyStopping(patience=2, min_delta=0.1)),
        key(early_stopping=EarlyStopping(patience=2, metric="bad")),
        key(validation(samples[:3], ask), **by_loss),
        key(validation(samples[:4], ask), **by_loss),
    ]
    assert len(set(keys)) == len(keys)
    assert key(validation(fingerprints={"good": "1", "bad": "9"})) == key()
    assert key(validation(samples[:3], ask)) == key()
    assert key(validation(samples[:3], ask, questions="other"), **by_loss) == key(
        validation(samples[:3], ask), **by_loss
    )
    with pytest.raises(ValueError, match="needs a validation"):
        training_key(recipe(evaluate_every=2, select="good"), **given)


def test_early_stopping_selects_by_its_own_metric(recipe):
    """What stops a training also selects, unless told otherwise; `loss` where nothing is named."""
    both = recipe(evaluate_every=1, select="good", early_stopping=EarlyStopping(metric="bad"))
    assert (both.selects_by, both.stops_by) == ("good", "bad")
    assert recipe(evaluate_every=1, early_stopping=EarlyStopping()).selects_by == "loss"
    assert recipe(evaluate_every=1, select="good", early_stopping=EarlyStopping()).stops_by == "good"
    assert recipe(evaluate_every=1).selects_by is None
    with pytest.raises(ValueError, match="must have 'evaluate_every' beside 'select'"):
        recipe(select="good")
