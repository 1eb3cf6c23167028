"""Acceptance of the deadline contract: whatever the budget and however slow the steps, no answer is late."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.chat.budget import FADING, Margin
from handler.chat.pace import Pace
from handler.engine.compiler import GrammarCompiler
from handler.engine.engine import Engine
from handler.engine.generate import PREFILL_STEP_TOKENS
from handler.engine.grammar import MAX_GRAMMAR_BYTES
from handler.engine.prompt import ChatPrompt
from handler.runtime import streaming_marshaller
from tests.unit.handler.conftest import Door, OpenDoor, Wrapper, opened, rest_event
from tests.unit.handler.scripted_engine import MODEL, noisy_engine, scripted_engine
from tests.unit.handler.streams import RESPONSES, Reading, ask, text_of

CHAT = "/v1/chat/completions"
LONG = "Hello, how are you? " * 2
MARGIN_MS = 400
PROMPTS = ("Hi", "What is your name?", "fox 1 " * 50)


class SlowSteps:
    """A model whose every call takes the next of some times, on a clock of its own or on everybody's."""

    def __init__(self, model: Any, *, real: bool = False) -> None:
        self.now_s = 0.0
        self._model, self._real = model, real
        self._steps_s: Iterator[float] = itertools.repeat(0.0)

    def __call__(self) -> float:
        return self.now_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def restart(self, steps_ms: list[int]) -> None:
        """Begin another example."""
        self._steps_s = itertools.cycle(step / 1000 for step in steps_ms)

    def forward(self, ids: Sequence[int], cache: Any, rows: int = 1) -> Any:
        """Compute, slowly."""
        step_s = next(self._steps_s)
        self.now_s += step_s
        if self._real:
            time.sleep(step_s)
        return self._model.forward(ids, cache, rows)


class SlowCalls:
    """A part of the engine that takes a second of the test's clock whenever `method` is called."""

    def __init__(self, part: Any, method: str, steps: SlowSteps) -> None:
        self._part, self._method, self._steps = part, method, steps

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._steps.now_s += 1.0
        return getattr(self._part, name)


def slow_engine(*, real: bool = False) -> tuple[Engine, SlowSteps]:
    """An engine that says the same to every prompt, and its pace."""
    engine = scripted_engine(lambda _: LONG, context_tokens=1024)
    steps = SlowSteps(engine.model, real=real)
    engine.model = steps
    return engine, steps


@pytest.fixture(scope="module")
def slow() -> Iterator[tuple[SlowSteps, Door]]:
    """The slow model and the door to it, the margin being its slowest step."""
    engine, steps = slow_engine()
    with opened(engine, steps, deadline_margin_ms=MARGIN_MS) as door:
        yield steps, door


@settings(max_examples=1_000, deadline=None)
@given(
    steps_ms=st.lists(st.integers(0, MARGIN_MS), min_size=1, max_size=20).filter(any),
    limit_ms=st.integers(1, 8_000),
    prompt=st.sampled_from(PROMPTS),
    path=st.sampled_from([CHAT, RESPONSES]),
    stream=st.booleans(),
)
def test_no_answer_is_later_than_its_budget(
    slow: tuple[SlowSteps, Door], steps_ms: list[int], limit_ms: int, prompt: str, path: str, stream: bool
) -> None:
    """The answer is there within its limit, margin included, and parses; what is missing can be had exactly.

    A limit below the margin leaves nothing but the step that is under way, which is not begun then.
    """
    steps, door = slow
    steps.restart(steps_ms)
    begun_s = steps.now_s
    said: dict[str, Any] = {"input": prompt} if path == RESPONSES else {"messages": _messages(prompt)}
    body = {"model": MODEL, "stream": stream, **said}
    answer = door.call("POST", path, body, x_request_timeout_ms=str(limit_ms))
    assert steps.now_s - begun_s <= limit_ms / 1000
    refusal = _refusal(answer, stream=stream)
    if refusal is not None:
        assert refusal["code"] == "deadline_too_short"
        return
    assert answer.status == 200
    text, made = _read(answer, path, stream=stream)
    assert LONG.startswith(text)
    if made["dormouse"]["stop_reason"] == "stop":
        assert text == LONG
        return
    assert made["dormouse"]["stop_reason"] == "deadline"
    if path == RESPONSES:
        rest = door.post(RESPONSES, previous_response_id=made["id"]).json
        assert text + text_of(rest) == LONG


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _refusal(answer: Any, *, stream: bool) -> Any:
    if answer.status == 400:
        return answer.json["error"]
    if not stream:
        return None
    last = answer.events[-1]
    return last if last.get("type") == "error" else last.get("error")


