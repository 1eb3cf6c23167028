"""A bundle of many small parts, in the buckets of two S3-protocol servers, and a bad line to either."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.engine.bundle import read_manifest, write_manifest
from handler.location import S3Location
from handler.s3 import S3Objects
from handler.transfer import CONNECTIONS, FetchedFiles
from infra.bundles import push
from tests import dynamodb
from tests.contract.remote.faulty_s3 import FaultyS3, faulty_s3

BUCKET = "models"
PART_BYTES = 4_096
Fetch = Callable[..., FetchedFiles]


@pytest.fixture(scope="session")
def parted_bundle(tiny_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-llama, its manifest written again with small parts."""
    folder = Path(shutil.copytree(tiny_bundle("llama", "int4"), tmp_path_factory.mktemp("parted") / "bundle"))
    parts = (
        write_manifest(folder, read_manifest(folder), part_bytes=PART_BYTES).files["model.onnx.data"].parts
    )
    assert parts is not None
    assert len(parts.sha256) > 3 * CONNECTIONS
    return folder


@pytest.fixture(scope="session")
def ministack_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of ministack with S3."""
    with dynamodb.ministack(tmp_path_factory.mktemp("ministack-s3") / "log", "s3") as url:
        yield url


@pytest.fixture(scope="session", params=["moto", "ministack"])
def s3_endpoint(request: pytest.FixtureRequest) -> str:
    """The URL of an S3-protocol server with a bucket, one after the other."""
    url: str = request.getfixturevalue({"moto": "moto_endpoint", "ministack": "ministack_s3"}[request.param])
    client(url).create_bucket(Bucket=BUCKET)
    return url


@pytest.fixture(scope="session")
def location(s3_endpoint: str, parted_bundle: Path) -> S3Location:
    """Where the bundle is."""
    return push(client(s3_endpoint), parted_bundle, S3Location(BUCKET, "bundles"))


@pytest.fixture
def line(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """A line to the server, which botocore takes for S3."""
    for name, value in dynamodb.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with faulty_s3(s3_endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", found.url)
        yield found


@pytest.fixture
def told() -> list[str]:
    """What the log says."""
    return []


@pytest.fixture
def fetch(line: FaultyS3, location: S3Location, told: list[str]) -> Iterator[Fetch]:
    """Begin to fetch the bundle, over the line."""
    begun: list[FetchedFiles] = []

    def begin(place: S3Location = location) -> FetchedFiles:
        begun.append(FetchedFiles(S3Objects(place), told.append))
        return begun[-1]

    yield begin
    for files in begun:
        files.close()


def client(url: str) -> Any:
    """Boto3's client of a server."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
