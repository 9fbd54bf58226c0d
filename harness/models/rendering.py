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

Knows nothing of models; a tokenizer is anything with the interface of transformers' fast tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import UserError
from harness.records import Message

_LABELS = {"user": "User:\n", "assistant": "Assistant:\n", "system": ""}
_PROBE = (Message(role="user", content="q"), Message(role="assistant", content="\u2603"))


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


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of generated ids, special tokens and white space around it left out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()
