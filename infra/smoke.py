"""Is a deployed server sound? Asked by the official OpenAI client, whatever the server runs on.

    python -m infra.smoke BASE_URL [--key KEY]

Each check prints one line; the status is 0 when all have passed. What is stored is deleted again. Knows
nothing of AWS.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import openai

from handler.keys import parse_key


class Unsound(Exception):
    """An answer that a client could not work with."""


def check_chat(client: openai.OpenAI, model: str) -> str:
    """A chat is answered whole and streamed, in the same words."""
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "Hello! Who are you?"}],
        "max_tokens": 24,
        "temperature": 0,
    }
    whole = client.chat.completions.create(**asked).choices[0]
    expect(whole.finish_reason in ("stop", "length"), f"finish_reason is {whole.finish_reason}")
    began, first_s, pieces = time.monotonic(), 0.0, []
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            if choice.delta.content:
                first_s = first_s or time.monotonic() - began
                pieces.append(choice.delta.content)
    expect("".join(pieces) == whole.message.content, "the stream says something else than the whole answer")
    return f"first token after {first_s * 1000:.0f} ms"


def check_session(client: openai.OpenAI, model: str) -> str:
    """A conversation keeps its turns, and is gone when it is deleted."""
    conversation = client.conversations.create()
    try:
        for said in ("My name is Tamsin.", "What is my name?"):
            client.responses.create(
                model=model, conversation=conversation.id, input=said, max_output_tokens=24
            )
        items = client.conversations.items.list(conversation.id).data
        expect(len(items) == 4, f"the conversation has {len(items)} items instead of 4")
    finally:
        client.conversations.delete(conversation.id)
    try:
        client.conversations.retrieve(conversation.id)
    except openai.NotFoundError:
        return "4 items"
    raise Unsound("a deleted conversation is still there")


def check_continuation(client: openai.OpenAI, model: str) -> str:
    """An answer that was cut goes on where it ended, as if it had not been cut."""
    asked: dict[str, Any] = {"model": model, "temperature": 0}
    question = "Tell me about yourself."
    whole = client.responses.create(**asked, input=question, max_output_tokens=24, store=False)
    begun = client.responses.create(**asked, input=question, max_output_tokens=8)
    with ExitStack() as stored:
        stored.callback(client.responses.delete, begun.id)
        if begun.status == "completed":
            return "the answer was too short to be cut"
        rest = client.responses.create(**asked, input=[], previous_response_id=begun.id, max_output_tokens=16)
        stored.callback(client.responses.delete, rest.id)
    expect(begun.output_text + rest.output_text == whole.output_text, "the parts do not make the whole")
    return "two parts make the whole"


def check_errors(client: openai.OpenAI, model: str) -> str:
    """What is wrong is refused with the field's name."""
    try:
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], temperature=9
        )
    except openai.BadRequestError as error:
        expect(error.param == "temperature", f"the error names {error.param!r} instead of temperature")
        return "400 names the field"
    raise Unsound("a temperature of 9 was accepted")


CHECKS: tuple[Callable[[openai.OpenAI, str], str], ...] = (
    check_chat,
    check_session,
    check_continuation,
    check_errors,
)


def expect(holds: bool, otherwise: str) -> None:
    """Raises: Unsound."""
    if not holds:
        raise Unsound(otherwise)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.smoke", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("base_url", help="what OpenAI's clients call base_url")
    parser.add_argument(
        "--key", default=os.environ.get("SMOKE_KEY"), help="API key (or the variable SMOKE_KEY)"
    )
    options = parser.parse_args(arguments)
    client = openai.OpenAI(
        base_url=options.base_url, api_key=options.key or "none", max_retries=2, timeout=120
    )
    try:
        if options.key and options.key.startswith("dm-"):
            parse_key(options.key)
        model = client.models.list().data[0].id
    except (openai.APIError, ValueError, IndexError) as error:
        print(f"FAILED models: {type(error).__name__}: {error}")
        return 1
    passed = [_passes(check, client, model) for check in CHECKS]
    return 0 if all(passed) else 1


def _passes(check: Callable[[openai.OpenAI, str], str], client: openai.OpenAI, model: str) -> bool:
    name = check.__name__.removeprefix("check_")
    began = time.monotonic()
    try:
        found = check(client, model)
    except (openai.APIError, Unsound) as error:
        print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"ok {name}: {found} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
