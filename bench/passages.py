"""Text that repeats its prompt: three requests over one passage, with the answers a capable model gives.

The models measured here have random weights and would never quote, so the answer is scripted: the sampler
draws, and then returns the script's next id. How much of a draft is accepted is therefore that of this
real text; the share is counted in the run and stated beside the figures. Knows no tokenizer: words are
cut into pieces of about the size of real tokens, and every distinct piece gets one id, the same for all
contenders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Longer words are cut, which gives about 1.3 pieces a word, as trained tokenizers do on English.
PIECE_LETTERS = 6
FIRST_ID = 1000

PASSAGE = """\
The edible dormouse spends more than half of the year asleep. In the forests of central Europe it goes \
underground in late September, when the nights grow cold and the beech nuts have been eaten, and it does \
not come back to the surface before May. During those months its heart, which beats about three hundred \
times a minute in summer, slows to fewer than ten beats, and its body temperature falls to within a \
degree of the surrounding soil. It breathes in short bursts, with pauses that can last for an hour. All \
this saves energy: a sleeping animal uses about two percent of what it would need awake.

Waking up is expensive. Every few weeks the animal warms itself for several hours, and these short \
wakings use most of the fat that it has stored. Nobody is certain what they are for. One explanation is \
that the brain needs real sleep, which the cold of hibernation does not give; another is that the immune \
system has to be switched on from time to time. What is clear is that an animal that wakes too often \
does not survive until spring, and that one which is disturbed in January loses about as much fat as it \
would in ten quiet days.

In years without beech nuts many dormice do not breed at all. They may go back to sleep in June, only \
weeks after they woke, and stay underground until the following spring. The longest sleep on record \
lasted eleven months and four days.
"""

QUOTE = (
    "What does the text say about waking up? Quote the sentences.",
    """\
The text says: "Waking up is expensive. Every few weeks the animal warms itself for several hours, and \
these short wakings use most of the fat that it has stored. Nobody is certain what they are for." """,
)

EDIT = (
    "Rewrite the last paragraph for the garden dormouse, with acorns instead of beech nuts.",
    """\
In years without acorns many garden dormice do not breed at all. They may go back to sleep in June, only \
weeks after they woke, and stay underground until the following spring. The longest sleep on record \
lasted eleven months and four days.""",
)

ANSWER = (
    "How does the animal save energy in winter, and how much?",
    """\
It goes underground in late September and lets everything slow down. Its heart falls from about three \
hundred times a minute to fewer than ten beats, its body temperature falls to within a degree of the \
surrounding soil, and it breathes in short bursts. In this state it uses about two percent of what it \
would need awake.""",
)

REQUESTS = {"quote": QUOTE, "edit": EDIT, "answer": ANSWER}


@dataclass(frozen=True)
class Scripted:
    """One request, as ids."""

    name: str
    prompt_ids: list[int]
    answer_ids: list[int]


def scripted() -> list[Scripted]:
    """The three requests; equal pieces have equal ids throughout."""
    ids: dict[str, int] = {}
    found = []
    for name, (question, answer) in REQUESTS.items():
        prompt = _ids(f"{PASSAGE}\n{question}\n\n", ids)
        found.append(Scripted(name, prompt, _ids(answer, ids)))
    return found


def _ids(text: str, known: dict[str, int]) -> list[int]:
    pieces = re.findall(rf" ?[^\W\d_]{{1,{PIECE_LETTERS}}}|\d|\s|[^\w\s]", text)
    return [known.setdefault(piece, FIRST_ID + len(known)) for piece in pieces]
