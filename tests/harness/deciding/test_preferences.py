"""Preferences: games are counted once, strengths have their closed form, and the judge's bias is a rate with an interval."""

import io

import numpy as np
import pytest
from rich.console import Console

from harness.deciding.preferences import ELO, Duel, preferences, preferred
from harness.deciding.surfaces import duel_sentence, preference_tables
from harness.records import Answer, Completion, Failure, Judgement, Metric, Sample
from harness.stats import wilson

FOLLOWS = {"inconsistent": "first"}
SCORES = {"win": 1.0, "loss": 0.0}
TURNED = {"win": "loss", "loss": "win"}


def samples(count, *, split="test", cluster=None):
    """Samples of one split; `cluster` puts so many into each cluster."""
    return [
        Sample(id=f"s{i}", split=split, input="q", cluster=f"c{i // cluster}" if cluster else None)
        for i in range(count)
    ]


def judged(sample, candidate, **verdicts):
    """A judgement of a candidate with a verdict for each opponent."""
    games = [
        {"verdict": v, "score": SCORES.get(v, 0.5), "probability": 0.5, "follows": FOLLOWS.get(v)}
        for v in verdicts.values()
    ]
    score = sum(game["score"] for game in games) / len(games)
    evidence = {"mode": "sampled", "games": games, "opponents": list(verdicts)}
    return Judgement(id=sample.id, metric="p", score=score, candidate=candidate, evidence=evidence)


def found(judgements, rows, *candidates, reference="base"):
    """The preferences on the samples."""
    return preferences("p", "test", judgements, rows, candidates or ("base", "lora"), reference)


def duel_of(verdicts):
    """Preferences of lora against base, a sample a verdict, the baseline's own identical games included."""
    rows = samples(len(verdicts))
    judgements = [judged(s, "lora", base=v) for s, v in zip(rows, verdicts, strict=True)]
    judgements += [judged(s, "base", base="identical") for s in rows]
    return found(judgements, rows)


def test_two_candidates_in_closed_form():
    """12 wins, 3 ties, 2 inconsistent, 5 losses: the strength is 400 log10((14.5 + 1/2) / (7.5 + 1/2)) Elo points."""
    verdicts = ["win"] * 12 + ["tie"] * 3 + ["inconsistent"] * 2 + ["loss"] * 5
    one = duel_of(verdicts)
    assert one.duels["lora", "base"] == Duel(wins=12, ties=3, inconsistent=2, losses=5)
    assert one.duels["base", "lora"] == Duel(wins=5, ties=3, inconsistent=2, losses=12)
    assert one.duels["lora", "base"].share == pytest.approx(14.5 / 22)
    lora, base = one.standings
    assert lora.elo == pytest.approx(400 * np.log10(15 / 8), abs=1e-6)
    assert (base.candidate, base.elo, base.low) == ("base", 0.0, None)


def test_a_judge_that_follows_the_position_has_a_bias_of_one():
    """Forty inconsistent verdicts: rate 1 with a lower bound, no points for anybody, strengths not told apart."""
    one = duel_of(["inconsistent"] * 40)
    assert (one.asked, one.followed_first, one.followed_second) == (40, 40, 0)
    assert (one.bias.estimate, one.bias.high) == (1.0, 1.0)
    assert 0.9 < one.bias.low < 1
    assert [s.ranks for s in one.standings] == [(1, 2), (1, 2)]
    assert all(abs(s.elo) < 1e-6 for s in one.standings)


def test_identical_answers_are_no_evidence_of_consistency():
    """Of 30 asked pairs 6 followed the position; 70 identical pairs leave the rate at 0.2, with Wilson's interval for 30."""
    one = duel_of(["identical"] * 70 + ["inconsistent"] * 6 + ["win"] * 24)
    assert one.asked == 30
    assert one.bias.estimate == pytest.approx(0.2)
    assert (one.bias.low, one.bias.high) == pytest.approx(wilson(6, 30, 0.95))
    assert one.duels["lora", "base"].ties == 70


def test_a_game_that_both_sides_tell_is_counted_once():
    """In a round robin every pair is judged from both sides; win of one is loss of the other, and both are one game."""
    rows = samples(20)
    judgements = []
    for sample in rows:
        judgements.append(judged(sample, "a", b="win", c="inconsistent"))
        judgements.append(judged(sample, "b", a="loss", c="tie"))
        judgements.append(judged(sample, "c", a="inconsistent", b="tie"))
    one = found(judgements, rows, "a", "b", "c", reference="a")
    assert one.duels["a", "b"] == Duel(wins=20, ties=0, inconsistent=0, losses=0)
    assert one.duels["b", "a"] == Duel(wins=0, ties=0, inconsistent=0, losses=20)
    assert one.duels["c", "b"].ties == 20
    assert (one.asked, one.followed_first) == (60, 20)
    assert one.standings[0].total == Duel(wins=20, ties=0, inconsistent=20, losses=0)


def test_one_side_is_enough():
    """Where one side's judgement failed, the game is the other side's, turned round."""
    rows = samples(12)
    failed = Failure(kind="judge_unreachable", message="no route")
    judgements = [Judgement(id=s.id, metric="p", score=None, error=failed, candidate="base") for s in rows]
    judgements += [judged(s, "lora", base="win") for s in rows]
    assert found(judgements, rows).duels["base", "lora"] == Duel(wins=0, ties=0, inconsistent=0, losses=12)


