"""One verdict, many surfaces: they agree, and no text can break out of any of them."""

import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from rich.console import Console

from harness.deciding import gate
from harness.deciding.comparison import leaderboard
from harness.deciding.scores import Scores
from harness.deciding.surfaces import (
    leaderboard_tables,
    to_annotations,
    to_dict,
    to_json,
    to_junit,
    to_markdown,
    to_terminal,
    trust_note,
)
from harness.deciding.surfaces.annotations import Line
from harness.records import (
    Answer,
    Calibration,
    Completion,
    Figure,
    Finding,
    Judgement,
    Metric,
    Run,
    Sample,
    Verdict,
)
from harness.store import Home, Store
from reports.queries import load_report
from reports.render import render

HOSTILE = [
    "<script>alert(1)</script>", "a|b", "`x`", "@octocat", "]]>", "\x1b[31mred\x1b[0m", "\x00\x08", "\ud800", "&amp;",
    "line\nbreak", "[link](http://evil.example)", "www.evil.example", "\u202egnp.exe", "'\"", "[bold]rich[/bold]",
    "--> <!--", "::error::x", "##[add-mask]x", "100%\r\n::stop-commands::x", "a:b,c=d",
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12), st.just("lora"))
NUMBERS = st.one_of(st.none(), st.floats(-1, 1))


@st.composite
def verdicts(draw):
    """Verdicts as the gate makes them: the outcome is the worst finding's, the exit status the outcome's."""
    findings = tuple(
        Finding(
            rule=draw(TEXTS), metric=draw(TEXTS), split=draw(TEXTS), outcome=draw(st.sampled_from(gate.SEVERITY)),
            estimate=draw(NUMBERS), low=draw(NUMBERS), high=draw(NUMBERS), threshold=draw(st.floats(-1, 1)),
            n=draw(st.integers(0, 99)), n_unscored=draw(st.integers(0, 99)),
            n_needed=draw(st.none() | st.integers(1, 999)),
            message=draw(TEXTS), slice=draw(st.none() | TEXTS), unit=draw(st.sampled_from([None, "s"])),
        )
        for _ in range(draw(st.integers(1, 4)))
    )  # fmt: skip
    outcome = gate.worst_outcome([finding.outcome for finding in findings])
    mode = draw(st.sampled_from(["block", "warn"]))
    status = 0 if (outcome, mode) == ("inconclusive", "warn") else gate.EXIT_STATUS[outcome]
    return Verdict(
        outcome=outcome, exit_status=status, suite=draw(TEXTS), suite_sha="5" * 64, run="run1", candidate=draw(TEXTS),
        baseline=draw(st.none() | TEXTS), confidence=0.95, findings=findings,
    )  # fmt: skip


COMMAND = re.compile(r"::(?P<kind>error|warning|notice) (?P<properties>[^:\r\n]*)::(?P<message>[^\r\n]*)")
"""A workflow command of GitHub, as its runner takes it apart: at the first `::` after the kind."""


