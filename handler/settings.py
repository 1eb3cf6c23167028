"""The environment, read once into one frozen object: the only file that knows the names of its variables.

Every problem is reported together, and an unknown `DORMOUSE_` name is refused, so that a typing error in a
template never means a silent default. Model facts are not here (they come from the bundle), nor are request
facts.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import SplitResult, urlsplit

from handler import prices
from handler.errors import SettingsError
from handler.location import SCHEME, S3Location

PREFIX = "DORMOUSE_"
HOST = re.compile("[A-Za-z0-9.-]+")
"""What botocore takes: no underscore, which names of containers may have."""
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Variable:
    """What a field's environment variable means, and how its text is read."""

    help: str
    parse: Callable[[str], Any]


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("begins with ~ and the name of somebody who has no home here") from None


def _path_or(*words: str) -> Callable[[str], str]:
    """A path, unless it is one of the words."""
    return lambda text: text if text in words else str(_path(text))


def _bundle(text: str) -> Path | S3Location:
    return S3Location.parse(text) if text.startswith(SCHEME) else _path(text)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def _address(text: str) -> str:
    parts = urlsplit(text)
    host, is_ipv6 = parts.hostname or "", "[" in parts.netloc
    if parts.scheme not in ("http", "https") or not (is_ipv6 or HOST.fullmatch(host)) or not _has_port(parts):
        raise ValueError("must be an http:// or https:// address, its host of letters, digits, '.' and '-'")
    return text


def _has_port(parts: SplitResult) -> bool:
    """Tell whether an address names a port that there is, or none."""
    try:
        return parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True)
class Settings:
    """How this process is to serve. A field's variable is `DORMOUSE_` and the field's name in capitals."""

    bundle: Annotated[
        Path | S3Location, Variable("folder of the model's bundle, or its `s3://bucket/prefix`", _bundle)
    ] = PROJECT / "models/house/bundle"
    sessions: Annotated[
        str,
        Variable(
            "where conversations are kept: the path of a SQLite file, or `dynamodb`", _path_or("dynamodb")
        ),
    ] = str(PROJECT / "build/sessions.sqlite3")
    table: Annotated[str, Variable("name of the DynamoDB table; needed when sessions is `dynamodb`", str)] = (
        ""
    )
    dynamodb_endpoint: Annotated[
        str | None, Variable("another DynamoDB-protocol server than AWS's own", _address)
    ] = None
    session_ttl_days: Annotated[
        float,
        Variable("days after its last turn that a conversation is forgotten; 0 keeps it", _number(0, 36500)),
    ] = 30.0
    keys: Annotated[
        str,
        Variable(
            "file of the API keys that a server asks for; `platform` where the platform around it has asked",
            _path_or("", "platform"),
        ),
    ] = ""
    streaming: Annotated[bool, Variable("1 when the runtime can stream an answer; 0 joins it", _flag)] = False
    exact: Annotated[
        bool,
        Variable("1: answers do not depend on caches, cuts and guesses; 0 gives that up for speed", _flag),
    ] = True
    threads: Annotated[
        int,
        Variable(
            "threads of the model; 0 is one for each whole core, of the machine or of what its memory "
            "(Lambda) or quota brings",
            _whole(0, 256),
        ),
    ] = 0
    max_body_bytes: Annotated[
        int, Variable("largest request body; a longer one is answered with 413", _whole(1024, 10 << 20))
    ] = 1 << 20
    gateway_timeout_s: Annotated[
        float, Variable("the gateway gives up on a buffered answer after this long", _number(1, 900))
    ] = 29.0
    gateway_stream_timeout_s: Annotated[
        float, Variable("the gateway gives up on a streamed answer after this long", _number(1, 900))
    ] = 900.0
    deadline_margin_ms: Annotated[
        int,
        Variable(
            "at least so much is kept back from every time limit, to store the turn and send the answer",
            _whole(0, 60_000),
        ),
    ] = 750
    daily_tokens: Annotated[
        int,
        Variable(
            "prompt and answer tokens that a tenant may use a day (UTC); 0 is no limit", _whole(0, 10**15)
        ),
    ] = 0
    price_gb_s_usd: Annotated[
        float, Variable("price of a GB-second, for the receipt; the default is us-east-1's", _number(0, 1))
    ] = prices.GB_SECOND_USD
    price_request_usd: Annotated[float, Variable("price of a request, for the receipt", _number(0, 1))] = (
        prices.REQUEST_USD
    )
    memory_mib: int | None = None  # AWS_LAMBDA_FUNCTION_MEMORY_SIZE; absent outside Lambda
    snapshot: bool = False  # AWS_LAMBDA_INITIALIZATION_TYPE: this process will be frozen and copied

    @property
    def model_threads(self) -> int | None:
        """Threads of the model; None for one for each usable core.

        More threads than whole vCPUs halve the speed of a token: they wait for each other, one of them
        without a share of the processor's time.
        """
        if self.threads or self.memory_mib is None:
            return self.threads or None
        return max(1, self.memory_mib // prices.MIB_PER_VCPU)


def variables() -> dict[str, tuple[str, Variable]]:
    """Map every environment variable to its field and its meaning."""
    found = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        for extra in getattr(hint, "__metadata__", ()):
            found[PREFIX + name.upper()] = (name, extra)
    return found


def fill_in(environment: MutableMapping[str, str], **fields: object) -> None:
    """Give fields that nobody has set a value in the environment; an empty variable counts as absent."""
    for field, value in fields.items():
        name = PREFIX + field.upper()
        environment[name] = environment.get(name) or str(value)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Build the settings from environment variables; an empty one counts as absent.

    Raises: SettingsError that lists everything that is wrong.
    """
    known = variables()
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, text in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        if name not in known:
            problems.append(_unknown(name, list(known)))
        elif text:
            try:
                field, variable = known[name]
                values[field] = variable.parse(text)
            except ValueError as error:
                problems.append(f"{name}={text!r}: {error}")
    if values.get("sessions") == "dynamodb" and not values.get("table"):
        problems.append(f"{PREFIX}TABLE: needed when {PREFIX}SESSIONS is dynamodb")
    margin_ms = values.get("deadline_margin_ms", Settings.deadline_margin_ms)
    for field in ("gateway_timeout_s", "gateway_stream_timeout_s"):
        limit_s = values.get(field, getattr(Settings, field))
        if margin_ms >= limit_s * 1000:
            problems.append(
                f"{PREFIX}DEADLINE_MARGIN_MS={margin_ms}: must be below {PREFIX}{field.upper()}={limit_s:g}, "
                "or no answer has time for a word"
            )
    memory = environment.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if memory and values.get("keys"):
        problems.append(f"{PREFIX}KEYS: in Lambda the authorizer in front of the function asks for keys")
    if memory.isdigit():
        values["memory_mib"] = int(memory)
    values["snapshot"] = environment.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    if problems:
        raise SettingsError("settings: " + "; ".join(problems))
    return Settings(**values)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name}: unknown setting" + (f", is {near[0]} meant?" if near else "")
