"""A stored response is told again event by event, and goes on in its place where its client hung up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from handler.errors import NotFound, Unavailable
from handler.sessions import Item
from tests.unit.handler.conftest import Door, OpenDoor, Wrapper
from tests.unit.handler.scripted_engine import noisy_engine, scripted_engine
from tests.unit.handler.streams import RESPONSES, Reading, again, ask, text_of, told

ASK: list[dict[str, Any]] = [
    {"input": "Hi", "max_output_tokens": 12},
    {"input": "Hi", "max_output_tokens": 30, "temperature": 1.5, "seed": 5, "stop": ["e", "the"]},
    {
        "input": "Hi",
        "max_output_tokens": 30,
        "temperature": 0.9,
        "seed": 6,
        "top_logprobs": 2,
        "stop": ["th"],
    },
]


@pytest.fixture
def noisy(open_door: OpenDoor) -> Door:
    """A model that goes on and on and never says the same."""
    return open_door(noisy_engine(), streaming=True)


@pytest.mark.parametrize("asked", ASK)
def test_the_same_events_come_again(noisy: Door, asked: dict[str, Any]) -> None:
    """The same deltas, numbers and objects, from any event on, and as often as one asks."""
    live = ask(noisy, **asked).rest()
    assert again(noisy, live.id).rest().events == live.events
    for number in range(len(live.events)):
        assert again(noisy, live.id, number).rest().events == live.events[number + 1 :]
    assert again(noisy, live.id, 10_000).rest().events == []


@pytest.mark.parametrize("asked", ASK)
def test_a_continuation_is_told_again_as_it_came(noisy: Door, asked: dict[str, Any]) -> None:
    """What continues another response begins with its own first piece, not with the other's."""
    cut = noisy.post(RESPONSES, **{**asked, "max_output_tokens": 5}).json
    live = ask(
        noisy, previous_response_id=cut["id"], max_output_tokens=7, top_logprobs=asked.get("top_logprobs")
    )
    assert again(noisy, live.rest().id).rest().events == live.events


def test_a_whole_answer_is_told_again(open_door: OpenDoor) -> None:
    """One that ended by itself too, and one made without a stream in the pieces it would have had."""
    door = open_door(streaming=True)
    live = ask(door, input="Hi").rest()
    assert live.events[-1]["type"] == "response.completed"
    assert again(door, live.id).rest().events == live.events
    whole = door.post(RESPONSES, input="Hi").json
    assert told(again(door, whole["id"]).rest().events) == told(live.events)
    assert again(door, whole["id"]).rest().events[-1]["response"] == whole


class Older(Wrapper):
    """A store whose items were written before ids were kept."""

    def item(self, *where: str) -> Item:
        item: Item = self.part.item(*where)
        return replace(item, token_ids=(), sampling={})


def test_without_ids_the_text_comes_in_one_piece(open_door: OpenDoor) -> None:
    """What an older version stored is told again all the same, in one delta."""
    door = open_door(noisy_engine(), wrap=Older().wrap, streaming=True)
    live = ask(door, **ASK[2]).rest()
    found = again(door, live.id).rest()
    assert [delta["delta"] for delta in found.deltas] == [text_of(live.events[-1]["response"])]
    deltas = [entry for delta in live.deltas for entry in delta["logprobs"]]
    assert found.deltas[0]["logprobs"] == deltas
    assert found.events[-1]["response"] == live.events[-1]["response"]


