"""`muster judges`: every kind of judge with its written definition."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

MODULES = {
    "entailment": "entailment", "correctness": "correctness", "hallucination": "hallucination", "context_relevance": "retrieval",
    "context_recall": "retrieval", "faithfulness": "retrieval", "relevancy": "relevancy",
    "toxicity": "toxicity", "geval": "geval", "pairwise": "pairwise", "rouge": "overlap", "bleu": "overlap", "chrf": "overlap",
    "exact_match": "overlap", "token_f1": "overlap", "regex": "overlap", "json_schema": "overlap", "perplexity": "likelihood",
    "mcq": "likelihood", "classification": "classification", "macro_f1": "classification", "custom": "custom",
}  # fmt: skip


def judges(
    kind: Annotated[str | None, typer.Argument(help="A kind of judge; left out, all in one line each.")] = None,
    home: Annotated[Path, typer.Option(help="Where calibration cards live.")] = Path(".muster"),
) -> None:
    """Show what each kind of judge measures, how, where it is weak, and how far it agrees with people."""
    from rich.console import Console
    from rich.table import Table

    from harness.deciding.wording import calibration_text, trust_text
    from harness.errors import UserError
    from harness.store import Home
    from harness.store.calibrations import known_calibrations
    from harness.suite.installed import installed_kinds, package_of

    console = Console()
    cards = known_calibrations(Home(home))
    if kind is not None:
        if kind not in MODULES:
            raise UserError(f"'{kind}' is no kind of judge. There are {', '.join(MODULES)}")
        console.print(definition(kind), highlight=False, markup=False)
        console.print("\nAgainst people:", highlight=False)
        for text in [calibration_text(card) for card in cards if card.judge == kind] or ["not calibrated"]:
            console.print(f"  {text}", highlight=False, markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("kind", style="bold")
    table.add_column("definition")
    table.add_column("against people")
    for name in MODULES:
        first = definition(name).split("\n\n")[0]
        table.add_row(name, " ".join(first.split()), trust_text([card for card in cards if card.judge == name]))
    for name, offer in installed_kinds().items():
        table.add_row(name, f"added by {package_of(offer)}: {offer.value}")
    console.print(table)
    console.print("\n  muster judges KIND shows a whole definition.", highlight=False)


def definition(kind: str) -> str:
    """The docstring of the kind's module."""
    module = importlib.import_module(f"judges.{MODULES[kind]}")
    return (module.__doc__ or "").strip()
