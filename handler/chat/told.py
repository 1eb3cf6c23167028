"""A stored answer as it is told again: its pieces are a function of its ids, its events of the pieces.

Knows how a response and its item lie in the store. Does not generate, and writes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handler.chat.logprobs import token_logprobs
from handler.chat.run import Job
from handler.chat.turn import params_kept
from handler.engine.engine import Engine
from handler.engine.text import TextStream
from handler.engine.values import Piece, StopReason, Token
from handler.errors import NotFound
from handler.schema.chat_completions import TokenLogprob
from handler.schema.items import MessageItem, OutputText, Status
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
    def item_id(self) -> str:
        """The id of its message."""
        return self.body.output[0].id

    @property
    def part(self) -> OutputText:
        """Its text."""
        part = self.body.output[0].content[0]
        assert isinstance(part, OutputText)
        return part

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
        """Its client hung up, nothing has come after it, and there is room: it can be made to its end."""
        if self.answer is None or self.head is None or "prompt_ids" not in self.stored.state:
            return False
        limit = self.body.max_output_tokens
        return (
            self.body.status == "incomplete"
            and self.stop_reason == "cancelled"
            and self.answer.seq == self.head.last_seq
            and (limit is None or len(self.output_ids) < limit)
            and len(self.stored.state["prompt_ids"]) + len(self.answer.token_ids) < context_tokens
        )

    def item(self, status: Status) -> MessageItem:
        """Its message, at the beginning or at the end."""
        content = [] if status == "in_progress" else [self.part]
        return MessageItem(id=self.item_id, status=status, role="assistant", content=list(content))

    def beginning(self) -> ResponseObject:
        """The response before anything was said."""
        before = {"status": "in_progress", "output": []}
        absent = ("completed_at", "incomplete_details", "usage", "dormouse")
        return self.body.model_copy(update={**before, **dict.fromkeys(absent)})

    def pieces(self, engine: Engine) -> Iterator[Piece]:
        """Its text in the pieces that it came in; in one where the ids are not there."""
        if self.answer is None:
            yield Piece(self.part.text)
            return
        ids, (_, stop) = self.output_ids, params_kept(self.answer)
        prior = self.answer.token_ids[: len(self.answer.token_ids) - len(ids)]
        said = _Said(ids, self.stop_reason)
        yield from TextStream(said, engine.tokenizer, stop, prior=prior, resumable=True)

    def job(self) -> Job:
        """What is to be generated for it to go on, its pieces so far told again first."""
        assert self.answer is not None
        params, stop = params_kept(self.answer)
        retold = len(self.output_ids)
        limit = self.body.max_output_tokens
        return Job(
            [*self.stored.state["prompt_ids"], *self.answer.token_ids],
            params,
            max_tokens=None if limit is None else limit - retold,
            stop=stop,
            top_logprobs=self.stored.state.get("top_logprobs"),
            prior_tokens=len(self.answer.token_ids),
            retold_tokens=retold,
            begun_on=self.stored.state.get("instruction_set"),
            resumable=True,
        )


class Transcript:
    """What has been told so far: the text, and each token's log-probabilities, stored or new."""

    def __init__(self, told: Told, engine: Engine) -> None:
        self.text = ""
        self.logprobs: list[TokenLogprob] = []
        self._told, self._engine, self._known = told, engine, told.part.logprobs
        self._retold = len(told.output_ids) if told.answer else 0
        self._wants = told.stored.state.get("top_logprobs") is not None
        self._tokens = 0

    def take(self, piece: Piece) -> list[TokenLogprob]:
        """Add a piece; return its entries."""
        self.text += piece.text
        if self._told.answer is None:
            self.logprobs = list(self._known)
            return self.logprobs
        again = len(piece.tokens[: max(0, self._retold - self._tokens)])
        entries = self._known[self._tokens : self._tokens + again]
        if self._wants:
            entries = entries + token_logprobs([Piece("", piece.tokens[again:])], self._engine)
        self._tokens += len(piece.tokens)
        self.logprobs += entries
        return entries


def read_told(store: SessionStore, tenant: str, response_id: str, fingerprint: str) -> Told:
    """Read a response and its answer. Raises: NotFound where the response is not there."""
    stored = store.response(tenant, response_id)
    told = Told(stored, ResponseObject.model_validate(stored.body))
    if stored.state.get("fingerprint") != fingerprint:
        return told
    try:
        # The head first: whatever happens to the item afterwards, its version tells.
        head = store.get(tenant, stored.conversation_id)
        answer = store.item(tenant, stored.conversation_id, told.item_id)
    except NotFound:
        return told
    usage = told.body.usage
    if not answer.sampling or usage is None or len(answer.token_ids) < usage.output_tokens:
        return dataclasses.replace(told, head=head)
    # Read last, so that an answer that went on in between is not taken for its beginning.
    again = store.response(tenant, response_id)
    if again != stored:
        return read_told(store, tenant, response_id, fingerprint)
    return dataclasses.replace(told, head=head, answer=answer)


class _Said:
    """Stored ids as a source of tokens."""

    def __init__(self, ids: Sequence[int], stop_reason: StopReason) -> None:
        self._ids = ids
        self._reason = stop_reason

    @property
    def stop_reason(self) -> StopReason:
        return self._reason

    def __iter__(self) -> Iterator[Token]:
        return map(Token, self._ids)

    def close(self) -> None:
        pass
