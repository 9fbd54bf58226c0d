"""Each kind of server in its own words: vLLM, Ollama, llama.cpp, Azure, gateways and OpenAI's reasoning models."""

import itertools
import json

import pytest

from harness.errors import EndpointError
from harness.models.endpoint import EndpointModel
from harness.records import GenerationSettings, Message, Prompt
from tests.harness.models.fake_endpoint import Step, raw, reply, status

SETTINGS = GenerationSettings(max_new_tokens=9)
TURN = (Message(role="user", content="fever?"),)
KEY = "canary-key-8d1f"


def client(server, **options):
    """A client with fast retries."""
    options = {"name": "m", "base_url": server.url, "max_retries": 2, "backoff": 0.001, **options}
    return EndpointModel(**options)


def answer(model, settings=SETTINGS):
    """The completion of one prompt."""
    [(_, completion)] = itertools.chain.from_iterable(model.generate([Prompt(sample_id="a", messages=TURN)], settings))
    return completion


def tokens(model, limit=3):
    """The tokens of a drawn reply with their alternatives."""
    return model.reply_tokens(TURN, temperature=1.0, max_new_tokens=limit)


def choice(content, finish="stop", *, logprobs=None, **message):
    """A reply with one choice, and whatever else a server puts into the message."""
    said = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "finish_reason": finish, "message": said, "logprobs": logprobs}]}


def error(code, /, **inner):
    """An error status with a body of the server's own shape."""
    return Step(code=code, body=json.dumps(inner).encode(), headers={"content-type": "application/json"})


# ------------------------------------------------------------------------------------------------------- their answers


@pytest.mark.parametrize(
    "body",
    [
        choice("rest", reasoning_content="the user has a fever", tool_calls=[]),  # vLLM
        choice("rest", prompt_filter_results=[], content_filter_results={"hate": {"filtered": False}}),  # Azure
        {
            **choice("rest"),
            "timings": {"prompt_ms": 3.1},
            "usage": {"prompt_tokens": 4, "completion_tokens": 2},
        },  # llama.cpp
        {**choice("rest"), "usage": None},
        {**choice("rest"), "usage": {"prompt_tokens": "four", "completion_tokens": -1}},
        {**choice("rest"), "usage": {"prompt_tokens": True, "completion_tokens": 2.5}},
        choice("rest", finish=None),
        choice("rest", finish="eos_token"),
        choice([{"type": "text", "text": "re"}, {"type": "text", "text": "st"}]),
        choice([{"type": "thinking", "thinking": []}, {"type": "text", "text": "rest"}]),  # Mistral
        choice("rest", refusal=""),
    ],
)
def test_an_answer_is_an_answer_in_every_dialect(endpoint, body):
    """What servers add or leave out does not change the text; a count that is none is unknown, not 0."""
    endpoint.default = raw(body)
    completion = answer(client(endpoint))
    assert completion.text == "rest"
    usage = body.get("usage")
    counted = usage is not None and usage.get("prompt_tokens") == 4
    assert (completion.prompt_tokens, completion.completion_tokens) == ((4, 2) if counted else (None, None))


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "text/html; charset=utf-8"])
def test_json_is_read_whatever_it_is_called(endpoint, content_type):
    """A gateway that names the wrong content type does not spoil a whole answer; a byte order mark neither."""
    whole = json.dumps(choice("rest"))
    endpoint.default = raw(whole, content_type=content_type)
    assert answer(client(endpoint)).text == "rest"
    endpoint.default = raw("\ufeff" + whole, content_type=content_type)
    assert answer(client(endpoint)).text == "rest"


