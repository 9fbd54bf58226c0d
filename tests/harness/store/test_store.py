"""The store: whatever goes in comes out equal, a run is there whole or not at all, and the tables refuse nonsense."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StoreError, StoreLockedError, UserError
from harness.records import Failure, Judgement, Metric, Sample
from harness.store import Home, Store, opening, rows
from harness.store.rows import COLUMNS, arrow_tables
from tests.harness.store.any_records import (
    ANSWERS,
    JUDGEMENTS,
    PROBES,
    REPEATS,
    RUNS,
    SAMPLES,
    TEXT,
    TRAININGS,
    VERDICTS,
    make_parts,
    make_run,
    make_verdict,
)

PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An open store that property tests write into again and again."""
    with Store.open(Home(tmp_path_factory.mktemp("home") / ".muster")) as store:
        yield store


@PROPERTY
@given(
    run=RUNS,
    samples=st.lists(SAMPLES, max_size=4, unique_by=lambda s: (s.split, s.id)),
    answers=st.lists(ANSWERS, max_size=4, unique_by=lambda a: (a.candidate, a.sample_id)),
    judgements=st.lists(JUDGEMENTS, max_size=4, unique_by=lambda j: (j.candidate, j.metric, j.id)),
    trainings=st.lists(TRAININGS, max_size=2),
    probes=st.lists(PROBES, max_size=3, unique_by=lambda p: (p.candidate, p.sample_id, p.key)),
    repeats=st.lists(REPEATS, max_size=3, unique_by=lambda r: (r.candidate, r.metric, r.sample_id, r.number)),
)
def test_every_record_comes_back_equal(shared, run, samples, answers, judgements, trainings, probes, repeats):
    """Odd Unicode, half surrogate pairs, NUL, None, empty mappings, 64-bit numbers: what is stored is read back equal."""
    parts = {"samples": samples, "answers": answers, "judgements": judgements, "trainings": trainings}
    parts |= {"probes": probes, "repeats": repeats}
    shared.write_run(run, **parts)
    assert run in shared.runs()
    assert {name: getattr(shared, name)(run.id) for name in parts} == parts


@PROPERTY
@given(verdicts=st.lists(VERDICTS, max_size=3))
def test_verdicts_come_back_equal_and_replace_earlier_ones(shared, verdicts):
    """The last gate's verdicts are the run's."""
    shared.write_verdicts("r1", verdicts)
    assert shared.verdicts("r1") == verdicts


@PROPERTY
@given(key=TEXT.filter(bool), other=TEXT.filter(bool))
def test_selections_and_keys_take_any_text(shared, key, other):
    """Candidate, metric and key are found by exactly the text that was stored."""
    parts = make_parts(1)
    parts["judgements"] = [replace(parts["judgements"][0], candidate=c, metric=key, key=key) for c in {key, other}]
    parts["answers"] = [replace(parts["answers"][0], candidate=c, key=c) for c in {key, other}]
    shared.write_run(make_run(f"any {key}"), **parts)
    assert [j.candidate for j in shared.judgements(f"any {key}", candidate=key)] == [key]
    assert len(shared.judgements(f"any {key}", metric=key)) == len({key, other})
    assert [a.candidate for a in shared.answers(f"any {key}", key)] == [key]
    assert set(shared.cached_answers([key])) == {key}
    assert shared.cached_judgements([key])[key].key == key


def test_reading_keeps_the_order_of_writing(home):
    """Two thousand answers and judgements come back in their order."""
    parts = make_parts(1000)
    with Store.open(home) as store:
        store.write_run(make_run(), **parts)
        assert store.answers("r1") == parts["answers"]
        assert store.judgements("r1") == parts["judgements"]
        chosen = [j for j in parts["judgements"] if j.candidate == "lora" and j.metric == "toxicity"]
        assert store.judgements("r1", "lora", "toxicity") == chosen
        assert store.answers("r1", "base") == [a for a in parts["answers"] if a.candidate == "base"]


