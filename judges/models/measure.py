"""Measures the judges that come with muster on labelled sets, beside what needs no judge, and writes down what it finds.

    python -m judges.models.measure --data FOLDER [--judge KIND …] [--sets NAME …] [--limit N]

FOLDER holds public data sets as JSON Lines (not part of the project). Every case goes through the judge as `muster score`
would send it. Written are the cards in `calibrations.json` beside this file, which reports show, and the table in
`judges/README.md`; judges that were not measured this time keep their cards. Run it whenever a judge or its weights change.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from harness.deciding.wording import figure_name, figure_text, number
from harness.models.load import ModelRoom
from harness.records import Calibration, Case, Figure, Judge, Judgement
from harness.store.calibrations import SHIPPED, read_cards, write_cards
from harness.suite.grammar import (
    AnyJudgeSpec,
    CorrectnessSpec,
    EntailmentSpec,
    HallucinationSpec,
    RelevancySpec,
    ToxicitySpec,
)
from judges import JudgeBuilder
from judges.calibration import calibrate, read_truth
from judges.grounding import nearest_sentences
from judges.models.labelled import SEED, bare_answers, is_held_out, read
from judges.models.train_nli import HELD_OUT, TASK_SHARE
from judges.models.train_relevance import TRECQA_HELD_OUT
from judges.models.train_toxicity import toxicity_rows
from judges.overlap import normalise, token_f1

HERE = Path(__file__).parent
CARDS = HERE.parent / SHIPPED
TABLE = HERE.parent / "README.md"
CHUNK = 64
SPECS: Mapping[str, AnyJudgeSpec] = {
    "entailment": EntailmentSpec(),
    "correctness": CorrectnessSpec(),
    "hallucination": HallucinationSpec(),
    "relevancy": RelevancySpec(),
    "toxicity": ToxicitySpec(),
}
Seen = Literal["unseen", "held out", "fitted", "partly seen", "seen"]
Scores = NDArray[np.float64]
Baseline = Callable[[Sequence[Case]], Scores]
"""Scores of cases that need no judge, high where the judge's should be."""

SEEN_WORDS: Mapping[str, str] = {
    "unseen": "nothing of this set was trained on or fitted",
    "held out": "other rows of its source were trained on (sick_dev, cad_snli_dev, joci_dev and mpe_dev share some premises with"
    " them, no pairs; the others no premise, question or text)",
    "fitted": "the model was not trained on these rows, but the few weights that combine its evidence were fitted on them or"
    " on some of them (figures with whole sets left out: models/correctness/CARD.md, models/hallucination/CARD.md)",
    "partly seen": "other answers to the same questions were trained on",
    "seen": "rows of it were trained on",
}


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One labelled case; `group` is what its neighbours share, and `other` holds what a stored system said of it."""

    case: Case
    label: Any
    group: str | None = None
    other: str | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """A set for one judge: where it comes from, how its labels are read, and how far it was trained on."""

    judge: str
    name: str
    what: str
    rows: Callable[[Path], Iterator[Labelled]]
    seen: Seen
    limit: int = 400
    positive: tuple[str, ...] = ()
    at_least: float | None = None
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    stored: str = ""
    """Name of the system whose stored predictions stand in `Labelled.other`."""
    published: str = ""
    pairs: bool = False
    """Whether it also counts how many pairs of one group are in the right order."""


# ----------------------------------------------------------------------------------------------------------- baselines


def recall_of_reference(cases: Sequence[Case]) -> Scores:
    """Share of the reference's words that the answer has; the best reference counts."""
    return np.array([max(_share(r, case.answer or "") for r in case.references) for case in cases])


def recall_in_context(cases: Sequence[Case]) -> Scores:
    """Share of the answer's words that the context (or reference) has."""
    return np.array([_share(case.answer or "", " ".join(case.contexts or case.references)) for case in cases])


def new_words(cases: Sequence[Case]) -> Scores:
    """Share of the answer's words that the context lacks."""
    return 1 - recall_in_context(cases)