def test_unicode_comes_through(endpoint):
    """Letters of any script, composed or not, and emoji are kept as they are."""
    text = "Ünïcödé 発熱 🤒 e\u0301 \u202eRTL"
    endpoint.default = raw(json.dumps(choice(text), ensure_ascii=False))
    assert answer(client(endpoint)).text == text


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (choice(None, "length", reasoning_content="hmm"), "empty_answer", "spent on reasoning"),  # vLLM
        (choice("", "length", reasoning="hmm"), "empty_answer", "spent on reasoning"),  # Ollama, OpenRouter
        (choice(None, "tool_calls", tool_calls=[{"id": "1"}]), "empty_answer", "called a tool"),
        ({"choices": [{"finish_reason": "content_filter", "message": {}}]}, "content_filter", "filter"),  # Azure
        (choice(None, refusal="I can't"), "refusal", "I can't"),
        (choice("half", "error"), "bad_response", "broke off"),  # OpenRouter
        ({"choices": None}, "bad_response", "no choices"),
        ({"choices": {"0": {}}}, "bad_response", "no choices"),
        ({"choices": [{"text": "legacy completion"}]}, "bad_response", "without a message"),
        ({"choices": ["text"]}, "bad_response", "without a message"),
        ({"error": "model is loading"}, "bad_response", "model is loading"),
        ({"object": "error", "message": "boom", "code": 40000}, "bad_response", "boom"),  # old vLLM
        ({"error": {"message": "no such model", "code": 404}}, "not_found", "no such model"),  # OpenRouter
        ({"error": {"message": "pay", "code": "402"}}, "insufficient_quota", "pay"),
        ("data: {\"choices\": []}\n\ndata: [DONE]\n\n", "bad_response", "stream of events"),
        ("", "bad_response", "nothing"),
        ("{\"choices\": [{\"mess", "bad_response", "cut off"),
        ("<html><head><title>502 Bad\n Gateway</title></head>" + "x" * 9999, "bad_response", "502 Bad Gateway"),
        ("[" * 100_000, "bad_response", "broken"),
    ],
)  # fmt: skip
def test_what_is_no_answer_has_a_name(endpoint, body, kind, said):
    """Each oddity of a good status is asked once and becomes a failure whose message tells what came."""
    endpoint.default = raw(body)
    completion = answer(client(endpoint))
    assert (completion.text, completion.error.kind) == (None, kind)
    assert said in completion.error.message
    assert len(completion.error.message) < 400
    assert len(endpoint.requests) == 1


def test_an_error_within_a_good_status_is_tried_again_where_its_code_says_so(endpoint):
    """A gateway that passes 503 on in the body is busy, not broken."""
    endpoint.script = [raw({"error": {"message": "upstream overloaded", "code": 503}})]
    assert answer(client(endpoint)).text == "ok"
    assert len(endpoint.requests) == 2


# -------------------------------------------------------------------------------------------------------- their errors


@pytest.mark.parametrize(
    ("step", "kind", "said"),
    [
        (error(404, object="error", message="The model `m` does not exist.", type="NotFoundError", code=404),
         "not_found", "The model `m` does not exist"),  # vLLM
        (error(400, object="error", message="This model's maximum context length is 2048 tokens. However, you requested 9",
               type="BadRequestError", code=400), "prompt_too_long", "2048"),  # vLLM
        (error(404, error={"message": 'model "m" not found, try pulling it first', "type": "api_error"}),
         "not_found", "try pulling it first"),  # Ollama
        (error(404, error="model 'm' not found"), "not_found", "model 'm' not found"),  # Ollama, its own interface
        (error(400, error={"code": 400, "message": "the request exceeds the available context size. try increasing it",
                           "type": "exceed_context_size_error", "n_ctx": 512}), "prompt_too_long", "context size"),  # llama.cpp
        (error(400, error={"code": "content_filter", "message": "The response was filtered", "param": "prompt",
                           "innererror": {"code": "ResponsibleAIPolicyViolation"}}), "content_filter", "filtered"),  # Azure
        (error(404, error={"code": "DeploymentNotFound", "message": "The API deployment does not exist."}),
         "not_found", "deployment"),  # Azure
        (error(401, error={"code": "401", "message": "Access denied due to invalid subscription key"}),
         "not_authorised", "subscription key"),  # Azure
        (error(422, detail=[{"loc": ["body", "messages"], "msg": "field required"}]), "bad_request", "field required"),
        (error(404, detail="Not Found"), "not_found", "Not Found"),
        (error(429, error={"message": "You exceeded your current quota", "code": "insufficient_quota"}),
         "insufficient_quota", "quota"),  # OpenAI
        (error(429, error={"message": "hard limit", "code": "billing_hard_limit_reached"}), "insufficient_quota", "hard"),
        (Step(code=501, body=b"not implemented"), "server_error", "not implemented"),
        (Step(code=403, body=b"<html><title>Forbidden by proxy</title></html>"), "not_authorised", "Forbidden by proxy"),
        (error(400), "bad_request", "HTTP 400"),
    ],
)  # fmt: skip
def test_lasting_errors_in_each_servers_words(endpoint, step, kind, said):
    """The kind is the same whoever words it, the server's sentence stands in the message, and nothing is sent twice."""
    endpoint.default = step
    completion = answer(client(endpoint))
    assert completion.error.kind == kind
    assert said in completion.error.message
    assert "{" not in completion.error.message or "detail" in completion.error.message or kind == "bad_request"
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "step",
    [
        error(503, error={"code": 503, "message": "Loading model", "type": "unavailable_error"}),  # llama.cpp
        Step(code=502, body=b"<html><title>502 Bad Gateway</title></html>"),
        error(529, error={"type": "overloaded_error", "message": "Overloaded"}),
        error(429, error={"code": "RateLimitReached", "message": "Please retry after 1 second"}),  # Azure
        error(
            429, error={"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota"}
        ),  # Gemini
        error(500, error={"message": "llama runner process has terminated"}),  # Ollama
    ],
)
def test_passing_errors_in_each_servers_words(endpoint, step):
    """A server that is loading, busy or restarting is asked again."""
    endpoint.script = [step]
    assert answer(client(endpoint)).text == "ok"
    assert len(endpoint.requests) == 2


