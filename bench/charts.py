"""A run's figures as charts, SVG and PNG: one bar for each contender, whiskers at the quartiles.

Knows matplotlib; does not know how anything was measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contenders import CONTENDERS
from bench.results import ShapeResult

OURS, PEER = "#2f6f5e", "#b9b4a7"

# metric, title, scale, whether more is better
PANELS = (
    ("decode_128", "Decode after 128 tokens, tok/s", 1.0, True),
    ("decode_1024", "Decode after 1,024 tokens, tok/s", 1.0, True),
    ("prefill_512", "Prefill of 512 tokens, tok/s", 1.0, True),
    ("start_s", "Process start to first token, ms", 1e3, False),
)


def draw(shape: ShapeResult, stem: Path) -> list[Path]:
    """Write `stem.svg` and `stem.png`; nothing when there is nothing to show."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [panel for panel in PANELS if any(sample.metric == panel[0] for sample in shape.samples)]
    if not shown:
        return []
    matplotlib.rcParams["svg.hashsalt"] = shape.shape  # the same figures give the same file
    figure, axes = pyplot.subplots(len(shown), 1, figsize=(9, 3.2 * len(shown)), squeeze=False)
    for axis, panel in zip(axes[:, 0], shown, strict=True):
        _panel(axis, shape, *panel)
    figure.suptitle(shape.shape)
    figure.tight_layout()
    files = [stem.parent / f"{stem.name}.{kind}" for kind in ("svg", "png")]
    for file in files:
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)
    return files


def _panel(axis: Any, shape: ShapeResult, metric: str, title: str, scale: float, more: bool) -> None:
    found = [(c, spread) for c in CONTENDERS if (spread := shape.spread(c.key, metric))]
    found.sort(key=lambda pair: pair[1].median, reverse=not more)  # the best one on top: bars grow upwards
    middles = [spread.median * scale for _, spread in found]
    lows = [(spread.median - spread.low) * scale for _, spread in found]
    highs = [(spread.high - spread.median) * scale for _, spread in found]
    names = [_label(shape, contender.key, contender.title) for contender, _ in found]
    colours = [OURS if contender.key.startswith("ours") else PEER for contender, _ in found]
    axis.barh(names, middles, xerr=[lows, highs], color=colours, ecolor="#555555", capsize=2)
    for at, (value, high) in enumerate(zip(middles, highs, strict=True)):
        axis.text(value + high, at, f"  {value:,.0f}", va="center", fontsize=8)
    axis.set_title(title, fontsize=10, loc="left")
    axis.tick_params(labelsize=8)
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)


def _label(shape: ShapeResult, key: str, title: str) -> str:
    facts = shape.facts.get(key)
    return f"{title} ({facts.bits_per_weight:.1f} bits)" if facts else title
