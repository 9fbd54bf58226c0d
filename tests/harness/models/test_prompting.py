"""Prompting: the same for everyone, never the answer itself, nearest last."""

import numpy as np
import pytest

from harness.errors import DataError, UserError
from harness.models.prompting import FewShot, Retrieval, ZeroShot
from harness.records import Message, Sample

TEMPLATE = "Patient {{ name }}: {{ input }}"


def sample(id, text, *, reference=None, **columns):
    """A row with a column `name`."""
    references = (reference,) if reference else ()
    return Sample(id=id, split="train", input=text, references=references, row=7, columns={"name": id, **columns})


TOPICS = [
    "itchy red rash on arm",
    "dry cough and fever",
    "sharp pain in the knee",
    "cannot sleep at night",
    "itchy eyes",
]
POOL = [sample(f"p{i}", text, reference=f"advice {i}") for i, text in enumerate(TOPICS)]
ZERO = ZeroShot(template=TEMPLATE)


def contents(prompt):
    """Role initials and contents of the turns."""
    return [(message.role[0], message.content) for message in prompt.messages]


def test_zero_shot_fills_the_template():
    """The row's columns and `input` are the template's variables; a system message stands first."""
    asked = sample("a", "fever")
    assert contents(ZERO.prompt(asked)) == [("u", "Patient a: fever")]
    assert contents(ZeroShot(template=TEMPLATE, system="be kind").prompt(asked)) == [
        ("s", "be kind"), ("u", "Patient a: fever"),
    ]  # fmt: skip


def test_template_that_cannot_be_filled_names_the_row():
    """A missing column is a DataError with the row's number."""
    with pytest.raises(DataError, match=r"row 7: .*'age'"):
        ZeroShot(template="{{ age }}").prompts([sample("a", "fever")])


def test_conversations_stand_as_they_are():
    """A sample in chat format keeps its turns; its own system turn replaces the suite's."""
    turns = (
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content="c"),
    )
    asked = Sample(id="x", split="test", input="c", messages=turns)
    assert contents(ZeroShot(template="{{ input }}!", system="s").prompt(asked)) == [
        ("s", "s"), ("u", "a"), ("a", "b"), ("u", "c"),
    ]  # fmt: skip
    own = Sample(id="x", split="test", input="c", messages=(Message(role="system", content="own"), *turns))
    assert contents(ZeroShot(template="{{ input }}", system="s").prompt(own))[0] == ("s", "own")


def test_few_shot_is_the_same_for_every_sample():
    """Shots are worked turns, equal for all samples and repeatable, and another seed draws others."""
    asked = [sample("a", "fever"), sample("b", "rash")]
    prompts = FewShot(ZERO, POOL, shots=2, seed=1).prompts(asked)
    first, second = (contents(prompt) for prompt in prompts)
    assert first[:-1] == second[:-1]
    assert [role for role, _ in first] == list("uauau")
    assert first[0][1].startswith("Patient p")
    assert first[1][1].startswith("advice ")
    assert prompts == FewShot(ZERO, POOL[::-1], shots=2, seed=1).prompts(asked)
    drawn = {tuple(contents(FewShot(ZERO, POOL, shots=2, seed=s).prompts(asked)[0])) for s in range(8)}
    assert len(drawn) > 2


def test_appending_rows_moves_few_shots():
    """One more row replaces at most one shot."""
    for seed in range(10):
        before = contents(FewShot(ZERO, POOL, shots=3, seed=seed).prompts([sample("a", "x")])[0])
        more = [*POOL, sample("new", "toothache", reference="dentist")]
        after = contents(FewShot(ZERO, more, shots=3, seed=seed).prompts([sample("a", "x")])[0])
        assert len(set(before) & set(after)) >= len(before) - 2


def test_a_sample_is_never_its_own_example():
    """A sample of the very split gets others as shots and as retrieved rows, as many as everybody."""
    for prompting in (FewShot(ZERO, POOL, shots=3, seed=1), Retrieval(ZERO, POOL, k=3, embedder=None)):
        for asked, prompt in zip(POOL, prompting.prompts(POOL), strict=True):
            assert len(prompt.messages) == 7
            assert all(asked.input not in message.content for message in prompt.messages[:-1])


def test_rows_without_reference_are_no_examples():
    """They are passed over; too few left is a UserError with the number there is."""
    pool = [*POOL[:2], sample("bare", "itchy itchy rash")]
    asked = [sample("a", "itchy rash")]
    assert all("bare" not in c for _, c in contents(Retrieval(ZERO, pool, k=3, embedder=None).prompts(asked)[0]))
    with pytest.raises(UserError, match="2 rows with a reference"):
        FewShot(ZERO, pool, shots=3, seed=0)
    with pytest.raises(UserError, match="references"):
        Retrieval(ZERO, pool[2:], k=1, embedder=None)


def test_retrieval_brings_the_nearest_last():
    """The nearest row stands right before the question; contexts hold the references, the nearest first."""
    [prompt] = Retrieval(ZERO, POOL, k=2, embedder=None).prompts([sample("a", "an itchy rash")])
    assert prompt.contexts == ("advice 0", "advice 4")
    assert contents(prompt) == [
        ("u", "Patient p4: itchy eyes"), ("a", "advice 4"),
        ("u", "Patient p0: itchy red rash on arm"), ("a", "advice 0"),
        ("u", "Patient a: an itchy rash"),
    ]  # fmt: skip


def test_retrieval_equals_the_long_way():
    """For each of 300 queries over 400 rows the k rows are those of a full sort of the cosines, ties by id."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    pool = [sample(f"p{i:03}", " ".join(rng.choice(words, 4)), reference=f"r{i:03}") for i in range(400)]
    asked = [sample(f"a{i}", " ".join(rng.choice(words, 4))) for i in range(300)]
    retrieval = Retrieval(ZERO, pool, k=5, embedder=None)
    cosines = retrieval._similarities([s.input for s in asked])
    assert cosines.max() <= 1 + 1e-9
    for row, prompt in zip(cosines, retrieval.prompts(asked), strict=True):
        best = sorted(range(400), key=lambda i: (-row[i], pool[i].id))[:5]
        assert prompt.contexts == tuple(pool[i].references[0] for i in best)


def test_an_encoder_can_do_the_looking_up():
    """With an embedder the neighbours are those of its vectors; it is opened only when prompts are made."""
    opened = []

    class Initials:
        key = "initials"

        def embed(self, texts):
            return np.array([[float(t[0] == c) for c in "icsdn"] for t in texts], dtype=np.float32)

    retrieval = Retrieval(ZERO, POOL, k=1, embedder=lambda: opened.append(1) or Initials())
    assert not opened
    assert retrieval.prompts([sample("a", "dizzy")])[0].contexts == ("advice 1",)
    assert retrieval.prompts([sample("a", "sore")])[0].contexts == ("advice 2",)
    assert opened == [1]


def test_k_beyond_the_pool_takes_all():
    """More neighbours than rows gives every row once."""
    [prompt] = Retrieval(ZERO, POOL, k=50, embedder=None).prompts([sample("a", "itchy")])
    assert len(prompt.contexts) == len(POOL)
