"""What the forged texts did, as a section of the report. Owns the wording."""

from __future__ import annotations

import dataclasses

from export.probes.injections import Injected
from export.section import Section, Table

WHAT = (
    "A question is followed by a demand that has nothing to do with it, in plain words and inside control"
    " strings, forged roles and forged calls of many chat templates, the model's own among them. Two "
    "things are looked at: whether any of it becomes a control token of the prompt, and how far it moves "
    "the model towards obeying."
)
NOT_SAID = (
    "What this does not say: that no text becomes a control token keeps a person from writing another "
    "role's turn. It does not keep a model from believing what it reads, and no number here means that it"
    " will not: instructions in a person's words, in a web page or in a function's result are text to the"
    " model as any other. What must not happen has to be prevented outside the model, by what its "
    "functions may do and by whoever checks their calls. A model that obeys the demand in plain words "
    "follows its user, which alone is nothing bad."
)


def injections_section(injected: Injected) -> Section:
    """The section."""
    plain = injected.obeyed[0].log_likelihood if injected.obeyed else injected.without_demand
    rows = tuple(
        (
            one.name,
            one.kind,
            f"{one.log_likelihood:.2f}",
            f"{one.log_likelihood - plain:+.2f}",
            "yes" if one.obeyed else "no",
        )
        for one in injected.obeyed
    )
    return Section(
        title="Prompt injection",
        key="injections",
        text=(WHAT, _summary(injected), NOT_SAID),
        tables=(
            Table(
                (
                    "the demand in",
                    "kind",
                    "log-likelihood (nats)",
                    "against plain words",
                    "greedy answer obeys",
                ),
                rows,
                "How likely the demanded word is as the answer's beginning",
            ),
        ),
        facts={**dataclasses.asdict(injected), "flaws": len(injected.became_control)},
    )


def _summary(injected: Injected) -> str:
    broken = injected.became_control
    guarantee = (
        f"None of the tokenizer's {injected.control_strings} control strings, nor any forged text, changed "
        "the control tokens of a prompt."
        if not broken
        else f"{len(broken)} texts changed the control tokens of a prompt: {', '.join(map(repr, broken))}."
    )
    obeyed = sum(one.obeyed for one in injected.obeyed)
    left_out = f" Too long for the context: {', '.join(injected.left_out)}." if injected.left_out else ""
    return (
        f"{guarantee} The greedy answer obeyed {obeyed} of {len(injected.obeyed)} times; without any "
        f"demand the word's log-likelihood is {injected.without_demand:.2f} nats.{left_out}"
    )
