"""Recorded G-Eval samples, replayed by a local server through `muster score geval`; shared by a test and a benchmark.

Topical-Chat (Mehri & Eskenazi 2020) judged by gpt-3.5-turbo at temperature 1, 20 samples an item, recorded by Chiang & Lee 2023
("A Closer Look into Automatic Evaluation Using Large Language Models"). The data stands beside the project, never in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from harness.cli.score import score
from tests.harness.models.fake_endpoint import FakeEndpoint, Step, reply, status

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "geval"
RECORDED = DATA / "topical_chat_gpt35_geval_recorded_a.jsonl"
RATED = DATA / "topical_chat_human_a.jsonl"
SCALES = {"naturalness": (1, 3), "coherence": (1, 3), "engagingness": (1, 3), "groundedness": (0, 1)}
PUBLISHED = {
    "mean of 20": {"naturalness": 0.393, "coherence": 0.468, "engagingness": 0.549, "groundedness": 0.311},
    "one sample": {"naturalness": 0.258, "coherence": 0.317, "engagingness": 0.374, "groundedness": 0.215},
    "majority": {"naturalness": 0.243, "coherence": 0.347, "engagingness": 0.404, "groundedness": 0.305},
}
"""Pearson's r with the human ratings on the full set, of which the recorded file is half."""
CRITERIA = {
    "naturalness": "The response reads like something that a person would naturally say.",
    "coherence": "The response continues the conversation and fits what was said before.",
    "engagingness": "The response is interesting and draws the other into the conversation.",
    "groundedness": "The response makes use of the fact given in the context.",
}


@dataclass(frozen=True)
class Item:
    """One response with its human rating and the recorded replies of the judge."""

    number: int
    human: float
    samples: tuple[str, ...]
    line: dict[str, Any]
    """As `muster score` reads it; the input carries a mark by which the server knows the item."""


def load_items(aspect: str) -> list[Item]:
    """The items of an aspect whose samples were recorded with evaluation steps in the prompt."""
    with RATED.open(encoding="utf-8") as file:
        rated = {row["item_id"]: row for row in map(json.loads, file)}
    items = []
    with RECORDED.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if (row["aspect"], row["mode"]) == (aspect, "geval"):
                said = rated[row["item_id"]]
                line = {
                    "id": row["item_id"], "input": f"[item {row['item_id']}] {said['source']}",
                    "context": said["context"], "answer": said["output"],
                }  # fmt: skip
                items.append(Item(row["item_id"], row["human"], tuple(row["samples"]), line))
    return items


class Replay:
    """What the server says: an item's recorded samples, two steps to whoever asks for some, and no logprobs."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = {item.number: item for item in items}
        self.refused = self.steps_written = 0

    def __call__(self, request: dict[str, Any]) -> Step:
        """The step for one request."""
        if request.get("logprobs"):
            self.refused += 1
            return status(403, "You are not allowed to request logprobs from this model")
        mark = re.search(r"\[item (\d+)\]", request["messages"][-1]["content"])
        if mark is None:
            self.steps_written += 1
            return reply("1. Read the conversation.\n2. Rate the response.")
        return reply(*self.items[int(mark[1])].samples[: request.get("n", 1)])


def replay(
    folder: Path, aspect: str, items: Sequence[Item], *, samples: Sequence[int] = (20,)
) -> tuple[list[list[dict[str, Any]]], Replay]:
    """For each number of samples the lines that `muster score geval` writes about the items, and the server's account."""
    source = folder / f"{aspect}.jsonl"
    source.write_text("".join(json.dumps(item.line) + "\n" for item in items), encoding="utf-8")
    low, high = SCALES[aspect]
    server = Replay(items)
    found = []
    with FakeEndpoint(default=server) as endpoint:
        for count in samples:
            options = [
                f"criteria={CRITERIA[aspect]}", f"scale={low},{high}", f"samples={count}", "model.kind=openai",
                "model.name=recorded", f"model.base_url={endpoint.url}",
            ]  # fmt: skip
            out = folder / f"{aspect}-{count}.jsonl"
            with suppress(typer.Exit):
                score("geval", input=source, output=out, set=options, home=folder / "home")
            found.append([json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()])
    return found, server


def estimators(human: Any, read: Sequence[Sequence[float]]) -> dict[str, float]:
    """Pearson's r with the human ratings of three ways to make a score of an item's readable samples.

    "one sample" is the mean of r over the first, the second … sample; of equally frequent scores the majority is the lower.
    """
    import numpy as np

    def r(scores: Sequence[float]) -> float:
        return float(np.corrcoef(scores, human)[0, 1])

    fewest = min(len(row) for row in read)
    return {
        "mean of 20": r([float(np.mean(row)) for row in read]),
        "one sample": float(np.mean([r([row[draw] for row in read]) for draw in range(fewest)])),
        "majority": r([max(sorted(set(row)), key=row.count) for row in read]),
    }
