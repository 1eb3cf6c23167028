"""The stages of the pipeline: where each reads, where it writes, what it prints.

Owns the sizes of the shipped model and of its first run. The work itself is in the modules named after it.
"""

import argparse
import functools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from export.house.batches import Example, encode_all, pad_id
from export.house.corpus import (
    calibration_text,
    questions,
    read_part,
    scored_dialogues,
    unseen_only,
    write_corpus,
)
from export.house.epochs import Epochs
from export.house.evaluate import Measured, all_probes, measure
from export.house.fresh import Fresh, read_fresh, read_whole, write_fresh
from export.house.missed import practice, practice_by_family
from export.house.model import ModelSize, blend, load_checkpoint, new_model, save_checkpoint, teach_reader
from export.house.names import make_name
from export.house.parallel import Workers, run_workers
from export.house.replies import Answerer, BundleAnswerer, CheckpointAnswerer
from export.house.report import (
    comparison,
    details,
    joined,
    model_card,
    plot_losses,
    read_losses,
    write_losses,
)
from export.house.tokenizer import load_tokenizer, train_tokenizer
from export.house.train import Schedule, Trainer, mean_loss
from export.house.turns import Dialogue
from export.rounding.text import CALIBRATION_FILE
from handler.engine.bundle import read_manifest

SIZE = ModelSize()
VOCABULARY = 4096
DIALOGUES = 600_000
STEPS = 5200
SEED = 7
MAX_TRAIN_TOKENS = 1024
CALIBRATION_DIALOGUES = 64
SCORED_DIALOGUES = 120
DIALOGUES_FILE = "dialogues.jsonl"
HELD_OUT_NAMES = 120
HELD_OUT_NAMES_FILE = Path("tests/data/house_heldout_names.json")
_TOKENIZER_DIALOGUES = 20_000
_VALID_DIALOGUES = 150


def corpus(options: argparse.Namespace) -> None:
    """Compose and write the corpus; with `questions`, also practice for the weights to go on from.

    What begins from nothing reads the wordings as they are written, what goes on reads them in other words
    as well.
    """
    if options.epochs > 1 and not (options.questions and options.by_family):
        raise ValueError(
            "--epochs: --questions and --by-family are missing: later epochs are made like these"
        )
    practised: list[Dialogue] = []
    fresh: Fresh | None = None
    if options.questions:
        if options.start is None:
            raise ValueError("--questions: --start is missing, the checkpoint whose mistakes are practised")
        practised, fresh = _practised(options)
    record = write_corpus(
        options.work / "corpus",
        dialogues=options.dialogues,
        seed=options.seed,
        before=options.before,
        practice=practised,
        reworded=options.start is not None,
        english=options.english,
    )
    write_fresh(options.work / "corpus", fresh)
    print(f"corpus: {record['dialogues']} dialogues, {record['turns']} training turns")
    print(f"corpus: train sha256 {record['sha256']['train']}")


def _practised(options: argparse.Namespace) -> tuple[list[Dialogue], Fresh | None]:
    """The practice of the first epoch, and what later ones are composed of, if there are any."""
    model, pieces = load_checkpoint(options.start), load_tokenizer(options.start)
    drawn: dict[str, Any] = {
        name: getattr(options, name) for name in ("questions", "seed", "english", "told")
    }
    if options.by_family:
        drawn["single"] = options.single
        practised, families = practice_by_family(model, pieces, **drawn)
        fresh = Fresh(epochs=options.epochs, dialogues=options.dialogues, missed=families, **drawn)
        return practised, fresh if options.epochs > 1 else None
    practised, missed = practice(
        model, pieces, **drawn, kept=options.kept, times=options.times, openings=options.openings
    )
    print(f"corpus: {missed} missed of {options.questions} questions and the facts told beside", flush=True)
    return practised, None


def calibration(options: argparse.Namespace) -> None:
    """Write what the export reads beside the weights: text to round with, dialogues to score answers on."""
    file = options.checkpoint / CALIBRATION_FILE
    text = calibration_text(
        CALIBRATION_DIALOGUES,
        options.seed,
        reworded=options.start is not None,
        english=options.english,
    )
    file.write_text(text, encoding="utf-8")
    unseen = unseen_only(read_part(options.work / "corpus", "held_out"), _asked(options))
    scored = islice(scored_dialogues(unseen), SCORED_DIALOGUES)
    lines = [json.dumps({"messages": d.messages()}, ensure_ascii=False) + "\n" for d in scored]
    (options.checkpoint / DIALOGUES_FILE).write_text("".join(lines), encoding="utf-8")
    print(f"calibration: {file}, {len(lines)} dialogues in {DIALOGUES_FILE}")


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
    first, valid = _examples(options)
    fresh = read_fresh(options.work / "corpus")
    count = fresh.epochs if fresh else 1
    tokens = sum(len(example.ids) for example in first)
    size = f"{len(first)} dialogues, {tokens} tokens in the first of {count} epochs"
    print(f"train: {size}, {options.workers} workers", flush=True)

    def work(workers: Workers) -> None:
        make = functools.partial(_later_examples, options)
        with Epochs(first, make, count=count, processes=options.composers) as epochs:
            trainer = _trainer(options, epochs, valid, workers)
            if trainer.resume():
                trainer.report(f"taken up at step {trainer.step}")
            trainer.report(f"{sum(p.numel() for p in trainer.model.parameters())} parameters")
            trainer.run()

    run_workers(options.workers, work)


