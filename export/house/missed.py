"""Composes practice for weights that go on learning: again and again what they answer wrong.

Most of a corpus is soon known, and a step on it teaches little. Owns what counts as missed and how often that
comes again. Source: the choice by loss, Shrivastava et al., "Training region-based object detectors with
online hard example mining" (2016); here it is made once, before the run.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from export.house.batches import IGNORED, encode_all, epoch_batches, pad_id, stack
from export.house.dialogue import ENGLISH, Composer
from export.house.skills import EXERCISE_KINDS
from export.house.train import answer_logits
from export.house.turns import Dialogue

TIMES = 4  # how often a missed question comes, beside once among all
TOLD = 0.25  # dialogues about told facts for each question
_TRIED = 16  # questions of each family that show how often it is missed
OPENING = 8  # tokens of a written answer that decide it: they have 97 % of the loss of missed questions
_TYPO = 0.25  # part of the questions with a slip
_UNSURE = 0.2  # a right answer with a token less probable than this is missed; few answers have five wordings
_CHANCE = ("tutoring",)  # nothing tells which question a lesson begins with
_MOST_JOINED = 6
_BATCH_TOKENS = 16384

Missed = Mapping[tuple[str, str], float]  # family (name, language) -> the part of its questions missed


def practice(
    model: LlamaForCausalLM,
    pieces: PreTrainedTokenizerFast,
    *,
    questions: int,
    seed: int,
    english: float = ENGLISH,
    kept: float = 1.0,
    times: int = TIMES,
    told: float = TOLD,
    openings: bool = False,
) -> tuple[list[Dialogue], int]:
    """Return dialogues in which the missed ones come several times, and the number of these.

    They are questions, each joined to others, and short dialogues about told facts, which stay alone: what
    was told in one would be known in the next. With `openings`, a question counts as missed by the opening of
    its last answer (`opened`), and stands alone with that, so that more of them are learned in a step; what
    is kept once is read whole.
    """
    rng = random.Random(f"{seed}/questions")
    composer = Composer(rng, typo=_TYPO, english=english)
    drawn = [composer.questions() for _ in range(questions)]
    facts = [composer.told_facts() for _ in range(int(questions * told))]
    asked = [opened(d) for d in drawn] if openings else drawn
    wrong, mistold = ([d for d in missed(model, pieces, all_of) if _is_sure(d)] for all_of in (asked, facts))
    once = [all_of[: round(kept * len(all_of))] for all_of in (drawn, facts)]
    dialogues = [*_joined(once[0], rng), *once[1]]
    for _ in range(times):
        dialogues += [*(wrong if openings else _joined(wrong, rng)), *mistold]
    return dialogues, len(wrong) + len(mistold)


def practice_by_family(
    model: LlamaForCausalLM,
    pieces: PreTrainedTokenizerFast,
    *,
    questions: int,
    seed: int,
    english: float = ENGLISH,
    told: float = TOLD,
    single: bool = False,
) -> tuple[list[Dialogue], Missed]:
    """Return new questions, more of the families that are missed more, and short dialogues about told facts.

    No question comes twice: the same ones again would be learned by heart. Each stands alone with the opening
    of its last answer (`opened`), so that more of them are learned in a step; it may lean on one before, if
    they are not `single`. Return as well the part of each family that is missed; with that, `more_practice`
    draws others.
    """
    composer = Composer(random.Random(f"{seed}/questions"), typo=_TYPO, english=english)
    found = _parts_missed(model, pieces, composer)
    return _drawn(composer, found, questions, told, single), found


def more_practice(
    found: Missed,
    *,
    questions: int,
    seed: str,
    english: float = ENGLISH,
    told: float = TOLD,
    single: bool = False,
) -> list[Dialogue]:
    """Return practice as `practice_by_family` draws it, of families found to be missed before."""
    composer = Composer(random.Random(f"{seed}/questions"), typo=_TYPO, english=english)
    return _drawn(composer, found, questions, told, single)


def _drawn(composer: Composer, found: Missed, questions: int, told: float, single: bool) -> list[Dialogue]:
    composer.prefer(found)
    drawn = [opened(composer.questions(single=single)) for _ in range(questions)]
    return [*drawn, *(composer.told_facts() for _ in range(int(questions * told)))]


def opened(dialogue: Dialogue) -> Dialogue:
    """Return the dialogue with the opening of its last answer alone, where that decides the answer.

    What is computed is decided to its end: "12 + 15 = 27." has more tokens than an opening.
    """
    is_computed = dialogue.turns[-1].kind in EXERCISE_KINDS
    return dialogue if is_computed else replace(dialogue, opening=OPENING)


def _parts_missed(model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, composer: Composer) -> Missed:
    """The part of some questions of each family (name, language) that the weights miss."""
    families = [family for of_language in composer.families.values() for family in of_language]
    tried = [
        Dialogue((composer.write.question(family),), opening=OPENING)
        for family in families
        for _ in range(_TRIED)
    ]
    wrong = {id(dialogue) for dialogue in missed(model, pieces, tried)}
    return {
        (family.name, family.language): sum(id(d) in wrong for d in tried[at : at + _TRIED]) / _TRIED
        for at, family in zip(range(0, len(tried), _TRIED), families, strict=True)
    }


def _is_sure(dialogue: Dialogue) -> bool:
    """Whether the right answers follow from what was said."""
    return all(turn.kind not in _CHANCE for turn in dialogue.turns)


@torch.no_grad()
def missed(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, dialogues: Sequence[Dialogue]
) -> list[Dialogue]:
    """Return the dialogues in whose answers some token is improbable to the model."""
    model.eval()
    pad = pad_id(pieces)
    examples = encode_all(pieces, dialogues, max_tokens=model.config.max_position_embeddings)
    worst = np.zeros(len(dialogues))
    for numbers in epoch_batches(examples, batch_tokens=_BATCH_TOKENS, seed=0, epoch=0):
        ids, labels = stack(examples, numbers, pad)
        rows = (labels != IGNORED).nonzero()[:, 0]  # [N], of each learned token
        logits, targets = answer_logits(model, ids, labels)
        losses = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")[: len(rows)]
        worst[numbers] = torch.zeros(len(numbers)).scatter_reduce(0, rows, losses, "amax").numpy()
    return [dialogue for dialogue, loss in zip(dialogues, worst, strict=True) if np.exp(-loss) < _UNSURE]


def _joined(dialogues: Sequence[Dialogue], rng: random.Random) -> Iterator[Dialogue]:
    """The dialogues in another order, some of one language after another joined to one."""
    for language in sorted({dialogue.turns[0].language for dialogue in dialogues}):
        left = [dialogue for dialogue in dialogues if dialogue.turns[0].language == language]
        rng.shuffle(left)
        while left:
            taken = [left.pop() for _ in range(min(len(left), rng.randint(1, _MOST_JOINED)))]
            yield Dialogue(tuple(turn for dialogue in taken for turn in dialogue.turns))
