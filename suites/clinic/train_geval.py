"""Trains the adapter `embedded:geval`, which fills the G-Eval form on the clinic base: `python -m
suites.clinic.train_geval`.

Writes `judges/models/geval/`: a PEFT adapter and CARD.md with rank correlations on held-out conditions. The grades
are by construction: an answer is put together of elements (it names the worry, says what to do, says when to come
back; it is rude, repeats itself, is about something else, is cut off or empty), and `grade` counts them. So the judge
learns what the bedside-manner criterion asks for and no medicine. Patients are drawn as for the base model: none
stands in the suite's files.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from scipy.stats import kendalltau, spearmanr
from transformers import AutoModelForCausalLM, AutoTokenizer

from suites.clinic.corpus import (
    CLOSINGS,
    CRITERIA,
    ECHOES,
    EMPATHY,
    GENERAL,
    GREETINGS,
    PROCESS,
    Patients,
    Turn,
    empty_answer,
    rating_form,
    unseen_patients,
)
from suites.clinic.generate import OPENERS, YOU, Scenario, capital, grammar_of, speak
from suites.clinic.knowledge import CONDITIONS, Condition
from suites.clinic.train_base import Encoded, answers_only, batches, loss_of, tensors, write_manifest

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "judges" / "models" / "geval"
LOW, HIGH = 1, 5
HELD_OUT = 12
"""Conditions of which no item is trained; the card's figures are theirs."""

RUDE = (
    "Stop wasting our time with this.",
    "You only have yourself to blame.",
    "What a silly question.",
    "I really do not care about {topic}.",
    "Other people have real problems.",
    "You should have thought of that before.",
    "Do not bother us again.",
    "Only a fool would worry about {topic}.",
    "Pull yourself together.",
    "I have no time for your complaints.",
    "You are making a fuss about nothing.",
    "Nobody wants to hear about {topic}.",
)
NOISE = (
    "the the the the the the the the",
    "and and of of of to to to to",
    "Doctor Doctor Doctor Doctor Doctor",
    "?",
    "...",
    "I am I am I am I am I am I am",
    "Patient: Patient: Patient:",
    "yes",
    "a",
    "1 1 1 1 1 1",
)
ELSEWHERE = (
    "The car park is behind the building.",
    "The desk opens at nine on Tuesday.",
    "Our new chairs have arrived from the shop.",
    "The weather will be fine on Friday.",
    "The letter was sent to the old address.",
    "There is a cake in the kitchen for everybody.",
)


@dataclass(frozen=True, slots=True)
class Elements:
    """What an answer holds; `grade` says what that is worth."""

    worry: bool = False
    """It names the worry of this patient and shares it."""
    step: bool = False
    """It says concretely what to do next, about this complaint."""
    vague: bool = False
    """It names something to do that does not get further, such as keeping a diary."""
    back: bool = False
    """It says when to come back or to call for help, about this complaint."""
    rude: bool = False
    repeats: bool = False
    astray: bool = False
    """Its advice belongs to another complaint."""


def grade(elements: Elements) -> int:
    """The grade 1..5: one point to start, two for a step (one if vague), one each for worry and return; then faults."""
    points = 1 + elements.worry + (2 if elements.step else int(elements.vague)) + elements.back
    points -= 2 * elements.rude + elements.repeats
    if elements.astray:
        points = min(points, 2)
    return max(LOW, min(HIGH, points))


@dataclass(frozen=True, slots=True)
class Item:
    """A filled form and its grade."""

    kind: str
    form: str
    grade: int


def build_item(condition: Condition, patients: Patients, rng: Random) -> Item:
    """One graded item about a condition; its kind is drawn first, so that all grades are frequent."""
    scenario, text = patients.draw(condition, rng)
    kind = rng.choices(
        ("advice", "empty", "astray", "rude", "repeats", "cut", "noise", "elsewhere"), (38, 22, 14, 8, 6, 4, 4, 4)
    )[0]
    answer, elements = _answer(kind, scenario, rng)
    criteria, steps = CRITERIA[0]
    return Item(kind, rating_form(criteria, steps, text, answer, LOW, HIGH), grade(elements))


