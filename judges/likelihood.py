"""Likelihood: what the candidate itself finds likely, by teacher-forcing given texts as its answer; nothing is generated for it.

The text is rendered as an answer is (chat template, few-shot examples and retrieved passages included), and scored token by
token; the token that ends the turn is not counted. Only candidates that run here can say (`kind: transformers`, trained ones
too): for endpoints and recorded answers there is no score, with the error `no_likelihoods`.

perplexity: of the reference under the candidate, exp(-log-likelihood / tokens), from 1 upward, lower is better. Of several
references the one with the lowest counts. The figure for many samples weighs by tokens: exp(-sum of log-likelihoods / sum of
tokens). It compares candidates of one tokenizer: another tokenizer cuts other tokens.

mcq: multiple choice, 1 where the choice that the candidate finds most likely is the reference, else 0. The choices are a column
of the data (a list of texts); the reference is the text of one of them or its number, from 0. As lm-evaluation-harness defines
it: log-likelihoods are divided by the choice's length in characters (its acc_norm; `normalisation: bytes` is its acc_bytes,
`none` its acc), and of equal ones the first counts. All three are in the evidence.

Judged well: knowledge of a fixed wording. Judged ill: whether the candidate would say so when asked to speak freely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from harness.records import Case, Failure, Judgement, Likelihood, Metric, Needs, Sample, fingerprint
from judges.judging import Scored, judge_each

VERSION = 1
Normalisation = Literal["characters", "bytes", "none"]


class PerplexityJudge:
    """Perplexity of the reference under the candidate, from 1 upward, lower is better."""

    def __init__(self, name: str) -> None:
        self.metric = Metric(name=name, direction="lower", low=1.0, high=math.inf, aggregate="perplexity")

    @property
    def fingerprint(self) -> str:
        return fingerprint(["perplexity", VERSION])

    def needs(self, sample: Sample) -> Needs | Failure:
        """The likelihood of each reference."""
        if not sample.references:
            return Failure(kind="missing_input", message="the judge needs 'reference', and the case has none")
        return Needs(likelihoods=sample.references)

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("likelihoods",), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        return [_perplexity(min(case.likelihoods, key=_surprise)) for case in cases]


def _surprise(likelihood: Likelihood) -> float:
    """Nats a token."""
    return -likelihood.log_likelihood / likelihood.tokens


def _perplexity(likelihood: Likelihood) -> Scored | Failure:
    evidence = {"log_likelihood": likelihood.log_likelihood, "tokens": likelihood.tokens}
    try:
        return max(1.0, math.exp(_surprise(likelihood))), None, evidence
    except OverflowError:
        message = f"the perplexity is beyond any number ({_surprise(likelihood):.0f} nats a token)"
        return Failure(kind="not_finite", message=message)


class ChoiceJudge:
    """1.0 where the likeliest choice is the right one, else 0.0."""

    def __init__(self, name: str, *, choices: str, normalisation: Normalisation) -> None:
        self.metric = Metric(name=name, direction="higher")
        self._column = choices
        self._normalisation: Normalisation = normalisation

    @property
    def fingerprint(self) -> str:
        return fingerprint(["mcq", VERSION, self._column, self._normalisation])

    def needs(self, sample: Sample) -> Needs | Failure:
        """The likelihood of each choice."""
        choices = _texts(sample.columns.get(self._column))
        if choices is None or len(choices) < 2:
            message = f"column '{self._column}' must hold a list of two choices or more, none blank"
            return Failure(kind="missing_input", message=message)
        if len(set(choices)) < len(choices):
            return Failure(kind="missing_input", message=f"column '{self._column}' holds a choice twice")
        return Needs(likelihoods=choices)

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return judge_each(cases, self.metric.name, needs=("likelihoods", "references"), empty=None, score=self._score)

    def _score(self, cases: list[Case]) -> list[Scored | Failure]:
        return [self._one(case) for case in cases]

    def _one(self, case: Case) -> Scored | Failure:
        choices = [likelihood.text.strip() for likelihood in case.likelihoods]
        target = _target(case.references[0].strip(), choices)
        if target is None:
            message = f"the reference must be one of the choices or its number, 0 to {len(choices) - 1}"
            return Failure(kind="missing_input", message=f"{message} (got {case.references[0]!r:.80})")
        logs = [likelihood.log_likelihood for likelihood in case.likelihoods]
        chosen: dict[Normalisation, int] = {
            "none": _likeliest(logs, [1] * len(choices)),
            "characters": _likeliest(logs, [len(choice) for choice in choices]),
            "bytes": _likeliest(logs, [len(choice.encode("utf-8", "surrogatepass")) for choice in choices]),
        }
        pick = chosen[self._normalisation]
        evidence: dict[str, Any] = {
            "chosen": choices[pick], "target": choices[target], "acc": float(chosen["none"] == target),
            "acc_norm": float(chosen["characters"] == target), "acc_bytes": float(chosen["bytes"] == target),
            "choices": choices, "log_likelihoods": [round(value, 6) for value in logs],
        }  # fmt: skip
        return float(pick == target), "right" if pick == target else "wrong", evidence


def _likeliest(logs: Sequence[float], lengths: Sequence[int]) -> int:
    """The place of the largest log-likelihood by length; of equal ones the first."""
    rates = [log / length for log, length in zip(logs, lengths, strict=True)]
    return rates.index(max(rates))


def _texts(value: Any) -> tuple[str, ...] | None:
    """A list of texts or numbers as texts without white space around them; None for anything else, or a blank one."""
    if not isinstance(value, list | tuple):
        return None
    texts = [str(item).strip() for item in value if isinstance(item, str | int | float) and not isinstance(item, bool)]
    return tuple(texts) if len(texts) == len(value) and all(texts) else None


def _target(reference: str, choices: Sequence[str]) -> int | None:
    """The place of the right choice: by its text, else by its number."""
    if reference in choices:
        return choices.index(reference)
    return int(reference) if reference.isascii() and reference.isdigit() and int(reference) < len(choices) else None
