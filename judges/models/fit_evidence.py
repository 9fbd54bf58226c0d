"""Fits how correctness and hallucination weigh their evidence, and measures both against the simple baselines.

    python -m judges.models.fit_evidence --data FOLDER

FOLDER holds the data sets named below as JSON Lines; they are not part of the project. Each feature's sign is fixed, so that no
evidence ever counts the wrong way; weights are shared by all sets, each set has an intercept of its own, rows of both classes
weigh the same, and so do sets. The wordings are weighed among themselves on all rows, then as one beside the NLI model's
opinions on a sample, in which there is no question or dialogue that `embedded:nli` was trained on (see train_nli). Some weights
have a floor (`FLOORS`), so that a contradiction costs whatever the sets say. Written are `weights.json` and `CARD.md` in
`correctness/` and `hallucination/` beside this file. Run it again whenever the NLI model changes.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from harness.models.load import ModelRoom
from harness.records import Case
from judges import correctness, grounding, hallucination
from judges.models.labelled import SEED, is_held_out, read
from judges.models.train_nli import TASK_SHARE
from judges.nli import Entailer
from judges.weights import FOLDER
from judges.wording import share, wording

NLI = "embedded:nli"
ROWS, LONG_ROWS = 160, 60
"""Most rows of a set about which the NLI model is asked; of a set with articles as context."""
LONG_WORDS = 200
OPINIONS = frozenset({"contradicted", "entailed", "covered", "unsupported", "worst", "nearest"})
"""The features that are the NLI model's; the others are wording, known of all rows at no cost."""
FLOORS: Mapping[str, Mapping[str, float]] = {
    "correctness": {
        "contradicted": 0.7, "entailed": 0.5, "covered": 0.5, "words": 2.5, "numbers": 0.3, "names": 0.3,
        "negation": 0.2, "reversed": 6.0, "evasive": 1.0,
    },
    "hallucination": {
        "contradicted": 0.7, "unsupported": 0.5, "worst": 0.5, "nearest": 1.0, "words": 2.5, "joined": 2.0, "numbers": 0.3,
        "names": 2.0, "reversed": 3.0,
    },
}  # fmt: skip
"""Least weights, in log-odds: what the definitions demand, or sets of other kinds (see DECISIONS.md), whatever these sets say."""
VERSIONS = {"correctness": correctness.VERSION, "hallucination": hallucination.VERSION}
WEAK = {
    "correctness": "Weak where an answer must be reasoned out (students' science), and where another content word stands\n"
    "in a long sentence and the NLI model sees no contradiction; dangerous advice beside a right answer costs little.",
    "hallucination": "Weak on news summaries that are all but copied (QAGS), and no better than word recall on knowledge of many"
    " sentences (FaithDial).",
}
PENALTY = 0.002
"""Ridge penalty on weights of standardised features, in units of the mean log loss."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Wording:
    """All rows of a set, with their features as an NLI model without opinions would leave them."""

    features: Vector
    positive: NDArray[np.int64]
    groups: NDArray[np.str_]

    def without(self, groups: Sequence[str]) -> Wording:
        """The rows of other groups."""
        kept = ~np.isin(self.groups, list(groups))
        return Wording(self.features[kept], self.positive[kept], self.groups[kept])


@dataclass(frozen=True)
class LabelledSet:
    """Features [rows, features], whether the row is correct (or hallucinated), its group, and what a baseline says of it."""

    features: Vector
    positive: NDArray[np.int64]
    groups: NDArray[np.str_]
    baseline: Vector
    nli: Vector
    worded: Wording


@dataclass(frozen=True)
class Row:
    """One labelled case and the group that must not be split: a question, a piece of knowledge, an article."""

    case: Case
    positive: bool
    group: str
    unseen: bool = True
    """Whether the NLI model was not trained on the group."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, fits both judges and prints what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--judge", nargs="*", choices=sorted(FLOORS), default=sorted(FLOORS), help="default: both")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    entailer = Entailer(ModelRoom(Path.cwd()).pair_classifier(NLI))
    if "correctness" in options.judge:
        graded = {name: _labelled(entailer, rows, _graded) for name, rows in graded_sets(options.data).items()}
        _fit("correctness", dict(correctness.FEATURES), correctness.AGAINST, graded, entailer, options.out)
    if "hallucination" in options.judge:
        grounded = {name: _labelled(entailer, rows, _grounded) for name, rows in grounded_sets(options.data).items()}
        _fit("hallucination", {"context": grounding.FEATURES}, frozenset(), grounded, entailer, options.out)


