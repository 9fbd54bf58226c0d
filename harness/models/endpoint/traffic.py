"""What all requests of a process share: a cool-down for each host; limits, a budget and a tally for each model there.

Guarantees, all checked before a request is sent: no more are in flight, and no more start in any 60 seconds, than was
declared; a host that asked for a pause gets it from everybody; a budget that is spent lets nothing through, and one that
is nearly spent waits for what is in flight. A failed try counts against `max_requests`; a try that may have been billed
without saying so (a time-out, a reply without usage) counts against `max_cost` by its estimate.
 What a model cost is known or it is not: without a price it is None, and with some calls of unknown usage the tally says
so beside the sum of the others.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from harness.errors import UserError
from harness.records import Failure

Number = TypeVar("Number", int, float)
WINDOW = 60.0
"""Seconds that the limits per minute look back."""
SLICE = 0.5
"""Longest wait in seconds before a waiting request looks whether the run was stopped."""
GIVE_UP_AFTER = 5
"""Prompts lost in a row to the endpoint itself before the rest are not sent."""


class Tokens(NamedTuple):
    """Tokens of one request, counted or estimated."""

    prompt: int
    completion: int


class Price(NamedTuple):
    """What a million tokens cost, in whatever currency the suite thinks in."""

    input: float
    output: float

    def of(self, tokens: Tokens) -> float:
        """The cost of a request."""
        return (self.input * tokens.prompt + self.output * tokens.completion) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be asked of a model; None is no limit."""

    concurrency: int = 8
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_requests: int | None = None
    max_cost: float | None = None

    def tightened(self, other: Limits) -> Limits:
        """The smaller of each."""
        return Limits(
            concurrency=min(self.concurrency, other.concurrency),
            requests_per_minute=_smaller(self.requests_per_minute, other.requests_per_minute),
            tokens_per_minute=_smaller(self.tokens_per_minute, other.tokens_per_minute),
            max_requests=_smaller(self.max_requests, other.max_requests),
            max_cost=_smaller(self.max_cost, other.max_cost),
        )


class Clock:
    """Time as it is. Tests bring another one, in which waiting takes no time."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Waits for the condition (held by the caller), no longer than that."""
        condition.wait(seconds)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one candidate or judge used of one model."""

    requests: int = 0
    """Every one sent, failed tries included."""
    answered: int = 0
    tries_again: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unknown_usage: int = 0
    """Requests that may have been billed without saying how much."""
    cost: float = 0.0
    """Of the requests whose usage is known."""
    failures: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of each answered request, alone."""
    seconds_with_waiting: list[float] = field(default_factory=list)
    """From the moment an answer was wanted, with limits, pauses and failed tries."""


Billing = Literal["none", "unknown"]
"""Of a try without usage: an error status costs nothing, of anything else one cannot know."""


class Host:
    """One server: who talks to it waits when it asks for a pause."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        """Guards all that is shared below this host."""
        self.resume_at = -math.inf

    def cool_down(self, seconds: float) -> None:
        """Nothing is sent before that."""
        with self.changed:
            self.resume_at = max(self.resume_at, self.clock.now() + seconds)

    def wake(self) -> None:
        """Lets whoever waits look again."""
        with self.changed:
            self.changed.notify_all()


@dataclass(slots=True, kw_only=True)
class Manners:
    """What is known of a model's endpoint, found out by asking: shared by all that ask it."""

    limit_name: str = "max_tokens"
    left_out: frozenset[str] = frozenset()
    """Options that it refused."""
    top_logprobs: int = 20
    """The most alternatives that it gives; 0 for none. 20 is the most of OpenAI and vLLM."""
    has_given_logprobs: bool = False
    """Then a reply without them is an odd reply, and no reason to stop asking."""
    knows_n: bool = True


