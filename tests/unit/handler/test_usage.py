"""Tokens are counted by tenant and day, whatever becomes of the answer; a quota holds for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.admin.organization import UsageCompletionsResponse

from handler.chat.ledger import COUNTING_S
from handler.errors import Unavailable
from handler.sessions import Usage
from tests.unit.handler.conftest import Answer, Door, OpenDoor, Wrapper, rest_event
from tests.unit.handler.scripted_engine import MODEL, noisy_engine, scripted_engine
from tests.unit.handler.streams import again, ask

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
HI = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HI},
    TEXT: {"prompt": "Hi", "max_tokens": 3},
    RESPONSES: {"input": "Hi"},
}
NOON_S = 1_795_608_000.0  # 2026-11-25T12:00:00Z
DAY = "2026-11-25"
LONG = "Hello, how are you? " * 5


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stalls hides no count here; that no answer waits for long is a test of its own."""
    if "hangs" not in request.node.name:
        monkeypatch.setattr("handler.chat.ledger.COUNTING_S", 30.0)


def used(door: Door, tenant: str = "", period: str = "") -> dict[str, int]:
    """A tenant's counters of a day, today unless told otherwise."""
    answer = door.call("GET", "/v1/usage" + (f"?period={period}" if period else ""), tenant=tenant)
    assert answer.status == 200, answer.body
    (bucket,) = answer.json["data"]
    return bucket["results"][0] if bucket["results"] else {}


def counted(result: dict[str, int]) -> tuple[int, int, int]:
    """Prompt and answer tokens, and answers."""
    return result["input_tokens"], result["output_tokens"], result["num_model_requests"]


def receipt_of(answer: Answer) -> dict[str, Any]:
    """The receipt, streamed or not."""
    last = answer.json if not answer.events else next(e for e in answer.events[::-1] if _facts(e))
    receipt: dict[str, Any] = _facts(last)["receipt"]
    return receipt


def _facts(event: dict[str, Any]) -> Any:
    return event.get("dormouse") or event.get("response", {}).get("dormouse")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_an_answer_is_counted_as_its_receipt_says(open_door: OpenDoor, path: str, stream: bool) -> None:
    """Prompt, cached and answer tokens of the receipt are what the tenant's day grows by."""
    door = open_door(streaming=True)
    sums = [0, 0, 0]
    for _ in range(2):
        receipt = receipt_of(door.post(path, **BODIES[path], stream=stream))
        names = ("prompt_tokens", "cached_tokens", "output_tokens")
        sums = [total + receipt[name] for total, name in zip(sums, names, strict=True)]
    result = used(door)
    assert [result[name] for name in ("input_tokens", "input_cached_tokens", "output_tokens")] == sums
    assert (result["num_model_requests"], sums[2] > 0) == (2, True)


def test_several_choices_count_their_prompt_once(door: Door) -> None:
    """As in the answer's own usage."""
    usage = door.post(CHAT, messages=HI, n=3).json["usage"]
    assert counted(used(door)) == (usage["prompt_tokens"], usage["completion_tokens"], 1)


@pytest.mark.parametrize(("path", "chunks"), [(CHAT, 4), (TEXT, 3), (RESPONSES, 7)])
def test_a_client_that_hangs_up_is_counted(open_door: OpenDoor, path: str, chunks: int) -> None:
    """Tokens that were made for somebody who did not wait for the end count like any others."""
    door = open_door(scripted_engine(lambda _: LONG), streaming=True)
    limit = "max_output_tokens" if path == RESPONSES else "max_tokens"
    body = {"model": MODEL, **BODIES[path], limit: 40, "stream": True}
    stream = door.application.api.answer(rest_event("POST", path, body), None)
    assert not isinstance(stream, dict)
    for _ in range(chunks):  # the prelude, what comes before the text, and two pieces of it
        next(stream)
    stream.close()
    prompt, output, requests = counted(used(door))
    assert 0 < output < 40
    assert (prompt > 0, requests) == (True, 1)


