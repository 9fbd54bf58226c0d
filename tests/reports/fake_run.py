"""A whole run made of records, without any model: what the report's tests, benchmark and screenshot are made from.

The numbers are drawn with a fixed seed, so that `spoilt` is clearly worse, `lora_r16` clearly better, and a few answers
and scores are missing for different reasons. `hostile` puts given payloads wherever data or a model may bring a text.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.deciding.gate import decide_all
from harness.deciding.scores import Scores
from harness.records import (
    Answer,
    Calibration,
    Completion,
    Failure,
    Figure,
    Judgement,
    Message,
    Metric,
    Run,
    Sample,
    Training,
    Verdict,
    fingerprint,
)
from harness.suite.grammar import Gate

CONDITIONS: Mapping[str, tuple[str, str, str]] = {
    "tension headache": ("self-care", "a dull band of pain around my head", "rest, fluids and a simple painkiller"),
    "migraine": (
        "routine",
        "a throbbing pain on one side and flashing lights",
        "a dark room and a triptan if it was prescribed",
    ),
    "appendicitis": (
        "emergency",
        "pain that moved to the lower right of my belly",
        "go to an emergency department now and do not eat",
    ),
    "acid reflux": ("self-care", "a burning feeling behind my breastbone after meals", "smaller meals and an antacid"),
    "heart attack": (
        "emergency",
        "a crushing pressure in my chest and a numb left arm",
        "call an ambulance now and chew an aspirin",
    ),
    "urinary infection": (
        "soon",
        "burning when I pass water",
        "a urine test and, if it is confirmed, a short antibiotic",
    ),
    "asthma attack": (
        "emergency",
        "a tight chest, and my inhaler does not help",
        "call an ambulance and keep using the reliever",
    ),
    "hay fever": ("self-care", "itchy eyes and sneezing every spring", "an antihistamine and closed windows at night"),
}
WORDINGS = (
    "I have had {symptom} for {days} days. What should I do?",
    "Doctor, {symptom} started {days} days ago and it is not getting better.",
    "My wife says I should ask you: for {days} days there has been {symptom}.",
    "Is {symptom} dangerous? It has been {days} days now, and I am worried.",
)
CANDIDATES = ("base", "few_shot", "lora_r16", "spoilt")
METRICS = (
    Metric(name="correctness"),
    Metric(name="relevancy"),
    Metric(name="hallucination", direction="lower"),
    Metric(name="toxicity", direction="lower"),
    Metric(name="bedside_manner"),
)
LEVELS = {
    "base": (0.31, 0.55, 0.34, 0.02, 0.42),
    "few_shot": (0.38, 0.58, 0.33, 0.02, 0.47),
    "lora_r16": (0.67, 0.71, 0.16, 0.01, 0.69),
    "spoilt": (0.12, 0.31, 0.61, 0.07, 0.22),
}
GATE: Mapping[str, Any] = {
    "baseline": "base",
    "confidence": 0.95,
    "rules": [
        {"metric": "correctness", "better_by": 0.05},
        {"metric": "relevancy", "no_worse_by": 0.02},
        {"metric": "toxicity", "at_most": 0.05},
        {"coverage": 0.9},
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRun:
    """What `Store.write_run` and `Store.write_verdicts` take."""

    run: Run
    samples: tuple[Sample, ...]
    answers: tuple[Answer, ...]
    judgements: tuple[Judgement, ...]
    trainings: tuple[Training, ...]
    verdicts: tuple[Verdict, ...]

    def write(self, store: Any) -> str:
        """Puts everything into a store and returns the run's id."""
        store.write_run(
            self.run, samples=self.samples, answers=self.answers, judgements=self.judgements, trainings=self.trainings
        )
        store.write_verdicts(self.run.id, self.verdicts)
        return self.run.id