def f1_of_reference(cases: Sequence[Case]) -> Scores:
    """Token F1 with the best reference."""
    return np.array([max(token_f1(r, case.answer or "") for r in case.references) for case in cases])


def words_of_question(cases: Sequence[Case]) -> Scores:
    """Share of the question's words that the answer has."""
    return np.array([_share(case.input or "", case.answer or "") for case in cases])


def same_for_all(cases: Sequence[Case]) -> Scores:
    """The same score for every case, which is what always naming the majority comes to: AUROC 0.5."""
    return np.zeros(len(cases))


class Cosine:
    """MiniLM cosine of the answer and something else."""

    def __init__(self, room: ModelRoom) -> None:
        self._embedder = room.embedder("embedded:minilm")

    def to_reference(self, cases: Sequence[Case]) -> Scores:
        """The reference (or context), the best one."""
        return self._best(cases, [case.references or case.contexts for case in cases])

    def from_context(self, cases: Sequence[Case]) -> Scores:
        """The distance from the context."""
        return 1 - self.to_reference(cases)

    def to_question(self, cases: Sequence[Case]) -> Scores:
        """The question."""
        return self._best(cases, [(case.input or "",) for case in cases])

    def _best(self, cases: Sequence[Case], others: Sequence[Sequence[str]]) -> Scores:
        texts = list(dict.fromkeys([case.answer or "" for case in cases] + [text for row in others for text in row]))
        place, vectors = {text: i for i, text in enumerate(texts)}, self._embedder.embed(texts)
        return np.array(
            [
                max(float(vectors[place[case.answer or ""]] @ vectors[place[text]]) for text in row)
                for case, row in zip(cases, others, strict=True)
            ]
        )


def _share(wanted: str, given: str) -> float:
    words, there = set(normalise(wanted).split()), set(normalise(given).split())
    return len(words & there) / max(1, len(words))


# ---------------------------------------------------------------------------------------------------------------- sets


def all_sets(data: Path, room: ModelRoom) -> list[LabelledSet]:
    """Every judge × labelled set, in the order of the table."""
    cosine = Cosine(room)
    nli = {"word recall": recall_in_context, "MiniLM cosine": cosine.to_reference}
    qa = {"word recall": recall_of_reference, "token F1": f1_of_reference, "MiniLM cosine": cosine.to_reference}
    grounding = {"new words": new_words, "MiniLM distance": cosine.from_context}
    asked = {"MiniLM cosine": cosine.to_question, "question words": words_of_question}
    return [
        *_entailment_sets(nli),
        *_correctness_sets(qa),
        *_hallucination_sets(grounding),
        *_relevancy_sets(asked),
        *_toxicity_sets(data),
    ]


def summary_sentences(*, labels: tuple[Any, Any], nearest: bool = False) -> Callable[[Path], Iterator[Labelled]]:
    """Sentences of QAGS's summaries that have both right and wrong ones (`labels`), beside the article.

    With `nearest` the context is the two sentences of the article that are nearest to the sentence in words, as in the task of
    Falke et al. (2019): which of two sentences on the same source is right?
    """

    def rows(data: Path) -> Iterator[Labelled]:
        for row in read(data / "hallucination/qags_cnndm.jsonl"):
            wrong = [sentence["votes"].count("no") > sentence["votes"].count("yes") for sentence in row["sentences"]]
            if len(set(wrong)) == 2:
                for sentence, label in zip(row["sentences"], wrong, strict=True):
                    text, article = sentence["text"], row["context"]
                    context = nearest_sentences(article, text) if nearest else article
                    case = Case(id="", answer=text, references=(context,), contexts=(context,))
                    yield Labelled(case=case, label=labels[label], group=article)

    return rows


SOURCE_SENTENCES = "right and wrong sentences of a news summary, two source sentences given"


