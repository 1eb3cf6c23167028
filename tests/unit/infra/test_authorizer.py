"""The authorizer, by its contract with API Gateway: all wrong keys alike, at one cost, nothing leaked."""

from __future__ import annotations

import hmac
import json
import re
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.keys import PATTERN, Key, KeyRecord, Refused, new_key
from infra.authorizer.cognito import CognitoDoor
from infra.authorizer.connection import Unreachable
from infra.authorizer.function import REFUSED_FOR_S, REMEMBERED_REFUSALS, KeyDoor, answer
from infra.authorizer.item import ItemReader, signed_headers
from tests.dynamodb import free_port
from tests.loopback import serving
from tests.stack import PROJECT, properties

ARN = "arn:aws:execute-api:us-east-1:123456789012:api/prod/POST/v1/chat/completions"
NOW_S = 1_800_000_000


class CountingTable:
    """Records by id; counts how often it is read."""

    def __init__(self, *records: KeyRecord) -> None:
        self.rows = {record.id: record for record in records}
        self.reads = 0

    def find(self, key_id: str) -> KeyRecord | None:
        self.reads += 1
        return self.rows.get(key_id)


GOOD, EXPIRED, REVOKED, OTHER = (new_key() for _ in range(4))
RECORDS = (
    KeyRecord(GOOD.id, GOOD.sha256, "alice", NOW_S - 9),
    KeyRecord(EXPIRED.id, EXPIRED.sha256, "alice", NOW_S - 9, expires_s=NOW_S - 1),
    KeyRecord(REVOKED.id, REVOKED.sha256, "alice", NOW_S - 9, revoked_s=NOW_S - 1),
    KeyRecord(OTHER.id, OTHER.sha256, "bob", NOW_S - 9, usage_key="the-counter-of-bob-00"),
)
WRONG = {
    "unknown": new_key(),
    "wrong": Key(GOOD.id, new_key().secret),
    "other's id": Key(OTHER.id, GOOD.secret),
    "expired": EXPIRED,
    "revoked": REVOKED,
}


@pytest.fixture
def table() -> CountingTable:
    """A table of four keys."""
    return CountingTable(*RECORDS)


def ask(table: CountingTable, authorization: str | None) -> dict[str, Any]:
    """What a fresh environment answers, whose time stands still."""
    event = {"type": "TOKEN", "methodArn": ARN, "authorizationToken": authorization}
    return answer(event, KeyDoor(table.find, lambda: NOW_S), "the-counter-of-all-00")


def effect(policy: dict[str, Any]) -> str:
    (statement,) = policy["policyDocument"]["Statement"]
    assert statement["Action"] == "execute-api:Invoke"
    assert statement["Resource"] == "arn:aws:execute-api:us-east-1:123456789012:api/prod/*"
    found: str = statement["Effect"]
    return found


def test_a_good_key_brings_its_tenant_and_counter(table: CountingTable) -> None:
    """The policy is for the whole stage, as API Gateway keeps it; the counter its own or the shared one."""
    alice, bob = ask(table, f"Bearer {GOOD.text}"), ask(table, f"Bearer {OTHER.text}")
    assert effect(alice) == effect(bob) == "Allow"
    assert alice["context"] == {"tenant": "alice", "key": GOOD.id}
    assert (alice["usageIdentifierKey"], bob["usageIdentifierKey"]) == (
        "the-counter-of-all-00",
        "the-counter-of-bob-00",
    )
    assert bob["context"]["tenant"] == bob["principalId"] == "bob"


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_key_is_refused_like_every_other(
    what: str, table: CountingTable, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown, wrong, another's, expired, revoked: the same answer; the log has a reason, no secret."""
    refusal = ask(table, f"Bearer {WRONG[what].text}")
    assert effect(refusal) == "Deny"
    assert refusal == ask(table, "Bearer nonsense")
    logged = capsys.readouterr().out
    assert WRONG[what].secret not in logged
    assert WRONG[what].sha256 not in logged
    assert json.loads(logged.splitlines()[0])["key"] == WRONG[what].id


@pytest.mark.parametrize("what", [*WRONG, "good"])
def test_the_work_is_the_same_whatever_is_wrong(what: str, table: CountingTable) -> None:
    """One read of the table and the same comparisons, for an unknown id, a wrong secret, and a good key."""
    header = f"Bearer {WRONG.get(what, GOOD).text}"
    assert comparisons(lambda: ask(table, header)) == 2  # the checksum's, then the hash's
    assert table.reads == 1


def comparisons(act: Callable[[], object]) -> int:
    """How often `act` compares in constant time, as the interpreter counts it."""
    seen = []

    def profile(_: Any, event: str, called: Any) -> None:
        if event == "c_call" and called is hmac.compare_digest:
            seen.append(called)

    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
    return len(seen)


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Basic eA==", "Bearer sk-1", f"Bearer {GOOD.text}x", GOOD.text]
)
def test_a_malformed_key_costs_no_read(sent: str | None, table: CountingTable) -> None:
    """What cannot be a key is refused without asking the table."""
    assert effect(ask(table, sent)) == "Deny"
    assert table.reads == 0