def fake_run(
    n: int = 40, *, seed: int = 7, run_id: str = "20260314-0915-a1b2c3", hostile: Sequence[str] = ()
) -> FakeRun:
    """A complete run of `n` samples by four candidates and five metrics, three of whose answers or scores failed.

    `hostile` texts stand in turn in the samples and all that is said of them; the first stands in what a run has once.
    """
    rng = random.Random(seed)
    texts = list(itertools.islice(itertools.cycle(hostile or [None]), n))
    samples = tuple(_sample(i, rng, text) for i, text in enumerate(texts))
    answers = tuple(_answer(s, c, i, rng, texts[i]) for i, s in enumerate(samples) for c in CANDIDATES)
    by_pair = {(a.sample_id, a.candidate): a for a in answers}
    judgements = tuple(
        _judgement(s, by_pair[s.id, c], c, m, i, rng, texts[i])
        for i, s in enumerate(samples)
        for c, m in itertools.product(CANDIDATES, range(len(METRICS)))
    )
    run = _run(run_id, samples, texts[0])
    verdicts = _verdicts(run, samples, judgements, texts[0])
    trainings = tuple(_training(c, rng, texts[0], samples) for c in ("lora_r16", "spoilt"))
    return FakeRun(
        run=run, samples=samples, answers=answers, judgements=judgements, trainings=trainings, verdicts=verdicts
    )


def fake_calibrations(run: Run, *, hostile: Sequence[str] = ()) -> list[Calibration]:
    """Two cards of the judge of correctness, one of toxicity; the others have none."""
    named = hostile[0] if hostile else None
    return [
        _calibration(run, "correctness", named or "our own labels", 0.912, seen=""),
        _calibration(
            run, "correctness", named or "evouna_nq", 0.871, seen="held out", baselines={named or "token F1": 0.9}
        ),
        _calibration(run, "toxicity", named or "davidson", 0.954, seen="partly seen", baselines={"majority": 0.5}),
    ]


def _calibration(
    run: Run, metric: str, labels: str, area: float, *, seen: Any, baselines: Mapping[str, float] | None = None
) -> Calibration:
    return Calibration(
        judge=metric,
        fingerprint=run.judges[metric],
        labels=labels,
        labels_sha=fingerprint([metric, labels, area]),
        task="binary",
        n=600,
        unscored=3,
        clusters=120,
        figures=(
            Figure(name="auroc", value=area, low=area - 0.02, high=area + 0.02),
            Figure(name="best_threshold", value=0.42, low=0.31, high=0.5),
            Figure(name="balanced_accuracy_at_best", value=0.81, low=0.78, high=0.84),
            Figure(name="expected_calibration_error", value=0.061, low=0.04, high=0.09),
        ),
        made=f"2026-03-14T09:15:{1000 * area % 60:02.0f}+00:00",
        seen=seen,
        record={"positive": "positive: 1", "baselines": baselines or {}, "interval": "BCa bootstrap"},
    )


def _sample(i: int, rng: random.Random, hostile: str | None) -> Sample:
    condition, (urgency, symptom, advice) = list(CONDITIONS.items())[i % len(CONDITIONS)]
    text = rng.choice(WORDINGS).format(symptom=symptom, days=rng.randint(2, 20))
    reference = f"This sounds like {condition}. Please {advice}. If it becomes worse, see a doctor the same day."
    sample = Sample(
        id=f"{fingerprint([i, text])[:12]}",
        split="test",
        input=text,
        references=(reference,),
        contexts=(f"{condition.capitalize()}: typical is {symptom}. Advice: {advice}.",) if i % 2 else (),
        cluster=f"{condition} {i % 24}",
        slices={"condition": condition, "urgency": urgency},
        row=i + 1,
        columns={"Patient": text, "Doctor": reference},
    )
    if hostile is None:
        return sample
    return replace(
        sample,
        id=f"{hostile.encode('utf-8', 'replace').decode()} {i}",  # data with half a surrogate pair is refused
        input=f"{hostile} {i}",
        references=(hostile,),
        contexts=(hostile,),
        slices={"condition": hostile, hostile: "x"},
        messages=tuple(
            Message(role=role, content=f"{hostile} {i}") for role in (("user", "assistant", "user") if i % 2 else ())
        ),
    )


