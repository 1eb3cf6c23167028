"""Copies of one snapshot share no random numbers, no connections and no time; what is seeded stays equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.location import S3Location
from handler.sessions.dynamo_table import DynamoTable
from infra.bundles import push
from tests.contract.restore.copies import FROZEN_S
from tests.loopback import Quiet, serving

PROJECT = Path(__file__).resolve().parents[3]
BUCKET, TABLE = "snapshots", "copies"


class Credentials(Quiet):
    """How Lambda gives a function with SnapStart its credentials: an address, whose connections are kept."""

    protocol_version = "HTTP/1.1"
    given: list[str]

    def do_GET(self) -> None:
        self.given.append(f"KEY{len(self.given)}")
        until = datetime.fromtimestamp(time.time() + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        facts = {"AccessKeyId": self.given[-1], "SecretAccessKey": "s", "Token": "t", "Expiration": until}
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def given() -> list[str]:
    """The credentials that were given out."""
    return []


@pytest.fixture(scope="module")
def credentials(given: list[str]) -> Iterator[str]:
    """The address that gives credentials."""
    handler = type("BoundCredentials", (Credentials,), {"given": given})
    with serving(handler) as address:
        yield f"http://{address}/"


@pytest.fixture(scope="module")
def told(
    tiny_bundle: Callable[..., Path],
    moto_endpoint: str,
    dynamodb_endpoint: str,
    credentials: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What a warmed function and two copies of it have seen, its bundle in S3, its sessions in DynamoDB."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    s3 = boto3.client("s3", endpoint_url=moto_endpoint, region_name="us-east-1", **keys)
    s3.create_bucket(Bucket=BUCKET)
    place = push(s3, tiny_bundle(), S3Location(BUCKET, "bundles"))
    DynamoTable(TABLE, region="us-east-1", endpoint_url=dynamodb_endpoint).create()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DORMOUSE_"))}
    environment = {
        **kept,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": credentials,
        "AWS_ENDPOINT_URL_S3": moto_endpoint,
        "DORMOUSE_BUNDLE": str(place),
        "DORMOUSE_SESSIONS": "dynamodb",
        "DORMOUSE_TABLE": TABLE,
        "DORMOUSE_DYNAMODB_ENDPOINT": dynamodb_endpoint,
        "DORMOUSE_THREADS": "1",  # ONNX Runtime's other threads would not survive a fork
    }
    command = [sys.executable, "-m", "tests.contract.restore.copies"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"frozen"')]
    found: dict[str, Any] = json.loads(lines[0])
    return found


def test_no_connection_is_in_the_snapshot(told: dict[str, Any]) -> None:
    """When the function is ready to be frozen, after a load from S3, it holds no socket."""
    assert told["frozen"] == []


def test_no_connection_outlives_the_restore(told: dict[str, Any]) -> None:
    """Even from a parent with open connections to DynamoDB and to its credentials, the hooks leave none; then
    each copy makes its own.
    """
    assert len(told["parent"]) >= 2  # one to each
    for copy in told["copies"]:
        assert set(copy["after_hooks"]) & set(told["parent"]) == set()
        assert copy["sockets"]
    first, second = (set(copy["sockets"]) for copy in told["copies"])
    assert first & second == set()
    assert (first | second) & set(told["parent"]) == set()


def test_the_first_request_after_a_restore_imports_no_client(told: dict[str, Any]) -> None:
    """What DynamoDB's client needs, 200 ms of a first call, is in the snapshot."""
    for copy in told["copies"]:
        assert copy["imported"] == []


def test_each_copy_asks_for_credentials_of_its_own(told: dict[str, Any], given: list[str]) -> None:
    """The load, the parent's request, and one for each copy: none goes on with what was frozen."""
    assert told["copies"]
    assert len(given) == 4


def test_no_random_numbers_are_shared(told: dict[str, Any]) -> None:
    """As they were frozen, both would draw the same; after the hooks no number, seed or id is in both.

    Two of eight numbers of at least 32 bits each are equal by chance less than once in 10^8 runs.
    """
    first, second = told["copies"]
    assert first["drawn_before"] == second["drawn_before"]
    for name in ("drawn", "seeds", "ids"):
        both = [*first[name], *second[name]]
        assert len(set(both)) == len(both), name


def test_what_is_seeded_is_the_same_everywhere(told: dict[str, Any]) -> None:
    """A seed gives the same text in both copies."""
    first, second = told["copies"]
    assert first["seeded"] == second["seeded"]


def test_clocks_are_those_of_the_restore(told: dict[str, Any]) -> None:
    """Times are read after the restore, and the time that a copy was frozen is in no figure of a receipt."""
    for copy in told["copies"]:
        assert all(0 <= late_s <= 30 for late_s in copy["late_s"])
        cold, warm = copy["receipts"]
        assert (cold["cold"], warm["cold"]) == (True, False)
        assert 0 < cold["init_ms"] < FROZEN_S * 1000 / 2
        assert warm["init_ms"] == 0
        billed_ms = cold["gb_s"] / (1769 / 1024) * 1000
        assert cold["init_ms"] + cold["prefill_ms"] + cold["decode_ms"] <= billed_ms + 1