def shown(renderable, width=200):
    """What a terminal of this width would show, without colour."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


@settings(deadline=None)
@given(st.lists(verdicts(), min_size=1, max_size=3))
def test_all_surfaces_tell_the_same(found):
    """Exit status, JSON, JUnit, Markdown and terminal name the same outcomes and the same exit status."""
    status, worst = gate.worst_exit_status(found), gate.worst_verdict(found)
    counts = {outcome: sum(f.outcome == outcome for v in found for f in v.findings) for outcome in gate.SEVERITY}

    read = json.loads(to_json(found))
    assert (read["outcome"], read["exit_status"]) == (worst.outcome, status)
    each = read["verdicts"] if len(found) > 1 else [read]
    assert [v["exit_status"] for v in each] == [v.exit_status for v in found]

    root = ElementTree.fromstring(to_junit(found))
    skipped = sum(f.outcome == "inconclusive" for v in found for f in v.findings if v.exit_status == 0)
    failures = [node.attrib["type"] for node in root.iter("failure")]
    assert failures.count("fail") == counts["fail"]
    assert failures.count("inconclusive") == counts["inconclusive"] - skipped
    assert len(list(root.iter("error"))) == counts["incomplete"] == int(root.attrib["errors"])
    assert len(list(root.iter("skipped"))) == skipped == sum(int(s.attrib["skipped"]) for s in root.iter("testsuite"))
    assert len(list(root.iter("testcase"))) == sum(counts.values()) == int(root.attrib["tests"])

    heading = f"{worst.outcome.upper()} (exit status {status}"
    markdown = to_markdown(found)
    assert markdown.startswith(f"## muster: {heading}")
    assert len(re.findall(r"^\| (?:PASS|FAIL|INCONCLUSIVE|INCOMPLETE) \|", markdown, re.M)) == sum(counts.values())

    lines = shown(to_terminal(found)).splitlines()
    assert any(line.startswith(heading) for line in lines)
    assert len([line for line in lines if re.match("(PASS|FAIL|INCONCLUSIVE|INCOMPLETE) [(]exit", line)]) >= len(found)

    commands = [COMMAND.fullmatch(line) for line in to_annotations(found).splitlines()]
    kinds = [command["kind"] for command in commands]
    warned = worst.outcome == "inconclusive" and status == 0
    whole = "notice" if worst.outcome == "pass" else "warning" if warned else "error"
    assert f"title=muster%3A {heading}" in next(c.group() for c in commands if c["kind"] == whole)
    wanted = {"warning": skipped, "error": counts["fail"] + counts["incomplete"] + counts["inconclusive"] - skipped}
    for kind in ("error", "warning", "notice"):
        assert kinds.count(kind) == min(wanted.get(kind, 0) + (kind == whole), 10)
    assert ("error" in kinds) == (status != 0)

    if worst.outcome == "inconclusive" and status == 0:
        assert "a warning" in markdown
        assert "a warning" in shown(to_terminal(found))
        assert "a warning" in to_junit(found)


@settings(deadline=None)
@given(st.lists(verdicts(), min_size=1, max_size=3))
def test_no_text_breaks_out(found):
    """Any name or message leaves the JUnit tree, the Markdown tables and the terminal as they are."""
    root = ElementTree.fromstring(to_junit(found).encode())
    known = {
        "testsuites",
        "testsuite",
        "testcase",
        "properties",
        "property",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    assert {node.tag for node in root.iter()} <= known
    for suite in root.iter("testsuite"):
        names = [case.attrib["name"] for case in suite.iter("testcase")]
        assert len(set(names)) == len(names)
    markdown = to_markdown(found)
    markdown.encode("utf-8")
    assert "<" not in markdown
    assert "@octocat" not in markdown
    assert "http://" not in markdown
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 9
    for line in to_annotations(found, {f.rule: Line("a,b:c.yaml", 7) for v in found for f in v.findings}).splitlines():
        read = COMMAND.fullmatch(line)
        properties = dict(part.split("=", 1) for part in read["properties"].split(","))
        assert set(properties) <= {"file", "line", "title"}
        assert properties.get("file", "a%2Cb%3Ac.yaml") == "a%2Cb%3Ac.yaml"
        assert not re.search(r"%(?!25|0D|0A|3A|2C)", line)
    text = shown(to_terminal(found), width=300)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


JUNIT_10 = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:element name="testsuites"><xs:complexType>
    <xs:sequence><xs:element ref="testsuite" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
    <xs:attribute name="name"/><xs:attribute name="time" type="xs:decimal"/>
    <xs:attribute name="tests" type="xs:integer"/><xs:attribute name="failures" type="xs:integer"/>
    <xs:attribute name="errors" type="xs:integer"/>
  </xs:complexType></xs:element>
  <xs:element name="testsuite"><xs:complexType>
    <xs:choice minOccurs="0" maxOccurs="unbounded"><xs:element ref="properties"/><xs:element ref="testcase"/></xs:choice>
    <xs:attribute name="name" use="required"/><xs:attribute name="tests" type="xs:integer" use="required"/>
    <xs:attribute name="failures" type="xs:integer" use="required"/><xs:attribute name="time" type="xs:decimal"/>
    <xs:attribute name="errors" type="xs:integer" use="required"/><xs:attribute name="skipped" type="xs:integer"/>
  </xs:complexType></xs:element>
  <xs:element name="properties"><xs:complexType><xs:sequence>
    <xs:element name="property" maxOccurs="unbounded"><xs:complexType>
      <xs:attribute name="name" use="required"/><xs:attribute name="value" use="required"/>
    </xs:complexType></xs:element>
  </xs:sequence></xs:complexType></xs:element>
  <xs:element name="testcase"><xs:complexType>
    <xs:choice minOccurs="0" maxOccurs="1">
      <xs:element name="failure" type="reason"/><xs:element name="error" type="reason"/>
      <xs:element name="skipped" type="reason"/><xs:element name="system-out" type="xs:string"/>
    </xs:choice>
    <xs:attribute name="name" use="required"/><xs:attribute name="classname" use="required"/>
    <xs:attribute name="time" type="xs:decimal" use="required"/>
  </xs:complexType></xs:element>
  <xs:complexType name="reason" mixed="true"><xs:attribute name="type"/><xs:attribute name="message"/></xs:complexType>
</xs:schema>
"""
"""What Jenkins' junit-10.xsd, GitLab and the GitHub readers all take: a subset of the first, without what muster never writes."""


