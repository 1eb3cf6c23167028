"""Wrong requests against a real server: each gets OpenAI's error envelope, the right status, the right
field."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
CONVERSATIONS = "/v1/conversations"
HI = {"role": "user", "content": "hi"}

# What is wrong, the fields that make it so, `param`, `code`.
CHAT_FIELDS: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("no messages", {"messages": []}, "messages", "array_below_min_length"),
    ("messages of a wrong type", {"messages": 3}, "messages", "invalid_type"),
    ("a message of a wrong type", {"messages": ["hi"]}, "messages[0]", "invalid_type"),
    ("no content", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    (
        "an unknown role",
        {"messages": [{"role": "pirate", "content": ""}]},
        "messages[0].role",
        "invalid_value",
    ),
    (
        "an unknown field of a message",
        {"messages": [{"role": "user", "content": "hi", "age": 3}]},
        "messages[0].age",
        "unknown_parameter",
    ),
    (
        "an image",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0].type",
        "unsupported_parameter",
    ),
    (
        "audio after text",
        {"messages": [{**HI, "content": [{"type": "text", "text": "hi"}, {"type": "input_audio"}]}]},
        "messages[0].content[1].type",
        "unsupported_parameter",
    ),
    (
        "too long a prompt",
        {"messages": [{"role": "user", "content": "long " * 20000}]},
        "messages",
        "context_length_exceeded",
    ),
    ("a boolean for a number", {"n": True}, "n", "invalid_type"),
    ("a string for a number", {"top_p": "1"}, "top_p", "invalid_type"),
    ("a number for strings", {"stop": 3}, "stop", "invalid_type"),
    ("a fraction for a count", {"max_tokens": 1.5}, "max_tokens", "invalid_type"),
    ("too high", {"temperature": 2.1}, "temperature", "above_max_value"),
    ("too low", {"max_tokens": 0}, "max_tokens", "below_min_value"),
    ("a huge integer", {"seed": 10**40}, "seed", "above_max_value"),
    ("too many stop strings", {"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    ("an empty stop string", {"stop": ""}, "stop", "string_below_min_length"),
    ("an unknown field", {"tempreature": 1}, "tempreature", "unknown_parameter"),
    ("a field we do not have", {"functions": [{}]}, "functions", "unsupported_parameter"),
    (
        "a format we do not have",
        {"response_format": {"type": "xml"}},
        "response_format.type",
        "invalid_value",
    ),
    ("a token id that is none", {"logit_bias": {"999999999": 1}}, "logit_bias", "invalid_value"),
    ("stream options without a stream", {"stream_options": {}}, "stream_options", "invalid_value"),
    ("alternatives without logprobs", {"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ("two limits", {"max_tokens": 3, "max_completion_tokens": 3}, "max_tokens", "invalid_value"),
]

# What is wrong with tools, the fields that make it so, `param`, `code`.
PLAIN: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL_FIELDS: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("no type", {"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
    ("another type", {"tools": [{"type": "custom"}]}, "tools[0].type", "unsupported_parameter"),
    (
        "a name with a space",
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "invalid_value",
    ),
    ("one name twice", {"tools": [PLAIN, PLAIN]}, "tools[1].function.name", "invalid_value"),
    ("too many", {"tools": [PLAIN] * 129}, "tools", "array_above_max_length"),
    (
        "parameters of another type",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
        "tools[0].function.parameters",
        "invalid_value",
    ),
    (
        "parameters that cannot be kept to",
        {
            "tools": [
                PLAIN,
                {
                    "type": "function",
                    "function": {
                        "name": "g",
                        "parameters": {"type": "object", "properties": {"x": {"type": "pirate"}}},
                    },
                },
            ]
        },
        "tools[1].function.parameters",
        "invalid_value",
    ),
    ("a choice that is none", {"tools": [PLAIN], "tool_choice": "maybe"}, "tool_choice", "invalid_value"),
    ("a choice among nothing", {"tool_choice": "required"}, "tool_choice", "invalid_value"),
    (
        "a choice of another type",
        {"tools": [PLAIN], "tool_choice": {"type": "custom", "custom": {"name": "f"}}},
        "tool_choice.type",
        "unsupported_parameter",
    ),
    (
        "a tool of another type among the allowed",
        {
            "tools": [PLAIN],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [PLAIN, {"type": "custom"}]},
            },
        },
        "tool_choice.allowed_tools.tools[1].type",
        "unsupported_parameter",
    ),
    (
        "an unknown function",
        {"tools": [PLAIN], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice.function.name",
        "invalid_value",
    ),
    (
        "an unknown function among the allowed",
        {
            "tools": [PLAIN],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [PLAIN, {**PLAIN, "function": {"name": "g"}}]},
            },
        },
        "tool_choice.allowed_tools.tools[1].function.name",
        "invalid_value",
    ),
    (
        "an answer that says nothing",
        {"messages": [HI, {"role": "assistant", "content": None}]},
        "messages[1]",
        "invalid_value",
    ),
    (
        "arguments that are no JSON",
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]}
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
        "invalid_value",
    ),
    (
        "a result without its call's id",
        {"messages": [HI, {"role": "tool", "content": "1"}]},
        "messages[1].tool_call_id",
        "missing_required_parameter",
    ),
    (
        "a result of no call",
        {
            "messages": [
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "content": "1", "tool_call_id": "d"},
            ]
        },
        "messages[1].tool_call_id",
        "invalid_value",
    ),
    (
        "a call of the user's",
        {"messages": [{**HI, "tool_calls": [CALL]}]},
        "messages[0].tool_calls",
        "unsupported_parameter",
    ),
]

# What is wrong, the body as it stands, `param`, `code`.
CHAT_BODIES: list[tuple[str, str | bytes, str | None, str]] = [
    ("not JSON", "{", None, "invalid_json"),
    ("not UTF-8", b'{"model": "\xff"}', None, "invalid_json"),
    ("an array", "[]", None, "invalid_type"),
    ("nothing", "", "model", "missing_required_parameter"),
    ("too deep", "[" * 5000, None, "invalid_json"),
    ("NaN", '{"temperature": NaN}', None, "invalid_json"),
    ("an endless integer", '{"seed": 1' + "0" * 5000 + "}", None, "invalid_json"),
    ("a lone surrogate", '{"model": "\\ud800"}', None, "invalid_json"),
]

# What is wrong, path, body (None: GET), status, `param`, `code`.
OTHERS: list[tuple[str, str, Any, int, str | None, str]] = [
    ("an unknown model", CHAT, {"model": "gpt-4", "messages": [HI]}, 404, "model", "model_not_found"),
    ("too big a body", CHAT, {"user": "x" * (1 << 20)}, 413, None, "request_too_large"),
    ("no input", RESPONSES, {"model": "M"}, 400, "input", "missing_required_parameter"),
    ("empty input", RESPONSES, {"model": "M", "input": ""}, 400, "input", "missing_required_parameter"),
    (
        "an item that we do not have",
        RESPONSES,
        {"model": "M", "input": [{"type": "computer_call_output", "call_id": "c", "output": "1"}]},
        400,
        "input[0].type",
        "unsupported_parameter",
    ),
    (
        "an image to be kept",
        CONVERSATIONS,
        {"items": [HI, {**HI, "content": [{"type": "input_image", "image_url": "x"}]}]},
        400,
        "items[1].content[0].type",
        "unsupported_parameter",
    ),
    (
        "a result that is an image",
        RESPONSES,
        {
            "model": "M",
            "input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}],
        },
        400,
        "input[0].output[0].type",
        "unsupported_parameter",
    ),
    (
        "something to include that we do not have",
        RESPONSES,
        {"model": "M", "input": "hi", "include": ["reasoning.encrypted_content"]},
        400,
        "include[0]",
        "unsupported_parameter",
    ),
    (
        "a result of no call",
        RESPONSES,
        {"model": "M", "input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]},
        400,
        "input[0].call_id",
        "invalid_value",
    ),
    (
        "a result of no call to be kept",
        CONVERSATIONS,
        {"items": [HI, {"type": "function_call_output", "call_id": "c", "output": "1"}]},
        400,
        "items[1].call_id",
        "invalid_value",
    ),
    (
        "arguments that are no object",
        CONVERSATIONS,
        {"items": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"}]},
        400,
        "items[0].arguments",
        "invalid_value",
    ),
    (
        "a tool of OpenAI's",
        RESPONSES,
        {"model": "M", "input": "hi", "tools": [{"type": "web_search"}]},
        400,
        "tools[0].type",
        "unsupported_parameter",
    ),
    (
        "a chosen tool of OpenAI's",
        RESPONSES,
        {"model": "M", "input": "hi", "tool_choice": {"type": "web_search"}},
        400,
        "tool_choice.type",
        "unsupported_parameter",
    ),
    (
        "a tool of OpenAI's among the allowed",
        RESPONSES,
        {
            "model": "M",
            "input": "hi",
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]},
        },
        400,
        "tool_choice.tools[0].type",
        "unsupported_parameter",
    ),
    (
        "a chosen function that there is not",
        RESPONSES,
        {"model": "M", "input": "hi", "tool_choice": {"type": "function", "name": "g"}},
        400,
        "tool_choice.name",
        "invalid_value",
    ),
    (
        "two histories",
        RESPONSES,
        {"model": "M", "input": "hi", "conversation": "conv_1", "previous_response_id": "resp_1"},
        400,
        "previous_response_id",
        "invalid_value",
    ),
    (
        "a place to store to and nothing to store",
        RESPONSES,
        {"model": "M", "input": "hi", "conversation": "conv_1", "store": False},
        400,
        "store",
        "invalid_value",
    ),
    (
        "stream options of a response without a stream",
        RESPONSES,
        {"model": "M", "input": "hi", "stream_options": {}},
        400,
        "stream_options",
        "invalid_value",
    ),
    (
        "stream options of a completion without a stream",
        COMPLETIONS,
        {"model": "M", "prompt": "hi", "stream_options": {}},
        400,
        "stream_options",
        "invalid_value",
    ),
    (
        "no such conversation",
        RESPONSES,
        {"model": "M", "input": "hi", "conversation": "c"},
        404,
        "conversation",
        "not_found",
    ),
    ("no such response", f"{RESPONSES}/resp_1", None, 404, None, "not_found"),
    ("an id that is none", f"{RESPONSES}/%00%ff", None, 404, None, "unknown_url"),
    ("too many items", CONVERSATIONS, {"items": [HI] * 21}, 400, "items", "array_above_max_length"),
    (
        "too long a value",
        CONVERSATIONS,
        {"metadata": {"a": "x" * 513}},
        400,
        "metadata.a",
        "string_above_max_length",
    ),
    (
        "too much metadata",
        CONVERSATIONS,
        {"metadata": {str(i): "" for i in range(17)}},
        400,
        "metadata",
        "array_above_max_length",
    ),
    ("a limit of none", f"{CONVERSATIONS}?limit=0", None, 400, "limit", "below_min_value"),
    ("a limit that is no number", f"{CONVERSATIONS}?limit=x", None, 400, "limit", "invalid_type"),
    ("an order that is none", f"{CONVERSATIONS}?order=up", None, 400, "order", "invalid_value"),
    ("an unknown query", f"{CONVERSATIONS}?colour=red", None, 400, "colour", "unknown_parameter"),
    ("no such path", "/v2/chat", None, 404, None, "unknown_url"),
]


def send(
    base_url: str, method: str, path: str, body: str | bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    """Send a request as it stands; return status, headers and the JSON of the answer."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=60)
    raw = body.encode() if isinstance(body, str) else body
    connection.request(method, path, raw, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    content = json.loads(answer.read())
    connection.close()
    return answer.status, found, content


@pytest.mark.parametrize(
    ("fields", "param", "code"), [pytest.param(*row[1:], id=row[0]) for row in (*CHAT_FIELDS, *TOOL_FIELDS)]
)
def test_wrong_field(base_url: str, model: str, fields: dict[str, Any], param: str | None, code: str) -> None:
    """A chat request with one wrong field is answered with 400, naming that field."""
    body = json.dumps({"model": model, "messages": [HI], **fields})
    check_refusal(send(base_url, "POST", CHAT, body), 400, param, code)


@pytest.mark.parametrize(
    ("body", "param", "code"), [pytest.param(*row[1:], id=row[0]) for row in CHAT_BODIES]
)
def test_wrong_body(base_url: str, body: str | bytes, param: str | None, code: str) -> None:
    """A body that is no JSON object is answered with 400."""
    check_refusal(send(base_url, "POST", CHAT, body), 400, param, code)


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "code"), [pytest.param(*row[1:], id=row[0]) for row in OTHERS]
)
def test_wrong_request(
    base_url: str, model: str, path: str, body: Any, status: int, param: str | None, code: str
) -> None:
    """Whatever else is wrong is told with the right status."""
    text = "" if body is None else json.dumps(body).replace('"M"', json.dumps(model))
    check_refusal(send(base_url, "GET" if body is None else "POST", path, text), status, param, code)


