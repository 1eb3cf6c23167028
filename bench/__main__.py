"""`python -m bench`: prepare, run, and write JSON, a table and charts under `build/bench`."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from pathlib import Path

from bench.contenders import CONTENDERS
from bench.machine import describe
from bench.report import write_report
from bench.results import Result, ShapeResult, read
from bench.run import Plan, ShapeRun
from bench.shapes import SHAPES
from bench.workshop import Workshop

ROOT = Path("build/bench")
PROMPT_TOKENS = 32
THREADS = 2
SECTIONS = ("throughput", "single", "starts", "exactness")


def main() -> int:
    got = _parse()
    if got.report:
        write_report(read(got.report), got.report)
        return 0
    # An orderly end: workers are closed on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    now = datetime.datetime.now(datetime.UTC)
    result = (
        read(got.into)
        if got.into
        else Result(
            date=now.isoformat(timespec="seconds"),
            command=_command(got),
            rounds=got.rounds,
            threads=got.threads,
            machine=describe(),
        )
    )
    file = got.into or ROOT / f"{now:%Y-%m-%dT%H%M%S}.json"
    for shape in got.shapes:
        _measure(shape, result, file, got)
    write_report(result, file)
    return 0


def _command(got: argparse.Namespace) -> str:
    """The command that makes this run again; a run of some sections only is not one of `make`'s."""
    if got.sections != list(SECTIONS) or got.threads != THREADS:
        return f"python -m bench {' '.join(sys.argv[1:])}"
    only = f" ONLY={','.join(got.only)}" if got.only else ""
    return f"make bench SHAPES={','.join(got.shapes)} ROUNDS={got.rounds}{only}"


def _measure(shape: str, result: Result, file: Path, got: argparse.Namespace) -> None:
    chosen = [contender for contender in CONTENDERS if not got.only or contender.key in got.only]
    config = SHAPES[shape]
    context = config.get("max_position_embeddings") or config["n_positions"]
    found = result.shapes.setdefault(shape, ShapeResult(shape))
    run = ShapeRun(
        found,
        chosen,
        Plan(got.rounds, got.threads, context),
        Workshop(shape, ROOT),
        lambda: result.save(file),
    )
    if "throughput" in got.sections:
        run.throughput()
    if "single" in got.sections:
        run.single()
    if "starts" in got.sections:
        run.starts(_prompt(ROOT / "models" / shape / "checkpoint" / "tokenizer.json"), PROMPT_TOKENS)
    if "exactness" in got.sections:
        run.exactness()
    result.save(file)


def _prompt(tokenizer_file: Path) -> str:
    """As many words as make a prompt of about 32 tokens with this tokenizer."""
    from tokenizers import Tokenizer

    from bench.passages import PASSAGE

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    words = PASSAGE.split()
    fitting = (" ".join(words[:count]) for count in range(PROMPT_TOKENS, 0, -1))
    return next(text for text in fitting if len(tokenizer.encode(text).ids) <= PROMPT_TOKENS)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Dormouse beside its peers.")
    names, keys = sorted(SHAPES), [contender.key for contender in CONTENDERS]
    parser.add_argument(
        "--shapes",
        type=_choice(names),
        default=["smollm2-135m", "qwen2.5-0.5b", "gpt2"],
        help=f"some of {', '.join(names)}",
    )
    parser.add_argument("--only", type=_choice(keys), default=[], help=f"some of {', '.join(keys)}")
    parser.add_argument(
        "--sections",
        type=_choice(list(SECTIONS)),
        default=list(SECTIONS),
        help=f"some of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--rounds", type=int, default=8, help="rounds of each shape (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=THREADS, help="threads of every contender (default: %(default)s)"
    )
    parser.add_argument(
        "--report", type=Path, metavar="JSON", help="only write the table and charts of a saved run"
    )
    parser.add_argument(
        "--into", type=Path, metavar="JSON", help="add sections or shapes to a saved run that lacks them"
    )
    got = parser.parse_args()
    if got.rounds < 1 or got.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    return got


def _choice(known: list[str]):  # type: ignore[no-untyped-def]
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := [name for name in wanted if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: unknown; known are {', '.join(known)}")
        return wanted

    return parse


if __name__ == "__main__":
    sys.exit(main())
