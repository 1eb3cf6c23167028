"""Acceptance of exact continuation: cut at every token, an answer joins to the one that was never cut."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.application import build
from handler.settings import Settings
from tests.unit.engine import tiny_tokenizers
from tests.unit.handler.conftest import Door, OpenDoor, opened
from tests.unit.handler.scripted_engine import noisy_engine
from tests.unit.handler.streams import RESPONSES, again, ask, text_of, told

TOKENS = 18
KINDS = ("byte_level", "sentencepiece_bpe")
"""Both write what is no word as bytes, so that noise is full of halves of characters."""
PENALTIES = {"presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.3}
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 1.6, "top_p": 0.97, "top_k": 200, "seed": 7},
]
STOPS: list[list[str] | None] = [None, ["e", "你"], ["th", "\n\n", "the lazy"]]


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[tuple[str, bool], Door]]:
    """Noise over each tokenizer, with penalties in the bundle's defaults and without."""
    with ExitStack() as stack:
        yield {
            (kind, is_penalized): stack.enter_context(
                opened(
                    noisy_engine(
                        tokenizer=getattr(tiny_tokenizers, kind)(),
                        generation=PENALTIES if is_penalized else {},
                    )
                )
            )
            for kind in KINDS
            for is_penalized in (True, False)
        }


def entries_of(response: Any) -> list[Any]:
    """The log-probabilities of a response's tokens."""
    found: list[Any] = response["output"][0]["content"][0]["logprobs"]
    return found


def go_on(door: Door, parts: list[Any], tokens: int, **options: Any) -> bool:
    """Continue an answer unless it has ended; tell whether it was continued."""
    if parts[-1]["status"] == "completed":
        return False
    last = parts[-1]["id"]
    parts.append(door.post(RESPONSES, previous_response_id=last, max_output_tokens=tokens, **options).json)
    return True


def check_joined(parts: list[Any], whole: Any) -> None:
    """The parts together are the whole: text, end, tokens and what is known of them."""
    assert "".join(map(text_of, parts)) == text_of(whole)
    assert parts[-1]["status"] == whole["status"]
    assert sum(part["usage"]["output_tokens"] for part in parts) == whole["usage"]["output_tokens"]
    joined, expected = [entry for part in parts for entry in entries_of(part)], entries_of(whole)
    assert joined[: len(expected)] == expected
    if whole["status"] == "incomplete":  # a stop string takes the tokens with it that it was hiding in
        assert joined == expected