@settings(deadline=None)
@given(st.lists(verdicts(), min_size=1, max_size=3))
def test_junit_is_read_by_a_strict_parser(found):
    """Well-formed for libxml2, without recovery, and valid by the schema, whatever a model wrote."""
    schema = etree.XMLSchema(etree.fromstring(JUNIT_10))
    root = etree.fromstring(to_junit(found).encode(), etree.XMLParser(recover=False, resolve_entities=False))
    schema.assertValid(root)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report on a small complete run; its verdicts are to be replaced."""
    run = Run(
        id="run1", key="k", suite="tiny", suite_version=1, suite_sha="s", data_sha="d", status="complete",
        started="2026-01-01T00:00:00Z", finished="2026-01-01T00:00:01Z", seconds=1.0,
        candidates={"base": "b", "lora": "l"}, metrics=(Metric(name="grade"),), judges={"grade": "j"},
    )  # fmt: skip
    samples = [Sample(id=f"s{i}", split="test", input="?") for i in range(3)]
    judgements = [Judgement(id=s.id, metric="grade", score=0.5, candidate=c, key=c + s.id) for c in run.candidates
                  for s in samples]  # fmt: skip
    answers = [Answer(key=c + s.id, candidate=c, sample_id=s.id, prompt_sha="p", completion=Completion(text="!"))
               for c in run.candidates for s in samples]  # fmt: skip
    with Store.open(Home(tmp_path_factory.mktemp("home"))) as store:
        store.write_run(run, samples=samples, answers=answers, judgements=judgements, trainings=[])
        return load_report(store, ["run1"])


@settings(max_examples=6, deadline=None)
@given(st.lists(verdicts(), min_size=1, max_size=3))
def test_the_report_tells_the_same(report, found):
    """The page's stamp is the worst outcome with the exit status; each verdict and each finding stands in it as it is."""
    page = lxml.html.fromstring(render(replace(report, verdicts=tuple(found)), samples="1").encode("utf-8", "replace"))
    (stamp,) = page.find_class("stamp")
    assert stamp.find_class("outcome")[0].text == gate.worst_verdict(found).outcome
    assert f"exit status {gate.worst_exit_status(found)}:" in stamp.text_content()
    articles = page.xpath("//article[@data-outcome]")
    assert [article.attrib["data-outcome"] for article in articles] == [v.outcome for v in found]
    for article, verdict in zip(articles, found, strict=True):
        assert article.find_class("exit")[0].text == f"exit status {verdict.exit_status}"
        rows = article.xpath(".//table[contains(@class, 'findings')]/tbody/tr")
        assert [row.find_class("outcome")[0].text for row in rows] == [f.outcome for f in verdict.findings]


def test_no_more_annotations_than_github_shows(make_run, make_scores):
    """Of 30 errors nine are shown, and the tenth line counts the rest; each at the line of its rule."""
    names = [f"c{i}" for i in range(29)]
    declared = gate.Gate.model_validate({"rules": [{"metric": "correctness", "at_least": 0.5}]})
    found = gate.decide_all(declared, run=make_run(names), scores=make_scores(dict.fromkeys(names, [0] * 20)))
    text = to_annotations(found, {"correctness at_least 0.5": Line("evals/suite.yaml", 12)})
    lines = text.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("::error title=muster%3A FAIL (exit status 1)::29 candidates")
    assert lines[1].startswith(
        "::error file=evals/suite.yaml,line=12,title=FAIL%3A c0%2C correctness at_least 0.5 on test::c0's"
    )
    assert lines[-1] == "::error title=muster::and 21 more, in the summary"
    with pytest.raises(ValueError, match="at least one"):
        to_annotations([])


