"""Trains `embedded:relevance`, P(the text answers the question), from public question and answer pairs.

    python -m judges.models.train_relevance --data FOLDER --start NLI

NLI is the adapter whose encoder is trained further: `judges/models/nli`, `embedded:nli`.
FOLDER holds the data sets named below as JSON Lines; they are not part of the project. The adapter and its card are
written to `relevance/` beside this file. It is run by hand, by nothing else.

Every set is cut by question: no question is trained in one row and measured in another. Texts are one to a few
sentences, as the judge asks about them; negatives are wrong answers that share words with the question.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from harness.models.embedded import resolve
from harness.training.judge_adapters import JudgeRow, JudgeTraining, train_judge_adapter
from judges.models.labelled import SEED, is_held_out, read, report
from judges.sentences import split_sentences

LABELS = ("not_relevant", "relevant")
MEDIQA_ROWS = 150
TRECQA_HELD_OUT = 0.4
"""Share of questions that are kept for fitting and measuring."""
NEAREST = 8
"""A wrong answer is drawn among so many nearest ones: the very nearest is too often a right one."""
MOST_WORDS = 40
TITLE = "embedded:relevance"
NOTES = """\
P(not_relevant), P(relevant) of a question and a sentence or short passage: does it answer, or help to answer.

Trained further from the encoder of `embedded:nli`, which compares two texts already. Every set is cut by
question. Negatives: in qnli_dev and trecqa_dev other sentences of the same text or topic, elsewhere answers to other
questions that share words, and sentences `written` by us: evasions, pleasantries and echoes; sending a patient to a doctor
is relevant. Rows of mediqa are passages with the label of the whole answer, so both labels are noisy.
Bad at: medical answers of several passages, where a passage alone says too little (mediqa_validation), so the relevancy
judge lets it weigh less the longer an answer is; letters to doctors (online doctors), whose answers seldom take up a word."""

EVASIONS = (
    "I cannot help with that.", "That is a good question.", "I'm sorry, but I can't answer this.", "It depends.",
    "As an AI language model, I have no personal opinions.", "I don't know.", "There are many views on this topic.",
    "Thank you for your question.", "I would rather not say.", "This is a difficult matter.", "Who knows?", "Well...",
    "I'm not able to provide that information.", "Please ask somebody else.", "Let me think about it.", "No comment.",
    "I hope this helps.", "Feel free to ask if you have any further questions.", "Good luck!", "Have a nice day.",
    "Thanks for asking, it is great to hear from you.", "Many people ask themselves the same thing.",
    "This is an interesting subject with a long history.", "We will see.", "I am only a machine.", "Maybe, maybe not.",
    "I have no information about this.", "That is beyond what I can do.", "Questions like this come up all the time.",
    "You can find a lot about it on the internet.", "Wishing you all the best.", "Next question, please.",
    "I understand your concern.", "The answer is not simple.", "I'm afraid I have no idea.", "Let us talk about it.",
)  # fmt: skip
EVASIONS_HELDOUT = (
    "Unfortunately I am unable to assist you with this request.", "What a great question!", "I really couldn't say.",
    "I hope that answers your question.", "It is hard to say anything about it.", "Sorry, I must decline.",
)  # fmt: skip
REFERRALS = (
    "You should see a doctor today.", "Please go to the emergency room now.", "Call an ambulance at once.",
    "This needs to be examined by a specialist soon.", "Make an appointment with your family doctor this week.",
    "With these symptoms you must be seen by a physician right away.", "A doctor has to look at this before you take anything.",
)  # fmt: skip
REFERRALS_HELDOUT = ("Have it checked by a doctor as soon as possible.", "Go to the nearest hospital immediately.")
ECHOES = ("{}", "You ask: {}", "The question is: {}", "So you want to know this: {}", "{} That is what you asked.")
ECHOES_HELDOUT = ("Your question was: {}", "I see that you would like to know: {}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains, and prints what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--start", type=Path, required=True, help="an NLI adapter, whose encoder is trained further")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "relevance", help="where to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    torch.set_num_threads(2)
    for name, measures in train_relevance(options.data, options.out, start=options.start).metrics.items():
        logging.info("%s: %s", name, ", ".join(f"{key} {value:.3f}" for key, value in measures.items()))


def train_relevance(data: Path, out: Path, *, start: Path) -> JudgeTraining:
    """Trains `embedded:relevance` on the encoder of an NLI adapter, `start`, which compares two texts already.

    A part of each source's questions is held out, and mediqa's validation set.
    """
    rows, heldout = relevance_rows(data)
    return train_judge_adapter(
        kind="classification",
        encoder=resolve("embedded:minilm"),
        rows=rows,
        heldout=heldout,
        out=out,
        labels=LABELS,
        method="full",
        start=start,
        learning_rate=1e-4,
        batch_tokens=1200,
        max_tokens=128,
        seed=SEED,
        title=TITLE,
        notes=NOTES,
        command="python -m judges.models.train_relevance --data FOLDER --start NLI",
        progress=report(len(rows)),
    )


def relevance_rows(data: Path) -> tuple[list[JudgeRow], dict[str, list[JudgeRow]]]:
    """Training rows, shuffled, and the held-out rows of each source."""
    rng = random.Random(SEED)
    rows: list[JudgeRow] = []
    heldout: dict[str, list[JudgeRow]] = {}

    def add(source: str, found: Sequence[JudgeRow], share: float, most: int | None = None) -> None:
        """Cuts a source by question."""
        heldout[source] = [row for row in found if is_held_out(row.text, share)]
        kept = [row for row in found if not is_held_out(row.text, share)]
        rng.shuffle(kept)
        rows.extend(kept[:most])

    add("qnli_dev", _qnli(data), 0.05)
    add("trecqa_dev", _trecqa(data), TRECQA_HELD_OUT)
    for name in ("train_alexa", "train_liveqa"):
        add(f"mediqa_{name}", _mediqa(data, name, rng), 0.0, MEDIQA_ROWS)
    heldout["mediqa_validation"] = _mediqa(data, "validation", rng)
    pairs = {
        "evouna_nq": (_evouna(data, rng), 1),
        "medquad": (_medquad(data, rng), 1),
        "online doctors": (_lasse(data, rng), 1),
        "chatdoctor": (_chatdoctor(data, rng), 1),
        "instructions": (_instructions(data, rng), 1),
    }
    for source, (found, wrong) in pairs.items():
        add(source, _with_wrong_answers(found, wrong, source, rng), 0.1)
    asked = list(dict.fromkeys(row.text for row in rows))
    medical = [text for source in ("online doctors", "chatdoctor") for text, _ in rng.sample(pairs[source][0], 80)]
    rows += _written(rng.sample(asked, 400), medical, EVASIONS, REFERRALS, ECHOES, rng)
    asked = list(dict.fromkeys(row.text for found in heldout.values() for row in found))
    medical = [row.text for row in heldout["online doctors"]][:25]
    heldout["written"] = _written(
        rng.sample(asked, 40), medical, EVASIONS_HELDOUT, REFERRALS_HELDOUT, ECHOES_HELDOUT, rng
    )
    heldout = {name: found for name, found in heldout.items() if found}
    rng.shuffle(rows)
    return rows, heldout


def _row(question: str, text: str, relevant: bool, source: str) -> JudgeRow:
    return JudgeRow(text=question.strip(), second=text.strip(), label=LABELS[relevant], source=source)


def _qnli(data: Path) -> list[JudgeRow]:
    return [
        _row(row["premise"], row["hypothesis"], row["label"] == "entailment", "qnli_dev")
        for row in read(data / "nli/train_pool.jsonl.gz")
        if row["source"] == "qnli_dev"
    ]


def _trecqa(data: Path) -> list[JudgeRow]:
    found = read(data / "relevancy/trecqa_dev.jsonl")
    return [_row(row["question"], row["answer"], bool(row["label"]), "trecqa_dev") for row in found]


def _mediqa(data: Path, name: str, rng: random.Random) -> list[JudgeRow]:
    """A passage of each answer, every other one its beginning; the label is that of the whole answer."""
    rows = []
    for row in read(data / f"relevancy/mediqa_qa_{name}.jsonl"):
        sentences = split_sentences(row["answer"])
        start = rng.choice((0, rng.randrange(len(sentences))))
        rows.append(_row(row["question"], _passage(sentences, start), bool(row["label"]), f"mediqa_{name}"))
    return rows


def _evouna(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    """One answer to a question, mostly a long one; a wrong one still addresses what was asked."""
    answers: dict[str, list[str]] = {}
    for row in read(data / "correctness/evouna_nq.jsonl"):
        answers.setdefault(row["question"], []).append(_passage(split_sentences(row["answer"]), 0))
    chosen = rng.sample(sorted(answers), min(len(answers), 600))
    return [(question, rng.choice([max(answers[question], key=len), *answers[question]])) for question in chosen]


def _medquad(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    pairs = []
    for row in rng.sample(list(read(data / "patient_doctor/medquad_sample.jsonl")), 400):
        sentences = split_sentences(row["answer"])
        pairs.append((row["question"], _passage(sentences, rng.choice((0, rng.randrange(len(sentences)))))))
    return pairs


def _lasse(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    pairs = [(row["Patient"], row["Doctor"]) for row in read(data / "patient_doctor/questiondoctor_lasse.jsonl")]
    chosen = rng.sample([pair for pair in pairs if len(pair[0].split()) < 60 and pair[1].strip()], 300)
    return [(question, _passage(split_sentences(answer), 0)) for question, answer in chosen]


def _chatdoctor(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    pairs = [(row["Patient"], row["Doctor"]) for row in read(data / "patient_doctor/chatdoctor3k.jsonl")]
    return [(question, _passage(split_sentences(answer), 0)) for question, answer in rng.sample(pairs, 200)]


def _instructions(data: Path, rng: random.Random) -> list[tuple[str, str]]:
    """Requests that are no questions, and the beginning of a response."""
    pairs = []
    for row in read(data / "pairwise/pandalm_test.jsonl"):
        request = f"{row['instruction']} {row['input']}".strip()
        pairs.append((request, row["response1"]))
    pairs += [(row["query"], row["response"]) for row in read(data / "hallucination/halueval_general_a.jsonl")]
    short = [(str(a), str(b)) for a, b in pairs if len(str(a).split()) < 45 and len(str(b).split()) > 1]
    return [(request, _passage(split_sentences(text), 0)) for request, text in rng.sample(short, 300)]


def _passage(sentences: Sequence[str], start: int) -> str:
    """Whole sentences from `start` on, up to `MOST_WORDS` words, but at least one (cut, where it is longer)."""
    taken: list[str] = []
    for sentence in sentences[start:]:
        words = sentence.split()
        if taken and len(taken) + len(words) > MOST_WORDS:
            break
        taken += words
    return " ".join(taken[:MOST_WORDS])


def _with_wrong_answers(
    pairs: Sequence[tuple[str, str]], wrong: int, source: str, rng: random.Random
) -> list[JudgeRow]:
    """Each pair as relevant, and `wrong` answers to other questions among the nearest ones, once in a while any."""
    questions, texts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit([*questions, *texts])
    likeness = (words.transform(questions) @ words.transform(texts).T).toarray()
    near = np.argsort(-likeness, axis=1, kind="stable")
    rows = []
    for index, (question, text) in enumerate(pairs):
        rows.append(_row(question, text, True, source))
        others = [i for i in near[index] if questions[i] != question]
        for _ in range(wrong):
            other = rng.choice(others[:NEAREST] if rng.random() < 0.8 else others)
            rows.append(_row(question, texts[other], False, source))
    return list({(row.text, row.second): row for row in rows}.values())


def _written(
    asked: Sequence[str],
    medical: Sequence[str],
    evasions: Sequence[str],
    referrals: Sequence[str],
    echoes: Sequence[str],
    rng: random.Random,
) -> list[JudgeRow]:
    """Sentences of ours: evasions and echoes answer nothing, sending a patient to a doctor does."""
    rows: list[Any] = []
    for question in asked:
        empty = rng.choice(evasions) if rng.random() < 0.7 else rng.choice(echoes).format(question)
        rows.append(_row(question, empty, False, "written"))
    rows += [_row(question, rng.choice(referrals), True, "written") for question in medical]
    return rows


if __name__ == "__main__":
    main()
