"""Tokenizer, batches and training: round trips, what is learned, resuming."""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from export.house import missed, recipe, stages
from export.house.batches import IGNORED, Example, encode_all, epoch_batches, pad_id, stack
from export.house.corpus import compose_parts, write_corpus
from export.house.dialogue import ENGLISH
from export.house.epochs import Epochs
from export.house.fresh import Fresh, write_fresh
from export.house.model import (
    ModelSize,
    blend,
    load_checkpoint,
    new_model,
    save_checkpoint,
    teach_reader,
    with_reader,
)
from export.house.muon import orthogonal
from export.house.names import make_name
from export.house.parallel import Workers, run_workers
from export.house.replies import CheckpointAnswerer
from export.house.tokenizer import CONTROL_TOKENS, END, START, load_tokenizer, train_tokenizer
from export.house.topics import load_families
from export.house.train import Schedule, Trainer, answer_loss
from export.house.turns import Dialogue

TINY = ModelSize(hidden=64, layers=2, heads=1, kv_heads=1, intermediate=64, context_tokens=256)


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    return compose_parts(60, seed=2)["train"]


@pytest.fixture(scope="module")
def tokenizer(dialogues: list[Dialogue]):
    texts = (message["content"] for dialogue in dialogues for message in dialogue.messages())
    return train_tokenizer(texts, vocabulary=700, context_tokens=256)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are slower on two threads, much slower where others compute too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(
    tokenizer, dialogues, folder: Path, steps: int = 6, workers: Workers | None = None, anew: bool = False
) -> Trainer:
    """A trainer of a tiny model; with `anew`, in every other epoch it reads half of the dialogues."""
    examples = encode_all(tokenizer, dialogues, max_tokens=200)
    epochs = Epochs(examples, lambda _: examples[::2], count=2 if anew else 1)
    schedule = Schedule(
        steps=steps,
        batch_tokens=800,
        peak_lr=2e-2,
        warmup_steps=2,
        save_every_steps=100,
        measure_every_steps=100,
    )
    model = new_model(TINY, tokenizer, seed=1)
    return Trainer(model, epochs, [], schedule, folder, pad_id(tokenizer), lambda _line: None, workers)


def assert_same_weights(one: Trainer, other: Trainer) -> None:
    """Every weight is bit-equal."""
    for (name, a), b in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_text_round_trips(tokenizer) -> None:
    """Any text comes back from its ids: both languages, symbols, marks the corpus never had."""
    for text in (
        "Hello, Zoë! `make chat`",
        "你好，张伟。数字是3721",
        "😀 Ünïcödé ∑ \n tab\t",
        "naïve  two  spaces",
    ):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_chinese_name_is_cut_alike_everywhere(tokenizer) -> None:
    """The ids of a Chinese name do not depend on its neighbours, so it can be copied."""
    rng = random.Random(1)
    for _ in range(50):
        name = make_name(rng, "zh")
        alone, inside = tokenizer.encode(name), tokenizer.encode(f"我叫{name}。")
        assert any(inside[i : i + len(alone)] == alone for i in range(len(inside))) or name.isascii()


def test_control_tokens_are_single_and_first(tokenizer) -> None:
    """The control tokens are one id each, the lowest ones, and vanish from shown text."""
    assert [tokenizer.encode(token) for token in CONTROL_TOKENS] == [[0], [1], [2]]
    assert tokenizer.decode(tokenizer.encode(f"{START}user{END}"), skip_special_tokens=True) == "user"


def test_training_sees_what_the_chat_template_writes(tokenizer, dialogues) -> None:
    """The ids learned from are those of the template, for every dialogue."""
    for dialogue, example in zip(dialogues, encode_all(tokenizer, dialogues, max_tokens=10**6), strict=True):
        assert list(example.ids) == tokenizer.apply_chat_template(dialogue.messages(), tokenize=True)


def test_only_answers_and_their_ends_are_learned(tokenizer, dialogues) -> None:
    """The learned ids, decoded, are the answers, each with the token that ends it."""
    for dialogue, example in zip(dialogues, encode_all(tokenizer, dialogues, max_tokens=10**6), strict=True):
        learned = [
            token for token, is_learned in zip(example.ids, example.learned, strict=True) if is_learned
        ]
        assert tokenizer.decode(learned) == "".join(turn.reply + END for turn in dialogue.turns)


