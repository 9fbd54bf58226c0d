"""`muster judges`: every kind of judge with its written definition."""

from __future__ import annotations

import difflib
import importlib
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

MODULES = {
    "entailment": "entailment", "correctness": "correctness", "hallucination": "hallucination", "context_relevance": "retrieval",
    "context_recall": "retrieval", "faithfulness": "retrieval", "relevancy": "relevancy",
    "toxicity": "toxicity", "geval": "geval", "pairwise": "pairwise", "reward": "reward",
    "rouge": "overlap", "bleu": "overlap", "chrf": "overlap",
    "exact_match": "overlap", "token_f1": "overlap", "regex": "overlap", "json_schema": "overlap", "perplexity": "likelihood",
    "mcq": "likelihood", "classification": "classification", "macro_f1": "classification", "custom": "custom",
}  # fmt: skip


WIDTH = 100
"""Columns of a definition; a wider terminal makes longer lines than eyes like."""


def judges(
    kind: Annotated[str | None, typer.Argument(help="A kind of judge; left out, all in one line each.")] = None,
    home: Annotated[Path, typer.Option(help="Where calibration cards live.")] = Path(".muster"),
) -> None:
    """Show what each kind of judge measures, how, where it is weak, and how far it agrees with people."""
    from rich.console import Console
    from rich.table import Table

    from harness.deciding.wording import calibration_text, trust_text
    from harness.store import Home
    from harness.store.calibrations import known_calibrations
    from harness.suite.checks import LOWER_IS_BETTER
    from harness.suite.installed import installed_kinds, package_of
    from reports.queries import DEFINITIONS

    console = Console(markup=False, emoji=False)
    cards = known_calibrations(Home(home))
    added = {name: f"added by {package_of(offer)}: {offer.value}" for name, offer in installed_kinds().items()}
    if kind is not None:
        check_kind(kind, [*MODULES, *added])
        parts = [laid_out(definition(kind), min(console.width, WIDTH))] if kind in MODULES else []
        if kind in added or list(MODULES.values()).count(MODULES[kind]) > 1:
            parts.insert(0, f"{kind}: {added.get(kind) or DEFINITIONS[kind]}")
        console.print("\n\n".join(parts), highlight=False, markup=False)
        console.print("\nAgainst people:", highlight=False)
        for text in [calibration_text(card) for card in cards if card.judge == kind] or ["not calibrated"]:
            console.print(f"  {text}", highlight=False, markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("kind", style="bold", no_wrap=True)
    table.add_column("better", no_wrap=True)
    table.add_column("what the score is")
    table.add_column("against people")
    for name in MODULES:
        better = "as told" if name == "custom" else "lower" if name in LOWER_IS_BETTER else "higher"
        table.add_row(name, better, DEFINITIONS[name], trust_text([card for card in cards if card.judge == name]))
    for name, summary in added.items():
        table.add_row(name, "", summary)
    console.print(table)
    console.print("\n  muster judges KIND shows a whole definition.", highlight=False)


def check_kind(kind: str, known: Sequence[str]) -> None:
    """Raises UserError for a kind that is none, with the nearest one."""
    from harness.errors import UserError

    if kind not in known:
        close = difflib.get_close_matches(kind, known, 1)
        hint = f" (did you mean '{close[0]}'?)" if close else f". There are {', '.join(known)}"
        raise UserError(f"'{kind}' is no kind of judge{hint}")


def definition(kind: str) -> str:
    """The docstring of the kind's module."""
    module = importlib.import_module(f"judges.{MODULES[kind]}")
    return (module.__doc__ or "").strip()


def laid_out(text: str, width: int) -> str:
    """Paragraphs and list items filled anew to a width; where the docstring broke its lines does not matter."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        items = re.split(r"\n(?=- )", paragraph)
        filled = [
            textwrap.fill(
                " ".join(item.split()), width, subsequent_indent="  " if item.startswith("- ") else "",
                break_long_words=False, break_on_hyphens=False,
            )
            for item in items
        ]  # fmt: skip
        paragraphs.append("\n".join(filled))
    return "\n\n".join(paragraphs)
