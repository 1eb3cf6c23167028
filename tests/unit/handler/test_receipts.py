"""A receipt says whether its answer is exact, and on which instruction set it was computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handler.application import build
from handler.engine import cpu
from handler.schema.extras import Receipt
from handler.settings import Settings
from tests.unit.handler.conftest import Door, OpenDoor
from tests.unit.handler.scripted_engine import scripted_engine

RESPONSES = "/v1/responses"
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 2}),
    (RESPONSES, {"input": "Hi"}),
]


def receipt_of(answer: Any) -> Any:
    """The receipt of a body."""
    return answer["dormouse"]["receipt"]


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_every_answer_says_it(path: str, body: dict[str, Any], is_exact: bool, open_door: OpenDoor) -> None:
    """Exact as the engine is, on this machine's kernels."""
    engine = scripted_engine(lambda _: "Hello")
    engine.exact = is_exact
    receipt = receipt_of(open_door(engine).post(path, **body).json)
    assert (receipt["exact"], receipt["instruction_set"]) == (is_exact, cpu.instruction_set())


@pytest.mark.parametrize("is_exact", [True, False])
def test_the_setting_reaches_the_engine(is_exact: bool, house_bundle: Path, tmp_path: Path) -> None:
    """With 0 the embedded model computes single rows alone, and its receipts do not promise exactness."""
    settings = Settings(bundle=house_bundle, sessions=str(tmp_path / "sessions"), exact=is_exact)
    application = build(settings, started_s=0.0)
    answer = Door(application).call("POST", RESPONSES, {"model": "dormouse-house", "input": "Hi"})
    application.store.close()
    assert receipt_of(answer.json)["exact"] == application.engine.exact == is_exact


@pytest.mark.parametrize("moved", [True, False])
def test_what_was_begun_on_another_instruction_set_is_not_exact(moved: bool, open_door: OpenDoor) -> None:
    """The answer is continued all the same, but its halves may not be those of one uninterrupted run."""
    door = open_door()
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2).json
    if moved:
        _begun_elsewhere(door, cut["id"])
    rest = door.post(RESPONSES, previous_response_id=cut["id"]).json
    assert receipt_of(cut)["exact"]
    assert receipt_of(rest)["exact"] != moved


def test_an_older_receipt_promises_nothing(open_door: OpenDoor) -> None:
    """A receipt stored before it said so is still read."""
    receipt = receipt_of(open_door().post(RESPONSES, input="Hi").json)
    old = {name: value for name, value in receipt.items() if name not in ("exact", "instruction_set")}
    assert (Receipt(**old).exact, Receipt(**old).instruction_set) == (False, "")


def _begun_elsewhere(door: Door, response_id: str) -> None:
    """Let the store say that a response was made on other kernels."""
    store = door.application.store
    response = store.response

    def moved(tenant: str, wanted: str) -> Any:
        found = response(tenant, wanted)
        state = {**found.state, "instruction_set": "other"} if wanted == response_id else found.state
        return replace(found, state=state)

    store.response = moved  # type: ignore[method-assign]
