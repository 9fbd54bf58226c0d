"""Blessed baselines: exact, tamper-evident, comparable on a fresh machine, and refused where the comparison would be none."""

import json
import math
from dataclasses import replace

import pytest

from harness.deciding.baseline import bless, figures_of, held_against_store, measure, read_baseline, write_baseline
from harness.deciding.baseline.drift import Compared, compared_by, drifted
from harness.deciding.baseline.measuring import score_rows
from harness.deciding.scores import Scores
from harness.errors import UserError
from harness.records import Failure, Judgement, Metric, Run, Sample
from harness.store import Home, Store
from harness.suite.grammar import Rule

METRICS = (
    Metric(name="exact_match"),
    Metric(name="perplexity", direction="lower", low=1, high=math.inf, aggregate="perplexity"),
)
SAMPLES = [
    Sample(id=f"s{i:02d}", split="test", input=f"question {i} \ud83d é", references=(f"answer {i}",),
           cluster=f"c{i % 4}", slices={"topic": str(i % 2)}, row=i + 1, columns={"form": "x", "note": i})
    for i in range(24)
]  # fmt: skip
SUITE = {"prompt": "{{ form }}: {{ input }}", "generation": {"max_new_tokens": 128, "temperature": 0.5}}
BOTH = Compared(splits=("test",), metrics=("exact_match", "perplexity"))


def write_run(store, samples=SAMPLES, *, run_id="r1", status="complete", judges=None, suite=SUITE, version=1):
    """A run of the candidates `old` and `new`: odd scores that no rounding keeps, one answer without any."""
    run = Run(
        id=run_id, key=f"key of {run_id}", suite="tiny", suite_version=version, suite_sha=run_id, data_sha="d",
        status=status, started="2026-01-01T00:00:00Z", finished=None, seconds=1.0,
        candidates={"old": "key of old", "new": "key of new"}, metrics=METRICS,
        judges=judges or {"exact_match": "j1", "perplexity": "j2"},
        record={"suite": suite, "environment": {"muster": "0.1.0"}},
    )  # fmt: skip
    judgements = []
    for name in run.candidates:
        for i, sample in enumerate(samples):
            missing = name == "old" and i == 5
            failure = Failure(kind="no_answer", message="none") if missing else None
            judgements += [
                Judgement(id=sample.id, metric="exact_match", candidate=name, key=f"e{name}{i}", error=failure,
                          score=None if missing else (i + 1) / 37, evidence={"why": "long words"}),
                Judgement(id=sample.id, metric="perplexity", candidate=name, key=f"p{name}{i}", error=failure,
                          score=None if missing else 3 + i / 7,
                          evidence={"log_likelihood": -1.1 * i - 1, "tokens": i + 1, "text": "not kept"}),
            ]  # fmt: skip
    store.write_run(run, samples=samples, answers=[], judgements=judgements, trainings=[])
    return run


@pytest.fixture(scope="module")
def blessed(tmp_path_factory):
    """A baseline blessed twice, `old` after `new`, its file, and the home of its run."""
    folder = tmp_path_factory.mktemp("blessed")
    home = Home(folder / "home")
    with Store.open(home) as store:
        run = write_run(store)
        first = bless(store, run, "new", name="production", by="Ada", why="the first")
        second = bless(store, run, "old", name="production", by="Grace", why="\u0151 better", before=first)
    write_baseline(folder / "production.json", second)
    return folder / "production.json", second, home


def test_what_is_written_comes_back_equal_and_unedited(blessed):
    """Scores to the last digit, missing ones as none, clusters and the evidence of metrics that are no means."""
    path, baseline, _ = blessed
    read = read_baseline(path)
    assert read == baseline
    assert read.edits() == []
    split = read.splits["test"]
    assert split.ids == [sample.id for sample in SAMPLES]
    assert split.scores["exact_match"] == [None if i == 5 else (i + 1) / 37 for i in range(24)]
    assert split.clusters == [sample.cluster for sample in SAMPLES]
    assert set(split.evidence["perplexity"]) == {"log_likelihood", "tokens"}
    assert "not kept" not in path.read_text()
    logs = [-1.1 * i - 1 for i in range(24) if i != 5]
    tokens = [i + 1 for i in range(24) if i != 5]
    figures = figures_of(read)["test"]
    assert figures["perplexity"] == pytest.approx(math.exp(-sum(logs) / sum(tokens)))
    assert figures["exact_match"] == pytest.approx(sum((i + 1) / 37 for i in range(24) if i != 5) / 23)
    assert read.blessing.figures["test"] == figures


