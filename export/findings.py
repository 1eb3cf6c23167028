"""The gate's verdict in sections: what was checked, and how far the bundle is from the model.

Owns the wording. Measures nothing.
"""

from __future__ import annotations

import dataclasses

from export.judge import Verdict
from export.section import Section, Table


def checks(verdict: Verdict) -> Section:
    """Every check with what it may measure."""
    rows = tuple(
        (each.name, "yes" if each.passed else "no", f"{each.measured:.3g}", f"{each.limit:.3g}", each.detail)
        for each in verdict.checks
    )
    failed = tuple(at for at, each in enumerate(verdict.checks) if not each.passed)
    table = Table(("check", "passed", "measured", "limit", "what"), rows, failed=failed)
    facts = {each.name: dataclasses.asdict(each) for each in verdict.checks}
    return Section("Checks", "checks", tables=(table,), facts=facts)


def fidelity(verdict: Verdict) -> list[Section]:
    """How far predictions moved."""
    measured = verdict.fidelity
    rows = (
        ("KL divergence to the unquantized model, mean", f"{measured.kl_mean:.3g} nats"),
        ("the same, 99th percentile and worst", f"{measured.kl_p99:.3g}, {measured.kl_max:.3g}"),
        ("top-1 agreement", f"{measured.top1_agreement:.1%}"),
        ("perplexity, unquantized", f"{measured.perplexity_unquantized:.4g}"),
        ("perplexity, this bundle", f"{measured.perplexity:.4g}"),
    )
    text = (f"Measured on {measured.tokens} tokens.",)
    facts = dataclasses.asdict(measured)
    return [Section("Fidelity", "fidelity", text, (Table(("measure", "value"), rows),), facts=facts)]
