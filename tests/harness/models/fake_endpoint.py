"""An OpenAI-compatible endpoint in this process that does what a script tells it, faults included.

    with FakeEndpoint() as server:
        server.script = [status(429, headers={"retry-after-ms": "5"}), reply("hello")]
        ... EndpointModel(name="m", base_url=server.url) ...
        assert len(server.requests) == 2

Each request takes the next step of `script`; when it is used up, `default` (a step, or a function of the request's JSON
that returns one). `FakeClock` is time in which waiting takes no time.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.models.endpoint.traffic import Clock


class FakeClock(Clock):
    """Time that passes only where somebody waits, or where a test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waited = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Moves time on; lets other threads in for a moment."""
        self.time += seconds
        self.waited += seconds
        condition.wait(0)


@dataclass(frozen=True)
class Step:
    """One answer of the server.

    `hang` seconds pass first; `drop` closes the connection without an answer, `cut` in the middle of one; with `drip`, so
    many seconds pass after each byte.
    """

    code: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: float = 0.0
    drop: bool = False
    cut: bool = False
    drip: float = 0.0


def reply(
    *texts: Any,
    finish: str | None = "stop",
    logprobs: Sequence[tuple[str, float]] | None = None,
    refusal: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Step:
    """A completion with one choice a text; a text may be None or anything else that JSON (and NaN) can hold."""
    first = {"token": logprobs[0][0], "logprob": logprobs[0][1], "bytes": None} if logprobs else {}
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in logprobs or ()]
    choices = [
        {
            "index": index,
            "finish_reason": finish,
            "message": {"role": "assistant", "content": text, "refusal": refusal},
            "logprobs": {"content": [{**first, "top_logprobs": top}]} if logprobs else None,
        }
        for index, text in enumerate(texts)
    ]
    return raw(
        {
            "id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": choices,
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        },
        headers=headers,
    )  # fmt: skip


def raw(value: Any, *, content_type: str = "application/json", headers: Mapping[str, str] | None = None) -> Step:
    """Status 200 with any body: text as it is, everything else as JSON."""
    body = value if isinstance(value, str) else json.dumps(value)
    return Step(body=body.encode("utf-8", "surrogatepass"), headers={"content-type": content_type, **(headers or {})})


def status(
    code: int, message: str = "no", *, error: str | None = None, headers: Mapping[str, str] | None = None
) -> Step:
    """An error as OpenAI words it; `error` is its code."""
    body = json.dumps({"error": {"message": message, "type": error, "code": error, "param": None}})
    return Step(code=code, body=body.encode(), headers={"content-type": "application/json", **(headers or {})})


DROP = Step(drop=True)


class FakeEndpoint:
    """The server; a context manager."""

    def __init__(self, default: Step | Callable[[dict[str, Any]], Step] | None = None) -> None:
        self.default = default or reply("ok")
        self.script: list[Step] = []
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """The base_url of a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def next_step(self, request: dict[str, Any], headers: Mapping[str, str], path: str) -> Step:
        """Notes a request and says what to do with it."""
        with self._lock:
            self.requests.append(request)
            self.authorizations.append(headers.get("authorization", ""))
            self.headers.append(dict(headers))
            self.paths.append(path)
            if self.script:
                return self.script.pop(0)
        return self.default(request) if callable(self.default) else self.default

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            """Reads a request, asks the script, answers."""

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                step = endpoint.next_step(request, headers, self.path)
                if step.hang:
                    endpoint.closing.wait(step.hang)
                if step.drop:
                    self.close_connection = True
                    return
                with contextlib.suppress(ConnectionError):  # the client may have gone away
                    self._answer(step)

            def _answer(self, step: Step) -> None:
                self.send_response(step.code)
                for name, value in step.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(step.body)))
                self.end_headers()
                if step.cut:
                    self.wfile.write(step.body[: len(step.body) // 2])
                    self.close_connection = True
                elif step.drip:
                    for byte in step.body:
                        self.wfile.write(bytes([byte]))
                        if endpoint.closing.wait(step.drip):
                            return
                else:
                    self.wfile.write(step.body)

            def log_message(self, *_: object) -> None:
                """Tests stay quiet."""

        return Handler