def _read(answer: Any, path: str, *, stream: bool) -> tuple[str, Any]:
    """The text, and the object that carries the facts."""
    if path == RESPONSES:
        made = answer.events[-1]["response"] if stream else answer.json
        return text_of(made), made
    if not stream:
        return answer.json["choices"][0]["message"]["content"], answer.json
    chunks = [event for event in answer.events if event["choices"]]
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks), chunks[-1]


REAL_MARGIN_MS = 500


@pytest.fixture(scope="module")
def sleepy() -> Iterator[tuple[SlowSteps, Door]]:
    """The same on the clock on the wall."""
    engine, steps = slow_engine(real=True)
    with opened(engine, deadline_margin_ms=REAL_MARGIN_MS) as door:
        yield steps, door


@settings(max_examples=12, deadline=None)
@given(
    steps_ms=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    limit_ms=st.integers(REAL_MARGIN_MS, REAL_MARGIN_MS + 400),
    stream=st.booleans(),
)
def test_no_answer_is_late_on_the_wall_clock(
    sleepy: tuple[SlowSteps, Door], steps_ms: list[int], limit_ms: int, stream: bool
) -> None:
    """Within its limit by a real clock, a real file and real sleeps.

    Counted is what it has slept and computed: how long a busy machine kept it waiting is not its fault.
    """
    steps, door = sleepy
    steps.restart(steps_ms)
    begun_s = steps.now_s + time.process_time()
    body = {"model": MODEL, "input": "Hi", "stream": stream}
    answer = door.call("POST", RESPONSES, body, x_request_timeout_ms=str(limit_ms))
    assert steps.now_s + time.process_time() - begun_s <= limit_ms / 1000
    text, _ = _read(answer, RESPONSES, stream=stream)
    assert LONG.startswith(text)


BODIES: list[tuple[str, Callable[[str], dict[str, Any]]]] = [
    (CHAT, lambda text: {"messages": _messages(text)}),
    ("/v1/completions", lambda text: {"prompt": text}),
    (RESPONSES, lambda text: {"input": text}),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("path", "body"), BODIES)
def test_a_hopeless_request_is_refused_at_once(
    open_door: OpenDoor, path: str, body: Callable[[str], dict[str, Any]], stream: bool
) -> None:
    """By what was measured before the first request, without a step, in numbers."""
    engine, steps = slow_engine()
    engine.prefill_tokens_per_s = 10.0
    door = open_door(engine, clock=steps, streaming=True)
    sent = {"model": MODEL, "stream": stream, **body("fox 1 " * 50)}
    answer = door.call("POST", path, sent, x_request_timeout_ms="5000")
    error = answer.json["error"]
    assert (answer.status, error["code"], steps.now_s) == (400, "deadline_too_short", 0)
    assert "5.0 s" in error["message"]
    assert door.call("POST", path, {**sent, **body("Hi")}, x_request_timeout_ms="5000").status == 200


