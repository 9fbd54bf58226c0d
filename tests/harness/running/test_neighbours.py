"""The training rows near a candidate's worst samples."""

from harness.records import Failure, Judgement, Metric, Sample
from harness.running.neighbours import NEAREST, WORST, near_the_worst, nearest_rows, worst_samples


def sample(name, text, row=1):
    """A sample with an answer."""
    return Sample(id=name, split="train", input=text, references=(f"answer to {name}",), row=row)


def judgement(name, metric, score, candidate="lora"):
    """A judgement; None is a score that is missing."""
    error = None if score is not None else Failure(kind="timeout", message="late")
    return Judgement(id=name, metric=metric, score=score, error=error, candidate=candidate)


def test_the_worst_are_low_where_high_is_good_and_high_where_low_is(tmp_path):
    """Five of each metric, the worst first, each sample once; what has no score and other candidates do not count."""
    good = [judgement(f"s{i}", "good", i / 10) for i in range(8)] + [judgement("none", "good", None)]
    bad = [judgement(f"s{i}", "bad", i / 10) for i in range(8)]
    other = [judgement("elsewhere", "good", 0.0, candidate="base")]
    metrics = [Metric(name="good"), Metric(name="bad", direction="lower")]
    found = worst_samples([*good, *bad, *other], metrics, "lora")
    assert found == ["s0", "s1", "s2", "s3", "s4", "s7", "s6", "s5"]
    assert WORST == 5


def test_nearest_are_those_that_share_words():
    """The same text has similarity 1, rows that share no word are left out, and at most three are named."""
    training = [
        sample(f"t{i}", text, row=i) for i, text in enumerate(["red cat", "blue dog", "red red dog", "cat red", "fish"])
    ]
    found = nearest_rows([sample("x", "red cat"), sample("y", "bird")], training)
    assert [row["row"] for row in found["x"]] == [0, 3, 2]
    assert found["x"][0] == {
        "row": 0, "split": "train", "similarity": 1.0, "input": "red cat", "reference": "answer to t0"
    }  # fmt: skip
    similarities = [row["similarity"] for row in found["x"]]
    assert similarities == sorted(similarities, reverse=True)
    assert len(found["x"]) == NEAREST
    assert found["y"] == []
    assert nearest_rows([sample("x", "red")], []) == nearest_rows([], training) == {}
    assert nearest_rows([sample("x", "red")], [sample("t", "…")]) == {}


def test_each_candidate_is_held_against_its_own_rows():
    """Two candidates that learnt from other rows have other neighbours for the same sample."""
    judgements = [judgement("x", "good", 0.1), judgement("x", "good", 0.2, candidate="spoilt")]
    trained = {"lora": [sample("a", "red cat", row=7)], "spoilt": [sample("b", "cat red", row=9)]}
    found = near_the_worst(judgements, [Metric(name="good")], [sample("x", "red cat")], trained)
    assert {name: near["x"][0]["row"] for name, near in found.items()} == {"lora": 7, "spoilt": 9}
