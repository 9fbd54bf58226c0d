"""What `muster check` and `muster train` say of trainings before a step is taken."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from harness.cli.check import check
from harness.cli.progress import ProgressStages
from harness.cli.session import read_plan
from harness.cli.train import train
from harness.cli.trainings import show_rows
from harness.errors import UserError
from harness.training import forecast
from tests.harness.models.tiny import make_model

REPOSITORY = Path(__file__).parents[3]
SUITE = """\
suite: tiny
data: {path: rows.jsonl, fields: {input: question, reference: answer}}
splits:
  train: {where: {part: train}, use: training}
  valid: {where: {part: valid}, use: validation}
  test: {where: {part: test}}
prompt: "Q: {{ input }}"
candidates:
  base: {model: {kind: transformers, path: base}}
  small: {train: {base: base, rank: 2, batch_size: 4, learning_rate: 1.0e-3}}
  large: {train: {base: base, rank: 8, batch_size: 4, learning_rate: 1.0e-3}}
judges: {exact_match: {}}
"""
THREADS = os.environ.get("OMP_NUM_THREADS", "1")
WORDS = ("house", "boat", "apple", "stone", "river", "glove", "train", "spoon", "cloud", "horse", "lamp", "door")


def rows(count=30):
    """Questions about things, most for training, some for validation and for the test."""
    parts = ["train"] * (count - 10) + ["valid"] * 5 + ["test"] * 5
    return [
        {"question": f"where is the {WORDS[i % 12]} number {i} of {WORDS[(i * 5 + 3) % 12]}", "part": part,
         "answer": f"in the {WORDS[i % 7]} {i}"}
        for i, part in enumerate(parts)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny base without a chat template."""
    return make_model(tmp_path_factory.mktemp("tiny") / "base", template=None)


@pytest.fixture
def folder(tmp_path, base, monkeypatch):
    """A suite with two trainings on the same rows."""
    (tmp_path / "base").mkdir()
    for file in base.iterdir():
        (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "suite.yaml").write_text(SUITE)
    write(tmp_path, rows())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def write(folder, data):
    """The suite's rows."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))


def typed(verb, *arguments):
    """What a verb prints, and what it raised."""
    app = typer.Typer()
    app.command()(verb)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100"})
    return done.stdout, done.exception


def table_row(text, name, column):
    """The cells of a candidate's row in the table that has a column of this name."""
    lines = text.splitlines()
    head = next(
        number for number, line in enumerate(lines) if re.search(rf"\b{column}\b", line) and "training " in line
    )
    return next(line.split() for line in lines[head:] if line.split()[:1] == [name])


def test_names_with_brackets_are_no_markup(folder):
    """Every candidate of a sweep is told apart in each table: `[rank=2]` is part of its name."""
    (folder / "suite.yaml").write_text(
        SUITE.replace("small: {train: {base: base, rank: 2,", "small: {train: {base: base, rank: [2, 4],")
    )
    out, error = typed(check, "suite.yaml", "--data", "rows.jsonl")
    assert error is None
    for name in ("small[rank=2]", "small[rank=4]"):
        assert sum(line.split()[:1] == [name] for line in out.splitlines()) == 3
    assert "next: muster run suite.yaml --data rows.jsonl" in out


@pytest.mark.parametrize("terminal", [False, True])
def test_stages_are_called_what_they_are(terminal, monkeypatch):
    """Lines and bars alike show a name with brackets whole."""
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    out = io.StringIO()
    console = Console(file=out, markup=False, emoji=False, force_terminal=terminal, width=100, color_system=None)
    stages = ProgressStages(console)
    with stages.stage("lora[rank=2] :boom: answers", 3) as advance:
        advance(3)
    with stages.stage("lora[rank=4] answers", 3, done=3):
        pass
    lines = out.getvalue().splitlines()
    assert any("lora[rank=2] :boom: answers" in line and ("3/3" in line or not terminal) for line in lines)
    assert any("lora[rank=2] :boom: answers" in line and " in " in line for line in lines)
    assert any("lora[rank=4] answers" in line and "cached" in line for line in lines)


def test_no_verb_prints_markup():
    """Names, answers and messages may hold brackets and colons, so no console of the command line interprets them."""
    made = [
        (path.name, call)
        for path in (REPOSITORY / "harness" / "cli").glob("*.py")
        for call in re.findall(r"\bConsole\((?:[^()]|\([^()]*\))*\)", path.read_text())
    ]
    assert len(made) > 10
    assert [one for one in made if not one[1].endswith("markup=False, emoji=False)")] == []


