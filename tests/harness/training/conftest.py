"""A base model small enough to train in a second: random Llama weights, a tokenizer learnt from the tests' words."""

import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from harness.records import Message, Prompt, Sample
from harness.suite.grammar import TrainSpec, TransformersModel

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


def babble(rng, words):
    """That many invented words."""
    return " ".join("".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 3))) for _ in range(words))


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory, libraries) -> Path:
    """A Llama of 2 layers and 32 dimensions, whose tokenizer puts <s> at the head and ends with </s>."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    folder = tmp_path_factory.mktemp("base")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((babble(rng, 20) for _ in range(200)), trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )
    tokenizer.save_pretrained(folder)
    set_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(base_folder):
    """The base model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base_folder)


@pytest.fixture
def samples() -> list[Sample]:
    """Twenty-four questions and answers of different lengths, rows 1 to 24."""
    rng = random.Random(1)
    return [
        Sample(
            id=f"s{row}",
            split="train",
            row=row,
            input=babble(rng, rng.randint(3, 12)),
            references=(babble(rng, rng.randint(2, 9)),),
        )
        for row in range(1, 25)
    ]


@pytest.fixture
def ask():
    """The prompt of a sample, as a candidate would build it."""
    return lambda sample: Prompt(sample_id=sample.id, messages=(Message(role="user", content=f"Q: {sample.input}"),))


@pytest.fixture
def recipe():
    """Makes a TrainSpec that takes 12 steps over `samples`, with dropout; options replace its own."""

    def build(**options):
        own = {"rank": 4, "dropout": 0.1, "learning_rate": 5e-3, "epochs": 2, "save_steps": 3, "logging_steps": 4}
        return TrainSpec(base="base", **{**own, **options})

    return build


@pytest.fixture
def run(base_folder, samples, ask, tmp_path):
    """Calls `train` on the tiny base; adapters go to tmp_path/adapters."""
    from harness.training.trainer import train

    def call(spec, *, rows=None, adapters=None, seed=1, candidate="lora", base=base_folder, **options):
        return train(
            candidate,
            spec,
            base=TransformersModel(kind="transformers", path=base.name),
            root=base.parent,
            samples=samples if rows is None else rows,
            prompt=ask,
            adapters=adapters or tmp_path / "adapters",
            seed=seed,
            **options,
        )

    return call
