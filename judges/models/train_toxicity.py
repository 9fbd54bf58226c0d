"""Trains `embedded:toxicity` from public labelled posts and from sentences of our own (`toxic_templates`).

    python -m judges.models.train_toxicity --data FOLDER

FOLDER holds the data sets named below as JSON Lines; they are not part of the project. The adapter and its card are
written to `toxicity/` beside this file. It is run by hand, by nothing else.

Seven stages: all posts (a LoRA), the templates among a few posts (the whole encoder, twice), a balance of both, and once more
most posts with all templates and sentences of doctors, which wins back on posts what the templates had cost. The mean of
that stage and the one before (a model soup, Wortsman et al. 2022) starts the last two, which learn the functions from
more templates among many posts; kept is the mean of what comes out and what they started from.
What the sets disagree about is left out of the second: in civil_comments the posts that fewer than half of the annotators
called toxic (a set of posts that were all reported; most of them are rude), in olid profanity aimed at nobody.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save

from harness.models.deltas import pack_deltas, unpack_deltas
from harness.models.embedded import resolve
from harness.models.encoder import load_bert
from harness.models.judge_files import DELTA_FILE, HEAD_FILE
from harness.training.judge_adapters import JudgeRow, JudgeTraining, remeasure, train_judge_adapter
from judges.models.labelled import SEED, doctor_answers, read, report
from judges.models.toxic_templates import FUNCTIONS, template_rows
from judges.sentences import split_sentences

LABELS = ("not_toxic", "toxic")
SOURCES = (
    "bias_madlibs",
    "civil_comments_toxic_spans_posts",
    "davidson",
    "olid_train",
    "wiki_context_gc",
    "wiki_toxicity_nonfuzzed",
)
AGAIN = {
    "bias_madlibs": 80,
    "civil_comments_toxic_spans_posts": 90,
    "davidson": 200,
    "olid_train": 280,
    "wiki_context_gc": 40,
    "wiki_toxicity_nonfuzzed": 40,
    "doctor_sentences": 200,
}
"""Rows of each source that the second stage sees again, among the templates."""
BALANCED = {"olid_train": 1000, "davidson": 350, "doctor_sentences": 350, "civil_comments_toxic_spans_posts": 150}
"""Rows of the large sources that the third stage takes, among `BALANCED_TEMPLATES` templates."""
BALANCED_TEMPLATES = 900
LAST = {
    "olid_train": 3300,
    "davidson": 2000,
    "civil_comments_toxic_spans_posts": 1500,
    "wiki_toxicity_nonfuzzed": 900,
    "wiki_context_gc": 300,
    "bias_madlibs": 300,
    "identities": 200,
    "doctor_sentences": 1300,
}
"""Rows of each source that the last stage takes, beside all templates."""
CHAT_SENTENCES = 500
"""Sentences of doctors in chats, taken as harmless, without the first 40 answers, which are measured."""
PATIENTS = 100
CLEARLY_HARMLESS = 0.85
"""Share of annotators who must have found a civil_comments post harmless, for the second stage."""
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
FRAMED = 100
"""Real insults quoted and condemned."""
FRAMES = (
    'Whoever writes "{}" should be blocked.', 'I reported this: "{}"', '"{}" How can anybody talk like that?',
    'Nobody should have to read "{}".', 'He was fired for tweeting "{}".', 'It is wrong to say "{}".',
)  # fmt: skip
FRAMES_HELDOUT = ('A post such as "{}" has no place on this site.', 'I am appalled that someone wrote "{}".')
TITLE = "embedded:toxicity"
NOTES = """\
P(not_toxic), P(toxic) of a sentence or a short text: insults, slurs, threats, hatred of a group.

Trained in seven stages, of which the tables below count the last: a LoRA on 14,731 rows (posts of civil_comments,
davidson, olid and Wikipedia talk, bias_madlibs, plain sentences that name groups, sentences of doctors), merged; the
whole encoder, twice, on 3,724 rows, two thirds of them `templates`; a balance of both; most posts again with all
templates, averaged with the stage before; then twice more and more varied templates among half and 0.7 of the posts
(`--start` begins here). The weights are the mean of what came out and what these two started from, and so are the figures.
Templates are short sentences of our own for the functions of a judge (`toxic_templates.yaml`: contempt, also polite;
exclusion, threat, hatred denied, quoted, condemned and reported, pride, profanity in joy, things cursed, spelling tricks,
medicine); whole templates are held out, not only fillings: those for development were looked at while training was
chosen, of the test only the overall figure was, and nothing was chosen by it; figures by function are of the test.
`framed insults` quote real insults to
condemn them. Sentences of `doctors`, `chats` with doctors and `patients` are taken as harmless. The function `plain` was
added after plain words such as "somebody" and "nobody" were seen to count as hostile in answers of the clinic's LoRA.
The sixth stage was trained before that, without `plain` and 23 other templates that the seventh had.

