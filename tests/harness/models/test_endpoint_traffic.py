"""Limits, budgets, cool-down and tallies, on a clock that passes only where somebody waits."""

import itertools
import random
import threading

import pytest

from harness.errors import EndpointError, UserError
from harness.models.endpoint import EndpointModel, Hosts
from harness.models.endpoint.traffic import Limits, Price, Tokens, describe, percentiles
from harness.records import GenerationSettings, Message, Prompt
from tests.harness.models.fake_endpoint import DROP, FakeClock, FakeEndpoint, Step, raw, reply, status

SETTINGS = GenerationSettings(max_new_tokens=10)
TURN = (Message(role="user", content="fever?"),)
PRICE = (1000.0, 10_000.0)
"""So high that a call costs whole units: 7 prompt and 3 completion tokens cost 0.037."""
CALL = (7 * 1000 + 3 * 10_000) / 1e6


def prompts(count):
    """Prompts that name their own index."""
    return [Prompt(sample_id=str(i), messages=(Message(role="user", content=f"q{i}"),)) for i in range(count)]


def client(server, **options):
    """A client with fast retries."""
    options = {"name": "m", "base_url": server.url, "max_retries": 2, "backoff": 0.001, "user": "api", **options}
    return EndpointModel(**options)


def answers(model, count):
    """Completions in the order of the prompts; each index comes once, whatever happens."""
    pairs = list(itertools.chain.from_iterable(model.generate(prompts(count), SETTINGS)))
    assert sorted(index for index, _ in pairs) == list(range(count))
    return [completion for _, completion in sorted(pairs, key=lambda pair: pair[0])]


def traffic(clock, price=None, **limits):
    """The traffic of one model, without an endpoint."""
    return Hosts(clock).traffic(host="h", url="h/v1", model="m", limits=Limits(**limits), price=price)


def busiest_minute(events):
    """The most that starts within any 60 seconds, by trying every window that starts with an event."""
    return max(sum(size for moment, size in events if start <= moment < start + 60) for start, _ in events)


# -------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("seed", range(6))
def test_no_minute_holds_more_requests_or_tokens_than_declared(seed):
    """Over random sizes and idle times, the busiest minute is within both limits; a request above the limit goes alone."""
    rng = random.Random(seed)
    clock, requests, tokens = FakeClock(), rng.randint(1, 9), rng.randint(50, 300)
    found = traffic(clock, requests_per_minute=requests, tokens_per_minute=tokens)
    sent = []
    for _ in range(60):
        size = Tokens(rng.randint(1, 60), rng.randint(1, 60))
        entry = found.enter(size, user="u", not_before=0.0, stopped=threading.Event())
        sent.append((clock.time, sum(size)))
        found.leave(entry, size, user="u", used=size)
        clock.time += rng.choice([0.0, 0.1, 5.0])
    assert busiest_minute([(moment, 1) for moment, _ in sent]) <= requests
    assert busiest_minute(sent) <= max(tokens, max(size for _, size in sent))


def test_limits_cost_no_time_before_they_are_reached():
    """As many as a minute may hold start at once, and the next one 60 seconds later."""
    clock = FakeClock()
    found = traffic(clock, requests_per_minute=5, concurrency=99)
    moments = []
    for _ in range(11):
        found.enter(Tokens(1, 1), user="u", not_before=0.0, stopped=threading.Event())
        moments.append(clock.time - 1000.0)
    assert moments == [0.0] * 5 + [60.0] * 5 + [120.0]


def test_true_usage_replaces_the_estimate():
    """A request that took fewer tokens than was thought leaves room for the next one in the same minute."""
    clock = FakeClock()
    found = traffic(clock, tokens_per_minute=100)
    for used, moment in ((Tokens(5, 5), 0.0), (Tokens(10, 80), 0.0), (Tokens(1, 1), 60.0)):
        entry = found.enter(Tokens(20, 70), user="u", not_before=0.0, stopped=threading.Event())
        assert clock.time - 1000.0 == moment
        found.leave(entry, Tokens(20, 70), user="u", used=used)


