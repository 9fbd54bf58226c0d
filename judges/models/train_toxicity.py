"""Trains `embedded:toxicity` from public labelled data.

    python -m judges.models.train_toxicity --data FOLDER

FOLDER holds the data sets named below as JSON Lines. It is run by hand, by nothing else.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from harness.models.embedded import resolve
from harness.training.judge_adapters import JudgeRow, JudgeTraining, train_judge_adapter
from judges.models.labelled import SEED, doctor_answers, read, report

IDENTITIES = (
    "African", "American", "Arab", "Asian", "Black", "Buddhist", "Catholic", "Chinese", "Christian", "Hindu",
    "Hispanic", "Indian", "Jewish", "Latino", "Mexican", "Muslim", "atheist", "bisexual", "blind", "deaf", "disabled",
    "elderly", "female", "foreign", "gay", "heterosexual", "homosexual", "lesbian", "male", "old", "poor", "queer",
    "straight", "trans", "transgender", "white", "young",
)  # fmt: skip
IDENTITY_TEMPLATES = (
    "{}", "I am {}.", "My neighbour is {}.", "She told me that she is {}.", "Many {} people live here.",
    "The {} patient has had a fever for two days.", "As a {} man I worry about this.", "He said he was {} and happy.",
    "Two {} women came to the clinic.", "You are {}.", "Is it more common in {} people?", "proud to be {}",
)  # fmt: skip
IDENTITY_HELDOUT = ("My brother is {}.", "A {} woman asks about her blood pressure.", "We are {}.", "I know {} people.")
TOXICITY_NOTES = """\
P(not_toxic), P(toxic) of a sentence or a short text: insults, slurs, threats. A first version.

The sets disagree about what toxic means: davidson's `offensive` label is mostly about single words, civil_comments
about incivility in arguments. `bias_madlibs` sentences combine names of groups with kind and unkind words, half for
training and half held out (other sentences, same words), and `identities` names groups in plain sentences of ours, so
that the name of a group alone is no insult. `doctor_sentences` are sentences of doctors' answers, taken as not toxic.
Bad at: irony, harm in polite words, languages other than English."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains, and prints what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "toxicity", help="where to write")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, help="train on so many rows only, for a trial")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    torch.set_num_threads(options.threads)
    training = train_toxicity(options.data, options.out, limit=options.limit)
    for name, measures in training.metrics.items():
        logging.info("%s: %s", name, ", ".join(f"{key} {value:.3f}" for key, value in measures.items()))


def train_toxicity(data: Path, out: Path, *, limit: int | None = None) -> JudgeTraining:
    """Trains `embedded:toxicity`; a tenth of each source, and half of bias_madlibs, is held out."""
    rows, heldout = toxicity_rows(data)
    return train_judge_adapter(
        kind="classification",
        encoder=resolve("embedded:minilm"),
        rows=rows[:limit],
        heldout=heldout,
        out=out,
        labels=("not_toxic", "toxic"),
        learning_rate=4e-4,
        max_tokens=128,
        seed=SEED,
        title="embedded:toxicity",
        notes=TOXICITY_NOTES,
        command="python -m judges.models.train_toxicity --data FOLDER",
        progress=report(len(rows[:limit])),
    )


def toxicity_rows(data: Path) -> tuple[list[JudgeRow], dict[str, list[JudgeRow]]]:
    """Training rows, shuffled, and the held-out rows of each source."""
    rng = random.Random(SEED)
    sources = {
        source: [
            _toxicity_row(row["text"], bool(row["toxic"] if source == "davidson" else row["label"]), source)
            for row in read(data / f"toxicity/{source}.jsonl")
        ]
        for source in (
            "bias_madlibs",
            "civil_comments_toxic_spans_posts",
            "davidson",
            "olid_train",
            "wiki_context_gc",
            "wiki_toxicity_nonfuzzed",
        )
    }
    sentences = [sentence for answer in doctor_answers(data) for sentence in answer]
    sources["doctor_sentences"] = [
        _toxicity_row(text, False, "doctor_sentences") for text in rng.sample(sentences, 2500)
    ]
    rows: list[JudgeRow] = []
    heldout: dict[str, list[JudgeRow]] = {}
    for source, found in sources.items():
        unique = list({row.text: row for row in found}.values())
        rng.shuffle(unique)
        share = 2 if source == "bias_madlibs" else 10
        cut = len(unique) // share
        heldout[source] = unique[:cut]
        rows += unique[cut:]
    rows += _identity_rows(IDENTITY_TEMPLATES)
    heldout["identities"] = _identity_rows(IDENTITY_HELDOUT)
    rng.shuffle(rows)
    return rows, heldout


def _identity_rows(templates: Sequence[str]) -> list[JudgeRow]:
    """Plain sentences that name a group, which are not toxic."""
    sentences = [template.format(identity) for template in templates for identity in IDENTITIES]
    return [_toxicity_row(sentence, False, "identities") for sentence in sentences]


def _toxicity_row(text: str, toxic: bool, source: str) -> JudgeRow:
    return JudgeRow(text=text.strip(), label="toxic" if toxic else "not_toxic", source=source)


if __name__ == "__main__":
    main()
