"""`muster review`: blind sheets out, ratings in as judgements of the run, and what does not belong is refused with its line."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from harness.cli import review
from harness.cli.export_preferences import export_preferences
from harness.cli.run import run as muster_run
from harness.data import read_preferences
from harness.errors import DataError, NothingEvaluatedError, UserError
from harness.records import Completion
from harness.store import Home, Store, doctor
from reports.queries import load_report
from reports.render import render
from reports.review import defused
from tests.reports.fake_run import CANDIDATES, fake_run

ASKED = "Is the advice right?"


@pytest.fixture
def fake():
    """Twelve samples by four candidates; two candidates give one and the same answer to the first sample, as a formula."""
    made = fake_run(12)
    made = replace(made, samples=tuple(replace(s, input=f"{s.input} ({i})") for i, s in enumerate(made.samples)))
    first = made.samples[0].id
    same = {"base", "few_shot"}
    answers = tuple(
        replace(a, completion=Completion(text="=1+1 @home", finish_reason="stop"))
        if a.sample_id == first and a.candidate in same
        else a
        for a in made.answers
    )
    return replace(made, answers=answers)


@pytest.fixture
def home(fake, tmp_path):
    """A home with the run."""
    home = Home(tmp_path / "home")
    with Store.open(home) as store:
        fake.write(store)
    return home


def export(home, name="sheet.csv", **options):
    """Exports a sheet beside the home and returns its path."""
    out = home.path.parent / name
    options = {"criteria": ASKED, **options}
    review.export("latest", out, home=home.path, **{**DEFAULTS, **options})
    return out


DEFAULTS = {
    "metric": None, "scale": None, "limit": None, "candidate": None, "show_reference": False, "show_context": False, "seed": 0,
}  # fmt: skip


def sheet_rows(path):
    """The rows of a CSV sheet."""
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def fill(path, rate, name="filled.csv", columns=None):
    """Writes the sheet with ratings: what a rater would save. `rate` maps row number and row to a rating."""
    rows = sheet_rows(path)
    for number, row in enumerate(rows):
        row["rating"] = rate(number, row)
    out = path.with_name(name)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return out


def bring_in(home, path, rater="anna"):
    """`muster review import`."""
    review.import_(path, rater, home=home.path)


def stored(home, metric="human:anna"):
    """The judgements of a rater."""
    with Store.open(home) as store:
        run = store.run("latest")
        return run, store.judgements(run.id, metric=metric)


# ---------------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("name", ["sheet.csv", "sheet.html"])
def test_a_sheet_says_nothing_of_whose_answer_is_whose(home, fake, name):
    """No candidate's name, no key, no path; ids that tell nothing, and another order than the run's."""
    text = export(home, name, show_reference=True, show_context=True).read_text(encoding="utf-8-sig")
    for word in (
        *CANDIDATES[1:],
        '"base"',
        ",base,",
        *fake.run.candidates.values(),
        fake.run.id,
        "embedded:",
        str(home.path),
    ):
        assert word not in text
    if name == "sheet.csv":
        inputs = [row["input"] for row in sheet_rows(home.path.parent / name)]
        assert inputs != sorted(inputs, key=[s.input for s in fake.samples].index)


def test_the_same_export_is_the_same_file_and_another_seed_another_order(home):
    """Export twice, and what was rated on the first sheet belongs to the second too."""
    first, second = export(home).read_text(), export(home, "again.csv").read_text()
    other = export(home, "other.csv", seed=1)
    assert first == second
    answers = [row["answer"] for row in sheet_rows(other)]
    before = [row["answer"] for row in sheet_rows(home.path.parent / "sheet.csv")]
    assert answers != before
    assert sorted(answers) == sorted(before)
    assert {row["item"] for row in sheet_rows(other)}.isdisjoint(
        row["item"] for row in sheet_rows(home.path.parent / "sheet.csv")
    )


def test_every_answer_stands_once_and_failed_ones_not_at_all(home, fake):
    """Equal answers to a sample are one item."""
    shown = [(row["input"], row["answer"].removeprefix("'")) for row in sheet_rows(export(home))]
    inputs = {sample.id: sample.input for sample in fake.samples}
    wanted = {(inputs[a.sample_id], a.completion.text) for a in fake.answers if a.completion.text is not None}
    assert len(shown) == len(wanted) < len(fake.answers)
    assert set(shown) == wanted


def test_a_limit_takes_whole_samples(home):
    """Three samples, each with the answers of the two candidates asked for."""
    rows = sheet_rows(export(home, limit=3, candidate=["lora_r16", "spoilt"]))
    assert len(rows) == 6
    assert len({row["input"] for row in rows}) == 3


def test_no_cell_is_a_formula(home):
    """What begins like one gets an apostrophe."""
    cells = [cell for row in sheet_rows(export(home, criteria="=cmd|' /C calc'!A0")) for cell in row.values()]
    assert any(cell.startswith("'=1+1") for cell in cells)
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_reference_and_context_are_shown_on_request(home):
    """By default a rater is not led by the reference."""
    assert not {"reference", "context"} & sheet_rows(export(home))[0].keys()
    shown = sheet_rows(export(home, "more.csv", show_reference=True, show_context=True))[0]
    assert shown["reference"]
    assert "context" in shown


def test_a_metric_gives_question_and_scale(home):
    """G-Eval's own criteria and scale; for a metric that is better when lower the sheet says what best means."""
    row = sheet_rows(export(home, criteria=None, metric="bedside_manner"))[0]
    assert row["criteria"] == "The answer acknowledges the patient's worry and says what to do next."
    assert row["scale"] == "1 (worst) to 5 (best)"
    row = sheet_rows(export(home, criteria=None, metric="toxicity"))[0]
    assert row["criteria"].endswith("The best rating is for the answer that has least of it.")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"criteria": None}, "give '--criteria TEXT'"),
        ({"metric": "toxicity"}, "give '--criteria TEXT'"),
        ({"criteria": " "}, "empty"),
        ({"criteria": None, "metric": "rouge"}, "must be one of run"),
        ({"scale": "5,1"}, "such as 1,5, or pass/fail .got '5,1'"),
        ({"scale": "1,10"}, "within 0 to 9"),
        ({"scale": "1-5"}, "got '1-5'"),
        ({"candidate": ["lora"]}, "got 'lora'"),
        ({"name": "sheet.txt"}, "must be a .html or .csv file"),
    ],
)
def test_wrong_options_are_named(home, options, said):
    """One line each."""
    with pytest.raises(UserError, match=said):
        export(home, **options)


