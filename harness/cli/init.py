"""`muster init`: a suite to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FILES = ("suite.yaml", "questions.jsonl")


def init(
    directory: Annotated[Path, typer.Argument(help="The folder to write into; made if it is not there.")] = Path(),
) -> None:
    """Write a small suite with its data, ready for `muster run`."""
    from importlib.resources import files

    from harness.errors import UserError

    there = [name for name in FILES if (directory / name).exists()]
    if there:
        raise UserError(f"{directory / there[0]}: must not be there yet (got a file). Name another folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with (directory / name).open("xb") as file:  # never over a file that appeared meanwhile
                file.write((files("suites") / "starter" / name).read_bytes())
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror or error}). Name another folder") from None
    print(f"Wrote {' and '.join(str(directory / name) for name in FILES)}")
    print(f"Next: muster check {directory / FILES[0]}")
