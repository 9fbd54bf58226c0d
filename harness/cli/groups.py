"""Two kinds of verbs that typer does not know: one that is a command and a group, and options whose FILE may be left out."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STDOUT = "-"
"""The FILE that is standard output."""
SURFACES = ("--json", "--junit", "--summary")
"""Options that write a verdict: to a FILE, or to standard output where none is named."""


class DefaultGroup(TyperGroup):
    """A group whose first command is what the group's own name means.

    `muster gate SUITE` is that first command and `muster gate selftest` one of the others; a SUITE that has a command's
    name is written `./selftest`. The help page of the group is that of the first command, with the others below it.
    """

    def __init__(self, **options: Any) -> None:
        options["subcommand_metavar"] = "| COMMAND [ARGS]..."
        super().__init__(**options)
        self.help = self.help or self._first.help
        self.epilog = self.epilog or self._first.epilog

    @property
    def _first(self) -> Any:
        return next(iter(self.commands.values()))

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands that have to be named."""
        return list(self.commands)[1:]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the named command's group, or of the first command where none is named."""
        if args and args[0] in list(self.commands)[1:]:
            return super().make_context(info_name, args, parent=parent, **extra)
        if "--help" in args:
            return super().make_context(info_name, ["--help"], parent=parent, **extra)
        return self._first.make_context(info_name, args, parent=parent, **extra)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The first command's page, with the other commands."""
        page = copy(self)
        page.params = self._first.params
        TyperGroup.format_help(page, ctx, formatter)


class InOrder(TyperGroup):
    """A group that lists its commands in a given order, be they commands or groups; typer puts all groups last."""

    order: tuple[str, ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in `order`, then the others."""
        known = {name: place for place, name in enumerate(self.order)}
        return sorted(self.commands, key=lambda name: known.get(name, len(known)))


class SurfaceCommand(TyperCommand):
    """A command whose `--json`, `--junit` and `--summary` may stand without a FILE: then they mean standard output."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever, after the FILEs that were left out are put in."""
        flags = {name: option.is_flag for option in self.params if isinstance(option, TyperOption)
                 for name in (*option.opts, *option.secondary_opts)}  # fmt: skip
        try:
            settled = with_files(args, flags)
        except ValueError as error:
            ctx.fail(str(error))
        return super().parse_args(ctx, settled)


def with_files(args: Sequence[str], flags: dict[str, bool]) -> list[str]:
    """The arguments with `-` for each FILE that `--json`, `--junit` or `--summary` lacks.

    What follows such an option is its FILE, but for another option, and for the SUITE where that would be missing
    otherwise: `--json suite.yaml` is then a bare `--json` before its SUITE.

    Args:
        args: What was typed after the verb.
        flags: For each option of the verb, whether it takes no value.

    Raises:
        ValueError: If it cannot be told which of several words is the SUITE.
    """
    read = list(_read(args, flags))
    files = [place for place, kind in enumerate(read) if kind == "file"]
    if "word" not in read and files:
        suites = files if len(files) == 1 else [p for p in files if args[p].lower().endswith((".yaml", ".yml"))]
        if len(suites) != 1:
            words = " and ".join(f"'{args[place]}'" for place in files)
            raise ValueError(f"cannot tell the SUITE from the files to write among {words}. Write --json=FILE.")
        read[suites[0]] = "word"
    found: list[str] = []
    for place, arg in enumerate(args):
        found.append(arg)
        if read[place] == "surface" and read[place + 1 : place + 2] != ["file"]:
            found.append(STDOUT)
    return found


def _read(args: Sequence[str], flags: dict[str, bool]) -> Iterator[str]:
    """What each argument is: surface, file (what follows one), option, value, word (SUITE)."""
    before, ended = "", False
    for arg in args:
        is_option = arg.startswith("-") and arg != STDOUT and not ended
        if before == "value":
            kind, before = "value", ""
        elif is_option:
            ended = arg == "--"
            kind = "surface" if arg in SURFACES else "option"
            before = "file" if kind == "surface" else "" if "=" in arg or flags.get(arg, True) else "value"
        else:
            kind, before = ("file", "") if before == "file" else ("word", "")
        yield kind
