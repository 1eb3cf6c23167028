"""The pass: the model as published and the model as rounded so far read the same text, side by side.

Owns the order in which matrices are rounded: each when its inputs arrive and before its outputs leave, so
that it makes good what those before it got wrong. The two models are one batch: its first half is computed
with the published weights, its second with the rounded ones. Weights are streamed as the judge's are; what is
rounded goes to disk. Does not know text, or the arithmetic of rounding.

A matrix is rounded not as it is but as it should be, given its inputs: moved towards the one that best maps
the rounded model's inputs onto the published model's outputs, the error of the residual stream included.
Source: https://arxiv.org/abs/2504.02692 (GPTAQ), https://arxiv.org/abs/2505.11695 (Qronos)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from export.graph.facts import Decoder, Linear, Norm
from export.memory import give_back, large_arrays_kept
from export.quantize import Packed, Recipe, dequantize_rows
from export.reference import Rows, Tensors, streamed_lookup, streamed_model
from export.rounding.gptq import Moments, moments, moments_of, refit, round_rows
from export.rounding.kept import KeptRows

Tensor = Any  # torch.Tensor; PyTorch is not type checked here
Progress = Callable[[int], None]

LOOKUP_DAMPING = 1.0  # of a table that is looked up in too: all directions count, not the head's inputs alone


def round_matrices(
    source: Path,
    tensors: Tensors,
    facts: Decoder,
    recipe: Recipe,
    windows: list[list[int]],
    kept: KeptRows,
    progress: Progress,
) -> None:
    """Round every matrix of the model in `source` into `kept`; the windows of text are of one length."""
    with torch.inference_mode(), large_arrays_kept():
        text = torch.tensor(windows)  # [B, T]
        twins = _Twins(tensors, facts, recipe, kept, progress)
        twins.embedding(source, text)
        twins.layers(source, text)


class _Twins:
    """What is under way while both models read."""

    def __init__(
        self, tensors: Tensors, facts: Decoder, recipe: Recipe, kept: KeptRows, progress: Progress
    ) -> None:
        self._tensors = tensors
        self._facts = facts
        self._recipe = recipe
        self._kept = kept
        self._progress = progress
        self._seen: tuple[Tensor, Moments] | None = None  # the last inputs; several matrices may share them
        self._gap: Tensor = None  # [B * T, hidden], what the rounded model's residual stream lacks

    def embedding(self, source: Path, text: Tensor) -> None:
        """Round the embedding, which a tied head multiplies with; the moments are then the head's inputs'."""
        facts = self._facts
        table = facts.tensors.embedding
        inputs = torch.eye(facts.width)
        if facts.tied:
            hidden = _read(streamed_model(source, self._tensors), text).flatten(0, 1)
            inputs = hidden.T @ hidden
        known = moments(inputs, self._recipe.block_of_table(facts.width), LOOKUP_DAMPING)
        self._keep_table(table, known, facts.width)
        if (reader := facts.reader) is not None:  # its pairs are looked up, never multiplied with
            width = reader.pair_width
            alike = moments(torch.eye(width), self._recipe.block_of_table(width), LOOKUP_DAMPING)
            self._keep_table(reader.table, alike, width)

    def layers(self, source: Path, text: Tensor) -> None:
        """Round the layers' matrices in the order they compute, and a head of its own at the end."""
        facts = self._facts
        model = streamed_model(source, self._tensors)
        for stack in facts.stacks:
            for layer in range(stack.layers):
                self._watch(model, stack, layer)
        self._watch_table(model.get_input_embeddings(), facts.tensors.embedding)
        if facts.reader is not None:
            table = facts.reader.table
            self._watch_table(model.get_submodule(table.removesuffix(".weight")), table)
        hidden = _read(model, torch.cat([text, text]))
        if not facts.tied:
            self._head(facts.tensors.head.weights[0], hidden)

    def _watch_table(self, embedding: Any, table: str) -> None:
        """Let one model look up what was published, the other what was rounded."""
        width = embedding.embedding_dim
        rounded: Rows = self._kept if width % self._recipe.block_of_table(width) == 0 else self._tensors
        lookups = [streamed_lookup(table, rows, embedding) for rows in (self._tensors, rounded)]
        embedding.forward = lambda ids: torch.cat(
            [lookup(half) for lookup, half in zip(lookups, ids.chunk(2), strict=True)]
        )

    def _watch(self, model: Any, facts: Decoder, layer: int) -> None:
        """Let one layer's matrices compute for both models, and its norms tell how far apart they are."""
        for part in (facts.tensors.attention.at(layer), facts.tensors.mlp.at(layer)):
            for linear, adds in ((part.input, False), (part.output, part.post_norm is None)):
                for name in linear.weights:
                    module = model.get_submodule(name.removesuffix(".weight"))
                    module.forward = self._rounding(name, module, linear, adds)
                module.register_forward_hook(_give_back)
            if part.norm is not None:
                _module_of(model, part.norm).register_forward_pre_hook(self._note_gap)

    def _note_gap(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        published, rounded = inputs[0].flatten(0, 1).chunk(2)
        self._gap = published - rounded

    def _rounding(self, name: str, module: Any, linear: Linear, adds: bool) -> Callable[[Tensor], Tensor]:
        """The forward of one matrix; `adds` says that its outputs go to the residual stream as they are."""

        def forward(x: Tensor) -> Tensor:  # [2 * B, T, K] -> [2 * B, T, N]
            rows = module.weight.T.contiguous() if linear.transposed else module.weight  # [N, K]
            published, rounded = x.flatten(0, 1).chunk(2)  # [B * T, K] each
            inputs = self._moments(x, rounded)
            outputs = published @ rows.T
            wanted = outputs + self._gap / self._facts.multipliers.residual if adds else outputs
            target = refit(rows, rounded, wanted, inputs)
            bits = self._recipe.bits_of(name)
            packed = round_rows(target, inputs, bits, symmetric=self._recipe.symmetric)
            self._kept.keep(name, rows.shape[1], bits, [packed])
            self._progress(rows.numel())
            stored = torch.from_numpy(dequantize_rows(packed, bits, rows.shape[1]))
            both = torch.cat([outputs, rounded @ stored.T]).unflatten(0, x.shape[:2])
            return both if module.bias is None else both + module.bias

        return forward

    def _moments(self, x: Tensor, rounded: Tensor) -> Moments:
        """The moments of these inputs, made once for all the matrices that read them."""
        if self._seen is None or self._seen[0] is not x:
            self._seen = None  # before the next is made: they are large
            self._seen = x, moments_of(rounded, self._recipe.block_for(x.shape[-1]))
        return self._seen[1]

    def _head(self, name: str, hidden: Tensor) -> None:
        published, rounded = hidden.flatten(0, 1).chunk(2)
        inputs = moments_of(rounded, self._recipe.block_of_table(hidden.shape[-1]))
        shift = refit(torch.eye(hidden.shape[-1]), rounded, published, inputs)
        self._keep_table(name, inputs, hidden.shape[-1], shift)

    def _keep_table(self, name: str, inputs: Moments, width: int, shift: Tensor | None = None) -> None:
        """Round a matrix of the vocabulary's height, some rows at a time."""
        bits, symmetric = self._recipe.bits_of(name), self._recipe.symmetric

        def chunks() -> Iterator[Packed]:
            for chunk in self._tensors.chunks(name):
                rows = torch.from_numpy(chunk)
                yield round_rows(rows if shift is None else rows @ shift, inputs, bits, symmetric=symmetric)
                self._progress(chunk.size)

        self._kept.keep(name, width, bits, chunks())


def _read(model: Any, ids: Tensor) -> Tensor:
    """The normed hidden states [B, T, hidden] that the head gets."""
    found: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        found.append(x)
        return x

    model.get_output_embeddings().forward = forward
    model(ids, use_cache=False)
    return found[0]


def _module_of(model: Any, norm: Norm) -> Any:
    return model.get_submodule(norm.weight.removesuffix(".weight"))


def _give_back(_module: Any, _inputs: Any, _output: Any) -> None:
    give_back()
