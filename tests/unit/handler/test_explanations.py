"""`dormouse: {"explain": true}`: certainties, the turns an answer rests on; the answer stays as it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from handler.engine.engine import Engine
from tests.unit.engine import chat_templates
from tests.unit.engine.scripted_model import ScriptedModel
from tests.unit.engine.tiny_tokenizers import byte_level
from tests.unit.handler.conftest import OpenDoor, Wrapper
from tests.unit.handler.scripted_engine import MODEL, _engine, noisy_engine, scripted_engine

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK = {"dormouse": {"explain": True}}
NAME = "Tamsin"
SAID = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": f"My name is {NAME}."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "It rains."},
    {"role": "assistant", "content": "So it does."},
    {"role": "user", "content": "What is my name?"},
]


def recalling_engine(on_step: Any = lambda: None) -> Engine:
    """An engine that says a name: surely where the prompt holds it, and unsurely where it does not."""
    tokenizer = byte_level()
    end = tokenizer.token_to_id("<|im_end|>")
    answer = [int(id_) for id_ in tokenizer.encode(NAME, add_special_tokens=False).ids]
    header = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False).ids

    def script(ids: Sequence[int]) -> Any:
        on_step()
        logits = np.zeros(tokenizer.get_vocab_size(), np.float32)
        text = tokenizer.decode(list(ids), skip_special_tokens=False)
        begin = max(
            (at for at in range(len(ids) + 1) if list(ids[at - len(header) : at]) == header), default=0
        )
        at = len(ids) - begin if begin else 0
        is_known = f"name is {NAME}" in text
        logits[answer[at] if at < len(answer) else end] = 12.0 if is_known or at >= len(answer) else 4.0
        return logits

    return _engine(tokenizer, ScriptedModel(script, 512), end)


def explained(answer: Any) -> Any:
    assert answer.status == 200, answer.body
    return answer.json["dormouse"]["explanation"]


def test_an_answer_rests_on_the_turn_that_told_it(open_door: OpenDoor) -> None:
    """The turn that says the name supports the answer by many nats, the others by none."""
    told = explained(open_door(recalling_engine()).post(CHAT, messages=SAID, **ASK))
    assert [(one["role"], one["messages"]) for one in told["support"]] == [
        ("system", [0]),
        ("user", [1, 2]),
        ("user", [3, 4]),
    ]
    system, name, weather = (one["nats"] for one in told["support"])
    assert name > 0.1
    assert (system, weather) == pytest.approx((0, 0), abs=1e-3)
    assert told["complete"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("temperature", [0, 1])
def test_explaining_changes_no_answer(open_door: OpenDoor, streaming: bool, temperature: int) -> None:
    """With and without, streamed or not, the same text and log-probabilities come, twice."""
    ask = {"messages": SAID, "max_tokens": 20, "seed": 3, "temperature": temperature, "logprobs": True}

    def told(**extra: Any) -> Any:
        door = open_door(noisy_engine(), streaming=True)
        found = []
        for _ in range(2):
            answer = door.post(CHAT, **ask, **extra, stream=streaming)
            choices = [e["choices"][0] for e in answer.events] if streaming else answer.json["choices"]
            found.append([(c.get("delta") or c.get("message"), c["logprobs"]) for c in choices])
        return found

    assert told() == told(**ASK)


def test_certainties_are_the_log_probabilities(open_door: OpenDoor) -> None:
    """Each token's score is the one that `logprobs` gives, and its entropy lies between none and all."""
    answer = open_door(noisy_engine()).post(CHAT, messages=SAID, max_tokens=12, logprobs=True, **ASK)
    tokens = explained(answer)["tokens"]
    given = answer.json["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in tokens] == [one["token"] for one in given]
    assert [one["logprob"] for one in tokens] == pytest.approx([one["logprob"] for one in given], abs=1e-6)
    assert all(0 < one["entropy"] < math.log(byte_level().get_vocab_size()) for one in tokens)


def test_unsure_stretches_are_marked(open_door: OpenDoor) -> None:
    """Where a name was never told, the text of the unlikely tokens is marked; where it was, nothing is."""
    door = open_door(recalling_engine())
    unsure = door.post(CHAT, messages=SAID[-1:], **ASK)
    told = explained(unsure)
    assert "".join(span["text"] for span in told["low_confidence"]) == NAME
    text = unsure.json["choices"][0]["message"]["content"]
    for span in told["low_confidence"]:
        assert text[span["start"] : span["end"]] == span["text"]
        assert span["probability"] < 0.3
    assert explained(door.post(CHAT, messages=SAID, **ASK))["low_confidence"] == []


def test_a_character_of_several_tokens_is_marked_whole(open_door: OpenDoor) -> None:
    """Spans count characters, also where a token is but a part of one."""
    engine = noisy_engine()
    answer = open_door(engine).post(CHAT, messages=SAID, max_tokens=30, **ASK)
    told = explained(answer)
    for span in told["low_confidence"]:
        assert 0 <= span["start"] < span["end"] or span["text"] == ""
    assert told["complete"]


def test_a_stream_tells_at_its_end(open_door: OpenDoor) -> None:
    """Only the last chunk with a choice carries the explanation."""
    events = (
        open_door(recalling_engine(), streaming=True).post(CHAT, messages=SAID, stream=True, **ASK).events
    )
    carriers = [event for event in events if "explanation" in (event.get("dormouse") or {})]
    assert carriers == [events[-1]]
    assert len(carriers[0]["dormouse"]["explanation"]["support"]) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_tells_its_items_and_keeps_it(open_door: OpenDoor, stream: bool) -> None:
    """In a conversation turns are told by their items' ids, and reading the response again tells the same."""
    door = open_door(recalling_engine(), streaming=True)
    first = door.post(RESPONSES, input=f"My name is {NAME}.").json
    ask = {"input": "What is my name?", "previous_response_id": first["id"], **ASK}
    answer = door.post(RESPONSES, **ask, stream=stream)
    body = answer.events[-1]["response"] if stream else answer.json
    (support,) = body["dormouse"]["explanation"]["support"]
    assert first["output"][0]["id"] in support["item_ids"]
    assert "messages" not in support
    assert support["nats"] > 0.1
    assert door.call("GET", f"{RESPONSES}/{body['id']}").json["dormouse"] == body["dormouse"]


class _Slow(Wrapper):
    """A model whose every call takes a tenth of a second, on a clock of its own."""

    now_s = 0.0

    def forward(self, *arguments: Any, **options: Any) -> Any:
        self.now_s += 0.1
        return self.part.forward(*arguments, **options)


def test_what_there_was_no_time_for_says_so(open_door: OpenDoor) -> None:
    """Whatever the limit, the answer is in time; what was not computed is null, the farthest turns first."""
    engine = recalling_engine()
    engine.model = slow = _Slow().wrap(engine.model)
    door = open_door(engine, clock=lambda: slow.now_s, deadline_margin_ms=100)
    computed = set()
    for limit_ms in range(200, 3000, 100):
        begun_s, body = slow.now_s, {"model": MODEL, "messages": SAID, **ASK}
        answer = door.call("POST", CHAT, body, x_request_timeout_ms=str(limit_ms))
        assert slow.now_s - begun_s <= limit_ms / 1000 + 1e-6
        if answer.status == 400:
            assert answer.json["error"]["code"] == "deadline_too_short"
            continue
        told = explained(answer)
        done = [one["nats"] is not None for one in told["support"]]
        assert done == sorted(done)
        assert told["complete"] == (all(done) and answer.json["dormouse"]["stop_reason"] == "stop")
        computed.add(sum(done))
    assert computed == {0, 1, 2, 3}


def test_far_turns_are_named_and_not_computed(open_door: OpenDoor) -> None:
    """Of a long conversation the newest eight turns are left out in turn; the others are null."""
    turns = [{"role": role, "content": "ok"} for _ in range(10) for role in ("user", "assistant")]
    engine = scripted_engine(lambda _: "yes")
    told = explained(open_door(engine).post(CHAT, messages=[*turns, SAID[-1]], **ASK))
    assert [one["nats"] is None for one in told["support"]] == [True] * 2 + [False] * 8
    assert not told["complete"]


def test_a_prompt_that_leaving_out_makes_too_long_is_not_read(open_door: OpenDoor) -> None:
    """A template that writes a system message where there is none: the answer is given, the part is null."""
    said = [{"role": "system", "content": "B"}, {"role": "user", "content": "Hello"}]
    template = chat_templates.DEFAULT_SYSTEM
    prompt = noisy_engine(template=template).prompt
    with_it, without = (len(prompt.encode(messages)) for messages in (said, said[1:]))
    assert with_it < without
    engine = noisy_engine(template=template, context_tokens=without)  # which the answer fills
    answer = open_door(engine).post(CHAT, messages=said, **ASK)
    assert len(explained(answer)["tokens"]) == without - with_it
    assert [one["nats"] for one in explained(answer)["support"]] == [None]
    assert not explained(answer)["complete"]


def test_nothing_is_told_unasked(open_door: OpenDoor) -> None:
    """Without the extra, or with false or null, the answer has no explanation."""
    door = open_door(recalling_engine())
    for extra in ({}, {"dormouse": {}}, {"dormouse": None}, {"dormouse": {"explain": False}}):
        assert "explanation" not in door.post(CHAT, messages=SAID, **extra).json["dormouse"]
        assert "explanation" not in door.post(RESPONSES, input="Hi", store=False, **extra).json["dormouse"]


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"dormouse": True}, "dormouse"),
        ({"dormouse": {"explain": "yes"}}, "dormouse.explain"),
        ({"dormouse": {"explian": True}}, "dormouse.explian"),
    ],
)
def test_a_malformed_extra_is_refused(open_door: OpenDoor, extra: dict[str, Any], param: str) -> None:
    """400 names the field; nothing is ignored."""
    door = open_door(recalling_engine())
    for path, rest in ((CHAT, {"messages": SAID}), (RESPONSES, {"input": "Hi"})):
        answer = door.post(path, **rest, **extra)
        assert (answer.status, answer.json["error"]["param"]) == (400, param)


def test_one_choice_is_explained(open_door: OpenDoor) -> None:
    """Several choices at once are refused."""
    answer = open_door(recalling_engine()).post(CHAT, messages=SAID, n=2, **ASK)
    assert (answer.status, answer.json["error"]["param"]) == (400, "n")


def test_a_continued_answer_is_not_explained(open_door: OpenDoor) -> None:
    """What goes on with a cut answer has no turns of its own: refused by name."""
    door = open_door(noisy_engine())
    first = door.post(RESPONSES, input="Hi", max_output_tokens=3).json
    answer = door.post(RESPONSES, previous_response_id=first["id"], input="", **ASK)
    assert (answer.status, answer.json["error"]["param"]) == (400, "dormouse.explain")
