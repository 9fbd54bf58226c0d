"""A report against the store: an untouched page agrees, and a changed one does not, wherever it was changed."""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from dataclasses import replace

import pytest
from fake_run import fake_calibrations, fake_run

from harness.cli.report import verify
from harness.errors import UserError
from harness.records import Certificate
from harness.store import Home, Store
from harness.store.calibrations import write_calibration
from harness.store.gates import write_certificate
from harness.store.reviews import Item, Rating, Sheet, add_ratings, text_sha
from reports.manifest import read_manifest
from reports.render import write_report
from reports.verify import mismatches, verify_report


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A home with two runs of 12 samples, and the report on the newer with the older as its history."""
    home = Home(tmp_path_factory.mktemp("small"))
    new, old = fake_run(12), fake_run(12, seed=3, run_id="20260301-0000-000000")
    old = replace(old, run=replace(old.run, started="2026-03-01T00:00:00+00:00"))
    for card in fake_calibrations(new.run):
        write_calibration(home, card)
    with Store.open(home) as store:
        old.write(store)
        new.write(store)
        file = write_report(store, [new.run.id, old.run.id], home.path / "report.html")
    return home, file


def verified(home, file):
    """What verifying a file comes to."""
    with Store.open(home, read_only=True) as store:
        return verify_report(store, file)


def test_the_manifest_names_what_the_page_was_made_from(small, fake):
    """Runs, suite, data, judges, candidates, gate record and version stand in the page for machines."""
    manifest = read_manifest(small[1].read_text(encoding="utf-8"), small[1])
    run = manifest["runs"][0]
    for name in ("id", "key", "suite", "suite_sha", "data_sha"):
        assert run[name] == getattr(fake.run, name)
    assert run["judges"] == dict(fake.run.judges)
    assert run["candidates"] == dict(fake.run.candidates)
    assert [entry["candidate"] for entry in manifest["gate"]] == ["lora_r16", "few_shot", "spoilt"]
    assert len(manifest["calibrations"]) == 3
    assert manifest["muster"] == "0.1.0"


def changed(text, rng):
    """A text with another digit in one place."""
    at = rng.choice([match.start() for match in re.finditer(r"\d", text)])
    return text[:at] + rng.choice([digit for digit in "0123456789" if digit != text[at]]) + text[at + 1 :]


def test_every_changed_number_is_told(small):
    """Of 400 numbers in random texts, attributes and charts, changed by one digit each, all are told and nothing else."""
    text = small[1].read_text(encoding="utf-8")
    start, end = text.index("<body>"), text.index('<script type="application/json"')
    tokens = [*re.finditer(r'="([^"<>]*\d[^"<>]*)"', text[:end]), *re.finditer(r">([^<>]*\d[^<>]*)<", text[:end])]
    rng = random.Random(5)
    chosen = sorted((m for m in rng.sample(tokens, 450) if m.start() > start), key=lambda m: m.start(1))[:400]
    parts, at = [], 0
    for match in chosen:
        parts += [text[at : match.start(1)], changed(match[1], rng)]
        at = match.end(1)
    found = list(mismatches("".join(parts) + text[at:], text))
    assert len(chosen) == len(found) == 400


def test_a_changed_number_is_told_with_its_place(small):
    """A line names the section, what the page shows and what the store gives."""
    text = small[1].read_text(encoding="utf-8")
    places = [
        ("verdict", r'data-label="Estimate">([^<]+)<'),
        ("verdict", r"correctness on test differs from base(?:'|&#39;)s by ([^ ]+)"),
        ("leaderboard", r'class="mean">([^<]+)<'),
        ("leaderboard", r"<b>([+−][0-9.]+)</b>"),
        ("slices", r"[▼▲] (?:worse|better) by ([0-9.]+)"),
        ("samples", r'class="value">([^<]+)<'),
        ("judges", r'class="mean">([^<]+)<'),
        ("making", r'<dd dir="auto">([0-9,]+)</dd>'),
    ]
    shown, expected = text, []
    for section, pattern in places:
        match = re.compile(pattern).search(shown, shown.index(f'<section class="part" id="{section}"'))
        other = match[1][:-1] + str((int(match[1][-1]) + 5) % 10)
        shown = shown[: match.start(1)] + other + shown[match.end(1) :]
        expected.append((section, other, match[1]))
    found = list(mismatches(shown, text))
    assert len(found) == len(expected)
    for mismatch, (section, other, given) in zip(found, expected, strict=True):
        assert mismatch.place.startswith(section)
        assert other in mismatch.shown
        assert given in mismatch.recomputed
        assert str(mismatch) == f"{mismatch.place}: shown {mismatch.shown}, recomputed {mismatch.recomputed}"


def test_a_changed_score_behind_the_sample_browser_is_told_with_its_sample(small):
    """The compressed data are compared by content: the line names block and sample."""
    text = small[1].read_text(encoding="utf-8")
    match = re.search(r'id="chunk-0">([^<]+)<', text)
    samples = json.loads(gzip.decompress(base64.b64decode(match[1])))
    samples[3]["judgements"][1][0]["score"] = 0.987654
    packed = base64.b64encode(gzip.compress(json.dumps(samples).encode())).decode()
    (found,) = mismatches(text.replace(match[1], packed), text)
    assert found.place == f"chunk-0[{samples[3]['id']}], judgements[1][0], score"
    assert found.shown == "0.987654"
    (found,) = mismatches(text.replace(match[1], match[1][:400] + match[1][500:]), text)
    assert "cannot be read" in found.shown


def test_other_changes_are_told_too(small):
    """A dropped element, another word, a comment, and a script that was swapped."""
    text = small[1].read_text(encoding="utf-8")
    for other in (
        text.replace("<tbody>", "<tbody><tr></tr>", 1),
        text.replace("must not ship", "may ship", 1),
        text.replace("</main>", "<!-- pass --></main>"),
        text.replace('"use strict";', '"use strict"; let x = 1;'),
    ):
        assert other != text
        assert list(mismatches(other, text))


def test_a_changed_store_is_told(small, tmp_path):
    """The page is right and the store was changed: that is a mismatch as well."""
    home, fake = Home(tmp_path), fake_run(12)
    with Store.open(home) as store:
        fake.write(store)
        file = write_report(store, ["latest"], tmp_path / "report.html")
        first = next(j for j in fake.judgements if j.candidate == "lora_r16" and j.score is not None)
        others = tuple(replace(j, score=0.5) if j is first else j for j in fake.judgements)
        replace(fake, judgements=others).write(store)
    found = verified(home, file).mismatches
    assert any(mismatch.place.startswith("leaderboard") for mismatch in found)


def test_a_stored_verdict_that_the_scores_do_not_give_is_told(tmp_path):
    """Verdicts are decided again: one whose number was changed in the store, and so in the page, is told."""
    home, fake = Home(tmp_path), fake_run(12)
    (first, *others) = fake.verdicts
    finding = replace(first.findings[0], estimate=0.9, low=0.8)
    forged = replace(first, outcome="pass", findings=(finding, *first.findings[1:]))
    with Store.open(home) as store:
        replace(fake, verdicts=(forged, *others)).write(store)
        file = write_report(store, ["latest"], tmp_path / "report.html")
    found = verified(home, file)
    assert found.undecided == ()
    assert [str(mismatch).split(": ")[0] for mismatch in found.mismatches] == [
        f"the stored verdict on {first.candidate}, outcome",
        f"the stored verdict on {first.candidate}, rule 'correctness better_by 0.05', estimate",
        f"the stored verdict on {first.candidate}, rule 'correctness better_by 0.05', low",
    ]
    with Store.open(home) as store:
        replace(fake, verdicts=(replace(first, baseline="main"), *others)).write(store)
        write_report(store, ["latest"], file)
    found = verified(home, file)
    assert (found.undecided, found.mismatches) == ((first.candidate,), ())


def test_cards_and_certificates_made_later_do_not_count(small, tmp_path):
    """A report stays right when a judge is calibrated or the gate put to itself after it: the manifest says what it shows."""
    home, fake = Home(tmp_path), fake_run(12)
    with Store.open(home) as store:
        fake.write(store)
        file = write_report(store, ["latest"], tmp_path / "report.html")
    for card in fake_calibrations(fake.run):
        write_calibration(home, card)
    certificate = Certificate(
        run=fake.run.id, baseline="base", rules_sha="x", repeats=400, fails=3, passes=300, low=0.002, high=0.02,
        allowed=0.05, made_of="two of its scores", made="2026-03-15T00:00:00+00:00",
    )  # fmt: skip
    write_certificate(home, certificate)
    assert verified(home, file).mismatches == ()
    with Store.open(home) as store:
        write_report(store, ["latest"], file)
    assert verified(home, file).mismatches == ()
    write_certificate(home, replace(certificate, fails=4))
    (found,) = verified(home, file).mismatches
    assert found.place.startswith("verdict")


def test_what_is_no_report_is_refused(small, tmp_path):
    """A missing file, another page, a damaged manifest, another version, a run that the store lacks: one line each."""
    text = small[1].read_text(encoding="utf-8")
    file = tmp_path / "other.html"
    with pytest.raises(UserError, match="cannot be read"):
        verified(small[0], file)
    for content, message in (
        ("<html></html>", "is no report"),
        (text.replace('"muster": "0.1.0"', '"muster": 1'), "is no report"),
        (text.replace('"muster": "0.1.0"', '"muster": "9.9"'), "made by muster 9.9"),
        (text.replace("20260301-0000-000000", "20260301-0000-000001"), "must be in the store"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            verified(small[0], file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        verified(small[0], file)


def test_command_answers_with_its_exit_status(small, tmp_path, capsys):
    """0 and the count where all agree; 1 and a line a mismatch where not."""
    home, file = small
    assert verify(file, home=home.path) == 0  # an untouched page agrees
    assert re.search(r"all [\d,]+ numbers agree with runs 20260314-0915-a1b2c3, 2026", capsys.readouterr().out)
    other = tmp_path / "changed.html"
    other.write_text(file.read_text(encoding="utf-8").replace("<p>12 samples", "<p>13 samples", 1), encoding="utf-8")
    assert verify(other, home=home.path) == 1
    told = capsys.readouterr().out.splitlines()
    assert "shown 13 samples" in told[0]
    assert told[-1].endswith("1 place disagrees with runs 20260314-0915-a1b2c3, 20260301-0000-000000")


def test_ratings_after_the_page_are_named_as_a_reason(tmp_path, capsys):
    """What people say after the page was made changes its figures: the disagreement says so, and how to go on."""
    home, fake = Home(tmp_path), fake_run(12)
    with Store.open(home) as store:
        fake.write(store)
        file = write_report(store, [fake.run.id], tmp_path / "report.html")
    answer = next(a for a in fake.answers if a.candidate == "base" and a.completion.text)
    item = Item(id="i1", sample_id=answer.sample_id, candidates=("base",), answer_sha=text_sha(answer.completion.text))
    sheet = Sheet(id="s1", run=fake.run.id, criteria="Is it right?", low=1, high=5, items=(item,))
    add_ratings(home, sheet, "anna", [Rating(item="i1", value=4)])
    assert verify(file, home=home.path) == 1
    assert "people have rated answers" in capsys.readouterr().out
    with Store.open(home) as store:
        write_report(store, [fake.run.id], file)
    assert verify(file, home=home.path) == 0
    assert "people" not in capsys.readouterr().out
