"""Whether scores of two runs may be compared: what drifted between them, part by part.

Compared are the suite (its name and its version, which the author raises), its prompts and generation settings, the samples
of the splits, and the judges with their scales. What a gate asks, which other candidates there are, how the data are stored
and which slices are looked at do not matter, and neither do versions of packages: what of them can change a score is in the
judge's fingerprint, and whether a new version spoils the answers is a thing to gate; that one is new is told
(`other_versions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.deciding.baseline.record import Measured, SplitRecord, changes
from harness.errors import UserError
from harness.suite.grammar import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The splits and metrics that a gate's rules compare with the baseline."""

    splits: tuple[str, ...]
    metrics: tuple[str, ...]


def compared_by(rules: Sequence[Rule], splits: Sequence[str], default_split: str | None) -> Compared:
    """What the rules compare; `splits` are the evaluated ones, of which rules without one mean the default."""
    default = default_split or (splits[0] if len(splits) == 1 else "test")
    comparing = [rule for rule in rules if rule.is_paired]
    return Compared(
        splits=tuple(dict.fromkeys(rule.split or default for rule in comparing)),
        metrics=tuple(dict.fromkeys(rule.metric for rule in comparing if rule.metric is not None)),
    )


def drifted(then: Measured, now: Measured, compared: Compared) -> list[str]:
    """What differs of what a comparison rests on, a line each with old and new short hash; none where nothing does.

    `now` may lack judges, where no judge has been made yet: they are not looked at then.
    """
    if not compared.metrics:
        return []
    parts = ["suite", "prompts", "generation"]
    parts += [f"judge {name}" for name in compared.metrics] if now.judges else []
    old, new = then.parts(), now.parts()
    found = changes(_only(old, parts), _only(new, parts))
    for name in compared.splits:
        part = f"samples of {name}"
        for line in changes(_only(old, [part]), _only(new, [part])):
            found.append(f"{line} ({_shared(then.splits.get(name), now.splits.get(name))})")
    return found


def unchanged(then: Measured, now: Measured) -> tuple[set[str], set[str]]:
    """The splits and metrics that are the same in both, so that their scores can be shown side by side."""
    old, new = then.parts(), now.parts()
    splits = {name for name in then.splits if old[f"samples of {name}"] == new.get(f"samples of {name}")}
    metrics = {name for name in then.judges if old[f"judge {name}"] == new.get(f"judge {name}")}
    return splits, metrics


def other_versions(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Of muster, Python, packages and platform, what is another now: "torch 2.12.0 (now 2.13.0)", by name.

    Told and not refused: it may be the very change that a pull request is about.
    """
    both = sorted(then.keys() & now.keys() - {"processors"})
    return [f"{name} {then[name]} (now {now[name]})" for name in both if then[name] != now[name]]


def drift_error(label: str, lines: Sequence[str], *, way_out: str) -> UserError:
    """The refusal: one line on what cannot be compared, one for each part that drifted, one with the way out."""
    return UserError("\n".join([f"baseline '{label}' cannot be compared with, for this has changed:", *lines, way_out]))


def _only(parts: dict[str, str], wanted: Iterable[str]) -> dict[str, str]:
    return {name: parts[name] for name in wanted if name in parts}


def _shared(then: SplitRecord | None, now: SplitRecord | None) -> str:
    if then is None or now is None:
        return f"not evaluated {'then' if then is None else 'now'}"
    old, new = then.content, now.content
    same = sum(new.get(sample) == sha for sample, sha in old.items())
    return f"{len(old):,} then, {len(new):,} now, {same:,} the same in both"
