"""Candidates and the room of models: keys by content, nothing loaded early, mistakes before work."""

import itertools
import json
import subprocess
import sys

import pytest

from harness.data import load_dataset
from harness.errors import ModelError, UserError
from harness.models.candidates import build_candidate
from harness.models.load import ModelRoom
from harness.models.local import LocalModel
from harness.records import Message, Training
from harness.suite import load_suite
from harness.suite.grammar import AnswersModel, OpenAIModel, TransformersModel
from tests.harness.models.tiny import WORDS, make_adapter, make_model

SUITE = """
suite: tiny
seed: 3
data: {path: rows.jsonl, fields: {input: q, reference: a, id: id}}
splits: {train: {share: 0.7, use: training}, test: {share: 0.3}}
prompt: "Say: {{ input }}"
generation: {max_new_tokens: 6}
candidates:
  base: {model: {kind: transformers, path: model}}
  longer: {model: {kind: transformers, path: model}, generation: {max_new_tokens: 7}}
  warm: {model: {kind: transformers, path: model}, generation: {max_new_tokens: 6, temperature: 1}}
  few: {model: {kind: transformers, path: model}, prompting: {kind: few_shot, split: train, shots: 2}}
  near: {model: {kind: transformers, path: model}, prompting: {kind: retrieval, split: train, k: 2}}
  adapted: {model: {kind: transformers, path: model, adapter: adapter}}
  lost: {model: {kind: transformers, path: model, adapter: nowhere}}
  tuned: {train: {base: base, rank: 4}}
  recorded: {model: {kind: answers, path: answers.jsonl}}
  api: {model: {kind: openai, name: m, base_url: "${TINY_URL}", api_key: "env:TINY_KEY"}}
judges: {rouge: {}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A suite with its model, adapter, data and recorded answers."""
    folder = tmp_path_factory.mktemp("suite")
    base = make_model(folder / "model")
    make_adapter(folder / "adapter", base)
    rows = [{"id": f"r{i}", "q": f"{WORDS[i]} {WORDS[-i - 1]}", "a": f"{WORDS[i]} rest"} for i in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "answers.jsonl").write_text(
        "".join(json.dumps({"id": r["id"], "answer": r["a"]}) + "\n" for r in rows[:29])
    )
    (folder / "suite.yaml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    """The suite, read."""
    return load_suite(folder / "suite.yaml")


@pytest.fixture(scope="module")
def room(loaded):
    """One room for all tests."""
    return ModelRoom(loaded.root, device="cpu")


@pytest.fixture(scope="module")
def build(loaded, room):
    """Builds a candidate of the suite by name."""
    dataset = load_dataset(loaded)

    def by_name(name, *, models=room, training=None):
        return build_candidate(
            name, loaded.suite.candidates[name], suite=loaded.suite, dataset=dataset, loaded=loaded, models=models,
            training=training,
        )  # fmt: skip

    by_name.samples = dataset.splits["test"]
    return by_name


def training_of(folder, base):
    """A finished training, as the trainer records it."""
    return Training(
        key="k", candidate="tuned", base="base", base_fingerprint=base, path=str(folder), rows=1, steps=1, tokens=1,
        seconds=1.0, trainable_parameters=1, total_parameters=1,
    )  # fmt: skip


def say(candidate, samples):
    """Its answers, in order."""
    prompts = candidate.prompts(samples)
    found = dict(itertools.chain.from_iterable(candidate.generate(prompts)))
    return [found[i] for i in range(len(prompts))]


def test_every_kind_answers(build):
    """Base, few-shot, retrieval and adapter answer every sample, each in its own way."""
    said = {name: tuple(c.text for c in say(build(name), build.samples)) for name in ("base", "few", "near", "adapted")}
    assert len(set(said.values())) == 4
    assert all(text is not None for answers in said.values() for text in answers)


def test_keys_follow_content(build):
    """Prompting leaves the candidate's key alone, since prompts decide; adapter and decoding change it."""
    keys = {name: build(name).key for name in ("base", "few", "near", "longer", "warm", "adapted")}
    assert keys["base"] == keys["few"] == keys["near"]
    assert len(set(keys.values())) == 4
    [sample] = build.samples[:1]
    asked = {name: build(name).answer_key(build(name).prompts([sample])[0]) for name in keys}
    assert len(set(asked.values())) == 6


def test_key_survives_a_move_and_not_a_retraining(folder, build, room, tmp_path):
    """A trained candidate's key is its adapter's content: the same in another folder, another after retraining."""
    base = room.generator(TransformersModel(kind="transformers", path="model"))
    assert base.key == build("base").generator.key
    sha = LocalModel(folder / "model", device="cpu").fingerprint
    first = build("tuned", training=training_of(make_adapter(tmp_path / "a", folder / "model", seed=1), sha))
    moved = build("tuned", training=training_of(make_adapter(tmp_path / "b", folder / "model", seed=1), sha))
    again = build("tuned", training=training_of(make_adapter(tmp_path / "a", folder / "model", seed=2), sha))
    assert first.key == moved.key != again.key
    assert [c.text for c in say(again, build.samples)] != [c.text for c in say(build("base"), build.samples)]


def test_key_of_the_room_is_the_models_own(folder, room):
    """The key known before loading is the key of the loaded model, for generation and for choices."""
    spec = TransformersModel(kind="transformers", path="model", adapter="adapter")
    local = LocalModel(folder / "model", device="cpu")
    assert room.generator(spec).key == room.choice_scorer(spec).key == local.key(folder / "adapter")


def test_a_base_is_loaded_once(folder, build, monkeypatch):
    """Base, adapter and a judge's choices on one base read its weights once."""
    import transformers

    calls = []
    load = transformers.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda *a, **kw: (calls.append(a), load(*a, **kw))[1]
    )
    room = ModelRoom(folder, device="cpu")
    for name in ("base", "adapted", "few"):
        say(build(name, models=room), build.samples[:2])
    scorer = room.choice_scorer(TransformersModel(kind="transformers", path="model", adapter="adapter"))
    scorer.log_likelihoods([(Message(role="user", content="x"),)], ["1"])
    assert len(calls) == 1


