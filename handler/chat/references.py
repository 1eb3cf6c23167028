"""Items of an answer by their ids: how they are named, and what is read where a client names one.

An item bears the id of the response that it is a part of, so that no index has to lead from the one to the
other. Items of any other origin cannot be referred to. Knows nothing of how an answer is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

from handler.errors import NotFound
from handler.schema.items import InputItem, ItemReference, OutputItem, ToldItem
from handler.schema.responses import ResponseObject
from handler.sessions import SessionStore


def item_id(prefix: str, response_id: str, place: int) -> str:
    """Name an item of an answer: `msg_…_0` begins that of `resp_…`."""
    return f"{prefix}_{response_id.removeprefix('resp_')}_{place}"


def resolved(
    store: SessionStore,
    tenant: str,
    given: Sequence[InputItem],
    where: str,
    check_time: Callable[[], None] = lambda: None,
) -> Iterator[ToldItem | OutputItem]:
    """Put items in the places of references to them; each response is read once, after `check_time`.

    Raises: NotFound, of the reference in the request's `where`; what `check_time` raises.
    """

    @cache
    def answer(response_id: str) -> dict[str, OutputItem]:
        check_time()
        try:
            body = store.response(tenant, response_id).body
        except NotFound:
            return {}
        return {item.id: item for item in ResponseObject.stored(body).output}

    for at, item in enumerate(given):
        if not isinstance(item, ItemReference):
            yield item
            continue
        found = answer(_response_id(item.id)).get(item.id)
        if found is None:
            raise NotFound(
                f"There is no item {item.id[:64]!r} of an answer that is kept; tell it whole.",
                param=f"{where}[{at}].id",
            )
        yield found


def _response_id(item_id: str) -> str:
    _, _, rest = item_id.partition("_")
    return f"resp_{rest.rpartition('_')[0]}"
