"""docs/ci.md is true: its recipe runs in a throw-away git repository, by the very commands of the action and the template."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))
TEMPLATE = yaml.safe_load((REPOSITORY / "ci" / "gitlab" / "muster.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"] if "run" in step}
FILES = dict(re.findall(r"```yaml\n# (\S+(?: from 'gate:' on)?)\n(.*?)```", PAGE, re.DOTALL))
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""How GitHub calls `shell: bash`."""


def write_answers(folder, right, rows):
    """The assistant's recorded answers, of which the first `right` are those of the reference."""
    lines = [
        json.dumps(
            {"input": f"When does branch {i} open?", "answer": f"At {i} past nine." if i < right else "No idea."}
        )
        for i in range(rows)
    ]
    (folder / "evals" / "answers.jsonl").write_text("\n".join(lines) + "\n")


def git(folder, *arguments):
    """Runs git as nobody in particular."""
    given = ["-c", "user.name=Ada Example", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *given, *arguments], cwd=folder, check=True, capture_output=True)


def muster(folder, command):
    """Types a command of the page in a folder, in this process; returns the exit status."""
    from harness.cli import main

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(sys, "argv", shlex.split(command))
        patch.setenv("USER", "ada")
        patch.delenv("GITHUB_ACTIONS", raising=False)
        with pytest.raises(SystemExit) as done:
            main()
    return done.value.code


