"""Sweeps: a training option that is a list makes a candidate of each entry; several lists, of each combination."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from harness.suite.grammar import CandidateSpec, Suite

SWEPT = ("rank", "alpha", "learning_rate")
"""Training options that may be a list."""

MAX_SWEEP = 64
"""Most candidates one sweep may make."""


def expand_sweeps(suite: Suite) -> Suite:
    """The suite with each sweep replaced, at its place, by its candidates: `lora[rank=4]`, `lora[rank=8]`."""
    if not any(list_options(spec) for spec in suite.candidates.values()):
        return suite
    expanded: dict[str, CandidateSpec] = {}
    for name, spec in suite.candidates.items():
        expanded.update(_expand(name, spec))
    return suite.model_copy(update={"candidates": expanded})


def sweep_names(name: str, spec: CandidateSpec) -> list[str]:
    """The names of the candidates that `name` stands for: its own, unless it is a sweep."""
    return list(_expand(name, spec))


def list_options(spec: CandidateSpec) -> Mapping[str, Sequence[float]]:
    """The training options of a candidate that are lists, in the order of SWEPT."""
    if spec.train is None:
        return {}
    values = {option: getattr(spec.train, option) for option in SWEPT}
    return {option: value for option, value in values.items() if isinstance(value, list)}


def _expand(name: str, spec: CandidateSpec) -> dict[str, CandidateSpec]:
    options = list_options(spec)
    if spec.train is None or not options:
        return {name: spec}
    candidates = {}
    for combination in itertools.product(*options.values()):
        chosen = dict(zip(options, combination, strict=True))
        label = ",".join(f"{option}={_format(value)}" for option, value in chosen.items())
        train = spec.train.model_copy(update=chosen)
        candidates[f"{name}[{label}]"] = spec.model_copy(update={"train": train})
    return candidates


def _format(value: float) -> str:
    """The shortest text that reads back as the same number: 4, 0.5, 4e-05."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
