"""The ratios that the engine is held to, declared as data and checked against one run.

Each ratio is taken round by round and then summarized. Does not know how figures were measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.results import ShapeResult
from bench.spread import Spread

S, Q = "smollm2-135m", "qwen2.5-0.5b"
OURS, FAST = "ours-exact", "ours-fast"
PURE, STOCK, GENAI, GENAI_STOCK = "llama-pure", "llama-q4_0", "genai-same", "genai-stock"
D128, D1024, P512, DRAFTS = "decode_128", "decode_1024", "prefill_512", "repeat_drafts_*"
START, TURN, PEAK, ONE_THREAD = "start_s", "second_turn_s", "peak_rss_bytes", "one_thread_decode_128"


@dataclass(frozen=True)
class Goal:
    """`upper` over `lower`, each (contender, metric); a metric that ends in `*` means the best of those."""

    name: str
    upper: tuple[str, str]
    lower: tuple[str, str]
    limits: Mapping[str, float]  # by shape
    at_most: bool = False  # for times and bytes: the ratio must not exceed the limit


GOALS: tuple[Goal, ...] = (
    Goal("decode, exact, vs llama.cpp pure", (OURS, D128), (PURE, D128), {S: 0.95, Q: 0.95}),
    Goal("decode, fast, vs llama.cpp pure", (FAST, D128), (PURE, D128), {S: 1.0, Q: 1.0}),
    Goal("decode, exact, vs llama.cpp stock", (OURS, D128), (STOCK, D128), {S: 1.25, Q: 1.25}),
    Goal("decode, exact, vs genai stock", (OURS, D128), (GENAI_STOCK, D128), {S: 1.4, Q: 1.4}),
    Goal("decode, fast, vs genai, same block", (FAST, D128), (GENAI, D128), {S: 1.0, Q: 1.0}),
    Goal("decode at 1,024, exact, vs pure", (OURS, D1024), (PURE, D1024), {S: 0.85, Q: 0.9}),
    Goal("decode at 1,024, fast, vs pure", (FAST, D1024), (PURE, D1024), {S: 1.05, Q: 1.05}),
    Goal("repeated text, exact, vs pure", (OURS, DRAFTS), (PURE, "repeat_plain"), {S: 2.0, Q: 1.7}),
    Goal("repeated text, exact, vs pure's lookup", (OURS, DRAFTS), (PURE, DRAFTS), {S: 1.3, Q: 1.3}),
    Goal("prefill 512 vs pure", (OURS, P512), (PURE, P512), {S: 1.15, Q: 1.25}),
    Goal("prefill 512 vs genai, same block", (OURS, P512), (GENAI, P512), {S: 1.0, Q: 1.0}),
    Goal("prefill 512 vs OpenVINO", (OURS, P512), ("openvino", P512), {}),
    Goal("start to first token vs pure", (OURS, START), (PURE, START), {S: 0.85, Q: 0.85}, at_most=True),
    Goal("start, handler vs engine", ("ours-handler", START), (OURS, START), {S: 1.6, Q: 1.4}, at_most=True),
    Goal("second turn vs full prefill", (OURS, TURN), (OURS, "first_turn_s"), {S: 0.1, Q: 0.1}, at_most=True),
    Goal("peak memory vs pure", (OURS, PEAK), (PURE, PEAK), {S: 1.0, Q: 1.0}, at_most=True),
    Goal("one thread, fast, vs pure", (FAST, ONE_THREAD), (PURE, ONE_THREAD), {S: 0.95, Q: 1.05}),
)


@dataclass(frozen=True)
class Outcome:
    """How one goal came out on one shape; `ratio` is None where a side was not measured."""

    goal: Goal
    ratio: Spread | None
    limit: float | None

    @property
    def verdict(self) -> str:
        """`met`, `missed`, `reported` where no limit is set, or `not measured`."""
        if self.ratio is None:
            return "not measured"
        if self.limit is None:
            return "reported"
        met = self.ratio.median <= self.limit if self.goal.at_most else self.ratio.median >= self.limit
        return "met" if met else "missed"


def outcomes(result: ShapeResult) -> list[Outcome]:
    """Check every goal on one shape."""
    found = []
    for goal in GOALS:
        upper, lower = _chosen(result, goal.upper), _chosen(result, goal.lower)
        ratio = result.ratio(upper, lower) if upper and lower else None
        found.append(Outcome(goal, ratio, goal.limits.get(result.shape)))
    return found


def _chosen(result: ShapeResult, side: tuple[str, str]) -> tuple[str, str] | None:
    contender, metric = side
    if not metric.endswith("*"):
        return side
    best = result.best(contender, metric.removesuffix("*"))
    return (contender, best) if best else None
