"""Trap 12 for longer: kills a training as often as asked, at random moments, and compares what it ends in.

    python -m tests.harness.training.torture [--kills 200] [--seed 0] [--method lora]

Prints the moments (steps of each attempt) and whether tensors, log and token count are those of an uninterrupted training;
exit status 1 where they are not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from harness.records import Message, Prompt, Sample
from harness.suite.grammar import TrainSpec, TransformersModel
from harness.training.trainer import train
from tests.harness.models.tiny import WORDS, make_model
from tests.harness.training.ending import digest, torture

STEPS = 7


def main() -> int:
    """Train once in peace and once under fire; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="lora", choices=["lora", "full", "head", "last_layers"])
    options = parser.parse_args()
    own = {"rank": 4, "dropout": 0.1} if options.method == "lora" else {}
    spec = TrainSpec(
        base="base", method=options.method, batch_size=1, gradient_accumulation=2, max_steps=(STEPS - 1) * options.kills,
        learning_rate=1e-3, save_steps=2, logging_steps=1, **own,
    )  # fmt: skip
    samples = [
        Sample(id=str(row), split="train", row=row, input=" ".join(WORDS[row : row + 4]), references=(WORDS[-row],))
        for row in range(1, 25)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "base")

        def run(adapters, progress=None):
            return train(
                "model", spec, base=TransformersModel(kind="transformers", path="base"), root=folder, samples=samples,
                prompt=lambda s: Prompt(sample_id=s.id, messages=(Message(role="user", content=s.input),)),
                adapters=folder / adapters, seed=1, progress=progress,
            )  # fmt: skip

        whole = run("whole")
        moments = torture(lambda progress: run("broken", progress), kills=options.kills, seed=options.seed, steps=STEPS)
        broken = run("broken")
        same = {
            "tensors": digest(whole) == digest(broken),
            "log": whole.log == broken.log,
            "tokens": whole.tokens == broken.tokens,
        }
    print(f"{len(moments)} kills, by steps of the attempt: {dict(sorted(Counter(moments).items()))}")
    print(", ".join(f"{what} {'equal' if equal else 'DIFFER'}" for what, equal in same.items()))
    return 0 if all(same.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