def test_refusals_are_remembered_for_a_while() -> None:
    """A bad key that is repeated is read once in half a minute; only so many are remembered, no good one."""
    table = CountingTable(*RECORDS)
    now = [float(NOW_S)]
    door = KeyDoor(table.find, lambda: now[0])
    bad = f"Bearer {WRONG['wrong'].text}"
    for _ in range(3):
        with pytest.raises(Refused):
            door.admit(bad)
    assert table.reads == 1
    for _ in range(3):
        door.admit(f"Bearer {GOOD.text}")
    assert table.reads == 4
    now[0] += REFUSED_FOR_S
    with pytest.raises(Refused):
        door.admit(bad)
    assert table.reads == 5
    for _ in range(REMEMBERED_REFUSALS + 1):
        with pytest.raises(Refused):
            door.admit(f"Bearer {new_key().text}")
    assert len(door._refused) == REMEMBERED_REFUSALS


def test_a_rotation_has_no_gap() -> None:
    """At every second of the grace both keys are good; before it the old one, after it the new one."""
    old, new = new_key(), new_key()
    table = CountingTable(KeyRecord(old.id, old.sha256, "alice", NOW_S))
    now = [float(NOW_S)]
    door = KeyDoor(table.find, lambda: now[0])

    def good(key: Key) -> bool:
        try:
            return door.admit(f"Bearer {key.text}").tenant == "alice"
        except Refused:
            return False

    assert good(old)
    table.rows[old.id] = KeyRecord(old.id, old.sha256, "alice", NOW_S, expires_s=NOW_S + 60)
    table.rows[new.id] = KeyRecord(new.id, new.sha256, "alice", NOW_S)
    for second in range(60):
        now[0] = NOW_S + second
        assert good(old)
        assert good(new)
    now[0] = NOW_S + 60
    assert (good(old), good(new)) == (False, True)


@settings(max_examples=50)
@given(
    st.binary(max_size=200),
    st.integers(0, 2**33),
    st.text("abcXYZ/+=09", min_size=1),
    st.booleans(),
    st.data(),
)
def test_the_signature_is_botocores(
    body: bytes, now_s: int, secret: str, has_token: bool, data: st.DataObject
) -> None:
    """Signed by hand as AWS's own client signs: same string to sign, same signature."""
    environment = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": secret}
    if has_token:
        environment["AWS_SESSION_TOKEN"] = data.draw(st.text("abc/+=", min_size=1))
    host = "dynamodb.eu-west-1.amazonaws.com"
    ours = signed_headers(host, body, environment, now_s)
    credentials = botocore.credentials.Credentials("AKID", secret, environment.get("AWS_SESSION_TOKEN"))
    signer = botocore.auth.SigV4Auth(credentials, "dynamodb", "eu-west-1")
    plain = {name: ours[name] for name in ("content-type", "x-amz-target")}
    request = botocore.awsrequest.AWSRequest("POST", f"https://{host}/", headers=plain, data=body)
    request.context["timestamp"] = ours["x-amz-date"]
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    if has_token:
        request.headers["X-Amz-Security-Token"] = environment["AWS_SESSION_TOKEN"]
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert ours["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize("sent", [None, "Bearer a.b", "Basic a.b.c", f"Bearer {GOOD.text}"])
def test_where_cognito_is_asked_a_key_is_none(sent: str | None) -> None:
    """With a user pool, what is no token is refused before Cognito is asked."""
    door = CognitoDoor("us-east-1_pool", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Refused, match="malformed"):
        door.admit(sent)
    with pytest.raises(Unreachable):
        door.admit("Bearer a.b.c")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("NotAuthorizedException", Refused),
        ("PasswordResetRequiredException", Refused),
        ("TooManyRequestsException", Unreachable),
    ],
)
def test_what_is_wrong_with_a_user_is_no_error_of_ours(said: str, told: type[Exception]) -> None:
    """Whom Cognito lets in no more is refused, and alarms nobody; that it was not asked is an error."""

    class Cognito(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(400)
            self.end_headers()
            self.wfile.write(json.dumps({"__type": said}).encode())

    with serving(Cognito) as address, pytest.raises(told):
        CognitoDoor("us-east-1_pool", f"http://{address}").admit("Bearer a.b.c")


def test_a_table_that_does_not_answer_admits_nobody() -> None:
    """Nobody is let in, and nobody is told that the key is wrong."""
    environment = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    reader = ItemReader("keys", f"http://127.0.0.1:{free_port()}", environment)
    with pytest.raises(Unreachable, match="does not answer"):
        reader.get(GOOD.id)


def test_the_gateway_asks_about_keys_alone() -> None:
    """API Gateway's pattern lets every key through, and refuses by itself what has another shape."""
    rule = properties("Api")["Auth"]["Authorizers"]["Bearer"]["Identity"]["ValidationExpression"]
    assert PATTERN in rule
    assert all(re.fullmatch(rule, f"{scheme} {new_key().text}") for scheme in ("Bearer", "bearer"))
    assert not any(
        re.fullmatch(rule, wrong) for wrong in ("Bearer sk-1", GOOD.text, "Bearer dm-1", "Basic a")
    )


def test_it_imports_little() -> None:
    """Neither boto3 nor anything else that is not Python's own: its cold start is all imports."""
    script = (
        "import sys, infra.authorizer.function; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"__main__", "handler", "infra"}