# --------------------------------------------------------------------------------------------------------------- data


def graded_sets(data: Path) -> dict[str, list[Row]]:
    """Answers to questions, graded against references."""
    sets: dict[str, list[Row]] = {"short answers (EVOUNA-NQ)": []}
    for row in read(data / "correctness/evouna_nq.jsonl"):
        references = tuple(re.split(r"\s*/\s*", row["reference"]))
        case = Case(id="", answer=row["answer"], input=row["question"], references=references)
        unseen = is_held_out(row["question"], TASK_SHARE)
        sets["short answers (EVOUNA-NQ)"].append(Row(case, bool(row["label"]), row["question"], unseen))
    for name, file in (
        ("students, electricity (Beetle)", "semeval2013_beetle_train"),
        ("students, electricity (Beetle test)", "semeval2013_beetle_test"),
        ("students, science (SciEntsBank)", "semeval2013_scientsbank_train"),
    ):
        sets[name] = [
            Row(
                Case(id="", answer=row["answer"], input=row["question"], references=tuple(row["references"])),
                row["label"] == "correct",
                row["question"],
                is_held_out(row["question"], TASK_SHARE),
            )
            for row in read(data / f"correctness/{file}.jsonl")
        ]
    return sets


def grounded_sets(data: Path) -> dict[str, list[Row]]:
    """Texts beside the context that they should rest on; positive is hallucinated."""

    def row(text: str, context: str, positive: bool, message: str | None = None, unseen: bool = True) -> Row:
        return Row(Case(id="", answer=text, input=message, contexts=(context,)), positive, context, unseen)

    def reply(found: dict[str, Any], message: str) -> Row:
        unseen = is_held_out(found["knowledge"], TASK_SHARE)
        return row(found["response"], found["knowledge"], found["label"] not in supported, found[message], unseen)

    folder = data / "hallucination"
    documents = {r["doc_id"]: r["source"] for r in read(data / "geval/summeval_docs_a.jsonl")}
    supported = {"fully attributable", "entailment", "consistent"}
    unclear = {"generic", "uncooperative"}
    begin = [*read(folder / "begin_test_wow.jsonl"), *read(folder / "begin_dev_wow.jsonl")]
    sets = {
        "dialogue (BEGIN)": [reply(r, "message") for r in begin if r["label"] not in unclear],
        "dialogue (Q2)": [reply(r, "message") for r in read(folder / "q2_wow.jsonl")],
        "dialogue (FaithDial)": [
            reply(r, "history") for r in read(folder / "faithdial_audit.jsonl") if r["label"] not in unclear
        ],
        "news, one sentence (EntFA)": [
            row(r["output"], r["context"], any(e["label"] != "Non-hallucinated" for e in r["entities"]))
            for r in read(folder / "entfa_xsum_train.jsonl")
        ],
        "news, summaries (QAGS)": [
            row(r["output"], r["context"], r["label"] != "consistent") for r in read(folder / "qags_cnndm.jsonl")
        ],
        "news, summaries (SummEval)": [
            row(r["output"], documents[r["doc_id"]], r["human"]["consistency"] < 5)
            for r in read(data / "geval/summeval_human_a.jsonl")
        ],
        "claims and web pages (Factcheck-GPT)": [
            row(r["hypothesis"], r["premise"], r["label"] != "completely-support")
            for r in read(folder / "factcheckgpt_claim_evidence_stance.jsonl")
        ],
    }
    return sets


# ----------------------------------------------------------------------------------------------------------- features


class Silent:
    """An NLI model without opinions: every pair is neutral."""

    key = "silent"
    labels = ("entailment", "neutral", "contradiction")
    max_tokens = 512

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        return [(0.0, 1.0, 0.0)] * len(pairs)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def _labelled(
    entailer: Entailer, rows: Sequence[Row], features: Callable[[Entailer, Sequence[Row]], Vector]
) -> LabelledSet:
    """A sample of the rows on which the NLI model was not trained, and the wording of all."""
    unseen = [row for row in rows if row.unseen]
    words = [len(passage.split()) for row in rows for passage in row.case.contexts]
    most = LONG_ROWS if words and sum(words) / len(words) > LONG_WORDS else ROWS
    sample = random.Random(SEED).sample(unseen, min(most, len(unseen)))
    logging.info("%d of %d rows are asked about", len(sample), len(rows))
    found = features(entailer, sample)
    worded = Wording(features(Entailer(Silent()), rows), _positive(rows), np.array([row.group for row in rows]))
    return LabelledSet(
        features=found,
        positive=_positive(sample),
        groups=np.array([row.group for row in sample]),
        baseline=np.array([_baseline(row.case) for row in sample]) * (-1 if sample[0].case.contexts else 1),
        nli=found[:, 0] if sample[0].case.contexts else found[:, 1:3].mean(1),
        worded=worded,
    )


