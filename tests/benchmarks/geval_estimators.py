"""G-Eval estimators compared on recorded samples: the mean of 20, one sample, the majority, against human ratings.

Needs the recorded samples in ../shared/data. The mean and the distribution come out of `muster score geval`, through the openai
client from a local server; the published values are those of the full set, of which this is half:

    python -m tests.benchmarks.geval_estimators
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.judges.recorded_geval import PUBLISHED, RECORDED, SCALES, load_items, replay


def main() -> None:
    """Prints the table: Pearson's r by aspect and estimator, with the published value in brackets."""
    if not RECORDED.is_file():
        raise SystemExit("needs the recorded samples in ../shared/data/geval")
    print("| aspect | items | unreadable | mean of 20 | one sample | majority |\n|---|---|---|---|---|---|")
    for aspect in SCALES:
        items = load_items(aspect)
        human = [item.human for item in items]
        with tempfile.TemporaryDirectory() as folder:
            [lines, single], _ = replay(Path(folder), aspect, items, samples=(20, 1))
        likeliest = [max(e["distribution"], key=e["distribution"].__getitem__) for e in (x["evidence"] for x in lines)]
        found = {
            "mean of 20": correlation([line["score"] for line in lines], human),
            "one sample": correlation([line["score"] for line in single], human),
            "majority": correlation([float(score) for score in likeliest], human),
        }
        cells = [f"{value:.3f} ({PUBLISHED[name][aspect]:.3f})" for name, value in found.items()]
        unreadable = sum(line["evidence"]["unparsable"] for line in lines)
        print(f"| {aspect} | {len(items)} | {unreadable} | {' | '.join(cells)} |")


def correlation(scores: list[float | None], human: list[float]) -> float:
    """Pearson's r over the items with a score."""
    pairs = [(score, rating) for score, rating in zip(scores, human, strict=True) if score is not None]
    return float(np.corrcoef(np.array(pairs).T)[0, 1])


if __name__ == "__main__":
    main()
