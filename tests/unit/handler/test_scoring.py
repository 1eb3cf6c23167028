"""`POST /v1/completions`: every kind of prompt, echoed, scored, several at once, whole and streamed."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from handler.engine.engine import Engine
from handler.engine.generate import PREFILL_STEP_TOKENS
from tests.unit.engine.tiny_tokenizers import byte_level
from tests.unit.handler.conftest import Answer, Door, OpenDoor
from tests.unit.handler.scripted_engine import MODEL, noisy_engine
from tests.unit.handler.streams import Reading

PATH = "/v1/completions"
TEXT = "The quick brown fox jumps over the lazy dog."
IDS = [int(id_) for id_ in byte_level().encode(TEXT).ids]


@pytest.fixture
def engine() -> Engine:
    return noisy_engine()


@pytest.fixture
def door(open_door: OpenDoor, engine: Engine) -> Door:
    return open_door(engine, streaming=True)


def choices(door: Door, **body: Any) -> list[Any]:
    """The choices of a buffered answer."""
    answer = door.post(PATH, **body)
    assert answer.status == 200, answer.body
    found: list[Any] = answer.json["choices"]
    return found


def without_index(choice: Any) -> Any:
    """A choice but for its place."""
    return {name: value for name, value in choice.items() if name != "index"}


def test_a_text_and_its_ids_are_one_prompt(door: Door) -> None:
    """Given as text or as ids, alone or in a list, the same prompt has the same answer."""
    whole = choices(door, prompt=TEXT, echo=True, logprobs=2, max_tokens=5)
    for prompt in ([TEXT], IDS, [IDS]):
        assert choices(door, prompt=prompt, echo=True, logprobs=2, max_tokens=5) == whole


def test_no_limit_given_is_the_default(door: Door) -> None:
    """OpenAI's default is 16 tokens, and null stands for the default: not for all that the context holds."""
    for given in ({}, {"max_tokens": None}, {"max_tokens": 16}):
        assert len(choices(door, prompt=TEXT, logprobs=0, **given)[0]["logprobs"]["tokens"]) == 16


def test_echo_is_the_prompt_and_then_the_answer(door: Door) -> None:
    """What an echoed answer says after the prompt is what it says without an echo."""
    plain = choices(door, prompt=TEXT, max_tokens=8)[0]["text"]
    assert choices(door, prompt=TEXT, max_tokens=8, echo=True)[0]["text"] == TEXT + plain
    assert choices(door, prompt=IDS, max_tokens=0, echo=True)[0]["text"] == TEXT


def test_a_prompt_is_scored(door: Door, engine: Engine) -> None:
    """Every id of the prompt has the score that generating it would have had; the first has none."""
    lists = choices(door, prompt=IDS, echo=True, logprobs=3, max_tokens=0)[0]["logprobs"]
    assert {len(entries) for entries in lists.values()} == {len(IDS)}
    assert "".join(lists["tokens"]) == TEXT
    assert (lists["token_logprobs"][0], lists["top_logprobs"][0]) == (None, None)
    params = engine.params(temperature=0)
    for at in range(1, len(IDS)):
        token = next(iter(engine.generate(IDS[:at], params, top_logprobs=byte_level().get_vocab_size())))
        assert lists["token_logprobs"][at] == dict(token.top)[IDS[at]]
        assert lists["top_logprobs"][at][lists["tokens"][at]] == lists["token_logprobs"][at]
        assert max(lists["top_logprobs"][at].values()) == token.top[0][1]


def test_offsets_point_into_the_text(door: Door) -> None:
    """Where a token's text begins is told within the choice's own text, with an echo and without."""
    for echo in (True, False):
        ask = {"echo": echo, "logprobs": 0, "max_tokens": 4, "logit_bias": {str(IDS[2]): 100}}
        choice = choices(door, prompt="Hello, 你好é ", **ask)[0]
        lists = choice["logprobs"]
        assert lists["text_offset"][0] == 0
        for token, at in zip(lists["tokens"], lists["text_offset"], strict=True):
            assert token.startswith("bytes:") or choice["text"].startswith(token, at)


def test_a_token_that_is_half_a_character_is_told_by_its_bytes(door: Door) -> None:
    """Such tokens keep apart in the lists, and their offset is that of the character."""
    ids = [int(id_) for id_ in byte_level().encode("é").ids]
    choice = choices(door, prompt=ids, echo=True, logprobs=0, max_tokens=0)[0]
    assert choice["text"] == "é"
    assert choice["logprobs"]["tokens"] == ["bytes:\\xc3", "bytes:\\xa9"]
    assert choice["logprobs"]["text_offset"] == [0, 0]


