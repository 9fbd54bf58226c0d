"""Training on conversations: every turn of the assistant with its end is learnt, after exactly what inference feeds."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from harness.data.samples import every_turn
from harness.errors import UserError
from harness.models import decoding, rendering
from harness.models.embedded import resolve
from harness.models.local import LocalModel
from harness.models.prompting import ZeroShot
from harness.records import GenerationSettings, Message, Sample
from harness.training.audit import IGNORED, audit_rows
from harness.training.recipe import TrainingRow, training_rows
from tests.harness.models.tiny import CHATML, LLAMA2, make_model, make_tokenizer

INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '<<SYS>> ' + m['content'] + ' <</SYS>>' }}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""A template of one's own, in the style of the course."""
TEMPLATES = {"chatml": CHATML, "llama2": LLAMA2, "inst": INST}
LEADS = {"chatml": "", "llama2": " ", "inst": " ", "clinic": ""}
"""What each template puts before an answer, as part of the answer's first token."""
TEXT = st.text("abeiorst ADHI.,!?'-0123\n éß漢", min_size=1, max_size=24).filter(lambda text: text.strip())


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """A tokenizer for each template, by name."""
    found = {"clinic": AutoTokenizer.from_pretrained(resolve("embedded:clinic-base"))}
    for name, template in TEMPLATES.items():
        folder = tmp_path_factory.mktemp(name)
        make_tokenizer(folder, template=template)
        found[name] = AutoTokenizer.from_pretrained(folder)
    return found


@st.composite
def conversations(draw, *, system=True):
    """One to four questions with answers, with or without a system message; the last answer stands alone."""
    turns = []
    if system and draw(st.booleans()):
        turns.append(Message(role="system", content=draw(TEXT)))
    for _ in range(draw(st.integers(1, 4))):
        turns.append(Message(role="user", content=draw(TEXT)))
        turns.append(Message(role="assistant", content=draw(TEXT).strip()))
    return TrainingRow(row=1, messages=tuple(turns[:-1]), answer=turns[-1].content)


def decoded(tokenizer, ids):
    """The text of ids, special tokens included."""
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("name", list(LEADS))
def test_every_answer_and_its_end_is_trained_and_nothing_else(tokenizers, name):
    """decode(labels != -100) is the assistant's turns, each with its end, for one turn, many, and a system message."""
    tokenizer = tokenizers[name]

    @settings(max_examples=60, deadline=None)
    @given(row=conversations(system=name != "llama2"))
    def holds(row):
        [token_row], audit = audit_rows(tokenizer, [row], max_length=10_000)
        said = [*(turn.content for turn in row.messages if turn.role == "assistant"), row.answer]
        trained = [label for label in token_row.labels if label != IGNORED]
        assert decoded(tokenizer, trained) == "".join(LEADS[name] + text + tokenizer.eos_token for text in said)
        assert all(label in (IGNORED, i) for label, i in zip(token_row.labels, token_row.input_ids, strict=True))
        assert trained.count(tokenizer.eos_token_id) == audit.answers == len(said)
        assert audit.trained_tokens == len(trained)

    holds()


@pytest.mark.parametrize("name", list(LEADS))
def test_before_every_answer_stands_what_inference_feeds(tokenizers, name):
    """For each trained turn the row's ids up to it are the prompt ids of the conversation so far."""
    tokenizer = tokenizers[name]

    @settings(max_examples=60, deadline=None)
    @given(row=conversations(system=name != "llama2"))
    def holds(row):
        ids, turns = rendering.conversation_tokens(tokenizer, row.messages, row.answer)
        places = [place for place, turn in enumerate(row.messages) if turn.role == "assistant"] + [len(row.messages)]
        for (start, stop, end), place in zip(turns, places, strict=True):
            assert ids[:start] == rendering.prompt_tokens(tokenizer, row.messages[:place])
            assert ids[end] == tokenizer.eos_token_id
            assert decoded(tokenizer, ids[stop:end]).strip() == ""
        assert len(ids) == turns[-1].end + 1

    holds()


