"""`muster baseline …` and gates against what was blessed, from the command line to the exit status."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from harness.cli import baseline
from harness.cli.gate import gate
from harness.deciding.baseline import read_baseline
from harness.errors import SuiteError, UserError
from harness.records import Judgement, Metric, Run, Sample
from harness.store import Home, Store
from harness.suite import load_suite

SUITE = """
suite: tiny
data: {path: rows.jsonl, fields: {input: question, reference: answer}}
splits: {test: {share: 1}}
candidates:
  base: {model: {kind: answers, path: rows.jsonl}}
  good: {model: {kind: answers, path: rows.jsonl}}
judges: {exact_match: {}}
gate:
  baseline: BASELINE
  rules: [{metric: exact_match, no_worse_by: 0.1}, {coverage: 0.98}]
"""


VERSIONS = {"muster": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "processors": "2"}


def store_run(home, run_id, right, *, status="complete", judge="j1", samples=100, versions=VERSIONS):
    """A run of 100 samples in which each candidate has so many answers right."""
    run = Run(
        id=run_id, key=run_id, suite="tiny", suite_version=1, suite_sha="s", data_sha="d", status=status,
        started=f"2026-01-0{run_id[1]}T00:00:00Z", finished=None, seconds=1.0, candidates={n: n for n in right},
        metrics=(Metric(name="exact_match"),), judges={"exact_match": judge},
        record={"file": "suite.yaml", "environment": versions},
    )  # fmt: skip
    rows = [Sample(id=f"s{i:03d}", split="test", input="q", cluster=str(i % 30)) for i in range(samples)]
    judgements = [
        Judgement(id=s.id, metric="exact_match", candidate=name, key=f"{name}{i}", score=float(i < count))
        for name, count in right.items() for i, s in enumerate(rows)
    ]  # fmt: skip
    with Store.open(Home(home)) as store:
        store.write_run(run, samples=rows, answers=[], judgements=judgements, trainings=[])


def typed(verb, *arguments):
    """Runs a verb as the command line does."""
    app = typer.Typer()
    app.command()(verb)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


def said(done):
    """What was printed or raised, on one line."""
    return " ".join((done.output + " " + str(done.exception or "")).split())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: a suite, and a store whose first run holds `base` (60 right) and `good` (90 right)."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Ada Example\n")
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a", "input": "q"}\n')
    (tmp_path / "suite.yaml").write_text(SUITE.replace("BASELINE", "base"))
    store_run(tmp_path / ".muster", "r1", {"base": 60, "good": 90})
    return tmp_path


def bless(*more, run="r1:good", name="production", why="won the spring trial"):
    """Blesses `good` of the first run as `production`."""
    return typed(baseline.bless, run, "--name", name, "--why", why, *more)


def test_a_fresh_machine_decides_as_the_old_store_does(folder):
    """Against the file in an empty home, and against the run in the old store: the same findings to the last digit."""
    assert bless().exit_code == 0
    store_run(folder / ".muster", "r2", {"base": 60, "good": 75})
    store_run(folder / "fresh", "r2", {"base": 60, "good": 75})
    told = []
    for home, against in ((".muster", "r1:good"), ("fresh", "production"), ("fresh", "baselines/production.json")):
        done = typed(gate, "suite.yaml", "--home", home, "--baseline", against, "--json", "v.json", "--run", "r2")
        assert done.exit_code == 1, said(done)
        verdicts = json.loads((folder / "v.json").read_text())["verdicts"]
        told.append([[f | {"message": ""} for f in v["findings"]] for v in verdicts])
        assert {v["baseline"] for v in verdicts} == {against if home == ".muster" else "production"}
    assert told[0] == told[1] == told[2]
    assert [v["candidate"] for v in verdicts] == ["base", "good"]
    assert verdicts[1]["findings"][0]["estimate"] == pytest.approx(-0.15)
    assert "good of run r1, blessed by Ada Example on" in said(done)


def test_other_versions_are_told_and_refuse_nothing(folder):
    """A new torch may be what a pull request is about: the same verdict, and a line with both versions; of none, no line."""
    bless()
    store_run(folder / ".muster", "r2", {"base": 60, "good": 90}, versions=VERSIONS | {"processors": "8"})
    store_run(folder / ".muster", "r3", {"base": 60, "good": 90}, versions=VERSIONS | {"torch": "2.14.1"})
    same, other = (typed(gate, "suite.yaml", "--baseline", "production", "--run", run) for run in ("r2", "r3"))
    assert same.exit_code == other.exit_code == 1
    assert "measured with" not in said(same)
    assert "note: baseline production was measured with torch 2.13.0 (now 2.14.1); that too can change" in said(other)


def test_a_candidate_equal_to_its_baseline_differs_by_nothing(folder):
    """Exactly zero, so that what is known of no difference at all is used."""
    bless()
    typed(gate, "suite.yaml", "--baseline", "production", "--candidate", "good", "--json", "v.json")
    finding = json.loads((folder / "v.json").read_text())["findings"][0]
    assert (finding["outcome"], finding["estimate"], finding["n"]) == ("pass", 0.0, 100)


def test_a_suite_names_a_blessed_baseline(folder):
    """`gate.baseline` finds the file beside the suite; a misspelt name is met with the right one; a name is one thing."""
    suite = folder / "suite.yaml"
    suite.write_text(SUITE.replace("BASELINE", "production"))
    with pytest.raises(SuiteError, match="must be a candidate: 'base' or 'good' "):
        load_suite(suite)
    bless("--suite", "suite.yaml")
    assert typed(gate, "suite.yaml").exit_code == 1
    assert typed(gate, "suite.yaml", "--candidate", "good").exit_code == 0
    suite.write_text(SUITE.replace("BASELINE", "prodution"))
    with pytest.raises(SuiteError, match=r"10:13: gate.baseline: .*'production' .*\(did you mean 'production'\?\)"):
        load_suite(suite)
    shutil.copy("baselines/production.json", "baselines/base.json")
    suite.write_text(SUITE.replace("BASELINE", "base"))
    with pytest.raises(SuiteError, match="of which there are both"):
        load_suite(suite)


def test_a_pairwise_judge_has_no_opponent_in_a_file(folder):
    """A blessed baseline answers nothing in this run."""
    bless()
    text = SUITE.replace("BASELINE", "production").replace(
        "exact_match: {}", "exact_match: {}, duel: {kind: pairwise, criteria: Better., model: {kind: openai, name: m}}"
    )
    (folder / "suite.yaml").write_text(text)
    with pytest.raises(SuiteError, match=r"must say whom it compares 'against'.*answers nothing here"):
        load_suite(folder / "suite.yaml")


@pytest.mark.parametrize(
    ("change", "lines", "against"),
    [({"judge": "j2"}, ["judge exact_match: "], "production"),
     ({"samples": 90}, ["(100 then, 90 now, 90 the same in both)"], "r1:good"),
     ({"judge": "j2", "samples": 101}, ["judge exact_match: ", "(100 then, 101 now, 100 the same in both)"], "production")],
)  # fmt: skip
def test_drift_is_refused_a_line_each_with_the_way_out(folder, change, lines, against):
    """Exit 2: which, old and new hash, how many samples are the same; for a blessed baseline and for another run alike."""
    bless()
    store_run(folder / ".muster", "r2", {"base": 60, "good": 75}, **change)
    done = typed(gate, "suite.yaml", "--baseline", against)
    assert isinstance(done.exception, UserError)
    head, *parts, way_out = str(done.exception).splitlines()
    assert "cannot be compared with" in head
    assert len(parts) == len(lines)
    for part, wanted in zip(parts, lines, strict=True):
        assert wanted in part
        assert "then, " in part
    assert "bless it again" in way_out or "Run good again" in way_out


def test_edited_rules_and_more_candidates_are_no_drift(folder):
    """Neither changes what is compared."""
    bless()
    store_run(folder / ".muster", "r2", {"base": 60, "good": 90, "third": 95})
    (folder / "suite.yaml").write_text(SUITE.replace("BASELINE", "production").replace("0.1", "0.12"))
    assert typed(gate, "suite.yaml", "--candidate", "good").exit_code == 0


def test_what_answers_took_is_in_no_file(folder):
    """A rule that compares latencies wants both measured in one run, whether suite or command line names the file."""
    bless()
    text = SUITE.replace("{coverage", "{metric: latency, no_worse_by: 1}, {coverage")
    (folder / "suite.yaml").write_text(text.replace("BASELINE", "production"))
    done = typed(gate, "suite.yaml", "--candidate", "good")
    assert isinstance(done.exception, UserError)
    assert "rules[1].metric: must be known of the baseline (got 'latency', which the blessed scores of" in said(done)
    measured = text.replace("{kind: answers, path: rows.jsonl}", "{kind: transformers, path: embedded:clinic-base}")
    (folder / "suite.yaml").write_text(measured.replace("BASELINE", "base"))
    done = typed(gate, "suite.yaml", "--candidate", "good", "--baseline", "production")
    assert isinstance(done.exception, UserError)
    assert "compares 'latency' with baseline 'production', which holds scores alone" in str(done.exception)


def test_an_edited_file_is_not_compared_with(folder):
    """One digit changed by hand: the gate refuses, verify exits 1 and says which part, bless will not go on from it."""
    bless()
    file = folder / "baselines" / "production.json"
    assert typed(baseline.verify).exit_code == 0
    file.write_text(file.read_text().replace("1.0, 1.0, 1.0", "1.0, 0.0, 1.0", 1))
    for done in (typed(gate, "suite.yaml", "--baseline", "production"), bless()):
        assert isinstance(done.exception, UserError)
        assert "exact_match on test: " in said(done)
    done = typed(baseline.verify, "production")
    assert (done.exit_code, "CHANGED" in done.output) == (1, True)
    assert "exact_match on test: " in done.output


def test_verify_says_what_it_checked(folder):
    """Against the store where the run is there; otherwise that it was not; changed there: 1; unknown: 2."""
    bless()
    assert "scores, samples and judges against run r1" in typed(baseline.verify, "production").output
    assert "not checked against the store: there is none" in typed(baseline.verify, "--home", "nowhere").output
    store_run(folder / "other", "r2", {"base": 60})
    assert "does not hold run r1" in typed(baseline.verify, "--home", "other").output
    store_run(folder / ".muster", "r1", {"base": 60, "good": 89})
    done = typed(baseline.verify)
    assert done.exit_code == 1
    assert "store and file differ: exact_match on test" in done.output
    (folder / "baselines" / "production.json").write_text("<<<<<<<")
    assert typed(baseline.verify).exit_code == 1
    done = typed(baseline.verify, "prodction")
    assert isinstance(done.exception, UserError)
    assert "did you mean 'production'?" in str(done.exception)


def test_the_log_is_the_lineage_newest_first(folder):
    """Who, when, why, figures; and what changed from one blessing to the next."""
    bless(why="first")
    store_run(folder / ".muster", "r2", {"base": 60, "good": 95}, judge="j2")
    assert bless("--by", "Grace", "--candidate", "good", run="latest", why="a  better\njudge").exit_code == 0
    text = typed(baseline.log, "production").output
    assert text.index("good of run r2") < text.index("since ") < text.index("good of run r1")
    for part in (
        "by Grace on 20",
        "a better judge",
        "exact_match 0.950",
        "by Ada Example",
        "first",
        "exact_match 0.900",
    ):
        assert part in text
    assert text.count("judge exact_match: ") == 1
    found = read_baseline(folder / "baselines" / "production.json")
    assert found.blessing.previous == found.blessings[1].sha
    shown = typed(baseline.show).output
    assert "100 samples, exact_match" in shown
    assert "blessings  2" in shown


def test_what_did_not_pass_is_blessed_by_force_alone(folder):
    """The run's verdict counts; the file says what it was, and that it was forced."""
    (folder / "suite.yaml").write_text(SUITE.replace("BASELINE", "good"))
    with Store.open(Home(folder / ".muster")) as store:
        from harness.deciding.gate import decide_all
        from harness.deciding.scores import Scores

        rules, run = load_suite("suite.yaml").suite.gate, store.run("r1")
        store.write_verdicts("r1", decide_all(rules, run=run, scores=Scores.from_rows(store.scores("r1"))))
    done = bless(run="r1:base")
    assert isinstance(done.exception, UserError)
    assert "its verdict is fail" in said(done)
    assert not (folder / "baselines").exists()
    assert bless("--force", run="r1:base").exit_code == 0
    one = read_baseline(folder / "baselines" / "production.json").blessing
    assert (one.verdict, one.forced) == ("fail", True)
    assert "verdict fail, forced" in typed(baseline.log).output


