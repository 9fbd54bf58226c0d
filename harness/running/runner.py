"""Answers and judges: whatever is missing of a run, in an order that a `kill -9` cannot spoil.

Every finished batch goes to the run's spool before the next one starts, so the same command run again continues where it
stopped. What an earlier run answered or judged with equal content is taken from the store. Knows no judge and no model: both
come as arguments. A failure of one sample is recorded on it and the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

from harness.errors import ModelError
from harness.records import (
    Answer,
    Case,
    Completion,
    Failure,
    Judge,
    Judgement,
    Progress,
    Prompt,
    Sample,
    fingerprint,
)
from harness.store import Spool

CHUNK = 128
"""Cases a judge gets at once: the most that a kill can lose."""
LASTING_FAILURES = frozenset({"missing_input", "no_answer", "prompt_too_long", "content_filter", "refusal"})
"""Kinds of error that follow from the data and the model: another try would not mend them."""


class Answering(Protocol):
    """What the runner needs of a candidate."""

    @property
    def name(self) -> str: ...

    def prompts(self, samples: Sequence[Sample]) -> list[Prompt]: ...

    def answer_key(self, prompt: Prompt) -> str: ...

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Completion]]]: ...


class Stages(Protocol):
    """Where progress is shown: one bar or line a stage."""

    def stage(self, name: str, total: int, *, done: int = 0) -> AbstractContextManager[Progress]:
        """Opens a stage of `total` items of which `done` are there already."""
        ...


CachedAnswers = Callable[[Sequence[str]], Mapping[str, Completion]]
CachedJudgements = Callable[[Sequence[str]], Mapping[str, Judgement]]
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
            for batch in _batches(candidate, [by_key[key] for key in wanted]):
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


def judge(
    judge: Judge,
    samples: Sequence[Sample],
    answers: Sequence[Answer],
    *,
    spool: Spool,
    cached: CachedJudgements,
    stages: Stages,
    opponents: Opponents | None = None,
) -> list[Judgement]:
    """One judgement an answer, in order. Equal content is judged once, whichever candidate said it.

    With `opponents`, each case holds their answers to the same sample, where they have one, and the evidence their names.
    """
    by_id = {sample.id: sample for sample in samples}
    rivals = [[] if opponents is None else opponents(a) for a in answers]
    cases = [case_of(by_id[a.sample_id], a, against) for a, against in zip(answers, rivals, strict=True)]
    keys = [fingerprint([judge.fingerprint, case.sha]) for case in cases]
    known = {**cached(list(dict.fromkeys(keys))), **_spooled_judgements(spool)}
    by_key = dict(zip(keys, cases, strict=True))
    wanted = [key for key in by_key if key not in known]
    with stages.stage(f"{judge.metric.name} judges", len(cases), done=len(cases) - len(wanted)) as advance:
        for chunk in _chunks(wanted, CHUNK):
            judgements = judge.judge([by_key[key] for key in chunk])
            spool.append([_judgement_row(key, row) for key, row in zip(chunk, judgements, strict=True)])
            known.update(zip(chunk, judgements, strict=True))
            advance(len(chunk))
    return [
        replace(
            known[key], id=a.sample_id, metric=judge.metric.name, candidate=a.candidate, key=key,
            evidence={**known[key].evidence, **_names(against)},
        )
        for key, a, against in zip(keys, answers, rivals, strict=True)
    ]  # fmt: skip


def _names(opponents: Sequence[Answer]) -> dict[str, list[str]]:
    return {"opponents": [answer.candidate for answer in opponents]} if opponents else {}


def case_of(sample: Sample, answer: Answer, opponents: Sequence[Answer] = ()) -> Case:
    """What a judge sees of an answer. What the candidate retrieved stands apart from the data's own context."""
    return Case(
        id=sample.id, answer=answer.completion.text, input=sample.input,
        references=sample.references, contexts=sample.contexts, retrieved=answer.contexts,
        opponents=tuple(b.completion.text or "" for b in opponents),
    )  # fmt: skip


def is_incomplete(answers: Iterable[Answer], judgements: Iterable[Judgement]) -> bool:
    """Whether anything is missing that another try could mend."""
    errors = [*(a.completion.error for a in answers), *(j.error for j in judgements)]
    return any(error is not None and error.kind not in LASTING_FAILURES for error in errors)


def _batches(candidate: Answering, prompts: Sequence[Prompt]) -> Iterator[list[tuple[int, Completion]]]:
    """The candidate's batches; where its model breaks down, each prompt still open gets the reason."""
    open_prompts = set(range(len(prompts)))
    try:
        for batch in candidate.generate(prompts):
            open_prompts.difference_update(index for index, _ in batch)
            yield batch
    except ModelError as error:
        failure = Failure(kind="model_failed", message=str(error))
        yield [(index, Completion(text=None, error=failure)) for index in sorted(open_prompts)]


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


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


__all__ = ["Answering", "Opponents", "Stages", "answer", "case_of", "is_incomplete", "judge"]
