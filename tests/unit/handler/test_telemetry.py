"""What the operator sees: numbers, and never a word of what was said."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from handler.errors import InvalidRequest, QuotaExceeded, RequestError, VersionConflict
from handler.sessions import StoredResponse
from handler.telemetry import Telemetry
from tests.unit.handler.conftest import OpenDoor, Wrapper
from tests.unit.handler.scripted_engine import MODEL, noisy_engine, scripted_engine
from tests.unit.handler.streams import Reading

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


class Garbled(Wrapper):
    """A store in which responses have been altered."""

    def response(self, tenant: str, response_id: str) -> StoredResponse:
        found: StoredResponse = self.part.response(tenant, response_id)
        return replace(found, body={**found.body, "output": [SECRET]})


def test_a_bug_quotes_nothing_that_was_said(open_door: OpenDoor, caplog: pytest.LogCaptureFixture) -> None:
    """What is kept and cannot be read is a bug, told by the names of its fields."""
    door = open_door(wrap=Garbled().wrap)
    made = door.post("/v1/responses", input="Hi").json
    assert door.call("GET", f"/v1/responses/{made['id']}").status == 500
    (record,) = caplog.records
    assert record.message == "bug"
    assert "output.0" in caplog.text
    assert SECRET not in caplog.text


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


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The metrics that were written, by line, without what the format adds."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        (description,) = line.pop("_aws")["CloudWatchMetrics"]
        assert description["Dimensions"] == [["service"]]
        assert {each["Name"] for each in description["Metrics"]} == set(line) - {"service"}
    return lines


def test_an_answer_is_one_line_of_figures(open_door: OpenDoor, capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens, times and how it ended are in one line; the start is counted with the first answer alone."""
    door = open_door(memory_mib=1024)
    answers = [door.post("/v1/responses", input="Hi").json for _ in range(2)]
    receipts = [answer["dormouse"]["receipt"] for answer in answers]
    lines = written(capsys)
    assert len(lines) == 2
    for line, receipt in zip(lines, receipts, strict=True):
        assert line["Answers"] == line["Stopped"] == [1.0]
        assert line["InputTokens"] == [receipt["prompt_tokens"]]
        assert line["CachedTokens"] == [receipt["cached_tokens"]]
        assert line["OutputTokens"] == [receipt["output_tokens"]]
        assert line["TimeToFirstTokenMs"] == [receipt["prefill_ms"]]
        assert line["DecodeTokensPerS"] == [receipt["tokens_per_s"]]
    assert "ColdStarts" in lines[0]
    assert lines[0]["InitMs"] == [receipts[0]["init_ms"]]
    assert not {"ColdStarts", "InitMs"} & set(lines[1])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "n": 2}),
        ("/v1/completions", {"prompt": ["Hi", "Hello"]}),
    ],
)
def test_an_answer_left_half_way_is_measured(
    open_door: OpenDoor, capsys: pytest.CaptureFixture[str], path: str, body: dict[str, Any]
) -> None:
    """Whoever hangs up leaves one line of what was made until then, and whoever reads on no second one."""
    door = open_door(noisy_engine(), memory_mib=1024, streaming=True)
    sent = {"model": MODEL, "stream": True, "max_tokens": 20, **body}
    whole = Reading(door, "POST", path, sent).rest()
    (line,) = written(capsys)
    made, prompt = line["OutputTokens"][0], line["InputTokens"][0]
    left = Reading(door, "POST", path, sent)
    while len(left.events) < 3:
        left.read()
    left.hang_up()
    (line,) = written(capsys)
    assert line["Answers"] == line["Cancelled"] == [1.0]
    assert 0 < line["OutputTokens"][0] < made
    assert line["InputTokens"][0] <= prompt
    late = Reading(door, "POST", path, sent)
    while len(late.events) < len(whole.events):
        late.read()
    late.hang_up()
    assert len(written(capsys)) == 1


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (InvalidRequest("no"), {"Refused"}),
        (VersionConflict(1, 2), {"Refused", "Conflicts"}),
        (QuotaExceeded(100, 120, 60), {"Refused", "QuotaRefusals"}),
    ],
)
def test_refusals_are_told_apart(
    error: RequestError, names: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A conflict and a spent quota are counted by themselves, beside all that was refused."""
    Telemetry(in_lambda=True).refused(error, "r-1")
    assert [set(line) for line in written(capsys)] == [names | {"service"}]


def test_a_line_carries_the_request_it_is_about(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    """In Lambda every line of the log has the id that the answer has in `x-request-id`."""
    caplog.set_level(logging.INFO)
    answer = open_door(memory_mib=1024).post("/v1/responses", input="Hi")
    (record,) = caplog.records
    (handler,) = logging.getLogger(record.name).handlers
    line = json.loads(handler.format(record))
    assert line["correlation_id"] == answer.headers["x-request-id"]
