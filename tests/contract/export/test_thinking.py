"""A model that thinks before it answers keeps its own template: Qwen3's way of thought and answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from export.pipeline import Options, export_bundle
from export.stages import Stages
from handler.engine import load
from handler.engine.engine import Engine
from tests.checkpoints import THINKING, write_checkpoint, write_tokenizer

CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "Hello, how are you?"}],
    [
        {"role": "user", "content": "What is your name?"},
        {"role": "assistant", "content": "<think>\nA name is wanted.\n</think>\n\nDormouse."},
        {"role": "user", "content": "Thank you."},
    ],
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("thinking") / "qwen3", "qwen3")
    write_tokenizer(folder, thinking=True)
    return folder


@pytest.fixture(scope="module")
def engine(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    out = tmp_path_factory.mktemp("bundle") / "thinking"
    export_bundle(Options(str(source), out, "fp32"), Stages(Console(quiet=True)))
    return load(out)


@pytest.mark.parametrize("chat", CHATS, ids=["first-turn", "after-a-thought"])
def test_a_conversation_is_encoded_as_transformers_encodes_it(
    chat: list[dict[str, str]], source: Path, engine: Engine
) -> None:
    """Thinking is on unless the template is told otherwise, and earlier thoughts are left out."""
    ids = engine.prompt.encode(chat)
    assert ids == AutoTokenizer.from_pretrained(source).apply_chat_template(chat, add_generation_prompt=True)
    assert "<think>" not in engine.tokenizer.decode(ids)


def test_the_marks_of_a_thought_are_tokens_and_stay_in_the_text(source: Path, engine: Engine) -> None:
    """One id each, which an answer's text shows: who reads it can tell thought from answer."""
    text = "<think>\nA name is wanted.\n</think>\n\nDormouse."
    ids = AutoTokenizer.from_pretrained(source)(text)["input_ids"]
    known: Any = engine.tokenizer
    assert [known.decode([id_]) for id_ in ids if known.decode([id_]) in THINKING] == list(THINKING)
    assert known.decode(ids) == text


@pytest.mark.parametrize("chat", CHATS, ids=["first-turn", "after-a-thought"])
def test_greedy_answers_equal_transformers(chat: list[dict[str, str]], source: Path, engine: Engine) -> None:
    """32 tokens after the template are those that transformers generates."""
    prompt = engine.prompt.encode(chat)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    expected = model.generate(torch.tensor([prompt]), max_new_tokens=32, do_sample=False)[0, len(prompt) :]
    params = engine.params(temperature=0, logit_bias=dict.fromkeys(engine.manifest.tokens.eos, 0.0))
    found = [token.id for token in engine.generate(prompt, params, max_tokens=32)]
    assert found == expected.tolist()[: len(found)]
    assert len(found) == 32 or found[-1] in engine.manifest.tokens.eos