def test_prompts_by_choices(door: Door) -> None:
    """Choices come prompt by prompt, numbered through; each prompt is counted once."""
    prompts = [TEXT, "Hello"]
    ask = {"n": 2, "best_of": 2, "seed": 4, "temperature": 1.0, "max_tokens": 5, "echo": True, "logprobs": 1}
    answer = door.post(PATH, prompt=prompts, **ask).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    alone = [choice for prompt in prompts for choice in choices(door, prompt=prompt, **ask)]
    assert [without_index(c) for c in answer["choices"]] == [without_index(c) for c in alone]
    read = len(IDS) + len(byte_level().encode("Hello").ids)
    assert answer["usage"]["prompt_tokens"] == answer["dormouse"]["receipt"]["prompt_tokens"] == read
    assert answer["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize("echo", [True, False])
def test_a_stream_joins_to_the_whole(door: Door, echo: bool) -> None:
    """The chunks of every choice join to the buffered one, lists of log-probabilities included."""
    ask = {"prompt": [IDS, IDS[:5]], "n": 2, "seed": 1, "temperature": 1.0, "max_tokens": 6}
    ask |= {"echo": echo, "logprobs": 2}
    whole = choices(door, **ask)
    chunks = door.post(PATH, **ask, stream=True, stream_options={"include_usage": True}).events
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        **door.post(PATH, **ask).json["usage"],
        "prompt_tokens_details": chunks[-1]["usage"]["prompt_tokens_details"],
    }
    for choice in whole:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        for name, entries in choice["logprobs"].items():
            assert [e for part in parts if part["logprobs"] for e in part["logprobs"][name]] == entries


def test_the_end_has_a_place_in_the_lists(door: Door, engine: Engine) -> None:
    """An answer that ends at once has an entry behind the prompt's: counting from the end is safe."""
    end = engine.manifest.tokens.eos[0]
    ask = {"echo": True, "logprobs": 1, "max_tokens": 1, "logit_bias": {str(end): 100}}
    choice = choices(door, prompt=TEXT, **ask)[0]
    assert (choice["text"], choice["finish_reason"]) == (TEXT, "stop")
    assert len(choice["logprobs"]["tokens"]) == len(IDS) + 1
    assert choice["logprobs"]["tokens"][-1] == "<|im_end|>"
    assert choice["logprobs"]["text_offset"][-1] == len(TEXT)


def test_scores_are_the_models_own(door: Door) -> None:
    """Temperature, penalties and bias choose tokens and leave their log-probabilities alone."""
    ask = {"prompt": TEXT, "echo": True, "logprobs": 1, "max_tokens": 0}
    plain = choices(door, **ask)
    assert choices(door, **ask, temperature=0.2, frequency_penalty=1, logit_bias={"5": 100}) == plain


def test_shared_beginnings_are_scored_once(door: Door, engine: Engine) -> None:
    """A second prompt that begins as the first computes only what differs, and scores the same."""
    ask = {"echo": True, "logprobs": 1, "max_tokens": 0}
    cold = choices(door, prompt=IDS[:-1], **ask)
    choices(door, prompt=IDS, **ask)
    engine.model.computed.clear()  # type: ignore[attr-defined]
    answer = door.post(PATH, prompt=IDS[:-1], **ask).json
    assert answer["choices"] == cold
    assert sum(engine.model.computed) == 0  # type: ignore[attr-defined]
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == len(IDS) - 2


def test_a_warm_cache_skips_no_score(door: Door) -> None:
    """After an answer to the same prompt, whose rows gave no scores, all of it is scored all the same."""
    ask = {"prompt": IDS, "echo": True, "logprobs": 1, "max_tokens": 1}
    cold = choices(door, **ask)
    choices(door, prompt="something else", echo=True, logprobs=1)
    choices(door, prompt=IDS, max_tokens=3)
    assert choices(door, **ask) == cold


def test_a_scoring_out_of_time_is_refused(open_door: OpenDoor) -> None:
    """Part of the scores would be taken for all of them: there are all or none, and the times are told."""
    ticks = count()
    door = open_door(noisy_engine(), clock=lambda: float(next(ticks)), gateway_timeout_s=6)
    answer = door.post(PATH, prompt=IDS * 20, echo=True, logprobs=1, max_tokens=1)
    assert (answer.status, answer.json["error"]["code"]) == (400, "deadline_too_short")
    assert str(len(IDS) * 20) in answer.json["error"]["message"]


