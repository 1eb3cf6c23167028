"""Facts of template.yaml that other files state too, or that nobody may change without meaning to."""

from __future__ import annotations

import json
import re
from typing import Any, cast, get_args, get_type_hints

import pytest

from handler.location import PATTERN
from handler.routes.completions import CompletionRoutes
from handler.routes.responses import ResponseRoutes
from handler.runtime import STREAMED_ROUTES
from handler.sessions.dynamo_request import request_of
from handler.settings import Settings, read_settings
from handler.telemetry import ENDED
from infra import prices
from infra.report.lines import Invocation, read_line
from tests.stack import PROJECT, bundle_policy, function_environment, properties, routes, template


def test_streamed_routes_are_the_same_everywhere() -> None:
    """The template streams what the runtime frames and what the handler's routes can stream."""
    streamed = {route for route, event in routes().items() if event.get("ResponseTransferMode")}
    nothing = cast(Any, None)
    endpoints = [
        *CompletionRoutes(nothing, nothing, nothing, nothing).endpoints(),
        *ResponseRoutes(nothing, nothing, nothing, nothing, nothing, nothing).endpoints(),
    ]
    assert streamed == STREAMED_ROUTES
    assert streamed == {
        (each.method, each.path.replace("<", "{").replace(">", "}")) for each in endpoints if each.streams
    }


def test_time_limits_agree() -> None:
    """Function and settings end a streamed answer at one moment, a buffered one at 29 s; the gateway waits.

    Its clock begins with its call, before a cold start of which the function's clock knows nothing.
    """
    settings = read_settings(function_environment({"Table": "t"}))
    timeout_s = properties("Function")["Timeout"]
    limits_s = {e["TimeoutInMillis"] / 1000 for e in routes().values() if "TimeoutInMillis" in e}
    assert limits_s == {timeout_s + 30}
    assert settings.gateway_stream_timeout_s == timeout_s
    assert settings.gateway_timeout_s == 29
    assert max(limits_s) <= 900


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
    transacted = {f"{kind.__name__}Item" for kind in get_args(get_type_hints(request_of)["action"])}
    expected = {"".join(word.title() for word in call.split("_")) for call in calls}
    if "TransactWriteItems" in expected:  # a transaction needs the actions of its parts
        expected = (expected - {"TransactWriteItems"}) | transacted
    on_table = {
        action for s in statements("Role") if "Table" in str(s["Resource"]) for action in listed(s["Action"])
    }
    assert on_table == {f"dynamodb:{name}" for name in expected}