def _entailment_sets(baselines: Mapping[str, Baseline]) -> list[LabelledSet]:
    def pairs(file: str, held_out: float = 0.0, group: str = "premise") -> Callable[[Path], Iterator[Labelled]]:
        def rows(data: Path) -> Iterator[Labelled]:
            for row in read(data / file):
                if not held_out or is_held_out(row["premise"], held_out):
                    case = Case(id="", answer=row["hypothesis"], references=(row["premise"],))
                    other = row.get("pred_bert")
                    yield Labelled(case=case, label=row["label"], group=row[group], other=other)

        return rows

    def one(name: str, what: str, file: str, seen: Seen, **more: Any) -> LabelledSet:
        held_out, group = more.pop("held_out", 0.0), more.pop("group", "premise")
        rows = pairs(file, held_out, group)
        return LabelledSet(judge="entailment", name=name, what=what, rows=rows, seen=seen, baselines=baselines, **more)

    return [
        one("snli_dev", "image captions", "nli/snli_dev.jsonl", "held out", held_out=HELD_OUT["snli_dev"], limit=600,
            published="nli-deberta-v3-base 0.924 (SNLI test)"),
        one("mnli_matched", "five genres", "nli/mnli_dev_matched_taxinli.jsonl", "held out",
            held_out=HELD_OUT["mnli_dev_m_taxinli"], limit=600, stored="BERT-base MNLI",
            published="nli-deberta-v3-base 0.900 (mismatched)"),
        one("sick_dev", "captions, simple sentences", "nli/sick_dev.jsonl", "held out"),
        one("cad_snli_dev", "captions edited to turn the label", "nli/cad_snli_dev.jsonl", "held out"),
        one("joci_dev", "common-sense inference", "nli/joci_dev.jsonl", "held out"),
        one("mpe_dev", "four captions as the premise", "nli/mpe_dev.jsonl", "held out"),
        one("fracas", "logic puzzles", "nli/fracas_train.jsonl", "unseen"),
        one("healthver_dev", "claims and medical abstracts", "nli_medical/healthver_dev.jsonl", "held out",
            held_out=HELD_OUT["healthver_dev"], group="topic"),
        one("nli4ct_dev", "statements on trial reports", "nli_medical/nli4ct_dev.jsonl", "unseen", limit=100,
            positive=("entailment",)),
        one("mediqa_rqe_validation", "medical questions: does one answer the other", "nli_medical/mediqa_rqe_validation.jsonl",
            "held out", positive=("entailment",)),
        one("qnli_dev", "question as premise, sentence as hypothesis", "nli/qnli_dev.jsonl", "unseen",
            positive=("entailment",)),
        LabelledSet(judge="entailment", name="qags_source_sentences", what=SOURCE_SENTENCES, rows=summary_sentences(nearest=True,
            labels=("entailment", "not_entailment")), seen="unseen", baselines=baselines, positive=("entailment",), pairs=True),
    ]  # fmt: skip


def _correctness_sets(baselines: Mapping[str, Baseline]) -> list[LabelledSet]:
    def evouna(data: Path) -> Iterator[Labelled]:
        for row in read(data / "correctness/evouna_nq.jsonl"):
            if is_held_out(row["question"], TASK_SHARE):
                references = tuple(re.split(r"\s*/\s*", row["reference"]))
                case = Case(id="", answer=row["answer"], input=row["question"], references=references)
                yield Labelled(case=case, label=row["label"], group=row["question"])

    def students(file: str, *, held_out: bool, part: str | None = None) -> Callable[[Path], Iterator[Labelled]]:
        def rows(data: Path) -> Iterator[Labelled]:
            for row in read(data / f"correctness/{file}.jsonl"):
                if is_held_out(row["question"], TASK_SHARE) == held_out and part in (None, row["part"]):
                    references = tuple(row["references"])
                    case = Case(id="", answer=row["answer"], input=row["question"], references=references)
                    yield Labelled(case=case, label=GRADES[row["label"]], group=row["question"])

        return rows

    def one(name: str, what: str, rows: Callable[[Path], Iterator[Labelled]], seen: Seen, **more: Any) -> LabelledSet:
        return LabelledSet(judge="correctness", name=name, what=what, rows=rows, seen=seen, baselines=baselines, **more)

    beetle, scients = "semeval2013_beetle_test", "semeval2013_scientsbank_train"
    return [
        one("evouna_nq", "short answers to search questions", evouna, "fitted", limit=600),
        one("beetle_unseen_questions", "students on electricity, questions that are new",
            students(beetle, held_out=False, part="test-unseen-questions"), "fitted", at_least=2),
        one("beetle_unseen_answers", "students on electricity, questions that are known",
            students(beetle, held_out=False, part="test-unseen-answers"), "partly seen", at_least=2),
        one("beetle_test_held_out", "students on electricity, held-out questions",
            students(beetle, held_out=True), "fitted", at_least=2),
        one("scientsbank", "pupils on science", students(scients, held_out=True), "fitted", at_least=2),
        one("qags_source_sentences", SOURCE_SENTENCES, summary_sentences(nearest=True, labels=(1, 0)), "unseen", pairs=True),
    ]  # fmt: skip


