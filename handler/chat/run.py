"""An answer as it is asked for, a `Job`, and as it is made, a `Run`.

Knows no model, no queue, no messages and no OpenAI names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from handler.chat.parts import Part, Read
from handler.engine.call_syntax import CallSyntax
from handler.engine.grammar import Grammar
from handler.engine.sampling import SamplingParams
from handler.engine.values import Piece, StopReason, Token


@dataclass(frozen=True)
class Job:
    """What is to be generated, and how."""

    prompt_ids: Sequence[int]
    params: SamplingParams
    max_tokens: int | None = None  # 0: nothing, the prompt is only to be scored
    stop: tuple[str, ...] = ()
    calls: CallSyntax | None = None  # how calls of functions are written, where there may be any
    top_logprobs: int | None = None
    is_text: bool = False  # no conversation: the answer's text goes on with the prompt's
    echo: str | None = None  # the prompt's text, to be said first, scored where log-probabilities are asked
    prior_tokens: int = 0  # so many ids at the end of the prompt are the beginning of this very answer
    retold_tokens: int = 0  # and the last so many of them are told again, before the new ones
    begun_on: str | None = None  # the instruction set that this beginning was computed on
    grammar: Grammar | None = None  # what the answer has to follow
    repeats: bool = False  # another choice for the prompt of the job before it
    resumable: bool = False  # keep back what is not certain yet when the answer is cut
    parts: tuple[Part, ...] | None = None  # explain the answer by these, once it is there; None: do not

    @property
    def is_scored(self) -> bool:
        """Whether the prompt's own log-probabilities are asked for."""
        return self.echo is not None and self.top_logprobs is not None

    @property
    def prior_ids(self) -> Sequence[int]:
        """The beginning of the answer, as far as it is not told again."""
        begin = len(self.prompt_ids) - self.prior_tokens
        return self.prompt_ids[begin : len(self.prompt_ids) - self.retold_tokens]

    @property
    def retold_ids(self) -> Sequence[int]:
        """The ids that are told again."""
        return self.prompt_ids[len(self.prompt_ids) - self.retold_tokens :]


class Run:
    """One answer under way: iterate over it once; its facts are whole when the iteration has ended.

    Pieces without text and tokens are signs of life: the model is busy, or the prompt is being computed.
    """

    def __init__(
        self, job: Job, compute: Callable[[Run], Generator[Piece, None, None]], *, follows: bool = False
    ) -> None:
        self.job = job
        self.follows = follows  # others of the same request have been made before it
        self.stop_reason: StopReason = "cancelled"
        self.prompt_tokens = len(job.prompt_ids)
        self.cached_tokens = 0
        self.output_ids: list[int] = []
        self.ending: tuple[Token, ...] = ()  # the end-of-sequence token, if it came; it has no text
        self.untold: tuple[Piece, ...] = ()  # what came and had not been told when it was closed
        self.prefill_ms = 0.0
        self.decode_ms = 0.0
        self.cold = False
        self.ended_s = math.inf  # not yet
        self.read: Read | None = None  # what an explanation is made of
        self._pieces = compute(self)

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    def close(self) -> None:
        """Stop generating; the model is free for the next request."""
        self._pieces.close()
