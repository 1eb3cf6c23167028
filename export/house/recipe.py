"""The recipe of the shipped model: its runs, one after the other, from nothing to the measured checkpoint.

Owns what each run has of its own. The work itself is in the stages.
"""

import argparse
from dataclasses import asdict, dataclass, replace

from export.house import stages
from export.house.dialogue import ENGLISH
from export.house.missed import TIMES, TOLD
from export.house.train import Schedule


@dataclass(frozen=True)
class Run:
    """A run that goes on from the one before: the options of its stages, by their names."""

    seed: int
    dialogues: int
    questions: int
    steps: int
    peak_lr: float
    kept: float = 1.0
    times: int = TIMES
    told: float = TOLD
    openings: bool = False
    by_family: bool = False
    english: float = ENGLISH
    batch_tokens: int = Schedule.batch_tokens
    final_lr: float = Schedule.final_lr
    fall: float = Schedule.fall
    warmup_steps: int = Schedule.warmup_steps
    blend: float = 1.0


_IN_OTHER_WORDS = Run(8, dialogues=300_000, questions=60_000, steps=4500, peak_lr=3e-3, fall=1 / 3)
_PRACTICE = Run(
    11,
    dialogues=20_000,
    questions=80_000,
    steps=900,
    peak_lr=4e-4,
    kept=0.1,
    times=2,
    english=0.55,
    batch_tokens=8192,
    final_lr=2e-5,
    fall=0.8,
    warmup_steps=40,
)
_SHORTER = replace(_PRACTICE, seed=12, dialogues=12_000, questions=50_000, steps=560, blend=0.35)
_WIDE = replace(
    _SHORTER, seed=15, questions=60_000, told=0.1, english=0.58, steps=800, peak_lr=5e-4, blend=0.6
)
_OPENINGS = replace(
    _PRACTICE,
    seed=16,
    dialogues=9_000,
    questions=110_000,
    kept=0.05,
    times=3,
    told=0.05,
    openings=True,
    english=0.6,
    steps=1150,
    peak_lr=8e-4,
    blend=0.6,
)
_BY_FAMILY = replace(
    _PRACTICE,
    seed=17,
    dialogues=25_000,
    questions=220_000,
    told=0.05,
    by_family=True,
    english=0.6,
    steps=2400,
    peak_lr=8e-4,
    fall=0.4,
)
ONWARD = (_IN_OTHER_WORDS, _PRACTICE, _SHORTER, _WIDE, _OPENINGS, _BY_FAMILY)


def everything(options: argparse.Namespace) -> None:
    """Make the shipped model in seven runs, and measure it.

    The second reads new dialogues, in other words too, and practises what the weights of the first miss; the
    others do little else, at a rate that unlearns nothing. With fewer dialogues or steps than the shipped
    model's, or another seed, all runs differ as much.
    """
    run = _with(options, work=options.work / "run1", checkpoint=options.work / "run1" / "checkpoint")
    for stage in (stages.corpus, stages.tokenizer, stages.train, stages.save):
        stage(run)
    for number, its in enumerate(ONWARD, 2):
        work, is_last = options.work / f"run{number}", number > len(ONWARD)
        run = _with(
            options,
            **asdict(_scaled(its, options)),
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
    """The run, smaller by as much as the first run is smaller than the shipped model's."""
    return replace(
        its,
        dialogues=max(1, its.dialogues * options.dialogues // stages.DIALOGUES),
        questions=its.questions * options.dialogues // stages.DIALOGUES,
        steps=max(1, its.steps * options.steps // stages.STEPS),
        seed=its.seed + options.seed - stages.SEED,
    )


def _with(options: argparse.Namespace, **others: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), **others})
