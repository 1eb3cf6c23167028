"""What a token costs beside the model: `python -m bench.overhead`, a table of microseconds a token.

The engine's own parts run as they are, on a model that gives fixed logits at once and a session that computes
nothing. Owns the cases and the logits, shaped like those of a trained model. Knows nothing of what a step of
the model takes: 3 % of it is the house's limit.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.options import some_of
from bench.passages import PASSAGE
from handler.engine.generate import generate
from handler.engine.lookup import PromptLookup
from handler.engine.sampling import SamplingParams, make_sampler
from handler.engine.text import TextStream
from handler.engine.values import StopReason, Token

VOCABULARIES = {"smollm2-135m": 49_152, "qwen2.5-0.5b": 151_936}
ROWS = 16  # distinct rows of logits
LIFTED = 60  # ids in a row that a trained model would hold likely
PROMPT_TOKENS = 1000
TOKENS = 200
ROUNDS = 7
BUNDLES = Path("build/bench/models")

Result = dict[str, float]  # case -> microseconds a token

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "temperature 0.7": {"temperature": 0.7},
    "top-k 40": {"top_k": 40},
    "top-p 0.95": {"top_p": 0.95},
    "top-p 0.95 at 0.7": {"top_p": 0.95, "temperature": 0.7},
    "min-p 0.05": {"min_p": 0.05},
    "typical 0.95": {"typical_p": 0.95},
    "greedy, repetition 1.1": {"temperature": 0, "repetition_penalty": 1.1},
    "top-k 50, top-p 0.95, repetition 1.1": {"top_k": 50, "top_p": 0.95, "repetition_penalty": 1.1},
}
STOPS = ("\n\nUser:", "<|im_end|>", "###", "Observation:")


class FixedModel:
    """A model without weights: rows of fixed logits, at once, in an order that no draft foresees."""

    def __init__(self, vocabulary: int, *, flat: bool = False) -> None:
        random = np.random.default_rng(0)
        self.context_tokens = 1 << 20
        self.rows = bell(random, (2 * ROWS, vocabulary))
        if not flat:
            lift_a_few(random, self.rows)
        self._order = iter(random.integers(0, ROWS, 1 << 16).tolist())

    def new_cache(self) -> FixedCache:
        """Make a cache that only counts."""
        return FixedCache()

    def forward(self, ids: Sequence[int], cache: FixedCache, rows: int = 1) -> NDArray[np.float32]:
        """Give the next rows."""
        cache.length += len(ids)
        at = next(self._order)
        return self.rows[at : at + rows]


class FixedCache:
    """A length."""

    length = 0

    def truncate(self, length: int) -> None:
        """Set it."""
        self.length = length

    def reserve(self, total: int) -> None:
        """There is room."""


class Said:
    """Tokens that were decided beforehand."""

    stop_reason: StopReason | None = None

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens

    def __iter__(self) -> Iterator[Token]:
        return iter(self._tokens)

    def close(self) -> None:
        """Nothing to close."""


def bell(random: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Logits of a model that knows nothing: top-p keeps a fifth of the vocabulary, the worst case."""
    return random.normal(0, 2.5, shape).astype(np.float32)


def lift_a_few(random: np.random.Generator, rows: NDArray[np.float32]) -> None:
    """Make them those of a model that knows: a few ids far above the others, top-p keeps one to some tens."""
    for row in rows:
        lifted = random.integers(0, len(row), LIFTED)
        row[lifted] += 8 + random.exponential(3, LIFTED)


def loop(model: FixedModel, sampling: dict[str, Any], top_logprobs: int | None = None) -> Callable[[], int]:
    """One answer after a long prompt, drafts and budget clock included."""
    prompt = np.random.default_rng(1).integers(0, model.rows.shape[1], PROMPT_TOKENS).tolist()
    until_s = time.monotonic() + 1e6

    def should_stop() -> StopReason | None:
        return "deadline" if time.monotonic() >= until_s else None

    def answer() -> int:
        generation = generate(
            model,
            model.new_cache(),
            prompt,
            make_sampler(SamplingParams(seed=1, **sampling)),
            eos=(),
            max_tokens=TOKENS,
            should_stop=should_stop,
            draft=PromptLookup(),
            top_logprobs=top_logprobs,
        )
        return sum(1 for _ in generation)

    return answer


