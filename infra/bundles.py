"""Bundles in S3, versions side by side: upload one, print its location for the parameter BundleLocation.

    python -m infra.bundles push FOLDER s3://bucket/bundles  ->  s3://bucket/bundles/<name>/<seal>

The seal is a hash over all of a bundle, so that another bundle never has the same location and an old one
stays good to roll back to. The manifest is written last: until then there is no bundle. Knows no stack.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from handler.engine import integrity
from handler.engine.bundle import MANIFEST, read_manifest
from handler.errors import BundleError
from handler.location import S3Location

SEAL_LETTERS = 16


def location_of(folder: Path, above: S3Location) -> S3Location:
    """Where a bundle belongs under a prefix that bundles share. Raises: BundleError."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", read_manifest(folder).name).strip("-.") or "bundle"
    seal = json.loads((folder / MANIFEST).read_bytes())["seal"][:SEAL_LETTERS]
    return S3Location(above.bucket, above.key(f"{name}/{seal}"))


def push(s3: Any, folder: Path, above: S3Location) -> S3Location:
    """Verify a bundle and upload it; one that is there already is left as it is.

    `s3` is boto3's client. Raises: BundleError; what that client raises.
    """
    location, files = location_of(folder, above), read_manifest(folder).files
    integrity.verify(folder, files, files)
    if s3.list_objects_v2(Bucket=location.bucket, Prefix=location.key(MANIFEST)).get("KeyCount"):
        return location
    for name in [*sorted(files), MANIFEST]:
        print(f"bundles: {location}/{name}", file=sys.stderr, flush=True)
        s3.upload_file(str(folder / name), location.bucket, location.key(name))
    return location


def _location(text: str) -> S3Location:
    try:
        return S3Location.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.bundles", description="Model bundles in S3.")
    parser.add_argument("--region", help="AWS region (default: as AWS's tools find it)")
    parser.add_argument("--endpoint", help="another server than AWS's own")
    commands = parser.add_subparsers(required=True, metavar="push")
    pushing = commands.add_parser("push", help="upload a bundle and print its location")
    pushing.add_argument("folder", type=Path, help="folder of the bundle")
    pushing.add_argument("above", type=_location, help="s3://bucket/prefix that bundles share")
    options = parser.parse_args(arguments)
    try:
        s3 = boto3.client("s3", region_name=options.region, endpoint_url=options.endpoint)
        print(push(s3, options.folder, options.above))
    except (BundleError, BotoCoreError, ClientError, S3UploadFailedError, ValueError) as error:
        print(f"bundles: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
