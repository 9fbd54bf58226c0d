"""The page as a document: what it says, that it says what the store holds, and that nothing breaks out of it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import lxml.html
import pytest
from fake_run import CANDIDATES, METRICS, fake_calibrations, fake_run
from payloads import PAYLOADS

from harness.cli.report import report
from harness.cli.run import typed
from harness.deciding.comparison import leaderboard
from harness.deciding.gate import worst_exit_status
from harness.deciding.scores import Scores
from harness.errors import NothingEvaluatedError, UserError
from harness.records import Message
from harness.store import Home, Store
from harness.store.calibrations import write_calibration
from reports.queries import load_report
from reports.render import STATIC_SAMPLES, content_hash, render, write_page, write_report
from reports.samples import CHUNK, MAX_TEXT, pack, snippet
from reports.trainings import sweeps


def text(element):
    """The element's text with runs of white space as one blank."""
    return " ".join(element.text_content().split())


def unpack(element):
    """The JSON of a data block."""
    return json.loads(gzip.decompress(base64.b64decode(element.text.strip())))


def write(tmp_path, *runs, ids=None, **options):
    """The page of some runs in a new store, parsed."""
    with Store.open(Home(tmp_path / "home")) as store:
        for run in runs:
            run.write(store)
        write_report(store, ids or [run.run.id for run in runs], tmp_path / "report.html", **options)
    return lxml.html.fromstring((tmp_path / "report.html").read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------------------------------- what it says


def test_sections_answer_the_questions_in_order(page):
    """The reviewer's six questions are the sections, in their order, and the navigation names them all."""
    titles = [text(title) for title in page.xpath("//main/section/header/h2")]
    assert titles == [
        "May it ship, and why?",
        "Who leads, and is the lead real?",
        "Where is it worse?",
        "Show me",
        "Can I trust the judges?",
        "How was it made?",
    ]
    targets = [link.get("href")[1:] for link in page.xpath("//nav//a")]
    assert targets == page.xpath("//main/section/@id")


def test_every_verdict_and_finding_is_shown(page, fake):
    """Each verdict has its outcome in words and its exit status, and each finding its sentence, n and limit."""
    articles = page.xpath("//article[contains(@class, 'verdict')]")
    order = ["pass", "inconclusive", "incomplete", "fail"]  # what may ship stands first
    expected = sorted(fake.verdicts, key=lambda verdict: order.index(verdict.outcome))
    assert [a.get("data-candidate") for a in articles] == [v.candidate for v in expected]
    for article, verdict in zip(articles, expected, strict=True):
        assert article.get("data-outcome") == verdict.outcome
        assert f"exit status {verdict.exit_status}" in text(article)
        for finding in verdict.findings:
            assert " ".join(finding.message.split()) in text(article)
            assert finding.rule in text(article)
    assert f"exit status {worst_exit_status(fake.verdicts)}:" in text(page.xpath("//header[@class='top']")[0])


def test_leaderboard_numbers_are_the_stores(page, home, fake):
    """Every mean, bound and count of the leaderboard is the one that the store's scores give, to the last bit."""
    with Store.open(home, read_only=True) as store:
        scores = Scores.from_rows(store.scores(fake.run.id))
    expected = {
        (row.candidate, metric, row.split): found
        for row in leaderboard(scores, METRICS, CANDIDATES)
        for metric, found in row.estimates.items()
    }
    cells = page.xpath("//table[contains(@class, 'board')]//td[@data-mean]")
    assert len(cells) == len(CANDIDATES) * len(METRICS)
    for cell in cells:
        estimate = expected.pop((cell.get("data-candidate"), cell.get("data-metric"), cell.get("data-split")))
        assert float(cell.get("data-mean")) == estimate.mean
        assert (float(cell.get("data-low")), float(cell.get("data-high"))) == (estimate.low, estimate.high)
        assert (int(cell.get("data-n")), int(cell.get("data-unscored"))) == (estimate.n, estimate.unscored)
        shown = text(cell)
        assert f"n {estimate.n}" in shown
        assert ("unscored" in shown) == (estimate.unscored > 0)
        assert re.match(r"[0-9.]+", shown)[0].startswith(f"{estimate.mean:.3f}"[:5])
    assert not expected


def test_leaderboard_is_ordered_by_the_gates_first_metric(page):
    """The first row is the best on the metric of the gate's first rule, and the column says how it is sorted."""
    means = [float(v) for v in page.xpath("//table[@class='board']//td[@data-metric='correctness']/@data-mean")]
    assert means == sorted(means, reverse=True)
    assert page.xpath("//table[@class='board']//th[@aria-sort]/button/text()") == ["correctness"]


def test_direction_is_said_in_words(page):
    """Each metric's header says whether higher or lower is better."""
    headers = {
        text(h.find("button")): text(h.find("span"))
        for h in page.xpath("//table[@class='board']//th[@data-first][span]")
    }
    for metric in METRICS:
        assert headers[metric.name].endswith(f"{metric.direction} is better")


def test_every_table_has_caption_and_scopes(page):
    """A table says what it is, and its header cells which way they point."""
    for table in page.xpath("//table"):
        assert table.xpath("./caption"), text(table)[:80]
        assert all(header.get("scope") in {"col", "row"} for header in table.xpath(".//th"))


def test_judges_and_making_name_what_reproduction_needs(page, fake):
    """Fingerprints, hashes, split sizes, the suite's YAML and the command are on the page."""
    shown = text(page)
    for metric in METRICS:
        assert fake.run.judges[metric.name][:12] in shown
    for needle in (
        fake.run.suite_sha[:16],
        fake.run.data_sha[:16],
        "muster run suites/clinic/suite.yaml",
        "better_by: 0.05",
    ):
        assert needle in shown
    labels = page.xpath("//article[contains(@class, 'training')]//svg[@role='img']/@aria-label")
    for training in fake.trainings:
        assert sum(label.startswith(f"Training loss of {training.candidate}: ") for label in labels) == 1


def test_commands_make_run_and_page_again(tmp_path):
    """As it was typed, with the suite's own path and the data; the home goes along into the commands about the page."""
    typed_there = typed(
        "suites/my clinic/suite.yaml", candidate=["lora_r16"], split=[], limit=20, data=Path("d.jsonl"),
        home=Path("here/.muster"), baseline=None, trust_code=False,
    )  # fmt: skip
    assert typed_there == (
        "muster run 'suites/my clinic/suite.yaml' --candidate lora_r16 --limit 20 --data d.jsonl --home here/.muster"
    )
    assert typed("clinic", candidate=[], home=Path(".muster"), trust_code=True) == "muster run clinic --trust-code"
    old, new = fake_run(12, run_id="old"), fake_run(12, run_id="new")
    old = replace(old, run=replace(old.run, started="2026-03-01T00:00:00+00:00"))
    new = replace(new, run=replace(new.run, record={**new.run.record, "command": typed_there}))
    page = write(tmp_path, old, new, ids=["new", "old"])
    lines = page.xpath("//section[@id='making']//pre/text()")[0].splitlines()
    assert lines[1] == typed_there
    assert lines[3] == "muster report --run new --run old --out muster-report.html --home here/.muster"
    assert lines[4] == "muster report verify muster-report.html --home here/.muster"
    assert lines[6] == "muster show new SAMPLE --home here/.muster"


def test_every_score_stands_beside_its_judges_calibration(page):
    """A judge with cards shows set, n, figure and interval, and what does better without it; one without says so, in the
    judges' part and in the head of its column of the leaderboard.
    """
    judges = page.get_element_by_id("judges")
    badges = judges.xpath(".//td/span[contains(@class, 'outcome')]/text()")
    calibrated = {"correctness", "toxicity"}
    assert badges == ["calibrated" if m.name in calibrated else "not calibrated" for m in METRICS]
    rows = [text(row) for row in judges.xpath(".//table[contains(@class, 'calibrations')]/tbody/tr")]
    assert [row.split()[0] for row in rows] == ["correctness", "correctness", "toxicity"]
    nq = next(row for row in rows if "evouna_nq" in row)
    for needle in (
        "held out",
        "600",
        "3 unscored",
        "120 clusters",
        "0.871",
        "AUROC",
        "0.851 to 0.891",
        "0.900",
        "better than",
    ):
        assert needle in nq
    assert "partly seen in training" in rows[2]
    heads = [text(head) for head in page.xpath("//table[contains(@class, 'board')]/thead/tr/th")[1 : len(METRICS) + 1]]
    assert "AUROC 0.871 to 0.912 on 2 sets" in heads[0]
    assert "AUROC 0.954 (0.934 to 0.974) on davidson, n 600, 3 unscored" in heads[3]
    assert [("not calibrated" in head) for head in heads] == [m.name not in calibrated for m in METRICS]


def test_first_samples_are_readable_without_script(page, fake):
    """The first samples stand in the page as text, with every answer, and how many were left out is said."""
    articles = page.xpath("//div[contains(@class, 'static-samples')]/article")
    assert len(articles) == STATIC_SAMPLES
    answers = {(a.sample_id, a.candidate): a.completion for a in fake.answers}
    for article in articles:
        sample_id = text(article.xpath("./h3/span")[0])
        for candidate in CANDIDATES:
            completion = answers[sample_id, candidate]
            shown = completion.text if completion.error is None else completion.error.message
            assert " ".join(shown.split()) in text(article)
    assert f"{STATIC_SAMPLES} of {len(fake.samples)} samples" in text(page.get_element_by_id("no-browser"))


def test_browser_data_holds_every_sample_answer_and_judgement(page, fake):
    """Index and chunks together are the run: every text, score, label, piece of evidence and error."""
    index = unpack(page.get_element_by_id("samples-index"))
    chunks = page.xpath("//script[starts-with(@id, 'chunk-')]")
    assert [len(unpack(chunk)) for chunk in chunks] == [CHUNK, len(fake.samples) - CHUNK]
    samples = [sample for chunk in chunks for sample in unpack(chunk)]
    assert [sample["id"] for sample in samples] == index["ids"]
    assert sorted(index["ids"]) == sorted(sample.id for sample in fake.samples)
    judgements = {(j.id, j.candidate, j.metric): j for j in fake.judgements}
    for at, sample in enumerate(samples):
        for c, candidate in enumerate(CANDIDATES):
            for m, metric in enumerate(METRICS):
                given, stored = sample["judgements"][c][m], judgements[sample["id"], candidate, metric.name]
                assert (given["score"], given["label"]) == (stored.score, stored.label)
                assert given["error"] == (None if stored.error is None else [stored.error.kind, stored.error.message])
                assert given["evidence"] == json.loads(json.dumps(dict(stored.evidence)))
                rounded = None if stored.score is None else round(stored.score, 4)
                assert index["scores"][c][m][at] == rounded


def test_report_is_deterministic_but_for_its_date(home):
    """The same run gives the same page."""
    with Store.open(home, read_only=True) as store:
        first, second = (render(load_report(store, ["latest"]), made="today") for _ in range(2))
    assert first == second


# --------------------------------------------------------------------------------------------- one file, nothing loaded


def test_policy_names_the_hash_of_the_only_script_and_style(page, page_file):
    """The content security policy allows exactly the inline style and script, by hash, and no other source."""
    raw = page_file.read_text(encoding="utf-8")
    policy = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    styles = re.findall(r"<style>(.*?)</style>", raw, re.S)
    scripts = re.findall(r"<script>(.*?)</script>", raw, re.S)
    assert len(styles) == len(scripts) == 1
    for kind, body in (("style", styles[0]), ("script", scripts[0])):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert digest == content_hash(body)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_nothing_in_the_page_needs_what_the_policy_forbids(page):
    """No inline style, no handler, no element that loads; every link stays in the page."""
    for element in page.iter():
        if not isinstance(element.tag, str):
            continue
        assert not [name for name in element.attrib if name == "style" or name.startswith("on")]
        assert "src" not in element.attrib
        if element.tag == "link":
            assert element.get("href") == "data:,"
        elif "href" in element.attrib:
            assert element.get("href").startswith("#")


def test_internal_links_have_their_target(page):
    """A link to an id of the page leads somewhere; sample links are read by the script."""
    targets = set(page.xpath("//@id"))
    assert len(page.xpath("//@id")) == len(targets)
    for href in page.xpath("//a/@href"):
        assert href.startswith("#s=") or href[1:] in targets


# ------------------------------------------------------------------------------------------------------------- escaping


class Markup(HTMLParser):
    """Every element of a page with the names of its attributes, in order."""

    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))


