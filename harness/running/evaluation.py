"""One run: opens or resumes it, answers and judges what is missing, and puts everything into the store at once.

A run is identified by its content (suite, data, candidates' keys, judges' fingerprints): an unchanged plan is the same run, and
a run cut off by `kill -9` is taken up from its spool. The store is opened only for moments, so a reader is never in the way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from harness.records import (
    Answer,
    Completion,
    Failure,
    Inquirer,
    Judge,
    Judgement,
    Needs,
    Probe,
    Repeat,
    Run,
    Sample,
    Training,
    fingerprint,
)
from harness.running import probing, repeating, runner
from harness.running.engine import Engine, Keyed, Local
from harness.running.neighbours import near_the_worst
from harness.running.plan import Plan
from harness.store import Home, Spool, Store, write_bundle
from harness.store.reviews import keep_ratings


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A finished run, and whether it was there already."""

    run: Run
    cached: bool
    usage: tuple[Mapping[str, Any], ...] = ()
    """What was used of endpoints just now; the run's record holds that of its earlier tries too."""


def evaluate(
    plan: Plan,
    *,
    candidates: Sequence[Keyed],
    judges: Sequence[Judge],
    trainings: Mapping[str, Training],
    home: Home,
    stages: runner.Stages,
    record: Mapping[str, Any],
    usage: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    fresh: bool = False,
    engine: Engine | None = None,
) -> Evaluation:
    """Answers and judges whatever is missing of the plan, with `engine` or else in this process, and stores the run.

    `record` goes into `Run.record` as it is; what `usage` tells at the end is added to its `endpoints`, after what earlier
    tries of the same run used. `fresh` uses nothing that was stored or spooled.
    Raises StoreLockedError or StoreError; failures of candidates and judges are recorded on their samples.
    """
    run = _start(plan, candidates, judges, record)
    with Store.open(home) as store:
        known = store.find_run(run.key)
    if known is not None and known.status == "complete" and not fresh:
        return Evaluation(run=known, cached=True)
    spools = _Spools(home, run, fresh=fresh)
    began = time.monotonic()
    engine = engine or Local()
    candidates = [engine.answering(candidate) for candidate in candidates]
    answers = _answer_all(plan, candidates, home, spools, stages, fresh=fresh)
    judgements, probes, repeats = _judge_all(
        plan, judges, candidates, answers, home, spools, stages, engine.judging, fresh=fresh
    )
    used = tuple({"time": _now(), **entry} for entry in usage())
    finished = replace(
        run,
        status="incomplete" if runner.is_incomplete(answers, judgements) else "complete",
        started=known.started if known is not None else run.started,
        finished=_now(),
        seconds=round(time.monotonic() - began, 3),
        record={**_with_usage(record, used, known), **_noise(judgements, repeats)},
    )
    if known is not None:  # what people said of answers that are still the same outlives a run made anew
        with Store.open(home) as store:
            stored, said = store.answers(known.id), store.judgements(known.id)
        finished, ratings = keep_ratings(known, said, stored, finished, answers)
        judgements = [*judgements, *ratings]
    samples = plan.membership
    taught = {planned.candidate: planned.samples for planned in plan.trainings if planned.candidate in trainings}
    nearest = near_the_worst(judgements, finished.metrics, plan.samples, taught)
    trained = [
        replace(trainings[name], record={**trainings[name].record, "nearest": nearest.get(name, {})})
        for name in trainings
    ]
    write_bundle(
        home, finished, samples=samples, answers=answers, judgements=judgements, trainings=trained, probes=probes,
        repeats=repeats,
    )  # fmt: skip
    with Store.open(home) as store:
        store.write_run(
            finished, samples=samples, answers=answers, judgements=judgements, trainings=trained, probes=probes,
            repeats=repeats,
        )  # fmt: skip
    spools.remove()
    return Evaluation(run=finished, cached=False, usage=used)


def _start(plan: Plan, candidates: Sequence[Keyed], judges: Sequence[Judge], record: Mapping[str, Any]) -> Run:
    suite = plan.loaded.suite
    keys = {candidate.name: candidate.key for candidate in candidates}
    fingerprints = {judge.metric.name: judge.fingerprint for judge in judges}
    sample_ids = [[sample.split, sample.id] for sample in plan.membership]
    key = fingerprint([plan.loaded.sha, plan.dataset.sha, sample_ids, keys, fingerprints])
    return Run(
        id=f"{suite.suite}-{key[:8]}", key=key, suite=suite.suite, suite_version=suite.version,
        suite_sha=plan.loaded.sha, data_sha=plan.dataset.sha, status="running", started=_now(), finished=None,
        seconds=0.0, candidates=keys, metrics=tuple(judge.metric for judge in judges), judges=fingerprints, record=record,
    )  # fmt: skip


def _with_usage(record: Mapping[str, Any], used: Sequence[Mapping[str, Any]], known: Run | None) -> Mapping[str, Any]:
    before = known.record.get("endpoints", []) if known is not None else []
    return {**record, "endpoints": [*before, *used]} if before or used else record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Spools:
    """The run's journals: one for each candidate's answers and each judge's judgements."""

    def __init__(self, home: Home, run: Run, *, fresh: bool) -> None:
        self._folder = home.run_dir(run.id) / "spool"
        if fresh:
            self.remove()

    def open(self, what: str, key: str) -> Spool:
        self._folder.mkdir(parents=True, exist_ok=True)
        return Spool(self._folder / f"{what}-{key[:16]}.jsonl")

    def remove(self) -> None:
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()


