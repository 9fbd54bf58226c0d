"""An encoder-decoder model (a random T5) answers and scores as transformers itself does, one prompt at a time."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from harness.models.local import LocalModel
from harness.records import GenerationSettings, Message, Prompt
from tests.harness.models.tiny import make_t5

TEXTS = (
    "fever",
    "the patient has a fever and a cough for three days",
    "rash since yesterday",
    "my left arm hurts",
    "call now",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random T5."""
    return make_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def local(folder):
    """The model as candidates use it."""
    return LocalModel(folder, device="cpu")


@pytest.fixture(scope="module")
def theirs(folder):
    """Model and tokenizer as transformers loads them."""
    return AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def ask(text, system=None):
    """A prompt of one user turn, with a system turn before it."""
    turns = [Message(role="system", content=system)] if system else []
    return Prompt(sample_id=text, messages=(*turns, Message(role="user", content=text)))


def logits_of(theirs, text, answer):
    """Logits along an answer and behind it, from one plain forward call."""
    model, tokenizer = theirs
    said = tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([tokenizer(text)["input_ids"]]), decoder_input_ids=torch.tensor([[0, *said]])
        ).logits[0]
    return said, torch.log_softmax(logits.double(), dim=-1)


def test_greedy_answers_are_those_of_generate(local, theirs):
    """A batch of prompts of different lengths says what `generate` says to each alone; some answers end before the limit."""
    model, tokenizer = theirs
    found = {}
    for batch in local.generator().generate([ask(text) for text in TEXTS], GenerationSettings(max_new_tokens=12)):
        found.update(batch)
    assert sorted(found) == list(range(len(TEXTS)))
    for number, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        out = model.generate(ids, max_new_tokens=12, do_sample=False, num_beams=1)[0]
        assert found[number].text == tokenizer.decode(out, skip_special_tokens=True).strip()
        assert found[number].prompt_tokens == ids.shape[1]
        assert found[number].finish_reason == ("stop" if 2 in out.tolist() else "length")
    assert len({completion.text for completion in found.values()}) > 2


def test_drawn_answers_do_not_depend_on_their_neighbours(local):
    """At temperature 1 each prompt gets the same draw alone and in a batch."""
    settings = GenerationSettings(max_new_tokens=8, temperature=1.0, seed=3)
    together = dict(pair for batch in local.generator().generate([ask(t) for t in TEXTS], settings) for pair in batch)
    for number, text in enumerate(TEXTS):
        [(_, alone)] = next(iter(local.generator().generate([ask(text)], settings)))
        assert alone.text == together[number].text


def test_likelihoods_are_those_of_one_forward_call(local, theirs):
    """The log-likelihood of a given answer is the sum over its tokens, from the definition; two answers share a prompt."""
    pairs = [(ask(text), answer) for text in TEXTS[:3] for answer in ("rest and water", "call an ambulance")]
    found = dict(pair for batch in local.generator().likelihoods(pairs) for pair in batch)
    for number, (prompt, answer) in enumerate(pairs):
        said, logs = logits_of(theirs, prompt.messages[0].content, answer)
        expected = float(sum(logs[place, token] for place, token in enumerate(said)))
        assert found[number].log_likelihood == pytest.approx(expected, abs=1e-4)
        assert found[number].tokens == len(said)


def test_choices_are_scored_with_their_end(local, theirs):
    """A choice's score is that of its tokens and of the end after them."""
    choices = ("1", "10", "rest")
    scores = local.choice_scorer().log_likelihoods([ask(text).messages for text in TEXTS[:2]], choices)
    for text, row in zip(TEXTS, scores, strict=False):
        for choice, score in zip(choices, row, strict=True):
            said, logs = logits_of(theirs, text, choice)
            expected = float(sum(logs[place, token] for place, token in enumerate([*said, 2])))
            assert score == pytest.approx(expected, abs=1e-4)


def test_a_system_turn_and_examples_go_to_the_encoder(local):
    """Several turns are laid out as text, which ends with EOS as every text of this tokenizer does."""
    ids = local.prompt_tokens(ask("fever", system="be brief").messages)
    assert ids[-1] == local.tokenizer.eos_token_id
    assert local.tokenizer.decode(ids[:-1]) == "be brief\n\nUser:\nfever\n\nAssistant:"


def test_an_adapter_is_merged_and_exported(folder, local, tmp_path):
    """The export of a T5 with a LoRA says what the live model says; generate() without arguments ends where muster did."""
    from peft import LoraConfig, get_peft_model

    from harness.training.export import fidelity, read, write_merged

    torch.manual_seed(1)
    lora = LoraConfig(r=4, target_modules=["q", "v"], task_type="SEQ_2_SEQ_LM", init_lora_weights=False)
    get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(folder), lora).save_pretrained(tmp_path / "adapter")
    live = LocalModel(folder, device="cpu").generator(tmp_path / "adapter")
    prompts = [ask(text) for text in TEXTS]
    ours = read(live, prompts, max_new_tokens=8)
    assert ours.answers != read(local.generator(), prompts, max_new_tokens=8).answers
    write_merged(live, tmp_path, dtype="auto", settings=GenerationSettings(max_new_tokens=8), max_shard_size="1GB")
    exported = LocalModel(tmp_path, device="cpu")
    theirs = read(exported.generator(), prompts, max_new_tokens=8, along=ours.answers)
    found = fidelity(ours, theirs)
    assert (found.same_answers, found.same_tokens) == (len(TEXTS), found.tokens)
    assert 0 < found.max_logit < 1e-5 * max(float(logits.abs().max()) for logits in ours.logits)
    ids = exported.tokenizer(TEXTS[1], return_tensors="pt")["input_ids"]
    said = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).generate(input_ids=ids)[0]
    assert exported.tokenizer.decode(said, skip_special_tokens=True).strip() == ours.answers[1]
