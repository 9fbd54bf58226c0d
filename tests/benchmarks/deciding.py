"""How fast a gate decides, against the bootstrap that others use, and how well each covers the truth.

    python tests/benchmarks/deciding.py [--samples 10000] [--worlds 2000]

The gate reads its scores from the store: samples in clusters of five, five metrics, five candidates, one rule a metric on each of
four candidates. The bootstrap is lm-evaluation-harness' `bootstrap_stderr`, written anew as it is defined there (lm_eval/api/
metrics.py; the package is not needed): 100,000 times, draw as many scores as there are with `random.choices` and take their mean,
in chunks of 1,000 with the chunk's number as seed; the standard error is the standard deviation of the means. It is timed on one
of the 25 columns for 1,000 times and multiplied, in one process; lm-evaluation-harness spreads the chunks over processes.

Coverage is that of nominal 95 % intervals for a candidate's mean and for its difference to the baseline, over worlds of 60
clusters of five with a known truth (scores agree within a cluster, and between both candidates): muster's, against 1.96 of those
standard errors, which for a difference are added as of independent samples (scripts/model_comparator.py there).
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.deciding.gate import decide_all
from harness.deciding.scores import Scores
from harness.records import Judgement, Metric, Run, Sample
from harness.store import Home, Store
from harness.suite.grammar import Gate, Rule

METRICS = ("correctness", "relevancy", "hallucination", "toxicity", "bedside_manner")
CANDIDATES = ("base", "few_shot", "retrieval", "lora_r4", "lora_r16")
ITERATIONS, CHUNK = 100_000, 1_000
CLUSTERS, SIZE = 60, 5
Floats = NDArray[np.float64]


def bootstrap_stderr(
    f: Callable[[Sequence[float]], float], xs: Sequence[float], iterations: int, chunk: int = CHUNK
) -> float:
    """lm-evaluation-harness' standard error of `f` over scores, by pooled resampling."""
    found = []
    for seed in range(iterations // chunk):
        draw = random.Random(seed)
        found += [f(draw.choices(xs, k=len(xs))) for _ in range(chunk)]
    return statistics.stdev(found)


def mean(xs: Sequence[float]) -> float:
    """As in lm-evaluation-harness."""
    return sum(xs) / len(xs)


def write(home: Home, count: int) -> None:
    """A run whose later candidates are a little better than the base, with scores that agree within a cluster."""
    rng = np.random.default_rng(1)
    run = Run(
        id="bench-1", key="k", suite="bench", suite_version=1, suite_sha="s", data_sha="d", status="complete",
        started="2026-01-01T00:00:00+00:00", finished=None, seconds=1.0, candidates=dict.fromkeys(CANDIDATES, "k"),
        metrics=tuple(Metric(name=name) for name in METRICS), judges=dict.fromkeys(METRICS, "j"),
    )  # fmt: skip
    samples = [
        Sample(id=f"{n:016x}", split="test", input="q", cluster=f"c{n // SIZE}", slices={"urgency": str(n % 3)}, row=n + 1)
        for n in range(count)
    ]  # fmt: skip
    shared = rng.normal(size=count // SIZE).repeat(SIZE)
    judgements = [
        Judgement(id=sample.id, metric=metric, candidate=candidate, key=f"{metric}{candidate}{sample.id}", score=score)
        for metric in METRICS
        for better, candidate in enumerate(CANDIDATES)
        for sample, score in zip(
            samples,
            np.clip(0.5 + 0.02 * better + 0.12 * (shared + rng.normal(size=count)), 0, 1).tolist(),
            strict=True,
        )
    ]
    with Store.open(home) as store:
        store.write_run(run, samples=samples, answers=[], judgements=judgements, trainings=[])


def decided(home: Home) -> tuple[int, dict[str, float], Scores]:
    """Findings of a gate of one rule a metric on every candidate, and the seconds of its parts."""
    rules = [Rule(metric=metric, no_worse_by=0.02) for metric in METRICS]
    gate = Gate(baseline="base", rules=rules)
    marks = [time.perf_counter()]
    with Store.open(home, read_only=True) as store:
        run = store.run("latest")
        rows = store.scores(run.id)
        marks.append(time.perf_counter())
        scores = Scores.from_rows(rows, store.modes(run.id))
        marks.append(time.perf_counter())
    verdicts = decide_all(gate, run=run, scores=scores, default_split="test")
    marks.append(time.perf_counter())
    parts = dict(zip(("read", "arrange", "decide"), np.diff(marks).tolist(), strict=True))
    return sum(len(verdict.findings) for verdict in verdicts), parts, scores


def worlds(count: int) -> dict[str, tuple[float, float]]:
    """By interval: coverage of the truth, and mean width."""
    rng = np.random.default_rng(2)
    clusters = np.arange(CLUSTERS).repeat(SIZE)
    n = CLUSTERS * SIZE
    hits: dict[str, list[tuple[bool, float]]] = {}

    def note(name: str, low: float, high: float, truth: float) -> None:
        hits.setdefault(name, []).append((low <= truth <= high, high - low))

    for _ in range(count):
        shared = rng.normal(size=CLUSTERS).repeat(SIZE)
        item = rng.normal(size=n)
        base, new = (
            0.5 + shift + 0.05 * (shared + 0.5 * item + np.sqrt(0.75) * rng.normal(size=n)) for shift in (0, 0.02)
        )
        moved = 0.03 * rng.normal(size=CLUSTERS).repeat(SIZE)  # where the candidate differs, it does so by cluster
        new = new + moved
        ours = stats.bounded_mean(new, 0.95, low=0, high=1, clusters=clusters)
        pair = stats.paired_difference(new, base, 0.95, low=0, high=1, clusters=clusters)
        note("mean, muster (clustered)", *_ends(ours), 0.52)
        note("difference, muster (paired, clustered)", *_ends(pair), 0.02)
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=1000) / n  # how often each score is drawn
        errors = [float((drawn @ scores).std(ddof=1)) for scores in (new, base)]
        note("mean, pooled bootstrap", new.mean() - 1.96 * errors[0], new.mean() + 1.96 * errors[0], 0.52)
        both = float(np.hypot(*errors))
        difference = float(new.mean() - base.mean())
        note("difference, pooled bootstrap, unpaired", difference - 1.96 * both, difference + 1.96 * both, 0.02)
    return {
        name: (mean([hit for hit, _ in found]), mean([width for _, width in found])) for name, found in hits.items()
    }


def _ends(interval: stats.Interval) -> tuple[float, float]:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low, interval.high


def main() -> None:
    """Prints seconds, the ratio, and the coverage of both; ends with 1 where a goal is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--worlds", type=int, default=2_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / ".muster")
        write(home, given.samples)
        tries = [
            (sum(parts.values()), findings, parts, scores)
            for findings, parts, scores in (decided(home) for _ in range(5))
        ]
    seconds, findings, parts, scores = min(tries, key=lambda found: found[0])
    rows = given.samples * len(METRICS) * len(CANDIDATES)
    told = ", ".join(f"{name} {part:.2f}" for name, part in parts.items())
    print(f"gate over {rows:,} scores, {findings} findings: {seconds:.2f} s ({told}; best of {len(tries)})")
    column = scores.splits["test"].column("base", "correctness").values.tolist()
    start = time.perf_counter()
    theirs = bootstrap_stderr(mean, column, CHUNK)
    one = (time.perf_counter() - start) * ITERATIONS / CHUNK
    everything = one * len(METRICS) * len(CANDIDATES)
    print(
        f"bootstrap of {ITERATIONS:,}: {one:,.0f} s a column, {everything:,.0f} s for all 25 (standard error {theirs:.5f})"
    )
    print(f"ratio: {everything / seconds:,.0f} times as fast as all columns, {one / seconds:,.0f} as one column")
    for name, (coverage, width) in worlds(given.worlds).items():
        print(f"  {name:<42} covers {coverage:.3f} of 0.95, width {width:.4f}")
    sys.exit(int(seconds > 2 or one / seconds < 20))


if __name__ == "__main__":
    main()