@pytest.mark.parametrize(
    "odd", [["a", rows.SEAM, "b"], [[rows.SEAM]], f'a","{rows.SEAM}","b', {"\ud800": [1, rows.SEAM, 2]}, "\udfff", {}],
)  # fmt: skip
def test_evidence_is_its_own_among_others(home, monkeypatch, odd):
    """Evidence is encoded many at a time and records in batches: what one holds moves no other."""
    monkeypatch.setattr(rows, "BATCH", 5)
    parts = make_parts(4)
    parts["judgements"][7] = replace(parts["judgements"][7], evidence={"odd": odd})
    with Store.open(home) as store:
        store.write_run(make_run(), **parts)
        assert {name: getattr(store, name)("r1") for name in parts} == parts


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, -math.inf]])
def test_what_json_lacks_is_refused(home, value):
    """NaN or infinity in one judgement's evidence is an error, and nothing of the run is stored."""
    parts = make_parts()
    parts["judgements"][3] = replace(parts["judgements"][3], evidence={"p": value})
    with Store.open(home) as store:
        with pytest.raises(ValueError, match="not JSON compliant"):
            store.write_run(make_run(), **parts)
        assert store.runs() == []


def test_a_run_written_again_replaces_itself_and_nothing_else(home):
    """The same id is one run, its old verdicts are gone, and other runs stay as they were."""
    with Store.open(home) as store:
        for id in ("r1", "r2"):
            store.write_run(make_run(id), **make_parts())
            store.write_verdicts(id, [make_verdict(id)])
        store.write_run(make_run("r1", status="incomplete"), **make_parts(2))
        assert {run.id: run.status for run in store.runs()} == {"r1": "incomplete", "r2": "complete"}
        assert (len(store.samples("r1")), len(store.samples("r2"))) == (2, 3)
        assert (store.verdicts("r1"), store.verdicts("r2")) == ([], [make_verdict("r2")])


@pytest.mark.parametrize("part", ["samples", "answers", "judgements", "probes", "repeats"])
def test_a_row_that_stands_twice_is_refused(home, part):
    """Two rows of one place are a defect of the caller; nothing of the run is stored."""
    parts = make_parts()
    parts[part] = [*parts[part], parts[part][0]]
    with Store.open(home) as store:
        with pytest.raises(ValueError, match="got two"):
            store.write_run(make_run(), **parts)
        assert store.runs() == []


def test_a_verdict_on_another_run_is_refused(home):
    """A verdict names its run; it cannot be stored under another."""
    with Store.open(home) as store, pytest.raises(ValueError, match="verdicts must be on run 'r2'"):
        store.write_verdicts("r2", [make_verdict("r1")])


def test_a_failed_write_leaves_the_store_as_it_was(home):
    """An error in the middle of a transaction rolls all of it back."""
    with Store.open(home) as store:
        store.write_run(make_run(), **make_parts())
        with pytest.raises(duckdb.Error):
            store.replace_run(
                "r1", {"samples": store.tables("r1")["samples"], "answers": store.tables("r1")["samples"]}
            )
        assert len(store.answers("r1")) == 6
        assert len(store.samples("r1")) == 3


@pytest.mark.parametrize(
    "values",
    [
        "'nan', NULL, NULL", "'inf', NULL, NULL", "'-inf', NULL, NULL", "NULL, NULL, NULL", "0.5, 'timeout', 'late'",
    ],
)  # fmt: skip
def test_the_table_itself_refuses_what_is_no_score(home, values):
    """NaN, infinity, neither score nor error, and both at once cannot be stored by any way."""
    with Store.open(home):
        pass
    with duckdb.connect(str(home.store)) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute(
            "INSERT INTO judgements (run_id, position, candidate, metric, sample_id, key, evidence, score, error_kind, "
            f"error_message) VALUES ('r', 0, 'c', 'm', 's', 'k', '{{}}', {values})"
        )


def test_schema_and_columns_agree(home):
    """schema.sql has exactly the columns, in order and type, that rows are made of."""
    with Store.open(home):
        pass
    with duckdb.connect(str(home.store)) as connection:
        for table, columns in COLUMNS.items():
            found = connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index",
                [table],
            ).fetchall()
            assert dict(found) == {name: "VARCHAR" if kind == "JSON" else kind for name, kind in columns.items()}
            assert [name for name, _ in found] == list(columns)


