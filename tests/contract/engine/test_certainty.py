"""Reading an answer again on real kernels: the bits it was given with; the conversation stays warm."""

from __future__ import annotations

from handler.engine import load
from handler.engine.certainty import certainties
from tests.conftest import TinyBundle


def test_an_answer_read_again_has_the_bits_it_was_given_with(tiny_bundle: TinyBundle) -> None:
    """Log-probabilities are those of decoding, to the bit, and the next turn finds all of it in the cache."""
    engine = load(tiny_bundle("llama", "int4"))
    for size in (5, 6, 150):
        prompt = [3 + at % 400 for at in range(size)]
        given = list(engine.generate(prompt, engine.params(temperature=0), max_tokens=9, top_logprobs=0))
        answer = [token.id for token in given]
        read = certainties(engine.model, engine.warm, prompt, answer, lambda: None)
        assert read is not None
        assert [one.logprob for one in read] == [token.logprob for token in given]
        assert engine.warm.tokens == len(prompt) + len(answer) - 1
        again = engine.generate(prompt, engine.params(temperature=0), max_tokens=9, top_logprobs=0)
        assert list(again) == given
        assert again.cached_tokens == len(prompt) - 1
