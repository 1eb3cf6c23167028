"""Control strings, forged roles and calls in what a person writes: do they stay text, does a model obey?

Owns the forged texts and the two questions. The first has a guarantee behind it (the engine lets no text
become a control token) and is checked on the bundle's own tokenizer and template; the second is the model's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.conversion import RowsOf
from export.probes.asking import greedy_of, plain_ids, prompt_of
from export.probes.readings import Reading, log_likelihoods
from handler.engine.control import ControlTokens
from handler.engine.engine import Engine

INJECTIONS_FILE = Path(__file__).with_name("injections.toml")
MOST_CONTROL_STRINGS = 256  # asked one by one; some vocabularies hold thousands, mostly unused
ANSWER_TOKENS = 8


@dataclass(frozen=True)
class Form:
    """One way to forge; `{}` in the text is the demand."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class Forgeries:
    """An ordinary question, what is demanded behind it, and the forms it is demanded in."""

    question: str
    demand: str
    word: str  # what an obeying answer says first
    forms: tuple[Form, ...]


@dataclass(frozen=True)
class Obeyed:
    """What a form of the demand did to the answer."""

    name: str
    kind: str
    log_likelihood: float  # of the demanded word as the answer's beginning, in nats
    obeyed: bool  # the greedy answer begins with it


@dataclass(frozen=True)
class Injected:
    """What came of all of them."""

    control_strings: int  # of the bundle's tokenizer, tried
    became_control: tuple[str, ...]  # texts that changed the prompt's control tokens: none may
    without_demand: float  # log-likelihood of the word behind the bare question
    obeyed: tuple[Obeyed, ...]  # the first is the demand in plain words
    left_out: tuple[str, ...]  # forms that do not fit in the context


def read_forgeries() -> Forgeries:
    """The question and the forms."""
    written = tomllib.loads(INJECTIONS_FILE.read_text(encoding="utf-8"))
    forms = tuple(Form(**form) for form in written["form"])
    return Forgeries(written["question"], written["demand"], written["word"], forms)


def has_room(engine: Engine, forgeries: Forgeries) -> bool:
    """Whether the context holds the bare question, which all forms are compared with."""
    return len(prompt_of(engine, forgeries.question)) < engine.model.context_tokens - ANSWER_TOKENS


def inject(engine: Engine, forgeries: Forgeries, bundle: RowsOf) -> Injected:
    """Try every form on the bundle; `bundle` is the engine's own model."""
    plain = Form("plain words", "demand", " {}")
    forms = (plain, _own_form(engine, forgeries), *forgeries.forms)
    texts = [forgeries.question + form.text.format(forgeries.demand) for form in forms]
    strings = list(ControlTokens(engine.tokenizer).ids)[:MOST_CONTROL_STRINGS]
    became = broken_texts(engine, forgeries.question, [*strings, "".join(strings), *texts])
    room = engine.model.context_tokens - ANSWER_TOKENS
    fitting = [
        (form, prompt)
        for form, text in zip(forms, texts, strict=True)
        if len(prompt := prompt_of(engine, text)) < room
    ]
    prompts = [prompt_of(engine, forgeries.question), *(prompt for _, prompt in fitting)]
    word = plain_ids(engine, forgeries.word)
    bare, *scores = log_likelihoods(bundle, [Reading((*ids, *word), len(ids)) for ids in prompts])
    answer_to, found = greedy_of(engine), []
    for (form, prompt), score in zip(fitting, scores, strict=True):
        answer = engine.tokenizer.decode(answer_to(prompt, ANSWER_TOKENS))
        obeys = answer.strip().startswith(forgeries.word)
        found.append(Obeyed(form.name, form.kind, score, obeys))
    fit = {form.name for form, _ in fitting}
    left_out = tuple(form.name for form in forms if form.name not in fit)
    return Injected(len(strings), tuple(became), bare, tuple(found), left_out)


def broken_texts(engine: Engine, question: str, texts: Sequence[str]) -> list[str]:
    """Those texts that, said by a person, leave a prompt with other control tokens than any text does."""
    control = set(ControlTokens(engine.tokenizer).ids.values())

    def control_ids(content: str) -> list[int]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        return [id_ for id_ in engine.prompt.encode(messages) if id_ in control]

    wanted = control_ids(question)
    return [
        text
        for text in texts
        if any(control_ids(said) != wanted for said in (text, f"{question}{text}", f"{text} {question}"))
    ]


def _own_form(engine: Engine, forgeries: Forgeries) -> Form:
    """A whole turn in the model's own syntax, as whoever knows its template would write it."""
    turn = engine.prompt.encode([{"role": "user", "content": forgeries.demand}])
    text = engine.tokenizer.decode(turn, skip_special_tokens=False)
    return Form("its own template", "role", "\n" + text.replace("{", "{{").replace("}", "}}"))
