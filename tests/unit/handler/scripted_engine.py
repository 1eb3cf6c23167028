"""An engine without weights that says what it is told to, behind the real prompt, sampler and text stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.engine.bundle import Dims, Graph, Manifest, Quantization, Source, Tokens
from handler.engine.engine import Engine
from handler.engine.integrity import FileEntry
from handler.engine.prompt import ChatPrompt
from handler.engine.template import ChatTemplate
from tests.unit.engine.scripted_model import ScriptedModel
from tests.unit.engine.tiny_tokenizers import byte_level

MODEL = "dormouse-house"  # as in the recorded events
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADER = "<|im_start|>assistant\n"
Reply = Callable[[str], str]
Logits = NDArray[np.float32]


def scripted_engine(
    reply: Reply,
    *,
    context_tokens: int = 512,
    on_step: Callable[[], None] = lambda: None,
    template: str = TEMPLATE,
) -> Engine:
    """An engine that answers a prompt with `reply(prompt text)`; `on_step` is called for every id
    computed."""
    tokenizer = byte_level()
    end = tokenizer.token_to_id("<|im_end|>")
    vocabulary = tokenizer.get_vocab_size()

    def ids_of(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    header_ids = ids_of(HEADER)

    def script(ids: Sequence[int]) -> Logits:
        on_step()
        text = tokenizer.decode(list(ids), skip_special_tokens=False)
        prompt, header, _ = text.rpartition(HEADER)
        logits = np.zeros(vocabulary, np.float32)
        if header:
            answer, at = ids_of(reply(prompt)), len(ids) - _end_of_last(header_ids, ids)
            logits[answer[at] if 0 <= at < len(answer) else end] = 50
        return logits

    return _engine(tokenizer, ScriptedModel(script, context_tokens), end, template=template)


def noisy_engine(
    *,
    context_tokens: int = 512,
    tokenizer: Any = None,
    generation: dict[str, float] | None = None,
    on_step: Callable[[], None] = lambda: None,
    template: str = TEMPLATE,
) -> Engine:
    """An engine whose every next id depends on all before it, and on the draw; it goes on and on."""
    tokenizer = tokenizer or byte_level()
    end = tokenizer.token_to_id("<|im_end|>")
    vocabulary = tokenizer.get_vocab_size()

    def script(ids: Sequence[int]) -> Logits:
        on_step()
        logits: Logits = np.random.default_rng(list(ids)).normal(0, 2, vocabulary).astype(np.float32)
        logits[end] = -9
        return logits

    return _engine(tokenizer, ScriptedModel(script, context_tokens), end, generation, template)


def _end_of_last(part: Sequence[int], ids: Sequence[int]) -> int:
    """Where a run of ids last ends; the text before it may have been encoded in any way."""
    return max(at for at in range(len(ids) + 1) if list(ids[max(0, at - len(part)) : at]) == list(part))


def _engine(
    tokenizer: Any,
    model: ScriptedModel,
    end: int,
    generation: dict[str, float] | None = None,
    template: str = TEMPLATE,
) -> Engine:
    manifest = Manifest(
        name=MODEL,
        created="2026-11-23T00:00:00+00:00",
        source=Source("scripted", "0", "Apache-2.0", "Scripted", "fused"),
        dims=Dims(1, 1, 1, 1, 1, tokenizer.get_vocab_size(), 1),
        context_tokens=model.context_tokens,
        graph=Graph("model.onnx", "shared", "i", "l", "pk", "pv", "qk", "qv"),
        tokens=Tokens(eos=(end,)),
        quantization=Quantization("fp32", 32),
        generation={"temperature": 0.0, **(generation or {})},
        tools={},
        fidelity={},
        files={"model.onnx": FileEntry("0" * 64, 1)},
    )
    prompt = ChatPrompt(tokenizer, ChatTemplate(template, {"bos_token": "<s>", "eos_token": "</s>"}))
    return Engine(manifest, model, prompt, tokenizer)