# ---------------------------------------------------------------------------------------------------------------- import


def test_ratings_become_judgements(home, fake):
    """1 to 5 becomes 0 to 1, the raw rating stays as evidence; equal answers share a rating; an empty cell is a typed null."""
    path = fill(export(home, limit=6), lambda i, row: "" if i == 2 else str(1 + i % 5))
    bring_in(home, path)
    run, judgements = stored(home)
    rows = sheet_rows(path)
    inputs = {sample.id: sample.input for sample in fake.samples}
    texts = {(a.candidate, a.sample_id): a.completion.text for a in fake.answers}
    wanted = {(row["input"], row["answer"].removeprefix("'")): row["rating"] for row in rows}
    assert {(inputs[j.id], texts[j.candidate, j.id]) for j in judgements} == wanted.keys()
    for judgement in judgements:
        rating = wanted[inputs[judgement.id], texts[judgement.candidate, judgement.id]]
        if rating:
            assert judgement.score == (int(rating) - 1) / 4
            assert judgement.evidence["rating"] == int(rating)
        else:
            assert (judgement.score, judgement.error.kind) == (None, "not_rated")
    assert run.metrics[-1].name == "human:anna"
    assert run.record["judges"]["human:anna"]["criteria"] == ASKED


def test_nothing_else_of_the_run_changes_and_store_and_bundle_agree(home, fake):
    """Judgements, answers and verdicts are as they were; the doctor finds nothing but that the fake run began unbundled."""
    with Store.open(home) as store:
        before = (
            store.judgements(fake.run.id),
            store.answers(fake.run.id),
            store.samples(fake.run.id),
            store.verdicts(fake.run.id),
        )
    bring_in(home, fill(export(home), lambda i, row: "3"))
    with Store.open(home) as store:
        judgements = [j for j in store.judgements(fake.run.id) if j.metric != "human:anna"]
        after = judgements, store.answers(fake.run.id), store.samples(fake.run.id), store.verdicts(fake.run.id)
    assert after == before
    assert doctor(home) == []


