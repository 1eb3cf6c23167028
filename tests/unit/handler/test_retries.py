"""One request sent several times: with a key, as OpenAI's clients repeat it, and by two people at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from handler import errors
from handler.chat.budget import Budget, Caller
from handler.chat.retries import Retries
from handler.chat.terms import Terms
from handler.routes.answers import error_answer
from handler.schema.conversations import ConversationCreate
from handler.sessions import Claim
from tests.unit.handler.conftest import Answer, Door, OpenDoor, Wrapper, rest_event
from tests.unit.handler.scripted_engine import MODEL, noisy_engine, scripted_engine
from tests.unit.handler.streams import Reading, ask, told

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
HI = [{"role": "user", "content": "Hi"}]


class Model:
    """Counts what it is asked, and can be made to wait, or to fail."""

    def __init__(self) -> None:
        self.answers = 0
        self.held = threading.Event()
        self.held.set()
        self.broken = False

    def __call__(self, prompt: str) -> str:
        assert self.held.wait(20)
        if self.broken:
            raise errors.Unavailable("The model is gone.")
        return "Hello!"


@pytest.fixture
def model() -> Model:
    """What the door's engine says."""
    return Model()


class Noting(Wrapper):
    """A store that tells when an attempt has left its note, and counts the looks at what others have left."""

    looks = 0

    def __init__(self, noted: threading.Event) -> None:
        self._noted = noted

    def claim(self, *what: Any, **how: Any) -> Any:
        taken = self.part.claim(*what, **how)
        self.looks += 1
        self._noted.set()
        return taken

    def newest_claim(self, *what: Any, **how: Any) -> Any:
        self.looks += 1
        return self.part.newest_claim(*what, **how)


@pytest.fixture
def noted() -> threading.Event:
    """Set once an attempt can be found by another."""
    return threading.Event()


@pytest.fixture
def door(open_door: OpenDoor, model: Model, noted: threading.Event) -> Iterator[Door]:
    """An application whose model can be held."""
    yield open_door(scripted_engine(model), streaming=True, wrap=Noting(noted).wrap)
    model.held.set()


def create(door: Door, *, repeated: int = 0, stream: bool = False, **options: Any) -> Answer:
    """Take a turn; `repeated` is what the client says of its earlier attempts; `h_…` are headers."""
    headers = {name[2:]: options.pop(name) for name in list(options) if name.startswith("h_")}
    body = {"model": MODEL, "input": "Hi", **({"stream": True} if stream else {}), **options}
    return door.call("POST", RESPONSES, body, x_stainless_retry_count=str(repeated), **headers)


def new_conversation(door: Door) -> str:
    return str(door.call("POST", CONVERSATIONS, {}).json["id"])


def texts(door: Door, conversation: str) -> list[str]:
    """What has been said in a conversation, oldest first."""
    items = door.call("GET", f"{CONVERSATIONS}/{conversation}/items?order=asc").json["data"]
    return [item["content"][0]["text"] for item in items]


def is_replayed(answer: Answer) -> bool:
    return answer.headers.get("x-dormouse-replayed") == "true"


def test_a_key_carries_a_turn_out_once(door: Door) -> None:
    """The same request under the same key gets the same bytes again, and the turn is there once."""
    conversation = new_conversation(door)
    first = create(door, conversation=conversation, h_Idempotency_Key="k 1")
    again = create(door, conversation=conversation, h_Idempotency_Key="k 1")
    assert (first.status, is_replayed(first)) == (200, False)
    assert (again.status, is_replayed(again), again.body) == (200, True, first.body)
    assert texts(door, conversation) == ["Hi", "Hello!"]
    other = create(door, conversation=conversation, h_Idempotency_Key="k 2")
    assert not is_replayed(other)
    assert len(texts(door, conversation)) == 4


def test_a_key_is_its_tenants(door: Door) -> None:
    """One tenant's key means nothing to another."""
    body = {"model": MODEL, "input": "Hi"}
    first = door.call("POST", RESPONSES, body, tenant="a", Idempotency_Key="k")
    other = door.call("POST", RESPONSES, body, tenant="b", Idempotency_Key="k")
    assert not is_replayed(other)
    assert first.json["id"] != other.json["id"]


