"""One function, warmed as for a snapshot, and two copies of its process, each restored and asked the same.

    python -m tests.contract.restore.copies  ->  one line of JSON: what the parent and each copy have seen

A fork copies a process as a snapshot does, but for two things that are made good here: `random` notices it
and seeds itself anew, and no time passes.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from snapshot_restore_py import get_after_restore

from handler import function
from handler.gateway import LocalContext
from tests.stack import sample_event

FROZEN_S = 3.0


def sockets() -> list[str]:
    """The sockets that this process holds, by inode."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:  # the one that lists them
            continue
    return sorted(link for link in links if link.startswith("socket:"))


def ask(name: str, **changes: Any) -> dict[str, Any]:
    """The answer to a sample request."""
    event = sample_event(name, function.APPLICATION.engine.manifest.name)
    event["body"] = json.dumps({**json.loads(event["body"]), **changes})
    answer = function.lambda_handler(event, LocalContext())
    body: dict[str, Any] = json.loads(answer["body"])
    assert answer["statusCode"] == 200, body
    return body


def restored(state: Any) -> dict[str, Any]:
    """What a copy does: it wakes, runs the hooks, and serves."""
    time.sleep(FROZEN_S)
    random.setstate(state)
    drawn_before = [random.random() for _ in range(4)]
    random.setstate(state)
    woken_s = time.time()
    for hook, arguments, named in get_after_restore():
        hook(*arguments, **named)
    after_hooks, known = sockets(), set(sys.modules)
    drawn = [random.random() for _ in range(4)]
    sampled = {"temperature": 1.5, "max_tokens": 8}
    free, again = ask("chat", **sampled), ask("chat", **sampled)
    seeded = ask("chat", **sampled, seed=5)
    conversation = ask("conversation-create", items=[])
    return {
        "imported": sorted(name for name in set(sys.modules) - known if name.startswith("boto")),
        "drawn_before": drawn_before,
        "drawn": drawn,
        "after_hooks": after_hooks,
        "sockets": sockets(),
        "seeds": [free["dormouse"]["seed"], again["dormouse"]["seed"]],
        "ids": [free["id"], again["id"], seeded["id"], conversation["id"]],
        "seeded": seeded["choices"][0]["message"]["content"],
        "receipts": [free["dormouse"]["receipt"], again["dormouse"]["receipt"]],
        "late_s": [free["created"] - int(woken_s), conversation["created_at"] - int(woken_s)],
    }


def fork(state: Any) -> dict[str, Any]:
    """Restore one copy and wait for what it says."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            with os.fdopen(writing, "w") as out:
                json.dump(restored(state), out)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    found: dict[str, Any] = json.loads(told)
    return found


def main() -> None:
    """Warm, copy twice, tell."""
    frozen = sockets()
    ask("conversation-create", items=[])  # no snapshot is so careless as to leave these open
    parent, state = sockets(), random.getstate()
    print(json.dumps({"frozen": frozen, "parent": parent, "copies": [fork(state), fork(state)]}))


if __name__ == "__main__":
    main()