def test_the_json_is_the_contracts(make_run, make_scores):
    """Exactly the promised keys are there, for one candidate and for several."""
    declared = gate.Gate.model_validate({"baseline": "base", "rules": [{"metric": "correctness", "better_by": 0.05}]})
    scores = make_scores({"base": [0.2] * 30, "lora": [0.9] * 30, "worse": [0.1] * 30})
    found = gate.decide_all(declared, run=make_run(("base", "lora", "worse")), scores=scores)
    one = to_dict(found[:1])
    assert set(one) >= {"outcome", "exit_status", "suite", "run", "candidate", "baseline", "confidence", "findings"}
    assert set(one["findings"][0]) == {
        "rule", "metric", "split", "outcome", "estimate", "low", "high", "threshold", "n", "n_unscored", "n_needed",
        "message", "slice", "unit",
    }  # fmt: skip
    several = to_dict(found)
    assert (several["outcome"], several["exit_status"]) == ("fail", 1)
    assert several["verdicts"][0] == one
    with pytest.raises(ValueError, match="at least one"):
        to_dict([])


def test_a_summary_stays_below_its_limit_and_says_what_it_left_out(make_run, make_scores):
    """GitHub drops a whole summary above 1 MiB."""
    names = [f"c{i}" for i in range(40)]
    declared = gate.Gate.model_validate({"rules": [{"metric": "correctness", "at_least": 0.5}]})
    found = gate.decide_all(declared, run=make_run(names), scores=make_scores(dict.fromkeys(names, [1] * 20)))
    text = to_markdown(found, limit=5000)
    assert len(text.encode()) <= 5000
    left_out = int(re.search(r"(\d+) of 40 verdicts did not fit", text)[1])
    assert text.count("### ") == 40 - left_out


def test_the_terminal_fits_eighty_columns_and_needs_no_colour(make_run, make_scores):
    """The rule, its outcome in words, the numbers, and the sentence of what did not pass."""
    declared = gate.Gate.model_validate({"baseline": "base", "rules": [
        {"metric": "correctness", "better_by": 0.05}, {"metric": "correctness", "at_least": 0.1}, {"coverage": 0.98},
    ]})  # fmt: skip
    scores = make_scores({"base": [0.5, 0.4] * 15, "lora": [0.5, 0.41] * 15})
    text = shown(to_terminal(gate.decide_all(declared, run=make_run(), scores=scores)), width=80)
    assert text.startswith("FAIL (exit status 1)  lora against base\n")
    assert re.search(r"FAIL +correctness better_by 0.05 +0.0050 +0.0034 to 0.0066 +30 +0 *$", text, re.M)
    assert "it is not better by more than 0.05." in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_leaderboard_shows_each_mean_with_n_and_unscored(make_run, make_rows):
    """± the longer side of the interval; where counts differ among metrics, they stand in each cell."""
    rows = make_rows({"base": [0, 1] * 20, "lora": [1] * 30 + [None] * 10})
    rows += make_rows({"base": [0.1] * 40, "lora": [0.2] * 40}, metric="toxicity")
    scores = Scores.from_rows(rows)
    text = shown(leaderboard_tables(leaderboard(scores, make_run().metrics), make_run().metrics))
    assert "correctness ↑" in text
    assert "toxicity ↓" in text
    assert "grade" not in text
    base, lora = (
        next(line for line in text.splitlines() if line.strip().startswith(name)) for name in ("base", "lora")
    )
    assert base.split()[1:3] == ["0.500", "±0.148"]
    assert lora.split()[1:3] == ["1.000", "±0.116"]
    for counts in ("n 40, 0 unscored", "n 30, 10 unscored"):
        assert counts in text


def card(name, labels, value, seen=""):
    """A calibration card of one figure."""
    return Calibration(
        judge="j", fingerprint="f", labels=labels, labels_sha=labels, task="binary", n=600, unscored=0, clusters=None,
        figures=(Figure(name=name, value=value, low=value - 0.02, high=value + 0.02),), made="", seen=seen,
    )  # fmt: skip


def test_the_note_says_how_far_each_judge_is_trusted():
    """One card in full, several as a range by figure, rows of the training left out where there are others, none as none."""
    note = shown(
        trust_note(
            {
                "one": [card("auroc", "nq", 0.871)],
                "two": [card("auroc", "a", 0.7), card("auroc", "b", 0.9), card("spearman", "c", 0.5),
                        card("auroc", "d", 0.99, "seen")],
                "seen": [card("auroc", "d", 0.99, "seen")],
                "rouge": [], "\x1b[31m": [],
            }
        ),
        width=400,
    )  # fmt: skip
    assert note.split(" · ") == [
        "judges against people: one AUROC 0.871 (0.851 to 0.891) on nq, n 600",
        "two AUROC 0.700 to 0.900 on 2 sets, Spearman 0.500 on 1 set",
        "seen AUROC 0.990 (0.970 to 1.010) on d, n 600",
        "not calibrated: rouge, [31m\n",
    ]
