"""Text to text and calls: what of an answer is for the reader, and what calls a function.

Owns the one place where calls are recognized, for every API. Its state is a function of the text alone, so
that an answer cut inside a call's arguments is taken up again exactly. The grammar that the text was made
under sees to it that a call is written as its syntax has it; nothing is checked here.
Knows nothing of models, schemas or events.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from handler.engine.call_syntax import CallSyntax
from handler.engine.text import StopHold, TextStream
from handler.engine.values import Kind, Piece, StopReason, Token

Part = tuple[Kind, str]


class CallReader:
    """Tells text from calls as they come; holds back what may be a marker's beginning, and white space, which
    is of no interest before a call."""

    def __init__(self, syntax: CallSyntax) -> None:
        self._syntax = syntax
        self._held = ""
        self._state = self._before if syntax.alone else self._text
        self._object = _ObjectEnd()

    def push(self, text: str) -> Iterator[Part]:
        """Take text; give what is certain of it."""
        self._held += text
        state = None
        while self._held and state != self._state:
            state = self._state
            yield from state()

    def flush(self) -> str:
        """Return the text that was held: no more comes that could make a call of it."""
        is_text = self._state in (self._text, self._before)
        held, self._held = self._held if is_text else "", ""
        return held

    def _before(self) -> Iterator[Part]:
        self._state = self._opening if self._held.startswith(self._syntax.marker) else self._only_text
        return iter(())

    def _only_text(self) -> Iterator[Part]:
        held, self._held = self._held, ""
        yield "text", held

    def _text(self) -> Iterator[Part]:
        marker = self._syntax.marker
        at = self._held.find(marker)
        if at >= 0:
            text, self._held, self._state = self._held[:at].rstrip(), self._held[at:], self._opening
        else:
            begun = next((n for n in range(len(marker) - 1, 0, -1) if self._held.endswith(marker[:n])), 0)
            text = self._held[: len(self._held) - begun].rstrip()
            self._held = self._held[len(text) :]
        if text:
            yield "text", text

    def _opening(self) -> Iterator[Part]:
        if len(self._held) >= len(self._syntax.opening):
            self._held = self._held[len(self._syntax.opening) :]
            self._state = self._name
        return iter(())

    def _name(self) -> Iterator[Part]:
        name, between, rest = self._held.partition(self._syntax.between)
        if between:
            self._held, self._state, self._object = rest, self._arguments, _ObjectEnd()
            yield "name", name

    def _arguments(self) -> Iterator[Part]:
        end = self._object.find(self._held)
        text, self._held = self._held[:end], self._held[end:] if end else ""
        yield "arguments", text
        if end:
            self._state = self._closing
            yield "end", ""

    def _closing(self) -> Iterator[Part]:
        if len(self._held) >= len(self._syntax.closing):
            self._held = self._held[len(self._syntax.closing) :]
            self._state = self._text
        return iter(())


class _ObjectEnd:
    """Finds the end of a JSON object that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False

    def find(self, text: str) -> int | None:
        """Return where the object ends in the next piece, just after its brace; None if it goes on."""
        for at, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = char == "\\"
                self._in_string = char != '"'
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return at + 1
        return None


class CallStream:
    """An answer in pieces of text and of calls: iterate over it once; `stop_reason` is None until the end.

    Stop strings end text, never a call, so that arguments may hold them: they are given here and not to
    `text`. Where `text` goes on after a cut, so does this (`prior`: what was told before it); where it is
    resumable, so is this.
    """

    def __init__(self, text: TextStream, syntax: CallSyntax, stop: Sequence[str] = ()) -> None:
        self.stop_reason: StopReason | None = None
        self._source = text
        self._reader, self._hold = CallReader(syntax), StopHold(stop)
        self._found = False
        self._waiting: tuple[Token, ...] = ()
        self._parts: Iterator[Part] = iter(())  # what the latest text makes
        self.prior = tuple(Piece(part, (), kind) for kind, part in self._sort(text.prior_text))
        self._pieces = self._run()

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def untold(self) -> Iterator[Piece]:
        """Give the pieces that what came still makes, once it is closed: a text may make several."""
        yield from self._with_tokens(self._parts)
        yield Piece("", self._waiting + self._source.waiting)

    def close(self) -> None:
        """Stop early: nothing is computed any more."""
        self._pieces.close()
        self._source.close()

    def _run(self) -> Generator[Piece, None, None]:
        try:
            for piece in self._source:
                if piece.is_sign_of_life:
                    yield piece
                    continue
                self._waiting += piece.tokens
                self._parts = self._sort(piece.text)
                yield from self._with_tokens(self._parts)
                if self._found:
                    return
            yield from self._finish()
        finally:
            self._source.close()

    def _finish(self) -> Iterator[Piece]:
        reason = self._source.stop_reason
        if reason == "stop" or not self._source.resumable:
            held, self._found = self._hold.push(self._reader.flush())
            held += "" if self._found else self._hold.flush()
            yield from self._with_tokens([("text", held)] if held else [])
        self.stop_reason = "stop" if self._found else reason
        left, self._waiting = self._waiting, ()
        if left and not self._found:
            yield Piece("", left)

    def _sort(self, text: str) -> Iterator[Part]:
        for kind, part in self._reader.push(text):
            if kind == "text":
                part, self._found = self._hold.push(part)
            elif held := self._hold.flush():
                yield "text", held
            if part or kind == "end":
                yield kind, part
            if self._found:
                self.stop_reason = "stop"
                return

    def _with_tokens(self, parts: Iterator[Part] | Sequence[Part]) -> Iterator[Piece]:
        for kind, text in parts:
            tokens, self._waiting = self._waiting, ()
            yield Piece(text, tokens, kind)
