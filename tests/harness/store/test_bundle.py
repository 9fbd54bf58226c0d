"""Bundles, doctor and rebuild: the record outlives the store, and damage is named."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import duckdb
import pandas
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import MusterError, StoreError, StoreLockedError, UserError
from harness.store import Home, Store, doctor, drop_log, read_bundle, rebuild, write_bundle
from harness.store.bundle import export_tables
from harness.store.opening import make_store
from harness.store.reviews import Item, Rating, Sheet, add_ratings, text_sha
from harness.store.rows import COLUMNS
from tests.harness.store.any_records import ANSWERS, JUDGEMENTS, SAMPLES, make_parts, make_run, make_verdict


def store_run(home, id="r1", count=3, **changes):
    """Writes a run as the runner does: bundle, store, verdicts."""
    run = make_run(id, **changes)
    write_bundle(home, run, **make_parts(count))
    with Store.open(home) as store:
        store.write_run(run, **make_parts(count))
        store.write_verdicts(id, [make_verdict(id)])


def dump(home):
    """Every row of every table, in an order of its own."""
    with duckdb.connect(str(home.store), read_only=True) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in COLUMNS}


def kinds(home):
    """What doctor finds: kind and subject."""
    return [(ailment.kind, ailment.subject) for ailment in doctor(home)]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    samples=st.lists(SAMPLES, max_size=3, unique_by=lambda s: (s.split, s.id)),
    answers=st.lists(ANSWERS, max_size=3, unique_by=lambda a: (a.candidate, a.sample_id)),
    judgements=st.lists(JUDGEMENTS, max_size=3, unique_by=lambda j: (j.candidate, j.metric, j.id)),
)
def test_a_store_made_from_bundles_holds_equal_records(tmp_path_factory, samples, answers, judgements):
    """Odd Unicode and 64-bit numbers survive the way through Parquet."""
    home = Home(tmp_path_factory.mktemp("home") / ".muster")
    write_bundle(home, make_run(), samples=samples, answers=answers, judgements=judgements, trainings=[])
    rebuild(home)
    with Store.open(home, read_only=True) as store:
        assert (store.samples("r1"), store.answers("r1"), store.judgements("r1")) == (samples, answers, judgements)


def test_rebuild_gives_a_row_identical_store(home):
    """The store made anew from bundles has every row, verdicts included, the same leaderboard, and runs in their order."""
    for number in range(3):
        store_run(home, f"r{number}", 4 + number, started=f"2026-01-0{number + 1}T00:00:00+00:00")
    before = dump(home)
    home.store.unlink()
    made = rebuild(home)
    assert made.runs == ("r0", "r1", "r2")
    assert (made.bundled, made.kept) == ((), None)
    assert dump(home) == before
    with Store.open(home, read_only=True) as store:
        assert [run.id for run in store.runs()] == ["r2", "r1", "r0"]
    assert doctor(home) == []
    rebuild(home)
    assert dump(home) == before


def test_the_leaderboard_of_a_deleted_store_comes_back_from_the_bundles(home):
    """Runs, ratings of people and verdicts too: after `rm store.duckdb` and a rebuild every view has the same rows, in order."""
    for number, id in enumerate(("r2", "r1", "r3")):
        store_run(home, id, count=3 + number, started=f"2026-03-1{number}T00:00:00+00:00")
    with Store.open(home) as store:
        answers = {(a.candidate, a.sample_id): a.completion.text for a in store.answers("r1")}
    item = Item(id="i1", sample_id="s0", candidates=("base",), answer_sha=text_sha(answers["base", "s0"]))
    sheet = Sheet(id="s" + "0" * 12, run="r1", criteria="Is it right?", low=1, high=5, items=(item,))
    add_ratings(home, sheet, "anna", [Rating(item="i1", value=4)])
    before = seen(home)
    assert ("r1", "base", "test", "human:anna", 1, 0, 0.75, None) in before["leaderboard"]
    home.store.unlink()
    rebuild(home)
    assert seen(home) == before


def seen(home):
    """What people see of a store: the rows of its views, and the order of its runs."""
    with Store.open(home) as store:
        runs = [run.id for run in store.runs()]
    with duckdb.connect(str(home.store), read_only=True) as connection:
        views = ("leaderboard", "latest_judgements", "training_log", "findings")
        rows = {view: connection.execute(f"FROM {view}").fetchall() for view in views}
    assert all(rows.values())
    return {**rows, "latest_judgements": sorted(rows["latest_judgements"], key=str), "runs": runs}


def test_rebuild_bundles_what_only_the_store_has(home):
    """A run without a bundle is not lost: it gets one."""
    store_run(home, "r1")
    with Store.open(home) as store:
        store.write_run(make_run("r2"), **make_parts())
    before = dump(home)
    assert kinds(home) == [("bundle_missing", "r2")]
    assert rebuild(home).bundled == ("r2",)
    assert dump(home) == before
    assert kinds(home) == []


def test_a_new_bundle_replaces_the_old_one_and_leaves_nothing_behind(home):
    """Files of the earlier bundle are gone, and the manifest's hashes hold."""
    for count in (2, 5):
        folder = write_bundle(home, make_run(), **make_parts(count))
    bundle = read_bundle(folder)
    assert {name: table.num_rows for name, table in bundle.tables.items()} == {
        "runs": 1, "samples": 5, "answers": 10, "judgements": 20, "trainings": 1, "verdicts": 0, "probes": 2,
        "repeats": 2,
    }  # fmt: skip
    assert len(list(folder.iterdir())) == len(COLUMNS) + 1


