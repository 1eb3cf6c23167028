"""Tokens with log-probabilities -> the older API's four lists.

Owns how a token is written there, and where its text begins. Knows neither requests nor answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from handler.chat.logprobs import SMALLEST
from handler.engine.text import Detokenizer
from handler.engine.token_bytes import token_bytes
from handler.engine.values import Token
from handler.schema.completions import CompletionLogprobs


class LogprobLists:
    """The lists of one choice, whose text begins behind the text of the ids in `following`."""

    def __init__(self, tokenizer: Any, following: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._detokenizer.follow(following)
        self._offset = 0  # characters decoded so far

    def of(self, tokens: Iterable[Token]) -> CompletionLogprobs:
        """Give the lists for the tokens that come next."""
        lists = CompletionLogprobs()
        for token in tokens:
            lists.tokens.append(self._written(token.id))
            lists.token_logprobs.append(None if token.logprob is None else max(token.logprob, SMALLEST))
            lists.top_logprobs.append(None if token.logprob is None else self._top(token, token.logprob))
            lists.text_offset.append(self._offset)
            self._offset += len(self._detokenizer.push(token.id))
        return lists

    def _top(self, token: Token, logprob: float) -> dict[str, float]:
        """The likeliest tokens and the one that came; of two that are written alike the likelier."""
        top: dict[str, float] = {}
        for id_, each in (*token.top, (token.id, logprob)):
            top.setdefault(self._written(id_), max(each, SMALLEST))
        return top

    def _written(self, id_: int) -> str:
        """A token's text; one that is no whole characters is told by its bytes, as OpenAI writes them."""
        raw = token_bytes(self._tokenizer, id_)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)
