"""One request, sent several times, is carried out once: who is at work on it, and what it has led to.

    Idempotency-Key given    its claim is taken before anything is done, by one attempt at a time
    none                     every attempt leaves a note of itself; one that says it is a repetition
                             (`x-stainless-retry-count`) looks for the newest note of this very request

Knows neither turns nor HTTP: a request is a name and a body, and its result a text from which its caller
makes the answer again.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from pydantic import BaseModel

from handler.background import Background
from handler.chat.budget import Budget
from handler.chat.terms import Terms
from handler.errors import DeadlineTooShort, NotFound, RequestError, StillRunning, Uncertain
from handler.sessions import Claim, SessionStore

LEASE_GRACE_S = 5.0
"""Past its budget an attempt ends the step that it is in and writes: that much longer its claim holds."""

CLIENT_BACKOFF_S = 8.0
"""The longest that OpenAI's clients wait between two attempts, unless told. Source: the openai package's
MAX_RETRY_DELAY."""

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True)
class Retries:
    """Knows requests again."""

    store: SessionStore
    now_s: Callable[[], float]
    sleep: Callable[[float], None] = time.sleep

    def attempt(self, budget: Budget, name: str, request: BaseModel, terms: Terms) -> Attempt:
        """Begin an attempt at a request that is called `name` (`POST /v1/responses`).

        Without a key, one that is meant for another version is another one.
        """
        if terms.key is None and terms.if_match is not None:
            name = f"{name} {terms.if_match.text}"
        return Attempt(self, budget, _digest(name, request), terms.key)


class Attempt:
    """One try at a request: look for an earlier one, begin, hand the claim to the write, or give up."""

    def __init__(self, retries: Retries, budget: Budget, request: str, key: str | None) -> None:
        self._store, self._now_s, self._sleep = retries.store, retries.now_s, retries.sleep
        self._caller, self._budget = budget.caller, budget
        self._request, self._key = request, key
        self._owner = secrets.token_hex(8)
        self._claim: Claim | None = None
        self._note: Background[Claim] | None = None
        self._has_waited = False  # for another attempt

    @property
    def keyed(self) -> bool:
        """The client gave a key: it may send the request as often as it likes."""
        return self._key is not None

    def earlier(self, conversation_id: str | None = None) -> str | None:
        """Give what an earlier attempt has led to; wait for one that is under way; None: go ahead.

        Raises: StillRunning when the budget ends first; Conflict where the key was used for another request.
        """
        if self._key is None and self._caller.retries == 0:
            return None
        pause_s = FIRST_PAUSE_S
        while True:
            other = self._contest(self._key) if self._key is not None else self._search(conversation_id)
            if other is None or other.state == "done":
                return None if other is None else other.result
            left_s = self._budget.remaining_s()
            if left_s <= 0:
                raise self._still_running()
            self._has_waited = True
            self._sleep(min(pause_s, left_s, max(other.until_s - self._now_s(), 0.001)))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def begin(self, version: int | None, *, noted: bool) -> None:
        """Say what is being worked on: the version of the conversation that the request is carried out on.

        A note lets a repetition wait for this attempt. It is written while the work begins: no token waits
        for it, and should it fail, the write of the turn leaves the same.
        """
        held = self._claim
        if held is not None and (self.keyed or held.fingerprint == _version(version)):
            return
        self._claim = claim = self._newly_begun(version)
        if noted:
            self._note = Background(lambda: self._take(claim))

    def claim(self, result: str) -> Claim:
        """Give the claim that the write settles, to be asked for once begun. No note outlives its attempt."""
        assert self._claim is not None
        self._wait()
        return replace(self._claim, result=result)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Give up on whatever error leaves. What was written before it stays settled.

        Raises: Uncertain instead of an error after which a repetition could be taken for another request's;
        StillRunning where there would be time enough had it not gone into waiting.
        """
        try:
            yield
        except DeadlineTooShort as error:
            told = self._still_running() if self._has_waited else error
            self._give_up(told)
            raise told from error.__cause__
        except BaseException as error:
            self._give_up(error)
            raise

    def _contest(self, key: str) -> Claim | None:
        """Take the key, or say who has it."""
        return self._kept(self._take(self._wanted(f"key:{key}", self._request)))

    def _search(self, conversation_id: str | None) -> Claim | None:
        """Find the newest attempt at this request that may be this one's predecessor and has not failed.

        The head is read first: what was begun at a version that it has left behind is settled, or never
        will be.
        """
        version = None
        if conversation_id is not None:
            try:
                version = self._store.get(self._caller.tenant, conversation_id).version
            except NotFound:
                return None
        since = f"{max(0, self._now_ms() - int(1000 * self._reach_s())):013d}"
        newest = self._store.newest_claim(self._caller.tenant, self._prefix, since=since)
        if newest is None or newest.state == "done":
            return newest
        if newest.fingerprint != _version(version):
            return None
        if newest.state == "running":
            return newest
        return self._kept(self._take(self._wanted(newest.key, newest.fingerprint)))

    def _still_running(self) -> StillRunning:
        return StillRunning(
            "An earlier attempt at this request has not ended in the time that this one had; "
            "send it again to get its answer.",
            param="Idempotency-Key" if self.keyed else None,
        )

    def _give_up(self, error: BaseException) -> None:
        """Let the next attempt go ahead."""
        claim, self._claim = self._claim, None
        self._wait()
        if not self.keyed:
            self._lapse(claim, error)
        elif claim is not None:
            with suppress(RequestError):  # then the lease has to run out
                self._store.release(self._caller.tenant, claim)

    def _lapse(self, claim: Claim | None, error: BaseException) -> None:
        """Leave a note that has run out: it tells that an attempt came, and failed.

        One that failed before it began leaves it where a repetition is to be expected.
        """
        is_repeated = isinstance(error, RequestError) and error.retryable
        if claim is None and not is_repeated:
            return
        try:
            self._take(claim or self._newly_begun(None), lease_s=0.0)
        except RequestError:
            if is_repeated:
                raise Uncertain(
                    "The store went away, and that this attempt failed could not be noted: "
                    "look before sending the request again."
                ) from error

    def _reach_s(self) -> float:
        """How long ago the first attempt can have begun: each lasts at most as long as an attempt may, or as
        its client waits, and then a pause."""
        each_s = min(self._caller.attempt_s, self._caller.patience_s) + CLIENT_BACKOFF_S
        return self._caller.retries * each_s

    @property
    def _prefix(self) -> str:
        return f"try:{self._request}:"

    def _newly_begun(self, version: int | None) -> Claim:
        return self._wanted(f"{self._prefix}{self._now_ms():013d}:{self._owner}", _version(version))

    def _wanted(self, key: str, fingerprint: str) -> Claim:
        return Claim(key, self._owner, "mine", fingerprint, self._now_s() + self._lease_s())

    def _take(self, claim: Claim, lease_s: float | None = None) -> Claim:
        return self._store.claim(
            self._caller.tenant,
            claim.key,
            owner=claim.owner,
            fingerprint=claim.fingerprint,
            lease_s=self._lease_s() if lease_s is None else lease_s,
        )

    def _kept(self, claim: Claim) -> Claim | None:
        if claim.state != "mine":
            return claim
        self._claim = claim
        return None

    def _wait(self) -> None:
        if self._note is not None:
            self._note.wait()

    def _lease_s(self) -> float:
        return self._budget.remaining_s() + LEASE_GRACE_S

    def _now_ms(self) -> int:
        return int(1000 * self._now_s())


def _digest(name: str, request: BaseModel) -> str:
    body = request.model_dump_json(exclude_unset=True)
    return hashlib.sha256(f"{name}\n{body}".encode()).hexdigest()[:32]


def _version(version: int | None) -> str:
    return "" if version is None else str(version)