def test_nothing_is_loaded_for_keys(folder):
    """Building candidates, their prompts and their answer keys imports no torch: a finished run is read in no time."""
    script = (
        "import sys; from pathlib import Path; from harness.suite import load_suite; from harness.data import load_dataset;"
        "from harness.models.candidates import build_candidate; from harness.models.load import ModelRoom;"
        "l = load_suite(Path(sys.argv[1])); d = load_dataset(l); room = ModelRoom(l.root);"
        "cs = [build_candidate(n, l.suite.candidates[n], suite=l.suite, dataset=d, loaded=l, models=room, training=None)"
        " for n in ('base', 'few', 'near', 'adapted', 'recorded')];"
        "[c.answer_key(p) for c in cs for p in c.prompts(d.splits['test'])];"
        "assert not {'torch', 'transformers', 'peft', 'openai'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder / "suite.yaml")], check=True, timeout=600)


def test_missing_adapter_is_known_before_work(build):
    """A candidate whose adapter is not there is refused when it is built, in one line."""
    with pytest.raises(ModelError, match="adapter 'nowhere' is missing") as caught:
        build("lost")
    assert "\n" not in str(caught.value)


def test_untrained_candidate_is_refused(build):
    """Without a training there is nothing to build."""
    with pytest.raises(UserError, match="'tuned' must be trained first"):
        build("tuned")


def test_recorded_answers_belong_to_samples(build):
    """Recorded answers come by sample, missing ones fail, and equal prompts of two samples keep two keys."""
    candidate = build("recorded")
    samples = build.samples
    assert [c.text for c in say(candidate, samples)] == [s.references[0] if s.id != "r29" else None for s in samples]
    prompts = candidate.prompts(samples)
    assert len({candidate.answer_key(prompt) for prompt in prompts}) == len(samples)


def test_variables_of_an_endpoint_are_needed_when_it_is_built(build, endpoint, monkeypatch):
    """A missing variable is named at once; with it set the endpoint answers."""
    monkeypatch.delenv("TINY_URL", raising=False)
    with pytest.raises(UserError, match="TINY_URL"):
        build("api")
    monkeypatch.setenv("TINY_URL", endpoint.url)
    with pytest.raises(UserError, match="TINY_KEY"):
        build("api")
    monkeypatch.setenv("TINY_KEY", "k")
    assert {c.text for c in say(build("api"), build.samples)} == {"ok"}


def test_the_room_says_what_a_kind_cannot_do(room):
    """Recorded answers generate nothing, endpoints score no choices, local models draw no scores."""
    with pytest.raises(UserError, match="'answers'"):
        room.generator(AnswersModel(kind="answers", path="answers.jsonl"))
    with pytest.raises(UserError, match="'transformers'"):
        room.choice_scorer(OpenAIModel(kind="openai", name="m"))
    with pytest.raises(UserError, match="'openai'"):
        room.score_sampler(TransformersModel(kind="transformers", path="model"))


def test_paths_stay_inside(room):
    """A model outside the suite's folder is refused; a name that is neither folder nor Hub name is missing."""
    with pytest.raises(UserError, match="inside"):
        room.generator(TransformersModel(kind="transformers", path="../elsewhere"))
    with pytest.raises(ModelError, match="missing"):
        room.generator(TransformersModel(kind="transformers", path="nowhere"))
    with pytest.raises(UserError, match="comes with muster"):
        room.generator(TransformersModel(kind="transformers", path="embedded:clinic-bass"))


def test_biased_adapter_gets_a_base_of_its_own(folder):
    """An adapter that trains biases is served beside the base, from a copy."""
    make_adapter(folder / "biased", folder / "model", bias="all", seed=7)
    room = ModelRoom(folder, device="cpu")
    specs = [TransformersModel(kind="transformers", path="model", adapter=a) for a in ("biased", None, "adapter")]
    turns = [(Message(role="user", content="fever"),)]
    scores = [room.choice_scorer(spec).log_likelihoods(turns, ["1", "2"]) for spec in specs]
    fresh = ModelRoom(folder, device="cpu").choice_scorer(specs[1]).log_likelihoods(turns, ["1", "2"])
    assert scores[1] == fresh
    assert len({tuple(score[0]) for score in scores}) == 3


def drawn(candidate, prompts, number):
    """Texts of a candidate's further answers, in order."""
    found = dict(itertools.chain.from_iterable(candidate.draw(prompts, number)))
    return [found[i].text for i in range(len(prompts))]


def test_draws_differ_by_number_and_come_again(build):
    """Each further answer is drawn with a seed of its own, never greedily, and the same number gives the same text again."""
    candidate = build("base")
    prompts = candidate.prompts(build.samples)
    first, second = drawn(candidate, prompts, 1), drawn(candidate, prompts, 2)
    greedy = [completion.text for completion in say(candidate, build.samples)]
    assert first != second
    assert first != greedy
    assert drawn(candidate, prompts, 1) == first
    keys = {candidate.draw_key(prompts[0], 1), candidate.draw_key(prompts[0], 2), candidate.answer_key(prompts[0])}
    assert len(keys) == 3
    assert build("warm").draw_key(prompts[0], 1) not in {build("warm").answer_key(prompts[0])}


def test_likelihood_keys_hold_weights_prompt_and_text_and_not_the_decoding(build):
    """A text's likelihood is the same however answers are decoded; another adapter, prompt or text has its own."""
    [sample] = build.samples[:1]

    def key(name, text="rest"):
        candidate = build(name)
        return candidate.likelihood_key(candidate.prompts([sample])[0], text)

    assert key("base") == key("longer") == key("warm")
    assert len({key("base"), key("few"), key("near"), key("adapted"), key("base", "water")}) == 5


def test_a_candidate_of_this_machine_gives_likelihoods(build):
    """Through the room, as the model itself gives them; the adapter has its own."""
    prompts = build("base").prompts(build.samples[:3])
    pairs = [(prompt, "advise rest") for prompt in prompts]
    base, adapted = (dict(itertools.chain.from_iterable(build(n).likelihoods(pairs))) for n in ("base", "adapted"))
    assert {likelihood.tokens for likelihood in base.values()} == {base[0].tokens}
    assert all(likelihood.log_likelihood < 0 for likelihood in base.values())
    assert base != adapted


def test_who_cannot_be_asked_says_so(build, monkeypatch):
    """Recorded answers cannot be drawn again, and neither they nor an endpoint give likelihoods: typed failures, no numbers."""
    monkeypatch.setenv("TINY_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("TINY_KEY", "k")
    prompts = build("recorded").prompts(build.samples[:2])
    [batch] = build("recorded").draw(prompts, 1)
    assert [(index, completion.text, completion.error.kind) for index, completion in batch] == [
        (0, None, "no_samples"), (1, None, "no_samples"),
    ]  # fmt: skip
    for name in ("recorded", "api"):
        [batch] = build(name).likelihoods([(prompts[0], "rest"), (prompts[1], "water")])
        assert [(index, failure.kind) for index, failure in batch] == [(0, "no_likelihoods"), (1, "no_likelihoods")]
        assert "transformers" in batch[0][1].message
