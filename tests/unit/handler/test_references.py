"""Items of earlier answers that a client names by their ids instead of telling them again."""

from __future__ import annotations

from typing import Any

import pytest

from handler.engine.call_syntax import HERMES
from tests.unit.handler.conftest import Door, OpenDoor, Wrapper
from tests.unit.handler.scripted_engine import MODEL, scripted_engine

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
ASK = {"role": "user", "content": "Rain?"}
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]


def open_calling(open_door: OpenDoor) -> tuple[Door, list[str]]:
    """A model that says something and calls a function until it is told the result, and its prompts."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "It rains." if "Wet." in prompt else f"Let me see.\n{HERMES.write('weather', {})}"

    return open_door(scripted_engine(reply, context_tokens=2048), streaming=True), prompts


def references(answer: Any) -> list[dict[str, str]]:
    """Name each item of an answer."""
    return [{"type": "item_reference", "id": item["id"]} for item in answer["output"]]


def result(answer: Any) -> dict[str, str]:
    """Tell what the called function returned."""
    call_id = answer["output"][-1]["call_id"]
    return {"type": "function_call_output", "call_id": call_id, "output": "Wet."}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_may_be_named(open_door: OpenDoor, stream: bool) -> None:
    """The prompt is the one of the same items told whole, and they count and are kept as such."""
    door, prompts = open_calling(open_door)
    made = door.post(RESPONSES, input="Rain?", tools=TOOLS, stream=stream)
    first = made.events[-1]["response"] if stream else made.json
    asked = [[ASK, *told, result(first)] for told in (references(first), first["output"])]
    seen, counted = [], []
    for given in asked:
        answer = door.post(RESPONSES, input=given, tools=TOOLS).json
        assert answer["output"][0]["content"][0]["text"] == "It rains."
        seen.append(prompts[-1])
        counted.append(door.post(f"{RESPONSES}/input_tokens", input=given, tools=TOOLS).json["input_tokens"])
        items = door.call("GET", f"{RESPONSES}/{answer['id']}/input_items?order=asc").json["data"]
        assert [item["type"] for item in items] == [
            "message",
            "message",
            "function_call",
            "function_call_output",
        ]
        assert counted[-1] == answer["usage"]["input_tokens"]
    assert seen[0] == seen[1]
    assert counted[0] == counted[1]


def test_a_conversation_may_be_made_of_them(open_door: OpenDoor) -> None:
    """What is named is copied: it stays when the answer that it is from is deleted."""
    door, _ = open_calling(open_door)
    first = door.post(RESPONSES, input="Rain?", tools=TOOLS).json
    begun = door.call("POST", CONVERSATIONS, {"items": [ASK, *references(first)]}).json["id"]
    added = door.call("POST", f"{CONVERSATIONS}/{begun}/items", {"items": references(first)[:1]}).json["data"]
    assert added[0]["content"][0]["text"] == "Let me see."
    door.call("DELETE", f"{RESPONSES}/{first['id']}")
    kept = door.call("GET", f"{CONVERSATIONS}/{begun}/items?order=asc").json["data"]
    assert [item["type"] for item in kept] == ["message", "message", "function_call", "message"]
    assert not {item["id"] for item in kept} & {item["id"] for item in first["output"]}


def test_what_is_not_kept_cannot_be_named(open_door: OpenDoor) -> None:
    """Another tenant's, a deleted response's, one that was never stored, no item's: 404, and which it is."""
    door, _ = open_calling(open_door)
    kept, gone, unkept = (
        references(door.post(RESPONSES, input="Rain?", store=store).json)[0] for store in (True, True, False)
    )
    door.call("DELETE", f"{RESPONSES}/resp_{gone['id'].split('_')[1]}")
    unknown = [{**kept, "id": name} for name in ("msg_1", "x", "_", kept["id"][:-1] + "7")]
    for tenant, named in [("other", kept), *(("", each) for each in (gone, unkept, *unknown))]:
        body = {"model": MODEL, "input": [ASK, named]}
        refused = door.call("POST", RESPONSES, body, tenant=tenant)
        assert (refused.status, refused.json["error"]["param"]) == (404, "input[1].id")
    assert door.post(RESPONSES, input=[ASK, kept]).status == 200


def test_a_key_is_free_after_a_reference_to_nothing(open_door: OpenDoor) -> None:
    """A conversation that was refused for it may be asked for again under its key."""
    door, _ = open_calling(open_door)
    begun = door.call("POST", CONVERSATIONS, {}).json["id"]
    named = {"items": [{"type": "item_reference", "id": "msg_1"}]}
    for path in (CONVERSATIONS, f"{CONVERSATIONS}/{begun}/items"):
        for body, status in ((named, 404), ({"items": [ASK]}, 200)):
            assert door.call("POST", path, body, Idempotency_Key=f"k of {path}").status == status


def test_a_deleted_item_is_empty(open_door: OpenDoor) -> None:
    """Nothing of a deleted item comes back by its name."""
    door, prompts = open_calling(open_door)
    conversation = door.call("POST", CONVERSATIONS, {}).json["id"]
    first = door.post(RESPONSES, input="Rain?", conversation=conversation).json
    named = references(first)[0]
    door.call("DELETE", f"{CONVERSATIONS}/{conversation}/items/{named['id']}")
    assert door.post(RESPONSES, input=[ASK, named, ASK]).status == 200
    assert "Let me see." not in prompts[-1]


class Slow(Wrapper):
    """A store that takes ten seconds for a response."""

    now_s = 0.0

    def response(self, tenant: str, response_id: str) -> Any:
        self.now_s += 10
        return self.part.response(tenant, response_id)


@pytest.mark.parametrize("path", [RESPONSES, f"{RESPONSES}/input_tokens"])
def test_reading_what_is_named_keeps_to_the_time(open_door: OpenDoor, path: str) -> None:
    """None is read when the time is over, however many are named; one is read once for all its items."""
    store = Slow()
    engine = scripted_engine(lambda _: "OK.", context_tokens=2048)
    door = open_door(engine, wrap=store.wrap, clock=lambda: store.now_s, gateway_timeout_s=29)
    made = [references(door.post(RESPONSES, input="Hi").json)[0] for _ in range(5)]
    assert door.post(path, input=[ASK, *made[:2], *made[:2] * 5]).status == 200
    assert store.now_s == 20
    refused = door.post(path, input=[ASK, *made])
    assert (refused.status, refused.json["error"]["code"]) == (400, "deadline_too_short")
    assert store.now_s == 50
