"""A new version that cannot start says why in one line and takes no event; the old one goes on answering.

The whole function, started by Lambda's own client in front of the tests' Runtime API.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.engine.bundle import sealed
from handler.location import S3Location
from infra.bundles import push
from tests import dynamodb
from tests.contract.remote.conftest import BUCKET, client
from tests.contract.runtime.conftest import Environment, started
from tests.contract.runtime.runtime_api import RuntimeApi
from tests.stack import bundle_policy, sample_event

HANDLER = "handler.function.lambda_handler"
COMMAND = (sys.executable, "-m", "awslambdaric", HANDLER)
UNANSWERED = "http://127.0.0.1:9"  # the discard port, where nobody listens
Start = Callable[..., Any]


@pytest.fixture
def version(moto_endpoint: str, tmp_path: Path) -> Start:
    """`version(location)`: an execution environment of a version of the function, its bundle there."""

    def begin(location: object, **variables: str) -> Any:
        number = len(list(tmp_path.glob("log-*")))
        settings = {
            "DORMOUSE_BUNDLE": str(location),
            "DORMOUSE_SESSIONS": str(tmp_path / "sessions.sqlite3"),
            "DORMOUSE_THREADS": "1",
            "AWS_ENDPOINT_URL_S3": moto_endpoint,
            "_HANDLER": HANDLER,
        }
        environment = {**settings, **dynamodb.CREDENTIALS, **variables}
        return started(RuntimeApi(), COMMAND, tmp_path / f"log-{number}", **environment)

    return begin


@pytest.fixture
def bucket(moto_endpoint: str) -> Any:
    """Boto3's client, and the bucket is there."""
    server = client(moto_endpoint)
    server.create_bucket(Bucket=BUCKET)
    return server


def await_end(new: Environment) -> list[str]:
    """What a start that failed has said; the platform was never asked for an event."""
    assert new.process.wait(timeout=60) == 1
    assert not new.api.asked.is_set()
    return new.log.read_text().splitlines()


def answer(old: Environment, model: str) -> str:
    """What the version says to a sample request."""
    got = old.api.invoke(sample_event("chat", model))
    assert got.prelude["statusCode"] == 200, got.payload
    return str(json.loads(got.payload)["choices"][0]["message"]["content"])


def test_the_old_version_answers_whatever_the_new_one_cannot_start_with(
    version: Start, bucket: Any, parted_bundle: Path, tmp_path: Path
) -> None:
    """One version serves from S3; six successors fail, each with the place, the reason and what is allowed in
    its one line; after each the same question gets the same answer from the same process.
    """
    good = push(bucket, parted_bundle, S3Location(BUCKET, "versions"))
    model = json.loads((parted_bundle / "bundle.json").read_text())["name"]
    other_format = Path(shutil.copytree(parted_bundle, tmp_path / "other"))
    fields = json.loads((other_format / "bundle.json").read_text())
    del fields["seal"]
    bucket.put_object(Bucket=BUCKET, Key="format-2/bundle.json", Body=sealed({**fields, "format": 2}))
    corrupt = push(bucket, parted_bundle, S3Location(BUCKET, "corrupt"))
    weights = (parted_bundle / "model.onnx.data").read_bytes()
    bucket.put_object(Bucket=BUCKET, Key=corrupt.key("model.onnx.data"), Body=b"!" + weights[1:])
    failures = {
        "s3://no-such-bucket-here/bundles/tiny": "there is no bucket no-such-bucket-here",
        f"s3://{BUCKET}/no/such/bundle": f"not in the bucket {BUCKET}; `python -m infra.bundles` puts",
        "s3://Not_A_Bucket/tiny": "must be s3://bucket/prefix: a bucket of 3 to 63 small letters",
        f"s3://{BUCKET}/format-2": "format 2 is not supported, this version reads format 1",
        str(corrupt): "model.onnx.data, bytes 0 to 4095: the part: sha256",
        str(tmp_path / "nowhere"): "not found; a bundle is a folder made by `make bundle`",
    }
    with version(good) as old:
        before = answer(old, model)
        for location, reason in failures.items():
            with version(location) as new:
                # Attempts, and how far it is, are told of meanwhile; the refusal is the last line.
                *told, refusal = await_end(new)
                assert all("asked for again" in line or " MiB, " in line for line in told), told
                assert refusal.startswith("dormouse: ")
                assert location in refusal
                assert reason in refusal
            assert answer(old, model) == before
        assert old.process.poll() is None


def test_a_server_that_does_not_answer_is_given_up(version: Start) -> None:
    """Nobody at the endpoint: so many attempts, then one line."""
    with version("s3://models/tiny", AWS_ENDPOINT_URL_S3=UNANSWERED) as new:
        (line,) = await_end(new)
    assert re.search(r"s3://models/tiny/bundle.json: the transfer broke off .* 5 times in a row", line)


def test_no_credentials_are_a_reason(version: Start) -> None:
    """A function without a role says so."""
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nonexistent"}
    with version("s3://models/tiny", **none) as new:
        (line,) = await_end(new)
    assert "s3://models/tiny/bundle.json: S3 cannot be asked: Unable to locate credentials" in line


def policed(url: str, policy: dict[str, Any]) -> dict[str, str]:
    """Have moto judge every call by the caller's policies; give the keys of a user that has this one."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    iam = boto3.client("iam", endpoint_url=url, region_name="us-east-1", **keys)
    iam.create_user(UserName="function")
    iam.put_user_policy(UserName="function", PolicyName="bundle", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName="function")["AccessKey"]
    plain = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", plain)).close()
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
    }


def test_the_permission_in_the_template_is_enough_and_no_more(
    version: Start, parted_bundle: Path, tmp_path: Path
) -> None:
    """With the template's very policy, the bundle that it is for is served, as is the version before it;
    another bucket is denied, and the line says which permission is missing.
    """
    model = json.loads((parted_bundle / "bundle.json").read_text())["name"]
    with dynamodb.moto(tmp_path / "moto") as url:
        server = client(url)
        for name in (BUCKET, "others"):
            server.create_bucket(Bucket=name)
        mine, before = (push(server, parted_bundle, S3Location(BUCKET, name)) for name in ("mine", "before"))
        theirs = push(server, parted_bundle, S3Location("others", "theirs"))
        keys = policed(url, bundle_policy(str(mine)))
        for allowed in (mine, before):
            with version(allowed, **keys) as served:
                assert answer(served, model)
        with version(theirs, **keys) as denied:
            (line,) = await_end(denied)
    assert f"{theirs}/bundle.json: access denied: the role needs s3:GetObject on {theirs}/*" in line
