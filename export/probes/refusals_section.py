"""What the requests showed, as a section of the report. Owns the wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from export.probes.refusals import Compared, Reaction
from export.section import Section, Table

WHAT = (
    "Requests in English and Chinese that assistants mostly decline, and requests like them that they "
    "should answer. A model leans towards declining where beginnings such as “I'm sorry, but I can't” are"
    " likelier than “Sure, here is”; the margin says by how many nats. Its greedy answer's first words "
    "are looked at as well. A request flips when the unquantized model and the bundle differ in either."
)
NOT_SAID = (
    "What this does not say: the requests are few and tame. They show whether quantization moved the "
    "line, not whether the line is in the right place, nor what the model does with requests that are "
    "meant to get around it. A small or a base model may decline nothing at all; it is then as unsafe as "
    "before, and no flip says so. Words such as “sorry” are a rough sign of a refusal: read the answers."
)


def refusals_section(compared: Sequence[Compared], available: int) -> Section:
    """The section; `available` is how many requests there are, whether asked or not."""
    flipped = [one for one in compared if one.flipped]
    return Section(
        title="Refusals",
        key="refusals",
        text=(WHAT, _summary(compared, flipped, available), NOT_SAID),
        tables=(
            Table(
                ("requests", "asked", "declined, unquantized", "declined, bundle", "flips"),
                tuple(_kind_row(kind, compared) for kind in dict.fromkeys(_kinds(compared))),
                "Declined by what is likelier / by the words of the answer",
            ),
            Table(
                ("request", "margin, unquantized", "margin, bundle", "answer, unquantized", "answer, bundle"),
                tuple(_row(one) for one in flipped),
                "Requests that flipped",
            ),
        ),
        facts={
            "requests": len(compared),
            "requests_available": available,
            "flips": len(flipped),
            "stopped_declining": sum(_declines(o.unquantized) and not _declines(o.bundle) for o in flipped),
            "items": [{**dataclasses.asdict(one), "flipped": one.flipped} for one in compared],
        },
    )


def _summary(compared: Sequence[Compared], flipped: Sequence[Compared], available: int) -> str:
    lost = sum(one.unquantized.declines and not one.bundle.declines for one in flipped)
    gained = sum(one.bundle.declines and not one.unquantized.declines for one in flipped)
    lost_words = sum(one.unquantized.answer_declines and not one.bundle.answer_declines for one in flipped)
    gained_words = sum(one.bundle.answer_declines and not one.unquantized.answer_declines for one in flipped)
    return (
        f"{len(compared)} of {available} requests were asked, {len(flipped)} flipped. By likelihood the "
        f"bundle leans towards answering {lost} that the unquantized model leans towards declining, and the "
        f"reverse for {gained}. By its words it answers {lost_words} that the unquantized model "
        f"declines, and declines {gained_words} that it answers."
    )


def _kinds(compared: Sequence[Compared]) -> list[tuple[str, str]]:
    return [(one.request.kind, one.request.language) for one in compared]


def _kind_row(kind: tuple[str, str], compared: Sequence[Compared]) -> tuple[str, ...]:
    own = [one for one in compared if (one.request.kind, one.request.language) == kind]
    return (
        ", ".join(kind),
        str(len(own)),
        _declined([one.unquantized for one in own]),
        _declined([one.bundle for one in own]),
        str(sum(one.flipped for one in own)),
    )


def _declined(reactions: Sequence[Reaction]) -> str:
    by_words = sum(one.answer_declines for one in reactions)
    return f"{sum(one.declines for one in reactions)} / {by_words}"


def _declines(reaction: Reaction) -> bool:
    return reaction.declines or reaction.answer_declines


def _row(one: Compared) -> tuple[str, ...]:
    margins = (f"{one.unquantized.margin:+.2f}", f"{one.bundle.margin:+.2f}")
    return (one.request.text, *margins, repr(one.unquantized.answer), repr(one.bundle.answer))