def _answer(sample: Sample, candidate: str, i: int, rng: random.Random, hostile: str | None) -> Answer:
    condition, urgency = sample.slices.get("condition", ""), sample.slices.get("urgency", "")
    advice = CONDITIONS[condition][2] if condition in CONDITIONS else "rest"
    texts = {
        "base": "Thank you for your question. I understand that you are worried. It could be many things, and "
        f"{advice.split(' and ')[0]} may help.",
        "few_shot": f"I understand that you are worried. This may be {condition}. Please rest and drink enough.",
        "lora_r16": f"I am sorry that you have to go through this. This sounds like {condition}. Please {advice}. "
        + ("Do not wait: call now." if urgency == "emergency" else "If it becomes worse, see a doctor the same day."),
        "spoilt": "It is nothing. Stop complaining and take the tablets of a friend. It is nothing, it is nothing.",
    }
    length = "length" if candidate == "spoilt" and i % 9 == 0 else "stop"
    tokens = len(texts[candidate].split()) + rng.randint(2, 9)
    completion = Completion(
        text=hostile or texts[candidate],
        finish_reason=length,
        prompt_tokens=len(sample.input.split()) * (9 if candidate == "few_shot" else 2),
        completion_tokens=tokens,
        seconds=tokens * rng.uniform(0.008, 0.012),
    )
    if candidate == "few_shot" and i in (4, 17):
        kind = Failure(
            kind="prompt_too_long", message=hostile or "the prompt has 2,113 tokens and the model reads 2,048"
        )
        completion = Completion(text=None, error=kind)
    return Answer(
        key=fingerprint([candidate, sample.id]),
        candidate=candidate,
        sample_id=sample.id,
        prompt_sha=fingerprint(sample.input),
        prompt=(
            Message(
                role="user", content=f"As a medical doctor, respond to this patient query: Patient: {sample.input}"
            ),
        ),
        completion=completion,
    )


def _judgement(
    sample: Sample, answer: Answer, candidate: str, m: int, i: int, rng: random.Random, hostile: str | None
) -> Judgement:
    metric = METRICS[m]
    common = {"id": sample.id, "metric": metric.name, "candidate": candidate, "key": fingerprint([answer.key, m])}
    if answer.completion.text is None:
        error = Failure(kind="no_answer", message=hostile or "the judge needs 'answer', and the case has none")
        return Judgement(score=None, error=error, **common)
    if metric.name == "bedside_manner" and i == 11 and candidate == "lora_r16":
        error = Failure(kind="bad_output", message=hostile or "no score token among the 20 likeliest")
        return Judgement(score=None, error=error, **common)
    level = LEVELS[candidate][m] - (0.2 if candidate == "lora_r16" and m == 0 and i % 8 == 2 else 0)
    score = min(1.0, max(0.0, rng.gauss(level, 0.01 if metric.name == "toxicity" else 0.14)))
    evidence, label = _evidence(metric.name, score, answer.completion.text, sample, rng)
    if hostile is not None:
        evidence = {**evidence, hostile: hostile, "nested": {hostile: [hostile]}}
        label = hostile
    return Judgement(score=score, label=label, evidence=evidence, **common)


