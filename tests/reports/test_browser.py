"""The page in a real browser, from file://: nothing is loaded, nothing goes wrong, and everything can be reached."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_run import CANDIDATES, METRICS, fake_run
from payloads import PAYLOADS

from harness.store import Home, Store
from reports.queries import load_report
from reports.render import STATIC_SAMPLES, render, write_report

READY = "document.documentElement.classList.contains('ready')"
ROWS = "document.querySelectorAll('#list li').length"
SHOWN = "document.getElementById('detail').dataset.sample"
SAMPLE_ID = "new URLSearchParams(location.hash.slice(1)).get('s')"
CURRENT = "[...document.querySelectorAll('#list button')].findIndex(b => b.getAttribute('aria-current') === 'true')"


def choose(page, control, value):
    """Sets a control as a user would; `preset` presses the button of that name."""
    if control == "preset":
        page.evaluate(f"document.querySelector('[data-preset={value}]').click()")
        return
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
    choose(page, "preset", "worse")
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


def counts(page):
    """Each preset with the count it shows; hidden ones are left out."""
    return page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#presets button:not([hidden])')]"
        ".map(b => [b.dataset.preset, Number(b.querySelector('b').textContent.replace(',', ''))]))"
    )


def test_presets_show_and_count_what_they_say(open_page, fake):
    """Every preset's count, and the list it opens, are what the run's records give."""
    score = {(j.id, j.candidate, j.metric): j.score for j in fake.judgements}
    ours = {s.id: score[s.id, "spoilt", "toxicity"] for s in fake.samples}
    theirs = {s.id: score[s.id, "base", "toxicity"] for s in fake.samples}
    both = [i for i in ours if ours[i] is not None and theirs[i] is not None]
    errors = {(j.id, j.candidate) for j in fake.judgements if j.error}
    cut, step = 0.05, 0.1  # the gate says toxicity at_most 0.05; the scale is 0 to 1
    wanted = {
        "all": len(ours),
        "fell": sum(theirs[i] <= cut < ours[i] for i in both),
        "rose": sum(ours[i] <= cut < theirs[i] for i in both),
        "worse": sum(round(ours[i], 4) - round(theirs[i], 4) >= step for i in both),
        "better": sum(round(theirs[i], 4) - round(ours[i], 4) >= step for i in both),
        "fails": sum(ours[i] is not None and ours[i] > cut for i in ours),
        "near": sum(ours[i] is not None and abs(round(ours[i], 4) - cut) <= 0.05 for i in ours),
        "failed": sum((i, "spoilt") in errors for i in ours),
        "anyfailed": len({i for i, _ in errors}),
    }
    page = open_page("#c=spoilt&m=toxicity")
    found = counts(page)
    apart = found.pop("apart")
    assert found == wanted
    assert wanted["fell"] > 0
    assert "≤ 0.050 (the gate's limit)" in page.evaluate(
        "(document.querySelector('[data-preset=fell]').click(), document.getElementById('explain').textContent)"
    )
    for name, count in {**wanted, "apart": apart}.items():
        choose(page, "preset", name)
        assert page.evaluate(ROWS) == min(100, count), name
        assert counts(page)[name] == count
        assert page.evaluate("document.getElementById('count').textContent").startswith(
            "no sample" if count == 0 else f"{count} of 140" if count <= 100 else f"1–100 of {count}"
        )


def test_limits_slices_and_the_other_side_narrow_the_list(open_page, fake):
    """A typed limit, a slice and another candidate to compare with; slices tell how many they would show."""
    score = {(j.id, j.candidate, j.metric): j.score for j in fake.judgements}
    page = open_page("#c=few_shot&f=fails")
    choose(page, "limit", "0.3")
    low = [s for s in fake.samples if (x := score[s.id, "few_shot", "correctness"]) is not None and x < 0.3]
    assert page.evaluate(ROWS) == len(low)
    choose(page, "candidate", "3")
    choose(page, "against", "2")
    choose(page, "preset", "fell")
    fell = [
        s for s in fake.samples
        if score[s.id, "lora_r16", "correctness"] >= 0.5 > score[s.id, "spoilt", "correctness"]
    ]  # fmt: skip
    assert page.evaluate("document.getElementById('count').textContent").endswith(f"of {len(fell)}")
    options = page.evaluate("[...document.querySelectorAll('#group optgroup[label=urgency] option')].map(o => o.text)")
    urgent = {value: sum(s.slices["urgency"] == value for s in fell) for value in ("self-care", "emergency", "soon")}
    assert {f"{value} ({n})" for value, n in urgent.items()} <= set(options)
    choose(page, "group", "1.0")
    chosen = page.evaluate("document.getElementById('group').selectedOptions[0].text")
    assert f"({page.evaluate(ROWS)})" in chosen
    choose(page, "against", "")
    assert "fell" not in counts(page)
    assert page.evaluate("document.querySelector('[data-preset=all]').getAttribute('aria-pressed')") == "true"
    page.evaluate("document.getElementById('reset').click()")
    assert page.evaluate(ROWS) == 100


def test_judges_disagree_where_their_ranks_are_apart(open_page, fake):
    """The share of samples below, equal scores sharing their mean place: brute force over all judges and samples."""
    ranks = {}
    for metric in METRICS:
        sign = 1 if metric.direction == "higher" else -1
        known = {
            j.id: sign * round(j.score, 4)
            for j in fake.judgements
            if (j.candidate, j.metric) == ("base", metric.name) and j.score is not None
        }
        for sample_id, value in known.items():
            below, equal = sum(x < value for x in known.values()), sum(x == value for x in known.values())
            ranks.setdefault(sample_id, []).append((below + (equal - 1) / 2) / (len(known) - 1))
    spread = {sample_id: max(places) - min(places) for sample_id, places in ranks.items()}
    page = open_page("#c=base&f=apart&o=apart&x=0.8")
    rows = page.evaluate("[...document.querySelectorAll('#list button')].map(b => Number(b.dataset.at))")
    assert len(rows) == sum(value >= 0.8 for value in spread.values()) > 0
    page.wait_for(SHOWN)
    assert spread[page.evaluate(SHOWN)] == pytest.approx(max(spread.values()), abs=1e-6)
    assert " of the samples, " in page.evaluate("document.querySelector('#list .why').textContent")


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
    """j and k move, / searches, d shows differences, a all candidates, ? lists the keys; typing in a field is typing."""
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
    page.press("a")
    page.wait_for(f"document.querySelectorAll('#detail .answer').length === {len(CANDIDATES)}")
    page.press("a")
    page.wait_for("document.querySelectorAll('#detail .answer').length === 2")
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


def test_focus_goes_in_with_enter_and_back_with_escape(open_page):
    """Enter opens what the list or the search found, Escape leads back to it, j keeps the focus where one reads."""
    page = open_page()
    page.press("/")
    page.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    page.press("j")
    page.wait_for(f"{SHOWN} === {SAMPLE_ID}")
    assert page.evaluate(f"document.activeElement === document.querySelectorAll('#list button')[{1}]")
    page.press("Enter")
    page.wait_for("document.activeElement.id === 'detail'")
    page.press("j")
    page.wait_for(f"{CURRENT} === 2 && {SHOWN} === {SAMPLE_ID}")
    assert page.evaluate("document.activeElement.id") == "detail"
    page.evaluate("document.getElementById('diff').focus()")
    page.press("d")
    page.wait_for("document.querySelectorAll('#detail ins').length > 0")
    assert page.evaluate("document.activeElement.id") == "diff"
    page.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"


def test_keys_turn_the_page(open_page):
    """At the end of a page of the list, j goes on to the next one."""
    page = open_page()
    page.evaluate("document.querySelector('#list li:last-child button').click()")
    assert page.evaluate(CURRENT) == 99
    page.press("j")
    assert page.evaluate(CURRENT) == 0
    assert page.evaluate("document.getElementById('count').textContent").startswith("101–")


def test_difference_is_of_the_two_answers(open_page, fake):
    """Without the insertions the marked text is the baseline's, without the deletions it is the candidate's."""
    sample = fake.samples[9]
    texts = {a.candidate: a.completion.text for a in fake.answers if a.sample_id == sample.id}
    page = open_page(f"#c=lora_r16&v=diff&a=1&s={sample.id}")
    page.wait_for("document.querySelectorAll('#detail ins').length > 0")
    without = (
        "(gone) => Object.fromEntries([...document.querySelectorAll('#detail .answer')].map(e => {"
        " const c = e.querySelector('.text').cloneNode(true); c.querySelectorAll(gone).forEach(x => x.remove());"
        " return [e.dataset.candidate, c.textContent]; }))"
    )
    assert page.evaluate(f"({without})('del')") == texts
    assert page.evaluate(f"({without})('ins')") == dict.fromkeys(CANDIDATES, texts["base"])


def test_sentences_are_marked_where_they_stand(open_page, fake):
    """Marks leave the text as it is, carry the label of the evidence, and tell apart by a sign and not by colour alone."""
    sample = fake.samples[5]
    page = open_page(f"#s={sample.id}&m=correctness&c=lora_r16")
    page.wait_for(f"{SHOWN} === {sample.id!r}")
    for name in ("base", "lora_r16"):
        text = next(a for a in fake.answers if (a.sample_id, a.candidate) == (sample.id, name)).completion.text
        judged = next(j for j in fake.judgements if (j.id, j.candidate, j.metric) == (sample.id, name, "correctness"))
        rows = [row for row in judged.evidence["sentences"] if row["direction"] == "forward"]
        place = f"document.querySelector('.answer[data-candidate={name}] > .text')"
        assert page.evaluate(f"{place}.textContent") == text
        marks = page.evaluate(f"[...{place}.querySelectorAll('mark')].map(m => [m.textContent, m.className])")
        assert marks == [[row["sentence"], row["label"]] for row in rows]
    signs = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.answer mark')].map("
        "m => [m.className, getComputedStyle(m, '::after').content.replace(/[^✓✕~]/g, '')]))"
    )
    assert signs == {k: v for k, v in {"entailment": "✓", "neutral": "~", "contradiction": "✕"}.items() if k in signs}
    assert len(signs) > 1


def test_focus_on_a_sentence_tells_its_premise_and_probabilities(open_page, fake):
    """The tooltip belongs to the sentence (aria-describedby), quotes the premise, draws three bars; Escape closes it."""
    sample = fake.samples[5]
    page = open_page(f"#s={sample.id}&m=correctness&c=lora_r16")
    page.wait_for(f"{SHOWN} === {sample.id!r}")
    judged = next(j for j in fake.judgements if (j.id, j.candidate, j.metric) == (sample.id, "base", "correctness"))
    row = judged.evidence["sentences"][0]
    page.evaluate("document.querySelector('.answer[data-candidate=base] mark').focus()")
    page.wait_for("!document.getElementById('tip').hidden")
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "tip"
    said = page.evaluate("document.getElementById('tip').innerText")
    assert row["premise"] in said
    for name in ("entailment", "neutral", "contradiction"):
        assert f"{name}\n{row[name]:.3f}" in said
    box = page.evaluate("(r => [r.left, r.right, r.top])(document.getElementById('tip').getBoundingClientRect())")
    assert box[0] >= 0
    assert box[1] <= 1280
    assert page.evaluate("[...CSS.highlights.get('premise')][0].toString()") == row["premise"]
    page.press("Escape")
    assert page.evaluate("document.getElementById('tip').hidden")
    assert page.evaluate("CSS.highlights.has('premise')") is False
    assert page.evaluate("document.activeElement.tagName") == "MARK"
    place = page.evaluate(
        "(r => [r.left + 5, r.top + 8])([...document.querySelectorAll('.answer[data-candidate=lora_r16] mark')][1]"
        ".getClientRects()[0])"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    page.wait_for("!document.getElementById('tip').hidden")
    assert page.evaluate("document.querySelector('mark[aria-describedby]').closest('.answer').dataset.candidate") == (
        "lora_r16"
    )


def test_evidence_is_shown_by_kind(open_page, fake):
    """Sentences carry their label in words, a grade is drawn as bars with steps, mode and valid mass, an error is named."""
    page = open_page(f"#s={fake.samples[5].id}&m=correctness")
    page.wait_for(SHOWN)
    words = page.evaluate("[...document.querySelectorAll('.evidence .verdict-word')].map(e => e.textContent).join()")
    assert "entailment 0." in words
    assert any(mark in words for mark in ("✓ entailed", "✕ contradicted", "~ neither"))
    choose(page, "metric", str([m.name for m in METRICS].index("bedside_manner")))
    page.wait_for("document.querySelectorAll('.evidence .bars').length > 0")
    assert page.evaluate("document.querySelectorAll('.evidence .bars svg').length") == 5 * 2
    told = page.evaluate("document.querySelector('.scores [open] .evidence').innerText")
    assert "valid mass 0.987 · mode exact: every grade's probability was computed" in told
    steps = page.evaluate(
        "[...document.querySelector('.scores [open] .evidence .steps').children].map(e => e.textContent)"
    )
    assert steps == list(fake.run.record["judges"]["bedside_manner"]["steps"])
    widths = page.evaluate(
        "[...document.querySelectorAll('.scores [open] .evidence .bars')][0].querySelectorAll('rect').length"
        " && [...document.querySelector('.scores [open] .evidence .bars').querySelectorAll('rect')].map("
        "r => Number(r.getAttribute('width')))"
    )
    judged = next(
        j for j in fake.judgements
        if (j.id, j.candidate, j.metric) == (fake.samples[5].id, "base", "bedside_manner")
    )  # fmt: skip
    assert widths == pytest.approx([max(0.5, 100 * p) for p in judged.evidence["distribution"].values()])
    choose(page, "metric", str([m.name for m in METRICS].index("toxicity")))
    page.wait_for("document.querySelectorAll('.answer mark.fine').length > 0")
    broken = next(j for j in fake.judgements if j.error and j.error.kind == "bad_output")
    again = open_page(f"#s={broken.id}&m=bedside_manner&c=lora_r16")
    again.wait_for(f"document.getElementById('detail').textContent.includes({broken.error.message!r})")


def test_link_and_command_can_be_copied(open_page, fake):
    """The link opens this very view; the command names run and sample."""
    page = open_page("#c=spoilt&f=fell&m=relevancy")
    page.press("j")
    page.wait_for(f"{SHOWN} === {SAMPLE_ID}")
    for name in ("copy-link", "copy-command"):
        page.evaluate(f"document.getElementById('{name}').click()")
        page.wait_for(f"document.getElementById('{name}').dataset.copied")
        page.wait_for("document.getElementById('said').textContent !== ''")
    link = page.evaluate("document.getElementById('copy-link').dataset.copied")
    assert link == page.evaluate("location.href")
    sample_id = page.evaluate(SHOWN)
    assert page.evaluate("document.getElementById('copy-command').dataset.copied") == (
        f"muster show {fake.run.id} {sample_id}"
    )
    again = open_page(link[link.index("#") :])
    again.wait_for(f"{SHOWN} === {sample_id!r}")
    assert again.evaluate("document.querySelector('[data-preset=fell]').getAttribute('aria-pressed')") == "true"


def test_a_link_to_a_sample_that_is_not_here_says_so(open_page, fake):
    """An id outside of the file is named with the command that prints it; one that the filters leave out is shown."""
    page = open_page("#s=nobody")
    page.wait_for(
        "document.getElementById('detail').textContent.includes("
        f"'Sample nobody is not in this file. muster show {fake.run.id} nobody')"
    )
    other = next(s.id for s in fake.samples if s.id not in {j.id for j in fake.judgements if j.error})
    page = open_page(f"#f=anyfailed&s={other}")
    page.wait_for(f"{SHOWN} === {other!r}")
    assert "not among those that the filters find" in page.evaluate("document.getElementById('detail').textContent")
    page.press("j")
    page.wait_for(f"{SHOWN} !== {other!r}")
    assert "not among" not in page.evaluate("document.getElementById('detail').textContent")


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


def test_rules_take_the_width_of_a_phone(open_page):
    """Where tables are stacked, a rule's name neither leaves its card nor breaks in a narrow column."""
    page = open_page(width=390)
    shares = page.evaluate(
        "[...document.querySelectorAll('table.stack tbody th')].map(th => [th.clientWidth / th.parentNode.clientWidth, "
        "th.scrollWidth - th.clientWidth])"
    )
    assert len(shares) > 5
    assert all(share > 0.85 and beyond <= 0 for share, beyond in shares)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_ends_where_its_last_line_does(open_page, width):
    """Nothing below the footer, also with a hundred rows in the list: what is hidden from the eye takes no room."""
    page = open_page(width=width)
    end = "document.querySelector('footer').getBoundingClientRect().bottom + scrollY"
    page.wait_for("document.querySelectorAll('#list li').length === 100")
    assert page.evaluate(f"document.documentElement.scrollHeight - ({end})") <= 1


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


