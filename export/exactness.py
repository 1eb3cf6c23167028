"""Whether a bundle's bits depend on how they are computed: cuts, a cached prefix, guesses, threads.

Owns the ways that are compared. Whether what fails here stops the export, the judge decides; a bundle that is
made all the same says so in its manifest, and is served without guesses. Does not know which model it looks
at, nor on which instruction set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.conversion import Past
from export.served import all_logits
from export.verify import Check, difference
from handler.engine.generate import generate
from handler.engine.sampling import SamplingParams, make_sampler

Float32 = NDArray[np.float32]

CUTS = (1, 2, 3, 7, 16)
CHUNKED_TOKENS = 24
ANSWER_TOKENS = 16
GUESSES = ((1, 1), (1, 0), (2, 2), (2, 1), (7, 7), (7, 4), (7, 0))  # ids guessed, and how many rightly
STEPS = 9  # single ids at the end of a text, from an odd or an even place on


def compare_ways(model: Any, ids: Sequence[int], whole: Float32) -> list[Check]:
    """Every way of one session against `whole`, the logits of all ids in one call."""
    short = ids[:CHUNKED_TOKENS]
    return [compare_chunks(model, short), compare_prefix(model, ids, whole), compare_guesses(model, short)]


def compare_chunks(model: Any, ids: Sequence[int]) -> Check:
    """Whether logits stay bit-identical however the text is cut, and after a wrong guess is taken back."""
    whole = all_logits(model, ids)
    worst = 0.0
    for size in CUTS:
        cache, parts = model.new_cache(), []
        for start in range(0, len(ids), size):
            chunk = list(ids[start : start + size])
            wrong = [*chunk, *reversed(ids)][: len(chunk) + 3]
            room = model.context_tokens - cache.length - len(wrong)
            if size == 7 and room > 1:  # guess three more, wrongly, and take them back
                parts.append(np.array(model.forward(wrong, cache, rows=len(wrong))[: len(chunk)]))
                cache.truncate(start + len(chunk))
            else:
                parts.append(np.array(model.forward(chunk, cache, rows=len(chunk))))
        worst = max(worst, difference(np.concatenate(parts), whole))
    detail = "cuts of 1, 2, 3, 7 and 16 tokens, a guess taken back"
    return Check("chunk invariance", worst == 0.0, worst, 0.0, detail)


def compare_at_the_end(model: Any, ids: Sequence[int], past: Past) -> Check:
    """Whether the last positions of the context have the same bits however many are computed in one call."""
    whole = all_logits(model, ids, past)
    counts = range(1, len(ids))
    worst = max(difference(all_logits(model, ids[:count], past), whole[:count]) for count in counts)
    detail = f"calls of 1 to {counts[-1]} rows against {len(ids)}, behind {past.length:,} positions"
    return Check("chunk invariance at the limit", worst == 0.0, worst, 0.0, detail)


def compare_prefix(model: Any, ids: Sequence[int], whole: Float32) -> Check:
    """Whether going on from a cached prefix, odd or even, gives the same, whatever had followed it before."""
    cache, worst, middle = model.new_cache(), 0.0, len(ids) // 2
    model.forward(ids, cache, rows=0)
    for kept in {1, 2, middle, middle + 1, len(ids) - 1} & set(range(1, len(ids))):
        cache.truncate(kept)
        model.forward(ids[::-1][: len(ids) - kept], cache, rows=0)
        cache.truncate(kept)
        rest = ids[kept:]
        worst = max(worst, difference(np.array(model.forward(rest, cache, rows=len(rest))), whole[kept:]))
    return Check("prefix invariance", worst == 0.0, worst, 0.0, "a cached prefix kept and gone on from")


def compare_guesses(model: Any, ids: Sequence[int]) -> Check:
    """Whether a greedy answer and its log-probabilities stay the same with right and wrong guesses."""
    plain = _answer(model, ids, None)
    other = sum(_answer(model, ids, _Told(ids, plain, *guess)) != plain for guess in GUESSES)
    detail = f"answers changed by guesses of 1, 2 and 7 tokens, right and wrong, of {len(GUESSES)}"
    return Check("guess invariance", other == 0, other, 0, detail)


def compare_threads(many: Any, threads: int, ids: Sequence[int], whole: Float32) -> Check:
    """Whether several threads give the bits of one, for the text in one call and for single ids."""
    worst = difference(all_logits(many, ids), whole)
    start = max(len(ids) - STEPS, 1)
    cache = many.new_cache()
    many.forward(ids[:start], cache, rows=0)
    for at in range(start, len(ids)):
        worst = max(worst, difference(many.forward([ids[at]], cache), whole[at : at + 1]))
    return Check("thread invariance", worst == 0.0, worst, 0.0, f"1 thread against {threads}")


class _Told:
    """Guesses the coming ids of a known answer: the first `right` of them as they are, the others wrongly."""

    def __init__(self, prompt: Sequence[int], answer: Sequence[Any], count: int, right: int) -> None:
        self._known = [*prompt, *(token.id for token in answer)]
        self._count, self._right = count, right

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        """Guess up to `limit` ids that may follow `history`."""
        coming = self._known[len(history) :][: min(self._count, limit)]
        return [id_ if at < self._right else int(id_ == 0) for at, id_ in enumerate(coming)]


def _answer(model: Any, ids: Sequence[int], draft: _Told | None) -> list[Any]:
    sampler = make_sampler(SamplingParams(temperature=0))
    told = generate(
        model,
        model.new_cache(),
        ids,
        sampler,
        eos=(),
        max_tokens=ANSWER_TOKENS,
        draft=draft,
        top_logprobs=1,
    )
    return list(told)
