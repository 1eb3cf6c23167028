"""A turn's one write, made smaller where it would be too large. Knows no store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from handler.errors import TooLarge
from handler.sessions import StoredResponse

T = TypeVar("T")


def written(write: Callable[..., T], response: StoredResponse) -> T:
    """Write a turn; without its log-probabilities where they are too many for the store: better than no turn.

    A response that goes on has none from then on, rather than those of its rest.
    """
    try:
        return write(response=response)
    except TooLarge:
        return write(response=_without_logprobs(response))


def _without_logprobs(response: StoredResponse) -> StoredResponse:
    output = [_bare(item) for item in response.body["output"]]
    state = {**response.state, "top_logprobs": None}
    return dataclasses.replace(response, body={**response.body, "output": output}, state=state)


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] != "message":
        return item
    return {**item, "content": [{**part, "logprobs": []} for part in item["content"]]}
