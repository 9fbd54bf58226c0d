"""The 24 ways in which trainings of language models go wrong unseen, and what keeps each from happening here.

One test a trap, named by its number. Those that need a whole project or the models' own fixtures stand there: 9 in
test_validating.py, 15 in tests/harness/cli/test_export_model.py, 16, 17 and 24 in tests/harness/models/test_local.py.
"""

import copy
import dataclasses
import itertools
import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from harness.errors import SuiteError, TrainingError, UserError
from harness.models import rendering
from harness.models.identity import base_fingerprint
from harness.models.local import LocalModel
from harness.records import GenerationSettings, Message, Prompt, Sample
from harness.suite import load_suite
from harness.suite.grammar import CandidateSpec, TrainSpec
from harness.training import find_training, planning, sft, training_key, training_rows
from harness.training.adaptation import choose_weights
from harness.training.attention import PACKABLE, PACKED, is_packable
from harness.training.audit import IGNORED, audit_rows
from harness.training.recipe import TrainingRow
from tests.harness.models.tiny import CHATML, LLAMA2, WORDS, make_model, make_tokenizer
from tests.harness.training.ending import digest, killed, killed_in, torture
from tests.harness.training.oracles import token_mean

ROOT = Path(__file__).parents[3]
TURNS = (
    ("user", "fever"), ("assistant", "rest"), ("user", "and the cough?"), ("assistant", "water"), ("user", "thanks"),
)  # fmt: skip


@pytest.fixture
def rows(samples, ask):
    """The samples as training rows."""
    return training_rows(samples, ask)


def with_template(folder, template):
    """A tokenizer with this chat template."""
    make_tokenizer(folder, template=template)
    return AutoTokenizer.from_pretrained(folder)


def row_of(*turns, answer="call a doctor", row=1):
    """A training row of (role, text) turns."""
    return TrainingRow(row=row, messages=tuple(Message(role=role, content=text) for role, text in turns), answer=answer)


def trained_ids(token_row):
    """The ids that a row trains."""
    return [label for label in token_row.labels if label != IGNORED]


def adapter(training):
    """The tensors of a LoRA training."""
    return load_file(Path(training.path) / "adapter_model.safetensors")


def difference(one, other):
    """Largest absolute difference of two trainings' tensors."""
    left, right = adapter(one), adapter(other)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def test_trap_01_double_bos(tokenizer, tmp_path, monkeypatch):
    """A template, or a recipe as published, writes <s>, and the tokenizer adds its own: exactly one stands at the head.

    Should two come through all the same, the audit refuses the row by number.
    """
    llama2 = with_template(tmp_path, LLAMA2)
    written = row_of(("user", "<s>[INST] ba [/INST]"))
    for used, row in ((tokenizer, written), (llama2, row_of(("user", "ba")))):
        [token_row], _ = audit_rows(used, [row], max_length=64)
        assert token_row.input_ids[0] == used.bos_token_id
        assert token_row.input_ids.count(used.bos_token_id) == 1
    monkeypatch.setattr(rendering, "training_tokens", lambda *_: ([1, 1, 9], [8, 2]))
    with pytest.raises(UserError, match="row 1: two <s> stand at the head"):
        audit_rows(tokenizer, [written], max_length=64)


def test_trap_02_the_end_is_trained(tokenizer, rows, tmp_path):
    """EOS is the last trained token of every answer: where padding is EOS too, in the very batch that the trainer sees, and
    where a template writes it outside its generation markers."""
    tokenizer.pad_token = tokenizer.eos_token
    token_rows, _ = audit_rows(tokenizer, rows, max_length=256)
    for batch in batches(tokenizer, token_rows, tmp_path / "trainer"):
        for row in batch["labels"]:
            assert row[row != IGNORED][-1] == tokenizer.eos_token_id
    marked = CHATML.replace("{{ eos_token }}", "{% generation %}{% endgeneration %}{{ eos_token }}")
    chat = with_template(tmp_path, marked)
    [token_row], audit = audit_rows(chat, [row_of(*TURNS)], max_length=256)
    assert trained_ids(token_row).count(chat.eos_token_id) == audit.answers == 3


