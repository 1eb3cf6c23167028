"""Settings: what is sent with a message, what is remembered, language and theme."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import expect


def test_settings_travel_with_the_message(open_page: Any) -> None:
    """What is set in the dialog is in the request; what is left alone is not."""
    chat = open_page()
    chat.button("Settings").click()
    chat.page.get_by_label("Temperature").fill("0.4")
    chat.page.get_by_label("Longest answer").fill("12")
    chat.page.get_by_label("Seed").fill("7")
    chat.page.get_by_label("Instructions").fill("Be brief.")
    chat.button("Done").click()
    with chat.page.expect_request("**/v1/responses") as caught:
        chat.ask("Hello!")
    body = json.loads(caught.value.post_data)
    assert {
        name: body.get(name) for name in ("temperature", "max_output_tokens", "seed", "instructions")
    } == {
        "temperature": 0.4,
        "max_output_tokens": 12,
        "seed": 7,
        "instructions": "Be brief.",
    }
    assert "top_p" not in body


def test_a_number_out_of_range_is_not_taken(open_page: Any) -> None:
    """A temperature that the server would refuse is marked and never sent."""
    chat = open_page()
    chat.button("Settings").click()
    chat.page.get_by_label("Temperature").fill("9")
    chat.button("Done").click()
    with chat.page.expect_request("**/v1/responses") as caught:
        chat.ask("Hello!")
    assert "temperature" not in json.loads(caught.value.post_data)


def test_the_key_is_sent_and_forgotten_unless_asked_to_be_kept(open_page: Any) -> None:
    """The key goes into the header of every request, and into lasting storage only when that is ticked."""
    chat = open_page()
    chat.button("Settings").click()
    chat.page.get_by_label("API key").fill("sk-test")
    chat.button("Done").click()
    with chat.page.expect_request("**/v1/responses") as caught:
        chat.ask("Hello!")
    assert caught.value.headers["authorization"] == "Bearer sk-test"
    assert "sk-test" not in chat.page.evaluate("JSON.stringify(localStorage)")
    chat.button("Settings").click()
    chat.page.get_by_label("Keep the key").check()
    chat.button("Done").click()
    assert "sk-test" in chat.page.evaluate("JSON.stringify(localStorage)")


def test_a_key_that_no_header_can_carry_is_not_taken(open_page: Any) -> None:
    """With the quotation marks or the invisible space of a pasted text, it is marked, and never sent."""
    chat = open_page()
    chat.button("Settings").click()
    field = chat.page.get_by_label("API key")
    for text in ("“sk-test”", "sk-\u200btest"):
        field.fill(text)
        field.blur()
        assert field.evaluate("node => node.matches(':user-invalid')")
    chat.button("Done").click()
    with chat.page.expect_request("**/v1/responses") as caught:
        chat.ask("Hello!")
    assert "authorization" not in caught.value.headers


def test_the_language_is_the_browsers_until_it_is_chosen(open_page: Any) -> None:
    """A Chinese browser gets Chinese; the switch changes every word and is remembered."""
    chat = open_page(locale="zh-CN")
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(chat.button("新对话")).to_be_visible()
    chat.button("Switch to English").click()
    expect(chat.button("New conversation")).to_be_visible()
    chat.page.reload()
    expect(chat.page.locator("html")).to_have_attribute("lang", "en")


def test_both_languages_say_everything(open_page: Any) -> None:
    """No word exists in one language only."""
    chat = open_page()
    paths = """language => {
      const walk = (node, path) => typeof node === "object" && !Array.isArray(node)
        ? Object.entries(node).flatMap(([key, value]) => walk(value, `${path}.${key}`)) : [path];
      return walk(WORDS[language], "").sort();
    }"""
    assert chat.page.evaluate(paths, "en") == chat.page.evaluate(paths, "zh")


def test_the_switched_language_reaches_what_is_already_shown(open_page: Any) -> None:
    """Receipts that stand on the page change language with it."""
    chat = open_page()
    chat.ask("Hello!")
    expect(chat.receipts.last).to_contain_text("token")
    chat.button("切换到中文").click()
    expect(chat.receipts.last).to_contain_text("词元")


def test_the_theme_is_the_systems_until_it_is_chosen(open_page: Any) -> None:
    """A dark system gets a dark page; the switch turns it light and is remembered."""
    chat = open_page(color_scheme="dark")
    assert _is_dark(chat)
    chat.button("Switch between light and dark").click()
    assert not _is_dark(chat)
    chat.page.reload()
    expect(chat.page.locator("html")).to_have_attribute("data-theme", "light")
    assert not _is_dark(chat)


def _is_dark(chat: Any) -> bool:
    red = chat.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    return red < 128
