"""Names of options that people bring from elsewhere: each is met with the name here, at its line."""

import pytest

from harness.errors import SuiteError
from harness.suite import load_suite
from harness.suite.grammar import TrainSpec
from harness.suite.old_names import RENAMED, SETTLED

SUITE = """\
suite: mine
data:
  path: rows.jsonl
  fields: {input: q, reference: a}
splits:
  train: {share: 0.8, use: training}
  test: {share: 0.2}
candidates:
  base: {model: {kind: transformers, path: embedded:clinic-base}}
  lora:
    train:
      base: base
      OLD
judges:
  correctness: {}
"""

DECK = [
    "lora_r", "r", "lora_alpha", "lora_dropout", "use_4bit", "load_in_4bit", "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type", "use_nested_quant", "bnb_4bit_use_double_quant", "output_dir", "num_train_epochs",
    "fp16", "bf16", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "gradient_checkpointing", "optim", "lr_scheduler_type", "warmup_ratio", "group_by_length", "logging_dir",
    "report_to", "max_seq_length", "packing", "device_map", "tokenizer", "torch_dtype", "peft_config",
    "dataset_text_field", "evaluation_strategy", "eval_strategy", "lr", "no_cuda", "model_name", "dataset_name",
    "new_model", "train_dataset", "task_type", "use_cache", "trust_remote_code", "resume_from_checkpoint",
]  # fmt: skip
"""Options of the course's own scripts that are called otherwise here."""

LOADED = """max_grad_norm: 0.3
      weight_decay: 0.001
      learning_rate: 4.0e-5
      save_steps: 25
      logging_steps: 25
      max_steps: 10
      bias: none"""
"""Those that kept their names."""


def load(folder, line):
    """The suite with a line in its training."""
    (folder / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n')
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("OLD", line))
    return load_suite(path)


def told(folder, line):
    """The one mistake of that suite, without its folder."""
    with pytest.raises(SuiteError) as caught:
        load(folder, line)
    assert len(caught.value.problems) == 1, caught.value
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize("name", DECK)
def test_every_name_of_the_course_is_met(tmp_path, name):
    """At the key's line and column stands what the option is called here, or how the matter is settled."""
    text = told(tmp_path, f"{name}: 8")
    assert text.startswith(f"suite.yaml:13:7: candidates.lora.train.{name}: is ")
    new = RENAMED[TrainSpec].get(name)
    assert (f"called '{new.partition(':')[0]}' here" if new else "no option here: ") in text


def test_names_that_stayed_are_options(tmp_path):
    """The deck's other options are read as they are."""
    assert load(tmp_path, LOADED).suite.candidates["lora"].train.max_grad_norm == 0.3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_seq_length: 512", "is called 'max_length' here. Write 'max_length: 512'"),
        ("load_in_4bit: true", "is called 'quantization' here. Write 'quantization: nf4'"),
        ("bf16: true", "is called 'compute_dtype' here. Write 'compute_dtype: bfloat16'"),
        ("bf16: false", "is called 'compute_dtype' here, and off where it is not named. Take the line out"),
        ("torch_dtype: bfloat16", "is called 'compute_dtype' here. Write 'compute_dtype: bfloat16'"),
        ("lora_target_modules: [q_proj, v_proj]", "is called 'target_modules' here"),
        ("packing: true", "is no option here: rows are laid end to end"),
    ],
)
def test_the_line_to_write_instead(tmp_path, line, said):
    """Where the value carries over, the message is the line to write."""
    text = told(tmp_path, line)
    assert said in text
    assert text.endswith((said, "Take the line out"))


def test_a_required_option_by_its_old_name_is_one_mistake(tmp_path):
    """`base_model: base` is not told twice, once as unknown and once as missing."""
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n')
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("base: base\n      OLD", "base_model: base"))
    with pytest.raises(SuiteError, match=r"base_model: is called 'base' here\. Write 'base: base'") as caught:
        load_suite(path)
    assert len(caught.value.problems) == 1


def test_models_too(tmp_path):
    """The model of a candidate has old names of its own."""
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n')
    path = tmp_path / "suite.yaml"
    text = SUITE.replace("embedded:clinic-base", "embedded:clinic-base, load_in_8bit: true").replace("      OLD\n", "")
    path.write_text(text)
    with pytest.raises(SuiteError, match=r"9:66: .*is called 'quantization' here\. Write 'quantization: int8'"):
        load_suite(path)


@pytest.mark.parametrize("spec", list({**RENAMED, **SETTLED}), ids=lambda spec: spec.__name__)
def test_targets_exist_and_old_names_do_not(spec):
    """Every option that a message names is one of the grammar, with a value it takes; no option is called an old name."""
    options = spec.model_fields
    required = {"base": "base", "kind": "transformers", "path": "x"}
    given = {name: required[name] for name, field in spec.model_fields.items() if field.is_required()}
    for old, new in RENAMED.get(spec, {}).items():
        option, _, value = new.partition(": ")
        assert option in options, old
        if value:
            assert getattr(spec(**{**given, option: value}), option) == value
    renamed, settled = set(RENAMED.get(spec, {})), set(SETTLED.get(spec, {}))
    assert (renamed | settled).isdisjoint(options)
    assert renamed.isdisjoint(settled)