def test_a_hopeless_continuation_is_refused_at_once(open_door: OpenDoor) -> None:
    """An empty input is judged by all that has to be read for it, and so is a resumed stream."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, streaming=True)
    cut = door.post(RESPONSES, input="fox 1 " * 50, max_output_tokens=2).json
    left = ask(door, input="fox 2 " * 50).until(deltas=1).hang_up()
    door.post(CHAT, messages=_messages("x"))  # nothing of them is warm any more
    engine.prefill_tokens_per_s = 10.0
    body = {"model": MODEL, "previous_response_id": cut["id"]}
    for method, path, sent in (
        ("POST", RESPONSES, body),
        ("GET", f"{RESPONSES}/{left.id}?stream=true", None),
    ):
        refused = door.call(method, path, sent, x_request_timeout_ms="5000")
        assert (refused.status, refused.json["error"]["code"]) == (400, "deadline_too_short")


def test_a_process_that_knows_nothing_finds_out_soon(open_door: OpenDoor) -> None:
    """Without any measurement the first request is judged by its own first steps, not at its deadline."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, streaming=True)
    steps.restart([10_000])
    sent = {"model": MODEL, "input": "fox 1 " * 250}
    tokens = door.post(f"{RESPONSES}/input_tokens", input=sent["input"]).json["input_tokens"]
    assert tokens > 3 * PREFILL_STEP_TOKENS
    refused = door.call("POST", RESPONSES, sent, x_request_timeout_ms="29000")
    assert refused.json["error"]["code"] == "deadline_too_short"
    assert steps.now_s == 20
    again = door.call(
        "POST", RESPONSES, {**sent, "input": "dog " + sent["input"]}, x_request_timeout_ms="29000"
    )
    assert (again.status, steps.now_s) == (400, 20)


def test_a_snapshot_is_taken_with_the_pace_measured() -> None:
    """What is measured before a snapshot tells how long a prompt will take."""
    engine, steps = slow_engine()
    steps.restart([500])
    engine.measure_steps(steps)
    pace = Pace(lambda: engine.prefill_tokens_per_s)
    assert pace.needed_s(2 * PREFILL_STEP_TOKENS) == pytest.approx(1.0)


def test_what_ended_in_the_queue_leaves_the_margin_alone(open_door: OpenDoor) -> None:
    """An answer that never had the model ended when it left the queue: the next one has all of its time."""
    now = [1_000.0]
    door = open_door(
        noisy_engine(on_step=lambda: now.append(now[-1] + 0.01)), streaming=True, clock=lambda: now[-1]
    )
    busy = ask(door, input="Hi").until(deltas=1)
    queued = ask(door, input="Hello").until(deltas=0)
    door.call("POST", f"{RESPONSES}/{queued.id}/cancel", x_request_timeout_ms="50")
    assert queued.rest().events[-1]["response"]["status"] == "cancelled"
    busy.hang_up()
    started = now[-1]
    late = door.call("POST", RESPONSES, {"model": MODEL, "input": "Ho"}, x_request_timeout_ms="2000")
    assert late.json["dormouse"]["stop_reason"] == "deadline"
    assert now[-1] - started == pytest.approx(2, abs=0.2)


class LastMoment:
    """A lock that comes free just when the time of whoever waits for it is up, but for the first `free`."""

    def __init__(self, now: list[float], free: int = 0) -> None:
        self.now, self.free, self.releases = now, free, 0

    def acquire(self, came_s: float, limit_s: float = 0.0) -> bool:
        self.free -= 1
        if self.free >= 0:
            return True
        if limit_s:
            self.now.append(self.now[-1] + 60)
        return bool(limit_s)

    def release(self) -> None:
        self.releases += 1


def test_a_model_that_comes_free_too_late_is_busy(open_door: OpenDoor) -> None:
    """Whoever has waited for all of its time is told to try again, and does not get an empty answer."""
    now = [1_000.0]
    door = open_door(noisy_engine(), clock=lambda: now[-1])
    door.application.inference._queue._lock = lock = LastMoment(now)
    refused = door.call("POST", RESPONSES, {"model": MODEL, "input": "Ho"}, x_request_timeout_ms="2000")
    assert (refused.status, refused.json["error"]["code"]) == (503, "busy")
    assert refused.headers["x-should-retry"] == "true"
    assert lock.releases == 1


