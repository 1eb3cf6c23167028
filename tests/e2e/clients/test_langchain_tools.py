"""LangChain's tools and structured outputs, over chat completions and over responses."""

from __future__ import annotations

import json

import pytest

from tests.e2e.clients.conftest import RunClient


@pytest.mark.parametrize("mode", ["chat", "responses"])
def test_a_tool_and_a_structure(run_client: RunClient, mode: str) -> None:
    """A tool is called with arguments that fit, its result is answered, and an object comes as its type."""
    told = json.loads(run_client("python", "tests/e2e/clients/langchain_tools.py", mode))
    assert told["name"] == "weather"
    assert told["args"]["city"] in ("Oslo", "Rome")
    assert told["answer"]
    assert told["mood"]["feeling"] in ("glad", "sad", "sleepy")
    assert isinstance(told["mood"]["is_awake"], bool)