def batches(tokenizer, token_rows, folder, *, batching="padded"):
    """The batches that the trainer makes of rows."""
    model = AutoModelForCausalLM.from_config(LlamaConfig(**TINY, vocab_size=len(tokenizer)))
    options = {"seed": 1, "output": folder, "device": "cpu", "compute_dtype": "float32", "batching": batching}
    arguments = sft._arguments(TrainSpec(base="base", batch_size=5), **options)
    trainer = sft.SupervisedTrainer(
        ledger=sft.Ledger(),
        model=model,
        args=arguments,
        train_dataset=sft._dataset(token_rows),
        processing_class=tokenizer,
    )
    return list(trainer.get_train_dataloader())


TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize(
    "turns", [TURNS[:1], TURNS, (("system", "be kind"), *TURNS[:1])], ids=["one", "many", "system"]
)
def test_trap_03_the_prompt_is_not_trained(tmp_path, turns):
    """Of one turn, of several and after a system message, what is trained is the answers and their ends, nothing else."""
    chat = with_template(tmp_path, CHATML)
    [token_row], _ = audit_rows(chat, [row_of(*turns)], max_length=256)
    said = [text for role, text in turns if role == "assistant"] + ["call a doctor"]
    assert chat.decode(trained_ids(token_row)) == "".join(text + chat.eos_token for text in said)


@pytest.mark.parametrize("ending", ["", " ", "\n", "[/INST] "])
def test_trap_04_the_boundary(tokenizer, rows, ending):
    """The masked ids are, id by id, those that inference feeds, whatever the prompt ends with."""
    rows = [
        dataclasses.replace(row, messages=(Message(role="user", content=row.messages[0].content + ending),))
        for row in rows
    ]
    token_rows, audit = audit_rows(tokenizer, rows, max_length=256)
    for row, token_row in zip(rows, token_rows, strict=True):
        context = [i for i, label in zip(token_row.input_ids, token_row.labels, strict=True) if label == IGNORED]
        assert context == rendering.prompt_tokens(tokenizer, row.messages)
    assert audit.bos == 1


def test_trap_05_truncation(tokenizer):
    """Of 48 rows 36 are longer than 60 tokens: all 36 are named with their lengths, or left out whole and counted; none is
    cut, none loses its end."""
    long, short = "ba " * 70, "ba " * 5
    rows = [row_of(("user", "ba"), answer=short if n % 4 == 0 else long, row=n) for n in range(1, 49)]
    everything, _ = audit_rows(tokenizer, rows, max_length=256, allow=["duplicates"])
    lengths = {row.row: len(row.input_ids) for row in everything}
    with pytest.raises(UserError, match="36 of 48 rows") as caught:
        audit_rows(tokenizer, rows, max_length=60, allow=["duplicates"])
    assert f"1 ({lengths[1]}), 2 ({lengths[2]})" in str(caught.value)
    assert f"and 24 more). Set max_length to {max(lengths.values())}" in str(caught.value)
    kept, audit = audit_rows(tokenizer, rows, max_length=60, truncation="drop", allow=["duplicates"])
    assert kept == [row for row in everything if row.row % 4 == 0]
    assert audit.dropped == tuple(n for n in range(1, 49) if n % 4)
    assert all(row.labels[-1] == tokenizer.eos_token_id for row in kept)


def test_trap_06_nothing_to_train_and_no_number(tokenizer, rows, run, recipe, tmp_path):
    """An empty answer is refused by its row; a NaN or infinite loss or gradient stops the training at its step and leaves
    no adapter. (The status is 4: tests/end_to_end/test_training_troubles.py.)"""
    rows[2] = dataclasses.replace(rows[2], answer="  ")
    with pytest.raises(UserError, match="row 3: the answer is empty"):
        audit_rows(tokenizer, rows, max_length=256)
    with pytest.raises(
        TrainingError, match=r"lora: the (loss|gradient norm) must be finite \(got \w+ at step \d+ of 12\)"
    ):
        run(recipe(learning_rate=1e30))
    assert all(path.name.endswith(".partial") for path in (tmp_path / "adapters").iterdir())


