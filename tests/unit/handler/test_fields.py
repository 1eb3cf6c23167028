"""OpenAI's request fields: each is declared here, be it implemented, true as it stands, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import chat, shared_params
from openai.types import responses as types
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsStreaming as TextParams
from openai.types.conversations.conversation_create_params import ConversationCreateParams
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from openai.types.responses.response_input_item_param import FunctionCallOutput, ItemReference, Message

from handler.schema import (
    chat_completions,
    completions,
    conversations,
    fields,
    items,
    messages,
    responses,
    tools,
)
from tests.unit.handler.conftest import Door

OURS: list[tuple[Any, type[fields.Request]]] = [
    (ChatParams, chat_completions.ChatCompletionRequest),
    (chat.ChatCompletionAssistantMessageParam, messages.AssistantInput),
    (chat.ChatCompletionContentPartTextParam, messages.TextPart),
    (chat.ChatCompletionDeveloperMessageParam, messages.SpokenMessage),
    (chat.ChatCompletionFunctionToolParam, tools.ChatTool),
    (chat.ChatCompletionMessageFunctionToolCallParam, messages.RequestedCall),
    (chat.ChatCompletionStreamOptionsParam, fields.StreamOptions),
    (chat.ChatCompletionSystemMessageParam, messages.SpokenMessage),
    (chat.ChatCompletionToolMessageParam, messages.ToolMessage),
    (chat.ChatCompletionUserMessageParam, messages.SpokenMessage),
    (shared_params.FunctionDefinition, tools.FunctionDefinition),
    (TextParams, completions.CompletionRequest),
    (ConversationCreateParams, conversations.ConversationCreate),
    (InputTokenCountParams, responses.InputTokensRequest),
    (ResponseCreateParamsStreaming, responses.ResponseRequest),
    (FunctionCallOutput, items.InputCallOutput),
    (ItemReference, items.ItemReference),
    (Message, items.InputMessage),
    (types.EasyInputMessageParam, items.InputMessage),
    (types.FunctionToolParam, tools.ResponseTool),
    (types.ResponseFunctionToolCallParam, items.InputCall),
    (types.ResponseInputTextParam, items.InputTextPart),
    (types.ResponseOutputMessageParam, items.InputMessage),
    (types.ResponseOutputTextParam, items.OutputTextPart),
    (types.ResponseTextConfigParam, responses.TextConfig),
]


@pytest.mark.parametrize(
    ("theirs", "ours"), [pytest.param(*pair, id=f"{pair[1].__name__}-{pair[0].__name__}") for pair in OURS]
)
def test_every_field_is_declared(theirs: Any, ours: type[fields.Request]) -> None:
    """A field of the official client is none that this server calls unknown."""
    declared = {field.alias or name for name, field in ours.model_fields.items()}
    assert set(theirs.__annotations__) <= declared


def test_both_apis_take_the_verbosity_that_there_is(door: Door) -> None:
    """Medium is OpenAI's default and changes nothing; another one is refused, by either API's name of it."""
    places = (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, "verbosity"),
        ("/v1/responses", {"input": "Hi"}, "text.verbosity"),
    )
    for path, body, param in places:
        for verbosity, status in (("medium", 200), ("low", 400)):
            field = {"verbosity": verbosity} if param == "verbosity" else {"text": {"verbosity": verbosity}}
            answer = door.post(path, **body, **field)
            assert answer.status == status
        assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (
            param,
            "unsupported_parameter",
        )
