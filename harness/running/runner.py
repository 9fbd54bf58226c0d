"""Answers and judges: whatever is missing of a run, in an order that a `kill -9` cannot spoil.

Every finished batch goes to the run's spool before the next one starts, so the same command run again continues where it
stopped. What an earlier run answered or judged with equal content is taken from the store. Knows no judge and no model: both
come as arguments. A failure of one sample is recorded on it and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from harness.records import (
    Answer,
    Case,
    Completion,
    Failure,
    Judge,
    Judgement,
    Metric,
    Prompt,
    Sample,
    fingerprint,
)
from harness.running.probing import Gathered
from harness.running.stages import Stages, completed
from harness.store import Spool

CHUNK = 128
"""Cases a judge gets at once: the most that a kill can lose."""
LASTING_FAILURES = frozenset(
    {
        "missing_input", "no_answer", "prompt_too_long", "content_filter", "refusal", "no_samples", "no_likelihoods",
        "text_empty", "too_long",
    }
)  # fmt: skip
"""Kinds of error that follow from the data and the candidate: another try would not mend them."""


class Answering(Protocol):
    """What the runner needs of a candidate."""

    @property
    def name(self) -> str: ...

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]: ...

    def answer_key(self, prompt: Prompt) -> str: ...

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Completion]]]: ...


CachedAnswers = Callable[[Sequence[str]], Mapping[str, Completion]]
CachedJudgements = Callable[[Sequence[str]], Mapping[str, Judgement]]
Judging = Callable[[Judge, Sequence[Case]], Iterator[list[tuple[int, Judgement]]]]
"""Has a judge judge cases; yields batches of (index into cases, judgement) as they are done, each index once."""
Opponents = Callable[[Answer], Sequence[Answer]]
"""The answers beside which a pairwise judge is shown an answer: others to the same sample, none of them a failure."""


def answer(
    candidate: Answering, samples: Sequence[Sample], *, spool: Spool, cached: CachedAnswers, stages: Stages
) -> list[Answer]:
    """One answer a sample, in order. Equal prompts are asked once; errors are tried again by the next run."""
    prompts = candidate.prompts(samples)
    keys = [candidate.answer_key(prompt) for prompt in prompts]
    known = {**cached(list(dict.fromkeys(keys))), **_spooled_completions(spool)}
    by_key = dict(zip(keys, prompts, strict=True))
    wanted = [key for key in by_key if key not in known]
    with stages.stage(f"{candidate.name} answers", len(samples), done=len(samples) - len(wanted)) as advance:
        if wanted:
            batches = candidate.generate([by_key[key] for key in wanted])
            for batch in completed(batches, len(wanted), lambda failure: Completion(text=None, error=failure)):
                spool.append([_completion_row(wanted[index], completion) for index, completion in batch])
                known.update((wanted[index], completion) for index, completion in batch)
                advance(len(batch))
    return [
        Answer(
            key=key, candidate=candidate.name, sample_id=sample.id, prompt_sha=prompt.sha,
            completion=known[key], prompt=prompt.messages,
            contexts=prompt.contexts,
        )
        for sample, prompt, key in zip(samples, prompts, keys, strict=True)
    ]  # fmt: skip


def judge_here(judge: Judge, cases: Sequence[Case]) -> Iterator[list[tuple[int, Judgement]]]:
    """The judgements of this process, in order, so many at a time that a kill loses little."""
    for start in range(0, len(cases), CHUNK):
        yield list(enumerate(judged(judge, cases[start : start + CHUNK]), start))


def judge(
    judge: Judge,
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    *,
    spool: Spool,
    cached: CachedJudgements,
    stages: Stages,
    opponents: Opponents | None = None,
    gathered: Mapping[tuple[str, str], Gathered | Failure] | None = None,
    judging: Judging = judge_here,
) -> list[Judgement]:
    """One judgement an answer, in order. Equal content is judged once, whichever candidate said it.

    With `opponents`, each case holds their answers to the same sample, where they have one, and the evidence their names.
    `gathered`, by candidate and sample, is what the judge asked for beyond the answers; a case that could not be given it is
    unscored with the reason, without asking the judge.
    """
    rivals = [[] if opponents is None else opponents(a) for a in answers]
    asked = cases_of(judge, samples, answers, rivals, gathered or {})
    keys = [key for key, _ in asked]
    unmet = {key: case for key, case in asked if isinstance(case, Failure)}
    by_key = {key: case for key, case in asked if isinstance(case, Case)}
    known = {**cached(list(by_key)), **_spooled_judgements(spool)}
    known |= {
        key: Judgement(id="", metric=judge.metric.name, score=None, error=failure) for key, failure in unmet.items()
    }
    wanted = [key for key in by_key if key not in known]
    with stages.stage(f"{judge.metric.name} judges", len(asked), done=len(asked) - len(wanted)) as advance:
        for batch in judging(judge, [by_key[key] for key in wanted]):
            spool.append([_judgement_row(wanted[index], judgement) for index, judgement in batch])
            known.update((wanted[index], judgement) for index, judgement in batch)
            advance(len(batch))
    return [
        replace(
            known[key], id=a.sample_id, metric=judge.metric.name, candidate=a.candidate, key=key,
            evidence={**known[key].evidence, **_names(against)},
        )
        for key, a, against in zip(keys, answers, rivals, strict=True)
    ]  # fmt: skip


def _names(opponents: Sequence[Answer]) -> dict[str, list[str]]:
    return {"opponents": [answer.candidate for answer in opponents]} if opponents else {}


def cases_of(
    judge: Judge,
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    rivals: Sequence[Sequence[Answer]],
    gathered: Mapping[tuple[str, str], Gathered | Failure],
) -> list[tuple[str, Case | Failure]]:
    """For each answer the content key of its judgement, and what the judge sees, or why it cannot be given what it needs.

    `rivals` are the opponents of each answer, none but for a pairwise judge.
    """
    by_id = {sample.id: sample for sample in samples}
    found: list[tuple[str, Case | Failure]] = []
    for answer, against in zip(answers, rivals, strict=True):
        case = case_of(by_id[answer.sample_id], answer, against)
        more = gathered.get((answer.candidate, answer.sample_id))
        match more:
            case None:
                found.append((fingerprint([judge.fingerprint, case.sha]), case))
            case Failure():
                found.append((fingerprint([judge.fingerprint, case.sha, "unmet", more.kind, more.message]), more))
            case Gathered():
                case = replace(case, samples=more.samples, likelihoods=more.likelihoods)
                found.append((fingerprint([judge.fingerprint, case.sha, *more.keys]), case))
    return found


def judged(judge: Judge, cases: Sequence[Case]) -> list[Judgement]:
    """What the judge says, one a case. What it raises becomes a failure of the case; so does a score off its own scale.

    A judge should do neither; one from outside may, and must cost only what it cannot judge.
    """
    try:
        judgements = list(judge.judge(cases))
        if len(judgements) != len(cases):
            raise ValueError(f"the judge gave {len(judgements)} judgements for {len(cases)} cases")
    except Exception as error:
        if len(cases) > 1:
            return [judgement for case in cases for judgement in judged(judge, [case])]
        text = " ".join(str(error).split()) or "no message"
        return [_unscored(cases[0], judge.metric, "judge_failed", f"{type(error).__name__}: {text}"[:500])]
    return [_on_scale(case, judge.metric, found) for case, found in zip(cases, judgements, strict=True)]


def _on_scale(case: Case, metric: Metric, judgement: Judgement) -> Judgement:
    score = judgement.score
    if score is None or metric.low - 1e-9 <= score <= metric.high + 1e-9:
        return judgement
    message = f"the judge's score must lie within {metric.low:g} to {metric.high:g} (got {score:g})"
    return _unscored(case, metric, "off_scale", message)


def _unscored(case: Case, metric: Metric, kind: str, message: str) -> Judgement:
    return Judgement(id=case.id, metric=metric.name, score=None, error=Failure(kind=kind, message=message))


def case_of(sample: Sample, answer: Answer, opponents: Sequence[Answer] = ()) -> Case:
    """What a judge sees of an answer. What the candidate retrieved stands apart from the data's own context.

    Of a conversation the input is the user's last turn; the turns stand beside it where there are more.
    """
    return Case(
        id=sample.id, answer=answer.completion.text, input=sample.input,
        references=sample.references, contexts=sample.contexts, retrieved=answer.contexts,
        opponents=tuple(b.completion.text or "" for b in opponents),
        messages=sample.messages if len(sample.messages) > 1 else (),
    )  # fmt: skip


def is_incomplete(answers: Iterable[Answer], judgements: Iterable[Judgement]) -> bool:
    """Whether anything is missing that another try could mend."""
    errors = [*(a.completion.error for a in answers), *(j.error for j in judgements)]
    return any(error is not None and error.kind not in LASTING_FAILURES for error in errors)


def _completion_row(key: str, completion: Completion) -> dict[str, Any]:
    error = completion.error
    return {
        "key": key, "text": completion.text, "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens, "completion_tokens": completion.completion_tokens,
        "seconds": completion.seconds, "error": [error.kind, error.message] if error else None,
    }  # fmt: skip


def _spooled_completions(spool: Spool) -> dict[str, Completion]:
    """What an interrupted run already answered. Errors are left out: they are tried again."""
    rows = {row.pop("key"): row for row in spool.rows()}
    return {key: Completion(**row) for key, row in rows.items() if row["error"] is None}


def _judgement_row(key: str, judgement: Judgement) -> dict[str, Any]:
    error = judgement.error
    return {
        "key": key, "id": judgement.id, "metric": judgement.metric, "score": judgement.score, "label": judgement.label,
        "evidence": dict(judgement.evidence), "error": [error.kind, error.message] if error else None,
    }  # fmt: skip


def _spooled_judgements(spool: Spool) -> dict[str, Judgement]:
    rows = {row.pop("key"): row for row in spool.rows()}
    return {key: Judgement(**row) for key, row in rows.items() if row["error"] is None}


__all__ = [
    "Answering",
    "Judging",
    "Opponents",
    "Stages",
    "answer",
    "case_of",
    "cases_of",
    "is_incomplete",
    "judge",
    "judge_here",
    "judged",
]