def test_a_deleted_answer_is_told_without_its_text(noisy: Door) -> None:
    """When the item is gone from its conversation, the response knows no more than that it was there."""
    conversation = noisy.call("POST", "/v1/conversations", {}).json["id"]
    live = ask(noisy, **ASK[2], conversation=conversation).rest()
    item = live.events[-1]["response"]["output"][0]["id"]
    noisy.call("DELETE", f"/v1/conversations/{conversation}/items/{item}")
    found = again(noisy, live.id).rest()
    assert [event["type"] for event in found.events] == [
        event["type"] for event in live.events if event not in live.deltas
    ]
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert found.events[-1]["response"]["output"][0]["content"] == [part]
    assert noisy.call("GET", f"{RESPONSES}/{live.id}").json == found.events[-1]["response"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("starting_after=3", "starting_after"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&include_obfuscation=true", "include_obfuscation"),
        ("include=reasoning.encrypted_content", "include"),
        ("include[]=file_search_call.results", "include[]"),
        ("stream=maybe", "stream"),
        ("resume=true", "resume"),
    ],
)
def test_what_cannot_be_is_refused(noisy: Door, query: str, param: str) -> None:
    """A query that would change what happens is answered with 400 and its name."""
    made = noisy.post(RESPONSES, **ASK[0]).json
    refused = noisy.call("GET", f"{RESPONSES}/{made['id']}?{query}")
    assert (refused.status, refused.json["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "query", ["stream=false", "include_obfuscation=false", "include[]=message.output_text.logprobs"]
)
def test_what_happens_anyway_may_be_said(noisy: Door, query: str) -> None:
    """A query that states what is so is accepted."""
    made = noisy.post(RESPONSES, **ASK[0]).json
    assert noisy.call("GET", f"{RESPONSES}/{made['id']}?{query}").json == made


class Late(Wrapper):
    """A store that a response reaches just after somebody has not found it there."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Any] = lambda: None

    def response(self, *where: str) -> Any:
        try:
            return self.part.response(*where)
        except NotFound:
            self.meanwhile()
            raise


def test_a_response_is_there_at_every_moment(open_door: OpenDoor) -> None:
    """Also where it ends between the look into the store and the one at what is under way."""
    late = Late()
    door = open_door(streaming=True, wrap=late.wrap)
    reading = ask(door, input="Hi").until(deltas=1)
    late.meanwhile = reading.rest
    seen = [door.call("GET", f"{RESPONSES}/{reading.id}").json for _ in range(2)]
    assert [each["status"] for each in seen] == ["in_progress", "completed"]


def test_an_unknown_response_is_not_told(noisy: Door) -> None:
    """There is no stream of what is not there, or is somebody else's."""
    live = ask(noisy, **ASK[0]).rest()
    for path, tenant in ((f"{RESPONSES}/resp_0", ""), (f"{RESPONSES}/{live.id}", "b")):
        assert noisy.call("GET", f"{path}?stream=true", tenant=tenant).status == 404


@pytest.mark.parametrize("asked", ASK)
@pytest.mark.parametrize("before", [0, 1, 4])
def test_an_interrupted_answer_goes_on(noisy: Door, asked: dict[str, Any], before: int) -> None:
    """The same response and message to its end, the same events as if the client had stayed."""
    whole = ask(noisy, **asked).rest()
    cut = ask(noisy, **asked).until(deltas=before).hang_up()
    stored = noisy.call("GET", f"{RESPONSES}/{cut.id}").json
    assert (stored["status"], stored["dormouse"]["stop_reason"]) == ("incomplete", "cancelled")
    rest = again(noisy, cut.id, cut.last).rest()
    assert told([*cut.events, *rest.events]) == told(whole.events)
    made, expected = rest.events[-1]["response"], whole.events[-1]["response"]
    assert text_of(made) == text_of(expected)
    assert made["output"][0]["content"] == expected["output"][0]["content"]
    assert (made["id"], made["output"][0]["id"]) == (cut.id, stored["output"][0]["id"])
    assert (made["status"], made["usage"]) == (expected["status"], {**expected["usage"], **_cached(made)})
    assert noisy.call("GET", f"{RESPONSES}/{cut.id}").json == made
    assert again(noisy, cut.id).rest().events[-1]["response"] == made


def _cached(made: Any) -> Any:
    """What was cached, which depends on what was asked before."""
    return {"input_tokens_details": made["usage"]["input_tokens_details"]}


def test_it_can_be_interrupted_again_and_again(noisy: Door) -> None:
    """A client on a bad line gets there in the end, one piece a connection."""
    whole = ask(noisy, **ASK[1]).rest()
    parts = [ask(noisy, **ASK[1]).until(deltas=1).hang_up()]
    while not parts[-1].events[-1]["type"].startswith("response.") or "response" not in parts[-1].events[-1]:
        parts.append(again(noisy, parts[0].id, parts[-1].last).until(deltas=1))
        if len(parts[-1].deltas) == 1:
            parts[-1].hang_up()
    parts[-1].rest()
    assert told([event for part in parts for event in part.events]) == told(whole.events)
    assert len(parts) > 3


SURE = {**ASK[0], "top_logprobs": 20}
WRITE_BYTES = 12_000
"""Holds those of one piece, and not of three."""


def logprobs_of(response: Any) -> Any:
    """A response's log-probabilities."""
    return response["output"][0]["content"][0]["logprobs"]


@pytest.mark.parametrize("stream", [False, True])
def test_too_many_logprobs_take_no_turn_with_them(
    noisy: Door, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Who has asked gets them with the answer; the store keeps all but them, and says so."""
    monkeypatch.setattr("handler.sessions.records.MAX_WRITE_BYTES", WRITE_BYTES)
    made = ask(noisy, **SURE).rest().events[-1]["response"] if stream else noisy.post(RESPONSES, **SURE).json
    assert len(logprobs_of(made)) == 12
    kept = noisy.call("GET", f"{RESPONSES}/{made['id']}").json
    assert (text_of(kept), logprobs_of(kept)) == (text_of(made), [])
    events = again(noisy, made["id"]).rest().events
    assert events[-1]["response"] == kept
    assert "".join(event["delta"] for event in events if "delta" in event) == text_of(made)


@pytest.mark.parametrize("before", [1, 3])
def test_a_resumed_answer_with_too_many_logprobs_is_kept(
    noisy: Door, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """They are whole or not there: where the beginning was kept without, the rest has none either."""
    monkeypatch.setattr("handler.sessions.records.MAX_WRITE_BYTES", WRITE_BYTES)
    cut = ask(noisy, **SURE).until(deltas=before).hang_up()
    begun = noisy.call("GET", f"{RESPONSES}/{cut.id}").json
    made = again(noisy, cut.id).rest().events[-1]["response"]
    assert len(logprobs_of(made)) == (12 if logprobs_of(begun) else 0)
    assert bool(logprobs_of(begun)) == (before == 1)
    kept = noisy.call("GET", f"{RESPONSES}/{cut.id}").json
    assert (text_of(kept), logprobs_of(kept)) == (text_of(made), [])
    assert text_of(kept).startswith(text_of(begun))


def interrupted(open_door: OpenDoor) -> tuple[Door, list[str], str, Reading]:
    """A conversation whose first answer was cut by a hang-up; the list grows by each prompt that is read."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "Hello, how are you?"

    door = open_door(scripted_engine(reply), streaming=True)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    cut = ask(door, input="Hi", conversation=conversation).until(deltas=2).hang_up()
    return door, prompts, conversation, cut


def test_the_next_turn_reads_it_whole(open_door: OpenDoor) -> None:
    """In its conversation it is one message, and its counters are those of one answer."""
    door, prompts, conversation, cut = interrupted(open_door)
    made = again(door, cut.id).rest().events[-1]["response"]
    items = door.call("GET", f"/v1/conversations/{conversation}/items?order=asc").json["data"]
    assert [(item["role"], item["status"]) for item in items] == [
        ("user", "completed"),
        ("assistant", "completed"),
    ]
    door.post(RESPONSES, input="Fine", conversation=conversation)
    assert "assistant\nHello, how are you?<|im_end|>\n<|im_start|>user\nFine" in prompts[-1]
    facts = door.call("GET", f"/v1/conversations/{conversation}").json["dormouse"]
    assert facts["output_tokens"] == 2 * made["usage"]["output_tokens"]


@pytest.mark.parametrize("then", ["a turn", "a continuation", "a longer conversation"])
def test_once_the_conversation_has_moved_on_it_is_only_told(noisy: Door, then: str) -> None:
    """What came after an answer was said to what it was; it does not change any more."""
    conversation = noisy.call("POST", "/v1/conversations", {}).json["id"]
    place = {"conversation": conversation} if then == "a longer conversation" else {}
    cut = ask(noisy, **ASK[0], **place).until(deltas=2).hang_up()
    stored = noisy.call("GET", f"{RESPONSES}/{cut.id}").json
    if then == "a longer conversation":
        noisy.call(
            "POST",
            f"/v1/conversations/{conversation}/items",
            {"items": [{"role": "user", "content": "And then?"}]},
        )
    else:
        said = {"input": "And?"} if then == "a turn" else {}
        assert noisy.post(RESPONSES, previous_response_id=cut.id, max_output_tokens=3, **said).status == 200
    found = again(noisy, cut.id).rest()
    assert found.events[-1]["type"] == "response.incomplete"
    assert found.events[-1]["response"] == stored
    assert found.events[: len(cut.events)] == cut.events


def test_an_answer_that_had_its_end_is_only_told(noisy: Door) -> None:
    """Cut by its length, or by the time: the stream ended, and so does the one that repeats it."""
    live = ask(noisy, **ASK[0]).rest()
    late = Reading(
        noisy,
        "POST",
        RESPONSES,
        {"model": "dormouse-house", "input": "Hi", "stream": True},
        x_request_timeout_ms="1",
    ).rest()
    for first in (live, late):
        assert first.events[-1]["response"]["status"] == "incomplete"
        assert again(noisy, first.id).rest().events == first.events


def test_the_rest_has_a_budget_of_its_own(open_door: OpenDoor) -> None:
    """A resumed stream that runs out of time ends as any other, and is kept."""
    now = [0.0]
    door = open_door(
        noisy_engine(on_step=lambda: now.append(now[-1] + 0.01)), streaming=True, clock=lambda: now[-1]
    )
    cut = ask(door, input="Hi").until(deltas=2).hang_up()
    late = again(door, cut.id, cut.last, x_request_timeout_ms="1200").rest()
    made = late.events[-1]["response"]
    assert (made["status"], made["dormouse"]["stop_reason"]) == ("incomplete", "deadline")
    assert len(late.deltas) > 2
    receipt = made["dormouse"]["receipt"]
    assert receipt["output_tokens"] == made["usage"]["output_tokens"] > len(cut.deltas)


def test_two_readers_in_one_process(open_door: OpenDoor) -> None:
    """One goes on, the other waits for it and is told the same; it is generated and stored once."""
    steps: list[int] = []
    door = open_door(noisy_engine(on_step=lambda: steps.append(1)), streaming=True)
    whole = ask(door, **ASK[0]).rest()
    cut = ask(door, **ASK[0]).until(deltas=2).hang_up()
    before = len(steps)
    found: list[Reading] = []
    threads = [
        threading.Thread(target=lambda: found.append(again(door, cut.id, cut.last).rest())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {str(told(each.events)) for each in found} == {str(told(whole.events[cut.last + 1 :]))}
    assert len({str(each.events[-1]) for each in found}) == 1
    assert len(steps) - before < 2 * 12 + 20


@pytest.fixture
def two_doors(open_door: OpenDoor) -> tuple[Door, Door]:
    """Two processes' worth of application over one session file."""
    return open_door(noisy_engine(), streaming=True), open_door(noisy_engine(), streaming=True)


def test_two_readers_in_two_processes(two_doors: tuple[Door, Door]) -> None:
    """Both generate; one commits; the other's stream ends as what was written, word for word."""
    first, second = two_doors
    whole = ask(first, **ASK[0]).rest()
    cut = ask(first, **ASK[0]).until(deltas=1).hang_up()
    slow = again(first, cut.id, cut.last).until(deltas=2)
    quick = again(second, cut.id, cut.last).rest()
    assert told(slow.rest().events) == told(quick.events) == told(whole.events[cut.last + 1 :])
    assert slow.events[-1] == quick.events[-1]
    assert first.call("GET", f"{RESPONSES}/{cut.id}").json == quick.events[-1]["response"]


def test_a_reader_that_lost_to_a_shorter_answer_is_told(two_doors: tuple[Door, Door]) -> None:
    """Where the winner hung up too, the loser gets an error event and nothing of the winner's is lost."""
    first, second = two_doors
    cut = ask(first, **ASK[0]).until(deltas=1).hang_up()
    slow = again(first, cut.id, cut.last).until(deltas=1)
    quick = again(second, cut.id, cut.last).until(deltas=3).hang_up()
    assert slow.rest().events[-1]["type"] == "error"
    assert slow.events[-1]["code"] == "version_conflict"
    whole = ask(first, **ASK[0]).rest()
    rest = again(first, cut.id, quick.last).rest()
    assert told([*cut.events, *quick.events, *rest.events]) == told(whole.events)


class Leaving(Wrapper):
    """A store that goes away while a resumed answer is written."""

    def replace_last(self, *_: Any, **__: Any) -> Any:
        raise Unavailable("The session store does not answer.")


def test_a_resumed_answer_that_cannot_be_kept_is_logged(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever hangs up on it while the store is away leaves a line in the log, and raises nothing."""
    door = open_door(noisy_engine(), wrap=Leaving().wrap, streaming=True)
    cut = ask(door, **ASK[0]).until(deltas=1).hang_up()
    again(door, cut.id, cut.last).until(deltas=2).hang_up()
    assert [record.message for record in caplog.records] == ["unavailable"]


def test_a_fork_keeps_what_it_forked_from(open_door: OpenDoor) -> None:
    """A continuation made elsewhere meanwhile is not doubled when the answer itself goes on."""
    door, prompts, _, cut = interrupted(open_door)
    fork = door.post(RESPONSES, previous_response_id=cut.id).json
    again(door, cut.id).rest()
    door.post(RESPONSES, input="Fine", previous_response_id=fork["id"])
    assert "assistant\nHello, how are you?<|im_end|>\n<|im_start|>user\nFine" in prompts[-1]
