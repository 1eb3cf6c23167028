"""The recipe of the shipped model: its runs, one after the other, from nothing to the measured checkpoint.

Owns what each run has of its own. The work itself is in the stages.
"""

import argparse
from typing import TypedDict

from export.house import stages


class Run(TypedDict, total=False):
    """What a run that goes on has of its own, by the names of the options; the rest is as those say."""

    dialogues: int
    questions: int
    kept: float
    times: int
    told: float
    openings: bool
    by_family: bool
    epochs: int
    reader: str
    english: float
    steps: int
    batch_tokens: int
    peak_lr: float
    final_lr: float
    fall: float
    warmup_steps: int
    seed: int
    blend: float


_PRACTICE: Run = {
    "dialogues": 20_000,
    "questions": 80_000,
    "kept": 0.1,
    "times": 2,
    "english": 0.55,
    "steps": 900,
    "batch_tokens": 8192,
    "peak_lr": 4e-4,
    "final_lr": 2e-5,
    "fall": 0.8,
    "warmup_steps": 40,
}
_ONWARD: tuple[Run, ...] = (
    {"dialogues": 300_000, "questions": 60_000, "steps": 4500, "peak_lr": 3e-3, "fall": 1 / 3, "seed": 8},
    {**_PRACTICE, "seed": 11},
    {**_PRACTICE, "dialogues": 12_000, "questions": 50_000, "steps": 560, "seed": 12, "blend": 0.35},
    {
        **_PRACTICE,
        "dialogues": 12_000,
        "questions": 60_000,
        "told": 0.1,
        "english": 0.58,
        "steps": 800,
        "peak_lr": 5e-4,
        "seed": 15,
        "blend": 0.6,
    },
    {
        **_PRACTICE,
        "dialogues": 9_000,
        "questions": 110_000,
        "kept": 0.05,
        "times": 3,
        "told": 0.05,
        "openings": True,
        "english": 0.6,
        "steps": 1150,
        "peak_lr": 8e-4,
        "seed": 16,
        "blend": 0.6,
    },
    {
        **_PRACTICE,
        "dialogues": 25_000,
        "questions": 220_000,
        "told": 0.05,
        "by_family": True,
        "english": 0.6,
        "steps": 2400,
        "peak_lr": 8e-4,
        "fall": 0.4,
        "seed": 17,
        "blend": 0.7,
    },
)
"""The runs after the first of the shipped model, where they are not as the options' defaults say."""


def everything(options: argparse.Namespace) -> None:
    """Make the shipped model in seven runs, and measure it.

    The second reads new dialogues, in other words too, and practises what the weights of the first miss; the
    others do little else, at a rate that unlearns nothing. With fewer dialogues or steps than the shipped
    model's, or another seed, all runs differ as much.
    """
    run = _with(options, work=options.work / "run1", checkpoint=options.work / "run1" / "checkpoint")
    for stage in (stages.corpus, stages.tokenizer, stages.train, stages.save):
        stage(run)
    for number, its in enumerate(_ONWARD, 2):
        work, is_last = options.work / f"run{number}", number > len(_ONWARD)
        run = _with(
            options,
            **_scaled(its, options),
            work=work,
            checkpoint=options.checkpoint if is_last else work / "checkpoint",
            start=run.checkpoint,
            before=[*run.before, run.work / "corpus"],
        )
        for stage in (stages.corpus, stages.train, stages.save):
            stage(run)
    for stage in (stages.calibration, stages.evaluate):
        stage(run)


def _scaled(its: Run, options: argparse.Namespace) -> Run:
    """What is special to a run, smaller by as much as the first run is smaller than the shipped model's."""
    return {
        **its,
        "dialogues": max(1, its["dialogues"] * options.dialogues // stages.DIALOGUES),
        "questions": its["questions"] * options.dialogues // stages.DIALOGUES,
        "steps": max(1, its["steps"] * options.steps // stages.STEPS),
        "seed": its["seed"] + options.seed - stages.SEED,
    }


def _with(options: argparse.Namespace, **others: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **others})
