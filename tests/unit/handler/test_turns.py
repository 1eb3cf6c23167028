"""Properties of turns: budgets are kept, cut answers join, events are OpenAI's own, overflow is told."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent

from handler.assembly import assemble
from handler.engine.engine import Engine
from handler.engine.lookup import LONGEST_DRAFT_TOKENS
from handler.sessions.sqlite import SqliteSessions
from handler.settings import Settings
from tests.unit.handler.conftest import Door, OpenDoor
from tests.unit.handler.scripted_engine import MODEL, noisy_engine, scripted_engine

RESPONSES = "/v1/responses"
EVENT_TYPES: dict[str, Any] = {
    get_args(event.model_fields["type"].annotation)[0]: event
    for event in get_args(get_args(ResponseStreamEvent)[0])
}


@contextmanager
def opened(engine: Engine, clock: Callable[[], float] = time.monotonic) -> Iterator[Door]:
    """An application for all examples of a property."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteSessions(Path(folder) / "sessions.sqlite3", clock=time.time)
        settings = Settings(deadline_margin_ms=0, streaming=True)
        yield Door(assemble(settings, engine, store, started_s=clock(), clock=clock))
        store.close()


class SlowTime:
    """A clock that moves only when the model computes an id, by the next of some steps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._steps_s = itertools.repeat(0.0)

    def __call__(self) -> float:
        return self.now_s

    def restart(self, steps_ms: list[int]) -> None:
        """Begin another example."""
        self.now_s = 0.0
        self._steps_s = itertools.cycle(step / 1000 for step in steps_ms)

    def step(self) -> None:
        """One id has been computed."""
        self.now_s += next(self._steps_s)


LONG = "Hello, how are you? " * 2


@pytest.fixture(scope="module")
def slow() -> Iterator[tuple[SlowTime, Door, int]]:
    """A slow model: its clock, its door, and how many ids the prompt of the test has."""
    time_ = SlowTime()
    engine = scripted_engine(lambda _: LONG, on_step=time_.step)
    prompt = engine.prompt.encode([{"role": "user", "content": "Hi"}])
    with opened(engine, time_) as door:
        yield time_, door, len(prompt)


@settings(max_examples=200, deadline=None)
@given(
    steps_ms=st.lists(st.integers(0, 400), min_size=1, max_size=20).filter(any),
    limit_ms=st.integers(1, 8_000),
    stream=st.booleans(),
)
def test_no_answer_is_later_than_its_budget(
    slow: tuple[SlowTime, Door, int], steps_ms: list[int], limit_ms: int, stream: bool
) -> None:
    """However slow the steps, the answer is there when its time is up, less than one step late.

    The step that is under way when the time runs out is what the margin is kept for: a prefill, or a token
    with the longest draft.
    """
    time_, door, prompt_tokens = slow
    longest_step = max(prompt_tokens, 1 + LONGEST_DRAFT_TOKENS)
    time_.restart(steps_ms)
    body = {"model": MODEL, "input": "Hi", "stream": stream}
    answer = door.call("POST", RESPONSES, body, x_request_timeout_ms=str(limit_ms))
    assert answer.status == 200
    assert time_.now_s - limit_ms / 1000 <= max(steps_ms) / 1000 * longest_step
    made = answer.events[-1]["response"] if stream else answer.json
    if made["status"] == "incomplete":
        assert made["dormouse"]["stop_reason"] == "deadline"
        assert time_.now_s >= limit_ms / 1000
    else:
        assert text_of(made) == LONG


@pytest.fixture(scope="module")
def noisy() -> Iterator[Door]:
    """A model that never says the same."""
    with opened(noisy_engine()) as door:
        yield door


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    temperature=st.sampled_from([0.0, 0.8, 1.6]),
    seed=st.integers(-(2**63), 2**63 - 1),
    stop=st.sampled_from([None, ["e"], ["th", "你"], ["\n\n", "the lazy"]]),
    stream=st.booleans(),
)
def test_an_answer_cut_anywhere_joins(
    noisy: Door, cuts: list[int], temperature: float, seed: int, stop: list[str] | None, stream: bool
) -> None:
    """Continued with empty input wherever it was cut, an answer is the one that was never cut."""
    ask = {"input": "Hi", "temperature": temperature, "seed": seed, "stop": stop, "repetition_penalty": 1.2}
    whole = noisy.post(RESPONSES, **ask, max_output_tokens=sum(cuts) + 8).json
    parts = [noisy.post(RESPONSES, **ask, max_output_tokens=cuts[0]).json]
    for cut in [*cuts[1:], 8]:
        if parts[-1]["status"] == "completed":
            break
        last = parts[-1]["id"]
        more = noisy.post(RESPONSES, previous_response_id=last, max_output_tokens=cut, stream=stream)
        parts.append(more.events[-1]["response"] if stream else more.json)
    assert "".join(text_of(part) for part in parts) == text_of(whole)
    assert parts[-1]["status"] == whole["status"]
    assert {part["dormouse"]["seed"] for part in parts} == {seed}


class Parrot:
    """A model that says what it is given to say."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self, prompt: str) -> str:
        return self.said