def _positive(rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([row.positive for row in rows]).astype(np.int64)


def _graded(entailer: Entailer, rows: Sequence[Row]) -> Vector:
    """Each answer beside the nearest of its references."""
    names = correctness.FEATURES["both"]
    refusal = [float(name in correctness.AGAINST) for name in names]
    found = correctness.compare(entailer, [_nearest_only(row.case) for row in rows])
    return np.array([[group[0].features[n] for n in names] if group else refusal for group in found], dtype=float)


def _nearest_only(case: Case) -> Case:
    kept = correctness.nearest_references(case)[:1] or case.references[:1]
    return Case(id=case.id, answer=case.answer, input=case.input, references=tuple(kept))


def _grounded(entailer: Entailer, rows: Sequence[Row]) -> Vector:
    texts = [(row.case.answer or "", row.case.contexts[0], row.case.input or "") for row in rows]
    names = grounding.FEATURES
    found = grounding.features_of(entailer, texts)
    return np.array([[row[1][n] for n in names] if row else [0.0] * len(names) for row in found], dtype=float)


def _baseline(case: Case) -> float:
    """Word recall of the reference, or of the answer in the context."""
    if case.contexts:
        return recall(case.answer or "", case.contexts[0])
    return max(recall(reference, case.answer or "") for reference in case.references)


def recall(part: str, whole: str) -> float:
    """The baseline: the share of the words of one text that another holds."""
    return share(wording(part).tokens, set(wording(whole).tokens))


# ---------------------------------------------------------------------------------------------------------------- fit


def fit(
    sets: Sequence[LabelledSet],
    every: Sequence[str],
    names: Sequence[str],
    against: frozenset[str],
    least: Mapping[str, float],
) -> tuple[Vector, float]:
    """A weight for each column of `every` (0 for what is not among `names`), and the intercept (the mean of the sets').

    First the wordings among themselves, on all rows; then the NLI model's opinions beside their sum.
    """
    signs = np.array([-1.0 if name in against else 1.0 for name in every])
    floors = np.array([least.get(name, 0.0) if name in names else 0.0 for name in every])
    opinions = [every.index(name) for name in names if name in OPINIONS]
    wordings = [every.index(name) for name in names if name not in OPINIONS]
    weights = np.zeros(len(every))
    parts = [(s.worded.features[:, wordings] * signs[wordings], s.worded.positive) for s in sets]
    weights[wordings] = _regress(parts) * signs[wordings]
    both = [
        (np.column_stack([s.features[:, opinions] * signs[opinions], s.features @ weights]), s.positive) for s in sets
    ]
    slopes = _regress(both)
    weights *= slopes[-1]
    weights[opinions] = slopes[:-1] * signs[opinions]
    weights = signs * np.maximum(np.abs(weights), floors)
    return weights, float(np.mean([_balanced(s.features @ weights, s.positive) for s in sets]))


def _balanced(log_odds: Vector, positive: NDArray[np.int64]) -> float:
    """The intercept of given log-odds where both classes weigh the same: their mean probabilities add up to 1."""

    def excess(intercept: float) -> float:
        probability = expit(log_odds + intercept)
        return float(probability[positive == 1].mean() + probability[positive == 0].mean() - 1)

    return float(brentq(excess, -100, 100))


def _regress(sets: Sequence[tuple[Vector, NDArray[np.int64]]]) -> Vector:
    """Logistic regression with slopes of 0 or more, shared by the sets, and an intercept for each set."""
    spread = np.sqrt(np.mean([features.var(0) for features, _ in sets], axis=0)) + 1e-9
    blocks, targets, weights = [], [], []
    for index, (features, positive) in enumerate(sets):
        own = np.zeros((len(positive), len(sets)))
        own[:, index] = 1
        blocks.append(np.hstack([own, features / spread]))
        targets.append(2.0 * positive - 1)
        weights.append(1 / (2 * len(sets) * np.bincount(positive, minlength=2)[positive]))
    rows, target, weight = np.vstack(blocks), np.concatenate(targets), np.concatenate(weights)
    penalty = np.r_[np.zeros(len(sets)), np.full(len(spread), PENALTY)]

    def loss(point: Vector) -> tuple[float, Vector]:
        margin = target * (rows @ point)
        slope = -target * weight / (1 + np.exp(np.clip(margin, -500, 500)))
        value = weight @ np.logaddexp(0, -margin) + penalty @ point**2 / 2
        return float(value), rows.T @ slope + penalty * point

    bounds = [(None, None)] * len(sets) + [(0, None)] * len(spread)
    found: Vector = np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x)
    return np.asarray(found[len(sets) :] / spread)


