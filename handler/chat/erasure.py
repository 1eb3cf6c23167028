"""What else holds an item that is deleted, and what is left of that.

    item deleted       who holds it                             what is left
    any                prompts kept to continue an answer       no prompt: the answer is not continued
    of an answer       its response                             the item without its text
                       the answer's last item, and those that   text, without token ids
                       continue it: ids from the beginning on

Prompts that branches keep are not found from here: `checked` looks whether all they were made of is there.
Knows no store's rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from handler.sessions import Conversation, Item, SessionStore, StoredResponse

PROMPT, HISTORY = "prompt_ids", "history"
"""Fields of a response's state: its prompt, and the numbers of the earlier items that this was made of."""


def copies(
    store: SessionStore, tenant: str, conversation: Conversation, item: Item
) -> Iterator[Item | StoredResponse]:
    """Find what else of a conversation holds one of its items, and give it as it is without."""
    for response in store.responses(tenant, conversation.id):
        left = _without(response, item)
        if left != response:
            yield left
    for follower in _continuing(store, tenant, conversation, item):
        if follower.token_ids:
            yield dataclasses.replace(follower, token_ids=(), sampling={})


def checked(
    store: SessionStore, tenant: str, response: StoredResponse, known: Iterable[int] = ()
) -> StoredResponse:
    """Give a response without its prompt where something that it was made of is gone.

    `known` are the numbers of items that are there.
    """
    if PROMPT not in response.state:
        return response
    seen = set(known)
    left = [seq for seq in _made_of(response) if seq not in seen]
    head = store.get(tenant, response.conversation_id) if left else None
    while head and left:
        found = store.window(tenant, head, max_items=len(left), upto_seq=left[-1]).items
        seen = {item.seq for item in found}
        if left[-1] not in seen:
            return _without_prompt(response)
        left = [seq for seq in left if seq not in seen]
    return response


def _made_of(response: StoredResponse) -> list[int]:
    """List the numbers of the items that a response goes on from, its own included."""
    earlier = response.state.get(HISTORY, range(1, response.first_seq))
    return [*earlier, *range(response.first_seq, response.last_seq + 1)]


def _without(response: StoredResponse, item: Item) -> StoredResponse:
    if PROMPT in response.state and item.seq in _made_of(response):
        response = _without_prompt(response)
    if response.id != item.response_id:
        return response
    output = [_emptied(each) if each["id"] == item.id else each for each in response.body["output"]]
    if output == response.body["output"]:
        return response
    facts = response.body.get("dormouse")
    told = {"dormouse": {**facts, "explanation": None}} if facts else {}  # it quotes the answer
    return dataclasses.replace(response, body={**response.body, **told, "output": output})


def _without_prompt(response: StoredResponse) -> StoredResponse:
    state = {name: value for name, value in response.state.items() if name != PROMPT}
    return dataclasses.replace(response, state=state)


def _emptied(output: dict[str, Any]) -> dict[str, Any]:
    if output["type"] == "function_call":
        return {**output, "arguments": "{}"}
    return {**output, "content": [{**part, "text": "", "logprobs": []} for part in output["content"]]}


def _continuing(store: SessionStore, tenant: str, conversation: Conversation, item: Item) -> Iterator[Item]:
    """Find the rest of an item's answer, and what goes on with that: it follows without a gap."""
    if item.role != "assistant" and item.type != "function_call":
        return
    last, more = item, True
    while more:
        page = store.items(tenant, conversation.id, after=last.id, order="asc")
        for each in page.data:
            if each.continues != last.id and (
                last.response_id is None or each.response_id != last.response_id
            ):
                return
            last = each
            yield last
        more = page.has_more
