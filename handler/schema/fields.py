"""Field types that several requests share: ranges as OpenAI documents them, and fields that are refused.

`Refused` is a field OpenAI has and we do not: null is accepted (clients send it), anything else is answered
with 400 `unsupported_parameter`. Nothing is accepted and then ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

INT64 = (-(2**63), 2**63 - 1)
MAX_TOKENS = 2**31 - 1
MAX_MESSAGES = 2048
"""Of one prompt."""


class _Object(BaseModel):
    """What all of them have in common. An error quotes nothing of them: it may come to be logged."""

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, defer_build=True, hide_input_in_errors=True
    )


class Request(_Object):
    """A JSON object from a client: exact types, no unknown field, no infinity."""

    model_config = ConfigDict(strict=True)


class Answer(_Object):
    """A JSON object for a client; its fields are those that OpenAI's clients know, and `dormouse`."""

    @classmethod
    def stored(cls, body: Mapping[str, Any]) -> Self:
        """Read one that was kept; what a newer version has added, at any depth, is passed over."""
        return cls.model_validate(body, extra="ignore")


def unsupported(message: str, field: str | None = None) -> PydanticCustomError:
    """An error that becomes 400 `unsupported_parameter` instead of `invalid_value`; `field` is one within."""
    return PydanticCustomError("unsupported_parameter", "{message}", {"message": message, "field": field})


def disagrees(field: str, message: str, code: str = "invalid_value") -> PydanticCustomError:
    """An error of a field that another one rules out, to be raised where a model has both."""
    context = {"field": field, "message": message, "code": code}
    return PydanticCustomError("fields_disagree", "{message}", context)


def _only_null(value: Any) -> Any:
    if value is not None:
        raise unsupported("is not supported by this server")
    return value


def only(*allowed: Any) -> BeforeValidator:
    """Accept these values, as stating what happens anyway; refuse the rest as unsupported."""

    def check(value: Any) -> Any:
        if value is not None and not any(type(value) is type(each) and value == each for each in allowed):
            raise unsupported(_only(allowed))
        return value

    return BeforeValidator(check)


def only_types(*allowed: str) -> BeforeValidator:
    """Refuse objects whose `type` is another one as unsupported: OpenAI has more of them than we do."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] not in allowed:
            raise unsupported(_only(allowed), "type")
        return value

    return BeforeValidator(check)


def _only(allowed: Sequence[Any]) -> str:
    return f"is not supported by this server; only {' or '.join(map(repr, allowed))} is accepted"


Refused = Annotated[None, BeforeValidator(_only_null)]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]

Temperature = Annotated[float, Field(ge=0, le=2)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Field(ge=0.1, le=10)]
TopK = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
TokenLimit = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Seed = Annotated[int, Field(ge=INT64[0], le=INT64[1])]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
StopString = Annotated[str, Field(min_length=1, max_length=1024)]
Stop = StopString | Annotated[list[StopString], Field(max_length=4)]
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=1024),
]
Verbosity = Annotated[Literal["medium"] | None, only("medium")]
ServiceTier = Annotated[Literal["auto", "default"] | None, only("auto", "default")]


class Sampling(Request):
    """How the next token is chosen; the last four are vendor fields, named as vLLM names them."""

    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    typical_p: Probability | None = None
    repetition_penalty: RepetitionPenalty | None = None


class StreamOptions(Request):
    """What a stream carries besides the text."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, only(False)] = None
