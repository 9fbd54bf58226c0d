"""Rendering: one way to tokens, the prefix property, one BOS, EOS at the end."""

import pytest
from transformers import AutoTokenizer

from harness.errors import UserError
from harness.models import rendering
from harness.records import Message
from tests.harness.models.tiny import CHATML, LLAMA2, make_tokenizer

USER = Message(role="user", content="the patient has a fever")
SYSTEM = Message(role="system", content="be kind")
SHOT = (Message(role="user", content="a rash"), Message(role="assistant", content="rest and water"))


@pytest.fixture(params=[CHATML, LLAMA2, None], ids=["writes-bos", "llama2", "no-template"])
def tokenizer(request, tmp_path):
    """A tokenizer with each kind of template."""
    make_tokenizer(tmp_path, template=request.param)
    return AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("turns", [(USER,), (*SHOT, USER)], ids=["one", "few-shot"])
@pytest.mark.parametrize("answer", ["please rest", " please rest \n", "10", "'s", ""])
def test_training_context_is_what_inference_feeds(tokenizer, turns, answer):
    """The prompt ids of a training row are inference's, whatever the answer; answer and EOS follow."""
    prompt, trained = rendering.training_tokens(tokenizer, turns, answer)
    assert prompt == rendering.prompt_tokens(tokenizer, turns)
    assert trained[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in trained[:-1]
    assert rendering.decode(tokenizer, trained) == answer.strip()


@pytest.mark.parametrize("turns", [(USER,), (*SHOT, USER)], ids=["one", "few-shot"])
def test_one_bos_at_the_head(tokenizer, turns):
    """A template that writes BOS and a tokenizer that adds one give one together."""
    ids = rendering.prompt_tokens(tokenizer, turns)
    assert ids[0] == tokenizer.bos_token_id
    assert ids[1] != tokenizer.bos_token_id


def test_bos_in_the_text_is_not_doubled(tokenizer):
    """Text that begins with one or two <s> gives the ids of text without."""
    plain = rendering.tokens(tokenizer, "hello")
    assert rendering.tokens(tokenizer, "<s>hello") == plain
    assert rendering.tokens(tokenizer, "<s><s>hello") == plain


def test_no_bos_where_the_tokenizer_adds_none(tmp_path):
    """A tokenizer that adds no BOS gets none."""
    make_tokenizer(tmp_path, template=None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    assert rendering.tokens(tokenizer, "hello")[0] != tokenizer.bos_token_id


def test_prompt_ending_in_a_space_keeps_its_ids(tmp_path):
    """Where prompt and answer would merge across the boundary, the prompt's ids stand and the answer is split alone."""
    make_tokenizer(tmp_path, template="{{ messages[0]['content'] }}{% if add_generation_prompt %} {% endif %}")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prompt, trained = rendering.training_tokens(tokenizer, [USER], "fever")
    text = rendering.render(tokenizer, [USER], add_generation_prompt=True)
    assert rendering.tokens(tokenizer, text + "fever")[: len(prompt)] != prompt  # the trap is there
    assert prompt == rendering.prompt_tokens(tokenizer, [USER])
    assert tokenizer.decode(trained[:-1]) == "fever"


def test_llama2_answers_are_split_as_the_template_writes_them(tmp_path):
    """The space that the template puts before an answer is trained, as the pretrained model saw it."""
    make_tokenizer(tmp_path, template=LLAMA2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    prompt, trained = rendering.training_tokens(tokenizer, [USER], "fever")
    assert tokenizer.decode(prompt + trained[:-1]).endswith("[/INST] fever")


def test_plain_form_of_a_base_model(tmp_path):
    """Without a template a single question stands as it is, and a conversation gets labels."""
    make_tokenizer(tmp_path, template=None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert rendering.render(tokenizer, [USER], add_generation_prompt=True) == "the patient has a fever\n\n"
    assert rendering.render(tokenizer, [SYSTEM, *SHOT, USER], add_generation_prompt=True) == (
        "be kind\n\nUser:\na rash\n\nAssistant:\nrest and water\n\nUser:\nthe patient has a fever\n\nAssistant:\n"
    )


def test_template_that_refuses_is_one_line(tmp_path):
    """A template that raises for a system turn gives a UserError with the template's own words."""
    make_tokenizer(tmp_path, template=LLAMA2)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"\[system, user\]: no system turns here"):
        rendering.render(tokenizer, [SYSTEM, USER], add_generation_prompt=True)


def test_tokenizer_without_eos_is_refused(tmp_path):
    """A model that could never learn to stop is not trained."""
    make_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="EOS"):
        rendering.training_tokens(tokenizer, [USER], "rest")


@pytest.mark.parametrize(("configured", "expected"), [(None, (2,)), (7, (2, 7)), ([9, 2, 7], (2, 7, 9))])
def test_stop_ids_join_tokenizer_and_config(tmp_path, configured, expected):
    """Generation stops at the tokenizer's EOS and at every id of the generation config."""
    make_tokenizer(tmp_path)
    assert rendering.stop_ids(AutoTokenizer.from_pretrained(tmp_path), configured) == expected


@pytest.mark.parametrize("answer", ["1", "10", "100"])
def test_an_answer_depends_on_the_last_piece_alone(tokenizer, answer):
    """Prompts that end alike have the same answer ids; a template without added tokens has no such piece."""
    found = {}
    for turn in (USER, SHOT[0]):
        text = rendering.render(tokenizer, [turn], add_generation_prompt=True)
        piece = rendering.last_piece(tokenizer, text)
        assert text.endswith(piece)
        assert (piece == "<|assistant|>") == (tokenizer.chat_template == CHATML)
        ids = rendering.answer_tokens(tokenizer, text, rendering.tokens(tokenizer, text), answer)
        assert found.setdefault(piece, ids) == ids
