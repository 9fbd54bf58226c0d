"""Endpoints: every fault has a name, none becomes a text; a dead endpoint ends soon; the key goes nowhere."""

import itertools
import json
import threading
import time
from email.utils import formatdate

import pytest

from harness.errors import EndpointError, ModelError, UserError
from harness.models.endpoint import EndpointModel, Hosts
from harness.models.endpoint.outcomes import retry_after
from harness.models.endpoint.traffic import GIVE_UP_AFTER
from harness.records import GenerationSettings, Generator, Message, Prompt, ScoreSampler
from tests.harness.models.fake_endpoint import DROP, FakeClock, Step, raw, reply, status

SETTINGS = GenerationSettings(max_new_tokens=9)
TURN = (Message(role="user", content="fever?"),)
KEY = "canary-key-8d1f"


def prompts(count=1):
    """Prompts that name their own index."""
    return [Prompt(sample_id=str(i), messages=(Message(role="user", content=f"q{i}"),)) for i in range(count)]


def client(server, **options):
    """A client with fast retries."""
    options = {"base_url": server.url, "max_retries": 2, "backoff": 0.001, "timeout": 60.0, **options}
    return EndpointModel(name="m", **options)


def answers(model, asked, settings=SETTINGS):
    """Completions in the order of the prompts; each index comes once."""
    pairs = list(itertools.chain.from_iterable(model.generate(asked, settings)))
    assert sorted(index for index, _ in pairs) == list(range(len(asked)))
    return [completion for _, completion in sorted(pairs, key=lambda pair: pair[0])]


def test_answer_with_its_counts(endpoint):
    """A completion's text, reason and tokens are the endpoint's; the roles are those of the records."""
    endpoint.default = reply(" rest and water \n")
    model = client(endpoint)
    assert isinstance(model, Generator)
    assert isinstance(model, ScoreSampler)
    [completion] = answers(model, prompts())
    assert (completion.text, completion.finish_reason) == ("rest and water", "stop")
    assert (completion.prompt_tokens, completion.completion_tokens) == (7, 3)
    assert completion.seconds > 0


def test_what_is_sent(endpoint):
    """Greedy decoding sends no seed or top_p; sampling sends both; stop texts and the system turn go along."""
    model = client(endpoint)
    asked = Prompt(sample_id="a", messages=(Message(role="system", content="be kind"), *TURN))
    answers(model, [asked])
    answers(model, [asked], GenerationSettings(max_new_tokens=9, temperature=0.7, top_p=0.9, stop=("END",), seed=3))
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "fever?"}]
    assert endpoint.requests[0] == {"model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.0}
    assert endpoint.requests[1] == {
        "model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "stop": ["END"], "seed": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (raw("<html>welcome</html>", content_type="text/html"), "bad_response"),
        (raw("{not json"), "bad_response"),
        (raw({"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": []}), "bad_response"),
        (raw({"error": {"message": "overloaded"}}), "bad_response"),
        (raw([1, 2]), "bad_response"),
        (raw("null"), "bad_response"),
        (raw({"choices": [{"index": 0, "finish_reason": "stop", "message": None}]}), "bad_response"),
        (reply(None, finish="content_filter"), "content_filter"),
        (reply("half an", finish="content_filter"), "content_filter"),
        (reply(None), "empty_answer"),
        (reply(None, finish="length"), "empty_answer"),
        (reply(float("nan")), "bad_response"),
        (reply(5), "bad_response"),
        (reply(["a"]), "bad_response"),
        (reply("\ud800"), "bad_response"),
        (reply(None, refusal="I can't help with that"), "refusal"),
        (status(400, "bad temperature"), "bad_request"),
        (status(400, "too long", error="context_length_exceeded"), "prompt_too_long"),
        (status(400, "policy", error="content_filter"), "content_filter"),
        (status(401, "bad key"), "not_authorised"),
        (status(403, "not yours"), "not_authorised"),
        (status(404, "no such model"), "not_found"),
        (status(402, "pay first"), "insufficient_quota"),
        (status(429, "no money", error="insufficient_quota"), "insufficient_quota"),
        (status(429, "later", headers={"retry-after": "3600"}), "rate_limited"),
        (status(422, "what?"), "bad_request"),
    ],
)
def test_lasting_fault_is_a_typed_failure_after_one_request(endpoint, step, kind):
    """What another try would not mend is asked once, and becomes a failure of one line."""
    endpoint.default = step
    [completion] = answers(client(endpoint), prompts())
    assert completion.text is None
    assert completion.error.kind == kind
    assert "\n" not in completion.error.message
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (status(503), "server_error"),
        (status(500), "server_error"),
        (status(408), "server_error"),
        (status(429, headers={"retry-after-ms": "1"}), "rate_limited"),
        (DROP, "endpoint_unreachable"),
    ],
)
def test_passing_fault_is_tried_again(endpoint, step, kind):
    """After two faults the third try answers; after three the failure has the fault's name."""
    endpoint.script = [step, step]
    assert answers(client(endpoint), prompts())[0].text == "ok"
    assert len(endpoint.requests) == 3
    endpoint.default = step
    [completion] = answers(client(endpoint), prompts())
    assert completion.error.kind == kind
    assert len(endpoint.requests) == 6


