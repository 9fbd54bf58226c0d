"""Rules that were declared before a run stay declared: a lock file beside the suite, and what has changed since.

The lock is a small JSON file for git, `suite.lock.json` beside `suite.yaml`. It forbids nothing: a rule that was edited after it
was locked, or after the run it decides about, is named on every surface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.deciding.rules import rule_text
from harness.errors import UserError
from harness.records import Run, Verdict, fingerprint
from harness.suite import LoadedSuite, builtin_suites
from harness.suite.grammar import Gate, Rule


def lock_file(loaded: LoadedSuite) -> Path:
    """Where a suite's lock lies: beside it, `suite.lock.json` for `suite.yaml`."""
    return loaded.file.with_suffix(".lock.json")


def rules_sha(gate: Gate) -> str:
    """The hash of a gate: baseline, confidence and every rule, with the ids of the samples that must pass."""
    return fingerprint(_said(gate))


def write_lock(loaded: LoadedSuite, gate: Gate) -> Path:
    """Pins the suite's rules as they are now; returns the file. Raises UserError where it cannot be written."""
    path = lock_file(loaded)
    if loaded.file.name == "suite.yaml" and loaded.root.name in builtin_suites() and "suites" in loaded.root.parts[-2:]:
        raise UserError(
            f"'{loaded.root.name}' comes with muster, so its rules are pinned already. Lock a suite of yours."
        )
    lock = {
        "suite": loaded.suite.suite,
        "suite_sha": loaded.sha,
        "rules_sha": rules_sha(gate),
        "locked": datetime.now(UTC).isoformat(timespec="seconds"),
        "gate": _said(gate),
    }
    try:
        path.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{path}' must be a file that can be written ({error.strerror}). Copy the suite.") from None
    return path


def declared(verdicts: Sequence[Verdict], loaded: LoadedSuite, gate: Gate, run: Run) -> list[Verdict]:
    """The verdicts with the hash of their rules, and a sentence for whatever changed since the lock and since the run.

    Raises:
        UserError: If there is a lock that cannot be read, or that was edited.
    """
    changed = [*_since_lock(loaded, gate, run), *_since_run(gate, run)]
    return [replace(verdict, rules_sha=rules_sha(gate), changed=tuple(changed)) for verdict in verdicts]


def _since_lock(loaded: LoadedSuite, gate: Gate, run: Run) -> list[str]:
    path = lock_file(loaded)
    if not path.is_file():
        return []
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
        then, when = Gate.model_validate(lock["gate"]), str(lock["locked"])
        whole = lock["rules_sha"] == rules_sha(then)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"'{path}' must be a lock of a gate ({type(error).__name__}). Write it anew: --lock") from None
    if not whole:
        raise UserError(
            f"'{path}' was edited: its hash is not that of its rules. Take it from git, or write it anew: --lock"
        )
    found = [f"changed since locked ({when[:10]}): {line}" for line in changes(then, gate)]
    if datetime.fromisoformat(when) > datetime.fromisoformat(run.started):
        found.append(f"locked only after the run had begun ({when} after {run.started})")
    return found


def _since_run(gate: Gate, run: Run) -> list[str]:
    record = run.record.get("suite")
    said = record.get("gate") if isinstance(record, Mapping) else None
    if not isinstance(said, Mapping):
        return []
    try:
        then = Gate.model_validate(dict(said))
    except ValidationError:  # of an older grammar
        return ["changed since the run: its rules are of an older muster"]
    return [f"changed since the run: {line}" for line in changes(then, gate)]


def changes(then: Gate, now: Gate) -> list[str]:
    """What differs between two gates, a line a rule; rules are paired by metric, split and samples."""
    found = [
        f"{name} {_shown(getattr(then, name))} is now {_shown(getattr(now, name))}"
        for name in ("baseline", "confidence")
        if getattr(then, name) != getattr(now, name)
    ]
    gone = [rule for rule in then.rules if rule not in now.rules]
    new = [rule for rule in now.rules if rule not in then.rules]
    for rule in gone:
        partner = next((other for other in new if _about(other) == _about(rule)), None)
        if partner is None:
            found.append(f"'{_text(rule)}' is gone")
            continue
        new.remove(partner)
        text = _text(partner)
        found.append(f"'{_text(rule)}' is now " + (f"'{text}'" if text != _text(rule) else "about other samples"))
    return found + [f"'{_text(rule)}' is new" for rule in new]


def _about(rule: Rule) -> tuple[Any, ...]:
    subject = rule.metric if rule.metric is not None else rule.condition
    return subject, rule.split, rule.each, repr(rule.where), rule.must_pass is None


def _text(rule: Rule) -> str:
    return f"{rule_text(rule)} on {rule.split}" if rule.split is not None else rule_text(rule)


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value}"


def _said(gate: Gate) -> dict[str, Any]:
    return gate.model_dump(mode="json", exclude_none=True)
