"""How fast training rows are compared with evaluation rows, and how that compares with another way to find the same
pairs.

python tests/benchmarks/contamination.py [--training 100000] [--evaluation 2000] [--near 0.8]

Two kinds of made text: `free` (words drawn by Zipf's law, one row in 200 copied with a few words changed) and
`worded` (20 templates with slots, so that most rows share most of their words: the hard case for prefix filtering).
The other way is datasketch's MinHash LSH where it is installed, else a comparison of all pairs on a sample of the
rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from harness.data import find_overlaps
from harness.data.contamination import normalised_words
from harness.records import Sample


def free_texts(count: int, rng: np.random.Generator) -> list[str]:
    """Texts of 15 to 120 words, Zipf-distributed; every 200th is an earlier one with one word in thirty changed."""
    texts: list[str] = []
    for number in range(count):
        if number % 200 == 199:
            words = texts[int(rng.integers(number))].split()
            for at in rng.integers(len(words), size=max(1, len(words) // 30)):
                words[at] = f"w{int(rng.integers(50_000))}"
        else:
            ranks = np.minimum(rng.zipf(1.3, size=int(rng.integers(15, 120))), 50_000)
            words = [f"w{rank}" for rank in ranks]
        texts.append(" ".join(words))
    return texts


def worded_texts(count: int, rng: np.random.Generator) -> list[str]:
    """Texts from 20 templates of 40 words with 6 slots of 300 fillers each."""
    templates = [[f"t{t}_{i}" for i in range(40)] for t in range(20)]
    texts = []
    for _ in range(count):
        words = list(templates[int(rng.integers(20))])
        for slot, filler in zip(range(3, 40, 7), rng.integers(300, size=6), strict=True):
            words[slot] = f"f{filler}"
        texts.append(" ".join(words))
    return texts


def samples(texts: list[str], split: str) -> list[Sample]:
    """Texts as samples of a split."""
    return [Sample(id=f"{split}{row}", split=split, input=text, row=row) for row, text in enumerate(texts, start=1)]


def grams(text: str) -> frozenset[tuple[str, ...]]:
    """The word 3-grams of a text."""
    words = normalised_words(text).split()
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def all_pairs(training: list[str], evaluation: list[str], near: float) -> set[int]:
    """Numbers of the evaluation texts with a similar training text, found by comparing every pair."""
    sets = [grams(text) for text in training]
    hit = set()
    for number, text in enumerate(evaluation):
        own = grams(text)
        if any(len(own & other) >= near * len(own | other) for other in sets):
            hit.add(number)
    return hit


def minhash(training: list[str], evaluation: list[str], near: float) -> set[int]:
    """The same by MinHash LSH with 128 permutations, hits checked exactly."""
    from datasketch import MinHash, MinHashLSH

    def sketch(text: str) -> MinHash:
        made = MinHash(num_perm=128)
        made.update_batch([" ".join(gram).encode() for gram in grams(text)])
        return made

    index = MinHashLSH(threshold=near, num_perm=128)
    for number, text in enumerate(evaluation):
        index.insert(number, sketch(text))
    own = [grams(text) for text in evaluation]
    hit = set()
    for text in training:
        other = grams(text)
        for number in index.query(sketch(text)):
            if len(own[number] & other) >= near * len(own[number] | other):
                hit.add(number)
    return hit


def timed(work: Callable[[], set[int]]) -> tuple[set[int], float]:
    """A result and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main() -> None:
    """Prints rows a second, and the ratio to the other way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--training", type=int, default=100_000)
    parser.add_argument("--evaluation", type=int, default=2_000)
    parser.add_argument("--near", type=float, default=0.8)
    given = parser.parse_args()
    for kind, made in (("free", free_texts), ("worded", worded_texts)):
        texts = made(given.training + given.evaluation, np.random.default_rng(7))
        order = np.random.default_rng(8).permutation(len(texts))
        texts = [texts[i] for i in order]
        training, evaluation = texts[: given.training], texts[given.training :]
        for line in compared(kind, training, evaluation, given.near):
            print(line, flush=True)


def compared(kind: str, training: list[str], evaluation: list[str], near: float) -> Iterator[str]:
    """One line for muster, one for the other way."""
    asked, trained = samples(evaluation, "test"), samples(training, "train")
    hit, seconds = timed(lambda: {o.evaluation_row - 1 for o in find_overlaps(trained, asked, near=near)})
    yield (
        f"{kind}: {len(training):,} training x {len(evaluation):,} evaluation rows in {seconds:.2f} s, "
        f"{len(training) / seconds:,.0f} rows/s, {len(hit)} evaluation rows hit"
    )
    try:
        other, other_seconds = timed(lambda: minhash(training, evaluation, near))
        yield f"  datasketch MinHash LSH: {other_seconds:.2f} s ({other_seconds / seconds:.1f} times), {len(other)} hit"
    except ImportError:
        few = training[: max(1, 400_000 // len(evaluation))]
        other, other_seconds = timed(lambda: all_pairs(few, evaluation, near))
        scaled = other_seconds * len(training) / len(few)
        same = other == {o.evaluation_row - 1 for o in find_overlaps(trained[: len(few)], asked, near=near)}
        yield (
            f"  all pairs on {len(few):,} training rows: {other_seconds:.2f} s, scaled {scaled:.0f} s "
            f"({scaled / seconds:.0f} times); same rows hit: {same}"
        )


if __name__ == "__main__":
    main()
