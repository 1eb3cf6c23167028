"""The report of a day out of CloudWatch Logs, asked for by its own protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import boto3
import pytest

from infra.report.__main__ import main
from tests.dynamodb import CREDENTIALS, moto

GROUP = "dormouse-FunctionLog"
DAY = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(), UTC)
"""Yesterday: CloudWatch takes no line that is older than 14 days."""
ANSWERED = {
    "message": "answered",
    "correlation_id": "r-1",
    "stop_reason": "stop",
    "prompt_tokens": 12,
    "cached_tokens": 0,
    "output_tokens": 6,
    "prefill_ms": 20.0,
    "decode_ms": 50.0,
    "cold": False,
    "init_ms": 0.0,
}
LINES_OF_THE_DAY = 250
"""More than a page of this server's has."""


@pytest.fixture(scope="module")
def cloudwatch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a log group that has a day, and a line on either side of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with moto(tmp_path_factory.mktemp("moto") / "log") as url:
            client = boto3.client("logs", endpoint_url=url)
            client.create_log_group(logGroupName=GROUP)
            client.create_log_stream(logGroupName=GROUP, logStreamName="one")
            begin_ms = int(DAY.timestamp() * 1000)
            times = [begin_ms + n * 1000 for n in range(LINES_OF_THE_DAY - 1)] + [begin_ms + 86_399_999]
            for moment in (begin_ms - 1, *times, begin_ms + 86_400_000):
                event = {"timestamp": moment, "message": json.dumps(ANSWERED)}
                client.put_log_events(logGroupName=GROUP, logStreamName="one", logEvents=[event])
            yield url


def test_a_day_is_read_whole_and_alone(cloudwatch: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All pages of the day in UTC, from its first millisecond to its last."""
    place = ["--group", GROUP, "--region", "us-east-1", "--endpoint", cloudwatch]
    assert main([*place, "--day", DAY.date().isoformat(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answers"] == LINES_OF_THE_DAY
    assert found["tokens"]["output"] == 6 * LINES_OF_THE_DAY


def test_a_wrong_group_is_one_sentence(cloudwatch: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A group that is not there ends with status 1 and its name."""
    assert main(["--group", "nowhere", "--region", "us-east-1", "--endpoint", cloudwatch]) == 1
    assert capsys.readouterr().err == "report: there is no log group nowhere in this region and account\n"


def test_a_file_is_not_asked_for_a_day(tmp_path: Path) -> None:
    """`--day` with a file, or no source at all, is refused before anything is read."""
    for wrong in ([str(tmp_path / "log"), "--day", "2026-11-25"], [], ["x", "--group", GROUP]):
        with pytest.raises(SystemExit):
            main(wrong)
