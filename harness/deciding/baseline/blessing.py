"""To bless a candidate of a stored run, and to hold a baseline against the store afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.deciding.baseline.measuring import measure, modes_of, score_rows
from harness.deciding.baseline.record import FORMAT, Baseline, Blessing, Measured, changes
from harness.deciding.comparison import leaderboard
from harness.deciding.scores import Scores
from harness.errors import UserError
from harness.records import Run

if TYPE_CHECKING:
    from harness.store import Store


def bless(
    store: Store,
    run: Run,
    candidate: str,
    *,
    name: str,
    by: str,
    why: str,
    force: bool = False,
    before: Baseline | None = None,
) -> Baseline:
    """What the candidate scored, under the name; `before` is what the name stood for until now.

    Raises:
        UserError: If the run is unfinished, the candidate is not in it or has no score, the name is one of its candidates,
            or the candidate's verdict is no pass, unless `force` says to bless it all the same.
    """
    if run.status != "complete":
        raise UserError(f"run {run.id} must be complete to be blessed (it is {run.status}). Run the suite again.")
    if candidate not in run.candidates:
        known = ", ".join(run.candidates)
        raise UserError(f"'candidate' must be one of run {run.id}'s ({known}) (got {candidate!r}).")
    if name in run.candidates:
        raise UserError(f"'--name' must differ from the suite's candidates (got {name!r}). Name it otherwise.")
    verdict = next((one for one in store.verdicts(run.id) if one.candidate == candidate), None)
    if verdict is not None and verdict.outcome != "pass" and not force:
        raise UserError(
            f"{candidate} of run {run.id} must have passed its gate to be blessed (its verdict is {verdict.outcome}). "
            "--force blesses it all the same, and the file says so."
        )
    measured = measure(store, run, candidate)
    figures = figures_of(measured)
    if not any(value is not None for split in figures.values() for value in split.values()):
        raise UserError(f"{candidate} of run {run.id} must have scores to be blessed (got none).")
    blessing = Blessing(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        by=by,
        why=why,
        run=run.id,
        run_key=run.key,
        candidate=candidate,
        suite_sha=run.suite_sha,
        verdict=verdict.outcome if verdict is not None else None,
        forced=verdict is not None and verdict.outcome != "pass",
        figures=figures,
        parts=measured.parts(),
        previous=before.blessing.sha if before is not None else None,
        sha="",
    )
    signed = blessing.model_copy(update={"sha": blessing.computed_sha(name)})
    earlier = before.blessings if before is not None else []
    return Baseline(**dict(measured), muster_baseline=FORMAT, name=name, blessings=[signed, *earlier])


def figures_of(measured: Measured) -> dict[str, dict[str, float | None]]:
    """Split and metric to the candidate's figure; None where nothing is scored."""
    name = measured.candidate
    scores = Scores.from_rows(score_rows(measured, name), modes_of(measured, name))
    metrics = [judge.metric(metric) for metric, judge in measured.judges.items()]
    return {
        row.split: {metric: estimate.mean for metric, estimate in row.estimates.items()}
        for row in leaderboard(scores, metrics)
    }


def held_against_store(baseline: Baseline, store: Store) -> list[str] | None:
    """What the store's run says otherwise, a line each; None where the store does not hold that run."""
    run = next((one for one in store.runs() if one.key == baseline.blessing.run_key), None)
    if run is None or baseline.blessing.candidate not in run.candidates:
        return None
    return changes(measure(store, run, baseline.blessing.candidate).parts(), baseline.parts())