@pytest.mark.parametrize("architecture", PACKABLE)
def test_trap_07_packed_rows_do_not_see_each_other(architecture):
    """Packed logits equal each row's alone to 1e-5, and changing the first row moves nothing in the second."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64, "pad_token_id": 0}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": None}
    config = AutoConfig.for_model(architecture, **sizes, **heads)
    assert is_packable(config)
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation="sdpa").eval()
    model = AutoModelForCausalLM.from_config(config, attn_implementation=PACKED).eval()
    model.load_state_dict(plain.state_dict())
    first, other, second = [5, 6, 7, 8], [9, 9, 40, 3], [11, 12, 13, 14, 15]

    def packed(left, **options):
        positions = [*range(len(left)), *range(len(second))]
        bounds = torch.tensor([0, len(left), len(left) + len(second)])
        ids, places = torch.tensor([left + second]), torch.tensor([positions])
        return model(ids, position_ids=places, cu_seq_lens_q=bounds, use_cache=False, **options).logits[0]

    with torch.no_grad():
        together, alone = packed(first), plain(torch.tensor([second])).logits[0]
        assert (together[:4] - plain(torch.tensor([first])).logits[0]).abs().max() < 1e-5
        assert (together[4:] - alone).abs().max() < 1e-5
        assert torch.equal(packed(other)[4:], together[4:])
        assert torch.allclose(packed(first, logits_to_keep=torch.tensor([1, 5])), together[[1, 5]], atol=1e-6)


def test_trap_07_packed_batches_have_no_mask(tokenizer, rows, tmp_path):
    """A mask of ones beside positions would undo the isolation: a packed batch has bounds and positions, and no mask."""
    token_rows, _ = audit_rows(tokenizer, rows, max_length=256)
    for batch in batches(tokenizer, token_rows, tmp_path, batching="packed"):
        assert {"position_ids", "cu_seq_lens_q"} <= batch.keys()
        assert "attention_mask" not in batch


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_trap_08_padding_changes_no_loss(run, recipe, base_folder, rows, batching):
    """With rows of unequal length in one batch, the loss is the mean over the trained tokens of the rows run alone."""
    training = run(recipe(batch_size=24, epochs=1, logging_steps=1, dropout=0.0), batching=batching)
    token_rows, _ = audit_rows(AutoTokenizer.from_pretrained(base_folder), rows, max_length=256)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    assert training.log[0]["loss"] == pytest.approx(token_mean(base, token_rows), rel=1e-6)


def test_trap_08_padding_changes_no_answer(tmp_path):
    """Prompts of unequal length answered in one batch are answered as alone. The guard bites: padded on the right, which is
    how training pads, the same prompts are answered otherwise."""
    folder, settings = make_model(tmp_path), GenerationSettings(max_new_tokens=8)
    generator = LocalModel(folder, device="cpu").generator()
    asked = [
        Prompt(sample_id=str(n), messages=(Message(role="user", content=" ".join(WORDS[n : 3 * n + 1])),))
        for n in range(8)
    ]
    together = dict(itertools.chain.from_iterable(generator.generate(asked, settings)))
    alone = [dict(next(iter(generator.generate([prompt], settings))))[0].text for prompt in asked]
    assert [together[n].text for n in range(8)] == alone
    assert len(set(alone)) > 4
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.padding_side = "right"
    ids = [rendering.prompt_tokens(tokenizer, prompt.messages) for prompt in asked]
    fed = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    out = model.generate(**fed, max_new_tokens=8, do_sample=False)[:, fed["input_ids"].shape[1] :]
    assert tokenizer.batch_decode(out, skip_special_tokens=True) != alone


def test_trap_10_accumulation(run, recipe, tmp_path):
    """4 rows at once, 2 x 2 and 1 x 4 give the same losses, and weights to 1e-5: the mean is over the step's tokens."""
    whole, *parts = [
        run(
            recipe(
                batch_size=b, gradient_accumulation=4 // b, dropout=0.0, logging_steps=1, learning_rate=1e-3, epochs=1
            ),
            adapters=tmp_path / f"{b}",
        )
        for b in (4, 2, 1)
    ]
    for part in parts:
        for one, other in zip(whole.log, part.log, strict=True):
            assert other == pytest.approx(one, rel=1e-4)
        assert difference(whole, part) < 1e-5


def test_trap_11_determinism(run, recipe, tmp_path):
    """Two trainings of one recipe write the same bytes, dropout and shuffling included, and a configuration whose modules
    are in order, whatever a set's order was; another seed gives other bytes."""
    spec = {"max_steps": 6, "target_modules": ["v_proj", "q_proj", "up_proj", "o_proj", "k_proj", "down_proj"]}
    one, two = (run(recipe(**spec), adapters=tmp_path / name) for name in "ab")
    other = run(recipe(**spec), adapters=tmp_path / "c", seed=2)
    assert digest(one) == digest(two) != digest(other)
    assert one.log == two.log
    assert one.key == two.key != other.key
    configs = [(Path(training.path) / "adapter_config.json").read_bytes() for training in (one, two)]
    assert configs[0] == configs[1]
    assert json.loads(configs[0])["target_modules"] == sorted(spec["target_modules"])