@pytest.mark.parametrize("change", [{"input": "Ho"}, {"stream": True}, {"temperature": 0.5}])
def test_a_key_belongs_to_one_body(door: Door, change: dict[str, Any]) -> None:
    """Another body under the same key is a mistake of the client's, and is told so."""
    create(door, h_Idempotency_Key="k")
    refused = create(door, h_Idempotency_Key="k", **change)
    assert (refused.status, refused.headers["x-should-retry"]) == (409, "false")
    assert refused.json["error"]["code"] == "idempotency_key_reused"
    assert refused.json["error"]["param"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["", "é", "a\tb", "k" * 256])
def test_what_can_be_no_key(door: Door, key: str) -> None:
    """A key is 1 to 255 printable ASCII characters; another is refused by the header's name."""
    refused = create(door, h_Idempotency_Key=key)
    assert (refused.status, refused.json["error"]["param"]) == (400, "Idempotency-Key")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": MODEL, "messages": HI}),
        ("/v1/completions", {"model": MODEL, "prompt": "Hi"}),
        (RESPONSES, {"model": MODEL, "input": "Hi", "store": False}),
    ],
)
def test_a_key_where_nothing_is_kept(door: Door, path: str, body: dict[str, Any]) -> None:
    """Where nothing is kept nothing can be given again, and a key is refused rather than ignored."""
    refused = door.call("POST", path, body, Idempotency_Key="k")
    assert (refused.status, refused.json["error"]["param"]) == (400, "Idempotency-Key")
    assert refused.json["error"]["code"] == "unsupported_parameter"


def test_a_streamed_turn_is_streamed_again(door: Door) -> None:
    """The events of a repeated stream end in the same response, and its deltas join to the same text."""
    first = create(door, stream=True, h_Idempotency_Key="k")
    again = create(door, stream=True, h_Idempotency_Key="k")
    assert (is_replayed(first), is_replayed(again)) == (False, True)
    for answer in (first, again):
        assert [event["sequence_number"] for event in answer.events] == list(range(len(answer.events)))
        deltas = [e["delta"] for e in answer.events if e["type"] == "response.output_text.delta"]
        assert "".join(deltas) == "Hello!"
    assert again.events[-1]["response"] == first.events[-1]["response"]
    assert again.events[0] == first.events[0]


FIRST_AND_AGAIN = [
    ({"Idempotency_Key": "k"}, {"Idempotency_Key": "k"}),
    ({}, {"x_stainless_retry_count": "1"}),
]


@pytest.mark.parametrize(("first", "again"), FIRST_AND_AGAIN)
def test_a_repetition_goes_on_where_its_client_hung_up(
    open_door: OpenDoor, first: dict[str, str], again: dict[str, str]
) -> None:
    """What the broken stream had is told again, then the rest, in the same turn; a third time it is told."""
    door = open_door(noisy_engine(), streaming=True)
    conversation = new_conversation(door)
    options = {"input": "Hi", "max_output_tokens": 12}
    body = {"model": MODEL, "stream": True, "conversation": conversation, **options}
    cut = Reading(door, "POST", RESPONSES, body, **first).until(deltas=2).hang_up()
    rest = Reading(door, "POST", RESPONSES, body, **again).rest()
    assert rest.events[: len(cut.events)] == cut.events
    assert told(rest.events) == told(ask(door, **options).rest().events)
    assert Reading(door, "POST", RESPONSES, body, **again).rest().events == rest.events
    assert len(texts(door, conversation)) == 2


def test_a_client_that_leaves_before_the_first_event_is_heard(open_door: OpenDoor) -> None:
    """Between the head and the first event too: the turn is kept, and a repetition goes on at once."""
    door = open_door(noisy_engine(), streaming=True)
    body = {"model": MODEL, "stream": True, "input": "Hi", "max_output_tokens": 12}
    Reading(door, "POST", RESPONSES, body, Idempotency_Key="k").hang_up()
    assert door.application.inference._margin.of(29.0) == 0  # nothing was handed over, so nothing is learnt
    patience = {"x_request_timeout_ms": "2000"}
    rest = Reading(door, "POST", RESPONSES, body, Idempotency_Key="k", **patience).rest()
    assert told(rest.events) == told(ask(door, input="Hi", max_output_tokens=12).rest().events)


