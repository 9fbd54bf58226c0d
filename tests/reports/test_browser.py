"""The page in a real browser, from file://: nothing is loaded, nothing goes wrong, and everything can be reached."""

from __future__ import annotations

import pytest
from fake_run import CANDIDATES, METRICS, fake_run
from payloads import PAYLOADS

from harness.store import Home, Store
from reports.render import STATIC_SAMPLES, write_report

READY = "document.documentElement.classList.contains('ready')"
ROWS = "document.querySelectorAll('#list li').length"
SHOWN = "document.getElementById('detail').dataset.sample"
SAMPLE_ID = "new URLSearchParams(location.hash.slice(1)).get('s')"
CURRENT = "[...document.querySelectorAll('#list button')].findIndex(b => b.getAttribute('aria-current') === 'true')"


def choose(page, control, value):
    """Sets a control as a user would."""
    kind = "input" if control in {"search", "limit"} else "change"
    page.evaluate(
        f"(() => {{ const c = document.getElementById('{control}'); c.value = {value!r};"
        f" c.dispatchEvent(new Event('{kind}', {{bubbles: true}})); }})()"
    )


@pytest.fixture
def open_page(browser, page_file):
    """Opens the report with a hash and options, and waits until it is ready; afterwards nothing may have gone wrong."""
    pages = []

    def open_it(hash_="", **options):
        page = browser.page(page_file.as_uri() + hash_, **options)
        pages.append(page)
        if options.get("script", True):
            page.wait_for(READY)
        return page

    yield open_it
    for page in pages:
        assert page.console == []
        assert page.exceptions == []
        assert [url for url in page.requests if not url.startswith(page_file.as_uri())] == []
        page.close()


def test_loads_from_a_file_without_errors_or_requests(open_page):
    """The page gets ready; the fixture sees that nothing was logged, thrown or requested."""
    page = open_page()
    assert page.evaluate("document.title").startswith("clinic")
    assert page.evaluate("getComputedStyle(document.querySelector('.static-samples')).display") == "none"
    assert page.requests == [page.evaluate("location.href")]


def test_list_never_holds_more_than_a_hundred_rows(open_page, fake):
    """Pages of at most 100 rows, and the next page holds the rest."""
    page = open_page()
    assert page.evaluate(ROWS) == 100
    page.evaluate("document.getElementById('after').click()")
    assert page.evaluate(ROWS) == len(fake.samples) - 100
    assert page.evaluate("document.getElementById('after').disabled")
    assert (
        page.evaluate("document.getElementById('count').textContent")
        == f"101–{len(fake.samples)} of {len(fake.samples)}"
    )


def test_deep_link_opens_its_sample(open_page, fake):
    """A hash names sample, metric and candidate; the page shows them and scrolls there."""
    sample = fake.samples[77]
    page = open_page(f"#s={sample.id}&m=toxicity&c=spoilt")
    page.wait_for(f"{SHOWN} === {sample.id!r}")
    assert sample.input in page.evaluate("document.getElementById('detail').textContent")
    assert page.evaluate("document.getElementById('metric').selectedOptions[0].text") == "toxicity"
    assert page.evaluate("document.getElementById('candidate').selectedOptions[0].text") == "spoilt"
    assert page.evaluate("scrollY") > 1000


def test_hash_follows_and_can_be_followed(open_page):
    """Choosing a sample and a filter writes the hash; opening that hash again shows the same."""
    page = open_page()
    choose(page, "candidate", "3")
    choose(page, "show", "worse")
    page.press("j")
    page.wait_for(SHOWN)
    hash_, count = page.evaluate("location.hash"), page.evaluate("document.getElementById('count').textContent")
    page.wait_for(f"{SHOWN} === new URLSearchParams(location.hash.slice(1)).get('s')")
    again = open_page(hash_)
    again.wait_for(f"{SHOWN} === {page.evaluate(SHOWN)!r}")
    assert again.evaluate("document.getElementById('count').textContent") == count
    assert again.evaluate("location.hash") == hash_


def test_links_to_moves_open_them(open_page):
    """A link of the table of largest moves opens that sample without reloading."""
    page = open_page()
    page.evaluate("document.querySelector('#slices a[href^=\"#s=\"]').click()")
    wanted = page.evaluate(
        "new URLSearchParams(document.querySelector('#slices a[href^=\"#s=\"]').hash.slice(1)).get('s')"
    )
    page.wait_for(f"{SHOWN} === {wanted!r}")


