"""What was said before, as chat templates of several styles are given it: no word of it is lost."""

from __future__ import annotations

import pytest

from tests.unit.engine import chat_templates
from tests.unit.handler.conftest import OpenDoor
from tests.unit.handler.scripted_engine import scripted_engine

CHAT = "/v1/chat/completions"


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