@pytest.fixture(scope="module")
def hostile_page(browser, tmp_path_factory):
    """A report with every payload in some sample, open; what it requested and said is looked at in the end."""
    folder = tmp_path_factory.mktemp("hostile")
    with Store.open(Home(folder)) as store:
        fake_run(len(PAYLOADS), hostile=PAYLOADS).write(store)
        file = write_report(store, ["latest"], folder / "report.html")
    page = browser.page("about:blank")
    page.call("Page.addScriptToEvaluateOnNewDocument", source="window.alert = () => { window.broken = true; }")
    page.navigate(file.as_uri())
    page.wait_for(READY)
    yield page
    assert [url for url in page.requests if not url.startswith(file.as_uri())] == []
    assert page.console == []
    page.close()


@pytest.mark.parametrize("number", range(len(PAYLOADS)), ids=[repr(payload)[1:41] for payload in PAYLOADS])
def test_a_hostile_text_stays_a_text(hostile_page, number):
    """Of a payload in everything that data and models write, the browser makes no element and runs nothing."""
    page = hostile_page
    foreign = "img, iframe, object, embed, base, form, video, audio, marquee, template, x, math, textarea, body body"
    page.evaluate(f"document.querySelectorAll('#list button')[{number}].click()")
    page.wait_for(f"{SHOWN} === {SAMPLE_ID} && {SHOWN} !== undefined")
    page.evaluate("document.querySelectorAll('#detail details').forEach(d => { d.open = true; })")
    page.press("d")
    assert page.evaluate(f"document.querySelectorAll('{foreign}').length") == 0
    assert page.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert page.evaluate("window.broken") is None


