"""What the training scripts beside this file share: reading labelled data, and which of it is never trained on.

The data sets are public and lie in a folder of one's own; they are no part of the project (several may not be
redistributed). A set is split by *group* (a premise, a question, a piece of knowledge), so that no group stands on both
sides, and by a hash, so that every script agrees on the split without being told.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.records import Progress
from judges.asked import BARE

__all__ = ["bare_answers", "doctor_answers", "is_held_out", "read", "report"]

SEED = 1234


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, gzipped or not."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in content.splitlines():
        yield json.loads(line)


def is_held_out(group: str, share: float) -> bool:
    """Whether rows of this group are kept for fitting and measuring: a `share` of all groups, by a hash of the text.

    Case, spaces and punctuation do not count. What is held out at one share is held out at every larger one.
    """
    plain = re.sub(r"\W+", "", group.lower())
    digest = hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def bare_answers(data: Path) -> list[tuple[str, str, int]]:
    """(question, answer, label) of search questions with references of at most `BARE` words: its own, 1, and, 0, another's.

    The other question begins with another word (when, where, who ...), so that its answer is hardly one to this.
    """
    rows = {
        row["question"]: row["reference"].split("/")[0].strip() for row in read(data / "correctness/evouna_nq.jsonl")
    }
    words = ("who", "whose", "what", "which", "when", "where", "why", "how")
    own = [(q, answer) for q, answer in rows.items() if q.split()[0] in words and len(answer.split()) <= BARE]
    draw = random.Random(SEED)
    others = [draw.choice([a for q, a in own if q.split()[0] != question.split()[0]]) for question, _ in own]
    pairs = [(question, answer, 1) for question, answer in own]
    return pairs + [(question, other, 0) for (question, _), other in zip(own, others, strict=True)]


def doctor_answers(data: Path) -> list[list[str]]:
    """Answers of doctors to real questions as lists of sentences of 5 to 40 words."""
    texts = [row["answer"] for row in read(data / "patient_doctor/medquad_sample.jsonl")]
    texts += [row["Doctor"] for row in read(data / "patient_doctor/questiondoctor_lasse.jsonl")]
    answers = []
    for text in texts:
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
        answers.append([s for s in sentences if 5 <= len(s.split()) <= 40 and not s.endswith("?")])
    return answers


def report(total: int) -> Progress:
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