def test_an_answer_that_was_cut_is_counted(door: Door) -> None:
    """So are both halves of an answer that was continued, each with its prompt."""
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2)
    rest = door.post(RESPONSES, previous_response_id=cut.json["id"])
    usages = [answer.json["usage"] for answer in (cut, rest)]
    sums = [sum(usage[name] for usage in usages) for name in ("input_tokens", "output_tokens")]
    assert counted(used(door)) == (*sums, 2)


def test_a_resumed_answer_is_counted(open_door: OpenDoor) -> None:
    """What is generated when it goes on counts, with the prompt and beginning that are read again; what is
    only told, counted or called off does not.
    """
    door = open_door(scripted_engine(lambda _: LONG), streaming=True)
    cut = ask(door, input="Hi").until(deltas=2).hang_up()
    prompt, output, _ = counted(used(door))
    made = again(door, cut.id).rest().events[-1]["response"]
    sums = (2 * prompt + output, made["usage"]["output_tokens"], 2)
    assert counted(used(door)) == sums
    again(door, cut.id).rest()
    assert door.call("POST", f"{RESPONSES}/{cut.id}/cancel").status == 400
    assert door.post(f"{RESPONSES}/input_tokens", input="Hi").status == 200
    assert counted(used(door)) == sums


def test_what_was_not_answered_is_not_counted(door: Door) -> None:
    """Refused requests, reads and deletions use no tokens."""
    assert door.post(CHAT, messages=[]).status == 400
    assert door.post(RESPONSES, input="Hi", previous_response_id="resp_0").status == 404
    assert door.call("POST", "/v1/conversations", {"items": HI}).status == 200
    assert used(door) == {}


def test_days_and_tenants_are_counted_apart(open_door: OpenDoor) -> None:
    """Midnight UTC begins a new day, and nobody's tokens are another's."""
    time = [NOON_S]
    door = open_door(now=lambda: time[0])
    door.post(CHAT, messages=HI)
    first = used(door)
    time[0] += 12 * 3600
    assert used(door) == {}
    assert used(door, period=DAY) == first
    assert used(door, tenant="acme", period=DAY) == {}


@pytest.mark.parametrize("options", [{}, {"echo": True, "logprobs": 1, "max_tokens": 0}])
def test_nothing_that_is_warm_is_another_tenants(open_door: OpenDoor, options: dict[str, Any]) -> None:
    """A tenant's guess at another's prompt finds nothing cached, and is answered as if it were warm; the
    prompt of the same tenant is cached, but for its last token.
    """
    door = open_door(noisy_engine())

    def ask(tenant: str) -> tuple[int, Any]:
        body = {"model": MODEL, "prompt": "The PIN is 4711.", "seed": 1, "max_tokens": 4, **options}
        answer = door.call("POST", TEXT, body, tenant=tenant).json
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"], answer["choices"]

    asked = [ask(tenant) for tenant in ("alice", "alice", "bob", "bob", "alice")]
    whole = asked[1][0]
    assert whole > 0
    assert [cached for cached, _ in asked] == [0, whole, 0, whole, 0]
    assert all(choices == asked[0][1] for _, choices in asked)


def test_the_first_tenant_finds_what_the_start_has_left(open_door: OpenDoor) -> None:
    """What was computed before a snapshot is nobody's words: it stays warm for whoever is first."""
    engine = scripted_engine(lambda _: "Hello!")
    for _ in engine.chat(HI, max_tokens=1):
        pass
    door = open_door(engine)
    cached = [
        receipt_of(door.call("POST", CHAT, {"model": MODEL, "messages": HI}, tenant=tenant))["cached_tokens"]
        for tenant in ("alice", "bob")
    ]
    assert cached[0] > 0
    assert cached[1] == 0


@pytest.mark.parametrize(
    "period", ["yesterday", "2026-13-01", "20261125", "2026-11-25T00:00:00", "9999-12-31"]
)
def test_a_wrong_day_is_refused(door: Door, period: str) -> None:
    """By the parameter's name."""
    refused = door.call("GET", f"/v1/usage?period={period}")
    assert (refused.status, refused.json["error"]["param"]) == (400, "period")


