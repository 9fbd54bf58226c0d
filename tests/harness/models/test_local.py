"""Local models: same text in a batch, adapters that come and go, nothing cut, nothing of the wrong base."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import ModelError
from harness.models import identity, rendering
from harness.models.load import ModelRoom
from harness.models.local import LocalModel
from harness.records import ChoiceScorer, GenerationSettings, Generator, LikelihoodScorer, Message, Prompt
from harness.suite.grammar import TransformersModel
from tests.harness.models.tiny import LLAMA2, WORDS, make_adapter, make_model, make_tokenizer

GREEDY = GenerationSettings(max_new_tokens=16)


def prompt(text, name="s"):
    """A prompt of one user turn."""
    return Prompt(sample_id=name, messages=(Message(role="user", content=text),))


def prompts(count=12):
    """Prompts of 1 to 12 words."""
    rng = np.random.default_rng(0)
    return [prompt(" ".join(rng.choice(WORDS, rng.integers(1, 13)))) for _ in range(count)]


def answers(generator, asked, settings=GREEDY):
    """Completions in the order of the prompts."""
    found = dict(itertools.chain.from_iterable(generator.generate(asked, settings)))
    assert sorted(found) == list(range(len(asked)))
    return [found[i] for i in range(len(asked))]


def texts(generator, asked, settings=GREEDY):
    """Their texts."""
    return [completion.text for completion in answers(generator, asked, settings)]


@pytest.fixture(scope="module")
def local(tiny_base):
    """The tiny model, loaded once."""
    return LocalModel(tiny_base, device="cpu")


def test_roles_are_kept(local):
    """The makers give a Generator and a ChoiceScorer."""
    assert isinstance(local.generator(), Generator)
    assert isinstance(local.choice_scorer(), ChoiceScorer)
    assert isinstance(local.generator(), LikelihoodScorer)


def test_batches_of_any_size_say_the_same(local, tiny_base):
    """One row at a time or all at once: the same texts, counts and reasons."""
    one = LocalModel(tiny_base, device="cpu", batch_tokens=1)
    asked = prompts()
    assert len(list(one.generator().generate(asked, GREEDY))) == len(asked)
    shown = [(c.text, c.finish_reason, c.prompt_tokens, c.completion_tokens) for c in answers(local.generator(), asked)]
    assert shown == [
        (c.text, c.finish_reason, c.prompt_tokens, c.completion_tokens) for c in answers(one.generator(), asked)
    ]
    assert len({text for text, *_ in shown}) > 6  # distinct prompts, distinct answers: else the test shows nothing


def test_trap_24_batching_changes_neither_greedy_answers_nor_the_model(tmp_path):
    """Answers of mixed length, batched, are those of transformers' `generate` one by one; an ordinary forward before and
    after is the same bit by bit, in the dtype and attention it had.
    """
    base = make_model(tmp_path / "base", stopping=6)
    adapter = make_adapter(tmp_path / "adapter", base, seed=1)
    local = LocalModel(base, device="cpu")
    ids = torch.tensor([[1, 5, 9, 30, 31, 7]])
    with torch.inference_mode():
        before = local.model(ids).logits
    attention, asked = local.model.config._attn_implementation, prompts(8)
    for chosen in (None, adapter):
        said = answers(local.generator(chosen), asked)
        assert [completion.text for completion in said] == peft_texts(base, chosen, asked)
        assert len({completion.completion_tokens for completion in said}) > 1
    with torch.inference_mode(), local.using(None) as model:
        assert torch.equal(model(ids).logits, before)
        assert model.config._attn_implementation == attention


def test_counts_and_reasons(local):
    """`length` goes with max_new_tokens tokens, `stop` with fewer; the BOS counts as a prompt token."""
    for completion in answers(local.generator(), prompts()):
        assert (completion.completion_tokens == 16) == (completion.finish_reason == "length")
        assert completion.completion_tokens <= 16
        assert completion.seconds > 0
    ids = local.tokenizer("<s><|user|>fever<|assistant|>", add_special_tokens=False)["input_ids"]
    assert answers(local.generator(), [prompt("fever")])[0].prompt_tokens == len(ids)


def test_too_long_a_prompt_is_a_typed_failure(tiny_base):
    """A prompt as long as the context window fails by name, and the others are answered."""
    local = LocalModel(tiny_base, device="cpu")
    long, short = answers(local.generator(), [prompt("fever " * 300), prompt("fever")])
    assert long.error.kind == "prompt_too_long"
    assert "256" in long.error.message
    assert short.text is not None


def test_an_answer_uses_what_the_window_leaves(tiny_base):
    """A prompt that nearly fills the window gets the rest of it, and then `length`; nothing runs past it."""
    local = LocalModel(tiny_base, device="cpu")
    words = 1
    while len(local.tokenizer("<s><|user|>" + "fever " * words + "<|assistant|>")["input_ids"]) < 245:
        words += 1
    [completion] = answers(local.generator(), [prompt("fever " * words)], GenerationSettings(max_new_tokens=100))
    assert completion.error is None
    assert completion.prompt_tokens + completion.completion_tokens <= 256


def test_stop_texts_end_an_answer_and_are_cut_off(local):
    """An answer is cut before the first stop text in it, wherever it stands."""
    asked = prompts(6)
    free = texts(local.generator(), asked)
    stop = next(text for text in free if len(text) > 6)[3:5]
    cut = answers(local.generator(), asked, GenerationSettings(max_new_tokens=16, stop=(stop,)))
    for before, completion in zip(free, cut, strict=True):
        assert completion.text == before.split(stop)[0].strip()
        if stop in before:
            assert completion.finish_reason == "stop"


def test_sampling_follows_seed_and_prompt(local, tiny_base):
    """Drawn answers repeat with the seed whatever the batch, and differ with another seed or prompt."""
    one = LocalModel(tiny_base, device="cpu", batch_tokens=1)
    asked = prompts(6)
    hot = GenerationSettings(max_new_tokens=16, temperature=15.0, seed=1)
    assert texts(local.generator(), asked, hot) == texts(one.generator(), asked[::-1], hot)[::-1]
    assert texts(local.generator(), asked, hot) != texts(local.generator(), asked, GenerationSettings(
        max_new_tokens=16, temperature=15.0, seed=2
    ))  # fmt: skip
    same = texts(local.generator(), [asked[0], Prompt(sample_id="other", messages=asked[0].messages)], hot)
    assert same[0] == same[1]


# ------------------------------------------------------------------------------------------------------------ adapters


def peft_texts(base, adapter, asked):
    """What a separately loaded model with only this adapter says, one prompt at a time, through generate."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, adapter).eval() if adapter else model.eval()
    said = []
    for one in asked:
        ids = tokenizer(f"<|user|>{one.messages[0].content}<|assistant|>", return_tensors="pt")["input_ids"]
        out = model.generate(input_ids=ids, max_new_tokens=16, do_sample=False)
        said.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return said


