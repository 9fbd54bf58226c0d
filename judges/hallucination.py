"""Hallucination: the share of the answer that has no ground, lower is better.

With a *context* (several passages are one: a claim may rest on two of them): P(ungrounded). The answer is cut into sentences. No
claims are *questions* (they end in a question mark), *courtesies* (greetings, thanks, apologies, "Yes", "I think so": no content
word beside such words), *evasions* ("I don't know") and *first-person chit-chat* (I or we with a verb of feeling and no clause
after it, "I love gardening too"). All other sentences are claims, and of each the NLI model is asked whether the context, in
windows of at most 160 tokens, entails or contradicts it. Where an answer has no such claim, its questions and chit-chat are
claims as far as they bring in a content word that neither context nor input holds ("Have you read the novel by King?").
Features, from 0 to 1, each counting against the answer: `unsupported`, the claims' mean of 1 - P(entailment); `worst`, the
largest of them; `nearest`, their mean where the premise is only the two sentences of the context that share most words with the
claim, since a small NLI model loses a fact among others; `contradicted`, the largest P(contradiction); over all the answer but
its courtesies, the shares that the context lacks: of `words`, of `content` words (stems), of `phrases` (two words in a row), of
`names` and of `numbers`; `joined`, the largest share of a sentence's phrases that no one sentence of the context holds, for
facts that are wrongly joined come from several; and `reversed`, whether a claim turns round a sentence that it repeats: a "not"
more or less, another number, an opposite, another name, two words exchanged (`judges.reversal`). Weights fitted on labelled
answers (judges/models/hallucination) make P(ungrounded) of them; each contribution stands in the evidence, and the share of
contradicted claims apart. Mean and worst count both: one wrong claim in ten is a hallucination, and ten are worse.

With a *reference* only: how far the claims are contradicted, since a reference need not say all that is true: half the mean and
half the largest square of the claims' P(contradiction by the reference), squared so that doubts about a paraphrase weigh little;
of several references the kindest counts.
With neither, but further *sampled answers*: the mean over claims and samples of P(contradiction) / (P(entailment) +
P(contradiction)), after SelfCheckGPT-NLI (Manakul et al. 2023, section 5.4).
An answer without a claim hallucinates nothing: 0, labelled `empty` (blank), `refusal` (it only evades) or `no claims`. Other
labels: contradicted (some claim is; with a context, if the score is 0.5 or more), unsupported (0.5 or more), grounded.

Judged well: a name, number or fact that the context lacks; a claim that the context says in other words. Judged ill: claims that
need arithmetic or several passages, and facts that a long summary joins wrongly; with a reference alone, one of a word or two
("Paris"), which says too little to contradict: there use correctness, which reads the question too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.records import Case, Failure, Judgement, Metric, Needs, Sample, fingerprint
from judges.grounding import claims_of, ground, is_evasion
from judges.judging import Scored, judge_each
from judges.nli import WINDOW, Entailer, Entailment
from judges.sentences import split_sentences
from judges.weights import read_weights

VERSION = 6


class HallucinationJudge:
    """Ungrounded share of the answer in [0, 1], lower is better."""

    def __init__(self, name: str, entailer: Entailer, *, samples: int = 5) -> None:
        self.metric = Metric(name=name, direction="lower")
        self._entailer = entailer
        self._samples = samples

    def needs(self, sample: Sample) -> Needs:
        """Further answers where there is nothing else to hold the answer against."""
        return Needs() if sample.contexts or sample.references else Needs(samples=self._samples)

    @property
    def fingerprint(self) -> str:
        weights = read_weights("hallucination", "context")
        return fingerprint(["hallucination", VERSION, self._entailer.key, weights.key])

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("answer",), empty=(0.0, "empty", {}), score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        by_context = [case for case in cases if case.contexts]
        grounded = iter(by_grounds(self._entailer, [(case, case.contexts) for case in by_context]))
        others = [case for case in cases if not case.contexts]
        contradicted = iter(self._by_contradiction(others))
        return [next(grounded) if case.contexts else next(contradicted) for case in cases]

    def _by_contradiction(self, cases: list[Case]) -> list[Scored | Failure]:
        claims = [_claims(self._entailer, case) for case in cases]
        asked = [
            (premise, claim)
            for case, found in zip(cases, claims, strict=True)
            for claim in found
            for premise in case.references or case.samples
        ]
        results = iter(self._entailer.entail(asked, window=WINDOW))
        scored: list[Scored | Failure] = []
        for case, found in zip(cases, claims, strict=True):
            premises = case.references or case.samples
            if not premises:
                message = "the judge needs a context, a reference or sampled answers, and the case has none"
                scored.append(Failure(kind="missing_input", message=message))
            elif not found:
                scored.append(no_claims(case.answer or ""))
            else:
                rows = [(claim, [next(results) for _ in premises]) for claim in found]
                scored.append(_against_references(rows) if case.references else _among_samples(rows))
        return scored


def by_grounds(entailer: Entailer, cases: Sequence[tuple[Case, tuple[str, ...]]]) -> list[Scored | Failure]:
    """How far each case's answer is ungrounded in the passages beside it."""
    texts = [(case.answer or "", "\n".join(passages), case.input or "") for case, passages in cases]
    scored: list[Scored | Failure] = []
    for (case, _), found in zip(cases, ground(entailer, texts), strict=True):
        if found is None:
            scored.append(no_claims(case.answer or ""))
            continue
        score = found.probability
        label = "grounded" if score < 0.5 else "contradicted" if found.contradicted else "unsupported"
        rows = [
            {"sentence": claim.text, **_opinion(claim.opinion), "nearest": _opinion(claim.nearest)}
            for claim in found.claims
        ]
        contradicted = round(found.contradicted, 6)
        evidence = {"basis": "context", "contradicted": contradicted, **found.evidence, "sentences": rows}
        scored.append((score, label, evidence))
    return scored


