"""A proxy that stands before a DynamoDB-protocol server and misbehaves as the real one may."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from handler.sessions import SessionStore
from tests.contract.sessions.stores import HandClock, Place
from tests.loopback import Quiet, serving

Fault = Literal["none", "throttled", "broken", "contended", "unacknowledged", "late", "torn"]
Plan = Callable[[str], Fault]
"""Given an operation (`GetItem`), what happens to this call of it."""

Witness = Callable[[str, int], None]
"""Told of every call that is forwarded: the operation, and the bytes of request and answer."""

LATE_S = 0.05
FAULTS: dict[Fault, float] = {
    "throttled": 0.03,
    "broken": 0.03,
    "contended": 0.02,
    "unacknowledged": 0.03,
    "late": 0.05,
}
"""The weather of a storm: which share of the calls meets which fault."""

_TYPE = "com.amazonaws.dynamodb.v20120810#"


@contextmanager
def faulty(endpoint: str, plan: Plan, witness: Witness = lambda *_: None) -> Iterator[str]:
    """Forward to a server as planned; yield the URL to use instead."""
    target = urlsplit(endpoint)

    class Handler(Quiet):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            fault = plan(operation)
            if fault == "throttled":
                self._refuse(400, {"__type": _TYPE + "ProvisionedThroughputExceededException"})
            elif fault == "broken":
                self._refuse(500, {"__type": _TYPE + "InternalServerError"})
            elif fault == "contended" and operation == "UpdateItem":  # as a transaction on its row makes it
                self._refuse(400, {"__type": _TYPE + "TransactionConflictException"})
            elif fault == "contended":
                reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
                self._refuse(
                    400, {"__type": _TYPE + "TransactionCanceledException", "CancellationReasons": reasons}
                )
            else:
                self._forward(body, fault)

        def _forward(self, body: bytes, fault: Fault) -> None:
            connection = http.client.HTTPConnection(str(target.hostname), target.port)
            connection.request("POST", "/", body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            witness(operation, len(body) + len(content))
            if fault == "unacknowledged":
                self.close_connection = True  # it was carried out, and nobody will hear of it
                return
            if fault == "torn":
                page = json.loads(content)
                content = json.dumps({**page, "Items": page["Items"][1:]}).encode()
            if fault == "late":
                time.sleep(LATE_S)
            self._answer(answer.status, content)

        def _refuse(self, status: int, error: dict[str, object]) -> None:
            self._answer(status, json.dumps(error).encode())

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as address:
        yield f"http://{address}"


@contextmanager
def seen_through(place: Place, plan: Plan) -> Iterator[SessionStore]:
    """Open the store on the same table, behind a proxy with this plan."""
    with faulty(place.address, plan) as url:
        opened = replace(place, address=url).open(HandClock())
        yield opened
        opened.close()


@contextmanager
def behind_faults(place: Place) -> Iterator[Place]:
    """Put a proxy with random faults before a server; a file has none."""
    if place.kind == "sqlite":
        yield place
        return
    chance, lock = random.Random(7), threading.Lock()

    def plan(operation: str) -> Fault:
        with lock:
            dice = chance.random()
        for fault, share in FAULTS.items():
            if dice < share:
                is_write = operation in ("TransactWriteItems", "UpdateItem")
                return "late" if fault == "contended" and not is_write else fault
            dice -= share
        return "none"

    with faulty(place.address, plan) as url:
        yield Place(place.kind, url, place.table)