def test_adapters_come_and_go(tiny_base, tiny_adapters):
    """Base and adapters on one loaded base, in any order, say what separately loaded models say; no gradients stay."""
    local = LocalModel(tiny_base, device="cpu")
    asked = prompts(6)
    expected = {a: peft_texts(tiny_base, a, asked) for a in (None, *tiny_adapters)}
    assert len({tuple(said) for said in expected.values()}) == 3
    before = local.model(torch.tensor([[1, 5, 9]])).logits
    for adapter in (None, tiny_adapters[0], tiny_adapters[1], None, tiny_adapters[0], None):
        assert texts(local.generator(adapter), asked) == expected[adapter]
        assert not any(weight.requires_grad for weight in local.model.parameters())
    with local.using(None) as model:
        assert torch.equal(model(torch.tensor([[1, 5, 9]])).logits, before)  # bit by bit


def test_retrained_adapter_in_the_same_folder_is_a_new_one(tiny_base, tmp_path):
    """After an adapter folder is written anew, its key changes and its new weights answer."""
    folder = make_adapter(tmp_path / "adapter", tiny_base, seed=1)
    local = LocalModel(tiny_base, device="cpu")
    asked = prompts(6)
    old, old_key = texts(local.generator(folder), asked), local.generator(folder).key
    shutil.rmtree(folder)
    make_adapter(folder, tiny_base, seed=5)
    assert local.generator(folder).key != old_key
    assert texts(local.generator(folder), asked) == peft_texts(tiny_base, folder, asked) != old


def test_adapter_of_another_base_is_refused(tiny_base, tmp_path):
    """An adapter whose manifest names another base is refused, though its shapes fit."""
    local = LocalModel(tiny_base, device="cpu")
    make_adapter(tmp_path / "right", tiny_base, base_sha=local.fingerprint)
    make_adapter(tmp_path / "wrong", tiny_base, base_sha="0" * 64)
    local.generator(tmp_path / "right")
    with pytest.raises(ModelError, match="trained on another base"):
        local.generator(tmp_path / "wrong")


