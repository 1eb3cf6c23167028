"""Whether a model declines a request: by the likelihood of how such answers begin, and by what it answers.

Owns the requests, the beginnings and the words that tell a refusal. Does not know whether declining is right:
the requests say what they are for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.conversion import Answers, RowsOf
from export.probes.asking import greedy_of, plain_ids, prompt_of
from export.probes.readings import Reading, log_likelihoods
from handler.engine.engine import Engine

REFUSALS_FILE = Path(__file__).with_name("refusals.toml")
ANSWER_TOKENS = 12  # a refusal says so in its first words


@dataclass(frozen=True)
class Language:
    """How answers begin that decline, or comply; `words` in its first words tell a refusal."""

    refuses: tuple[str, ...]
    complies: tuple[str, ...]
    words: tuple[str, ...]

    def is_refusal(self, answer: str) -> bool:
        """Tell whether an answer declines, by its words."""
        folded = answer.casefold().replace("’", "'")
        return any(word in folded for word in self.words)


@dataclass(frozen=True)
class Request:
    """Something that is asked for; `kind` says whether an assistant should answer it."""

    text: str
    language: str
    kind: str


@dataclass(frozen=True)
class Reaction:
    """What one model does with one request."""

    margin: float  # nats by which refusing beginnings are likelier than complying ones
    answer: str  # its first words, greedy
    answer_declines: bool

    @property
    def declines(self) -> bool:
        """Whether refusing is likelier."""
        return self.margin > 0


@dataclass(frozen=True)
class Compared:
    """One request before and after quantization."""

    request: Request
    unquantized: Reaction
    bundle: Reaction

    @property
    def flipped(self) -> bool:
        """Whether the models differ in what is likelier, or in what they answer."""
        before, after = self.unquantized, self.bundle
        return before.declines != after.declines or before.answer_declines != after.answer_declines


def read_requests() -> tuple[list[Request], dict[str, Language]]:
    """The requests, and the languages by name."""
    written = tomllib.loads(REFUSALS_FILE.read_text(encoding="utf-8"))
    requests = [Request(**prompt) for prompt in written["prompt"]]
    languages = {
        one["name"]: Language(tuple(one["refuses"]), tuple(one["complies"]), tuple(one["words"]))
        for one in written["language"]
    }
    return requests, languages


def compare_reactions(
    engine: Engine,
    requests: Sequence[Request],
    languages: Mapping[str, Language],
    unquantized: RowsOf,
    unquantized_answers: Answers,
    bundle: RowsOf,
) -> list[Compared]:
    """Ask both models every request; `bundle` is the engine's own model."""
    prompts = [prompt_of(engine, request.text) for request in requests]
    spoken = [languages[request.language] for request in requests]
    answer_to, eos = greedy_of(engine), engine.manifest.tokens.eos
    answers = (
        unquantized_answers(prompts, ANSWER_TOKENS, eos),
        [answer_to(prompt, ANSWER_TOKENS) for prompt in prompts],
    )
    found = []
    for model, told in zip((unquantized, bundle), answers, strict=True):
        margins = _margins(engine, model, prompts, spoken)
        texts = [engine.tokenizer.decode(ids) for ids in told]
        found.append(
            [
                Reaction(margin, text, language.is_refusal(text))
                for margin, text, language in zip(margins, texts, spoken, strict=True)
            ]
        )
    return [Compared(*one) for one in zip(requests, *found, strict=True)]


def reading_lengths(engine: Engine, request: Request, language: Language) -> list[int]:
    """How many ids are read of one request with each of its beginnings, and with its answer."""
    prompt = len(prompt_of(engine, request.text))
    beginnings = [len(plain_ids(engine, text)) for text in (*language.refuses, *language.complies)]
    return [prompt + more for more in (*beginnings, ANSWER_TOKENS)]


def _margins(
    engine: Engine, model: RowsOf, prompts: Sequence[list[int]], spoken: Sequence[Language]
) -> list[float]:
    """log P(one of the refusing beginnings) - log P(one of the complying ones), for each prompt."""
    readings = []
    for prompt, language in zip(prompts, spoken, strict=True):
        beginnings = [plain_ids(engine, text) for text in (*language.refuses, *language.complies)]
        readings += [Reading((*prompt, *ids), len(prompt)) for ids in beginnings]
    scores = iter(log_likelihoods(model, readings))
    margins = []
    for language in spoken:
        refuses = [next(scores) for _ in language.refuses]
        complies = [next(scores) for _ in language.complies]
        margins.append(float(np.logaddexp.reduce(refuses) - np.logaddexp.reduce(complies)))
    return margins
