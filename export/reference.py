"""The judge: transformers' own model, computed by PyTorch in float32, or in float64 to tell what that rounds.

Owns two ways to run it: whole, or streamed, where each module's weights come in just before it computes and
leave right after, and the vocabulary's matrices pass by in chunks, so that a model is judged without ever
being held. Does not know where weights come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from export.architecture import load_config
from export.conversion import Computed, Past
from export.errors import ExportError
from export.recorder import recorder

Float32 = NDArray[np.float32]
_LAST_DIGIT = 2.0**-23  # of a float32, as a part of its value
_NUDGE_SEED = 1
_NO_WEIGHTS = (".masked_bias", ".inv_freq")  # stored by old versions; computed now


class Rows(Protocol):
    """Matrices by the names transformers gives them."""

    def chunks(self, name: str) -> Iterator[Float32]:
        """A tensor, some of its first axis' rows at a time."""


class Tensors(Rows, Protocol):
    """All of a model's weights."""

    def read(self, name: str) -> Float32:
        """A whole tensor."""


def streamed(
    folder: Path,
    tensors: Tensors,
    texts: Sequence[Sequence[int]],
    past: Past | None = None,
    *,
    precise: bool = False,
    nudged: bool = False,
) -> list[Computed]:
    """What the architecture in `folder` computes on these weights; one pass over them for all texts.

    With `nudged` every embedded number is moved at random by up to its last digit: what differs by that is
    what rounding alone does to these texts, and the same text given twice shows it twice.
    """
    dtype = torch.float64 if precise else torch.float32
    model = streamed_model(folder, tensors, dtype)
    if nudged:
        model.get_input_embeddings().register_forward_hook(_nudge())
    return _compute(model, texts, past)


def streamed_model(folder: Path, tensors: Tensors, dtype: torch.dtype = torch.float32) -> Any:
    """transformers' model of the architecture in `folder`; its weights are here only while they compute."""
    from transformers import AutoModelForCausalLM
    from transformers.integrations.accelerate import init_empty_weights

    config = load_config(folder)
    with init_empty_weights():  # parameters on the meta device; buffers, as rotary frequencies, are real
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention_of(config)
        ).eval()
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if module is head:
            module.forward = _streamed_product(f"{name}.weight", tensors, module)
        elif isinstance(module, torch.nn.Embedding):
            module.forward = streamed_lookup(f"{name}.weight", tensors, module, dtype)
        elif module._parameters:
            module.register_forward_pre_hook(_loading(name, tensors, dtype))
            module.register_forward_hook(_unloading)
    return model


def attention_of(config: Any) -> str:
    """The kind of attention that computes all of this config: the fast one leaves a cap on scores out."""
    return "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"


def is_tied(folder: Path) -> bool:
    """Whether transformers takes the head to be the embedding."""
    return bool(load_config(folder).get_text_config().tie_word_embeddings)


def whole(folder: Path, texts: Sequence[Sequence[int]], past: Past | None = None) -> list[Computed]:
    """What the checkpoint in `folder` computes, loaded as a whole."""
    return _compute(whole_model(folder), texts, past)


def whole_model(folder: Path) -> Any:
    """transformers' model of the checkpoint in `folder`; eager attention computes all that a config asks for.

    Raises: ExportError naming a tensor that is missing, misshapen or of another model.
    """
    from transformers import AutoModelForCausalLM

    model, loading = AutoModelForCausalLM.from_pretrained(
        folder,
        config=load_config(folder),
        dtype=torch.float32,
        local_files_only=True,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,  # these are told below
        output_loading_info=True,
    )
    _check_loaded(folder, type(model).__name__, loading)
    return model.eval()