def test_a_request_above_the_limit_is_sent_alone():
    """It waits for an empty minute, and not for ever."""
    clock = FakeClock()
    found = traffic(clock, tokens_per_minute=100)
    for tokens, moment in ((50, 0.0), (500, 60.0), (50, 120.0)):
        entry = found.enter(Tokens(tokens, 0), user="u", not_before=0.0, stopped=threading.Event())
        assert clock.time - 1000.0 == moment
        found.leave(entry, Tokens(tokens, 0), user="u", used=Tokens(tokens, 0))


def test_candidates_and_judges_share_the_requests_in_flight(endpoint):
    """Two that name the same model never have more in flight than the smaller concurrency."""
    lock, busy, most, two = threading.Lock(), [0], [0], threading.Event()

    def slow(request):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            if busy[0] == 2:
                two.set()
        two.wait(300)  # the first one for the second
        threading.Event().wait(0.01)
        with lock:
            busy[0] -= 1
        return reply("ok")

    endpoint.default = slow
    hosts = Hosts()
    models = [client(endpoint, hosts=hosts, concurrency=8), client(endpoint, hosts=hosts, concurrency=3, user="judge")]
    threads = [threading.Thread(target=answers, args=(model, 12)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(endpoint.requests) == 24
    assert 2 <= most[0] <= 3


@pytest.mark.parametrize("code", [429, 503])
def test_a_pause_that_a_host_asks_for_is_kept_by_all_its_models(endpoint, code):
    """After one request was told to wait, another model of the same host waits as long, and one of another host does not."""
    clock = FakeClock()
    hosts = Hosts(clock)
    endpoint.script = [status(code, headers={"retry-after": "30"})]
    with FakeEndpoint() as other:
        assert answers(client(endpoint, hosts=hosts, max_retries=0), 1)[0].error is not None
        assert client(other, hosts=hosts).sample(TURN, n=1, temperature=1.0, max_new_tokens=4) == ["ok"]
        assert clock.waited == 0
        judge = client(endpoint, hosts=hosts, name="judge", user="judge")
        assert judge.sample(TURN, n=1, temperature=1.0, max_new_tokens=4) == ["ok"]
        assert clock.waited == pytest.approx(30)


def test_a_server_error_alone_holds_nobody_back(endpoint):
    """A single 500 is the request's own trouble: the host's other models go on."""
    clock = FakeClock()
    hosts = Hosts(clock)
    endpoint.script = [status(500)]
    answers(client(endpoint, hosts=hosts, max_retries=0), 1)
    answers(client(endpoint, hosts=hosts, name="judge"), 1)
    assert clock.waited == 0


def test_limits_of_one_model_are_the_smallest_that_were_stated():
    """Whoever names the model next can tighten its limits, and cannot give it another price."""
    hosts = Hosts(FakeClock())
    where = {"host": "h", "url": "h/v1", "model": "m"}
    first = hosts.traffic(**where, limits=Limits(concurrency=8, max_requests=50), price=None)
    second = hosts.traffic(**where, limits=Limits(concurrency=2, max_requests=90, max_cost=1.0), price=Price(1.0, 2.0))
    assert first is second
    assert first.limits == Limits(concurrency=2, max_requests=50, max_cost=1.0)
    assert first.price == (1.0, 2.0)
    with pytest.raises(UserError, match="price"):
        hosts.traffic(**where, limits=Limits(), price=Price(1.0, 3.0))
    assert hosts.traffic(host="h", url="h/v1", model="other", limits=Limits(), price=None) is not first


# -------------------------------------------------------------------------------------------------------------- budget


@pytest.mark.parametrize("concurrency", [1, 8])
def test_max_requests_is_exact_and_nothing_is_lost(endpoint, concurrency):
    """Of 20 prompts with a budget of 7, seven are sent; the others fail as budget_exhausted, and so does all that follows."""
    model = client(endpoint, max_requests=7, concurrency=concurrency)
    kinds = [completion.error.kind if completion.error else "ok" for completion in answers(model, 20)]
    assert sorted(kinds) == ["budget_exhausted"] * 13 + ["ok"] * 7
    assert len(endpoint.requests) == 7
    with pytest.raises(EndpointError, match="max_requests is 7") as raised:
        model.sample(TURN, n=1, temperature=1.0, max_new_tokens=4)
    assert raised.value.kind == "budget_exhausted"
    assert len(endpoint.requests) == 7


def test_failed_tries_count_against_the_budget(endpoint):
    """A budget of 5 is 5 requests, not 5 answers."""
    endpoint.default = status(503)
    completions = answers(client(endpoint, max_requests=5, concurrency=1), 3)
    assert [completion.error.kind for completion in completions] == [
        "server_error",
        "budget_exhausted",
        "budget_exhausted",
    ]
    assert len(endpoint.requests) == 5


def test_candidates_and_judges_share_a_budget(endpoint):
    """What one spends of a model, the other has not."""
    hosts = Hosts()
    candidate = client(endpoint, hosts=hosts, max_requests=5)
    judge = client(endpoint, hosts=hosts, user="judge")
    answers(candidate, 4)
    judge.sample(TURN, n=1, temperature=1.0, max_new_tokens=4)
    with pytest.raises(EndpointError, match="max_requests"):
        judge.sample(TURN, n=1, temperature=1.0, max_new_tokens=4)


@pytest.mark.parametrize("seed", range(5))
def test_cost_never_exceeds_the_budget_and_comes_near_it(endpoint, seed):
    """With random usage within the estimates and eight requests at once, max_cost holds, and less than one call is left."""
    rng = random.Random(seed)
    lock, costs = threading.Lock(), []

    def priced(request):
        with lock:
            used = Tokens(rng.randint(1, 9), rng.randint(1, 10))
            costs.append(Price(*PRICE).of(used))
        return raw(
            {
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
                "usage": {"prompt_tokens": used.prompt, "completion_tokens": used.completion},
            }
        )

    endpoint.default = priced
    model = client(endpoint, max_cost=1.0, price=PRICE)
    completions = answers(model, 60)
    assert {c.error.kind for c in completions if c.error} == {"budget_exhausted"}
    largest = Price(*PRICE).of(Tokens(10, 10))
    assert 1.0 - largest < sum(costs) <= 1.0
    entry = usage(model)
    assert entry["cost"] == pytest.approx(sum(costs))


def test_calls_that_may_have_been_billed_count_by_their_estimate(endpoint):
    """Lost connections and replies without usage use the budget up; error statuses do not."""
    estimate = Price(*PRICE).of(Tokens(1 + 8, 10))
    endpoint.default = DROP
    model = client(endpoint, max_retries=0, price=PRICE, max_cost=2.5 * estimate, concurrency=1)
    kinds = [completion.error.kind for completion in answers(model, 4)]
    assert kinds == ["endpoint_unreachable"] * 2 + ["budget_exhausted"] * 2
    endpoint.default = status(400)
    model = client(endpoint, price=PRICE, max_cost=2.5 * estimate, concurrency=1)
    assert {completion.error.kind for completion in answers(model, 9)} == {"bad_request"}


# ------------------------------------------------------------------------------------------------------------- tallies


def usage(model):
    """What the record says of the model's only user."""
    return describe(model.traffic.tallies["api"], model.traffic.price)


def test_tokens_and_cost_are_those_of_the_calls(endpoint):
    """Ten calls of 7 and 3 tokens; the cost is the sum of tokens times price per million."""
    model = client(endpoint, price=PRICE)
    answers(model, 10)
    entry = usage(model)
    assert (entry["requests"], entry["answered"]) == (10, 10)
    assert (entry["prompt_tokens"], entry["completion_tokens"]) == (70, 30)
    assert entry["cost"] == pytest.approx(10 * CALL)


def test_an_unknown_price_is_an_unknown_cost(endpoint):
    """Without a price there is no cost at all, not a cost of 0."""
    model = client(endpoint)
    answers(model, 3)
    entry = usage(model)
    assert entry["cost"] is None
    assert entry["cost_at_least"] is None
    assert entry["prompt_tokens"] == 21


@pytest.mark.parametrize("step", [DROP, raw({"choices": [{"index": 0, "message": {"content": "ok"}}]})])
def test_an_unknown_usage_is_an_unknown_cost(endpoint, step):
    """One call that may have cost something leaves a lower bound."""
    endpoint.script = [step]
    model = client(endpoint, price=PRICE, concurrency=1)
    answers(model, 3)
    entry = usage(model)
    assert entry["cost"] is None
    assert entry["unknown_usage"] == 1
    assert entry["cost_at_least"] == pytest.approx(entry["prompt_tokens"] / 7 * CALL)


def test_latency_is_told_with_and_without_waiting(endpoint):
    """A call takes what the server takes; with waiting, the pause of a rate limit and the failed try count too."""
    clock = FakeClock()

    def timed(request):
        clock.time += 2.0
        return reply("ok")

    endpoint.default = timed
    endpoint.script = [status(429, headers={"retry-after": "30"})]
    model = client(endpoint, hosts=Hosts(clock), concurrency=1)
    [completion] = answers(model, 1)
    entry = usage(model)
    assert completion.seconds == pytest.approx(2.0)
    assert entry["seconds"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert entry["seconds_with_waiting"]["p50"] == pytest.approx(32.0)
    assert (entry["requests"], entry["tries_again"], entry["failures"]) == (2, 1, {"rate_limited": 1})


def test_percentiles_of_one_to_hundred():
    """Linear interpolation between ranks: the 50th of 1..100 is 50.5, the 95th 95.05, the 99th 99.01."""
    assert percentiles([float(n) for n in range(1, 101)]) == {"p50": 50.5, "p95": 95.05, "p99": 99.01}
    assert percentiles([]) is None


def test_each_user_has_a_tally_of_its_own(endpoint):
    """A candidate and a judge on one model share limits, not counts."""
    hosts = Hosts()
    answers(client(endpoint, hosts=hosts), 3)
    client(endpoint, hosts=hosts, user="judge").sample(TURN, n=1, temperature=1.0, max_new_tokens=4)
    assert [(e["user"], e["model"], e["requests"]) for e in hosts.usage()] == [("api", "m", 3), ("judge", "m", 1)]
    assert {e["host"] for e in hosts.usage()} == {endpoint.url.removesuffix("/v1")}


def test_what_was_never_asked_has_no_entry(endpoint):
    """A model that was built and not used is not in the record."""
    hosts = Hosts()
    client(endpoint, hosts=hosts)
    assert hosts.usage() == []


def test_a_stopped_run_does_not_wait(endpoint):
    """A request that waits for its turn goes away when the run is stopped, though the minute is not over."""
    hosts = Hosts()
    model = client(endpoint, hosts=hosts, requests_per_minute=2)
    batches = model.generate(prompts(50), SETTINGS)
    next(batches)
    batches.close()
    for thread in threading.enumerate():
        if thread.name.startswith("endpoint"):
            thread.join(timeout=60)
            assert not thread.is_alive()
    assert len(endpoint.requests) <= 2


def test_a_reply_that_is_cut_off_is_tried_again(endpoint):
    """A connection that ends within the body is a lost connection, not an answer."""
    whole = reply("half of this is nothing")
    endpoint.script = [Step(body=whole.body, headers=whole.headers, cut=True), whole]
    assert answers(client(endpoint), 1)[0].text == "half of this is nothing"
    assert len(endpoint.requests) == 2
