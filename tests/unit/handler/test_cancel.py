"""A response under way is called off within a token or two, wherever it is made; nothing else is."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from openai.types.responses import Response

from tests.unit.handler.conftest import Answer, Door, OpenDoor, Wrapper
from tests.unit.handler.scripted_engine import noisy_engine
from tests.unit.handler.streams import RESPONSES, Reading, again, ask, text_of, told

SOON = {"x_request_timeout_ms": "400"}
LOOK_S = 0.1
"""In place of a second, between looks for a mark in the store."""


class Slow:
    """A step that takes its time once it is told to."""

    def __init__(self) -> None:
        self.step_s = 0.0
        self.steps = 0

    def __call__(self) -> None:
        self.steps += 1
        time.sleep(self.step_s)


@pytest.fixture
def slow() -> Slow:
    """The pace of the model."""
    return Slow()


@pytest.fixture
def door(open_door: OpenDoor, slow: Slow) -> Door:
    """A model that goes on and on."""
    return looking_often(open_door(noisy_engine(on_step=slow), streaming=True))


def looking_often(door: Door) -> Door:
    """Have an application look for marks after `LOOK_S`."""
    door.application.running.look_s = LOOK_S
    return door


def cancel(door: Door, response_id: str, **options: Any) -> Answer:
    """Ask for a response to be called off."""
    return door.call("POST", f"{RESPONSES}/{response_id}/cancel", **options)


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    """Begin something beside the test; its result is in the list once the thread has ended."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_a_stream_ends_within_a_token_or_two(door: Door, slow: Slow) -> None:
    """The stream gets its closing events, the canceller the very response, and the store has it."""
    reading = ask(door, input="Hi").until(deltas=2)
    thread, answers = in_thread(lambda: cancel(door, reading.id))
    while (running := door.call("GET", f"{RESPONSES}/{reading.id}")).json["status"] != "in_progress":
        time.sleep(0.01)
    while not _is_called_off(door, reading.id):
        time.sleep(0.01)
    before = slow.steps
    reading.rest()
    thread.join()
    assert slow.steps - before <= 2
    last = reading.events[-1]
    assert last["type"] == "response.incomplete"
    made = last["response"]
    assert (made["status"], made["dormouse"]["stop_reason"]) == ("cancelled", "cancelled")
    assert (answers[0].status, answers[0].json) == (200, made)
    assert door.call("GET", f"{RESPONSES}/{reading.id}").json == made
    assert Response.model_validate(made).status == "cancelled"
    assert running.json["output"] == []
    assert cancel(door, reading.id).json == made


def _is_called_off(door: Door, response_id: str) -> bool:
    found = door.application.running.find("local", response_id)
    return found is not None and found.budget.is_cancelled


def test_what_was_called_off_is_told_but_not_resumed(door: Door) -> None:
    """Its stream can be read again; only an empty input takes it up, as another response."""
    reading = ask(door, input="Hi").until(deltas=2)
    thread, _ = in_thread(lambda: cancel(door, reading.id))
    while not _is_called_off(door, reading.id):
        time.sleep(0.01)
    reading.rest()
    thread.join()
    assert again(door, reading.id).rest().events == reading.events
    made = reading.events[-1]["response"]
    rest = door.post(RESPONSES, previous_response_id=reading.id, max_output_tokens=4).json
    tokens = made["usage"]["output_tokens"] + 4
    whole = door.post(RESPONSES, input="Hi", max_output_tokens=tokens).json
    assert text_of(made) + text_of(rest) == text_of(whole)


def test_another_process_is_reached_through_the_store(door: Door, open_door: OpenDoor, slow: Slow) -> None:
    """The mark is seen within a look and a token; the canceller waits for the response and gets it."""
    here, there = door, open_door(noisy_engine())
    reading = ask(here, input="Hi").until(deltas=1)
    slow.step_s = 0.02
    thread, _ = in_thread(reading.rest)
    canceller, answers = in_thread(lambda: cancel(there, reading.id))
    while not there.application.store.is_cancel_requested("local", reading.id):
        time.sleep(0.01)
    before = slow.steps
    thread.join()
    canceller.join()
    assert slow.steps - before <= (LOOK_S + 1) / slow.step_s
    assert answers[0].json == reading.events[-1]["response"]
    assert answers[0].json["status"] == "cancelled"


class Counting(Wrapper):
    """A store that counts how often it is asked for a mark."""

    looks = 0

    def is_cancel_requested(self, *where: str) -> Any:
        self.looks += 1
        return self.part.is_cancel_requested(*where)


