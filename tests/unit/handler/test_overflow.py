"""What does not fit the context is refused with the template's own counts, or dropped by turns and told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from handler.chat.fit import newest_that_fit
from handler.engine.engine import Engine
from handler.engine.prompt import TOKEN_CHARACTERS, ChatPrompt
from handler.engine.template import ChatTemplate
from tests.unit.handler.conftest import Door, OpenDoor, Wrapper
from tests.unit.handler.scripted_engine import TEMPLATE, noisy_engine, scripted_engine
from tests.unit.handler.streams import again, ask

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"
CONTEXT_TOKENS = 200
LONG = "You are fine, thank you. " * 60
Said = list[dict[str, str]]


class Recorder:
    """Says OK and remembers what it was asked."""

    def __init__(self) -> None:
        self.prompt = ""

    def __call__(self, prompt: str) -> str:
        self.prompt = prompt
        return "OK."


@pytest.fixture
def recorder() -> Recorder:
    """The model's memory of its last prompt."""
    return Recorder()


@pytest.fixture
def engine(recorder: Recorder) -> Engine:
    """An engine with a small context."""
    return scripted_engine(recorder, context_tokens=CONTEXT_TOKENS)


@pytest.fixture
def door(open_door: OpenDoor, engine: Engine) -> Door:
    """The application around it."""
    return open_door(engine)


def tokens(engine: Engine, said: Said) -> int:
    """What the chat template makes of messages."""
    return len(engine.prompt.encode(said))


def message(role: str, text: str) -> dict[str, str]:
    """A message as clients write it."""
    return {"role": role, "content": text}


def begin(door: Door, said: Said) -> tuple[str, list[str]]:
    """Store a conversation; give its id and its items' ids."""
    id = door.call("POST", CONVERSATIONS, {}).json["id"]
    items: list[str] = []
    for start in range(0, len(said), 20):
        added = door.call("POST", f"{CONVERSATIONS}/{id}/items", {"items": said[start : start + 20]})
        assert added.status == 200, added.body
        items += [item["id"] for item in added.json["data"]]
    return id, items


def turns(count: int) -> Said:
    """Short turns of a question and an answer."""
    return [
        message(role, f"{text} {number}")
        for number in range(count)
        for role, text in (("user", "What is your name?"), ("assistant", "I am fine,"))
    ]


def test_an_overflow_is_refused_with_the_templates_counts(door: Door, engine: Engine) -> None:
    """The message has the limit and the length of the prompt, instructions and new input included."""
    said = turns(10)
    id, _ = begin(door, said)
    asked = {"conversation": id, "instructions": "Be brief."}
    refused = door.post(RESPONSES, input="Hello", **asked)
    whole = [message("system", "Be brief."), *said, message("user", "Hello")]
    assert refused.json["error"]["code"] == "context_length_exceeded"
    assert re.findall(r"\d+", refused.json["error"]["message"]) == [
        str(CONTEXT_TOKENS),
        "1",
        str(tokens(engine, whole)),
    ]


def test_no_more_is_dropped_than_must_be(door: Door, engine: Engine, recorder: Recorder) -> None:
    """Whole turns, oldest first; one less would leave no room for an answer. Usage counts the rest."""
    said = turns(10)
    id, items = begin(door, said)
    made = door.post(RESPONSES, input="Hello", conversation=id, truncation="auto").json
    dropped = made["dormouse"]["dropped_items"]
    assert dropped == items[: len(dropped)]
    assert (len(dropped) % 2, made["dormouse"]["dropped_older"]) == (0, False)
    new = message("user", "Hello")
    most = CONTEXT_TOKENS - CONTEXT_TOKENS // 4  # a context this small keeps a quarter of it for the answer
    assert made["usage"]["input_tokens"] == tokens(engine, [*said[len(dropped) :], new]) <= most
    assert tokens(engine, [*said[len(dropped) - 2 :], new]) > most
    assert said[len(dropped)]["content"] in recorder.prompt


