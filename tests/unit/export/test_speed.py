"""What bundles are asked when their speed is measured."""

from __future__ import annotations

import pytest

from export.conversion import FEWEST_CONTEXT_TOKENS
from export.speed import ANSWER_TOKENS, PROMPT_TOKENS, lengths


@pytest.mark.parametrize("context", [FEWEST_CONTEXT_TOKENS, 4, 5, 6, 7, 100, 193, 8192])
def test_every_context_holds_a_prompt_and_a_step(context: int) -> None:
    """The time of a step is that between two tokens; with fewer there is nothing to divide by."""
    prompt, answer = lengths(context)
    assert prompt >= 1
    assert answer >= 2
    assert prompt + answer <= context
    assert (prompt, answer) <= (PROMPT_TOKENS, ANSWER_TOKENS)
