"""What a reply of an endpoint is: a text that the model wrote, or a trouble with a name. Never one in the other's clothes.

Kinds of trouble: endpoint_unreachable, timeout, server_error, rate_limited, insufficient_quota, not_authorised, not_found
(the endpoint's own: they count towards giving it up); prompt_too_long, bad_request, bad_response, refusal, content_filter,
empty_answer (the prompt's or the reply's). Only what may pass is tried again: `again`.
 Replies are read as JSON, whatever content type they claim; a body that says `error` is an error, whatever its status.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.models.endpoint.traffic import Tokens
from harness.records import Failure, ReplyToken

RETRY_AFTER_CAP = 60.0
"""Longest wait in seconds that a server may ask for; a longer one is a failure, lest the run stand still unseen."""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TOO_LONG = ("context_length", "maximum context", "context size", "too many tokens", "prompt is too long")
_FILTERED = ("content_filter", "content_policy", "content management policy", "responsibleaipolicy")
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What went wrong with one request, and what follows from it."""

    kind: str
    message: str
    again: bool = False
    """Another try may succeed."""
    lost: bool = False
    """The endpoint's fault, not the prompt's: counts towards giving up."""
    pause: float | None = None
    """Seconds the server asks to wait."""
    may_be_billed: bool = True
    """An error status costs nothing; of anything else one cannot know."""


# ------------------------------------------------------------------------------------------------------- status errors


def of_exception(error: Exception, where: str) -> Trouble:
    """Sorts what the client raises; `where` is the host. The order goes from special to general."""
    import openai

    text = one_line(getattr(error, "message", None) or error)
    match error:
        case openai.APITimeoutError():
            return Trouble(kind="timeout", message=f"no answer in time ({text})", again=True, lost=True)
        case openai.APIResponseValidationError():
            return Trouble(kind="bad_response", message=f"the endpoint's answer cannot be read ({text})")
        case openai.APIConnectionError():
            message = f"the endpoint at {where} cannot be reached ({text})"
            return Trouble(kind="endpoint_unreachable", message=message, again=True, lost=True)
        case openai.APIStatusError():
            return of_status(error.status_code, error.body or error.message, error.response.headers)
        case UnicodeEncodeError():
            return Trouble(kind="bad_request", message=f"the prompt is not valid Unicode ({text})", may_be_billed=False)
        case _:
            name = type(error).__name__
            return Trouble(kind="bad_response", message=f"the endpoint's answer cannot be read ({name}: {text})")


def of_status(status: int, body: object, headers: Mapping[str, str]) -> Trouble:
    """The trouble that an error status and its body tell of."""
    text, codes = _complaint(body)
    trouble = replace(_sorted(status, text, codes, headers), may_be_billed=False)
    match headers.get("x-should-retry"):
        case "false":
            return replace(trouble, again=False)
        case "true" if trouble.pause is None or trouble.pause <= RETRY_AFTER_CAP:
            return replace(trouble, again=True)
        case _:
            return trouble


def _sorted(status: int, text: str, codes: str, headers: Mapping[str, str]) -> Trouble:
    message = f"HTTP {status}: {text}"
    pause = retry_after(headers)
    match status:
        case 401 | 403:
            return Trouble(kind="not_authorised", message=message, lost="logprob" not in codes)
        case 404:
            return Trouble(kind="not_found", message=message, lost=True)
        case 402:
            return Trouble(kind="insufficient_quota", message=message, lost=True)
        case 429 if any(word in codes for word in _NO_MONEY):
            return Trouble(kind="insufficient_quota", message=message, lost=True)
        case 429 if pause is not None and pause > RETRY_AFTER_CAP:
            message = f"{message} (asks to wait {pause:,.0f} s; at most {RETRY_AFTER_CAP:.0f} s are waited)"
            return Trouble(kind="rate_limited", message=message, lost=True)
        case 429:
            return Trouble(kind="rate_limited", message=message, again=True, lost=True, pause=pause)
        case 408 | 409 | 425:
            return Trouble(kind="server_error", message=message, again=True, lost=True)
        case 501 | 505:
            return Trouble(kind="server_error", message=message, lost=True)
        case _ if status >= 500:
            pause = None if pause is None or pause > RETRY_AFTER_CAP else pause
            return Trouble(kind="server_error", message=message, again=True, lost=True, pause=pause)
        case _ if any(word in codes for word in _TOO_LONG):
            return Trouble(kind="prompt_too_long", message=message)
        case _ if any(word in codes for word in _FILTERED):
            return Trouble(kind="content_filter", message=message)
        case _:
            return Trouble(kind="bad_request", message=message)