@pytest.mark.parametrize("is_penalized", [True, False])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_cut_at_every_token(
    doors: dict[tuple[str, bool], Door], kind: str, sampling: Any, stop: list[str] | None, is_penalized: bool
) -> None:
    """Cut once, anywhere, and continued, whole or as events: the same text, the same log-probabilities."""
    door = doors[kind, is_penalized]
    asked = {"input": "Hi", **sampling, "stop": stop, "top_logprobs": 1}
    whole = door.post(RESPONSES, **asked, max_output_tokens=TOKENS).json
    for cut in range(1, TOKENS):
        parts = [door.post(RESPONSES, **asked, max_output_tokens=cut).json]
        go_on(door, parts, TOKENS - cut, top_logprobs=1)
        check_joined(parts, whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_cut_after_every_token(doors: dict[tuple[str, bool], Door], kind: str, sampling: Any) -> None:
    """A chain of continuations of one token each is the same answer."""
    door = doors[kind, True]
    asked = {"input": "Hi", **sampling, "stop": ["th"], "top_logprobs": 1}
    whole = door.post(RESPONSES, **asked, max_output_tokens=TOKENS).json
    parts = [door.post(RESPONSES, **asked, max_output_tokens=1).json]
    while len(parts) < TOKENS and go_on(door, parts, 1, top_logprobs=1):
        pass
    check_joined(parts, whole)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_hung_up_at_every_piece(doors: dict[tuple[str, bool], Door], kind: str, sampling: Any) -> None:
    """Left after any piece and resumed in place, a stream is the one that was never left, event by event."""
    door = doors[kind, True]
    asked = {"input": "Hi", **sampling, "stop": ["th"], "top_logprobs": 1, "max_output_tokens": TOKENS}
    whole = ask(door, **asked).rest()
    for pieces in range(len(whole.deltas)):
        cut = ask(door, **asked).until(deltas=pieces).hang_up()
        rest = again(door, cut.id, cut.last).rest()
        assert told([*cut.events, *rest.events]) == told(whole.events)


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    temperature=st.sampled_from([0.0, 0.8, 1.6]),
    seed=st.integers(-(2**63), 2**63 - 1),
    stop=st.sampled_from([None, ["e"], ["th", "你"], ["\n\n", "the lazy"]]),
    kind=st.sampled_from(KINDS),
    stream=st.booleans(),
)
def test_an_answer_cut_anywhere_joins(
    doors: dict[tuple[str, bool], Door],
    cuts: list[int],
    temperature: float,
    seed: int,
    stop: list[str] | None,
    kind: str,
    stream: bool,
) -> None:
    """Any seed, any cuts, streamed or not, the request's own penalty: the parts are the whole."""
    door = doors[kind, False]
    asked = {"input": "Hi", "temperature": temperature, "seed": seed, "stop": stop, "repetition_penalty": 1.2}
    whole = door.post(RESPONSES, **asked, max_output_tokens=sum(cuts) + 8).json
    parts = [door.post(RESPONSES, **asked, max_output_tokens=cuts[0]).json]
    for cut in [*cuts[1:], 8]:
        if parts[-1]["status"] == "completed":
            break
        last = parts[-1]["id"]
        more = door.post(RESPONSES, previous_response_id=last, max_output_tokens=cut, stream=stream)
        parts.append(more.events[-1]["response"] if stream else more.json)
    assert "".join(map(text_of, parts)) == text_of(whole)
    assert parts[-1]["status"] == whole["status"]
    assert {part["dormouse"]["seed"] for part in parts} == {seed}


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.2, "seed": 3}])
@pytest.mark.parametrize("stop", [None, ["a", "你"]])
def test_the_embedded_model_cut_at_every_token(
    house_bundle: Path, tmp_path: Path, sampling: Any, stop: list[str] | None
) -> None:
    """Real weights, real kernels: the same, in English and in Chinese."""
    app = build(
        Settings(bundle=house_bundle, sessions=str(tmp_path / "sessions"), streaming=True), started_s=0.0
    )
    door = Door(app)
    for said in ("What can you do?", "你是谁？"):
        asked = {"input": said, **sampling, "stop": stop, "top_logprobs": 1, "max_output_tokens": 10}
        whole = door.post(RESPONSES, **asked).json
        for cut in range(1, whole["usage"]["output_tokens"]):
            parts = [door.post(RESPONSES, **{**asked, "max_output_tokens": cut}).json]
            go_on(door, parts, 10 - cut, top_logprobs=1)
            check_joined(parts, whole)
    app.store.close()


def test_a_named_conversation_goes_on(open_door: OpenDoor) -> None:
    """An empty input to a conversation continues its last answer there; not where a user spoke last."""
    door = open_door(noisy_engine())
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    whole = door.post(RESPONSES, input="Hi", max_output_tokens=9).json
    parts = [door.post(RESPONSES, input="Hi", max_output_tokens=3, conversation=conversation).json]
    for _ in range(2):
        parts.append(door.post(RESPONSES, conversation=conversation, max_output_tokens=3).json)
    assert "".join(map(text_of, parts)) == text_of(whole)
    items = door.call("GET", f"/v1/conversations/{conversation}/items").json["data"]
    assert [item["role"] for item in items] == ["assistant", "assistant", "assistant", "user"]
    door.call(
        "POST", f"/v1/conversations/{conversation}/items", {"items": [{"role": "user", "content": "And?"}]}
    )
    refused = door.post(RESPONSES, conversation=conversation)
    assert (refused.status, refused.json["error"]["param"]) == (400, "input")


