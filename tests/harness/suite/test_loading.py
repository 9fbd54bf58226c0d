# ruff: noqa: E501 (a table of mistakes, one a line)
"""Suites with mistakes: each is told once, at its place, with a way out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import SuiteError, UserError
from harness.suite import builtin_suites, load_suite

GOOD = """\
suite: clinic
data:
  path: rows.jsonl
  fields: {input: Patient, reference: Doctor}
splits:
  train: {share: 0.8, use: training}
  test: {share: 0.2}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  shots: {model: {kind: transformers, path: embedded:clinic-base}, prompting: {kind: few_shot, split: train}}
  lora: {train: {base: base, rank: 4, learning_rate: 4.0e-5}}
judges:
  correctness: {}
  toxicity: {}
  warmth: {kind: geval, criteria: Kind., model: {kind: transformers, path: embedded:clinic-base}}
gate:
  baseline: base
  rules:
    - {metric: correctness, better_by: 0.05}
    - {coverage: 0.98}
"""


def write(folder: Path, text: str | bytes = GOOD, name: str = "suite.yaml") -> Path:
    """A suite with its data in a folder."""
    (folder / "rows.jsonl").write_text('{"Patient": "a", "Doctor": "b"}\n')
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems_of(path: Path, **options: Path) -> list[str]:
    """What is wrong with a suite, without the folder's name."""
    with pytest.raises(SuiteError) as caught:
        load_suite(path, **options)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


