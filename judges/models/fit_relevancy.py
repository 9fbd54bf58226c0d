"""Fits the weights of `judges.relevancy` on questions that `embedded:relevance` was not trained on, and measures.

    python -m judges.models.fit_relevancy --data FOLDER

The weights of the classifier and of the whole answer are given, the others are fitted to single sentences (TREC-QA,
QNLI), either set counting the same and relevant and other sentences the same. Printed for each pair of weights tried: the
fitted weights, and the AUROC of each set with the weights fitted to the other one, of MEDIQA's whole answers (every third
of each part) with the weights of both, and of the cosines alone beside it; at last intercept and weight of the cosine for
bare words of no given kind (own answers and others', the questions with a capital and a question mark). It is run by hand;
the weights taken are written into the judge.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from harness.models.load import ModelRoom
from harness.records import Embedder
from judges.asked import bare_kind, content
from judges.models.labelled import bare_answers, is_held_out, read
from judges.models.train_relevance import TRECQA_HELD_OUT
from judges.relevancy import BEST, Evidence, RelevancyJudge

TRIED = (0.0, 0.3, 0.5, 0.7, 0.9)
WHOLE_TRIED = (0.0, 4.0, 8.0, 12.0)
FITTED = ("similarity", "words", "type")
MEDIQA = ("train_alexa", "train_liveqa", "validation")
RIDGE = 1e-3

Rows = Sequence[tuple[str, str, int]]


def main() -> None:
    """Reads the command line and prints a line for each weight tried."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    data = parser.parse_args().data
    models = ModelRoom(data)
    classifier = models.pair_classifier("embedded:relevance", nli=False)
    judge = RelevancyJudge("relevancy", models.embedder("embedded:minilm"), classifier)
    sentences = {name: _features(judge, rows) for name, rows in _sentences(data).items()}
    answers = {name: _evidence(judge, _mediqa(data, name)) for name in MEDIQA}
    for name, (rows, labels) in answers.items():
        print(f"cosine of the whole alone: {name} {roc_auc_score(labels, [row[0].whole for row in rows]):.3f}")
    for name, (table, labels) in sentences.items():
        print(f"cosine alone: {name} {roc_auc_score(labels, table[:, 1]):.3f}")
    for weight in TRIED:
        fitted = _fit(weight, list(sentences.values()))
        others = {
            name: _auroc(_fit(weight, [one for other, one in sentences.items() if other != name]), weight, given)
            for name, given in sentences.items()
        }
        print(f"answers {weight}:", np.round(fitted, 2), others)
        for whole in WHOLE_TRIED:
            found = {
                name: f"{roc_auc_score(labels, [_answer(row, weight, whole, fitted) for row in rows]):.3f}"
                for name, (rows, labels) in answers.items()
            }
            print(f"    whole {whole}:", found)
    print(
        "bare words, intercept and weight of the cosine:",
        np.round(_fit_bare(data, models.embedder("embedded:minilm")), 2),
    )


def _fit_bare(data: Path, embedder: Embedder) -> NDArray[Any]:
    rows = [(f"{question[0].upper()}{question[1:]}?", answer, label) for question, answer, label in bare_answers(data)]
    rows = [row for row in rows if bare_kind(*row[:2]) == 0 and not content(row[0]) & content(row[1])]
    asked = np.asarray(embedder.embed([question for question, _, _ in rows]))
    said = np.asarray(embedder.embed([answer for _, answer, _ in rows]))
    cosine, labels = np.maximum(0, (asked * said).sum(axis=1)), np.array([label for *_, label in rows])
    model = LogisticRegression(C=100, class_weight="balanced").fit(cosine[:, None], labels)
    return np.array([model.intercept_[0], model.coef_[0, 0]])


def _sentences(data: Path) -> Mapping[str, Rows]:
    trec = read(data / "relevancy/trecqa_dev.jsonl")
    qnli = read(data / "nli/qnli_dev.jsonl")
    return {
        "trecqa": [
            (r["question"], r["answer"], r["label"]) for r in trec if is_held_out(r["question"], TRECQA_HELD_OUT)
        ],
        "qnli": [
            (r["premise"], r["hypothesis"], int(r["label"] == "entailment"))
            for r in qnli
            if is_held_out(r["premise"], 0.05)
        ],
    }


def _mediqa(data: Path, name: str) -> Rows:
    rows = list(read(data / f"relevancy/mediqa_qa_{name}.jsonl"))[::3]
    return [(row["question"], row["answer"], row["label"]) for row in rows]


def _evidence(judge: RelevancyJudge, rows: Rows) -> tuple[list[list[Evidence]], NDArray[Any]]:
    found = judge.evidence([(question, answer) for question, answer, _ in rows])
    return [[one for _, one in sentences] for sentences in found], np.array([label for _, _, label in rows])


def _features(judge: RelevancyJudge, rows: Rows) -> tuple[NDArray[Any], NDArray[Any]]:
    """[sentences][answers, similarity, words, type, whole (0 for one sentence)], and the labels."""
    found, labels = _evidence(judge, rows)
    return np.array([list(sentences[0].features().values()) for sentences in found]), labels


def _fit(weight: float, sets: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[Any]:
    """Intercept and the weights of `FITTED` by weighted logistic regression, the classifier's term being given."""
    table, labels = np.concatenate([s[0] for s in sets]), np.concatenate([s[1] for s in sets])
    share = np.concatenate([np.where(y == 1, 1 / y.sum(), 1 / (len(y) - y.sum())) / (2 * len(sets)) for _, y in sets])

    def loss(parameters: NDArray[Any]) -> float:
        logits = parameters[0] + weight * table[:, 0] + table[:, 1:4] @ parameters[1:]
        return float(share @ (np.logaddexp(0, logits) - labels * logits) + RIDGE * (parameters[1:] ** 2).sum())

    fitted: NDArray[Any] = minimize(loss, np.zeros(1 + len(FITTED))).x
    return fitted


def _auroc(fitted: NDArray[Any], weight: float, given: tuple[NDArray[Any], NDArray[Any]]) -> str:
    table, labels = given
    return f"{roc_auc_score(labels, weight * table[:, 0] + table[:, 1:4] @ fitted[1:]):.3f}"


def _answer(rows: Sequence[Evidence], weight: float, whole: float, fitted: NDArray[Any]) -> float:
    table = np.array([list(one.features().values()) for one in rows])
    relevance = expit(fitted[0] + weight * table[:, 0] + table[:, 1:4] @ fitted[1:] + whole * table[:, 4])
    return float(BEST * relevance.max() + (1 - BEST) * relevance.mean())


if __name__ == "__main__":
    main()
