"""A model behind an OpenAI-compatible endpoint, as a Generator and as a ScoreSampler.

Guarantees: whatever the endpoint does becomes a text that the model wrote or a typed failure; limits, budget and cool-down
are shared with everybody who asks the same model or host (`traffic`). The key stands in an environment variable; neither
it nor a header is kept, logged, or repeated in a message or a text.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from harness.errors import EndpointError, UserError
from harness.models.endpoint import outcomes
from harness.models.endpoint.sending import Reply, Sender, open_client, read_address, spellings
from harness.models.endpoint.traffic import Hosts, Limits, Price
from harness.records import Completion, Failure, GenerationSettings, Message, Prompt, ReplyToken, fingerprint

OPENAI_URL = "https://api.openai.com/v1"
SHORTEST_SECRET = 8
"""Characters; a shorter key (`EMPTY`) is a placeholder, which an answer may hold by chance."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


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
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        max_requests: int | None = None,
        max_cost: float | None = None,
        price: tuple[float, float] | None = None,
        user: str = "",
        hosts: Hosts | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Reads the environment; sends nothing.

        Args:
            name: the model, as the endpoint calls it.
            base_url: up to and with `/v1`; `${NAME}` stands for a variable. A query is sent with each request; one with
                `api-version` is Azure's, and gets the key as header `api-key`. Left out, OpenAI.
            api_key: `env:NAME`. Left out, `env:OPENAI_API_KEY` for OpenAI, and no key for any other endpoint.
            concurrency: requests at once.
            timeout: seconds a request may take, from the first byte to the last.
            max_retries: further tries of a request that may yet succeed.
            backoff: seconds before the second try; doubled with each further one, up to LONGEST_PAUSE.
            requests_per_minute: requests that start within any 60 seconds.
            tokens_per_minute: tokens of requests that start within any 60 seconds.
            max_requests: requests of this process, failed tries included.
            max_cost: cost of this process; needs `price`.
            price: of a million prompt tokens and of a million completion tokens.
            user: the candidate or judge that asks, for the tally.
            hosts: shared by all endpoint models of a process; left out, this one is alone.
            environ: where variables are looked up.

        Raises:
            UserError: for a variable that is not set, where the package openai is not installed, or where another price
                was stated for the same model.
        """
        self.name = name
        url = _expand(base_url, environ) if base_url else OPENAI_URL
        reference = _reference(base_url, api_key)
        secret = _variable(reference.removeprefix("env:"), "api_key", environ) if reference else None
        address = read_address(url)
        self._concurrency = concurrency
        self.traffic = (hosts or Hosts()).traffic(
            host=address.host,
            url=url,
            model=name,
            limits=Limits(
                concurrency=concurrency,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                max_requests=max_requests,
                max_cost=max_cost,
            ),
            price=Price(*price) if price is not None else None,
        )
        self._manners = self.traffic.manners
        self._sender = Sender(
            open_client(address, secret or "none", timeout),
            self.traffic,
            where=address.host,
            user=user,
            secrets=_secrets(secret, address.query),
            timeout=timeout,
            tries=max_retries + 1,
            backoff=backoff,
        )
        self.key = fingerprint(["openai", url, name])

    # ---------------------------------------------------------------------------------------------------- Generator

    def generate(
        self, prompts: Sequence[Prompt], settings: GenerationSettings
    ) -> Iterator[list[tuple[int, Completion]]]:
        """Yields answers as they come, in small batches."""
        stopped = threading.Event()
        pool = ThreadPoolExecutor(max_workers=self._concurrency, thread_name_prefix="endpoint")
        waiting: dict[Future[Completion], int] = {}
        todo = iter(enumerate(prompts))
        try:
            while True:
                while len(waiting) < 2 * self._concurrency and (item := next(todo, None)) is not None:
                    waiting[pool.submit(self._complete, item[1], settings, stopped)] = item[0]
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                yield sorted(((waiting.pop(future), future.result()) for future in done), key=lambda pair: pair[0])
        finally:
            stopped.set()
            self.traffic.host.wake()
            pool.shutdown(wait=False, cancel_futures=True)

    def _complete(self, prompt: Prompt, settings: GenerationSettings, stopped: threading.Event) -> Completion:
        reply = self._sender.ask(prompt.messages, _decoding(settings), stopped)
        if isinstance(reply, Failure):
            return Completion(text=None, error=reply)
        choice = reply.body["choices"][0]
        text = outcomes.text_of(choice)
        if isinstance(text, Failure):
            text = Failure(kind=text.kind, message=self._sender.blotted(text.message))
        prompt_tokens, completion_tokens = outcomes.usage_of(reply.body)
        finish = choice.get("finish_reason")
        return Completion(
            text=None if isinstance(text, Failure) else _cut(self._blotted(text), settings.stop),
            error=text if isinstance(text, Failure) else None,
            finish_reason=self._blotted(finish) if isinstance(finish, str) and isinstance(text, str) else None,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            seconds=reply.seconds,
        )

    # -------------------------------------------------------------------------------------------------- ScoreSampler

    def reply_tokens(
        self, messages: Sequence[Message], *, temperature: float, max_new_tokens: int
    ) -> list[ReplyToken] | None:
        """The tokens of one drawn reply, each with at most 20 alternatives; None where the endpoint gives no logprobs.

        An endpoint that allows fewer alternatives is asked for as many as it says. May be called from several threads.
        Raises EndpointError when the endpoint fails.
        """
        while self._manners.top_logprobs:
            top = self._manners.top_logprobs
            options = {"temperature": temperature, "top_p": 1.0, "logprobs": True, "top_logprobs": top}
            reply = self._sender.ask(messages, {**options, "limit": max_new_tokens}, threading.Event())
            if isinstance(reply, Reply):
                return self._tokens(reply.body["choices"][0])
            if reply.kind not in ("bad_request", "not_authorised") or "logprob" not in reply.message.lower():
                raise self._error(reply)
            self._manners.top_logprobs = _allowed_alternatives(reply.message, top)
        return None

    def _tokens(self, choice: Mapping[str, Any]) -> list[ReplyToken] | None:
        """A choice's tokens; the first reply with a text and without tokens tells that the endpoint gives none."""
        found = outcomes.reply_tokens(choice)
        if found is not None:
            self._manners.has_given_logprobs = True
            return found
        text = outcomes.text_of(choice)
        if isinstance(text, Failure):
            raise self._error(text)
        if not self._manners.has_given_logprobs:
            self._manners.top_logprobs = 0
        return None

    def sample(self, messages: Sequence[Message], *, n: int, temperature: float, max_new_tokens: int) -> list[str]:
        """`n` draws, fewer where the endpoint gave fewer; one request if it knows `n`, else one a draw.

        Draws without a text (filtered, empty) are left out. May be called from several threads. Raises EndpointError
        when the endpoint fails before the first draw.
        """
        options = {"temperature": temperature, "top_p": 1.0, "limit": max_new_tokens}
        texts: list[str] = []
        asked = 0
        while asked < n:
            wanted = n if self._manners.knows_n and asked == 0 else 1
            reply = self._sender.ask(messages, {**options, "n": wanted} if wanted > 1 else options, threading.Event())
            if isinstance(reply, Failure):
                if wanted > 1 and reply.kind == "bad_request":
                    self._manners.knows_n = False
                    continue
                if not texts:
                    raise self._error(reply)
                break
            choices = reply.body["choices"]
            self._manners.knows_n = self._manners.knows_n and len(choices) >= wanted
            texts += [text for text in map(outcomes.text_of, choices) if isinstance(text, str)]
            asked += len(choices)
        return texts[:n]

    def _error(self, failure: Failure) -> EndpointError:
        message = self._sender.blotted(failure.message)
        return EndpointError(f"endpoint model '{self.name}': {message}", kind=failure.kind)

    def _blotted(self, text: str) -> str:
        return self._sender.blotted(text, least=SHORTEST_SECRET)