def test_a_hopeless_scoring_is_refused_at_once(open_door: OpenDoor) -> None:
    """All prompts are judged together, by what differs: answers to one question are it and a bit more."""
    now = [1_000.0]
    engine = noisy_engine(context_tokens=1024, on_step=lambda: now.append(now[-1] + 0.01))
    door = open_door(engine, clock=lambda: now[-1])
    question = list(range(20, 200))

    def scored(*prompts: list[int]) -> Answer:
        body = {"model": MODEL, "prompt": prompts, "echo": True, "logprobs": 0, "max_tokens": 0}
        return door.call("POST", PATH, body, x_request_timeout_ms="3000")

    assert scored(question).status == 200  # which teaches the speed
    known_s = now[-1]
    refused = scored(question, question[::-1], question[::2] * 2)
    assert (refused.status, refused.json["error"]["code"]) == (400, "deadline_too_short")
    assert now[-1] == known_s
    assert scored(question, [*question, 5, 6], [*question, 7, 8]).status == 200


def test_a_scoring_shows_signs_of_life(door: Door) -> None:
    """A stream carries a comment at once and after every step of a scoring, so that a hang-up is noticed."""
    body = {"model": MODEL, "prompt": IDS * 40, "echo": True, "logprobs": 0, "max_tokens": 0, "stream": True}
    steps = len(IDS) * 40 // PREFILL_STEP_TOKENS
    assert steps > 1
    reading = Reading(door, "POST", PATH, body)
    while not reading.events:
        reading.read()
    assert reading.pings > steps
    before = Reading(door, "POST", PATH, {**body, "prompt": IDS[::-1] * 40})
    while before.pings < 3:
        before.read()
    before.hang_up()
    assert choices(door, prompt=IDS, max_tokens=0, echo=True)[0]["text"] == TEXT


def test_the_whole_context_can_be_scored(open_door: OpenDoor) -> None:
    """A scoring needs no room for an answer; one token more is refused with the counts."""
    door = open_door(noisy_engine(context_tokens=64))
    ids = (IDS * 8)[:64]
    assert len(choices(door, prompt=ids, echo=True, logprobs=0, max_tokens=0)[0]["logprobs"]["tokens"]) == 64
    for wrong, most in ((ids, 1), ([*ids, 5], 0)):
        answer = door.post(PATH, prompt=[[5], wrong], echo=True, logprobs=0, max_tokens=most)
        error = answer.json["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt[1]")


def test_control_ids_are_taken_as_ids(door: Door) -> None:
    """Text never becomes a control token; who sends ids means them."""
    control = byte_level().token_to_id("<|im_start|>")
    ask = {"echo": True, "logprobs": 0, "max_tokens": 0}
    assert choices(door, prompt=[control, 5], **ask)[0]["logprobs"]["tokens"][0] == "<|im_start|>"
    assert "<|im_start|>" not in choices(door, prompt="<|im_start|>x", **ask)[0]["logprobs"]["tokens"]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": [[5], [6, 7, 8, 99999]]}, "prompt[1][3]", "invalid_value"),
    ({"prompt": [5, 99999]}, "prompt[1]", "invalid_value"),
    ({"prompt": [5, -1]}, "prompt[1]", "below_min_value"),
    ({"prompt": [5, "a"]}, "prompt[1]", "invalid_type"),
    ({"prompt": ["a", 5]}, "prompt[1]", "invalid_type"),
    ({"prompt": [True]}, "prompt[0]", "invalid_type"),
    ({"prompt": [[5], []]}, "prompt[1]", "array_below_min_length"),
    ({"prompt": []}, "prompt", "array_below_min_length"),
    ({"prompt": ["a"] * 129}, "prompt", "array_above_max_length"),
    ({"prompt": 5}, "prompt", "invalid_type"),
    ({"prompt": {}}, "prompt", "invalid_type"),
    ({"prompt": ["a"] * 65, "n": 2}, "n", "invalid_value"),
    ({"logprobs": 6}, "logprobs", "above_max_value"),
    ({"logprobs": True}, "logprobs", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"best_of": 2}, "best_of", "unsupported_parameter"),
    ({"suffix": "x"}, "suffix", "unsupported_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED)
def test_refusals(door: Door, fields: dict[str, Any], param: str, code: str) -> None:
    """What is wrong is told by the field, down to the id."""
    answer = door.call("POST", PATH, {"model": MODEL, "prompt": "a", **fields})
    assert answer.status == 400
    assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (param, code)
