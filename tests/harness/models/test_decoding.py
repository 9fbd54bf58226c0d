"""Decoding: batches equal batch size 1, whatever the lengths, stops and prefixes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from harness.models import decoding
from harness.models.decoding import Row


@pytest.fixture(scope="module")
def model(tiny_base):
    """The tiny model."""
    return AutoModelForCausalLM.from_pretrained(tiny_base).eval()


def prompts(*, shared=0, count=9, seed=0):
    """Rows of random ids, of 3 to 40 ids after `shared` common ones."""
    rng = np.random.default_rng(seed)
    common = rng.integers(3, 300, shared).tolist()
    return [common + rng.integers(3, 300, rng.integers(3, 40)).tolist() for _ in range(count)]


def generate(model, ids, limit, stop_ids=(2,)):
    """What transformers' own generate says for one row, greedily, without its stop token."""
    out = model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids)),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=list(stop_ids),
    )
    new = out[0, len(ids) :].tolist()
    return new[:-1] if new and new[-1] in stop_ids else new


@pytest.mark.parametrize("shared", [0, 40], ids=["own-prompts", "shared-prefix"])
def test_batch_equals_generate_of_one_row(model, shared):
    """Each row of a batch says what transformers' generate says for it alone, and some end before the limit."""
    rows = prompts(shared=shared, count=24)
    stops = tuple(range(2, 60))  # so many that random weights stop now and then
    decoded = decoding.decode(model, [Row(ids=ids, limit=30) for ids in rows], stop_ids=stops)
    assert [d.ids for d in decoded] == [generate(model, ids, 30, stops) for ids in rows]
    assert {d.finish for d in decoded} == {"stop", "length"}  # else the test shows less than it says
    assert len({len(d.ids) for d in decoded}) > 3


def test_right_padding_would_fail(model):
    """The guard: the same rows padded on the right do not give the texts of batch size 1."""
    rows = prompts(count=8)
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    out = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=10, do_sample=False, pad_token_id=0)
    wrong = [new.tolist() for new in out[:, width:]]
    right = [d.ids for d in decoding.decode(model, [Row(ids=row, limit=10) for row in rows], stop_ids=[2])]
    assert sum(w[: len(r)] == r for w, r in zip(wrong, right, strict=True)) < len(rows)


def test_sliding_window_models_go_another_way_to_the_same_text():
    """A model with a sliding window keeps transformers' own cache, and says what generate says."""
    torch.manual_seed(0)
    config = MistralConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=300, sliding_window=16, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    model.lm_head.weight.data.mul_(30)
    rows = prompts(shared=30)
    decoded = decoding.decode(model, [Row(ids=ids, limit=12) for ids in rows], stop_ids=[2])
    assert [d.ids for d in decoded] == [generate(model, ids, 12) for ids in rows]
    choices = [[[5, 6], [7]]] * len(rows)
    together = decoding.continuation_log_likelihoods(model, rows, choices, stop_ids=[2])
    alone = [decoding.continuation_log_likelihoods(model, [row], choices[:1], stop_ids=[2])[0] for row in rows]
    assert np.allclose(together, alone, atol=1e-5)


def test_each_row_has_its_own_limit(model):
    """A row stops at its own limit while the others go on."""
    rows = prompts(count=4)
    decoded = decoding.decode(
        model, [Row(ids=r, limit=n) for r, n in zip(rows, (1, 5, 2, 9), strict=True)], stop_ids=[]
    )
    assert [len(d.ids) for d in decoded] == [1, 5, 2, 9]


def test_draws_belong_to_the_row_not_to_the_batch(model):
    """A sampled row says the same alone, in a batch, and in another order; another seed says something else."""
    rows = [Row(ids=ids, limit=12, seed=i) for i, ids in enumerate(prompts(count=6))]
    options = {"stop_ids": [2], "temperature": 20.0, "top_p": 0.95}
    together = decoding.decode(model, rows, **options)
    assert together == [decoding.decode(model, [row], **options)[0] for row in rows]
    assert together == decoding.decode(model, rows[::-1], **options)[::-1]
    other = decoding.decode(model, [Row(ids=r.ids, limit=12, seed=99) for r in rows], **options)
    assert all(a.ids != b.ids for a, b in zip(together, other, strict=True))


def test_draws_follow_the_distribution():
    """Frequencies of 20,000 draws agree with softmax at a temperature, and with nucleus sampling cut to its nucleus."""
    logits = torch.log(torch.tensor([[0.4, 0.05, 0.3, 0.25]])).repeat(20_000, 1)
    uniforms = np.random.default_rng(0).random(20_000).tolist()
    for top_p, expected in ((1.0, [0.4, 0.05, 0.3, 0.25]), (0.7, [4 / 7, 0, 3 / 7, 0]), (0.1, [1, 0, 0, 0])):
        drawn, _ = decoding._pick(logits, temperature=1.0, top_p=top_p, uniforms=uniforms)
        shares = np.bincount(drawn.numpy(), minlength=4) / 20_000
        assert np.abs(shares - expected).max() < 0.012
    hot, _ = decoding._pick(logits, temperature=2.0, top_p=1.0, uniforms=uniforms)
    roots = np.sqrt([0.4, 0.05, 0.3, 0.25])
    assert np.abs(np.bincount(hot.numpy(), minlength=4) / 20_000 - roots / roots.sum()).max() < 0.012


