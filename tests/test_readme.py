"""Every command in README.md is typed here as it stands there, in its order, in one folder."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import Command

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
STAND_INS = {
    "SUITE": "my-suite/suite.yaml", "JUDGE": "exact_match", "RUN": "latest", "A": "base", "B": "lora_r16", "FILE": "out.html",
    "METRIC": "correctness", "DIR": "out", "TEXT": "Is it right?", "SHEET": "sheet.html", "CANDIDATE": "lora_r16",
}  # fmt: skip
"""What the capital letters of the list of verbs stand for here."""


def commands():
    """The `muster …` commands of indented blocks, optional parts and alternatives spelled out."""
    found = []
    for block in re.findall(r"(?:^    .*\n)+", README, re.MULTILINE):
        for line in block.splitlines():
            text = re.split(r"\s{2,}|#", line.strip())[0]
            for part in text.split(" · "):
                if part.startswith("muster "):
                    found += spelled(part)
    return list(dict.fromkeys(found))


def spelled(command):
    """`store doctor|rebuild` is two commands, `[SAMPLE]` is left out."""
    command = re.sub(r" \[[^\]]*\]", "", command)
    words = [word.split("|") if "|" in word else [word] for word in command.split()]
    made = [[]]
    for choices in words:
        made = [[*before, choice] for before in made for choice in choices]
    return [" ".join(words) for words in made]


def test_make_targets_of_the_readme_exist():
    """`make demo` and `make test` are targets of the Makefile."""
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_linked_files_exist():
    """No link of the README points nowhere."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / target).exists(), target


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as the README's reader has it: data of their own, the shipped suites beside it."""
    root = tmp_path_factory.mktemp("reader")
    (root / "suites").symlink_to(REPOSITORY / "suites")
    rows = (REPOSITORY / "suites" / "clinic" / "dialogues.jsonl").read_text().splitlines()[::100]
    (root / "dialogues.jsonl").write_text("\n".join(rows) + "\n")
    (root / "in.jsonl").write_text(json.dumps({"id": 1, "reference": "yes", "answer": "Yes."}) + "\n")
    (root / "rated.jsonl").write_text(
        "".join(
            json.dumps({"reference": "yes", "answer": f"yes {n % 3 or ''}", "label": n % 2}) + "\n" for n in range(20)
        )
    )
    nli = [
        {"premise": f"There are {n} red boats.", "hypothesis": f"There {word} boats.", "label": label}
        for n in range(3, 23)
        for word, label in (("are", "entailment"), ("are no", "contradiction"), ("may be old", "neutral"))
    ]
    (root / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in nli))
    return root


@pytest.mark.parametrize("command", commands())
def test_the_command_works(command, folder):
    """Status 0, or a verdict's status; never a mistake, an incomplete run or a defect."""
    words = [STAND_INS.get(word, word) for word in shlex.split(command)]
    if words[1] == "train-judge":
        words[words.index("--data") + 1] = "labels.jsonl"
        words[words.index("--out") + 1] = "judge"
    if words[1] == "export-model":
        words[words.index("--to") + 1] = "model"
    if words[1] == "baseline":
        words += ["--suite", "my-suite/suite.yaml"]  # its files are kept beside it, and not in the repository
        words += ["--force"] if "bless" in words else []  # whatever a candidate of a few steps was worth
    if words[1] == "calibrate":
        words[words.index("--labels") + 1] = "rated.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "CI": "1"}
    if words[1] in ("run", "check", "train", "calibrate", "export-model"):  # need the model stack, which a fork has
        done = Command(words[1:], cwd=folder, env=environment)
    else:
        done = subprocess.Popen(
            [sys.executable, "-m", "harness", *words[1:]], cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    printed = "\n".join(done.communicate(timeout=900))
    assert done.returncode in (0, 1, 3), f"{command}\n{printed}"
