"""The page as its visitor sees it: what can be read and done on it, by role and by name."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from playwright.sync_api import Locator, Page, expect


class ChatPage:
    """One open page, and a second, independent way to its server for checking what was kept."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self._line = page.context.new_cdp_session(page)
        self.box = page.locator("#ask")
        self.users = page.locator(".user")
        self.answers = page.locator(".bot")
        self.receipts = page.locator(".receipt summary")
        self.trouble = page.locator(".trouble")

    def button(self, name: str) -> Locator:
        """Find a button by its accessible name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def send(self, text: str) -> None:
        """Type a message and send it with Enter, without waiting for the answer."""
        self.box.fill(text)
        self.box.press("Enter")

    def ask(self, text: str) -> str:
        """Send a message and return the whole answer."""
        before = self.answers.count()
        self.send(text)
        expect(self.answers).to_have_count(before + 1)
        return self.wait_for_answer()

    def wait_for_answer(self) -> str:
        """Wait until nothing is being written and return the last answer."""
        expect(self.page.locator("#send")).to_be_visible()
        last = self.answers.last
        expect(last.locator(".receipt")).to_be_visible()
        return last.locator(".text").inner_text()

    def wait_for_first_words(self) -> None:
        """Wait until an answer has begun to appear."""
        expect(self.page.locator(".bot.writing")).to_be_visible()

    def limit_answer(self, tokens: int) -> None:
        """Set the longest answer, in tokens, as the settings dialog would."""
        self.page.evaluate(f"change({{max_output_tokens: {tokens}}})")

    def slow_down(self, bytes_per_s: int) -> None:
        """Put the page behind a slow line, so that an answer takes its time."""
        self._network(offline=False, bytes_per_s=bytes_per_s)

    def go_offline(self, offline: bool = True) -> None:
        """Cut the line, or mend it."""
        self._network(offline=offline, bytes_per_s=-1)

    def _network(self, *, offline: bool, bytes_per_s: int) -> None:
        self._line.send("Network.enable")
        conditions = {
            "offline": offline,
            "latency": 0,
            "downloadThroughput": bytes_per_s,
            "uploadThroughput": -1,
        }
        self._line.send("Network.emulateNetworkConditions", conditions)

    @property
    def conversation(self) -> str:
        """The id in the address."""
        return self.page.evaluate("location.hash.slice(1)")

    def kept(self, conversation: str | None = None) -> list[tuple[str, str]]:
        """What the server has kept of a conversation: (role, text), oldest first."""
        path = f"v1/conversations/{conversation or self.conversation}/items?order=asc&limit=100"
        items = self.server("GET", path)["data"]
        return [(item["role"], "".join(part["text"] for part in item["content"])) for item in items]

    def server(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server past the page."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def wait_until_erased(self, conversation: str) -> None:
        """Wait until the server no longer has a conversation."""
        deadline = time.monotonic() + 30
        while self.is_kept(conversation):
            assert time.monotonic() < deadline, "the conversation is still there"
            time.sleep(0.05)

    def is_kept(self, conversation: str) -> bool:
        """Whether the server still has a conversation."""
        try:
            self.server("GET", f"v1/conversations/{conversation}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True