def test_length_is_an_answer(endpoint):
    """A cut answer is a text whose reason says so."""
    endpoint.default = reply("half an ans", finish="length")
    [completion] = answers(client(endpoint), prompts())
    assert (completion.text, completion.finish_reason) == ("half an ans", "length")


def test_timeout_has_its_name(endpoint):
    """A request that takes too long is tried again and then fails as `timeout`."""
    endpoint.default = Step(hang=3600.0)
    model = client(endpoint, timeout=0.1, max_retries=1)
    [completion] = answers(model, prompts())
    assert completion.error.kind == "timeout"
    [tally] = model.traffic.tallies.values()
    assert tally.requests == 2  # counted here: on a busy machine the server has yet to read what was given up


def test_a_server_that_only_keeps_the_line_open_is_a_timeout(endpoint):
    """Bytes that trickle in for ten minutes do not prolong a request: its seconds are counted from the first byte to the
    last."""
    endpoint.default = Step(body=b" " * 30_000, drip=0.02)
    started = time.monotonic()
    [completion] = answers(client(endpoint, timeout=0.2, max_retries=0), prompts())
    assert completion.error.kind == "timeout"
    assert time.monotonic() - started < 300


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "300"}, 0.3),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "-5"}, 0.0),
    ],
)
def test_retry_after_is_honoured(endpoint, headers, seconds):
    """The wait a server asks for, as seconds or milliseconds, is kept before the next try, to the letter."""
    clock = FakeClock()
    endpoint.script = [status(429, headers=headers)]
    assert answers(client(endpoint, hosts=Hosts(clock)), prompts())[0].text == "ok"
    assert clock.waited == pytest.approx(seconds)


def test_without_retry_after_the_pauses_grow_and_end(endpoint):
    """Pauses double from `backoff` on, less a random part of up to a half, and none is longer than eight seconds."""
    clock = FakeClock()
    endpoint.default = status(503)
    answers(client(endpoint, hosts=Hosts(clock), backoff=1.0, max_retries=6), prompts())
    assert len(endpoint.requests) == 7
    most = 1 + 2 + 4 + 8 + 8 + 8
    assert most / 2 <= clock.waited <= most