def test_batches_hold_every_example_once_and_fit(tokenizer, dialogues) -> None:
    """Each epoch has every example once; no batch has too many places; seed and epoch decide the order."""
    examples = encode_all(tokenizer, dialogues, max_tokens=200)
    batches = epoch_batches(examples, batch_tokens=800, seed=1, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(len(examples)))
    assert all(stack(examples, batch, 0)[0].numel() <= 800 for batch in batches)
    assert batches == epoch_batches(examples, batch_tokens=800, seed=1, epoch=0)
    assert batches != epoch_batches(examples, batch_tokens=800, seed=1, epoch=1)


@pytest.mark.parametrize(("tokens", "places"), [(3, 4), (33, 36), (64, 64), (125, 128), (129, 144)])
def test_batches_take_few_widths_and_short_ones_little_padding(tokens: int, places: int) -> None:
    """A row is as wide as the next multiple of 4 up to 128, and of 16 beyond."""
    example = Example(tuple(range(tokens)), (True,) * tokens)
    assert stack([example], [0], 0)[0].shape == (1, places)


def test_labels_are_the_next_tokens(tokenizer, dialogues) -> None:
    """A label is the token after its place, or ignored."""
    examples = encode_all(tokenizer, dialogues[:4], max_tokens=200)
    ids, labels = stack(examples, range(4), 0)
    rows, places = torch.nonzero(labels != IGNORED, as_tuple=True)
    assert torch.equal(labels[rows, places], ids[rows, places + 1])


def test_padding_changes_no_loss(tokenizer, dialogues) -> None:
    """A dialogue has the same loss alone and beside a longer one."""
    examples = sorted(encode_all(tokenizer, dialogues, max_tokens=200), key=lambda e: len(e.ids))
    model = new_model(TINY, tokenizer, seed=1)
    alone = answer_loss(model, *stack([examples[0]], [0], 0))
    ids, labels = stack([examples[0], examples[-1]], [0, 1], 0)
    labels[1] = IGNORED
    assert answer_loss(model, ids, labels).item() == pytest.approx(alone.item(), abs=1e-5)


def test_a_few_steps_lower_the_loss(tokenizer, dialogues, tmp_path: Path) -> None:
    """Forty steps bring the loss of a batch down by more than a third. Seeded: no chance in it."""
    run = trainer(tokenizer, dialogues, tmp_path, steps=40)
    batch = stack(run.train, run.batches[0], run.pad)
    before = answer_loss(run.model, *batch).item()
    run.run()
    assert answer_loss(run.model, *batch).item() < before * 0.67


def test_a_resumed_run_ends_with_the_same_weights(tokenizer, dialogues, tmp_path: Path) -> None:
    """Stopped after three of six steps and taken up by a new trainer, every weight is bit-equal."""
    whole = trainer(tokenizer, dialogues, tmp_path / "whole")
    whole.run()
    trainer(tokenizer, dialogues, tmp_path / "cut").run(until=3)
    rest = trainer(tokenizer, dialogues, tmp_path / "cut")
    assert rest.resume()
    assert rest.step == 3
    rest.run()
    assert_same_weights(whole, rest)


def test_epochs_made_anew_are_read_one_after_another(tokenizer, dialogues, tmp_path: Path) -> None:
    """Each is read whole, then the next; a run taken up in the second goes on there, to the same weights."""
    first = len(trainer(tokenizer, dialogues, tmp_path, anew=True).batches)
    whole = trainer(tokenizer, dialogues, tmp_path / "whole", first + 4, anew=True)
    whole.run()
    trainer(tokenizer, dialogues, tmp_path / "cut", first + 4, anew=True).run(until=first + 2)
    rest = trainer(tokenizer, dialogues, tmp_path / "cut", first + 4, anew=True)
    assert rest.resume()
    assert (rest.epoch, rest.at, len(rest.train)) == (1, 2, len(dialogues[::2]))
    rest.run()
    assert_same_weights(whole, rest)


def test_a_run_of_another_schedule_is_refused(tokenizer, dialogues, tmp_path: Path) -> None:
    """Resuming with other steps after the learning rate began to fall is refused."""
    trainer(tokenizer, dialogues, tmp_path).run(until=5)
    with pytest.raises(ValueError, match="another schedule"):
        trainer(tokenizer, dialogues, tmp_path, steps=9).resume()