def test_only_the_split_counts():
    """Judgements about other samples are left out; a split without games has no duel and no bias."""
    rows = samples(10)
    others = [judged(Sample(id="x", split="other", input="q"), "lora", base="win")]
    one = found(others, rows)
    assert (dict(one.duels), one.bias, one.asked) == ({}, None, 0)
    assert [s.elo for s in one.standings] == [0.0, None]
    assert [s.total for s in one.standings] == [None, None]


def test_clusters_are_the_units():
    """Forty samples in eight clusters that agree within: the intervals are those of eight units, and wider."""
    verdicts = ["win" if (i // 5) % 2 else "loss" for i in range(40)]
    apart, together = (
        found([judged(s, "lora", base=v) for s, v in zip(rows, verdicts, strict=True)], rows).standings
        for rows in (samples(40), samples(40, cluster=5))
    )
    widths = [next(s.high - s.low for s in standings if s.candidate == "lora") for standings in (apart, together)]
    assert widths[1] > 2 * widths[0]


def test_a_star_compares_through_the_reference():
    """Two candidates that met only the baseline are compared through it: their difference is the difference of log-odds."""
    rows = samples(300)
    judgements = [judged(s, "a", base="win" if i % 4 else "loss") for i, s in enumerate(rows)]
    judgements += [judged(s, "b", base="win" if i % 3 else "loss") for i, s in enumerate(rows)]
    one = found(judgements, rows, "base", "a", "b")
    assert [s.candidate for s in one.standings] == ["a", "b", "base"]
    first, second, _ = one.standings
    assert (first.elo - second.elo) / ELO == pytest.approx(np.log(3) - np.log(2), abs=0.01)
    assert ("a", "b") not in one.duels


def shown(one):
    """What the terminal shows, on a wide one."""
    console = Console(file=io.StringIO(), width=140, no_color=True)
    console.print(preference_tables([one]))
    return console.file.getvalue()


def test_the_terminal_tells_strength_rank_games_and_bias():
    """Each figure of the record stands in the table or the sentence below it."""
    printed = shown(duel_of(["win"] * 30 + ["inconsistent"] * 10 + ["loss"] * 5))
    lora = next(line for line in printed.splitlines() if line.startswith("lora"))
    assert "30/10/5" in lora
    assert f"+{400 * np.log10(35.5 / 10.5):.0f} (" in lora
    assert "0.778" in lora
    assert "base is 0" in printed
    assert "in 22.2 % (12.5 % to 36.3 %) of 45 pairs, 10 times the first answer, 0 times the second" in printed.replace(
        "\n", " "
    )


def test_names_cannot_drive_the_terminal():
    """A candidate's name is data."""
    rows = samples(12)
    one = found([judged(s, "evil\x1b[2J", base="win") for s in rows], rows, "base", "evil\x1b[2J")
    assert "\x1b[2J" not in shown(one)
    assert "\x1b" not in duel_sentence(one.duels["evil\x1b[2J", "base"], "evil\x1b[2J", "base")


def test_a_duel_in_a_sentence():
    """Wins, losses, ties and the points."""
    sentence = duel_sentence(Duel(wins=6, ties=1, inconsistent=2, losses=1), "lora", "base")
    assert sentence == (
        "lora is preferred to base in 6 of 10 pairs, base in 1, 3 ties (2 of them inconsistent): 0.750 of the points"
    )


def answered(**texts):
    """Answers of candidates to sample s0."""
    return [
        Answer(key=name, candidate=name, sample_id="s0", prompt_sha="", completion=Completion(text=text))
        for name, text in texts.items()
    ]


def scored(**scores):
    """Judgements of candidates' answers to sample s0 by the metric m; None is a failure."""
    return [
        Judgement(
            id="s0", metric="m", candidate=name, score=score,
            error=None if score is not None else Failure(kind="judge_failed", message="no"),
        )
        for name, score in scores.items()
    ]  # fmt: skip


def told(one):
    """Chosen and rejected texts."""
    return [(preference.chosen, preference.rejected) for preference in one.preferences]


def test_games_that_both_orders_decide_are_preferences():
    """A win and a loss are pairs, whoever tells them, once; ties, orders that disagree and equal texts are none."""
    judgements = [
        judged(samples(1)[0], "a", b="win", c="inconsistent"),
        judged(samples(1)[0], "b", a="loss", c="loss"),
    ]
    answers = answered(a="good", b="bad", c="best")
    one = preferred(Metric(name="m"), judgements, samples(1), answers, ["a", "b", "c"])
    assert told(one) == [("good", "bad"), ("best", "bad")]
    assert (one.undecided, one.unfit) == (1, 0)
    same = preferred(Metric(name="m"), judgements, samples(1), answered(a="good", b="good ", c=""), ["a", "b", "c"])
    assert told(same) == []
    assert (same.undecided, same.unfit) == (1, 2)


@pytest.mark.parametrize(("direction", "first"), [("higher", "high"), ("lower", "low")])
def test_scores_that_differ_by_more_than_the_margin_are_preferences(direction, first):
    """The better end of the scale is chosen; a difference of the margin itself, and a missing score, decide nothing."""
    metric = Metric(name="m", direction=direction)
    answers = answered(low="low", high="high", near="near", none="none")
    judgements = scored(low=0.0, high=1.0, near=0.75, none=None)
    names = ["low", "high", "near", "none"]
    one = preferred(metric, judgements, samples(1), answers, names, margin=0.25)
    other = {"high": "low", "low": "high"}[first]
    near = ("near", "low") if first == "high" else ("low", "near")
    assert told(one) == [(first, other), near]
    assert one.undecided == 1
    assert len(preferred(metric, judgements, samples(1), answers, names).preferences) == 3
