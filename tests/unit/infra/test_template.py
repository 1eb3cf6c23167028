"""Facts of template.yaml that other files state too, or that nobody may change without meaning to."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from handler.routes.completions import CompletionRoutes
from handler.routes.responses import ResponseRoutes
from handler.runtime import STREAMED_ROUTES
from handler.settings import Settings, read_settings
from tests.stack import PROJECT, function_environment, properties, routes, template


def test_streamed_routes_are_the_same_everywhere() -> None:
    """The template streams what the runtime frames and what the handler's routes can stream."""
    streamed = {route for route, event in routes().items() if event.get("ResponseTransferMode")}
    nothing = cast(Any, None)
    endpoints = [
        *CompletionRoutes(nothing, nothing, nothing, nothing).endpoints(),
        *ResponseRoutes(nothing, nothing, nothing, nothing, nothing).endpoints(),
    ]
    assert streamed == STREAMED_ROUTES
    assert streamed == {
        (each.method, each.path.replace("<", "{").replace(">", "}")) for each in endpoints if each.streams
    }


def test_time_limits_agree() -> None:
    """Function, gateway and settings cut a streamed answer at the same moment, a buffered one at 29 s."""
    settings = read_settings(function_environment({"Table": "t"}))
    timeout_s = properties("Function")["Timeout"]
    limits_s = {e["TimeoutInMillis"] / 1000 for e in routes().values() if "TimeoutInMillis" in e}
    assert limits_s == {timeout_s}
    assert settings.gateway_stream_timeout_s == timeout_s
    assert settings.gateway_timeout_s == 29
    assert timeout_s <= 900


def test_every_variable_is_a_known_setting() -> None:
    """The settings accept the template's environment, and the table's name arrives."""
    settings = read_settings(function_environment({"Table": "conversations"}))
    assert settings.sessions == "dynamodb"
    assert settings.table == "conversations"
    assert settings.session_ttl_days == Settings.session_ttl_days
    assert not settings.streaming  # the runtime says so itself, once it can


def test_the_wrapper_exists_and_can_be_executed() -> None:
    """What AWS_LAMBDA_EXEC_WRAPPER names is an executable file of the handler."""
    wrapper = function_environment({"Table": "t"})["AWS_LAMBDA_EXEC_WRAPPER"]
    path = PROJECT / wrapper.removeprefix("/var/task/")
    assert path.stat().st_mode & 0o111


def test_the_role_allows_what_the_table_is_asked_and_no_more() -> None:
    """Exact actions on the one table: those of the calls that the session store makes."""
    source = (PROJECT / "handler/sessions/dynamo_table.py").read_text()
    calls = set(re.findall(r"\.client\.([a-z_]+)\(", source)) - {"create_table", "get_waiter", "close"}
    calls -= {"update_time_to_live"}  # tests and this machine make their own table
    transacted = {"ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem"}
    expected = {"".join(word.title() for word in call.split("_")) for call in calls}
    if "TransactWriteItems" in expected:  # a transaction needs the actions of its parts
        expected = (expected - {"TransactWriteItems"}) | transacted
    statements = [s for p in properties("Role")["Policies"] for s in p["PolicyDocument"]["Statement"]]
    on_table = [s for s in statements if s["Resource"] == {"Fn::GetAtt": "Table.Arn"}]
    assert {action for s in on_table for action in s["Action"]} == {f"dynamodb:{name}" for name in expected}
    assert all("*" not in str(s["Action"]) and s["Resource"] != "*" for s in statements)


def test_nobody_gets_in_without_a_key() -> None:
    """The API asks for a key on every route, and the second door for a signature."""
    assert properties("Api")["Auth"]["ApiKeyRequired"] is True
    assert all("Auth" not in event for event in routes().values())
    assert properties("SecondDoor")["AuthType"] == "AWS_IAM"
    assert template()["Parameters"]["FunctionUrl"]["Default"] == "off"


def test_conversations_outlive_the_stack() -> None:
    """The table is kept, protected, restorable and encrypted, and forgets by itself."""
    table = template()["Resources"]["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    facts = table["Properties"]
    assert facts["DeletionProtectionEnabled"] is True
    assert facts["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert facts["SSESpecification"]["SSEEnabled"] is True
    assert facts["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert [key["AttributeName"] for key in facts["KeySchema"]] == ["pk", "sk"]


@pytest.mark.parametrize("name", sorted(template()["Parameters"]))
def test_parameters_are_described(name: str) -> None:
    """Each parameter has a sentence and a default; a quantity says its unit."""
    parameter = template()["Parameters"][name]
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    if parameter["Type"] == "Number":
        assert re.search(r"MiB|[Dd]ays|a second|a day|at the same time", parameter["Description"])


def test_gateway_errors_have_openai_shape() -> None:
    """What API Gateway answers by itself is an OpenAI error, and a timeout is not to be repeated."""
    answers = properties("Api")["GatewayResponses"]
    for answer in answers.values():
        text = answer["ResponseTemplates"]["application/json"]
        assert re.match(
            r'\{"error": \{"message": .+, "type": "\w+", "param": null, "code": ("\w+"|null)\}\}$', text
        )
    assert answers["INTEGRATION_TIMEOUT"]["ResponseParameters"]["Headers"]["x-should-retry"] == "'false'"
