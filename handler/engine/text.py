"""Ids to text that can be shown at once: whole characters only, stop strings held back and never leaked.

Owns incremental detokenization and the hold-back. Its state is a function of the ids alone, so that an answer
cut at any token is taken up again exactly (`prior`). Knows nothing of models, messages or events.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from itertools import takewhile
from typing import Any, Protocol

from handler.engine.token_bytes import ends_within_character
from handler.engine.values import Piece, StopReason, Token
from handler.errors import InvalidRequest

BROKEN = "\ufffd"  # what decoders write for bytes that are no character (yet)
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")  # sentencepiece's byte fallback


class TokenSource(Protocol):
    """Where tokens come from; `generate.Generation` is one."""

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the tokens ended; None before that."""

    def __iter__(self) -> Iterator[Token | None]:
        """The tokens; a None says that there is nothing yet."""

    def close(self) -> None:
        """Stop early."""


class Detokenizer:
    """Turns ids into text as they come; the concatenated text equals decoding all ids at once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._silent = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self._window: list[int] = []  # the ids said last, for context, then those not said yet
        self._said = ""  # what the ids said last decode to, within the window
        self._said_ids = 0

    def push(self, id_: int) -> str:
        """Take one id; return the text that is certain now, which may be empty."""
        if id_ in self._silent:
            return ""
        self._window.append(id_)
        text = self._decode(self._window)
        # A run of byte tokens is decoded as a whole, so one more of them can still change all of it.
        is_open = text.endswith(BROKEN) or self._is_byte(id_)
        if is_open or len(text) <= len(self._said) or not text.startswith(self._said):
            return ""
        new = text[len(self._said) :]
        self._window = self._window[self._said_ids :]
        self._said, self._said_ids = self._decode(self._window), len(self._window)
        return new

    def follow(self, ids: Sequence[int]) -> None:
        """Go on behind a text that others show; a character cut at its end is shown here."""
        self._window = [id_ for id_ in ids if id_ not in self._silent]
        # Byte tokens at its end are one run with those that follow, which may make nonsense of it, unless a
        # character is cut there. Something has to stay: where a text begins, a word's space is left out.
        run = self._byte_run(self._window)
        if len(run) < len(self._window) and BROKEN not in self._decode(run):
            self._window = self._window[: len(self._window) - len(run)]
        self._said, self._said_ids = whole_text(self._tokenizer, self._window), 0

    def flush(self) -> str:
        """Return what is left when no more ids come; only now may it hold a broken character."""
        text = self._decode(self._window)
        new = text[len(self._said) :] if text.startswith(self._said) else ""
        self._window, self._said, self._said_ids = [], "", 0
        return new

    def _byte_run(self, ids: list[int]) -> list[int]:
        """The byte tokens at the end."""
        return list(takewhile(self._is_byte, reversed(ids)))[::-1]

    def _is_byte(self, id_: int) -> bool:
        return BYTE_TOKEN.fullmatch(self._tokenizer.id_to_token(id_) or "") is not None

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


def whole_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decode ids, but for a character at their end that is not whole."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
    return text.rstrip(BROKEN) if ends_within_character(tokenizer, ids) else text


class StopHold:
    """Holds back text that may yet turn out to be the beginning of a stop string.

    Raises: InvalidRequest for an empty stop string.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        if not all(stop):
            raise InvalidRequest("A stop string must not be empty.", param="stop")
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Take text; return what may be shown, and whether a stop string came up, which ends it all."""
        if not self._stop:
            return text, False
        self._held += text
        starts = {stop: self._held.find(stop) for stop in self._stop}
        # The one that is complete first, whatever the text was cut into; of several the longest.
        found = min(((at + len(stop), at) for stop, at in starts.items() if at >= 0), default=None)
        end = found[1] if found else len(self._held) - self._open()
        shown, self._held = self._held[:end], "" if found else self._held[end:]
        return shown, found is not None

    def flush(self) -> str:
        """Return what was held: no more text comes that could complete a stop string."""
        held, self._held = self._held, ""
        return held

    def _open(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        for length in range(min(len(self._held), self._longest - 1), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0


class TextStream:
    """An answer's text in pieces: iterate over it once; `stop_reason` is None until the end.

    `resumable`: an answer that did not end by itself keeps back what is not certain yet (half a character,
    the beginning of a stop string), for the stream that takes it up with `prior`, the ids already answered.
    `following`: the ids of a text, elsewhere, that the answer's text goes on with.
    """

    def __init__(
        self,
        tokens: TokenSource,
        tokenizer: Any,
        stop: Sequence[str] = (),
        *,
        prior: Sequence[int] = (),
        following: Sequence[int] = (),
        resumable: bool = False,
    ) -> None:
        self.stop_reason: StopReason | None = None
        self.resumable, self._source = resumable, tokens
        self._detokenizer, self._hold = Detokenizer(tokenizer), StopHold(stop)
        self._decoded = self._shown = 0  # characters
        self._waiting: list[tuple[int, Token]] = []  # where a token's text begins, the token
        self._detokenizer.follow(following)
        self.prior_text = "".join(self._show(self._detokenizer.push(id_))[0] for id_ in prior)
        self._pieces = self._run()

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    @property
    def waiting(self) -> tuple[Token, ...]:
        """The tokens that came and are in no piece yet."""
        return tuple(token for _, token in self._waiting)

    def untold(self) -> Iterator[Piece]:
        """Give the pieces that what came still makes, once it is closed."""
        yield Piece("", self.waiting)

    def close(self) -> None:
        """Stop early: nothing is computed any more."""
        self._pieces.close()
        self._source.close()

    def _run(self) -> Generator[Piece, None, None]:
        try:
            yield from self._show_all()
        finally:
            self._source.close()

    def _show_all(self) -> Iterator[Piece]:
        for token in self._source:
            if token is None:
                yield Piece("")
                continue
            self._waiting.append((self._decoded, token))
            shown, found = self._show(self._detokenizer.push(token.id))
            if found:
                self.stop_reason = "stop"
            if shown:
                yield Piece(shown, self._begun())
            if found:
                return
        yield from self._finish()

    def _finish(self) -> Iterator[Piece]:
        reason = self._source.stop_reason
        shown, found = "", False
        if reason == "stop" or not self.resumable:
            shown, found = self._show(self._detokenizer.flush())
            shown += "" if found else self._hold.flush()
        self.stop_reason = "stop" if found else reason
        left = () if found else self.waiting
        self._waiting = []
        if shown or left:
            yield Piece(shown, left)

    def _show(self, text: str) -> tuple[str, bool]:
        self._decoded += len(text)
        shown, found = self._hold.push(text)
        self._shown += len(shown)
        return shown, found

    def _begun(self) -> tuple[Token, ...]:
        """Take out the tokens whose text begins in what has been shown."""
        begun = tuple(token for at, token in self._waiting if at < self._shown)
        self._waiting = self._waiting[len(begun) :]
        return begun