def test_instructions_take_room_from_turns(door: Door) -> None:
    """Longer instructions, more dropped turns."""
    id, _ = begin(door, turns(6))
    asked = {"conversation": id, "truncation": "auto", "input": "Hello"}
    short = door.post(RESPONSES, **asked, instructions="Be brief.").json["dormouse"]["dropped_items"]
    long = door.post(RESPONSES, **asked, instructions="Be brief. " * 12).json["dormouse"]["dropped_items"]
    assert len(long) > len(short) + 2


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_conversations_own_instructions_stay(door: Door, recorder: Recorder, role: str) -> None:
    """A system message is no turn: it stays, and is not among the dropped, wherever it was said."""
    said = [message(role, "Be brief."), *turns(8), message(role, "Be kind."), *turns(2)]
    id, items = begin(door, said)
    made = door.post(RESPONSES, input="Hello", conversation=id, truncation="auto").json
    dropped = made["dormouse"]["dropped_items"]
    assert dropped
    assert not {items[0], items[17]} & set(dropped)
    assert "Be brief." in recorder.prompt
    assert "Be kind." in recorder.prompt


def test_instructions_outlast_the_window(door: Door, recorder: Recorder) -> None:
    """What a conversation begins with holds when it is longer than what is read of it; that is told."""
    id, items = begin(door, [message("system", "Be brief."), *turns(60)])
    made = door.post(RESPONSES, input="Hello", conversation=id, truncation="auto").json
    assert made["dormouse"]["dropped_older"]
    dropped = made["dormouse"]["dropped_items"]
    first = items.index(dropped[0])
    assert dropped == items[first : first + len(dropped)]
    assert first > 1
    assert recorder.prompt.startswith("<|im_start|>system\nBe brief.")


def test_auto_with_room_drops_nothing(door: Door, engine: Engine) -> None:
    """The prompt is the same as without."""
    said = turns(2)
    id, _ = begin(door, said)
    made = door.post(RESPONSES, input="Hello", conversation=id, truncation="auto").json
    assert (made["dormouse"]["dropped_items"], made["dormouse"]["dropped_older"]) == ([], False)
    assert made["usage"]["input_tokens"] == tokens(engine, [*said, message("user", "Hello")])


@pytest.mark.parametrize("truncation", ["auto", "disabled"])
def test_a_turn_that_is_too_long_alone_is_refused(door: Door, engine: Engine, truncation: str) -> None:
    """With nothing left to drop, `auto` refuses too, and gives both counts; nothing is stored."""
    said = turns(1)
    id, items = begin(door, said)
    refused = door.post(RESPONSES, input=LONG, conversation=id, truncation=truncation)
    assert (refused.status, refused.json["error"]["param"]) == (400, "input")
    counts = [CONTEXT_TOKENS, 1, tokens(engine, [*said, message("user", LONG)])]
    if truncation == "auto":
        counts.append(tokens(engine, [message("user", LONG)]))
    assert re.findall(r"\d+", refused.json["error"]["message"]) == list(map(str, counts))
    listed = door.call("GET", f"{CONVERSATIONS}/{id}/items").json["data"]
    assert len(listed) == len(items)


def test_a_continued_answer_is_dropped_by_all_its_items(door: Door) -> None:
    """An answer that was cut is two items and one message: both ids are told."""
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=1).json
    rest = door.post(RESPONSES, previous_response_id=cut["id"]).json
    spoken = [answer["output"][0]["id"] for answer in (cut, rest)]
    made = rest
    while not made["dormouse"]["dropped_items"]:
        asked = {"input": "What is your name? " * 2, "previous_response_id": made["id"]}
        made = door.post(RESPONSES, **asked, truncation="auto").json
    assert made["dormouse"]["dropped_items"][1:] == spoken


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["previous_response_id", "conversation"])
def test_an_answer_that_filled_the_context_is_not_continued(
    open_door: OpenDoor, place: str, stream: bool
) -> None:
    """It is refused before the first byte, by the field that names it, with both numbers, and not counted."""
    door = open_door(noisy_engine(context_tokens=CONTEXT_TOKENS), streaming=True)
    conversation = door.call("POST", CONVERSATIONS, {}).json["id"]
    full = door.post(RESPONSES, input="Hi", conversation=conversation).json
    assert full["usage"]["total_tokens"] == CONTEXT_TOKENS
    where = {place: full["id"] if place == "previous_response_id" else conversation}
    counted = door.post(f"{RESPONSES}/input_tokens", **where)
    for refused in (door.post(RESPONSES, stream=stream, **where), counted):
        error = refused.json["error"]
        assert (refused.status, error["param"]) == (400, place)
        assert error["code"] == "context_length_exceeded"
        assert re.findall(r"\d+", error["message"]) == [str(CONTEXT_TOKENS)] * 2


