"""One bundle before the judge: which models are run on which text, in which order, and what comes of it.

Owns the order that keeps memory low: one model at a time, of two at most what they computed is held. Does not
know the measures (`evaluate`, `exactness`, `layers`) or the limits (`verify`, `limits`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export.conversion import Computed, Converted, Past
from export.errors import VerificationError
from export.evaluate import Fidelity, Positions, agreement_length, compare, fidelity
from export.exactness import compare_at_the_end, compare_threads, compare_ways
from export.layers import LayerError, first_difference, layer_errors, other_shapes
from export.limits import LIMITS, compare_fidelity
from export.served import computed, open_model
from export.stages import Stages
from export.texts import Sample, own_answers
from export.verdict import Agreement, Verdict
from export.verify import (
    Check,
    compare_precisely,
    compare_rounding,
    compare_tensors,
    compare_values,
    compare_weights,
)
from handler.engine import ort
from handler.engine.bundle import Manifest

CUT_TOKENS = 96  # of the text that is read in every way
END_TOKENS = 8  # read at the end of the context
SEED = 6


@dataclass(frozen=True)
class Texts:
    """What a model is judged on: texts given, and prompts it answers itself."""

    given: Sequence[Sample]
    prompts: Sequence[list[int]] = ()


def judge(
    folder: Path,
    manifest: Manifest,
    converted: Converted,
    texts: Texts,
    stages: Stages,
    text_checks: Sequence[Check] = (),
) -> Verdict:
    """Run every check on the bundle in `folder`."""
    limits = LIMITS[manifest.quantization.recipe]
    tokens = sum(len(sample.ids) for sample in texts.given)
    with stages.stage("verify", f"{tokens} tokens, against transformers", total=5) as done:
        court = _Court(folder, manifest, converted, texts)
        checks = [*text_checks, *court.run_as_served()]
        done(1)
        measured = court.compare_with_unquantized()
        done(1)
        checks += court.compare_with_stored()
        done(1)
        checks += court.compare_at_the_end()
        done(1)
        if converted.weight_errors is not None:
            checks += compare_weights(converted.weight_errors(), limits.weight_scale)
        whole = _whole(measured)
        checks += compare_fidelity(whole, limits)
        done(1)
    return Verdict(
        checks=tuple(checks),
        fidelity=whole,
        exact=all(check.passed for check in court.invariances),
        by_kind={kind: fidelity(positions) for kind, positions in measured.items()},
        agreements=tuple(court.agreements),
        layers=tuple(court.layers),
        kinds=tuple(sample.kind for sample in court.samples),
    )


def measure(folder: Path, manifest: Manifest, converted: Converted, texts: Texts) -> Fidelity:
    """The fidelity that `judge` finds, and nothing else of it."""
    court = _Court(folder, manifest, converted, texts)
    court.serve()
    return _whole(court.compare_with_unquantized())


def _whole(measured: Mapping[str, Sequence[Positions]]) -> Fidelity:
    return fidelity([each for kind in measured.values() for each in kind])


class _Court:
    """The models that are compared, one after the other, and what they said as long as it is needed."""

    def __init__(self, folder: Path, manifest: Manifest, converted: Converted, texts: Texts) -> None:
        self._folder, self._manifest, self._converted, self._texts = folder, manifest, converted, texts
        self.samples: list[Sample] = list(texts.given)
        self.invariances: list[Check] = []
        self.agreements: list[Agreement] = []
        self.layers: list[LayerError] = []
        self._served: list[Computed] = []
        self._unquantized: list[Computed] = []  # kept only where there is no other to compare values with
        self._end, self._past = _end_of_context(manifest, texts.given[0].ids)

    @property
    def _ids(self) -> list[list[int]]:
        return [sample.ids for sample in self.samples]

    def serve(self) -> Any:
        """Let the graph answer and read; what it computes is kept. Returns the model.

        Raises: VerificationError where that is not finite: nothing can be sampled or compared.
        """
        model = open_model(self._folder, self._manifest, threads=1)
        self.samples += own_answers(model, self._texts.prompts, self._manifest.tokens.eos)
        self._served = computed(model, self._ids)
        if not all(np.isfinite(each.logits).all() for each in self._served):
            raise VerificationError(["logits are not finite: the model overflows, or is damaged"])
        return model

    def run_as_served(self) -> list[Check]:
        """The graph's shapes and what its bits depend on; its logits are kept."""
        manifest, ids = self._manifest, self._texts.given[0].ids[:CUT_TOKENS]
        model = self.serve()
        shapes = compare_tensors(model, manifest)
        whole = self._served[0].logits[: len(ids)]
        invariances = compare_ways(model, ids, whole)
        if self._past is not None:
            invariances.append(compare_at_the_end(model, self._end, self._past))
        del model  # before the next: two at once would count twice in memory
        threads = max(2, ort.usable_cores())
        many = open_model(self._folder, manifest, threads=threads)
        invariances.append(compare_threads(many, threads, ids, whole))
        # Some kernels give other bits for other cuts. Of a fused graph that is not expected; a universal one
        # says so in its manifest, and is served without guesses.
        required = manifest.source.way == "fused"
        self.invariances = [dataclasses.replace(check, required=required) for check in invariances]
        return [shapes, *self.invariances]

    def compare_with_unquantized(self) -> dict[str, list[Positions]]:
        """What was measured at every position, by kind of text."""
        unquantized = self._converted.unquantized(self._ids, None)
        measured: dict[str, list[Positions]] = {}
        for sample, own, served in zip(self.samples, unquantized, self._served, strict=True):
            measured.setdefault(sample.kind, []).append(compare(own.logits, served.logits, sample.ids))
            if sample.start is not None:
                agreed = agreement_length(own.logits, sample.ids, sample.start)
                self.agreements.append(Agreement(len(sample.ids) - sample.start, agreed))
        self.layers = layer_errors(self._served, unquantized)
        if other_shapes(self._served, unquantized):
            self._past = None  # none fits both: what is unlike is told by the check of values
        if self._converted.stored is None:
            self._unquantized = unquantized
        return measured

    def compare_with_stored(self) -> list[Check]:
        """The graph against transformers on the very weights that it holds."""
        if self._converted.stored is None:
            served, self._served = self._served, []
            detail = "against transformers in float32"
            return [self._values("values", served, self._ids, None, detail, self._unquantized)]
        exact = computed(open_model(self._folder, self._manifest, accuracy_level=0), self._ids)
        rounding = compare_rounding(self._served, exact, self._manifest.dims.layers)
        self._served = []
        detail = "accuracy level 0 against the original graph on the stored weights"
        return [rounding, self._values("values", exact, self._ids, None, detail)]

    def compare_at_the_end(self) -> list[Check]:
        """The same for the last positions that the context has."""
        if self._past is None:
            return []
        found = computed(open_model(self._folder, self._manifest, accuracy_level=0), [self._end], self._past)
        detail = f"positions from {self._past.length:,} on, behind a made-up past"
        return [self._values("values at the limit", found, [self._end], self._past, detail)]

    def _values(
        self,
        name: str,
        found: Sequence[Computed],
        texts: Sequence[list[int]],
        past: Past | None,
        detail: str,
        expected: Sequence[Computed] | None = None,
    ) -> Check:
        """The check, and in its detail where the difference begins."""
        if expected is None:
            expected = (self._converted.stored or self._converted.unquantized)(texts, past)
        check = compare_values(name, found, expected, detail)
        precise = self._converted.precise
        if not check.passed and precise is not None:
            one_by_one = (precise(text, past) for text in texts)  # held no longer than it is needed
            check = compare_precisely(check, found, expected, one_by_one)
        if check.passed:
            return check
        return dataclasses.replace(check, detail=f"{check.detail}; {first_difference(found, expected)}")


def _end_of_context(manifest: Manifest, ids: list[int]) -> tuple[list[int], Past | None]:
    """Some ids, and what stands before them so that they come last; nothing if the context is too short."""
    dims, end = manifest.dims, ids[:END_TOKENS]
    before = manifest.context_tokens - len(end) - 1  # an odd count is computed with one more row
    if before < 1 or len(end) < 2:
        return end, None
    random = np.random.default_rng(SEED)
    shape = dims.kv_heads, before, dims.head_dim
    keys, values = (random.standard_normal(shape, np.float32) for _ in range(2))
    # As in real caches, a head's values have something in common. Thousands of values about zero would add up
    # to next to nothing, and what is left of such a sum depends on its order in more than the last digits.
    values += random.standard_normal((dims.kv_heads, 1, dims.head_dim), np.float32)
    return end, Past(keys, values)
