"""Evaluations on the way: right figures, no trace in the tensors, and the best checkpoint whatever happens."""

import dataclasses
import hashlib
import random
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import TrainingError
from harness.models.local import LocalModel
from harness.records import GenerationSettings, Judgement, Metric, Preference
from harness.suite.grammar import EarlyStopping, TrainSpec
from harness.training import training_rows
from harness.training.audit import IGNORED, audit_rows
from harness.training.checkpoints import read_manifest
from harness.training.recipe import Reward
from harness.training.selection import Validation
from tests.harness.training.ending import die, fork, status_of

SETTINGS = GenerationSettings(max_new_tokens=8)


def tensors(training):
    """SHA-256 of what was trained."""
    (file,) = Path(training.path).glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def token_mean(model, token_rows):
    """Loss over trained tokens, one row at a time and unpadded, straight from the definition."""
    summed, count = 0.0, 0
    for row in token_rows:
        labels = torch.tensor(row.labels)[1:]
        with torch.no_grad():
            logits = model(torch.tensor([row.input_ids])).logits[0, :-1]
        picked = torch.log_softmax(logits, dim=-1)[torch.arange(len(labels)), labels.clamp(min=0)]
        summed -= float(picked[labels != IGNORED].double().sum())
        count += int((labels != IGNORED).sum())
    return summed / count


class Examiner:
    """Lets the model answer three questions; `score` makes a score of an answer and the number of the call."""

    def __init__(self, samples, ask, score):
        self.prompts = [ask(sample) for sample in samples[:3]]
        self.ids = [sample.id for sample in samples[:3]]
        self.score = score
        self.answers = []

    def __call__(self, generator):
        texts = {}
        for batch in generator.generate(self.prompts, SETTINGS):
            texts.update((index, completion.text) for index, completion in batch)
        self.answers.append([texts[index] for index in range(3)])
        scores = [self.score(len(self.answers), text) for text in self.answers[-1]]
        return {"good": {name: score for name, score in zip(self.ids, scores, strict=True) if score is not None}}


@pytest.fixture
def validation(samples, ask):
    """Makes a validation on the last eight samples; `score` takes the number of the evaluation and an answer."""

    def build(score=lambda call, text: 0.5):
        examiner = Examiner(samples, ask, score)
        return Validation(
            rows=tuple(training_rows(samples[16:], ask)),
            questions="q",
            samples=3,
            metrics={"good": Metric(name="good")},
            fingerprints={"good": "judge"},
            examine=examiner,
        )

    return build


