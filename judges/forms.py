"""The forms that language models as judges are given: prompt files, what of a case they show, and how they are filled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources

from harness.records import Case, Message

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_NAMED = {
    "reference": re.compile(r"\breferences?\b", re.IGNORECASE),
    "context": re.compile(r"\bcontexts?\b", re.IGNORECASE),
}
_NEEDS = {"input": "input", "reference": "references", "context": "contexts"}


def prompt_text(name: str) -> str:
    """A prompt file of judges/prompts, as text."""
    return resources.files("judges").joinpath("prompts", name).read_text(encoding="utf-8").strip()


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fills known placeholders in one pass, so braces or placeholders inside a value stay as they are.

    A paragraph of the template with a placeholder that has no value is left out.
    """
    paragraphs = [
        paragraph
        for paragraph in template.split("\n\n")
        if all(name in values for name in _PLACEHOLDER.findall(paragraph))
    ]
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], "\n\n".join(paragraphs))


class Parts:
    """What a form shows of a case beside the answers: of input, reference and context.

    By default the input where there is one, and reference or context where the criteria call them by their names. The
    input of a conversation is shown as the whole of it, turn by turn.
    """

    def __init__(self, criteria: Sequence[str], shows: Sequence[str] | None) -> None:
        said = " ".join(criteria)
        needed = tuple(part for part, named in _NAMED.items() if named.search(said)) if shows is None else tuple(shows)
        self.needs = tuple(_NEEDS[part] for part in needed)
        """The fields without which a case cannot be judged."""
        self.shows = ("input", *needed) if shows is None else needed

    def of(self, case: Case) -> dict[str, str]:
        """The parts to show that the case has, as text."""
        texts = {
            "input": _conversation(case.messages) if case.messages else case.input or "",
            "reference": "\n".join(case.references),
            "context": "\n\n".join(case.contexts),
        }
        return {part: text for part, text in texts.items() if part in self.shows and text}


def _conversation(messages: Sequence[Message]) -> str:
    """A conversation as text: what stands in the place of the question that a single input is."""
    turns = "\n\n".join(f"[{message.role}]\n{message.content}" for message in messages)
    return f"the last turn of this conversation, with all that came before it.\n\n{turns}\n[End of conversation]"
