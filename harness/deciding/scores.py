"""Scores as columns: what comparisons and gates compute on.

A split's samples are numbered once, and each candidate's scores of a metric are two arrays over them, values and
whether there is one. So pairing two candidates is an array operation, and what one of them lacks is known to be
lacking: a sample that any candidate or metric of the split has counts as unscored for those who have no score of it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import StoreError

T = TypeVar("T", bound=Hashable)

ScoreRow = tuple[str, str, str, str | None, str | Mapping[str, str] | None, str, float | None, str | None]
"""Candidate, split, sample id, cluster, slices (a mapping, or its JSON), metric, score, evidence (JSON, for metrics that are no
means; else None)."""
Modes = Mapping[tuple[str, str], Mapping[str, int]]
"""By candidate and metric: how many of its scores were made in which mode, for judges that have several."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """One candidate's scores of one metric: `values` and `scored`, shape [samples]. A value without a score is 0."""

    values: NDArray[np.float64]
    scored: NDArray[np.bool_]
    evidence: tuple[Mapping[str, Any] | None, ...] | None = None
    """For metrics that are no means, each sample's evidence (None where unscored); else None."""

    def within(self, mask: NDArray[np.bool_]) -> Column:
        """The scores of some samples only."""
        evidence = None if self.evidence is None else tuple(self.evidence[i] for i in np.flatnonzero(mask))
        return Column(values=self.values[mask], scored=self.scored[mask], evidence=evidence)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitScores:
    """All scores of one split."""

    ids: tuple[str, ...]
    """The samples, in the order they were first met."""
    clusters: NDArray[np.int64] | None
    """A code per sample; None where no two samples share a cluster."""
    slices: Mapping[str, tuple[str | None, ...]]
    """For each slicing column, the sample's value."""
    columns: Mapping[tuple[str, str], Column]
    """By candidate and metric."""
    efforts: Mapping[tuple[str, str], Column] = field(default_factory=dict)
    """By candidate and `latency` or `cost`: seconds and money an answer, where somebody asked for them."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that any candidate has in this split."""
        return tuple(dict.fromkeys(metric for _, metric in self.columns))

    def column(self, candidate: str, metric: str) -> Column:
        """The candidate's scores; all unscored where it has none."""
        found = self.columns.get((candidate, metric)) or self.efforts.get((candidate, metric))
        n = len(self.ids)
        return found or Column(values=np.zeros(n), scored=np.zeros(n, dtype=bool))

    def within(self, mask: NDArray[np.bool_]) -> SplitScores:
        """The scores of some samples only; `mask` has shape [samples]."""
        places = np.flatnonzero(mask)
        return SplitScores(
            ids=tuple(self.ids[i] for i in places),
            clusters=None if self.clusters is None else self.clusters[mask],
            slices={name: tuple(values[i] for i in places) for name, values in self.slices.items()},
            columns={key: column.within(mask) for key, column in self.columns.items()},
            efforts={key: column.within(mask) for key, column in self.efforts.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """The scores of a run (or of several, with candidates named apart)."""

    candidates: tuple[str, ...]
    splits: Mapping[str, SplitScores]
    modes: Modes = field(default_factory=dict)

    @classmethod
    def from_rows(cls, rows: Iterable[ScoreRow], modes: Modes | None = None) -> Scores:
        """Turns rows of the store into columns.

        Raises:
            StoreError: If a score is not finite, or a candidate has two scores of one metric for one sample.
        """
        table = list(rows)
        if not table:
            return cls(candidates=(), splits={})
        # One list a column: unpacking a quarter of a million rows with zip takes twice as long.
        candidates, candidate_codes = _codes([row[0] for row in table])
        splits, split_codes = _codes([row[1] for row in table])
        ids, id_codes = _codes([row[2] for row in table])
        metrics, metric_codes = _codes([row[5] for row in table])
        values, scored = _values(table)
        whole = any(row[7] is not None for row in table)
        cell_codes = candidate_codes * len(metrics) + metric_codes
        cells = [(candidate, metric) for candidate in candidates for metric in metrics]
        found = {}
        for number, split in enumerate(splits):
            rows_here = np.flatnonzero(split_codes == number)
            _, firsts, samples = np.unique(id_codes[rows_here], return_index=True, return_inverse=True)
            firsts = rows_here[firsts]
            columns = {}
            for code in dict.fromkeys(cell_codes[rows_here].tolist()):
                at = np.flatnonzero(cell_codes[rows_here] == code)
                rows_of_cell = rows_here[at]
                columns[cells[code]] = _column(
                    cells[code], samples[at], values[rows_of_cell], scored[rows_of_cell], len(firsts),
                    [table[i][7] for i in rows_of_cell] if whole else (),
                )  # fmt: skip
            found[split] = SplitScores(
                ids=tuple(ids[code] for code in id_codes[firsts]),
                clusters=_cluster_codes([table[i][3] for i in firsts]),
                slices=_slice_columns([table[i][4] for i in firsts]),
                columns=columns,
            )
        return cls(candidates=tuple(candidates), splits=found, modes=modes or {})

    def mixed_modes(self, metric: str, candidates: Iterable[str | None]) -> str | None:
        """What the candidates' scores of a metric were made in, where that is more than one mode; else None.

        Scores of different modes are different measures: they are neither compared nor averaged.
        """
        counts = {name: self.modes.get((name, metric), {}) for name in candidates if name is not None}
        if len({mode for modes in counts.values() for mode in modes}) < 2:
            return None
        parts = (
            f"{name} " + " and ".join(f"{mode} ({count})" for mode, count in sorted(modes.items()))
            for name, modes in counts.items()
            if modes
        )
        return ", ".join(parts)


def _values(table: Sequence[ScoreRow]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scored = np.array([row[6] is not None for row in table])
    values = np.array([0.0 if row[6] is None else row[6] for row in table], dtype=np.float64)
    if not np.isfinite(values).all():
        row = table[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise StoreError(f"a stored score must be finite (got {row[6]} for {row[5]} of {row[2]}). Judge it anew.")
    return values, scored


def _codes(values: Sequence[T]) -> tuple[list[T], NDArray[np.int64]]:
    """The distinct values in the order first met, and each value's number among them."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return list(numbers), np.array([numbers[value] for value in values], dtype=np.int64)


def _column(
    name: tuple[str, str],
    samples: NDArray[np.int64],
    values: NDArray[np.float64],
    scored: NDArray[np.bool_],
    size: int,
    evidence: Sequence[str | None],
) -> Column:
    if len(np.unique(samples)) != len(samples):
        candidate, metric = name
        raise StoreError(
            f"{candidate!r} must have one score of {metric!r} a sample (got several). Run 'muster store doctor'."
        )
    read: list[Mapping[str, Any] | None] = [None] * size
    for sample, text in zip(samples.tolist(), evidence, strict=False):
        read[sample] = None if text is None else json.loads(text)
    column = Column(
        values=np.zeros(size), scored=np.zeros(size, dtype=bool), evidence=tuple(read) if any(read) else None
    )
    column.values[samples], column.scored[samples] = values, scored
    return column


def _cluster_codes(clusters: Sequence[str | None]) -> NDArray[np.int64] | None:
    """A sample without a cluster is one of its own. Clusters of one sample each are no clusters."""
    _, codes = _codes([i if cluster is None else cluster for i, cluster in enumerate(clusters)])
    return None if codes.max() + 1 == len(codes) else codes


def _slice_columns(slices: Sequence[str | Mapping[str, str] | None]) -> dict[str, tuple[str | None, ...]]:
    read: dict[str, Mapping[str, str]] = {}
    found: list[Mapping[str, str]] = []
    for value in slices:
        if isinstance(value, str):
            if value not in read:
                read[value] = json.loads(value)
            found.append(read[value])
        else:
            found.append(value or {})
    columns = dict.fromkeys(column for mapping in found for column in mapping)
    return {column: tuple(mapping.get(column) for mapping in found) for column in columns}
