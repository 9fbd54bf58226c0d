"""The review sheet in a real browser, from file://: rated by keyboard, kept over a reload, given back as a file."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import pytest
from fake_run import fake_run
from payloads import PAYLOADS

from harness.cli import review
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


def downloaded(folder, ending):
    """The file that the page gave back."""
    deadline = time.monotonic() + 20
    while not (found := list(folder.glob(f"ratings-*.{ending}"))):
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
