"""`muster run --engine ray` as a user runs it, on two workers of this machine."""

import functools
import importlib.util
import re

import pytest

from tests.end_to_end import dying


def test_a_killed_worker_leaves_the_run_incomplete_and_everything_else_as_local_says_it(project):
    """`kill -9` of a worker at its answers: status 4, a typed failure for what it had, and for all the rest the keys, texts and,
    to the rounding of float32, scores of `local`. The next run, wherever it works, asks for what was lost and no more.

    Workers train nothing, so the suite does not.
    """
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: --engine ray is NOT tested")
    text = (project.root / "suite.yaml").read_text()
    start, end = text.index("  lora:"), text.index("judges:")
    project.write("suite.yaml", text[:start] + text[end:])
    project.muster("run", "suite.yaml", "--home", "local")
    _, expected_answers, expected_judgements = project.rows_of("local")
    scores = {row[:3]: row[4] for row in expected_judgements}

    death = functools.partial(dying.in_worker, project.root / "dead")
    process = project.start("run", "suite.yaml", "--home", "home", "--engine", "ray", "--workers", "2", before=death)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 4, out + err
    assert "worker of Ray was lost" in out
    assert "raylet" not in out + err
    run, answers, judgements = project.rows_of("home")
    assert run.status == "incomplete"
    lost = {row[:3] for row in answers if row[3] is None}
    assert 0 < len(lost) < len(answers)
    assert answers == sorted((*row[:3], None) if row[:3] in lost else row for row in expected_answers)
    unscored = {row[:2] for row in lost}
    assert {row[:2] for row in judgements if row[4] is None} == unscored
    spread = [row for row in judgements if row[:2] not in unscored]
    assert {row[:4] for row in spread} < {row[:4] for row in expected_judgements}
    assert [row[4] for row in spread] == pytest.approx([scores[row[:3]] for row in spread], abs=1e-6)

    printed = project.muster("run", "suite.yaml", "--home", "home")
    assert re.search(r"few_shot answers +44 cached", printed)
    _, answers, judgements = project.rows_of("home")
    assert answers == expected_answers
    assert [row[:4] for row in judgements] == [row[:4] for row in expected_judgements]
    assert [row[4] for row in judgements] == pytest.approx([row[4] for row in expected_judgements], abs=1e-6)