# --------------------------------------------------------------------------------------------------------------- Azure


@pytest.mark.parametrize("path", ["/openai", "/openai/deployments/m"])
def test_azure_gets_its_path_its_version_and_its_header(endpoint, path):
    """The deployment stands in the path, `api-version` behind it, and the key in `api-key` alone."""
    base = endpoint.url.removesuffix("/v1") + path + "?api-version=2024-10-21"
    model = client(endpoint, base_url=base, api_key="env:AZURE", environ={"AZURE": KEY})
    assert answer(model).text == "ok"
    assert endpoint.paths == ["/openai/deployments/m/chat/completions?api-version=2024-10-21"]
    assert endpoint.headers[0]["api-key"] == KEY
    assert "authorization" not in endpoint.headers[0]


def test_a_query_goes_with_each_request_and_its_values_stay_hidden(endpoint):
    """A gateway's own parameter is sent, and blotted out where the gateway repeats it."""
    endpoint.default = status(400, f"bad token {KEY}")
    model = client(endpoint, base_url="${URL}?token=${TOKEN}", environ={"URL": endpoint.url, "TOKEN": KEY})
    completion = answer(model)
    assert endpoint.paths == [f"/v1/chat/completions?token={KEY}"]
    assert completion.error.message == "HTTP 400: bad token ***"


# ---------------------------------------------------------------------------------------------------- reasoning models


def refusing(*names, words="Unsupported value: '{}' does not support 0 with this model."):
    """A server that refuses options one after the other."""

    def step(request):
        for name in names:
            if name in request:
                return status(400, words.format(name), error="unsupported_value")
        return reply("rest END more")

    return step


def test_refused_options_are_left_out_and_remembered(endpoint):
    """Two options cost two refused requests, once; the next prompt goes through at once."""
    endpoint.default = refusing("temperature", "seed")
    model = client(endpoint, concurrency=1)
    settings = GenerationSettings(max_new_tokens=9, temperature=0.7, seed=3)
    assert answer(model, settings).text == "rest END more"
    assert len(endpoint.requests) == 3
    assert answer(model, settings).text == "rest END more"
    assert len(endpoint.requests) == 4
    assert model.traffic.manners.left_out == {"temperature", "seed"}


def test_a_refused_stop_is_cut_here(endpoint):
    """Where a model knows no stop texts, the answer still ends before them."""
    endpoint.default = refusing("stop", words="Unsupported parameter: '{}' is not supported with this model.")
    assert answer(client(endpoint), GenerationSettings(max_new_tokens=9, stop=("END",))).text == "rest"


def test_an_option_with_a_wrong_value_is_not_left_out(endpoint):
    """A complaint about a value is the prompt's failure: nobody may change what was asked for."""
    endpoint.default = status(400, "temperature must be between 0 and 2")
    assert answer(client(endpoint)).error.kind == "bad_request"
    assert len(endpoint.requests) == 1


