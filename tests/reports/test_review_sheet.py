"""The review sheet in a real browser, from file://: rated by keyboard, kept over a reload, given back as a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import typer
from fake_run import fake_run
from payloads import PAYLOADS

from harness.cli import review
from harness.cli.calibrate import calibrate
from harness.cli.report import report
from harness.errors import NothingEvaluatedError, UserError
from harness.records import Completion
from harness.store import Home, Store

READY = "document.documentElement.classList.contains('ready')"
WHERE = "document.getElementById('where').textContent"
PRESSED = "[...document.querySelectorAll('#scale [aria-pressed=true]')].map((button) => button.dataset.value)"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a run whose inputs and answers try to break out of any page."""
    made = fake_run(len(PAYLOADS), hostile=PAYLOADS)
    texts = dict(zip([s.id for s in made.samples], PAYLOADS, strict=True))
    answers = tuple(
        replace(a, completion=Completion(text=texts[a.sample_id] + a.candidate[:1], finish_reason="stop"))
        for a in made.answers
    )
    home = Home(tmp_path_factory.mktemp("home"))
    with Store.open(home) as store:
        replace(made, answers=answers).write(store)
    return home


@pytest.fixture
def sheet(home, tmp_path):
    """Exports a sheet of eight answers to two samples."""

    def export(**options):
        out = tmp_path / "sheet.html"
        given = {
            "criteria": "<b>Is it right?</b>", "metric": None, "scale": None, "limit": 2, "candidate": None,
            "show_reference": True, "show_context": True, "seed": 0, **options,
        }  # fmt: skip
        review.export("latest", out, home=home.path, **given)
        return out

    return export


@pytest.fixture
def open_sheet(browser, tmp_path):
    """Opens a sheet; downloads go to a folder; afterwards nothing may have been logged, thrown or requested."""
    pages = []

    def open_it(path, **options):
        page = browser.page(path.as_uri(), **options)
        context = browser.call("Target.getTargetInfo", targetId=page._target)["targetInfo"]["browserContextId"]
        browser.call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), browserContextId=context
        )
        page.wait_for(READY)
        pages.append((page, path.as_uri()))
        return page

    yield open_it
    for page, url in pages:
        assert page.console == []
        assert page.exceptions == []
        assert [request for request in page.requests if not request.startswith((url, "blob:"))] == []
        page.close()


def downloaded(folder, ending, name="ratings"):
    """The file that the page gave back."""
    deadline = time.monotonic() + 300
    while not (found := [path for path in folder.glob(f"{name}-*.{ending}") if path.stat().st_size]):
        assert time.monotonic() < deadline, "nothing was downloaded"
        time.sleep(0.05)
    return found[0]


def stored(home, rater):
    """Raw ratings and notes by what was shown."""
    with Store.open(home) as store:
        run = store.run("latest")
        return [j for j in store.judgements(run.id, metric=f"human:{rater}") if j.score is not None]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rated_by_keyboard_kept_and_brought_in(sheet, open_sheet, home, tmp_path, ending):
    """Digits rate and go on, k goes back, Backspace takes back, n writes a note; a reload loses nothing; the file imports."""
    path = sheet()
    page = open_sheet(path)
    assert page.evaluate(WHERE) == "1 of 8 · 0 rated"
    for key in "5142":
        page.press(key)
    assert page.evaluate(WHERE) == "5 of 8 · 4 rated"
    page.press("k")
    assert page.evaluate(PRESSED) == ["2"]
    page.press("Backspace")
    assert page.evaluate(PRESSED) == []
    page.press("k")
    page.press("n")
    page.type('=good, "really"')
    page.press("j")
    page.press("Escape")
    page.press("u")
    assert page.evaluate(WHERE) == "4 of 8 · 3 rated"
    page.navigate(path.as_uri())
    page.wait_for(READY)
    assert page.evaluate(WHERE) == "4 of 8 · 3 rated"
    page.press("k")
    assert page.evaluate("document.getElementById('note').value") == '=good, "really"j'
    page.evaluate(f"document.getElementById('{ending}').click()")
    file = downloaded(tmp_path, ending)
    rater = f"rater-{ending}"
    review.import_(file, rater, home=home.path)
    found = stored(home, rater)
    assert sorted(j.evidence["rating"] for j in found) == [1, 4, 5]
    note = next(j.evidence.get("note") for j in found if j.evidence["rating"] == 4)
    assert note.removeprefix("'") == '=good, "really"j'
    if ending == "csv":
        assert not re.search(r"(^|,)\"?[=+@-]", file.read_text(), re.MULTILINE)


def test_pass_or_fail(sheet, open_sheet, home, tmp_path):
    """Two keys, and their words in the file."""
    page = open_sheet(sheet(scale="pass/fail"))
    for key in "pfp":
        page.press(key)
    page.evaluate("document.getElementById('jsonl').click()")
    lines = [json.loads(line) for line in downloaded(tmp_path, "jsonl").read_text().splitlines()]
    assert [line["rating"] for line in lines] == ["pass", "fail", "pass", *[None] * 5]


