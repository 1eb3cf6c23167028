"""Five turns through LangChain's `ChatOpenAI`, then one more whole and streamed; prints them as JSON.

Runs in `.venv/clients`, with the mode, `chat` or `responses`, as its argument.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_openai import ChatOpenAI

MODES: dict[str, dict[str, Any]] = {
    "chat": {"stream_usage": True},
    "responses": {"use_responses_api": True, "output_version": "responses/v1"},
}
TURNS = (
    "Hello!",
    "My name is Tamsin.",
    "What can you do?",
    "Do you sleep?",
    "What is my name?",
)


def main(mode: str) -> None:
    """Hold the conversation."""
    chat = ChatOpenAI(
        model="dormouse-house",
        base_url=f"{os.environ['DORMOUSE_URL']}/v1",
        api_key="not-needed-here",
        temperature=0,
        max_retries=0,
        **MODES[mode],
    )
    history: list[BaseMessage] = []
    for turn in TURNS:
        history.append(HumanMessage(turn))
        history.append(chat.invoke(history))
    history.append(HumanMessage("Thank you!"))
    whole, chunks = chat.invoke(history), list(chat.stream(history))
    print(
        json.dumps(
            {
                "answers": [message.text for message in history[1::2]],
                "whole": whole.text,
                "streamed": [chunk.text for chunk in chunks],
                "usage": whole.usage_metadata,
                "streamed_usage": [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata],
                "dormouse": "dormouse" in json.dumps(whole.response_metadata, default=str),
            }
        )
    )


main(sys.argv[1])