def test_what_is_kept_may_be_said_again_and_is_told(open_door: OpenDoor) -> None:
    """Every part of an answer tells its instructions and top_p, and may be continued with or without them."""
    door = open_door(noisy_engine())
    kept: dict[str, Any] = {"instructions": "Be brief.", "top_p": 0, "typical_p": 0.0}
    parts = [door.post(RESPONSES, input="Hi", max_output_tokens=3, **kept).json]
    for said in ({}, kept, {}):
        assert go_on(door, parts, 3, **said)
    assert {(part["instructions"], part["top_p"]) for part in parts} == {("Be brief.", 0)}
    refused = door.post(RESPONSES, previous_response_id=parts[-1]["id"], top_p=0.5)
    assert (refused.status, "top_p of 0.0" in refused.json["error"]["message"]) == (400, True)


def test_a_continuation_includes_what_is_asked_for(open_door: OpenDoor) -> None:
    """`include` asks a continuation for log-probabilities as it asks a new answer."""
    door = open_door(noisy_engine())
    asked = {"include": ["message.output_text.logprobs"], "max_output_tokens": 3}
    cut = door.post(RESPONSES, input="Hi", **asked).json
    rest = door.post(RESPONSES, previous_response_id=cut["id"], **asked).json
    whole = door.post(RESPONSES, input="Hi", **{**asked, "max_output_tokens": 6}).json
    assert entries_of(cut) + entries_of(rest) == entries_of(whole)


def test_what_says_something_anywhere_is_read(open_door: OpenDoor) -> None:
    """An input whose first part is empty is a new turn, and no continuation that forgets the rest of it."""
    door = open_door(noisy_engine())
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=3).json
    parts = [{"type": "input_text", "text": text} for text in ("", "What is your name?")]
    said = {"input": [{"role": "user", "content": parts}], "previous_response_id": cut["id"]}
    made = door.post(RESPONSES, **said, max_output_tokens=3).json
    items = door.call("GET", f"{RESPONSES}/{made['id']}/input_items").json["data"]
    assert [item["content"] for item in items] == [parts]


@pytest.mark.parametrize("is_tip", [True, False])
@pytest.mark.parametrize("store", [True, False])
def test_what_is_no_longer_the_last_goes_on_beside_it(open_door: OpenDoor, is_tip: bool, store: bool) -> None:
    """An incomplete response is continued whether or not something followed it, kept or not."""
    door = open_door(noisy_engine())
    whole = door.post(RESPONSES, input="Hi", max_output_tokens=9).json
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=3).json
    if not is_tip:
        door.post(RESPONSES, input="And?", previous_response_id=cut["id"], max_output_tokens=2)
    rest = door.post(RESPONSES, previous_response_id=cut["id"], max_output_tokens=6, store=store).json
    assert text_of(cut) + text_of(rest) == text_of(whole)
    kept = door.call("GET", f"{RESPONSES}/{rest['id']}").status
    assert kept == (200 if store else 404)


@pytest.mark.parametrize("change", [{"stop": ["x"]}, {"instructions": "Be brief."}])
def test_what_would_make_another_answer_is_refused(open_door: OpenDoor, change: dict[str, Any]) -> None:
    """Stop strings and instructions belong to the answer as well as its seed."""
    door = open_door(noisy_engine())
    cut = door.post(RESPONSES, input="Hi", max_output_tokens=3, stop=["zzz"], instructions="Be long.").json
    refused = door.post(RESPONSES, previous_response_id=cut["id"], **change)
    assert (refused.status, refused.json["error"]["param"]) == (400, next(iter(change)))
    same = {"stop": "zzz", "instructions": "Be long."}
    assert door.post(RESPONSES, previous_response_id=cut["id"], max_output_tokens=1, **same).status == 200


def items_of(door: Door, conversation: str) -> list[str]:
    """The ids of a conversation's items, oldest first."""
    page = door.call("GET", f"/v1/conversations/{conversation}/items?order=asc").json
    return [item["id"] for item in page["data"]]


