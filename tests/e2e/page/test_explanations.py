"""Answers explained on the page: what the embedded model was unsure of, which messages an answer rests on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.e2e.page.chat_page import ChatPage

EXPLAIN = {"en": "Explain answers", "zh": "解释回答"}
HOW_SURE = {"en": "How sure?", "zh": "有多确定？"}
SETTINGS = {"en": ("Settings", "Done"), "zh": ("设置", "完成")}
CONVERSATION = {
    "en": ("My name is Tamsin.", "What is a cold start?", "What is my name?"),
    "zh": ("我叫李明远。", "什么是量化？", "我叫什么名字？"),
}
LOCALE = {"en": "en-US", "zh": "zh-CN"}
STRANGE = "Why do purple whales sing in Prague, and what did 17 of them say to the moon?"
VARIED = {"temperature": 2, "seed": 7, "max_output_tokens": 40}
MORE_TURNS_THAN_ARE_LOOKED_AT = 10


@pytest.fixture
def address(house_server: str) -> str:
    """The page of the embedded model, which remembers what it is told."""
    return f"{house_server}/"


@pytest.fixture
def explaining(open_page: Callable[..., ChatPage]) -> Callable[..., ChatPage]:
    """Open the page in a language and switch explanations on in the settings, as a visitor does."""

    def open_(language: str = "en") -> ChatPage:
        chat = open_page(locale=LOCALE[language])
        settings, done = SETTINGS[language]
        chat.button(settings).click()
        chat.page.get_by_label(EXPLAIN[language]).check()
        chat.button(done).click()
        return chat

    return open_


def set_(chat: ChatPage, **settings: float) -> None:
    """Change settings as the dialog would."""
    chat.page.evaluate("change", settings)


def marks(chat: ChatPage) -> Locator:
    """The marked stretches of the last answer."""
    return chat.answers.last.locator("mark")


def explained(chat: ChatPage, text: str) -> Any:
    """Ask, and return the explanation that the server gave with the end of the answer."""
    told: list[Any] = []

    def listen(route: Route) -> None:
        reply = route.fetch()
        last = next(line for line in reply.text().splitlines() if '"explanation"' in line)
        told.append(json.loads(last.removeprefix("data:")))
        route.fulfill(response=reply)

    chat.page.route("**/v1/responses", listen)
    chat.ask(text)
    return told[0]["response"]["dormouse"]["explanation"]


def unsure(chat: ChatPage) -> Any:
    """The explanation of an answer that the model was unsure of: at the highest temperature it soon is."""
    for seed in range(20):
        chat.page.evaluate("go(null)")  # each in a conversation of its own
        set_(chat, **{**VARIED, "seed": seed})
        told = explained(chat, STRANGE)
        if told["low_confidence"]:
            return told
    return pytest.fail("the model was never unsure")


def test_nothing_is_explained_unless_asked_for(open_page: Callable[..., ChatPage]) -> None:
    """By default the request has nothing beyond OpenAI's fields, and no button stands under the answer."""
    chat = open_page()
    with chat.page.expect_request("**/v1/responses") as caught:
        chat.ask("Hello!")
    assert "dormouse" not in json.loads(caught.value.post_data or "")
    expect(chat.button(HOW_SURE["en"])).to_have_count(0)


def test_the_switch_is_remembered(explaining: Callable[..., ChatPage]) -> None:
    """Switched on once, it is on after a reload, and the request says so."""
    chat = explaining()
    chat.page.reload()
    with chat.page.expect_request("**/v1/responses") as caught:
        chat.ask("Hello!")
    assert json.loads(caught.value.post_data or "")["dormouse"] == {"explain": True}