def _fit(
    judge: str,
    parts: Mapping[Any, Sequence[str]],
    against: frozenset[str],
    sets: Mapping[str, LabelledSet],
    entailer: Entailer,
    out: Path,
) -> None:
    every = max(parts.values(), key=len)
    document: dict[str, Any] = {"fitted_with": NLI, "fitted_key": entailer.key, "parts": {}}
    for part, names in parts.items():
        weights, intercept = fit(list(sets.values()), every, names, against, FLOORS[judge])
        rounded = {name: round(float(weights[every.index(name)]), 4) + 0.0 for name in names}
        document["parts"][part] = {"intercept": round(intercept, 4), "coefficients": rounded}
    table = measure(sets, every, against, FLOORS[judge])
    folder = out / judge
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (folder / "CARD.md").write_text(_card(judge, document, table), encoding="utf-8")
    print(f"{judge}\n{table}\n{json.dumps(document['parts'], indent=1)}")


def measure(
    sets: Mapping[str, LabelledSet], every: Sequence[str], against: frozenset[str], least: Mapping[str, float]
) -> str:
    """A table: AUROC on each set of baseline, NLI alone, and the judge fitted with the set, in folds, and without the set."""
    lines = [
        "| set | rows | word recall | NLI alone | judge, in fit | 5 folds by group | fitted without the set |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]

    def scored(data: LabelledSet, fitted_on: Sequence[LabelledSet]) -> Vector:
        return data.features @ fit(fitted_on, every, every, against, least)[0]

    for name, data in sets.items():
        others = [other for key, other in sets.items() if key != name]
        folds = []
        for kept, left in GroupKFold(5).split(data.features, data.positive, data.groups):
            if len(set(data.positive[left])) == 1:
                continue
            apart = LabelledSet(
                features=data.features[kept],
                positive=data.positive[kept],
                groups=data.groups[kept],
                baseline=data.baseline[kept],
                nli=data.nli[kept],
                worded=data.worded.without(list(data.groups[left])),
            )
            score = data.features[left] @ fit([*others, apart], every, every, against, least)[0]
            folds.append(roc_auc_score(data.positive[left], score))
        figures = [
            roc_auc_score(data.positive, score)
            for score in (data.baseline, data.nli, scored(data, list(sets.values())), scored(data, others))
        ]
        figures.insert(3, float(np.mean(folds)))
        cells = " | ".join(f"{figure:.3f}" for figure in figures)
        lines.append(f"| {name} | {len(data.positive)} | {cells} |")
    return "\n".join(lines)


def _card(judge: str, document: Mapping[str, Any], table: str) -> str:
    command = "python -m judges.models.fit_evidence --data FOLDER"
    parts = "\n\n".join(
        f"`{part}`: intercept {row['intercept']}\n\n| feature | weight |\n| --- | --- |\n"
        + "\n".join(f"| {name} | {weight} |" for name, weight in row["coefficients"].items())
        for part, row in document["parts"].items()
    )
    floors = ", ".join(f"{name} {value}" for name, value in FLOORS[judge].items())
    return f"""# {judge}: the weights of its evidence

How `judges/{judge}.py` makes one score of entailment and wording: a logistic regression of few features in [0, 1], each with a
fixed sign. They are defined in the judge's docstring (`muster judges {judge}`).

- **Made by** `{command}`: L-BFGS-B, ridge {PENALTY}, least weights
  {floors}; weights shared by all sets, an intercept for each set (the mean of them is
  stored), both classes and all sets weighing the same.
- **Fitted with** the probabilities of `{NLI}`, on groups that it was not trained on. With another NLI model the same weights are
  used, and the evidence says so.
- **Data**: public sets with human labels, not part of the project: wording weighed on all rows, and as one beside the NLI
  model's opinions on at most {ROWS} rows of each set ({LONG_ROWS} of articles).
- **License**: Apache-2.0, like the project.

## Measured: AUROC

With version {VERSIONS[judge]} of the judge. `word recall` needs no judge. `5 folds` leaves out groups (questions,
contexts), the last column the whole set.

{table}

{WEAK[judge]}

## Weights, in log-odds for a feature going from 0 to 1

{parts}
"""


if __name__ == "__main__":
    main()
