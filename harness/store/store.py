"""The result store: the only writer of SQL rows. Records go in, records come out, equal.

A run is written in one transaction that replaces it whole, so a reader never sees half of one, nor does a `kill -9`
leave it. The store can be made anew from the run bundles at any time; to keep both alike, verdicts are written to both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import duckdb

from harness.errors import UserError
from harness.records import (
    Answer,
    Calibration,
    Certificate,
    Completion,
    Judgement,
    Probe,
    Repeat,
    Run,
    Sample,
    Training,
    Verdict,
)
from harness.store import rows
from harness.store.bundle import write_bundled_verdicts
from harness.store.calibrations import known_calibrations
from harness.store.gates import read_certificate, read_changes, write_changes
from harness.store.home import Home
from harness.store.opening import STATEMENT_ERRORS, explained, open_store
from harness.store.rows import COLUMNS, own_columns, stored_text

ScoreRow = tuple[str, str, str, str | None, str, str, float | None, str | None]
"""Candidate, split, sample id, cluster, slices as JSON, metric, score, evidence as JSON where the metric is no mean."""

_OWN = {name: ", ".join(f'"{column}"' for column in own_columns(name)) for name in COLUMNS}
RUNS_SQL = f"SELECT run_id, {_OWN['runs']} FROM runs ORDER BY started DESC, finished DESC NULLS FIRST, rowid DESC"
SELECT_SQL = {
    name: f"SELECT {_OWN[name]} FROM {name} WHERE run_id = ? ORDER BY position" for name in COLUMNS if name != "runs"
}
ANSWERS_OF_SQL = f"SELECT {_OWN['answers']} FROM answers WHERE run_id = ? AND candidate = ? ORDER BY position"
JUDGEMENTS_OF_SQL = f"""
    SELECT {_OWN["judgements"]} FROM judgements
    WHERE run_id = $run AND candidate = coalesce($candidate, candidate) AND metric = coalesce($metric, metric)
    ORDER BY position
"""
DELETE_SQL = {name: f"DELETE FROM {name} WHERE run_id = ?" for name in COLUMNS}
INSERT_SQL = {name: f"INSERT INTO {name} BY NAME SELECT * FROM incoming" for name in COLUMNS}
CELLS_SQL = """
    SELECT list(DISTINCT candidate ORDER BY candidate), list(DISTINCT metric ORDER BY metric)
    FROM judgements WHERE run_id = ?
"""
SCORED_SQL = "SELECT position, split, sample_id, cluster, slices FROM samples WHERE run_id = ?"
SCORES_SQL = """
    SELECT list_position($candidates, j.candidate) AS candidate, list_position($metrics, j.metric) AS metric,
           s.position AS sample, j.score, CASE WHEN list_contains($whole, j.metric) THEN j.evidence END AS evidence
    FROM judgements j JOIN samples s ON s.run_id = j.run_id AND s.sample_id = j.sample_id
    WHERE j.run_id = $run ORDER BY j.position, s.position
"""
MODES_SQL = """
    SELECT candidate, metric, TRY(evidence ->> 'mode') AS mode, count(*) FROM judgements
    WHERE run_id = ? AND score IS NOT NULL AND evidence LIKE '{%"mode"%' GROUP BY ALL HAVING mode IS NOT NULL ORDER BY ALL
"""
EFFORTS_SQL = """
    SELECT candidate, sample_id, seconds, prompt_tokens, completion_tokens FROM answers
    WHERE run_id = ? AND error_kind IS NULL
"""
LEADERBOARD_SQL = "SELECT split, metric, candidate, n, unscored, mean FROM leaderboard WHERE run = ?"
TABLE_SQL = {
    name: f"SELECT * FROM {name} WHERE run_id = ?" + ("" if name == "runs" else " ORDER BY position")
    for name in COLUMNS
}
CACHED_ANSWERS_SQL = """
    SELECT a.key, a.text, a.finish_reason, a.prompt_tokens, a.completion_tokens, a.seconds
    FROM answers a SEMI JOIN incoming USING (key) WHERE a.error_kind IS NULL
