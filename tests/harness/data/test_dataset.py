"""From a suite to a dataset: splits, limits, ids and the errors that name the place in the suite."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import find_overlaps, load_dataset
from harness.errors import DataError, Problem, SuiteError
from harness.records import Sample
from harness.suite.grammar import Suite

BASE = {
    "suite": "s",
    "candidates": {"a": {"model": {"kind": "answers", "path": "a.jsonl"}}},
    "judges": {"rouge": {"kind": "rouge"}},
}
SHARES = {"train": {"share": 0.8, "use": "training"}, "test": {"share": 0.2}}


@dataclass(frozen=True)
class Stand:
    """A suite in memory: all that load_dataset needs to know of a suite file."""

    suite: Suite
    root: Path
    data_path: Path | None

    def resolve(self, relative):
        """A path of the suite as a path of this machine."""
        return self.root / relative

    def problem(self, path, message, suggestion=None):
        """A mistake at a place of the suite."""
        where = ".".join(map(str, path))
        return Problem(file="suite.yaml", line=1, column=1, path=where, message=message, suggestion=suggestion)


def stand(folder, rows=None, *, splits=SHARES, fields=None, name="data.jsonl", **data):
    """A suite over a file of these rows."""
    if rows is not None:
        write(folder, name, rows)
    data = {"path": name, "fields": fields or {"input": "q", "reference": "r"}, **data}
    suite = Suite.model_validate({**BASE, "data": data, "splits": splits})
    return Stand(suite, folder, folder / name if data["path"] else None)


def write(folder, name, rows):
    """Writes rows as JSON lines."""
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(count, start=0, **columns):
    """Distinct rows with a question, an answer and further columns."""
    return [{"q": f"question {n}", "r": f"answer {n}", **columns} for n in range(start, start + count)]


def ids(dataset):
    """Sample ids by split."""
    return {name: [s.id for s in samples] for name, samples in dataset.splits.items()}


def test_rows_become_samples_of_the_suites_splits(tmp_path):
    """Splits stand in the suite's order, hold every row once, and samples carry the name of their split."""
    dataset = load_dataset(stand(tmp_path, rows_of(100)))
    assert list(dataset.splits) == ["train", "test"]
    assert dataset.rows == sum(map(len, dataset.splits.values())) == 100
    assert dataset.columns == ("q", "r")
    assert all(isinstance(s, Sample) and s.split == name for name, split in dataset.splits.items() for s in split)


def test_appended_rows_move_no_row(tmp_path):
    """The samples of a file stay where they are when rows are appended, and the content hash changes."""
    before = load_dataset(stand(tmp_path, rows_of(200)))
    after = load_dataset(stand(tmp_path, rows_of(300)))
    for name, kept in ids(before).items():
        assert kept == ids(after)[name][: len(kept)]
    assert before.sha != after.sha
    assert before.sha == load_dataset(stand(tmp_path, rows_of(200))).sha


def test_the_hash_changes_with_content_columns_and_assignment(tmp_path):
    """Another column, another seed or another share is another dataset; the file's name is not part of it."""
    one = load_dataset(stand(tmp_path, rows_of(50))).sha
    assert one == load_dataset(stand(tmp_path, rows_of(50), name="other.jsonl")).sha
    other = [
        load_dataset(stand(tmp_path, rows_of(50, note="x"))).sha,
        load_dataset(stand(tmp_path, rows_of(50), splits={**SHARES, "test": {"share": 0.1}})).sha,
        load_dataset(stand(tmp_path, rows_of(50), splits={"test": {"share": 1.0}})).sha,
    ]
    assert len({one, *other}) == 4


def test_clusters_never_straddle_share_splits(tmp_path):
    """Every row of a cluster is in the same split."""
    rows = [{**row, "k": n % 25} for n, row in enumerate(rows_of(300))]
    fields = {"input": "q", "reference": "r", "cluster": "k"}
    dataset = load_dataset(stand(tmp_path, rows, fields=fields))
    clusters = [{s.cluster for s in split} for split in dataset.splits.values()]
    assert clusters[0].isdisjoint(clusters[1])
    assert len(clusters[0] | clusters[1]) == 25