def no_claims(answer: str) -> Scored:
    """What an answer that claims nothing gets."""
    evades = all(is_evasion(sentence) for sentence in split_sentences(answer))
    return 0.0, "refusal" if evades else "no claims", {}


def _claims(entailer: Entailer, case: Case) -> list[str]:
    return claims_of(entailer.claims(case.answer or ""), case.input or "")


def _against_references(rows: list[tuple[str, list[Entailment]]]) -> Scored:
    kindest = [(claim, min(results, key=lambda result: result.contradiction)) for claim, results in rows]
    values = [result.contradiction**2 for _, result in kindest]
    contradicted = sum(result.label == "contradiction" for _, result in kindest) / len(kindest)
    score = (sum(values) / len(values) + max(values)) / 2
    sentences = [{"sentence": claim, **_opinion(result)} for claim, result in kindest]
    label = "contradicted" if contradicted else "grounded"
    return score, label, {"basis": "reference", "contradicted": round(contradicted, 6), "sentences": sentences}


def _among_samples(rows: list[tuple[str, list[Entailment]]]) -> Scored:
    sentences: list[dict[str, Any]] = []
    for claim, results in rows:
        rates = [r.contradiction / max(r.contradiction + r.entailment, 1e-12) for r in results]
        decisive = max(results, key=lambda result: result.contradiction)
        sentences.append({"sentence": claim, "score": sum(rates) / len(rates), **_opinion(decisive)})
    score = sum(row["score"] for row in sentences) / len(sentences)
    contradicted = sum(row["label"] == "contradiction" for row in sentences) / len(sentences)
    label = "grounded" if score < 0.5 else "contradicted"
    return score, label, {"basis": "samples", "contradicted": round(contradicted, 6), "sentences": sentences}


def _opinion(result: Entailment) -> dict[str, Any]:
    return {"label": result.label, **result.evidence(), "premise": result.window}
