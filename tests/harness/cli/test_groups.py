"""A verb that is a command and a group, and options whose FILE may be left out."""

import re

import pytest
import typer
from typer.testing import CliRunner

from harness.cli import VERBS, build_app
from harness.cli.groups import DefaultGroup, SurfaceCommand, with_files

FLAGS = {"--candidate": False, "--json": False, "--junit": False, "--summary": False, "--yes": True}


def app():
    """`tool look [--json [FILE]] NAME`, `tool look deep N`, and `tool other`."""
    looks = typer.Typer(cls=DefaultGroup)

    @looks.command(cls=SurfaceCommand)
    def look(name: str, json: str = "", candidate: str = ""):
        """Look at one thing."""
        print("look", name, json, candidate)

    @looks.command()
    def deep(depth: int):
        """Look deeper."""
        print("deep", depth)

    whole = typer.Typer()
    whole.command()(lambda: None)
    whole.add_typer(looks, name="look")
    return whole


def typed(*arguments):
    """What the application printed, and its exit status."""
    done = CliRunner().invoke(app(), arguments, env={"COLUMNS": "100"})
    return done.exit_code, " ".join(done.output.split())


def test_the_first_command_needs_no_name_and_the_others_do():
    """`look NAME` is the verb; `look deep N` the command; a NAME like a command's is written with its folder."""
    assert typed("look", "a.yaml", "--candidate", "c") == (0, "look a.yaml c")
    assert typed("look", "deep", "3") == (0, "deep 3")
    assert typed("look", "./deep") == (0, "look ./deep")
    assert typed("look", "--candidate", "deep", "x") == (0, "look x deep")


def test_help_shows_the_verb_and_its_commands():
    """One page has the verb's arguments, options and commands; a command has a page of its own."""
    for arguments in (("look", "--help"), ("look", "a.yaml", "--help")):
        status, text = typed(*arguments)
        assert status == 0
        assert "look [OPTIONS] {name} | COMMAND [ARGS]... Look at one thing." in text
        assert "--candidate" in text
        assert re.search(r"deep +Look deeper", text)
    status, text = typed("look", "deep", "--help")
    assert (status, "look deep [OPTIONS] {depth} Look deeper." in text) == (0, True)


def test_wrong_command_lines_name_the_verb():
    """A missing NAME and an unknown option are usage errors of `look`, not of a hidden command."""
    status, text = typed("look")
    assert (status, "look --help" in text, "Missing" in text) == (2, True, True)
    assert typed("look", "a", "--nonsense")[0] == 2


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("s.yaml --json", "s.yaml --json -"),
        ("s.yaml --json --candidate a", "s.yaml --json - --candidate a"),
        ("s.yaml --json v.json", "s.yaml --json v.json"),
        ("s.yaml --json -", "s.yaml --json -"),
        ("s.yaml --json=v.json --junit", "s.yaml --json=v.json --junit -"),
        ("--json s.yaml", "--json - s.yaml"),
        ("--json --candidate a s.yaml", "--json - --candidate a s.yaml"),
        ("--candidate a --json s.yaml", "--candidate a --json - s.yaml"),
        ("--json v.json s.yaml", "--json v.json s.yaml"),
        ("--json v.json --junit suite.yml", "--json v.json --junit - suite.yml"),
        ("--yes --json clinic", "--yes --json - clinic"),
        ("--summary -- clinic", "--summary - -- clinic"),
        ("s.yaml --candidate --json", "s.yaml --candidate --json"),
        ("s.yaml", "s.yaml"),
    ],
)
def test_a_file_that_was_left_out_is_standard_output(typed, read):
    """What follows is the FILE, unless it is an option, or the SUITE that would be missing otherwise."""
    assert with_files(typed.split(), FLAGS) == read.split()


def test_what_cannot_be_told_is_asked():
    """Two words, either of which could be the SUITE."""
    with pytest.raises(ValueError, match=r"'clinic' and 'v\.xml'"):
        with_files(["--json", "clinic", "--junit", "v.xml"], FLAGS)


def test_every_verb_has_its_place():
    """The order that help shows names every verb there is, and no other."""
    command = typer.main.get_command(build_app())
    assert set(command.list_commands(None)) <= set(VERBS)
    assert [name for name in VERBS if name in command.commands] == command.list_commands(None)
