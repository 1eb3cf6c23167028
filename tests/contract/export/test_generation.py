"""What a checkpoint says of generating is what transformers generates by, or it is refused by its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from export.errors import ExportError
from export.generation import end_ids, generation_defaults
from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from tests.checkpoints import write_checkpoint

GREEDY = {"temperature": 0.0}


def write_generation(folder: Path, told: dict[str, Any]) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(told))
    return folder


def write_source(folder: Path, ends: dict[str, Any], generation: dict[str, Any] | None) -> Path:
    """A checkpoint whose config says of ends what `ends` does, with or without a generation config."""
    write_checkpoint(folder, "llama")
    config = json.loads((folder / "config.json").read_text())
    del config["eos_token_id"]
    (folder / "config.json").write_text(json.dumps({**config, **ends}))
    (folder / "generation_config.json").unlink()
    return folder if generation is None else write_generation(folder, generation)


@pytest.mark.parametrize(
    ("told", "defaults"),
    [
        ({}, GREEDY),
        ({"do_sample": None, "temperature": 0.7}, GREEDY),
        ({"repetition_penalty": 1.8, "top_p": 0.9}, {**GREEDY, "repetition_penalty": 1.8}),
        (
            {"do_sample": True, "temperature": 0.7, "top_k": 20, "min_p": None},
            {"temperature": 0.7, "top_k": 20},
        ),
    ],
    ids=["nothing", "not sampled", "greedy with a penalty", "sampled"],
)
def test_the_makers_defaults_are_kept(
    told: dict[str, Any], defaults: dict[str, float], tmp_path: Path
) -> None:
    """Without `do_sample` those that count for greedy decoding alone."""
    assert generation_defaults(write_generation(tmp_path, told)) == defaults


def test_greedy_answers_are_penalized_as_transformers_does(tmp_path: Path) -> None:
    """Twenty ids by the defaults of a bundle are those that `generate` gives, which differ without."""
    source = write_generation(
        write_checkpoint(tmp_path / "source", "llama"), {"eos_token_id": 0, "repetition_penalty": 1.8}
    )
    export_bundle(Options(str(source), tmp_path / "bundle", "fp32"), Stages(Console(quiet=True)))
    engine = load(tmp_path / "bundle")
    prompt = engine.prompt.encode([{"role": "user", "content": "hi"}])
    ours = [token.id for token in engine.generate(prompt, engine.params(), max_tokens=20)]
    model = AutoModelForCausalLM.from_pretrained(source).eval()
    ids = torch.tensor([prompt])
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20)
    assert ours == theirs[0, len(prompt) :].tolist()
    free = engine.params(repetition_penalty=1.0)
    assert ours != [token.id for token in engine.generate(prompt, free, max_tokens=20)]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"temperature": "hot", "do_sample": True}, "temperature must be a number from 0 to 100, not 'hot'"),
        ({"temperature": [0.5], "do_sample": True}, r"temperature must be .*, not \[0.5\]"),
        ({"top_k": -1, "do_sample": True}, "top_k must be a whole number, 0 or more, not -1"),
        ({"top_p": 0.0, "do_sample": True}, "top_p must be a number above 0"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0"),
        ({"do_sample": "false"}, "do_sample: 'false', must be true or false"),
        ({"max_new_tokens": 0}, "transformers cannot read it: `max_new_tokens` must be greater than 0"),
        ({"max_new_tokens": "x"}, "transformers cannot read it: '<=' not supported"),
        ({"early_stopping": "maybe"}, "transformers cannot read it: `early_stopping` must be a boolean"),
    ],
)
def test_what_nothing_can_be_generated_by_is_refused(told: dict[str, Any], said: str, tmp_path: Path) -> None:
    """The file, the field and what it may be."""
    with pytest.raises(ExportError, match=rf"generation_config\.json: {said}"):
        generation_defaults(write_generation(tmp_path, told))


@pytest.mark.parametrize("declared", ["0", [[0]], True, [0, None], -1, 512])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_what_is_no_id_ends_nothing(file: str, declared: Any, tmp_path: Path) -> None:
    """The file and the field, whichever of the two declares it."""
    told = {"eos_token_id": declared}
    ends, generation = (told, None) if file == "config.json" else ({}, told)
    source = write_source(tmp_path, ends, generation)
    with pytest.raises(ExportError, match=rf"/{file}: eos_token_id: .*, must be an id below 512"):
        end_ids(source, 0)


@pytest.mark.parametrize(
    "generation", [None, {}, {"eos_token_id": None}, {"eos_token_id": 3}, {"eos_token_id": [4, 3]}]
)
@pytest.mark.parametrize("config", [{}, {"eos_token_id": 1}, {"eos_token_id": [1, 2]}])
def test_answers_end_where_transformers_ends_them(
    config: dict[str, Any], generation: dict[str, Any] | None, tmp_path: Path
) -> None:
    """At the generation config's ids where there is one, else at the config's, and at the tokenizer's."""
    source = write_source(tmp_path, config, generation)
    theirs = AutoModelForCausalLM.from_pretrained(source).generation_config.eos_token_id
    wanted = {*(theirs if isinstance(theirs, list) else [theirs]), 7} - {None}
    assert set(end_ids(source, 7)) == wanted


def test_a_model_that_nothing_ends_is_refused(tmp_path: Path) -> None:
    """Neither its configs nor its tokenizer names an id."""
    source = write_generation(write_checkpoint(tmp_path, "llama"), {})
    with pytest.raises(ExportError, match="eos_token_id: missing, so no answer would ever end"):
        end_ids(source, None)