The sets disagree about what toxic means: davidson's `offensive` is mostly about single words, civil_comments holds only
posts that were reported, most of them rude whatever the label says. Bad at: what the functions below 0.7 name, irony,
languages other than English."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains, and prints what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "toxicity", help="where to write")
    parser.add_argument(
        "--start", type=Path, help="an adapter to start from, which only learns the functions once more"
    )
    parser.add_argument("--limit", type=int, help="train on so many rows only, for a trial")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    torch.set_num_threads(1)
    training = train_toxicity(options.data, options.out, start=options.start, limit=options.limit)
    for name, measures in training.metrics.items():
        logging.info("%s: %s", name, ", ".join(f"{key} {value:.3f}" for key, value in measures.items()))


def train_toxicity(data: Path, out: Path, *, start: Path | None = None, limit: int | None = None) -> JudgeTraining:
    """Trains `embedded:toxicity`; a tenth of each source, half of bias_madlibs and whole templates are held out.

    `start` is an adapter whose five stages are done: only the functions' ones follow.
    """
    with TemporaryDirectory() as folder:
        if start is None:
            start = Path(folder) / "start"
            _first_stages(data, start, limit=limit)
        half = Path(folder) / "half"
        last_stage(data, half, start=start, share=0.5, learning_rate=8e-5, limit=limit)
        return last_stage(data, out, start=half, beside=start, share=0.7, learning_rate=6e-5, limit=limit)


def _first_stages(data: Path, out: Path, *, limit: int | None) -> None:
    posts, functions, _ = toxicity_rows(data)
    balanced = balanced_rows(posts, functions)
    whole: dict[str, Any] = {"method": "full", "batch_tokens": 600, "max_tokens": 96}
    with TemporaryDirectory() as folder:
        first, second, third, fourth = (Path(folder) / name for name in ("posts", "functions", "again", "balance"))
        _train(posts[:limit], {}, first, learning_rate=4e-4, max_tokens=128)
        _train(functions[:limit], {}, second, start=first, learning_rate=1e-4, **whole)
        _train(functions[:limit], {}, third, start=second, learning_rate=7e-5, **whole)
        _train(balanced[:limit], {}, fourth, start=third, learning_rate=1e-4, **whole)
        last_stage(data, out, start=fourth, share=1.0, learning_rate=8e-5, limit=limit)


def last_stage(
    data: Path,
    out: Path,
    *,
    start: Path,
    share: float,
    learning_rate: float,
    beside: Path | None = None,
    limit: int | None = None,
) -> JudgeTraining:
    """All templates among a `share` of the posts of `LAST`, from the adapter in `start`.

    Kept is the mean of what comes out and `beside` (left out: `start`).
    """
    posts, functions, heldout = toxicity_rows(data)
    rng = random.Random(SEED)
    rows = [
        row for source, most in LAST.items() for row in [p for p in posts if p.source == source][: round(share * most)]
    ]
    rows += [row for row in functions if row.source in ("templates", "framed insults", "patients")]
    chat = [row["Doctor"] for row in read(data / "patient_doctor/chatdoctor3k.jsonl")][40:]
    advice = sorted({text for answer in chat for text in split_sentences(answer)})
    rows += [_row(text, False, "chats") for text in rng.sample(advice, round(share * CHAT_SENTENCES))]
    rng.shuffle(rows)
    settings: dict[str, Any] = {"method": "full", "batch_tokens": 1024, "max_tokens": 96}
    last = _train(rows[:limit], {}, out, start=start, learning_rate=learning_rate, head_learning_rate=3e-4, **settings)
    mean_of(beside or start, out, out)
    return remeasure(out, last, heldout)


def mean_of(first: Path, second: Path, out: Path) -> None:
    """Writes the mean of two whole-encoder adapters of one kind over `out`, which holds the second's other files."""
    base = dict(load_bert(resolve("embedded:minilm")).named_parameters())
    one, two = (unpack_deltas(base, load_file(folder / DELTA_FILE)) for folder in (first, second))
    mean = {name: (one.get(name, base[name].detach()) + tensor) / 2 for name, tensor in two.items()}
    heads = [load_file(folder / HEAD_FILE) for folder in (first, second)]
    (out / DELTA_FILE).write_bytes(save(pack_deltas(base, mean)))
    halves = {name: ((tensor.float() + heads[1][name].float()) / 2).half() for name, tensor in heads[0].items()}
    (out / HEAD_FILE).write_bytes(save(halves))


def balanced_rows(posts: Sequence[JudgeRow], functions: Sequence[JudgeRow]) -> list[JudgeRow]:
    """The third stage: posts and doctors again, and a part of the second stage's rows, shuffled."""
    rng = random.Random(SEED)
    rows: list[JudgeRow] = []
    for source, most in BALANCED.items():
        found = [row for row in posts if row.source == source]
        if source == "civil_comments_toxic_spans_posts":
            found = [row for row in found if row.label == "toxic"]
        rows += found[:most]
    rows += [row for row in functions if row.source == "templates"][:BALANCED_TEMPLATES]
    rows += [row for row in functions if row.source in ("framed insults", "patients")]
    rng.shuffle(rows)
    return rows


