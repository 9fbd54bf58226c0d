"""Teachers in a suite: who may teach, what may be kept, and that a teacher stands among the candidates."""

import pytest

from harness.errors import SuiteError
from harness.suite import load_suite

SUITE = """\
suite: s
data: {path: rows.jsonl, fields: {input: q, reference: a}}
splits: {train: {share: 0.5, use: training}, test: {share: 0.5}}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  lora: {train: {base: base}}
  sweep: {train: {base: base, rank: [4, 8]}}
  recorded: {model: {kind: answers, path: rows.jsonl}}
  student: {train: {base: base, OPTIONS}}
  last: {model: {kind: transformers, path: embedded:clinic-base}}
judges:
  correctness: {}
  toxicity: {}
  perplexity: {}
  likely: {kind: mcq, choices: options}
"""
API = "{kind: openai, name: large, base_url: 'http://localhost:1/v1'}"


def load(folder, options):
    """The suite with these options of the student's training."""
    (folder / "rows.jsonl").write_text("{}\n")
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("OPTIONS", options))
    return load_suite(path)


@pytest.mark.parametrize("teacher", ["base", "lora", "recorded", '"sweep[rank=8]"'])
def test_any_one_candidate_may_teach(tmp_path, teacher):
    """By its name; the candidates stay as they are."""
    suite = load(tmp_path, f"teacher: {teacher}").suite
    assert suite.candidates["student"].train.teacher == teacher.strip('"')
    assert list(suite.candidates) == [
        "base", "lora", "sweep[rank=4]", "sweep[rank=8]", "recorded", "student", "last",
    ]  # fmt: skip


def test_a_model_as_teacher_becomes_a_candidate(tmp_path):
    """Before its student, so that both stand in one leaderboard; every member of a sweep has the same teacher."""
    suite = load(tmp_path, f"teacher: {API}, rank: [2, 4]").suite
    assert list(suite.candidates)[-4:] == ["student.teacher", "student[rank=2]", "student[rank=4]", "last"]
    assert suite.candidates["student.teacher"].model.name == "large"
    assert {suite.candidates[f"student[rank={rank}]"].train.teacher for rank in (2, 4)} == {"student.teacher"}


def test_recorded_answers_teach_and_are_no_candidate(tmp_path):
    """Answers to the training rows say nothing about rows that are judged."""
    suite = load(tmp_path, "teacher: {kind: answers, path: rows.jsonl}").suite
    assert "student.teacher" not in suite.candidates
    assert suite.candidates["student"].train.teacher.path == "rows.jsonl"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("teacher: nobody", r"candidates.student.train.teacher: must be a candidate: .* \(got 'nobody'\)"),
        ("teacher: bass", r"train.teacher: must be a candidate: .*got 'bass'\) \(did you mean 'base'\?\)"),
        ("teacher: sweep", r"train.teacher: must be one candidate \(got 'sweep', a sweep\)"),
        ("teacher: student", r"train.teacher: must be a candidate that does not learn from this one \(got itself\)"),
        ("teacher: 5", r'train.teacher: must be a text that is not empty \(got 5\). Put it in quotes: "5"'),
        ("teacher: {kind: opnai, name: x}", r"teacher.kind: must be 'transformers', 'openai' or 'answers' \(got 'opnai'\)"),
        ("teacher: {name: x}", r"train.teacher: 'kind' is missing. It must be 'transformers', 'openai' or 'answers'"),
        ("teacher: {kind: openai}", r"train.teacher: 'name' is missing"),
        ("teacher: {kind: openai, name: x, pirce: {}}", r"pirce: unknown key \(did you mean 'price'\?\)"),
        ("teacher: base, keep: {corectness: {at_least: 0.5}}", r"keep.corectness: .* \(did you mean 'correctness'\?\)"),
        ("teacher: base, keep: {correctness: {at_most: 0.5}}", r"contradicts the metric: 'correctness' is better when hi"),
        ("teacher: base, keep: {toxicity: {at_least: 0.5}}", r"contradicts the metric: 'toxicity' is better when lower"),
        ("teacher: base, keep: {toxicity: {at_most: 50}}", r"must be from 0 to 1, the scale of 'toxicity' \(got 50\)"),
        ("teacher: base, keep: {correctness: {}}", r"must have exactly one of 'at_least' and 'at_most' \(got none of them\)"),
        ("teacher: base, keep: {perplexity: {at_most: 9}}", r"a judge that scores an answer by itself \(got 'perplexity'"),
        ("teacher: base, keep: {likely: {at_least: 1}}", r"a judge that scores an answer by itself \(got 'likely', of ki"),
        ("keep: {correctness: {at_least: 0.5}}", r"must have a 'teacher' beside 'keep'"),
        ("keep_share: 0.4", r"must have a 'teacher' beside 'keep_share'"),
        ("teacher: base, keep_share: 0", r"keep_share: must be a number above 0 and up to 1 \(got 0\)"),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_their_place(tmp_path, options, message):
    """One line each, with what to write instead."""
    with pytest.raises(SuiteError, match=message) as caught:
        load(tmp_path, options)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("teacher", ["second", '"second[rank=4]"'])
def test_no_circle_of_teachers(tmp_path, teacher):
    """Two candidates that teach each other are refused, by way of a sweep too."""
    ranks = "[4, 8]" if "[" in teacher else "4"
    suite = SUITE.replace("  last:", f"  second: {{train: {{base: base, rank: {ranks}, teacher: student}}}}\n  last:")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    path = tmp_path / "suite.yaml"
    path.write_text(suite.replace("OPTIONS", f"teacher: {teacher}"))
    with pytest.raises(SuiteError, match=r"student\.train\.teacher: .*which learns from 'student'"):
        load_suite(path)


def test_a_name_that_is_taken(tmp_path):
    """A candidate that is called as the teacher would be must be named."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("  last:", "  student.teacher:").replace("OPTIONS", f"teacher: {API}"))
    with pytest.raises(SuiteError, match=r"must be called by name, .* teacher: student\.teacher"):
        load_suite(path)
