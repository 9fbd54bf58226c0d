"""Writes the figures of the study suite's newest run into docs/study.md, between its two marks.

python docs/study.py [--home .muster]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.deciding.comparison import LeaderboardRow, compare, leaderboard
from harness.deciding.scores import Scores
from harness.deciding.wording import number, signed
from harness.errors import UserError
from harness.records import Answer, Comparison, Metric, Run, Training
from harness.store import Home, Store

SUITE = "patient_doctor_study"
PAGE = Path(__file__).with_name("study.md")
BEGIN, END = "<!-- figures: written by docs/study.py -->\n", "<!-- end of figures -->\n"
ARROWS = {"higher": "↑", "lower": "↓"}


def main() -> None:
    """Reads the store, prints the tables, and puts them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".muster"))
    with Store.open(Home(parser.parse_args().home), read_only=True) as store:
        run = next((run for run in store.runs() if run.suite == SUITE and run.status == "complete"), None)
        if run is None:
            raise UserError(f"no complete run of {SUITE} is stored there")
        scores = Scores.from_rows(store.scores(run.id), store.modes(run.id))
        tables = figures(run, scores, store.trainings(run.id), store.answers(run.id))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{tables}{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(tables)


def figures(run: Run, scores: Scores, trainings: Sequence[Training], answers: Sequence[Answer]) -> str:
    """Three tables: means with intervals, paired differences from the base, and what each candidate costs."""
    (split,) = scores.splits
    names = list(run.candidates)
    rows = leaderboard(scores, run.metrics, names)
    differences = [[compare(scores, metric, name, "base", split) for metric in run.metrics] for name in names[1:]]
    heads = [f"{metric.name} {ARROWS[metric.direction]}" for metric in run.metrics]
    n = len(scores.splits[split].ids)
    return "\n".join(
        [
            f"Means over {n} test letters, with the 95 % interval:\n",
            table(["candidate", *heads], ([row.candidate, *means(row, run.metrics)] for row in rows)),
            "Difference from the base, paired by letter, with its 95 % interval; bold where the interval leaves 0 out:\n",
            table(["candidate", *heads], ([line[0].candidate, *map(difference, line)] for line in differences)),
            "What it costs (the last column is the median, wall time of the machine that ran it):\n",
            table(COSTS, (costs(name, trainings, [a for a in answers if a.candidate == name]) for name in names)),
        ]
    )


def means(row: LeaderboardRow, metrics: Sequence[Metric]) -> list[str]:
    """A cell a metric."""
    cells = []
    for metric in metrics:
        found = row.estimates[metric.name]
        if found.mean is None or found.low is None or found.high is None:
            cells.append("–")
        else:
            cells.append(f"{number(found.mean)} ({number(found.low)} to {number(found.high)})")
    return cells


def difference(found: Comparison) -> str:
    """The paired difference with its interval."""
    if found.difference is None or found.low is None or found.high is None:
        return "–"
    text = f"{signed(found.difference)} ({signed(found.low)} to {signed(found.high)})"
    return f"**{text}**" if found.low > 0 or found.high < 0 else text


COSTS = (
    "candidate", "rows trained", "weights trained", "tokens trained", "prompt tokens an answer", "answer tokens", "s an answer",
)  # fmt: skip


def costs(name: str, trainings: Sequence[Training], answers: Sequence[Answer]) -> list[str]:
    """The cells of COSTS; a teacher's own training is not added to its student's."""
    training = next((t for t in trainings if t.candidate == name), None)
    trained = ["–", "–", "–"]
    if training is not None:
        share = training.trainable_parameters / training.total_parameters
        weights = f"{training.trainable_parameters:,} ({share:.1%})"
        trained = [f"{training.rows:,}", weights, f"{training.tokens:,}"]
    done = [answer.completion for answer in answers if answer.completion.error is None]
    return [
        name, *trained, f"{mean(c.prompt_tokens for c in done):.0f}", f"{mean(c.completion_tokens for c in done):.0f}",
        f"{statistics.median(c.seconds for c in done if c.seconds is not None):.2f}",
    ]  # fmt: skip


def mean(values: Iterable[int | None]) -> float:
    """The mean of what is known."""
    return statistics.fmean(value for value in values if value is not None)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