def test_unsure_words_are_marked_and_the_answer_stays(explaining: Callable[..., ChatPage]) -> None:
    """What the server calls unsure is marked, with its probability; a second press takes the marks away."""
    chat = explaining()
    told = unsure(chat)
    text = chat.answers.last.locator(".text").text_content()
    button = chat.button(HOW_SURE["en"])
    expect(marks(chat)).to_have_count(0)
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    squeezed = ["".join(span["text"].split()) for span in told["low_confidence"]]
    assert "".join("".join(marks(chat).all_text_contents()).split()) == "".join(squeezed)
    for mark in marks(chat).all():
        assert "%" in (mark.get_attribute("title") or "")
    expect(chat.page.locator(".doubts li")).to_have_text([re.compile("%$")] * len(told["low_confidence"]))
    assert "underline" in marks(chat).first.evaluate("node => getComputedStyle(node).textDecorationLine")
    assert chat.answers.last.locator(".text").text_content() == text
    button.click()
    expect(marks(chat)).to_have_count(0)
    expect(chat.page.locator(".grounds")).to_be_hidden()
    assert chat.answers.last.locator(".text").text_content() == text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_message_that_told_the_name_is_named(explaining: Callable[..., ChatPage], language: str) -> None:
    """The first reason for the answer is the message it repeats; also after a reload."""
    chat = explaining(language)
    set_(chat, temperature=0)
    for text in CONVERSATION[language]:
        chat.ask(text)
    first_reason = chat.answers.last.locator(".grounds ul:not(.doubts) li").first
    chat.button(HOW_SURE[language]).last.click()
    expect(first_reason).to_contain_text(CONVERSATION[language][0])
    words = first_reason.inner_text()
    chat.page.reload()
    chat.button(HOW_SURE[language]).last.click()
    expect(first_reason).to_have_text(words)


def test_the_switched_language_reaches_an_open_explanation(explaining: Callable[..., ChatPage]) -> None:
    """Reasons and the titles of marks change language where they stand."""
    chat = explaining()
    unsure(chat)
    chat.button(HOW_SURE["en"]).click()
    chat.button("切换到中文").click()
    expect(chat.button(HOW_SURE["zh"])).to_be_visible()
    expect(chat.page.locator(".grounds")).to_contain_text("没有把握")
    assert "概率" in (marks(chat).first.get_attribute("title") or "")


def test_an_explanation_that_is_not_whole_says_so(explaining: Callable[..., ChatPage]) -> None:
    """With more turns than are looked at, the explanation tells that it does not tell everything."""
    chat = explaining()
    chat.ask("Hello!")
    chat.button(HOW_SURE["en"]).click()
    partly = chat.page.get_by_text("This does not tell everything")
    expect(chat.page.locator(".grounds")).to_be_visible()
    expect(partly).to_have_count(0)
    said = [("user", "Hi."), ("assistant", "Hello.")] * MORE_TURNS_THAN_ARE_LOOKED_AT
    items = [{"type": "message", "role": role, "content": text} for role, text in said]
    made = chat.server("POST", "v1/conversations", {"items": items})
    chat.page.evaluate("cid => go(cid)", made["id"])
    expect(chat.answers).to_have_count(MORE_TURNS_THAN_ARE_LOOKED_AT)
    chat.ask("What can you do?")
    chat.button(HOW_SURE["en"]).click()
    expect(partly).to_be_visible()


def test_marks_find_their_words_between_signs_of_markdown(open_page: Callable[..., ChatPage]) -> None:
    """Offsets count characters of what was said, signs that are not shown and emoji among them."""
    chat = open_page()
    text = (
        "# 🐭 One\n\nA **bold move** and `code`.\n\n- first\n- second\n\n| a | b |\n|---|---|\n| c | last |"
    )
    words = ["🐭 One", "bold", "e** and `co", "second", "last"]
    unsure = [{"start": text.index(w), "end": text.index(w) + len(w), "probability": 0.1} for w in words]
    marked = chat.page.evaluate(
        """([text, unsure]) => {
          const body = el("div", {}, rendered(text)), before = body.textContent;
          markUnsure(body, text, unsure);
          if (body.textContent !== before) throw new Error("the text has changed");
          return [...body.querySelectorAll("mark")].map((mark) => mark.textContent);
        }""",
        [text, unsure],
    )
    assert marked == ["🐭 One", "bold", "e", " and ", "co", "second", "last"]
