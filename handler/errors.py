"""Every error Dormouse raises on purpose, as one tree; it knows nothing of HTTP libraries or AWS.

    DormouseError
    ├── StartupError            the process refuses to serve; never becomes an HTTP answer
    │   ├── SettingsError       the environment is wrong
    │   └── BundleError         the bundle is missing, damaged or of another format
    └── RequestError            becomes `{"error": {...}}` with `status`, `type`, `code`, `param`
        ├── InvalidRequest      400  the request is wrong
        │   ├── InvalidValue    400  a field has a value that it may not have
        │   ├── ContextOverflow 400  it does not fit the context window
        │   ├── DeadlineTooShort 400 it cannot even be read in the time there is
        │   └── Unsupported     400  OpenAI has it, we do not
        ├── Unauthorized        401
        ├── Forbidden           403  a web page of strangers asks by way of the browser here
        ├── NotFound            404
        │   └── ModelNotFound   404
        ├── MethodNotAllowed    405
        ├── Conflict            409  somebody else wrote first
        │   ├── StillRunning    409  an earlier attempt at this very request has not ended yet
        │   └── VersionConflict 409
        │       └── PreconditionFailed 412  the version that `If-Match` asks for is not the current one
        ├── TooLarge            413
        ├── UnsupportedMedia    415
        ├── QuotaExceeded       429
        ├── InternalError       500  a bug; says no more than where to look for it
        └── Unavailable         503  the session store or the model cannot be reached right now
            └── Uncertain       503  a turn may or may not be stored; a blind retry could double or lose it

Each leaf says whether the same request, sent again, can help: `retryable`. Anything outside this tree is a
bug: it is logged whole and answered with a bare 500.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self


class DormouseError(Exception):
    """The root; catch it where a process reports to a person."""


class StartupError(DormouseError):
    """The process cannot serve; the message is one line for the operator."""


class SettingsError(StartupError):
    """One or more environment variables are wrong; the message lists them all."""


class BundleError(StartupError):
    """A bundle cannot be trusted; the message names the file."""


class RequestError(DormouseError):
    """An answer for the client instead of a result.

    `param` is the offending field in the request's own spelling (`messages[0].content`), where there is one.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.error_code = code or self.code

    def envelope(self) -> dict[str, Any]:
        """OpenAI's error object. Source: https://platform.openai.com/docs/guides/error-codes"""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.error_code}
        return {"error": {**error, "dormouse": facts} if (facts := self.facts()) else error}

    def facts(self) -> dict[str, Any]:
        """What OpenAI's error object has no field for."""
        return {}


class InvalidRequest(RequestError):
    """The request is wrong; sending it again cannot help."""

    status = 400
    type = "invalid_request_error"


class InvalidValue(InvalidRequest):
    """A field has a value that it may not have; the message names the field and says what is wrong."""

    code = "invalid_value"

    def __init__(self, problem: str, *, param: str) -> None:
        super().__init__(f"Invalid value for '{param}': {problem}.", param=param)


class ContextOverflow(InvalidRequest):
    """The prompt does not fit the context window; the message gives the counts.

    Clients that try a larger model then look for "This model's maximum context length is" in it.
    Source: `is_error_str_context_window_exceeded` of the litellm package.
    """

    code = "context_length_exceeded"

    @classmethod
    def of(cls, prompt: str, limit: int, needed: int, *, param: str) -> Self:
        """Tell the context's limit, the tokens that the answer needs, and what is said of the prompt's."""
        return cls(
            f"This model's maximum context length is {limit} tokens, of which the answer needs at least "
            f"{needed}; the prompt has {prompt}.",
            param=param,
        )


class DeadlineTooShort(InvalidRequest):
    """Making or reading the prompt alone takes longer than the answer may; the message gives the times."""

    code = "deadline_too_short"

    def __init__(self, prompt_tokens: int | None, needed_s: float | None, limit_s: float) -> None:
        work = "making its prompt"
        if prompt_tokens is not None:
            work = f"reading the prompt's {prompt_tokens} tokens"
        needed = "longer than that" if needed_s is None else f"about {needed_s:.1f} s"
        super().__init__(
            f"The time limit of this request leaves {limit_s:.1f} s, and {work} takes {needed} here. "
            "Shorten the prompt or allow more time."
        )


class Unsupported(InvalidRequest):
    """A field or value that OpenAI accepts and we refuse rather than ignore."""

    code = "unsupported_parameter"


class Unauthorized(RequestError):
    """No key, or one that is not valid."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(RequestError):
    """A server that trusts its own machine is asked by a web page that it does not trust."""

    status = 403
    type = "invalid_request_error"
    code = "forbidden"


class NotFound(RequestError):
    """No such thing for this tenant; never tells whether another tenant has it."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """Another model is asked for than the one in the bundle."""

    code = "model_not_found"


class MethodNotAllowed(RequestError):
    """The path exists, for other methods."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class Conflict(RequestError):
    """The state the request was made for is gone; a blind retry would double the turn."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"


class StillRunning(Conflict):
    """An earlier attempt at this very request is under way; sent again, it gets that one's answer."""

    code = "request_in_progress"
    retryable = True


class VersionConflict(Conflict):
    """The conversation has moved on since it was read."""

    code = "version_conflict"

    def __init__(self, expected: int | str, current: int | None, *, param: str = "conversation") -> None:
        now = "another version" if current is None else f"version {current}"
        super().__init__(f"The conversation is at {now}, not at version {expected}.", param=param)
        self.expected = expected
        self.current = current

    def facts(self) -> dict[str, Any]:
        """The version to go on from."""
        return {} if self.current is None else {"current_version": self.current}


class PreconditionFailed(VersionConflict):
    """The conversation is not at the version that the request was made for; nothing was tried."""

    status = 412


class TooLarge(RequestError):
    """The body or an item is over its limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMedia(RequestError):
    """The body is declared to be something else than JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class InternalError(RequestError):
    """What a client is told of a bug; never retried, since nobody knows how far the request got."""

    code = "internal_error"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"The server failed on this request; its log has the reason under {request_id}.")


class QuotaExceeded(RequestError):
    """The tenant's allowance for the day is spent; asking again before the next one cannot help."""

    status = 429
    type = "insufficient_quota"
    code = "quota_exceeded"

    def __init__(self, limit_tokens: int, used_tokens: int, reset_s: int) -> None:
        hours, minutes = divmod(-(-reset_s // 60), 60)
        super().__init__(
            f"The {limit_tokens} tokens of this day (UTC) are spent: {used_tokens} have been used. "
            f"The next day begins in {hours} h {minutes} min."
        )
        self.limit_tokens = limit_tokens
        self.used_tokens = used_tokens
        self.reset_s = reset_s


class Unavailable(RequestError):
    """Something behind us does not answer; the same request may work in a moment."""

    status = 503
    type = "server_error"
    code = "unavailable"
    retryable = True


class Uncertain(Unavailable):
    """The store went away while a turn or its failure was being written: look before sending it again."""

    code = "turn_state_unknown"
    retryable = False
