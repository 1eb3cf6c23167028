"""What an answer asks of the table is what reports and plans count with."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from handler.assembly import assemble
from handler.sessions.dynamo import DynamoSessions
from handler.settings import Settings
from infra.table_units import IN_TENANTS_PARTITION, STATELESS_ANSWER, STORED_ANSWER, Units
from tests.contract.sessions.stores import HandClock, Place
from tests.unit.handler.conftest import Door
from tests.unit.handler.scripted_engine import MODEL, scripted_engine

WRITE_BYTES, READ_BYTES = 1024, 4096
TENANT = "ann"


class Meter:
    """Request units of the calls of a client, by DynamoDB's rules.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
    """

    def __init__(self, client: Any) -> None:
        self.begin()
        client.meta.events.register("provide-client-params.dynamodb", self._sent)
        client.meta.events.register("after-call.dynamodb", self._came)

    def begin(self) -> None:
        """Count from zero."""
        self.writes = self.reads = self.counted = self.in_tenants_partition = 0

    def taken(self) -> Units:
        """What an answer has used, its tenant's counter included, which nobody waits for to the end."""
        give_up_s = time.monotonic() + 30
        while not self.counted:
            assert time.monotonic() < give_up_s
            time.sleep(0.01)
        return Units(self.writes, self.reads)

    def _sent(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "TransactWriteItems":
            for action in params["TransactItems"]:
                ((kind, asked),) = action.items()
                self._write(asked, 2 * (_units(asked["Item"], WRITE_BYTES) if kind == "Put" else 1))
        elif model.name in ("PutItem", "UpdateItem"):
            self._write(params, _units(params.get("Item", {}), WRITE_BYTES))

    def _write(self, asked: Mapping[str, Any], units: int) -> None:
        self.writes += units
        key = asked.get("Key") or asked["Item"]
        if key["pk"]["S"] == f"{TENANT}#":
            self.in_tenants_partition += units

    def _came(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "UpdateItem":
            self.counted += 1  # the tenant's counter is the only row that is updated by itself
        elif model.name == "GetItem":
            self.reads += _units(parsed.get("Item", {}), READ_BYTES)
        elif model.name == "Query":
            self.reads += max(1, math.ceil(sum(map(_bytes, parsed["Items"])) / READ_BYTES))


def _units(item: Mapping[str, Any], step: int) -> int:
    return max(1, math.ceil(_bytes(item) / step))


def _bytes(item: Mapping[str, Any]) -> int:
    return sum(
        len(name.encode()) + len(str(next(iter(value.values()))).encode()) for name, value in item.items()
    )


@pytest.fixture
def metered(dynamodb_endpoint: str) -> tuple[Door, Meter]:
    """The handler before a table, its calls being counted."""
    table = Place("dynamodb", dynamodb_endpoint, f"units-{uuid.uuid4().hex}").dynamo_table()
    table.create()
    clock = HandClock()
    store = DynamoSessions(table, clock=clock, retention_s=30 * 86_400)
    engine = scripted_engine(lambda _: "A dormouse sleeps for more than half of the year.")
    meter = Meter(table.client)
    door = Door(assemble(Settings(deadline_margin_ms=0), engine, store, started_s=0.0, now=clock))
    return door.look_never(), meter


def test_a_stored_answer_asks_for_so_much(metered: tuple[Door, Meter]) -> None:
    """The third turn of a conversation: a turn that neither begins it nor has much to read."""
    door, meter = metered
    id = door.call("POST", "/v1/conversations", {}, tenant=TENANT).json["id"]
    body = {"model": MODEL, "input": "How long does a dormouse sleep?", "conversation": id}
    for _ in range(3):
        meter.begin()
        assert door.call("POST", "/v1/responses", body, tenant=TENANT).status == 200
        found = meter.taken()
    assert found == STORED_ANSWER
    assert meter.in_tenants_partition == IN_TENANTS_PARTITION


def test_a_chat_asks_for_its_counter(metered: tuple[Door, Meter]) -> None:
    """A chat completion keeps nothing: one write, of the tenant's counter."""
    door, meter = metered
    body = {"model": MODEL, "messages": [{"role": "user", "content": "How long does a dormouse sleep?"}]}
    assert door.call("POST", "/v1/chat/completions", body, tenant=TENANT).status == 200
    assert meter.taken() == STATELESS_ANSWER