def by_text(call, text):
    """A score that depends on the answer alone, as a judge's does, and looks random."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 2**24


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_trap_09_validation_loss_is_the_token_mean_whatever_the_batches(
    run, recipe, base_folder, samples, ask, validation, batching, tmp_path
):
    """Batches of 1, 3 and 8 give one loss to 1e-6: that of the rows run alone, each trained token once."""
    token_rows, _ = audit_rows(
        AutoTokenizer.from_pretrained(base_folder), training_rows(samples[16:], ask), max_length=256
    )
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    wanted = token_mean(base, token_rows)
    for size in (1, 3, 8):
        spec = recipe(batch_size=size, max_steps=1, learning_rate=1e-12, evaluate_every=1)
        training = run(spec, validation=validation(), batching=batching, adapters=tmp_path / f"{size}")
        assert training.log[-1]["validation_loss"] == pytest.approx(wanted, abs=1e-6)


def test_evaluations_leave_no_trace(run, recipe, validation, tmp_path):
    """Dropout, order and tensors are those of a training that is not evaluated, even if judges draw random numbers."""

    def careless(call, text):
        torch.rand(3), random.random(), np.random.random()  # noqa: NPY002 (the libraries' own)
        torch.manual_seed(call)
        return 0.5

    plain = run(recipe(), adapters=tmp_path / "a")
    watched = run(recipe(evaluate_every=5), validation=validation(careless), adapters=tmp_path / "b")
    assert tensors(plain) == tensors(watched)
    assert plain.key == watched.key
    assert [entry["step"] for entry in watched.log] == [4, 5, 8, 10, 12]
    assert [entry["step"] for entry in watched.log if "validation_good" in entry] == [5, 10, 12]
    assert [e for e in plain.log] == [
        {name: v for name, v in e.items() if "validation" not in name} for e in watched.log if "loss" in e
    ]
    assert "selection" not in watched.record
    told = dict(watched.record["validation"])
    assert told.pop("seconds") > 0
    assert told == {"every": 5, "rows": 8, "samples": 3, "judges": {"good": "judge"}}


def test_the_model_in_training_answers_as_it_will_when_finished(run, recipe, base_folder, samples, ask, validation):
    """Greedy answers at the last step equal those of the adapter read from disk onto the base; the first ones do not."""
    judge = validation()
    training = run(recipe(evaluate_every=6, learning_rate=0.05, target_modules="all-linear"), validation=judge)
    finished = LocalModel(base_folder).generator(Path(training.path))
    texts = dict(pair for batch in finished.generate(judge.examine.prompts, SETTINGS) for pair in batch)
    assert judge.examine.answers[-1] == [texts[index].text for index in range(3)]
    assert judge.examine.answers[0] != judge.examine.answers[-1]


@pytest.mark.parametrize("options", [{}, {"init": "pissa"}, {"method": "head"}], ids=["lora", "pissa", "head"])
def test_the_selected_checkpoint_is_the_one_that_was_judged_best(run, recipe, validation, tmp_path, options):
    """Of evaluations at 4, 8 and 12 the second is best: kept are exactly the tensors after 8 steps, and the record says so."""
    scripted = {1: 0.2, 2: 0.9, 3: 0.4}
    if "method" in options:
        recipe = partial(TrainSpec, base="base", learning_rate=5e-3, epochs=2, save_steps=3, logging_steps=4)
    spec = recipe(evaluate_every=4, select="good", **options)
    training = run(spec, validation=validation(lambda call, text: scripted[call]), adapters=tmp_path / "a")
    eight = run(recipe(max_steps=8, **options), adapters=tmp_path / "b")
    assert tensors(training) == tensors(eight)
    selection = training.record["selection"]
    assert (selection["by"], selection["step"], selection["of"], selection["samples"]) == ("good", 8, 12, 3)
    assert selection["score"] == pytest.approx(0.9)
    assert [e["validation_good"] for e in training.log] == pytest.approx([0.2, 0.9, 0.4])
    assert read_manifest(Path(training.path))["training"]["record"]["selection"] == selection
    assert training.steps == 12


def test_select_by_loss_keeps_the_lowest(run, recipe, validation, tmp_path):
    """With `loss` the kept step is that of the smallest validation loss in the log."""
    training = run(recipe(evaluate_every=2, select="loss", learning_rate=0.3), validation=validation())
    losses = {entry["step"]: entry["validation_loss"] for entry in training.log if "validation_loss" in entry}
    assert list(losses) == [2, 4, 6, 8, 10, 12]
    assert training.record["selection"]["step"] == min(losses, key=losses.get)
    assert training.record["selection"]["score"] == min(losses.values())


def test_early_stopping_ends_when_patience_is_spent(run, recipe, validation, tmp_path):
    """Best at the second evaluation, patience 2: the fourth is the last, and the second's tensors are kept."""
    spec = recipe(evaluate_every=2, early_stopping=EarlyStopping(patience=2, metric="good"))
    scripted = [None, 0.2, 0.8, 0.7, 0.8, 0.9, 0.9]
    training = run(spec, validation=validation(lambda call, text: scripted[call]), adapters=tmp_path / "a")
    assert training.steps == training.log[-1]["step"] == training.record["selection"]["stopped_at"] == 8
    assert training.log[-1]["loss"] > 0
    assert training.record["selection"]["step"] == 4
    assert tensors(training) == tensors(run(recipe(max_steps=4), adapters=tmp_path / "b"))


@pytest.mark.parametrize("at", [4, 11])
def test_interrupted_and_taken_up_it_selects_the_same(run, recipe, validation, tmp_path, at):
    """Cut off after any step and run again, the log, the selection and the tensors are the uninterrupted run's."""
    spec = recipe(evaluate_every=2, select="good", learning_rate=0.05, early_stopping=EarlyStopping(patience=3))
    whole = run(spec, validation=validation(by_text), adapters=tmp_path / "whole")
    done = 0

    def cut(steps):
        nonlocal done
        done += steps
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(spec, validation=validation(by_text), adapters=tmp_path / "cut", progress=cut)
    again = run(spec, validation=validation(by_text), adapters=tmp_path / "cut")
    assert tensors(again) == tensors(whole)
    assert again.log == whole.log
    assert again.record["selection"] == whole.record["selection"]
    assert again.record["resumed_at_steps"] == ([at - at % 3] if at >= 3 else [])


