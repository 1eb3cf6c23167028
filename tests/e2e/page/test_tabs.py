"""The page in several tabs of one browser: what is set or said in one reaches the others."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e.page.chat_page import ChatPage

STORED_KEY = "localStorage.getItem('dormouse.key')"


def another_tab(chat: ChatPage) -> ChatPage:
    """Open the page once more, where the first tab is."""
    page = chat.page.context.new_page()
    page.goto(chat.page.url)
    return ChatPage(page, chat.address)


def test_a_key_kept_in_one_tab_outlives_the_other(open_page: Callable[..., ChatPage]) -> None:
    """The tab that was open before has the key, too, and its next change of anything leaves the key kept."""
    first = open_page()
    second = another_tab(first)
    first.page.evaluate("change({ key: 'sk-test', remember: true })")
    second.page.wait_for_function("settings.key === 'sk-test'")
    second.button("Switch between light and dark").click()
    assert first.page.evaluate(STORED_KEY) == '"sk-test"'
    expect(first.page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_key_no_longer_kept_stays_where_it_is_in_use(open_page: Callable[..., ChatPage]) -> None:
    """Other tabs go on with it until they are closed, and do not keep it again."""
    first = open_page()
    first.page.evaluate("change({ key: 'sk-test', remember: true })")
    second = another_tab(first)
    first.page.evaluate("change({ remember: false })")
    second.page.wait_for_function("!settings.remember")
    second.button("Switch between light and dark").click()
    assert first.page.evaluate(STORED_KEY) is None
    second.page.reload()
    assert second.page.evaluate("settings.key") == "sk-test"


def test_what_was_said_elsewhere_is_there_on_coming_back(open_page: Callable[..., ChatPage]) -> None:
    """What another tab has added is shown, and what is being written stays in the box."""
    first = open_page()
    first.ask("Hello!")
    second = another_tab(first)
    second.ask("Said in another tab")
    first.box.fill("In the making")
    first.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(first.users).to_have_text(["You said: Hello!", "You said: Said in another tab"])
    expect(first.answers).to_have_count(2)
    expect(first.box).to_have_value("In the making")
