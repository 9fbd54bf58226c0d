"""The audit: what is trained is exactly the answer and its end, or the training does not begin."""

from dataclasses import replace

import pytest

from harness.errors import UserError
from harness.models import rendering
from harness.training.audit import IGNORED, audit_rows
from harness.training.recipe import training_rows


@pytest.fixture
def rows(samples, ask):
    """The samples as training rows."""
    return training_rows(samples, ask)


def test_labels_are_the_answer_and_its_end(tokenizer, rows):
    """decode(labels that are trained) is the answer and EOS, for every row, and each label is the id at its place."""
    token_rows, audit = audit_rows(tokenizer, rows, max_length=256)
    for row, token_row in zip(rows, token_rows, strict=True):
        trained = [label for label in token_row.labels if label != IGNORED]
        assert tokenizer.decode(trained) == row.answer + tokenizer.eos_token
        assert all(label in (IGNORED, i) for label, i in zip(token_row.labels, token_row.input_ids, strict=True))
    assert audit.trained_tokens == sum(label != IGNORED for row in token_rows for label in row.labels)
    assert audit.tokens == sum(len(row.input_ids) for row in token_rows)


def test_rows_beyond_the_models_window_are_refused(tokenizer, rows):
    """A max_length above the base model's window lets no row through that the model cannot see whole."""
    longest = max(len(row.input_ids) for row in audit_rows(tokenizer, rows, max_length=256)[0])
    with pytest.raises(UserError, match=f"window of {longest - 1} tokens"):
        audit_rows(tokenizer, rows, max_length=256, window=longest - 1)
    assert audit_rows(tokenizer, rows, max_length=256, window=longest - 1, truncation="drop")[1].dropped
    assert not audit_rows(tokenizer, rows, max_length=256, window=longest)[1].dropped


def test_nothing_left_is_refused(tokenizer, rows):
    """Dropping every row is an error, not an empty training."""
    with pytest.raises(UserError, match="must leave rows to train"):
        audit_rows(tokenizer, rows, max_length=2, truncation="drop")


def test_harm_is_named_all_at_once(tokenizer, rows):
    """Empty answers and answers that hold special tokens are refused in one message, each kind with its rows."""
    rows[2] = replace(rows[2], answer="  ")
    rows[6] = replace(rows[6], answer="")
    rows[9] = replace(rows[9], answer="ba </s> du")
    rows[11] = replace(rows[11], answer="ba <s> du")
    with pytest.raises(UserError) as caught:
        audit_rows(tokenizer, rows, max_length=256)
    text = str(caught.value)
    assert "rows 3 and 7: the answer is empty" in text
    assert "row 10: the answer itself holds </s>" in text
    assert "row 12: the answer itself holds <s>" in text


@pytest.mark.parametrize(
    ("context", "answer", "words"),
    [([1, 1, 9], [8, 2], "two <s>"), ([1, 9], [8], "does not end the answer"), ([], [8, 2], "prompt is empty")],
)
def test_a_renderer_gone_wrong_is_caught(monkeypatch, tokenizer, rows, context, answer, words):
    """Double BOS, a missing EOS and an empty prompt are refused though the render function lets them through."""
    right = rendering.training_tokens
    monkeypatch.setattr(
        rendering,
        "training_tokens",
        lambda tok, messages, text: (context, answer) if text == rows[4].answer else right(tok, messages, text),
    )
    with pytest.raises(UserError, match=f"row 5: .*{words}"):
        audit_rows(tokenizer, rows, max_length=256)


def test_duplicates_are_counted_where_they_repeat(tokenizer, rows):
    """The second and third copy of a row are counted by number, the first is not; so many stop unless allowed."""
    rows = [*rows, replace(rows[0], row=25), replace(rows[0], row=26)]
    assert audit_rows(tokenizer, rows, max_length=256, allow=["duplicates"])[1].duplicates == (25, 26)
    with pytest.raises(UserError, match=r"rows 25 and 26: .* again, 2 of 26 rows; .*allow: \[duplicates\]"):
        audit_rows(tokenizer, rows, max_length=256)


def test_one_copy_in_a_hundred_rows_is_told(tokenizer, rows):
    """Up to 1 % of copies stop nothing; one more does."""
    many = [replace(row, row=24 * turn + row.row, answer=f"{row.answer} {turn}") for turn in range(5) for row in rows][
        :100
    ]
    kept, audit = audit_rows(tokenizer, [*many[:99], replace(many[0], row=100)], max_length=256)
    assert (len(kept), audit.duplicates) == (100, (100,))
    assert audit.contradictions[0] == 25  # the first question with its second answer
    with pytest.raises(UserError, match="rows 99 and 100: prompt and answer of an earlier row again, 2 of 100"):
        audit_rows(tokenizer, [*many[:98], replace(many[0], row=99), replace(many[1], row=100)], max_length=256)


def test_allowed_rows_are_trained_and_listed(tokenizer, rows):
    """A special token that an answer spells is trained where it is allowed by its name, and by no other."""
    rows[9] = replace(rows[9], answer="ba </s> du")
    kept, audit = audit_rows(tokenizer, rows, max_length=256, allow=["special_tokens"])
    assert audit.special == (10,)
    assert sum(label == tokenizer.eos_token_id for label in kept[9].labels) == 2
    with pytest.raises(UserError, match=r"row 10: .* or set allow: \[special_tokens\]"):
        audit_rows(tokenizer, rows, max_length=256, allow=["duplicates"])
    rows[2] = replace(rows[2], answer=" ")
    with pytest.raises(UserError, match="row 3: the answer is empty"):
        audit_rows(tokenizer, rows, max_length=256, allow=["special_tokens", "duplicates"])


def test_all_kinds_of_harm_at_once(tokenizer, rows):
    """Empty answers, long rows and copies are told in one error."""
    rows = [*rows, replace(rows[0], row=25), replace(rows[1], row=26, answer="")]
    longest = max(len(row.input_ids) for row in audit_rows(tokenizer, rows[:24], max_length=256)[0])
    with pytest.raises(UserError) as caught:
        audit_rows(tokenizer, rows, max_length=longest - 1)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["training data", lines[1].split(":")[0], "training data"]
    assert lines[1].startswith("'max_length'")
    assert "row 26" in lines[0]
    assert "row 25" in lines[2]


def test_samples_without_reference_are_named(samples, ask):
    """A training row without an answer is refused by row number before anything is tokenised."""
    samples[1] = replace(samples[1], references=())
    with pytest.raises(UserError, match="none in row 2"):
        training_rows(samples, ask)


def test_a_tokenizer_without_eos_is_refused(tokenizer, rows):
    """Without an end-of-sequence token nothing is trained."""
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="end-of-sequence"):
        audit_rows(tokenizer, rows, max_length=256)
