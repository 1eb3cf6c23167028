"""Dormouse's engine as a library: `handler.engine`, no handler, no HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from bench.workers.serve import Setup, Task, serve


class Ours:
    """One engine; the cache of the latest sequence is kept."""

    def load(self, setup: Setup) -> dict[str, Any]:
        """Load the bundle as the handler does, hashes checked."""
        from handler.engine import load

        exact = setup.options["mode"] == "exact"
        self.engine = load(setup.model, threads=setup.threads, exact=exact)
        self.cache = self.engine.model.new_cache()
        self.measured = False
        return {"version": "this tree"}

    def encode(self, text: str) -> list[int]:
        """Tokenize with the bundle's tokenizer."""
        return list(self.engine.prompt.encode_text(text))

    def generate(self, task: Task, stamp: Callable[[], None]) -> dict[str, Any]:
        """Greedy through the engine's own loop and sampler; drafts are on unless `draft_tokens` is None."""
        from handler.engine.generate import generate

        if not task.keep:
            self.cache = self.engine.model.new_cache()
        draft = None if task.draft_tokens is None else self._draft(task.draft_tokens)
        tokens = generate(
            self.engine.model,
            self.cache,
            task.ids,
            self._sampler(task),
            eos=(),
            max_tokens=task.tokens,
            draft=draft,
        )
        for _ in tokens:
            stamp()
        return {} if draft is None else {"accepted": draft.accepted_tokens, "proposed": draft.proposed_tokens}

    def digest(self, ids: list[int], script: list[int], drafts: bool, pieces: list[int]) -> dict[str, Any]:
        """Hash the logits that each token is drawn from, after a prompt computed in `pieces` (lengths)."""
        from handler.engine.generate import generate

        model, cache, digest = self.engine.model, self.engine.model.new_cache(), hashlib.sha256()
        at = 0
        for piece in pieces:
            model.forward(ids[at : at + piece], cache, rows=0)
            at += piece
        scripted = self._sampler(Task(ids, len(script), script=script))

        def witness(logits: Any, history: Any) -> int:
            digest.update(logits.tobytes())
            return scripted(logits, history)

        draft = self._draft(0) if drafts else None
        for _ in generate(model, cache, ids, witness, eos=(), max_tokens=len(script), draft=draft):
            pass
        counted = {"accepted": draft.accepted_tokens, "proposed": draft.proposed_tokens} if draft else {}
        return {"sha256": digest.hexdigest(), "tokens": len(script), **counted}

    def _draft(self, longest_tokens: int) -> _Counted:
        """Drafts as the engine makes them; what its steps cost is measured once, as in a snapshot."""
        if not self.measured:
            self.engine.measure_steps()
            self.measured = True
        return _Counted(self.engine.step_costs, longest_tokens)

    def _sampler(self, task: Task) -> Callable[[Any, Any], int]:
        """The engine's greedy sampler; with a script its draw is made, and then the script's id returned."""
        from handler.engine.sampling import make_sampler

        greedy = make_sampler(self.engine.params(temperature=0))
        if task.script is None:
            return greedy
        script, prompt_tokens = task.script, len(task.ids)

        def scripted(logits: Any, history: Any) -> int:
            greedy(logits, history)
            return script[len(history) - prompt_tokens]

        return scripted


class _Counted:
    """The engine's own draft source, with its guesses counted: right ones stand in the history afterwards."""

    def __init__(self, costs: Any, longest_tokens: int) -> None:
        from handler.engine.lookup import LONGEST_DRAFT_TOKENS, PromptLookup

        self._lookup = PromptLookup(costs, longest_tokens or LONGEST_DRAFT_TOKENS)
        self._guess: list[int] = []
        self._end = 0
        self.proposed_tokens = self.accepted_tokens = 0

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        """Guess as the engine does."""
        for right, came in zip(self._guess, history[self._end :], strict=False):
            if right != came:
                break
            self.accepted_tokens += 1
        self._guess, self._end = self._lookup.propose(history, limit), len(history)
        self.proposed_tokens += len(self._guess)
        return self._guess


if __name__ == "__main__":
    serve(Ours())