def test_filters_show_what_they_say(open_page, fake):
    """Failed, low, fallen and sliced samples: each filter gives the samples that the run's records give."""
    scores = {(j.id, j.candidate, j.metric): j.score for j in fake.judgements}
    errors = {j.id for j in fake.judgements if j.candidate == "few_shot" and j.error}
    page = open_page("#c=few_shot&f=failed")
    assert page.evaluate(ROWS) == len(errors)
    choose(page, "show", "low")
    choose(page, "limit", "0.3")
    low = [s for s in fake.samples if (x := scores[s.id, "few_shot", "correctness"]) is not None and round(x, 4) < 0.3]
    assert page.evaluate(ROWS) == len(low)
    choose(page, "candidate", "3")
    choose(page, "show", "fell")
    fell = [
        s for s in fake.samples if scores[s.id, "base", "correctness"] >= 0.5 > scores[s.id, "spoilt", "correctness"]
    ]
    assert page.evaluate(ROWS) == len(fell)
    choose(page, "show", "all")
    choose(page, "group", "1.0")
    chosen = page.evaluate("document.getElementById('group').selectedOptions[0].text")
    assert page.evaluate(ROWS) == sum(s.slices["urgency"] == chosen for s in fake.samples)
    page.evaluate("document.getElementById('reset').click()")
    assert page.evaluate(ROWS) == 100


def test_search_finds_words_of_any_text(open_page, fake):
    """A word that stands in one candidate's answers only is found in all of them, in other chunks too."""
    page = open_page()
    choose(page, "search", "TABLETS of a friend")
    page.wait_for(f"document.getElementById('count').textContent.includes('of {len(fake.samples)}')")
    choose(page, "search", fake.samples[3].input)
    same = sum(s.input == fake.samples[3].input for s in fake.samples)
    page.wait_for(f"{ROWS} === {same}")
    choose(page, "search", "no such words anywhere")
    page.wait_for(f"{ROWS} === 0")
    page.wait_for("document.getElementById('detail').textContent === 'No sample fits these filters.'")


def test_order_is_by_the_scores(open_page, fake):
    """Worst score first means ascending scores where higher is better."""
    page = open_page("#c=base&o=worst")
    ids = {s.row: s.id for s in fake.samples}
    scores = {j.id: j.score for j in fake.judgements if j.candidate == "base" and j.metric == "correctness"}
    rows = page.evaluate(
        "[...document.querySelectorAll('#list .head span:first-child')].map(e => Number(e.textContent.slice(4)))"
    )
    found = [round(scores[ids[row]], 4) for row in rows]
    assert found == sorted(found)


def test_keys_move_search_compare_and_help(open_page):
    """j and k move, / searches, d shows differences, ? lists the keys, Escape leaves; typing in a field is typing."""
    page = open_page()
    assert page.evaluate(CURRENT) == 0
    page.press("j")
    page.press("j")
    page.press("k")
    assert page.evaluate(CURRENT) == 1
    page.press("d")
    page.wait_for("document.querySelectorAll('#detail ins').length > 1")
    page.press("d")
    page.wait_for("document.querySelectorAll('#detail ins').length === 0")
    page.press("?")
    assert page.evaluate("document.getElementById('help').open")
    page.press("Escape")
    assert not page.evaluate("document.getElementById('help').open")
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.press("j")
    assert page.evaluate("document.getElementById('search').value") == "j"
    page.press("Escape")
    assert page.evaluate("document.activeElement.id") != "search"


def test_keys_turn_the_page(open_page):
    """At the end of a page of the list, j goes on to the next one."""
    page = open_page()
    page.evaluate("document.querySelector('#list li:last-child button').click()")
    assert page.evaluate(CURRENT) == 99
    page.press("j")
    assert page.evaluate(CURRENT) == 0
    assert page.evaluate("document.getElementById('count').textContent").startswith("101–")


def test_difference_is_of_the_two_answers(open_page):
    """Without the insertions the marked text is the baseline's, without the deletions it is the candidate's."""
    page = open_page("#c=lora_r16")
    page.wait_for(SHOWN)
    plain = page.evaluate("[...document.querySelectorAll('#detail .answer > .text')].map(e => e.textContent)")
    page.press("d")
    page.wait_for("document.querySelectorAll('#detail ins').length > 0")
    without = (
        "(gone) => [...document.querySelectorAll('#detail .answer > .text')].map(e => { const c = e.cloneNode(true);"
        " c.querySelectorAll(gone).forEach(x => x.remove()); return c.textContent; })"
    )
    assert page.evaluate(f"({without})('del')") == plain
    assert page.evaluate(f"({without})('ins')") == [plain[0]] * len(CANDIDATES)