GRADES = {"correct": 2, "incorrect": 1, "contradictory": 0}
"""Grades of students' answers; 2 is the one that counts as correct."""


def _hallucination_sets(baselines: Mapping[str, Baseline]) -> list[LabelledSet]:
    def grounded(
        file: str, *, text: str, context: str, clear: Mapping[str, int], held_out: float = 0.0
    ) -> Callable[[Path], Iterator[Labelled]]:
        def rows(data: Path) -> Iterator[Labelled]:
            for row in read(data / f"hallucination/{file}.jsonl"):
                if row["label"] in clear and (not held_out or is_held_out(row[context], held_out)):
                    case = Case(
                        id="", answer=row[text], input=row.get("message", row.get("history")), contexts=(row[context],)
                    )
                    yield Labelled(case=case, label=clear[row["label"]], group=row[context])

        return rows

    def entfa(data: Path) -> Iterator[Labelled]:
        for row in read(data / "hallucination/entfa_xsum_train.jsonl"):
            wrong = any(entity["label"] != "Non-hallucinated" for entity in row["entities"])
            case = Case(id="", answer=row["output"], contexts=(row["context"],))
            yield Labelled(case=case, label=int(wrong), group=row["context"])

    def one(name: str, what: str, rows: Callable[[Path], Iterator[Labelled]], seen: Seen, **more: Any) -> LabelledSet:
        options = {"limit": 300, **more}
        return LabelledSet(
            judge="hallucination", name=name, what=what, rows=rows, seen=seen, baselines=baselines, **options
        )

    begin = {"fully attributable": 0, "not fully attributable": 1}
    audit = {"entailment": 0, "hallucination": 1, "partial hallucination": 1}
    q2 = {"consistent": 0, "inconsistent": 1}
    stance = {"completely-support": 0, "partially-support": 1, "refute": 1, "irrelevant": 1}

    def dialogue(name: str, file: str, what: str, clear: Mapping[str, int]) -> LabelledSet:
        rows = grounded(file, text="response", context="knowledge", clear=clear, held_out=TASK_SHARE)
        return one(name, what, rows, "fitted")

    return [
        dialogue("begin_dev", "begin_dev_wow", "replies on given knowledge (WoW)", begin),
        dialogue("begin_test", "begin_test_wow", "replies on given knowledge (WoW)", begin),
        dialogue("faithdial_audit", "faithdial_audit", "replies on given knowledge, long", audit),
        dialogue("q2_wow", "q2_wow", "replies on given knowledge (WoW)", q2),
        one("qags_cnndm", "news summaries of several sentences",
            grounded("qags_cnndm", text="output", context="context", clear={"consistent": 0, "hallucinated": 1}), "fitted",
            published="UniEval 0.854"),
        one("entfa_xsum", "news summaries of one sentence", entfa, "fitted"),
        one("factcheckgpt", "claims and web passages",
            grounded("factcheckgpt_claim_evidence_stance", text="hypothesis", context="premise", clear=stance), "fitted"),
        one("qags_sentences", "right and wrong sentences of a news summary, the article given", summary_sentences(labels=(0, 1)),
            "fitted", pairs=True, limit=400),
        one("qags_source_sentences", SOURCE_SENTENCES, summary_sentences(nearest=True, labels=(0, 1)), "fitted", pairs=True,
            limit=400),
    ]  # fmt: skip