@pytest.fixture(scope="module")
def parrot() -> Iterator[tuple[Parrot, Door]]:
    """The parrot, and the door to it."""
    bird = Parrot()
    with opened(scripted_engine(bird)) as door:
        yield bird, door


@settings(max_examples=80, deadline=None)
@given(said=st.text(alphabet="Hello 你好🐭\n.", max_size=40), top_logprobs=st.sampled_from([None, 0, 2]))
def test_events_are_openais(parrot: tuple[Parrot, Door], said: str, top_logprobs: int | None) -> None:
    """Every event is one that OpenAI's own types know, numbered in a row, and the deltas join to the text."""
    bird, door = parrot
    bird.said = said
    extra = {} if top_logprobs is None else {"top_logprobs": top_logprobs}
    answer = door.post(RESPONSES, input="Hi", stream=True, **extra)
    for event in answer.events:
        EVENT_TYPES[event["type"]].model_validate(event)
    assert [event["sequence_number"] for event in answer.events] == list(range(len(answer.events)))
    deltas = [event["delta"] for event in answer.events if event["type"] == "response.output_text.delta"]
    last = answer.events[-1]["response"]
    assert "".join(deltas) == said == text_of(last)
    assert door.call("GET", f"{RESPONSES}/{last['id']}").json == last


def text_of(response: Any) -> str:
    """A response's text."""
    return str(response["output"][0]["content"][0]["text"])


def test_a_continued_answer_is_one_message_again(open_door: OpenDoor) -> None:
    """After an answer was cut and continued, the next turn's prompt holds it whole and in one message."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "Hello, how are you?"

    door = open_door(scripted_engine(reply))
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2).json
    rest = door.post(RESPONSES, previous_response_id=cut["id"]).json
    assert text_of(cut) + text_of(rest) == "Hello, how are you?"
    door.post(RESPONSES, input="Fine", previous_response_id=rest["id"])
    assert "assistant\nHello, how are you?<|im_end|>\n<|im_start|>user\nFine" in prompts[-1]


@pytest.mark.parametrize("change", [{"temperature": 1.0}, {"seed": 4}, {"top_p": 0.5}])
def test_a_continued_answer_keeps_its_parameters(open_door: OpenDoor, change: dict[str, Any]) -> None:
    """Other parameters would make another answer of it, so they are refused, by name."""
    door = open_door()
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=2, seed=3).json
    refused = door.post(RESPONSES, previous_response_id=cut["id"], **change)
    assert (refused.status, refused.json["error"]["param"]) == (400, next(iter(change)))


def test_a_whole_answer_is_not_continued(open_door: OpenDoor) -> None:
    """Empty input after a complete response has nothing to go on with."""
    door = open_door()
    whole = door.post(RESPONSES, input="Hi").json
    refused = door.post(RESPONSES, previous_response_id=whole["id"])
    assert (refused.status, refused.json["error"]["param"]) == (400, "input")


def test_dropped_turns_are_told(open_door: OpenDoor) -> None:
    """With `truncation: auto` whole oldest turns go, the instructions stay, and the answer lists what is
    gone."""
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        return "OK."

    door = open_door(scripted_engine(reply, context_tokens=160))
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    ask = {"conversation": conversation, "instructions": "Be brief."}
    for number in range(6):
        made = door.post(RESPONSES, input=f"Message {number}, and more.", truncation="auto", **ask).json
    items = door.call("GET", f"/v1/conversations/{conversation}/items?order=asc").json["data"]
    dropped = made["dormouse"]["dropped_items"]
    assert dropped
    assert len(dropped) % 2 == 0
    assert dropped == [item["id"] for item in items[: len(dropped)]]
    assert "Be brief." in prompts[-1]
    assert "Message 0" not in prompts[-1]
    assert "Message 5" in prompts[-1]
    refused = door.post(RESPONSES, input="Hi", **ask)
    assert refused.json["error"]["code"] == "context_length_exceeded"