def _check_loaded(folder: Path, architecture: str, loading: Mapping[str, Any]) -> None:
    """Refuse weights that transformers filled up at random or left out: it would be another model."""
    unexpected = (name for name in loading["unexpected_keys"] if not name.endswith(_NO_WEIGHTS))
    for names, wrong in (
        (loading["missing_keys"], "is missing from the weights"),
        (loading["mismatched_keys"], "has another shape than config.json says"),
        (unexpected, f"has no place in {architecture}"),
    ):
        if told := sorted(names):
            more = f" and {len(told) - 1} more" if len(told) > 1 else ""
            raise ExportError(f"{folder}: tensor {told[0]!r}{more} {wrong}")


def _compute(model: Any, texts: Sequence[Sequence[int]], past: Past | None) -> list[Computed]:
    """Texts of any lengths as one batch, padded behind: what comes later changes nothing before it.

    The padding gets no logits: they are the largest thing that is held.
    """
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    lengths = torch.tensor([len(text) for text in texts])
    real = torch.arange(ids.shape[1]) < lengths[:, None]  # [B, T]
    ids[real] = torch.tensor([id_ for text in texts for id_ in text])
    cache, head = recorder(past), model.get_output_embeddings()
    product = head.forward
    head.forward = lambda x: product(x[real])[None]  # [B, T, hidden] -> [1, all T, V]
    with torch.inference_mode():
        logits = model(ids, past_key_values=cache, use_cache=True).logits[0].float().numpy()
    ends = np.cumsum(lengths.numpy())
    return [
        Computed(
            logits[end - len(text) : end],
            tuple((keys[at, :, : len(text)], values[at, :, : len(text)]) for keys, values in cache.kept),
        )
        for at, (text, end) in enumerate(zip(texts, ends, strict=True))
    ]


def _streamed_product(name: str, tensors: Tensors, module: Any) -> Any:
    def forward(x: Any) -> Any:  # [..., hidden] -> [..., V]
        product, start = x.new_empty(*x.shape[:-1], module.out_features), 0
        for rows in tensors.chunks(name):
            product[..., start : start + len(rows)] = x @ torch.from_numpy(rows).to(x.dtype).T
            start += len(rows)
        return product

    return forward


def streamed_lookup(name: str, tensors: Rows, module: Any, dtype: torch.dtype = torch.float32) -> Any:
    """The forward of an embedding [V, width] that is never held, scaled where `module` scales it."""
    width, scale = module.embedding_dim, float(getattr(module, "embed_scale", 1.0))

    def forward(ids: Any) -> Any:  # [B, T] -> [B, T, hidden]
        found, start = torch.empty(*ids.shape, width, dtype=dtype), 0
        for rows in tensors.chunks(name):
            here = (ids >= start) & (ids < start + len(rows))
            found[here] = torch.from_numpy(rows)[ids[here] - start].to(dtype)
            start += len(rows)
        return found * scale if scale != 1.0 else found

    return forward


def _nudge() -> Any:
    random = torch.Generator().manual_seed(_NUDGE_SEED)

    def nudge(_module: Any, _inputs: Any, embedded: Any) -> Any:  # [B, T, hidden], both
        part = torch.rand(embedded.shape, generator=random, dtype=embedded.dtype) * 2 - 1
        return embedded * (1 + _LAST_DIGIT * part)

    return nudge


def _loading(prefix: str, tensors: Tensors, dtype: torch.dtype) -> Any:
    def load(module: Any, _inputs: Any) -> None:
        for name, empty in module._parameters.items():
            if empty is None:
                continue
            values = tensors.read(f"{prefix}.{name}")
            if values.shape != tuple(empty.shape):
                found, expected = list(values.shape), list(empty.shape)
                raise ExportError(f"tensor {prefix}.{name} has shape {found}, transformers says {expected}")
            module._parameters[name] = torch.nn.Parameter(
                torch.from_numpy(values).to(dtype), requires_grad=False
            )

    return load


def _unloading(module: Any, _inputs: Any, _outputs: Any) -> None:
    for name, full in module._parameters.items():
        if full is not None:
            module._parameters[name] = torch.nn.Parameter(full.to("meta"), requires_grad=False)