def test_runs_are_found_by_id_prefix_and_age(home):
    """`latest` is the newest, a prefix must be one run's, and what is not there is answered with the nearest."""
    with Store.open(home) as store:
        with pytest.raises(UserError, match="it holds none yet"):
            store.run("latest")
        for number, id in enumerate(["clinic-aa11", "clinic-ab22", "clinic-ab22x", "other-1"]):
            store.write_run(make_run(id, started=f"2026-01-0{number + 1}T00:00:00+00:00"), **make_parts(1))
        assert [run.id for run in store.runs()] == ["other-1", "clinic-ab22x", "clinic-ab22", "clinic-aa11"]
        assert store.run("latest").id == "other-1"
        assert store.run("clinic-aa").id == "clinic-aa11"
        assert store.run("clinic-ab22").id == "clinic-ab22"
        with pytest.raises(UserError, match=r"with which 3 begin: clinic-ab22x, clinic-ab22, clinic-aa11"):
            store.run("clinic")
        with pytest.raises(UserError, match="did you mean 'clinic-aa11'"):
            store.run("clinik-aa11")
        assert store.find_run("key of other-1").id == "other-1"
        assert store.find_run("unknown") is None


def test_of_runs_started_in_the_same_second_the_last_written_is_the_latest(home):
    """Runs shorter than the clock's tick keep their order."""
    with Store.open(home) as store:
        for id in ("b", "a", "c"):
            store.write_run(make_run(id), **make_parts(1))
        assert [run.id for run in store.runs()] == ["c", "a", "b"]


def test_scores_join_judgements_with_every_split_of_their_sample(home):
    """A sample of two splits counts in both; a failed judgement is a row without a score."""
    parts = make_parts(2)
    parts["samples"].append(replace(parts["samples"][1], split="hard"))
    with Store.open(home) as store:
        store.write_run(make_run(), **parts)
        scores = store.scores("r1")
    assert ("base", "hard", "s1", "c1", '{"urgency":"high"}', "correctness", 0.5, None) in scores
    assert ("lora", "test", "s1", "c1", '{"urgency":"high"}', "toxicity", None, None) in scores
    assert len(scores) == 2 * 2 * 3


def test_the_views_count_unscored_beside_the_mean(home):
    """`leaderboard` has every run's means with n and unscored; `latest_judgements` the newest run's judgement of each answer."""
    with Store.open(home) as store:
        store.write_run(make_run("old", started="2026-01-01"), **make_parts(4))
        store.write_run(make_run("new", started="2026-01-02"), **make_parts(3))
        assert ("test", "correctness", "lora", 2, 1, pytest.approx(1 / 6)) in store.leaderboard("new")
        assert ("test", "correctness", "base", 3, 0, pytest.approx(1 / 3)) in store.leaderboard("new")
    with duckdb.connect(str(home.store), read_only=True) as connection:
        board = connection.execute("FROM leaderboard").fetchall()
        assert [row[0] for row in board] == ["new"] * 4 + ["old"] * 4
        latest = connection.execute("SELECT run, sample_id, count(*) FROM latest_judgements GROUP BY ALL").fetchall()
        assert sorted(latest) == [("new", "s0", 4), ("new", "s1", 4), ("new", "s2", 4), ("old", "s3", 4)]


