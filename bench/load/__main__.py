"""Puts the conversation mix on environments of one vCPU each: `python -m bench.load`.

Environments are handler processes that share one table (SQLite, or a DynamoDB-protocol server by --dynamodb);
locust, from its own virtualenv, plays the users. Results go to build/load as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.load.environment import start
from bench.load.results import summarize
from bench.load.router import Placement, serve
from bench.machine import describe
from bench.options import bundle, count

ROOT = Path(__file__).parents[2]
LOCUST = ROOT / ".venv/load/bin/locust"
CREDENTIALS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "load")
GRACE_S = 150.0
"""A run that is over may take so much longer to end."""


def settings(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The environment of every handler; the table is made where there is a server for it."""
    where = {"DORMOUSE_BUNDLE": str(options.bundle), "DORMOUSE_SESSIONS": str(folder / "sessions.sqlite3")}
    if options.dynamodb:
        from handler.sessions.dynamo_table import DynamoTable

        os.environ.update({**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"})
        table = f"load-{uuid.uuid4().hex}"
        DynamoTable(table, region="us-east-1", endpoint_url=options.dynamodb).create()
        where |= {
            "DORMOUSE_SESSIONS": "dynamodb",
            "DORMOUSE_TABLE": table,
            "DORMOUSE_DYNAMODB_ENDPOINT": options.dynamodb,
        }
    return where


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole run; whatever happens, no environment outlives it."""
    variables, log, samples = settings(options, folder), folder / "environments.log", folder / "samples"
    samples.touch()
    placement = Placement(lambda number: start(number, variables, log), options.environments)
    server = await serve(placement)
    began = time.monotonic()
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        status = await _locust(options, url, samples)
        seconds = time.monotonic() - began
    finally:
        server.close()
        await placement.end()
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    asked = {"environments": options.environments, "users": options.users, "think_s": options.think}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        **asked,
        "table": "dynamodb" if options.dynamodb else "sqlite",
        "environments_started": placement.started,
        "throttled": placement.throttled,
        "locust_status": status,
        **summarize(lines, seconds),
    }


async def _locust(options: argparse.Namespace, url: str, samples: Path) -> int:
    name = json.loads((options.bundle / "bundle.json").read_text())["name"]
    load = {"LOAD_SAMPLES": str(samples), "LOAD_MODEL": name, "LOAD_THINK_S": str(options.think)}
    process = await asyncio.create_subprocess_exec(
        str(LOCUST), "-f", str(ROOT / "bench/load/talk.py"), "--headless", "--only-summary",
        "--host", url, "--users", str(options.users), "--spawn-rate", str(options.users),
        "--run-time", f"{options.seconds}s", "--stop-timeout", "90",
        env={**os.environ, **load, "PYTHONPATH": str(ROOT)}, stdout=sys.stderr,
    )  # fmt: skip
    try:
        return await asyncio.wait_for(process.wait(), options.seconds + GRACE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="A load test on this machine.")
    parser.add_argument(
        "--environments", type=count, default=2, help="execution environments at most (default: %(default)s)"
    )
    parser.add_argument("--users", type=count, default=6, help="who talk at once (default: %(default)s)")
    parser.add_argument("--seconds", type=count, default=60, help="how long they talk (default: %(default)s)")
    parser.add_argument(
        "--think", type=float, default=2.0, help="mean seconds between answer and next request"
    )
    parser.add_argument(
        "--bundle", type=bundle, default=ROOT / "models/house/bundle", help="folder of the model's bundle"
    )
    parser.add_argument("--dynamodb", help="URL of a DynamoDB-protocol server (default: a SQLite file)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build/load/latest.json", help="file of the results"
    )
    options = parser.parse_args(arguments)
    if not LOCUST.exists():
        parser.error(f"{LOCUST} is missing: make .venv/load/.made")
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(options, Path(folder)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "machine"}, indent=1))
    return 0 if found["answers"] and not found["failures"] and found["locust_status"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