def test_every_text_is_shown_as_text(sheet, open_sheet, home):
    """Hostile inputs, answers, references and criteria: each is there to read, and none became an element."""
    page = open_sheet(sheet(limit=None))
    count = page.evaluate("JSON.parse(document.getElementById('data').textContent).items.length")
    assert count == 4 * len(PAYLOADS)
    wrong = page.evaluate(
        """(() => {
          const wrong = [];
          const { items } = JSON.parse(document.getElementById('data').textContent);
          const card = document.getElementById('item');
          const allowed = new Set(['SECTION', 'H2', 'P']);
          for (const item of items) {
            const shown = [...card.querySelectorAll('p.text')].map((p) => p.textContent);
            const wanted = [item.input, ...item.context, ...item.reference, item.answer].filter((text) => text !== '');
            if (card.dataset.item !== item.id || JSON.stringify(shown) !== JSON.stringify(wanted)) wrong.push(item.input);
            if ([...card.querySelectorAll('*')].some((element) => !allowed.has(element.tagName))) wrong.push(item.input);
            document.getElementById('next').click();
          }
          return wrong;
        })()"""
    )
    assert wrong == []
    assert page.evaluate("document.querySelector('h1').textContent") == "<b>Is it right?</b>"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_fits_the_window(sheet, open_sheet, width):
    """No sideways scrolling on a phone or a desktop, and every control can be hit with a thumb."""
    page = open_sheet(sheet(), width=width, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heights = page.evaluate("[...document.querySelectorAll('button')].map((b) => b.getBoundingClientRect().height)")
    assert min(heights) >= 44


def test_two_sheets_do_not_share_their_ratings(sheet, open_sheet):
    """What is kept in the browser belongs to one sheet."""
    page = open_sheet(sheet())
    page.press("3")
    page.navigate(sheet(seed=1).as_uri())
    page.wait_for(READY)
    assert page.evaluate(WHERE) == "1 of 8 · 0 rated"


def test_without_javascript_the_sheet_says_what_to_do(sheet, browser):
    """It points to the CSV."""
    page = browser.page(sheet().as_uri(), script=False)
    assert "Ask for the CSV" in page.evaluate("document.body.innerText")
    page.close()


# ----------------------------------------------------------------------------------------------------------------- flips

SUITE = """
suite: flips
data: {path: data.jsonl, fields: {id: id, input: question, reference: truth}}
splits: {test: {share: 1.0}}
candidates:
  careful: {model: {kind: answers, path: careful.jsonl}}
  hasty: {model: {kind: answers, path: hasty.jsonl}}
judges: {token_f1: {}}
gate: {baseline: careful, rules: [{metric: token_f1, no_worse_by: 0.1}]}
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A home with a run by a real judge: the hasty candidate is right in other words on some samples, wrong on others."""
    folder = tmp_path_factory.mktemp("flips")
    numbers = range(24)
    truths = [f"take {n} tablets of number {n} twice a day" for n in numbers]
    other = [f"morning and evening, {n} pills each" if n % 3 else f"WRONG {n} none at all" for n in numbers]
    hasty = [truth if n % 4 == 3 else text for n, (truth, text) in enumerate(zip(truths, other, strict=True))]
    for name, rows in {
        "data": [{"id": f"d{n}", "question": f"how much of {n}?", "truth": truths[n]} for n in numbers],
        "careful": [{"id": f"d{n}", "answer": truths[n]} for n in numbers],
        "hasty": [{"id": f"d{n}", "answer": hasty[n]} for n in numbers],
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "suite.yaml").write_text(SUITE)
    told = subprocess.run(
        [sys.executable, "-m", "harness", "run", "suite.yaml", "--home", "home", "--no-gate"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return folder, hasty


def test_flips_are_adjudicated_by_keyboard_and_calibrate_the_judge(real, open_sheet, tmp_path, capsys):
    """Export, adjudicate by keys, download, calibrate, bring in: the card stands in the next report, the count is right."""
    folder, hasty = real
    place, out = folder / "home", tmp_path / "sheet.html"
    review.export("latest", out, criteria=None, flips="token_f1", home=place)
    assert "18 flips" in capsys.readouterr().out
    text = out.read_text()
    assert not re.search(r"careful|hasty", text)
    page = open_sheet(out)
    assert page.evaluate(WHERE) == "1 of 18 · 0 rated"
    sides = set()
    for _ in range(18):
        first, second = page.evaluate("[...document.querySelectorAll('#item .answer .text')].map((p) => p.textContent)")
        flipped = first if first in hasty else second
        sides.add(flipped == first)
        assert (first in hasty) != (second in hasty)
        if flipped.startswith("morning and evening, 1 pills"):
            page.press("5")
        elif "WRONG" in flipped:
            page.press("2" if flipped == first else "1")
        else:
            page.press("3")
    assert sides == {True, False}, "the side must not tell whose answer it is"
    assert page.evaluate(WHERE) == "18 of 18 · 18 rated"
    for ending in ("jsonl", "csv"):
        page.evaluate(f"document.getElementById('{ending}').click()")
    labels = downloaded(tmp_path, "jsonl", "flips")
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    assert len(rows) == 36
    assert [row["label"] for row in rows].count(None) == 2
    assert all(row["label"] == ("WRONG" not in row["answer"]) for row in rows if row["label"] is not None)

    with pytest.raises(typer.Exit) as ended:
        calibrate("token_f1", labels, suite=str(folder / "suite.yaml"), resamples=100, home=place)
    assert ended.value.exit_code == 0
    said = capsys.readouterr().out
    assert "34 labelled cases" in said
    page_file = tmp_path / "report.html"
    report(run=["latest"], out=page_file, home=place)
    assert labels.stem in page_file.read_text()

    review.import_(labels, "anna", home=place)
    said = capsys.readouterr().out
    wrong = sum("WRONG" in answer for answer in hasty)
    assert f"of 18 flips of token_f1, {wrong} are real" in said
    assert f"both are good in {18 - wrong - 1:,}, neither in 0, only the failed one in 0; 1 undecided" in said
    review.import_(downloaded(tmp_path, "csv", "flips"), "anna", home=place)
    assert "0 new, 0 changed" in capsys.readouterr().out


def test_the_surest_flips_come_first(home, tmp_path):
    """By the smaller distance of the two scores from the cut; each pair is one answer of either candidate."""
    out = tmp_path / "sheet.html"
    before = set((home.path / "reviews").glob("*.json"))
    review.export(
        "latest", out, criteria="Good?", flips="correctness", candidate=["spoilt"], baseline="base", home=home.path
    )
    [made] = set((home.path / "reviews").glob("*.json")) - before
    sheet = json.loads(made.read_text())
    with Store.open(home, read_only=True) as store:
        scores = {(j.candidate, j.id): j.score for j in store.judgements(store.run("latest").id, metric="correctness")}
    pairs = list(zip(sheet["items"][::2], sheet["items"][1::2], strict=True))
    assert pairs
    sure = []
    for one, two in pairs:
        assert {*one["candidates"], *two["candidates"]} == {"base", "spoilt"}
        assert one["sample_id"] == two["sample_id"]
        before, now = scores["base", one["sample_id"]], scores["spoilt", one["sample_id"]]
        assert before >= 0.5 > now
        sure.append(min(before - 0.5, 0.5 - now))
    assert sure == sorted(sure, reverse=True)
    flipped = [i for c, i in scores if c == "base" and scores[c, i] >= 0.5 > scores["spoilt", i]]
    assert len(pairs) == len(flipped)


def test_a_low_score_that_is_good_turns_the_label_round(home, open_sheet, tmp_path):
    """For a judge whose good answers score low, 'pass' is label 0, so that calibrate compares like with like."""
    out = tmp_path / "sheet.html"
    review.export(
        "latest",
        out,
        criteria="Good?",
        flips="hallucination",
        candidate=["spoilt"],
        baseline="base",
        limit=2,
        home=home.path,
    )
    page = open_sheet(out)
    page.press("1")
    page.press("4")
    page.evaluate("document.getElementById('jsonl').click()")
    rows = [json.loads(line) for line in downloaded(tmp_path, "jsonl", "flips").read_text().splitlines()]
    assert [(row["rating"], row["label"]) for row in rows] == [("pass", 0), ("fail", 1), ("fail", 1), ("fail", 1)]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.resize(390, 844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"flips": "rouge", "candidate": ["spoilt"]}, "'--flips' must be one of run"),
        ({"flips": "correctness"}, "'--baseline' must be one of run"),
        (
            {"flips": "correctness", "baseline": "base"},
            "'--candidate' must be one of few_shot, lora_r16, spoilt .got none",
        ),
        ({"flips": "correctness", "candidate": ["base"], "baseline": "base"}, "'--candidate' must be one of few_shot"),
        ({"flips": "correctness", "candidate": ["spoilt"], "baseline": "x"}, "'--baseline' must be one of run"),
        ({"flips": "correctness", "candidate": ["spoilt"], "metric": "toxicity"}, "Leave '--metric'"),
        ({"criteria": "Good?", "baseline": "base"}, "'--baseline' goes with '--flips'"),
    ],
)
def test_wrong_options_of_flips_are_named(home, tmp_path, options, said):
    """One line each."""
    with pytest.raises(UserError, match=said):
        review.export("latest", tmp_path / "x.html", home=home.path, **{"criteria": None, **options})


def test_no_flip_is_nothing_to_review(home, tmp_path):
    """Exit status 5, and no file."""
    with pytest.raises(NothingEvaluatedError, match="no sample passes bedside_manner with spoilt and fails it"):
        review.export(
            "latest", tmp_path / "x.html", criteria=None, flips="bedside_manner", baseline="spoilt",
            candidate=["lora_r16"], home=home.path,
        )  # fmt: skip
    assert not (tmp_path / "x.html").exists()
