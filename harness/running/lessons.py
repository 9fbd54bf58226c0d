"""Distillation: a teacher answers the training rows once, judges say which answers are kept, and the student learns those.

Guarantees: each row of the split is either kept or named in the lesson's record, under one reason. A row that failed for a
reason another try could mend is never left out: the lesson stops, and the same command asks for the rest. Answers and
scores lie in journals by content, so a lesson that is known asks nothing, whatever teacher and judges are called, and one
cut off by `kill -9` goes on. Knows no judge and no model: both come as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from harness.errors import IncompleteError, UserError
from harness.models.endpoint.traffic import Price, Tokens
from harness.records import Answer, Case, Completion, Failure, Judge, Judgement, Sample
from harness.running import runner
from harness.running.plan import PlannedTraining
from harness.store import Spool
from harness.suite.grammar import Bar, OpenAIModel
from harness.training.recipe import name_rows

SETTLED = runner.LASTING_FAILURES | {"missing_answer"}
"""Failures that another try would not mend: their rows are left out. All others stop the lesson."""


class Teaching(runner.Answering, Protocol):
    """What a lesson needs of its teacher: a candidate, identified by content."""

    @property
    def key(self) -> str: ...


@dataclass(slots=True, kw_only=True)
class _Class:
    """The rows of a lesson on their way: those still in it, and the row numbers that left it, by reason."""

    answers: list[tuple[Sample, Answer]]
    left_out: dict[str, list[int]] = field(default_factory=dict)

    def keep_only(self, reasons: Sequence[str | None]) -> None:
        """One reason a row to leave it out, None to keep it."""
        for (sample, _), why in zip(self.answers, reasons, strict=True):
            if why is not None:
                self.left_out.setdefault(why, []).append(sample.row)
        self.answers = [row for row, why in zip(self.answers, reasons, strict=True) if why is None]


def learn(
    planned: PlannedTraining,
    *,
    teacher: Teaching,
    judges: Mapping[str, Judge],
    folder: Path,
    stages: runner.Stages,
    fresh: bool = False,
) -> PlannedTraining:
    """The training with the teacher's answers as its references, asking for whatever is missing.

    Args:
        planned: a training with a teacher.
        teacher: the candidate behind it.
        judges: those that `keep` names.
        folder: where the journals are.
        stages: where progress is shown.
        fresh: whether to ask anew, whatever the journals hold.

    Raises:
        IncompleteError: answers or scores are missing that another try may bring; what there is has been kept.
        UserError: fewer rows are left than `keep_share` asks for.
    """
    if fresh:
        _journal(folder, "answers", teacher.key).remove()
        for judge in judges.values():
            _journal(folder, "scores", judge.fingerprint).remove()
    found = _lesson(planned, teacher, judges, folder, stages, ask=True)
    assert found is not None  # what is missing has been asked for
    return found


def recall(
    planned: PlannedTraining,
    *,
    teacher: Teaching,
    judges: Mapping[str, Judge],
    folder: Path,
    stages: runner.Stages,
) -> PlannedTraining | None:
    """As `learn`, asking nobody; None where anything is missing."""
    return _lesson(planned, teacher, judges, folder, stages, ask=False)


def _lesson(
    planned: PlannedTraining,
    teacher: Teaching,
    judges: Mapping[str, Judge],
    folder: Path,
    stages: runner.Stages,
    *,
    ask: bool,
) -> PlannedTraining | None:
    answers = _answers(planned, teacher, _journal(folder, "answers", teacher.key), stages, ask=ask)
    if answers is None:
        return None
    _refuse_gaps(teacher.name, "answered", [answer.completion.error for answer in answers])
    rows = _Class(answers=list(zip(planned.samples, answers, strict=True)))
    rows.keep_only([_unusable(answer.completion) for answer in answers])
    for metric, bar in planned.spec.keep.items():
        journal = _journal(folder, "scores", judges[metric].fingerprint)
        scores = _scores(judges[metric], rows.answers, journal, stages, ask=ask)
        if scores is None:
            return None
        _refuse_gaps(metric, "judged", [score.error for score in scores])
        rows.keep_only([_below(metric, bar, score) for score in scores])
    record = _record(planned, teacher, judges, answers, rows)
    _refuse_few(planned, record)
    kept = [replace(sample, references=(answer.completion.text or "",)) for sample, answer in rows.answers]
    return replace(planned, samples=tuple(kept), lesson=record)


def describe_lesson(record: Mapping[str, Any]) -> str:
    """The record of a lesson as a sentence: `95 of 100 rows taught by api; left out: no answer (refusal): row 7`."""
    line = f"{record['kept']:,} of {record['rows']:,} rows taught by {record['candidate']}"
    reasons = "; ".join(f"{why}: {name_rows(rows)}" for why, rows in record["left_out"].items())
    return f"{line}; left out: {reasons}" if reasons else line


# ----------------------------------------------------------------------------------------------- answers and scores


def _journal(folder: Path, what: str, key: str) -> Spool:
    return Spool(folder / f"{what}-{key[:16]}.jsonl")


def _answers(
    planned: PlannedTraining, teacher: Teaching, journal: Spool, stages: runner.Stages, *, ask: bool
) -> list[Answer] | None:
    """One answer a row, in order; None where one is missing and nobody is to be asked."""
    settled = _settled(journal)
    if not ask and any(teacher.answer_key(prompt) not in settled for prompt in teacher.prompts(planned.samples)):
        return None
    failures = {key: Completion(text=None, error=error) for key, error in settled.items() if error is not None}
    return runner.answer(teacher, planned.samples, spool=journal, cached=lambda keys: failures, stages=stages)


def _scores(
    judge: Judge, answers: Sequence[tuple[Sample, Answer]], journal: Spool, stages: runner.Stages, *, ask: bool
) -> list[Judgement] | None:
    """One judgement an answer, in order; None where one is missing and nobody is to be asked."""
    samples, given = [sample for sample, _ in answers], [answer for _, answer in answers]
    settled = _settled(journal)
    if not ask:
        cases = runner.cases_of(judge, samples, given, [[]] * len(given), {})
        if any(key not in settled for key, case in cases if isinstance(case, Case)):
            return None
    failures = {
        key: Judgement(id="", metric=judge.metric.name, score=None, error=error)
        for key, error in settled.items()
        if error is not None
    }
    return runner.judge(judge, samples, given, spool=journal, cached=lambda keys: failures, stages=stages)


def _settled(journal: Spool) -> dict[str, Failure | None]:
    """By key, what a journal knows for good: None for an answer or a score, or the failure that no other try would mend."""
    errors = {row["key"]: row["error"] for row in journal.rows()}
    found = {key: Failure(kind=error[0], message=error[1]) if error else None for key, error in errors.items()}
    return {key: error for key, error in found.items() if error is None or error.kind in SETTLED}


# ----------------------------------------------------------------------------------------------------- what is left


def _unusable(completion: Completion) -> str | None:
    """Why an answer teaches nothing, or the wrong thing; None for a whole one."""
    if completion.error is not None:
        return f"no answer ({completion.error.kind})"
    if not (completion.text or "").strip():
        return "empty answer"
    if completion.finish_reason == "length":  # trained, it would teach to stop in the middle
        return "answer cut at max_new_tokens"
    return None


def _below(metric: str, bar: Bar, judgement: Judgement) -> str | None:
    if judgement.score is None:
        assert judgement.error is not None  # a judgement holds one of the two
        return f"no {metric} ({judgement.error.kind})"
    return None if bar.passes(judgement.score) else f"{metric} not {bar}"


def _refuse_gaps(who: str, did: str, errors: Sequence[Failure | None]) -> None:
    """Raises IncompleteError where a row failed that another try may mend: without it the student would be another one."""
    gaps = [error for error in errors if error is not None and error.kind not in SETTLED]
    if gaps:
        raise IncompleteError(
            f"{who} has {did} {len(errors) - len(gaps):,} of {len(errors):,} training rows ({gaps[0].kind}: "
            f"{gaps[0].message}). What is done is kept; the same command goes on from there."
        )


def _refuse_few(planned: PlannedTraining, record: Mapping[str, Any]) -> None:
    wanted = planned.spec.keep_share
    if record["kept"] < wanted * record["rows"] or not record["kept"]:
        raise UserError(
            f"candidate '{planned.candidate}': 'keep_share' asks for {wanted:.0%} of the training rows (got "
            f"{describe_lesson(record)}). Lower a bar of 'keep' or 'keep_share', or ask a better teacher."
        )


def _record(
    planned: PlannedTraining,
    teacher: Teaching,
    judges: Mapping[str, Judge],
    answers: Sequence[Answer],
    rows: _Class,
) -> dict[str, Any]:
    """What became of the rows, as plain JSON; `kept` and the rows of all reasons together are all rows."""
    spec = planned.spec
    return {
        "candidate": teacher.name,
        "key": teacher.key,
        "rows": len(answers),
        "kept": len(rows.answers),
        "left_out": rows.left_out,
        "keep": {metric: {"bar": str(bar), "judge": judges[metric].fingerprint} for metric, bar in spec.keep.items()},
        "keep_share": spec.keep_share,
        **_spent(planned, list({answer.key: answer.completion for answer in answers}.values())),
    }


def _spent(planned: PlannedTraining, completions: Sequence[Completion]) -> dict[str, Any]:
    """Tokens of the answers, and what they cost by the teacher's price; None for what is not known in full."""
    asked = [completion for completion in completions if completion.error is None]
    prompt, completion = [c.prompt_tokens for c in asked], [c.completion_tokens for c in asked]
    tokens = (
        Tokens(sum(n for n in prompt if n is not None), sum(n for n in completion if n is not None))
        if None not in prompt and None not in completion
        else None
    )
    model = planned.teacher.spec.model if planned.teacher is not None else None
    price = model.price if isinstance(model, OpenAIModel) else None
    return {
        "prompt_tokens": tokens.prompt if tokens else None,
        "completion_tokens": tokens.completion if tokens else None,
        "cost": round(Price(price.input, price.output).of(tokens), 9) if tokens and price else None,
    }
