"""The one way from messages to tokens, for training and for inference.

Guarantees: the prompt ids of a training row are exactly the ids that inference feeds; at most one BOS stands at the
head, and one stands there whenever the tokenizer would put it; an answer ends with the tokenizer's EOS. Messages
become text by the tokenizer's chat template; a base model without one gets a plain form, one turn a block:

    <system>

    User:
    <question>

    Assistant:
    <answer>

except that a single user message is given as it is, followed by an empty line, as a base model's document would be.

Of a conversation every turn of the assistant is trained, in one row. That is possible where the template only appends:
for each such turn the row's ids up to it are those that inference feeds there, and the turn ends with EOS. Templates
that rewrite what was said (dropping earlier thoughts, say) are refused.

Knows nothing of models; a tokenizer is anything with the interface of transformers' fast tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.records import Message

_LABELS = {"user": "User:\n", "assistant": "Assistant:\n", "system": ""}
_PROBE = (Message(role="user", content="q"), Message(role="assistant", content="\u2603"))


class Turn(NamedTuple):
    """Where a trained turn of the assistant lies among the ids of its row.

    Trained are `ids[start:stop]`, the answer, and `ids[end]`, EOS. Between the two stands at most white space that the
    template puts there, as Llama-2's does: it is fed and not trained, for no answer shall end with it.
    """

    start: int
    stop: int
    end: int


def render(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """The text of a conversation; with `add_generation_prompt` it ends where the assistant's next turn begins.

    Raises UserError where the chat template refuses the conversation (many refuse a system turn).
    """
    if getattr(tokenizer, "chat_template", None) is None:
        return _plain(messages, add_generation_prompt=add_generation_prompt)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # templates are programs of their own: whatever they raise is theirs
        roles = ", ".join(message.role for message in messages)
        raise UserError(f"the model's chat template refuses the turns [{roles}]: {error}.") from None
    return str(text)


def _plain(messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content + ("\n\n" if add_generation_prompt else "")
    text = "\n\n".join(_LABELS[message.role] + message.content for message in messages)
    return text + "\n\n" + _LABELS["assistant"] if add_generation_prompt else text


def tokens(tokenizer: Any, text: str) -> list[int]:
    """The ids of a whole text: with one BOS at the head if the tokenizer puts one there or the text begins with it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    while ids[:2] == [bos, bos]:
        ids = ids[1:]
    adds_bos = tokenizer("", add_special_tokens=True)["input_ids"][:1] == [bos]
    return [bos, *ids] if adds_bos and ids[:1] != [bos] else ids


