"""Who talks, how long and over which API: the conversation mix as data. Knows no HTTP and no load tool.

The shares are an assumption, stated here and nowhere else: most conversations are short, few are long, some
are kept by the server and some of those are taken up again after a pause.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Api = Literal["chat", "responses", "conversation"]


@dataclass(frozen=True)
class Kind:
    """One sort of conversation; `api` says who keeps the history: the client, a chain, a conversation."""

    name: str
    share: int  # of all conversations, in parts
    api: Api
    turns: tuple[int, int]
    streamed: float  # share of its answers
    pauses: bool = False  # left alone once for ten times the usual while


KINDS = (
    Kind("short chat", 5, "chat", (1, 2), streamed=0.8),
    Kind("long chat", 2, "chat", (6, 10), streamed=0.8),
    Kind("kept", 2, "responses", (2, 5), streamed=0.5),
    Kind("resumed", 1, "conversation", (3, 5), streamed=0.5, pauses=True),
)
REMEMBERED_MESSAGES = 6
"""A client that keeps the history itself sends no more than the last few messages."""

MAX_TOKENS = 32
PAUSE_FACTOR = 10
OPENINGS = (
    "Hello! Who are you?",
    "My name is Ada and I live in Bern.",
    "What is your favourite colour?",
    "How are you today?",
    "Tell me about dormice.",
    "I have a dog and two cats.",
)
FOLLOW_UPS = (
    "Why?",
    "Thank you. What else?",
    "What is my name?",
    "Where do I live?",
    "How many pets do I have?",
    "Say that in other words.",
)


def draw(dice: random.Random) -> Kind:
    """The next conversation's kind."""
    return dice.choices(KINDS, [kind.share for kind in KINDS])[0]


def utterance(dice: random.Random, turn: int) -> str:
    """What is said in a turn, the first being 0."""
    return dice.choice(FOLLOW_UPS if turn else OPENINGS)


def think_s(dice: random.Random, mean_s: float) -> float:
    """How long somebody reads and writes; at most four times the mean, so that a run ends."""
    return min(dice.expovariate(1 / mean_s), 4 * mean_s) if mean_s else 0.0
