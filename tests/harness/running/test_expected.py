"""What a run would ask of endpoints: rewards of trainings are counted too."""

import json

from harness.data import load_dataset
from harness.running.expected import expected_requests
from harness.running.plan import make_plan
from harness.suite import load_suite


def test_a_reward_asks_for_every_drawn_answer(tmp_path):
    """6 steps of 16 answers, by two criteria and 20 draws each: 3,840 requests, beside those for the evaluation."""
    rows = [{"q": f"question {number}", "a": "x", "part": "train" if number < 24 else "test"} for number in range(26)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.yaml").write_text(
        """\
suite: s
data: {path: d.jsonl, fields: {input: q, reference: a}}
splits: {train: {where: {part: train}, use: training}, test: {where: {part: test}}}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  policy: {train: {base: base, objective: grpo, reward: good, batch_size: 16}}
judges:
  good: {kind: geval, criteria: {kind: "Is it kind?", right: "Is it right?"}, model: {kind: openai, name: m, base_url: "http://localhost:1/v1"}}
"""
    )
    loaded = load_suite(tmp_path / "s.yaml")
    found = {one.user: one.requests for one in expected_requests(make_plan(loaded, load_dataset(loaded)))}
    assert found == {"good": 2 * 2 * 2 * 20, "policy, by good": 6 * 16 * 2 * 20}
