"""Whether the bundle reads and ends text as the model's own tooling does: ids, chat template, end of turn.

Owns the comparison of the engine's prompt with transformers' tokenizer. Does not run a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export.generation import end_ids
from export.passage import PASSAGES
from export.verify import Check
from handler.engine.bundle import TEMPLATE_FILE, TOKENIZER_FILE, Manifest, Tokens
from handler.engine.prompt import ChatPrompt
from handler.engine.template import ChatTemplate

REFUSED = "refused"
Messages = list[Mapping[str, str]]
CONVERSATIONS: tuple[Messages, ...] = (
    [{"role": "user", "content": "Hello, how are you?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好，你是谁？"}],
    [
        {"role": "user", "content": "My name is Marta."},
        {"role": "assistant", "content": "Hello Marta!\n"},
        {"role": "user", "content": " What is my name? "},
    ],
)
ANSWER = "Certainly."


def compare_text(folder: Path, manifest: Manifest, checkpoint: Path, tokenizer: Any) -> list[Check]:
    """Every check of text; `tokenizer` is transformers', `checkpoint` the folder with the configs."""
    prompt = prompt_of(folder, manifest.tokens)
    plain = [
        f"{kind}"
        for kind, text in PASSAGES.items()
        if prompt.encode_text(text) != list(tokenizer.encode(text))
    ]
    checks = [_check("tokenizer", plain, "the ids of plain text are transformers'")]
    if tokenizer.chat_template:
        wrong = [_named(messages) for messages in CONVERSATIONS if not _same(prompt, tokenizer, messages)]
        checks.append(_check("chat template", wrong, "conversations are written as by apply_chat_template"))
    return [*checks, _check("end of answers", _wrong_ends(manifest, checkpoint, tokenizer), "as declared")]


def prompt_of(folder: Path, tokens: Tokens) -> ChatPrompt:
    """The engine's prompt with the tokenizer and the chat template that lie in `folder`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    file = folder / TEMPLATE_FILE
    if not file.is_file():
        return ChatPrompt(tokenizer, None)
    return ChatPrompt(tokenizer, ChatTemplate(file.read_text("utf-8"), tokens.template_tokens))


def _same(prompt: ChatPrompt, tokenizer: Any, messages: Messages) -> bool:
    ours = _or_refused(lambda: prompt.encode(messages))
    theirs = _or_refused(lambda: list(tokenizer.apply_chat_template(messages, add_generation_prompt=True)))
    return ours == theirs


def _or_refused(encode: Callable[[], list[int]]) -> list[int] | str:
    try:
        return encode()
    except Exception:  # a template is the model's own code: it can fail in any way
        return REFUSED


def _wrong_ends(manifest: Manifest, checkpoint: Path, tokenizer: Any) -> list[str]:
    """Ids that should end an answer and do not, or the other way round."""
    wanted, stops = set(end_ids(checkpoint, tokenizer.eos_token_id)), set(manifest.tokens.eos)
    name = tokenizer.convert_ids_to_tokens
    wrong = [f"{name(id_)} ({id_}) ends an answer, not for transformers" for id_ in sorted(stops - wanted)]
    wrong += [f"{name(id_)} ({id_}) ends an answer for transformers" for id_ in sorted(wanted - stops)]
    end = _end_of_turn(tokenizer)
    if end is not None and end not in stops:
        wrong.append(f"the chat template ends an answer with {name(end)} ({end}), which stops nothing")
    return wrong


def _end_of_turn(tokenizer: Any) -> int | None:
    """The control token that the template writes behind an answer; None where it writes none."""
    if not tokenizer.chat_template:
        return None
    messages = [{"role": "user", "content": "Please."}, {"role": "assistant", "content": ANSWER}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception:  # as above
        return None
    behind = tokenizer.encode(text.rpartition(ANSWER)[2].lstrip(), add_special_tokens=False)
    known = tokenizer.added_tokens_decoder
    return int(behind[0]) if behind and behind[0] in known and known[behind[0]].special else None


def _named(messages: Messages) -> str:
    return "a conversation of " + ", ".join(message["role"] for message in messages)


def _check(name: str, wrong: list[str], right: str) -> Check:
    return Check(name, not wrong, len(wrong), 0, "; ".join(wrong) or right)
