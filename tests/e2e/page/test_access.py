"""The page for everybody: by keyboard, on a phone, read aloud, with an input method; and for attackers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Route, expect

PHONE = (390, 844)
ATTACK = (
    "<img src=x onerror=\"window.hurt=1\"><script>window.hurt=1</script> **<b onclick='hurt=1'>bold</b>**"
)


def test_a_whole_conversation_by_keyboard(open_page: Any) -> None:
    """Write, break a line, send, stop with Escape, begin anew: no hand on the mouse."""
    chat = open_page(expected="400")  # the server may have ended the answer already, and says so
    keys = chat.page.keyboard
    expect(chat.box).to_be_focused()
    keys.type("one")
    keys.press("Shift+Enter")
    keys.type("two")
    assert chat.box.input_value() == "one\ntwo"
    chat.limit_answer(120)
    chat.slow_down(1_500)
    keys.press("Enter")
    chat.wait_for_first_words()
    keys.press("Escape")
    expect(chat.page.get_by_text("You stopped this answer.")).to_be_visible()
    expect(chat.box).to_be_focused()
    keys.press("Control+Shift+O")
    expect(chat.page.get_by_text("Try asking")).to_be_visible()


def test_every_control_is_reached_by_tab_and_shows_it(open_page: Any) -> None:
    """Tab visits every control in turn, and the one that has the focus wears an outline or a lit frame."""
    chat = open_page()
    visited = set()
    for _ in range(30):
        chat.page.keyboard.press("Tab")
        visited.add(chat.page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"fresh", "language", "theme", "tune", "ask"} <= visited
    chat.button("Settings").focus()
    chat.page.keyboard.press("Shift+Tab")
    outline = chat.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_every_control_has_a_name(open_page: Any) -> None:
    """Nothing that can be pressed or filled is nameless, in either language."""
    chat = open_page()
    chat.ask("Hello!")
    nameless = """() => [...document.querySelectorAll("button, a, input, select, textarea")].filter((node) =>
      !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.[0]?.textContent.trim()))
      .map((node) => node.outerHTML)"""
    assert chat.page.evaluate(nameless) == []
    chat.button("切换到中文").click()
    assert chat.page.evaluate(nameless) == []


def test_the_answer_is_read_aloud_once(open_page: Any) -> None:
    """A polite live region receives the answer's words exactly once, in whole sentences."""
    chat = open_page()
    answer = chat.ask("What can you do?")
    spoken = chat.page.locator("[aria-live=polite]").text_content()
    kept = chat.kept()[-1][1]
    assert spoken is not None
    assert spoken == kept, answer


def test_a_copy_is_told(open_page: Any) -> None:
    """Whoever does not see the tick hears that the answer was copied."""
    chat = open_page(permissions=["clipboard-write"])
    chat.ask("Hello!")
    chat.page.evaluate("$('spoken').replaceChildren()")
    chat.button("Copy").click()
    expect(chat.page.locator("#spoken")).to_have_text("Copied")


def test_a_copy_that_the_browser_refuses_is_not_told(open_page: Any) -> None:
    """Nothing is claimed, neither by the tick nor to a screen reader, and nothing breaks."""
    chat = open_page()
    chat.ask("Hello!")
    chat.page.evaluate("$('spoken').replaceChildren()")
    refusing = "navigator.clipboard.writeText = () => (window.asked = 1, Promise.reject(new DOMException()))"
    chat.page.evaluate(f"() => {{ {refusing} }}")
    before = chat.button("Copy").inner_html()
    chat.button("Copy").click()
    chat.page.wait_for_function("window.asked")
    chat.page.evaluate("() => new Promise(requestAnimationFrame)")
    assert chat.page.locator("#spoken").text_content() == ""
    assert chat.button("Copy").inner_html() == before


def test_no_word_is_unused(open_page: Any, address: str) -> None:
    """Both languages have the same words, and the page says each of them somewhere."""
    chat = open_page()
    english, chinese = chat.page.evaluate("[Object.keys(WORDS.en), Object.keys(WORDS.zh)]")
    assert set(english) == set(chinese)
    source = chat.page.request.get(address).text()
    begin, end = source.index("const WORDS"), source.index("let t = WORDS")
    spoken = set(re.findall(r"\bt\.(\w+)|\"(\w+)\"", source[:begin] + source[end:]))
    assert [word for word in english if word not in {each for pair in spoken for each in pair}] == []