def test_where_splits_take_their_rows_first(tmp_path):
    """Rows that a `where` selects are not shared out; several `where` may share rows, then with one id."""
    rows = rows_of(60, part="old") + rows_of(20, 60, part="new")
    splits = {**SHARES, "new": {"where": {"part": "new"}}, "any": {"where": {"part": ["new", "old"]}, "limit": 5}}
    dataset = load_dataset(stand(tmp_path, rows, splits={**splits, "any": {"where": {"part": "new"}, "limit": 5}}))
    assert len(dataset.splits["new"]) == 20
    assert len(dataset.splits["train"]) + len(dataset.splits["test"]) == 60
    assert {s.id for s in dataset.splits["any"]} < {s.id for s in dataset.splits["new"]}


def test_path_splits_have_files_of_their_own(tmp_path):
    """A `path` split reads its file with the same fields; where all splits have one, the data file is not needed."""
    write(tmp_path, "test.jsonl", rows_of(7, 1000))
    splits = {"train": {"share": 1.0, "use": "training"}, "test": {"path": "test.jsonl"}}
    dataset = load_dataset(stand(tmp_path, rows_of(10), splits=splits))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 10, "test": 7}
    assert dataset.rows == 17
    alone = stand(tmp_path, splits={"test": {"path": "test.jsonl"}}, name="missing.jsonl")
    assert len(load_dataset(alone).splits["test"]) == 7


def test_limits_of_data_split_and_command_line(tmp_path):
    """`data.limit` takes the first rows, a split's limit draws by hash, `--limit` cuts evaluation splits alone and nests."""
    rows = rows_of(400)
    assert load_dataset(stand(tmp_path, rows, limit=150)).rows == 150
    splits = {"train": {**SHARES["train"], "limit": 50}, "test": {"share": 0.2, "limit": 40}}
    whole = load_dataset(stand(tmp_path, rows, splits=splits))
    assert [len(split) for split in whole.splits.values()] == [50, 40]
    few = load_dataset(stand(tmp_path, rows, splits=splits), limit=10)
    assert [len(split) for split in few.splits.values()] == [50, 10]
    assert set(ids(few)["test"]) < set(ids(whole)["test"])
    assert few.sha != whole.sha


def test_a_missing_column_is_named_at_its_place_in_the_suite(tmp_path):
    """Each wrong field is a problem of the suite with the columns found and the nearest name; all come at once."""
    fields = {"input": "Q", "reference": ["r", "s"], "slices": ["q", "kind"]}
    with pytest.raises(SuiteError) as raised:
        load_dataset(stand(tmp_path, rows_of(10), fields=fields))
    problems = {p.path: p for p in raised.value.problems}
    assert list(problems) == ["data.fields.input", "data.fields.reference.1", "data.fields.slices.1"]
    assert problems["data.fields.input"].suggestion == "q"
    assert problems["data.fields.input"].message.endswith("data.jsonl' has no column 'Q' (it has q, r)")


def test_an_empty_split_is_refused_with_what_was_found(tmp_path):
    """A `where` that selects nothing shows the column's values; a share too small says so; a wrong column is the suite's."""
    rows = rows_of(5, part="old")
    with pytest.raises(DataError, match=r"split 'test' is empty: .*'part' holds text 'old'"):
        load_dataset(stand(tmp_path, rows, splits={"test": {"where": {"part": "new"}}}))
    with pytest.raises(DataError, match=r"split 'b' is empty: share 0\.0001"):
        load_dataset(stand(tmp_path, rows, splits={"a": {"share": 0.9}, "b": {"share": 0.0001}}))
    with pytest.raises(SuiteError, match=r"splits\.test\.where\.prat: .*did you mean 'part'"):
        load_dataset(stand(tmp_path, rows, splits={"test": {"where": {"prat": "new"}}}))


