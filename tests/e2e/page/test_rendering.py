"""How what is said stands on the page: all of it, and in the direction that it is written in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.page.chat_page import ChatPage


def rendered(chat: ChatPage, text: str, selector: str) -> list[str]:
    """The texts of what a selector finds in an answer."""
    return chat.page.evaluate(
        """([text, selector]) => {
          const body = el("div", {}, rendered(text));
          return [...body.querySelectorAll(selector)].map((node) => node.textContent);
        }""",
        [text, selector],
    )


def test_code_in_a_sentence_may_have_the_marks_of_a_block(open_page: Callable[..., ChatPage]) -> None:
    """Three backticks before and after it, in one line: the code is shown, and ends where it ends."""
    chat = open_page()
    text = "```ls -l``` lists files.\n\nUse ```cat``` next:\n```sh\ncat a\n```\nDone."
    assert rendered(chat, text, "code") == ["ls -l", "cat", "cat a"]
    assert rendered(chat, text, "p") == ["ls -l lists files.", "Use cat next:", "Done."]


@pytest.mark.parametrize("line", ["- one{}two", "1. one{}two", "# one{}two"])
def test_no_sign_of_a_new_line_swallows_the_rest(open_page: Callable[..., ChatPage], line: str) -> None:
    """Unicode's and the Macintosh's ends of lines are characters like any other."""
    chat = open_page()
    for end in ("\u2028", "\u2029", "\r"):
        assert rendered(chat, line.format(end), "li, h3") == [f"one{end}two"]


def test_what_is_written_from_right_to_left_stands_so(open_page: Callable[..., ChatPage]) -> None:
    """A full stop is on the left of what it ends; a list begins on the right, and code on the left."""
    chat = open_page()
    text = "שלום עולם."
    stops_are_left, list_, code = chat.page.evaluate(
        """(text) => {
          const answer = new Answer();
          answer.text = `${text}\n\n- ${text}\n\n\\`\\`\\`\n${text}\n\\`\\`\\``;
          answer.finish();
          column().replaceChildren(userTurn(text), answer.node);
          const left = (node, at) => {
            const range = new Range();
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            return range.getBoundingClientRect().left;
          };
          const find = (selector) => answer.node.querySelector(selector);
          const texts = [document.querySelector(".user").lastChild, find("p").firstChild];
          return [
            texts.map((node) => left(node, text.length - 1) < left(node, 0)),
            ...["ul", "pre"].map((tag) => getComputedStyle(find(tag)).direction),
          ];
        }""",
        text,
    )
    assert stops_are_left == [True, True]
    assert (list_, code) == ("rtl", "ltr")