def test_evidence_is_shown_by_kind(open_page, fake):
    """Sentences carry their label in words, a grade's distribution is drawn as bars, an error is named."""
    page = open_page(f"#s={fake.samples[5].id}&m=correctness")
    page.wait_for(SHOWN)
    words = page.evaluate("[...document.querySelectorAll('.evidence .verdict-word')].map(e => e.textContent).join()")
    assert "entailment 0." in words
    assert any(mark in words for mark in ("✓ entailed", "✕ contradicted", "~ neither"))
    choose(page, "metric", str([m.name for m in METRICS].index("bedside_manner")))
    page.wait_for("document.querySelectorAll('.evidence .bars').length > 0")
    assert page.evaluate("document.querySelectorAll('.evidence .bars svg').length") == 5 * len(CANDIDATES)
    broken = next(j for j in fake.judgements if j.error and j.error.kind == "bad_output")
    again = open_page(f"#s={broken.id}&m=bedside_manner")
    again.wait_for(f"document.getElementById('detail').textContent.includes({broken.error.message!r})")


def test_leaderboard_sorts_both_ways(open_page):
    """A click on a header sorts by its numbers, a second click turns the order round, and aria-sort says which."""
    page = open_page()
    values = "[...document.querySelectorAll('table.board td[data-metric=toxicity]')].map(e => Number(e.dataset.mean))"
    button = "[...document.querySelectorAll('table.board th button')].find(b => b.textContent === 'toxicity')"
    for expected, order in ((False, "ascending"), (True, "descending")):
        page.evaluate(f"{button}.click()")
        found = page.evaluate(values)
        assert found == sorted(found, reverse=expected)
        assert page.evaluate(f"{button}.closest('th').getAttribute('aria-sort')") == order
    assert page.evaluate("document.querySelectorAll('table.board th[aria-sort]').length") == 1


def test_dark_mode_follows_the_system(open_page):
    """Where the system is dark the ground is dark and the ink light."""
    ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert open_page().evaluate(ground) > 200
    assert open_page(dark=True).evaluate(ground) < 60


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_scrolls_sideways(open_page, width):
    """On phone, tablet and desktop the page is as wide as the window; only tables scroll inside it."""
    page = open_page(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_shows_samples_and_hides_controls(open_page):
    """On paper there is no navigation and no browser, but verdicts, leaderboard and the first samples, in dark ink."""
    page = open_page(media="print", dark=True)
    display = "getComputedStyle(document.querySelector('{}')).display"
    assert page.evaluate(display.format("nav.sections")) == "none"
    assert page.evaluate(display.format(".browser")) == "none"
    assert page.evaluate(display.format(".card.static-samples")) == "block"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.pdf().startswith(b"%PDF")


def test_without_script_everything_but_the_browser_is_there(open_page):
    """With scripts off, tables and the first samples are visible, and the page says what is missing."""
    page = open_page(script=False)
    document = page.call("DOM.getDocument")["root"]["nodeId"]

    def boxes(selector):
        nodes = page.call("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"]
        visible = 0
        for node in nodes:
            try:
                visible += page.call("DOM.getBoxModel", nodeId=node)["model"]["height"] > 0
            except RuntimeError:
                continue
        return visible

    assert boxes(".static-samples article") == STATIC_SAMPLES
    assert boxes("#no-browser") == 1
    assert boxes("table.board tr") == 1 + len(CANDIDATES)
    assert boxes(".browser") == 0


def test_browser_without_decompression_falls_back(browser, page_file):
    """Where the browser cannot unpack the samples, the page says so and shows the first ones as text."""
    page = browser.page("about:blank")
    page.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
    page.navigate(page_file.as_uri())
    page.wait_for("document.getElementById('no-browser').textContent.includes('DecompressionStream')")
    assert page.evaluate("getComputedStyle(document.querySelector('.card.static-samples')).display") == "block"
    assert page.exceptions == []
    page.close()


def test_hostile_texts_stay_texts_in_the_browser(browser, tmp_path):
    """With every payload in some sample, the browser makes no element of any, runs nothing and requests nothing."""
    with Store.open(Home(tmp_path)) as store:
        fake_run(len(PAYLOADS), hostile=PAYLOADS).write(store)
        file = write_report(store, ["latest"], tmp_path / "report.html")
    page = browser.page("about:blank")
    page.call("Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { window.broken = true; }")
    page.navigate(file.as_uri())
    page.wait_for(READY)
    foreign = "img, iframe, object, embed, base, form, video, audio, marquee, template, x, math, textarea, body body"
    for at in range(len(PAYLOADS)):
        name = page.evaluate(f"document.querySelectorAll('#list button')[{at}].click() ?? {SAMPLE_ID}")
        page.wait_for(f"{SHOWN} === {SAMPLE_ID} && {SHOWN} !== undefined")
        page.evaluate("document.querySelectorAll('#detail details').forEach(d => { d.open = true; })")
        page.press("d")
        assert page.evaluate(f"document.querySelectorAll('{foreign}').length") == 0, name
        assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1, name
    assert page.evaluate("window.broken") is None
    assert [url for url in page.requests if not url.startswith(file.as_uri())] == []
    assert page.console == []
    page.close()
