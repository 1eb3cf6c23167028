"""Text in pieces: nothing lost, nothing torn, nothing leaked, and taken up again anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.engine.text import Detokenizer, StopHold, TextStream, whole_text
from handler.engine.values import Piece, StopReason, Token
from handler.errors import InvalidRequest
from tests.unit.engine import tiny_tokenizers

KINDS = list(tiny_tokenizers.ALL)
TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("helo wrd ,.\n\t 你好吗🐭é\u0301👩‍👩‍👧\ufffd▁"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


class Said:
    """Tokens that were decided beforehand."""

    def __init__(self, ids: Sequence[int], stop_reason: StopReason = "stop") -> None:
        self._ids, self._end = ids, stop_reason
        self.stop_reason: StopReason | None = None
        self.closed = False
        self.taken = 0

    def __iter__(self) -> Iterator[Token]:
        for id_ in self._ids:
            self.taken += 1
            yield Token(id_)
        self.stop_reason = self._end

    def close(self) -> None:
        self.closed = True


def encode(kind: str, text: str) -> tuple[Any, list[int]]:
    tokenizer = tiny_tokenizers.ALL[kind]()
    return tokenizer, tokenizer.encode(text, add_special_tokens=False).ids


def pieces_of(stream: TextStream) -> list[Piece]:
    return list(stream)


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
@example(text="你好吗🐭 hello\n\n  world")
def test_pieces_of_a_text_join_to_the_whole_text_and_hold_whole_characters(kind: str, text: str) -> None:
    """What is shown adds up to the decoded answer, and no piece holds half a character."""
    tokenizer, ids = encode(kind, text)
    pieces = pieces_of(TextStream(Said(ids), tokenizer))
    assert text_of(pieces) == tokenizer.decode(ids)
    if "\ufffd" not in tokenizer.decode(ids):
        assert all("\ufffd" not in piece.text for piece in pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_ids_at_all_join_to_their_decoding(kind: str, data: st.DataObject) -> None:
    """Broken bytes, control tokens and nonsense included: the pieces add up to decoding all ids at once."""
    tokenizer = tiny_tokenizers.ALL[kind]()
    ids = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=40))
    pieces = pieces_of(TextStream(Said(ids), tokenizer))
    assert text_of(pieces) == tokenizer.decode(ids)
    assert [token.id for piece in pieces for token in piece.tokens] == ids, "each token comes with one piece"


def test_a_character_spread_over_tokens_comes_whole() -> None:
    """The four bytes of an emoji arrive as one piece with the token that completes it."""
    tokenizer, ids = encode("byte_level", "a🐭b")
    pieces = pieces_of(TextStream(Said(ids), tokenizer))
    assert [piece.text for piece in pieces] == ["a", "🐭", "b"]
    assert [len(piece.tokens) for piece in pieces] == [1, 4, 1]


def test_text_that_ends_broken_is_shown_as_broken() -> None:
    """An answer cut inside a character ends in the replacement character, once nothing more can come."""
    tokenizer, ids = encode("byte_level", "a🐭")
    assert text_of(pieces_of(TextStream(Said(ids[:-1], "length"), tokenizer))) == "a\ufffd"


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=TEXTS, stops=st.lists(st.text("helo wrd你好🐭\n", min_size=1, max_size=4), min_size=1, max_size=3)
)
@settings(max_examples=80, deadline=None)
def test_no_stop_string_is_ever_shown(kind: str, text: str, stops: list[str]) -> None:
    """The text ends just before the stop string that is complete first, wherever tokens are cut."""
    tokenizer, ids = encode(kind, text)
    whole = tokenizer.decode(ids)
    stream = TextStream(Said(ids, "length"), tokenizer, stops)
    shown = text_of(pieces_of(stream))
    found = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
    assert shown == (whole[: min(found)[1]] if found else whole)
    assert stream.stop_reason == ("stop" if found else "length")


def test_the_model_is_not_asked_on_after_a_stop_string() -> None:
    """The token that completes a stop string is the last one taken, and the source is closed."""
    tokenizer, ids = encode("byte_level", "fine, thank you. What is")
    source = Said(ids)
    text = text_of(pieces_of(TextStream(source, tokenizer, [","])))
    assert (text, source.closed) == ("fine", True)
    assert source.taken < len(ids)


def test_text_is_held_back_only_while_it_may_become_a_stop_string() -> None:
    """A false beginning is shown as soon as it is refuted."""
    hold = StopHold(["END", "NDX"])
    steps = [hold.push(text) for text in ("E", "N", "D!", "xEN")]
    assert hold.push("Q") == ("ENQ", False)
    assert steps == [("", False), ("", False), ("", True), ("x", False)]
    assert hold.flush() == ""


def test_an_empty_stop_string_is_refused() -> None:
    """It would end every answer before it begins."""
    with pytest.raises(InvalidRequest, match="stop") as refused:
        StopHold(["", "x"])
    assert refused.value.param == "stop"


@pytest.mark.parametrize("kind", KINDS)
@given(
    text=TEXTS,
    cut=st.integers(0, 60),
    stops=st.lists(st.text("helo wrd你\n", min_size=1, max_size=4), max_size=2),
)
@settings(max_examples=80, deadline=None)
def test_an_answer_cut_anywhere_and_taken_up_again_equals_the_whole(
    kind: str, text: str, cut: int, stops: list[str]
) -> None:
    """What is uncertain at the cut is kept back, and the second part continues exactly there."""
    tokenizer, ids = encode(kind, text)
    cut = min(cut, len(ids))
    whole = text_of(pieces_of(TextStream(Said(ids), tokenizer, stops)))
    first = TextStream(Said(ids[:cut], "deadline"), tokenizer, stops, resumable=True)
    shown = text_of(pieces_of(first))
    if first.stop_reason == "deadline":
        shown += text_of(pieces_of(TextStream(Said(ids[cut:]), tokenizer, stops, prior=ids[:cut])))
    assert shown == whole


def test_a_detokenizer_says_nothing_for_control_tokens() -> None:
    """Special tokens have no text, and they do not eat the space of the word after them."""
    tokenizer, ids = encode("sentencepiece_bpe", "fine thank")
    end = tokenizer.token_to_id("<|im_end|>")
    ids = [ids[0], end, *ids[1:]]
    detokenizer = Detokenizer(tokenizer)
    said = "".join(map(detokenizer.push, ids)) + detokenizer.flush()
    assert said == tokenizer.decode(ids) == "fine thank"


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS, data=st.data())
@settings(deadline=None)
def test_a_text_goes_on_behind_another(kind: str, text: str, data: st.DataObject) -> None:
    """Cut anywhere, spaces and characters included: the text before and the text that follows join."""
    tokenizer, ids = encode(kind, text)
    cut = data.draw(st.integers(0, len(ids)))
    following = TextStream(Said(ids[cut:]), tokenizer, following=ids[:cut])
    assert whole_text(tokenizer, ids[:cut]) + text_of(pieces_of(following)) == tokenizer.decode(ids)


@pytest.mark.parametrize("end", [["<0x0A>"], ["<0xE4>", "<0xBD>", "<0xA0>"], ["<0x0A>", "</s>"]])
def test_a_byte_behind_whole_characters_hides_nothing(end: list[str]) -> None:
    """Where an answer's first byte is no character, its text is what it is behind any other text."""
    tokenizer = tiny_tokenizers.sentencepiece_bpe()
    prompt = [tokenizer.token_to_id(token) for token in ("a", *end)]
    answer = [tokenizer.token_to_id(token) for token in ("<0x80>", "a", "▁", "m", "a")]
    shown = text_of(pieces_of(TextStream(Said(answer), tokenizer, following=prompt)))
    assert shown == "\ufffda ma" == text_of(pieces_of(TextStream(Said(answer), tokenizer)))


def test_a_completion_keeps_its_leading_space() -> None:
    """Vocabularies that write the space before a word lose it where a text begins, and only there."""
    tokenizer, ids = encode("sentencepiece_bpe", "Hello")
    answer = [tokenizer.token_to_id("▁"), tokenizer.token_to_id("m")]
    assert text_of(pieces_of(TextStream(Said(answer), tokenizer, following=ids))) == " m"
    assert text_of(pieces_of(TextStream(Said(answer), tokenizer))) == "m"
