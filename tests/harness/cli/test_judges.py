"""`muster judges`: every kind has one line of its own and a whole definition that no terminal tears."""

import pytest

from harness.cli.judges import MODULES, definition, judges, laid_out
from harness.errors import UserError
from harness.suite.checks import LOWER_IS_BETTER
from harness.suite.grammar import JUDGE_KINDS
from reports.queries import DEFINITIONS


def test_every_kind_of_the_grammar_is_told():
    """Kinds, definitions and the report's lines are the same; no two kinds share a line, each definition names its weakness."""
    assert set(MODULES) == set(JUDGE_KINDS) == set(DEFINITIONS)
    assert len(set(DEFINITIONS.values())) == len(DEFINITIONS)
    assert set(LOWER_IS_BETTER) < set(JUDGE_KINDS)
    for kind in JUDGE_KINDS:
        assert MODULES[kind] == "overlap" or "ill:" in definition(kind) or kind == "custom", kind


def test_the_table_tells_which_end_is_good(tmp_path, capsys):
    """A line a kind, with its direction."""
    judges(None, home=tmp_path)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["toxicity"].split()[1] == "lower"
    assert lines["correctness"].split()[1] == "higher"


def test_a_definition_is_filled_to_the_width():
    """No line is longer than the width, none but a paragraph's last is needlessly short, list items stay items."""
    text = laid_out("One two three four\nfive six.\n\n- first item that\n  goes on\n- second", 16)
    assert text == "One two three\nfour five six.\n\n- first item\n  that goes on\n- second"


def test_a_misspelt_kind_is_met_with_the_nearest(tmp_path):
    """One line, and a way out."""
    with pytest.raises(UserError, match=r"'pairwize' is no kind of judge \(did you mean 'pairwise'\?\)"):
        judges("pairwize", home=tmp_path)


def test_a_kind_that_shares_a_module_is_told_first(tmp_path, capsys):
    """`muster judges chrf` begins with chrF, not with overlap in general."""
    judges("chrf", home=tmp_path)
    assert capsys.readouterr().out.startswith("chrf: Character n-grams")