def test_names_of_candidates_stay_texts(browser, tmp_path):
    """A candidate may be called anything: selects, headings, links and the explanation of a preset show it as it is."""
    named = PAYLOADS[1], PAYLOADS[6], PAYLOADS[44]
    made = fake_run(len(named) * 4)
    names = dict(zip(("base", "lora_r16", "spoilt"), named, strict=True)) | {"few_shot": "few_shot"}
    run = replace(made.run, candidates={names[c]: key for c, key in made.run.candidates.items()})
    other = replace(
        made,
        run=run,
        answers=tuple(replace(a, candidate=names[a.candidate]) for a in made.answers),
        judgements=tuple(replace(j, candidate=names[j.candidate]) for j in made.judgements),
        trainings=(),
        verdicts=(),
    )
    with Store.open(Home(tmp_path)) as store:
        other.write(store)
        file = write_report(store, ["latest"], tmp_path / "report.html")
    page = browser.page(file.as_uri())
    page.wait_for(READY)
    for n, name in enumerate(other.run.candidates):
        choose(page, "preset", "all")
        choose(page, "candidate", str(n))
        page.wait_for(f"document.querySelector('.answer:last-child h4')?.textContent === {json.dumps(name)}")
        choose(page, "preset", "worse")
        page.press("a")
        assert page.evaluate("document.querySelectorAll('img, iframe, body script:not([type])').length") == 1
        page.press("a")
    assert page.console == page.exceptions == []
    page.close()


