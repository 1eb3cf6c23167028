"""The pipeline of the embedded model, one command a stage: `python -m export.house COMMAND`.

corpus -> tokenizer -> train -> save -> calibration -> evaluate; `all` makes the shipped model in seven runs.
Every stage reads and writes files, so each can be run again alone. Knows the commands; the stages the rest.
"""

import os

# Set before PyTorch loads its threads: waiting threads that spin take the processor from others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import sys
from pathlib import Path

from export.command import run
from export.errors import ExportError
from export.house import recipe, stages
from export.house.dialogue import ENGLISH
from export.house.missed import TIMES, TOLD
from export.house.train import Schedule

COMMANDS = {
    "corpus": stages.corpus,
    "tokenizer": stages.tokenizer,
    "calibration": stages.calibration,
    "names": stages.names,
    "train": stages.train,
    "save": stages.save,
    "evaluate": stages.evaluate,
    "all": recipe.everything,
}


def main() -> int:
    """Run the stages of one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m export.house", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--work", type=Path, default=Path("build/house"), help="folder of corpus, tokenizer and run"
    )
    parser.add_argument("--checkpoint", type=Path, default=Path("models/house/checkpoint"))
    parser.add_argument(
        "--start",
        type=Path,
        help="checkpoint to go on from with train and save (and corpus --questions)",
    )
    parser.add_argument(
        "--before",
        type=Path,
        action="append",
        default=[],
        help="folder of a corpus that the checkpoint to go on from was trained on; may come again",
    )
    parser.add_argument(
        "--dialogues", type=int, default=stages.DIALOGUES, help="dialogues composed for training"
    )
    parser.add_argument(
        "--questions",
        type=int,
        default=0,
        help="with --start: questions to practise as well, those that its weights answer wrong several times",
    )
    parser.add_argument(
        "--kept",
        type=float,
        default=1.0,
        help="with --questions: the part of them that is practised once, right or wrong",
    )
    parser.add_argument(
        "--times",
        type=int,
        default=TIMES,
        help="with --questions: how often those answered wrong are practised besides",
    )
    parser.add_argument(
        "--told",
        type=float,
        default=TOLD,
        help="with --questions: dialogues about told facts practised, for each question",
    )
    parser.add_argument(
        "--openings",
        action="store_true",
        help="with --questions: of written answers only the first tokens are practised where they were wrong",
    )
    parser.add_argument(
        "--by-family",
        action="store_true",
        help="with --questions: practise each once, more of the families whose questions are missed more",
    )
    parser.add_argument(
        "--single",
        action="store_true",
        help="with --by-family: none of the questions leans on another before it",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=1,
        help="with --by-family: read so many such corpora one after another, each composed when needed",
    )
    parser.add_argument(
        "--english", type=float, default=ENGLISH, help="the part of the corpus that begins in English"
    )
    parser.add_argument(
        "--batch-tokens", type=int, default=Schedule.batch_tokens, help="places of a training step"
    )
    parser.add_argument("--steps", type=int, default=stages.STEPS, help="training steps")
    parser.add_argument(
        "--warmup-steps", type=int, default=Schedule.warmup_steps, help="steps in which the rate rises"
    )
    parser.add_argument(
        "--peak-lr", type=float, default=Schedule.peak_lr, help="learning rate between rise and fall"
    )
    parser.add_argument(
        "--fall", type=float, default=Schedule.fall, help="part of the steps in which it falls"
    )
    parser.add_argument("--final-lr", type=float, default=Schedule.final_lr, help="learning rate at the end")
    parser.add_argument(
        "--blend",
        type=float,
        default=1.0,
        help="with --start: the part of the way from its weights to the run's at which save leaves them",
    )
    parser.add_argument(
        "--reader",
        choices=("alone", "beside"),
        help="with train and save: teach nothing but a reader, new or not, by itself or beside the rest",
    )
    parser.add_argument("--seed", type=int, default=stages.SEED)
    parser.add_argument("--probes", type=int, default=400, help="held-out dialogues answered by evaluate")
    parser.add_argument("--workers", type=int, default=2, help="training processes; one for each core")
    parser.add_argument(
        "--composers",
        type=int,
        default=0,
        help="with --epochs: processes that compose ahead of the training, for a device beside many cores",
    )
    parser.add_argument("--bfloat16", action="store_true", help="train with products in bfloat16")
    parser.add_argument("--device", default="cpu", help="what trains: cpu, or cuda with --workers 1")
    parser.add_argument("--compile", action="store_true", help="compile the layers before training")
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        help="evaluate this bundle as well; may come again",
    )
    parser.add_argument("--temperature", type=float, default=0.7, help="of evaluate's sampled answers")
    options = parser.parse_args()
    return run("export.house", lambda: _do(options))


def _do(options: argparse.Namespace) -> int:
    try:
        COMMANDS[options.command](options)
    except ValueError as error:
        raise ExportError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
