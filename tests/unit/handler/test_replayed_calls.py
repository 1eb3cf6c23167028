"""Answers with calls, or in a form, are told again and taken up as any other, but for going on in place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.engine.call_syntax import HERMES
from tests.unit.handler.conftest import OpenDoor
from tests.unit.handler.scripted_engine import MODEL
from tests.unit.handler.streams import RESPONSES, Reading, again, ask, text_of, told
from tests.unit.handler.test_tools import OSLO, TOOLS, TWO_CALLS, open_saying

SAID = f"Let me see.\n{TWO_CALLS}"
ASKED: dict[str, Any] = {"input": "Rain?", "tools": TOOLS, "top_logprobs": 1}


def test_the_same_events_come_again(open_door: OpenDoor) -> None:
    """Text and calls in the same pieces, under the same ids and numbers, from any event on."""
    door, _ = open_saying(open_door, SAID)
    live = ask(door, **ASKED).rest()
    assert len(live.events[-1]["response"]["output"]) == 3
    assert again(door, live.id).rest().events == live.events
    for number in range(0, len(live.events), 7):
        assert again(door, live.id, number).rest().events == live.events[number + 1 :]


def test_a_repeated_request_gets_the_same_calls(open_door: OpenDoor) -> None:
    """Sent again with its key it is answered by the same calls under the same ids."""
    door, prompts = open_saying(open_door, SAID)
    body = {"model": MODEL, "stream": True, **ASKED}
    live, repeated = (Reading(door, "POST", RESPONSES, body, idempotency_key="k-1").rest() for _ in range(2))
    assert repeated.events == live.events
    assert len(prompts) == 1


def test_a_cut_answer_and_its_continuation_are_told_again(open_door: OpenDoor) -> None:
    """Wherever the limit cut it: the beginning as it came, and the rest with the call from its beginning."""
    for cut in range(1, 60, 3):
        door, _ = open_saying(open_door, SAID)
        first = ask(door, **ASKED, max_output_tokens=cut).rest()
        rest = ask(door, previous_response_id=first.id).rest()
        for live in (first, rest):
            assert again(door, live.id).rest().events == live.events


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_without_ids_every_item_comes_in_one_piece(open_door: OpenDoor, gone: int) -> None:
    """Where one of an answer's items is deleted, the ids of all go: whole items are told, that one empty."""
    door, _ = open_saying(open_door, SAID)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    live = ask(door, **ASKED, conversation=conversation).rest()
    made = live.events[-1]["response"]
    items = made["output"]
    door.call("DELETE", f"/v1/conversations/{conversation}/items/{items[gone]['id']}")
    if gone:
        items[gone]["arguments"] = "{}"
    else:
        items[0]["content"][0].update(text="", logprobs=[])
    found = again(door, live.id).rest().events
    deltas = [event["delta"] for event in found if event["type"].endswith(".delta")]
    said = [items[0]["content"][0]["text"], items[1]["arguments"], items[2]["arguments"]]
    assert deltas == [text for text in said if text]
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == items
    assert found[-1]["response"] == made


@pytest.mark.parametrize("read", [6, 14, 22, 40])
def test_one_whose_client_hung_up_is_only_told(open_door: OpenDoor, read: int) -> None:
    """Where calls may come nothing goes on in place; an empty input continues it, the call whole."""
    door, _ = open_saying(open_door, SAID)
    cut = ask(door, **ASKED)
    while len(cut.events) < read and cut.read():
        pass
    cut.hang_up()
    stored = door.call("GET", f"{RESPONSES}/{cut.id}").json
    assert (stored["status"], stored["dormouse"]["stop_reason"]) == ("incomplete", "cancelled")
    found = again(door, cut.id).rest().events
    assert found[: len(cut.events)] == cut.events
    assert (found[-1]["type"], found[-1]["response"]) == ("response.incomplete", stored)
    assert door.call("GET", f"{RESPONSES}/{cut.id}").json == stored
    rest = door.post(RESPONSES, previous_response_id=cut.id).json
    calls = [item for item in (*stored["output"], *rest["output"]) if item["type"] == "function_call"]
    whole = [json.loads(call["arguments"]) for call in calls if call["status"] == "completed"]
    assert whole == [OSLO, {"city": "Rome"}]


def test_a_call_that_came_is_kept_whole(open_door: OpenDoor) -> None:
    """Also where its client hung up at the very token that ended it: nothing else would ever end it."""
    door, _ = open_saying(open_door, SAID)
    cut = ask(door, **ASKED)
    while not cut.events or not str(cut.events[-1].get("delta")).endswith("}"):
        assert cut.read()
    cut.hang_up()
    stored = door.call("GET", f"{RESPONSES}/{cut.id}").json
    call = stored["output"][-1]
    assert (json.loads(call["arguments"]), call["status"]) == (OSLO, "completed")
    assert again(door, cut.id).rest().events[: len(cut.events)] == cut.events
    (rest,) = door.post(RESPONSES, previous_response_id=cut.id).json["output"]
    assert (json.loads(rest["arguments"]), rest["status"]) == ({"city": "Rome"}, "completed")


def test_a_stop_string_that_came_ends_an_answer(open_door: OpenDoor) -> None:
    """Also where functions are offered, and its client hung up at the very token that it ends in."""
    door, _ = open_saying(open_door, "Oh, so se! No more.")
    asked = {**ASKED, "stop": ["e"]}
    whole = ask(door, **asked).rest()
    cut = ask(door, **asked).until(deltas=len(whole.deltas)).hang_up()
    stored = door.call("GET", f"{RESPONSES}/{cut.id}").json
    assert (stored["status"], text_of(stored)) == ("completed", text_of(whole.events[-1]["response"]))


def test_an_answer_in_a_form_goes_on_in_place(open_door: OpenDoor) -> None:
    """The rest follows the same grammar, even where nothing but the end was missing."""
    form = {"format": {"type": "json_object"}}
    door, _ = open_saying(open_door, '{"rain": true}')
    whole = ask(door, input="Rain?", text=form).rest()
    for before in range(len(whole.deltas) + 1):
        cut = ask(door, input="Rain?", text=form).until(deltas=before).hang_up()
        rest = again(door, cut.id, cut.last).rest()
        assert told([*cut.events, *rest.events]) == told(whole.events)
        made = rest.events[-1]["response"]
        assert (made["status"], text_of(made)) == ("completed", '{"rain": true}')


def test_functions_are_counted_with_the_prompt(open_door: OpenDoor) -> None:
    """`input_tokens` is what the answer to the same request is billed."""
    door, _ = open_saying(open_door, HERMES.write("weather", OSLO))
    body = {"input": "Rain?", "tools": TOOLS}
    counted = door.post(f"{RESPONSES}/input_tokens", **body).json["input_tokens"]
    assert counted == door.post(RESPONSES, **body).json["usage"]["input_tokens"]
    assert counted > door.post(f"{RESPONSES}/input_tokens", input="Rain?").json["input_tokens"]