def detokenization(tokenizer: Any, stop: Sequence[str]) -> Callable[[], int]:
    """Ids to text, whole characters, stop strings held back."""
    said = Said([Token(id_) for id_ in tokenizer.encode(PASSAGE, add_special_tokens=False).ids])

    def show() -> int:
        for _ in TextStream(said, tokenizer, stop):
            pass
        return len(said._tokens)

    return show


def bindings(folder: Path, rows: int) -> Callable[[], int]:
    """`OrtModel.forward` on the real graph's tensors, whose session computes nothing."""
    from handler.engine.bundle import read_manifest
    from handler.engine.ort import OrtModel, open_session

    manifest = read_manifest(folder)
    file = manifest.graph.file
    session = open_session((folder / file).read_bytes(), folder, file, threads=1, optimize=False)
    model = OrtModel(_Idle(session), manifest)
    cache = model.new_cache()
    model.forward(list(range(PROMPT_TOKENS)), cache)

    def step() -> int:
        for _ in range(TOKENS):
            model.forward(list(range(rows)), cache, rows=rows)
            cache.truncate(PROMPT_TOKENS)
        return TOKENS

    return step


class _Idle:
    """A session with all of its tensors and none of its work."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: Any) -> None:
        pass


def cases(shape: str) -> dict[str, Callable[[], int]]:
    """Everything that can be measured for one shape; what needs its bundle only where that was made."""
    model = FixedModel(VOCABULARIES[shape])
    found = {f"loop, {name}": loop(model, sampling) for name, sampling in SAMPLINGS.items()}
    found["loop, greedy, 5 log-probabilities"] = loop(model, SAMPLINGS["greedy"], top_logprobs=5)
    unsure = FixedModel(VOCABULARIES[shape], flat=True)
    for name in ("top-p 0.95", "typical 0.95"):
        found[f"loop, {name}, flat logits"] = loop(unsure, SAMPLINGS[name])
    folder = BUNDLES / shape / "ours"
    if (folder / "bundle.json").exists():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        found["text"] = detokenization(tokenizer, ())
        found[f"text, {len(STOPS)} stop strings"] = detokenization(tokenizer, STOPS)
        found["around a step of 1 id"] = bindings(folder, 1)
        found["around a step of 2 ids"] = bindings(folder, 2)
    row = model.rows[0]
    found["argmax alone"] = lambda: sum(int(row.argmax()) >= 0 for _ in range(TOKENS))
    return found


def measure(case: Callable[[], int]) -> float:
    """Median of several runs, in microseconds a token."""
    case()
    gc.disable()
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        tokens = case()
        taken.append((time.perf_counter() - started) / tokens * 1e6)
    gc.enable()
    return statistics.median(taken)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overhead", description="Microseconds a token beside the model."
    )
    parser.add_argument(
        "--shapes",
        type=some_of(VOCABULARIES),
        default=list(VOCABULARIES),
        help=f"some of {', '.join(VOCABULARIES)}",
    )
    shapes = parser.parse_args(arguments).shapes
    results: dict[str, Result] = {
        shape: {name: measure(case) for name, case in cases(shape).items()} for shape in shapes
    }
    print("| µs a token | " + " | ".join(f"{VOCABULARIES[shape]:,}" for shape in shapes) + " |")
    print("| --- |" + " --- |" * len(shapes))
    for name in dict.fromkeys(name for result in results.values() for name in result):
        cells = (f"{results[shape][name]:.0f}" if name in results[shape] else "-" for shape in shapes)
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