def test_without_javascript_the_page_says_so_in_both_languages(open_page: Any) -> None:
    """A browser that runs no script shows one sentence in English and one in Chinese."""
    page = open_page(java_script_enabled=False).page
    sentences = page.locator("p", has_text="JavaScript")
    assert [each.get_attribute("lang") for each in sentences.all()] == [None, "zh-CN"]
    for sentence in sentences.all():
        expect(sentence).to_be_visible()


def test_enter_belongs_to_the_input_method_while_it_composes(open_page: Any) -> None:
    """Choosing a candidate with Enter does not send half a sentence."""
    chat = open_page()
    chat.box.fill("ni hao")
    press = """(node, isComposing) => node.dispatchEvent(
      new KeyboardEvent("keydown", { key: "Enter", isComposing, bubbles: true, cancelable: true }))"""
    chat.box.evaluate(press, True)
    expect(chat.users).to_have_count(0)
    assert chat.box.input_value() == "ni hao"
    chat.box.evaluate(press, False)
    expect(chat.users).to_have_count(1)
    chat.wait_for_answer()


def test_a_phone_never_scrolls_sideways(open_page: Any) -> None:
    """Even a word without end and a wide block of code fit into a phone's width."""
    chat = open_page(size=PHONE)
    chat.ask("a" * 100)
    wide = "a" * 400 + "\n```\n" + "b" * 400 + "\n```"
    conversation = chat.server(
        "POST", "v1/conversations", {"items": [{"type": "message", "role": "assistant", "content": wide}]}
    )
    chat.page.evaluate(f"location.hash = '{conversation['id']}'")
    expect(chat.answers).to_have_count(1)
    expect(chat.page.locator("pre")).to_be_visible()
    for node in ("document.documentElement", "document.getElementById('scroll')"):
        assert chat.page.evaluate(f"{node}.scrollWidth <= {node}.clientWidth")


def test_a_long_message_leaves_room_for_its_button(open_page: Any) -> None:
    """On a phone held sideways, its keyboard open, a message of many lines scrolls, and can be sent."""
    chat = open_page(size=(740, 180))
    chat.box.fill("one line\n" * 30)
    expect(chat.button("Send")).to_be_in_viewport(ratio=1)


def test_a_long_message_is_not_cut(open_page: Any) -> None:
    """What is pasted is there to its end: if it is too long, that is for the server to say."""
    chat = open_page()
    chat.box.focus()
    text = "word " * 30_000
    chat.page.keyboard.insert_text(text)
    assert chat.box.input_value() == text


def test_the_list_is_a_drawer_on_a_phone(open_page: Any) -> None:
    """On a phone the conversations open over the page, take the focus, and close with Escape."""
    chat = open_page(size=PHONE)
    expect(chat.button("New conversation")).to_be_hidden()
    chat.button("Show conversations").click()
    expect(chat.button("New conversation")).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(chat.button("New conversation")).to_be_hidden()
    expect(chat.button("Show conversations")).to_be_focused()


def test_markup_is_shown_and_never_run(open_page: Any) -> None:
    """Markup from the visitor or from the model is text on the page, whatever it says."""
    chat = open_page()
    items = [{"type": "message", "role": role, "content": ATTACK} for role in ("user", "assistant")]
    made = chat.server("POST", "v1/conversations", {"items": items, "metadata": {"title": ATTACK}})
    chat.page.evaluate(f"location.hash = '{made['id']}'")
    expect(chat.answers.last).to_contain_text("<img src=x")
    expect(chat.users.last).to_contain_text("<img src=x")
    expect(chat.answers.last.locator("strong")).to_have_text("<b onclick='hurt=1'>bold</b>")
    assert chat.page.locator(".turns :is(img, script, b)").count() == 0
    assert chat.page.evaluate("window.hurt") is None


def test_the_page_is_locked_in(open_page: Any, address: str) -> None:
    """The page is served under a policy that lets its own script and style run, by hash, and nothing else."""
    chat = open_page()
    policy = chat.page.request.get(address).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("stage", ["prod/", "prod"])
def test_a_stage_prefix_does_no_harm(open_page: Any, address: str, stage: str) -> None:
    """Behind a gateway's stage, with or without the slash, the page finds its API beside itself."""
    chat = open_page()
    asked: list[str] = []

    def strip(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_(url=route.request.url.replace("/prod", "", 1))

    chat.page.route(re.compile("/prod"), strip)
    chat.page.goto(address + stage)
    chat.ask("Hello!")
    assert f"{address}prod/v1/responses" in asked