def test_broken_logits_are_a_failure_of_their_row_only(model):
    """A row whose logits are not finite ends as `not_finite`; the others are not touched."""
    rows = prompts(count=3)
    sound = decoding.decode(model, [Row(ids=ids, limit=6) for ids in rows], stop_ids=[2])
    marked = 299
    kept = model.model.embed_tokens.weight[marked].clone()
    try:
        model.model.embed_tokens.weight.data[marked] = float("nan")
        broken = decoding.decode(
            model, [Row(ids=ids, limit=6) for ids in [rows[0], [*rows[1], marked], rows[2]]], stop_ids=[2]
        )
    finally:
        model.model.embed_tokens.weight.data[marked] = kept
    assert [d.finish == "not_finite" for d in broken] == [False, True, False]
    assert (broken[0], broken[2]) == (sound[0], sound[2])


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 9), st.integers(100, 2000))
@settings(deadline=None, max_examples=100)
def test_batches_hold_every_row_once_within_their_bounds(lengths, max_rows, max_tokens):
    """Batches are a partition, sorted by length, and only a single row may be larger than the bound."""
    made = list(decoding.batches(lengths, max_rows=max_rows, max_tokens=max_tokens))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    flat = [lengths[i] for batch in made for i in batch]
    assert flat == sorted(flat, reverse=True)
    for batch in made:
        assert len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= max_tokens


@given(st.sets(st.integers(0, 12), min_size=1))
def test_compacting_keeps_the_same_rows_and_moves_few(places):
    """The order is a permutation of the rows that stay, and a row that need not move does not."""
    order = decoding._compact(sorted(places))
    assert set(order) == places
    assert all(order[p] == p for p in places if p < len(places))


def test_choice_likelihoods_equal_the_long_way(model):
    """Shared prefix, cache and padding change nothing: one forward pass per prompt and choice gives the same to 1e-6."""
    double = model.double()
    try:
        for shared in (0, 30):
            rows = prompts(shared=shared, count=5)
            choices = [[[5], [6, 7, 8], [9, 10]]] * 5
            got = decoding.continuation_log_likelihoods(double, rows, choices, stop_ids=[2, 11])
            for row, scores in zip(rows, got, strict=True):
                for ids, score in zip(choices[0], scores, strict=True):
                    logits = double(input_ids=torch.tensor([row + ids])).logits[0].detach().log_softmax(-1)
                    start = len(row) - 1
                    expected = sum(float(logits[start + i, token]) for i, token in enumerate(ids))
                    expected += float(torch.logsumexp(logits[start + len(ids), [2, 11]], 0))
                    assert abs(score - expected) < 1e-6
    finally:
        model.float()


def test_a_prefix_is_computed_once(monkeypatch):
    """What all prompts begin with passes through the model with one row only."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=300
    )
    model = LlamaForCausalLM(config).eval()
    shapes = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **kw: (shapes.append(tuple(kw["input_ids"].shape)), forward(**kw))[1])
    rows = [[7] * 100 + [8 + i] for i in range(5)]
    decoding.continuation_log_likelihoods(model, rows, [[[3]]] * 5, stop_ids=[2])
    assert shapes == [(1, 100), (5, 1), (5, 1)]


def test_all_choices_take_one_pass_and_common_beginnings_one_place(monkeypatch, model):
    """ "1", "10", "100" and "2" are four tokens in one forward, however many choices there are."""
    shapes = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **kw: (shapes.append(tuple(kw["input_ids"].shape)), forward(**kw))[1])
    rows = prompts(count=5)
    choices = [[[11], [11, 10], [11, 10, 10], [12]]] * 5
    decoding.continuation_log_likelihoods(model, rows, choices, stop_ids=[2])
    assert shapes[1:] == [(5, 4)]


@pytest.mark.parametrize(("kind", "window"), [*((kind, None) for kind in decoding.BRANCHING), ("mistral", 64)])
def test_a_tree_of_choices_equals_one_pass_a_choice(kind, window, monkeypatch):
    """For every architecture that branches, and one that does not for its sliding window; choices differ by row."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(kind, vocab_size=300, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes)
    for name, value in {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": window}.items():
        if hasattr(config, name):
            setattr(config, name, value)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)  # else every choice is about as likely as any other
    passes = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **kw: (passes.append(1), forward(**kw))[1])
    rows = prompts(shared=20, count=4)
    choices = [[[5 + i], [6, 7], [6, 7, 8 + i], [6], [9, 10]] for i in range(4)]
    together = decoding.continuation_log_likelihoods(model, rows, choices, stop_ids=[2, 11])
    assert len(passes) == (3 if window is None else 6)  # prefix and rest once, then one pass, or one a choice
    monkeypatch.setattr(decoding, "TREE_LOGITS", 2400)  # two choices a pass
    in_parts = decoding.continuation_log_likelihoods(model, rows, choices, stop_ids=[2, 11])
    for row, options, *scores in zip(rows, choices, together, in_parts, strict=True):
        for ids, *found in zip(options, *scores, strict=True):
            log = model(input_ids=torch.tensor([row + ids])).logits[0].detach().log_softmax(-1)
            expected = sum(float(log[len(row) - 1 + i, token]) for i, token in enumerate(ids))
            expected += float(torch.logsumexp(log[len(row) - 1 + len(ids), [2, 11]], 0))
            assert found == pytest.approx([expected, expected], abs=1e-8)
    assert np.ptp(together) > 1
