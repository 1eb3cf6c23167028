"""`GET /v1/responses/{id}?stream=true`: a response's events again, and on from where its client hung up.

An answer goes on in its place: the same response, the same message, the same numbers. Its writer's commit is
conditional on nothing having come after it; who loses that race tells what the winner has written.

    reader A                       store                      reader B
    reads resp_1: "Once"                                      reads resp_1: "Once"
    "Once upon a time." if 7  ───▶ version 8
                                   version 8  ◀───  "Once upon a time." if 7
                                   refused    ───▶  reads resp_1: what it has told begins it, so the rest of
                                                    its events follow
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

from handler.chat.budget import Budget, Caller
from handler.chat.erasure import PROMPT
from handler.chat.events import TurnEvents
from handler.chat.inference import Inference
from handler.chat.receipt import Till
from handler.chat.run import Run
from handler.chat.running import Running, RunningResponses
from handler.chat.spoken import kept, shown
from handler.chat.told import Told, Transcript, read_told
from handler.chat.turn import ending_facts
from handler.chat.written import written
from handler.errors import Unavailable, Uncertain, VersionConflict
from handler.schema.events import Event
from handler.schema.items import Status
from handler.schema.responses import ResponseObject
from handler.sessions import SessionStore, Usage

BEFORE_THE_FIRST = -1
WAIT_LOOK_S = 1.0

Events = Generator[Event | None, None, None]


@dataclass(frozen=True)
class Replays:
    """The use case."""

    inference: Inference
    store: SessionStore
    running: RunningResponses
    till: Till
    fingerprint: str
    now_s: Callable[[], float]

    def stream(
        self, caller: Caller, response_id: str, starting_after: int = BEFORE_THE_FIRST
    ) -> Iterator[Event | None]:
        """Tell a response again, and where its client hung up go on with it; a None is a sign of life.

        Raises: NotFound; DeadlineTooShort; QuotaExceeded where it would go on.
        """
        return self.resume(self.inference.budget(caller), response_id, starting_after)

    def resume(
        self, budget: Budget, response_id: str, starting_after: int = BEFORE_THE_FIRST
    ) -> Iterator[Event | None]:
        """Do what `stream` does, in what is left of a budget."""
        tenant = budget.caller.tenant
        if self.running.find(tenant, response_id) is None:
            told = self._read(tenant, response_id)
            if not self._goes_on(told):
                return _after(starting_after, self._told(told))
            self.inference.check_time(len(told.job().prompt_ids), budget)
        return _after(starting_after, self._resumed(response_id, budget))

    def _resumed(self, response_id: str, budget: Budget) -> Events:
        """Go on with an answer, or wait for who is at it in this process and tell what it has made."""
        tenant = budget.caller.tenant
        other = self.running.find(tenant, response_id)
        if other is not None:
            yield from _wait(other, budget)
        told = self._read(tenant, response_id)
        if not self._goes_on(told):
            yield from self._told(told)
            return
        if other is not None:  # else it has been checked before the first byte
            self.inference.check_time(len(told.job().prompt_ids), budget)
        own = Running(response_id, budget, told.beginning)
        with self.running.entered(tenant, own, is_stored=True) as entered:
            if entered is not None:
                yield from self._generated(tenant, told, entered)
                return
        yield from self._resumed(response_id, budget)  # somebody was faster

    def _generated(self, tenant: str, told: Told, running: Running) -> Iterator[Event | None]:
        assert told.head is not None
        told = dataclasses.replace(told, head=self.store.renew(tenant, told.head))
        transcript = Transcript(told, self.inference.engine)
        events, budget = TurnEvents(transcript), running.budget
        run = self.inference.run(told.job(), budget)
        number, committed = BEFORE_THE_FIRST, False
        try:
            for event in events.opening():
                number = event.sequence_number
                yield event
            for piece in run:
                logprobs = transcript.take(piece)
                for event in events.grown(piece, logprobs):
                    number = event.sequence_number
                    yield event
                if piece.is_sign_of_life:
                    yield None
            committed = True
            running.body = body = self._commit(tenant, told, transcript, run, budget)
            yield from events.closing(body)
        except VersionConflict:
            yield from self._rest(tenant, told, run, number)
        except GeneratorExit:  # the client hung up again: keep what was said since
            run.close()
            if not committed and run.output_ids:
                for piece in run.untold:
                    transcript.take(piece)
                with suppress(VersionConflict):  # somebody has gone on, and nobody is here to be told
                    self._commit(tenant, told, transcript, run, budget)
            raise
        finally:
            run.close()

    def _rest(self, tenant: str, told: Told, run: Run, number: int) -> Iterator[Event]:
        """Somebody else has written the answer meanwhile: tell the rest of theirs, which begins as ours."""
        theirs = self._read(tenant, told.stored.id)
        ours = [*told.output_ids, *run.output_ids]
        if theirs.answer is None or self._goes_on(theirs) or list(theirs.output_ids[: len(ours)]) != ours:
            assert told.head is not None
            raise VersionConflict(told.head.version, None)
        yield from (event for event in self._told(theirs) if event.sequence_number > number)

    def _commit(
        self, tenant: str, told: Told, transcript: Transcript, run: Run, budget: Budget
    ) -> ResponseObject:
        assert told.head is not None
        assert told.answer is not None
        body = self._body(told, transcript, run, budget)
        state = dict(told.stored.state)
        if body.status == "completed":
            del state[PROMPT]
        record = dataclasses.replace(
            told.stored, status=body.status, body=body.model_dump(mode="json"), state=state
        )
        item = dataclasses.replace(
            told.answer,
            content=kept(transcript.spoken[-1], "completed", created_at_s=told.answer.created_at_s).content,
            status=body.output[0].status,
            token_ids=(*told.answer.token_ids, *run.output_ids),
        )
        usage = Usage(output_tokens=len(run.output_ids))
        replace_last = partial(self.store.replace_last, tenant, told.head, item, usage=usage)
        try:
            written(replace_last, record)
        except Unavailable as error:
            raise Uncertain("The store went away while the answer was being written.") from error
        self.inference.handed_over(run, budget)
        return body

    def _body(self, told: Told, transcript: Transcript, run: Run, budget: Budget) -> ResponseObject:
        assert told.body.usage is not None
        assert told.body.dormouse is not None
        facts = ending_facts(run, budget, int(self.now_s()))
        status: Status = "completed" if facts["status"] == "completed" else "incomplete"
        output = len(told.output_ids) + len(run.output_ids)
        counted = {"output_tokens": output, "total_tokens": told.body.usage.input_tokens + output}
        return told.body.model_copy(
            update={
                **facts,
                "output": [shown(spoken, status) for spoken in transcript.spoken],
                "usage": told.body.usage.model_copy(update=counted),
                "dormouse": self.till.facts_of_rest(run, budget, told.body.dormouse, output),
            }
        )

    def _told(self, told: Told) -> Generator[Event, None, None]:
        """All events of a response as it is stored."""
        transcript = Transcript(told, self.inference.engine)
        events = TurnEvents(transcript)
        yield from events.opening()
        for piece in transcript.pieces():
            yield from events.grown(piece, transcript.take(piece))
        transcript.end()
        yield from events.closing(told.body)

    def _read(self, tenant: str, response_id: str) -> Told:
        return read_told(self.store, tenant, response_id, self.fingerprint)

    def _goes_on(self, told: Told) -> bool:
        return told.goes_on(self.inference.engine.model.context_tokens)


def _wait(running: Running, budget: Budget) -> Iterator[None]:
    """Wait until a response has ended. Raises: Unavailable when the time is up."""
    yield None  # a sign of life before anything that takes time
    while not running.ended.wait(min(WAIT_LOOK_S, budget.remaining_s())):
        if not budget.remaining_s():
            raise Unavailable("The response is still under way; ask again in a moment.", code="still_running")
        yield None


def _after(number: int, events: Events) -> Iterator[Event | None]:
    with closing(events):
        for event in events:
            if event is None or event.sequence_number > number:
                yield event
