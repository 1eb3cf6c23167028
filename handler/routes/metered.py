"""Work that uses tokens: begun with the tenant's allowance at hand, counted when it is over, however it ends.

A stream is counted after its last byte, so that nobody waits for it, or when its client hangs up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from pydantic import BaseModel

from handler.chat.budget import Caller
from handler.chat.ledger import Ledger
from handler.routes.answers import Bytes, Headed, Stream, rate_limit_headers


def metered(ledger: Ledger, caller: Caller, work: Callable[[Caller], BaseModel | Stream | Headed]) -> Headed:
    """Do the work; say in the answer's headers what was left before it. Raises: what the work raises."""
    tenant = caller.tenant
    # Read within the work, once: an attempt that fails of it has to say so.
    caller = replace(caller, allowance=cache(lambda: ledger.allowance(tenant)))
    try:
        made = work(caller)
    except BaseException:
        ledger.settle(caller)
        raise
    result, headers = (made.result, made.headers) if isinstance(made, Headed) else (made, {})
    if isinstance(result, Stream):
        result = Stream(_counted(ledger, caller, result.body))
    else:
        ledger.settle(caller)
    if (left := caller.allowance()) is not None:
        headers = headers | rate_limit_headers(left.limit_tokens, left.remaining_tokens, left.reset_s)
    return Headed(result, headers)


def _counted(ledger: Ledger, caller: Caller, body: Bytes) -> Bytes:
    try:
        yield from body
    finally:
        ledger.settle(caller)