def test_muon_steps_are_near_orthogonal() -> None:
    """Newton-Schulz brings all singular values near one, for wide and tall matrices. Deterministic seed."""
    torch.manual_seed(0)
    for shape in ((8, 24), (24, 8)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_a_checkpoint_is_a_hugging_face_folder(tokenizer, tmp_path: Path) -> None:
    """Saved and loaded again, model, template and generation defaults are there and the model answers."""
    model = new_model(TINY, tokenizer, seed=1)
    save_checkpoint(model, tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    defaults = json.loads((tmp_path / "generation_config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (["LlamaForCausalLM"], "llama")
    assert (defaults["temperature"], defaults["top_p"], defaults["eos_token_id"]) == (0.3, 0.9, 2)
    assert "chat_template" in json.loads((tmp_path / "tokenizer_config.json").read_text())
    pieces = load_tokenizer(tmp_path)
    conversations = [[{"role": "user", "content": text}] for text in ("hello", "你好，你好，你好")]
    together = CheckpointAnswerer(load_checkpoint(tmp_path), pieces, max_tokens=5).answer(conversations)
    alone = CheckpointAnswerer(load_checkpoint(tmp_path), pieces, max_tokens=5, batch=1).answer(conversations)
    assert together == alone


@pytest.mark.parametrize("alone", [True, False])
def test_a_reader_is_taught_and_the_rest_stays(alone: bool, tokenizer, dialogues, tmp_path: Path) -> None:
    """A reader beside a model learns, every other weight stays to the bit; loaded again, both are heard."""
    plain = new_model(TINY, tokenizer, seed=1)
    model = with_reader(plain, seed=3)
    ids = torch.tensor([[5, 9, 5, 9, 7], [9, 5, 7, 5, 9]])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert teach_reader(model, seed=4, alone=alone) is model
    examples = encode_all(tokenizer, dialogues[:9], max_tokens=256)
    schedule = Schedule(steps=2, batch_tokens=512, warmup_steps=1)
    Trainer(model, Epochs(examples), [], schedule, tmp_path / "run", 0, lambda _line: None).run()
    for name, value in model.state_dict().items():
        if name.startswith("model.reader."):
            assert not torch.equal(value, before[name]), name
        elif value.ndim == 2 and value.shape[1] == 64 + 128:  # the embedding, to which the head is tied
            assert torch.equal(value[:, :64], before[name][:, :64])
            assert not torch.equal(value[:, 64:], before[name][:, 64:])
        else:
            assert torch.equal(value, plain.state_dict()[name]), name
    save_checkpoint(model, tokenizer, tmp_path / "checkpoint")
    found = load_checkpoint(tmp_path / "checkpoint")
    assert with_reader(found, seed=4) is found
    with torch.no_grad():
        at_once = found(ids).logits
        begun = found(ids[:, :3], use_cache=True)
        rest = found(ids[:, 3:], past_key_values=begun.past_key_values).logits
        states, table = found.model(ids).last_hidden_state, model.lm_head.weight
        others = states[..., :64] @ table[:, :64].T
    assert torch.allclose(rest, at_once[:, 3:], atol=1e-5)
    assert torch.allclose(others, plain(ids).logits, atol=0.05)  # saved in bfloat16
    assert torch.allclose(others + states[..., 64:] @ table[:, 64:].T, at_once, atol=0.05)


def test_the_record_tells_how_many_epochs_were_read(
    tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three epochs that are composed anew, a run of two steps of one epoch each has read two."""
    monkeypatch.setattr(stages, "SIZE", TINY)
    families = {(family.name, family.language): 0.5 for family in load_families() if not family.after}
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    write_corpus(tmp_path / "corpus", dialogues=9, seed=5)
    made = Fresh(3, seed=5, dialogues=9, questions=9, told=0, english=ENGLISH, single=True, missed=families)
    write_fresh(tmp_path / "corpus", made)
    options = argparse.Namespace(
        work=tmp_path, checkpoint=tmp_path / "checkpoint", start=None, reader=None, blend=1.0, seed=5,
        workers=1, composers=0, compile=False, device="cpu", steps=2, batch_tokens=32768,
    )  # fmt: skip
    stages.train(options)
    stages.save(options)
    record = json.loads((tmp_path / "checkpoint" / "training.json").read_text(encoding="utf-8"))
    assert (record["steps"], record["epochs"]) == (2, 2)


def test_weights_are_left_on_the_way(tokenizer) -> None:
    """A blend lies where it is asked for, between the weights before and those of the run."""
    before, after = (new_model(TINY, tokenizer, seed=seed) for seed in (1, 2))
    whole = {name: value.clone() for name, value in after.state_dict().items()}
    blend(after, before, 0.25)
    for name, value in after.state_dict().items():
        assert torch.allclose(value, 0.25 * whole[name] + 0.75 * before.state_dict()[name], atol=1e-6), name


def test_a_run_can_be_made_longer_before_its_fall() -> None:
    """Until the learning rate falls, a run of 600 steps is also the beginning of one of 1000."""
    short, long = Schedule(steps=600), Schedule(steps=1000)
    plateau_end = int(600 * (1 - Schedule.fall))
    assert all(short.learning_rate(step) == long.learning_rate(step) for step in range(plateau_end))
    assert long.same_until(plateau_end, asdict(short))
    assert not long.same_until(plateau_end + 1, asdict(short))
    assert not long.same_until(0, asdict(Schedule(steps=600, seed=8)))


def test_two_workers_learn_what_one_learns(tokenizer, dialogues, tmp_path: Path) -> None:
    """Three steps split over two processes end with the weights of one process, but for rounding."""
    alone = trainer(tokenizer, dialogues, tmp_path / "alone")
    alone.run(until=3)

    def work(workers: Workers) -> None:
        run = trainer(tokenizer, dialogues, tmp_path / "both", workers=workers)
        run.run(until=3)

    run_workers(2, work)
    both = trainer(tokenizer, dialogues, tmp_path / "both")
    assert both.resume()
    for (name, a), b in zip(alone.model.state_dict().items(), both.model.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=2e-3), name


def test_a_failed_worker_fails_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    """An error in one worker is not lost."""

    def work(workers: Workers) -> None:
        raise ValueError(f"planted in {workers.rank}")

    with pytest.raises(RuntimeError, match="worker failed"):
        run_workers(2, work)
    assert "planted in" in capfd.readouterr().err


def trained(work: Path) -> dict[str, Any]:
    """The schedule that a run was trained by."""
    schedule: dict[str, Any] = torch.load(work / "run" / "run.pt", weights_only=True)["schedule"]
    return schedule


def test_one_command_makes_the_weights_in_seven_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`all` trains from nothing, goes on with what was missed, and records all runs and their corpora."""
    size = ModelSize(hidden=32, layers=1, heads=1, kv_heads=1, intermediate=32)
    monkeypatch.setattr(stages, "SIZE", size)
    monkeypatch.setattr(missed, "_TRIED", 1)
    measured: list[argparse.Namespace] = []
    monkeypatch.setattr(stages, "evaluate", measured.append)
    options = argparse.Namespace(
        work=tmp_path / "work", checkpoint=tmp_path / "checkpoint", start=None, before=[], bundle=[],
        dialogues=80, questions=0, kept=1.0, times=4, told=0.25, openings=False, by_family=False,
        single=False, epochs=1, composers=0, english=ENGLISH, steps=6, batch_tokens=32768, peak_lr=5e-3,
        blend=1.0, seed=7, workers=1, bfloat16=False, device="cpu", compile=False, reader=None,
    )  # fmt: skip

    recipe.everything(options)

    rates = [trained(tmp_path / "work" / f"run{number}")["peak_lr"] for number in range(1, 8)]
    assert rates == [5e-3, 3e-3, 4e-4, 4e-4, 5e-4, 8e-4, 8e-4]
    runs = [json.loads((tmp_path / "checkpoint" / "training.json").read_text(encoding="utf-8"))]
    while "after" in runs[0]:
        runs.insert(0, runs[0].pop("after"))
    assert [run["steps"] for run in runs] == [6, 5, 1, 1, 1, 1, 2]
    assert [run["seed"] for run in runs] == [7, 8, 11, 12, 15, 16, 17]
    assert [run["blend"] for run in runs] == [1.0, 1.0, 1.0, 0.35, 0.6, 0.6, 0.7]
    assert [run["corpus"]["practice"] > 0 for run in runs] == [False, *6 * [True]]
    assert runs[1]["corpus"]["dialogues"]["train"] - runs[1]["corpus"]["practice"] == 40
    assert [run["corpus"]["english"] for run in runs] == [ENGLISH, ENGLISH, 0.55, 0.55, 0.58, 0.6, 0.6]
    corpora = [tmp_path / "work" / f"run{number}" / "corpus" for number in range(1, 8)]
    opened = ['"opening": 8' in (corpus / "train.jsonl").read_text(encoding="utf-8") for corpus in corpora]
    assert opened == [False, False, False, False, False, True, True]
    assert load_checkpoint(tmp_path / "checkpoint").config.hidden_size == 32
    assert measured[0].before == corpora[:-1]
    assert (tmp_path / "checkpoint" / "calibration.txt").stat().st_size
