"""Trains `embedded:nli`, the NLI model of correctness, hallucination and entailment, from public labelled data.

    python -m judges.models.train_nli --data FOLDER

FOLDER holds the data sets named below as JSON Lines. The whole encoder is trained, starting from the adapter that lies
beside this file (or from the plain encoder with `--from-scratch`, then with more epochs). It is run by hand, by nothing else.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from harness.models.embedded import resolve
from harness.training.judge_adapters import JudgeRow, train_judge_adapter
from judges.models.labelled import SEED, doctor_answers, is_held_out, read, report

POOL = {
    "snli_dev": (2.5, None),
    "mnli_dev_m_taxinli": (2.5, None),
    "cad_snli": (1.0, None),
    "healthver_dev": (1.0, None),
    "rte": (1.0, None),
    "sick": (1.0, None),
    "mpe": (1.0, 3500),
    "joci": (1.0, 3000),
    "fever_dev": (1.0, 2500),
    "mediqa_rqe": (1.0, 1500),
    "add_one_rte": (1.0, 1000),
    "dnc": (1.0, 1500),
    "imppres": (1.0, 1000),
    "covidfact": (1.0, 500),
}
"""Passes over a source of the pool, and the most rows of it: templates and long rows few, kin of what is judged many."""
HELD_OUT = {"snli_dev": 0.15, "mnli_dev_m_taxinli": 0.15, "healthver_dev": 0.25}
"""Share of a source's premises that is not trained on."""
TASK_SHARE = 0.4
"""Share of the groups of the question and dialogue sets that is not trained on: judges are fitted and measured on it."""
TASK_PASSES = 2
MEASURED = 600
"""The most rows of a set that are measured when the training ends."""
SEVERAL_PREMISES = 2000
DOCTOR_ROWS = 1500
WINDOWED = ("cad_snli", "joci", "sick", "snli_dev", "mnli_dev_m_taxinli")
"""Sources whose premises are put among others of their source, so that the judge learns to look for evidence."""

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

NOTES = """\
P(entailment, neutral, contradiction | premise, hypothesis), for premises of one sentence to a few.

Rows named `several_premises` put a row's premise among one to three others of its source, the label unchanged. Rows
named `doctor_sentences` are made from doctors' answers without labels (MedQuAD, and questions answered by doctors
online): a sentence of the passage (entailment), of another passage (neutral), or one with a negation, an opposite or a
number changed (contradiction). Rows named `qa_*` have the question before the reference and before the answer, rows named
`grounded_*` a piece of knowledge and a reply. Rows of the binary label not_entailment are trained as
-log(1 - P(entailment)). Sets marked "held out" share no premise, question or knowledge with a training row; cad_snli_dev,
sick_dev and joci_dev share some premises, but no pairs.

It started from the first version of this judge, a LoRA trained on 51,611 rows of the pool without snli_dev, mnli_dev_m_taxinli,
healthver_dev and qnli_dev; `--from-scratch` starts from the plain encoder and was not measured.

Bad at: arithmetic, quantifiers and other logic (see fracas), trial reports (nli4ct), texts longer than some 200 tokens, and
medical synonyms that a 6-layer encoder never learned. The data are public sets under mixed licences, named below and
not in here."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains, and prints what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "nli", help="where to write")
    parser.add_argument("--start", type=Path, default=Path(__file__).parent / "nli", help="the adapter to start from")
    parser.add_argument("--from-scratch", action="store_true", help="start from the plain encoder")
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over the mix")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, help="train on so many rows only, for a trial")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    torch.set_num_threads(options.threads)
    rows = training_rows(options.data)[: options.limit]
    training = train_judge_adapter(
        kind="nli",
        encoder=resolve("embedded:minilm"),
        rows=rows,
        heldout=held_out_rows(options.data),
        out=options.out,
        method="full",
        start=None if options.from_scratch else options.start,
        dropout=0.05,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        head_learning_rate=4e-4,
        batch_tokens=1536,
        max_tokens=224,
        seed=SEED,
        title="embedded:nli",
        notes=NOTES,
        command="python -m judges.models.train_nli --data FOLDER",
        progress=report(round(options.epochs * len(rows))),
    )
    for name, measures in training.metrics.items():
        logging.info("%s: %s", name, ", ".join(f"{key} {value:.3f}" for key, value in measures.items()))


def training_rows(data: Path) -> list[JudgeRow]:
    """The mix, shuffled: the pool by `POOL`, rows with several premises, doctors' sentences, questions and dialogues."""
    rng = random.Random(SEED)
    pool: dict[str, list[JudgeRow]] = defaultdict(list)
    for row in read(data / "nli/train_pool.jsonl.gz"):
        source = row["source"]
        if source in POOL and not is_held_out(row["premise"], HELD_OUT.get(source, 0.0)):
            pool[source].append(
                JudgeRow(text=row["premise"], second=row["hypothesis"], label=row["label"], source=source)
            )
    rows: list[JudgeRow] = []
    for source, (passes, most) in POOL.items():
        rng.shuffle(pool[source])
        taken = pool[source][:most]
        rows += taken * int(passes) + taken[: round(passes % 1 * len(taken))]
    rows += several_premises({source: pool[source] for source in WINDOWED}, SEVERAL_PREMISES, rng)
    rows += doctor_pairs(doctor_answers(data), DOCTOR_ROWS, rng)
    tasks = [row for found in task_rows(data, held_out=False).values() for row in found]
    rows += tasks * TASK_PASSES
    rng.shuffle(rows)
    return rows