def test_the_leaderboard_averages_no_scores_of_several_modes(home):
    """Two ways of grading are two measures: no mean, both named. One way is averaged as ever, as are other judges."""
    parts = make_parts(4)
    ways = {"base": ("topk", "sampled"), "lora": ("topk", "topk")}
    parts["judgements"] = [
        replace(j, evidence={"mode": ways[j.candidate][n // 2 % 2]}) for n, j in enumerate(parts["judgements"])
    ]
    judges = {"correctness": {"kind": "geval"}, "toxicity": {"kind": "toxicity"}, 'odd "name"': {"kind": "geval"}}
    with Store.open(home) as store:
        store.write_run(replace(make_run(), record={"judges": judges}), **parts)
        found = {(metric, name): mean for _, metric, name, _, _, mean in store.leaderboard("r1")}
    of = {(metric, name): [j.score for j in parts["judgements"]
                           if (j.metric, j.candidate) == (metric, name) and j.score is not None]
          for metric, name in found}  # fmt: skip
    assert found.pop(("correctness", "base")) is None
    del of["correctness", "base"]
    assert found == pytest.approx({key: math.fsum(scores) / len(scores) for key, scores in of.items()})
    with duckdb.connect(str(home.store), read_only=True) as connection:
        told = dict(
            connection.execute("SELECT candidate, modes FROM leaderboard WHERE metric = 'correctness'").fetchall()
        )
        assert told == {"base": ["sampled", "topk"], "lora": ["topk"]}
        others = connection.execute("SELECT DISTINCT modes FROM leaderboard WHERE metric <> 'correctness'").fetchall()
        assert others == [(None,)]


def test_caches_hold_what_succeeded_and_nothing_else(home):
    """Failed answers and unscored judgements are tried again; an empty key is no key; unknown keys are left out."""
    parts = make_parts()
    with Store.open(home) as store:
        store.write_run(make_run(), **parts)
        found = store.cached_answers(["base 0", "lora 2", "unknown", "", "base 0"])
        assert found == {"base 0": parts["answers"][0].completion}
        judged = store.cached_judgements(["base 1 toxicity", "lora 2 toxicity", "", "unknown"])
        assert judged == {"base 1 toxicity": next(j for j in parts["judgements"] if j.key == "base 1 toxicity")}
        assert store.cached_answers([]) == {}
        assert store.cached_probes(["base 0 draw 1", "unknown"]) == {"base 0 draw 1": parts["probes"][0]}
        repeated = store.cached_repeats(["base 0 toxicity 1", "base 0 toxicity 2"])
        assert repeated == {"base 0 toxicity 1": parts["repeats"][0]}


def test_twenty_thousand_keys_are_looked_up_at_once(home):
    """Asking for 20,000 keys takes moments, not one query a key."""
    parts = make_parts(10_000)
    keys = [a.key for a in parts["answers"]]
    with Store.open(home) as store:
        store.write_run(make_run(), **parts)
        start = time.process_time()
        assert len(store.cached_answers(keys)) == 19_999
        assert time.process_time() - start < 3


# ------------------------------------------------------------------------------------------------------------- opening


HOLD = """
    import sys, time
    from pathlib import Path
    from harness.store import Home, Store
    with Store.open(Home(Path(sys.argv[1])), read_only=sys.argv[2] == "read"):
        print("open", flush=True)
        time.sleep(float(sys.argv[3]))
"""


@contextmanager
def running(code, *arguments):
    """A Python process that has printed its first line; killed at the end of the block."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("read_only", [False, True])
def test_another_process_gets_one_sentence_with_its_pid(home, read_only):
    """While a process holds the store, opening fails after the wait and names the process; then it works."""
    with Store.open(home):
        pass
    with running(HOLD, home.path, "write", 600) as holder:
        began = time.monotonic()
        with pytest.raises(StoreLockedError) as raised, Store.open(home, read_only=read_only, wait=0.3):
            pass
        assert 0.3 <= time.monotonic() - began < 300
        assert f"(PID {holder.pid})" in str(raised.value)
        assert "\n" not in str(raised.value)
    with Store.open(home, read_only=read_only) as store:
        assert store.runs() == []


def test_a_short_hold_is_waited_out(home):
    """A process that lets go within the wait is no error."""
    with Store.open(home):
        pass
    with running(HOLD, home.path, "write", 0.5), Store.open(home, wait=300) as store:
        assert store.runs() == []


def test_two_readers_share_the_store(home):
    """Reading does not keep another reader out."""
    with Store.open(home):
        pass
    with running(HOLD, home.path, "read", 60), Store.open(home, read_only=True, wait=0) as store:
        assert store.runs() == []


def test_reading_where_nothing_was_run_makes_nothing(home):
    """A read-only verb in an empty folder says so in one line and leaves no trace."""
    with pytest.raises(StoreError, match="there is no store yet"), Store.open(home, read_only=True):
        pass
    assert not home.path.exists()


def damaged(home, content):
    """What opening and reading a store of these bytes raises."""
    home.make()
    home.store.write_bytes(content)
    with pytest.raises(StoreError) as raised, Store.open(home) as store:
        _ = store.answers("r1"), store.judgements("r1")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_that_is_no_store_gets_one_line(home):
    """Text, an empty file, a cut-off store, a flipped bit and a foreign DuckDB file are told apart, without a traceback."""
    assert "is not a DuckDB file" in damaged(home, b"hello " * 1000)
    assert "is not a DuckDB file" in damaged(home, b"")
    home.store.unlink()
    with Store.open(home) as store:
        store.write_run(make_run(), **make_parts(200))
    whole = home.store.read_bytes()
    assert "'muster store rebuild'" in damaged(home, whole[: len(whole) // 3])
    for place in (whole.index(b"says"), whole.rindex(b"says")):  # within the answers
        flipped = bytearray(whole)
        flipped[place] ^= 1
        assert "'muster store rebuild'" in damaged(home, bytes(flipped))
    home.store.unlink()
    with duckdb.connect(str(home.store)) as connection:
        connection.execute("CREATE TABLE meta (schema_version INTEGER)")
    with pytest.raises(StoreError, match="no muster store"), Store.open(home):
        pass


def test_a_newer_store_asks_for_an_upgrade(home):
    """A schema this program does not know is refused with the command that mends it."""
    with Store.open(home):
        pass
    with duckdb.connect(str(home.store)) as connection:
        connection.execute("UPDATE meta SET schema_version = 9")
    with (
        pytest.raises(
            StoreError, match=r"newer muster \(schema 9; this one knows 5\)\. Upgrade: pip install --upgrade"
        ),
        Store.open(home, read_only=True),
    ):
        pass


@pytest.mark.parametrize("read_only", [False, True])
def test_an_older_store_is_brought_up_to_date(home, monkeypatch, read_only):
    """Missing migrations run in order, each once, also when the store is opened for reading; a broken one changes nothing."""
    with Store.open(home) as store:
        store.write_run(make_run(), **make_parts())
    later = ("ALTER TABLE runs ADD COLUMN note VARCHAR", "UPDATE runs SET note = 'two'")
    monkeypatch.setattr(opening, "MIGRATIONS", (*opening.MIGRATIONS, *later))
    for _ in range(2):
        with Store.open(home, read_only=read_only) as store:
            assert len(store.samples("r1")) == 3
    monkeypatch.setattr(opening, "MIGRATIONS", (*opening.MIGRATIONS, "UPDATE runs SET note = 'three'; SELECT nonsense"))
    with pytest.raises(duckdb.Error), Store.open(home):
        pass
    with duckdb.connect(str(home.store)) as connection:
        assert connection.execute("SELECT note, schema_version FROM runs, meta").fetchall() == [("two", 7)]


FIRST_SCHEMA = Path(__file__).with_name("schema_1.sql").read_text()
LATER_TABLES = {"probes": 2, "repeats": 2}
"""Tables that came with a later schema, and with which."""


def store_of(version, path):
    """A file as muster made it at a schema version, with everything of a run in it that it could hold."""
    tables = arrow_tables(make_run(), verdicts=[make_verdict()], **make_parts())
    with duckdb.connect(str(path)) as connection:
        connection.execute(FIRST_SCHEMA)
        for step in opening.MIGRATIONS[: version - 1]:
            connection.execute(step)
        connection.execute("UPDATE meta SET schema_version = ?", [version])
        for name, table in tables.items():
            if LATER_TABLES.get(name, 1) <= version:
                connection.register("incoming", table)
                connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", range(1, opening.known_version()))
def test_a_store_of_an_older_schema_becomes_one_of_today(home, tmp_path, version, read_only):
    """It opens with all it held and today's leaderboard, with tables and views as a new store has them."""
    with Store.open(Home(tmp_path / "new")) as store:
        lacking = {name: [] for name, since in LATER_TABLES.items() if since > version}
        store.write_run(make_run(), **{**make_parts(), **lacking})
        store.write_verdicts("r1", [make_verdict()])
        expected = store.tables("r1"), store.leaderboard("r1")
    home.make()
    store_of(version, home.store)
    with Store.open(home, read_only=read_only) as store:
        assert (store.tables("r1"), store.leaderboard("r1")) == expected
    shape = (
        "SELECT table_name, sql FROM duckdb_tables() UNION SELECT view_name, sql FROM duckdb_views() WHERE NOT internal"
    )
    made = []
    for path in (home.store, tmp_path / "new" / "store.duckdb"):
        with duckdb.connect(str(path), read_only=True) as connection:
            assert connection.execute("SELECT schema_version FROM meta").fetchall() == [(opening.known_version(),)]
            made.append(connection.execute(f"{shape} ORDER BY ALL").fetchall())
    assert made[0] == made[1]


DIE_IN_A_MIGRATION = """
    import os, sys
    from pathlib import Path
    from harness.store import Home, Store, opening

    class Deadly:
        def read_text(self, encoding):
            os.kill(os.getpid(), 9)

    opening.MIGRATIONS = (*opening.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note VARCHAR")
    opening.VIEWS = Deadly()  # read within the transaction, after the step and before the commit
    print("start", flush=True)
    with Store.open(Home(Path(sys.argv[1]))):
        pass
"""


def test_a_kill_in_a_migration_leaves_the_older_store(home, monkeypatch):
    """Between ALTER and COMMIT: the old version with the old columns and all rows; the next opening migrates it."""
    with Store.open(home) as store:
        store.write_run(make_run(), **make_parts())
        expected = store.leaderboard("r1")
    with running(DIE_IN_A_MIGRATION, home.path) as process:
        assert process.wait(300) == -signal.SIGKILL
    with duckdb.connect(str(home.store)) as connection:
        assert connection.execute("SELECT schema_version FROM meta").fetchall() == [(opening.known_version(),)]
        assert "note" not in [row[0] for row in connection.execute("DESCRIBE runs").fetchall()]
    monkeypatch.setattr(opening, "MIGRATIONS", (*opening.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note VARCHAR"))
    with Store.open(home) as store:
        assert store.leaderboard("r1") == expected
    with duckdb.connect(str(home.store)) as connection:
        assert connection.execute("SELECT schema_version, note FROM meta, runs").fetchall() == [
            (opening.known_version(), None)
        ]


def test_the_log_of_trainings_is_a_row_a_figure(home):
    """`training_log` has each figure of each logged step, nothing for what a step lacks."""
    log = (
        {"step": 4, "loss": 2.5, "learning_rate": 0.1},
        {"step": 6, "validation_loss": 2.25, "validation_bedside_manner": 0.5},
    )
    parts = make_parts()
    trained = [replace(parts["trainings"][0], log=log)]
    with Store.open(home) as store:
        store.write_run(make_run(), **{**parts, "trainings": trained})
    with duckdb.connect(str(home.store), read_only=True) as connection:
        found = connection.execute("SELECT series, step, value FROM training_log ORDER BY ALL").fetchall()
        curve = connection.execute("SELECT value FROM training_log WHERE series = 'validation_loss'").fetchall()
    assert curve == [(2.25,)]
    assert found == [
        ("learning_rate", 4, 0.1), ("loss", 4, 2.5), ("validation_bedside_manner", 6, 0.5), ("validation_loss", 6, 2.25),
    ]  # fmt: skip


def test_the_leaderboard_knows_metrics_that_are_no_means(home):
    """Perplexity weighs by tokens, macro-F1 is scikit-learn's; the unscored are counted and change neither."""
    from sklearn.metrics import f1_score

    targets, predicted = list("aabbbcca"), ["a", "b", "b", "b", None, "c", "a", "a"]
    logs, tokens = [-2.0, -9.0, -1.0], [2, 3, 7]
    perplexity = Metric(name="perplexity", direction="lower", low=1, high=math.inf, aggregate="perplexity")
    run = make_run(metrics=(Metric(name="macro_f1", aggregate="macro_f1"), perplexity))
    samples = [Sample(id=f"s{n}", split="test", input="q") for n in range(9)]
    judged = [
        Judgement(id=f"s{n}", metric="macro_f1", candidate="base", score=float(t == p), evidence={"target": t, "predicted": p})
        for n, (t, p) in enumerate(zip(targets, predicted, strict=True))
    ] + [
        Judgement(id=f"s{n}", metric="perplexity", candidate="base", score=math.exp(-log / count),
                  evidence={"log_likelihood": log, "tokens": count})
        for n, (log, count) in enumerate(zip(logs, tokens, strict=True))
    ] + [
        Judgement(id="s8", metric=m, candidate="base", score=None, error=Failure(kind="timeout", message="late"))
        for m in ("macro_f1", "perplexity")
    ]  # fmt: skip
    with Store.open(home) as store:
        store.write_run(run, samples=samples, answers=[], judgements=judged, trainings=[])
        found = {metric: row for _, metric, *row in store.leaderboard("r1")}
    expected = f1_score(targets, [p or "" for p in predicted], labels=["a", "b", "c"], average="macro")
    assert found["macro_f1"] == ["base", 8, 1, pytest.approx(expected, abs=1e-12)]
    assert found["perplexity"] == ["base", 3, 1, pytest.approx(math.exp(12 / 12), abs=1e-12)]


def test_sql_in_the_store_reaches_no_other_file(home, tmp_path):
    """A connection can neither read nor write files, nor load extensions, nor be told to."""
    with Store.open(home) as store:
        connection = store._connection
        for sql in (
            f"COPY runs TO '{tmp_path / 'out.csv'}'", f"FROM read_csv('{tmp_path / 'in.csv'}')", "INSTALL httpfs", "LOAD httpfs",
            f"ATTACH '{tmp_path / 'other.duckdb'}'", "SET enable_external_access = true",
        ):  # fmt: skip
            with pytest.raises(duckdb.Error):
                connection.execute(sql)
    assert not (tmp_path / "out.csv").exists()


def test_the_home_keeps_itself_out_of_version_control(home):
    """A new home has a .gitignore for everything in it, and no draft of the store is left."""
    with Store.open(home):
        pass
    assert sorted(path.name for path in home.path.iterdir()) == [".gitignore", "store.duckdb"]
    assert (home.path / ".gitignore").read_text() == "*\n"


def test_a_home_that_cannot_be_made_is_the_users_mistake(tmp_path):
    """A file in the place of the folder gets one line."""
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UserError, match="'--home' must be a folder that can be written to"),
        Store.open(Home(tmp_path / "file")),
    ):
        pass


@pytest.mark.parametrize("id", ["", "..", "a/b", "a\\b", "a:b"])
def test_a_run_id_never_leaves_the_folder_of_runs(home, id):
    """An id with a path in it is refused."""
    with pytest.raises(UserError, match="must be a plain name"):
        home.run_dir(id)


# -------------------------------------------------------------------------------------------------------------- killed


WRITE_FOREVER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from tests.harness.store.any_records import make_parts, make_run
    from harness.store import Home, Store
    parts = make_parts(300)
    number = 0
    while True:
        with Store.open(Home(Path(sys.argv[1])), wait=20) as store:
            store.write_run(make_run(f"r{number % 5}", seconds=float(number)), **parts)
        print(number, flush=True)
        number += 1
"""


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_kill_leaves_each_run_whole_or_absent(home, request, lines):
    """After `kill -9` in the midst of writing, every run has all its rows, and none that was acknowledged is lost."""
    with running(WRITE_FOREVER, home.path, request.config.rootpath) as writer:
        acknowledged = [0, *(int(writer.stdout.readline()) for _ in range(lines))]
        time.sleep(0.013 * lines)
        writer.kill()
        acknowledged += map(int, writer.stdout.read().split())
    with Store.open(home) as store:
        runs = store.runs()
        assert max(run.seconds for run in runs) >= max(acknowledged)
        for run in runs:
            counts = len(store.samples(run.id)), len(store.answers(run.id)), len(store.judgements(run.id))
            assert counts == (300, 600, 1200)
