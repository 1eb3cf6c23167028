"""What AWS lets an account do unless it asks for more, and what the stack's own parameters let through.

Knows no traffic. Each has its source; those of the template are compared with it by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Measure = Literal[
    "requests a day",
    "requests/s",
    "concurrency",
    "writes/s",
    "reads/s",
    "one tenant's writes/s",
    "one counter's writes/s",
]


@dataclass(frozen=True)
class Limit:
    """So much of a measure, and no more."""

    name: str
    measure: Measure
    value: float
    source: str
    raised_by: str


_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"
_GATEWAY = "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"
_TABLE = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"
_NEW_TABLE = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html"
_PARTITION = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"
_TEMPLATE = "../template.yaml"

PARTITION_WRITES, PARTITION_READS, PARTITION_GB = 1000.0, 3000.0, 10.0
ENVIRONMENTS_PER_10_S = 1000
"""How fast one function may grow.
Source: https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html
"""

_A_DAY = "pre-warming the table, or growing over a day"
_SPLIT = "more tenants, or DynamoDB's own split for heat"
_ONE_ROW = "more tenants; nothing splits one row"
_QUOTA = "a quota request"

LIMITS = (
    Limit("stack: RequestsPerDay", "requests a day", 10_000, _TEMPLATE, "the parameter"),
    Limit("stack: RequestsPerSecond", "requests/s", 10, _TEMPLATE, "the parameter"),
    Limit("Lambda: concurrent executions", "concurrency", 1_000, _LAMBDA, _QUOTA),
    Limit("API Gateway: requests of an account", "requests/s", 10_000, _GATEWAY, _QUOTA),
    Limit("DynamoDB: a new on-demand table", "writes/s", 4_000, _NEW_TABLE, _A_DAY),
    Limit("DynamoDB: writes of a table", "writes/s", 40_000, _TABLE, _QUOTA),
    Limit("DynamoDB: reads of a table", "reads/s", 40_000, _TABLE, _QUOTA),
    Limit("DynamoDB: a tenant's partition", "one tenant's writes/s", PARTITION_WRITES, _PARTITION, _SPLIT),
    Limit("DynamoDB: a tenant's counter", "one counter's writes/s", PARTITION_WRITES, _PARTITION, _ONE_ROW),
)
