"""What a request asks of the table of conversations, in DynamoDB's request units.

Counted by a test from the calls that the handler really sends (tests/contract/infra/test_table_units.py), for
short messages in a conversation that has begun; text beyond a kilobyte costs more. Knows no prices.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Units:
    """Request units: a write is 1 KB (a transaction's counts double), a read 4 KB, strongly consistent."""

    writes: float
    reads: float


STORED_ANSWER = Units(writes=21, reads=3)
"""A turn: two messages, a response, its claim, the tenant's counter."""

STATELESS_ANSWER = Units(writes=1, reads=0)
"""A chat completion: the tenant's counter alone."""

IN_TENANTS_PARTITION = 5
"""Of a stored answer's writes those that share one partition key with all others of their tenant: its claim,
taken and settled, and the counter. The rest lie under the conversation's own key and the response's.
"""

STORED_ROUTES = frozenset({"/v1/responses"})


def of_answers(stored: float, stateless: float) -> Units:
    """All that so many answers ask for."""
    return Units(
        stored * STORED_ANSWER.writes + stateless * STATELESS_ANSWER.writes,
        stored * STORED_ANSWER.reads + stateless * STATELESS_ANSWER.reads,
    )
