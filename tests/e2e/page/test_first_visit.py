"""What a newcomer finds on the page: a first conversation in steps, and what is to be known of the model."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

TOUR = {
    "en-US": {
        "begin": "See that it remembers",
        "name": "A first conversation",
        "asks": ["My name is Wren.", "What is a cold start?", "What is my name?"],
        "reload": "Reload the page",
        "done": "Done",
    },
    "zh-CN": {
        "begin": "看看它记不记得",
        "name": "第一次对话",
        "asks": ["我叫小雨。", "什么是冷启动？", "我叫什么名字？"],
        "reload": "刷新页面",
        "done": "完成",
    },
}


def begin_tour(chat: Any, locale: str = "en-US") -> Locator:
    """Take the offer of the empty page, and return the steps."""
    chat.limit_answer(8)
    chat.button(TOUR[locale]["begin"]).click()
    return chat.page.get_by_role("region", name=TOUR[locale]["name"])


@pytest.mark.parametrize("locale", TOUR)
def test_the_first_conversation_leads_across_a_reload(open_page: Any, locale: str) -> None:
    """Step by step, with a reload between them, it is one conversation, kept in order; then the steps go."""
    words = TOUR[locale]
    chat = open_page(locale=locale)
    steps = begin_tour(chat, locale)
    first, second, third = words["asks"]
    for number, question in ((1, first), (2, second)):
        expect(steps).to_contain_text(f"{number}/5")
        steps.get_by_role("button", name=question).click()
        chat.wait_for_answer()
    expect(steps).to_contain_text("3/5")
    steps.get_by_role("button", name=words["reload"]).click()
    expect(steps).to_contain_text("4/5")
    expect(chat.answers).to_have_count(2)
    steps.get_by_role("button", name=third).click()
    expect(steps).to_contain_text("5/5")
    assert [text for role, text in chat.kept() if role == "user"] == words["asks"]
    steps.get_by_role("button", name=words["done"]).click()
    expect(steps).to_be_hidden()


def test_the_first_conversation_takes_the_visitors_own_words(open_page: Any) -> None:
    """Whoever writes something else than what is offered is led on all the same."""
    chat = open_page()
    steps = begin_tour(chat)
    chat.ask("I am Juno.")
    expect(steps).to_contain_text("2/5")


def test_a_step_that_is_pressed_twice_is_asked_once(open_page: Any) -> None:
    """While the conversation is still on its way, impatience sends nothing twice, and loses nothing."""
    chat = open_page()
    steps = begin_tour(chat)
    chat.ask("My name is Wren.")
    held: list[Route] = []
    chat.page.route("**/items?*", lambda route: held.append(route))
    with chat.page.expect_request("**/items?*"):
        chat.page.reload()
    steps.get_by_role("button", name="What is a cold start?").dblclick()
    chat.send("Hello!")
    held.pop().continue_()
    asked = ["My name is Wren.", "What is a cold start?"]
    expect(chat.users).to_have_text([f"You said: {text}" for text in asked])
    chat.wait_for_answer()
    assert [text for role, text in chat.kept() if role == "user"] == asked
    expect(chat.box).to_have_value("Hello!")


def test_the_first_conversation_can_be_skipped(open_page: Any) -> None:
    """Skipped by keyboard it is gone, after a reload too, and the message box has the focus."""
    chat = open_page()
    steps = begin_tour(chat)
    expect(steps.get_by_role("button", name="My name is Wren.")).to_be_focused()
    chat.page.keyboard.press("Tab")
    chat.page.keyboard.press("Enter")
    expect(steps).to_be_hidden()
    expect(chat.box).to_be_focused()
    chat.page.reload()
    expect(chat.button("See that it remembers")).to_be_visible()
    expect(steps).to_be_hidden()


def test_the_steps_stay_with_their_conversation(open_page: Any) -> None:
    """Another conversation is not led; back in its own, the steps go on."""
    chat = open_page()
    steps = begin_tour(chat)
    chat.ask("My name is Wren.")
    own = chat.conversation
    chat.button("New conversation").click()
    expect(steps).to_be_hidden()
    chat.ask("Hello!")
    expect(steps).to_be_hidden()
    chat.page.evaluate(f"location.hash = '{own}'")
    expect(steps).to_contain_text("2/5")


def test_the_models_card_is_read_on_the_page(open_page: Any) -> None:
    """The model's name opens its card, tables and all, and the way to a larger model; Escape closes it."""
    chat = open_page()
    opener = chat.page.locator("#foot button")
    opener.click()
    card = chat.page.get_by_role("dialog", name="About the model")
    expect(card.get_by_role("heading", name=re.compile("^tiny-"))).to_be_visible()
    expect(card.get_by_role("row", name=re.compile("^licence"))).to_be_visible()
    expect(card).to_contain_text("make bundle MODEL=")
    expect(card).not_to_contain_text("---")
    chat.page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(opener).to_be_focused()


def test_a_card_that_cannot_be_had_is_explained(open_page: Any) -> None:
    """Without a line to the server the card says so."""
    chat = open_page(expected="ERR_INTERNET_DISCONNECTED")
    expect(chat.page.locator("#foot button")).to_be_visible()
    chat.go_offline()
    chat.page.locator("#foot button").click()
    expect(chat.page.get_by_role("alert")).to_contain_text("could not be reached")
