"""What AWS asks for what a stack uses, in US dollars, us-east-1, without free tiers and discounts.

The one place for prices: the report of a day, the sizing and the capacity plan read them here. Lambda's two
are the handler's, which makes receipts with them. Knows nothing of logs or plans.
Source: https://aws.amazon.com/lambda/pricing/, https://aws.amazon.com/api-gateway/pricing/,
https://aws.amazon.com/dynamodb/pricing/on-demand/, https://aws.amazon.com/cloudwatch/pricing/ and, for data
transfer, https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handler.prices import GB_SECOND_USD, REQUEST_USD

AS_OF = "2026-11"
"""When these were last compared with AWS's lists."""

Tiers = Sequence[tuple[float, float]]
"""(up to this many a month, USD each), the last one up to infinity."""

INFINITE = float("inf")
GB_S = {
    "x86_64": ((6e9, GB_SECOND_USD), (15e9, 0.000015), (INFINITE, 0.0000133334)),
    "arm64": ((7.5e9, 0.0000133334), (18.75e9, 0.0000120001), (INFINITE, 0.0000106667)),
}
REQUEST = REQUEST_USD
GATEWAY_REQUEST = ((333e6, 3.5e-6), (1e9, 2.8e-6), (20e9, 2.38e-6), (INFINITE, 1.51e-6))
"""REST APIs; a streamed answer is one request for each 10 MB."""

SNAPSHOT_GB_S = 0.0000015046
"""A published version with SnapStart, for each second that it is there, whether called or not."""

RESTORED_GB = 0.0001397998
WRITE_UNIT, READ_UNIT = 0.625e-6, 0.125e-6
STORED_GB_MONTH, BACKUP_GB_MONTH = 0.25, 0.20  # the second is point-in-time recovery
LOG_GB = 0.50
LOG_EVENT_BYTES = 26
"""CloudWatch Logs adds so much to every line."""

SENT_GB = 0.09
ALARM_MONTH, DASHBOARD_MONTH = 0.10, 3.00
FREE_ALARMS, FREE_DASHBOARDS = 10, 3
"""Of an account, each month, in CloudWatch's free tier."""


@dataclass(frozen=True)
class HostedModel:
    """A model that somebody else runs: US dollars for a million tokens."""

    name: str
    input_usd: float
    output_usd: float
    source: str
    as_of: str


_BEDROCK = "https://aws.amazon.com/bedrock/pricing/"
_OPENAI = "https://platform.openai.com/docs/pricing"
HOSTED = (
    HostedModel("Amazon Nova Micro on Bedrock", 0.035, 0.14, _BEDROCK, "2026-04"),
    HostedModel("OpenAI gpt-5-nano", 0.05, 0.40, _OPENAI, "2026-06"),
)
"""Small models at the lowest public prices; `as_of` is when the price was seen in print."""


def tiered(amount: float, tiers: Tiers) -> float:
    """What a month's amount costs where more costs less each, USD."""
    cost = below = 0.0
    for limit, price in tiers:
        cost += max(0.0, min(amount, limit) - below) * price
        below = limit
    return cost


def compute(gb_s: float, architecture: str = "x86_64") -> float:
    """What so many GB-seconds cost in the first tier, USD."""
    return gb_s * GB_S[architecture][0][1]