def test_check_prints_plan_and_audit(folder):
    """Parameters, steps, tokens, padding, memory and time of each training; one audit for trainings that share rows."""
    out, error = typed(check, "suite.yaml")
    assert error is None
    # q_proj 32 -> 32 and v_proj 32 -> 16 of two layers: rank * (64 + 48) * 2
    assert table_row(out, "small", "memory")[3] == "448"
    assert table_row(out, "large", "memory")[3] == "1,792"
    assert table_row(out, "small", "steps")[1:4] == ["train", "20", "5"]
    assert "audit of train (small, large)" in out
    assert out.count("audit of") == 1
    assert out.count("  ok  ") == 7
    assert not re.search(r"\bstop\b|\bnote\b", out)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 100


def test_token_counts_are_those_of_the_rows(folder):
    """Tokens of an epoch and the trained share are counted from the tokenizer itself, row by row."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    asked = [len(tokenizer(f"Q: {row['question']}\n\n")["input_ids"]) for row in rows() if row["part"] == "train"]
    whole = [
        len(tokenizer(f"Q: {row['question']}\n\n{row['answer']}")["input_ids"]) + 1
        for row in rows()
        if row["part"] == "train"
    ]
    out, _ = typed(check, "suite.yaml")
    cells = table_row(out, "small", "steps")
    assert cells[4:6] == [f"{sum(whole):,}"] * 2
    assert f"{sum(whole) - sum(asked):,} of {sum(whole):,} tokens are trained" in out


def test_the_course_recipe_is_planned_from_a_configuration_alone(folder):
    """r=64 on Llama-2-7B: 33,554,432 of 6,771,970,048 and 750 steps for 3,000 rows, with no weight and no tokenizer."""
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "llama").mkdir()
    (folder / "llama" / "config.json").write_text(json.dumps(config))
    write(folder, rows(3010))
    text = SUITE.replace("path: base", "path: llama").replace("rank: 2,", "rank: 64, alpha: 64, allow: [memory],")
    (folder / "suite.yaml").write_text(text)
    out, error = typed(check, "suite.yaml", "--candidate", "small")
    assert error is None
    assert "LoRA r=64  33,554,432  6,771,970,048  0.50%" in out
    assert table_row(out, "small", "steps")[1:4] == ["train", "3,000", "750"]
    assert "not audited: model 'llama'" in out.replace("\n", " ")


def test_what_cannot_fit_is_refused_at_its_line(folder, monkeypatch):
    """After everything is shown: file, line and column of the option to change, and the change that would fit."""
    monkeypatch.setattr(forecast, "available_memory", lambda device: 900_000)
    out, error = typed(check, "suite.yaml")
    assert isinstance(error, UserError)
    assert "audit of train" in out
    assert str(error).startswith("suite.yaml:10:52: candidates.small.train.batch_size: must let the training fit")
    assert "suite.yaml:11:52: candidates.large.train.batch_size:" in str(error)
    assert re.search(r"Set batch_size: [21] and gradient_accumulation: [24] \(about [\d.]+ MiB\)", str(error))
    (folder / "suite.yaml").write_text(SUITE.replace("rank: 2,", "rank: 2, allow: [memory],"))
    _, error = typed(check, "suite.yaml", "--candidate", "small")
    assert error is None


HARM = [
    ({"answer": "in </s> it"}, "row 3: the answer itself holds </s>", "special_tokens"),
    (rows()[0], "row 3: prompt and answer of an earlier row again", "duplicates"),
]


@pytest.mark.parametrize(("change", "said", "name"), HARM, ids=[name for _, _, name in HARM])
def test_harm_stops_unless_it_is_allowed_by_name(folder, change, said, name):
    """Row numbers and the name to allow; allowed, the same rows are a note; another name allows nothing."""
    data = rows()
    data[2] = {**data[2], **change}
    write(folder, data)
    out, error = typed(check, "suite.yaml", "--candidate", "small")
    assert isinstance(error, UserError)
    assert said in str(error)
    assert f"allow: [{name}]" in str(error)
    assert re.search(r"^  stop  training data: row 3", out, re.MULTILINE)
    (folder / "suite.yaml").write_text(SUITE.replace("rank: 2,", f"rank: 2, allow: [{name}],"))
    out, error = typed(check, "suite.yaml", "--candidate", "small")
    assert error is None
    assert re.search(r"^  note  row 3: ", out, re.MULTILINE)
    other = "memory"
    (folder / "suite.yaml").write_text(SUITE.replace("rank: 2,", f"rank: 2, allow: [{other}],"))
    assert isinstance(typed(check, "suite.yaml", "--candidate", "small")[1], UserError)


def test_what_is_never_allowed(folder):
    """Empty answers, rows too long or cut: `allow` knows no name for them."""
    write(folder, [{**row, "answer": "  "} if number == 2 else row for number, row in enumerate(rows())])
    assert "rows.jsonl:3: column 'answer' must hold a reference" in str(typed(check, "suite.yaml")[1])
    write(folder, rows())
    (folder / "suite.yaml").write_text(SUITE.replace("rank: 2,", "rank: 2, allow: [no_eos],"))
    _, error = typed(check, "suite.yaml")
    assert "must be 'duplicates', 'special_tokens' or 'memory'" in str(error)
    (folder / "suite.yaml").write_text(SUITE.replace("rank: 2,", "rank: 2, max_length: 20,"))
    out, error = typed(check, "suite.yaml")
    assert str(error).startswith("suite.yaml:10:52: candidates.small.train.max_length: must be at least the longest")
    assert re.search(r"^  stop  'max_length'", out, re.MULTILINE)


def test_overlaps_with_validation_are_told_and_with_the_test_stop(folder):
    """A validation row in the training split flatters figures; a test row there spoils the verdict."""
    data = rows()
    data[21] = {**data[21], "question": data[4]["question"]}
    write(folder, data)
    out, error = typed(check, "suite.yaml")
    assert error is None
    assert "note  row 5: also in a validation split" in out
    data[26] = {**data[26], "question": data[7]["question"]}
    write(folder, data)
    out, error = typed(check, "suite.yaml")
    assert "row 8 of 'train' and row 27 of 'test': exact" in str(error)


def test_few_copies_and_contradictions_are_notes(folder):
    """One copy in 200 rows weighs nothing and is told; so is one prompt with two answers."""
    data = rows(210)
    data[9] = data[3]
    data[30] = {**data[31], "answer": "nowhere"}
    write(folder, data)
    out, error = typed(check, "suite.yaml")
    assert error is None
    assert "note  row 10: prompt and answer of an earlier row again" in out
    assert "note  row 32: the prompt of an earlier row with another answer" in out


def test_train_prints_the_same_before_it_trains(folder):
    """`muster train` shows plan and audit, then trains; afterwards the time is known and nothing is estimated."""
    out, error = typed(train, "suite.yaml", "--candidate", "small", "--home", folder / "home")
    assert error is None
    assert out.index("audit of train (small)") < out.index("small trains")
    assert table_row(out, "small", "memory")[3] == "448"
    out, error = typed(check, "suite.yaml", "--candidate", "small", "--home", folder / "home")
    assert error is None
    assert table_row(out, "small", "memory")[-2:] == ["–", "trained"]
    assert out.count("  ok  ") == 7
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.cli.check import check\n"
        "check('suite.yaml', candidate=['small'], split=[], limit=None, data=None, home=Path('home'))\n"
        "print('LOADED', [name for name in ('torch', 'transformers', 'peft', 'trl') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "COLUMNS": "100"},
    )  # fmt: skip
    assert "LOADED []" in done.stdout


REFERRING = SUITE.replace(
    "judges: {exact_match: {}}",
    """\
  liked: {train: {base: base, objective: dpo, preferences: pairs.jsonl, batch_size: 2}}
  drawn: {train: {base: base, objective: grpo, reward: exact_match, batch_size: 8, max_length: 64}}