def test_shares_above_one_are_a_mistake_of_the_suite(tmp_path):
    """Shares that add up to more than 1 are refused; 0.7 + 0.2 + 0.1 are not, whatever floats say."""
    with pytest.raises(SuiteError, match=r"shares must add up to at most 1 \(got 0.8 \+ 0.3 = 1.1\)"):
        load_dataset(stand(tmp_path, rows_of(5), splits={"a": {"share": 0.8}, "b": {"share": 0.3}}))
    splits = {"a": {"share": 0.7}, "b": {"share": 0.2}, "c": {"share": 0.1}}
    assert sum(map(len, load_dataset(stand(tmp_path, rows_of(200), splits=splits)).splits.values())) == 200


def test_one_id_never_names_two_evaluated_rows(tmp_path):
    """The same given id in two files of evaluation splits is refused; a training split may use it."""
    write(tmp_path, "test.jsonl", [{"q": "x", "r": "y", "n": 1}])
    write(tmp_path, "hard.jsonl", [{"q": "z", "r": "y", "n": 1}])
    fields = {"input": "q", "reference": "r", "id": "n"}
    splits = {"test": {"path": "test.jsonl"}, "hard": {"path": "hard.jsonl"}}
    with pytest.raises(DataError, match=r"split 'hard': id '1' \(row 1\) must be unique among all evaluation splits"):
        load_dataset(stand(tmp_path, splits=splits, fields=fields))
    splits["hard"]["use"] = "training"
    assert len(load_dataset(stand(tmp_path, splits=splits, fields=fields)).splits["hard"]) == 1


def test_a_file_with_another_hash_is_refused(tmp_path):
    """`sha256` pins the file's bytes."""
    good = stand(tmp_path, rows_of(30))
    sha = hashlib.sha256((tmp_path / "data.jsonl").read_bytes()).hexdigest()
    assert load_dataset(stand(tmp_path, sha256=sha)).sha == load_dataset(good).sha
    with pytest.raises(SuiteError, match=f"data.sha256: must be the SHA-256 .*{sha}"):
        load_dataset(stand(tmp_path, sha256="0" * 64))


def test_a_hub_dataset_reads_like_a_file(tmp_path, monkeypatch):
    """Rows come through `datasets` with revision, configuration and split, and a failure there is one line."""
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, config, *, revision, split):
        asked.append((name, config, revision, split))
        if name == "no/such":
            raise ConnectionError("no\nnetwork")
        return datasets.Dataset.from_list(rows_of(30))

    monkeypatch.setattr(datasets, "load_dataset", load)
    hub = {"hub": "owner/name", "revision": "abc", "config": "en", "hub_split": "all", "path": None, "limit": 20}
    dataset = load_dataset(stand(tmp_path, **hub))
    assert asked == [("owner/name", "en", "abc", "all")]
    assert dataset.rows == 20
    assert dataset.splits["train"][0].columns["q"].startswith("question")
    with pytest.raises(DataError, match=r"no/such: cannot be loaded from the Hub \(ConnectionError: no network\)"):
        load_dataset(stand(tmp_path, **{**hub, "hub": "no/such"}))


REAL = Path(__file__).parents[3] / "../shared/data/patient_doctor/chatdoctor3k.jsonl"


@pytest.mark.skipif(not REAL.exists(), reason="shared data not at hand")
def test_three_thousand_real_rows_load_and_compare_quickly(tmp_path):
    """The founding course's rows, sorted by disease in their file, are spread over the splits and compared in a second or two."""
    loaded = stand(tmp_path, fields={"input": "Patient", "reference": "Doctor"})
    start = time.process_time()
    dataset = load_dataset(Stand(loaded.suite, tmp_path, REAL))
    assert dataset.rows == 3000
    find_overlaps(dataset.splits["train"], dataset.splits["test"], near=0.8)
    assert time.process_time() - start < 5
    rows = [s.row for s in dataset.splits["test"]]
    assert abs(sum(rows) / len(rows) - 1500) < 150


# ------------------------------------------------------------------------------------------------------- conversations


def talks(count, turns=3):
    """Rows of a column of conversations, of one turn of the assistant and more, up to `turns`."""
    rows = []
    for number in range(count):
        talk = []
        for turn in range(1 + number % turns):
            talk.append({"role": "user", "content": f"question {number} {turn}"})
            talk.append({"role": "assistant", "content": f"answer {number} {turn}"})
        rows.append({"talk": talk})
    return rows


