"""How far each matrix by itself, rounded to few bits, moves the model's predictions.

Owns one pass of the published model whose batch grows: at each layer a copy of the text joins for every
matrix of it, and goes on with that one matrix rounded. What is before a matrix is computed once for all that
come later. Weights are streamed as the judge's are, and the head's logits are never whole. Does not know what
the answers are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.graph.facts import Decoder
from export.mixed.units import Unit
from export.quantize import Recipe, dequantize_rows, quantize_rows
from export.reference import Rows, Tensors, streamed_lookup, streamed_model

Tensor = Any  # torch.Tensor; PyTorch is not type checked here
Float32 = NDArray[np.float32]
Progress = Callable[[int], None]

BATCH_BYTES = 256 << 20  # of activations: long texts are read in several passes
MOST_TOKENS = 512
FEWEST_TOKENS = 48
WORK = 1e12  # multiplications: a large model reads less


def divergences(
    source: Path,
    tensors: Tensors,
    facts: Decoder,
    recipe: Recipe,
    units: Sequence[Unit],
    ids: Sequence[int],
    progress: Progress,
) -> dict[str, float]:
    """KL(published || one matrix rounded by `recipe`'s bits), in nats a token, for each unit by name."""
    passes = _cut(ids, facts, len(units))
    found = dict.fromkeys((unit.name for unit in units), 0.0)
    tokens = sum(map(len, passes))
    with torch.inference_mode():
        for text in passes:
            variants = _Variants(tensors, facts, recipe, units, progress)
            for name, total in variants.read(source, text).items():
                found[name] += total / tokens
    return found


def _cut(ids: Sequence[int], facts: Decoder, count: int) -> list[Sequence[int]]:
    """As much of the text as the work allows, in pieces whose batch fits into memory."""
    work = facts.matrix_parameters + facts.vocabulary * facts.width
    tokens = min(MOST_TOKENS, max(FEWEST_TOKENS, int(2 * WORK / (work * count))), len(ids))
    inner = facts.intermediate * (2 if facts.gated else 1)
    row_bytes = 4 * (2 * inner + 4 * facts.hidden) * (count + 1)
    length = max(1, min(tokens, facts.context_tokens, BATCH_BYTES // row_bytes))
    return [ids[start : start + length] for start in range(0, tokens - length + 1, length)]


class _Variants:
    """One text on its way through the model, in as many copies as there are matrices so far, and one more."""

    def __init__(
        self, tensors: Tensors, facts: Decoder, recipe: Recipe, units: Sequence[Unit], progress: Progress
    ) -> None:
        self._tensors = tensors
        self._facts = facts
        self._recipe = recipe
        self._units = units
        self._progress = progress
        self._tables = [unit for unit in units if facts.tensors.embedding in unit.tensors]
        # The first copy is the published model's; the next begin at the embedding, the others follow by
        # layer. A head of its own needs no copy.
        ordered = self._tables + [unit for unit in units if unit.layer is not None]
        self._row = {unit.name: row for row, unit in enumerate(ordered, start=1)}

    def read(self, source: Path, ids: Sequence[int]) -> dict[str, float]:
        """The summed divergence over the text, by unit."""
        model = streamed_model(source, self._tensors)
        self._watch_embedding(model)
        self._watch_layers(model)
        hidden: list[Tensor] = []

        def keep(x: Tensor) -> Tensor:  # [1 + units, T, hidden], where the head would be
            hidden.append(x)
            return x

        model.get_output_embeddings().forward = keep
        model(torch.tensor([list(ids)]), use_cache=False)
        return self._compare(hidden[0])

    def _watch_embedding(self, model: Any) -> None:
        """The first copy is looked up in the published table, a second in the rounded one."""
        facts, embedding = self._facts, model.get_input_embeddings()
        rows: list[Rows] = [self._tensors]
        for unit in self._tables:
            padded = facts.width % self._recipe.block_of_table(facts.width)  # then looked up in float32
            rounded = _RoundedRows(self._tensors, partial(self._round, unit=unit))
            rows.append(self._tensors if padded else rounded)
        lookups = [streamed_lookup(facts.tensors.embedding, each, embedding) for each in rows]
        embedding.forward = lambda ids: torch.cat([lookup(ids) for lookup in lookups])

    def _watch_layers(self, model: Any) -> None:
        stacks, count = self._facts.stacks, 1 + len(self._tables)
        blocks = [block for stack in stacks for block in model.get_submodule(stack.tensors.layers)]
        for layer, block in enumerate(blocks):
            units = [unit for unit in self._units if unit.layer == layer]
            count += len(units)
            block.register_forward_pre_hook(self._joining(count), with_kwargs=True)
            for unit in units:
                for name in unit.tensors:
                    module = model.get_submodule(name.removesuffix(".weight"))
                    module.forward = self._product(module, unit)
        for stack in stacks:  # they end with as many copies
            norm = model.get_submodule(stack.tensors.final_norm.weight.removesuffix(".weight"))
            norm.register_forward_pre_hook(lambda _norm, inputs: (_grown(inputs[0], count),))

    def _joining(self, count: int) -> Callable[..., tuple[Any, Any]]:
        """Before a block: let copies of the published one join those that came so far."""

        def join(_block: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
            grown = _grown(inputs[0], count)
            return (grown, *map(_of_one, inputs[1:])), {name: _of_one(x) for name, x in named.items()}

        return join

    def _product(self, module: Any, unit: Unit) -> Callable[[Tensor], Tensor]:
        """The forward of one matrix: rounded for one copy, published for the others."""
        row = self._row[unit.name]

        def forward(x: Tensor) -> Tensor:  # [joined, T, K] -> [joined, T, N]
            rows = module.weight.T.contiguous() if unit.transposed else module.weight  # [N, K]
            outputs = x @ rows.T
            outputs[row] = x[row] @ self._round(rows, unit).T
            self._progress(rows.numel())
            return outputs if module.bias is None else outputs + module.bias

        return forward

    def _round(self, rows: Tensor, unit: Unit) -> Tensor:
        """To the nearest: which matrices suffer does not depend on how they are rounded."""
        recipe = self._recipe
        block = recipe.block_in(unit.width, is_table=unit.is_table)
        packed = quantize_rows(rows.numpy(), recipe.bits, block, symmetric=recipe.symmetric)
        return torch.from_numpy(dequantize_rows(packed, recipe.bits, unit.width))

    def _compare(self, hidden: Tensor) -> dict[str, float]:
        """KL(first copy || each other), summed over the text; the vocabulary passes by in chunks."""
        head = next(unit for unit in self._units if unit.name == "head")
        copies: list[tuple[Tensor, Unit | None]] = [(each, None) for each in hidden]
        # Tied, the copy with the rounded head was also looked up in the rounded table.
        copies.append((hidden[self._row.get("head", 0)], head))
        published = torch.full(hidden.shape[1:2], -torch.inf)  # [T]
        for rows in self._head():
            published = torch.logaddexp(published, self._logits(hidden[0], rows).logsumexp(-1))
        normalizers = torch.full((len(copies), len(published)), -torch.inf)
        crossed = torch.zeros(len(copies), dtype=torch.float64)
        for rows in self._head():
            own = self._logits(hidden[0], rows)  # [T, chunk]
            p = (own - published[:, None]).exp()
            for at, (each, rounded) in enumerate(copies):
                logits = self._logits(each, rows if rounded is None else self._round(rows, rounded))
                normalizers[at] = torch.logaddexp(normalizers[at], logits.logsumexp(-1))
                crossed[at] += (p * (own - logits)).sum(dtype=torch.float64)
            self._progress(rows.numel())
        total = (crossed + (normalizers - published).sum(-1)).clamp(min=0)  # below zero only by rounding
        found = {name: float(total[row]) for name, row in self._row.items()}
        return {**found, "head": float(total[-1])}

    def _head(self) -> Iterator[Tensor]:
        yield from map(torch.from_numpy, self._tensors.chunks(self._facts.tensors.head.weights[0]))

    def _logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        logits, cap = hidden @ rows.T * self._facts.multipliers.logits, self._facts.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap


class _RoundedRows:
    """A table as its rounded rows."""

    def __init__(self, tensors: Tensors, round_rows: Callable[[Tensor], Tensor]) -> None:
        self._tensors = tensors
        self._round = round_rows

    def chunks(self, name: str) -> Iterator[Float32]:
        """The rows, some at a time."""
        for rows in self._tensors.chunks(name):
            yield self._round(torch.from_numpy(rows)).numpy()


def _grown(x: Tensor, count: int) -> Tensor:
    """The copies so far, and of the first as many more as there should be."""
    return torch.cat([x, x[:1].expand(count - len(x), *x.shape[1:])])


def _of_one(value: Any) -> Any:
    """A mask made for the copies there were at first, for any number of them."""
    return value[:1] if isinstance(value, torch.Tensor) and value.ndim == 4 else value
