"""Reads what a suite says about data and hands back samples by split: the one place where the grammar meets the rows.

Guarantees that no split is empty, that ids are unique among the evaluation splits, and that `Dataset.sha` changes
whenever a row that is used, or its split, does. What is wrong in the suite is a SuiteError at its line; what is wrong
in a file, a DataError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.data.samples import Drawn, build_samples, every_turn
from harness.data.sources import Rows, file_sha256, read_rows
from harness.data.splits import describe_values, keep, select, share_out
from harness.errors import DataError, Problem, SuiteError
from harness.records import Sample, fingerprint
from harness.suite.explain import suggest
from harness.suite.grammar import Fields, Split

if TYPE_CHECKING:
    from harness.suite import LoadedSuite


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The samples of a suite, by split in the order of the suite."""

    splits: Mapping[str, tuple[Sample, ...]]
    columns: tuple[str, ...]
    """Every column that any row has, in the order of its first appearance."""
    sha: str
    """Hash of the content of all rows used and of the split each is in."""
    rows: int
    """Rows read, whether a split uses them or not."""
    notices: tuple[str, ...] = ()
    """A line each on what was read otherwise than a person may think."""


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    columns: tuple[str, ...]
    drawn: list[Drawn]


def load_dataset(loaded: LoadedSuite, *, limit: int | None = None) -> Dataset:
    """Reads the suite's rows and splits them; `limit` keeps that many samples of each evaluation split, drawn by hash.

    Raises DataError for a file that does not hold what the suite says (every mistake of a file at once), SuiteError
    where the suite names a column that is not there or shares that add up to more than 1.
    """
    suite = loaded.suite
    _check_shares(loaded)
    sources: list[_Source] = []
    drawn: list[Drawn] = []
    if any(split.path is None for split in suite.splits.values()):
        main = _main_rows(loaded)
        drawn = _samples(loaded, main, suite.data.fields, ("data", "fields"))
        sources.append(_Source(main.name, main.columns, drawn))
    members = _shared_and_selected(loaded, drawn)
    for name, split in suite.splits.items():
        if split.path is not None:
            rows = read_rows(loaded.resolve(split.path))
            place = ("data", "fields") if split.fields is None else ("splits", name, "fields")
            drawn_here = _samples(loaded, rows, split.fields or suite.data.fields, place)
            source = _Source(rows.name, rows.columns, drawn_here)
            sources.append(source)
            members[name] = _members(source.drawn, name)
    splits = {name: _limited(members[name], name, split, suite.seed, limit) for name, split in suite.splits.items()}
    if suite.data.turns == "every":
        for name in suite.evaluation_splits():
            splits[name] = tuple(turn for sample in splits[name] for turn in every_turn(sample))
    _check_ids(splits, suite.splits)
    return Dataset(
        splits=splits,
        columns=tuple(dict.fromkeys(column for source in sources for column in source.columns)),
        sha=_content(splits),
        rows=sum(len(source.drawn) for source in sources),
        notices=tuple(line for source in sources for line in _left_out(source)),
    )


def _left_out(source: _Source) -> list[str]:
    """A line on the messages of a file's conversations that were left out, if any were."""
    counts = [d.left_out for d in source.drawn if d.left_out]
    what = "calls of tools and what they returned are left out"
    return [f"{source.name}: {what} ({sum(counts):,} messages of {len(counts):,} conversations)."] if counts else []


def _main_rows(loaded: LoadedSuite) -> Rows:
    data = loaded.suite.data
    if loaded.data_path is None:
        from harness.data.hub import read_hub

        assert data.hub is not None  # the suite's grammar: a path or a hub
        return read_hub(data.hub, revision=data.revision, config=data.config, split=data.hub_split, limit=data.limit)
    rows = read_rows(loaded.data_path, limit=data.limit)
    if data.sha256 is not None and file_sha256(loaded.data_path) != data.sha256.lower():
        message = f"must be the SHA-256 of '{rows.name}' (the file has {file_sha256(loaded.data_path)})"
        raise SuiteError([loaded.problem(("data", "sha256"), message)])
    return rows


def _samples(loaded: LoadedSuite, rows: Rows, fields: Fields, place: tuple[str, ...]) -> list[Drawn]:
    """The rows of a file as samples; `place` is where the suite says which columns hold what."""
    _check_columns(loaded, rows, fields, place)
    return build_samples(
        rows,
        input=fields.input,
        messages=fields.messages,
        reference=_several(fields.reference),
        context=_several(fields.context),
        id=fields.id,
        cluster=fields.cluster,
        slices=fields.slices,
    )