@pytest.mark.parametrize("damage", ["flip", "missing", "manifest", "not json", "newer", "outside"])
def test_a_damaged_bundle_is_named_and_stops_a_rebuild(home, damage):
    """A changed or missing file, a broken or newer manifest: doctor names the run, rebuild changes nothing."""
    store_run(home)
    before = dump(home)
    folder = home.run_dir("r1")
    manifest = json.loads((folder / "manifest.json").read_text())
    answers = folder / manifest["tables"]["answers"]["file"]
    match damage:
        case "flip":
            answers.write_bytes(bytes([answers.read_bytes()[0] ^ 1]) + answers.read_bytes()[1:])
        case "missing":
            answers.unlink()
        case "manifest":
            del manifest["tables"]["answers"]
        case "newer":
            manifest["format"] += 1
        case "outside":
            manifest["tables"]["answers"]["file"] = f"../r1/{answers.name}"
    (folder / "manifest.json").write_text("{" if damage == "not json" else json.dumps(manifest))
    with pytest.raises(StoreError, match="newer muster" if damage == "newer" else "the bundle is damaged") as raised:
        read_bundle(folder)
    assert "\n" not in str(raised.value)
    assert kinds(home) == [("bundle_newer" if damage == "newer" else "bundle_damaged", "r1")]
    with pytest.raises(StoreError):
        rebuild(home)
    assert dump(home) == before


def test_doctor_finds_nothing_wrong_with_a_sound_or_an_empty_home(home):
    """All is well where all is well, and looking makes nothing."""
    assert doctor(home) == []
    assert not home.path.exists()
    store_run(home)
    assert doctor(home) == []


def test_doctor_names_what_is_wrong_inside_the_store(home):
    """Doubled rows, rows without a run, other rows than the bundle's and missing runs are found; rebuild mends them all."""
    for id in ("r1", "r2", "r3"):
        store_run(home, id)
    before = dump(home)
    with duckdb.connect(str(home.store)) as connection:
        connection.execute(
            "INSERT INTO judgements SELECT * FROM judgements WHERE run_id = 'r1' AND sample_id = 's0' LIMIT 1"
        )
        connection.execute("DELETE FROM runs WHERE run_id = 'r2'")
        for table in COLUMNS:
            connection.execute(f"DELETE FROM {table} WHERE run_id = 'r3'")
    assert kinds(home) == [
        ("rows_twice", "r1"), ("rows_differ", "r1"), ("rows_without_run", "r2"), ("run_missing", "r3"),
    ]  # fmt: skip
    rebuild(home)
    assert dump(home) == before


def test_doctor_names_an_interrupted_run(home):
    """A journal left over by a kill is a warning with the way to go on."""
    (home.run_dir("r9") / "spool").mkdir()
    (ailment,) = doctor(home)
    assert (ailment.kind, ailment.severity, ailment.subject) == ("run_interrupted", "warning", "r9")