def save(options: argparse.Namespace) -> None:
    """Write the run's weights as a checkpoint, with a record of how they were made."""
    trainer = _trainer(options, Epochs([]), [], Workers())
    if not trainer.resume():
        raise FileNotFoundError(f"{options.work / 'run'} holds no training run; run `train` first")
    if options.start and options.blend < 1:
        blend(trainer.model, _begun(options), options.blend)
    save_checkpoint(trainer.model, _pieces(options), options.checkpoint)
    made = {
        "corpus": _read(options.work / "corpus" / "corpus.json"),
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "seed": options.seed,
        "blend": options.blend,
    }
    if options.reader:
        made["reader"] = options.reader
    if fresh := read_fresh(options.work / "corpus"):
        made["epochs"] = min(fresh.epochs, trainer.epoch + 1)
    losses = read_losses(options.work / "run" / "losses.csv")
    if options.start:
        made["after"] = _read(options.start / "training.json")
        losses = joined(read_losses(options.start / "losses.csv"), losses)
    (options.checkpoint / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    write_losses(losses, options.checkpoint / "losses.csv")
    plot_losses(losses, options.checkpoint / "losses.png")
    print(f"save: {options.checkpoint} at step {trainer.step}")


def evaluate(options: argparse.Namespace) -> None:
    """Measure the checkpoint and the bundles given, greedy and at a temperature; write the model card."""
    held_out = list(read_part(options.work / "corpus", "held_out"))
    model, pieces = load_checkpoint(options.checkpoint), load_tokenizer(options.checkpoint)
    examples = encode_all(pieces, held_out, max_tokens=MAX_TRAIN_TOKENS)
    perplexity = math.exp(mean_loss(model, examples, Schedule.batch_tokens, pad_id(pieces)))
    probes = all_probes(
        held_out,
        read_part(options.work / "corpus", "valid"),
        _asked(options),
        count=options.probes,
        seed=options.seed,
    )
    results: dict[str, dict[str, Measured]] = {}
    for name, answerer in _forms(model, pieces, options):
        results[name] = {title: measure(answerer, asked) for title, asked in probes.items()}
        print(f"evaluate: {name} done", flush=True)
    text = f"Perplexity of the answers to unseen phrasings, unquantized: {perplexity:.3f}.\n\n"
    text += comparison(results) + "\n" + details(results)
    print(text)
    card = model_card(model, _read(options.checkpoint / "training.json"), text)
    (options.checkpoint / "README.md").write_text(card, encoding="utf-8")


def _forms(
    model: LlamaForCausalLM, pieces: PreTrainedTokenizerFast, options: argparse.Namespace
) -> Iterator[tuple[str, Answerer]]:
    for temperature in (0.0, options.temperature):
        sampled = {"temperature": temperature, "seed": options.seed}
        suffix = f", T {temperature}" if temperature else ""
        yield f"bf16{suffix}", CheckpointAnswerer(model, pieces, **sampled)
        for folder in options.bundle:
            recipe = read_manifest(folder).quantization.recipe
            yield f"{recipe}{suffix}", BundleAnswerer(folder, **sampled)


def _asked(options: argparse.Namespace) -> set[str]:
    """Everything asked in training, in this corpus and those before, later epochs included."""
    return questions(d for made in (options.work / "corpus", *options.before) for d in read_whole(made))


def _examples(options: argparse.Namespace) -> tuple[list[Example], list[Example]]:
    pieces, parts = _pieces(options), options.work / "corpus"
    train_part = read_part(parts, "train")
    valid = islice(read_part(parts, "valid"), _VALID_DIALOGUES)
    return (
        encode_all(pieces, train_part, max_tokens=MAX_TRAIN_TOKENS),
        encode_all(pieces, valid, max_tokens=MAX_TRAIN_TOKENS),
    )


def _later_examples(options: argparse.Namespace, epoch: int) -> list[Example]:
    """The examples of an epoch after the first, composed anew."""
    fresh = read_fresh(options.work / "corpus")
    assert fresh is not None
    return encode_all(_pieces(options), fresh.compose(epoch), max_tokens=MAX_TRAIN_TOKENS)


def _trainer(options: argparse.Namespace, epochs: Epochs, valid: list[Example], workers: Workers) -> Trainer:
    pieces = _pieces(options)
    its = {field.name: getattr(options, field.name) for field in fields(Schedule) if field.name in options}
    model = _begun(options)
    report = functools.partial(print, flush=True) if not workers.rank else _silent
    folder: Path = options.work / "run"
    return Trainer(
        model,
        epochs,
        valid,
        Schedule(**its),
        folder,
        pad_id(pieces),
        report,
        workers,
        compiled=options.compile,
        device=options.device,
    )


def _begun(options: argparse.Namespace) -> LlamaForCausalLM:
    """The model that a run begins with."""
    seed = options.seed
    model = load_checkpoint(options.start) if options.start else new_model(SIZE, _pieces(options), seed)
    return teach_reader(model, seed, alone=options.reader == "alone") if options.reader else model


def _pieces(options: argparse.Namespace) -> PreTrainedTokenizerFast:
    return load_tokenizer(options.start or options.work / "tokenizer")


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _silent(_line: str) -> None:
    """The other workers say nothing."""
