"""Writes measures as Markdown, and the training curve as a picture.

Knows no model; failures are shown beside the successes.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

from export.house.evaluate import Measured
from export.reader import ReaderLlamaConfig

_SHOWN_FAILURES = 12
_FOLDER = Path(__file__).parent
_LEARNED = {
    None: "",
    "alone": " Only the reader learned, by itself.",
    "beside": " Only the reader learned, beside the rest.",
}


def markdown(title: str, measured: Measured) -> str:
    """Return a table of the measures and a list of wrong answers."""
    lines = [f"### {title}", "", "| measure | result |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in measured.rates.items()]
    lines += [f"| {name} | {value:.1f} |" for name, value in measured.scores.items()]
    if measured.failures:
        lines += ["", _failures(measured)]
    return "\n".join(lines) + "\n"


def comparison(results: Mapping[str, Mapping[str, Measured]]) -> str:
    """Return one table of every measure, a column for each form of the model."""
    lines = [f"| measure | {' | '.join(results)} |", "| --- |" + " --- |" * len(results)]
    first = next(iter(results.values()))
    for title in first:
        lines.append(f"| **{title}** |" + " |" * len(results))
        names = [*first[title].rates, *first[title].scores]
        lines += [
            f"| {name} | {' | '.join(_cell(r[title], name) for r in results.values())} |" for name in names
        ]
    return "\n".join(lines) + "\n"


def details(results: Mapping[str, Mapping[str, Measured]]) -> str:
    """Return wrong answers, greedy, of the first bundle, else of the checkpoint, by kind of probe."""
    name = [form for form in results if ", T " not in form][:2][-1]
    parts = [f"### Wrong answers ({name}, greedy)"]
    parts += [f"{title}: {_failures(measured)}" for title, measured in results[name].items()]
    return "\n\n".join(parts) + "\n"


def model_card(model: LlamaForCausalLM, made: Mapping[str, Any], measures: str) -> str:
    """Return the model card: the written part, the model's sizes, how it was made, what was measured."""
    config = model.config
    return (
        (_FOLDER / "card.md")
        .read_text(encoding="utf-8")
        .format(
            parameters=f"{sum(p.numel() for p in model.parameters()):,}",
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            reader=_reader(config),
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            vocabulary=f"{config.vocab_size:,}",
            context=config.max_position_embeddings,
            history="\n".join(map(_run, _runs(made))),
            measures=measures.strip(),
        )
    )


def _reader(config: LlamaConfig) -> str:
    """What stands beside the model, if anything does."""
    if not isinstance(config, ReaderLlamaConfig):
        return ""
    return (
        f", the last {config.reader_num_hidden_layers} of them a reader's (hidden size "
        f"{config.reader_hidden_size}, with {config.bigram_rows:,} rows for pairs of tokens)"
    )


Curves = dict[str, list[tuple[int, float]]]
"""Part -> (step, loss)."""


def joined(before: Curves, after: Curves) -> Curves:
    """Return the curves of a run and of one that went on from its end."""
    end = max(step for points in before.values() for step, _ in points)
    parts = [*before, *(part for part in after if part not in before)]
    onward = {part: [(end + step, loss) for step, loss in points] for part, points in after.items()}
    return {part: before.get(part, []) + onward.get(part, []) for part in parts}


def write_losses(curves: Curves, path: Path) -> None:
    """Write the curves as rows of step, part and loss."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = ((step, part, f"{loss:.5f}") for part, points in curves.items() for step, loss in points)
        csv.writer(file, lineterminator="\n").writerows(rows)


def read_losses(path: Path) -> Curves:
    """Return what a `losses.csv` holds."""
    curves: dict[str, dict[int, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for step, part, loss in csv.reader(file):  # of steps done again after a stop the last counts
            curves.setdefault(part, {})[int(step)] = float(loss)
    return {part: sorted(points.items()) for part, points in curves.items()}


def plot_losses(curves: Curves, path: Path) -> None:
    """Write the loss curves as a picture."""
    import matplotlib

    matplotlib.use("Agg")  # no display
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for part, points in curves.items():
        steps: Sequence[int] = [step for step, _ in points]
        axes.plot(steps, [loss for _, loss in points], label=part, marker="o" if len(points) < 30 else None)
    axes.set_xlabel("step")
    axes.set_ylabel("cross entropy of answers")
    axes.set_yscale("log")
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _runs(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The runs one after the other, the first from nothing."""
    return [*(_runs(made["after"]) if "after" in made else []), made]


def _run(made: Mapping[str, Any]) -> str:
    corpus = made["corpus"]
    anew = f", composed anew for each of {made['epochs']} epochs" if "epochs" in made else ""
    practice = f", {corpus['practice']:,} of them practice" if corpus.get("practice") else ""
    blended = made.get("blend", 1) < 1
    kept = (
        f" Its weights are {made['blend']:.0%} of the way from those before to the run's." if blended else ""
    )
    return (
        f"- {corpus['dialogues']['train']:,} dialogues{practice}{anew} (sha256 of the training part "
        f"`{corpus['sha256']['train']}`), seed {made['seed']}: "
        f"{made['steps']:,} steps, {made['tokens']:,} tokens.{kept}{_LEARNED[made.get('reader')]}"
    )


def _cell(measured: Measured, name: str) -> str:
    if name in measured.rates:
        return str(measured.rates[name])
    return f"{measured.scores[name]:.1f}" if name in measured.scores else ""


def _failures(measured: Measured) -> str:
    shown = [
        f"- asked `{_inline(asked)}`, wanted `{_inline(wanted)}`, got `{_inline(got)}`"
        for asked, wanted, got in measured.failures[:_SHOWN_FAILURES]
    ]
    return "\n".join([f"{len(measured.failures)} wrong; the first ones:", "", *shown])


def _inline(text: str) -> str:
    return text.replace("\n", " ").replace("`", "'").replace("|", "/")