def test_retry_after_as_a_date():
    """An HTTP date is a wait from now, and one that has passed is none; nonsense is ignored."""
    assert 2000 < retry_after({"retry-after": formatdate(time.time() + 3000, usegmt=True)}) <= 3000
    assert retry_after({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(("word", "requests"), [("false", 1), ("true", 3)])
def test_the_servers_own_word_on_trying_again_is_kept(endpoint, word, requests):
    """`x-should-retry` decides, whatever the status says."""
    endpoint.default = status(503 if word == "false" else 400, headers={"x-should-retry": word})
    answers(client(endpoint), prompts())
    assert len(endpoint.requests) == requests


def test_dead_endpoint_is_given_up(endpoint):
    """Without money, 200 prompts cost a few requests; all have failures of the same kind, and so has every later call."""
    endpoint.default = status(429, "no money", error="insufficient_quota")
    model = client(endpoint, concurrency=2)
    completions = answers(model, prompts(200))
    assert {completion.error.kind for completion in completions} == {"insufficient_quota"}
    assert len(endpoint.requests) <= GIVE_UP_AFTER + 2
    before = len(endpoint.requests)
    assert answers(model, prompts(3))[0].error.message.startswith("not sent:")
    assert len(endpoint.requests) == before


def test_unreachable_endpoint_is_given_up():
    """Nobody listens: every prompt fails as `endpoint_unreachable`, nearly all unsent, and the address is named."""
    model = EndpointModel(name="m", base_url="http://127.0.0.1:9/v1", max_retries=1, backoff=0.001)
    completions = answers(model, prompts(500))
    assert {completion.error.kind for completion in completions} == {"endpoint_unreachable"}
    assert "127.0.0.1:9" in completions[0].error.message
    sent = [completion for completion in completions if not completion.error.message.startswith("not sent:")]
    assert len(sent) <= GIVE_UP_AFTER + 8  # the requests that were under way


def test_one_success_starts_the_count_anew(endpoint):
    """Losses that are not in a row do not give the endpoint up."""
    endpoint.script = [status(404), status(404), reply("ok")] * 6
    completions = answers(client(endpoint, concurrency=1), prompts(18))
    assert sum(completion.text == "ok" for completion in completions) == 6
    assert len(endpoint.requests) == 18


def test_faults_of_prompts_do_not_count(endpoint):
    """Prompts that are refused one by one leave the endpoint in use."""
    endpoint.default = status(400, "bad")
    answers(client(endpoint), prompts(40))
    assert len(endpoint.requests) == 40


def test_many_at_once_come_as_they_are_done(endpoint):
    """Slow prompts do not hold back the others, and each answer is its own prompt's."""

    later = threading.Event()

    def echo(request):
        text = request["messages"][0]["content"]
        if text == "q0":
            later.wait(60)
        elif text == "q10":  # of the first seven at least six are answered
            later.set()
        return reply(text.upper())

    endpoint.default = echo
    order = []
    for batch in client(endpoint, concurrency=4).generate(prompts(20), SETTINGS):
        order += [index for index, _ in batch]
        assert all(completion.text == f"Q{index}" for index, completion in batch)
    assert sorted(order) == list(range(20))
    assert order[0] != 0


def test_leaving_early_stops_the_rest(endpoint):
    """A caller that goes away after the first batch causes no requests but those that are under way."""
    whole = reply("ok")
    endpoint.default = Step(body=whole.body, headers=whole.headers, hang=0.05)
    model = client(endpoint, concurrency=2)
    batches = model.generate(prompts(300), SETTINGS)
    next(batches)
    batches.close()
    then = len(endpoint.requests)
    time.sleep(0.3)
    assert len(endpoint.requests) <= then + 2 < 300
    assert answers(model, prompts(1))[0].text == "ok"


def test_newer_name_of_the_limit_is_learnt(endpoint):
    """An endpoint that wants max_completion_tokens gets it, from then on at once."""

    def strict(request):
        if "max_tokens" in request:
            return status(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return reply("ok")

    endpoint.default = strict
    model = client(endpoint, concurrency=1)
    assert [completion.text for completion in answers(model, prompts(3))] == ["ok"] * 3
    assert len(endpoint.requests) == 4


# --------------------------------------------------------------------------------------------------------- score tokens


def test_reply_tokens_come_with_their_alternatives(endpoint):
    """Natural logs, at the temperature asked for and top_p 1, 20 alternatives at most."""
    endpoint.default = reply("4", logprobs=[("4", -0.2), (" 5", -1.9)])
    [token] = client(endpoint).reply_tokens(TURN, temperature=1.0, max_new_tokens=3)
    assert (token.text, token.logprob, token.alternatives) == ("4", -0.2, (("4", -0.2), (" 5", -1.9)))
    [sent] = endpoint.requests
    assert (sent["logprobs"], sent["top_logprobs"], sent["max_tokens"]) == (True, 20, 3)
    assert (sent["temperature"], sent["top_p"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    "step",
    [
        reply("4"),
        status(400, "logprobs are not supported with reasoning models"),
        status(403, "You are not allowed to request logprobs from this model"),
    ],
)
def test_no_logprobs_is_remembered(endpoint, step):
    """An endpoint that gives none is asked once."""
    endpoint.default = step
    model = client(endpoint)
    assert model.reply_tokens(TURN, temperature=1.0, max_new_tokens=3) is None
    assert model.reply_tokens(TURN, temperature=1.0, max_new_tokens=3) is None
    assert len(endpoint.requests) == 1


def test_sampling_in_one_request_or_many(endpoint):
    """`n` draws come in one request where the endpoint knows n, else one by one; filtered draws are left out."""
    endpoint.default = lambda request: reply(*[str(i) for i in range(request.get("n", 1))])
    assert client(endpoint).sample(TURN, n=5, temperature=1.0, max_new_tokens=4) == ["0", "1", "2", "3", "4"]
    assert len(endpoint.requests) == 1
    endpoint.default = reply("4")
    assert client(endpoint).sample(TURN, n=5, temperature=1.0, max_new_tokens=4) == ["4"] * 5
    assert len(endpoint.requests) == 6
    endpoint.default = lambda request: status(400, "n must be 1") if "n" in request else reply("4")
    assert client(endpoint).sample(TURN, n=3, temperature=1.0, max_new_tokens=4) == ["4"] * 3
    endpoint.default = reply("4", None, "5")
    assert client(endpoint).sample(TURN, n=3, temperature=1.0, max_new_tokens=4) == ["4", "5"]


def test_sampler_raises_when_the_endpoint_fails(endpoint):
    """Both methods raise a ModelError of one line that names the model."""
    endpoint.default = status(401, "bad key")
    model = client(endpoint)
    with pytest.raises(ModelError, match="'m': HTTP 401"):
        model.reply_tokens(TURN, temperature=1.0, max_new_tokens=3)
    with pytest.raises(ModelError, match="'m': HTTP 401"):
        model.sample(TURN, n=3, temperature=1.0, max_new_tokens=4)


# ------------------------------------------------------------------------------------------------------------- secrets


def test_key_comes_from_its_variable_and_stays_there(endpoint):
    """The key is sent as a header and appears in no failure, even where the endpoint repeats it, nor in repr or key."""
    endpoint.default = status(401, f"Incorrect API key provided: {KEY}")
    model = client(endpoint, api_key="env:MY_KEY", environ={"MY_KEY": KEY})
    [completion] = answers(model, prompts())
    assert endpoint.authorizations == [f"Bearer {KEY}"]
    assert "***" in completion.error.message
    assert KEY not in f"{completion!r} {model!r} {model.key}"


def test_missing_variables_are_named():
    """A variable that is not set is a UserError with its name, for the key, for the address, and for OpenAI's default."""
    with pytest.raises(UserError, match="MY_KEY"):
        EndpointModel(name="m", api_key="env:MY_KEY", environ={})
    with pytest.raises(UserError, match="MY_URL"):
        EndpointModel(name="m", base_url="${MY_URL}/v1", environ={})
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        EndpointModel(name="m", environ={})


@pytest.mark.parametrize(
    "step",
    [
        status(400, f"no {KEY}"),
        status(500, f"<html><title>{KEY}</title></html>"),
        raw({"error": {"message": KEY, "code": 401}}),
        raw({"error": KEY}),
        raw(KEY),
        raw(f"{{{KEY}"),
        raw(f"<title>{KEY}</title>", content_type="text/html"),
        reply(None, refusal=f"I refuse {KEY}"),
        reply(f"your key is {KEY}"),
        reply("half", finish=KEY),
        Step(code=429, body=f"slow down, {KEY}".encode(), headers={"x-key": KEY}),
    ],
)
def test_a_key_that_comes_back_is_blotted_out(endpoint, step):
    """Wherever an endpoint puts the key, in whatever shape, it is in nothing that is kept."""
    endpoint.default = step
    model = client(endpoint, api_key="env:MY_KEY", environ={"MY_KEY": KEY}, max_retries=0)
    [completion] = answers(model, prompts())
    assert KEY not in repr(completion)
    assert "***" in repr(completion)
    endpoint.default = status(401, json.dumps({"headers": f"Bearer {KEY}"}))
    with pytest.raises(EndpointError) as raised:
        model.sample(TURN, n=1, temperature=1.0, max_new_tokens=4)
    assert KEY not in f"{raised.value} {raised.value!r}"
    assert KEY not in str(model.traffic.tallies)


def test_a_placeholder_key_does_not_spoil_answers(endpoint):
    """A key such as EMPTY is blotted out of messages, and left in what the model wrote."""
    endpoint.default = reply("the room is EMPTY")
    model = client(endpoint, api_key="env:MY_KEY", environ={"MY_KEY": "EMPTY"})
    assert answers(model, prompts())[0].text == "the room is EMPTY"


def test_openais_key_is_not_sent_elsewhere(endpoint, monkeypatch):
    """An endpoint without a declared key gets none, though OPENAI_API_KEY is set."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    answers(client(endpoint), prompts())
    assert endpoint.authorizations == ["Bearer none"]


def test_address_is_expanded_and_decides_the_key(endpoint):
    """`${NAME}` stands for a variable; the same address written out is the same model, another model name is not."""
    environ = {"HOST": endpoint.url.removesuffix("/v1")}
    expanded = EndpointModel(name="m", base_url="${HOST}/v1", environ=environ)
    assert answers(expanded, prompts())[0].text == "ok"
    assert expanded.key == client(endpoint).key
    assert expanded.key != EndpointModel(name="n", base_url=endpoint.url).key
