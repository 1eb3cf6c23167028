"""Where a page of a list ends: at a number of things or of bytes, whichever comes first.

So neither this process nor Lambda's 6 MB of a buffered answer limits how much a conversation may hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TypeVar

from pydantic import BaseModel

from handler.chat.translate import shown
from handler.schema.items import ItemList, ShownItem, item_list
from handler.sessions import Item

T = TypeVar("T", bound=BaseModel)

PAGE_BYTES = 4_000_000
"""As they stand in Lambda's answer, where the whole page is one JSON string, escaped once more.
Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


def size_bytes(*parts: BaseModel) -> int:
    """What these take in a page."""
    return sum(len(json.dumps(part.model_dump_json(), ensure_ascii=False).encode()) for part in parts)


def items_page(
    items: Iterable[Item], *, has_more: bool, show: Callable[[Item], ShownItem] = shown
) -> ItemList:
    """Make a page of as many of these as it holds; `has_more`: others follow all of these."""
    taken, is_cut = page_of(map(show, items))
    return item_list(taken, has_more=is_cut or has_more)


def page_of(parts: Iterable[T]) -> tuple[list[T], bool]:
    """Give as many of these as a page holds, one at least, and whether there are more of them."""
    taken, taken_bytes = list[T](), 0
    for each in parts:
        taken_bytes += size_bytes(each)
        if taken and taken_bytes > PAGE_BYTES:
            return taken, True
        taken.append(each)
    return taken, False
