"""A saved run as Markdown: what was measured, on what, and how the goals came out.

Knows how figures are shown. Does not measure, and does not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.charts import draw
from bench.contenders import CONTENDERS
from bench.goals import outcomes
from bench.results import MACHINE, Result, ShapeResult
from bench.scenarios import ROUND
from bench.spread import Spread

ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """One metric in a table: its heading, and how its value is scaled and rounded."""

    metric: str
    heading: str
    scale: float = 1.0
    digits: int = 0


THROUGHPUT = (
    Column("decode_128", "decode at 128, tok/s", digits=1),
    Column("decode_1024", "decode at 1,024, tok/s", digits=1),
    Column("prefill_512", "prefill 512, tok/s"),
    Column("prefill_2048", "prefill 2,048, tok/s"),
    Column("second_turn_s", "second turn, ms", 1e3),
    Column("first_turn_s", "full prefill of 1,024, ms", 1e3),
)
START = (
    Column("start_s", "start to first token, ms", 1e3),
    Column("start_first_byte_s", "start to first byte, ms", 1e3),
    Column("peak_rss_bytes", "peak memory, MB", 1e-6),
    Column("anonymous_bytes", "anonymous memory, MB", 1e-6),
)
SINGLE = (
    Column("one_thread_decode_128", "decode at 128, tok/s", digits=1),
    Column("one_thread_prefill_512", "prefill 512, tok/s"),
)
TITLES = {contender.key: contender.title for contender in CONTENDERS}


def write_report(result: Result, file: Path) -> None:
    """Write the table and the charts beside the run's JSON file."""
    file.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    for shape in result.shapes.values():
        draw(shape, file.with_name(f"{file.stem}.{shape.shape}"))
    print(f"{file.with_suffix('.md')}")


def markdown(result: Result) -> str:
    """The whole report."""
    machine = result.machine
    lines = [
        f"# Bench of {result.date}",
        "",
        f"{machine['cpu']} ({machine['family']}; {', '.join(machine['instruction_sets'])}), "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB; {machine['system']}; "
        f"commit {machine['commit']}; load {machine['load']:.1f} when the run began.",
        f"Rounds: {result.rounds}, interleaved, everyone else held still; {result.threads} threads for every "
        "contender; median (quartiles). Fewer rounds: "
        f"{', '.join(_limited())}. "
        "Models have random weights: speed depends on shapes alone.",
        f"Made by `{result.command}`.",
    ]
    for shape in result.shapes.values():
        lines += ["", f"## {shape.shape}", *_sections(shape)]
    return "\n".join(lines) + "\n"


def _limited() -> list[str]:
    """What takes part in some rounds only."""
    named = [(c.title, c.rounds) for c in CONTENDERS] + [(s.name, s.rounds) for s in ROUND]
    return [f"{name} {rounds}" for name, rounds in named if rounds is not None]


def _sections(shape: ShapeResult) -> Iterable[str]:
    everyone = [key for key in TITLES if key in shape.facts]
    probe = shape.spread(MACHINE, "bytes_per_s")
    if probe:
        yield from (
            "",
            f"The machine reads {_shown(probe, 1e-9, 1)} GB/s with the same threads, measured every round.",
        )
    yield from _titled("How each stores the model", _stored(shape, everyone, probe))
    yield from _titled("Throughput", _measured(shape, everyone, THROUGHPUT))
    yield from _titled("Text that repeats its prompt", _repeated(shape, everyone))
    yield from _titled("One thread", _measured(shape, everyone, SINGLE))
    yield from _titled(
        "Process start, page cache warm, prompt of 32, tokenizer included", _measured(shape, everyone, START)
    )
    yield from _titled("Goals", _goals(shape))
    yield from _titled("Exactness", _exactness(shape))
    if shape.exactness:
        same = len({way["sha256"] for way in shape.exactness}) == 1
        yield from (
            "",
            "All bit-identical." if same else "**These differ: the promise of exactness is broken.**",
        )
    if shape.absent:
        yield from ("", "### Not measured", "")
        yield from (f"- {_name(what)}: {why}" for what, why in sorted(shape.absent.items()))


