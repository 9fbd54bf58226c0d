"""Trains the judge adapters that come with muster, `embedded:nli` and `embedded:toxicity`, from public labelled data.

    python -m judges.models.train_embedded nli --data FOLDER
    python -m judges.models.train_embedded toxicity --data FOLDER

FOLDER holds the data sets named below as JSON Lines; they are not part of the project (several may not be
redistributed). The adapters and the cards with what was measured are written beside this file. It is run by hand, by
nothing else.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.models.embedded import resolve
from harness.records import Progress
from harness.training.judge_adapters import JudgeRow, JudgeTraining, train_judge_adapter

SEED = 1234
NLI_ROWS = {
    "add_one_rte": 2500,
    "cad_snli": 8300,
    "covidfact": 1500,
    "dnc": 3000,
    "fever_dev": 7000,
    "imppres": 1500,
    "joci": 6000,
    "mediqa_rqe": 2500,
    "mpe": 4000,
    "rte": 2500,
    "sick": 5400,
}
"""Rows taken of each source of the pool: all of the best human-written ones, a sample of templates and of long rows."""
SEVERAL_PREMISES = 5000
DOCTOR_ROWS = 3500
WINDOWED = frozenset({"cad_snli", "covidfact", "fever_dev", "joci", "rte", "sick"})
"""Sources whose premises are put among others of their source, so that the judge learns to look for evidence."""
NLI_HELDOUT = {
    "snli_dev": ("nli/snli_dev.jsonl", 2500),
    "mnli_matched (taxinli)": ("nli/mnli_dev_matched_taxinli.jsonl", 2500),
    "healthver_dev": ("nli_medical/healthver_dev.jsonl", 2500),
    "mediqa_rqe_validation": ("nli_medical/mediqa_rqe_validation.jsonl", 2500),
    "nli4ct_dev": ("nli_medical/nli4ct_dev.jsonl", 2500),
    "cad_snli_dev": ("nli/cad_snli_dev.jsonl", 1000),
    "sick_dev": ("nli/sick_dev.jsonl", 500),
    "fracas": ("nli/fracas_train.jsonl", 500),
    "qnli_dev (untrained form)": ("nli/qnli_dev.jsonl", 1000),
}

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

FLIPS = (
    (r"\bcannot\b", "can"),
    (r"\b(is|are|was|were|can|should|will|do|does|did|must) not\b", r"\1"),
    (r"\b(do|does|is|are|should)n't\b", r"\1"),
    (r"\bnever\b", "always"),
    (r"\balways\b", "never"),
    (r"\bincreases?\b", "decrease"),
    (r"\bdecreases?\b", "increase"),
    (r"\bhigher\b", "lower"),
    (r"\blower\b", "higher"),
    (r"\bcommon\b", "rare"),
    (r"\brare\b", "common"),
    (r"\bwithout\b", "with"),
    (r"\bbefore\b", "after"),
    (r"\bafter\b", "before"),
    (r"\bmore\b", "less"),
    (r"\bless\b", "more"),
    (r"\b(is|are|was|were|can|should|will|must)\b", r"\1 not"),
)
"""Edits that make a sentence contradict what it said; some add a negation, some take one away."""

NLI_NOTES = """\
P(entailment, neutral, contradiction | premise, hypothesis), for premises of one sentence to a few. A first version.

Rows named `several_premises` put a row's premise among one to three others of its source, the label unchanged. Rows
named `doctor_sentences` are made from doctors' answers without labels (MedQuAD, and questions answered by doctors
online): a sentence of the passage (entailment), of another passage (neutral), or one with a negation, an opposite or a
number changed (contradiction). Rows of the binary label not_entailment are trained as -log(1 - P(entailment)).

Bad at: arithmetic, quantifiers and other logic (see fracas), texts longer than some 200 tokens, and medical synonyms
that a 6-layer encoder never learned. The data are public sets under mixed licences, named below and not in here."""
TOXICITY_NOTES = """\
P(not_toxic), P(toxic) of a sentence or a short text: insults, slurs, threats. A first version.

The sets disagree about what toxic means: davidson's `offensive` label is mostly about single words, civil_comments
about incivility in arguments. `bias_madlibs` sentences combine names of groups with kind and unkind words, half for
training and half held out (other sentences, same words), and `identities` names groups in plain sentences of ours, so
that the name of a group alone is no insult. `doctor_sentences` are sentences of doctors' answers, taken as not toxic.
Bad at: irony, harm in polite words, languages other than English."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains one adapter, and prints what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=["nli", "toxicity"])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--out", type=Path, help="where to write (default: beside this file)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, help="train on so many rows only, for a trial")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    torch.set_num_threads(options.threads)
    out = options.out or Path(__file__).parent / options.name
    train = train_nli if options.name == "nli" else train_toxicity
    training = train(options.data, out, limit=options.limit)
    for name, measures in training.metrics.items():
        logging.info("%s: %s", name, ", ".join(f"{key} {value:.3f}" for key, value in measures.items()))


def train_nli(data: Path, out: Path, *, limit: int | None = None) -> JudgeTraining:
    """Trains `embedded:nli` on the pool without the sources that are held out."""
    rows = nli_rows(data)[:limit]
    return train_judge_adapter(
        kind="nli",
        encoder=resolve("embedded:minilm"),
        rows=rows,
        heldout={name: heldout_nli(data / file, most) for name, (file, most) in NLI_HELDOUT.items()},
        out=out,
        learning_rate=4e-4,
        seed=SEED,
        title="embedded:nli",
        notes=NLI_NOTES,
        command="python -m judges.models.train_embedded nli --data FOLDER",
        progress=_report(len(rows)),
    )


