"""A blessed baseline: what one candidate of one run scored, sample by sample, under which conditions, and who said so.

It is a small file for git, so that a fresh machine can compare with it without the old store. Nothing in it is taken on
trust: each part has a hash in its blessing, each blessing holds the hash of the one before it, and its own. An edit by hand
breaks the chain, and `edits` says where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from harness.records import Aggregate, Direction, Metric, Outcome, fingerprint

FORMAT: Final = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class JudgeRecord(_Part):
    """The judge behind a metric, and the metric's scale."""

    fingerprint: str
    direction: Direction
    low: float
    high: float | None
    """None where the scale has no upper end."""
    aggregate: Aggregate
    modes: dict[str, int] = {}
    """In which modes the scores were made, for judges that have several, and how many."""

    def metric(self, name: str) -> Metric:
        """The metric of this scale."""
        high = math.inf if self.high is None else self.high
        return Metric(name=name, direction=self.direction, low=self.low, high=high, aggregate=self.aggregate)


class SplitRecord(_Part):
    """One evaluated split. All lists are as long as `ids`, and in its order."""

    ids: list[str]
    samples: list[str]
    """A hash of each sample's content, 12 hex digits."""
    clusters: list[str | None] | None
    """None where no sample has one."""
    scores: dict[str, list[float | None]] = {}
    """By metric; exact, so that an equal candidate differs by nothing. None where there is no score."""
    evidence: dict[str, dict[str, list[Any]]] = {}
    """By metric that is no mean: what its figure is made of, by key."""

    @property
    def content(self) -> dict[str, str]:
        """Sample id to the hash of its content."""
        return dict(zip(self.ids, self.samples, strict=True))


class Measured(_Part):
    """What a candidate scored, and all that decides whether other scores may be compared with it."""

    suite: str
    suite_version: int
    prompts: str
    """SHA-256 of the suite's system message and prompt; what stands around them belongs to a candidate."""
    generation: str
    """SHA-256 of the suite's generation settings."""
    candidate: str
    candidate_key: str
    judges: dict[str, JudgeRecord]
    versions: dict[str, str]
    """Of muster, Python and packages, when it was measured."""
    splits: dict[str, SplitRecord]

    def parts(self) -> dict[str, str]:
        """Each part's SHA-256, by the name it has in messages."""
        found = {
            "suite": fingerprint([self.suite, self.suite_version]),
            "prompts": self.prompts,
            "generation": self.generation,
            "candidate": fingerprint([self.candidate, self.candidate_key]),
            "versions": fingerprint(self.versions),
        }
        for name, judge in self.judges.items():
            found[f"judge {name}"] = fingerprint(judge.model_dump(exclude={"modes"}))
            found[f"modes of {name}"] = fingerprint(judge.modes)
        for name, split in self.splits.items():
            found[f"samples of {name}"] = fingerprint(sorted(split.content.items()))
            found[f"clusters of {name}"] = fingerprint([split.ids, split.clusters])
            for metric, scores in split.scores.items():
                found[f"{metric} on {name}"] = fingerprint([split.ids, scores, split.evidence.get(metric)])
        return found


class Blessing(_Part):
    """One act of blessing: who, why, when, what, and a link to the blessing before it."""

    at: str
    """ISO 8601, UTC."""
    by: str
    why: str
    run: str
    run_key: str
    candidate: str
    suite_sha: str
    verdict: Outcome | None
    """What the run's gate said of the candidate; None where it said nothing."""
    forced: bool
    """Whether it was blessed although its verdict was no pass."""
    figures: dict[str, dict[str, float | None]]
    """Split and metric to the candidate's figure."""
    parts: dict[str, str]
    """The hashes of everything that was blessed (`Measured.parts`)."""
    previous: str | None
    """`sha` of the blessing before it; None for the first."""
    sha: str
    """SHA-256 of all of the above, and of the baseline's name."""

    def computed_sha(self, name: str) -> str:
        """What `sha` must be in the baseline of this name."""
        return fingerprint([name, self.model_dump(exclude={"sha"})])


class Baseline(Measured):
    """A baseline under its name, with every blessing it ever had, the newest first."""

    muster_baseline: Literal[1]
    """The format of the file."""
    name: str
    blessings: list[Blessing]

    @property
    def blessing(self) -> Blessing:
        """The newest, which is about what is in the file."""
        return self.blessings[0]

    def edits(self) -> list[str]:
        """What was changed since it was blessed, a line each; none where all is as it was written."""
        found = changes(self.blessing.parts, self.parts())
        links: list[str | None] = [*(one.sha for one in self.blessings[1:]), None]
        for number, (one, previous) in enumerate(zip(self.blessings, links, strict=True)):
            if one.sha != one.computed_sha(self.name):
                found.append(
                    f"blessings[{number}] (of {one.run}:{one.candidate}, by {one.by}) is not as it was written"
                )
            if one.previous != previous:
                found.append(f"blessings[{number}].previous does not name the blessing before it")
        return found


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts whose hashes differ, a line each, with the old and the new short hash."""
    return [
        f"{part}: {short(then.get(part))} then, {short(now.get(part))} now"
        for part in dict.fromkeys((*then, *now))
        if then.get(part) != now.get(part)
    ]


def short(sha: str | None) -> str:
    """The first digits of a hash, enough to tell two apart."""
    return "nothing" if sha is None else sha[:8]