def test_the_same_file_again_changes_nothing_and_a_corrected_one_what_it_corrects(home, capsys):
    """Idempotent; a second sheet of the same question adds to the first."""
    sheet = export(home, limit=4)
    path = fill(sheet, lambda i, row: "4")
    bring_in(home, path)
    first = stored(home)
    n = len(sheet_rows(sheet))
    assert f"{n} rated, 0 not rated\n  {n} new, 0 changed" in capsys.readouterr().out
    bring_in(home, path)
    assert stored(home) == first
    assert "0 new, 0 changed" in capsys.readouterr().out
    bring_in(home, fill(sheet, lambda i, row: "" if i == 0 else "5" if i == 1 else "4"))
    assert f"{n - 1} rated, 1 not rated\n  0 new, 2 changed" in capsys.readouterr().out
    whole = export(home, "whole.csv")
    bring_in(home, fill(whole, lambda i, row: "2" if row["answer"].startswith("'=") else ""))
    kept = [j.evidence["rating"] for j in stored(home)[1] if j.score is not None]
    assert kept == [2, 2]


def test_no_cell_is_a_formula_or_drives_a_terminal():
    """Formulas begin with an apostrophe; escape sequences and lone surrogates are shown, line ends and tabs kept."""
    assert defused("\x1b[31mred\x07 \ud800\r\nnext\tcell") == "\\x1b[31mred\\x07 \\ud800\nnext\tcell"
    assert [defused(text)[0] for text in ("=1", "+1", "-1", "@a", "\t=1")] == ["'"] * 5


def test_pass_and_fail(home):
    """In words or as 1 and 0; spreadsheets' decimals are whole numbers."""
    ratings = ["pass", "FAIL", "1", "0", "1.0", "1,0"]
    path = fill(export(home, scale="pass/fail"), lambda i, row: ratings[i] if i < len(ratings) else "")
    bring_in(home, path)
    rows = sheet_rows(path)[: len(ratings)]
    _, judgements = stored(home)
    said = {j.evidence["rating"]: j.label for j in judgements if j.score is not None}
    assert said == {1: "pass", 0: "fail"}
    assert len(rows) == 6


def spoil(path, change, name="spoilt.csv"):
    """Saves the sheet after a change of its rows."""
    rows = sheet_rows(path)
    for row in rows:
        row["rating"] = "3"
    change(rows)
    out = path.with_name(name)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return out


def set_cell(number, column, value):
    """A change of one cell."""
    return lambda rows: rows[number].update({column: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_cell(1, "item", "q0123456789"), r"spoilt\.csv:3: item 'q0123456789' is not on sheet s"),
        (
            lambda rows: rows.insert(2, dict(rows[0])),
            r"spoilt\.csv:4: item 'q\w+' stands twice \(first at .*spoilt\.csv:2\)",
        ),
        (
            set_cell(0, "rating", "6"),
            r"spoilt\.csv:2: the rating must be a whole number from 1 to 5, or empty \(got '6'\)",
        ),
        (set_cell(0, "rating", "0"), "got '0'"),
        (set_cell(0, "rating", "3.5"), "got '3.5'"),
        (set_cell(0, "rating", "good"), "got 'good'"),
        (set_cell(0, "rating", "-1"), "got '-1'"),
        (set_cell(0, "answer", "Something else."), r"spoilt\.csv:2: the answer is not the one that was exported"),
        (set_cell(1, "sheet", "s000000000000"), r"spoilt\.csv:3: must be of sheet 's\w+', like the first row"),
        (lambda rows: [row.update(sheet="s000000000000") for row in rows], "no sheet 's000000000000' was exported"),
        (lambda rows: [row.update(sheet="../../x") for row in rows], r"no sheet '\.\./\.\./x' was exported"),
        (lambda rows: [row.pop("rating") for row in rows], "column 'rating' must be there"),
    ],
)
def test_a_foreign_or_edited_sheet_is_refused_whole(home, change, said):
    """Each mistake with its line, and nothing is brought in."""
    with pytest.raises(DataError, match=said):
        bring_in(home, spoil(export(home, limit=3), change))
    assert stored(home)[1] == []


