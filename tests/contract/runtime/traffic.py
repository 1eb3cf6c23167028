"""Everything that may come to one environment, in a random order: good requests, bad ones, and bad luck.

Each act is one invocation or a few that belong together. Every one of them has an outcome that is known
before; another one, or none within a minute, ends the test.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.contract.runtime.conftest import Environment
from tests.contract.runtime.events import event, events_of
from tests.contract.runtime.runtime_api import Invocation

CHAT = "/v1/chat/completions"
RESPONSES, RESPONSE = "/v1/responses", "/v1/responses/{response_id}"
BUFFERED = "/v1/{proxy+}"
CONVERSATIONS = "/v1/conversations"
SAYINGS = (
    "Hello!",
    "My name is Ada. What is yours?",
    "你好，你叫什么名字？",
    "What can you do?",
    "Thank you!",
)
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False, "required": []}


@dataclass(frozen=True)
class Sample:
    """What a process holds after an invocation."""

    rss_kib: int
    files: int
    sockets: int
    threads: int


def sample(environment: Environment) -> Sample:
    """Look at a process from outside, while it waits for its next event."""
    assert environment.api.idle.wait(60), "the runtime never asked for its next event"
    opened = environment.opened()
    sockets = sum(name.startswith("socket:") for name in opened)
    rss_kib, threads = environment.status("VmRSS"), environment.status("Threads")
    return Sample(rss_kib, len(opened) - sockets, sockets, threads)


class Traffic:
    """The callers of an environment, one after the other, and what became of their requests."""

    def __init__(self, environment: Environment, model: str, seed: int) -> None:
        self.environment = environment
        self.api = environment.api
        self.model = model
        self.random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.slowest_s = 0.0

    def run(self, invocations: int) -> None:
        """Act until so many invocations are answered."""
        while len(self.samples) < invocations:
            (act,) = self.random.choices(list(ACTS), list(ACTS.values()))
            act(self)

    def send(self, request: Any, *expected: str, **how: Any) -> Invocation:
        """Invoke, and note the outcome: how the answer came and, where it is whole, its status."""
        begun_s = time.monotonic()
        answer = self.api.invoke(request, **how)
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
        outcome = outcome_of(answer)
        assert outcome in expected, (outcome, expected, request, answer.body[:500])
        self.outcomes[outcome] += 1
        self.samples.append(sample(self.environment))
        return answer

    def chat(self, **fields: Any) -> dict[str, Any]:
        """A stateless request."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": self.random.choice(SAYINGS)}],
            "max_tokens": self.random.randint(1, 12),
            "temperature": self.random.choice([0, 1]),
        }
        return event("POST", CHAT, CHAT, {**body, **fields})

    def turn(self, **fields: Any) -> dict[str, Any]:
        """A request that is remembered."""
        said = self.random.choice(SAYINGS)
        body = {"model": self.model, "input": said, "max_output_tokens": self.random.randint(1, 12)}
        return event("POST", RESPONSES, RESPONSES, {**body, **fields})


def outcome_of(answer: Invocation) -> str:
    """`streamed 200`, `buffered 404`, `broken`, `cut`, `abandoned`, or the type of an invocation's error."""
    if answer.kind == "error":
        return str(json.loads(answer.body)["errorType"])
    if answer.kind == "streamed":
        return "broken" if answer.trailers else f"streamed {answer.prelude['statusCode']}"
    return f"buffered {json.loads(answer.body)['statusCode']}" if answer.kind == "buffered" else answer.kind


def whole_chat(traffic: Traffic) -> None:
    said = traffic.send(traffic.chat(), "streamed 200")
    assert json.loads(said.payload)["choices"][0]["finish_reason"] in ("stop", "length")


def streamed_chat(traffic: Traffic) -> None:
    said = traffic.send(traffic.chat(stream=True), "streamed 200")
    assert said.payload.endswith(b"data: [DONE]\n\n")


def url_chat(traffic: Traffic) -> None:
    """By the Function URL, whose events have another shape."""
    asked = traffic.chat(stream=True)
    domain = "q7.lambda-url.us-east-1.on.aws"
    context = {"http": {"method": "POST", "path": CHAT}, "requestId": "r-2", "domainName": domain}
    by_url = {"version": "2.0", "rawPath": CHAT, "requestContext": context, "body": asked["body"]}
    traffic.send({**by_url, "headers": asked["headers"]}, "streamed 200")


def scored_chat(traffic: Traffic) -> None:
    traffic.send(traffic.chat(logprobs=True, top_logprobs=5, n=2, stop=["a", "的"]), "streamed 200")


def constrained_chat(traffic: Traffic) -> None:
    """A grammar is compiled for it, of a new schema every time."""
    name = f"f{traffic.random.randint(0, 10**9)}"
    schema = {**SCHEMA, "properties": {name: {"type": "boolean"}}, "required": [name]}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    traffic.send(traffic.chat(response_format=form, max_tokens=40), "streamed 200")


