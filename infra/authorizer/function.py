"""What API Gateway asks before it lets a request through: an event with the bearer's key in, a policy out.

API Gateway keeps a policy for as long as template.yaml says, so each speaks of the whole stage. A refusal is
a policy, too, not an error: errors are for keys that could not be checked, and raise an alarm. Refusals are
remembered here for a moment by the key's hash, so that whoever repeats a bad key does not read the table each
time. Nothing here prints a key.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from handler.keys import Key, KeyRecord, Refused, bearer_key, judge
from infra.authorizer.caller import Caller
from infra.authorizer.cognito import CognitoDoor
from infra.authorizer.item import ItemReader

REFUSED_FOR_S = 30.0
REMEMBERED_REFUSALS = 1024

NOBODY = "nobody"


class Door(Protocol):
    """Who may come in?"""

    def admit(self, authorization: str | None) -> Caller:
        """Find out whose request it is by its header. Raises: Refused, Unreachable."""


class KeyDoor:
    """Judges keys by their records, and remembers for a while whom it has refused."""

    def __init__(self, find: Callable[[str], KeyRecord | None], clock: Callable[[], float]) -> None:
        self._find, self._clock = find, clock
        self._refused: dict[str, tuple[float, Refused]] = {}  # oldest first

    def admit(self, authorization: str | None) -> Caller:
        """Find out whose key it is. Raises: Refused, Unreachable."""
        try:
            key = bearer_key(authorization)
        except ValueError:
            raise Refused("malformed") from None
        until_s, refusal = self._refused.get(key.sha256, (0.0, None))
        if refusal is not None and self._clock() < until_s:
            raise refusal
        try:
            record = judge(key, self._find, self._clock())
        except Refused as refused:
            self._remember(key, refused)
            raise
        return Caller(record.tenant, record.id, record.usage_key)

    def _remember(self, key: Key, refused: Refused) -> None:
        self._refused.pop(key.sha256, None)
        self._refused[key.sha256] = (self._clock() + REFUSED_FOR_S, refused)
        if len(self._refused) > REMEMBERED_REFUSALS:
            del self._refused[next(iter(self._refused))]


def policy(effect: Literal["Allow", "Deny"], principal: str, method_arn: str) -> dict[str, Any]:
    """Allow or deny every method of the stage that `method_arn` belongs to."""
    api, stage = method_arn.split("/")[:2]
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": f"{api}/{stage}/*"}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }


def allowed(caller: Caller, method_arn: str, shared_usage_key: str) -> dict[str, Any]:
    """Let this tenant in, and say who it is and under which counter its requests fall."""
    return {
        **policy("Allow", caller.tenant, method_arn),
        "context": {"tenant": caller.tenant, "key": caller.credential},
        "usageIdentifierKey": caller.usage_key or shared_usage_key,
    }


def answer(event: Mapping[str, Any], door: Door, shared_usage_key: str) -> dict[str, Any]:
    """Answer a TOKEN authorizer's event: the same refusal, whatever is wrong. Raises: Unreachable."""
    try:
        caller = door.admit(event.get("authorizationToken"))
    except Refused as refused:
        print(json.dumps({"message": "refused", "reason": refused.reason, "key": refused.key_id}), flush=True)
        return policy("Deny", NOBODY, event["methodArn"])
    return allowed(caller, event["methodArn"], shared_usage_key)


@functools.cache
def door() -> Door:
    """The one of this environment, made when the first key is shown."""
    if pool := os.environ["COGNITO_POOL"]:
        return CognitoDoor(pool, os.environ["COGNITO_ENDPOINT"])
    reader = ItemReader(os.environ["KEYS_TABLE"], os.environ["KEYS_ENDPOINT"], os.environ)

    def find(key_id: str) -> KeyRecord | None:
        row = reader.get(key_id)
        return None if row is None else KeyRecord.from_row(row)

    return KeyDoor(find, time.time)


def lambda_handler(event: Mapping[str, Any], _: Any) -> dict[str, Any]:
    """What Lambda calls."""
    return answer(event, door(), os.environ["USAGE_KEY"])