def test_an_adapter_is_refused_under_another_chat_template(tmp_path):
    """The template that a training recorded is the one to ask its adapter with; the message says that it differs."""
    make_model(tmp_path / "base")
    (tmp_path / "own.jinja").write_text("{{ messages[0]['content'] }}")
    own = tmp_path / "own.jinja"
    base_sha = identity.base_fingerprint(tmp_path / "base", chat_template=own)
    make_adapter(tmp_path / "adapter", tmp_path / "base", base_sha=base_sha)
    manifest = tmp_path / "adapter" / "manifest.json"
    record = {"chat_template": identity.template_sha(tmp_path / "base", own)}
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "training": {"record": record}}))
    room = ModelRoom(tmp_path, device="cpu")
    spec = TransformersModel(kind="transformers", path="base", adapter="adapter", chat_template="own.jinja")
    room.generator(spec)
    for load in (
        lambda: room.generator(spec.model_copy(update={"chat_template": None})),
        lambda: LocalModel(tmp_path / "base", device="cpu").generator(tmp_path / "adapter"),
    ):
        with pytest.raises(
            ModelError, match=r"was trained with another chat template than .* Give it that 'chat_template'"
        ):
            load()


def test_the_hash_of_a_chat_template_follows_its_text(tmp_path):
    """A replaced template, the model's own and none have different hashes; the same text has one."""
    make_tokenizer(tmp_path / "a")
    make_tokenizer(tmp_path / "b", template=None)
    (tmp_path / "own.jinja").write_text("{{ messages[0]['content'] }}")
    own, plain = identity.template_sha(tmp_path / "a"), identity.template_sha(tmp_path / "b")
    assert plain == "plain"
    assert len({own, plain, identity.template_sha(tmp_path / "a", tmp_path / "own.jinja")}) == 3
    assert identity.template_sha(tmp_path / "b", tmp_path / "own.jinja") == identity.template_sha(
        tmp_path / "a", tmp_path / "own.jinja"
    )


def test_trap_16_an_adapter_is_refused_on_another_base_wherever_it_is_loaded(tiny_base, tmp_path):
    """The same shape and other weights: refused by the recorded fingerprint, as a candidate's, a judge's or a training's
    adapter, before anything is loaded; so is an embedded adapter, which names its base, on any other model.
    """
    for name in ("right", "wrong"):
        make_model(tmp_path / name, seed=0 if name == "right" else 3)
    shutil.copytree(tiny_base, tmp_path / "copy")
    make_adapter(tmp_path / "adapter", tmp_path / "right", base_sha=identity.base_fingerprint(tmp_path / "right"))
    room = ModelRoom(tmp_path, device="cpu")
    spec = TransformersModel(kind="transformers", path="right", adapter="adapter")
    room.generator(spec)
    room.generator(spec.model_copy(update={"path": "copy"}))  # the content decides, not the place
    wrong = spec.model_copy(update={"path": "wrong"})
    bare = wrong.model_copy(update={"adapter": None})
    for load in (
        lambda: room.generator(wrong),
        lambda: room.choice_scorer(wrong),
        lambda: room.local_generator(wrong),
        lambda: room.generator(bare, adapter=tmp_path / "adapter"),
        lambda: LocalModel(tmp_path / "wrong", device="cpu").generator(tmp_path / "adapter"),
        lambda: LocalModel(tmp_path / "wrong", device="cpu").choice_scorer(tmp_path / "adapter"),
        lambda: LocalModel(tmp_path / "wrong", device="cpu").merge(tmp_path / "adapter"),
        lambda: room.generator(wrong.model_copy(update={"adapter": "embedded:geval"})),
    ):
        with pytest.raises(ModelError, match="trained on another base than") as caught:
            load()
        assert "\n" not in str(caught.value)
    room.generator(TransformersModel(kind="transformers", path="embedded:clinic-base", adapter="embedded:geval"))