def _several(columns: str | list[str] | None) -> list[str]:
    return columns if isinstance(columns, list) else [columns] if columns is not None else []


def _check_columns(loaded: LoadedSuite, rows: Rows, fields: Fields, place: tuple[str, ...]) -> None:
    problems: list[Problem] = []
    for field in ("input", "messages", "reference", "id", "context", "cluster", "slices"):
        value = getattr(fields, field)
        for number, column in enumerate(_several(value)):
            if column not in rows.columns:
                path = (*place, field, *([number] if isinstance(value, list) else []))
                problems.append(_no_column(loaded, path, column, rows.name, rows.columns))
    if problems:
        raise SuiteError(problems)


def _no_column(
    loaded: LoadedSuite, path: tuple[str | int, ...], column: str, file: str, columns: Sequence[str]
) -> Problem:
    message = f"'{file}' has no column '{column}' (it has {', '.join(columns)})"
    return loaded.problem(path, message, suggest(column, columns))


def _check_shares(loaded: LoadedSuite) -> None:
    shares = {name: split.share for name, split in loaded.suite.splits.items() if split.share is not None}
    total = math.fsum(shares.values())
    if total > 1 + 1e-9:
        last = list(shares)[-1]
        message = f"shares must add up to at most 1 (got {' + '.join(map(str, shares.values()))} = {total:g})"
        raise SuiteError([loaded.problem(("splits", last, "share"), message)])


def _shared_and_selected(loaded: LoadedSuite, drawn: list[Drawn]) -> dict[str, list[Sample]]:
    """The samples of every `where` split, and of every `share` split from the rows that no `where` selects."""
    suite = loaded.suite
    members: dict[str, list[Sample]] = {}
    selected: set[str] = set()
    columns = {column: None for d in drawn for column in d.sample.columns}
    for name, split in suite.splits.items():
        if split.where is not None:
            missing = [column for column in split.where if column not in columns]
            if missing:
                path = ("splits", name, "where", missing[0])
                raise SuiteError([_no_column(loaded, path, missing[0], "the data", list(columns))])
            chosen = select(drawn, split.where)
            if not chosen:
                found = "; ".join(f"'{column}' holds {describe_values(drawn, column)}" for column in split.where)
                raise DataError(f"split '{name}' is empty: no row is as its 'where' says ({found}).")
            members[name] = _members(chosen, name)
            selected.update(d.sample.id for d in chosen)
    shares = {name: split.share for name, split in suite.splits.items() if split.share is not None}
    return members | share_out([d for d in drawn if d.sample.id not in selected], shares, seed=suite.seed)


def _members(drawn: Sequence[Drawn], split: str) -> list[Sample]:
    return [replace(d.sample, split=split) for d in drawn]


def _limited(samples: list[Sample], name: str, split: Split, seed: int, limit: int | None) -> tuple[Sample, ...]:
    if not samples:
        raise DataError(
            f"split '{name}' is empty: share {split.share} of so few rows leaves none. Raise the share or add rows."
        )
    kept = keep(samples, split.limit, seed=seed)
    return keep(kept, limit, seed=seed) if split.use == "evaluation" else kept


def _check_ids(splits: Mapping[str, tuple[Sample, ...]], specs: Mapping[str, Split]) -> None:
    """Answers are told apart by sample id alone: one id must not name two different rows that are evaluated."""
    seen: dict[str, Sample] = {}
    for name, samples in splits.items():
        if specs[name].use != "evaluation":
            continue
        for sample in samples:
            other = seen.setdefault(sample.id, sample)
            if _texts(other) != _texts(sample):
                raise DataError(
                    f"split '{name}': id '{sample.id}' (row {sample.row}) must be unique among all evaluation splits "
                    f"(it also names row {other.row} of '{other.split}'). Leave out data.fields.id to have ids made."
                )


def _content(splits: Mapping[str, tuple[Sample, ...]]) -> str:
    return fingerprint({name: [_sample_content(sample) for sample in samples] for name, samples in splits.items()})


def _sample_content(sample: Sample) -> list[object]:
    """All of a sample but its row number, which moves when an earlier row is removed."""
    return [sample.id, *_texts(sample), sample.cluster, sample.slices, sample.columns]


def _texts(sample: Sample) -> list[object]:
    turns = [[turn.role, turn.content] for turn in sample.messages]
    return [sample.input, sample.references, sample.contexts, turns]