def tags(page):
    """The skeleton of a page."""
    parser = Markup()
    parser.feed(page)
    return parser.tags


def hostile_page(tmp_path, name, payload):
    """The page of a small run in which every text is the payload."""
    home, fake = Home(tmp_path / name), fake_run(3, hostile=[payload])
    for card in fake_calibrations(fake.run, hostile=[payload]):
        write_calibration(home, card)
    with Store.open(home) as store:
        fake.write(store)
        return render(load_report(store, ["latest"]))


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    """Skeletons of the page whose texts are one harmless word, short or long (long list items get their own line)."""
    folder = tmp_path_factory.mktemp("harmless")
    return {
        is_long: tags(hostile_page(folder, f"{is_long}", "word" * (10 if is_long else 1))) for is_long in (False, True)
    }


@pytest.mark.parametrize("number", range(len(PAYLOADS)), ids=lambda number: f"payload{number}")
def test_no_text_makes_an_element(tmp_path, harmless, number):
    """Whatever inputs, answers, names, evidence and records say, the page has the same elements and attributes."""
    page = hostile_page(tmp_path, "home", PAYLOADS[number])
    assert tags(page.encode("utf-8", "replace").decode()) == harmless[len(PAYLOADS[number]) > 24]
    parsed = lxml.html.fromstring(page.encode("utf-8", "replace"))
    assert not parsed.xpath("//*[@*[starts-with(name(), 'on')]]")
    assert len(parsed.xpath("//script[not(@type)]")) == 1