def test_trap_17_many_adapters_share_one_loaded_base(tiny_base, tiny_adapters, tmp_path, monkeypatch):
    """Candidates of one base are answered on one load; each says what it says loaded alone, the base as control among
    them; afterwards no parameter wants gradients; an adapter that is not there is an error, never the base's answer.
    """
    for number, folder in enumerate((tiny_base, *tiny_adapters)):
        shutil.copytree(folder, tmp_path / f"m{number}")
    loads, load = [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForCausalLM,
        "from_pretrained",
        lambda *given, **options: loads.append(given) or load(*given, **options),
    )
    room = ModelRoom(tmp_path, device="cpu")
    base = TransformersModel(kind="transformers", path="m0")
    specs = [base, *(base.model_copy(update={"adapter": f"m{number}"}) for number in (1, 2)), base]
    generators = [room.generator(spec) for spec in specs]
    assert not loads
    asked = prompts(6)
    together = [texts(one, asked) for one in generators]
    assert len(loads) == 1
    assert together == [peft_texts(tiny_base, adapter, asked) for adapter in (None, *tiny_adapters, None)]
    assert together[0] != together[1] != together[2] != together[0]
    local = room.local_generator(base).model
    assert not any(weight.requires_grad for weight in local.model.parameters())
    with pytest.raises(ModelError, match="adapter 'm3' is missing"):
        room.generator(base.model_copy(update={"adapter": "m3"}))


def test_a_merged_adapter_leaves_the_base_as_it_was(tiny_base, tiny_adapters):
    """`merge` gives its model away: the next answers are the base's again, and a quantised base is never merged into."""
    local = LocalModel(tiny_base, device="cpu")
    asked = prompts(4)
    merged = local.merge(tiny_adapters[0])
    with local.using(None) as model:
        assert model is not merged
    assert texts(local.generator(), asked) == peft_texts(tiny_base, None, asked)
    with torch.inference_mode(), local.using(tiny_adapters[0]) as live:
        ids = torch.tensor([[1, 5, 9, 30]])
        assert (merged(ids).logits - live(ids).logits).abs().max() < 1e-5 * live(ids).logits.abs().max()
    with pytest.raises(ValueError, match="full precision"):
        LocalModel(tiny_base, device="cpu", quantization="nf4").merge(tiny_adapters[0])


def test_adapter_that_does_not_fit_is_one_line(tiny_base, tmp_path):
    """Wrong shapes, unknown modules and missing files are each a ModelError of one line."""
    local = LocalModel(tiny_base, device="cpu")
    with pytest.raises(ModelError, match="no such folder"):
        local.generator(tmp_path / "nothing")
    incomplete = make_adapter(tmp_path / "incomplete", tiny_base)
    (incomplete / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        local.generator(incomplete)
    renamed = make_adapter(tmp_path / "renamed", tiny_base)
    config = json.loads((renamed / "adapter_config.json").read_text())
    (renamed / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["k_proj"]}))
    with pytest.raises(ModelError, match="does not fit") as caught:
        texts(local.generator(renamed), prompts(1))
    assert "\n" not in str(caught.value)
    shaped = make_adapter(tmp_path / "shaped", tiny_base)
    config = json.loads((shaped / "adapter_config.json").read_text())
    (shaped / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    with pytest.raises(ModelError, match="does not fit"):
        texts(local.generator(shaped), prompts(1))
    assert texts(local.generator(), prompts(2)) == texts(LocalModel(tiny_base, device="cpu").generator(), prompts(2))


def test_adapter_that_trains_biases_does_not_share_its_base(tmp_path, tiny_adapters, tiny_base):
    """Where an adapter replaces the base's biases, neither the base nor another adapter is served from that copy."""
    biased = make_adapter(tmp_path / "biased", tiny_base, bias="all")
    local = LocalModel(tiny_base, device="cpu")
    texts(local.generator(biased), prompts(2))
    with pytest.raises(ModelError, match="bias"):
        texts(local.generator(), prompts(2))
    with pytest.raises(ModelError, match="bias"):
        texts(local.generator(tiny_adapters[0]), prompts(2))


# ------------------------------------------------------------------------------------------------------------ identity


def test_fingerprint_follows_content_not_place(tiny_base, tmp_path):
    """A copy elsewhere has the same fingerprint; other weights, tokenizer or template have another."""
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    assert identity.base_fingerprint(copy) == identity.base_fingerprint(tiny_base)
    (copy / "README.md").write_text("a card decides nothing")
    assert identity.base_fingerprint(copy) == identity.base_fingerprint(tiny_base)
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[0]['content'] }}")
    other = make_model(tmp_path / "other", seed=3)
    (copy / "tokenizer_config.json").write_text((copy / "tokenizer_config.json").read_text() + " ")
    shas = {
        identity.base_fingerprint(tiny_base), identity.base_fingerprint(tiny_base, chat_template=template),
        identity.base_fingerprint(other), identity.base_fingerprint(copy),
    }  # fmt: skip
    assert len(shas) == 4