def test_line_ends_and_spaces_of_a_spreadsheet_are_no_edit(home):
    """What saving does to a text is not taken for a change of it."""
    path = spoil(export(home, limit=3), lambda rows: [r.update(answer=f" {r['answer']}\r\n") for r in rows])
    bring_in(home, path)
    assert {j.evidence["rating"] for j in stored(home)[1]} == {3}


def test_the_download_of_the_page_needs_no_texts(home):
    """Sheet, item, rating and note are enough; lines left out count as not rated."""
    rows = sheet_rows(export(home, limit=3))
    lines = [{"sheet": row["sheet"], "item": row["item"], "rating": 5, "note": "good"} for row in rows[:4]]
    path = home.path.parent / "ratings.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bring_in(home, path)
    notes = [j.evidence.get("note") for j in stored(home)[1]]
    assert notes.count("good") == 4
    assert sum(j.score is None for j in stored(home)[1]) == len(rows) - 4


def test_a_sheet_that_nobody_filled_in_is_no_rating(home):
    """Importing it by mistake makes no rater of whom nothing is known."""
    with pytest.raises(NothingEvaluatedError, match="no item is rated"):
        bring_in(home, export(home, limit=3))
    assert stored(home)[1] == []


@pytest.mark.parametrize("rater", ["", "a b", "../x", "1", "a:b"])
def test_a_rater_has_a_name(home, rater):
    """It becomes part of a metric's name."""
    with pytest.raises(UserError, match="'--rater' must be"):
        bring_in(home, fill(export(home, limit=2), lambda i, row: "3"), rater)


def test_one_rater_one_question(home):
    """Another question or scale under the same name would mix what cannot be compared."""
    bring_in(home, fill(export(home, limit=2), lambda i, row: "3"))
    for options in ({"criteria": "Is it kind?"}, {"scale": "0,5"}):
        other = fill(export(home, "other.csv", limit=2, **options), lambda i, row: "3")
        with pytest.raises(UserError, match=r"another question or scale.*anna-2"):
            bring_in(home, other)
        bring_in(home, other, "anna-kind" if "criteria" in options else "anna-wide")


def test_a_run_answered_otherwise_since_is_refused(home, fake):
    """A rating is about a text."""
    path = fill(export(home, limit=12), lambda i, row: "3")
    answers = tuple(replace(a, completion=Completion(text="new", finish_reason="stop")) for a in fake.answers)
    with Store.open(home) as store:
        replace(fake, answers=answers).write(store)
    review_columns = fill(path, lambda i, row: "3", "bare.csv", ["sheet", "item", "rating"])
    with pytest.raises(UserError, match="was answered otherwise since"):
        bring_in(home, review_columns)


# --------------------------------------------------------------------------------------------------- report, agreement


def test_the_report_shows_raters_like_judges(home, fake):
    """A column with the means, and a card that says who and what was asked."""
    bring_in(home, fill(export(home), lambda i, row: str(1 + i % 5)))
    with Store.open(home) as store:
        report = load_report(store, ["latest"])
    assert report.metrics[-1].name == "human:anna"
    card = next(card for card in report.judges if card.metric.name == "human:anna")
    assert (card.kind, card.facts["criteria"], card.unscored) == ("human", ASKED, 0)
    page = render(report)
    assert page.count(">a person<") == len(report.boards) + 1
    for row in report.boards[0].rows:
        cell = next(cell for cell in row.cells if cell.metric.name == "human:anna")
        scores = [j.score for j in stored(home)[1] if j.candidate == row.candidate]
        assert cell.estimate.mean == pytest.approx(sum(scores) / len(scores))


def test_agreement_between_raters(home, capsys):
    """Two who agree fully and a third who inverts the scale: known alphas."""
    sheet = export(home)
    bring_in(home, fill(sheet, lambda i, row: str(1 + i % 5)))
    bring_in(home, fill(sheet, lambda i, row: str(1 + i % 5)), "ben")
    capsys.readouterr()
    review.agreement("latest", home=home.path)
    said = capsys.readouterr().out
    for level in ("nominal", "ordinal", "interval"):
        assert f"{level} 1.000" in said
    bring_in(home, fill(sheet, lambda i, row: str(5 - i % 5)), "ben")
    capsys.readouterr()
    review.agreement("latest", home=home.path)
    said = capsys.readouterr().out
    assert "interval -0.9" in said
    assert "human:ben" in said