def prompt_tokens(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """What inference feeds for a conversation: ids up to where the assistant's turn begins."""
    return tokens(tokenizer, render(tokenizer, messages, add_generation_prompt=True))


def encoder_tokens(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """What the encoder of an encoder-decoder model is fed: the rendered prompt, as the tokenizer ends a text of its own."""
    text = render(tokenizer, messages, add_generation_prompt=True).rstrip()
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def decoder_tokens(tokenizer: Any, answer: str) -> list[int]:
    """The ids an encoder-decoder model is to say, without EOS; white space around the answer is left out."""
    ids: list[int] = tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
    return ids


def pair_tokens(tokenizer: Any, prompt_messages: Sequence[Message], answer: str) -> tuple[list[int], list[Turn]]:
    """A training row of an encoder-decoder model, laid out as `conversation_tokens` does: the encoder's ids, then the
    decoder's with EOS. Of a conversation the last answer is trained; what was said before it goes to the encoder.
    """
    context = encoder_tokens(tokenizer, prompt_messages)
    said = decoder_tokens(tokenizer, answer)
    end = len(context) + len(said)
    return [*context, *said, tokenizer.eos_token_id], [Turn(len(context), end, end)]


def answer_tokens(tokenizer: Any, prompt_text: str, prompt_ids: list[int], answer: str) -> list[int]:
    """The ids of an answer after a rendered prompt, without EOS; white space around the answer is left out.

    As the tokenizer splits prompt and answer together where that leaves the prompt's ids as they are, else the answer
    alone: either way prompt and answer are concatenated as ids, so the prompt's never change.
    """
    text = _lead(tokenizer) + answer.strip()
    whole = tokens(tokenizer, prompt_text + text)
    if whole[: len(prompt_ids)] == prompt_ids:
        return whole[len(prompt_ids) :]
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def last_piece(tokenizer: Any, text: str) -> str:
    """The end of a text from its last added token on (`<|assistant|>`, say), or all of it where there is none.

    Added tokens are cut out before anything else is tokenised: what follows one does not depend on what precedes it.
    """
    return text[max(0, *(text.rfind(content) for content in tokenizer.get_added_vocab())) :]


def training_tokens(tokenizer: Any, prompt_messages: Sequence[Message], answer: str) -> tuple[list[int], list[int]]:
    """A training row: the ids inference would feed, and the answer's ids with EOS at the end.

    Raises UserError where the tokenizer has no EOS: a model trained without one never stops.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer must have an EOS token (got none). Set eos_token in tokenizer_config.json.")
    prompt_text = render(tokenizer, prompt_messages, add_generation_prompt=True)
    prompt_ids = tokens(tokenizer, prompt_text)
    return prompt_ids, [*answer_tokens(tokenizer, prompt_text, prompt_ids, answer), tokenizer.eos_token_id]


def conversation_tokens(
    tokenizer: Any, prompt_messages: Sequence[Message], answer: str
) -> tuple[list[int], list[Turn]]:
    """A training row in which every turn of the assistant is trained: its ids, and the turns in order, the answer last.

    Raises UserError where the tokenizer has no EOS, and for a turn before the answer where there is no chat template,
    the template changes what it wrote before, or does not end the turn with EOS.
    """
    prompt_ids, answer_ids = training_tokens(tokenizer, prompt_messages, answer)
    earlier = [
        _earlier_turn(tokenizer, prompt_messages[:place], message.content, prompt_ids)
        for place, message in enumerate(prompt_messages)
        if message.role == "assistant"
    ]
    end = len(prompt_ids) + len(answer_ids) - 1
    return [*prompt_ids, *answer_ids], [*earlier, Turn(len(prompt_ids), end, end)]


def _earlier_turn(tokenizer: Any, before: Sequence[Message], content: str, ids: list[int]) -> Turn:
    """Where the turn after the messages `before` lies in `ids`, those of a longer conversation."""
    if getattr(tokenizer, "chat_template", None) is None:
        raise UserError(
            "training on a conversation of several turns needs a chat template, and the base model has none; "
            "name a Jinja file with 'chat_template' beside the base's path"
        )
    text = render(tokenizer, before, add_generation_prompt=True)
    context = tokens(tokenizer, text)
    said = answer_tokens(tokenizer, text, context, content)
    start, stop = len(context), len(context) + len(said)
    if ids[:stop] != context + said:
        raise UserError(
            "the chat template writes an earlier turn otherwise than when it was answered, so the model would be trained "
            "on ids that it is never fed; use a template that only appends, and whose generation prompt ends without "
            "white space"
        )
    eos = tokenizer.eos_token_id
    end = next((place for place in range(stop, len(ids)) if ids[place] == eos), None)
    if end is None or tokenizer.decode(ids[stop:end]).strip():
        raise UserError(
            f"the chat template does not end an assistant's turn with {tokenizer.eos_token}, so the model would not learn "
            "to stop; write {{ eos_token }} after the content of an assistant's turn"
        )
    return Turn(start, stop, end)


def _lead(tokenizer: Any) -> str:
    """What the template puts between the generation prompt and the answer (Llama-2's: one space); usually nothing."""
    if getattr(tokenizer, "chat_template", None) is None:
        return ""
    opened = render(tokenizer, _PROBE[:1], add_generation_prompt=True)
    whole = render(tokenizer, _PROBE, add_generation_prompt=False)
    if not whole.startswith(opened):
        return ""
    lead, found, _ = whole[len(opened) :].partition(_PROBE[1].content)
    return lead if found and not lead.strip() else ""


def stop_ids(tokenizer: Any, configured: int | Sequence[int] | None) -> tuple[int, ...]:
    """The ids at which generation stops, sorted: the tokenizer's EOS and those of the model's generation config."""
    listed = [configured] if isinstance(configured, int) else list(configured or ())
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return tuple(sorted({*listed, *own}))


def decode(tokenizer: Any, ids: Sequence[int], *, stop: Sequence[str] = ()) -> str:
    """The text of generated ids before the first of the stop texts, special tokens and white space around it left out."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()
    ends = [place for place in (text.find(end) for end in stop) if place >= 0]
    return text[: min(ends)].strip() if ends else text