def test_adapter_key_ignores_order_and_origin(tiny_base, tmp_path):
    """The order of target_modules (a Python set's) and the base's path do not matter; rank and weights do."""
    folder = make_adapter(tmp_path / "adapter", tiny_base)
    key = identity.adapter_key(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert len(config["target_modules"]) == 2
    changed = {**config, "target_modules": config["target_modules"][::-1], "base_model_name_or_path": "elsewhere"}
    (folder / "adapter_config.json").write_text(json.dumps(changed))
    assert identity.adapter_key(folder) == key
    (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 99}))
    assert identity.adapter_key(folder) != key
    assert identity.adapter_key(make_adapter(tmp_path / "second", tiny_base, seed=9)) != key


def test_chat_template_file_replaces_the_tokenizers(tiny_base, tmp_path):
    """With a template file the prompts change, and so does the key."""
    template = tmp_path / "template.jinja"
    template.write_text("{{ bos_token }}Q: {{ messages[-1]['content'] }}\nA:")
    other = LocalModel(tiny_base, device="cpu", chat_template=template)
    plain = LocalModel(tiny_base, device="cpu")
    assert other.key() != plain.key()
    assert texts(other.generator(), prompts(6)) != texts(plain.generator(), prompts(6))


def test_pickled_weights_are_refused(tiny_base, tmp_path):
    """A folder with .bin weights alone is refused before anything is read from it."""
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match="never loaded"):
        LocalModel(copy)


