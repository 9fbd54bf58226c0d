"""Options of a training that evaluates its checkpoints: what is refused, at its place."""

from __future__ import annotations

import pytest

from harness.errors import SuiteError
from harness.suite import load_suite

SUITE = """\
suite: s
data: {path: rows.jsonl, fields: {input: q, reference: a}}
splits: {train: {share: 0.5, use: training}, valid: {share: 0.2, use: validation}, test: {share: 0.2}}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  lora: {train: {base: base, OPTIONS}}
judges:
  correctness: {}
  rouge: {}
  perplexity: {}
"""


def load(folder, options, suite=SUITE):
    """A suite whose one training has these options."""
    (folder / "rows.jsonl").write_text("{}\n")
    (folder / "suite.yaml").write_text(suite.replace("OPTIONS", options))
    return load_suite(folder / "suite.yaml").suite


def test_the_only_validation_split_is_taken(tmp_path):
    """A training that is evaluated finds its split; one that is not has none."""
    suite = load(tmp_path, "evaluate_every: epoch, select: [loss, rouge], early_stopping: {patience: 2}")
    spec = suite.candidates["lora[select=rouge]"].train
    assert suite.validation_split(spec) == "valid"
    assert (spec.selects_by, spec.stops_by) == ("rouge", "rouge")
    assert suite.validation_split(load(tmp_path, "rank: 4").candidates["lora"].train) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("select: rouge", r"train: must have 'evaluate_every' beside 'select', such as evaluate_every: epoch"),
        ("evaluate_every: 5, select: ruge", r"train.select: must be 'loss', 'correctness' or 'rouge' \(got 'ruge'\)"),
        ("evaluate_every: 5, select: ruge", r"did you mean 'rouge'\?"),
        ("evaluate_every: 5, select: perplexity", r"got 'perplexity', which is no judge of a single answer"),
        ("evaluate_every: 5, evaluate_with: [rouge, loss]", r"evaluate_with\[1\]: must be 'correctness' or 'rouge'"),
        ("evaluate_every: 5, early_stopping: {metric: x}", r"early_stopping.metric: must be 'loss', 'correctness' or"),
        ("evaluate_every: 5, validation: train", r"must name a split with 'use: validation': 'valid' \(got 'train'\)"),
        ("evaluate_every: often", r"evaluate_every: must be .*'epoch'"),
        ("load_best_model_at_end: true", r"'select' keeps the best"),
        ("metric_for_best_model: rouge", r"is called 'select' here"),
    ],
)
def test_what_cannot_be_evaluated_is_told_at_its_place(tmp_path, options, message):
    """Unknown metrics, judges of more than one answer, other splits and options without a pace are mistakes."""
    with pytest.raises(SuiteError, match=message):
        load(tmp_path, options)


def test_a_suite_without_a_validation_split_says_so(tmp_path):
    """So does one with several and none named, and one whose judge has the loss's name."""
    with pytest.raises(SuiteError, match=r"must have a split to evaluate on, with 'use: validation'"):
        load(tmp_path, "evaluate_every: 5", SUITE.replace(", valid: {share: 0.2, use: validation}", ""))
    two = SUITE.replace("test: {share: 0.2}", "test: {share: 0.2}, more: {share: 0.1, use: validation}")
    with pytest.raises(SuiteError, match=r"must name its 'validation' split, as there are several: 'valid' or 'more'"):
        load(tmp_path, "evaluate_every: 5", two)
    with pytest.raises(SuiteError, match=r"judges.loss: must have another name where trainings are evaluated"):
        load(tmp_path, "evaluate_every: 5", SUITE + "  loss: {kind: rouge}\n")