@pytest.mark.parametrize("gone", ["instructions", "question", "answer", "conversation"])
@pytest.mark.parametrize("where", ["its conversation", "a branch"])
def test_an_answer_does_not_go_on_from_what_is_deleted(open_door: OpenDoor, gone: str, where: str) -> None:
    """A prompt is kept whole, a deleted text in it included: 409, and its tokens are not counted either."""
    door = open_door(noisy_engine(), streaming=True)
    said = [{"role": role, "content": f"The {role}'s"} for role in ("system", "user")]
    conversation = door.call("POST", "/v1/conversations", {"items": said[:1]}).json["id"]
    cut = door.post(RESPONSES, input=said[1:], conversation=conversation, max_output_tokens=3).json
    if where == "a branch":
        cut = door.post(RESPONSES, input="And?", previous_response_id=cut["id"], max_output_tokens=3).json
    else:
        door.post(RESPONSES, conversation=conversation, max_output_tokens=3)
    path = f"/v1/conversations/{conversation}"
    if gone != "conversation":
        path += f"/items/{items_of(door, conversation)[['instructions', 'question', 'answer'].index(gone)]}"
    assert door.call("DELETE", path).status == 200
    if (gone, where) == ("conversation", "its conversation"):
        assert door.post(RESPONSES, previous_response_id=cut["id"]).status == 404
        return
    for path in (RESPONSES, f"{RESPONSES}/input_tokens"):
        refused = door.post(path, previous_response_id=cut["id"])
        if (gone, where) == ("answer", "its conversation"):  # there is nothing to continue
            assert (refused.status, refused.json["error"]["param"]) == (400, "input")
        else:
            assert (refused.status, refused.json["error"]["param"]) == (409, "previous_response_id")
    if where == "its conversation":
        refused = door.post(RESPONSES, conversation=conversation)
        assert (refused.status, refused.json["error"]["param"]) == (409, "conversation")
        assert "deleted" in refused.json["error"]["message"]
    again_said = door.post(RESPONSES, previous_response_id=cut["id"], input="Go on", max_output_tokens=3)
    assert again_said.status == 200


def test_what_it_was_not_made_of_may_be_deleted(open_door: OpenDoor) -> None:
    """What was dropped from a prompt, came after it, or was gone before keeps no answer from going on."""
    door = open_door(noisy_engine(context_tokens=256), streaming=True)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    asked = {"conversation": conversation, "truncation": "auto", "max_output_tokens": 3}
    for n in range(8):
        door.post(RESPONSES, input=f"Tell me about sleep, number {n}, please.", **asked)
    door.call("DELETE", f"/v1/conversations/{conversation}/items/{items_of(door, conversation)[-1]}")
    cut = door.post(RESPONSES, input="Hi", **asked).json
    dropped = cut["dormouse"]["dropped_items"]
    assert dropped
    door.post(RESPONSES, input="And?", **asked)
    for item in (dropped[0], items_of(door, conversation)[-1]):
        assert door.call("DELETE", f"/v1/conversations/{conversation}/items/{item}").status == 200
    assert door.post(RESPONSES, previous_response_id=cut["id"], max_output_tokens=3).status == 200


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_stream_is_not_taken_up_from_what_is_deleted(open_door: OpenDoor, is_deleted: bool) -> None:
    """An answer whose client hung up is told as far as it came when its question, or what that rests on, is
    gone.
    """
    door = open_door(noisy_engine(), streaming=True)
    conversation = door.call("POST", "/v1/conversations", {}).json["id"]
    asked = {"conversation": conversation, "input": "Hi"}
    door.post(RESPONSES, **asked, max_output_tokens=3)
    cut = ask(door, **asked, max_output_tokens=TOKENS).until(deltas=3).hang_up()
    kept = door.call("GET", f"{RESPONSES}/{cut.id}").json["usage"]["output_tokens"]
    assert kept < TOKENS
    if is_deleted:
        door.call("DELETE", f"/v1/conversations/{conversation}/items/{items_of(door, conversation)[0]}")
    made = again(door, cut.id).rest().events[-1]["response"]
    assert made["usage"]["output_tokens"] == (kept if is_deleted else TOKENS)
