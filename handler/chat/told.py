"""A stored answer as it is told again: its pieces are a function of its ids, its events of the pieces.

Knows how a response and its item lie in the store. Does not generate, and writes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handler.chat.continuation import sampling_of
from handler.chat.erasure import PROMPT, checked
from handler.chat.logprobs import token_logprobs
from handler.chat.run import Job
from handler.chat.spoken import Spoken, SpokenText, take
from handler.engine.call_stream import CallStream
from handler.engine.engine import Engine
from handler.engine.text import TextStream
from handler.engine.values import Piece, StopReason, Token
from handler.errors import NotFound
from handler.schema.chat_completions import TokenLogprob
from handler.schema.items import CallItem, MessageItem, OutputItem, OutputText
from handler.schema.responses import ResponseObject
from handler.sessions import Conversation, Item, SessionStore, StoredResponse


@dataclass(frozen=True)
class Told:
    """A stored response, and of its answer what is still there and can be read by this model."""

    stored: StoredResponse
    body: ResponseObject
    head: Conversation | None = None
    answer: Item | None = None
    """None where it is gone, was stored without ids, or has those of another model."""

    @property
    def output_ids(self) -> tuple[int, ...]:
        """The ids that were generated for this response, those of one that it continues left out."""
        assert self.answer is not None
        assert self.body.usage is not None
        return self.answer.token_ids[len(self.answer.token_ids) - self.body.usage.output_tokens :]

    @property
    def stop_reason(self) -> StopReason:
        """Why it ended."""
        return self.body.dormouse.stop_reason if self.body.dormouse else "stop"

    def goes_on(self, context_tokens: int) -> bool:
        """Its client hung up, nothing has come after it, and there is room: it can be made to its end.

        Not where there may be calls: an answer that goes on in its place stays one item.
        """
        if self.answer is None or self.head is None or PROMPT not in self.stored.state:
            return False
        limit = self.body.max_output_tokens
        return (
            self.body.status == "incomplete"
            and self.stop_reason == "cancelled"
            and not sampling_of(self.answer).has_calls
            and self.answer.seq == self.head.last_seq
            and (limit is None or len(self.output_ids) < limit)
            and len(self.stored.state[PROMPT]) + len(self.answer.token_ids) < context_tokens
        )

    def beginning(self) -> ResponseObject:
        """The response before anything was said."""
        before = {"status": "in_progress", "output": []}
        absent = ("completed_at", "incomplete_details", "usage", "dormouse")
        return self.body.model_copy(update={**before, **dict.fromkeys(absent)})

    def job(self) -> Job:
        """What is to be generated for it to go on, its pieces so far told again first."""
        assert self.answer is not None
        kept = sampling_of(self.answer)
        retold = len(self.output_ids)
        limit = self.body.max_output_tokens
        return Job(
            [*self.stored.state[PROMPT], *self.answer.token_ids],
            kept.params,
            max_tokens=None if limit is None else limit - retold,
            stop=kept.stop,
            grammar=kept.grammar,
            top_logprobs=self.stored.state.get("top_logprobs"),
            prior_tokens=len(self.answer.token_ids),
            retold_tokens=retold,
            begun_on=self.stored.state.get("instruction_set"),
            resumable=True,
        )


class Transcript:
    """What has been told so far: the items, with the ids that they are stored under, and log-probabilities,
    stored or new."""

    def __init__(self, told: Told, engine: Engine) -> None:
        self.spoken: list[Spoken] = []
        self._told, self._engine = told, engine
        self._wants = told.stored.state.get("top_logprobs") is not None
        self._tokens = 0
        self._known = [_logprobs(item) for item in told.body.output]
        self._pieces: TextStream | CallStream | Sequence[Piece] = _pieces_of(told.body.output)
        if told.answer is not None:
            self._pieces = stream = _stream(told, told.answer, engine)
            if isinstance(stream, CallStream):
                for piece in _begun(stream.prior):
                    take(self.spoken, piece, self._named)
            else:
                self.spoken.append(SpokenText(self._named("msg")))

    def beginning(self) -> ResponseObject:
        """The response before anything was said."""
        return self._told.beginning()

    def pieces(self) -> Iterator[Piece]:
        """The answer in the pieces that it came in; an item in one where the ids are not there."""
        return iter(self._pieces)

    def take(self, piece: Piece) -> list[TokenLogprob]:
        """Add a piece; return its entries."""
        if self._told.answer is None and piece.kind == "text":
            self.spoken.append(SpokenText(self._named("msg")))  # in one piece, empty where it was deleted
        take(self.spoken, piece, self._named)
        entries: list[TokenLogprob] = []
        if piece.kind == "text" and self.spoken and isinstance(last := self.spoken[-1], SpokenText):
            entries = self._entries(piece)
            last.logprobs.extend(entries)
        self._tokens += len(piece.tokens)
        return entries

    def end(self) -> None:
        """Nothing more comes: an answer is at least one item, if an empty one."""
        if not self.spoken:
            self.spoken.append(SpokenText(self._named("msg")))

    def _entries(self, piece: Piece) -> list[TokenLogprob]:
        known = self._known[len(self.spoken) - 1]
        if self._told.answer is None:
            return list(known)
        at = len(self.spoken[-1].logprobs) if isinstance(self.spoken[-1], SpokenText) else 0
        again = len(piece.tokens[: max(0, len(self._told.output_ids) - self._tokens)])
        entries = list(known[at : at + again])
        if self._wants:
            entries += token_logprobs([Piece("", piece.tokens[again:])], self._engine)
        return entries

    def _named(self, prefix: str) -> str:
        """Name the item that begins as it is stored."""
        item = self._told.body.output[len(self.spoken)]
        return item.call_id if prefix == "call" and isinstance(item, CallItem) else item.id


def read_told(store: SessionStore, tenant: str, response_id: str, fingerprint: str) -> Told:
    """Read a response and its answer. Raises: NotFound where the response is not there."""
    stored = store.response(tenant, response_id)
    told = Told(stored, ResponseObject.stored(stored.body))
    if stored.state.get("fingerprint") != fingerprint:
        return told
    try:
        # The head first: whatever happens to the item afterwards, its version tells.
        head = store.get(tenant, stored.conversation_id)
        answer = store.item(tenant, stored.conversation_id, told.body.output[-1].id)
    except NotFound:
        return told
    usage = told.body.usage
    if not answer.sampling or usage is None or len(answer.token_ids) < usage.output_tokens:
        return dataclasses.replace(told, head=head)
    # Read last, so that an answer that went on in between is not taken for its beginning.
    again = store.response(tenant, response_id)
    if again != stored:
        return read_told(store, tenant, response_id, fingerprint)
    return dataclasses.replace(told, stored=checked(store, tenant, stored), head=head, answer=answer)


class _Said:
    """Stored ids as a source of tokens."""

    def __init__(self, ids: Sequence[int], stop_reason: StopReason) -> None:
        self.stop_reason = stop_reason
        self._ids = ids

    def __iter__(self) -> Iterator[Token]:
        return map(Token, self._ids)

    def close(self) -> None:
        pass


def _stream(told: Told, answer: Item, engine: Engine) -> TextStream | CallStream:
    """An answer's ids as they were read when they came."""
    kept, ids = sampling_of(answer), told.output_ids
    text = TextStream(
        _Said(ids, told.stop_reason),
        engine.tokenizer,
        () if kept.has_calls else kept.stop,
        prior=answer.token_ids[: len(answer.token_ids) - len(ids)],
        resumable=True,
    )
    return CallStream(text, engine.prompt.call_syntax, kept.stop) if kept.has_calls else text


def _begun(prior: Sequence[Piece]) -> Sequence[Piece]:
    """The pieces of the call that an earlier response was cut in, which this one tells whole."""
    last = max((at for at, piece in enumerate(prior) if piece.kind == "name"), default=len(prior))
    return () if any(piece.kind == "end" for piece in prior[last:]) else prior[last:]


def _pieces_of(output: Sequence[OutputItem]) -> list[Piece]:
    pieces: list[Piece] = []
    for item in output:
        if isinstance(item, CallItem):
            pieces += [Piece(item.name, kind="name"), Piece(item.arguments, kind="arguments")]
            pieces += [Piece("", kind="end")] if item.status == "completed" else []
        else:
            pieces.append(Piece(_part(item).text))
    return pieces


def _logprobs(item: OutputItem) -> Sequence[TokenLogprob]:
    return _part(item).logprobs if isinstance(item, MessageItem) else ()


def _part(item: MessageItem) -> OutputText:
    part = item.content[0]
    assert isinstance(part, OutputText)
    return part