def test_usage_has_openais_shape(open_door: OpenDoor) -> None:
    """OpenAI's own type for an organization's usage reads it; the bucket is the day."""
    door = open_door(now=lambda: NOON_S)
    door.post(CHAT, messages=HI)
    page = door.call("GET", "/v1/usage").json
    UsageCompletionsResponse.model_validate(page, strict=True)
    (bucket,) = page["data"]
    assert (bucket["start_time"], bucket["end_time"]) == (NOON_S - 12 * 3600, NOON_S + 12 * 3600)
    assert page["dormouse"] == {
        "period": DAY,
        "limit_tokens": None,
        "remaining_tokens": None,
        "reset_s": None,
    }


class Uncounting(Wrapper):
    """A store whose counters do not answer, at once or not for a while."""

    def __init__(self, fail: Callable[[], None]) -> None:
        self._fail = fail

    def add_usage(self, *_: Any) -> Usage:
        self._fail()
        raise Unavailable("The counters are gone.")


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_does_not_fail_with_its_count(
    open_door: OpenDoor, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets its answer, the operator a line with the number that is missing."""
    door = open_door(wrap=Uncounting(lambda: None).wrap)
    answer = door.post(path, **BODIES[path])
    assert answer.status == 200
    (record,) = [record for record in caplog.records if record.message == "uncounted"]
    receipt = receipt_of(answer)
    assert vars(record)["tokens"] == receipt["prompt_tokens"] + receipt["output_tokens"]


def test_an_answer_does_not_wait_for_a_count_that_hangs(open_door: OpenDoor) -> None:
    """A store that says nothing costs half a second, not the gateway's patience."""
    released = threading.Event()
    door = open_door(wrap=Uncounting(lambda: released.wait() and None).wrap)
    try:
        assert door.post(CHAT, messages=HI).status == 200
        assert not released.is_set()
    finally:
        released.set()


def test_no_event_waits_for_the_count(open_door: OpenDoor) -> None:
    """A streamed answer has left whole, its end included, before its tokens are written down."""
    counting = threading.Event()
    door = open_door(wrap=Uncounting(counting.set).wrap, streaming=True)
    body = {"model": MODEL, "messages": HI, "stream": True}
    stream = door.application.api.answer(rest_event("POST", CHAT, body), None)
    assert not isinstance(stream, dict)
    heard = b""
    while not heard.endswith(b"data: [DONE]\n\n"):
        heard += next(stream)
    assert not counting.is_set()
    assert list(stream) == []
    assert counting.wait(COUNTING_S)


class Reading(Wrapper):
    """A store that counts how often counters are read."""

    reads = 0

    def usage(self, *arguments: Any) -> Any:
        self.reads += 1
        return self.part.usage(*arguments)


@pytest.mark.parametrize(("daily_tokens", "reads"), [(0, 0), (10**6, 1)])
@pytest.mark.parametrize("path", BODIES)
def test_a_quota_costs_one_read(open_door: OpenDoor, path: str, daily_tokens: int, reads: int) -> None:
    """And none where there is no quota."""
    store = Reading()
    open_door(wrap=store.wrap, daily_tokens=daily_tokens).post(path, **BODIES[path])
    assert store.reads == reads


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_a_spent_quota_is_told(open_door: OpenDoor, path: str, stream: bool) -> None:
    """The answer that runs over it is let finish; the next is 429 with the numbers, and not to be retried."""
    door = open_door(daily_tokens=4, now=lambda: NOON_S, streaming=True)
    assert door.post(path, **BODIES[path], stream=stream).status == 200
    total = sum(counted(used(door))[:2])
    assert total > 4
    refused = door.post(path, **BODIES[path], stream=stream)
    assert refused.status == 429
    error = refused.json["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "quota_exceeded")
    assert error["message"] == (
        f"The 4 tokens of this day (UTC) are spent: {total} have been used. "
        "The next day begins in 12 h 0 min."
    )
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["Retry-After"] == str(12 * 3600)
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    assert sum(counted(used(door))[:2]) == total
    assert door.call("POST", path, {"model": MODEL, **BODIES[path]}, tenant="acme").status == 200


def test_a_spent_quota_refuses_only_what_generates(open_door: OpenDoor) -> None:
    """An answer whose client hung up does not go on; once it is whole, it is told whatever is spent."""
    spent, unlimited = (
        open_door(scripted_engine(lambda _: LONG), streaming=True, daily_tokens=limit) for limit in (4, 0)
    )
    path = f"{RESPONSES}/{ask(spent, input='Hi').until(deltas=2).hang_up().id}"
    refused = spent.call("GET", f"{path}?stream=true")
    assert (refused.status, refused.json["error"]["code"]) == (429, "quota_exceeded")
    whole = unlimited.call("GET", f"{path}?stream=true")
    told = spent.call("GET", f"{path}?stream=true")
    assert (told.status, told.events) == (200, whole.events)
    assert told.headers["x-ratelimit-remaining-tokens"] == "0"
    assert spent.call("GET", path).status == 200


def test_a_spent_quota_is_new_the_next_day(open_door: OpenDoor) -> None:
    """At midnight UTC."""
    time = [NOON_S]
    door = open_door(daily_tokens=5, now=lambda: time[0])
    door.post(CHAT, messages=HI)
    time[0] += 12 * 3600 - 1
    assert door.post(CHAT, messages=HI).status == 429
    time[0] += 1
    assert door.post(CHAT, messages=HI).status == 200


def test_an_erasure_gives_no_quota_back(open_door: OpenDoor) -> None:
    """What was used today stays used, and is told; what was used before is forgotten. Where there is no quota
    nothing is kept.
    """
    time = [NOON_S - 24 * 3600]
    limited, unlimited = (open_door(daily_tokens=limit, now=lambda: time[0]) for limit in (4, 0))
    limited.post(CHAT, messages=HI)
    time[0] += 24 * 3600
    limited.post(CHAT, messages=HI)
    today = used(limited)
    erase = ("POST", "/v1/erase", {"confirm": "everything"})
    for _ in range(2):
        assert limited.call(*erase).status == 200
        assert limited.post(CHAT, messages=HI).status == 429
    assert (used(limited), used(limited, period="2026-11-24")) == (today, {})
    assert unlimited.call(*erase).status == 200
    assert used(unlimited) == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_answers_say_what_is_left(open_door: OpenDoor, path: str, stream: bool) -> None:
    """In OpenAI's headers, as it was when the request came; and nothing of the kind without a quota."""
    door = open_door(daily_tokens=1_000, now=lambda: NOON_S + 59, streaming=True)
    first = door.post(path, **BODIES[path], stream=stream)
    second = door.post(path, **BODIES[path], stream=stream)
    left = 1_000 - receipt_of(first)["prompt_tokens"] - receipt_of(first)["output_tokens"]
    for answer, remaining in ((first, 1_000), (second, left)):
        assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
        assert answer.headers["x-ratelimit-remaining-tokens"] == str(remaining)
        assert answer.headers["x-ratelimit-reset-tokens"] == "11h59m1s"
    unlimited = open_door(streaming=True).post(path, **BODIES[path], stream=stream)
    assert not [name for name in unlimited.headers if name.startswith("x-ratelimit")]


def test_usage_says_what_is_left(open_door: OpenDoor) -> None:
    """Of today only."""
    door = open_door(daily_tokens=1_000, now=lambda: NOON_S)
    door.post(CHAT, messages=HI)
    today = door.call("GET", "/v1/usage").json["dormouse"]
    assert today["remaining_tokens"] == 1_000 - sum(counted(used(door))[:2])
    assert (today["limit_tokens"], today["reset_s"]) == (1_000, 12 * 3600)
    assert door.call("GET", "/v1/usage?period=2026-11-24").json["dormouse"]["remaining_tokens"] is None


def test_parallel_answers_are_all_counted(open_door: OpenDoor) -> None:
    """Many at once: none is missing in the sum."""
    door = open_door()
    threads = [threading.Thread(target=door.post, args=(CHAT,), kwargs={"messages": HI}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one = counted(used(door))
    single = open_door().post(CHAT, messages=HI).json["usage"]
    assert one == (8 * single["prompt_tokens"], 8 * single["completion_tokens"], 8)
