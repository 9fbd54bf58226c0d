"""The unit of judging: sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See Dr. Lee today. Take 2.5 mg.", ["See Dr. Lee today.", "Take 2.5 mg."]),
        ("Is it serious? Yes! Call now.", ["Is it serious?", "Yes!", "Call now."]),
        ("Rest, e.g. in bed. Drink.", ["Rest, e.g. in bed.", "Drink."]),
        ("- rest\n- drink", ["- rest", "- drink"]),
        ("1. Rest. 2. Drink.", ["1. Rest.", "2. Drink."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("no end", ["no end"]),
        (" \n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text, expected):
    """Abbreviations, decimals, quotes and list numbers do not end a sentence; line breaks do."""
    assert split_sentences(text) == expected


@given(st.text(alphabet=st.sampled_from("aB1 .!?\n\"'()-é"), max_size=80))
def test_nothing_is_lost_or_said_twice(text):
    """The sentences joined by spaces are the text with its white space collapsed."""
    assert " ".join(split_sentences(text)).split() == text.split()