@pytest.mark.parametrize(("first", "again"), FIRST_AND_AGAIN)
def test_a_repetition_of_what_was_called_off_is_told(
    open_door: OpenDoor, first: dict[str, str], again: dict[str, str]
) -> None:
    """A cancelled response is the answer to its request, and is not taken up by a repetition."""
    door = open_door(noisy_engine(), streaming=True)
    body = {"model": MODEL, "stream": True, "input": "Hi"}
    called_off = Reading(door, "POST", RESPONSES, body, **first).until(deltas=2)
    asked = door.call("POST", f"{RESPONSES}/{called_off.id}/cancel", x_request_timeout_ms="100")
    assert asked.json["error"]["code"] == "still_running"
    assert called_off.rest().events[-1]["response"]["status"] == "cancelled"
    assert Reading(door, "POST", RESPONSES, body, **again).rest().events == called_off.events


@pytest.mark.parametrize("repeated", [0, 1])
def test_the_second_waits_for_the_first(
    door: Door, model: Model, noted: threading.Event, repeated: int
) -> None:
    """While the first attempt runs, a second waits for it, with a key or as a client's own repetition."""
    key = {} if repeated else {"h_Idempotency_Key": "k"}
    conversation = new_conversation(door)
    model.held.clear()
    answers: list[Answer] = []

    def attempt(number: int) -> None:
        answers.append(create(door, conversation=conversation, repeated=number, **key))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in (0, repeated)]
    threads[0].start()
    assert noted.wait(30)
    threads[1].start()
    time.sleep(0.3)
    assert not answers
    model.held.set()
    for thread in threads:
        thread.join()
    assert len({answer.body for answer in answers}) == 1
    assert sorted(map(is_replayed, answers)) == [False, True]
    assert texts(door, conversation) == ["Hi", "Hello!"]


def test_the_second_waits_no_longer_than_it_may(door: Door, model: Model, noted: threading.Event) -> None:
    """When its budget ends before the first attempt does, the second says so, and may be sent again."""
    model.held.clear()
    first = threading.Thread(target=lambda: create(door, h_Idempotency_Key="k"))
    first.start()
    assert noted.wait(30)
    before = door.application.store.looks
    told = create(door, h_Idempotency_Key="k", h_x_request_timeout_ms="400")
    assert door.application.store.looks - before <= 6  # pauses of 50, 100 and 200 ms, and what is left
    assert (told.status, told.json["error"]["code"]) == (409, "request_in_progress")
    assert (told.headers["x-should-retry"], told.headers["Retry-After"]) == ("true", "1")
    model.held.set()
    first.join()
    assert is_replayed(create(door, h_Idempotency_Key="k"))


def test_the_time_that_went_into_waiting_is_nobodys_fault() -> None:
    """Who waited for an attempt that failed, and then has no time left for its prompt, may come again."""
    claims = iter(["running", "mine"])

    class Store:
        def claim(self, tenant: str, key: str, **claim: Any) -> Claim:
            return Claim(key, claim["owner"], next(claims), claim["fingerprint"], until_s=2.0)

        def release(self, *_: Any) -> None:
            pass

    now = [0.0]
    caller = Caller("alice", "r", limit_s=3.0, attempt_s=3.0)
    retries = Retries(Store(), lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))  # type: ignore[arg-type]
    for has_waited, expected in ((True, errors.StillRunning), (False, errors.DeadlineTooShort)):
        terms = Terms(key="k") if has_waited else Terms()
        attempt = retries.attempt(
            Budget(caller, lambda: now[0]), "POST /v1/conversations", ConversationCreate(), terms
        )
        assert attempt.earlier() is None
        with pytest.raises(expected), attempt.under_way():
            raise errors.DeadlineTooShort(100, 1.0, 0.0)


@pytest.mark.parametrize("place", ["", "/items"])
def test_a_refused_request_frees_its_key(door: Door, place: str) -> None:
    """What was wrong is put right under the same key, where items are checked as well."""
    path = f"{CONVERSATIONS}/{new_conversation(door)}/items" if place else CONVERSATIONS
    wrong = {"items": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}
    refused = door.call("POST", path, wrong, Idempotency_Key="k")
    assert (refused.status, refused.json["error"]["param"]) == (400, "items[0].call_id")
    assert door.call("POST", path, {"items": HI}, Idempotency_Key="k").status == 200


