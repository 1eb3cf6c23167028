"""What is asked of every contender in every round, and which figures come out of the replies.

A scenario turns a worker into samples, figures by the metric's name. Does not know processes, rounds or
contenders' runtimes, nor how a figure is shown: it is given something that can be asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bench.passages import scripted

DECODED_TOKENS = 48
TURN_TOKENS = 32  # a second turn's new ids
PLAIN_IDS = range(300, 30_000)  # ordinary ids in every vocabulary that is measured
TIMEOUT_S = 300.0

Samples = dict[str, float]


class Asked(Protocol):
    """A worker, as far as scenarios use one."""

    def ask(self, op: str, *, timeout_s: float, **arguments: Any) -> Any:
        """Send a request and wait for the reply."""


@dataclass(frozen=True)
class Way:
    """How one contender is to be asked."""

    drafts: bool  # speculation on, as its users have it
    lookups: tuple[int, ...]  # draft lengths to try on text that repeats itself; 0 is its own choice


@dataclass(frozen=True)
class Scenario:
    """One request or a few that belong together."""

    name: str
    longest_tokens: int  # positions needed: models with a smaller context leave it out
    run: Callable[[Asked, Way, int], Samples]
    rounds: int | None = None  # a long one is asked in so many rounds only


def prompt_ids(seed: str, count: int) -> list[int]:
    """Random ids, the same for all contenders, new in every round: prefix caches must not know them."""
    return random.Random(seed).choices(PLAIN_IDS, k=count)


def _generate(worker: Asked, ids: list[int], tokens: int, way: Way, seed: str, **more: Any) -> dict[str, Any]:
    """Ask for an answer whose ids repeat nothing: where there are drafts, they find nothing to copy."""
    script = prompt_ids(f"{seed} answer", tokens)
    drafts = 0 if way.drafts else None
    reply: dict[str, Any] = worker.ask(
        "generate", timeout_s=TIMEOUT_S, ids=ids, tokens=tokens, script=script, draft_tokens=drafts, **more
    )
    return reply


def _decode_rate(reply: Mapping[str, Any]) -> float:
    stamps: list[float] = reply["stamps_s"]
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


def _first_s(reply: Mapping[str, Any]) -> float:
    first: float = reply["stamps_s"][0] - reply["start_s"]
    return first


def _short(worker: Asked, way: Way, round_: int) -> Samples:
    seed = f"short {round_}"
    return {"decode_128": _decode_rate(_generate(worker, prompt_ids(seed, 128), DECODED_TOKENS, way, seed))}


def _prefill(length: int) -> Callable[[Asked, Way, int], Samples]:
    def run(worker: Asked, way: Way, round_: int) -> Samples:
        seed = f"prefill {length} {round_}"
        reply = _generate(worker, prompt_ids(seed, length), 1, way, seed)
        return {f"prefill_{length}": length / _first_s(reply)}

    return run


def _long(worker: Asked, way: Way, round_: int) -> Samples:
    """A first turn of 1,024 tokens and its answer."""
    seed = f"long {round_}"
    reply = _generate(worker, prompt_ids(seed, 1024), DECODED_TOKENS, way, seed)
    return {"decode_1024": _decode_rate(reply), "first_turn_s": _first_s(reply)}


def _second_turn(worker: Asked, way: Way, round_: int) -> Samples:
    """What comes right after `_long`: the same conversation, its answer, and 32 ids more."""
    seed = f"long {round_}"
    so_far = prompt_ids(seed, 1024) + prompt_ids(f"{seed} answer", DECODED_TOKENS)
    ids = so_far + prompt_ids(f"{seed} turn", TURN_TOKENS)
    return {"second_turn_s": _first_s(_generate(worker, ids, 1, way, f"{seed} second", keep=True))}


def _repeat(worker: Asked, way: Way, _round: int) -> Samples:
    """Text that repeats its prompt, without drafts and with each kind of them."""
    samples: Samples = {}
    for draft in (None, *way.lookups):
        seconds = tokens = accepted = 0.0
        for task in scripted():
            count = len(task.answer_ids)
            reply = worker.ask(
                "generate", timeout_s=TIMEOUT_S, ids=task.prompt_ids, tokens=count, script=task.answer_ids,
                draft_tokens=draft,
            )  # fmt: skip
            seconds += reply["stamps_s"][-1] - reply["stamps_s"][0]
            tokens += count - 1
            accepted += reply.get("accepted", 0)
        name = "repeat_plain" if draft is None else f"repeat_drafts_{draft}"
        samples[name] = tokens / seconds
        if draft is not None:
            samples[f"accepted_drafts_{draft}"] = accepted / tokens
    return samples


SHORT = Scenario("short", 256, _short)
PREFILL_512 = Scenario("prefill_512", 513, _prefill(512))
ROUND: tuple[Scenario, ...] = (
    SHORT,
    PREFILL_512,
    Scenario("long", 1200, _long),
    Scenario("second_turn", 1200, _second_turn),
    Scenario("prefill_2048", 2049, _prefill(2048), rounds=2),
    Scenario("repeat", 700, _repeat),
)
SINGLE: tuple[Scenario, ...] = (SHORT, PREFILL_512)  # with one thread