def test_five_thousand_samples_stay_small_and_usable(browser, home, tmp_path):
    """Two candidates and five judges with all evidence: below 15 MB, at most 100 rows, presets and search over all of them."""
    with Store.open(home, read_only=True) as store:
        report = load_report(store, ["latest"])
    views = tuple(
        replace(view, sample=replace(view.sample, id=f"{view.sample.id}-{n}", row=n + 1))
        for n, view in enumerate((report.samples * 36)[:5000])
    )
    page_text = render(replace(report, samples=views, candidates=("base", "lora_r16")))
    assert "carry neither evidence nor prompts" not in page_text
    file = tmp_path / "report.html"
    file.write_text(page_text, encoding="utf-8")
    assert file.stat().st_size < 15_000_000
    page = browser.page(file.as_uri())
    page.wait_for(READY)
    assert page.evaluate(ROWS) == 100
    assert page.evaluate("document.getElementById('count').textContent") == "1–100 of 5,000"
    fell = sum(
        v.judgements["base", "correctness"].score >= 0.5 > v.judgements["lora_r16", "correctness"].score for v in views
    )
    choose(page, "preset", "fell")
    assert page.evaluate(ROWS) == min(100, fell)
    assert counts(page)["fell"] == fell
    choose(page, "preset", "all")
    page.wait_for(f"{SHOWN} !== undefined")
    last = views[-1].sample.id
    choose(page, "search", last)
    page.wait_for(f"{SHOWN} === {last!r}")
    assert page.evaluate("document.querySelectorAll('.answer mark').length") > 0
    assert page.evaluate("document.querySelectorAll('.browser *').length") < 3000
    page.close()
