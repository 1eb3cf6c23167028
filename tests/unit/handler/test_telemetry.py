"""What the operator sees: numbers, and never a word of what was said."""

from __future__ import annotations

import json
import logging

import pytest

from tests.unit.handler.conftest import OpenDoor
from tests.unit.handler.scripted_engine import scripted_engine

SECRET = "xyzzy"


def test_nothing_said_is_logged(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither an answer, nor a refusal that quotes the request, leaves a word of it in logs or metrics."""
    caplog.set_level(logging.INFO, logger="dormouse")
    door = open_door(scripted_engine(lambda _: f"{SECRET} it is"), memory_mib=1024)
    answer = door.post("/v1/responses", input=f"Say {SECRET}").json
    assert SECRET in json.dumps(answer)
    assert door.post("/v1/chat/completions", messages=[], **{SECRET: 1}).status == 400
    assert [record.message for record in caplog.records] == ["answered", "refused"]
    seen = "".join(json.dumps(vars(record), default=str) for record in caplog.records)
    assert SECRET not in seen + capsys.readouterr().out


def test_metrics_are_counted_in_lambda_only(open_door: OpenDoor, capsys: pytest.CaptureFixture[str]) -> None:
    """Inside Lambda an answer is counted in CloudWatch's embedded format; outside nothing is printed."""
    open_door().post("/v1/responses", input="Hi")
    assert capsys.readouterr().out == ""
    made = open_door(memory_mib=1024).post("/v1/responses", input="Hi").json
    metric = json.loads(capsys.readouterr().out.splitlines()[0])
    assert metric["Answers"] == [1.0]
    receipt = made["dormouse"]["receipt"]
    assert receipt["gb_s"] > 0
    assert receipt["cost_usd"] == pytest.approx(receipt["gb_s"] * 0.0000166667 + 0.0000002, rel=1e-6)
