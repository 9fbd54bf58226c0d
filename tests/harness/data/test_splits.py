"""Splits by hash: nothing moves when rows are appended, and nothing straddles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.samples import Drawn
from harness.data.splits import keep, name_of, position, select, share_out
from harness.records import Sample

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
groups_lists = st.lists(st.integers(0, 40).map(str), max_size=60)


def drawn_of(groups, columns=None):
    """Samples 1, 2, … in these groups."""
    rows = enumerate(groups, start=1)
    return [
        Drawn(Sample(id=f"{row}", split="", input="x", row=row, columns=columns or {"row": row}), g) for row, g in rows
    ]


def homes(groups, shares, seed=0):
    """Row to split."""
    return {s.row: name for name, samples in share_out(drawn_of(groups), shares, seed=seed).items() for s in samples}


@settings(max_examples=100, deadline=None)
@given(before=groups_lists, after=groups_lists, seed=st.integers(0, 5))
def test_appending_rows_moves_none(before, after, seed):
    """Rows keep their split when others are appended, whatever those are."""
    small, large = homes(before, SHARES, seed), homes(before + after, SHARES, seed)
    assert small == {row: large[row] for row in small}
    assert len(large) == len(before + after)  # shares of 0.8 + 0.1 + 0.1 leave no row over


@settings(max_examples=100, deadline=None)
@given(groups=groups_lists, seed=st.integers(0, 5))
def test_a_group_never_straddles(groups, seed):
    """All rows of a group are in one split, and each row in exactly one."""
    splits = share_out(drawn_of(groups), SHARES, seed=seed)
    where = {}
    for name, samples in splits.items():
        for sample in samples:
            assert sample.split == name
            assert where.setdefault(groups[sample.row - 1], name) == name
    rows = [s.row for samples in splits.values() for s in samples]
    assert len(rows) == len(set(rows))
    assert all(samples == sorted(samples, key=lambda s: s.row) for samples in splits.values())


def test_shares_are_kept_within_chance():
    """Of 20,000 groups each split gets its share within four standard deviations, and two seeds differ."""
    groups = [str(n) for n in range(20_000)]
    sizes = {name: len(samples) for name, samples in share_out(drawn_of(groups), SHARES, seed=1).items()}
    for name, share in SHARES.items():
        assert abs(sizes[name] - 20_000 * share) < 4 * math.sqrt(20_000 * share * (1 - share))
    assert homes(groups, SHARES, 1) != homes(groups, SHARES, 2)


def test_a_new_split_at_the_end_takes_from_what_was_left_over():
    """Shares below 1 leave rows out; a split appended to the suite takes those and moves no other."""
    groups = [str(n) for n in range(500)]
    before, after = homes(groups, {"a": 0.5, "b": 0.2}), homes(groups, {"a": 0.5, "b": 0.2, "c": 0.3})
    assert len(before) < 500 == len(after)
    assert before == {row: name for row, name in after.items() if name != "c"}


@given(st.integers(), st.text())
def test_positions_lie_in_the_half_open_unit_interval(seed, key):
    """A position is in [0, 1) and depends on seed and key alone."""
    place = position(seed, key)
    assert 0 <= place < 1
    assert place == position(seed, key)


def test_positions_are_those_published_in_the_first_release():
    """The hash is part of the format: changing it would move every user's rows."""
    assert position(0, "a") == pytest.approx(0.2896953134586566, abs=0)
    assert position(1234, "limit", "x") == pytest.approx(0.6541042054198677, abs=0)


@settings(max_examples=100, deadline=None)
@given(count=st.integers(0, 40), more=st.integers(0, 10), small=st.integers(1, 12), large=st.integers(12, 30))
def test_limits_are_nested_and_stable(count, more, small, large):
    """A smaller limit keeps a part of a larger one's rows, in file order; appended rows replace at most as many as they are."""
    samples = [d.sample for d in drawn_of([""] * (count + more))]
    few, many = keep(samples, small, seed=3), keep(samples, large, seed=3)
    assert len(few) == min(small, count + more)
    assert set(s.row for s in few) <= set(s.row for s in many)
    assert [s.row for s in few] == sorted(s.row for s in few)
    before = keep(samples[:count], small, seed=3)
    assert len({s.row for s in before} - {s.row for s in few}) <= more
    assert keep(samples, None, seed=3) == tuple(samples)


@pytest.mark.parametrize(
    ("cell", "wanted", "matches"),
    [
        ("test", "test", True), ("test", ["dev", "test"], True), ("Test", "test", False),
        (1, 1, True), ("1", 1, True), (1.0, 1, True), (1, "1", True), (True, 1, False),
        (True, True, True), ("true", True, True), ("True", True, True), ("yes", True, False),
        (None, "None", False), (["test"], "test", False), (0.5, 0.5, True), ("0.5", 0.5, True),
    ],
)  # fmt: skip
def test_where_compares_values_as_a_person_would(cell, wanted, matches):
    """YAML's 1, true and 0.5 equal a CSV's text of the same; a truth value is no number, and a missing cell equals nothing."""
    drawn = drawn_of(["g"], {"part": cell})
    assert (len(select(drawn, {"part": wanted})) == 1) is matches


def test_where_needs_every_column():
    """Several columns are joined by `and`."""
    drawn = drawn_of(["g"], {"a": 1, "b": 2})
    assert select(drawn, {"a": 1, "b": 2}) == drawn
    assert select(drawn, {"a": 1, "b": 3}) == []


def test_name_of_leaves_no_value_unnamed():
    """A list is no name."""
    assert name_of([1]) is None