def test_the_generator_is_fed_the_trained_context(tmp_path, monkeypatch):
    """The ids that reach decoding, for every turn asked as a sample of its own, stand before that turn in training."""
    folder = make_model(tmp_path, template=INST)
    talk = conversation("fever", "rest", "and the cough?", "water", "thanks", "call a doctor", system="be kind")
    ask = ZeroShot(template="{{ input }}", system=None)
    fed = []

    def decode(model, rows, **_):
        fed.extend(row.ids for row in rows)
        return [decoding.Decoded(ids=[], finish="stop") for _ in rows]

    monkeypatch.setattr(decoding, "decode", decode)
    local = LocalModel(folder)
    list(local.generator().generate(ask.prompts(every_turn(talk)), GenerationSettings()))
    [row] = training_rows([talk], ask.prompt)
    ids, turns = rendering.conversation_tokens(local.tokenizer, row.messages, row.answer)
    assert sorted(fed, key=len) == [ids[: turn.start] for turn in turns]
    assert len(turns) == 3


def conversation(*texts, system=None, row=1):
    """A sample of questions and answers in turn; the last answer is its reference."""
    turns = [Message(role=("user", "assistant")[place % 2], content=text) for place, text in enumerate(texts)]
    head = [Message(role="system", content=system)] if system else []
    messages = (*head, *turns[:-1])
    return Sample(id=f"c{row}", split="train", row=row, input=texts[-2], references=(texts[-1],), messages=messages)


BROKEN = {
    "rewrites": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + (m['content'].split('.')[-1] if m['role'] == 'assistant' "
        "else m['content']) }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    "counts": (
        "{{ messages|length }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    "space": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST] ' }}"
        "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
    "endless": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    "late": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}{{ eos_token }}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    ),
    "none": None,
}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rewrites", "writes an earlier turn otherwise than when it was answered"),
        ("counts", "writes an earlier turn otherwise than when it was answered"),
        ("space", "whose generation prompt ends without white space"),
        ("endless", "does not end an assistant's turn with </s>"),
        ("late", "writes an earlier turn otherwise than when it was answered"),
        ("none", "needs a chat template, and the base model has none; name a Jinja file with 'chat_template'"),
    ],
)
def test_a_template_that_breaks_a_conversation_is_refused_with_rows(tmp_path, name, words):
    """A template under which training and inference would differ stops the training, naming the rows of many turns."""
    make_tokenizer(tmp_path, template=BROKEN[name])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    talks = [conversation("fever", "rest. water", "pain", "call a doctor", row=row) for row in (1, 2)]
    single = conversation("fever", "rest", row=3)
    rows = training_rows([*talks, single], ZeroShot(template="").prompt)
    with pytest.raises(UserError) as caught:
        audit_rows(tokenizer, rows, max_length=1000)
    assert str(caught.value).startswith("training data: rows 1 and 2: ")
    assert words in str(caught.value)
    assert audit_rows(tokenizer, rows[2:], max_length=1000)[1].rows == 1  # a single turn stands under any of them


def test_an_end_outside_the_generation_markers_is_trained(tmp_path):
    """Markers in a template decide nothing here: an EOS that stands after `endgeneration` is trained all the same."""
    marked = (
        "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}{{ eos_token }}{% else %}{{ m['content'] }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    make_tokenizer(tmp_path, template=marked)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rows = training_rows([conversation("fever", "rest", "pain", "water")], ZeroShot(template="").prompt)
    [token_row], _ = audit_rows(tokenizer, rows, max_length=1000)
    trained = [label for label in token_row.labels if label != IGNORED]
    assert decoded(tokenizer, trained) == "rest</s>water</s>"


def test_special_tokens_in_any_turn_of_the_assistant_are_refused(tokenizers):
    """EOS or BOS in an earlier answer is as harmful as in the last, and each row is named once a kind of harm."""
    turns = conversation("q", "one </s> two", "q", "three </s> four", "q", "five").messages
    rows = [TrainingRow(row=4, messages=turns, answer="six")]
    with pytest.raises(
        UserError,
        match=r"row 4: the answer itself holds </s>; take it out of the data, or set allow: \[special_tokens\]\.$",
    ):
        audit_rows(tokenizers["chatml"], rows, max_length=1000)


def test_equal_conversations_are_duplicates(tokenizers):
    """A conversation that differs in an earlier answer alone is no duplicate; an equal one is, by its row."""
    first = conversation("a", "b", "c", "d", row=1)
    other = conversation("a", "B", "c", "d", row=2)
    rows = training_rows([first, other, replace(first, row=3)], ZeroShot(template="").prompt)
    assert audit_rows(tokenizers["chatml"], rows, max_length=1000, allow=["duplicates"])[1].duplicates == (3,)