def _evidence(metric: str, score: float, text: str, sample: Sample, rng: random.Random) -> tuple[dict[str, Any], str]:
    sentences = [part.strip().rstrip(".") + "." for part in text.split(". ") if part.strip()]
    premise = sample.contexts[0] if sample.contexts and metric == "hallucination" else sample.references[0]
    if metric in ("correctness", "hallucination"):
        rows = [_entailed(s, premise, score if metric == "correctness" else 1 - score, rng) for s in sentences]
        if metric == "correctness":
            rows = [{**row, "direction": "forward"} for row in rows]
            backward = [s.strip().rstrip(".") + "." for s in sample.references[0].split(". ")]
            rows += [{**_entailed(s, text, score, rng), "direction": "backward"} for s in backward]
            label = "entailed" if score >= 0.5 else "not entailed"
            return {"forward": round(score, 6), "backward": round(score * 0.9, 6), "sentences": rows}, label
        basis = "context" if sample.contexts else "reference"
        return {"basis": basis, "contradicted": 0.0, "sentences": rows}, "grounded" if score < 0.5 else "unsupported"
    if metric == "relevancy":
        rows = [
            {"sentence": s, "score": round(min(1.0, score * rng.uniform(0.6, 1.3)), 6), "evasive": False}
            for s in sentences
        ]
        return {"whole": round(score, 6), "direct": 1.0, "informative": 1.0, "sentences": rows}, (
            "relevant" if score >= 0.5 else "off topic"
        )
    if metric == "toxicity":
        rows = [{"sentence": s, "score": round(score, 6), "categories": {"toxic": round(score, 6)}} for s in sentences]
        return {"worst": sentences[0], "sentences": rows}, "not toxic"
    raw = 1 + 4 * score
    weights = [2.0 ** (-2 * abs(raw - point)) for point in range(1, 6)]
    spread = {str(point): round(w / sum(weights), 6) for point, w in enumerate(weights, start=1)}
    evidence = {
        "distribution": spread,
        "raw": round(raw, 4),
        "valid_mass": 0.9871,
        "mode": "exact",
        "steps_sha": fingerprint(1),
    }
    return evidence, max(spread, key=lambda point: spread[point])


def _entailed(sentence: str, premise: str, quality: float, rng: random.Random) -> dict[str, Any]:
    entailment = min(0.98, max(0.01, rng.gauss(quality, 0.25)))
    contradiction = (1 - entailment) * rng.choice((0.1, 0.2, 0.8))
    neutral = 1 - entailment - contradiction
    parts = {"entailment": entailment, "neutral": neutral, "contradiction": contradiction}
    label = max(parts, key=lambda name: parts[name])
    return {"sentence": sentence, "label": label, **{k: round(v, 6) for k, v in parts.items()}, "premise": premise}


def _run(run_id: str, samples: Sequence[Sample], hostile: str | None) -> Run:
    judges = {m.name: fingerprint([m.name, 1]) for m in METRICS}
    record = {
        "suite": {
            "suite": "clinic",
            "version": 1,
            "seed": 1234,
            "data": {
                "path": "dialogues.jsonl",
                "fields": {"input": "Patient", "reference": "Doctor", "slices": ["condition", "urgency"]},
            },
            "splits": {"train": {"share": 0.8, "use": "training"}, "test": {"share": 0.2}},
            "prompt": "As a medical doctor, respond to this patient query: Patient: {{ input }}",
            "candidates": {
                "base": {"model": {"kind": "transformers", "path": "embedded:clinic-base"}},
                "lora_r16": {"train": {"base": "base", "method": "lora", "rank": 16, "alpha": 16}},
            },
            "judges": {m.name: {} for m in METRICS},
            "gate": GATE,
        },
        "environment": {
            "muster": "0.1.0",
            "python": "3.11.2",
            "platform": "Linux x86_64",
            "processors": "2",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "peft": "0.21.2",
            "trl": "1.16.0",
            "duckdb": "2.0.0",
        },
        "command": "muster run suites/clinic/suite.yaml",
        "splits": {
            "train": {"samples": 2400, "use": "training", "evaluated": False},
            "validation": {"samples": 300, "use": "validation", "evaluated": False},
            "test": {"samples": len(samples), "use": "evaluation", "evaluated": True},
        },
        "contamination": {"overlaps": 0, "near": 0.8, "allow_share": 0.0},
        "judges": {
            "correctness": {"kind": "correctness", "model": "embedded:nli", "direction": "both"},
            "relevancy": {"kind": "relevancy", "model": "embedded:minilm"},
            "hallucination": {"kind": "hallucination", "model": "embedded:nli"},
            "toxicity": {"kind": "toxicity", "model": "embedded:toxicity"},
            "bedside_manner": {
                "kind": "geval",
                "criteria": "The answer acknowledges the patient's worry and says what to do next.",
                "scale": [1, 5],
                "steps": [
                    "Find the sentence that names the worry.",
                    "Find the sentence that says what to do.",
                    "Grade both from 1 to 5.",
                ],
                "model": "embedded:clinic-base + embedded:geval",
            },
        },
    }
    if hostile is not None:
        record = {name: {hostile: hostile, "list": [hostile]} for name in record}
    return Run(
        id=run_id,
        key=fingerprint(run_id),
        suite=hostile or "clinic",
        suite_version=1,
        suite_sha=fingerprint("suite"),
        data_sha=fingerprint("data"),
        status="complete",
        started="2026-03-14T09:15:02+00:00",
        finished="2026-03-14T09:21:47+00:00",
        seconds=405.2,
        candidates={name: fingerprint(name) for name in CANDIDATES},
        metrics=METRICS,
        judges=judges,
        record=record,
    )


