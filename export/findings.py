"""The gate's verdict in sections: what was checked, and how far the bundle is from the model.

Owns the wording. Measures nothing.
"""

from __future__ import annotations

import dataclasses

from export.evaluate import Fidelity
from export.section import Chart, Section, Series, Table
from export.verdict import Verdict

WORST_LAYERS = 8

WHAT_THEY_SAY = (
    "Values, invariances and stored weights are about faults: they compare the graph with transformers on "
    "the very weights that it holds, and those weights with the checkpoint's. KL divergence, top-1 and "
    "perplexity are about what quantization costs."
)
WHAT_FIDELITY_SAYS = (
    "The same text before both models. KL divergence counts every change of the next token's distribution, "
    "also those that perplexity, which looks at one token alone, averages away. Perplexity says little where "
    "the text is unlike what the model was trained on."
)
WHAT_LAYERS_SAY = (
    "Keys and values that each layer keeps, the bundle's against the unquantized model's: the size of the "
    "difference over the size of the values. Errors of earlier layers are in those of later ones."
)


def checks(verdict: Verdict) -> Section:
    """Every check with what it may measure, and why the bundle was made though some failed."""
    rows = tuple(
        (
            each.name,
            _outcome(each.passed, each.required),
            _short(each.measured),
            _short(each.limit),
            each.detail,
        )
        for each in verdict.checks
    )
    failed = tuple(at for at, each in enumerate(verdict.checks) if each in verdict.failed)
    text: tuple[str, ...] = (WHAT_THEY_SAY,)
    if verdict.accepted is not None:
        names = ", ".join(each.name for each in verdict.failed)
        text += (f"Failed, and accepted all the same: {names}. The reason given: {verdict.accepted}",)
    table = Table(("check", "passed", "measured", "limit", "what"), rows, failed=failed)
    facts = {each.name: dataclasses.asdict(each) for each in verdict.checks}
    return Section("Checks", "checks", text, (table,), facts=facts)


def fidelity(verdict: Verdict) -> list[Section]:
    """How far predictions moved: on each kind of text, in greedy answers, and in each layer."""
    found = [_predictions(verdict)]
    return found + ([_layers(verdict)] if verdict.layers else [])


def _predictions(verdict: Verdict) -> Section:
    kinds = [*verdict.by_kind.items(), ("all of it", verdict.fidelity)]
    head = ("text", "tokens", "KL mean", "KL 99 %", "KL worst", "top-1", "perplexity", "unquantized")
    tables = [Table(head, tuple((kind, *_cells(measured)) for kind, measured in kinds))]
    facts = {
        **dataclasses.asdict(verdict.fidelity),
        "by_kind": {kind: dataclasses.asdict(measured) for kind, measured in verdict.by_kind.items()},
        "greedy": [dataclasses.asdict(each) for each in verdict.agreements],
    }
    text = [WHAT_FIDELITY_SAYS]
    if verdict.agreements:
        whole = sum(each.agreed == each.tokens for each in verdict.agreements)
        agreed = ", ".join(f"{each.agreed} of {each.tokens}" for each in verdict.agreements)
        text.append(
            f"Greedy answers to {len(verdict.agreements)} prompts, tokens before the unquantized model would "
            f"say another: {agreed}; {whole} agree to their end."
        )
    return Section("Fidelity", "fidelity", tuple(text), tuple(tables), facts=facts)


def _layers(verdict: Verdict) -> Section:
    layers = verdict.layers
    parts = [
        Series(part, tuple((float(at), float(getattr(each, part))) for at, each in enumerate(layers)))
        for part in ("keys", "values")
    ]
    chart = Chart("Relative error by layer", "layer", "relative error", tuple(parts), line=True)
    worst = sorted(range(len(layers)), key=lambda at: -layers[at].worst)[:WORST_LAYERS]
    rows = tuple(
        (
            str(at),
            f"{layers[at].worst:.3g}",
            verdict.kinds[layers[at].worst_text],
            str(layers[at].worst_position),
        )
        for at in worst
    )
    table = Table(("layer", "error of its worst row", "text", "position"), rows, "Worst rows")
    told = [{**dataclasses.asdict(each), "worst_text": verdict.kinds[each.worst_text]} for each in layers]
    facts = {"layers": told}
    return Section("Layers", "layers", (WHAT_LAYERS_SAY,), (table,), (chart,), facts)


def _cells(measured: Fidelity) -> tuple[str, ...]:
    return (
        str(measured.tokens),
        _short(measured.kl_mean),
        _short(measured.kl_p99),
        _short(measured.kl_max),
        f"{measured.top1_agreement:.1%}",
        f"{measured.perplexity:.4g}",
        f"{measured.perplexity_unquantized:.4g}",
    )


def _outcome(passed: bool, required: bool) -> str:
    return "yes" if passed else "no" if required else "no, noted"


def _short(value: float) -> str:
    return f"{value:.3g}"