@pytest.mark.parametrize(
    ("given", "message"),
    [({"name": "../x"}, "must be a name of"), ({"why": "  "}, "must say why"), ({"name": "base"}, "must differ"),
     ({"run": "r9:good"}, "'run' must be in the store"), ({"run": "r1:lora"}, "must be one of run r1's"),
     ({"run": "r1"}, "which of run r1's to bless: base, good")],
)  # fmt: skip
def test_bad_blessings_are_user_errors_and_write_nothing(folder, given, message):
    """One line each."""
    done = bless(**given)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (folder / "baselines").exists()


def test_the_file_is_kept_beside_the_suite(folder, monkeypatch):
    """Of the run's own record, of --suite, or where --file says; a suite that is not where it was must be named."""
    (folder / "deep").mkdir()
    bless("--file", "deep/kept.json")
    assert (folder / "deep" / "kept.json").is_file()
    shutil.copy("suite.yaml", "deep/suite.yaml")
    bless("--suite", "deep/suite.yaml")
    assert (folder / "deep" / "baselines" / "production.json").is_file()
    monkeypatch.chdir(folder / "deep")
    (folder / "deep" / "suite.yaml").unlink()
    done = bless("--home", folder / ".muster")
    assert "'--suite' must say where the suite of run r1 is" in str(done.exception)


def test_whom_git_does_not_know_ci_does(folder, monkeypatch):
    """git's user.name, else the actor of the CI job, else the user; else it must be said."""
    (folder / "gitconfig").write_text("")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    bless()
    assert read_baseline(folder / "baselines" / "production.json").blessing.by == "octocat"
    monkeypatch.delenv("GITHUB_ACTOR")
    monkeypatch.delenv("USER")
    assert "'--by' must say who" in str(bless().exception)