def test_trap_12_twenty_kills(run, recipe, tmp_path):
    """Killed by SIGKILL at 20 random moments and started again each time, a training ends in the tensors, the
    configuration, the token count and the one rising log of an uninterrupted one."""
    spec = recipe(max_steps=120, batch_size=1, gradient_accumulation=2, save_steps=2, logging_steps=1)
    whole = run(spec, adapters=tmp_path / "whole")
    moments = torture(
        lambda progress: run(spec, adapters=tmp_path / "broken", progress=progress), kills=20, seed=12, steps=7
    )
    assert len(moments) == 20
    assert find_training(tmp_path / "broken", whole.key) is None
    broken = run(spec, adapters=tmp_path / "broken")
    assert digest(broken) == digest(whole)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (Path(broken.path) / name).read_bytes() == (Path(whole.path) / name).read_bytes()
    assert broken.log == whole.log
    assert (broken.tokens, broken.steps) == (whole.tokens, whole.steps)
    assert whole.record["resumed_at_steps"] == []
    assert broken.record["resumed_at_steps"]


KILLS = [("fsync", 0), ("fsync", 4), ("replace", 0), ("rename", 0)]
"""Calls (from 0) of functions of `os` that make files durable or final: in a save, and at the very end."""


def test_trap_12_a_kill_inside_a_save(run, recipe, tmp_path, capsys):
    """Killed while a checkpoint or the adapter is being written, and each file of the newest checkpoint cut in half in
    turn: the training falls back to the last complete checkpoint, says so, and ends in the same tensors."""
    spec = recipe()
    whole = run(spec, adapters=tmp_path / "whole")
    for name, calls in KILLS:
        assert killed_in(lambda: run(spec, adapters=tmp_path / "broken"), name, calls), name
    assert digest(run(spec, adapters=tmp_path / "broken")) == digest(whole)
    assert killed(lambda progress: run(spec, adapters=tmp_path / "old", progress=progress), steps=11)
    newest = tmp_path / "old" / f"{whole.key}.partial" / "checkpoints" / "checkpoint-9"
    files = sorted(path.name for path in newest.iterdir())
    assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "ledger.json", "manifest.json"} <= set(files)
    for name in files:
        shutil.rmtree(tmp_path / "cut", ignore_errors=True)
        shutil.copytree(tmp_path / "old", tmp_path / "cut")
        victim = tmp_path / "cut" / newest.relative_to(tmp_path / "old") / name
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
        lines = []
        resumed = run(spec, adapters=tmp_path / "cut", notice=lines.append)
        assert "checkpoint-9 is incomplete" in lines[0], name
        assert resumed.record["resumed_at_steps"] == [6]
        assert digest(resumed) == digest(whole), name


def test_trap_13_another_recipe_is_another_training(run, recipe, rows, tmp_path):
    """Learning rate, data, base, seed and versions each give another key, so that no checkpoint is taken for another's;
    names, paces and row numbers do not. A checkpoint without its optimizer or its random states is not gone on from."""
    given = {"base_fingerprint": "b", "rows": rows, "seed": 1, "versions": {"torch": "2"}}
    key = training_key(recipe(), **given)
    changed = [
        training_key(recipe(learning_rate=1e-3), **given),
        training_key(recipe(batch_size=8), **given),
        training_key(recipe(seed=7), **given),
        training_key(recipe(), **{**given, "rows": rows[:-1]}),
        training_key(recipe(), **{**given, "rows": rows[::-1]}),
        training_key(recipe(), **{**given, "base_fingerprint": "c"}),
        training_key(recipe(), **{**given, "seed": 2}),
        training_key(recipe(), **{**given, "versions": {"torch": "3"}}),
    ]
    assert len({key, *changed}) == 1 + len(changed)
    renumbered = [dataclasses.replace(row, row=row.row + 100) for row in rows]
    assert training_key(recipe(save_steps=1, logging_steps=1, split="other"), **{**given, "rows": renumbered}) == key
    assert training_key(recipe(seed=1), **{**given, "seed": 9}) == key
    assert training_key(recipe(), **{**given, "versions": {"torch": "2+cpu"}}) == key
    sweep = CandidateSpec.model_validate({"train": {"base": "base", "rank": [4, 8]}}).train
    with pytest.raises(ValueError, match="must be one value"):
        training_key(sweep, **given)
    assert killed(lambda progress: run(recipe(), progress=progress), steps=8)
    [partial] = (tmp_path / "adapters").iterdir()
    for name, step in (("optimizer.pt", 6), ("rng_state.pth", 3)):
        (partial / "checkpoints" / f"checkpoint-{step}" / name).unlink()
    lines = []
    training = run(recipe(), notice=lines.append)
    assert training.record["resumed_at_steps"] == []
    assert [line.split()[1] for line in lines[:2]] == ["checkpoint-6", "checkpoint-3"]
    assert run(recipe(learning_rate=1e-3)).record["resumed_at_steps"] == []