# What stands in GOOD, what replaces it, where the one mistake is shown, and what its message holds.
MISTAKES = [
    # keys and kinds
    ("path: embedded:clinic-base}}\n  shots", "pth: x}}\n  shots", "9:38", "candidates.base.model.pth: unknown key (did you mean 'path'?)"),
    ("judges:\n", "judgs:\n", "12:1", "judgs: unknown key (did you mean 'judges'?)"),
    ("kind: transformers, path: embedded:clinic-base}}\n  shots", "kind: tranformers}}\n  shots", "9:24", "(did you mean 'transformers'?)"),
    ("kind: transformers, path: embedded:clinic-base}}\n  shots", "path: x}}\n  shots", "9:10", "'kind' is missing. It must be 'transformers', 'openai' or 'answers'"),
    ("  correctness: {}", "  corectness: {}", "13:3", "no built-in judge, so it must have a 'kind'"),
    ("  correctness: {}", "  correctness: true", "13:16", "must be a mapping (got true). Write 'correctness: {}'"),
    ("  correctness: {}", "  correctness:", "13:3", "must be a mapping (got nothing). Write 'correctness: {}'"),
    ("criteria: Kind., ", "", "15:3", "'criteria' is missing"),
    ("rank: 4, ", "rank: 4, rnk: 5, ", "11:39", "unknown key (did you mean 'rank'?)"),
    # types, ranges and YAML's own readings
    ("suite: clinic", "suite: 3.10", "1:8", 'got 3.1, which is how YAML reads 3.10). Put it in quotes: "3.10"'),
    ("suite: clinic", "suite: no", "1:8", "no means false in YAML. Write false where that is meant, or 'no' in quotes"),
    ("suite: clinic", "suite: clinic\nseed: 0123", "2:7", "0123 means 83 in YAML"),
    ("suite: clinic", "suite: clinic\nseed: 12:30:00", "2:7", "12:30:00 means 45000 in YAML"),
    ("suite: clinic", "suite: clinic\nseed: -1", "2:7", "seed: must be a whole number from 0 to 4294967295 (got -1)"),
    ("suite: clinic", "suite: clinic\nseed: " + "9" * 5000, "2:7", "must be below 2^63 (got a number of 5,000 digits)"),
    ("suite: clinic", "suite: clinic\nseed: true", "2:7", "must be a whole number from 0 to 4294967295 (got true)"),
    ("suite: clinic", "suite: 'a b'", "1:8", "must be a name of letters"),
    ("4.0e-5", "4e-5", "11:54", "YAML takes 4e-5 for a text. Write 4.0e-5"),
    ("4.0e-5", "1e3", "11:54", "YAML takes 1e3 for a text. Write 1.0e+3"),
    ("4.0e-5", "'0.1'", "11:54", "Remove the quotes: 0.1"),
    ("4.0e-5", ".nan", "11:54", "must be a number above 0"),
    ("rank: 4,", "rank: 4.0,", "11:36", "Write 4"),
    ("rank: 4,", "rank: four,", "11:36", "must be a whole number of at least 1, or a list of such (got 'four')"),
    ("rank: 4,", "rank: [4, x],", "11:40", "candidates.lora.train.rank[1]: must be a whole number of at least 1 (got 'x')"),
    ("rank: 4,", "rank: [],", "11:36", "(got an empty list)"),
    ("rank: 4,", "rank: [4, 8, 4],", "11:36", "must not hold the same value twice (got 4 again)"),
    ("rank: 4,", f"rank: {list(range(1, 80))},", "11:10", "must make at most 64 candidates (got a sweep of 79)"),
    ("share: 0.8", "share: 1.8", "6:18", "must be a number above 0 and up to 1 (got 1.8)"),
    ("use: training", "use: trainig", "6:28", "(did you mean 'training'?)"),
    ("share: 0.2}", "share: 0.2, path: rows.jsonl}", "7:3", "must have exactly one of 'share', 'path' and 'where' (got share and path)"),
    ("criteria: Kind.,", "criteria: Kind., scale: [5, 1],", "15:49", "must be [low, high] with low below high (got [5, 1])"),
    # names that are used
    ("metric: correctness", "metric: corectness", "19:16", "(did you mean 'correctness'?)"),
    ("baseline: base", "baseline: bse", "17:13", "must be a candidate: 'base', 'shots' or 'lora' (got 'bse') (did you mean 'base'?)"),
    ("better_by: 0.05", "better_by: 0.05, split: train", "19:53", "must be a split that candidates answer: 'test' (got 'train', for training)"),
    ("  correctness: {}", "  correctness: {splits: [tst]}", "13:26", "(did you mean 'test'?)"),
    ("base: base", "base: bas", "11:24", "(did you mean 'base'?)"),
    ("base: base", "base: lora", "11:24", "(got itself). There are 'base' and 'shots'"),
    ("split: train}}", "split: trin}}", "10:103", "must name a split with 'use: training': 'train' (got 'trin') (did you mean 'train'?)"),
    ("split: train}}", "split: test}}", "10:103", "examples would give answers away"),
    ("base: base, ", "base: base, split: test, ", "11:37", "a model trained on it could not be judged by it"),
    ("{kind: geval, criteria: Kind.,", "{kind: pairwise, criteria: Kind., against: shot,", "15:54", "must be a candidate: 'base', 'shots' or 'lora', or 'all' (got 'shot') (did you mean 'shots'?)"),
    ("{kind: geval, criteria: Kind.,", "{kind: pairwise,", "15:3", "'criteria' is missing"),
    ("{kind: geval, criteria: Kind.,", "{kind: pairwise, criteria: Kind., shows: [inpt],", "15:53", "must be 'input', 'reference' or 'context' (got 'inpt') (did you mean 'input'?)"),
    # the gate
    ("metric: correctness, better_by: 0.05", "metric: toxicity, at_least: 0.1", "19:36", "'toxicity' is better when lower. Use 'at_most'"),
    ("metric: correctness, better_by: 0.05", "metric: correctness, at_most: 0.1", "19:38", "better when higher. Use 'at_least'"),
    ("metric: correctness, better_by: 0.05", "metric: warmth, at_least: 4", "19:34", "4 on the judge's own scale of 1 to 5 is 0.75"),
    ("metric: correctness, better_by: 0.05", "metric: correctness, at_least: 1.5", "19:39", "must be from 0 to 1, the scale of 'correctness' (got 1.5)"),
    ("metric: correctness, better_by: 0.05", "better_by: 0.05", "19:7", "must have a 'metric' beside 'better_by'"),
    ("better_by: 0.05", "better_by: 0.05, at_least: 0.2", "19:7", "must have exactly one of"),
    ("{coverage: 0.98}", "{metric: correctness, better_by: 0.01}", "20:7", "must differ from rules[0]"),
    ("  baseline: base\n", "", "16:1", "must have a 'baseline'"),
    # splits
    ("share: 0.2", "share: 0.3", "5:1", "must have shares of at most 1 together (got 0.8 + 0.3 = 1.1)"),
    # paths
    ("rows.jsonl", "row.jsonl", "3:9", "no such file: 'row.jsonl'. Name another, or give one with --data FILE (did you mean 'rows.jsonl'?)"),
    ("rows.jsonl", "/etc/passwd", "3:9", "must be a path relative to the suite"),
    ("rows.jsonl", "~/rows.jsonl", "3:9", "must be a path relative to the suite"),
    ("rows.jsonl", "../rows.jsonl", "3:9", "must stay inside the suite's folder, without '..'"),
    ("rows.jsonl", "https://x.org/rows.jsonl", "3:9", "must be a path (got the address"),
    ("rows.jsonl", ".", "3:9", "must be a file (got the folder '.')"),
    ("path: embedded:clinic-base}}\n  shots", "path: ../model}}\n  shots", "9:44", "must stay inside the suite's folder"),
    ("path: embedded:clinic-base}}\n  shots", "path: ./model}}\n  shots", "9:44", "no such folder: './model'"),
    ("path: embedded:clinic-base}}\n  shots", "path: rows.jsonl}}\n  shots", "9:44", "must be a folder, 'embedded:NAME' or a Hub name"),
    # conversations
    ("{input: Patient, reference: Doctor}", "{input: Patient}\n  turns: every", "2:1", "must have conversations (fields: {messages: COLUMN}) where 'turns' is every"),
    ("{input: Patient, reference: Doctor}", "{messages: Patient, reference: Doctor}\n  turns: every", "2:1", "must have 'turns' last beside a 'reference' column"),
    ("{input: Patient, reference: Doctor}", "{messages: Patient}\n  turns: evry", "5:10", "must be 'last' or 'every' (got 'evry') (did you mean 'every'?)"),
    ("{input: Patient, reference: Doctor}", "{messages: Patient}\nprompt: '{{ input }}'", "5:9", "must not stand beside conversations (data.fields.messages), whose turns are given as they are. Use 'system'"),
    # secrets, addresses, templates
    ("suite: clinic", "suite: clinic\nprompt: hello", "2:9", "must use the row, such as with {{ input }}"),
    ("suite: clinic", "suite: clinic\nprompt: '{{ input'", "2:9", "is not a valid template"),
    ("suite: clinic", "suite: clinic\nprompt: |\n  a\n  {{ input | uper }}", "4:1", "(did you mean 'upper'?)"),
    ("suite: clinic", "suite: clinic\nprompt: {{ input }}", "2:10", "Put a text with braces into quotes"),
    ("suite: clinic", "suite: clinic\ndescription: sk-abcdefghijklmnopqrstu", "2:14", "must not hold a secret"),
    # YAML itself
    ("suite: clinic", "suite: clinic\nsuite: other", "2:1", "suite: the key is given twice (first on line 1)"),
    ("suite: clinic", "suite: &a clinic\ndescription: *a", "2:14", "an alias is not allowed (got '*a')"),
    ("suite: clinic", "suite: !!python/name:os.system clinic", "1:8", "a tag is not allowed (got '!!python/name:os.system')"),
    ("suite: clinic", 'suite: clinic\nsystem: "a\\0b"', "2:9", "escaped character U+0000"),
    ("  train: {", "\ttrain: {", "6:1", "a tab cannot indent YAML. Use spaces"),
    ("suite: clinic", "suite: a: b", "1:9", "a second ':' on the line"),
    ("    - {coverage: 0.98}\n", "    - {coverage: 0.98}\n---\na: 1\n", "21:1", "a second document starts here"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where", "text"), MISTAKES, ids=[f"{m[1][:40]}@{m[2]}" for m in MISTAKES])
def test_one_mistake_is_told_once_at_its_place(tmp_path, old, new, where, text):
    """One mistake in an otherwise good suite gives exactly one line, with the place and the way out."""
    assert old in GOOD
    found = problems_of(write(tmp_path, GOOD.replace(old, new, 1)))
    assert len(found) == 1, found
    assert found[0].startswith(f"suite.yaml:{where}: "), found[0]
    assert text in found[0]
    assert "\n" not in found[0]
    assert "pydantic" not in found[0]


@pytest.mark.parametrize(
    ("content", "where", "text"),
    [
        (b"", "1:1", "the file is empty"),
        (b"# only a comment\n", "1:1", "the file is empty"),
        (b"- a\n", "1:1", "must be a mapping of keys (got a list)"),
        (b"just text", "1:1", "must be a mapping of keys (got 'just text')"),
        (b"a: \xe9", "1:4", "must be UTF-8 (got the byte 0xe9)"),
        ("suite: clinic".encode("utf-16"), "1:1", "must be UTF-8 (got UTF-16)"),
        (b"a: 1\nb: \x00", "2:4", "must be text (got the control character '\\x00')"),
        (b"[" * 3000, "1:33", "must be nested at most 32 deep"),
        (b"a: " + b"{a: " * 3000, "1:128", "must be nested at most 32 deep"),
        (b"- " * 3000 + b"x", "1:65", "must be nested at most 32 deep"),
        (b"a: [" + b"1, " * 11_000 + b"1]", "1:", "must hold at most 10,000 values"),
        (b"x" * 500_001, "1:1", "must be at most 500,000 bytes"),
        (b"a: 'x", "1:6", "is not valid YAML"),
        (b"? [a]\n: 1\n", "1:3", "a key must be a text"),
    ],
)
def test_files_that_are_no_suite_are_told_in_one_line(tmp_path, content, where, text):
    """What cannot be read at all gives a line with its place, and no traceback."""
    found = problems_of(write(tmp_path, content))
    assert any(line.startswith(f"suite.yaml:{where}") and text in line for line in found), found


def test_a_good_suite_loads_with_or_without_a_byte_order_mark(tmp_path):
    """A UTF-8 byte order mark, Windows line ends and comments change nothing, not even the hash."""
    plain = load_suite(write(tmp_path))
    other = "\ufeff# comment\n" + GOOD.replace("\n", "\r\n").replace("seed: 0", "seed:   0")
    assert load_suite(write(tmp_path, other)).sha == plain.sha
    assert plain.data_path == tmp_path / "rows.jsonl"
    assert plain.root == tmp_path
    assert list(plain.suite.candidates) == ["base", "shots", "lora"]
    assert plain.suite.judges["correctness"].kind == "correctness"


def test_the_hash_follows_what_the_suite_says(tmp_path):
    """The order of keys and spelt-out defaults leave the hash alone; a value, or a judge's kind, changes it."""
    sha = load_suite(write(tmp_path)).sha
    lines = GOOD.splitlines(keepends=True)
    moved = "".join([*lines[15:], *lines[:15]])
    assert load_suite(write(tmp_path, moved)).sha == sha
    assert load_suite(write(tmp_path, GOOD + "seed: 0\n")).sha == sha
    assert load_suite(write(tmp_path, GOOD + "seed: 1\n")).sha != sha
    assert load_suite(write(tmp_path, GOOD.replace("toxicity: {}", "toxicity: {kind: entailment}"))).sha != sha
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load_suite(write(elsewhere)).sha == sha


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    """A syntax trap, a wrong key, a wrong type, a leak and a wrong name are all told by one call, sorted by line."""
    text = (
        GOOD.replace("suite: clinic", "suite: no")
        .replace("input: Patient", "imput: Patient")
        .replace("share: 0.2", "share: two")
        .replace("split: train}}", "split: nowhere}}")
        .replace("metric: correctness", "metric: corectness")
        .replace("rows.jsonl", "row.jsonl")
    )
    found = problems_of(write(tmp_path, text))
    assert [line.split(":")[1] for line in found] == ["1", "3", "4", "7", "10", "19"]


def test_a_flood_of_mistakes_is_cut_off_and_counted(tmp_path):
    """A thousand unknown keys do not fill the terminal."""
    found = problems_of(write(tmp_path, GOOD + "".join(f"zz{i}: 1\n" for i in range(1000))))
    assert len(found) == 101
    assert "and 900 more from here on" in found[-1]


def test_keys_are_never_shown(tmp_path):
    """A secret that stands in a suite appears in no message, whatever key it stands under."""
    secret = "sk-abcdefghijklmnopqrstuvwx"
    for key in ("api_key", "name", "base_url", "timeout"):
        model = f"{{kind: openai, name: m, {key}: {secret}}}" if key != "name" else f"{{kind: openai, name: {secret}}}"
        text = GOOD.replace("{kind: transformers, path: embedded:clinic-base}}\n  shots", f"{model}}}\n  shots", 1)
        found = problems_of(write(tmp_path, text))
        assert not any(secret in line or secret[5:] in line for line in found), found
        assert any("api_key" in line or "key" in line for line in found)


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("http://localhost:8000/v1", True),
        ("${OPENAI_BASE_URL}", True),
        ("https://${HOST}:8000/v1", True),
        ("ftp://host", False),
        ("https://user:password@host/v1", False),
        ("{{ config }}", False),
        ("${a b}", False),
        ("$HOME", False),
        ("file:///etc/passwd", False),
    ],
)
def test_endpoint_addresses(tmp_path, address, right):
    """An address is http or https, holds no password, and refers to the environment only as ${NAME}."""
    model = f"{{kind: openai, name: m, base_url: '{address}', api_key: 'env:KEY'}}"
    path = write(tmp_path, GOOD.replace("  shots:", f"  api: {{model: {model}}}\n  shots:"))
    if right:
        assert load_suite(path).suite.candidates["api"].model.base_url == address
    else:
        assert "must be an http or https address" in problems_of(path)[0]


