"""Composes what is trained on anew for every epoch, so that no question is read twice.

Owns what an epoch after the first, which is the corpus on disk, is made of. Knows nothing of weights, nor of
tokens. An epoch follows from the seed and its number, so a run taken up again reads the same.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.house.corpus import distinct, read_part
from export.house.dialogue import Composer
from export.house.missed import Missed, more_practice
from export.house.turns import Dialogue

_FILE = "fresh.json"


@dataclass(frozen=True)
class Fresh:
    """What the epochs after the first are composed of: whole dialogues, and practice of what is missed."""

    epochs: int  # all of them
    seed: int
    dialogues: int
    questions: int
    told: float
    english: float
    single: bool
    missed: Missed

    def compose(self, epoch: int) -> list[Dialogue]:
        """Return the dialogues of an epoch after the first."""
        seed = f"{self.seed}+{epoch}"
        composer = Composer(random.Random(f"{seed}/train"), english=self.english)
        practised = more_practice(
            self.missed,
            questions=self.questions,
            seed=seed,
            english=self.english,
            told=self.told,
            single=self.single,
        )
        return [*distinct(composer, self.dialogues, set()), *practised]


def write_fresh(folder: Path, fresh: Fresh | None) -> None:
    """Write what later epochs are composed of beside the corpus; nothing stays there with None."""
    if fresh is None:
        (folder / _FILE).unlink(missing_ok=True)
        return
    missed = [[*family, part] for family, part in fresh.missed.items()]
    (folder / _FILE).write_text(json.dumps({**asdict(fresh), "missed": missed}) + "\n", encoding="utf-8")


def read_fresh(folder: Path) -> Fresh | None:
    """Return what was written beside the corpus; None where it is read again in every epoch."""
    if not (folder / _FILE).exists():
        return None
    its: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return Fresh(**{**its, "missed": {(name, language): part for name, language, part in its["missed"]}})


def read_whole(folder: Path) -> Iterator[Dialogue]:
    """Yield the training part of a corpus, and what its later epochs are composed of."""
    yield from read_part(folder, "train")
    if fresh := read_fresh(folder):
        for epoch in range(1, fresh.epochs):
            yield from fresh.compose(epoch)