def test_trap_14_one_log(run, recipe, tmp_path):
    """After a resume in the second epoch the log is one series: steps rise, tokens go on, and no replayed step stands
    twice."""
    spec = recipe(logging_steps=1)
    whole = run(spec, adapters=tmp_path / "whole")
    assert killed(lambda progress: run(spec, adapters=tmp_path / "broken", progress=progress), steps=8)
    broken = run(spec, adapters=tmp_path / "broken")
    assert broken.record["resumed_at_steps"] == [6]
    assert [entry["step"] for entry in broken.log] == list(range(1, 13))
    assert [entry["tokens"] for entry in broken.log] == sorted({entry["tokens"] for entry in whole.log})
    assert broken.log == whole.log


def test_trap_18_what_is_trained(recipe, run, monkeypatch):
    """LoRA r=64 on the Llama-2-7B configuration trains 33,554,432 of 6,771,970,048 parameters, as published; the optimizer
    holds the LoRA's tensors and no other (every method's: test_methods.py)."""
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=32000,
        tie_word_embeddings=False,
    )
    assert planning.count_parameters(config, recipe(rank=64, alpha=64)) == (33_554_432, 6_771_970_048)
    held = []
    train = sft.SupervisedTrainer.train

    def look(self, *args, **kwargs):
        done = train(self, *args, **kwargs)
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        held.extend(names[id(p)] for group in self.optimizer.param_groups for p in group["params"])
        return done

    monkeypatch.setattr(sft.SupervisedTrainer, "train", look)
    training = run(recipe(max_steps=1))
    assert sorted(name.replace(".default", "") for name in held) == sorted(adapter(training))


def test_trap_19_dtypes_are_those_that_ran(run, recipe):
    """Half precision without a GPU is an error, not ignored; under a 4-bit base the adapter is float32, and the record says
    what ran."""
    if not torch.cuda.is_available():
        for dtype in ("float16", "bfloat16"):
            with pytest.raises(UserError, match="'compute_dtype' must be float32 or auto"):
                run(recipe(compute_dtype=dtype))
    pytest.importorskip("bitsandbytes")
    training = run(recipe(quantization="nf4", optimizer="paged_adamw_32bit", max_steps=2))
    ran = training.record["ran"]
    assert (ran["quantization"], ran["trained"], ran["compute_dtype"]) == ("nf4", "float32", "float32")
    assert ran["autocast"] is False
    assert {tensor.dtype for tensor in adapter(training).values()} == {torch.float32}
    assert training.record["versions"]["bitsandbytes"]


SUITE = """\
suite: traps
data: {path: rows.jsonl, fields: {input: q, reference: a}}
splits: {train: {share: 0.5, use: training}, test: {share: 0.5}}
candidates:
  base: {model: {kind: transformers, path: "embedded:clinic-base"}}
  lora:
    train:
      base: base
      OPTION
judges: {rouge: {}}
"""


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("learnin_rate: 1.0e-4", "did you mean 'learning_rate'"),
        ("max_seq_length: 512", "'max_length'"),
        ("group_by_length: true", "group_by_length: is "),
        ("warmup_ratio: 0.03", "'warmup'"),
        ("evaluation_strategy: steps", "'evaluate_every'"),
        ("tokenizer: x", "tokenizer: is "),
        ("torch_dtype: bfloat16", "'compute_dtype'"),
        ("warmup: 0.03", "must not have 'warmup' with scheduler 'constant'. Use 'constant_with_warmup'"),
    ],
)
def test_trap_20_options_by_wrong_or_old_names(tmp_path, option, said):
    """An unknown option, an old name, and a warm-up that the schedule would ignore stop the suite at their line."""
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "a": "b"}\n')
    (tmp_path / "suite.yaml").write_text(SUITE.replace("OPTION", option))
    with pytest.raises(SuiteError) as caught:
        load_suite(tmp_path / "suite.yaml")
    [problem] = caught.value.problems
    assert said in str(problem)
    assert problem.line == (9 if "scheduler" not in said else problem.line)


