"""Where lines come from: a file, standard input, or CloudWatch Logs for one day. Knows no line's meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any


class SourceError(Exception):
    """The lines cannot be read; one sentence for the operator."""


def messages(stream: Iterable[str]) -> Iterator[str]:
    """Lines as they are, or the messages of what `aws logs filter-log-events` prints.

    Raises: SourceError for a JSON document that is cut off.
    """
    lines = (line for line in stream if line.strip())
    first = next(lines, None)
    if first is None:
        return
    if not _begins_a_document(first):
        yield from (line.rstrip("\n") for line in chain([first], lines))
        return
    try:
        document = json.loads("".join(chain([first], lines)))
        yield from (str(event["message"]).rstrip("\n") for event in document["events"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"this begins as a document of filter-log-events and is none: {error}") from error


def _begins_a_document(first: str) -> bool:
    if first.strip() == "{":
        return True
    try:
        parsed = json.loads(first)
    except ValueError:
        return first.lstrip().startswith('{"events"')
    return isinstance(parsed, dict) and isinstance(parsed.get("events"), list)


def cloudwatch(
    group: str, day: date, *, region: str | None = None, endpoint: str | None = None
) -> Iterator[str]:
    """Every line of a log group on one day (UTC). Raises: SourceError."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    span = {
        "startTime": int(begin.timestamp() * 1000),
        "endTime": int((begin + timedelta(days=1)).timestamp() * 1000) - 1,  # both ends are inclusive
    }
    try:
        client: Any = boto3.client("logs", region_name=region, endpoint_url=endpoint)
        for page in client.get_paginator("filter_log_events").paginate(logGroupName=group, **span):
            yield from (str(event["message"]).rstrip("\n") for event in page["events"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise SourceError(f"there is no log group {group} in this region and account") from error
        raise SourceError(f"{group}: {error}") from error
    except (BotoCoreError, ValueError) as error:  # a ValueError is a wrong endpoint
        raise SourceError(f"{group}: {error}") from error