@pytest.mark.parametrize("key", [{}, {"h_Idempotency_Key": "k"}])
def test_a_failed_attempt_stands_in_nobodys_way(door: Door, model: Model, key: dict[str, str]) -> None:
    """What failed before it was written is tried anew at once."""
    conversation = new_conversation(door)
    model.broken = True
    assert create(door, conversation=conversation, **key).status == 503
    model.broken = False
    before = door.application.store.looks
    second = create(door, conversation=conversation, repeated=1, **key)
    assert door.application.store.looks - before <= 2  # the note is found, and taken over
    assert (second.status, is_replayed(second)) == (200, False)
    third = create(door, conversation=conversation, repeated=2, **key)
    assert (third.body, is_replayed(third)) == (second.body, True)
    assert texts(door, conversation) == ["Hi", "Hello!"]


@pytest.mark.parametrize("place", ["conversation", "previous_response_id", "none"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_repetition_gets_the_turn_again(door: Door, place: str, stream: bool) -> None:
    """A repetition without a key finds what its first attempt has led to, wherever the turn was kept."""
    where = {
        "conversation": lambda: {"conversation": new_conversation(door)},
        "previous_response_id": lambda: {"previous_response_id": create(door, input="Ho").json["id"]},
        "none": dict,
    }[place]()
    first = create(door, stream=stream, **where)
    again = create(door, stream=stream, repeated=1, **where)
    assert is_replayed(again)
    if stream:
        assert again.events[-1]["response"] == first.events[-1]["response"]
    else:
        assert again.body == first.body


def test_a_repetition_is_known_though_others_wrote_since(door: Door) -> None:
    """The turn is found again by its request, however many turns came after it."""
    conversation = new_conversation(door)
    first = create(door, conversation=conversation)
    for number in range(3):
        create(door, conversation=conversation, input=f"Number {number}")
    again = create(door, conversation=conversation, repeated=1)
    assert (again.body, is_replayed(again)) == (first.body, True)


def test_a_first_attempt_is_always_a_new_turn(door: Door) -> None:
    """Two who say the same, or one who says it twice, have two turns, with a retry count of 0 or none."""
    conversation = new_conversation(door)
    bodies = {create(door, conversation=conversation).json["id"] for _ in range(2)}
    bodies.add(door.post(RESPONSES, input="Hi", conversation=conversation).json["id"])
    assert len(bodies) == 3
    assert texts(door, conversation) == ["Hi", "Hello!"] * 3
    repeated = create(door, conversation=conversation, repeated=1)
    assert repeated.json["id"] in bodies


def test_two_first_attempts_at_once_do_not_meet(door: Door, model: Model) -> None:
    """Two people who say the same at the same moment both get an answer of their own."""
    model.held.clear()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(create(door))) for _ in range(2)]
    for thread in threads:
        thread.start()
    model.held.set()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200, 200]
    assert len({answer.json["id"] for answer in answers}) == 2


class HandClock:
    """The time of day, which goes on only when told."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_repetition_is_no_older_than_its_client_waits(open_door: OpenDoor) -> None:
    """What was said longer ago than a client's attempts can last was another turn."""
    now = HandClock()
    door = open_door(now=now)
    conversation = new_conversation(door)
    patience = {"h_x_stainless_read_timeout": "20.0"}
    first = create(door, conversation=conversation)
    now.now_s += 27
    again = create(door, conversation=conversation, repeated=1, **patience)
    assert again.body == first.body
    now.now_s += 2
    later = create(door, conversation=conversation, repeated=1, **patience)
    assert not is_replayed(later)
    now.now_s += 27
    assert create(door, conversation=conversation, repeated=2, **patience).body == later.body


def test_a_repetition_that_meets_a_cold_start_is_known(open_door: OpenDoor) -> None:
    """What the start took of this attempt's time was there for the attempts before it."""
    now = HandClock()
    door = open_door(now=now, gateway_timeout_s=29)
    conversation = new_conversation(door)
    first = create(door, conversation=conversation)
    now.now_s += 36
    body = {"model": MODEL, "input": "Hi", "conversation": conversation}
    event = rest_event("POST", RESPONSES, body, x_stainless_retry_count="1")
    event["requestContext"]["requestTimeEpoch"] = int(now.now_s - 6) * 1000
    assert door.send(event).body == first.body