def test_every_judge_is_compared_with_the_mean_rating(home, fake, capsys):
    """Spearman as scipy has it; a metric that is better when lower is turned round; a rater is compared with the others."""
    from scipy.stats import spearmanr

    sheet = export(home)
    bring_in(home, fill(sheet, lambda i, row: str(1 + i % 5)))
    bring_in(home, fill(sheet, lambda i, row: str(1 + i * i % 5)), "ben")
    capsys.readouterr()
    review.agreement("latest", home=home.path)
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.strip()}
    said = {"anna": {}, "ben": {}}
    for rater, found in said.items():
        found.update({(j.candidate, j.id): j.score for j in stored(home, f"human:{rater}")[1]})
    both = {pair: (score + said["ben"][pair]) / 2 for pair, score in said["anna"].items()}
    texts = {(a.candidate, a.sample_id): (a.sample_id, a.completion.text) for a in fake.answers}
    once = {text: pair for pair, text in reversed(texts.items()) if pair in both}.values()
    for metric, sign in (("correctness", 1), ("hallucination", -1)):
        scores = {(j.candidate, j.id): j.score for j in fake.judgements if j.metric == metric}
        pairs = [pair for pair in once if scores.get(pair) is not None]
        rho = sign * spearmanr([scores[p] for p in pairs], [both[p] for p in pairs]).statistic
        assert lines[metric][1:4] == [str(len(pairs)), str(len(once) - len(pairs)), f"{rho:.2f}"]
    rho = spearmanr([said["anna"][p] for p in once], [said["ben"][p] for p in once]).statistic
    assert lines["human:ben"][3] == f"{rho:.2f}"


def test_agreement_without_ratings_or_with_one_rater(home, capsys):
    """Nothing to show is said, with the way there; one rater has nobody to agree with."""
    with pytest.raises(NothingEvaluatedError, match="muster review export"):
        review.agreement("latest", home=home.path)
    bring_in(home, fill(export(home), lambda i, row: "3"))
    review.agreement("latest", home=home.path)
    assert "needs a second" in capsys.readouterr().out


def test_labels_are_the_mean_of_the_raters(home, fake):
    """One line for each distinct answer that somebody rated, as `muster score` reads it, with its cluster."""
    sheet = export(home)
    bring_in(home, fill(sheet, lambda i, row: "" if i < 3 else "5"))
    bring_in(home, fill(sheet, lambda i, row: "" if i < 2 else "2"), "ben")
    out = home.path.parent / "labels.jsonl"
    review.labels("latest", out, home=home.path)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    rows = sheet_rows(sheet)
    assert len(lines) == len(rows) - 2
    wanted = {
        (row["input"], row["answer"].removeprefix("'")): 0.25 if i == 2 else 0.625
        for i, row in enumerate(rows)
        if i >= 2
    }
    assert {(line["input"], line["answer"]): line["label"] for line in lines} == wanted
    clusters = {sample.id: sample.cluster or sample.id for sample in fake.samples}
    assert all(line["cluster"] == clusters[line["id"].split(":")[0]] for line in lines)
    review.labels("latest", out, rater=["ben"], home=home.path)
    assert {json.loads(line)["label"] for line in out.read_text().splitlines()} == {0.25}
    with pytest.raises(UserError, match="anna, ben"):
        review.labels("latest", out, rater=["cleo"], home=home.path)


# ------------------------------------------------------------------------------------------------------- run made anew

SUITE = """\
suite: desk
data: {path: rows.jsonl, fields: {input: question, reference: answer}}
splits: {test: {share: 1}}
candidates: {old: {model: {kind: answers, path: old.jsonl}}}
judges: {exact_match: {}}
"""