def _choices(answer: Any, *, stream: bool) -> tuple[list[str], list[str], str]:
    """Texts and finish reasons of the choices, and the whole answer's stop reason."""
    bodies = answer.events if stream else [answer.json]
    texts, reasons = ["", ""], ["", ""]
    for part in (choice for body in bodies for choice in body["choices"]):
        said = part.get("message") or part.get("delta") or part
        texts[part["index"]] += said.get("content") or said.get("text") or ""
        reasons[part["index"]] += part["finish_reason"] or ""
    return texts, reasons, bodies[-1]["dormouse"]["stop_reason"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_choice_without_time_does_not_take_the_others_with_it(open_door: OpenDoor, stream: bool) -> None:
    """The time went into the first prompt: its answer is given, and the other's is empty and says why."""
    now = [1_000.0]
    engine = noisy_engine(context_tokens=1024, on_step=lambda: now.append(now[-1] + 0.01))
    engine.prefill_tokens_per_s = 100.0  # so that it is known beforehand
    door = open_door(engine, streaming=True, clock=lambda: now[-1])
    prompts = [list(range(20, 200)), list(range(220, 40, -1))]
    body = {"model": MODEL, "prompt": prompts, "max_tokens": 1_000, "stream": stream}
    answer = door.call("POST", "/v1/completions", body, x_request_timeout_ms="3000")
    assert answer.status == 200
    (first, second), reasons, stopped = _choices(answer, stream=stream)
    assert (bool(first), second, reasons, stopped) == (True, "", ["length", "length"], "deadline")
    if not stream:
        assert answer.json["usage"]["prompt_tokens"] == len(prompts[0])  # the other was not read
    pace = door.application.inference._reading.tokens_per_s
    assert pace == pytest.approx(100)  # nothing was refused, so nothing is doubted


@pytest.mark.parametrize("stream", [True, False])
def test_a_busy_model_takes_no_choice_that_is_there(open_door: OpenDoor, stream: bool) -> None:
    """Where somebody else comes between two choices and stays, the first one is given all the same."""
    now = [1_000.0]
    door = open_door(noisy_engine(), streaming=True, clock=lambda: now[-1])
    door.application.inference._queue._lock = LastMoment(now, free=1)
    body = {"model": MODEL, "messages": _messages("Hi"), "n": 2, "max_tokens": 3, "stream": stream}
    answer = door.call("POST", CHAT, body, x_request_timeout_ms="2000")
    assert answer.status == 200
    (first, second), reasons, stopped = _choices(answer, stream=stream)
    assert (bool(first), second, reasons, stopped) == (True, "", ["length", "length"], "deadline")


def test_one_slow_moment_does_not_shut_the_door() -> None:
    """Refusals teach nothing, so each one lets the next request be a little longer."""
    pace = Pace()
    pace.learn(100, 100.0)
    needed_s = [pace.needed_s(1_000)]
    for _ in range(30):
        pace.doubt()
        needed_s.append(pace.needed_s(1_000))
    assert needed_s == sorted(needed_s, reverse=True)
    assert needed_s[-1] < needed_s[0] / 20


@given(took_s=st.lists(st.floats(0, 20), max_size=30), limit_s=st.floats(0.1, 900), floor_s=st.floats(0, 5))
def test_the_margin_is_what_endings_took_lately(took_s: list[float], limit_s: float, floor_s: float) -> None:
    """Never below the floor; of what was measured at most half of the limit, and forgotten in time."""
    margin = Margin(floor_s)
    for each in took_s:
        margin.learn(each)
    kept = margin.of(limit_s)
    assert kept >= floor_s
    assert kept <= max(floor_s, limit_s / 2)
    if took_s:
        assert kept >= min(took_s[-1], limit_s / 2)
    for _ in range(200):
        margin.learn(0.0)
    assert margin.of(limit_s) == pytest.approx(floor_s, abs=20 * FADING**200)


class SlowStore(Wrapper):
    """A store whose writes take a while on the clock of the test."""

    def __init__(self, steps: SlowSteps) -> None:
        self._steps = steps

    def append(self, *where: Any, **what: Any) -> Any:
        self._steps.now_s += 3.0
        return self.part.append(*where, **what)


def test_a_slow_store_is_allowed_for(open_door: OpenDoor) -> None:
    """What a commit took is kept back from the next budget, above what the operator set."""
    engine, steps = slow_engine()
    door = open_door(
        engine,
        clock=steps,
        streaming=True,
        wrap=SlowStore(steps).wrap,
        deadline_margin_ms=500,
    )
    late = []
    for _ in range(3):
        steps.restart([300])
        begun_s = steps.now_s
        sent = {"model": MODEL, "input": "Hi"}
        made = door.call("POST", RESPONSES, sent, x_request_timeout_ms="7000").json
        assert made["status"] in ("incomplete", "completed")
        late.append(steps.now_s - begun_s > 7)
    assert late[1:] == [False, False]


def test_signs_of_life_while_the_prompt_is_read(open_door: OpenDoor) -> None:
    """A comment at once and one after every step, on each API; and none once there is text."""
    door = open_door(noisy_engine(context_tokens=1024), streaming=True)
    for number, (path, body) in enumerate(BODIES):
        limit = "max_output_tokens" if path == RESPONSES else "max_tokens"
        sent = {"model": MODEL, "stream": True, limit: 4, **body(f"fox {number} " * 150)}
        reading = Reading(door, "POST", path, sent).rest()
        assert reading.pings >= 3
        raw = door.post(path, stream=True, **{limit: 4}, **body("Hi")).body
        assert raw.index(": ping") < raw.index("data: [DONE]")
        assert ": ping" not in raw[raw.rindex(": ping") + 6 :]


@pytest.mark.parametrize("is_scored", [False, True])
def test_a_slow_reader_is_no_slow_model(open_door: OpenDoor, is_scored: bool) -> None:
    """What a client takes to read the signs of life is not in the pace by which others are refused."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, streaming=True)
    steps.restart([1_000])
    scored = {"echo": True, "logprobs": 0, "max_tokens": 0} if is_scored else {}
    sent = {"model": MODEL, "prompt": "fox 1 " * 250, "stream": True, **scored}
    reading = Reading(door, "POST", "/v1/completions", sent)
    while reading.read():
        steps.now_s += 0 if reading.events else 60
    assert reading.pings > 3
    inference = door.application.inference
    pace = inference._scoring if is_scored else inference._reading
    assert pace.tokens_per_s is not None
    assert pace.tokens_per_s > 0.7 * PREFILL_STEP_TOKENS  # a second for each step, the last one shorter


def test_a_client_that_leaves_while_the_prompt_is_read_is_heard(open_door: OpenDoor) -> None:
    """Not one step more is computed, and the turn is kept with what there is: nothing yet."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, streaming=True)
    steps.restart([1_000])
    reading = ask(door, input="fox 1 " * 100)
    while reading.pings < 2:
        reading.read()
    reading.hang_up()
    assert steps.now_s == 1
    assert door.call("GET", f"{RESPONSES}/{reading.id}").json["status"] == "incomplete"


def test_the_limit_of_the_route_counts(open_door: OpenDoor) -> None:
    """A stored response that is told on has the time of a stream, one that is read whole that of a buffer."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, streaming=True, gateway_timeout_s=2, gateway_stream_timeout_s=60)
    cut = ask(door, input="Hi").until(deltas=1).hang_up()
    steps.restart([1_000])
    event = rest_event("GET", f"{RESPONSES}/{cut.id}?stream=true")
    answer = door.send(event)
    assert answer.events[-1]["response"]["status"] == "completed"
    assert steps.now_s > 2


@pytest.mark.parametrize(
    ("taken", "allowed_s"),
    [
        ({"requestTimeEpoch": 96_000}, 6),  # API Gateway's, payload 1.0
        ({"timeEpoch": 96_000}, 6),  # payload 2.0
        ({"requestTimeEpoch": 101_000}, 10),  # the gateway's clock is ahead
        ({"requestTimeEpoch": 90_000}, 10),  # a sample: whoever waited for it has given up
        ({}, 10),
    ],
)
def test_what_passed_before_a_start_is_not_there_for_the_answer(
    open_door: OpenDoor, taken: dict[str, int], allowed_s: int
) -> None:
    """The gateway's clock runs through a cold start; the answer ends by that clock."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, now=lambda: 100.0, gateway_timeout_s=10)
    steps.restart([1_000])
    event = rest_event("POST", RESPONSES, {"model": MODEL, "input": "Hi"})
    event["requestContext"] |= taken
    answer = door.send(event)
    assert answer.json["status"] == "incomplete"
    assert steps.now_s == allowed_s


class Marshaller:
    """The runtime's own, as far as it reads a request."""

    def unmarshal_request(self, request: str, content_type: str = "application/json") -> Any:
        return json.loads(request)


@pytest.mark.parametrize(
    ("resource", "path", "allowed_s"),
    [("/{proxy+}", f"{RESPONSES}/", 2), (RESPONSES, RESPONSES, 10)],
)
def test_a_stream_by_a_buffered_route_ends_in_time(
    open_door: OpenDoor, resource: str, path: str, allowed_s: int
) -> None:
    """API Gateway waits there for all of the answer, however it was asked for, and not as long as for a
    stream."""
    engine, steps = slow_engine()
    door = open_door(engine, clock=steps, streaming=True, gateway_timeout_s=2, gateway_stream_timeout_s=10)
    steps.restart([1_000])
    said = {"model": MODEL, "input": "Hi", "stream": True}
    asked = {**rest_event("POST", path, said), "resource": resource}
    answer = door.send(streaming_marshaller(Marshaller)().unmarshal_request(json.dumps(asked)))
    assert answer.events[-1]["type"] == "response.incomplete"
    assert steps.now_s == allowed_s


@pytest.mark.parametrize("path", [RESPONSES, f"{RESPONSES}/input_tokens"])
def test_what_is_kept_is_sought_in_time(open_door: OpenDoor, path: str) -> None:
    """However slow the encoder: no other try is begun when time is up, and the refusal says so."""
    engine, steps = slow_engine()
    engine.prompt = cast(ChatPrompt, SlowCalls(engine.prompt, "encode", steps))
    door = open_door(engine, clock=steps, streaming=True)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    for _ in range(3):
        said = [{"role": role, "content": "fox 1 " * 10} for role in ("user", "assistant")] * 10
        door.call("POST", f"/v1/conversations/{conversation}/items", {"items": said})
    sent = {"model": MODEL, "input": "Hi", "conversation": conversation, "truncation": "auto"}
    assert door.call("POST", path, sent).status == 200
    assert steps.now_s > 3  # so many tries are needed
    begun_s = steps.now_s
    refused = door.call("POST", path, sent, x_request_timeout_ms="3000")
    assert (refused.status, refused.json["error"]["code"]) == (400, "deadline_too_short")
    assert "3.0 s, and making its prompt takes longer" in refused.json["error"]["message"]
    assert steps.now_s - begun_s == 3


def test_functions_are_compiled_in_time(open_door: OpenDoor) -> None:
    """Where all of them together make no grammar, those that make none are not looked for for ever."""
    engine, steps = slow_engine()
    engine.grammars = cast(GrammarCompiler, SlowCalls(engine.grammars, "check", steps))
    door = open_door(engine, clock=steps, streaming=True)
    large = {"type": "object", "description": "x" * (MAX_GRAMMAR_BYTES // 8)}
    tools = [{"type": "function", "name": f"f{at}", "parameters": large} for at in range(16)]
    sent = {"model": MODEL, "input": "Hi", "tools": tools}
    refused = door.call("POST", RESPONSES, sent, x_request_timeout_ms="3000")
    assert (refused.status, refused.json["error"]["code"]) == (400, "deadline_too_short")
    assert 3 <= steps.now_s < 5


def test_prompts_are_encoded_in_time(open_door: OpenDoor) -> None:
    """Of many texts no other one is begun when time is up."""
    engine, steps = slow_engine()
    engine.prompt = cast(ChatPrompt, SlowCalls(engine.prompt, "encode_text", steps))
    door = open_door(engine, clock=steps, streaming=True)
    sent = {"model": MODEL, "prompt": ["Hi"] * 9}
    refused = door.call("POST", "/v1/completions", sent, x_request_timeout_ms="3000")
    assert (refused.status, refused.json["error"]["code"], steps.now_s) == (400, "deadline_too_short", 3)


def test_what_an_answer_rests_on_is_encoded_in_time(open_door: OpenDoor) -> None:
    """An explanation is no reason to refuse: what there was no time for is left open."""
    engine, steps = slow_engine()
    engine.prompt = cast(ChatPrompt, SlowCalls(engine.prompt, "encode", steps))
    door = open_door(engine, clock=steps, streaming=True)
    said = [{"role": role, "content": "Hi"} for _ in range(8) for role in ("user", "assistant")]
    sent = {"model": MODEL, "messages": [*said, *_messages("Hi")], "dormouse": {"explain": True}}
    answer = door.call("POST", CHAT, sent, x_request_timeout_ms="3000")
    assert (answer.status, steps.now_s) == (200, 3)
    assert not answer.json["dormouse"]["explanation"]["complete"]
