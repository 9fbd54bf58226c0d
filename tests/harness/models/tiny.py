"""Makes tiny causal language models for tests: random Llama weights and a byte-level BPE tokenizer, seeded."""

from __future__ import annotations

import json
from pathlib import Path

CHATML = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""A template that writes BOS itself, like those of Llama 3."""
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system turns here') }}"
    "{% elif m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
"""A template with a space before the answer, that refuses system turns."""
TEXT = """the patient has a fever and a cough for three days please advise rest water doctor headache rash pain
score 1 2 3 4 5 10 since yesterday my child left arm it hurts when walking call an ambulance now"""
WORDS = TEXT.split()


def make_tokenizer(folder: Path, *, template: str | None = CHATML, merge_ten: bool = True) -> None:
    """Writes a tokenizer that puts BOS at the head; with `merge_ten` the text "10" is one token, else two."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    text = " ".join(word for word in WORDS if merge_ten or word != "10")
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([text] * 5 + (["10 10 10\n10"] * 20 if merge_ten else []), trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    bpe.add_tokens([AddedToken(f"<|{role}|>", special=False) for role in ("user", "assistant", "system")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def make_model(
    folder: Path,
    *,
    seed: int = 0,
    window: int = 256,
    template: str | None = CHATML,
    merge_ten: bool = True,
    sharpness: float = 30.0,
    stopping: float = 1.0,
) -> Path:
    """Writes tokenizer, config and random weights.

    `sharpness` scales the logits, so that draws differ from a uniform; `stopping` those of EOS, so that some answers end.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder, template=template, merge_ten=merge_ten)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=window,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(sharpness)
        model.lm_head.weight[config.eos_token_id].mul_(stopping)
        for layer in model.model.layers:  # else the last token alone decides, and every prompt gets one answer
            layer.self_attn.v_proj.weight.mul_(6)
            layer.self_attn.o_proj.weight.mul_(6)
    model.save_pretrained(folder)
    return folder


def make_adapter(
    folder: Path, base: Path, *, seed: int = 1, base_sha: str | None = None, bias: str = "none", scale: float = 0.3
) -> Path:
    """Writes a LoRA adapter with random weights; with `base_sha` a manifest, as muster's trainer leaves one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", bias=bias)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=scale)
    model.save_pretrained(folder)
    if base_sha is not None:
        (folder / "manifest.json").write_text(json.dumps({"base_fingerprint": base_sha}))
    return folder


def make_t5(folder: Path, *, seed: int = 0, sharpness: float = 40.0) -> Path:
    """Writes a random T5 of two layers a side, without dropout, whose tokenizer ends every text with EOS and knows no BOS."""
    import torch
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    make_tokenizer(folder, template=None)
    bpe = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", pad_token="<pad>", unk_token="<pad>")
    tokenizer.save_pretrained(folder)
    config = T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=len(tokenizer), dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.mul_(sharpness / 8)
        for stack in (model.encoder, model.decoder):
            for block in stack.block:
                for layer in block.layer[:-1]:
                    attention = layer.SelfAttention if hasattr(layer, "SelfAttention") else layer.EncDecAttention
                    attention.v.weight.mul_(4)
                    attention.o.weight.mul_(4)
    model.save_pretrained(folder)
    return folder