class Dying(Wrapper):
    """A store in front of a process that dies: what is armed is the moment of death."""

    dies: str | None = None

    def append(self, *arguments: Any, **options: Any) -> Any:
        if self.dies == "before the write":
            raise Killed
        written = self.part.append(*arguments, **options)
        if self.dies == "after the write":
            raise Killed
        return written

    def claim(self, *arguments: Any, **options: Any) -> Any:
        if self.dies and options["lease_s"] == 0:
            raise errors.Unavailable("A dead process writes nothing.")
        return self.part.claim(*arguments, **options)

    def release(self, *arguments: Any, **options: Any) -> Any:
        if not self.dies:
            self.part.release(*arguments, **options)


class Killed(BaseException):
    """No handler of errors sees a SIGKILL."""


@pytest.mark.parametrize("dies", ["before the write", "after the write"])
@pytest.mark.parametrize("key", [{}, {"h_Idempotency_Key": "k"}])
def test_a_writer_that_died_is_followed(open_door: OpenDoor, dies: str, key: dict[str, str]) -> None:
    """The repetition of a request whose writer died gets the turn if it was written, and else takes it, once
    the lease of the dead has run out; the dead one, should it wake, writes nothing."""
    now = HandClock()
    store = Dying()
    door = open_door(wrap=store.wrap, now=now)
    conversation = new_conversation(door)
    store.dies = dies
    with pytest.raises(Killed):
        create(door, conversation=conversation, **key, h_x_request_timeout_ms="3000")
    store.dies = None
    if dies == "before the write":
        told = create(door, conversation=conversation, repeated=1, **key, h_x_request_timeout_ms="100")
        assert told.json["error"]["code"] == "request_in_progress"
        now.now_s += 3 + 5  # the budget of the dead, and the grace
    answer = create(door, conversation=conversation, repeated=1, **key)
    assert answer.status == 200
    assert is_replayed(answer) == (dies == "after the write")
    assert len(texts(door, conversation)) == 2


class Drowning(Wrapper):
    """A store whose notes of attempts fail, though turns are written."""

    def claim(self, *_: Any, **__: Any) -> Any:
        raise errors.Unavailable("Too busy for notes.")


def test_no_turn_fails_for_its_note(open_door: OpenDoor) -> None:
    """An attempt whose note could not be written has its turn all the same, and the turn leaves the note."""
    door = open_door(wrap=Drowning().wrap)
    first = create(door)
    assert first.status == 200
    assert create(door, repeated=1).body == first.body


class Failing(Wrapper):
    """A store of which some methods fail."""

    down: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        if name in self.down:
            raise errors.Unavailable("The session store does not answer.")
        return super().__getattr__(name)


class Shaky:
    """An application over a store that can be made to fail; a second goes by between two requests."""

    def __init__(self, open_door: OpenDoor, **settings: Any) -> None:
        self._now, self._store = HandClock(), Failing()
        self._door = open_door(wrap=self._store.wrap, now=self._now, **settings)
        self.conversation = new_conversation(self._door)

    def post(self, path: str, body: Any, *down: str, repeated: int = 0, **headers: str) -> Answer:
        """Send a request in which `{}` is the conversation, while these methods of the store are down."""
        self._now.now_s += 1
        self._store.down = frozenset(down)
        body = {name: self.conversation if value == "{}" else value for name, value in body.items()}
        path = path.format(self.conversation)
        return self._door.call("POST", path, body, x_stainless_retry_count=str(repeated), **headers)


TURN = {"model": MODEL, "input": "Hi"}
PLACE = f"{CONVERSATIONS}/{{}}/items"
FAILING = [
    (RESPONSES, {**TURN, "conversation": "{}"}, "get"),
    (RESPONSES, {**TURN, "conversation": "{}"}, "window"),
    (RESPONSES, {**TURN, "conversation": "{}"}, "usage"),
    (RESPONSES, TURN, "usage"),
    (PLACE, {"items": HI}, "get"),
    (PLACE, {"items": HI}, "append"),
    (CONVERSATIONS, {"items": HI}, "create"),
]


