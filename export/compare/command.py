"""`python -m export compare SOURCE SOURCE ... --out DIR`: the order of a comparison, on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine import describe
from export.compare.chart import draw
from export.compare.lambda_fit import fit
from export.compare.models import bundle_of, names_of
from export.compare.prediction import quality
from export.compare.results import Result, result, section, text_lines
from export.errors import ExportError
from export.left_out import LeftOut
from export.markdown import document
from export.passage import PASSAGE
from export.pipeline import Options
from export.quantize import Recipe
from export.rounding.text import read_text
from export.section import Section
from export.speed import Speed, measure_running
from export.stages import Stages
from export.wording import title
from handler.engine.bundle import MANIFEST, read_manifest

BUNDLES = "bundles"
FILES = ("compare.md", "compare.json", "compare.svg")


def main(arguments: list[str]) -> int:
    """Compare the models that are named; the exit code is 1 where one of them has no place in the table.

    Raises: ExportError when none has, or the command is interrupted.
    """
    got = _parse(arguments)
    if len(got.sources) < 2:
        raise ExportError("compare: needs two models at least")
    Recipe.named(got.quant, got.block)  # refused once, and not by every model in its turn
    recipe = Options("", got.out, got.quant, got.block, accept=got.accept)
    text = PASSAGE if got.text is None else read_text(got.text, "--text").text
    got.out.mkdir(parents=True, exist_ok=True)
    try:
        results, left_out = compare(names_of(got.sources), recipe, text, Stages())
    except KeyboardInterrupt:
        raise ExportError(f"interrupted, no table was written{_kept(got.out / BUNDLES)}") from None
    if not results:
        raise ExportError("compare: none of the models could be measured")
    found = section(results, machine(), left_out)
    _write(got.out, results, found)
    for line in (*text_lines(found.tables[0]), "", *found.text):
        print(line)
    return 1 if left_out else 0


def compare(
    sources: Mapping[str, str], recipe: Options, text: str, stages: Stages
) -> tuple[list[Result], dict[str, str]]:
    """Export what is no bundle yet by `recipe` under its `out`, then measure all; `sources` are by name.

    Returns what could be measured, and of the other sources why they could not.
    """
    found: dict[str, Path] = {}
    left_out = LeftOut()
    for name, source in sources.items():
        with left_out.unless_done(source):
            found[name] = bundle_of(source, name, recipe, recipe.out / BUNDLES, stages)
    speeds: dict[str, Speed] = {}
    if found:
        with stages.stage("speed", f"{len(found)} models in turns"):
            speeds = measure_running(
                found, recipe.out / "logs", lambda name, why: left_out.add(sources[name], why)
            )
    results = []
    for name, speed in speeds.items():
        with left_out.unless_done(sources[name]), stages.stage("quality", name):
            results.append(_result(name, found[name], text, speed))
    return results, left_out.reasons


def _result(name: str, bundle: Path, text: str, speed: Speed) -> Result:
    read = quality(bundle, text)
    manifest = read_manifest(bundle)
    size = sum(entry.size_bytes for entry in manifest.files.values())
    recipe = title(manifest.quantization)
    return result(name, manifest, recipe, read, speed, fit(size, speed, read.bytes_per_token))


def _kept(made: Path) -> str:
    """What an interrupted comparison leaves behind; folders with a dot are unfinished."""
    names = sorted(file.parent.name for file in made.glob(f"[!.]*/{MANIFEST}"))
    return f"; {made} keeps {', '.join(names)} for the next run" if names else ""


def machine() -> str:
    """What it was measured on."""
    facts = describe()
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['kernels']}"


def _write(out: Path, results: Sequence[Result], found: Section) -> None:
    markdown, facts, chart = (out / name for name in FILES)
    pictured = dataclasses.replace(found, text=(*found.text, f"![{found.title}]({chart.name})"))
    markdown.write_text(document("Models side by side", [pictured]), encoding="utf-8")
    facts.write_text(json.dumps(found.facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, chart)
    print(f"{', '.join(str(out / name) for name in FILES)}\n", file=sys.stderr)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export compare", description="Set models side by side, to choose one by."
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a bundle, a model folder or a hub id")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="for table, chart and bundles")
    parser.add_argument(
        "--quant", choices=("int4", "int8", "fp32"), default="int4", help="of what is exported first (int4)"
    )
    parser.add_argument(
        "--block", type=int, default=128, metavar="N", help="weights of it that share a scale (128)"
    )
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="to measure quality on: UTF-8, read in windows of each context",
    )
    parser.add_argument(
        "--accept", metavar="REASON", help="compare a model although checks fail; the reason is recorded"
    )
    return parser.parse_args(arguments)