@pytest.mark.parametrize("older", [True, False])
def test_a_continuation_is_without_what_its_answer_was_without(door: Door, older: bool) -> None:
    """Its prompt is the same: truncation, dropped items and what is older are told alike, however often."""
    id, _ = begin(door, turns(60 if older else 10))
    cut = door.post(RESPONSES, input="Hello", conversation=id, truncation="auto", max_output_tokens=1).json
    assert (cut["truncation"], cut["dormouse"]["dropped_older"]) == ("auto", older)
    dropped = cut["dormouse"]["dropped_items"]
    assert dropped
    last = cut["id"]
    refused = door.post(RESPONSES, previous_response_id=last, truncation="disabled")
    assert (refused.status, refused.json["error"]["param"]) == (400, "truncation")
    for truncation in (None, "auto"):
        rest = door.post(
            RESPONSES, previous_response_id=last, truncation=truncation, max_output_tokens=1
        ).json
        assert (rest["truncation"], rest["dormouse"]["dropped_older"]) == ("auto", older)
        assert rest["dormouse"]["dropped_items"] == dropped
        last = rest["id"]


def test_an_answer_resumed_in_its_place_was_without_the_same(open_door: OpenDoor, engine: Engine) -> None:
    """The facts of the whole answer are those of its beginning, as far as the prompt goes."""
    door = open_door(engine, streaming=True)
    id, _ = begin(door, turns(60))
    cut = ask(door, input="Hello", conversation=id, truncation="auto").until(deltas=1).hang_up()
    facts = door.call("GET", f"{RESPONSES}/{cut.id}").json["dormouse"]
    assert (facts["stop_reason"], facts["dropped_older"]) == ("cancelled", True)
    whole = again(door, cut.id).rest().events[-1]["response"]["dormouse"]
    assert (whole["stop_reason"], whole["dropped_older"]) == ("stop", True)
    assert whole["dropped_items"] == facts["dropped_items"]


def test_what_is_not_read_is_not_passed_over(door: Door) -> None:
    """A conversation that a window does not hold is refused without `auto`, though what is read fits."""
    said = [message("user", "My name is Dormouse."), *[message("assistant", "")] * CONTEXT_TOKENS]
    id, _ = begin(door, said)
    refused = door.post(RESPONSES, input="Hello", conversation=id)
    assert (refused.status, refused.json["error"]["code"]) == (400, "context_length_exceeded")
    made = door.post(RESPONSES, input="Hello", conversation=id, truncation="auto").json
    assert made["dormouse"]["dropped_older"]


def test_a_history_that_was_deleted_is_told(door: Door) -> None:
    """What a fork had from a conversation that is gone is missing in its answers, and they say so."""
    id = door.call("POST", CONVERSATIONS, {}).json["id"]
    first = door.post(RESPONSES, input="Hi", conversation=id).json
    fork = door.post(RESPONSES, input="Hello", previous_response_id=first["id"]).json
    assert not fork["dormouse"]["dropped_older"]
    assert door.call("DELETE", f"{CONVERSATIONS}/{id}").status == 200
    later = door.post(RESPONSES, input="Hello", previous_response_id=fork["id"]).json
    assert later["dormouse"]["dropped_older"]


