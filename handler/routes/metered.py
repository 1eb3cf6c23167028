"""Work that uses tokens: begun with the tenant's allowance at hand, counted when it is over, however it ends.

A stream is counted after its last byte, so that nobody waits for it, or when its client hangs up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from handler.chat.budget import Caller
from handler.chat.ledger import Ledger
from handler.routes.answers import Bytes, Headed, Result, Stream, rate_limit_headers


def metered(ledger: Ledger, caller: Caller, work: Callable[[Caller], Result]) -> Result | Headed:
    """Do the work; say in the answer's headers what was left before it. Raises: what the work raises."""
    allowance = ledger.allowance(caller.tenant)
    caller = replace(caller, allowance=allowance)
    try:
        result = work(caller)
    except BaseException:
        ledger.settle(caller)
        raise
    if isinstance(result, Stream):
        result = Stream(_counted(ledger, caller, result.body))
    else:
        ledger.settle(caller)
    if allowance is None:
        return result
    facts = (allowance.limit_tokens, allowance.remaining_tokens, allowance.reset_s)
    return Headed(result, rate_limit_headers(*facts))


def _counted(ledger: Ledger, caller: Caller, body: Bytes) -> Bytes:
    try:
        yield from body
    finally:
        ledger.settle(caller)
