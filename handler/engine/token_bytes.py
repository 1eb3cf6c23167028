"""The bytes that a token stands for, for log-probabilities and grammars; text is made elsewhere, from whole
runs of tokens.

Knows the two ways in which vocabularies write bytes: byte-level BPE's alphabet, and sentencepiece's
`<0xNN>` and `▁`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: Any, id_: int) -> bytes:
    """Give a token's own bytes, which need not be whole characters."""
    token = str(tokenizer.id_to_token(id_) or "")
    if match := BYTE_TOKEN.fullmatch(token):
        return bytes([int(match[1], 16)])
    text = str(tokenizer.decode([id_], skip_special_tokens=False))
    if "\ufffd" not in text:
        return token.replace("▁", " ").encode() if token.startswith("▁") else text.encode()
    alphabet = byte_alphabet()
    return bytes(alphabet[char] for char in token if char in alphabet)


def ends_within_character(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Tell whether the bytes of a character that begins in the last ids are still to come."""
    raw = b"".join(token_bytes(tokenizer, id_) for id_ in ids[-3:])
    try:
        raw.lstrip(bytes(range(0x80, 0xC0))).decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def vocabulary_bytes(tokenizer: Any, size: int) -> list[bytes]:
    """Give every token's bytes by id; ids without a token, up to `size`, have none."""
    at_once = getattr(tokenizer, "all_token_bytes", None)  # 150,000 tokens one by one take half a second
    if at_once is None:
        return [token_bytes(tokenizer, id_) for id_ in range(size)]
    found: list[bytes] = at_once()[:size]
    return found + [b""] * (size - len(found))


@cache
def byte_alphabet() -> dict[str, int]:
    """The characters by which byte-level BPE writes the 256 bytes.

    Source: `bytes_to_unicode` of GPT-2, https://github.com/openai/gpt-2/blob/master/src/encoder.py: printable
    bytes stand for themselves, the others for the characters from 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    alphabet = {chr(value): value for value in printable}
    alphabet.update((chr(256 + at), value) for at, value in enumerate(others))
    return alphabet