def test_a_stateless_overflow_is_refused_with_counts(door: Door, engine: Engine) -> None:
    """Chat completions have no truncation: too much is 400 with the template's count."""
    said: Any = turns(12)
    refused = door.post("/v1/chat/completions", messages=said)
    assert (refused.status, refused.json["error"]["param"]) == (400, "messages")
    assert str(tokens(engine, said)) in refused.json["error"]["message"]


class CountingTokenizer(Wrapper):
    """Another tokenizer, and how many characters it was given to encode."""

    characters = 0

    def encode(self, text: str, **options: Any) -> Any:
        self.characters += len(text)
        return self.part.encode(text, **options)


@pytest.fixture
def counting(engine: Engine) -> CountingTokenizer:
    """The tokenizer that the engine's prompts are made with."""
    tokenizer = CountingTokenizer().wrap(engine.tokenizer)
    engine.prompt = ChatPrompt(tokenizer, ChatTemplate(TEMPLATE, {}))
    return tokenizer


LONGEST = "You are fine, thank you. " * 2_000
LOOKS = 3  # at what there is in all, at the turns that are too many, and at those that are not
MOST_CHARACTERS = LOOKS * TOKEN_CHARACTERS * CONTEXT_TOKENS


@pytest.mark.parametrize("truncation", ["auto", "disabled"])
@pytest.mark.parametrize("path", [RESPONSES, f"{RESPONSES}/input_tokens"])
def test_a_long_history_is_not_encoded_whole(
    door: Door, counting: CountingTokenizer, path: str, truncation: str
) -> None:
    """The work goes by what the context holds, not by what is stored, and what is kept is the same."""
    id, items = begin(door, [*[message("user", LONGEST), message("assistant", LONGEST)] * 10, *turns(2)])
    answer = door.post(path, input="Hello", conversation=id, truncation=truncation)
    assert counting.characters < MOST_CHARACTERS
    if truncation == "disabled":
        assert answer.json["error"]["code"] == "context_length_exceeded"
        assert f"has more than {CONTEXT_TOKENS} tokens." in answer.json["error"]["message"]
    elif path == RESPONSES:
        assert answer.json["dormouse"]["dropped_items"] == items[:-4]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [message("user", LONGEST * 10)]}),
        ("/v1/completions", {"prompt": LONGEST * 10}),
        (RESPONSES, {"input": LONGEST * 10}),
        (RESPONSES, {"input": LONGEST * 10, "truncation": "auto"}),
    ],
)
def test_a_long_text_is_not_encoded_whole(
    door: Door, counting: CountingTokenizer, path: str, body: dict[str, Any]
) -> None:
    """One that cannot fit is refused by what it begins with, in the words that clients know it by."""
    refused = door.post(path, **body)
    assert (refused.status, refused.json["error"]["code"]) == (400, "context_length_exceeded")
    assert refused.json["error"]["message"].startswith(
        f"This model's maximum context length is {CONTEXT_TOKENS} tokens"
    )
    assert f"has more than {CONTEXT_TOKENS} tokens" in refused.json["error"]["message"]
    assert counting.characters < MOST_CHARACTERS


def test_a_short_history_is_encoded_once(door: Door, engine: Engine, counting: CountingTokenizer) -> None:
    """What fits, and that is most of all, is found to fit at the first look."""
    id, _ = begin(door, turns(3))
    counting.characters = 0
    door.post(RESPONSES, input="Hello", conversation=id, truncation="auto")
    whole = engine.prompt._template.render([*turns(3), message("user", "Hello")], None, True)
    assert counting.characters == len(whole)


def test_the_most_that_fit_are_found_by_few_tries() -> None:
    """Whatever fits of however many, the tries go by what fits."""
    for count in range(70):
        for most in range(max(count, 1)):
            tried: list[int] = []

            def fits(kept: int, most: int = most, tried: list[int] = tried) -> bool:
                tried.append(kept)
                return kept <= most

            assert newest_that_fit(count, fits) == most
            assert all(kept <= min(count, 2 * max(most, 1)) for kept in tried)
            assert len(tried) <= 2 * most.bit_length() + 2