def test_every_turn_is_evaluated_and_conversations_stay_whole_elsewhere(tmp_path):
    """Splits are by conversation: those of `turns: last`, with each turn a sample in evaluation, and clusters there only."""
    fields = {"messages": "talk"}
    last = load_dataset(stand(tmp_path, talks(60), fields=fields))
    every = load_dataset(stand(tmp_path, talks(60), fields=fields, turns="every"))
    assert every.splits["train"] == last.splits["train"]
    rows = [sample.row for sample in last.splits["test"]]
    assert [s.row for s in every.splits["test"]] == [row for row in rows for _ in range(1 + (row - 1) % 3)]
    for sample in last.splits["test"]:
        turns = [turn for turn in every.splits["test"] if turn.row == sample.row]
        assert [turn.id for turn in turns] == [f"{sample.id}#{number}" for number in range(1, len(turns) + 1)]
        assert {turn.cluster for turn in turns} == {sample.id}
    assert not {s.row for s in every.splits["train"]} & {s.row for s in every.splits["test"]}
    assert all(sample.cluster is None for sample in [*last.splits["train"], *last.splits["test"]])


def test_limits_count_conversations(tmp_path):
    """A split's limit, and that of the command line, keep whole conversations."""
    fields = {"messages": "talk"}
    splits = {"train": {"share": 0.5, "use": "training"}, "test": {"share": 0.5, "limit": 8}}
    dataset = load_dataset(stand(tmp_path, talks(60), fields=fields, splits=splits, turns="every"))
    assert len({s.row for s in dataset.splits["test"]}) == 8
    for sample in dataset.splits["test"]:
        assert sum(turn.row == sample.row for turn in dataset.splits["test"]) == 1 + (sample.row - 1) % 3
    fewer = load_dataset(stand(tmp_path, fields=fields, splits=splits, turns="every"), limit=3)
    assert len({s.row for s in fewer.splits["test"]}) == 3


def test_left_out_calls_of_tools_are_told_in_one_line(tmp_path):
    """A file's notice says how many messages of how many conversations are left out; without any there is none."""
    rows = talks(20)
    for row in rows[:3]:
        row["talk"][1:1] = [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "content": "42"},
        ]
    dataset = load_dataset(stand(tmp_path, rows, fields={"messages": "talk"}))
    (notice,) = dataset.notices
    assert notice.endswith("calls of tools and what they returned are left out (6 messages of 3 conversations).")
    assert load_dataset(stand(tmp_path, talks(20), fields={"messages": "talk"})).notices == ()


def test_a_conversation_is_the_same_in_every_format(tmp_path):
    """JSON lines, a CSV whose cell is JSON text, and Parquet, where each message has the keys of all, give equal samples."""
    rows = talks(12)
    rows[0]["talk"][1:1] = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    with (tmp_path / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["talk"], *([json.dumps(row["talk"])] for row in rows)])
    load = {name: load_dataset(stand(tmp_path, name=name, fields={"messages": "talk"}, **given)) for name, given in (
        ("data.jsonl", {"rows": rows}), ("data.csv", {}), ("data.parquet", {}))}  # fmt: skip
    first, *others = [
        [(s.id, s.input, s.references, s.messages) for split in dataset.splits.values() for s in split]
        for dataset in load.values()
    ]
    assert len(first) == 12
    assert all(other == first for other in others)
    assert all("(2 messages of 1 conversations)" in dataset.notices[0] for dataset in load.values())


def test_one_id_for_two_conversations_that_end_alike_is_refused(tmp_path):
    """Two rows of one id whose last question and answer are equal still differ by what stands before."""
    first = [
        {"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("user", "q"), ("assistant", "r"))
    ]
    write(tmp_path, "one.jsonl", [{"id": "x", "talk": first}])
    write(tmp_path, "two.jsonl", [{"id": "x", "talk": first[2:]}])
    splits = {"one": {"path": "one.jsonl"}, "two": {"path": "two.jsonl"}}
    with pytest.raises(DataError, match=r"id 'x' .* must be unique among all evaluation splits"):
        load_dataset(stand(tmp_path, [{"q": "x"}], fields={"messages": "talk", "id": "id"}, splits=splits))