# ---------------------------------------------------------------------------------------------------- what was left out


def test_what_does_not_fit_is_left_out_and_said(home):
    """Beyond the budget samples lose evidence, from the end of the order, and the page counts them."""
    with Store.open(home, read_only=True) as store:
        view = load_report(store, ["latest"])
    whole = pack(view, budget=10_000_000)
    assert whole.without_evidence == 0
    small = pack(view, budget=len(whole.chunks[0]) + 100)
    assert small.chunks[0] == whole.chunks[0]
    assert small.without_evidence == len(view.samples) - CHUNK
    assert "40 of them carry neither evidence nor prompts" in text(
        lxml.html.fromstring(render(view, budget=len(whole.chunks[0]) + 100))
    )


def test_long_texts_are_cut_and_counted(tmp_path):
    """A text beyond the limit is cut with its full length named; the page says how many were."""
    fake = fake_run(12)
    long = replace(fake.samples[0], input="word " * MAX_TEXT)
    page = write(tmp_path, replace(fake, samples=(long, *fake.samples[1:])))
    sample = next(s for s in unpack(page.get_element_by_id("chunk-0")) if s["id"] == long.id)
    assert sample["input"].endswith(f"[… cut here: {5 * MAX_TEXT:,} characters in all]")
    assert f"1 texts longer than {MAX_TEXT:,} characters are cut" in text(page)


