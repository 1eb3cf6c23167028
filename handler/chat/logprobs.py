"""Tokens with log-probabilities -> OpenAI's entries."""

from __future__ import annotations

from collections.abc import Sequence

from handler.engine.engine import Engine
from handler.engine.token_bytes import token_bytes
from handler.engine.values import Piece
from handler.schema.chat_completions import TokenLogprob, TopLogprob

SMALLEST = -9999.0
"""What OpenAI writes for a token that could hardly come; JSON has no infinity."""


def token_logprobs(pieces: Sequence[Piece], engine: Engine) -> list[TokenLogprob]:
    """One entry per token; its `bytes` tell what a token that is only a part of a character stands for."""
    entries = []
    for piece in pieces:
        for token in piece.tokens:
            top = [_entry(id_, logprob, engine) for id_, logprob in token.top]
            own = _entry(token.id, token.logprob or 0.0, engine)
            entries.append(TokenLogprob(**own.model_dump(), top_logprobs=top))
    return entries


def _entry(id_: int, logprob: float, engine: Engine) -> TopLogprob:
    raw = token_bytes(engine.tokenizer, id_)
    return TopLogprob(token=raw.decode("utf-8", "replace"), logprob=max(logprob, SMALLEST), bytes=list(raw))