def test_trap_21_chat_templates(tmp_path, recipe, rows):
    """A conversation without a template is refused in our own words; the template is part of the base's identity, so that
    another one is another training, and never another's adapter."""
    bare = with_template(tmp_path / "bare", None)
    with pytest.raises(UserError, match=r"row 1: .*needs a chat template, and the base model has none"):
        audit_rows(bare, [row_of(*TURNS)], max_length=256)
    folder = make_model(tmp_path / "model", template=CHATML)
    (tmp_path / "other.jinja").write_text(LLAMA2)
    prints = [base_fingerprint(folder), base_fingerprint(folder, chat_template=tmp_path / "other.jinja")]
    keys = {training_key(recipe(), base_fingerprint=one, rows=rows, seed=1) for one in prints}
    assert len(keys) == 2


def test_trap_22_the_output_layer_and_new_tokens(run, recipe, base_folder, tmp_path):
    """LoRA on the output layer is refused; a head tied to the embeddings gets weights of its own before it is trained; a
    token that the base has no embedding for is refused by its row."""
    with pytest.raises(UserError, match="leave out the output layer 'lm_head'"):
        run(recipe(target_modules=["q_proj", "lm_head"]))
    config = LlamaConfig(**TINY, vocab_size=64, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config)
    embeddings = model.get_input_embeddings().weight
    assert choose_weights(model, TrainSpec(base="base", method="head"))
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == ["lm_head.weight"]
    assert model.get_input_embeddings().weight is embeddings
    assert model.get_output_embeddings().weight is not embeddings
    grown = tmp_path / "grown"
    shutil.copytree(base_folder, grown)
    tokenizer = AutoTokenizer.from_pretrained(grown)
    size = len(tokenizer)
    tokenizer.add_tokens(["bade"])
    tokenizer.save_pretrained(grown)
    rows = [dataclasses.replace(sample, references=("bade ba",)) for sample in samples_of(2)]
    with pytest.raises(UserError, match=rf"rows 1 and 2: .*{size} .*embeddings"):
        run(recipe(), rows=rows, base=grown)


def samples_of(count):
    """Samples of one word."""
    words = ["du", "fo", "ka"]
    return [
        Sample(id=str(row), split="train", row=row, input=words[row], references=(words[row],))
        for row in range(1, count + 1)
    ]


def test_trap_23_light_and_offline():
    """`muster --help` loads no numeric, data or model stack, and costs little more than an empty Typer program's help.

    A ratio, since seconds differ between machines: 1.35 measured; importing duckdb alone would make it 1.86, numpy 2.4. On
    a busy machine the least of a few tries may be too much for either, so that there are more where they are needed.
    """
    heavy = {"torch", "numpy", "scipy", "duckdb", "transformers", "pyarrow", "sklearn", "pydantic", "yaml"}
    ours = (
        "import sys\nsys.argv = ['muster', '--help']\nfrom harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    empty = "import sys\nsys.argv = ['empty', '--help']\nimport typer\ntyper.run(lambda: None)\n"
    seconds: dict[str, list[float]] = {ours: [], empty: []}
    output = ""
    for _ in range(25):
        for code, taken in seconds.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            output += done.stdout
        if min(seconds[ours]) < 1.75 * min(seconds[empty]):
            break
    assert set(output.rsplit("MODULES", 1)[1].split()) & heavy == set()
    assert min(seconds[ours]) < 1.75 * min(seconds[empty]), seconds.values()


def test_every_trap_has_its_test():
    """24 numbers, none missing: each is in the name of a test."""
    names = re.findall(
        r"def test_trap_(\d\d)_", "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    )
    assert sorted(set(map(int, names))) == list(range(1, 25))
