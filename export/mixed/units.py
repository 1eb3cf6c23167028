"""What can be widened: the graph's matrices, by name, with the checkpoint's tensors that are stacked in them.

Owns their sizes in either width. Does not know what they compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.graph.facts import Decoder, Linear
from export.quantize import WIDENED_BITS, Recipe

SCALE_BYTES = 4


@dataclass(frozen=True)
class Unit:
    """One matrix of the graph, [height, width]; its bits are chosen as a whole."""

    name: str  # in the graph: layer.3.mlp.output, head
    tensors: tuple[str, ...]
    height: int
    width: int
    is_table: bool = False  # of the vocabulary's rows
    transposed: bool = False  # stored [width, height]

    @property
    def kind(self) -> str:
        """What it does, whichever layer it is of."""
        return self.name.split(".", 2)[2] if self.name.startswith("layer.") else self.name

    @property
    def layer(self) -> int | None:
        """Its layer; None for those of the vocabulary."""
        return int(self.name.split(".")[1]) if self.name.startswith("layer.") else None

    def bytes_in(self, recipe: Recipe, bits: int) -> int:
        """What it takes on disk: codes, scales and, where the recipe has them, codes of zero."""
        block = recipe.block_in(self.width, is_table=self.is_table)
        blocks = -(-self.width // block)
        row = blocks * (block * bits // 8 + SCALE_BYTES)
        return self.height * (row if recipe.symmetric else row + -(-blocks * bits // 8))

    def bytes_more(self, recipe: Recipe) -> int:
        """What widening it adds."""
        return self.bytes_in(recipe, WIDENED_BITS) - self.bytes_in(recipe, recipe.bits)


def quantized_of(facts: Decoder, recipe: Recipe) -> list[Unit]:
    """Every matrix that the recipe quantizes: those that may be widened, and a reader's table of pairs."""
    units = units_of(facts, recipe)
    if (reader := facts.reader) is not None:
        units.append(Unit("pairs", (reader.table,), reader.rows, reader.pair_width, is_table=True))
    return units


def units_of(facts: Decoder, recipe: Recipe) -> list[Unit]:
    """Every matrix that may be widened, in the order they compute."""
    table, head = facts.tensors.embedding, facts.tensors.head.weights
    shape = facts.vocabulary, facts.width
    whole = facts.width % recipe.block_of_table(facts.width) == 0  # else it is looked up in float32
    units = []
    if not facts.tied and whole:
        units.append(Unit("embedding", (table,), *shape, is_table=True))
    first = 0
    for stack in facts.stacks:
        for layer in range(stack.layers):
            units += [
                Unit(f"layer.{first + layer}.{kind}", linear.weights, *size, transposed=linear.transposed)
                for kind, linear, size in _linears(stack, layer)
            ]
        first += stack.layers
    return [*units, Unit("head", (table,) if facts.tied else head, *shape, is_table=True)]


def size_bytes(units: Sequence[Unit], recipe: Recipe) -> int:
    """What they take together, those of the recipe's widened tensors in eight bits."""
    return sum(unit.bytes_in(recipe, recipe.bits_of(unit.tensors[0])) for unit in units)


def _linears(facts: Decoder, layer: int) -> list[tuple[str, Linear, tuple[int, int]]]:
    attention, mlp = facts.tensors.attention.at(layer), facts.tensors.mlp.at(layer)
    queries, keys = facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    inner = facts.intermediate * (2 if facts.gated else 1)
    return [
        ("attention.qkv", attention.input, (queries + 2 * keys, facts.hidden)),
        ("attention.output", attention.output, (facts.hidden, queries)),
        ("mlp.input", mlp.input, (inner, facts.hidden)),
        ("mlp.output", mlp.output, (facts.hidden, facts.intermediate)),
    ]
