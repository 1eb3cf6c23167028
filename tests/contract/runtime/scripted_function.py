"""A function whose every move the event writes down; it stands in for the handler in tests of the runtime."""

import json
import os
import time
from pathlib import Path

PRELUDE = (
    json.dumps({"statusCode": 200, "headers": {"Content-Type": "text/event-stream"}}).encode() + b"\0" * 8
)


def handler(event, context):
    do = event["do"]
    if do == "environment":
        return {
            "streaming": os.environ.get("DORMOUSE_STREAMING"),
            "remaining_ms": context.get_remaining_time_in_millis(),
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        }
    if do == "proxy":
        return event["answer"]
    if do == "large":
        return "x" * (event["bytes"] - len('""'))
    if do == "raise":
        raise ValueError("raised by the script")
    streams = (count, gated, endless, flood, early, text)
    return {stream.__name__: stream for stream in streams}[do](event)


def count(event):
    """`chunks` chunks of `size` bytes, an empty one in between, then an error if the script has one.

    How many were asked for is written down in the file `made`, where there is one.
    """
    yield PRELUDE
    for number in range(event["chunks"]):
        yield b""
        if "made" in event:
            part = Path(event["made"]).with_suffix(".part")
            part.write_text(str(number + 1))
            part.replace(event["made"])
        yield f"{number:08d}".encode() * (event.get("size", 8) // 8)
    if "error" in event:
        raise ValueError(event["error"])


def gated(event):
    """One more chunk each time that a file of its number appears in the folder `gate`."""
    yield PRELUDE
    for number in range(event["chunks"]):
        while not (Path(event["gate"]) / str(number)).exists():
            time.sleep(0.002)
        yield f"chunk {number}".encode()


def endless(event):
    """Chunks until somebody closes it, which it writes down."""
    try:
        yield PRELUDE
        while True:
            yield b"more"
            time.sleep(0.0005)
    except GeneratorExit:
        Path(event["closed"]).write_text("closed")
        raise


def flood(event):
    """Larger chunks than anybody reads, until somebody closes it, which it writes down."""
    try:
        yield PRELUDE
        while True:
            yield b"more" * (1 << 16)
    except GeneratorExit:
        Path(event["closed"]).write_text("closed")
        raise


def early(event):
    """An error before the first chunk."""
    raise LookupError("nothing was sent yet")
    yield b""


def text(event):
    """A chunk of the wrong type."""
    yield PRELUDE
    yield "not bytes"