def held_out_rows(data: Path) -> dict[str, list[JudgeRow]]:
    """What is measured after the training and stands in no training row."""
    rows = {
        name: [_pair(row) for row in read(data / file) if not share or is_held_out(row["premise"], share)]
        for name, file, share in (
            ("snli_dev (held out)", "nli/snli_dev.jsonl", HELD_OUT["snli_dev"]),
            ("mnli_matched (held out)", "nli/mnli_dev_matched_taxinli.jsonl", HELD_OUT["mnli_dev_m_taxinli"]),
            ("cad_snli_dev", "nli/cad_snli_dev.jsonl", 0),
            ("sick_dev", "nli/sick_dev.jsonl", 0),
            ("mpe_dev", "nli/mpe_dev.jsonl", 0),
            ("joci_dev", "nli/joci_dev.jsonl", 0),
            ("fracas", "nli/fracas_train.jsonl", 0),
            ("healthver_dev (held out)", "nli_medical/healthver_dev.jsonl", HELD_OUT["healthver_dev"]),
            ("mediqa_rqe_validation", "nli_medical/mediqa_rqe_validation.jsonl", 0),
            ("nli4ct_dev", "nli_medical/nli4ct_dev.jsonl", 0),
        )
    }
    rows |= {f"{name} (held out)": found for name, found in task_rows(data, held_out=True).items()}
    return {name: random.Random(SEED).sample(found, min(MEASURED, len(found))) for name, found in rows.items()}


def task_rows(data: Path, *, held_out: bool) -> dict[str, list[JudgeRow]]:
    """Answers to questions and replies to given knowledge as NLI rows, by set; either the held-out groups or the others."""

    def chosen(file: str, group: str) -> Iterable[dict[str, Any]]:
        return (row for row in read(data / file) if is_held_out(str(row[group]), TASK_SHARE) == held_out)

    rows: dict[str, list[JudgeRow]] = {"qa_evouna_nq": [], "qa_beetle": [], "qa_scientsbank": []}
    for row in chosen("correctness/evouna_nq.jsonl", "question"):
        label = "entailment" if row["label"] else "not_entailment"
        rows["qa_evouna_nq"].append(_answered(row, re.split(r"\s*/\s*", row["reference"]), label, "qa_evouna_nq"))
    graded = {"correct": "entailment", "incorrect": "not_entailment", "contradictory": "contradiction"}
    for name, file in (("qa_beetle", "semeval2013_beetle_train"), ("qa_scientsbank", "semeval2013_scientsbank_train")):
        for row in chosen(f"correctness/{file}.jsonl", "question"):
            rows[name].append(_answered(row, row["references"], graded[row["label"]], name))
    supported = {
        "fully attributable": "entailment",
        "not fully attributable": "not_entailment",
        "entailment": "entailment",
        "hallucination": "not_entailment",
        "partial hallucination": "not_entailment",
        "consistent": "entailment",
        "inconsistent": "not_entailment",
    }
    for name, file in (
        ("grounded_begin", "begin_test_wow"),
        ("grounded_begin", "begin_dev_wow"),
        ("grounded_q2", "q2_wow"),
        ("grounded_faithdial", "faithdial_audit"),
    ):
        rows.setdefault(name, []).extend(
            JudgeRow(text=row["knowledge"], second=row["response"], label=supported[row["label"]], source=name)
            for row in chosen(f"hallucination/{file}.jsonl", "knowledge")
            if row["label"] in supported
        )
    return rows


def _answered(row: dict[str, Any], references: Sequence[str], label: str, source: str) -> JudgeRow:
    """The question before the reference that shares most words with the answer, and before the answer."""
    words = set(re.findall(r"\w+", row["answer"].lower()))

    def shared(reference: str) -> float:
        own = set(re.findall(r"\w+", reference.lower()))
        return len(own & words) / max(1, len(own))

    reference = max(references, key=shared)
    text, second = f"{row['question']} {reference}", f"{row['question']} {row['answer']}"
    return JudgeRow(text=text, second=second, label=label, source=source)


def _pair(row: dict[str, Any]) -> JudgeRow:
    return JudgeRow(text=row["premise"], second=row["hypothesis"], label=row["label"])


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


def _closed(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."


if __name__ == "__main__":
    main()
