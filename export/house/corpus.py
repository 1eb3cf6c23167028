"""Writes the corpus: composed dialogues, cleaned, deduplicated, split, checked for leaks, hashed.

Owns the files `train.jsonl`, `valid.jsonl`, `held_out.jsonl` and `corpus.json`. Knows nothing of tokens.

- `train` is what the model learns from.
- `valid` has other dialogues from the same phrasings and values (it shows over-fitting).
- `held_out` has only phrasings, names and values that training never sees (it shows understanding).
"""

import hashlib
import json
import random
import unicodedata
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from export.house.dialogue import ENGLISH, Composer
from export.house.turns import Dialogue, Turn

_BESIDE_PART = 50  # one dialogue of the valid part, and one held out, for so many in training
_MOST_BESIDE = 3_000  # of them each: enough to measure on
HEAD_DIALOGUES = 100  # hashed apart: composing these alone shows whether the generator is still the same
_MAX_TRIES = 3  # draws for one new dialogue before the corpus counts as exhausted


class LeakError(ValueError):
    """Something held out is in the training part; the message says what."""


def write_corpus(
    folder: Path,
    *,
    dialogues: int,
    seed: int,
    before: Sequence[Path] = (),
    practice: Sequence[Dialogue] = (),
    reworded: bool = True,
    english: float = ENGLISH,
) -> dict[str, Any]:
    """Write all parts and return the record also stored in `corpus.json`.

    What the corpora in `before` asked in training is not held out. `practice` is added to the training part.
    Without `reworded`, no word of a trained question stands for another. `english` is the part of the
    training dialogues that begin in English.

    Raises: LeakError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = questions(practice) | questions(d for made in before for d in read_part(made, "train"))
    parts = compose_parts(dialogues, seed, asked, len(practice), reworded=reworded, english=english)
    parts["train"] += practice
    check_leaks(parts["train"], parts["held_out"])
    record: dict[str, Any] = {"seed": seed, "english": english, "dialogues": {}, "practice": len(practice)}
    record["sha256"] = {}
    for part, made in parts.items():
        data = "".join(json.dumps(_as_json(d), ensure_ascii=False) + "\n" for d in made).encode()
        (folder / f"{part}.jsonl").write_bytes(data)
        record["dialogues"][part] = len(made)
        record["sha256"][part] = hashlib.sha256(data).hexdigest()
    head = (folder / "train.jsonl").read_bytes().splitlines(keepends=True)[:HEAD_DIALOGUES]
    record["head_sha256"] = hashlib.sha256(b"".join(head)).hexdigest()
    record["turns"] = sum(len(d.turns) for d in parts["train"])
    (folder / "corpus.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def compose_parts(
    dialogues: int,
    seed: int,
    asked: Set[str] = frozenset(),
    practised: int = 0,
    *,
    reworded: bool = True,
    english: float = ENGLISH,
) -> dict[str, list[Dialogue]]:
    """Return part -> dialogues, no two alike in all parts together; questions `asked` are not held out.

    The parts beside training are sized as if those practised were in it.
    """
    seen: set[str] = set()
    beside = min(max(1, (dialogues + practised) // _BESIDE_PART), _MOST_BESIDE)
    train = Composer(random.Random(f"{seed}/train"), reworded=reworded, english=english)
    held_out = Composer(random.Random(f"{seed}/held_out"), held_out=True, typo=0.0)
    parts = {
        "train": distinct(train, dialogues, seen),
        "valid": distinct(train, beside, seen),
    }
    asked = asked | questions(parts["train"])
    parts["held_out"] = list(unseen_only(distinct(held_out, beside, seen), asked))
    return parts


def check_leaks(train: Iterable[Dialogue], held_out: Iterable[Dialogue]) -> None:
    """Check that no question scored in the held-out part was asked in training.

    Raises: LeakError.
    """
    asked = questions(train)
    for dialogue in held_out:
        for turn in dialogue.turns:
            if is_scored(turn) and normalized(turn.user) in asked:
                raise LeakError(f"held-out question {turn.user!r} is in the training part")


def calibration_text(dialogues: int, seed: int, *, reworded: bool = True, english: float = ENGLISH) -> str:
    """The training part's first dialogues, in the form that the export's calibration text has."""
    composer = Composer(random.Random(f"{seed}/train"), reworded=reworded, english=english)
    chats = (dialogue.messages() for dialogue in distinct(composer, dialogues, set()))
    return "\n".join("".join(f"{m['role'].title()}: {m['content']}\n" for m in chat) for chat in chats)


def read_part(folder: Path, part: str) -> Iterator[Dialogue]:
    """Yield the dialogues of one part as written."""
    with (folder / f"{part}.jsonl").open(encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            turns = tuple(Turn(**{**turn, "facts": tuple(turn["facts"])}) for turn in entry["turns"])
            yield Dialogue(turns, entry["system"], entry.get("opening", 0))


def scored_dialogues(held_out: Iterable[Dialogue]) -> Iterator[Dialogue]:
    """Each held-out dialogue up to the last of its turns that is scored."""
    for dialogue in held_out:
        ends = [at for at, turn in enumerate(dialogue.turns, 1) if turn.facts]
        yield Dialogue(dialogue.turns[: ends[-1]], dialogue.system)


def normalized(text: str) -> str:
    """Return the text without case, marks and doubled spaces, as the leak check compares it."""
    kept = "".join(c if unicodedata.category(c)[0] in "LN" or c in "+-" else " " for c in text.casefold())
    return " ".join(kept.split())


def questions(dialogues: Iterable[Dialogue]) -> set[str]:
    """Return what is asked in the dialogues, normalized."""
    return {normalized(turn.user) for dialogue in dialogues for turn in dialogue.turns}


def is_scored(turn: Turn) -> bool:
    """Tell whether a held-out turn counts in the measures: it has a fact, and its question was held out.

    Asking for one's own name is scored by the value, which is new even where the phrasing is not.
    """
    return bool(turn.facts) and turn.kind not in ("recall", "summary")


def unseen_only(held_out: Iterable[Dialogue], asked: Set[str]) -> Iterator[Dialogue]:
    """Yield the dialogues, facts struck out (so not scored) where a question is known from training.

    Those of which nothing is left to score are left out.
    """
    for dialogue in held_out:
        turns = tuple(
            replace(turn, facts=()) if is_scored(turn) and normalized(turn.user) in asked else turn
            for turn in dialogue.turns
        )
        if any(turn.facts for turn in turns):
            yield Dialogue(turns, dialogue.system)


def distinct(composer: Composer, count: int, seen: set[str]) -> list[Dialogue]:
    """Return so many clean dialogues, none of them among those seen; they are added to these."""
    found: list[Dialogue] = []
    misses = 0
    while len(found) < count and misses < _MAX_TRIES * count:
        dialogue = composer.dialogue()
        key = normalized(" / ".join(turn.user for turn in dialogue.turns))
        if key in seen or not is_clean(dialogue):
            misses += 1
            continue
        seen.add(key)
        found.append(dialogue)
    return found


def is_clean(dialogue: Dialogue) -> bool:
    """Tell whether every text is non-empty, in NFC, and free of control characters and open slots."""
    for turn in dialogue.turns:
        for text in (turn.user, turn.reply):
            if not text.strip() or text != unicodedata.normalize("NFC", text):
                return False
            if any(unicodedata.category(c) == "Cc" for c in text) or "{" in text or "<|" in text:
                return False
    return True


def _as_json(dialogue: Dialogue) -> dict[str, Any]:
    written = {"system": dialogue.system, "turns": [asdict(turn) for turn in dialogue.turns]}
    return {**written, "opening": dialogue.opening} if dialogue.opening else written
