"""Who is preferred to whom: the games of a pairwise judge as duels, Bradley-Terry strengths and the position-bias rate.

A game is one pair of answers to one sample, judged in both orders. Of two candidates that were each other's opponent it is
counted once. Games about samples of one cluster (else about one sample) are one unit of all intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import stats
from harness.records import Answer, Judgement, Metric, Preference, Run, Sample

if TYPE_CHECKING:
    from harness.store import Store

ELO = 400 / np.log(10)
"""Elo points of one natural log-odd: 400 points are odds of ten to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """One candidate against another."""

    wins: int
    ties: int
    """Verdicts of a tie, and identical answers."""
    inconsistent: int
    """Each order preferred another answer; half a point, as a tie."""
    losses: int

    @property
    def games(self) -> int:
        return self.wins + self.ties + self.inconsistent + self.losses

    @property
    def share(self) -> float:
        """Points a game, ties as half."""
        return (self.wins + (self.ties + self.inconsistent) / 2) / self.games

    @property
    def turned(self) -> Duel:
        """The same games from the other side."""
        return Duel(wins=self.losses, ties=self.ties, inconsistent=self.inconsistent, losses=self.wins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One candidate's place: its strength in Elo points and its duels with all others together."""

    candidate: str
    elo: float | None
    """Against the reference, whose own is 0; None where no chain of games connects them."""
    low: float | None
    """Ends of the two-sided interval; None for the reference and where there are too few samples for one."""
    high: float | None
    ranks: tuple[int, int] | None
    total: Duel | None
    """None where it has no game."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a pairwise judge found on one split."""

    metric: str
    split: str
    reference: str
    standings: tuple[Standing, ...]
    """The strongest first; those without a strength last."""
    duels: Mapping[tuple[str, str], Duel]
    """By candidate and opponent, each pair from both sides."""
    asked: int
    """Games that the judge was asked about; identical answers are a tie without a question."""
    followed_first: int
    """Inconsistent games in which both orders preferred the answer shown first."""
    followed_second: int
    bias: stats.Interval | None
    """Share of the asked games in which the verdict followed the position; None where nothing was asked."""
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """Pairs of answers of which one is preferred, and what was left out."""

    preferences: tuple[Preference, ...]
    undecided: int
    """Ties, and games whose two orders disagree."""
    unfit: int
    """Pairs decided, but with an empty answer or the same one twice."""


@dataclass(frozen=True, slots=True)
class _Game:
    """One game from the side of its first candidate."""

    verdict: str
    score: float
    follows: str | None


def run_preferences(store: Store, run: Run, confidence: float = 0.95) -> list[Preferences]:
    """The preferences of every pairwise judge of a run, on every split that has games."""
    metrics = [metric.name for metric in run.metrics if _suite(run, "judges", metric.name, "kind") == "pairwise"]
    if not metrics:
        return []
    samples = store.samples(run.id)
    found = []
    for metric in metrics:
        judgements = store.judgements(run.id, metric=metric)
        for split in dict.fromkeys(sample.split for sample in samples):
            here = [sample for sample in samples if sample.split == split]
            found.append(
                preferences(metric, split, judgements, here, list(run.candidates), _reference(run, metric), confidence)
            )
    return [one for one in found if one.duels]


def preferences(
    metric: str,
    split: str,
    judgements: Iterable[Judgement],
    samples: Sequence[Sample],
    candidates: Sequence[str],
    reference: str,
    confidence: float = 0.95,
) -> Preferences:
    """Counts the games about `samples` and estimates strengths against `reference`.

    Judgements without a score have no games; so the strengths rest on the pairs that were judged in both orders.
    """
    games = _games(judgements, {sample.id for sample in samples}, candidates)
    units, clustered = _units(samples)
    duels = _duels(games)
    asked = {key: game for key, game in games.items() if game.verdict != "identical"}
    follows = Counter(game.follows for game in asked.values())
    return Preferences(
        metric=metric,
        split=split,
        reference=reference,
        standings=_standings(games, duels, units, candidates, reference, confidence, clustered=clustered),
        duels=duels,
        asked=len(asked),
        followed_first=follows["first"],
        followed_second=follows["second"],
        bias=_bias(asked, units, confidence) if asked else None,
        confidence=confidence,
    )


def preferred(
    metric: Metric,
    judgements: Iterable[Judgement],
    samples: Sequence[Sample],
    answers: Iterable[Answer],
    candidates: Sequence[str],
    *,
    margin: float = 0.0,
) -> Preferred:
    """What a metric's judgements prefer, as pairs of answers to train on: in the order of samples and candidates.

    Of a pairwise judge, the games that both orders decided alike. Of any other metric, pairs of answers to one sample whose
    scores differ by more than `margin`, the better one by the metric's direction first.
    """
    texts = {(a.sample_id, a.candidate): (a.completion.text or "").strip() for a in answers}
    told = list(judgements)
    verdicts = {key: game.verdict for key, game in _games(told, {s.id for s in samples}, candidates).items()}
    if not verdicts:
        verdicts = _by_score(metric, told, candidates, margin)
    found, undecided, equal = [], 0, 0
    for sample in samples:
        for first, second in combinations(candidates, 2):
            verdict = verdicts.get((sample.id, first, second))
            pair = texts.get((sample.id, first), ""), texts.get((sample.id, second), "")
            if verdict is None:
                continue
            if verdict not in ("win", "loss"):
                undecided += 1
            elif not all(pair) or pair[0] == pair[1]:
                equal += 1
            else:
                chosen, rejected = pair if verdict == "win" else pair[::-1]
                found.append(Preference(sample=sample, chosen=chosen, rejected=rejected))
    return Preferred(preferences=tuple(found), undecided=undecided, unfit=equal)


def _by_score(
    metric: Metric, judgements: Iterable[Judgement], candidates: Sequence[str], margin: float
) -> dict[tuple[str, str, str], str]:
    """The verdict on every pair of answers to one sample that both have a score."""
    scores = {(j.id, j.candidate): j.score for j in judgements if j.score is not None}
    found = {}
    for sample in dict.fromkeys(sample for sample, _ in scores):
        for first, second in combinations(candidates, 2):
            ours, theirs = scores.get((sample, first)), scores.get((sample, second))
            if ours is not None and theirs is not None:
                better = ours - theirs if metric.direction == "higher" else theirs - ours
                found[sample, first, second] = "win" if better > margin else "loss" if -better > margin else "tie"
    return found


def _games(
    judgements: Iterable[Judgement], samples: set[str], candidates: Sequence[str]
) -> dict[tuple[str, str, str], _Game]:
    """By sample and pair, in the order of the candidates; one that both sides tell is taken from the first."""
    told: dict[tuple[str, str, str], _Game] = {}
    for judgement in judgements:
        if judgement.score is None or judgement.id not in samples:
            continue
        opponents, games = judgement.evidence.get("opponents", ()), judgement.evidence.get("games", ())
        for opponent, game in zip(opponents, games, strict=False):
            told[judgement.id, judgement.candidate, opponent] = _Game(game["verdict"], game["score"], game["follows"])
    found = {}
    for sample in dict.fromkeys(sample for sample, _, _ in told):
        for first, second in combinations(candidates, 2):
            game = told.get((sample, first, second)) or _turned(told.get((sample, second, first)))
            if game is not None:
                found[sample, first, second] = game
    return found


def _turned(game: _Game | None) -> _Game | None:
    if game is None:
        return None
    return _Game({"win": "loss", "loss": "win"}.get(game.verdict, game.verdict), 1 - game.score, game.follows)


def _duels(games: Mapping[tuple[str, str, str], _Game]) -> dict[tuple[str, str], Duel]:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for (_, first, second), game in games.items():
        counts.setdefault((first, second), Counter())[game.verdict] += 1
    found = {}
    for (first, second), count in counts.items():
        duel = Duel(
            wins=count["win"], ties=count["tie"] + count["identical"], inconsistent=count["inconsistent"],
            losses=count["loss"],
        )  # fmt: skip
        found[first, second], found[second, first] = duel, duel.turned
    return found


def _units(samples: Sequence[Sample]) -> tuple[dict[str, int], bool]:
    """A code for each sample, equal within a cluster; and whether any two samples share one."""
    names = {
        sample.id: (True, sample.cluster) if sample.cluster is not None else (False, sample.id) for sample in samples
    }
    codes = {name: code for code, name in enumerate(dict.fromkeys(names.values()))}
    return {sample: codes[name] for sample, name in names.items()}, len(codes) < len(names)


def _bias(asked: Mapping[tuple[str, str, str], _Game], units: Mapping[str, int], confidence: float) -> stats.Interval:
    followed = np.array([float(game.follows is not None) for game in asked.values()])
    codes = np.array([units[sample] for sample, _, _ in asked])
    clusters = codes if len(set(codes.tolist())) < len(codes) else None
    return stats.bounded_mean(followed, confidence, low=0.0, high=1.0, clusters=clusters)


def _standings(
    games: Mapping[tuple[str, str, str], _Game],
    duels: Mapping[tuple[str, str], Duel],
    units: Mapping[str, int],
    candidates: Sequence[str],
    reference: str,
    confidence: float,
    *,
    clustered: bool,
) -> tuple[Standing, ...]:
    number = {name: index for index, name in enumerate(candidates)}
    strengths = stats.bradley_terry(
        np.array([number[first] for _, first, _ in games], dtype=np.int64),
        np.array([number[second] for _, _, second in games], dtype=np.int64),
        np.array([game.score for game in games.values()], dtype=np.float64),
        np.array([units[sample] for sample, _, _ in games], dtype=np.int64),
        players=len(candidates), reference=number[reference], confidence=confidence, clustered=clustered,
    )  # fmt: skip
    found = [
        Standing(
            candidate=name,
            elo=None if strength is None else strength.estimate * ELO,
            low=None if strength is None or strength.low is None else strength.low * ELO,
            high=None if strength is None or strength.high is None else strength.high * ELO,
            ranks=None if strength is None else strength.ranks,
            total=_total(duel for (ours, _), duel in duels.items() if ours == name),
        )
        for name, strength in zip(candidates, strengths, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: float("inf") if one.elo is None else -one.elo))


def _total(duels: Iterator[Duel]) -> Duel | None:
    found = list(duels)
    if not found:
        return None
    return Duel(
        wins=sum(duel.wins for duel in found), ties=sum(duel.ties for duel in found),
        inconsistent=sum(duel.inconsistent for duel in found), losses=sum(duel.losses for duel in found),
    )  # fmt: skip


def _reference(run: Run, metric: str) -> str:
    """The gate's baseline, else the judge's one opponent, else the first candidate."""
    named = (_suite(run, "gate", "baseline"), _suite(run, "judges", metric, "against"))
    return next((str(name) for name in named if name in run.candidates), next(iter(run.candidates)))


def _suite(run: Run, *path: str) -> Any:
    """A part of the resolved suite in the run's record, or None."""
    value: Any = run.record.get("suite")
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
