"""Decoding speed and cost over memory, as SVG. Knows matplotlib; sizes that are computed are hollow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.sizing.figures import Size, hosted_usd, sizes
from infra import prices

COLOURS = ("#2f6f5e", "#b0603a", "#4a6a9b", "#8a6d9c")
PANELS: tuple[tuple[str, Callable[[Size], float]], ...] = (
    ("Decode, tokens/s", lambda row: row.decode_tokens_per_s),
    ("1,000 warm answers, USD", lambda row: row.warm_usd * 1000),
)


def draw(results: dict[str, Any], file: Path) -> None:
    """Write the chart; the same rows give the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "sizing"
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4))
    for axis, (title, value) in zip(axes, PANELS, strict=True):
        for (name, bundle), colour in zip(results["bundles"].items(), COLOURS, strict=False):
            rows = sizes(bundle["rows"])
            axis.plot([row.memory_mib for row in rows], list(map(value, rows)), color=colour, label=name)
            for row in rows:
                face = colour if row.measured else "white"
                axis.plot(row.memory_mib, value(row), "o", color=colour, markerfacecolor=face)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("memory, MiB")
        axis.set_yscale("log")
        axis.spines[["top", "right"]].set_visible(False)
    for model, style in zip(prices.HOSTED, ("--", ":"), strict=True):
        axes[1].axhline(hosted_usd(model) * 1000, color="#777777", linestyle=style, label=model.name)
    axes[1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
