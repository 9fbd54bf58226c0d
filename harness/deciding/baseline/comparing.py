"""Who a gate compares with: a candidate of the run, a blessed baseline, or a candidate of another run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.deciding.baseline.drift import Compared, compared_by, drift_error, drifted, unchanged
from harness.deciding.baseline.files import find_baseline, read_baseline
from harness.deciding.baseline.measuring import conditions, measure, modes_of, score_rows
from harness.deciding.baseline.record import Baseline, Measured
from harness.deciding.scores import Scores
from harness.deciding.sides import find_side
from harness.errors import UserError
from harness.records import Run
from harness.suite.baselines import baseline_file
from harness.suite.explain import quoted, suggest
from harness.suite.grammar import NAME, OF_ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.records import Sample
    from harness.store import Store
    from harness.suite import LoadedSuite


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A run's scores beside those of its baseline."""

    scores: Scores
    name: str | None
    """The baseline among the scores' candidates; None where the gate has none."""
    blessed: Baseline | None = None
    """The baseline, where it is a blessed one."""


def scores_against(
    store: Store, run: Run, loaded: LoadedSuite, *, baseline: str | None, candidates: Sequence[str] = ()
) -> Against:
    """The run's scores, and those of a baseline that is none of its candidates.

    Args:
        store: Holds the run, and the run of the baseline unless it is a blessed one.
        run: What is decided about.
        loaded: The suite; its gate says what is compared.
        baseline: A candidate of the run, a blessed baseline's name or file, RUN:CANDIDATE, or a RUN that has a candidate of
            the name of the one that is decided about, or of the suite's baseline. Left out, the gate's own.
        candidates: Which are decided about; none named means all.

    Raises:
        UserError: If it is none of them, if a blessed one was edited, or if what the comparison rests on drifted.
    """
    gate = loaded.suite.gate
    wanted = baseline or (gate.baseline if gate is not None else None)
    rows, modes = store.scores(run.id), store.modes(run.id)
    if wanted is None or wanted in run.candidates:
        return Against(scores=Scores.from_rows(rows, modes), name=wanted)
    blessed = blessed_baseline(wanted, loaded.root)
    if blessed is not None:
        then: Measured = blessed
        label = blessed.name if blessed.name not in run.candidates else f"baseline:{blessed.name}"
        way_out = (
            f"Run {blessed.blessing.candidate} on the suite as it is and bless it again: muster baseline bless RUN "
            f"--candidate {blessed.blessing.candidate} --name {blessed.name} --why …"
        )
    else:
        like = candidates[0] if len(candidates) == 1 else gate.baseline if gate is not None else None
        side = find_side(store, _known(store, wanted, run, loaded), run, like=like)
        then, label = measure(store, side.run, side.candidate), side.label
        way_out = f"Run {side.candidate} again on the suite as it is, and name that run."
    now = measure(store, run)
    compared = _compared(loaded, list(now.splits))
    if absent := [name for name in compared.metrics if name in OF_ANSWERS and name not in now.judges]:
        raise UserError(
            f"a rule compares {quoted(absent, 'and')} with baseline '{label}', which holds scores alone: what answers took "
            "is compared within a run. Name a candidate of the run as the baseline."
        )
    if lines := drifted(then, now, compared):
        raise drift_error(label, lines, way_out=way_out)
    splits, metrics = unchanged(then, now)
    theirs = [row for row in score_rows(then, label) if row[1] in splits and row[5] in metrics]
    scores = Scores.from_rows([*rows, *theirs], {**modes, **modes_of(then, label)})
    return Against(scores=scores, name=label, blessed=blessed)


def blessed_baseline(wanted: str, root: Path) -> Baseline | None:
    """The blessed baseline of a name beside the suite, or of a file; None where the name is neither.

    Raises:
        UserError: If the file cannot be read, or is not as it was written.
    """
    is_file = wanted.endswith(".json") or (NAME.match(wanted) and baseline_file(root, wanted).is_file())
    if not is_file:
        return None
    path = find_baseline(wanted, root)
    found = read_baseline(path)
    if edits := found.edits():
        way_out = "Take the file from git again, or bless anew; 'muster baseline verify' tells more."
        raise UserError("\n".join([f"{path}: was changed since it was blessed:", *edits, way_out]))
    return found


def refuse_drift(loaded: LoadedSuite, samples: Iterable[Sample], baseline: str | None) -> Baseline | None:
    """Before anything is spent: refuses a blessed baseline that today's suite and data cannot be compared with.

    Returns the blessed baseline; None where the baseline is none, or is no blessed one. Judges are not known yet; a drift
    of theirs is told by the gate.

    Raises:
        UserError: As `scores_against`.
    """
    suite = loaded.suite
    wanted = baseline or (suite.gate.baseline if suite.gate is not None else None)
    blessed = blessed_baseline(wanted, loaded.root) if wanted is not None and wanted not in suite.candidates else None
    if blessed is None:
        return None
    plain = suite.model_dump(mode="json", by_alias=True, exclude_none=True)
    now = conditions(plain, samples, suite_name=suite.suite, suite_version=suite.version)
    lines = drifted(blessed, now, _compared(loaded, list(now.splits)))
    if lines:
        way_out = "Run its candidate on the suite as it is and bless it again (muster run … --no-gate, then bless)."
        raise drift_error(blessed.name, lines, way_out=way_out)
    return blessed


def _compared(loaded: LoadedSuite, splits: Sequence[str]) -> Compared:
    rules = loaded.suite.gate.rules if loaded.suite.gate is not None else []
    return compared_by(rules, splits, loaded.suite.default_split())


def _known(store: Store, wanted: str, run: Run, loaded: LoadedSuite) -> str:
    """The name, if it can stand for a run. Raises UserError, where it says nothing of a run, with all it could be."""
    ids = [one.id for one in store.runs()]
    if any(one.startswith(wanted.partition(":")[0]) for one in ids) or wanted.partition(":")[0] == "latest":
        return wanted
    if wanted in loaded.suite.candidates:
        raise UserError(f"'baseline' must be in run {run.id} (got {wanted!r}, a candidate that it lacks). Run it too.")
    from harness.suite.baselines import blessed_names

    names = [*run.candidates, *blessed_names(loaded.root)]
    near = suggest(wanted, [*names, *ids])
    hint = f" (did you mean {near!r}?)" if near else ""
    raise UserError(
        f"'baseline' must be a candidate or a blessed baseline ({quoted(names, 'and')}), RUN or RUN:CANDIDATE "
        f"(got {wanted!r}){hint}."
    )