def test_ratings_outlive_a_run_made_anew(tmp_path, monkeypatch):
    """`muster run --fresh` answers and judges again; what people said of the same answers stays."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"What is {n}?", "answer": f"{n}"} for n in range(12)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("old.jsonl").write_text(
        "".join(json.dumps({"input": r["question"], "answer": r["answer"]}) + "\n" for r in rows)
    )
    Path("suite.yaml").write_text(SUITE)
    home = Home(tmp_path / ".muster")

    def run(**options):
        with pytest.raises(typer.Exit) as exit_:
            muster_run("suite.yaml", home=home.path, **options)
        assert exit_.value.exit_code == 0

    run()
    out = tmp_path / "sheet.csv"
    review.export("latest", out, home=home.path, **{**DEFAULTS, "criteria": ASKED})
    bring_in(home, fill(out, lambda i, row: "" if i == 0 else "4"))
    before = stored(home)[1]
    assert sum(j.score == 0.75 for j in before) == 11
    run(fresh=True)
    after, judgements = stored(home)
    assert judgements == before
    assert after.status == "complete"
    assert [m.name for m in after.metrics] == ["exact_match", "human:anna"]
    assert doctor(home) == []
    run()
    assert stored(home)[1] == before


def test_the_page_on_human_ratings_is_true(home, monkeypatch):
    """The commands of docs/human_ratings.md work in their order, and every option it lists is one."""
    import re
    import shlex

    from typer.testing import CliRunner

    from harness.cli import build_app

    page = (Path(__file__).parents[3] / "docs" / "human_ratings.md").read_text()
    folder = home.path.parent
    monkeypatch.chdir(folder)
    home.path.rename(folder / ".muster")
    app = build_app()
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (muster .*)$", page, re.MULTILINE)]
    verbs = ["export", "import", "agreement", "labels", "export", "relevancy", "import"]
    assert [words[1] for words in commands] == verbs
    rated = 0
    for words in commands:
        if words[0] == "calibrate":
            continue  # needs the judge's model; test_review_sheet.py calibrates a light judge by such labels
        if words[1] == "import":
            sheet = max((folder / ".muster" / "reviews").iterdir(), key=lambda path: path.stat().st_mtime_ns)
            key = json.loads(sheet.read_text())
            rated = rated or len(key["items"])
            lines = [
                {"sheet": key["id"], "item": item["id"], "rating": "pass" if key["high"] == 1 else 1 + i % 5}
                for i, item in enumerate(key["items"])
            ]
            columns = ",".join(lines[0])
            text = "".join(json.dumps(line) + "\n" for line in lines)
            if words[2].endswith(".csv"):
                text = columns + "\n" + "".join(",".join(map(str, line.values())) + "\n" for line in lines)
            (folder / words[2]).write_text(text)
        words = ["latest" if word == "RUN" else word for word in words]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert len((folder / "labels.jsonl").read_text().splitlines()) == rated
    shown = CliRunner().invoke(app, ["review", "export", "--help"], env={"COLUMNS": "200"}).output
    for option in re.findall(r"`(--[a-z-]+)", page.split("| option")[1].split("\n\n")[0]):
        assert option in shown, option


def test_ratings_and_scores_become_preferences(home, fake, tmp_path, capsys):
    """Every pair of a sample's answers that were rated apart, the better first, readable as preferences."""
    filled = fill(export(home), lambda number, row: 1 + number % 5)
    bring_in(home, filled)
    with Store.open(home, read_only=True) as store:
        run = store.run("latest")
        said = {
            (j.id, j.candidate): j.score for j in store.judgements(run.id, metric="human:anna") if j.score is not None
        }
        texts = {(a.sample_id, a.candidate): a.completion.text for a in store.answers(run.id)}
    out = tmp_path / "pairs.jsonl"
    export_preferences("latest", "human:anna", out, margin=0.0, split=None, home=home.path)
    assert "by human:anna" in capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    expected = {
        (sample, texts[sample, one].strip(), texts[sample, two].strip())
        for sample, one in said
        for other, two in said
        if sample == other
        and said[sample, one] > said[sample, two]
        and texts[sample, one].strip() != texts[sample, two].strip()
    }
    assert {(line["id"], line["chosen"], line["rejected"]) for line in lines} == expected
    assert len(read_preferences(out)) == len(lines)
    with pytest.raises(UserError, match=r"'--by' must be a metric of run .*human:anna \(got 'nobody'\)"):
        export_preferences("latest", "nobody", out, margin=0.0, split=None, home=home.path)
    with pytest.raises(NothingEvaluatedError, match="prefers no answer to another"):
        export_preferences("latest", "human:anna", out, margin=1.0, split=None, home=home.path)
