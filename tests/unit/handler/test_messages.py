"""What was said before, as chat templates of several styles are given it: no word of it is lost."""

from __future__ import annotations

import pytest

from tests.unit.engine import chat_templates
from tests.unit.handler.conftest import OpenDoor
from tests.unit.handler.scripted_engine import noisy_engine, scripted_engine
from tests.unit.handler.streams import RESPONSES, ask

CHAT, CONVERSATIONS = "/v1/chat/completions", "/v1/conversations"


def message(role: str, text: str) -> dict[str, str]:
    """A message as clients write it."""
    return {"role": role, "content": text}


@pytest.mark.parametrize(
    ("roles", "written"),
    [
        (["developer"], "system\nSay 0.<|im_end|>"),
        (["system", "developer"], "system\nSay 0.\n\nSay 1.<|im_end|>"),
        (["developer", "system"], "system\nSay 0.\n\nSay 1.<|im_end|>"),
        (["system", "system"], "system\nSay 0.<|im_end|>\n<|im_start|>system\nSay 1.<|im_end|>"),
    ],
)
def test_a_developer_is_heard(open_door: OpenDoor, roles: list[str], written: str) -> None:
    """A template that knows no developer reads what one says as the system's, after what the system says."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "OK."

    door = open_door(scripted_engine(reply, template=chat_templates.DEFAULT_SYSTEM))
    said = [message(role, f"Say {at}.") for at, role in enumerate(roles)]
    assert door.post(CHAT, messages=[*said, message("user", "Hi")]).status == 200
    assert prompts[-1] == f"<|im_start|>{written}\n<|im_start|>user\nHi<|im_end|>\n"


def test_a_turn_without_an_answer_blocks_nothing(open_door: OpenDoor) -> None:
    """Where roles must alternate, what was said again before a word of answer is said in one message."""
    engine = noisy_engine(template=chat_templates.INST)
    door = open_door(engine, streaming=True)
    conversation = door.call("POST", CONVERSATIONS, {}).json["id"]
    for text in ("Hi", "Hello?"):
        ask(door, input=text, conversation=conversation).until(deltas=0).hang_up()
    said = {"input": "Anybody?", "conversation": conversation}
    counted = door.post(f"{RESPONSES}/input_tokens", **said).json["input_tokens"]
    made = door.post(RESPONSES, **said, max_output_tokens=3).json
    expected = len(engine.prompt.encode([message("user", "Hi\n\nHello?\n\nAnybody?")]))
    assert made["usage"]["input_tokens"] == counted == expected


def test_what_one_turn_says_in_two_messages_stays_two(open_door: OpenDoor) -> None:
    """What a client gives as two messages is written as two, in a conversation and in one turn."""
    engine = scripted_engine(lambda _: "OK.")
    door = open_door(engine)
    said = [message("user", "Hi"), message("user", "Hello")]
    conversation = door.call("POST", CONVERSATIONS, {"items": said}).json["id"]
    for place, before in (({}, []), ({"conversation": conversation}, said)):
        made = door.post(RESPONSES, input=said, **place).json
        assert made["usage"]["input_tokens"] == len(engine.prompt.encode([*before, *said]))


def test_what_a_template_refuses_is_told_by_the_apis_own_name(open_door: OpenDoor) -> None:
    """A response has an input where a chat completion has messages."""
    door = open_door(noisy_engine(template=chat_templates.INST))
    said = [message("user", "Hi"), message("user", "Hello")]
    for path, field in ((RESPONSES, "input"), (CHAT, "messages")):
        refused = door.post(path, **{field: said})
        assert (refused.status, refused.json["error"]["param"]) == (400, field)
