"""Sweeps: a training option that is a list makes a candidate of each entry; several lists, of each combination."""

from __future__ import annotations

from harness.suite.grammar import CandidateSpec, Suite


def expand_sweeps(suite: Suite) -> Suite:
    """The suite with each sweep replaced, at its place, by its candidates: `lora[rank=4]`, `lora[rank=8]`."""
    if not any(_variants(spec) for spec in suite.candidates.values()):
        return suite
    expanded: dict[str, CandidateSpec] = {}
    for name, spec in suite.candidates.items():
        variants = _variants(spec)
        if variants:
            expanded.update(
                (f"{name}[{label}]", spec.model_copy(update={"train": train})) for label, train in variants.items()
            )
        else:
            expanded[name] = spec
    return suite.model_copy(update={"candidates": expanded})


def sweep_names(name: str, spec: CandidateSpec) -> list[str]:
    """The names of the candidates that `name` stands for: its own, unless it is a sweep."""
    return [f"{name}[{label}]" for label in _variants(spec)] or [name]


def _variants(spec: CandidateSpec) -> dict[str, object]:
    return dict(spec.train.variants) if spec.train is not None else {}
