"""LangChain's `ChatOpenAI`, over chat completions and over responses."""

from __future__ import annotations

import json

import pytest

from tests.e2e.clients.conftest import RunClient


@pytest.mark.parametrize("mode", ["chat", "responses"])
def test_a_conversation(run_client: RunClient, mode: str) -> None:
    """Five turns, the last of which needs the second, and a stream that joins to the whole answer."""
    told = json.loads(run_client("python", "tests/e2e/clients/langchain_conversation.py", mode))
    assert len(told["answers"]) == 5
    assert all(told["answers"])
    assert "Tamsin" in told["answers"][-1]
    assert len([text for text in told["streamed"] if text]) > 1
    assert "".join(told["streamed"]) == told["whole"]
    (streamed_usage,) = told["streamed_usage"]
    for usage in (told["usage"], streamed_usage):
        assert usage["input_tokens"] > 0
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