def conversation(traffic: Traffic) -> None:
    """Begun, talked in twice, listed, sometimes deleted."""
    made = traffic.send(event("POST", BUFFERED, CONVERSATIONS, {}), "buffered 200")
    path = f"{CONVERSATIONS}/{json.loads(json.loads(made.body)['body'])['id']}"
    name = path.rpartition("/")[2]
    traffic.send(traffic.turn(conversation=name), "streamed 200")
    traffic.send(traffic.turn(conversation=name, stream=True, truncation="auto"), "streamed 200")
    listed = traffic.send(event("GET", BUFFERED, f"{path}/items", order="asc"), "buffered 200")
    assert len(json.loads(json.loads(listed.body)["body"])["data"]) == 4
    if traffic.random.random() < 0.5:
        traffic.send(event("DELETE", BUFFERED, path), "buffered 200")
        traffic.send(event("GET", BUFFERED, path), "buffered 404")


def thread(traffic: Traffic) -> None:
    """A response, and one that follows it, sent twice under one key."""
    first = traffic.send(traffic.turn(), "streamed 200")
    onward = traffic.turn(previous_response_id=json.loads(first.payload)["id"])
    onward["headers"]["Idempotency-Key"] = f"k-{traffic.random.randint(0, 10**12)}"
    said = [traffic.send(onward, "streamed 200").payload for _ in range(2)]
    assert said[0] == said[1]


def taken_up(traffic: Traffic) -> None:
    """A client that hangs up in a response, and comes back for the rest."""
    cut = traffic.send(traffic.turn(stream=True, max_output_tokens=12), "cut", hang_up_after=4)
    path = f"{RESPONSES}/{events_of(cut)[0]['response']['id']}"
    after = str(events_of(cut)[-1]["sequence_number"])
    rest = traffic.send(event("GET", RESPONSE, path, stream="true", starting_after=after), "streamed 200")
    assert events_of(rest)[-1]["type"] in ("response.completed", "response.incomplete")


def wrong(traffic: Traffic) -> None:
    """Requests that are refused, each for another reason."""
    bad: list[tuple[Any, str]] = [
        (traffic.chat(temperature=9), "streamed 400"),
        (traffic.chat(model="another"), "streamed 404"),
        ({**traffic.chat(), "body": "{"}, "streamed 400"),
        ({**traffic.chat(), "body": "x" * (2 << 20)}, "streamed 413"),
        (event("PUT", BUFFERED, "/v1/models"), "buffered 405"),
        (event("GET", BUFFERED, "/v1/nothing"), "buffered 404"),
        (traffic.turn(previous_response_id="resp_none"), "streamed 404"),
        ({"a timer": "ticks"}, "buffered 400"),
    ]
    traffic.send(*traffic.random.choice(bad))


def hung_up(traffic: Traffic) -> None:
    """A client that leaves in mid-stream, or before the first byte of the body."""
    after = traffic.random.randint(1, 3)
    traffic.send(traffic.chat(stream=True, max_tokens=64), "cut", hang_up_after=after)


def slow_reader(traffic: Traffic) -> None:
    traffic.send(traffic.chat(stream=True), "streamed 200", bytes_per_s=200_000)


def stopped_reader(traffic: Traffic) -> None:
    """Nothing more is read; the environment gives the answer up before its time is up."""
    reader = threading.Event()
    traffic.send(traffic.chat(stream=True), "abandoned", read_on=reader, deadline_s=1.0)
    reader.set()


def late(traffic: Traffic) -> None:
    """No time, or hardly any, is left when the event is taken: an answer that is cut, or refused."""
    deadline_s = traffic.random.choice([-1.0, 0.1, 0.9])
    asked = traffic.chat(stream=traffic.random.random() < 0.5, max_tokens=256)
    traffic.send(asked, "streamed 200", "streamed 400", deadline_s=deadline_s)


def buggy(traffic: Traffic) -> None:
    """The function fails: before it begins, in mid-stream, or by an answer that Lambda does not take."""
    fault, outcome = traffic.random.choice(
        [("raise", "RuntimeError"), ("break", "broken"), ("large", "AnswerTooLarge")]
    )
    asked = event("GET", BUFFERED, "/v1/models") if fault == "large" else traffic.chat(stream=True)
    asked["headers"]["x-fault"] = fault
    traffic.send(asked, outcome)


def refused(traffic: Traffic) -> None:
    """The Runtime API does not take the answer."""
    status = traffic.random.choice([400, 413])
    traffic.send(traffic.chat(stream=True), "streamed 200", reply_status=status)


def poll_cut_off(traffic: Traffic) -> None:
    """The connection of the next poll is reset; nothing is lost with it."""
    traffic.api.reset_next = 1
    traffic.send(event("GET", BUFFERED, "/v1/models"), "buffered 200")
    traffic.send(event("GET", "/", "/health"), "buffered 200")


ACTS: dict[Callable[[Traffic], None], float] = {
    whole_chat: 20,
    streamed_chat: 20,
    url_chat: 5,
    scored_chat: 3,
    constrained_chat: 3,
    conversation: 6,
    thread: 4,
    taken_up: 4,
    wrong: 12,
    hung_up: 10,
    slow_reader: 4,
    stopped_reader: 0.3,
    late: 4,
    buggy: 6,
    refused: 3,
    poll_cut_off: 2,
}
"""How often each, in relation to the others."""
