"""Endpoints on the terminal: what a run would ask of them at most, and what it used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from harness.running.expected import Expected


def show_expected(expected: Sequence[Expected], console: Console) -> None:
    """A line for each candidate and judge behind an endpoint, and their sum where there are several."""
    for entry in expected:
        budget = _budget(entry.model.max_requests, entry.model.max_cost)
        console.print(
            f"  {entry.user}: up to {entry.requests:,} requests to {entry.model.name}, about {entry.tokens.prompt:,} tokens "
            f"and at most {entry.tokens.completion:,} more in reply, {_cost(entry.cost)}{budget}",
            highlight=False, markup=False,
        )  # fmt: skip
    if len(expected) > 1:
        costs = [entry.cost for entry in expected]
        total = None if None in costs else sum(cost for cost in costs if cost is not None)
        requests = sum(entry.requests for entry in expected)
        console.print(f"  together: up to {requests:,} requests, {_cost(total)}", highlight=False, markup=False)


def show_unset(expected: Sequence[Expected], console: Console) -> None:
    """A warning for each environment variable that is not set and without which `run` refuses an endpoint."""
    from harness.models.endpoint.model import unset_variables

    users: dict[str, list[str]] = {}
    for entry in expected:
        for name in unset_variables(entry.model.base_url, entry.model.api_key):
            users.setdefault(name, []).append(entry.user)
    for name, wanting in users.items():
        console.print(
            f"  NOT SET: {name}, which {', '.join(wanting)} cannot do without: 'muster run' will refuse. export {name}=… first",
            highlight=False, markup=False, style="bold yellow",
        )  # fmt: skip


def show_usage(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A line for each candidate and judge behind an endpoint: requests, tokens, cost, latency."""
    for entry in entries:
        console.print(f"  {usage_line(entry)}", highlight=False, markup=False)


def usage_line(entry: Mapping[str, Any]) -> str:
    """One entry of a run's `endpoints` as a sentence."""
    failed = sum(entry["failures"].values())
    failures = f" ({failed:,} failed, {entry['tries_again']:,} of them tried again)" if failed else ""
    line = (
        f"{entry['user']}: {entry['requests']:,} requests to {entry['model']}{failures}, "
        f"{entry['prompt_tokens']:,} + {entry['completion_tokens']:,} tokens, {_used_cost(entry)}"
    )
    if entry["seconds"] is not None:
        alone, waiting = _seconds(entry["seconds"]), _seconds(entry["seconds_with_waiting"])
        line += f"; seconds p50, p95, p99: {alone}"
        line += f", with waiting {waiting}" if waiting != alone else ""
    if entry["left_out"]:
        line += f"; the endpoint refuses {', '.join(entry['left_out'])}: its own default was used"
    return line


def _used_cost(entry: Mapping[str, Any]) -> str:
    if entry["cost"] is None and entry["cost_at_least"] is not None:
        return (
            f"cost at least {entry['cost_at_least']:.4g} ({entry['unknown_usage']:,} requests did not tell their usage)"
        )
    return _cost(entry["cost"], at_most="")


def _cost(cost: float | None, *, at_most: str = "at most ") -> str:
    return f"cost {at_most}{cost:.4g}" if cost is not None else "cost unknown (no price declared)"


def _seconds(found: Mapping[str, float]) -> str:
    return ", ".join(f"{found[name]:.2f}" for name in ("p50", "p95", "p99"))


def _budget(requests: int | None, cost: float | None) -> str:
    limits = [
        f"max_requests {requests:,}" if requests is not None else "",
        f"max_cost {cost:g}" if cost is not None else "",
    ]
    stated = " and ".join(limit for limit in limits if limit)
    return f" (the run stops at {stated})" if stated else ""
