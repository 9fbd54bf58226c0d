"""Inside a GitHub workflow: no text becomes a command, and findings stand at the lines of their rules."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.cli.workflow import Guarded, in_repository, rule_lines
from harness.suite import load_suite

REPOSITORY = Path(__file__).parents[3]
PIECES = st.lists(
    st.text(alphabet=":#[] \n\r\tx", max_size=6) | st.sampled_from(["::error::", "##[", "\n  ::"]), max_size=12
)


def obeyed(text):
    """The lines that GitHub's runner would obey: trimmed they begin with `::`, or they hold `##[` anywhere."""
    return [line for line in re.split(r"[\r\n]", text) if line.strip().startswith("::") or "##[" in line]


@given(PIECES)
def test_nothing_printed_is_a_command_however_it_is_cut(pieces):
    """Only spaces are added, and nothing is where nothing would be obeyed."""
    raw = io.StringIO(newline="")
    guarded = Guarded(raw)
    for piece in pieces:
        assert guarded.write(piece) == len(piece)
    written, text = raw.getvalue(), "".join(pieces)
    assert obeyed(written) == []
    assert written.replace(" ", "") == text.replace(" ", "")
    if not obeyed(text):
        assert written == text


def test_a_guarded_stream_is_its_stream_in_all_else():
    """`isatty`, `encoding`, `flush` and what else a library asks."""
    raw = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    guarded = Guarded(raw)
    guarded.writelines(["::", "a\n"])
    guarded.flush()
    assert (raw.buffer.getvalue(), guarded.encoding, guarded.isatty()) == (b": :a\n", "latin-1", False)


def test_what_a_model_said_is_no_command(tmp_path):
    """Whatever a verb prints, on either stream: in a workflow it is spoilt as a command, elsewhere left as it is."""
    for here in (True, False):
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "GITHUB_ACTIONS": "true" if here else ""}
        done = subprocess.run(
            [sys.executable, "-c", "import harness.cli as c, sys; c._run = lambda app: print('a\\n ::add-mask::x ##[y', "
             "file=sys.stderr) or print('::set-output name=x::y') or 2; c.main()"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert (len(obeyed(done.stdout)), len(obeyed(done.stderr))) == ((0, 0) if here else (1, 1))
        assert "add-mask" in done.stderr


def test_rules_are_found_at_their_lines(tmp_path, monkeypatch):
    """From the root of the repository that the workflow checked out."""
    folder = tmp_path / "evals"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"input": "q", "answer": "a"}\n')
    (folder / "suite.yaml").write_text(
        "suite: tiny\ndata: {path: rows.jsonl, fields: {input: input, reference: answer}}\nsplits: {test: {share: 1}}\n"
        "candidates: {a: {model: {kind: answers, path: rows.jsonl}}}\njudges: {exact_match: {}}\n"
        "gate:\n  rules:\n    - {metric: exact_match, at_least: 0.5}\n\n    - {coverage: 0.9}\n"
    )
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    found = rule_lines(load_suite(folder / "suite.yaml"))
    assert {rule: (line.file, line.number) for rule, line in found.items()} == {
        "exact_match at_least 0.5": ("evals/suite.yaml", 8), "coverage 0.9": ("evals/suite.yaml", 10),
    }  # fmt: skip
    monkeypatch.delenv("GITHUB_WORKSPACE")
    assert in_repository("a/b.yaml") == "a/b.yaml"
