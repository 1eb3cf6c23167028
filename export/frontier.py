"""The frontier of size, speed and fidelity: a handful of recipes, exported, measured and set side by side.

Owns which recipes are tried, and the wording. An export is handed in; nothing here knows how it is made.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from export.left_out import LeftOut
from export.mixed.alternatives import loaded_bytes
from export.mixed.section import KL_AXIS, SIZE_AXIS
from export.section import Chart, Section, Series, Table
from export.speed import Speed, measure_running
from export.stages import Stages
from export.verdict import Verdict
from export.wording import title
from handler.engine.bundle import Manifest, read_manifest

if TYPE_CHECKING:
    from export.pipeline import Options

Export = Callable[["Options", Stages], Manifest]

RECIPES = (("fp32", 128), ("int8", 128), ("int4", 32), ("int4", 64), ("int4", 128))
ACCEPTED = "a point of the frontier, not to be served"
ENDS = ("int4-128", "int8-128")
MIXES = (1 / 4, 1 / 2)  # of the way from the smallest of these recipes to int8


@dataclass(frozen=True)
class Point:
    """One recipe, measured."""

    name: str
    size_bytes: int
    kl: float
    top1_agreement: float
    speed: Speed
    failed: tuple[str, ...] = ()  # the gate's checks

    def beats(self, other: Point) -> bool:
        """Whether it is as good in all three and better in one."""
        ours, theirs = self._merits(), other._merits()
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

    def _merits(self) -> tuple[float, float, float]:
        return self.size_bytes, self.kl, -self.speed.decode_tokens_per_s


def sweep(options: Options, folder: Path, verdict: Verdict, export: Export, stages: Stages) -> Section:
    """Export the recipes beside the bundle in `folder`, which is measured as the point chosen.

    They lie in `folder` meanwhile, so that what is killed leaves nothing but that. One that finds no room, on
    the disk or in memory, is left out: the bundle is none the worse for it.
    """
    chosen, left_out = title(read_manifest(folder).quantization), LeftOut()
    with tempfile.TemporaryDirectory(prefix=".frontier-", dir=folder) as scratch:
        bundles = {chosen: folder}
        with stages.stage("frontier", f"{len(RECIPES) + len(MIXES)} recipes"):
            bundles |= _exported(options, chosen, Path(scratch), export, left_out)
        with stages.stage("speed", f"{len(bundles)} bundles in turns"):
            speeds = measure_running(bundles, Path(scratch), left_out.add)
        points = []
        for name, speed in speeds.items():
            bundle = bundles[name]
            told = verdict.as_manifest() if bundle == folder else read_manifest(bundle).fidelity
            failed = tuple(told.get("accepted", {}).get("failed", ()))
            kl, top1 = told["kl_mean"], told["top1_agreement"]
            points.append(Point(name, loaded_bytes(bundle), kl, top1, speed, failed))
    return section(points, chosen, left_out.reasons)


def section(points: Sequence[Point], chosen: str, left_out: Mapping[str, str]) -> Section:
    """The points in a table and two charts; `left_out` says of other recipes why they are not among them."""
    ordered = sorted(points, key=lambda point: point.size_bytes)
    best = [point for point in ordered if not any(other.beats(point) for other in ordered)]
    names = "; ".join(point.name for point in best)
    words = (
        f"On the frontier, not beaten in size, speed and divergence at once: {names}. Chosen: {chosen}.",
        *(f"Left out: {recipe}: {reason}" for recipe, reason in left_out.items()),
    )
    rows = tuple(_row(point, point in best, point.name == chosen) for point in ordered)
    head = ("recipe", "MB", "KL, nats", "top-1 agreement", "decode, tokens/s", "prefill, tokens/s", "")
    charts = tuple(
        Chart(name, x, KL_AXIS, _series(ordered, best, chosen, place))
        for name, x, place in (
            ("Size and divergence", SIZE_AXIS, lambda point: point.size_bytes / 1e6),
            ("Speed and divergence", "decoding, tokens/s", lambda point: point.speed.decode_tokens_per_s),
        )
    )
    failed = tuple(at for at, point in enumerate(ordered) if point.failed)
    facts: dict[str, Any] = {"chosen": chosen, "points": [dataclasses.asdict(point) for point in ordered]}
    if left_out:
        facts["left_out"] = dict(left_out)
    return Section("Frontier", "frontier", words, (Table(head, rows, failed=failed),), charts, facts)


def _exported(
    options: Options, chosen: str, scratch: Path, export: Export, left_out: LeftOut
) -> dict[str, Path]:
    """The other recipes' bundles by title; mixes only where the way to export can mix, between both ends."""
    plain = dataclasses.replace(
        options,
        target_size=None,
        target_kl=None,
        frontier=False,
        probes=False,
        dialogues=None,
        report_to=None,
        accept=ACCEPTED,
    )
    bundles: dict[str, Path] = {}
    quiet = Stages(Console(quiet=True))

    def add(recipe: str, **changes: Any) -> None:
        out = scratch / recipe
        with left_out.unless_done(recipe):
            manifest = export(dataclasses.replace(plain, out=out, **changes), quiet)
            bundles[title(manifest.quantization)] = out

    for quant, block in RECIPES:
        recipe, given = f"{quant}-{block}", dict[str, Any]()
        if quant != "int4":
            given = {"rounding": None, "calibration": None}
        if quant == "fp32":
            recipe, given["asymmetric"] = quant, False
        add(recipe, quant=quant, block=block, **given)
    least, most = (scratch / end for end in ENDS)
    if {least, most} <= set(bundles.values()) and read_manifest(least).source.way == "fused":
        low, high = loaded_bytes(least), loaded_bytes(most)
        for part in MIXES:
            size = f"{(low + part * (high - low)) / 1e6:.3f}MB"
            add(f"mixed-{size}", quant="int4", block=128, target_size=size)
    bundles.pop(chosen, None)
    return bundles


def _row(point: Point, is_best: bool, is_chosen: bool) -> tuple[str, ...]:
    place = "chosen" if is_chosen else "frontier" if is_best else ""
    marks = (place, *(f"fails {check}" for check in point.failed))
    return (
        point.name,
        f"{point.size_bytes / 1e6:.1f}",
        f"{point.kl:.3g}",
        f"{point.top1_agreement:.1%}",
        f"{point.speed.decode_tokens_per_s:.0f}",
        f"{point.speed.prefill_tokens_per_s:.0f}",
        ", ".join(filter(None, marks)),
    )


def _series(
    ordered: Sequence[Point], best: Sequence[Point], chosen: str, place: Callable[[Point], float]
) -> tuple[Series, ...]:
    kinds = (
        ("on the frontier", [point for point in best if point.name != chosen]),
        ("behind it", [point for point in ordered if point not in best and point.name != chosen]),
        ("chosen", [point for point in ordered if point.name == chosen]),
    )
    return tuple(
        Series(name, tuple((place(point), point.kl) for point in those), tuple(point.name for point in those))
        for name, those in kinds
        if those
    )
