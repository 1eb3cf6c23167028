"""What is found out about a finished bundle beyond its fidelity: bias, refusals, injections.

Owns how much is read: the unquantized model reads slowly, so that a larger model gets fewer of the pairs and
requests, which lie in an order in which every beginning holds some of each kind. Knows no measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from export.conversion import Converted
from export.probes.bias import measure_gaps, read_pairs
from export.probes.bias_section import bias_section
from export.probes.injections import has_room, inject, read_forgeries
from export.probes.injections_section import injections_section
from export.probes.readings import rows_of
from export.probes.refusals import compare_reactions, read_requests, reading_lengths
from export.probes.refusals_section import refusals_section
from export.section import Section
from export.stages import Stages
from handler.engine import load

WORK = 1e12  # tokens times parameters, for pairs and for requests each
FEWEST_TOKENS = 512
FEWEST_CONTEXT_TOKENS = 128  # a shorter context hardly holds a question within a template

Asked = TypeVar("Asked")


def probe(folder: Path, converted: Converted, stages: Stages) -> list[Section]:
    """Probe the bundle in `folder`, whose manifest may still be a draft, beside the unquantized model."""
    if converted.context_tokens < FEWEST_CONTEXT_TOKENS:
        return []
    engine = load(folder)
    bundle, unquantized = rows_of(engine.model), converted.unquantized_rows
    most = max(FEWEST_TOKENS, int(WORK / converted.dims.parameters))
    pairs, (requests, languages), forgeries = read_pairs(), read_requests(), read_forgeries()
    encode = engine.prompt.encode_text
    lengths = [[len(reading.ids) for reading in pair.readings(encode)] for pair in pairs]
    read = _within(pairs, lengths, most, converted.context_tokens)
    lengths = [reading_lengths(engine, request, languages[request.language]) for request in requests]
    asked = _within(requests, lengths, most, converted.context_tokens)
    sections = []
    with stages.stage("probes", f"{len(read)} pairs, {len(asked)} requests, injections", total=3) as done:
        if read:
            sections.append(bias_section(measure_gaps(read, encode, unquantized, bundle), len(pairs)))
        done(1)
        if asked:
            compared = compare_reactions(
                engine, asked, languages, unquantized, converted.unquantized_answers, bundle
            )
            sections.append(refusals_section(compared, len(requests)))
        done(1)
        if has_room(engine, forgeries):
            sections.append(injections_section(inject(engine, forgeries, bundle)))
        done(1)
    return sections


def _within(items: Sequence[Asked], lengths: Sequence[Sequence[int]], most: int, context: int) -> list[Asked]:
    """The first items that fit in the context and are together at most so many tokens; one at least."""
    chosen, left = list[Asked](), most
    for item, own in zip(items, lengths, strict=True):
        if max(own) >= context:
            continue
        if sum(own) > left and chosen:
            break
        chosen.append(item)
        left -= sum(own)
    return chosen