def unset_variables(base_url: str | None, api_key: str | None, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the variables without which an endpoint model of this address and key is refused, each once."""
    reference = _reference(base_url, api_key)
    wanted = [*_VARIABLE.findall(base_url or ""), *([reference.removeprefix("env:")] if reference else [])]
    return [name for name in dict.fromkeys(wanted) if not environ.get(name, "").strip()]


def _reference(base_url: str | None, api_key: str | None) -> str | None:
    return api_key or (None if base_url else "env:OPENAI_API_KEY")


def _expand(text: str, environ: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: _variable(match.group(1), "base_url", environ), text)


def _variable(name: str, what: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise UserError(f"'{what}' must name a variable that is set (got {name}, which is not). export {name}=… first.")
    return value


def _secrets(secret: str | None, query: Mapping[str, str]) -> list[str]:
    """What must not be shown: the key, and keys that stand in the address."""
    hidden = [secret, *(value for name, value in query.items() if name != "api-version")]
    return [form for value in hidden if value for form in spellings(value)]


def _decoding(settings: GenerationSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"limit": settings.max_new_tokens, "temperature": settings.temperature}
    if settings.temperature > 0:
        options |= {"top_p": settings.top_p, "seed": settings.seed}
    if settings.stop:
        options["stop"] = list(settings.stop)
    return options


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of some stop texts: for endpoints that do not stop there by themselves."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text.rstrip() if stops else text


def _allowed_alternatives(complaint: str, asked: int) -> int:
    """The number of alternatives that a refusal names as its most; 0 where it names none: there are no logprobs."""
    named = [int(number) for number in re.findall(r"\b\d{1,2}\b", complaint)]
    return max((number for number in named if 1 < number < asked), default=0)
