"""A real browser before a real server, and a guard over every page that is opened in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.page.chat_page import ChatPage
from tests.e2e.page.chromium import launch
from tests.e2e.server import Server

PATIENCE_MS = 30_000


@pytest.fixture(scope="session")
def address(tiny_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address on a real server. Its model has random weights: it talks noise, but at length."""
    folder = tmp_path_factory.mktemp("page-server")
    with Server(tiny_bundle(), folder / "sessions.sqlite3", folder / "log") as server:
        yield server.url + "/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: Playwright keeps an event loop running, which other modules must not meet."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., ChatPage]]:
    """Open the page as a new visitor; it must stay silent: no error, nothing asked of another host."""
    contexts = []
    complaints: list[str] = []

    def watch(page: Page, expected: str) -> None:
        def on_console(message: Any) -> None:
            if message.type in ("error", "warning") and not (expected and expected in message.text):
                complaints.append(f"console: {message.text}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on(
            "request", lambda request: complaints.append(request.url) if _is_foreign(request.url) else None
        )

    def _is_foreign(url: str) -> bool:
        return not url.startswith((address, "data:"))

    def open_(
        fragment: str = "", *, expected: str = "", size: tuple[int, int] = (1280, 800), **options: Any
    ) -> ChatPage:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, **{"locale": "en-US", **options})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        watch(page, expected)
        page.goto(address + fragment)
        return ChatPage(page, address)

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