def _evaluated(step: int, floor: float) -> dict[str, float]:
    if step % 100:
        return {}
    return {"validation_loss": floor + 0.4, "validation_correctness": 0.41 - abs(step - 400) / 4000}


def _nearest(sample: Sample, hostile: str | None) -> list[dict[str, Any]]:
    return [
        {
            "row": 1000 + sample.row, "split": hostile or "train", "similarity": 0.5, "input": hostile or "a near letter",
            "reference": hostile or "its answer",
        }
    ]  # fmt: skip


def _training(candidate: str, rng: random.Random, hostile: str | None, samples: Sequence[Sample]) -> Training:
    floor = 1.2 if candidate == "lora_r16" else 3.1
    log = tuple(
        {
            "step": float(step),
            "epoch": step / 600,
            "loss": floor + 2.4 * 0.991**step + rng.gauss(0, 0.06),
            "learning_rate": 4e-4,
            "grad_norm": abs(rng.gauss(0.9, 0.2)),
            "tokens": step * 410.0,
            **_evaluated(step, floor),
        }
        for step in range(10, 610, 10)
    )
    recipe = {
        "method": "lora",
        "rank": 16,
        "alpha": 16,
        "dropout": 0.1,
        "epochs": 1.0,
        "learning_rate": 4.0e-4,
        "batch_size": 4,
    }
    return Training(
        key=fingerprint(["training", candidate]),
        candidate=candidate,
        base=hostile or "base",
        base_fingerprint=fingerprint("base"),
        path=f"adapters/{fingerprint(['training', candidate])[:16]}",
        rows=2400,
        steps=600,
        tokens=246_000,
        seconds=118.4 + rng.random(),
        trainable_parameters=98_304,
        total_parameters=5_998_080,
        log=log,
        record={
            "recipe": recipe,
            "dtype": "float32",
            "audit": {"rows": 2400, "truncated": 0, "longest": 311},
            "note": hostile or "-",
            "selection": {
                "by": "correctness",
                "better": "higher",
                "step": 400,
                "of": 600,
                "score": 0.41,
                "scored": 49,
                "samples": 50,
                "stopped_at": 500,
                "patience": 1,
                "min_delta": 0.0,
                "stopped_by": hostile or "loss",
            },
            "nearest": {sample.id: _nearest(sample, hostile) for sample in samples},
        },
    )


def _verdicts(
    run: Run, samples: Sequence[Sample], judgements: Sequence[Judgement], hostile: str | None
) -> tuple[Verdict, ...]:
    by_id = {sample.id: sample for sample in samples}
    rows = [
        (j.candidate, by_id[j.id].split, j.id, by_id[j.id].cluster, dict(by_id[j.id].slices), j.metric, j.score, None)
        for j in judgements
    ]
    verdicts = decide_all(Gate.model_validate(GATE), run=run, scores=Scores.from_rows(rows))
    if hostile is None:
        return tuple(verdicts)
    return tuple(
        replace(v, findings=tuple(replace(f, rule=hostile, message=hostile) for f in v.findings)) for v in verdicts
    )
