"""The benchmark measures what it says: three ways that train alike, and the part for a GPU in a small shape without one."""

import sys

import pytest

from tests.benchmarks import training as benchmark

TINY = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 4096, "tie_word_embeddings": False,
}  # fmt: skip


def test_the_three_ways_train_alike(tmp_path):
    """Plain script, bare loop and muster see the same rows in the same order: their mean losses agree to 1e-5."""
    tokenizer, samples, rows, audit = benchmark.prepare(tmp_path, TINY, 10, 4)
    losses = [
        benchmark.plain(tmp_path, tokenizer, rows, 4)[1],
        benchmark.bare(tmp_path, rows, 4)[1],
        benchmark.ours(tmp_path, samples, 4, "0")[1],
    ]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)
    fed = sum(batch[0].numel() for batch in benchmark.packed_batches(rows, 4))
    assert fed == audit.tokens


def test_the_part_for_a_card_runs_in_a_small_shape(tmp_path):
    """Both precisions, both ways: rates in the ratio of tokens to rows, equal losses, a share that follows the rate."""
    pytest.importorskip("bitsandbytes")
    figures = benchmark.measure_card(tmp_path, TINY, rows=8, batch_size=4)
    assert [(one.who, one.precision) for one in figures] == [
        (who, precision) for precision in ("bf16", "nf4") for who in ("plain SFTTrainer", "muster")
    ]
    tokens = benchmark.prepare(tmp_path, TINY, 8, 4)[3].mean
    for one in figures:
        assert one.tokens_per_second / one.rows_per_second == pytest.approx(tokens)
        assert one.share > 0
    for plain, ours in (figures[:2], figures[2:]):
        assert ours.loss == pytest.approx(plain.loss, rel=1e-3)
        assert ours.share / plain.share == pytest.approx(ours.tokens_per_second / plain.tokens_per_second)


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    """`--card` without a GPU is one line, and no training."""
    monkeypatch.setattr(benchmark.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(benchmark, "measure_card", lambda *a, **k: pytest.fail("it trained"))
    monkeypatch.setattr(sys, "argv", ["training", "--card"])
    benchmark.main()
    assert capsys.readouterr().out == "there is no GPU here: the 7B part is skipped\n"