"""
CACHED_JUDGEMENTS_SQL = f"""
    SELECT {_OWN["judgements"]} FROM judgements j SEMI JOIN incoming USING (key) WHERE j.error_kind IS NULL
"""
CACHED_PROBES_SQL = f"SELECT {_OWN['probes']} FROM probes p SEMI JOIN incoming USING (key)"
CACHED_REPEATS_SQL = f"""
    SELECT {_OWN["repeats"]} FROM repeats r SEMI JOIN incoming USING (key) WHERE r.error_kind IS NULL
"""


class Store:
    """An open store. Made by `Store.open`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, home: Home) -> None:
        self._connection = connection
        self._home = home

    @classmethod
    @contextmanager
    def open(cls, home: Home, *, read_only: bool = False, wait: float = 5.0) -> Iterator[Store]:
        """The store of a home, made if there is none (unless `read_only`); closed at the end of the `with` block.

        Raises StoreLockedError where another process still holds it after `wait` seconds, StoreError where it is none, or
        where damage (or a full disk) shows only inside the block.
        """
        connection = open_store(home, read_only=read_only, wait=wait)
        try:
            yield cls(connection, home)
        except STATEMENT_ERRORS:
            raise
        except duckdb.Error as error:
            raise explained(home.store, str(error)) from None
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------------------- writing

    def write_run(
        self,
        run: Run,
        *,
        samples: Sequence[Sample],
        answers: Sequence[Answer],
        judgements: Sequence[Judgement],
        trainings: Sequence[Training],
        probes: Sequence[Probe] = (),
        repeats: Sequence[Repeat] = (),
    ) -> None:
        """Stores a run in place of an earlier one of its id, verdicts included. Raises ValueError where a row stands
        twice.
        """
        self.replace_run(
            run.id,
            rows.arrow_tables(
                run, samples=samples, answers=answers, judgements=judgements, trainings=trainings, probes=probes,
                repeats=repeats,
            ),
        )  # fmt: skip

    def write_verdicts(self, run_id: str, verdicts: Sequence[Verdict]) -> None:
        """Replaces a run's verdicts, in its bundle and here. Raises ValueError for a verdict on another run."""
        table = rows.verdict_table(run_id, verdicts)
        write_bundled_verdicts(self._home, run_id, verdicts)
        write_changes(self._home, run_id, verdicts[0].changed if verdicts else ())
        self.replace_run(run_id, {"verdicts": table})

    def replace_run(self, run_id: str, tables: Mapping[str, Any]) -> None:
        """Replaces a run's rows in the named tables by those of Arrow tables, in one transaction."""
        self._connection.begin()
        try:
            for name, table in tables.items():
                self._connection.execute(DELETE_SQL[name], [stored_text(run_id)])
                with self._incoming(table):
                    self._connection.execute(INSERT_SQL[name])
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    # ------------------------------------------------------------------------------------------------------- reading

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        return [rows.run_of(*row) for row in self._read("runs", RUNS_SQL, [], ["run_id", *own_columns("runs")])]

    def run(self, name: str) -> Run:
        """The run of an id, of a prefix that only one has, or `latest`. Raises UserError in one line."""
        known = self.runs()
        if not known:
            raise UserError(f"'run' must be in the store (got {name!r}; it holds none yet). Type: muster run SUITE")
        if name == "latest":
            return known[0]
        found = [run for run in known if run.id == name] or [run for run in known if name and run.id.startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(run.id for run in found[:5]) + (", …" if len(found) > 5 else "")
            raise UserError(f"'run' must name one run (got {name!r}, with which {len(found)} begin: {ids}).")
        close = difflib.get_close_matches(name, [run.id for run in known], 1)
        hint = f" (did you mean '{close[0]}'?)" if close else f" (the latest is {known[0].id})"
        raise UserError(f"'run' must be in the store (got {name!r}){hint}. See 'muster runs'.")

    def find_run(self, key: str) -> Run | None:
        """The newest run with a content key, or None."""
        return next((run for run in self.runs() if run.key == key), None)

    def samples(self, run_id: str) -> list[Sample]:
        """A run's samples, in order; one of two splits stands twice."""
        return [rows.sample_of(*row) for row in self._of_run("samples", run_id)]

    def answers(self, run_id: str, candidate: str | None = None) -> list[Answer]:
        """A run's answers, or one candidate's, in order."""
        if candidate is None:
            found = self._of_run("answers", run_id)
        else:
            found = self._read("answers", ANSWERS_OF_SQL, [stored_text(run_id), stored_text(candidate)])
        return [rows.answer_of(*row) for row in found]

    def judgements(self, run_id: str, candidate: str | None = None, metric: str | None = None) -> list[Judgement]:
        """A run's judgements, or those of one candidate or metric, in order."""
        return [rows.judgement_of(*row) for row in self._judgement_rows(run_id, candidate, metric)]

    def judgements_unread(self, run_id: str, candidate: str | None = None) -> list[tuple[Judgement, str]]:
        """The same, each without its evidence and beside it as JSON text, for who only passes it on."""
        return [rows.unread_judgement_of(*row) for row in self._judgement_rows(run_id, candidate, None)]

    def _judgement_rows(self, run_id: str, candidate: str | None, metric: str | None) -> list[rows.Row]:
        wanted = {"run": run_id, "candidate": candidate, "metric": metric}
        given = {name: stored_text(value) if value is not None else None for name, value in wanted.items()}
        return self._read("judgements", JUDGEMENTS_OF_SQL, given)

    def probes(self, run_id: str) -> list[Probe]:
        """What a run's judges had asked of its candidates beyond their answers."""
        return [rows.probe_of(*row) for row in self._of_run("probes", run_id)]

    def repeats(self, run_id: str) -> list[Repeat]:
        """A run's repeated judgements."""
        return [rows.repeat_of(*row) for row in self._of_run("repeats", run_id)]

    def trainings(self, run_id: str) -> list[Training]:
        """The trainings behind a run's candidates."""
        return [rows.training_of(*row) for row in self._of_run("trainings", run_id)]

    def verdicts(self, run_id: str) -> list[Verdict]:
        """The verdicts of a run's last gate."""
        changed = read_changes(self._home, run_id)
        found = [rows.verdict_of(run_id, *row) for row in self._of_run("verdicts", run_id)]
        return [replace(verdict, changed=changed) for verdict in found] if changed else found

    def certificate(self, run_id: str) -> Certificate | None:
        """How often the run's gate fails a model like its baseline, where `muster gate aa` was asked."""
        return read_certificate(self._home, run_id)

    def calibrations(self) -> list[Calibration]:
        """The calibration cards of the home, the newest first, then those that come with muster."""
        return known_calibrations(self._home)

    def scores(self, run_id: str) -> list[ScoreRow]:
        """What comparisons and reports compute on: one row for each judgement and each split of its sample."""
        given = [stored_text(run_id)]
        whole = [m.name for run in self.runs() if run.id == run_id for m in run.metrics if m.aggregate != "mean"]
        cells = self._connection.execute(CELLS_SQL, given).fetchall()
        candidates, metrics = (names or [] for names in cells[0])
        samples = {position: row for position, *row in self._connection.execute(SCORED_SQL, given).fetchall()}
        # Numbers come out of DuckDB as arrays: a text a cell would take three times as long.
        found = self._connection.execute(
            SCORES_SQL, {"run": given[0], "whole": whole, "candidates": candidates, "metrics": metrics}
        ).fetchnumpy()
        return [
            (candidates[candidate - 1], *samples[sample], metrics[metric - 1], score, evidence)
            for candidate, metric, sample, score, evidence in zip(
                *(found[name].tolist() for name in ("candidate", "metric", "sample", "score", "evidence")), strict=True
            )
        ]

    def modes(self, run_id: str) -> dict[tuple[str, str], dict[str, int]]:
        """By candidate and metric: in which modes its scores were made, where the evidence names one, and how many."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        for candidate, metric, mode, count in self._connection.execute(MODES_SQL, [stored_text(run_id)]).fetchall():
            found.setdefault((candidate, metric), {})[mode] = count
        return found

    def efforts(self, run_id: str) -> list[tuple[str, str, float | None, int | None, int | None]]:
        """What a run's answers took: candidate, sample, seconds, prompt and completion tokens; failed ones are left out."""
        found: list[tuple[str, str, float | None, int | None, int | None]] = self._connection.execute(
            EFFORTS_SQL, [stored_text(run_id)]
        ).fetchall()
        return found

    def leaderboard(self, run_id: str) -> list[tuple[str, str, str, int, int, float | None]]:
        """The view `leaderboard` of a run: split, metric, candidate, n, unscored, mean."""
        found: list[tuple[str, str, str, int, int, float | None]] = self._connection.execute(
            LEADERBOARD_SQL, [stored_text(run_id)]
        ).fetchall()
        return found

    def tables(self, run_id: str) -> dict[str, Any]:
        """Everything of a run as Arrow tables, as in its bundle."""
        given = [stored_text(run_id)]
        return {name: self._connection.sql(sql, params=given).to_arrow_table() for name, sql in TABLE_SQL.items()}

    def cached_answers(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Completions without an error that any run stored under these keys."""
        columns = ["key", "text", "finish_reason", "prompt_tokens", "completion_tokens", "seconds"]
        with self._incoming_keys(keys):
            found = self._read("answers", CACHED_ANSWERS_SQL, [], columns)
        return {key: rows.completion_of(*row) for key, *row in found}

    def cached_judgements(self, keys: Sequence[str]) -> dict[str, Judgement]:
        """Judgements with a score that any run stored under these keys; id and candidate are those of that run."""
        with self._incoming_keys(keys):
            found = self._read("judgements", CACHED_JUDGEMENTS_SQL, [])
        return {judgement.key: judgement for judgement in (rows.judgement_of(*row) for row in found)}

    def cached_probes(self, keys: Sequence[str]) -> dict[str, Probe]:
        """Probes that any run stored under these keys; candidate and sample are those of that run."""
        with self._incoming_keys(keys):
            found = self._read("probes", CACHED_PROBES_SQL, [])
        return {probe.key: probe for probe in (rows.probe_of(*row) for row in found)}

    def cached_repeats(self, keys: Sequence[str]) -> dict[str, Repeat]:
        """Repeats with a score that any run stored under these keys; candidate and sample are those of that run."""
        with self._incoming_keys(keys):
            found = self._read("repeats", CACHED_REPEATS_SQL, [])
        return {repeat.key: repeat for repeat in (rows.repeat_of(*row) for row in found)}

    def _of_run(self, table: str, run_id: str) -> list[rows.Row]:
        return self._read(table, SELECT_SQL[table], [stored_text(run_id)])

    def _read(self, table: str, sql: str, given: Any, columns: Sequence[str] | None = None) -> list[rows.Row]:
        found = self._connection.execute(sql, given).fetchall()
        return rows.read_rows(table, own_columns(table) if columns is None else columns, found)

    @contextmanager
    def _incoming(self, table: Any) -> Iterator[None]:
        """Lets SQL see an Arrow table under the name `incoming`."""
        self._connection.register("incoming", table)
        try:
            yield
        finally:
            self._connection.unregister("incoming")

    @contextmanager
    def _incoming_keys(self, keys: Sequence[str]) -> Iterator[None]:
        import pyarrow as pa

        distinct = [stored_text(key) for key in dict.fromkeys(keys) if key]
        with self._incoming(pa.table({"key": pa.array(distinct, type=pa.string())})):
            yield
