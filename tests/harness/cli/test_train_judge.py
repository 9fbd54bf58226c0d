"""`muster train-judge`: rows are read with each mistake at its line, split for good, and trained to a usable folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.train_judge import JudgeKind, read_judge_rows, require_new_folder, split_rows, train_judge
from harness.errors import DataError, UserError
from harness.models.classifiers import load_text_classifier
from harness.training.judge_adapters import JudgeRow


def write(path: Path, rows: list[object]) -> Path:
    """Rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_verb_trains_a_folder_a_judge_can_name(tmp_path: Path) -> None:
    """From a file to a classifier: the folder loads, the labels are the file's, and the measure is printed."""
    rows = [{"text": f"Thank you, patient {n}", "label": "kind"} for n in range(30)]
    rows += [{"text": f"Go away, patient {n}", "label": "rude"} for n in range(30)]
    data = write(tmp_path / "labels.jsonl", rows)
    app = typer.Typer()
    app.command()(train_judge)
    arguments = ["--kind", "classification", "--data", str(data), "--out", str(tmp_path / "mine"), "--rank", "2"]
    arguments += ["--epochs", "8", "--heldout-share", "0.2", "--learning-rate", "0.001"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "held out: rows" in result.output
    assert "--set toxic_labels=LABEL --input" in " ".join(result.output.split())  # nobody knows whether rude is toxic
    classifier = load_text_classifier("mine", tmp_path)
    assert classifier.labels == ("kind", "rude")
    (kind, rude) = classifier.probabilities(["Thank you, patient 99", "Go away, patient 99"])
    assert kind[0] > 0.5 > rude[0]


def test_every_mistake_is_reported_with_its_line(tmp_path: Path) -> None:
    """All bad rows at once, each with file and line."""
    rows = [{"text": "a", "score": 0.5}, {"text": "", "score": 1}, {"text": "b", "score": "high"}]
    rows.append({"text": "c", "score": 2})
    with pytest.raises(DataError) as raised:
        read_judge_rows(write(tmp_path / "s.jsonl", rows), JudgeKind.score)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in lines] == ["2", "3", "4"]


def test_missing_column_is_named(tmp_path: Path) -> None:
    """The message says which column the kind needs and which there are."""
    path = write(tmp_path / "n.jsonl", [{"premise": "a", "claim": "b", "label": "neutral"}])
    with pytest.raises(DataError, match=r"'hypothesis' must be there for kind nli \(got premise, claim, label\)"):
        read_judge_rows(path, JudgeKind.nli)


def test_rows_keep_their_place_and_label(tmp_path: Path) -> None:
    """Numbers become labels as text, scores become numbers, and each row knows its line."""
    (row,) = read_judge_rows(write(tmp_path / "c.jsonl", [{"text": "a", "label": 1}]), JudgeKind.classification)
    assert (row.text, row.label) == ("a", "1")
    assert row.place.endswith("c.jsonl:1")
    (row,) = read_judge_rows(write(tmp_path / "s.jsonl", [{"text": "a", "score": 1}]), JudgeKind.score)
    assert row.label == 1.0


def test_split_is_stable_and_keeps_equal_texts_together() -> None:
    """Appending rows moves none; a text stands on one side only; the share is about what was asked."""
    rows = [JudgeRow(text=f"text {n % 500}", label="a") for n in range(1000)]
    training, heldout = split_rows(rows, share=0.2, seed=1)
    more_training, more_heldout = split_rows([*rows, JudgeRow(text="new", label="a")], share=0.2, seed=1)
    assert more_training[: len(training)] == training
    assert more_heldout[: len(heldout)] == heldout
    assert not {row.text for row in training} & {row.text for row in heldout}
    assert 0.15 < len(heldout) / len(rows) < 0.25
    assert split_rows(rows, share=0.0, seed=1) == (rows, [])


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """Only a new folder or an empty one is written to: neither a file nor an earlier adapter is ever replaced."""
    require_new_folder(tmp_path / "new")
    require_new_folder(tmp_path)
    (tmp_path / "thesis.md").write_text("mine")
    with pytest.raises(UserError, match=r"--out.*other files"):
        require_new_folder(tmp_path)
    with pytest.raises(UserError, match=r"--out.*thesis.md"):
        require_new_folder(tmp_path / "thesis.md")
    (tmp_path / "judge.json").write_text("{}")
    with pytest.raises(UserError, match=r"--out.*a judge adapter"):
        require_new_folder(tmp_path)