def leaves(value, path=()):
    """Every value in a JSON document that holds no other, with its path."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for key, entry in entries for leaf in leaves(entry, (*path, key))]
    return found if isinstance(value, dict | list) else [(path, value)]


def test_every_change_by_hand_is_noticed(blessed, tmp_path):
    """Each value of the file in turn: changed, it cannot be read or breaks a hash; so does a value taken away."""
    path, _, _ = blessed
    text = path.read_text()
    places = leaves(json.loads(text))
    assert len(places) > 200
    for at, old in places:
        document = json.loads(text)
        place = document
        for key in at[:-1]:
            place = place[key]
        place[at[-1]] = {str: f"{old}x", bool: not old, int: 7000, float: 0.123, type(None): 0.5}[type(old)]
        assert is_noticed(document, tmp_path), at
        if isinstance(at[-1], str):
            del place[at[-1]]
            assert is_noticed(document, tmp_path), at


def is_noticed(document, folder):
    """Whether a file with this content cannot be read, or is told to be edited."""
    path = folder / "edited.json"
    path.write_text(json.dumps(document))
    try:
        return bool(read_baseline(path).edits())
    except UserError as error:
        return "\n" not in str(error)


def test_the_blessings_are_a_chain(blessed):
    """One taken out, put in the place of another, or under another name, breaks it."""
    _, baseline, _ = blessed
    new, old = baseline.blessings
    assert (new.previous, old.previous) == (old.sha, None)
    for blessings in ([new], [old], [old, new], [new, old, old]):
        assert baseline.model_copy(update={"blessings": blessings}).edits()
    assert baseline.model_copy(update={"name": "staging"}).edits()


@pytest.mark.parametrize(
    ("text", "message"),
    [("<<<<<<< HEAD\n{}", "no JSON"), ("[]", "is no baseline"), ('{"muster_baseline": 2}', "Update muster"),
     ('{"muster_baseline": 1}', "Field required"), ("[" * 100_000, "no JSON")],
)  # fmt: skip
def test_a_file_that_is_none_is_told_in_one_line(tmp_path, text, message):
    """A merge conflict, other JSON, a newer format."""
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_baseline(tmp_path / "b.json")
    assert "\n" not in str(caught.value)


def test_lists_that_do_not_fit_are_refused(blessed, tmp_path):
    """A score less than there are samples would shift all that follow."""
    document = json.loads(blessed[0].read_text())
    document["splits"]["test"]["scores"]["exact_match"].pop()
    (tmp_path / "b.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"lists of 'splits.test' do not fit"):
        read_baseline(tmp_path / "b.json")


def test_the_scores_of_the_file_are_those_of_the_store(blessed):
    """Put beside the store's own scores of the same candidate they differ by nothing at all."""
    path, _, home = blessed
    with Store.open(home) as store:
        rows = store.scores("r1")
    both = Scores.from_rows([*rows, *score_rows(read_baseline(path), "blessed")])
    here = both.splits["test"]
    assert len(here.ids) == 24
    for metric in ("exact_match", "perplexity"):
        ours, theirs = here.column("old", metric), here.column("blessed", metric)
        assert (ours.values == theirs.values).all()
        assert (ours.scored == theirs.scored).all()
        assert ours.scored.sum() == 23


def test_the_store_is_asked_again(blessed, tmp_path):
    """The store's run as it was: nothing differs. Judged otherwise since: said which. Not there: not checked."""
    _, baseline, home = blessed
    with Store.open(home) as store:
        assert held_against_store(baseline, store) == []
    with Store.open(Home(tmp_path / "other")) as store:
        assert held_against_store(baseline, store) is None
        write_run(store, [replace(s, references=("else",)) if s.id == "s03" else s for s in SAMPLES])
        assert [line.partition(":")[0] for line in held_against_store(baseline, store)] == ["samples of test"]


