"""What the server says of itself: its models, its health, its errors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from handler.schema.fields import Answer


class ModelFacts(Answer):
    """The model as its bundle describes it."""

    context_tokens: int
    parameters: int
    quantization: str
    license: str
    source: str
    generation: dict[str, float]


class ModelObject(Answer):
    """The one model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    dormouse: ModelFacts


class ModelList(Answer):
    """The list of the one model."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class Health(Answer):
    """The process serves."""

    status: Literal["ok"] = "ok"
    model: str
    streaming: bool
    version: str


class ErrorFacts(Answer):
    """What was wrong, and with which field."""

    message: str
    type: str
    param: str | None
    code: str | None
    dormouse: dict[str, Any] | None = Field(default=None, exclude_if=lambda facts: facts is None)


class ErrorEnvelope(Answer):
    """The body of every answer that is not a success."""

    error: ErrorFacts
