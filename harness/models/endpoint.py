"""A model behind an OpenAI-compatible endpoint.

Guarantees: whatever the endpoint does becomes a text that the model wrote or a typed failure, never one in the other's
clothes; only what may pass (a busy server, a lost connection, a rate limit) is tried again, with growing pauses and
the server's own Retry-After up to a cap; after some prompts in a row were lost to the endpoint itself, the rest are
not sent, so that a run ends soon and keeps what it has. The key stands in an environment variable; neither it nor a
header is kept, logged, or repeated in a message.
 Kinds of failure: endpoint_unreachable, timeout, server_error, rate_limited, insufficient_quota, not_authorised,
not_found (these count towards giving up); prompt_too_long, bad_request, bad_response, refusal, content_filter,
empty_answer (these do not).
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, UserError
from harness.records import Completion, Failure, GenerationSettings, Message, Prompt, ReplyToken, fingerprint

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
GIVE_UP_AFTER = 5
"""Prompts lost in a row to the endpoint itself before the rest are not sent."""
RETRY_AFTER_CAP = 60.0
"""Longest wait in seconds that a server may ask for; a longer one is a failure, lest the run stand still unseen."""
LONGEST_PAUSE = 8.0
TOP_LOGPROBS = 20
"""The most alternatives that OpenAI and vLLM give."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """What went wrong with one request, and what follows from it."""

    kind: str
    message: str
    again: bool = False
    """Another try may succeed."""
    lost: bool = False
    """The endpoint's fault, not the prompt's: counts towards giving up."""
    pause: float | None = None
    """Seconds the server asks to wait."""


class EndpointModel:
    """Answers prompts (a Generator) and draws short replies (a ScoreSampler) over one client, many requests at once."""

    def __init__(
        self,
        *,
        name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        max_retries: int = 4,
        backoff: float = 0.5,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Reads the environment; sends nothing.

        Args:
            name: the model, as the endpoint calls it.
            base_url: up to and with `/v1`; `${NAME}` stands for a variable. Left out, OpenAI.
            api_key: `env:NAME`. Left out, `env:OPENAI_API_KEY` for OpenAI, and no key for any other endpoint.
            concurrency: requests at once.
            timeout: seconds a request may take.
            max_retries: further tries of a request that may yet succeed.
            backoff: seconds before the second try; doubled with each further one, up to LONGEST_PAUSE.
            environ: where variables are looked up.

        Raises:
            UserError: for a variable that is not set, or where the package openai is not installed.
        """
        self.name = name
        self._url = _expand(base_url, environ) if base_url else OPENAI_URL
        reference = api_key or (None if base_url else "env:OPENAI_API_KEY")
        self._secret = _secret(reference, environ) if reference else "none"
        self._client = _open_client(self._url, self._secret, timeout)
        self._concurrency = concurrency
        self._tries = max_retries + 1
        self._backoff = backoff
        self._lock = threading.Lock()
        self._lost = 0
        self._given_up: Failure | None = None
        self._resume_at = 0.0
        self._limit_name = "max_tokens"
        self._gives_logprobs = True
        self.key = fingerprint(["openai", self._url, name])

    # ---------------------------------------------------------------------------------------------------- Generator

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yields answers as they come, in small batches."""
        cancelled = threading.Event()
        pool = ThreadPoolExecutor(max_workers=self._concurrency, thread_name_prefix="endpoint")
        waiting: dict[Future[Completion], int] = {}
        todo = iter(enumerate(prompts))
        try:
            while True:
                while len(waiting) < 2 * self._concurrency and (item := next(todo, None)) is not None:
                    waiting[pool.submit(self._complete, item[1], settings, cancelled)] = item[0]
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                yield sorted(((waiting.pop(future), future.result()) for future in done), key=lambda pair: pair[0])
        finally:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _complete(self, prompt: Prompt, settings: GenerationSettings, cancelled: threading.Event) -> Completion:
        started = time.perf_counter()
        reply = self._ask(prompt.messages, _decoding(settings), cancelled)
        seconds = time.perf_counter() - started
        if isinstance(reply, Failure):
            return Completion(text=None, error=reply, seconds=seconds)
        text = _text(reply.choices[0])
        usage = reply.usage
        finish = reply.choices[0].finish_reason
        failed = isinstance(text, Failure)
        return Completion(
            text=None if isinstance(text, Failure) else text,
            error=text if isinstance(text, Failure) else None,
            finish_reason=finish if isinstance(finish, str) and not failed else None,
            prompt_tokens=_count(usage, "prompt_tokens"),
            completion_tokens=_count(usage, "completion_tokens"),
            seconds=seconds,
        )

    # -------------------------------------------------------------------------------------------------- ScoreSampler

    def reply_tokens(
        self, messages: Sequence[Message], *, temperature: float, max_new_tokens: int
    ) -> list[ReplyToken] | None:
        """The tokens of one drawn reply, each with at most 20 alternatives; None where the endpoint gives no logprobs.

        May be called from several threads. Raises ModelError when the endpoint fails.
        """
        if not self._gives_logprobs:
            return None
        options = {"temperature": temperature, "top_p": 1.0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        reply = self._ask(messages, {**options, "limit": max_new_tokens}, threading.Event())
        if isinstance(reply, Failure):
            if reply.kind in ("bad_request", "not_authorised") and "logprob" in reply.message.lower():
                self._gives_logprobs = False
                return None
            raise ModelError(f"endpoint model '{self.name}': {reply.message}")
        found = _reply_tokens(reply.choices[0])
        if found is None:
            self._gives_logprobs = False
        return found

    def sample(self, messages: Sequence[Message], *, n: int, temperature: float, max_new_tokens: int) -> list[str]:
        """`n` draws, fewer where the endpoint gave fewer; one request if it knows `n`, else one a draw.

        Draws without a text (filtered, empty) are left out. May be called from several threads. Raises ModelError when
        the endpoint fails before the first draw.
        """
        options = {"temperature": temperature, "top_p": 1.0, "limit": max_new_tokens}
        texts: list[str] = []
        asked, wanted = 0, n
        while asked < n:
            reply = self._ask(messages, {**options, "n": wanted} if wanted > 1 else options, threading.Event())
            if isinstance(reply, Failure):
                if asked == 0 and wanted > 1 and reply.kind == "bad_request":
                    wanted = 1  # an endpoint that refuses n
                    continue
                if not texts:
                    raise ModelError(f"endpoint model '{self.name}': {reply.message}")
                break
            texts += [text for text in map(_text, reply.choices) if isinstance(text, str)]
            asked += len(reply.choices)
            wanted = 1
        return texts[:n]

    # ----------------------------------------------------------------------------------------------------- requests

    def _ask(self, messages: Sequence[Message], options: Mapping[str, Any], cancelled: threading.Event) -> Any:
        """One reply with at least one choice, or why there is none, after as many tries as are allowed."""
        trouble = _Trouble(kind="cancelled", message="the run was stopped")
        for attempt in range(self._tries):
            if self._given_up is not None:
                return self._given_up
            self._wait_for_turn(cancelled)
            if cancelled.is_set():
                break
            reply = self._send(messages, options)
            if not isinstance(reply, _Trouble):
                self._lost = 0
                return reply
            trouble = reply
            if not trouble.again or attempt + 1 == self._tries:
                break
            pause = trouble.pause
            if pause is None:
                pause = min(LONGEST_PAUSE, self._backoff * 2**attempt) * random.uniform(0.5, 1.0)
            elif trouble.kind == "rate_limited":
                self._resume_at = max(self._resume_at, time.monotonic() + pause)  # everybody waits
            cancelled.wait(pause)
        return self._note(trouble)

    def _wait_for_turn(self, cancelled: threading.Event) -> None:
        pause = self._resume_at - time.monotonic()
        if pause > 0:
            cancelled.wait(pause)

    def _note(self, trouble: _Trouble) -> Failure:
        """The failure of a prompt; gives the endpoint up where it was one too many in a row."""
        failure = Failure(kind=trouble.kind, message=trouble.message)
        with self._lock:
            self._lost = self._lost + 1 if trouble.lost else self._lost
            if self._lost >= GIVE_UP_AFTER and self._given_up is None:
                message = f"not sent: the endpoint failed {self._lost} times in a row ({trouble.message})"
                self._given_up = Failure(kind=trouble.kind, message=message)
        return failure

    def _send(self, messages: Sequence[Message], options: Mapping[str, Any]) -> Any:
        """One request: a reply with at least one choice, or the trouble with it."""
        import openai

        limit_name = self._limit_name
        request = {key: value for key, value in options.items() if key != "limit"}
        request[limit_name] = options["limit"]
        turns: list[Any] = [{"role": message.role, "content": message.content} for message in messages]
        try:
            reply = self._client.chat.completions.create(model=self.name, messages=turns, **request)
        except openai.BadRequestError as error:
            if limit_name == "max_tokens" and "max_completion_tokens" in str(error):
                self._limit_name = "max_completion_tokens"  # reasoning models know the limit by another name only
                return self._send(messages, options)
            return self._describe(error)
        except Exception as error:  # the client passes on what its HTTP and JSON libraries raise
            return self._describe(error)
        choices = getattr(reply, "choices", None)
        if not isinstance(choices, list) or not choices or any(choice.message is None for choice in choices):
            shown = reply if isinstance(reply, str) else getattr(reply, "error", None) or "no choices"
            return _Trouble(kind="bad_response", message=f"the endpoint sent no completion ({self._shown(shown)})")
        return reply

    def _describe(self, error: Exception) -> _Trouble:
        """Sorts an exception of the client; the order goes from special to general."""
        import openai

        text = self._shown(getattr(error, "message", None) or error)
        match error:
            case openai.APITimeoutError():
                return _Trouble(kind="timeout", message=f"no answer in time ({text})", again=True, lost=True)
            case openai.APIResponseValidationError():
                return _Trouble(kind="bad_response", message=f"the endpoint's answer cannot be read ({text})")
            case openai.APIConnectionError():
                message = f"the endpoint at {_host(self._url)} cannot be reached ({text})"
                return _Trouble(kind="endpoint_unreachable", message=message, again=True, lost=True)
            case openai.APIStatusError():
                return self._describe_status(error, text)
            case json.JSONDecodeError() | UnicodeDecodeError():
                return _Trouble(kind="bad_response", message=f"the endpoint's answer is not JSON ({text})")
            case UnicodeEncodeError():
                return _Trouble(kind="bad_request", message=f"the prompt is not valid Unicode ({text})")
            case _:
                name = type(error).__name__
                return _Trouble(kind="bad_response", message=f"the endpoint's answer cannot be read ({name}: {text})")

    def _describe_status(self, error: openai.APIStatusError, text: str) -> _Trouble:
        message = f"HTTP {error.status_code}: {text}"
        codes = f"{error.code} {error.type} {text}".lower()
        match error.status_code:
            case 401 | 403:
                return _Trouble(kind="not_authorised", message=message, lost="logprob" not in codes)
            case 404:
                return _Trouble(kind="not_found", message=message, lost=True)
            case 402:
                return _Trouble(kind="insufficient_quota", message=message, lost=True)
            case 429 if "insufficient_quota" in codes:
                return _Trouble(kind="insufficient_quota", message=message, lost=True)
            case 429:
                pause = _retry_after(error.response.headers)
                if pause is not None and pause > RETRY_AFTER_CAP:
                    message = f"{message} (asks to wait {pause:,.0f} s; at most {RETRY_AFTER_CAP:.0f} s are waited)"
                    return _Trouble(kind="rate_limited", message=message, lost=True)
                return _Trouble(kind="rate_limited", message=message, again=True, lost=True, pause=pause)
            case 408 | 409 | 425:
                return _Trouble(kind="server_error", message=message, again=True, lost=True)
            case status if status >= 500:
                pause = _retry_after(error.response.headers)
                pause = None if pause is None or pause > RETRY_AFTER_CAP else pause
                return _Trouble(kind="server_error", message=message, again=True, lost=True, pause=pause)
            case _ if "context_length" in codes or "maximum context" in codes or "too many tokens" in codes:
                return _Trouble(kind="prompt_too_long", message=message)
            case _ if "content_filter" in codes or "content_policy" in codes:
                return _Trouble(kind="content_filter", message=message)
            case _:
                return _Trouble(kind="bad_request", message=message)

    def _shown(self, value: object) -> str:
        """A message as one short line, the key blotted out: gateways have been seen to repeat it."""
        text = " ".join(str(value).split()).encode("utf-8", "replace").decode()
        if self._secret != "none":
            text = text.replace(self._secret, "***")
        return text[:300].rstrip(".")


def _open_client(url: str, secret: str, timeout: float) -> openai.OpenAI:
    try:
        import openai
    except ImportError:
        raise UserError("kind 'openai' needs the package openai. Install 'muster-harness[openai]'.") from None
    return openai.OpenAI(api_key=secret, base_url=url, timeout=timeout, max_retries=0)


def _expand(text: str, environ: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: _variable(match.group(1), "base_url", environ), text)


def _secret(reference: str, environ: Mapping[str, str]) -> str:
    return _variable(reference.removeprefix("env:"), "api_key", environ)


def _variable(name: str, what: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise UserError(f"'{what}' must name a variable that is set (got {name}, which is not). export {name}=… first.")
    return value


def _decoding(settings: GenerationSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"limit": settings.max_new_tokens, "temperature": settings.temperature}
    if settings.temperature > 0:
        options |= {"top_p": settings.top_p, "seed": settings.seed}
    if settings.stop:
        options["stop"] = list(settings.stop)
    return options


def _text(choice: Any) -> str | Failure:
    """The text of a choice, or why it is none."""
    content = choice.message.content
    if choice.finish_reason == "content_filter":
        return Failure(kind="content_filter", message="the endpoint's content filter held the answer back")
    refusal = getattr(choice.message, "refusal", None)
    if refusal and not content:
        return Failure(kind="refusal", message=f"the model refused: {' '.join(str(refusal).split())[:200]}")
    if content is None:
        why = "the token limit was reached before any text" if choice.finish_reason == "length" else "content is null"
        return Failure(kind="empty_answer", message=f"the endpoint sent no text ({why})")
    if not isinstance(content, str):
        return Failure(kind="bad_response", message=f"content must be text (got {type(content).__name__})")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError:
        return Failure(kind="bad_response", message="content is not valid Unicode (a lone surrogate)")
    return content.strip()


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None


def _reply_tokens(choice: Any) -> list[ReplyToken] | None:
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content or not content[0].top_logprobs:
        return None
    return [
        ReplyToken(
            text=str(entry.token),
            logprob=float(entry.logprob),
            alternatives=tuple((str(other.token), float(other.logprob)) for other in entry.top_logprobs or ()),
        )
        for entry in content
    ]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or a date); None where neither can be read."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        date = email.utils.parsedate_tz(headers.get("retry-after", ""))
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _host(url: str) -> str:
    """Scheme and host of an address, without user name and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.split('/')[0].rpartition('@')[2]}" if rest else url
