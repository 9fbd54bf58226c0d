"""Records for the store's tests: strategies for any record, and a small run with everything in it."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from harness.records import (
    Answer,
    Completion,
    Failure,
    Finding,
    Judgement,
    Message,
    Metric,
    Probe,
    Repeat,
    Run,
    Sample,
    Training,
    Verdict,
)
from harness.store.rows import SEAM

TEXT = st.text(max_size=12) | st.sampled_from(
    ["", "\x00", "\ud800", "a\udfffb", "\ufeffjson:", '\ufeffjson:"x"', "\u2028", "é", SEAM]
)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
MAPPINGS = st.dictionaries(TEXT, JSON, max_size=3)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT), max_size=3
).map(tuple)
FAILURES = st.builds(Failure, kind=TEXT, message=TEXT)
SAMPLES = st.builds(
    Sample, id=TEXT, split=TEXT, input=TEXT, references=TEXTS, contexts=TEXTS, cluster=st.none() | TEXT,
    slices=st.dictionaries(TEXT, TEXT, max_size=2), row=WHOLE, messages=MESSAGES, columns=MAPPINGS,
)  # fmt: skip
NUMBERS = {
    "finish_reason": st.none() | TEXT, "prompt_tokens": st.none() | WHOLE, "completion_tokens": st.none() | WHOLE,
    "seconds": st.none() | NUMBER,
}  # fmt: skip
COMPLETIONS = st.builds(Completion, text=TEXT, **NUMBERS) | st.builds(
    Completion, text=st.none(), error=FAILURES, **NUMBERS
)
ANSWERS = st.builds(
    Answer,
    key=TEXT,
    candidate=TEXT,
    sample_id=TEXT,
    prompt_sha=TEXT,
    completion=COMPLETIONS,
    contexts=TEXTS,
    prompt=MESSAGES,
)
JUDGED = {
    "id": TEXT, "metric": TEXT, "label": st.none() | TEXT, "evidence": MAPPINGS, "candidate": TEXT, "key": TEXT,
}  # fmt: skip
JUDGEMENTS = st.builds(Judgement, score=NUMBER, error=st.none(), **JUDGED) | st.builds(
    Judgement, score=st.none(), error=FAILURES, **JUDGED
)
TRAININGS = st.builds(
    Training, key=TEXT, candidate=TEXT, base=TEXT, base_fingerprint=TEXT, path=TEXT, rows=WHOLE, steps=WHOLE, tokens=WHOLE,
    seconds=NUMBER, trainable_parameters=WHOLE, total_parameters=WHOLE, record=MAPPINGS,
    log=st.lists(st.dictionaries(TEXT, NUMBER, max_size=3), max_size=3).map(tuple),
)  # fmt: skip
PROBED = {"key": TEXT, "candidate": TEXT, "sample_id": TEXT, "text": TEXT, "number": WHOLE}
PROBES = st.builds(Probe, kind=st.just("sample"), **PROBED) | st.builds(
    Probe, kind=st.just("likelihood"), log_likelihood=NUMBER, tokens=WHOLE, **PROBED
)
REPEATED = {"key": TEXT, "candidate": TEXT, "sample_id": TEXT, "metric": TEXT, "number": WHOLE}
REPEATS = st.builds(Repeat, score=NUMBER, error=st.none(), **REPEATED) | st.builds(
    Repeat, score=st.none(), error=FAILURES, **REPEATED
)
METRICS = st.builds(
    Metric, name=TEXT, direction=st.sampled_from(["higher", "lower"]), low=NUMBER, high=NUMBER | st.just(math.inf),
    aggregate=st.sampled_from(["mean", "perplexity", "macro_f1"]),
)  # fmt: skip
RUNS = st.builds(
    Run, id=TEXT, key=TEXT, suite=TEXT, suite_version=WHOLE, suite_sha=TEXT, data_sha=TEXT,
    status=st.sampled_from(["running", "complete", "incomplete"]), started=TEXT, finished=st.none() | TEXT, seconds=NUMBER,
    candidates=st.dictionaries(TEXT, TEXT, max_size=3), metrics=st.lists(METRICS, max_size=3).map(tuple),
    judges=st.dictionaries(TEXT, TEXT, max_size=3), record=MAPPINGS,
)  # fmt: skip
OUTCOMES = st.sampled_from(["pass", "fail", "inconclusive", "incomplete"])
FINDINGS = st.builds(
    Finding, rule=TEXT, metric=st.none() | TEXT, split=TEXT, outcome=OUTCOMES, estimate=st.none() | NUMBER,
    low=st.none() | NUMBER, high=st.none() | NUMBER, threshold=NUMBER, n=WHOLE, n_unscored=WHOLE, n_needed=st.none() | WHOLE,
    message=TEXT,
)  # fmt: skip
VERDICTS = st.builds(
    Verdict, outcome=OUTCOMES, exit_status=st.integers(0, 5), suite=TEXT, suite_sha=TEXT, run=st.just("r1"), candidate=TEXT,
    baseline=st.none() | TEXT, confidence=NUMBER, findings=st.lists(FINDINGS, max_size=2).map(tuple),
)  # fmt: skip


def make_run(id="r1", **changes):
    """A complete run of two candidates and two metrics."""
    run = Run(
        id=id, key=f"key of {id}", suite="clinic", suite_version=1, suite_sha="s", data_sha="d", status="complete",
        started="2026-03-14T09:15:00+00:00", finished="2026-03-14T09:16:00+00:00", seconds=60.0,
        candidates={"base": "b", "lora": "l"}, metrics=(Metric(name="correctness"), Metric(name="toxicity", direction="lower")),
        judges={"correctness": "jc", "toxicity": "jt"}, record={"splits": {"test": {"samples": 3}}},
    )  # fmt: skip
    return replace(run, **changes)


def make_parts(count=3):
    """Everything of a run: the last answer failed, so its judgements have no score; one repeat failed too."""
    samples = [
        Sample(id=f"s{n}", split="test", input=f"question {n}", references=(f"answer {n}",), cluster=f"c{n % 2}",
               slices={"urgency": "high" if n % 2 else "low"}, row=n + 1)
        for n in range(count)
    ]  # fmt: skip
    answers, judgements = [], []
    for candidate in ("base", "lora"):
        for n, sample in enumerate(samples):
            failed = candidate == "lora" and n == count - 1
            made = (
                Completion(text=None, error=Failure(kind="timeout", message="no answer in 60 s"))
                if failed
                else Completion(
                    text=f"{candidate} says {n}", finish_reason="stop", prompt_tokens=5, completion_tokens=4
                )
            )
            prompt = (Message(role="user", content=sample.input),)
            answers.append(
                Answer(
                    key=f"{candidate} {n}",
                    candidate=candidate,
                    sample_id=sample.id,
                    prompt_sha="p",
                    completion=made,
                    prompt=prompt,
                )
            )
            for metric in ("correctness", "toxicity"):
                error = Failure(kind="no_answer", message="there is no answer to judge") if failed else None
                judgements.append(
                    Judgement(id=sample.id, metric=metric, score=None if failed else n / count, candidate=candidate,
                              key=f"{candidate} {n} {metric}", evidence={"n": n}, error=error)
                )  # fmt: skip
    training = Training(
        key="t", candidate="lora", base="base", base_fingerprint="b", path="adapters/t", rows=10, steps=5, tokens=500,
        seconds=3.5, trainable_parameters=100, total_parameters=10_000, log=({"step": 1.0, "loss": 2.5},), record={"seed": 1},
    )  # fmt: skip
    probes = [
        Probe(key="base 0 draw 1", candidate="base", sample_id="s0", kind="sample", number=1, text="another answer"),
        Probe(key="base 0 is it", candidate="base", sample_id="s0", kind="likelihood", number=0, text="it", log_likelihood=-2.5,
              tokens=2),
    ]  # fmt: skip
    repeats = [
        Repeat(key=f"base 0 toxicity {n}", candidate="base", sample_id="s0", metric="toxicity", number=n,
               score=None if n == 2 else 0.25, error=Failure(kind="timeout", message="late") if n == 2 else None)
        for n in (1, 2)
    ]  # fmt: skip
    return {"samples": samples, "answers": answers, "judgements": judgements, "trainings": [training], "probes": probes,
            "repeats": repeats}  # fmt: skip


def make_verdict(run="r1", outcome="pass"):
    """A verdict with one finding."""
    finding = Finding(
        rule="correctness better_by 0.05", metric="correctness", split="test", outcome=outcome, estimate=0.1, low=0.06,
        high=None, threshold=0.05, n=3, n_unscored=1, n_needed=None, message="better",
    )  # fmt: skip
    return Verdict(
        outcome=outcome, exit_status=0, suite="clinic", suite_sha="s", run=run, candidate="lora", baseline="base",
        confidence=0.95, findings=(finding,),
    )  # fmt: skip
