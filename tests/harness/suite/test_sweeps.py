"""Sweeps: lists of training options become candidates."""

from __future__ import annotations

import pytest

from harness.errors import SuiteError
from harness.suite import expand_sweeps, load_suite
from harness.suite.grammar import TrainSpec

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
        ("scheduler: [linear, cosine]", ["lora[scheduler=linear]", "lora[scheduler=cosine]"]),
        ("max_steps: [5, null]", ["lora[max_steps=5]", "lora[max_steps=null]"]),
        ("target_modules: [q_proj, v_proj]", ["lora"]),
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


def test_every_option_of_one_value_may_be_a_list(tmp_path):
    """What is a list by nature stays one, what only paces the bookkeeping makes no candidate; all else sweeps."""
    left_out = set(TrainSpec.model_fields) - set(TrainSpec.swept())
    assert {"rank", "epochs", "dropout", "batch_size", "base", "split", "seed", "bias"} <= set(TrainSpec.swept())
    assert {"target_modules", "save_steps", "logging_steps"} <= left_out
    suite = load(tmp_path, "batch_size: [2, 4], warmup: [0.0, 0.1], scheduler: cosine").suite
    trains = {name: spec.train for name, spec in suite.candidates.items() if name.startswith("lora[")}
    assert trains["lora[warmup=0.1,batch_size=2]"].warmup == 0.1
    assert trains["lora[warmup=0.1,batch_size=2]"].batch_size == 2
    assert all(not train.lists and not train.variants for train in trains.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("epochs: [1, 0]", r"train.epochs\[1\]: must be a number above 0 \(got 0\)"),
        ("bias: [none, some]", r"train.bias\[1\]: must be 'none', 'all' or 'lora_only' \(got 'some'\)"),
        ("warmup: [0.0, 0.1]", r"must not have 'warmup' with scheduler 'constant'"),
        ("rank: [4, x], alpha: [-1, 8]", r"(?s)rank\[1\].*alpha\[0\]"),
        ("base: [base, bse]", r"must name a candidate to train \(got 'bse'\)"),
        ("save_steps: [10, 20]", r"save_steps: must be a whole number of at least 1 \(got a list of 2\)"),
        ("split: [train, test]", r"must name a split with 'use: training' \(got 'test'"),
    ],
)
def test_each_entry_is_held_to_the_option_s_own_rules(tmp_path, options, message):
    """A wrong entry is told at its place in the list, and so is a combination that cannot be."""
    text = SUITE.replace("base: base, OPTIONS", options if "base:" in options else f"base: base, {options}")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "suite.yaml").write_text(text.replace("BASELINE", "base"))
    with pytest.raises(SuiteError, match=message):
        load_suite(tmp_path / "suite.yaml")
