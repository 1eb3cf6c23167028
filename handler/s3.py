"""A bundle's objects in S3: ranges of bytes, and S3's answers as reasons that an operator can act on.

The only file that speaks S3. Its client is its own and is closed with it, so that no connection, and no
credentials' either, outlives the load. Imported only where a location is in S3.
"""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore import exceptions
from botocore.config import Config
from urllib3.exceptions import HTTPError

from handler.errors import BundleError
from handler.location import S3Location
from handler.transfer import CONNECTIONS, Interrupted

if TYPE_CHECKING:
    from botocore.response import StreamingBody

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0
"""Of silence."""

SLOWEST_BYTES_PER_S = 256 << 10
PATIENCE_S = 10.0
"""A part that falls behind this speed for longer is asked for again, on another connection."""

BLOCK_BYTES = 64 << 10
"""Between two looks at the clock; urllib3 waits for all of it."""

BROKEN = (  # connections, not requests: another attempt may help
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    exceptions.ResponseStreamingError,
    HTTPError,  # which botocore leaves as it is while a body is read: a damaged TLS record
    OSError,
)
WEATHER = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "OperationAborted"}
"""Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""

RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class S3Objects:
    """The objects under one prefix (`handler.transfer.Objects`); safe to use from several threads."""

    def __init__(self, location: S3Location, patience_s: float = PATIENCE_S) -> None:
        """Make the client; nothing is connected yet. AWS_ENDPOINT_URL_S3 names another server than AWS's."""
        self._patience_s = patience_s
        self.where, self._location = str(location), location
        self._versions: dict[str, str] = {}  # name -> ETag, of the first answer
        self._lock = threading.Lock()
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},  # repeated above, part by part
            max_pool_connections=CONNECTIONS,
            response_checksum_validation="when_required",  # every byte is hashed above
        )
        with self._translated(""):
            session = botocore.session.get_session()
            self._client: Any = session.create_client("s3", config=config)

    def read(self, name: str) -> bytes:
        """Give an object whole. Raises: Interrupted; BundleError."""
        with self._translated(name):
            answer = self._client.get_object(Bucket=self._location.bucket, Key=self._location.key(name))
            return cast(bytes, answer["Body"].read())

    def read_into(self, part: memoryview, name: str, start: int, size_bytes: int) -> None:
        """Fill `part` from one range. Raises: Interrupted; BundleError, also when the object was replaced."""
        pinned = self._versions.get(name)
        with self._translated(name):
            answer = self._client.get_object(
                Bucket=self._location.bucket,
                Key=self._location.key(name),
                Range=f"bytes={start}-{start + len(part) - 1}",
                **({"IfMatch": pinned} if pinned else {}),
            )
            try:
                self._check_range(name, answer, start, size_bytes)
                self._fill(part, answer["Body"])
            finally:
                answer["Body"].close()

    def close(self) -> None:
        """Let go of all connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            del client
            gc.collect()  # a botocore session is a cycle, and holds the connection its credentials came by

    def _check_range(self, name: str, answer: dict[str, Any], start: int, size_bytes: int) -> None:
        found = RANGE.fullmatch(answer.get("ContentRange", ""))
        if found is None or int(found[1]) != start:
            raise Interrupted("other bytes came than were asked for")
        with self._lock:
            version = self._versions.setdefault(name, answer["ETag"])
        if version != answer["ETag"]:
            raise self._replaced(name)
        if int(found[2]) != size_bytes:
            raise BundleError(f"{self.where}/{name}: {found[2]} bytes, should be {size_bytes}")

    def _fill(self, part: memoryview, body: StreamingBody) -> None:
        """Read until the part is full. Raises: Interrupted when it ends before, or takes too long."""
        began_s, filled = time.monotonic(), 0
        while filled < len(part):
            count = body.readinto(cast(Any, part[filled : filled + BLOCK_BYTES]))
            if not count:
                raise Interrupted(f"it ended after {filled} of {len(part)} bytes")
            filled += count
            elapsed_s = time.monotonic() - began_s
            if elapsed_s > self._patience_s + filled / SLOWEST_BYTES_PER_S:
                raise Interrupted(f"it was too slow: {filled} of {len(part)} bytes in {elapsed_s:.1f} s")

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except exceptions.ClientError as error:
            raise self._translation(error, name) from error
        except BROKEN as error:
            raise Interrupted(f"the transfer broke off ({type(error).__name__})") from error
        except (exceptions.BotoCoreError, ValueError) as error:  # no credentials, a wrong endpoint
            raise BundleError(f"{self.where}/{name}: S3 cannot be asked: {error}") from error

    def _translation(self, error: Any, name: str) -> Exception:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status >= 500 or code in WEATHER:
            return Interrupted(f"S3 answered {status} {code}")
        if status == 412:
            return self._replaced(name)
        bucket = self._location.bucket
        reasons = {
            "NoSuchBucket": f"there is no bucket {bucket}",
            "NoSuchKey": f"not in the bucket {bucket}; `python -m infra.bundles` puts a bundle there",
            "AccessDenied": f"access denied: the role needs s3:GetObject on {self.where}/*, "
            "and the object has to be there",
            "InvalidRange": "shorter than the manifest says",
        }
        reason = reasons.get(code, f"S3 refuses with {status} {code}")
        return BundleError(f"{self.where}/{name}: {reason}")

    def _replaced(self, name: str) -> BundleError:
        return BundleError(
            f"{self.where}/{name}: replaced while it was loaded; give every version a prefix of its own"
        )