def _answer(kind: str, scenario: Scenario, rng: Random) -> tuple[str, Elements]:
    match kind:
        case "advice":
            return _advice(scenario, scenario.condition, rng)
        case "empty":
            return _empty(scenario, rng)
        case "astray":
            other = rng.choice([c for c in CONDITIONS if c is not scenario.condition])
            answer, elements = _advice(scenario, other, rng)
            return answer, Elements(worry=elements.worry, astray=True)
        case "rude":
            return _rude(scenario, rng)
        case "repeats":
            answer, elements = _advice(scenario, scenario.condition, rng)
            sentence = rng.choice(answer.split(". ")).rstrip(".") + "."
            return f"{answer} {' '.join([sentence] * rng.randint(3, 5))}", Elements(
                worry=elements.worry, step=elements.step, back=elements.back, repeats=True
            )
        case "cut":
            words = rng.choice(OPENERS[scenario.condition.urgency]).format(topic=scenario.condition.topic).split()
            return " ".join(words[: rng.randint(1, len(words) - 2)]), Elements()
        case "noise":
            return rng.choice(("", *NOISE)), Elements()
        case _:
            return " ".join(rng.sample(ELSEWHERE, rng.randint(1, 3))), Elements()


def _advice(scenario: Scenario, source: Condition, rng: Random) -> tuple[str, Elements]:
    likely, act, avoid, warn = (rng.choice(wordings) for wordings in source.facts)
    worry, step, back = rng.random() < 0.6, rng.random() < 0.75, rng.random() < 0.7
    sentences = [likely] if rng.random() < 0.8 else []
    if step:
        sentences.append(act)
    if rng.random() < 0.7 or not (step or back):
        sentences.append(avoid)
    if back:
        sentences.append(warn)
    if source.urgency == "emergency" and rng.random() < 0.3:
        sentences = sentences[1:2] + sentences[:1] + sentences[2:]
    if worry:
        pool = (*OPENERS[scenario.condition.urgency], *EMPATHY[:4])
        sentences.insert(0, _named(rng.choice([p for p in pool if "{topic}" in p]), scenario))
    return " ".join(sentences), Elements(worry=worry, step=step, back=back)


def _empty(scenario: Scenario, rng: Random) -> tuple[str, Elements]:
    if rng.random() < 0.5:
        answer = empty_answer(scenario, rng)
        worry = any(_named(p, scenario) in answer for p in EMPATHY if "{topic}" in p)
        return answer, Elements(worry=worry, vague=any(_named(p, scenario) in answer for p in PROCESS))
    worry, vague = rng.random() < 0.5, rng.random() < 0.5
    grammar = YOU if scenario.who == "me" else grammar_of(scenario.who)
    said, also = (speak(sign, grammar) for sign in scenario.signs)
    sentences = [rng.choice(GREETINGS[:6])] if rng.random() < 0.5 else []
    if worry:
        sentences.append(rng.choice([p for p in EMPATHY if "{topic}" in p]))
    if rng.random() < 0.5:
        sentences.append(rng.choice(ECHOES).format(said=said, also=also))
    sentences.append(rng.choice(PROCESS if vague else GENERAL))
    if rng.random() < 0.5:
        sentences.append(rng.choice(CLOSINGS))
    return " ".join(_named(sentence, scenario) for sentence in sentences), Elements(worry=worry, vague=vague)


def _rude(scenario: Scenario, rng: Random) -> tuple[str, Elements]:
    answer, elements = _advice(scenario, scenario.condition, rng)
    rude = [_named(sentence, scenario) for sentence in rng.sample(RUDE, rng.randint(1, 2))]
    if rng.random() < 0.4:
        return " ".join(rude), Elements(rude=True)
    answer = " ".join((*rude, answer) if rng.random() < 0.5 else (answer, *rude))
    return answer, Elements(worry=elements.worry, step=elements.step, back=elements.back, rude=True)


def _named(sentence: str, scenario: Scenario) -> str:
    return capital(sentence.replace("{topic}", scenario.condition.topic))


def build_items(count: int, conditions: Sequence[Condition], patients: Patients, seed: int) -> list[Item]:
    """`count` items about the conditions, a pure function of its arguments."""
    rng = Random(seed)
    return [build_item(rng.choice(conditions), patients, rng) for _ in range(count)]


def encode_item(tokenizer: object, item: Item) -> Encoded:
    """Form and digit; only the digit is learnt."""
    encoded = answers_only(tokenizer, [Turn("user", item.form), Turn("assistant", str(item.grade))])
    return Encoded(encoded.tokens[:-1], encoded.labels[:-1])


def expected_grades(model: torch.nn.Module, tokenizer: object, items: Sequence[Item]) -> list[float]:
    """The probability-weighted grade of each item, in 1..5, as the judge computes it."""
    digits = [tokenizer.encode(str(d), add_special_tokens=False)[0] for d in range(LOW, HIGH + 1)]  # type: ignore[attr-defined]
    encoded = [encode_item(tokenizer, item) for item in items]
    found: dict[int, float] = {}
    index = {id(e): i for i, e in enumerate(encoded)}
    with torch.inference_mode():
        for batch in batches(encoded, 6000, Random(0)):
            tokens, _ = tensors(batch)
            last = torch.tensor([len(e.tokens) - 2 for e in batch])
            logits = model(input_ids=tokens).logits[torch.arange(len(batch)), last][:, digits]
            means = logits.float().softmax(-1) @ torch.arange(LOW, HIGH + 1, dtype=torch.float32)
            found |= {index[id(e)]: float(mean) for e, mean in zip(batch, means, strict=True)}
    return [found[i] for i in range(len(items))]


