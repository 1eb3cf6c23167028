"""Fused graphs: one module per family declares facts, one builder turns them into ONNX.

Owns the register of families. To add one: a module with a `FAMILY`, its line here, and a parity test.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.config import Config
from export.errors import UnknownArchitecture
from export.graph import (
    gemma2,
    gemma3,
    gpt2,
    granite,
    llama,
    mistral,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    reader_llama,
    smollm3,
)
from export.graph.facts import Family

FAMILIES: tuple[Family, ...] = (
    llama.FAMILY,
    reader_llama.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    gpt2.FAMILY,
    mistral.FAMILY,
    phi3.FAMILY,
    olmo2.FAMILY,
    smollm3.FAMILY,
    granite.FAMILY,
    gemma2.FAMILY,
    gemma3.FAMILY,
)


def family_of(config: Config, families: Sequence[Family] = FAMILIES) -> Family:
    """The family of a config's architecture.

    Raises: UnknownArchitecture naming the architecture and those that are known.
    """
    for family in families:
        if config.architecture in family.architectures:
            return family
    known = ", ".join(name for family in families for name in family.architectures)
    raise UnknownArchitecture(
        f"{config.path}: architectures: {config.architecture} has no fused graph, only {known}"
    )