def typed_in(section):
    """The commands of one section of the page."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [part for line in re.findall(r"^    (muster .*)$", text, re.MULTILINE) for part in line.split(" · ")]


def set_up(folder, rows):
    """The page's steps on the main branch, as it says them, with so many rows of data."""
    (folder / "evals").mkdir(parents=True)
    git(folder, "init", "-q")
    questions = [{"question": f"When does branch {i} open?", "answer": f"At {i} past nine."} for i in range(rows)]
    (folder / "evals" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    write_answers(folder, rows * 8 // 10, rows)
    suite = folder / "evals" / "suite.yaml"
    suite.write_text(FILES["evals/suite.yaml"])
    commands = typed_in("Step by step")
    assert [command.split()[1] for command in commands] == ["run", "baseline", "gate"]
    statuses = [muster(folder, command) for command in commands[:2]]
    suite.write_text(suite.read_text().partition("gate:")[0] + FILES["evals/suite.yaml, from 'gate:' on"])
    statuses.append(muster(folder, commands[2]))
    git(folder, "add", "evals")
    git(folder, "commit", "-qm", "A gate for the assistant")
    return statuses


@pytest.fixture(scope="module")
def main_branch(tmp_path_factory):
    """A repository whose main branch has been through the page's steps with 200 rows."""
    folder = tmp_path_factory.mktemp("origin")
    assert set_up(folder, 200) == [0, 0, 0]
    return folder


@pytest.fixture
def pull_request(main_branch, tmp_path):
    """Makes a change on a branch, and gives a fresh clone of it: no store, no run."""

    def made(change, origin=main_branch):
        git(tmp_path, "clone", "-q", str(origin), "clone")
        clone = tmp_path / "clone"
        git(clone, "checkout", "-qb", "change")
        change(clone)
        git(clone, "commit", "-qam", "A change", "--allow-empty")
        return clone

    return made


@pytest.fixture
def machine(tmp_path):
    """The environment of a CI machine: `muster` and a `python` that only says what it was asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, line in (("muster", f'exec "{sys.executable}" -m harness "$@"'), ("python", 'printf "%s\\n" "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "MUSTER_", "CI"))}
    return kept | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), "CI": "true"}


def run_action(clone, machine, **inputs):
    """The action's steps, as GitHub would run them: the exit status, the log, the summary and the outputs."""
    given = {name: entry.get("default") for name, entry in ACTION["inputs"].items()} | inputs
    assert set(given) == set(ACTION["inputs"])
    assert None not in given.values()
    files = {name: clone.parent / name for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    machine = machine | {name: str(file) for name, file in files.items()}
    machine |= {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(clone)}
    log = ""
    for step in STEPS.values():
        values = {name: filled(text, given) for name, text in step["env"].items()}
        done = subprocess.run(
            [*BASH, "-c", step["run"]], cwd=clone, env=machine | values, capture_output=True, text=True, check=False
        )
        log += done.stdout + done.stderr
        if done.returncode:
            break
    return done.returncode, log, *(file.read_text() for file in files.values())


def filled(text, given):
    """What GitHub makes of `${{ … }}`."""
    found = re.fullmatch(r"\$\{\{ (?:inputs\.([\w-]+)|github\.(action_path)) \}\}", text)
    return given[found[1]] if found[1] else str(REPOSITORY)


def test_a_good_change_passes(pull_request, machine):
    """More answers are right: 0, a notice, a summary, and all files tell the same; the action installs itself."""
    clone = pull_request(lambda folder: write_answers(folder, 190, 200))
    status, log, summary, outputs = run_action(clone, machine, suite="evals/suite.yaml", candidate="assistant")
    assert (status, outputs) == (0, "exit-status=0\n"), log
    assert log.startswith(
        f"-m\npip\ninstall\n--disable-pip-version-check\n--constraint\n{REPOSITORY}/constraints.txt\n{REPOSITORY}"
    )
    assert summary.startswith("## muster: PASS (exit status 0)")
    assert re.search(
        r"^::notice title=muster%3A PASS \(exit status 0\)::assistant against production", log, re.MULTILINE
    )
    assert "::error" not in log
    results = clone / "muster-results"
    verdict = json.loads((results / "verdict.json").read_text())
    assert (verdict["outcome"], verdict["baseline"]) == ("pass", "production")
    assert verdict["findings"][0]["estimate"] == pytest.approx(0.15, abs=0.001)
    assert ElementTree.parse(results / "junit.xml").getroot().attrib["failures"] == "0"
    assert "<article" in (results / "report.html").read_text()


def test_a_spoilt_change_fails_at_its_line(pull_request, machine):
    """Fewer answers are right: 1, and an error at the line of the rule in the suite, found from the repository's root."""
    clone = pull_request(lambda folder: write_answers(folder, 130, 200))
    status, log, summary, outputs = run_action(clone, machine, suite="evals/suite.yaml")
    assert (status, outputs) == (1, "exit-status=1\n"), log
    assert summary.startswith("## muster: FAIL (exit status 1)")
    line = (clone / "evals" / "suite.yaml").read_text().splitlines().index(
        "    - {metric: token_f1, no_worse_by: 0.05}"
    ) + 1
    assert re.search(
        rf"^::error file=evals/suite.yaml,line={line},title=FAIL%3A assistant%2C token_f1 no_worse_by 0.05 on test"
        r"::assistant's token_f1 on test differs from production's by -0.1[45]", log, re.MULTILINE,
    )  # fmt: skip


def test_too_few_samples_cannot_tell(pull_request, machine, tmp_path):
    """The recipe with 15 rows and a change of nothing: 3, with the number of samples that would do."""
    origin = tmp_path / "few"
    assert set_up(origin, 15) == [0, 0, 3]
    clone = pull_request(lambda folder: None, origin)
    status, log, summary, _ = run_action(clone, machine, suite="evals/suite.yaml", baseline="production")
    assert status == 3, log
    assert "samples would be" in summary
    assert "::error title=muster%3A INCONCLUSIVE (exit status 3)" in log


def test_changed_questions_are_refused_before_anything_is_answered(pull_request, main_branch, capsys):
    """A reference rewritten on the branch: 2, with the way out, from `check` too, and nothing is in the store."""
    capsys.readouterr()
    assert muster(main_branch, "muster check evals/suite.yaml") == 0
    assert "baseline production: assistant of run support-" in capsys.readouterr().out

    def rewrite(folder):
        file = folder / "evals" / "questions.jsonl"
        file.write_text(file.read_text().replace("At 7 past nine", "At 8 past nine"))

    clone = pull_request(rewrite)
    for verb in ("check", "run"):
        assert muster(clone, f"muster {verb} evals/suite.yaml") == 2
        error = capsys.readouterr().err
        assert "samples of test: " in error
        assert "(200 then, 200 now, 199 the same in both)" in error
    assert not (clone / ".muster").exists()


def test_the_template_of_gitlab_decides_as_the_action_does(pull_request, machine):
    """Its script on the spoilt change: 1; report and JUnit lie where its artifacts are looked for."""
    job = TEMPLATE[".muster"]
    clone = pull_request(lambda folder: write_answers(folder, 130, 200))
    values = job["variables"] | {"MUSTER_SUITE": "evals/suite.yaml", "MUSTER_CANDIDATE": "assistant"}
    lines = "\n".join([*job["before_script"], *job["script"]])
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", lines], cwd=clone, env=machine | values, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("-m\npip\ninstall\n--disable-pip-version-check\nmuster-harness\n")
    assert "::error" not in done.stdout
    junit = ElementTree.parse(clone / job["artifacts"]["reports"]["junit"]).getroot()
    assert junit.attrib["failures"] == "1"
    assert (clone / job["artifacts"]["paths"][0] / "report.html").is_file()
    assert job["artifacts"]["when"] == "always"


def test_shell_and_inputs_of_the_action_are_sound():
    """Bash can read every script; no input is pasted into one; every input is used and said what it is."""
    scripts = (
        [step["run"] for step in STEPS.values()] + TEMPLATE[".muster"]["script"] + TEMPLATE[".muster"]["before_script"]
    )
    for script in scripts:
        assert "${{" not in script
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    text = (REPOSITORY / "action.yml").read_text()
    for name, entry in ACTION["inputs"].items():
        assert entry["description"].strip()
        assert f"inputs.{name}" in text
    assert ACTION["runs"]["using"] == "composite"
    assert all("shell" in step for step in STEPS.values())
    (upload,) = [step for step in ACTION["runs"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert "!cancelled()" in upload["if"]


def test_the_other_commands_of_the_page_work(main_branch):
    """Blessed once more under another name, shown, told and verified."""
    stand_ins = {"RUN:CANDIDATE": "latest:assistant --suite evals/suite.yaml", "NAME": "staging", "TEXT": "'A trial'"}
    for command in typed_in("Baselines"):
        words = [stand_ins.get(word, word) for word in command.split()]
        where = [] if "bless" in words else ["--suite evals/suite.yaml"]
        assert muster(main_branch, " ".join([*words, *where])) == 0, command


def test_the_page_shows_what_there_is():
    """The workflow's inputs are the action's, the GitLab job extends the template, and links lead somewhere."""
    workflow = yaml.safe_load(FILES[".github/workflows/gate.yml"])
    (step,) = [step for step in workflow["jobs"]["gate"]["steps"] if "muster" in step["uses"]]
    assert set(step["with"]) <= set(ACTION["inputs"])
    job = yaml.safe_load(FILES[".gitlab-ci.yml"])["gate"]
    assert job["extends"] in TEMPLATE
    assert set(job["variables"]) <= set(TEMPLATE[".muster"]["variables"])
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (REPOSITORY / "docs" / target).exists(), target
