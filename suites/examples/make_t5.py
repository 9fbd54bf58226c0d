"""`python -m suites.examples.make_t5`: writes the encoder-decoder of seq2seq.yaml to tiny_t5/, random weights from a seed.

A T5 of two layers a side and 32 dimensions, and a tokenizer of the words in letters.jsonl. It has learnt nothing: seq2seq.yaml
trains it from its first weights.
"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
WORDS = 600
SEED = 7


def make(folder: Path) -> None:
    """Write tokenizer, configuration and weights; the same bytes every time."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    with (HERE / "letters.jsonl").open(encoding="utf-8") as lines:
        letters = [json.loads(line) for line in lines]
    words = Tokenizer(models.WordLevel(unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=WORDS, special_tokens=["<pad>", "<unk>", "</s>"], show_progress=False
    )
    texts = [letter["Patient"] for letter in letters] + [letter["condition"] for letter in letters] * 9
    words.train_from_iterator(texts, trainer)
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    config = T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=len(tokenizer), dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)


if __name__ == "__main__":
    make(HERE / "tiny_t5")