@pytest.mark.parametrize(("path", "body", "down"), FAILING)
def test_a_repetition_of_what_failed_is_given_nobody_elses(
    open_door: OpenDoor, path: str, body: dict[str, Any], down: str
) -> None:
    """Wherever an attempt fails that is to be repeated, its repetition is carried out, though the very same
    request was answered before; and the one after that is given the repetition's answer."""
    shaky = Shaky(open_door, daily_tokens=1_000_000)
    others = shaky.post(path, body)
    failed = shaky.post(path, body, down)
    assert (failed.status, failed.headers["x-should-retry"]) == (503, "true")
    again = shaky.post(path, body, repeated=1)
    assert (others.status, again.status, is_replayed(again)) == (200, 200, False)
    assert again.body != others.body
    third = shaky.post(path, body, repeated=2)
    assert (third.body, is_replayed(third)) == (again.body, True)


@pytest.mark.parametrize(("path", "body", "down"), FAILING)
def test_what_could_not_be_noted_is_not_repeated(
    open_door: OpenDoor, path: str, body: dict[str, Any], down: str
) -> None:
    """Where even the note of a failure fails, the client is told not to repeat blindly; with a key it may."""
    shaky = Shaky(open_door, daily_tokens=1_000_000)
    failed = shaky.post(path, body, down, "claim")
    assert (failed.status, failed.headers["x-should-retry"]) == (503, "false")
    assert failed.json["error"]["code"] == "turn_state_unknown"
    keyed = shaky.post(path, body, down, "release", Idempotency_Key="k")
    assert (keyed.status, keyed.headers["x-should-retry"]) == (503, "true")


@pytest.mark.parametrize("body", [{}, {"items": []}, {"metadata": {"a": "b"}}])
def test_an_empty_conversation_is_nobody_elses(open_door: OpenDoor, body: dict[str, Any]) -> None:
    """Every request for one is like the next, so that none is taken for a repetition, but by its key; and
    there is nothing to be noted."""
    shaky = Shaky(open_door)
    first = shaky.post(CONVERSATIONS, body)
    again = shaky.post(CONVERSATIONS, body, "claim", "newest_claim", repeated=1)
    assert (again.status, is_replayed(again)) == (200, False)
    assert again.json["id"] != first.json["id"]
    failed = shaky.post(CONVERSATIONS, body, "create", "claim")
    assert (failed.status, failed.headers["x-should-retry"]) == (503, "true")
    keyed = [shaky.post(CONVERSATIONS, body, Idempotency_Key="k") for _ in range(2)]
    assert keyed[0].body == keyed[1].body


@pytest.mark.parametrize("sign", [{"h_Idempotency_Key": "k"}, {"repeated": 1}])
def test_items_are_added_once(door: Door, sign: dict[str, Any]) -> None:
    """Conversations and items that were made for a request are given again for it, byte for byte."""
    repeated = str(sign.get("repeated", 0))
    key = {"Idempotency_Key": "k"} if "h_Idempotency_Key" in sign else {}

    def send(path: str, body: Any, count: str) -> Answer:
        return door.call("POST", path, body, x_stainless_retry_count=count, **key)

    body = {"items": HI, "metadata": {"a": "b"}}
    made = send(CONVERSATIONS, body, "0")
    place = f"{CONVERSATIONS}/{made.json['id']}"
    key = key and {"Idempotency_Key": "another"}
    added = send(f"{place}/items", {"items": HI * 2}, "0")
    assert send(f"{place}/items", {"items": HI * 2}, repeated).body == added.body
    assert texts(door, made.json["id"]) == ["Hi"] * 3
    door.call("POST", place, {"metadata": {}})
    key = key and {"Idempotency_Key": "k"}
    again = send(CONVERSATIONS, body, repeated)
    assert (again.body, is_replayed(again)) == (made.body, True)
    assert len(door.call("GET", CONVERSATIONS).json["data"]) == 1


def test_versions_are_tags(door: Door) -> None:
    """Every answer that shows or changes a conversation names its version as ETag, also given again."""
    made = door.call("POST", CONVERSATIONS, {"items": HI})
    place = f"{CONVERSATIONS}/{made.json['id']}"
    answers = [made, door.call("GET", place), door.call("POST", place, {"metadata": {}})]
    assert [answer.headers["ETag"] for answer in answers] == ['"1"'] * 3
    added = [door.call("POST", f"{place}/items", {"items": HI}, Idempotency_Key="k") for _ in range(2)]
    assert [answer.headers["ETag"] for answer in added] == ['"2"'] * 2
    item = added[0].json["data"][0]["id"]
    assert door.call("DELETE", f"{place}/items/{item}").headers["ETag"] == '"3"'


