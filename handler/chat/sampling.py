"""A request's sampling fields -> the engine's parameters, with the bundle's defaults below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handler.engine.bundle import Manifest
from handler.engine.sampling import SamplingParams, sampling_params
from handler.errors import InvalidValue, ModelNotFound
from handler.schema.chat_completions import ChatCompletionRequest
from handler.schema.completions import CompletionRequest
from handler.schema.fields import Sampling

SMALLEST_TOP_P = 1e-9
"""OpenAI allows 0, meaning the most likely token alone."""


def check_model(manifest: Manifest, name: str) -> None:
    """Refuse any model but the bundle's. Raises: ModelNotFound."""
    if name != manifest.name:
        raise ModelNotFound(
            f"The model {name!r} does not exist here; this server has {manifest.name!r}.", param="model"
        )


def params_of(
    request: Sampling,
    manifest: Manifest,
    *,
    seed: int | None,
    presence_penalty: float | None = None,
    frequency_penalty: float | None = None,
    logit_bias: Mapping[str, float] | None = None,
) -> SamplingParams:
    """Gather the parameters of a request; without a seed it gets a random one, which the answer tells.

    Raises: InvalidRequest.
    """
    top_p = None if request.top_p is None else max(request.top_p, SMALLEST_TOP_P)
    typical_p = None if request.typical_p is None else max(request.typical_p, SMALLEST_TOP_P)
    return sampling_params(
        manifest.generation,
        temperature=request.temperature,
        top_p=top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        typical_p=typical_p,
        repetition_penalty=request.repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=_bias(logit_bias, manifest.dims.vocabulary),
        seed=seed,
    )


def completion_params(
    request: ChatCompletionRequest | CompletionRequest, manifest: Manifest
) -> SamplingParams:
    """Gather the parameters of a stateless request. Raises: InvalidRequest."""
    return params_of(
        request,
        manifest,
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        logit_bias=request.logit_bias,
    )


def told_probability(value: float) -> float:
    """A top_p or typical_p as it was asked for."""
    return 0.0 if value <= SMALLEST_TOP_P else value


def stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """OpenAI's three ways to write them -> one."""
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _bias(given: Mapping[str, float] | None, vocabulary: int) -> dict[int, float] | None:
    if not given:
        return None
    for text in given:
        if int(text) >= vocabulary:
            raise InvalidValue(f"{text} is not one of the {vocabulary} token ids", param="logit_bias")
    return {int(text): value for text, value in given.items()}