# ------------------------------------------------------------------------------------------------------------ logprobs


def test_logprobs_in_the_shape_of_old_completions(endpoint):
    """Parallel lists with a mapping of alternatives are read like the list of objects."""
    old = {"tokens": ["4", "!"], "token_logprobs": [-0.2, -1.0], "top_logprobs": [{"4": -0.2, "5": -1.9}, None]}
    endpoint.default = raw(choice("4!", logprobs=old))
    first, second = tokens(client(endpoint))
    assert (first.text, first.logprob, first.alternatives) == ("4", -0.2, (("4", -0.2), ("5", -1.9)))
    assert (second.text, second.alternatives) == ("!", ())


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        [],
        {"content": None},
        {"content": []},
        {"content": [{"token": "4", "logprob": -0.1, "top_logprobs": []}]},
        {"content": [{"token": "4", "logprob": None, "top_logprobs": [{"token": "4", "logprob": None}]}]},
        {"content": ["4"]},
        {"tokens": ["4"]},
    ],
)
def test_logprobs_without_alternatives_are_none(endpoint, logprobs):
    """Whatever stands where alternatives should, the endpoint counts as one that gives none, after one request."""
    endpoint.default = raw(choice("4", logprobs=logprobs))
    model = client(endpoint)
    assert tokens(model) is None
    assert tokens(model) is None
    assert len(endpoint.requests) == 1


def test_one_reply_without_logprobs_does_not_end_them(endpoint):
    """Once an endpoint gave logprobs, a reply without them stands alone; a filtered one is a failure with its name."""
    given = reply("4", logprobs=[("4", -0.2)])
    endpoint.script = [given, reply("4"), given, reply(None, finish="content_filter"), given]
    model = client(endpoint)
    assert tokens(model) is not None
    assert tokens(model) is None
    assert tokens(model) is not None
    with pytest.raises(EndpointError) as raised:
        tokens(model)
    assert raised.value.kind == "content_filter"
    assert tokens(model) is not None


def test_impossible_alternatives_are_left_out(endpoint):
    """A logprob of minus infinity, NaN or null is no alternative; the others stay."""
    top = [{"token": "4", "logprob": -0.1}, {"token": "5", "logprob": float("-inf")}, {"token": "6", "logprob": None}]
    endpoint.default = raw(choice("4", logprobs={"content": [{"token": "4", "logprob": -0.1, "top_logprobs": top}]}))
    [token] = tokens(client(endpoint))
    assert token.alternatives == (("4", -0.1),)


@pytest.mark.parametrize(
    "words",
    [
        "Requested sample logprobs of 20, which is greater than max allowed: 5",
        "top_logprobs must be less than or equal to 5",
    ],
)
def test_fewer_alternatives_are_asked_for_where_fewer_are_allowed(endpoint, words):
    """The number in the refusal is the next one asked for, and is remembered."""
    given = reply("4", logprobs=[("4", -0.2)])
    endpoint.default = lambda request: status(400, words) if request["top_logprobs"] > 5 else given
    model = client(endpoint)
    assert tokens(model)[0].text == "4"
    assert tokens(model)[0].text == "4"
    assert [request["top_logprobs"] for request in endpoint.requests] == [20, 5, 5]


# --------------------------------------------------------------------------------------------------------------- draws


def test_a_server_without_n_is_asked_once_for_many(endpoint):
    """Whether `n` is ignored or refused, the model remembers it for the next case."""
    for default in (reply("4"), lambda request: status(400, "n must be 1") if "n" in request else reply("4")):
        endpoint.default = default
        endpoint.requests.clear()
        model = client(endpoint)
        for _ in range(2):
            assert model.sample(TURN, n=3, temperature=1.0, max_new_tokens=4) == ["4"] * 3
        assert sum("n" in request for request in endpoint.requests) == 1


def test_a_server_that_gives_too_many_choices(endpoint):
    """Of more choices than were asked for, as many as were asked for count."""
    endpoint.default = reply(*"12345678")
    assert client(endpoint).sample(TURN, n=5, temperature=1.0, max_new_tokens=4) == list("12345")
