"""Judge noise: a random few of the judged cases are judged again, to see how far a judge agrees with itself.

Which cases follows from the seed and their names alone, so a continued run repeats the same. Each repeated call is a call of its
own, with a key of its own: nothing that was judged before is taken for it. A judge that computes the same from the same has a
variance of 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.records import Case, Failure, Judge, Judgement, Repeat, fingerprint
from harness.running.runner import Judging, judge_here
from harness.running.stages import Stages
from harness.store import Spool

CachedRepeats = Callable[[Sequence[str]], Mapping[str, Repeat]]


def repeat(
    judge: Judge,
    cases: Sequence[tuple[str, Case | Failure]],
    judgements: Sequence[Judgement],
    *,
    times: int,
    limit: int,
    seed: int,
    spool: Spool,
    cached: CachedRepeats,
    stages: Stages,
    judging: Judging = judge_here,
) -> list[Repeat]:
    """`times` further judgements of at most `limit` scored cases, drawn by hash, each content once.

    Args:
        judge: The judge.
        cases: Key and case of each judgement, as `runner.cases_of` gives them.
        judgements: The judgements, in the same order.
        times: Calls a case.
        limit: Cases.
        seed: Decides which cases.
        spool: Where finished calls go.
        cached: Repeats that an earlier run stored, by key.
        stages: Where progress is shown.
        judging: Has the judge judge.
    """
    chosen = _chosen(cases, judgements, limit=limit, seed=seed)
    wanted = [
        (fingerprint([key, "repeat", number]), number, case, judgement)
        for number in range(1, times + 1)
        for key, case, judgement in chosen
    ]
    known = {**cached([key for key, *_ in wanted]), **_spooled(spool)}
    missing = [row for row in wanted if row[0] not in known]
    with stages.stage(f"{judge.metric.name} repeats", len(wanted), done=len(wanted) - len(missing)) as advance:
        for number in range(1, times + 1):  # one call of the judge holds no case twice
            part = [row for row in missing if row[1] == number]
            for batch in judging(judge, [case for _, _, case, _ in part]):
                found = [
                    Repeat(
                        key=part[index][0],
                        candidate="",
                        sample_id="",
                        metric="",
                        number=number,
                        score=again.score,
                        error=again.error,
                    )
                    for index, again in batch
                ]
                spool.append([_row(one) for one in found])
                known.update((one.key, one) for one in found)
                advance(len(found))
    return [
        replace(known[key], candidate=first.candidate, sample_id=first.id, metric=judge.metric.name, number=number)
        for key, number, _, first in wanted
    ]


def noise(repeats: Sequence[Repeat], *, of: int) -> dict[str, Any]:
    """What a judge's repeats say, for the run's record.

    `within_variance`: mean over cases of the variance (n - 1) of one case's calls. `total_variance`: that plus the variance
    between cases, the one-way random-effects estimate (Fisher 1925), at least 0; `share` is their ratio, 1 minus the intraclass
    correlation. None where fewer than two calls, or two cases, have scores. `of` is the number of scored cases that the few were
    drawn from.
    """
    by_case: dict[tuple[str, str], list[float]] = {}
    for one in repeats:
        scores = by_case.setdefault((one.candidate, one.sample_id), [])
        if one.score is not None:
            scores.append(one.score)
    several = [scores for scores in by_case.values() if len(scores) > 1]
    within = statistics.fmean(map(statistics.variance, several)) if several else None
    total = None
    if within is not None and len(several) > 1:
        calls = 1 / statistics.fmean(1 / len(scores) for scores in several)
        total = within + max(0.0, statistics.variance(map(statistics.fmean, several)) - within / calls)
    return {
        "repeats": max((one.number for one in repeats), default=0),
        "cases": len(by_case),
        "of": of,
        "unscored": sum(one.score is None for one in repeats),
        "within_variance": within,
        "total_variance": total,
        "share": None if within is None or total is None else within / total if total > 0 else 0.0,
        "ids": [list(case) for case in by_case],
    }


def _chosen(
    cases: Sequence[tuple[str, Case | Failure]], judgements: Sequence[Judgement], *, limit: int, seed: int
) -> list[tuple[str, Case, Judgement]]:
    found: dict[str, tuple[str, Case, Judgement]] = {}
    for (key, case), judgement in zip(cases, judgements, strict=True):
        if isinstance(case, Case) and judgement.score is not None:
            found.setdefault(key, (key, case, judgement))
    drawn = sorted(found.values(), key=lambda row: fingerprint([seed, row[2].metric, row[2].candidate, row[2].id]))
    return drawn[:limit]


def _row(one: Repeat) -> dict[str, Any]:
    error = one.error
    return {
        "key": one.key, "number": one.number, "score": one.score,
        "error": [error.kind, error.message] if error else None,
    }  # fmt: skip


def _spooled(spool: Spool) -> dict[str, Repeat]:
    """What an interrupted run repeated; failures are tried again."""
    return {
        row["key"]: Repeat(candidate="", sample_id="", metric="", **row) for row in spool.rows() if row["error"] is None
    }