@pytest.mark.parametrize("is_stored", [True, False])
def test_looking_for_the_mark_is_cheap(open_door: OpenDoor, slow: Slow, is_stored: bool) -> None:
    """Once in a while and not once a token; never for short answers, or for those that are not stored."""
    store = Counting()
    door = looking_often(open_door(noisy_engine(on_step=slow), wrap=store.wrap))
    begun_s = time.monotonic()
    door.post(RESPONSES, input="Hi", max_output_tokens=4, store=is_stored)
    assert store.looks <= (time.monotonic() - begun_s) // LOOK_S
    slow.step_s, before, begun_s = 0.02, store.looks, time.monotonic()
    door.post(RESPONSES, input="Hi again", max_output_tokens=30, store=is_stored)
    looks, took_s = store.looks - before, time.monotonic() - begun_s
    assert 1 <= looks <= took_s // LOOK_S if is_stored else looks == 0


def test_a_buffered_answer_is_called_off(door: Door, slow: Slow) -> None:
    """Whoever waits for it whole gets what there is, as cancelled."""
    slow.step_s = 0.02
    thread, answers = in_thread(lambda: door.post(RESPONSES, input="Hi", store=False))
    while not (ids := door.application.running.ids("local")):
        time.sleep(0.01)
    cancelled = cancel(door, ids[0])
    thread.join()
    assert cancelled.json == answers[0].json
    assert answers[0].json["status"] == "cancelled"


def test_a_resumed_answer_is_called_off(door: Door) -> None:
    """Going on in its place can be stopped as well, and what came of it is kept."""
    cut = ask(door, input="Hi").until(deltas=1).hang_up()
    rest = again(door, cut.id, cut.last).until(deltas=2)
    thread, answers = in_thread(lambda: cancel(door, cut.id))
    while not _is_called_off(door, cut.id):
        time.sleep(0.01)
    rest.rest()
    thread.join()
    assert rest.events[-1]["response"] == answers[0].json
    assert answers[0].json["status"] == "cancelled"
    assert told(again(door, cut.id).rest().events) == told([*cut.events, *rest.events])


def test_an_answer_resumed_in_another_process_is_called_off(
    door: Door, open_door: OpenDoor, slow: Slow
) -> None:
    """It is stored already, as one that was cut: that it goes on is only known where it does."""
    here, there = door, open_door(noisy_engine())
    cut = ask(here, input="Hi").until(deltas=1).hang_up()
    rest = again(here, cut.id, cut.last).until(deltas=2)
    slow.step_s = 0.02
    thread, _ = in_thread(rest.rest)
    answer = cancel(there, cut.id)
    thread.join()
    assert answer.json == rest.events[-1]["response"]
    assert answer.json["status"] == "cancelled"


def test_who_waits_for_the_model_is_called_off(door: Door) -> None:
    """A response that has not got its turn yet leaves the queue."""
    busy = ask(door, input="Hi").until(deltas=1)
    queued = ask(door, input="Hello")
    while not queued.pings:
        queued.read()
    thread, answers = in_thread(lambda: cancel(door, queued.id))
    queued.rest()
    thread.join()
    assert answers[0].json["status"] == "cancelled"
    assert text_of(answers[0].json) == ""
    assert busy.until(deltas=3).deltas[2]["delta"]


def test_what_has_ended_cannot_be_called_off(open_door: OpenDoor) -> None:
    """400, by its code, for a whole response and for one that was cut, also by a client that is gone."""
    door = open_door(streaming=True)
    whole, cut = door.post(RESPONSES, input="Hi"), door.post(RESPONSES, input="Hi", max_output_tokens=1)
    left = ask(door, input="Hi").until(deltas=1).hang_up()
    for response_id in (whole.json["id"], cut.json["id"], left.id):
        refused = cancel(door, response_id, **SOON)
        assert (refused.status, refused.json["error"]["code"]) == (400, "response_already_ended")
        assert refused.json["error"]["param"] == "response_id"


def test_what_is_not_there_cannot_be_called_off(door: Door) -> None:
    """404 for what nobody has, and the same for what another tenant has, under way or not."""
    done = door.post(RESPONSES, input="Hi", max_output_tokens=1).json["id"]
    running: Reading = ask(door, input="Hi").until(deltas=1)
    for response_id in ("resp_0", "no id at all!", done, running.id):
        absent = cancel(door, response_id, tenant="b", **SOON)
        assert (absent.status, absent.json["error"]["code"]) == (404, "not_found")
    assert running.until(deltas=3).deltas[2]


def test_a_stream_that_nobody_reads_on_cannot_end(door: Door) -> None:
    """The canceller is told that it is still running, and to ask again."""
    reading = ask(door, input="Hi").until(deltas=1)
    answer = cancel(door, reading.id, **SOON)
    assert (answer.status, answer.json["error"]["code"]) == (503, "still_running")
    assert answer.headers["x-should-retry"] == "true"
    reading.hang_up()
    assert cancel(door, reading.id).json["status"] == "cancelled"