def test_a_conversation_is_shown_turn_by_turn(tmp_path):
    """A sample's turns stand on the page with who said them, in order, in the browser's data and without JavaScript."""
    fake = fake_run(3)
    said = [("system", "be kind"), ("user", "it hurts"), ("assistant", "where?"), ("user", "my back")]
    turns = tuple(Message(role=role, content=content) for role, content in said)
    talk = replace(fake.samples[0], input="my back", messages=turns)
    page = write(tmp_path, replace(fake, samples=(talk, *fake.samples[1:])))
    sample = next(s for s in unpack(page.get_element_by_id("chunk-0")) if s["id"] == talk.id)
    assert sample["turns"] == [list(turn) for turn in said]
    (shown,) = [a for a in page.xpath("//article") if text(a).startswith(talk.id)]
    fields = [(text(f.xpath("h4")[0]), text(f.xpath("p")[0])) for f in shown.xpath("div[contains(@class,'field')]")]
    assert fields[: len(said)] == said


def test_snippets_are_one_short_line():
    """A snippet is one line and says that it goes on."""
    assert snippet(" a\n b ") == "a b"
    assert len(snippet("word " * 500)) <= 161
    assert snippet("word " * 500).endswith("…")


# --------------------------------------------------------------------------------------------------------- other shapes


