"""Every fused family computes what transformers computes, on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from export.graph import FAMILIES
from handler.engine import load
from handler.engine.generate import generate
from tests.conftest import TinyBundle, TinyCheckpoint

FAMILY_NAMES = (
    "llama",
    "reader_llama",
    "qwen2",
    "qwen3",
    "gpt2",
    "mistral",
    "phi3",
    "olmo2",
    "smollm3",
    "granite",
    "gemma2",
    "gemma3",
)
LIMIT = 1e-4
CHAT = [{"role": "user", "content": "Hello, how are you?"}]


def reference_model(folder: Path) -> Any:
    """transformers' own model in float32."""
    attention = "eager" if folder.name == "tiny-gemma2" else "sdpa"  # sdpa leaves out the cap on scores
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    ).eval()


def reference_logits(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def random_ids(count: int, seed: int = 1) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(3, 500, count)]


def test_every_registered_family_has_a_parity_test() -> None:
    """A family cannot be registered without being compared to transformers here."""
    assert {family.name for family in FAMILIES} == set(FAMILY_NAMES)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_prefill_equals_transformers(
    family: str, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle
) -> None:
    """The float32 graph's logits for a whole prompt are transformers' within 1e-4."""
    ids = random_ids(97)
    expected = reference_logits(reference_model(tiny_checkpoint(family)), ids)
    model = load(tiny_bundle(family, "fp32")).model
    found = model.forward(ids, model.new_cache(), rows=len(ids))
    np.testing.assert_allclose(found, expected, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_fast_mode_equals_transformers(
    family: str, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle
) -> None:
    """Tiled attention and single rows know windows, caps and scales too."""
    ids = random_ids(97, seed=3)
    expected = reference_logits(reference_model(tiny_checkpoint(family)), ids)
    model = load(tiny_bundle(family, "fp32"), exact=False).model
    cache = model.new_cache()
    found = [*model.forward(ids[:90], cache, rows=90).copy()]
    for one in ids[90:]:
        found.append(model.forward([one], cache)[0].copy())
    np.testing.assert_allclose(np.stack(found), expected, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_decode_with_the_cache_equals_transformers(
    family: str, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle
) -> None:
    """Fed one id at a time after a prompt, every step's logits are transformers' for the whole text."""
    ids = random_ids(48, seed=2)
    expected = reference_logits(reference_model(tiny_checkpoint(family)), ids)
    model = load(tiny_bundle(family, "fp32")).model
    cache = model.new_cache()
    found = [*model.forward(ids[:17], cache, rows=17).copy()]
    for one in ids[17:]:
        found.append(model.forward([one], cache)[0].copy())
    np.testing.assert_allclose(np.stack(found), expected, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_greedy_text_equals_transformers(
    family: str, chat: bool, tiny_checkpoint: TinyCheckpoint, tiny_bundle: TinyBundle
) -> None:
    """64 greedy tokens after a prompt are the ones transformers generates, with and without a template."""
    folder = tiny_checkpoint(family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if chat and tokenizer.chat_template is None:
        with pytest.raises(ValueError, match="chat_template"):  # a base model: plain text is its only way in
            tokenizer.apply_chat_template(CHAT)
        return
    prompt = (
        tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)
        if chat
        else tokenizer(CHAT[0]["content"])["input_ids"]
    )
    model = reference_model(folder)
    model.generation_config.eos_token_id = None  # compare all 64, whatever they are
    expected = model.generate(torch.tensor([prompt]), max_new_tokens=64, do_sample=False)[
        0, len(prompt) :
    ].tolist()
    engine = load(tiny_bundle(family, "fp32"))
    answer = generate(
        engine.model,
        engine.model.new_cache(),
        prompt,
        lambda logits, _: int(logits.argmax()),
        eos=(),
        max_tokens=64,
    )
    assert [token.id for token in answer] == expected
