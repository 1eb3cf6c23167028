"""What a report says of precision: the point that was chosen, and what else there was.

Owns the wording and the charts. Does not measure anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.evaluate import Fidelity
from export.mixed.alternatives import Alternative
from export.mixed.choice import Candidate, points
from export.mixed.search import Trial
from export.mixed.target import Target
from export.section import Chart, Section, Series, Table

TITLE, KEY = "Precision", "precision"
SIZE_AXIS, KL_AXIS = "graph, weights and tokenizer, MB", "KL divergence to the unquantized model, nats"


def chosen_section(
    target: Target,
    ordered: Sequence[Candidate],
    trials: Sequence[Trial],
    measured: Fidelity,
    alternatives: Sequence[Alternative],
) -> Section:
    """The mix that keeps a target: which matrices got eight bits and why those."""
    last = trials[-1]
    widened = {each.unit.name for each in last.point.widened}
    words = (
        f"Chosen to keep {target}: {len(widened)} of {len(ordered)} matrices have eight bits, the others "
        f"four; {last.size_bytes / 1e6:.1f} MB, {measured.kl_mean:.3g} nats, top-1 agreement "
        f"{measured.top1_agreement:.1%}.",
        "Each matrix was rounded by itself and the model's divergence measured; those that save most for a "
        "byte were widened first. The curve adds these up and is scaled to what was measured.",
    )
    facts: dict[str, Any] = {
        "target": str(target),
        "chosen": {"size_bytes": last.size_bytes, "kl": measured.kl_mean, "widened": sorted(widened)},
        "trials": [
            {"size_bytes": each.size_bytes, "kl": each.kl, "widened": len(each.point.widened)}
            for each in trials
        ],
        "sensitivity": {each.unit.name: each.kl for each in ordered},
        **_alternative_facts(alternatives),
    }
    tables = (_kinds(ordered, widened), _alternatives(alternatives))
    return Section(TITLE, KEY, words, tables, (_curve(ordered, trials),), facts)


def plain_section(name: str, size: int, measured: Fidelity, alternatives: Sequence[Alternative]) -> Section:
    """One recipe for all matrices: the point it is, and the formats it might have been."""
    words = (
        f"Stored as {name}: {size / 1e6:.1f} MB, {measured.kl_mean:.3g} nats from the unquantized model, "
        f"top-1 agreement {measured.top1_agreement:.1%}.",
        "The alternatives' sizes are the matrices' alone, without graph and tokenizer; their coarseness is "
        "that of plain rounding, on some rows of some matrices. `--frontier` builds and measures them.",
    )
    facts = {
        "chosen": {"recipe": name, "size_bytes": size, "kl": measured.kl_mean},
        **_alternative_facts(alternatives),
    }
    return Section(TITLE, KEY, words, (_alternatives(alternatives),), (), facts)


def _kinds(ordered: Sequence[Candidate], widened: set[str]) -> Table:
    kinds = sorted({each.unit.kind for each in ordered})
    rows = []
    for kind in kinds:
        of_kind = [each for each in ordered if each.unit.kind == kind]
        wide = [each for each in of_kind if each.unit.name in widened]
        layers = sorted(each.unit.layer for each in wide if each.unit.layer is not None)
        rows.append(
            (
                kind,
                f"{len(wide)} of {len(of_kind)}",
                ", ".join(map(str, layers)) or "–",
                f"{sum(each.kl for each in of_kind):.2g}",
                f"{sum(each.bytes_more for each in wide) / 1e6:.1f}",
            )
        )
    head = ("matrices", "in eight bits", "layers", "KL in four bits, each alone, added up", "MB added")
    return Table(head, tuple(rows), "Where the bits went")


def _curve(ordered: Sequence[Candidate], trials: Sequence[Trial]) -> Chart:
    """The estimated way from none to all widened, and what was built of it."""
    last = trials[-1]
    least = last.size_bytes - last.point.bytes_more
    scale = last.kl / last.point.kl if last.point.kl else 1.0
    estimated = tuple(((least + each.bytes_more) / 1e6, each.kl * scale) for each in points(ordered))
    built = tuple((each.size_bytes / 1e6, each.kl) for each in trials)
    names = (*(f"trial {number}" for number in range(1, len(trials))), "chosen")
    series = (Series("estimated", estimated), Series("built and measured", built, names))
    return Chart("Size and divergence", SIZE_AXIS, KL_AXIS, series)


def _alternatives(alternatives: Sequence[Alternative]) -> Table:
    rows = tuple((each.name, f"{each.matrix_bytes / 1e6:.1f}", f"{each.error:.2%}") for each in alternatives)
    return Table(("all matrices in", "their size, MB", "change of a weight"), rows, "Alternatives")


def _alternative_facts(alternatives: Sequence[Alternative]) -> dict[str, Any]:
    return {
        "alternatives": [
            {"name": each.name, "matrix_bytes": each.matrix_bytes, "weight_error": each.error}
            for each in alternatives
        ]
    }