def test_run_without_gate_says_so(tmp_path):
    """Without a verdict the page says that nothing was decided, and invents no outcome."""
    page = write(tmp_path, replace(fake_run(12), verdicts=()))
    assert "No verdict is stored" in text(page.get_element_by_id("verdict"))
    assert text(page.xpath("//div[@class='stamp']")[0]) == "no gate"


def test_curves_mark_the_checkpoint_that_was_kept(page):
    """Loss and judge stand against step with the kept one marked, and a sentence says by what it was chosen."""
    making = page.get_element_by_id("making")
    labels = [svg.get("aria-label") for svg in making.xpath(".//article[contains(@class, 'training')][1]//svg")]
    assert labels[0].startswith("Training loss of lora_r16: ")
    assert labels[0].endswith("validation loss 1.600 at step 100, 1.600 at step 600")
    assert labels[1] == "correctness of checkpoints of lora_r16: 0.335 at step 100, 0.360 at step 600"
    assert len(labels) == 2  # a constant learning rate is no curve
    for svg in making.xpath(".//article[contains(@class, 'training')][1]//svg"):
        assert len(svg.xpath("./line[@class='mark']")) == 1
    told = text(making)
    assert (
        "Kept is the checkpoint of step 400 (circled), the best by correctness (0.410, higher is better, 49 of 50"
        in told
    )
    assert "The training ended at step 500: loss had not improved for 1 evaluation." in told
    assert "a near letter" not in told


def test_what_only_an_objective_logs_has_curves(tmp_path):
    """A reward that moves is a curve of the training's own steps; one that never moves, and what every training logs, is none."""
    fake = fake_run(12)
    log = [
        {**entry, "reward": 0.1 + entry["step"] / 1000, "cut_share": 0.0}
        for entry in fake.trainings[0].log
        if "loss" in entry
    ]
    first = replace(fake.trainings[0], log=tuple(log), record={})
    page = write(tmp_path, replace(fake, trainings=(first, *fake.trainings[1:])))
    labels = page.xpath("(//article[contains(@class, 'training')])[1]//svg/@aria-label")
    steps = [entry["step"] for entry in log]
    ends = [f"{0.1 + step / 1000:.3f} at step {step:g}" for step in (steps[0], steps[-1])]
    assert f"reward of {first.candidate}: {ends[0]}, {ends[1]}" in labels
    assert not [label for label in labels if "cut_share" in label or "grad_norm" in label]


def test_worst_answers_stand_beside_the_training_rows_near_them(page, fake):
    """For each trained candidate, its five worst by the primary metric, worst first, each with its rows."""
    worst = page.get_element_by_id("worst")
    scores = {j.id: j.score for j in fake.judgements if j.candidate == "lora_r16" and j.metric == "correctness"}
    ordered = sorted((score, name) for name, score in scores.items() if score is not None)[:5]
    card = worst.xpath("./details")[0]
    assert text(card.find("summary")) == "lora_r16: worst by correctness"
    shown = [text(name) for name in card.xpath(".//div[@class='worst']/p/span[@class='mono']")]
    assert [scores[name] for name in shown] == [score for score, _ in ordered]
    rows = {sample.id: sample.row for sample in fake.samples}
    near = [text(p) for p in card.xpath(".//div[@class='near']/p[1]")]
    assert near == [f"row {1000 + rows[name]:,} of train · similarity 0.500" for name in shown]