class Traffic:
    """All requests to one model at one address, whichever candidate or judge they are for."""

    def __init__(self, host: Host, *, model: str, limits: Limits, price: Price | None) -> None:
        self.host = host
        self.model = model
        self.limits = limits
        self.price = price
        self.manners = Manners()
        self.tallies: dict[str, Tally] = {}
        self._sent: deque[list[float]] = deque()
        """Of the last minute: moment and tokens."""
        self._in_flight = 0
        self._requests = 0
        self._spent = 0.0
        self._reserved = 0.0
        self._lost = 0
        self._given_up: Failure | None = None

    # ------------------------------------------------------------------------------------------------- before sending

    def enter(
        self, estimate: Tokens, *, user: str, not_before: float, stopped: threading.Event
    ) -> list[float] | Failure:
        """Waits until one request may be sent, and counts it; or says why it may not.

        Args:
            estimate: tokens that it will take at most, as far as one can tell.
            user: the candidate or judge that it is for.
            not_before: a moment of the clock.
            stopped: set when nobody wants the answer any more.

        Returns:
            An entry that `leave` wants back, or a Failure of kind cancelled, budget_exhausted, or what the endpoint was
            given up for.
        """
        clock = self.host.clock
        with self.host.changed:
            while True:
                refused = self._refusal(estimate, stopped)
                if refused is not None:
                    return refused
                now = clock.now()
                pause = max(not_before, self.host.resume_at, self._free_at(sum(estimate), now)) - now
                if pause <= 0 and self._in_flight < self.limits.concurrency and not self._must_settle(estimate):
                    entry = [now, float(sum(estimate))]
                    self._sent.append(entry)
                    self._in_flight += 1
                    self._requests += 1
                    self._reserved += self._price_of(estimate)
                    self.tally(user).requests += 1
                    return entry
                clock.wait(self.host.changed, min(pause, SLICE) if pause > 0 else SLICE)

    def _refusal(self, estimate: Tokens, stopped: threading.Event) -> Failure | None:
        if stopped.is_set():
            return Failure(kind="cancelled", message="the run was stopped")
        if self._given_up is not None:
            return self._given_up
        limits = self.limits
        if limits.max_requests is not None and self._requests >= limits.max_requests:
            message = f"not sent: max_requests is {limits.max_requests:,}, and as many were sent"
            return Failure(kind="budget_exhausted", message=message)
        if limits.max_cost is not None and self._spent + self._price_of(estimate) > limits.max_cost:
            message = f"not sent: max_cost is {limits.max_cost:g}, and it might be exceeded"
            return Failure(kind="budget_exhausted", message=message)
        return None

    def _must_settle(self, estimate: Tokens) -> bool:
        """Whether what is in flight may use up the budget: then its true cost is awaited."""
        most = self.limits.max_cost
        return most is not None and self._spent + self._reserved + self._price_of(estimate) > most

    def _free_at(self, tokens: int, now: float) -> float:
        """The moment from which the last minute has room for one more request of so many tokens."""
        while self._sent and self._sent[0][0] <= now - WINDOW:
            self._sent.popleft()
        free_at = now
        requests, most = self.limits.requests_per_minute, self.limits.tokens_per_minute
        if requests is not None and len(self._sent) >= requests:
            free_at = self._sent[len(self._sent) - requests][0] + WINDOW
        if most is not None and self._sent:
            used = sum(entry[1] for entry in self._sent)
            for moment, share in self._sent:
                if used + tokens <= most:
                    break
                used -= share
                free_at = max(free_at, moment + WINDOW)
        return free_at

    def _price_of(self, tokens: Tokens) -> float:
        return self.price.of(tokens) if self.price is not None else 0.0

    # -------------------------------------------------------------------------------------------------- after sending

    def leave(
        self, entry: list[float], estimate: Tokens, *, user: str, used: Tokens | Billing, failed: str | None = None
    ) -> None:
        """Settles a request: what it used, or whether it may have cost something; and the kind of its failure."""
        with self.host.changed:
            self._in_flight -= 1
            self._reserved -= self._price_of(estimate)
            tally = self.tally(user)
            if isinstance(used, Tokens):
                entry[1] = float(sum(used))
                self._spent += self._price_of(used)
                tally.cost += self._price_of(used)
                tally.prompt_tokens += used.prompt
                tally.completion_tokens += used.completion
            elif used == "unknown":
                self._spent += self._price_of(estimate)
                tally.unknown_usage += 1
            if failed is not None:
                tally.failures[failed] += 1
            self.host.changed.notify_all()

    def note(self, failure: Failure, *, is_lost: bool) -> None:
        """Counts a prompt without an answer; `is_lost` blames the endpoint, which is given up after some in a row."""
        with self.host.changed:
            self._lost = self._lost + 1 if is_lost else self._lost
            if self._lost >= GIVE_UP_AFTER and self._given_up is None:
                message = f"not sent: the endpoint failed {self._lost} times in a row ({failure.message})"
                self._given_up = Failure(kind=failure.kind, message=message)
                self.host.changed.notify_all()

    def answered(self, user: str, *, seconds: float, with_waiting: float) -> None:
        """Counts an answer, and ends a row of losses."""
        with self.host.changed:
            self._lost = 0
            tally = self.tally(user)
            tally.answered += 1
            tally.seconds.append(seconds)
            tally.seconds_with_waiting.append(with_waiting)

    def tried_again(self, user: str) -> None:
        """Counts a further try."""
        with self.host.changed:
            self.tally(user).tries_again += 1

    def tally(self, user: str) -> Tally:
        """The tally of a candidate or judge."""
        return self.tallies.setdefault(user, Tally())


