"""The stages of the pipeline: where each reads, where it writes, what it prints.

Owns the sizes of the shipped model's run. The work itself is in the modules named after it.
"""

import argparse
import json
import math
import random
from itertools import islice
from pathlib import Path

from export.house.batches import encode_all, pad_id
from export.house.corpus import read_part, write_corpus
from export.house.evaluate import correction_probes, measure, question_probes, recall_probes
from export.house.model import ModelSize, load_checkpoint, new_model, save_checkpoint
from export.house.names import make_name
from export.house.replies import CheckpointAnswerer
from export.house.report import markdown, plot_losses, read_losses
from export.house.tokenizer import load_tokenizer, train_tokenizer
from export.house.train import Schedule, Trainer, mean_loss

SIZE = ModelSize()
VOCABULARY = 3072
DIALOGUES = 40_000
STEPS = 2600
MAX_TRAIN_TOKENS = 640
HELD_OUT_NAMES = 120
HELD_OUT_NAMES_FILE = Path("tests/data/house_heldout_names.json")
_TOKENIZER_DIALOGUES = 12_000
_VALID_DIALOGUES = 150


def corpus(options: argparse.Namespace) -> None:
    """Compose and write the corpus."""
    record = write_corpus(options.work / "corpus", dialogues=options.dialogues, seed=options.seed)
    print(f"corpus: {record['dialogues']} dialogues, {record['turns']} training turns")
    print(f"corpus: train sha256 {record['sha256']['train']}")


def names(options: argparse.Namespace) -> None:
    """Write names that training never sees, for tests elsewhere."""
    rng = random.Random(f"{options.seed}/names")
    made = {
        language: sorted({make_name(rng, language, held_out=True) for _ in range(HELD_OUT_NAMES)})
        for language in ("en", "zh")
    }
    HELD_OUT_NAMES_FILE.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"names: {HELD_OUT_NAMES_FILE}")


def tokenizer(options: argparse.Namespace) -> None:
    """Train the tokenizer on the training part."""
    dialogues = islice(read_part(options.work / "corpus", "train"), _TOKENIZER_DIALOGUES)
    texts = (message["content"] for dialogue in dialogues for message in dialogue.messages())
    made = train_tokenizer(texts, vocabulary=VOCABULARY, context_tokens=SIZE.context_tokens)
    made.save_pretrained(options.work / "tokenizer")
    print(f"tokenizer: {len(made)} tokens")


def train(options: argparse.Namespace) -> None:
    """Train, or go on training, in the run folder."""
    trainer = _trainer(options)
    if trainer.resume():
        print(f"train: taken up at step {trainer.step}")
    parameters = sum(p.numel() for p in trainer.model.parameters())
    tokens = sum(len(example.ids) for example in trainer.train)
    print(f"train: {parameters} parameters, {len(trainer.train)} dialogues, {tokens} tokens", flush=True)
    trainer.run()


def save(options: argparse.Namespace) -> None:
    """Write the run's weights as a checkpoint, with a record of how they were made."""
    trainer = _trainer(options)
    if not trainer.resume():
        raise FileNotFoundError(f"{options.work / 'run'} holds no training run; run `train` first")
    save_checkpoint(trainer.model, load_tokenizer(options.work / "tokenizer"), options.checkpoint)
    record = json.loads((options.work / "corpus" / "corpus.json").read_text(encoding="utf-8"))
    made = {"corpus": record, "steps": trainer.step, "tokens": trainer.tokens, "seed": options.seed}
    (options.checkpoint / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(f"save: {options.checkpoint} at step {trainer.step}")


def evaluate(options: argparse.Namespace) -> None:
    """Measure the checkpoint on the held-out part; write `evaluation.md` and the loss curve."""
    model, pieces = load_checkpoint(options.checkpoint), load_tokenizer(options.checkpoint)
    dialogues = list(read_part(options.work / "corpus", "held_out"))
    examples = encode_all(pieces, dialogues, max_tokens=MAX_TRAIN_TOKENS)
    perplexity = math.exp(mean_loss(model, examples, Schedule.batch_tokens, pad_id(pieces)))
    answerer = CheckpointAnswerer(model, pieces, temperature=options.temperature, seed=options.seed)
    each = max(1, options.probes // 20)
    sections = [
        markdown(
            "Held-out questions", measure(answerer, question_probes(dialogues, options.probes)), perplexity
        ),
        markdown("Names never seen", measure(answerer, recall_probes("name", each, options.seed))),
        markdown("Corrected names", measure(answerer, correction_probes(2 * each, options.seed))),
    ]
    text = "\n".join(sections)
    (options.work / "evaluation.md").write_text(text, encoding="utf-8")
    print(text)
    losses = options.work / "run" / "losses.csv"
    if losses.exists():
        plot_losses(read_losses(losses), options.work / "losses.png")


def _trainer(options: argparse.Namespace) -> Trainer:
    folder: Path = options.work
    pieces = load_tokenizer(folder / "tokenizer")
    parts = folder / "corpus"
    train_part = encode_all(pieces, read_part(parts, "train"), max_tokens=MAX_TRAIN_TOKENS)
    valid = encode_all(
        pieces, islice(read_part(parts, "valid"), _VALID_DIALOGUES), max_tokens=MAX_TRAIN_TOKENS
    )
    model = new_model(SIZE, pieces, options.seed)
    schedule = Schedule(steps=options.steps, seed=options.seed)
    return Trainer(model, train_part, valid, schedule, folder / "run", pad_id(pieces))