def test_a_sweep_is_drawn_against_its_options(home):
    """Each option has a chart of each metric: values in order of size, one line for each of the other options' values."""
    with Store.open(home) as store:
        report = load_report(store, ["latest"])
    names = {"few_shot": "lora[rank=16,alpha=8]", "lora_r16": "lora[rank=4,alpha=8]", "spoilt": "lora[rank=4,alpha=16]"}
    board = report.boards[0]
    rows = tuple(replace(row, candidate=names.get(row.candidate, row.candidate)) for row in board.rows)
    means = {row.candidate: row.cells[0].estimate.mean for row in rows}
    rank, alpha = sweeps((replace(board, rows=rows),), "base")
    assert (rank.name, rank.option, rank.values) == ("lora", "rank", ("4", "16"))
    chart = rank.charts[0]
    assert [(line.label, line.candidates) for line in chart.lines] == [
        ("alpha=16", ("lora[rank=4,alpha=16]", None)),
        ("alpha=8", ("lora[rank=4,alpha=8]", "lora[rank=16,alpha=8]")),
    ]
    assert [e.mean for e in chart.lines[1].estimates] == [means[c] for c in chart.lines[1].candidates]
    assert chart.baseline == means["base"]
    assert (alpha.option, alpha.values) == ("alpha", ("8", "16"))
    page = lxml.html.fromstring(render(replace(report, sweeps=(rank, alpha))))
    cards = page.xpath("//div[contains(@class, 'sweep')]")
    assert [text(card.find(".//h3")) for card in cards] == ["lora by rank", "lora by alpha"]
    assert len(cards[0].xpath(".//svg")) == len(report.metrics)
    assert len(cards[0].xpath(".//figure[1]/svg/line[@class='whisker']")) == 3


def test_endpoints_are_listed_with_what_they_cost_or_that_it_is_unknown(tmp_path):
    """One row a user and try: failures by kind, a cost only where it is known in full, latency with and without waiting."""
    known = {
        "user": "judge bedside_manner", "model": "grader-1", "host": "<b>host</b>", "requests": 1312, "answered": 1300,
        "tries_again": 9, "failures": {"rate_limit": 12}, "prompt_tokens": 40_000, "completion_tokens": 2_600,
        "unknown_usage": 0, "price": [1.0, 4.0], "cost": 0.0504, "cost_at_least": 0.0504, "left_out": ["seed"],
        "seconds": {"p50": 0.25, "p95": 0.5, "p99": 1.0}, "seconds_with_waiting": {"p50": 0.25, "p95": 2.5, "p99": 4.0},
    }  # fmt: skip
    unknown = {**known, "user": "candidate api", "cost": None, "unknown_usage": 3, "failures": {}, "tries_again": 0}
    free = {**known, "user": "candidate local", "cost": None, "cost_at_least": None, "price": None, "seconds": None}
    fake = fake_run(12)
    record = {**fake.run.record, "endpoints": [known, unknown, free]}
    page = write(tmp_path, replace(fake, run=replace(fake.run, record=record)))
    rows = [text(row) for row in page.xpath("//table[contains(@class, 'endpoints')]/tbody/tr")]
    assert [row.split(" grader-1")[0] for row in rows] == ["judge bedside_manner", "candidate api", "candidate local"]
    assert "1,31212 rate_limit9 tried again" in rows[0]
    assert "0.0504" in rows[0]
    assert "2.5 with waiting" in rows[0]
    assert "refuses seed" in rows[0]
    assert "at least 0.05043 requests did not tell their usage" in rows[1]
    assert "no price declared" in rows[2]
    assert "<b>host</b>" in rows[0]
    assert not write(tmp_path / "without", fake).xpath("//table[contains(@class, 'endpoints')]")


def test_unfinished_run_is_never_stamped_as_passed(tmp_path):
    """A run that is incomplete exits with 4 unless it fails, and so says the page."""
    fake = fake_run(40)
    passed = tuple(v for v in fake.verdicts if v.outcome == "pass")
    assert passed
    page = write(tmp_path, replace(fake, run=replace(fake.run, status="incomplete"), verdicts=passed))
    assert text(page.xpath("//div[@class='stamp']")[0]).startswith("incomplete exit status 4")