class Hosts:
    """The servers of a process, and the models behind them: equal address and name, same traffic."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._hosts: dict[str, Host] = {}
        self._traffic: dict[tuple[str, str], Traffic] = {}
        self._names: dict[tuple[str, str], str] = {}

    def traffic(self, *, host: str, url: str, model: str, limits: Limits, price: Price | None) -> Traffic:
        """The traffic of a model at an address; the smallest of all limits that were stated for it holds.

        Raises UserError where two prices were stated.
        """
        found = self._traffic.get((url, model))
        if found is None:
            server = self._hosts.setdefault(host, Host(self._clock))
            found = self._traffic[url, model] = Traffic(server, model=model, limits=limits, price=price)
            self._names[url, model] = host
            return found
        if price is not None and found.price is not None and price != found.price:
            raise UserError(
                f"'price' of {model} must be the same wherever it is stated (got {found.price} and {price})."
            )
        found.price = found.price or price
        found.limits = found.limits.tightened(limits)
        return found

    def usage(self) -> list[dict[str, Any]]:
        """What was used so far, for the record of a run: one entry for each model and candidate or judge that asked it."""
        return [
            {
                "user": user,
                "model": traffic.model,
                "host": self._names[key],
                **describe(tally, traffic.price),
                "left_out": sorted(traffic.manners.left_out),
            }
            for key, traffic in self._traffic.items()
            for user, tally in traffic.tallies.items()
            if tally.requests
        ]


def describe(tally: Tally, price: Price | None) -> dict[str, Any]:
    """A tally as JSON holds it. `cost` is None where it is not known in full; `cost_at_least` is what is known of it."""
    known = round(tally.cost, 9) if price is not None else None
    return {
        "requests": tally.requests, "answered": tally.answered, "tries_again": tally.tries_again,
        "failures": dict(tally.failures), "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens, "unknown_usage": tally.unknown_usage,
        "price": list(price) if price is not None else None, "cost": None if tally.unknown_usage else known,
        "cost_at_least": known, "seconds": percentiles(tally.seconds),
        "seconds_with_waiting": percentiles(tally.seconds_with_waiting),
    }  # fmt: skip


def percentiles(seconds: Sequence[float]) -> dict[str, float] | None:
    """p50, p95 and p99 with linear interpolation, as numpy's default; None of nothing."""
    if not seconds:
        return None
    import numpy as np

    values = np.percentile(np.asarray(seconds), [50, 95, 99])
    return {name: round(float(value), 4) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}


def _smaller(one: Number | None, other: Number | None) -> Number | None:
    return min((value for value in (one, other) if value is not None), default=None)
