"""A comparison as one picture: a panel for each measure, a bar for each model.

Knows matplotlib; does not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.compare.results import Result

BAR = "#2f6f5e"
PANELS = (
    ("bundle, MB", lambda each: each.bundle_bytes / 1e6),
    ("memory at the peak, MB", lambda each: each.speed.peak_bytes / 1e6),
    ("start to ready, s", lambda each: each.speed.load_s),
    ("decode, tokens/s", lambda each: each.speed.decode_tokens_per_s),
    ("bits per byte", lambda each: each.quality.bits_per_byte),
    ("KL to the source, nats", lambda each: each.kl),
    ("cost of 1,000 answers, USD", lambda each: each.fit.usd_per_1000),
    ("prefill, tokens/s", lambda each: each.speed.prefill_tokens_per_s),
)


def draw(results: Sequence[Result], file: Path) -> None:
    """Write the picture as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = "comparison"  # the same figures give the same file
    height = 0.8 + 0.35 * len(results)
    figure, axes = pyplot.subplots(len(PANELS) // 2, 2, figsize=(11, height * len(PANELS) / 2))
    names = [each.name for each in results]
    for axis, (title, value) in zip(axes.flat, PANELS, strict=True):
        values = [value(each) for each in results]
        axis.barh(names, [number or 0.0 for number in values], color=BAR)
        axis.invert_yaxis()  # in the order they were given, from the top
        for at, number in enumerate(values):
            if number is None:  # not known: no bar, and no number either
                continue
            axis.text(number, at, f"  {number:,.{0 if number >= 100 else 3}f}", va="center", fontsize=8)
        axis.set_title(title, fontsize=10, loc="left")
        axis.tick_params(labelsize=8)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