def test_single_candidate_has_no_comparison(tmp_path):
    """With one candidate there is no baseline, no rank and no difference, and everything else."""
    fake = fake_run(12)
    one = replace(
        fake,
        run=replace(fake.run, candidates={"base": "x"}, record={}),
        answers=tuple(a for a in fake.answers if a.candidate == "base"),
        judgements=tuple(j for j in fake.judgements if j.candidate == "base"),
        trainings=(),
        verdicts=(),
    )
    page = write(tmp_path, one)
    assert len(page.xpath("//table[@class='board']/tbody/tr")) == 1
    assert not page.xpath("//table[@class='differences']")
    assert "rank" not in text(page.get_element_by_id("leaderboard")).replace("Several ranks", "")


def test_candidate_without_any_score_is_shown_as_unscored(tmp_path):
    """A candidate that never answered has a row without numbers, all unscored, at the end."""
    fake = fake_run(12)
    broken = tuple(
        replace(j, score=None, label=None, evidence={}, error=next(x.error for x in fake.judgements if x.error))
        if j.candidate == "base"
        else j
        for j in fake.judgements
    )
    page = write(tmp_path, replace(fake, judgements=broken, verdicts=()))
    last = page.xpath("//table[@class='board']/tbody/tr")[-1]
    assert text(last.find("th")).startswith("base")
    assert {cell.get("data-mean") for cell in last.xpath(".//td[@data-mean]")} == {""}
    assert {cell.get("data-unscored") for cell in last.xpath(".//td[@data-mean]")} == {"12"}


def test_several_runs_give_a_history(tmp_path):
    """Further runs appear as history, oldest first, and the page says that the rest is about the first."""
    old = fake_run(12, seed=1, run_id="old")
    old = replace(old, run=replace(old.run, started="2026-03-01T00:00:00+00:00"))
    page = write(tmp_path, old, fake_run(12, seed=2, run_id="new"), ids=["new", "old"])
    rows = page.xpath("(//table[@class='history'])[1]/tbody/tr/th/span[@class='mono']/text()")
    assert rows == ["old", "new"]
    assert "Everything else on this page is about run new" in text(page)


def test_nothing_to_report_is_an_error_in_one_line(tmp_path):
    """No run named, an unknown run, and a run without judgements: each is refused with the way out."""
    fake = fake_run(3)
    with Store.open(Home(tmp_path)) as store:
        replace(fake, judgements=(), verdicts=()).write(store)
        with pytest.raises(UserError, match="must name at least one run"):
            load_report(store, [])
        with pytest.raises(UserError):
            load_report(store, ["no-such-run"])
        with pytest.raises(NothingEvaluatedError, match="nothing to report"):
            load_report(store, ["latest"])


def test_unwritable_file_is_refused_and_leaves_nothing(home, tmp_path):
    """An output that is a folder is one clear line, and no scratch file stays behind."""
    with Store.open(home, read_only=True) as store, pytest.raises(UserError, match="must be written to a file"):
        write_report(store, ["latest"], tmp_path)
    assert not [path for path in tmp_path.parent.iterdir() if path.name.startswith(f".{tmp_path.name}")]


def test_a_page_takes_the_place_of_a_page_only(tmp_path):
    """Neither data nor a pipe is replaced by a page; an earlier page is."""
    data, pipe, page = tmp_path / "rows.csv", tmp_path / "pipe", tmp_path / "page.html"
    data.write_text("id,answer\n")
    with pytest.raises(UserError, match=r"rows.csv' must be a new file or a page to replace"):
        write_page(data, "<!doctype html>")
    assert data.read_text() == "id,answer\n"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        write_page(pipe, "<!doctype html>one")
        assert read.result(timeout=60) == "<!doctype html>one"
    assert pipe.is_fifo()
    for text in ("<!doctype html>one", "<!doctype html>two"):
        assert write_page(page, text).read_text() == text


def test_command_writes_the_file_and_says_where(home, tmp_path, capsys):
    """`muster report` writes the latest run's page where it is told to, and names file and size."""
    out = tmp_path / "deep" / "report.html"
    report(out=out, home=home.path)
    assert lxml.html.fromstring(out.read_text(encoding="utf-8")).get_element_by_id("verdict") is not None
    assert re.fullmatch(r".*report\.html \([0-9.]+ MB\): open it in a browser\n", capsys.readouterr().out)
