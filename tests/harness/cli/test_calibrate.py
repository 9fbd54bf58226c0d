"""`muster calibrate`: labels in, a card out; what says too little is refused in one line."""

import json

import pytest
import typer
from rich.console import Console

from harness.cli.calibrate import calibrate, read_scores, show_card
from harness.cli.score import score
from harness.errors import MusterError
from harness.store import Home
from harness.store.calibrations import (
    by_metric,
    known_calibrations,
    read_cards,
    shipped_calibrations,
    write_calibration,
)
from judges.overlap import OverlapJudge

ROWS = [
    {"id": i, "reference": f"word{i} a", "answer": f"word{i} a" if (i + i // 7) % 3 else "b", "label": int(i % 3 > 0),
     "cluster": f"c{i // 2}"}
    for i in range(60)
]  # fmt: skip


def written(path, rows):
    """A JSONL file of rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def calibrated(tmp_path, rows, judge="token_f1", **options):
    """The exit status of `muster calibrate`, and the one card it kept."""
    home = tmp_path / "home"
    labels = rows if not isinstance(rows, list) else written(tmp_path / "labels.jsonl", rows)
    status = 0
    try:
        calibrate(judge, labels=labels, home=home, resamples=100, **options)
    except typer.Exit as exit_:
        status = exit_.exit_code
    own = [card for card in known_calibrations(Home(home)) if card not in shipped_calibrations()]
    assert len(own) == 1
    return status, own[0]


def test_a_card_is_kept_under_the_judges_fingerprint(tmp_path, capsys):
    """Figures, counts and clusters; the terminal shows them; the same command again replaces the card."""
    status, card = calibrated(tmp_path, ROWS, out=tmp_path / "card.json")
    assert (status, card.n, card.unscored, card.clusters, card.task) == (0, 60, 0, 30, "binary")
    assert read_cards(tmp_path / "card.json") == [card]
    figures = {figure.name: figure for figure in card.figures}
    right = sum(row["label"] == (row["reference"] == row["answer"]) for row in ROWS)
    assert figures["accuracy"].value == pytest.approx(right / 60)
    assert figures["accuracy"].low < right / 60 < figures["accuracy"].high
    shown = capsys.readouterr().out
    assert "60 labelled cases in 30 clusters" in shown
    assert "AUROC" in shown
    assert by_metric({"m": card.fingerprint, "other": "f", "human:ann": "r"}, [card]) == {"m": (card,), "other": ()}
    assert calibrated(tmp_path, ROWS)[1].figures == card.figures


def test_scores_that_exist_are_used_and_missing_ones_counted(tmp_path, capsys):
    """The card of scores made before equals the one made now; an id without a line is unscored."""
    home = tmp_path / "home"
    with pytest.raises(typer.Exit):
        score("token_f1", input=written(tmp_path / "in.jsonl", ROWS), output=tmp_path / "out.jsonl", home=home)
    _, direct = calibrated(tmp_path, ROWS)
    _, given = calibrated(tmp_path, ROWS, scores=tmp_path / "out.jsonl")
    assert given.figures == direct.figures
    short = (tmp_path / "out.jsonl").read_text().splitlines()[:50]
    (tmp_path / "short.jsonl").write_text("\n".join(short) + "\n")
    status, fewer = calibrated(tmp_path, ROWS, scores=tmp_path / "short.jsonl")
    assert (status, fewer.n, fewer.unscored, fewer.record["unscored"]) == (0, 50, 10, {"no_score": 10})
    capsys.readouterr()


def test_a_rated_sheet_as_csv(tmp_path, capsys):
    """Columns id, label and cluster alone, with scores from elsewhere; a blank label is no label."""
    sheet = tmp_path / "review.csv"
    lines = [f"{row['id']},{row['label'] if row['id'] else ''},{row['cluster']}" for row in ROWS]
    sheet.write_text("id,label,cluster\n" + "\n".join(lines) + "\n")
    scores = [{"id": row["id"], "metric": "token_f1", "score": row["label"] * 0.9, "error": None} for row in ROWS]
    _, card = calibrated(tmp_path, sheet, scores=written(tmp_path / "scores.jsonl", scores))
    assert (card.n, card.labels, card.headline.value) == (59, "review", 1.0)
    assert "1 without a label left out" in capsys.readouterr().out


def test_a_low_score_may_stand_for_a_good_label(tmp_path, capsys):
    """`--positive` names the label a high score stands for; `--reverse` turns numbers round."""
    named = [{**row, "label": "supported" if row["label"] else "made up"} for row in ROWS]
    up = calibrated(tmp_path / "a", mended(tmp_path / "a", named), positive=["supported"])[1].headline.value
    down = calibrated(tmp_path / "b", mended(tmp_path / "b", named), positive=["made up"])[1].headline.value
    turned = calibrated(tmp_path / "c", mended(tmp_path / "c", ROWS), reverse=True)[1].headline.value
    assert up == pytest.approx(1 - down)
    assert turned == pytest.approx(down)
    capsys.readouterr()


def mended(folder, rows):
    """Rows in a folder of their own."""
    folder.mkdir()
    return written(folder / "labels.jsonl", rows)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([{"id": 1, "answer": "a"}], {}, "must have a column 'label'"),
        ([{"id": 1, "rating": 3, "item": "x"}], {}, "muster review import"),
        ([{"id": 1, "label": 1}], {}, "must have a column 'answer'"),
        ([{"id": 1, "label": [1], "answer": "a"}], {}, "labels.jsonl:1: 'label' must be a number or a name"),
        ([{"id": 1, "label": 1, "answer": "a"}] * 2, {}, "labels.jsonl:2: 'id' '1' stands twice"),
        ([{"id": 1, "label": "", "answer": "a"}], {}, "no line has a label"),
        ([{"id": i, "label": 1, "answer": "a", "cluster": "c" * i} for i in (0, 1)], {}, "for every line or for none"),
        (
            [{"id": i, "label": x, "answer": "a", "reference": "a"} for i, x in enumerate("ab")],
            {},
            "--positive must say",
        ),
        ([{"id": 1, "label": 1, "answer": "a"}], {}, "none of 1 cases has a score"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path, rows, options, said):
    """One line with the place and the way out."""
    with pytest.raises(MusterError, match=said.replace("(", r"\(")):
        calibrate("token_f1", labels=written(tmp_path / "labels.jsonl", rows), home=tmp_path / "home", **options)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (ROWS, {"positive": ["good"]}, r"--positive must be a label of the file \(got 'good'; it has 0, 1\)"),
        (ROWS, {"cut": 2.0}, r"--cut must be from 0 to 1, the scale of 'token_f1' \(got 2\)"),
        (ROWS, {"cut": float("nan")}, "--cut must be from 0 to 1"),
        ([{**ROWS[0], "label": "x"}, {**ROWS[1], "label": 3}], {}, "labels must be all numbers or all names"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_judged(tmp_path, monkeypatch, rows, options, said):
    """Judging may take hours or money."""
    monkeypatch.setattr("harness.cli.score.judge_all", lambda *_: pytest.fail("a case was judged"))
    labels = written(tmp_path / "labels.jsonl", rows)
    with pytest.raises(MusterError, match=said):
        calibrate("token_f1", labels=labels, home=tmp_path / "home", **options)


def test_names_that_no_score_stands_for_are_refused_early(tmp_path, monkeypatch):
    """A judge without labels of its own shows that on its first cases: the others are not judged."""
    monkeypatch.setattr("harness.cli.score.CHUNK", 2)
    asked, judge = [], OverlapJudge.judge
    monkeypatch.setattr(OverlapJudge, "judge", lambda self, cases: asked.extend(cases) or judge(self, cases))
    rows = [{**row, "label": "good" if row["label"] else "bad"} for row in ROWS]
    with pytest.raises(MusterError, match="--positive must say which label a high score stands for"):
        calibrate("token_f1", labels=written(tmp_path / "labels.jsonl", rows), home=tmp_path / "home")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"id": 1, "score": "high"}], "'score' must be a number or null"),
        ([{"id": 1, "score": 1}, {"id": 1, "score": 0}], "stands twice"),
        ([{"id": 9, "score": 1}], "has none of the labelled ids"),
        ([{"id": 1, "score": 1, "metric": m} for m in ("a", "b")], "holds no scores of 'token_f1'"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(tmp_path, lines, said):
    """Each wrong line is named."""
    with pytest.raises(MusterError, match=said):
        read_scores(written(tmp_path / "scores.jsonl", lines), "token_f1", ["1"])


def test_a_judge_that_disagrees_is_told_so(tmp_path, capsys):
    """An interval below chance asks about --reverse."""
    wrong = [{**row, "label": 1 - int(row["reference"] == row["answer"])} for row in ROWS]
    calibrated(tmp_path, wrong)
    assert "--reverse" in capsys.readouterr().out


def test_damaged_cards_are_named(tmp_path):
    """A card that is none stops with its path."""
    home = Home(tmp_path / "home")
    (home.calibrations / "x.json").write_text("{}]")
    with pytest.raises(MusterError, match=r"x\.json: is no calibration card"):
        known_calibrations(home)


def test_cards_come_back_equal_and_the_newest_first(tmp_path, capsys):
    """What is written is read back equal; a newer card of the home stands before an older one and before shipped ones."""
    home = Home(tmp_path / "home")
    _, card = calibrated(tmp_path, ROWS)
    newer = type(card)(
        **{**{f: getattr(card, f) for f in card.__slots__}, "labels_sha": "b" * 64, "made": "2999-01-01"}
    )
    write_calibration(home, newer)
    assert known_calibrations(home)[:2] == [newer, card]
    show_card(newer, Console())
    assert "token_f1 against labels" in capsys.readouterr().out
