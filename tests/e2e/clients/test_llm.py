"""The `llm` command, told of the server by `extra-openai-models.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clients.conftest import RunClient

MODELS = """\
- model_id: dormouse
  model_name: dormouse-house
  api_base: {url}/v1
"""
GREEDY = ("-o", "temperature", "0")


@pytest.fixture
def llm(run_client: RunClient, house_server: str, tmp_path: Path) -> RunClient:
    """`llm(...)`: the command, which knows the model `dormouse`."""
    folder = tmp_path / "llm"
    folder.mkdir()
    (folder / "extra-openai-models.yaml").write_text(MODELS.format(url=house_server))
    return lambda *arguments: run_client("llm", *arguments)


def test_a_prompt(llm: RunClient) -> None:
    """An answer is the same streamed, which is how `llm` asks by itself, and whole."""
    streamed = llm("-m", "dormouse", *GREEDY, "What can you do?")
    assert streamed.strip()
    assert llm("-m", "dormouse", *GREEDY, "--no-stream", "What can you do?") == streamed


def test_a_conversation_goes_on(llm: RunClient) -> None:
    """`llm -c` sends what was said before along."""
    llm("-m", "dormouse", *GREEDY, "My name is Tamsin.")
    assert "Tamsin" in llm("-c", *GREEDY, "What is my name?")