def _relevancy_sets(baselines: Mapping[str, Baseline]) -> list[LabelledSet]:
    def answered(file: str) -> Callable[[Path], Iterator[Labelled]]:
        def rows(data: Path) -> Iterator[Labelled]:
            for row in read(data / f"relevancy/{file}.jsonl"):
                if file == "trecqa_dev" and not is_held_out(row["question"], TRECQA_HELD_OUT):
                    continue
                case = Case(id="", answer=row["answer"], input=row["question"])
                yield Labelled(case=case, label=row["label"], group=row["question"])

        return rows

    def bare(data: Path) -> Iterator[Labelled]:
        for question, answer, label in bare_answers(data):
            yield Labelled(case=Case(id="", answer=answer, input=question), label=label, group=question)

    def one(name: str, what: str, file: str, seen: Seen) -> LabelledSet:
        rows = answered(file) if file else bare
        return LabelledSet(
            judge="relevancy", name=name, what=what, rows=rows, seen=seen, baselines=baselines, limit=400
        )

    return [
        one("trecqa_dev", "does a sentence answer the question", "trecqa_dev", "fitted"),
        one("mediqa_validation", "medical answers, long", "mediqa_qa_validation", "fitted"),
        one("mediqa_train_alexa", "medical answers, long", "mediqa_qa_train_alexa", "partly seen"),
        one("mediqa_train_liveqa", "medical answers, long", "mediqa_qa_train_liveqa", "partly seen"),
        one("evouna_bare", "a few bare words, the answer to this question or to another one", "", "fitted"),
    ]


def _toxicity_sets(data: Path) -> list[LabelledSet]:
    held_out = {source: {row.text for row in rows} for source, rows in toxicity_rows(data)[2].items()}

    def posts(file: str) -> Callable[[Path], Iterator[Labelled]]:
        def rows(data: Path) -> Iterator[Labelled]:
            for row in read(data / f"toxicity/{file}.jsonl"):
                text = row["text"].strip()
                if text in held_out[file]:
                    label = row["toxic"] if file == "davidson" else row["label"]
                    yield Labelled(case=Case(id="", answer=text), label=label)

        return rows

    return [
        LabelledSet(
            judge="toxicity",
            name=file,
            what=what,
            rows=posts(file),
            seen="held out",
            published=published,
            baselines={"majority": same_for_all},
        )
        for file, what, published in (
            ("bias_madlibs", "identity words beside kind and unkind words", ""),
            ("civil_comments_toxic_spans_posts", "comments that were reported", ""),
            ("davidson", "posts with slurs: hateful or offensive", ""),
            ("olid_train", "offensive posts", ""),
            ("wiki_toxicity_nonfuzzed", "Wikipedia talk", "Detoxify 0.986 (Jigsaw test)"),
        )
    ]


# ----------------------------------------------------------------------------------------------------------- measuring


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, measures, and writes cards and table after each judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--judge", nargs="*", choices=sorted(SPECS), help="kinds to measure (default: all)")
    parser.add_argument("--sets", nargs="*", help="only these sets; the others keep their cards")
    parser.add_argument("--limit", type=int, help="at most so many rows of a set")
    parser.add_argument("--out", type=Path, default=CARDS, help="the cards (default: those of the project)")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table (default: judges/README.md)")
    options = parser.parse_args(arguments)
    room = ModelRoom(Path.cwd())
    builder, started = JudgeBuilder(room), time.monotonic()
    sets = all_sets(options.data, room)
    order = [(one.judge, one.name) for one in sets]
    cards = {(card.judge, card.labels): card for card in (read_cards(options.out) if options.out.is_file() else [])}
    for kind in options.judge or SPECS:
        judge = builder.build(kind, SPECS[kind])
        for one in sets:
            if one.judge == kind and (not options.sets or one.name in options.sets):
                rows = sampled(list(one.rows(options.data)), min(options.limit or one.limit, one.limit))
                cards[kind, one.name] = card = measured(judge, one, rows)
                print(
                    f"{time.monotonic() - started:6.0f} s ({time.process_time():.0f} s of CPU)  {kind} {line(card)}",
                    flush=True,
                )
        cards = {key: card for key, card in cards.items() if key[0] != kind or card.fingerprint == judge.fingerprint}
        kept = sorted(cards.values(), key=lambda card: _position(order, card))
        write_cards(options.out, kept)
        options.table.write_text(table(kept), encoding="utf-8")