def test_a_judge_that_scores_nothing_selects_nothing(run, recipe, validation, tmp_path):
    """Unscored answers are counted in the log; without any score there is no best, and no adapter."""
    half = validation(lambda call, text: None if call == 1 else 0.5)
    training = run(recipe(evaluate_every=6, select="good"), validation=half, adapters=tmp_path / "a")
    first, second = (entry for entry in training.log if entry["step"] in (6, 12))
    assert first["unscored_good"] == 3
    assert "validation_good" not in first
    assert "unscored_good" not in second
    assert training.record["selection"]["step"] == 12
    with pytest.raises(TrainingError, match="no checkpoint could be selected: good scored none of 3 answers"):
        run(recipe(evaluate_every=6, select="good"), validation=validation(lambda c, t: None), adapters=tmp_path / "b")
    assert all(path.name.endswith(".partial") for path in (tmp_path / "b").iterdir())


def test_event_files_hold_one_rising_series_after_a_resume(run, recipe, validation, tmp_path):
    """TensorBoard reads back the log, each step once, though the training was cut off and taken up again."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    spec = recipe(evaluate_every=2, logging_steps=1)
    done = 0

    def cut(steps):
        nonlocal done
        done += steps
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(spec, validation=validation(by_text), events=tmp_path / "events", progress=cut)
    training = run(spec, validation=validation(by_text), events=tmp_path / "events")
    assert training.record["resumed_at_steps"] == [6]
    read = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    for tag, name in (("train/loss", "loss"), ("train/tokens", "tokens"), ("validation/good", "validation_good")):
        series = {event.step: event.value for event in read.Scalars(tag)}
        assert series == pytest.approx({e["step"]: e[name] for e in training.log if name in e}, rel=1e-6)
        assert len(read.Scalars(tag)) == len(series)


@pytest.fixture
def objectives(recipe, samples):
    """By objective, a recipe of six steps that selects, and what a training by it is given."""

    def likes_letters(samples, answers):
        scores = [sum(letter.isalpha() for letter in answer) / (len(answer) + 1) for answer in answers]
        return {"letters": [Judgement(id="", metric="letters", score=score) for score in scores]}

    own = {"max_steps": 6, "evaluate_every": 2, "select": "good", "learning_rate": 0.05, "target_modules": "all-linear"}
    pairs = [Preference(sample=s, chosen=s.references[0], rejected="no no") for s in samples]
    judges = Reward(fingerprints={"letters": "print"}, judge=likes_letters)
    return {
        "supervised": (recipe(**own), {}),
        "dpo": (recipe(**own, dropout=0.0, objective="dpo", preferences="p"), {"preferences": pairs}),
        "grpo": (
            recipe(**own, dropout=0.0, objective="grpo", reward="letters", batch_size=8),
            {"reward": judges, "generation": SETTINGS},
        ),
    }


@pytest.mark.parametrize("objective", ["supervised", "dpo", "grpo"])
def test_killed_while_it_is_judged_it_selects_the_same(run, objectives, validation, tmp_path, objective):
    """`kill -9` amid the second evaluation, answers given and not judged, and run again from the checkpoint before it: log,
    choice and tensors are the uninterrupted run's, and those of a training of as many steps that nobody looks at."""

    def fatal(call, text):
        return by_text(call, text) if call < 2 else die()

    def judged(score):
        judge = validation(score)
        return judge if objective == "supervised" else dataclasses.replace(judge, rows=())

    spec, given = objectives[objective]
    whole = run(spec, validation=judged(by_text), adapters=tmp_path / "whole", **given)
    child = fork(lambda: run(spec, validation=judged(fatal), adapters=tmp_path / "broken", **given))
    assert status_of(child) == -signal.SIGKILL
    again = run(spec, validation=judged(by_text), adapters=tmp_path / "broken", **given)
    assert again.record["resumed_at_steps"] == [3]
    assert tensors(again) == tensors(whole)
    assert again.log == whole.log
    assert again.record["selection"] == whole.record["selection"]
    assert ("validation_loss" in whole.log[-1]) == (objective == "supervised")
    chosen = whole.record["selection"]["step"]
    unseen = spec.model_copy(update={"max_steps": chosen, "evaluate_every": None, "select": None})
    assert tensors(run(unseen, adapters=tmp_path / "unseen", **given)) == tensors(whole)
