"""The stages of the pipeline: where each reads, where it writes, what it prints.

Owns the sizes of the shipped model's run. The work itself is in the modules named after it.
"""

import argparse
import functools
import json
import math
import random
from itertools import islice
from pathlib import Path

from export.house.batches import Example, encode_all, pad_id
from export.house.corpus import calibration_text, read_part, write_corpus
from export.house.evaluate import correction_probes, measure, question_probes, recall_probes
from export.house.model import ModelSize, load_checkpoint, new_model, save_checkpoint
from export.house.names import make_name
from export.house.parallel import Workers, run_workers
from export.house.replies import Answerer, BundleAnswerer, CheckpointAnswerer
from export.house.report import markdown, model_card, plot_losses, read_losses
from export.house.tokenizer import load_tokenizer, train_tokenizer
from export.house.train import Schedule, Trainer, mean_loss
from export.house.turns import Dialogue
from export.rounding.text import CALIBRATION_FILE

SIZE = ModelSize()
VOCABULARY = 3072
DIALOGUES = 40_000
STEPS = 2140
MAX_TRAIN_TOKENS = 640
CALIBRATION_DIALOGUES = 64
HELD_OUT_NAMES = 120
HELD_OUT_NAMES_FILE = Path("tests/data/house_heldout_names.json")
_TOKENIZER_DIALOGUES = 12_000
_VALID_DIALOGUES = 150


def corpus(options: argparse.Namespace) -> None:
    """Compose and write the corpus."""
    record = write_corpus(options.work / "corpus", dialogues=options.dialogues, seed=options.seed)
    print(f"corpus: {record['dialogues']} dialogues, {record['turns']} training turns")
    print(f"corpus: train sha256 {record['sha256']['train']}")


def calibration(options: argparse.Namespace) -> None:
    """Write the text that the checkpoint is rounded with, beside it."""
    file = options.checkpoint / CALIBRATION_FILE
    file.write_text(calibration_text(CALIBRATION_DIALOGUES, options.seed), encoding="utf-8")
    print(f"calibration: {file}")


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
    examples = _examples(options)
    tokens = sum(len(example.ids) for example in examples[0])
    print(f"train: {len(examples[0])} dialogues, {tokens} tokens, {options.workers} workers", flush=True)

    def work(workers: Workers) -> None:
        trainer = _trainer(options, *examples, workers)
        if trainer.resume():
            trainer.report(f"taken up at step {trainer.step}")
        trainer.report(f"{sum(p.numel() for p in trainer.model.parameters())} parameters")
        trainer.run()

    run_workers(options.workers, work)


def save(options: argparse.Namespace) -> None:
    """Write the run's weights as a checkpoint, with a record of how they were made."""
    trainer = _trainer(options, [], [], Workers())
    if not trainer.resume():
        raise FileNotFoundError(f"{options.work / 'run'} holds no training run; run `train` first")
    save_checkpoint(trainer.model, load_tokenizer(options.work / "tokenizer"), options.checkpoint)
    record = json.loads((options.work / "corpus" / "corpus.json").read_text(encoding="utf-8"))
    made = {"corpus": record, "steps": trainer.step, "tokens": trainer.tokens, "seed": options.seed}
    (options.checkpoint / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    print(f"save: {options.checkpoint} at step {trainer.step}")


def evaluate(options: argparse.Namespace) -> None:
    """Measure the checkpoint, and write its model card and loss curve; or measure a bundle made from it."""
    dialogues = list(read_part(options.work / "corpus", "held_out"))
    if options.bundle:
        answerer = BundleAnswerer(options.bundle, temperature=options.temperature, seed=options.seed)
        print(_measures(answerer, dialogues, options))
        return
    model, pieces = load_checkpoint(options.checkpoint), load_tokenizer(options.checkpoint)
    examples = encode_all(pieces, dialogues, max_tokens=MAX_TRAIN_TOKENS)
    perplexity = math.exp(mean_loss(model, examples, Schedule.batch_tokens, pad_id(pieces)))
    answers = CheckpointAnswerer(model, pieces, temperature=options.temperature, seed=options.seed)
    text = f"Perplexity of the answers to unseen phrasings: {perplexity:.3f}.\n\n"
    text += _measures(answers, dialogues, options)
    print(text)
    made = json.loads((options.checkpoint / "training.json").read_text(encoding="utf-8"))
    card = model_card(model, made, text, options.temperature)
    (options.checkpoint / "README.md").write_text(card, encoding="utf-8")
    losses = options.work / "run" / "losses.csv"
    if losses.exists():
        plot_losses(read_losses(losses), options.checkpoint / "losses.png")


def _measures(answerer: Answerer, held_out: list[Dialogue], options: argparse.Namespace) -> str:
    each = max(1, options.probes // 20)
    known = read_part(options.work / "corpus", "valid")
    recall = functools.partial(recall_probes, "name", each, options.seed)
    corrections = functools.partial(correction_probes, each, options.seed)
    probes = {
        "Known phrasings, new dialogues": question_probes(known, options.probes),
        "Unseen phrasings": question_probes(held_out, options.probes),
        "Unseen names": [*recall(rephrased=False), *corrections(rephrased=False)],
        "Unseen names in unseen phrasings": [*recall(rephrased=True), *corrections(rephrased=True)],
    }
    return "\n".join(markdown(title, measure(answerer, asked)) for title, asked in probes.items())


def _examples(options: argparse.Namespace) -> tuple[list[Example], list[Example]]:
    pieces, parts = load_tokenizer(options.work / "tokenizer"), options.work / "corpus"
    train_part = read_part(parts, "train")
    valid = islice(read_part(parts, "valid"), _VALID_DIALOGUES)
    return (
        encode_all(pieces, train_part, max_tokens=MAX_TRAIN_TOKENS),
        encode_all(pieces, valid, max_tokens=MAX_TRAIN_TOKENS),
    )


def _trainer(
    options: argparse.Namespace, train_part: list[Example], valid: list[Example], workers: Workers
) -> Trainer:
    pieces = load_tokenizer(options.work / "tokenizer")
    schedule = Schedule(steps=options.steps, seed=options.seed)
    report = functools.partial(print, flush=True) if not workers.rank else _silent
    model = new_model(SIZE, pieces, options.seed)
    folder: Path = options.work / "run"
    return Trainer(model, train_part, valid, schedule, folder, pad_id(pieces), report, workers)


def _silent(_line: str) -> None:
    """The other workers say nothing."""