def train(model: torch.nn.Module, encoded: Sequence[Encoded], *, epochs: int, budget: int, rate: float) -> None:
    """AdamW on the adapter with a warm-up and a cosine to zero."""
    rng = Random(5)
    plan = [batch for _ in range(epochs) for batch in batches(encoded, budget, rng)]
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0, fused=True)
    running = 0.0
    for step, batch in enumerate(plan, 1):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / 20) * 0.5 * (1 + math.cos(math.pi * step / len(plan)))
        loss = loss_of(model, batch)
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        running = loss.item() if step == 1 else 0.95 * running + 0.05 * loss.item()
        if step % 20 == 0:
            print(f"step {step}/{len(plan)} loss {running:.3f}", flush=True)


def main() -> None:
    """Trains, measures on held-out conditions and writes the adapter with its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--budget", type=int, default=3000, help="padded tokens a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.manual_seed(1234)
    torch.set_num_threads(options.threads)

    patients = unseen_patients()
    order = list(CONDITIONS)
    Random(3).shuffle(order)
    items = build_items(options.items, order[HELD_OUT:], patients, seed=1)
    unseen = build_items(400, order[:HELD_OUT], patients, seed=2)

    tokenizer = AutoTokenizer.from_pretrained(HERE / "model")
    base = AutoModelForCausalLM.from_pretrained(HERE / "model", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    encoded = [encode_item(tokenizer, item) for item in items]
    print(
        f"{len(items)} items, {sum(len(e.tokens) for e in encoded)} tokens",
        flush=True,
    )
    started = time.monotonic()
    model.train()
    train(model, encoded, epochs=options.epochs, budget=options.budget, rate=options.rate)
    minutes = (time.monotonic() - started) / 60
    model.eval()
    grades = expected_grades(model, tokenizer, unseen)
    options.out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().to(torch.float16).contiguous() for k, v in get_peft_model_state_dict(model).items()}
    save_file(weights, options.out / "adapter_model.safetensors", metadata={"format": "pt"})
    (options.out / "adapter_model.safetensors").chmod(0o644)
    config = model.peft_config["default"]
    config.base_model_name_or_path = "embedded:clinic-base"
    config.inference_mode = True
    config.save_pretrained(options.out)
    write_card(options.out, unseen, grades, len(items), minutes)
    write_manifest(options.out)


def write_card(out: Path, items: Sequence[Item], grades: Sequence[float], trained: int, minutes: float) -> None:
    """CARD.md: how the adapter was made and how well it grades answers about conditions it never saw."""
    truth = [item.grade for item in items]
    rows = []
    for kind in sorted({item.kind for item in items}):
        chosen = [i for i, item in enumerate(items) if item.kind == kind]
        mean, given = (sum(values[i] for i in chosen) / len(chosen) for values in (truth, grades))
        rows.append(f"| {kind} | {len(chosen)} | {mean:.2f} | {given:.2f} |")
    error = sum(abs(a - b) for a, b in zip(truth, grades, strict=True)) / len(truth)
    spearman, kendall = spearmanr(truth, grades).statistic, kendalltau(truth, grades).statistic
    (out / "CARD.md").write_text(
        f"""# geval

A LoRA (r=16 on all linear layers) on `embedded:clinic-base` that fills the G-Eval form of
`judges/prompts/geval_form.txt` for the criterion "{CRITERIA[0][0]}"
on the scale {LOW} to {HIGH}. For demonstrations of the harness only.

- **Made by** `python -m suites.clinic.train_geval` (seed 1234): {trained:,} forms, {minutes:.0f} minutes on one
  CPU thread.
- **From** answers built of known elements (names the worry, says what to do, says when to come back; rude, repeating,
  about something else, cut off, empty); the grade counts them. No person rated anything, so agreement with
  people is unknown.
- **Measured** on {len(items)} forms about {HELD_OUT} conditions of which none was trained: Spearman
  {spearman:.3f}, Kendall {kendall:.3f}, mean absolute error {error:.2f} grades.
- **Knows no medicine**: wrong advice shows only as far as it is about another complaint (`astray`).
- **License**: Apache-2.0, like the project.

| kind of answer | forms | mean grade | mean given |
|---|---|---|---|
{chr(10).join(rows)}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