def test_keys_are_read_by_the_authorizer_alone() -> None:
    """The authorizer may read a key's record and nothing else; the function knows no table of keys."""
    tables = [s for s in statements("AuthorizerRole") if "dynamodb" in str(s["Action"])]
    assert tables == [
        {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": {"Fn::GetAtt": "Keys.Arn"}}
    ]
    assert "Keys" not in str([properties("Function"), properties("Role")])
    assert "'Table'" not in str([properties("Authorizer"), properties("AuthorizerRole")])


@pytest.mark.parametrize("role", ["Role", "AuthorizerRole"])
def test_roles_name_actions_and_resources(role: str) -> None:
    """No action has a wildcard, and no resource but that of traces, which have none."""
    for statement in statements(role):
        assert "*" not in str(statement["Action"])
        if "xray:PutTraceSegments" not in statement["Action"]:
            assert statement["Resource"] != "*"


def test_a_bundle_in_s3_is_read_and_nothing_else_is() -> None:
    """Where a location is given, and only there: s3:GetObject on its bucket, the old version's as well."""
    assert bundle_policy("s3://models/bundles/tiny/0123") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::models/*",
            }
        ],
    }
    location = {"Ref": "BundleLocation"}
    assert template()["Conditions"]["HasBucket"] == {"Fn::Not": [{"Fn::Equals": [location, "bundle"]}]}
    assert template()["Parameters"]["BundleLocation"]["Default"] == "bundle"
    others = [s for role in ("Role", "AuthorizerRole") for s in statements(role) if "s3:" in str(s["Action"])]
    assert len(others) == 1


def test_a_location_that_the_stack_takes_is_one_that_the_function_takes() -> None:
    """Parameter and setting allow the same, so that a typing error is refused before anything is deployed."""
    assert template()["Parameters"]["BundleLocation"]["AllowedPattern"] == f"bundle|{PATTERN}"


def test_a_version_serves_only_once_it_has_started() -> None:
    """Callers reach an alias, which names a published version; its snapshot is made by starting it."""
    function = properties("Function")
    assert function["AutoPublishAlias"] == "live"
    assert function["AutoPublishAliasAllProperties"] is True  # another location is another version
    assert function["RuntimeManagementConfig"] == {"UpdateRuntimeOn": "FunctionUpdate"}  # it is extended
    assert function["SnapStart"] == {"ApplyOn": {"Fn::If": ["HasSnapshot", "PublishedVersions", "None"]}}
    assert template()["Parameters"]["SnapStart"]["Default"] == "on"
    assert function["Environment"]["Variables"]["DORMOUSE_BUNDLE"] == {"Ref": "BundleLocation"}


def listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def statements(role: str) -> list[dict[str, Any]]:
    """Every statement of a role, those behind a condition included."""

    def chosen(value: Any) -> Any:
        return value["Fn::If"][1] if "Fn::If" in value else value

    policies = [chosen(each) for each in properties(role)["Policies"]]
    return [chosen(each) for policy in policies for each in policy["PolicyDocument"]["Statement"]]


def test_nobody_gets_in_without_a_key() -> None:
    """The API asks the authorizer on every route but the page, and the second door for a signature."""
    auth = properties("Api")["Auth"]
    assert auth["DefaultAuthorizer"] in auth["Authorizers"]
    assert auth["ApiKeyRequired"] is True
    assert properties("Api")["ApiKeySourceType"] == "AUTHORIZER"
    assert [route for route, event in routes().items() if "Auth" in event] == [("GET", "/")]
    assert properties("SecondDoor")["AuthType"] == "AWS_IAM"
    assert template()["Parameters"]["FunctionUrl"]["Default"] == "off"


@pytest.mark.parametrize(("name", "key"), [("Table", ["pk", "sk"]), ("Keys", ["id"])])
def test_what_is_kept_outlives_the_stack(name: str, key: list[str]) -> None:
    """A table is kept, protected, restorable and encrypted, and forgets by itself."""
    table = template()["Resources"][name]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    facts = table["Properties"]
    assert facts["DeletionProtectionEnabled"] is True
    assert facts["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert facts["SSESpecification"]["SSEEnabled"] is True
    assert facts["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert [each["AttributeName"] for each in facts["KeySchema"]] == key


def test_nothing_else_outlives_the_stack() -> None:
    """A deletion leaves what the README says: two tables, the API's role for logs, and an own key."""
    kept = {name for name, each in template()["Resources"].items() if each.get("DeletionPolicy") == "Retain"}
    assert kept == {"Table", "Keys", "GatewayAccount", "GatewayRole", "Key"}


@pytest.mark.parametrize("name", sorted(template()["Parameters"]))
def test_parameters_are_described(name: str) -> None:
    """Each parameter has a sentence and a default; a quantity says its unit."""
    parameter = template()["Parameters"][name]
    assert parameter["Description"].endswith(".")
    assert "Default" in parameter
    if parameter["Type"] == "Number":
        assert re.search(r"MiB|[Dd]ays|a second|a day|at the same time|Seconds", parameter["Description"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MemoryMib", ["new account"]),
        ("MaxConcurrency", ["less 100", "new account"]),
        ("FunctionUrl", ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction,"]),
    ],
)
def test_parameters_say_what_aws_asks_besides(name: str, said: list[str]) -> None:
    """What a value needs of the account, or of the callers, stands where the value is chosen.

    Sources: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html,
    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html,
    https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
    """
    description = template()["Parameters"][name]["Description"]
    assert [words for words in said if words not in description] == []


def test_gateway_errors_have_openai_shape() -> None:
    """What API Gateway answers by itself is an OpenAI error, and a timeout is not to be repeated."""
    answers = properties("Api")["GatewayResponses"]
    for answer in answers.values():
        text = answer["ResponseTemplates"]["application/json"]
        assert re.match(
            r'\{"error": \{"message": .+, "type": "\w+", "param": null, "code": ("\w+"|null)\}\}$', text
        )
    assert answers["ACCESS_DENIED"]["StatusCode"] == answers["UNAUTHORIZED"]["StatusCode"] == 401
    assert answers["INTEGRATION_TIMEOUT"]["ResponseParameters"]["Headers"]["x-should-retry"] == "'false'"
    assert answers["INTEGRATION_FAILURE"]["ResponseParameters"]["Headers"]["x-should-retry"] == "'true'"
    assert answers["INTEGRATION_FAILURE"]["StatusCode"] == 429  # nothing has begun: no alarm
    unchecked = answers["AUTHORIZER_FAILURE"]
    assert unchecked["StatusCode"] == 503
    assert unchecked["ResponseParameters"]["Headers"]["x-should-retry"] == "'true'"
    assert answers["AUTHORIZER_CONFIGURATION_ERROR"] == unchecked  # it failed, or could not be reached


def test_a_rollout_is_turned_back_by_alarms() -> None:
    """A version takes over step by step unless a parameter says otherwise, watched by alarms that exist."""
    preference = properties("Function")["DeploymentPreference"]
    alarms = {name["Ref"] for name in preference["Alarms"]}
    assert alarms <= {
        name for name, each in template()["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert "AuthorizerErrors" not in alarms
    enabled = {name: each["Enabled"] for name, each in template()["Mappings"]["Rollouts"].items()}
    assert set(enabled) == set(template()["Parameters"]["Rollout"]["AllowedValues"])
    assert [name for name, each in enabled.items() if each == "false"] == ["off"]


def test_dashboard_and_alarms_show_what_is_measured() -> None:
    """Every metric of ours that is drawn or watched is one that telemetry writes; all written are drawn."""
    shown = json.loads(properties("Dashboard")["DashboardBody"]["Fn::Sub"])
    rows = [row for widget in shown["widgets"] for row in widget["properties"].get("metrics", ())]
    drawn = {row[1] for row in rows if row[0] == "Dormouse"}
    written = written_metrics()
    assert drawn == written
    alarms = [each["Properties"] for each in template()["Resources"].values() if "Alarm" in each["Type"]]
    assert {each["MetricName"] for each in alarms if each["Namespace"] == "Dormouse"} <= written


def test_metrics_are_as_many_as_the_documents_say() -> None:
    """Billed by the month are the eighteen that telemetry writes; API Gateway writes none a method."""
    assert all("MetricsEnabled" not in each for each in properties("Api")["MethodSettings"])
    assert len(written_metrics()) == 18
    for page in ("docs/scale.md", "docs/adr/0054-what-a-rollout-is-watched-by.md"):
        assert "at most eighteen" in (PROJECT / page).read_text()


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/scale.md"])
def test_what_is_billed_while_nobody_calls_is_told(page: str) -> None:
    """Every page that prices the stack prices its alarms and its dashboard, which the free tier may have."""
    kinds = [each["Type"] for each in template()["Resources"].values()]
    assert kinds.count("AWS::CloudWatch::Alarm") == 5 <= prices.FREE_ALARMS
    assert kinds.count("AWS::CloudWatch::Dashboard") == 1 <= prices.FREE_DASHBOARDS
    text = (PROJECT / page).read_text()
    (told,) = re.findall(r"^\| CloudWatch .*|^Not in it: (?:.+\n)+", text, re.MULTILINE)
    for usd in (prices.ALARM_MONTH, prices.DASHBOARD_MONTH):
        assert re.search(rf"\${usd:.2f}|{usd:.2f} 美元", told), usd
    assert re.search("free tier|免费额度", told)


def written_metrics() -> set[str]:
    """The names of the metrics that telemetry writes."""
    source = (PROJECT / "handler/telemetry.py").read_text()
    return set(re.findall(r'"([A-Z][A-Za-z]+)"(?=[:\]}])', source)) | set(ENDED.values())


def test_the_firewall_blocks_nobody_for_what_they_say() -> None:
    """Of the groups of rules none but one reads bodies, and of that one those that do only count."""
    body_rules = {  # what AWS has in each group that reads bodies
        "AWSManagedRulesAmazonIpReputationList": set(),
        "AWSManagedRulesKnownBadInputsRuleSet": {
            "JavaDeserializationRCE_BODY",
            "Log4JRCE_BODY",
            "ReactJSRCE_BODY",
        },
    }
    own, managed = [], {}
    for rule in properties("Firewall")["Rules"]:
        group = rule["Statement"].get("ManagedRuleGroupStatement")
        if group is None:
            own.append(rule["Statement"])
        else:
            managed[group["Name"]] = group.get("RuleActionOverrides", [])
    assert all("Body" not in str(statement) for statement in own)
    assert {name: {each["Name"] for each in counted} for name, counted in managed.items()} == body_rules
    assert all(each["ActionToUse"] == {"Count": {}} for counted in managed.values() for each in counted)


def test_access_logs_have_neither_bodies_nor_keys() -> None:
    """One line of JSON a request, with tenant and request id, and nothing that was said or is secret."""
    line = json.loads(properties("Api")["AccessLogSetting"]["Format"])
    assert {"requestId", "tenant", "status", "route"} <= set(line)
    assert not re.search(r"header|body|querystring|\.path\b", json.dumps(line))


def test_the_dashboard_asks_the_log_for_what_it_has() -> None:
    """Its one query reads the function's log by fields that Lambda's JSON reports have."""
    shown = json.loads(properties("Dashboard")["DashboardBody"]["Fn::Sub"])
    (query,) = [each["properties"]["query"] for each in shown["widgets"] if each["type"] == "log"]
    logging = properties("Function")["LoggingConfig"]
    assert logging["LogFormat"] == "JSON"  # a REPORT line of text has no fields
    assert f"SOURCE '${{{logging['LogGroup']['Ref']}}}'" in query
    assert "filter type = 'platform.report'" in query
    measured = {"billedDurationMs": 1, "memorySizeMB": 1769, "maxMemoryUsedMB": 300}
    for field in ("restoreDurationMs", "initDurationMs"):
        report = {"requestId": "r", "metrics": {**measured, field: 12.5}}
        fact = read_line(json.dumps({"type": "platform.report", "record": report}))
        assert isinstance(fact, Invocation)
        assert 12.5 in (fact.restore_ms, fact.init_ms)
        assert f"record.metrics.{field}" in query


def test_a_report_finds_both_logs() -> None:
    """What infra.report reads are outputs: the functions' logs, and the one that the API writes to."""
    outputs = {name: each["Value"] for name, each in template()["Outputs"].items()}
    assert outputs["LogGroup"] == properties("Function")["LoggingConfig"]["LogGroup"]
    assert outputs["AuthorizerLogGroup"] == properties("Authorizer")["LoggingConfig"]["LogGroup"]
    written = str(properties("Api")["AccessLogSetting"]["DestinationArn"])
    assert f"'{outputs['AccessLogGroup']['Ref']}.Arn'" in written


@pytest.mark.parametrize("name", ["Function", "Authorizer"])
def test_functions_write_to_logs_that_end(name: str) -> None:
    """Each function's log group is in the template and forgets after the parameter's days."""
    group = properties(name)["LoggingConfig"]["LogGroup"]["Ref"]
    assert properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}
