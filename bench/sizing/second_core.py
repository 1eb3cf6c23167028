"""What a second core is worth to a model: from a side-by-side run, which had the machine to itself."""

from __future__ import annotations

from pathlib import Path

from bench.results import read

CONTENDER = "ours-exact"
METRICS = {"prefill_tokens_per_s": "prefill_512", "decode_tokens_per_s": "decode_128"}


def second_core(run: Path) -> dict[str, dict[str, float]]:
    """For each shape of the run: speed with two threads over that with one, of medians."""
    ratios = {}
    for name, shape in read(run).shapes.items():
        spreads = {
            speed: (shape.spread(CONTENDER, metric), shape.spread(CONTENDER, f"one_thread_{metric}"))
            for speed, metric in METRICS.items()
        }
        ratios[name] = {
            speed: two.median / one.median for speed, (two, one) in spreads.items() if two and one
        }
    return {name: found for name, found in ratios.items() if len(found) == len(METRICS)}
