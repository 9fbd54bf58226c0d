"""Judges against cases written by hand: each `tests/cases/*.yaml` is one judge, good cases and known weaknesses.

    judge: {kind: correctness}        # the judge's options; a case may override some with a `judge:` of its own
    cases:
      - name: a paraphrase of the reference is correct
        reference: ...                # and input, context, answer, samples, retrieved, likelihoods: a line of `muster score`
        answer: ...
        at_least: 0.6                 # any of at_least, at_most, equals (to 1e-6), label, above; or error alone
      - name: a wrong dose is called correct
        weakness: true                # asserts the *wrong* outcome, so that an improvement is noticed and written down
        ...
        above: another case's name    # this case's score is higher than the named case's

The judges are built by `JudgeBuilder` on the embedded models, once a file.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.cli.score import read_cases, validate
from harness.data.sources import Row, Rows
from harness.errors import UserError
from harness.models.load import ModelRoom
from harness.suite.reading import read_source
from harness.suite.source import Source, to_plain
from judges import JudgeBuilder

FOLDER = Path(__file__).parents[1] / "cases"
FILES = sorted(FOLDER.glob("*.yaml"))
INPUT = ("id", "input", "reference", "context", "answer", "samples", "retrieved", "likelihoods")
"""What a judge may be given: the keys of an input line of `muster score`."""
SCORED = ("at_least", "at_most", "equals", "label", "above")


class CaseRow(BaseModel):
    """One case of a file. What the judge is given stands in `given`, what must come out in the other fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    given: dict[str, Any]
    judge: dict[str, Any] = {}
    weakness: bool = False
    at_least: float | None = None
    at_most: float | None = None
    equals: float | None = None
    label: str | None = None
    error: str | None = None
    above: str | None = None

    @model_validator(mode="after")
    def _asserts_something(self):
        scored = [key for key in SCORED if getattr(self, key) is not None]
        if bool(scored) == (self.error is not None):
            raise ValueError(f"must have any of {', '.join(SCORED)}, or 'error' alone")
        if not self.given:
            raise ValueError(f"must give the judge something: {', '.join(INPUT)}")
        return self


class CaseFile(BaseModel):
    """One judge and its cases."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    judge: dict[str, Any]
    cases: list[CaseRow] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self):
        names = [case.name for case in self.cases]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"names must be unique (twice: {sorted(twice)})")
        scored = {case.name for case in self.cases if case.error is None}
        for case in self.cases:
            if case.above is not None and case.above not in scored - {case.name}:
                raise ValueError(f"{case.name}: 'above' must name another case with a score (got {case.above!r})")
        return self

    def spec(self, case: CaseRow):
        """The judge of a case: the file's, with the case's own options."""
        return validate(self.judge.get("kind", "judge"), {**self.judge, **case.judge})


@functools.cache
def read_case_file(path: Path) -> CaseFile:
    """A file without mistakes. Raises UserError or ValidationError for whatever is wrong in it."""
    document, problems = read_source(Source(path, path.name))
    if document is None or problems:
        raise UserError("\n".join(str(problem) for problem in problems))
    plain = to_plain(document)
    for case in plain.get("cases") or []:
        if isinstance(case, dict):
            case["given"] = {key: case.pop(key) for key in INPUT if key in case}
    file = CaseFile.model_validate(plain)
    for case in file.cases:
        file.spec(case)
    read_cases(_rows(path, file.cases))
    return file


def _rows(path: Path, cases: list[CaseRow]) -> Rows:
    rows = [Row(number, None, {"id": case.name, **case.given}) for number, case in enumerate(cases, 1)]
    return Rows(name=path.name, columns=INPUT, rows=tuple(rows))


@functools.cache
def builder() -> JudgeBuilder:
    """The embedded models, each loaded once for all files."""
    return JudgeBuilder(ModelRoom(FOLDER))


@functools.cache
def judgements(path: Path) -> dict[str, Any]:
    """Every judgement of a file by its case's name; cases of equal options are judged together."""
    file = read_case_file(path)
    groups: dict[str, list[CaseRow]] = {}
    for case in file.cases:
        groups.setdefault(repr(file.spec(case)), []).append(case)
    found = {}
    for cases in groups.values():
        judge = builder().build(path.stem, file.spec(cases[0]))
        _, given = read_cases(_rows(path, cases))
        found.update(zip([case.name for case in cases], judge.judge(given), strict=True))
    return found


def _well_formed() -> list[Any]:
    """Every case of every file that can be read; the others fail in `test_a_file_of_cases_holds_no_mistake`."""
    found = []
    for path in FILES:
        try:
            cases = read_case_file(path).cases
        except (UserError, ValidationError):
            continue
        found += [pytest.param(path, case, id=f"{path.stem}: {case.name}") for case in cases]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_cases_holds_no_mistake(path):
    """Keys, values, options and names are right."""
    read_case_file(path)


@pytest.mark.parametrize(("path", "case"), _well_formed())
def test_a_judge_judges_the_case_as_written(path, case):
    """Score within the stated bounds, label, order and error as stated."""
    judgement = judgements(path)[case.name]
    outcome = f"{case.name}: score {judgement.score}, label {judgement.label}, error {judgement.error}"
    note = f"{outcome}. The judge no longer shows this weakness: say so in its definition, and mend the case"
    told = note if case.weakness else outcome
    if case.error is not None:
        assert (judgement.score, judgement.error and judgement.error.kind) == (None, case.error), told
        return
    assert judgement.error is None, told
    if case.at_least is not None:
        assert judgement.score >= case.at_least, told
    if case.at_most is not None:
        assert judgement.score <= case.at_most, told
    if case.equals is not None:
        assert judgement.score == pytest.approx(case.equals, abs=1e-6), told
    if case.label is not None:
        assert judgement.label == case.label, told
    if case.above is not None:
        other = judgements(path)[case.above]
        assert other.score is not None, f"{case.above}: {other.error}"
        assert judgement.score > other.score, f"{told}; {case.above}: score {other.score}"


RIGHT = "judge: {kind: token_f1}\ncases:\n  - {name: one, reference: a cat, answer: cat, equals: 1.0}\n"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("kind: token_f1", "kind: token_f2"),
        ("kind: token_f1", "kind: token_f1, modl: x"),
        ("cases:", "case:"),
        ("reference:", "refrence:"),
        ("equals:", "equal:"),
        ("equals: 1.0", "equals: high"),
        ("equals: 1.0", "equals: .nan"),
        ("equals: 1.0", "weakness: true"),
        ("equals: 1.0", "equals: 1.0, error: no_answer"),
        ("equals: 1.0", "above: two"),
        ("equals: 1.0", "above: one"),
        ("equals: 1.0}", "equals: 1.0}\n  - {name: one, answer: cat, error: missing_input}"),
        ("equals: 1.0", "equals: 1.0, judge: {pattern: x}"),
        ("reference: a cat, answer: cat, ", ""),
        ("answer: cat", "answer: [cat]"),
        ("answer: cat", "answer: cat, answer: dog"),
    ],
)
def test_a_typo_in_a_file_of_cases_is_found(tmp_path, right, wrong):
    """A key, option or name that does not exist fails, instead of asserting less than was meant."""
    path = tmp_path / "token_f1.yaml"
    path.write_text(RIGHT)
    assert read_case_file(path).cases[0].equals == 1.0
    assert RIGHT.count(right) == 1
    mistaken = tmp_path / "mistaken.yaml"
    mistaken.write_text(RIGHT.replace(right, wrong))
    with pytest.raises((UserError, ValidationError)):
        read_case_file(mistaken)