def _position(order: Sequence[tuple[str, str]], card: Calibration) -> tuple[int, str, str]:
    key = (card.judge, card.labels)
    return (order.index(key) if key in order else len(order), *key)


def sampled(rows: Sequence[Labelled], most: int) -> list[Labelled]:
    """Up to `most` rows at random, always the same ones, with ids."""
    chosen = sorted(random.Random(SEED).sample(range(len(rows)), min(most, len(rows))))
    return [replace(rows[i], case=replace(rows[i].case, id=str(i))) for i in chosen]


def measured(judge: Judge, one: LabelledSet, rows: Sequence[Labelled]) -> Calibration:
    """The card of a judge on the rows of one set, with the baselines on the same rows."""
    cases = [row.case for row in rows]
    judgements: list[Judgement] = []
    for start in range(0, len(cases), CHUNK):
        judgements += judge.judge(cases[start : start + CHUNK])
    truth = read_truth(
        [row.label for row in rows],
        positive=one.positive,
        at_least=one.at_least,
        vocabulary=sorted({j.label for j in judgements if j.label}),
    )
    groups = [row.group or "" for row in rows]
    card = calibrate(
        cases, judgements, truth, judge=one.judge, judge_fingerprint=judge.fingerprint, metric=judge.metric,
        labels=one.name, clusters=groups if all(groups) and len(set(groups)) < len(groups) else None,
    )  # fmt: skip
    scored = [i for i, judgement in enumerate(judgements) if judgement.score is not None]
    kept = [rows[i] for i in scored]
    positive = None if truth.positive is None else np.array([truth.positive[i] for i in scored])
    values = [truth.values[i] for i in scored]
    beside = baselines(one, kept, card.headline.name, values, positive)
    figures = tuple(replace(f, value=_short(f.value), low=_short(f.low), high=_short(f.high)) for f in card.figures)
    record = {**card.record, "baselines": beside, "what": one.what, "published": published(one, kept)}
    if one.pairs and positive is not None:
        share, count = ordered(
            [judgements[i].score or 0.0 for i in scored], positive.tolist(), [groups[i] for i in scored]
        )
        record |= {"pairs_in_order": round(share, 4), "pairs": count}
    return replace(card, figures=figures, seen=one.seen, record=record)


def baselines(
    one: LabelledSet, rows: Sequence[Labelled], headline: str, values: Sequence[Any], positive: NDArray[Any] | None
) -> dict[str, float]:
    """What needs no judge, by the same figure on the same rows."""
    if headline == "accuracy":
        names = [str(value) for value in values]
        return {"majority": round(max(names.count(name) for name in set(names)) / len(names), 4)}
    found = {}
    cases = [row.case for row in rows]
    for name, score in one.baselines.items():
        scores = score(cases)
        if headline == "spearman":
            found[name] = float(spearmanr(scores, values).statistic)
        elif positive is not None and 0 < positive.sum() < len(positive):
            found[name] = float(roc_auc_score(positive, scores))
    return {name: round(value, 4) for name, value in found.items() if not math.isnan(value)}


def ordered(scores: Sequence[float], positive: Sequence[Any], groups: Sequence[str]) -> tuple[float, int]:
    """Of the pairs of a positive and a negative row of one group, the share with the positive's score higher, and their number.

    A tie counts half. Without any pair the share is NaN.
    """
    found: list[float] = []
    for group in dict.fromkeys(groups):
        own = [i for i, name in enumerate(groups) if name == group]
        high, low = ([scores[i] for i in own if bool(positive[i]) == side] for side in (True, False))
        found += [(a > b) + (a == b) / 2 for a in high for b in low]
    return (sum(found) / len(found) if found else math.nan), len(found)


