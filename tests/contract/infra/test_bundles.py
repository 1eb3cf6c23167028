"""`python -m infra.bundles`: versions of a bundle lie side by side in S3, each where its location says."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.engine.bundle import read_manifest, write_manifest
from infra import bundles
from tests.dynamodb import CREDENTIALS

BUCKET = "pushed"


@pytest.fixture
def s3(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Boto3's client; the bucket is there, and the command's environment is the server's."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": moto_endpoint}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def pushed(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Push; the location is all that is printed."""
    assert bundles.main(["push", str(folder), f"s3://{BUCKET}/bundles/"]) == 0
    (location,) = capsys.readouterr().out.splitlines()
    return location


def objects(s3: Any, location: str) -> dict[str, bytes]:
    """What lies under a location, by its name there."""
    prefix = location.removeprefix(f"s3://{BUCKET}/") + "/"
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
    return {
        each["Key"].removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        for each in listed
    }


def test_versions_lie_side_by_side(
    s3: Any, tiny_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two versions have two locations under the model's name, and each has exactly its folder's files."""
    first = tiny_bundle()
    second = Path(shutil.copytree(first, tmp_path / "second"))
    write_manifest(second, dataclasses.replace(read_manifest(second), created="2026-12-01T00:00:00+00:00"))
    locations = [pushed(folder, capsys) for folder in (first, second)]
    assert len(set(locations)) == 2
    for folder, location in zip((first, second), locations, strict=True):
        assert location.startswith(f"s3://{BUCKET}/bundles/tiny-llama/")
        files = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        assert objects(s3, location) == files


def test_pushing_again_writes_nothing(
    s3: Any, tiny_bundle: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same location, and the objects are those of before."""
    location = pushed(tiny_bundle(), capsys)
    key = location.removeprefix(f"s3://{BUCKET}/") + "/model.onnx"
    before = s3.head_object(Bucket=BUCKET, Key=key)["LastModified"]
    assert bundles.main(["push", str(tiny_bundle()), f"s3://{BUCKET}/bundles"]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == location
    assert told.err == ""
    assert s3.head_object(Bucket=BUCKET, Key=key)["LastModified"] == before


def test_a_name_becomes_part_of_a_location(tiny_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Slashes, blanks and letters of other alphabets give way to what the template's parameter takes."""
    folder = Path(shutil.copytree(tiny_bundle(), tmp_path / "named"))
    for name, part in {"org/My Model 睡鼠": "org-My-Model", "睡鼠": "bundle", "..": "bundle"}.items():
        write_manifest(folder, dataclasses.replace(read_manifest(folder), name=name))
        location = bundles.location_of(folder, bundles.S3Location(BUCKET, ""))
        assert location.prefix.startswith(f"{part}/")
        assert bundles.S3Location.parse(str(location)) == location


def test_what_cannot_be_pushed_is_told_in_one_line(
    s3: Any, tiny_bundle: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No bundle, a damaged one, no such bucket: status 1 and a line, and nothing is uploaded."""
    damaged = Path(shutil.copytree(tiny_bundle(), tmp_path / "damaged"))
    (damaged / "model.onnx.data").write_bytes(b"!" + (damaged / "model.onnx.data").read_bytes()[1:])
    for folder, bucket, reason in (
        (tmp_path / "nowhere", BUCKET, "not found"),
        (damaged, BUCKET, "model.onnx.data: sha256"),
        (tiny_bundle(), "no-such-bucket-here", "NoSuchBucket"),
    ):
        assert bundles.main(["push", str(folder), f"s3://{bucket}/refused"]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        assert line.startswith("bundles: ")
        assert reason in line
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="refused")


def test_a_place_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands for a place has to be one; the message says what is allowed."""
    with pytest.raises(SystemExit):
        bundles.main(["push", str(tmp_path), "https://bucket/prefix"])
    assert "must be s3://bucket/prefix" in capsys.readouterr().err
