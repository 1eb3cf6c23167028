"""Writes measures as Markdown, and the training curve as a picture.

Knows no model; failures are shown beside the successes.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM

from export.house.evaluate import Measured

_SHOWN_FAILURES = 12
_FOLDER = Path(__file__).parent


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
    """Return wrong answers of the last greedy form, for every kind of probe."""
    name = [form for form in results if ", T " not in form][-1]
    parts = [f"### Wrong answers ({name}, greedy)"]
    parts += [f"{title}: {_failures(measured)}" for title, measured in results[name].items()]
    return "\n\n".join(parts) + "\n"


def model_card(model: LlamaForCausalLM, made: Mapping[str, Any], measures: str) -> str:
    """Return the model card: the written part, the model's sizes, how it was made, what was measured."""
    config, corpus = model.config, made["corpus"]
    return (
        (_FOLDER / "card.md")
        .read_text(encoding="utf-8")
        .format(
            parameters=f"{sum(p.numel() for p in model.parameters()):,}",
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            vocabulary=f"{config.vocab_size:,}",
            context=config.max_position_embeddings,
            dialogues=f"{corpus['dialogues']['train']:,}",
            sha256=corpus["sha256"]["train"],
            seed=made["seed"],
            steps=f"{made['steps']:,}",
            tokens=f"{made['tokens']:,}",
            measures=measures.strip(),
        )
    )


def read_losses(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return part -> (step, loss) pairs of a run's `losses.csv`."""
    curves: dict[str, dict[int, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for step, _tokens, part, loss in csv.reader(file):
            curves.setdefault(part, {})[int(step)] = float(
                loss
            )  # steps done again after a stop: the last counts
    return {part: sorted(points.items()) for part, points in curves.items()}


def plot_losses(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
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
