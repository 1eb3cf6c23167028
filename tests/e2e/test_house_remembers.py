"""The embedded model in the product: it is told a name, loses its process, and still knows the name."""

import json
from pathlib import Path

import pytest

from tests.e2e.server import Server

HELD_OUT = json.loads((Path(__file__).parents[1] / "data" / "house_heldout_names.json").read_text("utf-8"))
TURNS = {
    "en": ("My name is {}.", "How much does it cost?", "What is a cold start?", "What is my name?"),
    "zh": ("我叫{}。", "什么是量化？", "你能做什么？", "我叫什么名字？"),
}


@pytest.mark.parametrize(("language", "name"), [("en", "Tamsin"), ("en", "Agatha"), ("zh", "李明远")])
def test_a_name_survives_a_kill(language: str, name: str, house_bundle: Path, tmp_path: Path) -> None:
    """A name told in turn 1 is given back in turn 4, the server having been killed in between."""
    *before, last = (text.format(name) for text in TURNS[language])
    folder = tmp_path / "sessions.sqlite3", tmp_path / "log"
    with Server(house_bundle, *folder) as server:
        client = server.client()
        ask = {"model": "dormouse-house", "temperature": 0, "conversation": client.conversations.create().id}
        for text in before:
            assert client.responses.create(input=text, **ask).status == "completed"
        server.kill()
    with Server(house_bundle, *folder) as server:
        answer = server.client().responses.create(input=last, **ask)
    assert name in answer.output_text
    assert answer.status == "completed"
