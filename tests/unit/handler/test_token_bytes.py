"""Tokens to bytes: the bytes of an answer's tokens are the bytes of its text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.engine.token_bytes import byte_alphabet, token_bytes
from tests.unit.engine.tiny_tokenizers import byte_level, sentencepiece_bpe


@given(text=st.text(max_size=30))
def test_byte_level(text: str) -> None:
    """Byte-level tokens join to the text, wherever its characters are cut."""
    tokenizer = byte_level()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(token_bytes(tokenizer, id_) for id_ in ids) == text.encode()


@pytest.mark.parametrize("text", ["Hello, how are you?", "睡鼠 🐭", "a  b"])
def test_sentencepiece(text: str) -> None:
    """Sentencepiece's tokens join to the text after the space that it puts before it."""
    tokenizer: Any = sentencepiece_bpe()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(token_bytes(tokenizer, id_) for id_ in ids) == (" " + text).encode()


def test_alphabet() -> None:
    """The alphabet has a character of its own for every byte."""
    assert sorted(byte_alphabet().values()) == list(range(256))
