"""A conversation taken out whole: every item that it shows, a fork's ancestors' included.

A page ends where `pages` says, with the responses that its items belong to.
"""

from __future__ import annotations

from dataclasses import dataclass

from handler.chat.erasure import checked
from handler.chat.pages import PAGE_BYTES, size_bytes
from handler.chat.translate import conversation_object, shown
from handler.errors import NotFound
from handler.schema.export import ConversationExport, ExportedItem, ExportedResponse
from handler.sessions import Conversation, Item, SessionStore

ITEMS_PER_READ = 20


@dataclass(frozen=True)
class Exports:
    """`GET /v1/conversations/{conversation_id}/export`."""

    store: SessionStore

    def page(self, tenant: str, conversation_id: str, limit: int, after: int) -> ConversationExport:
        """Read what follows the item with the number `after`, oldest first. Raises: NotFound."""
        head = self.store.get(tenant, conversation_id)
        page = ConversationExport(
            conversation=conversation_object(head),
            data=[],
            responses=[],
            incomplete=False,
            last_seq=min(after, head.last_seq),
            has_more=False,
        )
        taken_bytes = 0
        while page.last_seq < head.last_seq and len(page.data) < limit and taken_bytes < PAGE_BYTES:
            upto = min(page.last_seq + min(ITEMS_PER_READ, limit - len(page.data)), head.last_seq)
            for item in self._between(tenant, head, page, upto):
                exported, responses = _exported(item), self._responses(tenant, item, page)
                more_bytes = size_bytes(exported, *responses)
                if page.data and taken_bytes + more_bytes > PAGE_BYTES:
                    page.has_more = True
                    return page
                page.data.append(exported)
                page.responses += responses
                page.last_seq = item.seq
                taken_bytes += more_bytes
            page.last_seq = upto
        page.has_more = page.last_seq < head.last_seq
        return page

    def _between(self, tenant: str, head: Conversation, page: ConversationExport, upto: int) -> list[Item]:
        """Read the items after the page's last one, up to a number; some may be deleted."""
        window = self.store.window(tenant, head, max_items=upto - page.last_seq, upto_seq=upto)
        page.incomplete = page.incomplete or window.incomplete
        return [item for item in window.items if item.seq > page.last_seq]

    def _responses(self, tenant: str, item: Item, page: ConversationExport) -> list[ExportedResponse]:
        """Read the response that an item belongs to, unless it is in the page already, or gone."""
        if item.response_id is None or any(item.response_id == each.response_id for each in page.data):
            return []
        try:
            stored = self.store.response(tenant, item.response_id)
            stored = checked(self.store, tenant, stored, (each.seq for each in page.data))
        except NotFound:
            return []
        return [ExportedResponse(response=dict(stored.body), state=dict(stored.state))]


def _exported(item: Item) -> ExportedItem:
    return ExportedItem(
        seq=item.seq,
        created_at=item.created_at_s,
        response_id=item.response_id,
        continues=item.continues,
        token_ids=list(item.token_ids),
        sampling=dict(item.sampling),
        item=shown(item),
    )
