"""One call of DynamoDB, GetItem, signed by hand: importing boto3 costs six times as much as all else here.

Credentials are those that Lambda puts into the environment; knows no keys.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

from infra.authorizer.connection import Connection, Unreachable

CONTENT_TYPE = "application/x-amz-json-1.0"
TARGET = "DynamoDB_20120810.GetItem"


class ItemReader:
    """Reads rows of one table by their key `id`, strongly consistent."""

    def __init__(self, table: str, endpoint: str, environment: Mapping[str, str]) -> None:
        self._connection = Connection(endpoint)
        self._table, self._environment = table, environment

    def get(self, key_id: str) -> dict[str, Any] | None:
        """The row with plain values, or None. Raises: Unreachable."""
        request = {"TableName": self._table, "Key": {"id": {"S": key_id}}, "ConsistentRead": True}
        body = json.dumps(request).encode()

        def headers() -> dict[str, str]:
            return signed_headers(self._connection.host, body, self._environment, time.time())

        status, said = self._connection.post(body, headers)
        if status != 200:
            raise Unreachable(f"{self._table} cannot be read: {said[:300].decode('utf-8', 'replace')}")
        item = json.loads(said).get("Item")
        return None if item is None else {name: _plain(value) for name, value in item.items()}


def signed_headers(host: str, body: bytes, environment: Mapping[str, str], now_s: float) -> dict[str, str]:
    """Sign a GetItem with Signature Version 4."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    headers = {"content-type": CONTENT_TYPE, "host": host, "x-amz-date": moment, "x-amz-target": TARGET}
    if token := environment.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(body).hexdigest()])
    scope = [moment[:8], environment["AWS_REGION"], "dynamodb", "aws4_request"]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, "/".join(scope), digest])
    key = b"AWS4" + environment["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    credential = "/".join([environment["AWS_ACCESS_KEY_ID"], *scope])
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _plain(value: Mapping[str, str]) -> str | int | None:
    """A text or a whole number; other types are not in this table."""
    return int(value["N"]) if "N" in value else value.get("S")
