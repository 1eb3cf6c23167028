"""A whole application as a process of its own, over HTTP, its sessions at a given place.

Its model says which turn it was asked and which one it saw before: `t3 after t2`."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import uvicorn

from handler.assembly import assemble
from handler.gateway import Gateway
from handler.settings import Settings
from tests.contract.sessions.stores import Place
from tests.dynamodb import CREDENTIALS
from tests.unit.handler.scripted_engine import scripted_engine

ASKED = re.compile(r"(?:<\|im_start\|>user\n|\n\n)(t\w+)")
"""A turn's word; behind a blank line where the turn before it got no answer: the two are one message then."""

CONTEXT_TOKENS = 128
"""Room for two turns: the model's time grows with its prompt, and what is tested here is not the model."""


def reply(prompt: str) -> str:
    """Name the last two turns of a prompt."""
    turns = ["nothing", *ASKED.findall(prompt)]
    return f"{turns[-1]} after {turns[-2]}"


def serve(place: Place, port: int, hold: Path | None = None) -> None:
    """Serve until killed; while the file `hold` is there, the model comes no further."""
    os.environ.update(CREDENTIALS)

    def step() -> None:
        while hold and hold.exists():
            time.sleep(0.01)

    engine = scripted_engine(reply, context_tokens=CONTEXT_TOKENS, on_step=step)
    application = assemble(
        Settings(streaming=True, deadline_margin_ms=0),
        engine,
        place.open(time.time),
        started_s=time.monotonic(),
    )
    uvicorn.run(Gateway(application.api.answer), host="127.0.0.1", port=port, log_level="critical")