def _answer_all(
    plan: Plan, candidates: Sequence[Keyed], home: Home, spools: _Spools, stages: runner.Stages, *, fresh: bool
) -> list[Answer]:
    def cached(keys: Sequence[str]) -> Mapping[str, Completion]:
        if fresh:
            return {}
        with Store.open(home) as store:
            return store.cached_answers(keys)

    return [
        answer
        for candidate in candidates
        for answer in runner.answer(
            candidate, plan.samples, spool=spools.open("answers", candidate.key), cached=cached, stages=stages
        )
    ]


def _judge_all(
    plan: Plan,
    judges: Sequence[Judge],
    candidates: Sequence[Keyed],
    answers: Sequence[Answer],
    home: Home,
    spools: _Spools,
    stages: runner.Stages,
    judging: runner.Judging,
    *,
    fresh: bool,
) -> tuple[list[Judgement], list[Probe], list[Repeat]]:
    def cached(keys: Sequence[str]) -> Mapping[str, Judgement]:
        if fresh:
            return {}
        with Store.open(home) as store:
            return store.cached_judgements(keys)

    def cached_repeats(keys: Sequence[str]) -> Mapping[str, Repeat]:
        if fresh:
            return {}
        with Store.open(home) as store:
            return store.cached_repeats(keys)

    judgements: list[Judgement] = []
    repeats: list[Repeat] = []
    probes: dict[tuple[str, str, str], Probe] = {}
    for judge in judges:
        asked = _judged_answers(plan, judge.metric.name, answers)
        gathered = _gather(plan, judge, candidates, asked, home, spools, stages, fresh=fresh)
        spool = spools.open("judgements", judge.fingerprint)
        opponents = _opponents(plan, judge.metric.name, asked)
        found = runner.judge(
            judge,
            plan.samples,
            asked,
            spool=spool,
            cached=cached,
            stages=stages,
            opponents=opponents,
            gathered=gathered,
            judging=judging,
        )
        judgements += found
        spec = plan.loaded.suite.judges[judge.metric.name]
        if spec.repeats is not None:
            rivals = [[] if opponents is None else opponents(answer) for answer in asked]
            repeats += repeating.repeat(
                judge, runner.cases_of(judge, plan.samples, asked, rivals, gathered), found, times=spec.repeats,
                limit=spec.repeat_cases, seed=plan.loaded.suite.seed, spool=spools.open("repeats", judge.fingerprint),
                cached=cached_repeats, stages=stages, judging=judging,
            )  # fmt: skip
        for got in gathered.values():
            if isinstance(got, probing.Gathered):
                probes |= {(probe.candidate, probe.sample_id, probe.key): probe for probe in got.probes}
    return judgements, list(probes.values()), repeats


def _noise(judgements: Sequence[Judgement], repeats: Sequence[Repeat]) -> dict[str, Any]:
    """By metric, what repeated calls say of the judge; nothing where nothing was repeated."""
    scored = Counter(judgement.metric for judgement in judgements if judgement.score is not None)
    metrics = dict.fromkeys(one.metric for one in repeats)
    found = {m: repeating.noise([one for one in repeats if one.metric == m], of=scored[m]) for m in metrics}
    return {"judge_noise": found} if found else {}


def _gather(
    plan: Plan,
    judge: Judge,
    candidates: Sequence[Keyed],
    answers: Sequence[Answer],
    home: Home,
    spools: _Spools,
    stages: runner.Stages,
    *,
    fresh: bool,
) -> dict[tuple[str, str], probing.Gathered | Failure]:
    """By candidate and sample, what the judge needs beyond the answers; nothing for a judge that needs no more.

    Nothing is drawn where there is no answer to hold the draws against.
    """
    if not isinstance(judge, Inquirer):
        return {}

    def cached(keys: Sequence[str]) -> Mapping[str, Probe]:
        if fresh:
            return {}
        with Store.open(home) as store:
            return store.cached_probes(keys)

    needs = {sample.id: judge.needs(sample) for sample in plan.samples}
    samples = {sample.id: sample for sample in plan.samples}
    found: dict[tuple[str, str], probing.Gathered | Failure] = {}
    for candidate in candidates:
        wanted: list[tuple[Sample, Needs]] = []
        for answer in (answer for answer in answers if answer.candidate == candidate.name):
            need = needs[answer.sample_id]
            if isinstance(need, Failure):
                found[candidate.name, answer.sample_id] = need
            elif need.likelihoods or (need.samples and answer.completion.text is not None):
                wanted.append((samples[answer.sample_id], need))
        if wanted:
            results = probing.gather(
                candidate, [sample for sample, _ in wanted], [need for _, need in wanted],
                spool=spools.open("probes", candidate.key), cached=cached, stages=stages,
            )  # fmt: skip
            found |= {(candidate.name, s.id): result for (s, _), result in zip(wanted, results, strict=True)}
    return found


def _opponents(plan: Plan, metric: str, answers: Sequence[Answer]) -> runner.Opponents | None:
    """For a pairwise judge, which answers stand against an answer; a failed answer stands against none."""
    names = plan.opponents(metric)
    if not names:
        return None
    found = {(a.sample_id, a.candidate): a for a in answers if a.completion.error is None}

    def opponents(answer: Answer) -> list[Answer]:
        rivals = [name for name in names if name != answer.candidate or len(names) == 1]
        return [found[answer.sample_id, name] for name in rivals if (answer.sample_id, name) in found]

    return opponents


def _judged_answers(plan: Plan, metric: str, answers: Sequence[Answer]) -> list[Answer]:
    """A judge may be told to look at some splits only."""
    splits = plan.loaded.suite.judges[metric].splits
    if splits is None:
        return list(answers)
    wanted = {sample.id for sample in plan.membership if sample.split in splits}
    return [answer for answer in answers if answer.sample_id in wanted]