def test_if_match(door: Door) -> None:
    """What was meant for another version is refused with the current one, and changes nothing; what names it
    is done."""
    conversation = door.call("POST", CONVERSATIONS, {"items": HI}).json["id"]
    place = f"{CONVERSATIONS}/{conversation}"
    item = door.call("GET", f"{place}/items").json["data"][0]["id"]
    turn = {"model": MODEL, "input": "Hi", "conversation": conversation}
    calls: list[tuple[str, str, Any]] = [
        ("POST", RESPONSES, turn),
        ("POST", f"{place}/items", {"items": HI}),
        ("POST", place, {"metadata": {}}),
        ("DELETE", f"{place}/items/{item}", None),
        ("DELETE", place, None),
    ]
    for stale in ('"7"', 'W/"1"', '"x", "7"', '""'):
        for method, path, body in calls:
            refused = door.call(method, path, body, If_Match=stale)
            assert (refused.status, refused.headers["x-should-retry"]) == (412, "false"), (method, path)
            assert refused.headers["ETag"] == '"1"'
            error = refused.json["error"]
            assert (error["code"], error["param"]) == ("version_conflict", "If-Match")
            assert error["dormouse"] == {"current_version": 1}
    for method, path, body in calls:
        tag = door.call("GET", place).headers["ETag"]
        assert door.call(method, path, body, If_Match=f'"0", {tag}').status == 200, (method, path)
    assert door.call("POST", f"{place}/items", {"items": HI}, If_Match="*").status == 404


def test_what_is_meant_for_another_version_is_no_repetition(door: Door) -> None:
    """Who says the same of the next version means something new; of the same version it is a repetition."""
    place = f"{CONVERSATIONS}/{new_conversation(door)}/items"
    said = {"items": HI}
    first = door.call("POST", place, said, If_Match='"1"')
    again = door.call("POST", place, said, If_Match='"1"', x_stainless_retry_count="1")
    assert (again.body, is_replayed(again)) == (first.body, True)
    more = door.call("POST", place, said, If_Match='"2"', x_stainless_retry_count="1")
    assert (more.headers["ETag"], is_replayed(more)) == ('"3"', False)


@pytest.mark.parametrize("text", ["7", '"7', "", '"7" "8"', "**"])
def test_what_is_no_if_match(door: Door, text: str) -> None:
    """A precondition that cannot be read is refused by its name."""
    refused = door.call("POST", f"{CONVERSATIONS}/conv_a/items", {"items": HI}, If_Match=text)
    assert (refused.status, refused.json["error"]["param"]) == (400, "If-Match")


def test_if_match_where_nothing_has_a_version(door: Door) -> None:
    """A precondition on what has no version is refused rather than ignored."""
    chat = {"model": MODEL, "messages": HI}
    answers = [
        create(door, h_If_Match='"1"'),
        door.call("POST", CONVERSATIONS, {}, If_Match='"1"'),
        door.call("POST", "/v1/chat/completions", chat, If_Match='"1"'),
    ]
    assert [answer.json["error"]["param"] for answer in answers] == ["If-Match"] * 3


def leaves(kind: type[errors.RequestError] = errors.RequestError) -> list[type[errors.RequestError]]:
    """Every error that a client can be told of."""
    return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "DeadlineTooShort": (1, 2.0, 3.0),
    "MethodNotAllowed": ("No.", ["GET"]),
    "VersionConflict": (1, 2),
    "PreconditionFailed": (1, 2),
    "QuotaExceeded": (100, 100, 40),
}
NAMED = {"InvalidValue": {"param": "n"}}


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
def test_openais_client_retries_what_may_be_retried(leaf: type[errors.RequestError]) -> None:
    """OpenAI's own client repeats exactly the errors that say so, and waits as long as they say."""
    error = leaf(*ARGUMENTS.get(leaf.__name__, ("No.",)), **NAMED.get(leaf.__name__, {}))
    answer = error_answer(error, "r-1")
    client = openai.OpenAI(api_key="none")
    response = httpx2.Response(answer["statusCode"], headers=answer["headers"])
    assert client._should_retry(response) == error.retryable
    waits_s = error.reset_s if isinstance(error, errors.QuotaExceeded) else 1 if error.retryable else None
    assert client._parse_retry_after_header(response.headers) == waits_s