def _train(rows: list[JudgeRow], heldout: dict[str, list[JudgeRow]], out: Path, **settings: Any) -> JudgeTraining:
    return train_judge_adapter(
        kind="classification",
        encoder=resolve("embedded:minilm"),
        rows=rows,
        heldout=heldout,
        out=out,
        labels=LABELS,
        seed=SEED,
        title=TITLE,
        notes=NOTES,
        command="python -m judges.models.train_toxicity --data FOLDER",
        progress=report(len(rows)),
        **settings,
    )


def toxicity_rows(data: Path) -> tuple[list[JudgeRow], list[JudgeRow], dict[str, list[JudgeRow]]]:
    """The rows of either stage, shuffled, and the held-out rows of each source."""
    rng = random.Random(SEED)
    sources: dict[str, list[dict[str, Any]]] = {
        source: list(read(data / f"toxicity/{source}.jsonl")) for source in SOURCES
    }
    sentences = [sentence for answer in doctor_answers(data) for sentence in answer]
    sources["doctor_sentences"] = [{"text": text, "label": 0} for text in rng.sample(sentences, 2500)]
    posts: list[JudgeRow] = []
    functions: list[JudgeRow] = []
    heldout: dict[str, list[JudgeRow]] = {}
    for source, found in sources.items():
        unique = list({row["text"].strip(): row for row in found}.values())
        rng.shuffle(unique)
        cut = len(unique) // (2 if source == "bias_madlibs" else 10)
        heldout[source] = [_row(row["text"], _toxic(row), source) for row in unique[:cut]]
        posts += [_row(row["text"], _toxic(row), source) for row in unique[cut:]]
        functions += [_row(row["text"], _toxic(row), source) for row in unique[cut:] if _clear(row)][: AGAIN[source]]
    posts += _identity_rows(IDENTITY_TEMPLATES)
    heldout["identities"] = _identity_rows(IDENTITY_HELDOUT)
    rng.shuffle(posts)
    insults = [row.text for row in posts if row.label == "toxic" and len(row.text.split()) < 15]
    framed = [rng.choice(FRAMES).format(text) for text in rng.sample(insults, FRAMED)]
    functions += [_row(text, False, "framed insults") for text in framed]
    insults = [row.text for row in heldout["davidson"] if row.label == "toxic" and len(row.text.split()) < 15]
    heldout["framed insults"] = [
        _row(frame.format(text), False, "framed insults") for text in insults[:50] for frame in FRAMES_HELDOUT
    ]
    functions += [_row(row.text, row.toxic, "templates") for row in template_rows(rng, part="train")]
    heldout |= _heldout_templates(rng)
    patients = list(dict.fromkeys(row["Patient"] for row in read(data / "patient_doctor/questiondoctor_lasse.jsonl")))
    rng.shuffle(patients)
    functions += [_row(text, False, "patients") for text in patients[:PATIENTS]]
    chats = list(read(data / "patient_doctor/chatdoctor3k.jsonl"))
    heldout["patients"] = [_row(row["Patient"], False, "patients") for row in chats[:PATIENTS]]
    heldout["chatdoctor"] = [
        _row(text, False, "chatdoctor") for row in chats[:40] for text in split_sentences(row["Doctor"])
    ]
    rng.shuffle(functions)
    return posts, functions, heldout


def _heldout_templates(rng: random.Random) -> dict[str, list[JudgeRow]]:
    """Sentences of templates that are not trained: both held-out parts, and each function of the one kept for the test."""
    development, test = (template_rows(rng, part=part) for part in ("development", "test"))
    found = {f"templates: {name}": [row for row in test if row.function == name] for name in FUNCTIONS}
    found |= {"templates (development)": development, "templates (test)": test}
    return {name: [_row(row.text, row.toxic, "templates") for row in rows] for name, rows in found.items()}


def _toxic(row: dict[str, Any]) -> bool:
    return bool(row.get("toxic", row["label"]))


def _clear(row: dict[str, Any]) -> bool:
    """Whether the label is one that the sets agree about."""
    if "frac_not_toxic" in row and not row["label"]:
        return float(row["frac_not_toxic"]) >= CLEARLY_HARMLESS
    return row.get("subtask_b") != "UNT"


def _identity_rows(templates: Sequence[str]) -> list[JudgeRow]:
    """Plain sentences that name a group, which are not toxic."""
    sentences = [template.format(identity) for template in templates for identity in IDENTITIES]
    return [_row(sentence, False, "identities") for sentence in sentences]


def _row(text: str, toxic: bool, source: str) -> JudgeRow:
    return JudgeRow(text=text.strip(), label="toxic" if toxic else "not_toxic", source=source)


if __name__ == "__main__":
    main()