def _titled(title: str, rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """A heading and a table; nothing at all when there are no rows below the first."""
    if len(rows) > 1:
        yield from ("", f"### {title}", "", *table(rows))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown lines; the first row is the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *body]


def _stored(shape: ShapeResult, keys: Sequence[str], probe: Spread | None) -> list[list[str]]:
    rows = [["", "weights", "head", "bits/weight", "read per token, MB", "of read bandwidth", "on disk, MB"]]
    for key in keys:
        facts, decode = shape.facts[key], shape.spread(key, "decode_128")
        reached = f"{decode.median * facts.read_bytes / probe.median:.0%}" if decode and probe else ABSENT
        figures = [f"{facts.bits_per_weight:.2f}", f"{facts.read_bytes / 1e6:.0f}", reached]
        rows.append([TITLES[key], facts.weights, facts.head, *figures, f"{facts.disk_bytes / 1e6:.0f}"])
    return rows


def _measured(shape: ShapeResult, keys: Sequence[str], columns: Sequence[Column]) -> list[list[str]]:
    rows = [["", *(column.heading for column in columns)]]
    for key in keys:
        found = [shape.spread(key, column.metric) for column in columns]
        if any(found):
            cells = [
                _shown(value, column.scale, column.digits)
                for value, column in zip(found, columns, strict=True)
            ]
            rows.append([TITLES[key], *cells])
    return rows


def _repeated(shape: ShapeResult, keys: Sequence[str]) -> list[list[str]]:
    rows = [
        ["", "without drafts, tok/s", "with drafts, tok/s", "longest draft", "accepted share of the answer"]
    ]
    for key in keys:
        plain, best = shape.spread(key, "repeat_plain"), shape.best(key, "repeat_drafts_")
        if plain is None:
            continue
        cells = [_shown(plain, 1, 1)]
        if best:
            length = best.removeprefix("repeat_drafts_")
            accepted = shape.spread(key, f"accepted_drafts_{length}")
            share = f"{accepted.median:.0%}" if accepted else ABSENT
            cells += [
                _shown(shape.spread(key, best), 1, 1),
                "its own choice" if length == "0" else length,
                share,
            ]
        rows.append([TITLES[key], *cells, *[ABSENT] * (4 - len(cells))])
    return rows


def _goals(shape: ShapeResult) -> list[list[str]]:
    rows = [["ratio", "measured", "goal", ""]]
    for outcome in outcomes(shape):
        sign = "<=" if outcome.goal.at_most else ">="
        goal = f"{sign} {outcome.limit:.2f}" if outcome.limit is not None else ABSENT
        rows.append([outcome.goal.name, _shown(outcome.ratio, 1, 2), goal, outcome.verdict])
    return rows if any(row[-1] != "not measured" for row in rows[1:]) else rows[:1]


def _exactness(shape: ShapeResult) -> list[list[str]]:
    rows = [["threads", "prompt computed", "drafts", "right guesses", "logits of every token, sha256"]]
    for way in shape.exactness:
        right = f"{way['accepted']} of {way['proposed']}" if way["drafts"] else ABSENT
        drafts = "on" if way["drafts"] else "off"
        rows.append([str(way["threads"]), way["prompt"], drafts, right, way["sha256"][:16]])
    return rows


def _shown(found: Spread | None, scale: float, digits: int) -> str:
    if found is None:
        return ABSENT
    show: Callable[[float], str] = lambda value: f"{value * scale:,.{digits}f}"  # noqa: E731
    if found.count == 1:
        return show(found.median)
    return f"{show(found.median)} ({show(found.low)}–{show(found.high)})"


def _name(what: str) -> str:
    """`llama-pure prefill_2048` -> `llama.cpp Q4_0 pure, prefill_2048`."""
    key, _, scenario = what.partition(" ")
    return TITLES.get(key, key) + (f", {scenario}" if scenario else "")
