"""A conversation on the page: sent, streamed, reloaded, stopped, retried, deleted."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Route, expect

LONG_TOKENS = 120
SLOW_BYTES_PER_S = 6_000
CRAWLING_BYTES_PER_S = 1_500
"""A long answer then takes a quarter of a minute at the least: there is time to interrupt it."""

RECORD_GROWTH = """() => {
  window.lengths = [];
  new MutationObserver(() => {
    const length = document.querySelector(".bot.writing .text")?.innerText.length ?? 0;
    if (length && length !== window.lengths.at(-1)) window.lengths.push(length);
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def test_an_answer_grows_on_the_page_before_it_is_whole(open_page: Any) -> None:
    """The words appear as they come, not all at once."""
    chat = open_page()
    chat.limit_answer(LONG_TOKENS)
    chat.page.evaluate(RECORD_GROWTH)
    chat.slow_down(SLOW_BYTES_PER_S)
    chat.ask("Hello, how are you?")
    lengths = chat.page.evaluate("window.lengths")
    assert len(lengths) >= 3
    assert lengths == sorted(lengths)


def test_the_answer_carries_its_receipt(open_page: Any) -> None:
    """Under an answer stand its tokens and whether it was warm; opened, the line says where the time went."""
    chat = open_page()
    chat.ask("Hello!")
    expect(chat.receipts.last).to_contain_text("token")
    chat.receipts.last.click()
    expect(chat.page.get_by_text("Reading the prompt")).to_be_visible()


def test_a_reload_keeps_the_conversation(open_page: Any) -> None:
    """After a reload the same turns stand there in the same order, receipts included."""
    chat = open_page()
    chat.ask("My name is Wren.")
    chat.ask("What is my name?")
    before = chat.page.locator(".turns").inner_text()
    chat.page.reload()
    expect(chat.answers).to_have_count(2)
    assert chat.page.locator(".turns").inner_text() == before


def test_a_message_waits_for_the_conversation(open_page: Any) -> None:
    """Sent before what was said has come, a message is added to it once, and hides nothing of it."""
    chat = open_page()
    chat.ask("My name is Wren.")
    held: list[Route] = []
    for path in ("**/items?*", "**/v1/responses"):
        chat.page.route(path, lambda route: held.append(route))
    with chat.page.expect_request("**/items?*"):
        chat.page.reload()
    chat.send("What is my name?")
    chat.box.press("Enter")
    with chat.page.expect_request("**/v1/responses"):
        held.pop(0).continue_()
    expect(chat.users).to_have_text(["You said: My name is Wren.", "You said: What is my name?"])
    (asked,) = held
    asked.continue_()
    chat.wait_for_answer()
    assert [text for role, text in chat.kept() if role == "user"] == ["My name is Wren.", "What is my name?"]


def test_what_was_left_out_is_told(open_page: Any) -> None:
    """An answer says that messages were left out of it, also where none of them can be named any more."""
    chat = open_page()

    def without_older(route: Route) -> None:
        reply = route.fetch()
        told = reply.text().replace('"dropped_older":false', '"dropped_older":true')
        route.fulfill(response=reply, body=told)

    chat.page.route("**/v1/responses", without_older)
    chat.ask("Hello!")
    expect(chat.page.get_by_text("left out of this answer")).to_be_visible()


def test_a_reload_in_mid_answer_ends_with_the_turn_once(open_page: Any) -> None:
    """A reload while the answer is written neither loses the turn nor doubles it."""
    chat = open_page()
    chat.limit_answer(LONG_TOKENS)
    chat.slow_down(CRAWLING_BYTES_PER_S)
    chat.send("What can you do?")
    chat.wait_for_first_words()
    chat.go_offline(False)
    chat.page.reload()
    expect(chat.users).to_have_count(1)
    expect(chat.page.locator(".waiting")).to_have_count(0)
    if chat.trouble.count():
        chat.button("Try again").click()
        chat.wait_for_answer()
    assert [role for role, _ in chat.kept()] == ["user", "assistant"]
    expect(chat.answers).to_have_count(1)


def test_an_answer_that_was_cut_is_told_again_after_a_reload(open_page: Any) -> None:
    """What was being written when the page went away is asked for again, and told in its place to its end."""
    chat = open_page()
    conversation = chat.server("POST", "v1/conversations", {})["id"]
    asked = {"model": chat.server("GET", "v1/models")["data"][0]["id"], "conversation": conversation}
    asked |= {"input": "What can you do?", "max_output_tokens": 5}
    response = chat.server("POST", "v1/responses", asked)["id"]
    turn = {"text": asked["input"], "after": None, "response": response}
    chat.page.evaluate("([cid, turn]) => pending.set(cid, turn)", [conversation, turn])
    with chat.page.expect_request(f"**/v1/responses/{response}?stream=true"):
        chat.page.evaluate("cid => go(cid)", conversation)
    chat.wait_for_answer()
    expect(chat.page.get_by_text("length limit")).to_be_visible()
    expect(chat.receipts.last).to_contain_text("5 tokens")
    expect(chat.users).to_have_count(1)
    expect(chat.answers).to_have_count(1)
    assert chat.page.evaluate("cid => pending.of(cid) ?? null", conversation) is None


def unanswered(chat: Any, **turn: Any) -> str:
    """Make a conversation whose first message has been sent, as far as the page knows, and open it."""
    conversation = chat.server("POST", "v1/conversations", {})["id"]
    turn = {"text": "What can you do?", "after": None, **turn}
    chat.page.evaluate(
        "([cid, turn]) => { pending.set(cid, { sent: Date.now(), ...turn }); go(cid); }", [conversation, turn]
    )
    return conversation


def test_an_answer_is_looked_for_as_long_as_it_may_take(open_page: Any) -> None:
    """An answer that goes on without the page is found minutes after a reload, and is asked for ever less."""
    chat = open_page()
    chat.page.clock.install()
    looks: list[str] = []
    chat.page.on("request", lambda request: looks.append(request.url) if "/items?" in request.url else None)
    with chat.page.expect_response("**/items?*"):
        conversation = unanswered(chat, response="resp_0")
    steps = 50
    for _ in range(steps):
        chat.page.clock.run_for(5_000)
    assert 1 < len(looks) < steps / 2
    expect(chat.page.get_by_text("Looking for the answer")).to_be_visible()
    model = chat.server("GET", "v1/models")["data"][0]["id"]
    asked = {"model": model, "conversation": conversation, "input": "What can you do?"}
    chat.server("POST", "v1/responses", asked)
    for _ in range(4):
        chat.page.clock.run_for(5_000)
    expect(chat.page.get_by_text("Looking for the answer")).to_have_count(0)
    expect(chat.users).to_have_count(1)
    expect(chat.trouble).to_have_count(0)
    assert chat.answers.last.locator(".text").inner_text()


def test_a_message_that_the_server_never_named_is_soon_given_up(open_page: Any) -> None:
    """Where no answer had begun, a quarter of a minute is enough to know."""
    chat = open_page()
    chat.page.clock.install()
    unanswered(chat)
    given_up = chat.trouble.get_by_text("the server has not kept it")
    for _ in range(60):  # seconds of the page, which stand still while it waits for the server
        if given_up.count():
            break
        chat.page.clock.run_for(1_000)
    expect(given_up).to_be_visible()


def test_what_was_refused_is_not_looked_for(open_page: Any) -> None:
    """A refusal stands where it was after a reload, and the message can be sent again from there."""
    chat = open_page(expected="429")
    chat.ask("Hello!")
    busy = {"error": {"message": "Rate exceeded", "code": None}}
    chat.page.route("**/v1/responses", lambda route: route.fulfill(status=429, json=busy))
    chat.send("Are you there?")
    expect(chat.trouble).to_contain_text("Too many requests")
    chat.page.unroute("**/v1/responses")
    chat.page.reload()
    expect(chat.trouble).to_contain_text("Rate exceeded")
    expect(chat.button("Send")).to_be_visible()
    chat.button("Try again").click()
    chat.wait_for_answer()
    chat.page.reload()
    expect(chat.users).to_have_text(["You said: Hello!", "You said: Are you there?"])
    expect(chat.trouble).to_have_count(0)


def test_another_model_is_found_by_trying_again(open_page: Any) -> None:
    """Where the server has got another model since the page was opened, it says so and asks that one next."""
    chat = open_page(expected="404")
    expect(chat.page.locator("#foot button")).to_be_visible()
    chat.page.evaluate("state.model = { id: 'one-of-before' }")
    chat.send("Hello!")
    expect(chat.trouble).to_contain_text("another model by now")
    chat.button("Try again").click()
    chat.wait_for_answer()
    assert [role for role, _ in chat.kept()] == ["user", "assistant"]


def test_stopping_keeps_what_was_said(open_page: Any) -> None:
    """The stop button ends the answer at once; its words stay and the next message is answered."""
    chat = open_page(expected="400")  # the server may have ended it already, and says so
    chat.limit_answer(LONG_TOKENS)
    chat.slow_down(CRAWLING_BYTES_PER_S)
    chat.send("Tell me everything you know.")
    chat.wait_for_first_words()
    chat.button("Stop").click()
    expect(chat.page.get_by_text("You stopped this answer.")).to_be_visible()
    assert chat.answers.first.locator(".text").inner_text()
    chat.go_offline(False)
    chat.limit_answer(16)
    chat.ask("Hello!")
    expect(chat.users).to_have_count(2)


def test_what_never_left_can_be_sent_again(open_page: Any) -> None:
    """Without a connection the page says so in words; trying again sends the turn once."""
    chat = open_page(expected="ERR_INTERNET_DISCONNECTED")
    chat.ask("Hello!")
    chat.go_offline()
    chat.send("Are you there?")
    expect(chat.trouble).to_contain_text("could not be reached")
    chat.go_offline(False)
    chat.button("Try again").click()
    chat.wait_for_answer()
    assert [text for role, text in chat.kept() if role == "user"] == ["Hello!", "Are you there?"]


def test_a_first_message_that_never_left_is_in_the_box(open_page: Any) -> None:
    """Without a conversation to be kept in, it comes back into the box, until it is sent again."""
    chat = open_page(expected="ERR_INTERNET_DISCONNECTED")
    chat.go_offline()
    chat.send("Are you there?")
    expect(chat.trouble).to_contain_text("could not be reached")
    expect(chat.box).to_have_value("Are you there?")
    chat.go_offline(False)
    chat.page.reload()
    expect(chat.box).to_have_value("Are you there?")
    chat.go_offline()
    chat.box.press("Enter")
    expect(chat.trouble).to_be_visible()
    expect(chat.users).to_have_count(1)
    chat.go_offline(False)
    chat.button("Try again").click()
    chat.wait_for_answer()
    expect(chat.box).to_have_value("")
    assert [text for role, text in chat.kept() if role == "user"] == ["Are you there?"]


def test_what_is_written_meanwhile_stays_in_the_box(open_page: Any) -> None:
    """A first message that comes back stands before what has been written since; neither is lost."""
    chat = open_page(expected="ERR_FAILED")
    held: list[Route] = []
    chat.page.route("**/v1/conversations", lambda route: held.append(route))
    with chat.page.expect_request("**/v1/conversations"):
        chat.send("The first")
    chat.box.fill("The second")
    held.pop().abort()
    expect(chat.box).to_have_value("The first\nThe second")


def test_a_reload_before_there_is_a_conversation_keeps_the_message(open_page: Any) -> None:
    """While the server wakes up to make the conversation, a reload brings the message back into the box."""
    chat = open_page()
    held: list[Route] = []
    chat.page.route("**/v1/conversations", lambda route: held.append(route))
    with chat.page.expect_request("**/v1/conversations"):
        chat.send("Are you there?")
    expect(chat.box).to_have_value("")
    chat.page.reload()
    expect(chat.box).to_have_value("Are you there?")


def test_an_answer_lost_on_the_way_is_not_asked_for_twice(open_page: Any) -> None:
    """When the server has kept a turn whose answer never arrived, trying again shows it and sends nothing."""
    chat = open_page(expected="ERR_FAILED")

    def swallow(route: Route) -> None:
        asked.append(route.request)
        route.fetch()
        route.abort()

    asked = []
    chat.page.route("**/v1/responses", swallow)
    chat.send("What is 2 plus 2?")
    expect(chat.trouble).to_be_visible()
    chat.button("Try again").click()
    expect(chat.trouble).to_have_count(0)
    expect(chat.button("Send")).to_be_visible()
    assert len(asked) == 1
    assert [role for role, _ in chat.kept()] == ["user", "assistant"]
    assert chat.answers.last.locator(".text").inner_text()


def test_the_list_leads_back_to_every_conversation(open_page: Any) -> None:
    """A new conversation leaves the old one in the list, under its first words; the browser's back works."""
    chat = open_page()
    chat.ask("The first subject")
    first = chat.conversation
    chat.button("New conversation").click()
    expect(chat.page.get_by_text("Try asking")).to_be_visible()
    chat.ask("The second subject")
    assert chat.conversation != first
    chat.page.get_by_role("link", name="The first subject").first.click()
    expect(chat.users).to_have_text(["You said: The first subject"])
    assert chat.conversation == first
    chat.page.go_back()
    expect(chat.users).to_have_text(["You said: The second subject"])


def test_the_list_stays_as_it_is_when_it_is_loaded_again(open_page: Any) -> None:
    """Coming back, a visitor finds the pages of the list that were open, and the focus where it was."""
    chat = open_page()
    for number in range(41):
        chat.server("POST", "v1/conversations", {"metadata": {"title": f"Number {number}"}})
    chat.page.reload()
    older = chat.button("Show older conversations")
    older.focus()
    older.press("Enter")
    first = chat.page.get_by_role("link", name="Number 0", exact=True)
    first.focus()
    count = chat.page.locator("#history a").count()
    chat.page.evaluate("document.querySelector('#history a').textContent = 'of before'")
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.get_by_role("link", name="of before")).to_have_count(0)
    expect(first).to_be_focused()
    expect(chat.page.locator("#history a")).to_have_count(count)


def test_a_deleted_conversation_is_gone_from_the_server(open_page: Any) -> None:
    """Deleting, then leaving the page, erases the conversation for good."""
    chat = open_page()
    chat.ask("Forget this soon")
    conversation = chat.conversation
    chat.button("Delete “Forget this soon”").first.click()
    expect(chat.page.get_by_text("Try asking")).to_be_visible()
    assert chat.is_kept(conversation)
    chat.page.reload()
    chat.wait_until_erased(conversation)


def test_what_was_deleted_elsewhere_leaves_the_list(open_page: Any) -> None:
    """A conversation that the server has no more of is as good as deleted."""
    chat = open_page(expected="404")
    chat.ask("Deleted twice")
    chat.server("DELETE", f"v1/conversations/{chat.conversation}")
    chat.page.evaluate("removeNow(state.list[0])")
    expect(chat.page.get_by_role("link", name="Deleted twice")).to_have_count(0)


def test_deleting_can_be_undone(open_page: Any) -> None:
    """A change of mind brings the conversation back, whole."""
    chat = open_page()
    chat.ask("Keep this after all")
    conversation = chat.conversation
    chat.button("Delete “Keep this after all”").first.click()
    chat.button("Undo").click()
    chat.page.locator(f'a[href="#{conversation}"]').click()
    expect(chat.users).to_have_text(["You said: Keep this after all"])
    assert chat.is_kept(conversation)


@pytest.mark.parametrize("fragment", ["#conv_00000000000000000000000000000000"])
def test_a_conversation_that_is_gone_is_explained(open_page: Any, fragment: str) -> None:
    """An address of a conversation that is not there leads to words and to a new one."""
    chat = open_page(fragment, expected="404")
    expect(chat.trouble).to_contain_text("not here any more")
    chat.button("Start a new one").click()
    expect(chat.page.get_by_text("Try asking")).to_be_visible()


def test_a_message_to_a_conversation_that_is_gone_is_not_lost(open_page: Any) -> None:
    """It comes into the box of a new conversation, before what has been written since."""
    chat = open_page(expected="404")
    chat.ask("Hello!")
    chat.server("DELETE", f"v1/conversations/{chat.conversation}")
    chat.send("Are you there?")
    expect(chat.trouble).to_contain_text("not here any more")
    chat.box.fill("Hm.")
    chat.button("Start a new one").click()
    expect(chat.page.get_by_text("Try asking")).to_be_visible()
    expect(chat.box).to_have_value("Are you there?\nHm.")


def test_a_suggestion_starts_a_conversation(open_page: Any) -> None:
    """One click on a suggestion asks it, and the next message can be written at once."""
    chat = open_page()
    suggestion = chat.page.locator(".asks button").first
    words = suggestion.inner_text()
    suggestion.click()
    expect(chat.box).to_be_focused()
    chat.wait_for_answer()
    assert chat.kept()[0] == ("user", words)
