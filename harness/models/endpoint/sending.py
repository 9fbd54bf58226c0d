"""Sends one request until it is answered or there is no point in trying again, and learns what an endpoint refuses.

Guarantees: every try passes the limits and the budget of its traffic first; only what may pass is tried again, after a
growing pause or the server's own; a request ends after its time-out even where the server sends a byte now and then; no
message, kind or text that leaves here holds the key.
"""

from __future__ import annotations

import json
import random
import re
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.models.endpoint import outcomes
from harness.models.endpoint.outcomes import Trouble
from harness.models.endpoint.traffic import Billing, Tokens, Traffic
from harness.records import Failure, Message

if TYPE_CHECKING:
    import openai

LONGEST_PAUSE = 8.0
LARGEST_REPLY = 32 * 1024 * 1024
"""Bytes; a longer reply is no completion."""
BYTES_PER_TOKEN = 3
"""For estimates: few texts have more tokens than that."""
TURN_TOKENS = 8
"""For estimates: what a chat template adds to a turn."""
_MAY_BE_LEFT_OUT = ("temperature", "top_p", "seed", "stop")
"""Options that reasoning models refuse. Without `stop` the text is cut here; without the others the model's own values hold."""
_REFUSED = re.compile(
    r"unsupported|not support|not permitted|not allowed|deprecated|unrecognized|unknown (?:field|param)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply with at least one choice, and how long it took."""

    body: Mapping[str, Any]
    seconds: float
    """Of the request that was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a model is, with what belongs to the address alone taken out of it."""

    url: str
    query: Mapping[str, str]

    @property
    def host(self) -> str:
        """Scheme, host and port, without user name and password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.split('/')[0].rpartition('@')[2]}" if rest else self.url


def read_address(url: str) -> Address:
    """Takes the query out of a base URL: it belongs behind each path, as Azure's `api-version` does."""
    bare, _, query = url.partition("?")
    return Address(url=bare, query=dict(urllib.parse.parse_qsl(query)))


def open_client(address: Address, secret: str, timeout: float) -> openai.OpenAI:
    """The openai client; Azure's kind, which sends the key as `api-key`, where the address has an `api-version`."""
    try:
        import openai
    except ImportError:
        raise UserError("kind 'openai' needs the package openai. Install 'muster-harness[openai]'.") from None
    query = {name: value for name, value in address.query.items() if name != "api-version"}
    version = address.query.get("api-version")
    if version is None:
        return openai.OpenAI(
            api_key=secret, base_url=address.url, timeout=timeout, max_retries=0, default_query=query or None
        )
    return openai.AzureOpenAI(
        api_key=secret, base_url=address.url, api_version=version, timeout=timeout, max_retries=0, default_query=query
    )


class Sender:
    """Sends for one candidate or judge."""

    def __init__(
        self,
        client: openai.OpenAI,
        traffic: Traffic,
        *,
        where: str,
        user: str,
        secrets: Sequence[str],
        timeout: float,
        tries: int,
        backoff: float,
    ) -> None:
        """Args as of EndpointModel; `where` is the host for messages, `secrets` the texts that are blotted out."""
        self._client = client
        self._traffic = traffic
        self._manners = traffic.manners
        self._where = where
        self._user = user
        self._secrets = secrets
        self._timeout = timeout
        self._tries = tries
        self._backoff = backoff

    def ask(self, messages: Sequence[Message], options: Mapping[str, Any], stopped: threading.Event) -> Reply | Failure:
        """A reply with at least one choice, or why there is none, after as many tries as are allowed.

        `options` are those of a chat completion; `limit` is the largest number of new tokens, whatever its name there.
        """
        clock = self._traffic.host.clock
        began = not_before = clock.now()
        estimate = _estimate(messages, options)
        tries_left = self._tries
        while True:
            entry = self._traffic.enter(estimate, user=self._user, not_before=not_before, stopped=stopped)
            if isinstance(entry, Failure):
                return entry
            request = self._request(messages, options)
            started = clock.now()
            reply = self._send(request)
            now = clock.now()
            if not isinstance(reply, Trouble):
                used = outcomes.tokens_of(reply)
                self._traffic.leave(entry, estimate, user=self._user, used=used or "unknown")
                self._traffic.answered(self._user, seconds=now - started, with_waiting=now - began)
                return Reply(body=reply, seconds=now - started)
            billing: Billing = "unknown" if reply.may_be_billed else "none"
            self._traffic.leave(entry, estimate, user=self._user, used=billing, failed=reply.kind)
            if reply.kind == "bad_request" and self._learn(request, reply.message):
                continue
            pause = reply.pause
            if pause is None:
                pause = min(LONGEST_PAUSE, self._backoff * 2 ** (self._tries - tries_left)) * random.uniform(0.5, 1.0)
            if reply.again and (reply.kind == "rate_limited" or reply.pause is not None):
                self._traffic.host.cool_down(pause)  # the server is too busy for everybody, not for this request alone
            tries_left -= 1
            if not reply.again or tries_left == 0:
                failure = Failure(kind=reply.kind, message=reply.message)
                self._traffic.note(failure, is_lost=reply.lost)
                return failure
            not_before = now + pause
            self._traffic.tried_again(self._user)

    def _request(self, messages: Sequence[Message], options: Mapping[str, Any]) -> dict[str, Any]:
        """The request as this endpoint wants it."""
        wanted = {
            name: value for name, value in options.items() if name != "limit" and name not in self._manners.left_out
        }
        turns = [{"role": message.role, "content": message.content} for message in messages]
        limit = {self._manners.limit_name: options["limit"]}
        return {"model": self._traffic.model, "messages": turns, **limit, **wanted}

    def _learn(self, request: Mapping[str, Any], complaint: str) -> bool:
        """Whether the request may be put otherwise, so that what was refused is not in it."""
        said = complaint.lower()
        if "max_tokens" in request and "max_completion_tokens" in said:
            self._manners.limit_name = "max_completion_tokens"  # reasoning models know the limit by another name only
            return True
        if not _REFUSED.search(said):
            return False
        refused = {name for name in _MAY_BE_LEFT_OUT if name in request and re.search(rf"\b{name}\b", said)}
        self._manners.left_out |= refused
        return bool(refused)

    def _send(self, request: Mapping[str, Any]) -> dict[str, Any] | Trouble:
        """One request."""
        try:
            with self._client.chat.completions.with_streaming_response.create(**request) as response:
                body = self._read(response)
                reply = body if isinstance(body, Trouble) else outcomes.read_reply(body, response.headers)
        except Exception as error:  # the client passes on what its HTTP and JSON libraries raise
            reply = outcomes.of_exception(error, self._where)
        if isinstance(reply, Trouble):
            return replace(reply, message=self.blotted(reply.message))
        return reply

    def _read(self, response: Any) -> bytes | Trouble:
        """The whole body, within the time-out: a server that only keeps the line open is not waited for."""
        clock = self._traffic.host.clock
        deadline = clock.now() + self._timeout
        pieces: list[bytes] = []
        size = 0
        try:
            for piece in response.iter_bytes():
                pieces.append(piece)
                size += len(piece)
                if clock.now() > deadline:
                    message = f"no answer in time (the server sent {size:,} bytes in {self._timeout:g} s, and went on)"
                    return Trouble(kind="timeout", message=message, again=True, lost=True)
                if size > LARGEST_REPLY:
                    return Trouble(kind="bad_response", message=f"the endpoint sent more than {LARGEST_REPLY:,} bytes")
        except Exception as error:  # of the HTTP library below the client, which does not wrap it here
            name, text = type(error).__name__, outcomes.one_line(error)
            if "Timeout" in name:
                return Trouble(kind="timeout", message=f"no answer in time ({text})", again=True, lost=True)
            message = f"the endpoint at {self._where} broke off within its answer ({name}: {text})"
            return Trouble(kind="endpoint_unreachable", message=message, again=True, lost=True)
        return b"".join(pieces)

    def blotted(self, text: str, *, least: int = 1) -> str:
        """A text without the key, which gateways have been seen to repeat; keys shorter than `least` may stay."""
        for secret in self._secrets:
            text = text.replace(secret, "***") if len(secret) >= least else text
        return text


def _estimate(messages: Sequence[Message], options: Mapping[str, Any]) -> Tokens:
    """The most tokens that a request is likely to take."""
    prompt = sum(estimate_tokens(message.content) + TURN_TOKENS for message in messages)
    return Tokens(prompt, options["limit"] * options.get("n", 1))


def estimate_tokens(text: str) -> int:
    """Tokens of a text, on the high side, without a tokenizer."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def spellings(secret: str) -> list[str]:
    """A secret as it may come back: as it is, in an address, in JSON."""
    forms = (secret, urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1])
    return sorted(set(forms), key=len, reverse=True)
