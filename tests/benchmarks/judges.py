"""Measures an NLI checkpoint in muster against sentence-transformers' CrossEncoder and the transformers pipeline.

    python -m tests.benchmarks.judges [--model FOLDER] [--pairs 400] [--rounds 3]

The same model, the same pairs of mixed length, float32, one thread; each peer at its best batch size of `--batch-sizes`.
Probabilities must be equal to 1e-4, or it exits with 1. Without --model a classifier with the embedded encoder's weights and
a random head is made. CrossEncoder needs `pip install sentence-transformers`; it is left out, with a word, where absent.

Two workloads: all pairs different, and pairs as judges ask them (several sentences against few premises, some repeated),
where equal pairs are computed once. Figures are CPU seconds, so that a busy machine does not spoil the ratio.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.models.classifiers import load_pair_classifier
from harness.models.embedded import resolve
from tests.harness.models.tiny import WORDS

GOAL = 1.3
Pairs = Sequence[tuple[str, str]]


def make_model(folder: Path) -> Path:
    """A BERT classifier with the embedded encoder's weights and a random three-way head."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from harness.models.encoder import load_bert

    encoder = resolve("embedded:minilm")
    labels = dict(enumerate(("entailment", "neutral", "contradiction")))
    config = BertConfig.from_pretrained(encoder, num_labels=3, id2label=labels)
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    model.bert.load_state_dict(load_bert(encoder).state_dict(), strict=False)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


def mixed_pairs(count: int) -> list[tuple[str, str]]:
    """Different pairs; premises of 5 to 200 words, most of them short, hypotheses of 4 to 30."""
    rng = random.Random(0)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    return [(text(min(200, 5 + int(rng.expovariate(1 / 40)))), text(rng.randint(4, 30))) for _ in range(count)]


def judge_pairs(count: int) -> list[tuple[str, str]]:
    """What five candidates' answers make a judge ask: a fifth of the sentences is said by more than one of them."""
    rng = random.Random(1)
    pairs = mixed_pairs(count)
    return [pairs[rng.randrange(index)] if index and rng.random() < 0.2 else pair for index, pair in enumerate(pairs)]


def ours(folder: Path) -> Callable[[Pairs], NDArray[np.float64]]:
    """muster's own way, as judges use it."""
    classifier = load_pair_classifier(str(folder), Path(), anywhere=True)
    classifier.probabilities([("a", "b")])
    return lambda pairs: np.array(classifier.probabilities(pairs))


def cross_encoder(folder: Path, batch_size: int) -> Callable[[Pairs], NDArray[np.float64]]:
    """sentence-transformers' CrossEncoder.predict."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    return lambda pairs: np.array(
        model.predict(list(pairs), batch_size=batch_size, apply_softmax=True, show_progress_bar=False)
    )


def pipeline(folder: Path, batch_size: int) -> Callable[[Pairs], NDArray[np.float64]]:
    """The transformers text-classification pipeline."""
    from transformers import pipeline as build

    classify = build("text-classification", model=str(folder), device="cpu", top_k=None)
    order = [classify.model.config.id2label[index] for index in range(classify.model.config.num_labels)]

    def predict(pairs: Pairs) -> NDArray[np.float64]:
        given = [{"text": premise, "text_pair": hypothesis} for premise, hypothesis in pairs]
        rows = classify(given, batch_size=batch_size, truncation=True)
        return np.array([[{item["label"]: item["score"] for item in row}[name] for name in order] for row in rows])

    return predict


def main() -> int:
    """Prints pairs a second and ratios; 1 where probabilities differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16, 32, 64])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.model or make_model(Path(scratch) / "model")).resolve()
        ways: dict[str, dict[str, Callable[[Pairs], NDArray[np.float64]]]] = {"muster": {"": ours(folder)}}
        for name, build in (("CrossEncoder.predict", cross_encoder), ("transformers pipeline", pipeline)):
            try:
                ways[name] = {f" at batch size {size}": build(folder, size) for size in options.batch_sizes}
            except ImportError as error:
                print(f"{name}: left out ({error})")
        wrong = [
            compare("different pairs", ways, mixed_pairs(options.pairs), options.rounds),
            compare("a judge's pairs", ways, judge_pairs(options.pairs), options.rounds),
        ]
    return int(any(wrong))


def compare(
    title: str, ways: dict[str, dict[str, Callable[[Pairs], NDArray[np.float64]]]], pairs: Pairs, rounds: int
) -> bool:
    """Prints one workload's table; whether any probability differs by more than 1e-4. Rounds alternate between the ways."""
    best = {(name, setting): float("inf") for name, settings in ways.items() for setting in settings}
    wrong = False
    expected: NDArray[np.float64] | None = None
    for _ in range(rounds):
        for name, setting in best:
            started = time.process_time()
            table = ways[name][setting](pairs)
            best[name, setting] = min(best[name, setting], time.process_time() - started)
            expected = table if expected is None else expected
            wrong |= bool(np.abs(table - expected).max() > 1e-4)
    print(f"\n{title}: {len(pairs)} pairs, {len(set(pairs))} different, best of {rounds} rounds, CPU seconds")
    fastest = {name: min((best[name, setting], setting) for setting in settings) for name, settings in ways.items()}
    for name, (seconds, setting) in fastest.items():
        print(f"  {name + setting:44} {seconds:7.2f} s {len(pairs) / seconds:8.1f} pairs/s")
    peers = [seconds for name, (seconds, _) in fastest.items() if name != "muster"]
    if peers:
        ratio = min(peers) / fastest["muster"][0]
        print(
            f"  muster is {ratio:.2f} times as fast as the better one (goal {GOAL}); probabilities equal: {not wrong}"
        )
    return wrong


if __name__ == "__main__":
    sys.exit(main())
