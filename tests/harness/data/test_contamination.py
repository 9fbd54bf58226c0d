"""Overlap of training and evaluation rows, against a comparison of every pair."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import Dataset, check_contamination, count_overlaps, find_overlaps
from harness.data.contamination import normalised_words
from harness.data.samples import every_turn
from harness.errors import ContaminationError
from harness.records import Message, Sample

WORDS = ["pain", "in", "the", "chest", "Chest", "since", "monday", "doctor", "?", "doctor,", "é"]
texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)


def samples_of(split, *inputs):
    """Samples of a split, numbered from 1."""
    return [Sample(id=f"{split}{row}", split=split, input=text, row=row) for row, text in enumerate(inputs, start=1)]


def jaccard(one, other):
    """Jaccard similarity of two sets."""
    return len(one & other) / len(one | other)


def by_every_pair(training, evaluation, near):
    """(evaluation row, training row) to (kind, similarity), straight from the definition."""
    found = {}
    for e, asked in enumerate(evaluation, start=1):
        for t, trained in enumerate(training, start=1):
            one, other = normalised_words(asked).split(), normalised_words(trained).split()
            if asked == trained:
                found[e, t] = ("exact", 1.0)
            elif one and one == other:
                found[e, t] = ("normalised", 1.0)
            elif one and other:
                short = min(len(one), len(other)) < 3
                sets = [set(w) if short else set(zip(w, w[1:], w[2:], strict=False)) for w in (one, other)]
                if jaccard(*sets) >= near:
                    found[e, t] = ("near", jaccard(*sets))
    return found


@settings(max_examples=300, deadline=None)
@given(
    training=st.lists(texts, max_size=12),
    evaluation=st.lists(texts, max_size=8),
    near=st.sampled_from([0.1, 0.34, 0.5, 0.6, 0.75, 0.8, 1.0]),
)
def test_every_overlapping_pair_is_found_and_no_other(training, evaluation, near):
    """With room for all pairs, the join finds exactly what comparing every pair finds, with the same similarities."""
    found = find_overlaps(samples_of("train", *training), samples_of("test", *evaluation), near=near, most=1_000)
    pairs = {(o.evaluation_row, o.training_row): (o.kind, o.similarity) for o in found}
    assert len(pairs) == len(found)
    assert pairs == by_every_pair(training, evaluation, near)


@settings(max_examples=100, deadline=None)
@given(training=st.lists(texts, max_size=15), evaluation=st.lists(texts, max_size=5), most=st.integers(1, 4))
def test_of_many_pairs_the_strongest_are_kept(training, evaluation, most):
    """With room for few pairs, each evaluation row keeps its strongest: kind, then similarity, then the earlier row."""
    order = ("exact", "normalised", "near")
    every = by_every_pair(training, evaluation, 0.3)
    found = find_overlaps(samples_of("train", *training), samples_of("test", *evaluation), near=0.3, most=most)
    for row in range(1, len(evaluation) + 1):
        ranked = sorted((order.index(kind), -similarity) for (e, _), (kind, similarity) in every.items() if e == row)
        kept = [(order.index(o.kind), -o.similarity) for o in found if o.evaluation_row == row]
        assert kept == ranked[:most]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("I have chest pain.", "i have  CHEST pain", True),
        ("ﬁne Ｗｏｒｄｓ", "fine words", True),
        ("Straße", "STRASSE", True),
        ("co\u00adoperate", "cooperate", True),
        ("3 + 4", "3 4", False),
        ("कि", "की", False),
        ("é", "e", False),
        ("resume\u0301", "resumé", True),
    ],
)
def test_normalised_words_forget_case_width_and_punctuation_only(one, other, same):
    """NFKC, case folding and punctuation make no difference; accents, vowel signs and symbols do."""
    assert (normalised_words(one) == normalised_words(other)) is same


def test_near_duplicates_are_found_in_scripts_without_spaces():
    """Chinese characters count as words, so one changed character of ten leaves a near duplicate."""
    one, other = "我从昨天晚上开始就一直觉得头很痛怎么办", "我从昨天晚上开始就一直觉得头很痛怎么样"
    (overlap,) = find_overlaps(samples_of("train", one), samples_of("test", other), near=0.8)
    assert overlap.kind == "near"


def test_texts_without_words_match_only_exactly():
    """Two rows of different punctuation are no duplicates; two of the same are."""
    assert find_overlaps(samples_of("train", "???"), samples_of("test", "!!!"), near=0.5) == []
    assert find_overlaps(samples_of("train", "???"), samples_of("test", "???"), near=0.5)[0].kind == "exact"


def test_conversations_are_compared_as_a_whole():
    """Equal last turns after different talks are no overlap; equal talks under different system messages are."""

    def talk(split, *contents):
        roles = ("system", "user", "assistant", "user")
        messages = tuple(Message(role=role, content=content) for role, content in zip(roles, contents, strict=True))
        return [Sample(id=split, split=split, input=contents[-1], row=1, messages=messages)]

    test = talk("test", "s", "my head hurts a lot today", "since when did it hurt", "thanks")
    assert (
        find_overlaps(talk("train", "s", "what is a good diet for me", "eat more greens", "thanks"), test, near=0.8)
        == []
    )
    same = talk("train", "other", "my head hurts a lot today", "since when did it hurt", "thanks")
    assert find_overlaps(same, test, near=0.8)[0].kind == "exact"


def test_every_learnt_turn_of_a_conversation_is_held_against_what_is_asked():
    """A test talk that a training talk begins with is an overlap, however the latter goes on: its answer is learnt."""

    def talk(split, *contents, row):
        roles = [("user", "assistant")[place % 2] for place in range(len(contents))]
        messages = tuple(Message(role=role, content=content) for role, content in zip(roles, contents, strict=True))
        return Sample(id=split, split=split, input=contents[-1], references=("so",), row=row, messages=messages)

    opening = ("my head hurts a lot today", "since when did it hurt you", "it began on monday morning after work")
    longer = talk("train", *opening, "rest in a dark room", "and if it does not get better by tomorrow", row=4)
    asked = [talk("test", *opening, row=7), talk("test", "how long may I keep cooked rice", row=8)]
    (overlap,) = find_overlaps([longer], asked, near=0.4)  # near as well as exact, told once
    assert (overlap.kind, overlap.training_row, overlap.evaluation_row) == ("exact", 4, 7)
    dataset = Dataset(splits={"train": (longer,), "test": (*asked, *every_turn(asked[0]))}, columns=(), sha="", rows=3)
    (count,) = count_overlaps(find_overlaps([longer], dataset.splits["test"], near=0.4), dataset)
    assert (count.exact, count.near, count.rows, count.share) == (1, 0, 2, 0.5)  # of conversations, not of turns


def dataset_of(**splits):
    """A dataset with these inputs in its splits."""
    made = {name: tuple(samples_of(name, *inputs)) for name, inputs in splits.items()}
    return Dataset(splits=made, columns=("q",), sha="", rows=sum(map(len, splits.values())))


def suite_of(allow_share=0.0, near=0.8, **uses):
    """What the check looks at of a suite."""
    return SimpleNamespace(
        splits={name: SimpleNamespace(use=use) for name, use in uses.items()},
        contamination=SimpleNamespace(near=near, allow_share=allow_share),
        evaluation_splits=lambda: [name for name, use in uses.items() if use == "evaluation"],
    )


USES = {"train": "training", "validation": "validation", "test": "evaluation", "hard": "evaluation"}
DATA = {
    "train": ["a b c d", "e f g h", "i j k l"],
    "validation": ["a b c d"],
    "test": ["a b c d", "E f g, h", "x y z", "u v w"],
    "hard": ["nothing in common"],
}


def test_overlap_stops_the_run_with_counts_and_rows():
    """The error names both splits, the counts by kind, the share and the row numbers; clean pairs of splits are not named."""
    with pytest.raises(ContaminationError) as raised:
        check_contamination(dataset_of(**DATA), suite_of(**USES))
    first, *pairs = str(raised.value).splitlines()
    assert first.startswith("training split 'train' holds 2 of the 4 rows of 'test' (1 exact, 1 normalised, 0 near)")
    assert "a share of 0.5 where 0 is allowed" in first
    assert pairs == [
        "  row 1 of 'train' and row 1 of 'test': exact",
        "  row 2 of 'train' and row 2 of 'test': normalised",
    ]


def test_an_allowed_share_is_accepted_and_counted():
    """A share up to `allow_share` passes; the overlaps come back, and count once an evaluation row."""
    dataset = dataset_of(**DATA)
    overlaps = check_contamination(dataset, suite_of(0.5, **USES))
    (count,) = count_overlaps(overlaps, dataset)
    assert (count.exact, count.normalised, count.near, count.hit, count.rows, count.share) == (1, 1, 0, 2, 4, 0.5)
    with pytest.raises(ContaminationError):
        check_contamination(dataset, suite_of(0.49, **USES))


def test_named_training_splits_replace_the_default():
    """Only the named splits are compared, and a split is never compared with itself."""
    dataset = dataset_of(**DATA)
    assert check_contamination(dataset, suite_of(**USES), training_splits=["hard"]) == []
    with pytest.raises(ContaminationError, match="training split 'validation'"):
        check_contamination(dataset, suite_of(**USES), training_splits=["validation"])


def test_a_long_list_of_pairs_is_cut_and_counted():
    """Ten pairs are shown, the rest counted."""
    inputs = [f"question number {n} of many" for n in range(30)]
    with pytest.raises(ContaminationError) as raised:
        check_contamination(
            dataset_of(train=inputs, test=inputs), suite_of(1e-9, 1.0, train="training", test="evaluation")
        )
    lines = str(raised.value).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 20 more pairs"


def test_boilerplate_on_both_sides_stays_small():
    """A text that stands 3,000 times in both splits gives ten pairs a row, quickly, not nine million."""
    start = time.process_time()
    found = find_overlaps(
        samples_of("train", *["same text here"] * 3_000), samples_of("test", *["same text here"] * 3_000), near=0.8
    )
    assert len(found) == 30_000
    assert time.process_time() - start < 5
