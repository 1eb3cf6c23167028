"""What can happen to an answer while it is made: it is stopped, its conversation is deleted, or changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Request, Route, expect

from tests.e2e.page.chat_page import ChatPage
from tests.e2e.server import Server

QUESTION = "Tell me everything you know."
LONG_TOKENS = 200
"""So many take seconds on the slow server; a stop takes a tenth of one."""
VARIED = {"temperature": 2, "top_p": 1, "seed": 7}
"""What repeats itself would come in fewer steps."""
STOPPED = "You stopped this answer."


@pytest.fixture(scope="module")
def address(tiny_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a server that takes its time, whatever the machine: it could be stopped by hand."""
    folder = tmp_path_factory.mktemp("slow-server")
    module = "tests.e2e.page.slow_server"
    with Server(tiny_bundle(), folder / "sessions.sqlite3", folder / "log", module=module) as server:
        yield server.url + "/"


@pytest.fixture
def chat(open_page: Callable[..., ChatPage]) -> ChatPage:
    """The page, set to answers that are far from their end when they are stopped."""
    chat = open_page()
    chat.page.evaluate("change", VARIED)
    chat.limit_answer(LONG_TOKENS)
    return chat


def is_cancel(request: Request) -> bool:
    """Whether a request calls a response off."""
    return request.url.endswith("/cancel")


def check_called_off(chat: ChatPage, cancel: Request) -> None:
    """The server has ended a response because of this request, and has kept what was said."""
    reply = cancel.response()
    assert reply is not None
    assert reply.status == 200
    response = chat.server("GET", f"v1/responses/{cancel.url.split('/')[-2]}")
    assert response["status"] == "cancelled"
    assert response["usage"]["output_tokens"] < LONG_TOKENS
    (item,) = response["output"]
    assert chat.kept(response["conversation"]["id"])[1] == ("assistant", item["content"][0]["text"])


def test_stopping_ends_the_answer_on_the_server(chat: ChatPage) -> None:
    """What was kept of the answer stands on the page with its receipt, the same after a reload."""
    chat.send(QUESTION)
    chat.wait_for_first_words()
    with chat.page.expect_request_finished(is_cancel) as cancel:
        chat.button("Stop").click()
    expect(chat.page.get_by_text(STOPPED)).to_be_visible()
    expect(chat.receipts).to_have_count(1)
    check_called_off(chat, cancel.value)
    shown = chat.page.locator(".turns").inner_text()
    chat.page.reload()
    expect(chat.page.get_by_text(STOPPED)).to_be_visible()
    assert chat.page.locator(".turns").inner_text() == shown


def test_a_message_waits_for_the_end_of_what_was_stopped(chat: ChatPage) -> None:
    """Stopping shows at once; what is sent next follows what was kept, and races with nothing."""
    held: list[Route] = []
    chat.page.route("**/cancel", lambda route: held.append(route))
    chat.send(QUESTION)
    chat.wait_for_first_words()
    with chat.page.expect_request(is_cancel):
        chat.button("Stop").click()
    expect(chat.page.get_by_text(STOPPED)).to_be_visible()
    expect(chat.button("Send")).to_be_visible()
    asked: list[Request] = []
    chat.page.on("request", lambda request: asked.append(request) if request.method == "POST" else None)
    chat.limit_answer(8)
    chat.send("Hello!")
    expect(chat.users).to_have_count(1)
    assert asked == []
    held.pop().continue_()
    expect(chat.users).to_have_count(2)
    chat.wait_for_answer()
    assert [role for role, _ in chat.kept()] == ["user", "assistant"] * 2


def test_an_answer_is_stopped_before_it_has_begun(chat: ChatPage) -> None:
    """While the server wakes up, stopping shows at once, and the answer ends as soon as it can be named."""
    held: list[Route] = []
    chat.page.route("**/v1/responses", lambda route: held.append(route))
    with chat.page.expect_request("**/v1/responses"):
        chat.send(QUESTION)
    chat.button("Stop").click()
    expect(chat.page.get_by_text(STOPPED)).to_be_visible()
    with chat.page.expect_request_finished(is_cancel) as cancel:
        held.pop().continue_()
    check_called_off(chat, cancel.value)


def test_deleting_ends_the_answer_on_the_server(chat: ChatPage) -> None:
    """Nobody pays for the rest of an answer that is deleted; undone, it has what was kept."""
    chat.send(QUESTION)
    chat.wait_for_first_words()
    with chat.page.expect_request_finished(is_cancel) as cancel:
        chat.button(f"Delete “{QUESTION}”").first.click()
    check_called_off(chat, cancel.value)
    chat.button("Undo").click()
    chat.page.get_by_role("link", name=QUESTION).first.click()
    expect(chat.page.get_by_text(STOPPED)).to_be_visible()


def test_a_conversation_that_changed_meanwhile_is_explained(chat: ChatPage) -> None:
    """Where somebody else has written before the end of the answer, the page says so, and can try again."""
    chat.send(QUESTION)
    chat.wait_for_first_words()
    item = {"type": "message", "role": "user", "content": "Said in another window."}
    chat.server("POST", f"v1/conversations/{chat.conversation}/items", {"items": [item]})
    expect(chat.trouble).to_contain_text("changed in the meantime")
    chat.limit_answer(8)
    chat.button("Try again").click()
    chat.wait_for_answer()
    assert [role for role, _ in chat.kept()] == ["user", "user", "assistant"]