judges:
  exact_match: {}
  likes: {kind: reward, train: {base: base, preferences: pairs.jsonl, batch_size: 2}}
generation: {max_new_tokens: 8}
""",
)


def test_all_objectives_are_forecast_and_what_was_found_is_kept(folder):
    """Pairs, policies and reward models have steps, tokens, padding, memory and time too; checked again, the same is said
    without loading a model stack, until a row or an option changes."""
    pairs = [{"input": row["question"], "chosen": row["answer"], "rejected": "no idea at all"} for row in rows(14)[:4]]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "suite.yaml").write_text(REFERRING)
    out, error = typed(check, "suite.yaml", "--home", "home")
    assert error is None
    for name, source, steps in (("likes", "pairs.jsonl", "2"), ("liked", "pairs.jsonl", "2"), ("drawn", "train", "10")):
        cells = table_row(out, name, "steps")
        assert cells[1] == source
        assert steps in cells[3:4]
        assert "–" not in cells
        assert "–" not in table_row(out, name, "memory")
    assert table_row(out, "drawn", "steps")[4] == "≤"
    code = (
        "import sys\nfrom pathlib import Path\nfrom harness.cli.check import check\n"
        "check('suite.yaml', candidate=[], split=[], limit=None, data=None, home=Path('home'))\n"
        "print('LOADED', [name for name in ('torch', 'transformers', 'peft', 'trl') if name in sys.modules])\n"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "COLUMNS": "100", "OMP_NUM_THREADS": THREADS},
    ).stdout  # fmt: skip
    assert "LOADED []" in again
    unsaid = re.compile(r"^.*(GiB|MiB) free on.*$|^LOADED.*$", re.MULTILINE)
    assert unsaid.sub("", again).split() == unsaid.sub("", out).split()
    kept = sorted((folder / "home" / "forecasts").iterdir())
    assert len(kept) == 5
    (folder / "suite.yaml").write_text(REFERRING.replace("rank: 2", "rank: 4"))
    assert table_row(typed(check, "suite.yaml", "--home", folder / "home")[0], "small", "memory")[3] == "896"
    assert len(list((folder / "home" / "forecasts").iterdir())) == 6


def test_show_brackets_what_is_trained(folder):
    """Three rows over the split, special tokens and all; nothing is trained; the bracketed text is the answer and its end."""
    out, error = typed(train, "suite.yaml", "--show", "3", "--home", folder / "home")
    assert error is None
    assert re.findall(r"^row (\d+), (\d+) tokens, (\d+) trained", out, re.MULTILINE)[0][0] == "1"
    assert [int(number) for number in re.findall(r"^row (\d+),", out, re.MULTILINE)] == [1, 11, 20]
    for number in (0, 10, 19):
        row = rows()[number]
        assert f"<s>Q: {row['question']}↵\n↵\n⟦{row['answer']}</s>⟧" in out
    assert not (folder / "home").exists()
    out, _ = typed(train, "suite.yaml", "--show", "1", "--ids")
    ids = re.search(r"^ids (.*) ⟦(.*)⟧", out, re.MULTILINE)
    assert ids.group(1).split()[0] == "1"
    assert ids.group(2).split()[-1] == "2"


def test_show_uses_colour_on_a_terminal_and_obeys_no_row(folder):
    """On a terminal what is trained is green without brackets; what a row says cannot drive the terminal."""
    data = rows()
    data[0] = {**data[0], "answer": "in \x1b[31mred\x07"}
    write(folder, data)
    plan = read_plan("suite.yaml", data=None, limit=None, candidates=["small"], splits=[])
    shown = io.StringIO()
    console = Console(
        file=shown, force_terminal=True, color_system="standard", width=100, no_color=False, legacy_windows=False
    )
    show_rows(plan, 1, console)
    assert "\x1b[1;32min \\x1b[31mred\\x07</s>" in shown.getvalue()
    assert "⟦" not in shown.getvalue()
    plain = io.StringIO()
    show_rows(plan, 1, Console(file=plain, force_terminal=True, no_color=True, width=100))
    assert "⟦in \\x1b[31mred\\x07</s>⟧" in plain.getvalue()


def test_show_marks_every_turn_of_the_assistant(folder, base):
    """Of a conversation each answer and its end stand in brackets, all else outside."""
    turns = [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "house"},
        {"role": "assistant", "content": "boat"}, {"role": "user", "content": "apple"},
        {"role": "assistant", "content": "river"},
    ]  # fmt: skip
    make_model(folder / "chat")
    data = [{"chat": turns, "part": part} for part in ("train", "valid")]
    data.append(
        {"chat": [{"role": "user", "content": "door"}, {"role": "assistant", "content": "lamp"}], "part": "test"}
    )
    write(folder, data)
    text = SUITE.replace("{input: question, reference: answer}", "{messages: chat}").replace("path: base", "path: chat")
    (folder / "suite.yaml").write_text(text.replace('prompt: "Q: {{ input }}"\n', ""))
    out, error = typed(train, "suite.yaml", "--candidate", "small", "--show", "1")
    assert error is None
    trained = re.findall(r"⟦([^⟧]*)⟧", out.split("\nrow 1", 1)[1])
    assert "".join(trained).replace("↵\n", "") == "boat</s>river</s>"
