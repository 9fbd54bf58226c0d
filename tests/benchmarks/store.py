"""How fast judgements go into the store and come out, and how long the leaderboard takes.

    python tests/benchmarks/store.py [--judgements 1000000] [--evidence short|sentences]

A judgement's evidence is short (a row is then about 270 bytes as JSON) or that of the sentence judges (about 560 bytes). Ends
with 1 where a goal for a million short ones is missed: storing under 10 s, the leaderboard under 0.2 s. Seconds are wall seconds;
the processor's stand beside them, for machines that are busy with other things.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.records import Answer, Completion, Judgement, Metric, Run, Sample
from harness.store import Home, Store, read_bundle, rebuild, write_bundle

TEXT = "You should rest, drink enough and see a doctor if it does not get better within a week. " * 2
METRICS = ("correctness", "relevancy", "hallucination", "toxicity", "bedside_manner")
CANDIDATES = ("base", "few_shot", "retrieval", "lora_r4", "lora_r16")
EVIDENCE = {
    "short": {"label": "entailment", "probabilities": [0.91, 0.06, 0.03]},
    "sentences": {
        "sentences": [
            {"text": TEXT[:88], "label": "entailment", "probabilities": [0.91, 0.06, 0.03]},
            {"text": TEXT[88:], "label": "entailment", "probabilities": [0.91, 0.06, 0.03]},
        ]
    },
}
SECONDS: dict[str, float] = {}
"""By step, the best of its times."""
T = TypeVar("T")


def timed(what: str, work: Callable[[], T], rows: int = 0) -> T:
    """Does the work and prints its seconds, and rows a second."""
    start, used = time.perf_counter(), time.process_time()
    result = work()
    seconds, used = time.perf_counter() - start, time.process_time() - used
    SECONDS[what] = min(seconds, SECONDS.get(what, seconds))
    rate = f" {rows / seconds:12,.0f} rows/s" if rows else ""
    print(f"{what:<44} {seconds:8.3f} s  {used:8.3f} s of processor{rate}", flush=True)
    return result


def made(judgements: int, evidence: str = "sentences") -> tuple[Run, dict[str, list[object]]]:
    """A run with that many judgements."""
    count = judgements // (len(METRICS) * len(CANDIDATES))
    run = Run(
        id="bench-1", key="k", suite="bench", suite_version=1, suite_sha="s", data_sha="d", status="complete",
        started="2026-01-01T00:00:00+00:00", finished=None, seconds=1.0, candidates=dict.fromkeys(CANDIDATES, "k"),
        metrics=tuple(Metric(name=name) for name in METRICS), judges=dict.fromkeys(METRICS, "j"),
    )  # fmt: skip
    samples = [Sample(id=f"{n:016x}", split="test", input=TEXT, references=(TEXT,), row=n + 1) for n in range(count)]
    answers = [
        Answer(key=f"{c}{s.id}", candidate=c, sample_id=s.id, prompt_sha="p" * 64, completion=Completion(text=TEXT))
        for c in CANDIDATES
        for s in samples
    ]
    rows = [
        Judgement(
            id=a.sample_id, metric=m, score=(n % 97) / 97, label="entailment", candidate=a.candidate, key=f"{m}{a.key}",
            evidence={**EVIDENCE[evidence]},
        )
        for m in METRICS
        for n, a in enumerate(answers)
    ]  # fmt: skip
    return run, {"samples": list(samples), "answers": list(answers), "judgements": list(rows), "trainings": []}


def main() -> None:
    """Prints one line a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--judgements", type=int, default=1_000_000)
    parser.add_argument("--evidence", choices=list(EVIDENCE), default="short")
    given = parser.parse_args()
    run, parts = made(given.judgements, given.evidence)
    count = len(parts["judgements"])
    keys = [answer.key for answer in parts["answers"]][:20_000]  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / ".muster")
        with Store.open(home) as store:
            timed(f"write a run of {count:,} judgements", lambda: store.write_run(run, **parts), count)  # type: ignore[arg-type]
        print(f"{'size of the file':<44} {home.store.stat().st_size / 1e6:8.1f} MB")
        timed("write its bundle (Parquet, zstd)", lambda: write_bundle(home, run, **parts), count)  # type: ignore[arg-type]
        start = time.perf_counter()
        with Store.open(home, read_only=True):
            pass
        print(f"{'open to read, and close':<44} {time.perf_counter() - start:8.3f} s")
        with Store.open(home, read_only=True) as store:
            for _ in range(5):
                timed("leaderboard view", lambda: store.leaderboard("bench-1"))
            timed("scores", lambda: store.scores("bench-1"), count)
            timed("judgements as records", lambda: store.judgements("bench-1"), count)
            timed(f"look up {len(keys):,} answer keys", lambda: store.cached_answers(keys), len(keys))
        timed("read the bundle back, hashes compared", lambda: read_bundle(home.run_dir("bench-1")), count)
        timed("rebuild the store from it", lambda: rebuild(home), count)
    goals = {f"write a run of {count:,} judgements": 10.0, "leaderboard view": 0.2}
    sys.exit(int(given.evidence == "short" and any(SECONDS[what] > goal * count / 1e6 for what, goal in goals.items())))


if __name__ == "__main__":
    main()