def published(one: LabelledSet, rows: Sequence[Labelled]) -> str:
    """What other judges are reported to reach, and what stored predictions of one reach on these very rows."""
    stored = ""
    if one.stored and rows:
        stored = f"{one.stored} {number(sum(row.other == row.label for row in rows) / len(rows))} (same rows)"
    return ", ".join(filter(None, (stored, one.published)))


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


# --------------------------------------------------------------------------------------------------------------- table


def line(card: Calibration) -> str:
    """A card in one line."""
    beside = ", ".join(f"{name} {number(value)}" for name, value in card.record.get("baselines", {}).items())
    unscored = f", {card.unscored} unscored" if card.unscored else ""
    return (
        f"{card.labels}: {figure_name(card.headline.name)} {figure_text(card.headline)}, n {card.n}{unscored}; {beside}"
    )


def table(cards: Sequence[Calibration]) -> str:
    """The Markdown page: a table for each judge."""
    parts = [HEAD]
    for kind in dict.fromkeys(card.judge for card in cards):
        rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        for card in (card for card in cards if card.judge == kind):
            rows.append(_row(card))
        parts += [f"## {kind}\n", "\n".join(rows) + "\n"]
    parts.append("## Seen\n\n" + "\n".join(f"- *{word}*: {meaning}" for word, meaning in SEEN_WORDS.items()) + "\n")
    return "\n".join(parts)


def _row(card: Calibration) -> str:
    figures = {figure.name: figure for figure in card.figures}
    named = f"{figure_name(card.headline.name)} **{_shown(card.headline)}**"
    ends = figure_text(card.headline).partition(" ")[2]
    second = figures.get("auroc") if card.headline.name == "spearman" else None
    extra = f"; AUROC {figure_text(second)}" if second is not None else ""
    if "pairs" in card.record:
        extra += f"; {number(card.record['pairs_in_order'])} of {card.record['pairs']} pairs in order"
    best = figures.get("balanced_accuracy_at_best")
    error = figures.get("expected_calibration_error")
    beside = card.record.get("baselines", {})
    top = max(beside, key=lambda name: beside[name], default=None)
    below = top is not None and card.headline.value is not None and card.headline.value < beside[top]
    n = f"{card.n}" + (f" ({card.unscored} unscored)" if card.unscored else "")
    cells = [
        card.labels,
        str(card.record.get("what", "")),
        n,
        f"{named} {ends}{extra}".strip(),
        _shown(best),
        _shown(error),
        "-" if top is None else f"{top} {number(beside[top])}" + (" **above the judge**" if below else ""),
        str(card.record.get("published") or "-"),
        card.seen or "-",
    ]
    return "| " + " | ".join(cells) + " |"


def _shown(figure: Figure | None) -> str:
    """A figure's value; a dash where the labels define none, such as AUROC of one class."""
    return "-" if figure is None or figure.value is None else number(figure.value)


COLUMNS = (
    "set", "what it is", "n", "figure", "at its best threshold", "calibration error", "best baseline", "published", "seen",
)  # fmt: skip
HEAD = """\
# How far the judges can be trusted

Each kind of judge is one module here; its docstring is its definition (`muster judges KIND`). This page is made by

    python -m judges.models.measure --data FOLDER

from public labelled sets, every case sent through the judge as `muster score` sends it. Figures have 95 % intervals (BCa
bootstrap over premises, questions or texts, see `calibration.py`); *n* is a seeded sample of the set. *At its best
threshold*: balanced accuracy, cross-fitted. *Best baseline*: the best of what needs no judge, on the same rows: word recall,
token F1, MiniLM cosine, the majority class. *Published*: what others report, on rows of their own. *In order*: of pairs of a
right and a wrong sentence on one article, those where the judge prefers the right one. The same cards stand in
`models/calibrations.json`, and a report shows them beside the scores of a judge with the same fingerprint.
Your data are not these: `muster calibrate JUDGE --labels FILE` measures a judge on your own.
"""


if __name__ == "__main__":
    main()