def test_doctor_names_a_newer_store_and_rebuild_leaves_it_alone(home):
    """A store of a newer muster, or a DuckDB file of something else, is not ours to replace."""
    store_run(home)
    with duckdb.connect(str(home.store)) as connection:
        connection.execute("UPDATE meta SET schema_version = 9")
    assert kinds(home) == [("store_newer", "store.duckdb")]
    with pytest.raises(StoreError, match="newer muster"):
        rebuild(home)


DIE_WITH_A_LOG = """
    import os, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from tests.harness.store.any_records import make_parts, make_run
    from harness.store import Home, Store
    with Store.open(Home(Path(sys.argv[1]))) as store:
        store.write_run(make_run("r2"), **make_parts(50))
        os.kill(os.getpid(), 9)
"""


def test_a_damaged_log_is_told_from_a_damaged_file_and_both_are_mended(home, request):
    """A bit flipped in the write-ahead log, then in the file: doctor says which, rebuild keeps the old files and makes anew."""
    store_run(home)
    before = dump(home)
    code = textwrap.dedent(DIE_WITH_A_LOG)
    subprocess.run([sys.executable, "-c", code, str(home.path), str(request.config.rootpath)], check=False)
    log = home.store.with_name("store.duckdb.wal")
    whole = bytearray(log.read_bytes())
    whole[len(whole) // 2] ^= 1
    log.write_bytes(whole)
    assert kinds(home) == [("log_damaged", "store.duckdb")]
    made = rebuild(home)
    assert made.kept is not None
    assert made.kept.exists()
    assert not log.exists()
    assert dump(home) == before
    home.store.write_bytes(home.store.read_bytes()[:5000])
    assert kinds(home) == [("store_damaged", "store.duckdb")]
    rebuild(home)
    assert dump(home) == before
    assert doctor(home) == []


def test_dropping_a_damaged_log_goes_back_to_the_last_checkpoint_after_a_backup(home, request):
    """Every byte of file and log is kept; the run that stood in the log alone is gone, and a sound log is never dropped."""
    store_run(home)
    before = dump(home)
    code = textwrap.dedent(DIE_WITH_A_LOG)
    subprocess.run([sys.executable, "-c", code, str(home.path), str(request.config.rootpath)], check=False)
    log = home.store.with_name("store.duckdb.wal")
    sound = log.read_bytes()
    assert drop_log(home) is None
    assert log.read_bytes() == sound
    damaged = sound[: len(sound) // 2] + bytes([sound[len(sound) // 2] ^ 1]) + sound[len(sound) // 2 + 1 :]
    log.write_bytes(damaged)
    file = home.store.read_bytes()
    backup = drop_log(home)
    assert (backup.read_bytes(), backup.with_name(backup.name + ".wal").read_bytes()) == (file, damaged)
    assert not log.exists()
    assert dump(home) == before
    assert doctor(home) == []
    assert drop_log(home) is None


def test_doctor_says_each_thing_in_one_line_with_its_way_out(home):
    """Place, mistake and command stand in the message itself."""
    for id in ("r1", "r2", "r3"):
        store_run(home, id)
    (home.run_dir("r2") / "manifest.json").unlink()
    (home.run_dir("r3") / "manifest.json").write_text("{")
    (home.run_dir("r4") / "spool").mkdir()
    with duckdb.connect(str(home.store)) as connection:
        connection.execute("DELETE FROM answers WHERE run_id = 'r1'")
    found = {ailment.kind: ailment.message for ailment in doctor(home)}
    assert set(found) == {"rows_differ", "bundle_missing", "bundle_damaged", "run_interrupted"}
    for kind, command in {"rows_differ": "store rebuild", "bundle_missing": "store rebuild",
                          "bundle_damaged": "store rebuild", "run_interrupted": "muster run"}.items():  # fmt: skip
        assert command in found[kind]
        assert "\n" not in found[kind]
        assert any(run in found[kind] for run in ("r1", "r2", "r3", "r4"))


def test_a_held_store_is_a_warning_to_doctor_and_stops_a_rebuild(home):
    """Doctor still looks at the bundles; rebuild waits, then gives up with the PID."""
    store_run(home)
    code = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from harness.store import Home, Store
        with Store.open(Home(Path(sys.argv[1]))):
            print("open", flush=True)
            time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", code, str(home.path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline()
        assert kinds(home) == [("store_locked", "store.duckdb")]
        with pytest.raises(StoreLockedError, match=f"PID {holder.pid}"):
            rebuild(home, wait=0.1)
        holder.kill()
    assert doctor(home) == []


def test_verdicts_are_written_to_both(home):
    """A later gate changes bundle and store alike; a run without a bundle gets none by it."""
    store_run(home)
    with Store.open(home) as store:
        store.write_verdicts("r1", [replace(make_verdict(), outcome="fail", exit_status=1)])
        store.write_run(make_run("r2"), **make_parts())
        store.write_verdicts("r2", [make_verdict("r2")])
    assert read_bundle(home.run_dir("r1")).tables["verdicts"]["outcome"].to_pylist() == ["fail"]
    assert [kind for kind, _ in kinds(home)] == ["bundle_missing"]


def older(folder):
    """Makes a bundle what the first format wrote: without the tables that came later."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("probes", "repeats"):
        (folder / manifest["tables"].pop(name)["file"]).unlink()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))


def test_a_bundle_of_the_first_format_is_read_and_kept_up(home):
    """It lacks later tables, which are empty; a verdict written to it brings it up to date; a rebuild takes all it holds."""
    store_run(home)
    with Store.open(home) as store:
        store.write_run(make_run(), **{**make_parts(), "probes": [], "repeats": []})
        before = {name: getattr(store, name)("r1") for name in ("samples", "answers", "judgements", "trainings")}
    older(home.run_dir("r1"))
    assert read_bundle(home.run_dir("r1")).tables["probes"].num_rows == 0
    assert kinds(home) == [("rows_differ", "r1")]  # the verdict alone
    with Store.open(home) as store:
        store.write_verdicts("r1", [make_verdict()])
    assert kinds(home) == []
    home.store.unlink()
    rebuild(home)
    with Store.open(home) as store:
        assert {name: getattr(store, name)("r1") for name in before} == before
        assert (store.probes("r1"), store.repeats("r1")) == ([], [])


def test_export_writes_plain_parquet_into_a_new_folder_only(home, tmp_path):
    """Every table becomes NAME.parquet with the store's rows; a folder with something in it is refused."""
    store_run(home)
    with Store.open(home, read_only=True) as store:
        files = export_tables(tmp_path / "out" / "deep", store.tables("r1"))
        assert list(files) == list(COLUMNS)
        assert pq.read_table(files["answers"]).num_rows == 6
        with pytest.raises(UserError, match="'--to' must be a new or empty folder"):
            export_tables(tmp_path / "out" / "deep", store.tables("r1"))
    assert all(pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD" for path in files.values()
               if pq.ParquetFile(path).metadata.num_rows)  # fmt: skip
    mean = "SELECT candidate, avg(score) FROM read_parquet(?) WHERE metric = 'correctness' GROUP BY ALL ORDER BY ALL"
    with duckdb.connect() as connection:
        found = connection.execute(mean, [str(files["judgements"])]).fetchall()
    frame = pandas.read_parquet(files["judgements"])
    scores = frame[frame.metric == "correctness"].groupby("candidate").score.mean()
    assert found == [("base", pytest.approx(1 / 3)), ("lora", pytest.approx(1 / 6))]
    assert dict(found) == pytest.approx(scores.to_dict())


def test_a_home_that_cannot_be_written_is_one_line(home, monkeypatch):
    """Nobody's store is lost, and the message names the folder."""
    store_run(home, "r1")

    def refuse(path, **_):
        raise duckdb.IOException(f"IO Error: Cannot open file {path}: Permission denied")

    monkeypatch.setattr(duckdb, "connect", refuse)
    with pytest.raises(MusterError, match="Permission denied"):
        rebuild(home)
    with pytest.raises(UserError, match="must be a folder that can be written to"):
        make_store(home.path / "other.duckdb")