def _complaint(body: object) -> tuple[str, str]:
    """The message of an error's body, and everything in it that may be a code, in lower case."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    inner = inner if inner else body
    if not isinstance(inner, Mapping):
        text = one_line(inner)
        return text, text.lower()
    said = inner.get("message") or inner.get("detail") or dict(inner)
    codes = [inner.get(name) for name in ("code", "type", "param")]
    nested = inner.get("innererror")
    if isinstance(nested, Mapping):
        codes.append(nested.get("code"))
    text = one_line(said)
    return text, " ".join(str(code) for code in [*codes, text] if code is not None).lower()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or a date); None where neither can be read."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            date = email.utils.parsedate_tz(value)
            seconds = email.utils.mktime_tz(date) - time.time() if date else math.nan
        if not math.isnan(seconds):
            return max(0.0, seconds)
    return None


def one_line(value: object) -> str:
    """A message on one short line; of a page of HTML only its title."""
    text = str(value)
    if text.lstrip()[:1] == "<":
        title = _TITLE.search(text[:20_000])
        text = f"a page of HTML, titled '{title.group(1)}'" if title else "a page of HTML"
    return " ".join(text.split()).encode("utf-8", "replace").decode()[:300].rstrip(".")


# -------------------------------------------------------------------------------------------------------------- bodies


def read_reply(body: bytes, headers: Mapping[str, str]) -> dict[str, Any] | Trouble:
    """The reply in the body of a good status: a mapping with at least one choice, each with a message."""
    try:
        text = body.decode("utf-8-sig")
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return Trouble(kind="bad_response", message=f"the endpoint sent no completion ({_what_it_is(body)})")
    if not isinstance(reply, dict):
        return Trouble(kind="bad_response", message=f"the endpoint sent no completion ({one_line(text[:300])})")
    choices = reply.get("choices")
    error = reply.get("error") or (reply if reply.get("object") == "error" else None)
    if error and not choices:
        return _error_in_reply(error, headers)
    if not isinstance(choices, list) or not choices:
        return Trouble(kind="bad_response", message="the endpoint sent no completion (no choices)")
    if not all(isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices):
        return Trouble(kind="bad_response", message="the endpoint sent no completion (a choice without a message)")
    return reply


def _error_in_reply(error: object, headers: Mapping[str, str]) -> Trouble:
    """An error that came with a good status: as its code says, where that is a status."""
    code = error.get("code") if isinstance(error, Mapping) else None
    status = int(code) if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)) else None
    if status is not None:
        return of_status(status, error, headers)
    return Trouble(kind="bad_response", message=f"the endpoint sent no completion ({_complaint(error)[0]})")


def _what_it_is(body: bytes) -> str:
    start = body[:200].lstrip()
    if start.startswith((b"data:", b"event:", b":")):
        return "a stream of events, where one answer was asked for"
    if not start:
        return "nothing"
    if start[:1] in b"{[":
        return f"JSON that is cut off or broken: {one_line(body[:80].decode('utf-8', 'replace'))}"
    return one_line(body[:20_000].decode("utf-8", "replace"))


def text_of(choice: Mapping[str, Any]) -> str | Failure:
    """The text of a choice, or why it is none."""
    message, finish = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") for part in content):
        content = "".join(part["text"] for part in content if isinstance(part.get("text"), str)) or None
    refusal = message.get("refusal")
    if finish == "content_filter":
        return Failure(kind="content_filter", message="the endpoint's content filter held the answer back")
    if finish == "error":
        return Failure(
            kind="bad_response", message=f"the endpoint broke off ({_complaint(choice.get('error') or '?')[0]})"
        )
    if refusal and not content:
        return Failure(kind="refusal", message=f"the model refused: {one_line(refusal)[:200]}")
    if content is None or (content == "" and _reasoning(message)):
        return Failure(kind="empty_answer", message=f"the endpoint sent no text ({_why_empty(message, finish)})")
    if not isinstance(content, str):
        return Failure(kind="bad_response", message=f"content must be text (got {type(content).__name__})")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError:
        return Failure(kind="bad_response", message="content is not valid Unicode (a lone surrogate)")
    return content.strip()


def _why_empty(message: Mapping[str, Any], finish: object) -> str:
    if message.get("tool_calls"):
        return "the model called a tool"
    if finish == "length":
        while_thinking = ", all of it spent on reasoning: raise max_new_tokens" if _reasoning(message) else ""
        return f"the token limit was reached before any text{while_thinking}"
    return "content is null" if not _reasoning(message) else "there is reasoning, and no answer"


def _reasoning(message: Mapping[str, Any]) -> object:
    return message.get("reasoning_content") or message.get("reasoning")


def usage_of(reply: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Prompt and completion tokens, each None where the endpoint gives no sensible count."""
    usage = reply.get("usage")
    found = [usage.get(f"{side}_tokens") if isinstance(usage, dict) else None for side in ("prompt", "completion")]
    prompt, completion = (
        value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None for value in found
    )
    return prompt, completion


def tokens_of(reply: Mapping[str, Any]) -> Tokens | None:
    """Both counts, or None where one is missing."""
    prompt, completion = usage_of(reply)
    return Tokens(prompt, completion) if prompt is not None and completion is not None else None


def reply_tokens(choice: Mapping[str, Any]) -> list[ReplyToken] | None:
    """The tokens of a choice with their alternatives: as chat replies give them, or as old completions do; None without."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return None
    found = [token for token in map(_reply_token, _entries(logprobs)) if token is not None]
    return found if found and found[0].alternatives else None


def _entries(logprobs: Mapping[str, Any]) -> list[tuple[Any, Any, list[tuple[Any, Any]]]]:
    """Token, logprob and alternatives of each place."""
    content = logprobs.get("content")
    if isinstance(content, list):
        return [
            (
                entry.get("token"),
                entry.get("logprob"),
                [(o.get("token"), o.get("logprob")) for o in entry.get("top_logprobs") or () if isinstance(o, dict)],
            )
            for entry in content
            if isinstance(entry, dict)
        ]
    columns = [logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs")]
    if not all(isinstance(column, list) for column in columns):
        return []
    return [
        (token, value, list(top.items()) if isinstance(top, dict) else [])
        for token, value, top in zip(*columns, strict=False)
    ]


def _reply_token(entry: tuple[Any, Any, list[tuple[Any, Any]]]) -> ReplyToken | None:
    token, logprob, others = entry
    if not isinstance(token, str) or not _is_logprob(logprob):
        return None
    alternatives = tuple((text, float(value)) for text, value in others if isinstance(text, str) and _is_logprob(value))
    return ReplyToken(text=token, logprob=float(logprob), alternatives=alternatives)


def _is_logprob(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
