"""A tool call and a structured output through LangChain's `ChatOpenAI`; prints them as JSON.

Runs in `.venv/clients`, with the mode, `chat` or `responses`, as its argument.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Literal

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

MODES: dict[str, dict[str, Any]] = {
    "chat": {},
    "responses": {"use_responses_api": True, "output_version": "responses/v1"},
}


class Mood(BaseModel):
    """How somebody feels."""

    feeling: Literal["glad", "sad", "sleepy"]
    is_awake: bool


@tool
def weather(city: Literal["Oslo", "Rome"]) -> str:
    """Tell the weather of a city."""
    return f"It rains in {city}."


def main(mode: str) -> None:
    """Ask for both."""
    chat = ChatOpenAI(
        model="dormouse-house",
        base_url=f"{os.environ['DORMOUSE_URL']}/v1",
        api_key="not-needed-here",
        temperature=0,
        max_retries=0,
        **MODES[mode],
    )
    question = HumanMessage("What is the weather in Rome?")
    asked = chat.bind_tools([weather], tool_choice="weather")
    called = asked.invoke([question])
    (call,) = called.tool_calls
    result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    answer = chat.bind_tools([weather], tool_choice="none").invoke([question, called, result])
    mood = chat.with_structured_output(Mood, method="json_schema").invoke("How do you feel?")
    assert isinstance(mood, Mood)
    print(
        json.dumps(
            {"name": call["name"], "args": call["args"], "answer": answer.text, "mood": mood.model_dump()}
        )
    )


main(sys.argv[1])
