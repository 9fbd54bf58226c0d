"""The roof: what is imported when, how errors leave, and that help knows every verb of the contract."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
VERBS = (
    "run", "check", "train", "score", "gate", "compare", "report", "runs", "show", "export", "train-judge", "judges",
    "init", "schema", "env", "store",
)  # fmt: skip


def imported_by(*arguments):
    """The modules loaded after `muster` ran with these arguments."""
    code = (
        "import sys\n"
        f"sys.argv = ['muster', *{list(arguments)!r}]\n"
        "from harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    ).stdout
    return set(out.rsplit("MODULES", 1)[1].split())


def test_check_imports_no_model_stack():
    """Checking a suite with nothing to train needs neither torch nor transformers, and a training no trainer."""
    stack = {"torch", "transformers", "peft", "trl", "bitsandbytes", "openai", "sklearn", "datasets"}
    assert imported_by("check", "suites/clinic/suite.yaml", "--candidate", "few_shot") & stack == set()
    assert "trl" not in imported_by("check", "suites/examples/lora.yaml")


def test_help_names_every_verb_and_the_exit_statuses():
    """A user finds the verbs and what the statuses mean."""
    done = subprocess.run([sys.executable, "-m", "harness", "--help"], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout
    assert "3 inconclusive" in " ".join(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "no-such.yaml"], "no-such.yaml"),
        (["run", "clinik"], "clinic"),
        (["check"], "suite"),
        (["score", "corectness", "--input", "x.jsonl", "--output", "y.jsonl"], "did you mean 'correctness'"),
        (["judges", "nonsense"], "nonsense"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(arguments, said, tmp_path):
    """No traceback: what was wrong, and the way out."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments], capture_output=True, text=True, cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