MATTERS = [
    ({"version": 2}, ["suite"]),
    ({"suite": {**SUITE, "prompt": "{{ form }} {{ input }}"}}, ["prompts"]),
    ({"suite": {**SUITE, "system": "Be brief."}}, ["prompts"]),
    ({"suite": {**SUITE, "generation": {"max_new_tokens": 64}}}, ["generation"]),
    ({"judges": {"exact_match": "j1", "perplexity": "j9"}}, ["judge perplexity"]),
    ({"samples": SAMPLES[:-1]}, ["samples of test"]),
    ({"samples": [*SAMPLES, Sample(id="s99", split="test", input="?")]}, ["samples of test"]),
    ({"samples": [replace(SAMPLES[0], references=("other",)), *SAMPLES[1:]]}, ["samples of test"]),
    ({"samples": [replace(SAMPLES[0], columns={"form": "y"}), *SAMPLES[1:]]}, ["samples of test"]),
    ({"samples": [replace(s, split="dev") for s in SAMPLES], "version": 3}, ["suite", "samples of test"]),
]


@pytest.mark.parametrize(("changed", "parts"), MATTERS)
def test_drift_of_what_matters_is_named(blessed, tmp_path, changed, parts):
    """Each part by its name, with two different short hashes."""
    _, baseline, _ = blessed
    with Store.open(Home(tmp_path)) as store:
        lines = drifted(baseline, measure(store, write_run(store, **changed)), BOTH)
    assert [line.partition(":")[0] for line in lines] == parts
    for line in lines:
        then, now = line.split(": ", 1)[1].replace(" then, ", "|").split(" now")[0].split("|")
        assert then != now


def test_drift_of_samples_says_how_many_are_left(blessed, tmp_path):
    """One gone, one new, one whose reference was rewritten: 22 of 24."""
    _, baseline, _ = blessed
    samples = [*SAMPLES[1:-1], replace(SAMPLES[-1], references=("new",)), Sample(id="s99", split="test", input="?")]
    with Store.open(Home(tmp_path)) as store:
        (line,) = drifted(baseline, measure(store, write_run(store, samples)), BOTH)
    assert "(24 then, 24 now, 22 the same in both)" in line


def test_what_does_not_matter_is_no_drift(blessed, tmp_path):
    """Order, place in the file, slices, clusters, other columns, other splits, defaults spelt out, judges nobody compares."""
    _, baseline, _ = blessed
    samples = [replace(s, row=99, cluster="c", slices={}, columns={**s.columns, "more": 1}) for s in reversed(SAMPLES)]
    samples.append(Sample(id="d1", split="dev", input="?"))
    suite = {**SUITE, "generation": {"temperature": 0.5, "top_p": 1.0}, "gate": {"rules": []}, "seed": 5}
    judges = {"exact_match": "j1", "perplexity": "j9"}
    with Store.open(Home(tmp_path)) as store:
        now = measure(store, write_run(store, samples, suite=suite, judges=judges))
    assert drifted(baseline, now, Compared(splits=("test",), metrics=("exact_match",))) == []
    assert drifted(baseline, now, Compared(splits=(), metrics=())) == []


def test_only_rules_that_compare_rest_on_a_baseline():
    """Their splits and metrics, those without a split by the default."""
    rules = [
        Rule(metric="a", at_least=0.5), Rule(metric="b", better_by=0.1), Rule(metric="c", no_worse_by=0.1, split="dev"),
        Rule(coverage=0.9),
    ]  # fmt: skip
    assert compared_by(rules, ["dev", "test"], None) == Compared(splits=("test", "dev"), metrics=("b", "c"))
    assert compared_by(rules[:1], ["dev"], None) == Compared(splits=(), metrics=())


def test_what_must_not_be_blessed(blessed, make_run):
    """An unfinished run, a candidate that is not there, a name that is taken."""
    _, _, home = blessed
    with Store.open(home) as store:
        run = store.run("r1")
        given = {"name": "production", "by": "Ada", "why": "x"}
        for changed, candidate, options, message in (
            ({"status": "incomplete"}, "new", given, "must be complete"),
            ({}, "newer", given, "must be one of"),
            ({}, "new", {**given, "name": "old"}, "must differ from the suite's candidates"),
        ):
            with pytest.raises(UserError, match=message):
                bless(store, replace(run, **changed), candidate, **options)
