"""The DynamoDB-protocol servers, each started once for the whole run and only where a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import dynamodb


@pytest.fixture(scope="session")
def dynamodb_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a DynamoDB-protocol server."""
    os.environ.update(dynamodb.CREDENTIALS)
    with dynamodb.ministack(tmp_path_factory.mktemp("ministack") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a second, independent one."""
    os.environ.update(dynamodb.CREDENTIALS)
    with dynamodb.moto(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url