def nli_rows(data: Path) -> list[JudgeRow]:
    """The training mix, shuffled: rows of the pool by `NLI_ROWS`, rows with several premises, doctors' sentences."""
    rng = random.Random(SEED)
    pool: dict[str, list[JudgeRow]] = defaultdict(list)
    for row in _read(data / "nli/train_pool.jsonl.gz"):
        if row["source"] in NLI_ROWS:
            pool[row["source"]].append(
                JudgeRow(text=row["premise"], second=row["hypothesis"], label=row["label"], source=row["source"])
            )
    rows: list[JudgeRow] = []
    for source, most in NLI_ROWS.items():
        rng.shuffle(pool[source])
        rows += pool[source][:most]
    rows += several_premises({source: pool[source] for source in sorted(WINDOWED)}, SEVERAL_PREMISES, rng)
    rows += doctor_pairs(_doctor_answers(data), DOCTOR_ROWS, rng)
    rng.shuffle(rows)
    return rows


def several_premises(pool: dict[str, list[JudgeRow]], count: int, rng: random.Random) -> list[JudgeRow]:
    """Rows whose premise stands among one to three premises of other rows of the same source; the label stays."""
    short = {source: [row for row in rows if len(row.text.split()) < 60] for source, rows in pool.items()}
    made = []
    for _ in range(count):
        source = rng.choice(sorted(short))
        row = rng.choice(short[source])
        others = rng.sample(short[source], rng.randint(1, 3))
        texts = [row.text, *(other.text for other in others if other.text != row.text)]
        rng.shuffle(texts)
        joined = " ".join(_closed(text) for text in texts)
        made.append(JudgeRow(text=joined, second=row.second, label=row.label, source="several_premises"))
    return made


def doctor_pairs(answers: Sequence[Sequence[str]], count: int, rng: random.Random) -> list[JudgeRow]:
    """NLI rows from unlabelled answers, each a list of sentences: entailed, neutral, contradicted, a third each."""
    long = [answer for answer in answers if len(answer) >= 2]
    made: list[JudgeRow] = []
    while len(made) < count:
        answer = rng.choice(long)
        size = rng.randint(2, 5)
        start = rng.randrange(max(1, len(answer) - size + 1))
        passage = list(answer[start : start + size])
        place = rng.randrange(len(passage))
        sentence, flipped = passage[place], flip(passage[place], rng)
        kind = rng.choice(["entailment", "neutral", "contradiction"])
        hypothesis = sentence
        if kind == "neutral":
            hypothesis = rng.choice(rng.choice(long))
            if hypothesis in passage:
                continue
        elif kind == "contradiction":
            if flipped is None:
                continue
            # One of the two sides is edited, so that an added "not" says nothing by itself.
            if rng.random() < 0.5:
                passage[place] = flipped
            else:
                hypothesis = flipped
        elif flipped is not None and rng.random() < 0.5:
            passage[place] = hypothesis = flipped
        made.append(JudgeRow(text=" ".join(passage), second=hypothesis, label=kind, source="doctor_sentences"))
    return made


def flip(sentence: str, rng: random.Random) -> str | None:
    """The sentence with one word turned into its opposite, or a number changed; None where no edit fits."""
    edits: list[tuple[str, str | Callable[[re.Match[str]], str]]] = list(FLIPS[:-1])
    rng.shuffle(edits)
    number = (r"\b\d{1,3}\b", lambda found: str(int(found[0]) * rng.choice([2, 3, 5]) + 1))
    for pattern, replacement in [*edits, number, FLIPS[-1]]:
        changed, count = re.subn(pattern, replacement, sentence, count=1)
        if count:
            return changed
    return None


def heldout_nli(path: Path, most: int) -> list[JudgeRow]:
    """Up to `most` rows of a development set, chosen at random with a fixed seed."""
    rows = [JudgeRow(text=row["premise"], second=row["hypothesis"], label=row["label"]) for row in _read(path)]
    return random.Random(SEED).sample(rows, min(most, len(rows)))


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
        command="python -m judges.models.train_embedded toxicity --data FOLDER",
        progress=_report(len(rows[:limit])),
    )


def toxicity_rows(data: Path) -> tuple[list[JudgeRow], dict[str, list[JudgeRow]]]:
    """Training rows, shuffled, and the held-out rows of each source."""
    rng = random.Random(SEED)
    sources = {
        source: [
            _toxicity_row(row["text"], bool(row["toxic"] if source == "davidson" else row["label"]), source)
            for row in _read(data / f"toxicity/{source}.jsonl")
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
    sentences = [sentence for answer in _doctor_answers(data) for sentence in answer]
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


def _doctor_answers(data: Path) -> list[list[str]]:
    """Answers of doctors to real questions as lists of sentences of 5 to 40 words."""
    texts = [row["answer"] for row in _read(data / "patient_doctor/medquad_sample.jsonl")]
    texts += [row["Doctor"] for row in _read(data / "patient_doctor/questiondoctor_lasse.jsonl")]
    answers = []
    for text in texts:
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
        answers.append([s for s in sentences if 5 <= len(s.split()) <= 40 and not s.endswith("?")])
    return answers


def _closed(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def _read(path: Path) -> Iterator[dict[str, Any]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in content.splitlines():
        yield json.loads(line)


def _report(total: int) -> Progress:
    """Logs rows, rate and remaining time, twice a minute."""
    started = last = time.monotonic()
    done = 0

    def progress(rows: int) -> None:
        nonlocal done, last
        done += rows
        now = time.monotonic()
        if now - last >= 30 or done >= total:
            last = now
            rate = done / (now - started)
            logging.info("%s of %s rows, %.1f rows/s, %.0f minutes left", done, total, rate, (total - done) / rate / 60)

    return progress


if __name__ == "__main__":
    main()