def test_broken_weights_are_one_line(tiny_base, tmp_path):
    """A truncated weights file is a ModelError of one line when the model is loaded."""
    copy = shutil.copytree(tiny_base, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        texts(LocalModel(copy, device="cpu").generator(), prompts(1))
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------------- choices


def test_ten_costs_the_same_in_one_token_or_two(tmp_path):
    """The likelihood of "10" is the product over its tokens and the end of turn, however the tokenizer splits it."""
    for merged, pieces in ((True, 1), (False, 2)):
        folder = make_model(tmp_path / str(merged), merge_ten=merged)
        local = LocalModel(folder, device="cpu", dtype="float32")
        asked = [p.messages for p in prompts(5)]
        scores = local.choice_scorer().log_likelihoods(asked, ["1", "2", "10"])
        assert len(local.tokenizer("10", add_special_tokens=False)["input_ids"]) == pieces
        for turns, row in zip(asked, scores, strict=True):
            for choice, score in zip(("1", "2", "10"), row, strict=True):
                text = f"<s><|user|>{turns[0].content}<|assistant|>{choice}</s>"
                ids = local.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
                start = local.tokenizer(text.split(choice + "</s>")[0], add_special_tokens=False)["input_ids"]
                log = local.model.double()(ids).logits[0].log_softmax(-1)
                expected = sum(float(log[i - 1, ids[0, i]]) for i in range(len(start), ids.shape[1]))
                local.model.float()
                assert abs(score - expected) < 1e-4 * max(1, abs(expected))


def test_choice_scores_do_not_depend_on_the_batch(local, tiny_base):
    """All prompts at once, or one by one: the same to 1e-4 of a logit that runs in the hundreds."""
    asked = [p.messages for p in prompts(9)]
    together = local.choice_scorer().log_likelihoods(asked, ["1", "5", "10"])
    alone = [local.choice_scorer().log_likelihoods([turns], ["1", "5", "10"])[0] for turns in asked]
    assert np.allclose(together, alone, rtol=1e-5)


def test_choice_scores_use_the_adapter(local, tiny_adapters):
    """An adapter's scores are not the base's, and the base's are unchanged after it."""
    asked = [p.messages for p in prompts(3)]
    base = local.choice_scorer().log_likelihoods(asked, ["1", "2"])
    adapted = local.choice_scorer(tiny_adapters[0]).log_likelihoods(asked, ["1", "2"])
    assert not np.allclose(base, adapted)
    assert local.choice_scorer().log_likelihoods(asked, ["1", "2"]) == base


def test_prompt_that_does_not_fit_has_no_likelihood(local):
    """A prompt beyond the window gives -inf for every choice, and the others are scored."""
    turns = [prompt("fever " * 300).messages, prompt("fever").messages]
    long, short = local.choice_scorer().log_likelihoods(turns, ["1", "2"])
    assert long == [float("-inf")] * 2
    assert np.isfinite(short).all()


# --------------------------------------------------------------------------------------------------------- likelihoods


ANSWERS = ("advise rest", "water", "call an ambulance now", "10")


def plain_log_likelihood(tokenizer, model, text, answer):
    """The oracle: one row, one plain forward pass, the answer's own tokens looked up; (sum of log-probabilities, tokens)."""
    start = [1, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([start + ids])).logits[0].double()
    logs = torch.log_softmax(logits, dim=-1)
    return sum(float(logs[len(start) - 1 + place, token]) for place, token in enumerate(ids)), len(ids)


def test_likelihoods_equal_a_plain_forward_pass(local, tiny_base):
    """Every text's log-likelihood is what one row in one pass gives, to 1e-4; what ends the turn is not counted."""
    model = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    pairs = [(asked, answer) for asked in prompts(7) for answer in ANSWERS]
    found = dict(one for batch in local.generator().likelihoods(pairs) for one in batch)
    assert sorted(found) == list(range(len(pairs)))
    for index, (asked, answer) in enumerate(pairs):
        text = f"<|user|>{asked.messages[0].content}<|assistant|>"
        expected, tokens = plain_log_likelihood(local.tokenizer, model, text, answer)
        assert found[index].log_likelihood == pytest.approx(expected, abs=1e-4)
        assert (found[index].text, found[index].tokens) == (answer, tokens)
    assert len({found[index].tokens for index in found}) > 2  # texts of several lengths, one token among them
    assert min(likelihood.tokens for likelihood in found.values()) == 1


def test_likelihoods_do_not_depend_on_the_batch(local):
    """Alone or among others, in whatever order, a pair has the same log-likelihood, to 1e-4."""
    pairs = [(asked, answer) for asked in prompts(9) for answer in ANSWERS[: 1 + len(asked.messages[0].content) % 4]]
    together = dict(one for batch in local.generator().likelihoods(pairs) for one in batch)
    turned = dict(one for batch in local.generator().likelihoods(pairs[::-1]) for one in batch)
    for index, pair in enumerate(pairs):
        [[(_, alone)]] = local.generator().likelihoods([pair])
        assert alone.log_likelihood == pytest.approx(together[index].log_likelihood, abs=1e-4)
        assert alone.log_likelihood == pytest.approx(turned[len(pairs) - 1 - index].log_likelihood, abs=1e-4)


def test_likelihoods_use_the_adapter_and_leave_the_base_alone(local, tiny_adapters):
    """An adapter has likelihoods of its own, and the base's are the same before and after."""
    pairs = [(asked, "advise rest") for asked in prompts(2)]
    before = list(local.generator().likelihoods(pairs))
    adapted = list(local.generator(tiny_adapters[0]).likelihoods(pairs))
    assert list(local.generator().likelihoods(pairs)) == before
    assert adapted != before


def test_a_text_that_does_not_fit_or_is_blank_is_a_failure(tiny_base):
    """Nothing is cut: a text too long for the window, and one without tokens, have no likelihood; the others have."""
    model = LocalModel(tiny_base)
    long = " ".join(WORDS * 12)
    [asked] = prompts(1)
    found = dict(
        one for batch in model.generator().likelihoods([(asked, long), (asked, "rest"), (asked, "  ")]) for one in batch
    )
    assert found[0].kind == "too_long"
    assert "window 256; nothing is cut" in found[0].message
    assert found[1].tokens >= 1
    assert found[2].kind == "text_empty"


@pytest.mark.parametrize("template", [LLAMA2, None], ids=["llama2", "no-template"])
def test_likelihood_is_of_the_tokens_that_training_sees(tmp_path, template):
    """Prompt and text are cut into the very ids of a training row, whatever the template puts between them."""
    model = LocalModel(make_model(tmp_path / "m", template=template))
    [asked] = prompts(1)
    start, ids = rendering.training_tokens(model.tokenizer, asked.messages, "advise rest")
    ids = ids[:-1]  # without the end of the turn
    with torch.inference_mode():
        logs = torch.log_softmax(model.model(input_ids=torch.tensor([start + ids])).logits[0].double(), dim=-1)
    expected = sum(float(logs[len(start) - 1 + place, token]) for place, token in enumerate(ids))
    [[(_, found)]] = model.generator().likelihoods([(asked, "advise rest")])
    assert (found.log_likelihood, found.tokens) == (pytest.approx(expected, abs=1e-4), len(ids))
