"""Which rows belong to which split, so that appending rows moves none.

A split by `share` is an interval of [0, 1), in the order of the suite; a row's place in [0, 1) is a hash of the seed
and of its group (cluster, given id or content). So a cluster never straddles two of them, nor does a row that stands
twice in the file. Rows that a `where` split selects are not shared out. Knows no file: samples come in, samples go out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from harness.data.samples import Drawn
from harness.data.sources import describe
from harness.records import Sample

Where = Mapping[str, Any]
"""Column to value, or to a list of values of which any one will do."""


def position(seed: int, *parts: str) -> float:
    """A place in [0, 1) that depends on seed and parts alone: the first 53 bits of a SHA-256."""
    digest = hashlib.sha256(json.dumps([seed, *parts]).encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


def share_out(drawn: Sequence[Drawn], shares: Mapping[str, float], *, seed: int) -> dict[str, list[Sample]]:
    """Samples of each share split, in order. Shares lie in (0, 1] and add up to at most 1; the rest is left out."""
    bounds = _bounds(shares)
    splits: dict[str, list[Sample]] = {name: [] for name in shares}
    for d in drawn:
        place = position(seed, d.group)
        name = next((name for name, end in bounds.items() if place < end), None)
        if name is not None:
            splits[name].append(replace(d.sample, split=name))
    return splits


def select(drawn: Sequence[Drawn], where: Where) -> list[Drawn]:
    """The samples whose columns equal the given values."""
    wanted = {column: {name_of(value) for value in _listed(given)} for column, given in where.items()}
    return [d for d in drawn if all(name_of(d.sample.columns.get(column)) in names for column, names in wanted.items())]


def keep(samples: Sequence[Sample], limit: int | None, *, seed: int) -> tuple[Sample, ...]:
    """`limit` samples in their order, chosen by a hash of their ids: a smaller limit keeps a part of a larger one's."""
    if limit is None or len(samples) <= limit:
        return tuple(samples)
    order = sorted(samples, key=lambda s: (position(seed, "limit", s.id), s.id))
    kept = {s.id for s in order[:limit]}
    return tuple(s for s in samples if s.id in kept)


def describe_values(drawn: Sequence[Drawn], column: str) -> str:
    """The values of a column for an error message: the first eight in their order."""
    values = list(dict.fromkeys(describe(d.sample.columns.get(column)) for d in drawn))
    return ", ".join(values[:8]) + (", …" if len(values) > 8 else "")


def _bounds(shares: Mapping[str, float]) -> dict[str, float]:
    """The end of each split's interval; exact decimals, so that 0.8 + 0.1 + 0.1 leaves no row over."""
    end, bounds = Fraction(0), {}
    for name, share in shares.items():
        end += Fraction(repr(share))
        bounds[name] = float(end)
    return bounds


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def name_of(value: Any) -> str | None:
    """A cell as text, so that a CSV's `1` and `True` equal YAML's 1 and true; None for what is no single value."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case "True" | "TRUE" | "False" | "FALSE":
            return str(value).lower()
        case str():
            return value
        case _:
            return None
