"""What the exact G-Eval score costs beside the mean of 20 draws, on the same local model and the same forms.

Forms about conditions that `embedded:geval` was not trained on, with grades by construction (suites/clinic). Printed for each:
CPU seconds, tokens that went through the model, and Spearman's rank correlation with the grades; then the ratios.
Draws are made by two engines: muster's own decode loop, and transformers' `generate` with 20 sequences a form.

    python -m tests.benchmarks.geval_exact --forms 48
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from harness.models.load import ModelRoom
from harness.models.local import LocalChoiceScorer, LocalGenerator
from harness.models.rendering import decode, prompt_tokens
from harness.records import GenerationSettings, Message, Prompt
from harness.suite.grammar import TransformersModel
from judges.graders import ExactGrader
from judges.grades import read_score
from suites.clinic.corpus import unseen_patients
from suites.clinic.knowledge import CONDITIONS
from suites.clinic.train_geval import HELD_OUT, HIGH, LOW, Item, build_items

SCALE = (LOW, HIGH)
DRAWS = 20
DRAW_TOKENS = 4
"""Room for a digit and the end of turn: what a judge who samples would allow at the least."""
SPEC = TransformersModel(kind="transformers", path="embedded:clinic-base", adapter="embedded:geval")


@dataclass(frozen=True)
class Measured:
    """One way to grade all forms."""

    name: str
    seconds: float
    """Of this process on the CPU: other work on the machine does not count."""
    tokens: int
    scores: list[float | None]

    def correlation(self, items: Sequence[Item]) -> float:
        """Spearman's, with the grades by construction; a form without a readable draw counts as the middle of the scale."""
        scores = [sum(SCALE) / 2 if score is None else score for score in self.scores]
        return float(spearmanr(scores, [item.grade for item in items]).statistic)


def measure(forms: int, seed: int = 2) -> tuple[list[Item], list[Measured]]:
    """Grades so many held-out forms exactly, and by draws of both engines."""
    order = list(CONDITIONS)
    Random(3).shuffle(order)
    items = build_items(forms, order[:HELD_OUT], unseen_patients(), seed=seed)
    room = ModelRoom(Path())
    scorer = room.choice_scorer(SPEC).load()
    generator = room.generator(SPEC).load()
    assert isinstance(scorer, LocalChoiceScorer)
    assert isinstance(generator, LocalGenerator)
    texts = [item.form for item in items]
    ways = [
        ("exact", lambda: exact(scorer, texts)),
        ("20 draws, muster", lambda: draws(generator, texts)),
        ("20 draws, transformers", lambda: transformers_draws(generator, texts)),
    ]
    counter = TokenCounter(generator.model.model.model)
    exact(scorer, texts[:2])  # loads, and warms up
    return items, [counter.timed(name, way) for name, way in ways]


def exact(scorer: LocalChoiceScorer, forms: Sequence[str]) -> list[float | None]:
    """Raw grades by teacher forcing."""
    grades = ExactGrader(scorer, SCALE).grade(forms)
    return [grade[0] if isinstance(grade, tuple) else None for grade in grades]


def draws(generator: LocalGenerator, forms: Sequence[str]) -> list[float | None]:
    """Means of 20 draws a form at temperature 1, all forms in one call; the draws of a form differ by seed."""
    replies: list[list[str]] = [[] for _ in forms]
    prompts = [Prompt(sample_id=str(i), messages=turns(form)) for i, form in enumerate(forms)]
    for draw in range(DRAWS):
        settings = GenerationSettings(max_new_tokens=DRAW_TOKENS, temperature=1.0, seed=draw)
        for batch in generator.generate(prompts, settings):
            for index, completion in batch:
                replies[index].append(completion.text or "")
    return [mean_of(row) for row in replies]


def transformers_draws(generator: LocalGenerator, forms: Sequence[str]) -> list[float | None]:
    """The same by `generate(num_return_sequences=20)`, one form at a time: what a plain script does."""
    local = generator.model
    torch.manual_seed(0)
    found = []
    with local.using(generator.adapter) as model:
        for form in forms:
            ids = torch.tensor([prompt_tokens(local.tokenizer, turns(form))])
            with torch.inference_mode():
                out = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0,
                    num_return_sequences=DRAWS, max_new_tokens=DRAW_TOKENS, eos_token_id=list(local.stop_ids),
                    pad_token_id=0,
                )  # fmt: skip
            found.append(mean_of([decode(local.tokenizer, row[ids.shape[1] :].tolist()) for row in out]))
    return found


def turns(form: str) -> tuple[Message, ...]:
    """The form as a conversation."""
    return (Message(role="user", content=form),)


def mean_of(replies: Sequence[str]) -> float | None:
    """Mean of the readable scores."""
    scores = [score for reply in replies if (score := read_score(reply, SCALE)) is not None]
    return float(np.mean(scores)) if scores else None


class TokenCounter:
    """Counts positions that pass through a model's layers, padding included."""

    def __init__(self, model: Any) -> None:
        self.count = 0
        model.register_forward_pre_hook(self._add, with_kwargs=True)

    def _add(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        self.count += ids.numel() if ids is not None else 0

    def timed(self, name: str, way: Callable[[], list[float | None]]) -> Measured:
        """Runs one way to the end."""
        self.count = 0
        start = time.process_time()
        scores = way()
        return Measured(name, time.process_time() - start, self.count, scores)


def main() -> None:
    """Prints the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forms", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    items, ways = measure(options.forms)
    print("| way | CPU seconds | tokens | Spearman |\n|---|---|---|---|")
    for way in ways:
        print(f"| {way.name} | {way.seconds:.2f} | {way.tokens:,} | {way.correlation(items):.3f} |")
    first = ways[0]
    for way in ways[1:]:
        print(f"{way.name}: {way.seconds / first.seconds:.1f} times the seconds, "
              f"{way.tokens / first.tokens:.1f} times the tokens of exact")  # fmt: skip


if __name__ == "__main__":
    main()
