"""Sweeps: lists of training options become candidates."""

from __future__ import annotations

import pytest

from harness.errors import SuiteError
from harness.suite import expand_sweeps, load_suite

SUITE = """\
suite: s
data: {path: rows.jsonl, fields: {input: q, reference: a}}
splits: {train: {share: 0.5, use: training}, test: {share: 0.5}}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  lora: {train: {base: base, OPTIONS, dropout: 0.1}}
  last: {train: {base: base}}
judges: {correctness: {}}
gate: {baseline: BASELINE, rules: [{metric: correctness, better_by: 0.1}]}
"""


def load(folder, options, baseline="base"):
    """A suite whose one training has these options."""
    (folder / "rows.jsonl").write_text("{}\n")
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("OPTIONS", options).replace("BASELINE", baseline))
    return load_suite(path)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("rank: 4", ["lora"]),
        ("rank: [4]", ["lora[rank=4]"]),
        ("rank: [4, 8]", ["lora[rank=4]", "lora[rank=8]"]),
        ("learning_rate: [4.0e-5, 0.001]", ["lora[learning_rate=4e-05]", "lora[learning_rate=0.001]"]),
        ("alpha: [8, 0.1234567891]", ["lora[alpha=8]", "lora[alpha=0.1234567891]"]),
        (
            "alpha: [8, 16], rank: [4, 8]",
            ["lora[rank=4,alpha=8]", "lora[rank=4,alpha=16]", "lora[rank=8,alpha=8]", "lora[rank=8,alpha=16]"],
        ),
    ],
)
def test_lists_become_candidates_at_their_place(tmp_path, options, names):
    """One candidate each, several lists as a product in a fixed order; the other options are kept."""
    suite = load(tmp_path, options).suite
    assert list(suite.candidates) == ["base", *names, "last"]
    for name in names:
        train = suite.candidates[name].train
        assert train.dropout == 0.1
        assert isinstance(train.rank, int)
        assert isinstance(train.alpha, float)
        assert isinstance(train.learning_rate, float)
    assert expand_sweeps(suite) == suite


def test_a_sweep_is_no_baseline_but_one_of_it_is(tmp_path):
    """The gate needs one candidate; naming the sweep lists them."""
    with pytest.raises(
        SuiteError, match=r"must be one candidate \(got 'lora', a sweep\). Name 'lora\[rank=4\]' or 'lora\[rank=8\]'"
    ):
        load(tmp_path, "rank: [4, 8]", "lora")
    assert load(tmp_path, "rank: [4, 8]", "'lora[rank=8]'").suite.gate.baseline == "lora[rank=8]"
