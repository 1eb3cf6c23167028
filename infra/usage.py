"""Usage plans of API Gateway: one counter a tenant. Knows no bearer keys.

API Gateway counts under a key of its own, whose value the authorizer names; no caller ever sends it.
Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-api-key-source.html
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def usage_key(gateway: Any, tenant: str, plan: str) -> str:
    """The value of this tenant's counter in this plan; it is made where there is none.

    `gateway` is boto3's client of apigateway. Raises: what that client raises.
    """
    counter = _counter(gateway, f"{plan}/{tenant}")
    # Each time: whoever made the counter may have been stopped before this. A conflict says that it is tied.
    with suppress(gateway.exceptions.ConflictException):
        gateway.create_usage_plan_key(usagePlanId=plan, keyId=counter["id"], keyType="API_KEY")
    return str(counter["value"])


def _counter(gateway: Any, name: str) -> Mapping[str, Any]:
    pages = gateway.get_paginator("get_api_keys").paginate(nameQuery=name, includeValues=True)
    for found in (each for page in pages for each in page["items"]):
        if found["name"] == name:  # nameQuery finds what begins with it, too
            return dict(found)
    return dict(gateway.create_api_key(name=name, enabled=True))
