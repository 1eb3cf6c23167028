"""The checkpoint in the repository: a real model that remembers, stops, and came from this corpus."""

import json
from pathlib import Path

import pytest
import torch

from export.house.corpus import HEAD_DIALOGUES, write_corpus
from export.house.evaluate import measure, recall_probes
from export.house.model import load_checkpoint, with_reader
from export.house.replies import CheckpointAnswerer
from export.house.report import model_card
from export.house.tokenizer import load_tokenizer

CHECKPOINT = Path("models/house/checkpoint")
MOST_BYTES = 40_000_000


@pytest.fixture(scope="module")
def answerer() -> CheckpointAnswerer:
    return CheckpointAnswerer(load_checkpoint(CHECKPOINT), load_tokenizer(CHECKPOINT))


def test_it_remembers_names_it_has_never_seen(answerer: CheckpointAnswerer) -> None:
    """Of 56 unseen names asked for 1 to 10 turns later in both languages, nine in ten come back right.

    Greedy answers to seeded probes: the outcome is fixed by the checkpoint, there is no chance in it. A few
    names still end in a loop of one syllable (two of these 56 as measured), so not all answers stop.
    """
    measured = measure(answerer, recall_probes("name", each=4, seed=3, rephrased=False))
    recalls = [rate for name, rate in measured.rates.items() if name.startswith("recall")]
    right = sum(rate.right for rate in recalls)
    assert sum(rate.total for rate in recalls) == 56
    assert right >= 51, measured.failures
    assert measured.rates["stops by itself"].right >= 54


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("Hello!", "Hello!|Hi there!"),
        ("How do I deploy it?", "make deploy"),
        ("what is a chatbot", "program"),
        ("你好", "你好"),
        ("什么是量化？", "位"),
        ("怎么部署？", "make deploy"),
    ],
)
def test_it_answers_in_its_world(answerer: CheckpointAnswerer, question: str, fact: str) -> None:
    """Plain questions about its world get a right answer, in the language they were asked in."""
    reply = answerer.answer([[{"role": "user", "content": question}]])[0]
    assert reply.stopped
    assert any(each in reply.text for each in fact.split("|"))


def test_it_is_made_for_export() -> None:
    """The folder is small, in bfloat16, licensed, and names its end token and sampling defaults."""
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) < MOST_BYTES
    assert config["dtype"] == "bfloat16"
    assert config["tie_word_embeddings"] is True
    assert "license: apache-2.0" in (CHECKPOINT / "README.md").read_text(encoding="utf-8")
    assert torch.isfinite(load_checkpoint(CHECKPOINT).lm_head.weight).all()


def test_the_card_tells_every_run(answerer: CheckpointAnswerer) -> None:
    """A card of weights that went on from others names both corpora, the first one first."""
    made = json.loads((CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    card = model_card(answerer.model, {**made, "after": {**made, "seed": 12345}}, "")
    assert card.count(made["corpus"]["sha256"]["train"]) >= 2
    assert card.index("seed 12345") < card.rindex(f"seed {made['seed']}:")


def test_the_card_tells_of_a_reader(answerer: CheckpointAnswerer) -> None:
    """A card of a model with a reader tells its size, how it was taught and on how many texts."""
    made = json.loads((CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    card = model_card(with_reader(answerer.model, seed=1), {**made, "reader": "alone", "epochs": 4}, "")
    assert "10 layers, the last 4 of them a reader's (hidden size 128, with 131,071 rows" in card
    assert "practice, composed anew for each of 4 epochs" in card
    assert "Only the reader learned, by itself." in card


def test_the_corpus_is_still_the_one_it_was_trained_on(tmp_path: Path) -> None:
    """The generator writes the very dialogues that the checkpoint's record begins with.

    The first hundred stand for all: composing the whole corpus takes half a minute.
    """
    made = json.loads((CHECKPOINT / "training.json").read_text(encoding="utf-8"))
    english = made["corpus"]["english"]
    again = write_corpus(tmp_path, dialogues=HEAD_DIALOGUES, seed=made["seed"], english=english)
    assert again["head_sha256"] == made["corpus"]["head_sha256"]
