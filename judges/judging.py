"""What every judge does alike: refuse a case it cannot judge, score the rest, and turn a failure into an honest null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from harness.records import Case, Failure, Judgement

Scored = tuple[float, str | None, dict[str, Any]]
"""Score, label, evidence."""


Asked = TypeVar("Asked")
Told = TypeVar("Told")


def ask_all(ask: Callable[[Asked], Told], items: Sequence[Asked], *, workers: int) -> list[Told]:
    """`ask` of each item, in order, `workers` at once. An interruption does not wait for what is under way."""
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        return list(pool.map(ask, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def unscored(case: Case, metric: str, kind: str, message: str, **evidence: Any) -> Judgement:
    """A judgement without a score, saying why."""
    return Judgement(
        id=case.id, metric=metric, score=None, error=Failure(kind=kind, message=message), evidence=evidence
    )


def missing(case: Case, needs: Sequence[str]) -> str | None:
    """The first of `needs` (fields of the case) that it lacks, or None. An empty answer is there."""
    for name in needs:
        value = getattr(case, name)
        if value is None or (name != "answer" and not value):
            return name
    return None


def judge_each(
    cases: Sequence[Case],
    metric: str,
    *,
    needs: Sequence[str],
    empty: Scored | None,
    score: Callable[[list[Case]], list[Scored | Failure]],
) -> list[Judgement]:
    """One judgement a case, in order: cases lacking a need are unscored, blank answers get `empty`, `score` does the rest.

    When `score` raises on the whole list, each case is tried alone, so that one bad case costs only itself.
    """
    result: dict[int, Judgement] = {}
    ready: list[int] = []
    for index, case in enumerate(cases):
        lack = missing(case, needs)
        if lack is not None:
            message = f"the judge needs '{lack.removesuffix('s')}', and the case has none"
            result[index] = unscored(case, metric, "no_answer" if lack == "answer" else "missing_input", message)
        elif empty is not None and not (case.answer or "").strip():
            result[index] = Judgement(id=case.id, metric=metric, score=empty[0], label=empty[1], evidence=empty[2])
        else:
            ready.append(index)
    for index, outcome in zip(ready, _attempt([cases[i] for i in ready], score), strict=True):
        case = cases[index]
        if isinstance(outcome, Failure):
            result[index] = unscored(case, metric, outcome.kind, outcome.message)
        else:
            value, label, evidence = outcome
            result[index] = Judgement(id=case.id, metric=metric, score=value, label=label, evidence=evidence)
    return [result[index] for index in range(len(cases))]


def _attempt(cases: list[Case], score: Callable[[list[Case]], list[Scored | Failure]]) -> list[Scored | Failure]:
    if not cases:
        return []
    try:
        return score(cases)
    except Exception as error:  # the boundary: whatever a model throws becomes a typed failure of the case
        if len(cases) == 1:
            return [Failure(kind="judge_failed", message=_one_line(error))]
    return [outcome for case in cases for outcome in _attempt([case], score)]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:500]