def check_refusal(answer: tuple[int, dict[str, str], Any], status: int, param: str | None, code: str) -> None:
    """Compare an answer with OpenAI's error envelope."""
    found, headers, content = answer
    assert found == status
    assert set(content) == {"error"}
    error = content["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["param"] or error["code"] != "invalid_value"
    assert error["message"]
    assert "Traceback" not in error["message"]
    assert headers["x-should-retry"] == "false"
    assert headers["x-request-id"]


def test_media_type(base_url: str) -> None:
    """A form is no JSON, and is told so."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, content = send(base_url, "POST", CHAT, "a=b", form)
    assert (status, content["error"]["code"]) == (415, "unsupported_media_type")


def test_time_limit_header(base_url: str) -> None:
    """A time limit that is no number is refused, not ignored."""
    status, _, content = send(base_url, "GET", CONVERSATIONS, "", {"x-request-timeout-ms": "soon"})
    assert (status, content["error"]["param"]) == (400, "x-request-timeout-ms")


def test_page_of_another_site(base_url: str) -> None:
    """A browser here is told by strangers' pages to send things; without keys, nothing of it is done."""
    sent = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    check_refusal(send(base_url, "POST", CONVERSATIONS, "{}", sent), 403, None, "forbidden")


def test_head(base_url: str) -> None:
    """What GET answers, without its body; a client that reads on finds the next answer."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=60)
    lengths = []
    for method in ("HEAD", "GET"):
        connection.request(method, "/")
        answer = connection.getresponse()
        lengths.append((answer.status, answer.getheader("content-length"), len(answer.read())))
    connection.close()
    (head, length, nothing), got = lengths
    assert (head, length, nothing) == (200, str(got[2]), 0)


def test_method(base_url: str) -> None:
    """A method that a path does not take gets 405 and the methods that would do."""
    status, headers, content = send(base_url, "DELETE", CONVERSATIONS, "")
    assert (status, content["error"]["code"]) == (405, "method_not_allowed")
    assert headers["allow"] == "GET, POST"
