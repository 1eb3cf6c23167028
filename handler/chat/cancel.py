"""`POST /v1/responses/{id}/cancel`: a response under way ends within a token or two, wherever it is made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from handler.chat.budget import Caller
from handler.chat.running import Running, RunningResponses
from handler.errors import InvalidRequest, NotFound, Unavailable
from handler.schema.responses import ResponseObject
from handler.sessions import SessionStore

WAIT_S = 5.0
"""For the end of the response: a look at the mark, a token, a commit; then it is taken for unknown."""
LOOK_S = 0.2


@dataclass(frozen=True)
class Cancellation:
    """The use case."""

    store: SessionStore
    running: RunningResponses
    sleep: Callable[[float], None] = time.sleep

    def cancel(self, caller: Caller, response_id: str) -> ResponseObject:
        """End a response and give what it ended as; twice is as good as once.

        Raises: NotFound; InvalidRequest where it has ended otherwise; Unavailable where nobody reads its
        stream on, so that it cannot end now.
        """
        wait_s = min(WAIT_S, 0.8 * caller.limit_s)
        here = self.running.find(caller.tenant, response_id)
        if here is not None:
            return self._ended_here(here, wait_s)
        ended = self._ended(caller.tenant, response_id)
        return self._as_cancelled(ended or self._ended_elsewhere(caller.tenant, response_id, wait_s))

    def _ended_here(self, running: Running, wait_s: float) -> ResponseObject:
        running.budget.cancel()
        if not running.ended.wait(wait_s):
            raise Unavailable("The response ends as soon as its stream is read on.", code="still_running")
        if running.body is None:
            raise NotFound("The response failed, and nothing of it is kept.")
        return self._as_cancelled(running.body)

    def _ended_elsewhere(self, tenant: str, response_id: str, wait_s: float) -> ResponseObject:
        """Leave a mark. Whoever makes the response stores it in the end: until then nothing tells it from an
        unknown one, or one that goes on from one that does not.
        """
        self.store.request_cancel(tenant, response_id)
        for _ in range(int(wait_s / LOOK_S)):
            self.sleep(LOOK_S)
            if (ended := self._ended(tenant, response_id)) is not None:
                return ended
        return self._stored(tenant, response_id)

    def _ended(self, tenant: str, response_id: str) -> ResponseObject | None:
        """What is stored, but not of one whose client hung up: that one may be going on."""
        try:
            body = self._stored(tenant, response_id)
        except NotFound:
            return None
        is_cut = body.dormouse is not None and body.dormouse.stop_reason == "cancelled"
        return None if body.status == "incomplete" and is_cut else body

    def _stored(self, tenant: str, response_id: str) -> ResponseObject:
        return ResponseObject.stored(self.store.response(tenant, response_id).body)

    def _as_cancelled(self, body: ResponseObject) -> ResponseObject:
        if body.status != "cancelled":
            raise InvalidRequest(
                f"The response has ended as {body.status!r}; only one in progress can be cancelled.",
                param="response_id",
                code="response_already_ended",
            )
        return body