def test_a_symlink_may_not_lead_out(tmp_path):
    """A link inside the folder that points to a file outside it is refused; one that stays inside is not."""
    suite = tmp_path / "suite"
    suite.mkdir()
    (tmp_path / "secret.jsonl").write_text("{}\n")
    path = write(suite, GOOD.replace("rows.jsonl", "link.jsonl"))
    (suite / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    assert "must stay inside the suite's folder (got the link 'link.jsonl' out of it)" in problems_of(path)[0]
    (suite / "link.jsonl").unlink()
    (suite / "link.jsonl").symlink_to(suite / "rows.jsonl")
    assert load_suite(path).data_path == suite / "link.jsonl"


def test_resolve_stays_inside(tmp_path):
    """`resolve` gives absolute paths below the root, and refuses the rest with a user's error."""
    loaded = load_suite(write(tmp_path))
    assert loaded.resolve("a/b.txt") == tmp_path / "a/b.txt"
    for bad in ("../x", "/etc/passwd", "~/x", "a\\b", "http://x/y", "C:/x"):
        with pytest.raises(UserError):
            loaded.resolve(bad)


def test_recorded_answers_must_be_there(tmp_path):
    """The file of recorded answers is checked like data, with the nearest name."""
    (tmp_path / "answers.jsonl").write_text("{}\n")
    text = GOOD.replace("  shots:", "  old: {model: {kind: answers, path: answer.jsonl}}\n  shots:")
    assert "(did you mean 'answers.jsonl'?)" in problems_of(write(tmp_path, text))[0]


def test_a_misspelt_embedded_model_is_one_of_the_mistakes(tmp_path):
    """Beside others, with its place and the nearest name, wherever a model is named."""
    text = GOOD.replace("path: embedded:clinic-base}}\n  shots", "path: embedded:clinic-bas}}\n  shots")
    text = text.replace(
        "  correctness: {}", "  correctness: {model: embedded:nil}\n  relevancy: {classifier: embedded:zzz}"
    )
    found = problems_of(write(tmp_path, text.replace("rows.jsonl", "row.jsonl")))
    assert [line.split(": ")[1] for line in found if "comes with muster" in line] == [
        "candidates.base.model.path", "judges.correctness.model", "judges.relevancy.classifier"
    ]  # fmt: skip
    assert "(did you mean 'embedded:clinic-base'?)" in "".join(found)
    assert "(did you mean 'embedded:nli'?)" in "".join(found)
    assert any("'row.jsonl'" in line for line in found)


@pytest.mark.parametrize("metric", ["latency", "cost"])
def test_what_recorded_answers_took_is_compared_with_nothing(tmp_path, metric):
    """Seconds and money of a baseline's recorded answers cannot be known: said before the run."""
    (tmp_path / "answers.jsonl").write_text("{}\n")
    text = GOOD.replace("  shots:", "  old: {model: {kind: answers, path: answers.jsonl}}\n  shots:")
    text = text.replace("baseline: base", "baseline: old") + f"    - {{metric: {metric}, no_worse_by: 0.1}}\n"
    assert f"(got '{metric}', which the recorded answers of 'old' do not hold)" in "".join(
        problems_of(write(tmp_path, text))
    )


def test_data_from_the_command_line_replaces_the_suites_own(tmp_path):
    """--data may lie anywhere, and then the suite's own file need not be there; its fields and limit stay."""
    outside = tmp_path / "outside.jsonl"
    outside.write_text("{}\n")
    folder = tmp_path / "suite"
    folder.mkdir()
    for source in ("path: not-there.jsonl", "hub: owner/name\n  revision: main", "limit: 5"):
        loaded = load_suite(write(folder, GOOD.replace("path: rows.jsonl", source)), data=outside)
        assert loaded.data_path == outside
        assert loaded.suite.data.fields.input == "Patient"
        assert loaded.suite.data.hub is None
    assert loaded.suite.data.limit == 5
    with pytest.raises(UserError, match=r"--data no such file: .*outsid.jsonl.*did you mean 'outside.jsonl'"):
        load_suite(write(folder), data=tmp_path / "outsid.jsonl")


def test_hub_data_has_no_path(tmp_path):
    """Rows from the Hub: there is no data path."""
    assert load_suite(write(tmp_path, GOOD.replace("path: rows.jsonl", "hub: owner/name"))).data_path is None


def test_later_stages_point_at_lines(tmp_path):
    """`problem` finds the line of a path, of the nearest one above it, and of the sweep behind an expanded candidate."""
    loaded = load_suite(write(tmp_path, GOOD.replace("rank: 4", "rank: [4, 8]")))
    assert str(loaded.problem(("data", "fields", "input"), "gone")).endswith("suite.yaml:4:19: data.fields.input: gone")
    assert loaded.problem(("splits", "test", "path"), "x").line == 7
    assert loaded.problem(("candidates", "lora[rank=8]", "train", "rank"), "x").line == 11
    assert loaded.problem(("candidates", "lora[rank=8]"), "x").path == "candidates.lora"


@pytest.mark.parametrize("name", builtin_suites())
def test_every_suite_that_ships_loads(name, tmp_path):
    """The built-in suites hold no mistake; data that is not shipped comes from the command line."""
    data = tmp_path / "data.jsonl"
    data.write_text("{}\n")
    assert load_suite(name, data=None if name != "patient_doctor" else data).suite.suite == name


def test_built_in_suites_and_wrong_names(tmp_path, monkeypatch):
    """A bare name is a built-in suite; a wrong one gets the names there are, and the nearest."""
    assert load_suite("starter").suite.suite == "starter"
    with pytest.raises(UserError, match=r"'starter'.*did you mean 'starter'"):
        load_suite("startr")
    write(tmp_path, name="mine.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"mine.yml: no such suite.*did you mean 'mine.yaml'"):
        load_suite("mine.yml")
    with pytest.raises(UserError, match="must be a suite file \\(got a folder\\)"):
        load_suite(tmp_path)
    with pytest.raises(UserError):
        load_suite("\0")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_told(tmp_path):
    """A suite without read permission gives a line."""
    path = write(tmp_path)
    path.chmod(0)
    assert "cannot be read" in problems_of(path)[0]


def test_loading_needs_no_heavy_package():
    """Loading a suite imports neither torch, numpy, scipy nor duckdb."""
    code = (
        "import sys; from harness.suite import load_suite; load_suite('starter');"
        "print([m for m in ('torch', 'numpy', 'scipy', 'duckdb', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_pairwise_judge_needs_somebody_to_compare_with(tmp_path):
    """Without a gate's baseline it must name its opponent; with one, or with 'all', it has one."""
    judge = "kind: pairwise, criteria: Kind.,"
    text = GOOD.replace("kind: geval, criteria: Kind.,", judge)
    alone = text[: text.index("gate:")]
    [problem] = problems_of(write(tmp_path, alone))
    assert problem.startswith("suite.yaml:15:3: judges.warmth: must say whom it compares 'against'")
    assert load_suite(write(tmp_path, text)).suite.opponents("warmth") == ["base"]
    named = alone.replace(judge, f"{judge} against: shots,")
    assert load_suite(write(tmp_path, named)).suite.opponents("warmth") == ["shots"]
    everybody = load_suite(write(tmp_path, alone.replace(judge, f"{judge} against: all,"))).suite
    assert everybody.opponents("warmth") == ["base", "shots", "lora"]
    assert everybody.opponents("toxicity") == []
